//! The `default-server` lines that hold for a backend, in HAProxy's own configuration, and what its servers have of them.
//!
//! In: the text of `haproxy.cfg`, and what is known of HAProxy's environment. Out: the words of those lines, as HAProxy
//! reads them; or which of them cannot be told from the text alone. Each line adds to those before it; a
//! backend begins with those of its `defaults`: the ones that `from` names, else the last ones before it
//! (configuration manual 4.1 and 5.2).

use std::collections::HashMap;

use crate::core::log::haproxy_cfg::lines::{self, ConfigLine, Defaults, Lines};
use crate::core::log::log_format::LogFormatError;
use crate::core::log::log_format::words::{Environment, Variable, Word};
use crate::core::settings::server_lines::{ServerLine, ServerTraits};

/// Which line of HAProxy's configuration cannot be told from the text alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Untold {
    /// Its number, from 1.
    pub line: usize,
    /// Why not.
    pub why: UntoldError,
}

/// Why it cannot be told what a `default-server` gives.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UntoldError {
    /// Its words: a variable that nobody knows, or a quote that is never closed.
    #[error("this `default-server` cannot be read; say its words in `spares.default_server`")]
    Words(#[source] LogFormatError),
    /// Only HAProxy knows which branch it took.
    #[error(
        "this `default-server` holds or not as the `.if` in line {0} says, which only HAProxy knows: \
         take it out of there, or say the words that hold in `spares.default_server`"
    )]
    Conditional(usize),
}

/// The words behind all `default-server` that hold for `backend`; `None` if there is no such backend.
///
/// # Errors
/// One of them cannot be told.
pub(crate) fn keywords(
    text: &str,
    backend: &str,
    environment: Environment<'_>,
) -> Result<Option<Vec<String>>, Untold> {
    let said = read(text, backend, environment).map(|section| section.said);
    said.map_or(Ok(None), |said| said.untold.map_or(Ok(Some(said.words)), Err))
}

/// How long HAProxy's own `slowstart` lets servers of `backend` into their share, by name, as it is written; those of a
/// `server-template` by its prefix. What stands in variables that are not known is left out.
pub(crate) fn slowstarts(text: &str, backend: &str) -> Vec<(String, String)> {
    let servers = read(text, backend, &|_| Variable::Unknown).map(|section| section.servers);
    let length = |words: &[String]| {
        let at = words.iter().rposition(|word| word == "slowstart")?;
        let is_none = |length: &str| ["", "0"].contains(&length.trim_end_matches(char::is_alphabetic));
        words.get(at + 1).filter(|length| !is_none(length)).cloned()
    };
    let servers = servers.unwrap_or_default().into_iter();
    servers.filter_map(|server| Some((server.name, length(&server.words)?))).collect()
}

/// What the lines of all servers say, by backend. Of those that hold or not as an `.if` says, all count.
pub(crate) fn server_lines(text: &str) -> HashMap<String, Vec<ServerLine>> {
    let mut found: HashMap<String, Vec<ServerLine>> = HashMap::new();
    for section in sections(text, &|_| Variable::Unknown) {
        let line = |Declared { name, is_template, words }| {
            let traits = ServerTraits::of_words(&words);
            ServerLine { name, is_template, traits }
        };
        found.entry(section.name).or_default().extend(section.servers.into_iter().map(line));
    }
    found
}

/// The section of `backend`; `None` if there is none.
fn read(text: &str, backend: &str, environment: Environment<'_>) -> Option<Section> {
    sections(text, environment).find(|section| section.name == backend)
}

/// Those that have servers, in their order.
fn sections(text: &str, environment: Environment<'_>) -> impl Iterator<Item = Section> {
    let mut reader = Reader::default();
    text.lines().chain(["global"]).filter_map(move |line| reader.line(line, environment))
}

/// What a section has said of its servers, its defaults included.
#[derive(Clone, Debug, Default)]
struct Said {
    /// Of lines that are not wholly known, what is.
    words: Vec<String>,
    /// The first line of which it is not known what it says.
    untold: Option<Untold>,
}

/// A section as far as it has come.
#[derive(Debug, Default)]
struct Section {
    keyword: String,
    name: String,
    said: Said,
    servers: Vec<Declared>,
}

/// A server, with all words that hold for it.
#[derive(Debug)]
struct Declared {
    /// The beginning of their names, for a template.
    name: String,
    is_template: bool,
    words: Vec<String>,
}

