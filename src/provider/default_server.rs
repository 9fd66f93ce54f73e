//! The `default-server` lines that hold for a backend, in HAProxy's own configuration.
//!
//! In: the text of `haproxy.cfg`, and what is known of HAProxy's environment. Out: the words of those lines, as HAProxy
//! reads them; or which of them cannot be told from the text alone. Each line adds to those before it; a
//! backend begins with those of its `defaults`: the ones that `from` names, else the last ones before it
//! (configuration manual 4.1 and 5.2).

use std::cell::RefCell;
use std::collections::HashMap;

use crate::core::log::haproxy_cfg::SECTIONS;
use crate::core::log::log_format::LogFormatError;
use crate::core::log::log_format::words::{self, Environment, Variable, Word};

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
    let mut reader = Reader::default();
    for (number, line) in (1..).zip(text.lines().chain(["global"])) {
        if let Some(said) = reader.line(number, line, environment).filter(|_| reader.ended == backend) {
            return said.untold.map_or(Ok(Some(said.words)), Err);
        }
    }
    Ok(None)
}

/// What a section has said of its servers, its defaults included.
#[derive(Clone, Debug, Default)]
struct Said {
    words: Vec<String>,
    /// The first line of which it is not known what it says.
    untold: Option<Untold>,
}

#[derive(Debug, Default)]
struct Reader {
    /// The section's keyword, its name, and what it has said so far.
    section: (String, String, Said),
    /// It begins within the `.if` of that line.
    of_branch: Option<usize>,
    last_defaults: Said,
    named: HashMap<String, Said>,
    /// The lines of the `.if` that are open.
    branches: Vec<usize>,
    /// Set by `setenv` and `presetenv`.
    variables: RefCell<HashMap<String, String>>,
    /// The backend that the last line has ended.
    ended: String,
}

impl Reader {
    /// Takes a line; gives what a backend has said that it ends.
    fn line(&mut self, number: usize, line: &str, environment: Environment<'_>) -> Option<Said> {
        // Only the lines that matter are asked for their variables.
        let keyword = line.split_ascii_whitespace().next()?;
        let known = |name: &str| {
            let set = self.variables.borrow().get(name).cloned();
            set.map_or_else(|| environment(name), Variable::Is)
        };
        match keyword {
            ".if" => self.branches.push(number),
            ".endif" => drop(self.branches.pop()),
            "setenv" | "presetenv" => self.set(line, &known),
            "default-server" => {
                let words = words::split(line, &known);
                self.default_server(number, words);
            }
            keyword if SECTIONS.contains(&keyword) => {
                let words = words::split(line, &known).unwrap_or_default();
                return self.begin(keyword, words.iter().skip(1).map(Word::text).collect());
            }
            _ => {}
        }
        None
    }

    /// A variable from here on. One that is set in a branch, or of another one, HAProxy has to tell.
    fn set(&self, line: &str, known: Environment<'_>) {
        let own = |name: &str| self.variables.borrow().get(name).cloned().into();
        let Ok(words) = words::split(line, &own) else { return };
        let words: Vec<_> = words.iter().map(Word::text).collect();
        let [keyword, name, value, ..] = words[..] else { return };
        if !self.branches.is_empty() {
            self.variables.borrow_mut().remove(name);
        } else if keyword == "setenv" || known(name) == Variable::Unset {
            self.variables.borrow_mut().insert(name.to_owned(), value.to_owned());
        }
    }

    fn default_server(&mut self, number: usize, words: Result<Vec<Word>, LogFormatError>) {
        let branch = self.branches.last().copied().or(self.of_branch);
        let said = &mut self.section.2;
        let why = match (branch, words) {
            (Some(branch), _) => UntoldError::Conditional(branch),
            (None, Err(error)) => UntoldError::Words(error),
            (None, Ok(words)) => {
                said.words.extend(words.iter().skip(1).map(|word| word.text().to_owned()));
                return;
            }
        };
        said.untold.get_or_insert(Untold { line: number, why });
    }

    fn begin(&mut self, keyword: &str, rest: Vec<&str>) -> Option<Said> {
        let (of, name, mut said) = std::mem::take(&mut self.section);
        let ended = match of.as_str() {
            "backend" | "listen" => {
                self.ended = name;
                Some(said)
            }
            "defaults" => {
                if let Some(branch) = self.of_branch.filter(|_| !self.last_defaults.words.is_empty()) {
                    // Whether they take the place of those before them is not known.
                    let why = UntoldError::Conditional(branch);
                    said.untold.get_or_insert(Untold { line: branch, why });
                }
                self.named.insert(name, said.clone());
                self.last_defaults = said;
                None
            }
            _ => None,
        };
        let from = rest.iter().position(|&word| word == "from").and_then(|at| rest.get(at + 1));
        let begun = match (from, keyword) {
            (Some(&from), _) => self.named.get(from).cloned().unwrap_or_default(),
            (None, "backend" | "listen") => self.last_defaults.clone(),
            (None, _) => Said::default(),
        };
        let name = rest.first().filter(|&&name| name != "from").copied().unwrap_or_default();
        self.of_branch = self.branches.last().copied();
        self.section = (keyword.to_owned(), name.to_owned(), begun);
        ended
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