#[derive(Debug, Default)]
struct Reader {
    lines: Lines,
    section: Section,
    /// It begins within the `.if` of that line.
    of_branch: Option<usize>,
    defaults: Defaults<Said>,
}

impl Reader {
    /// Takes a line; gives the backend that it ends.
    fn line(&mut self, text: &str, environment: Environment<'_>) -> Option<Section> {
        let line = self.lines.take(text, environment)?;
        // HAProxy is asked only for the variables of lines that matter.
        match line.keyword {
            "default-server" => {
                let words = self.lines.words(&line, environment);
                self.default_server(&line, words);
            }
            // Before the options: a name and an address, a template's number between them.
            "server" => self.server(&line, 2),
            "server-template" => self.server(&line, 3),
            _ if line.is_section() => {
                let words = self.lines.words(&line, environment).unwrap_or_default();
                let rest: Vec<&str> = words.iter().skip(1).map(Word::text).collect();
                return self.begin(&line, &rest);
            }
            _ => {}
        }
        None
    }

    fn default_server(&mut self, line: &ConfigLine<'_>, words: Result<Vec<Word>, LogFormatError>) {
        let branch = line.branch.or(self.of_branch);
        let (words, error) = match words {
            Ok(words) => (words, None),
            Err(error) => (self.without_variables(line), Some(error)),
        };
        let why = branch.map(UntoldError::Conditional).or(error.map(UntoldError::Words));
        let said = &mut self.section.said;
        said.words.extend(words.iter().skip(1).map(|word| word.text().to_owned()));
        if let Some(why) = why {
            said.untold.get_or_insert(Untold { line: line.number, why });
        }
    }

    /// The words of a line without what stands in variables.
    fn without_variables(&self, line: &ConfigLine<'_>) -> Vec<Word> {
        self.lines.words(line, &|_| Variable::Unset).unwrap_or_default()
    }

    /// A server, without asking anybody: what stands in variables that are not known is left out.
    fn server(&mut self, line: &ConfigLine<'_>, options: usize) {
        let words = self.lines.words(line, &|_| Variable::Unknown);
        let words = words.unwrap_or_else(|_| self.without_variables(line));
        let words: Vec<String> = words.iter().skip(1).map(|word| word.text().to_owned()).collect();
        if let (Some(name), Some(own)) = (words.first(), words.get(options..)) {
            let all = [&self.section.said.words, own].concat();
            self.section.servers.push(Declared { name: name.clone(), is_template: options > 2, words: all });
        }
    }

    fn begin(&mut self, line: &ConfigLine<'_>, rest: &[&str]) -> Option<Section> {
        let mut ended = std::mem::take(&mut self.section);
        if ended.keyword == "defaults" {
            if let Some(branch) = self.of_branch.filter(|_| !self.defaults.last().words.is_empty()) {
                // Whether they take the place of those before them is not known.
                let why = UntoldError::Conditional(branch);
                ended.said.untold.get_or_insert(Untold { line: branch, why });
            }
            self.defaults.end(&ended.name, ended.said.clone());
        }
        let (said, name) = (self.defaults.of(line.keyword, rest), lines::name(rest));
        self.of_branch = line.branch;
        self.section = Section { keyword: line.keyword.to_owned(), name, said, servers: Vec::new() };
        ["backend", "listen"].contains(&ended.keyword.as_str()).then_some(ended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn haproxys(name: &str) -> Variable {
        match name {
            "LIMIT" => Variable::Is("33".to_owned()),
            "SECRET" => Variable::Unknown,
            _ => Variable::Unset,
        }
    }

    #[track_caller]
    fn check(text: &str, backend: &str, expected: Option<&str>) {
        let found = keywords(text, backend, &haproxys).expect(text).map(|words| words.join(" "));
        assert_eq!(found.as_deref(), expected, "{backend} in {text}");
    }

    #[test]
    fn a_backend_has_the_lines_of_its_defaults_and_its_own() {
        let text = "\
global
defaults base
  default-server inter 2s   # often
defaults
  default-server rise 5
backend app
  default-server check \"maxconn\" 50
  server s1 127.0.0.1:80 weight 9
listen plain from base
  balance roundrobin
backend none from missing
";
        check(text, "app", Some("rise 5 check maxconn 50"));
        check(text, "plain", Some("inter 2s"));
        check(text, "none", Some(""));
        check(text, "other", None);
    }

    #[test]
    fn servers_have_the_slowstart_of_their_line_or_of_the_defaults_before_it() {
        let text = "\
defaults
  default-server slowstart 30s
backend app
  server s1 127.0.0.1:80 check
  default-server slowstart 1m
  server s2 127.0.0.1:80
  server s3 127.0.0.1:80 slowstart 5000 check
  server s4 127.0.0.1:80 slowstart 0s
  server-template w 3 127.0.0.1:80 check
backend other
  server s1
";
        let found = slowstarts(text, "app");
        let found: Vec<_> = found.iter().map(|(name, length)| (name.as_str(), length.as_str())).collect();
        assert_eq!(found, [("s1", "30s"), ("s2", "1m"), ("s3", "5000"), ("w", "1m")]);
        assert!(slowstarts(text, "other").is_empty() && slowstarts(text, "none").is_empty());
    }

    #[test]
    fn what_moves_do_to_sessions_is_read_of_each_line_and_of_the_defaults_before_it() {
        let text = "\
defaults
  default-server send-proxy
backend app
  server s1 \"$SECRET\" inter \"${SECRET}s\" on-marked-down shutdown-sessions
  default-server no-send-proxy
.if 1
  server-template w 1-3 127.0.0.1:80 on-marked-up shutdown-backup-sessions
.endif
listen other
  server s1 127.0.0.1:80
";
        let lines = server_lines(text);
        let told = |backend: &str| {
            let lines = lines[backend].iter().map(|line| {
                let ServerTraits { closes_own, closes_backups, proxy } = line.traits;
                format!("{line} {} {closes_own} {closes_backups}", proxy.is_some())
            });
            lines.collect::<Vec<_>>()
        };
        assert_eq!(told("app"), ["s1 true true false", "w* false false true"]);
        assert_eq!(told("other"), ["s1 true false false"]);
    }

    #[test]
    fn words_are_those_that_haproxy_reads() {
        let config = "\
global
  setenv W 40
  setenv W2 \"${W}2\"
  presetenv LIMIT 1
  presetenv OTHER 5
backend app
  default-server weight \"${W}\" maxconn \"$LIMIT\" minconn \"${OTHER}\" slowstart \"${UNSET-5s}\" # \"
  default-server sni \"str(a b)\" fall \"$W2\"
";
        let expected = [
            "weight",
            "40",
            "maxconn",
            "33",
            "minconn",
            "5",
            "slowstart",
            "5s",
            "sni",
            "str(a b)",
            "fall",
            "402",
        ];
        assert_eq!(keywords(config, "app", &haproxys).unwrap().unwrap(), expected);
        check("backend app\n default-server weight ${W}", "app", Some("weight ${W}"));
    }

    #[track_caller]
    fn check_untold(text: &str, line: usize, why: &str) {
        let found = keywords(text, "app", &haproxys).expect_err(text);
        assert_eq!((found.line, crate::report::chain(&found.why)), (line, why.to_owned()), "{text}");
    }

    #[test]
    fn what_only_haproxy_knows_is_named_with_its_line() {
        let conditional = |line: usize| UntoldError::Conditional(line).to_string();
        check_untold(
            "defaults\n default-server weight \"${SECRET}\"\nbackend app\n",
            2,
            "this `default-server` cannot be read; say its words in `spares.default_server`: \
             at byte 24: the environment variable `SECRET` is not known here",
        );
        let branch = ".if streq(\"a\",\"b\")\n default-server maxconn 1\n.else\n.endif\n";
        check_untold(&format!("defaults\n{branch}backend app\n"), 3, &conditional(2));
        check_untold(&format!("backend app\n{branch}"), 3, &conditional(2));
        check_untold(".if 1\nbackend app\n default-server maxconn 1\n.endif\n", 3, &conditional(1));
        let both = "defaults\n default-server check\n.if 1\ndefaults\n.endif\nbackend app\n";
        check_untold(both, 3, &conditional(3));
        // What is not of this backend does not matter, nor where others of its lines stand.
        check(&format!("backend other\n{branch}backend app\n default-server check"), "app", Some("check"));
        check(".if 1\nbackend app\n.if 0\n mode tcp\n.endif\n.endif\n", "app", Some(""));
        check(
            "global\n.if 1\n setenv LIMIT 1\n.endif\nbackend app\n default-server maxconn \"$LIMIT\"",
            "app",
            Some("maxconn 33"),
        );
    }
}
