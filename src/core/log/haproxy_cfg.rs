//! HAProxy's configuration to the log formats of its frontends.
//!
//! In: the text of `haproxy.cfg`, and what is known of its environment. Out: the formats of all frontends, as a
//! [`FormatSet`], which also knows those that had to be refused, with their place: for a variable that is not known, or an
//! `.if` around them. Read are sections, `mode`, `option httplog` and its kin, `log-format`, `error-log-format` and the
//! formats of a `log-profile`; all else is passed over. What a frontend does not say comes from its `defaults`: those named by
//! `from`, else the last ones before it (configuration manual 4.1).

use self::lines::{ConfigLine, Defaults, Lines};
use super::format::LineFormat;
use super::format_set::{FormatSet, RefusedFormat};
use super::log_format::words::Word;
use super::log_format::{CompiledFormat, LogFormatError, LogFormatErrorKind, presets};

pub(crate) mod lines;

/// Reads `text`. `environment` tells the values of variables that HAProxy is known to run with.
pub fn read(text: &str, environment: &dyn Fn(&str) -> Option<String>) -> FormatSet {
    let mut reader = Reader::default();
    let known = |name: &str| environment(name).or_else(|| presets::variable(name)).into();
    for line in text.lines() {
        if let Some(line) = reader.lines.take(line, &known) {
            let words = reader.lines.words(&line, &known);
            reader.line(&line, words);
        }
    }
    reader.end_section();
    reader.finish()
}

/// What a section has said so far.
#[derive(Clone, Debug, Default)]
struct Settings {
    /// HAProxy's own default is TCP.
    is_http: bool,
    /// The line of its `mode`, if what that says is not known.
    untold_mode: Option<usize>,
    layout: Option<Layout>,
    /// The `.if` that the `defaults` it comes from stand in.
    of_branch: Option<usize>,
    /// The line of its `error-log-format`, if it is one of those found.
    error_format: Option<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Layout {
    Http,
    Https,
    Tcp,
    Clf,
    /// The format of that line, or what that line is refused for.
    Written(usize),
}

#[derive(Default)]
enum Section {
    Defaults {
        name: String,
    },
    Frontend {
        name: String,
    },
    LogProfile,
    #[default]
    Other,
}

#[derive(Default)]
struct Reader {
    lines: Lines,
    section: Section,
    /// The line it begins in,
    began: usize,
    /// and the `.if` that this stands in.
    of_branch: Option<usize>,
    current: Settings,
    defaults: Defaults<Settings>,
    /// In their order, with what they log.
    frontends: Vec<(String, Settings)>,
    /// Formats by line: those for requests, and those for errors.
    found: Vec<(usize, CompiledFormat)>,
    of_errors: Vec<(usize, CompiledFormat)>,
    /// With whether a log-profile has it.
    refused: Vec<(RefusedFormat, bool)>,
}

impl Reader {
    fn line(&mut self, line: &ConfigLine<'_>, words: Result<Vec<Word>, LogFormatError>) {
        if line.is_section() {
            let words = words.unwrap_or_default();
            return self.begin_section(line, &words.iter().skip(1).map(Word::text).collect::<Vec<_>>());
        }
        // Of a whole section in a branch all is known, once HAProxy tells of it.
        let branch = line.branch.filter(|branch| self.of_branch != Some(*branch));
        let words = branch.map_or(words, |branch| Err(conditional(branch)));
        match (&self.section, words) {
            (Section::LogProfile, Ok(words)) => self.of_profile(line, &words),
            (Section::Defaults { .. } | Section::Frontend { .. }, Ok(words)) => {
                self.setting(line.number, &words)
            }
            (Section::LogProfile | Section::Defaults { .. } | Section::Frontend { .. }, Err(error)) => {
                self.untold(line, error);
            }
            (Section::Other, _) => {}
        }
    }

    /// A line of which it is not known what it says, or whether it holds: it matters only if it is about the log.
    fn untold(&mut self, line: &ConfigLine<'_>, error: LogFormatError) {
        let texts: Vec<&str> = line.text.split_ascii_whitespace().collect();
        match texts[..] {
            ["mode", ..] => self.current.untold_mode = Some(line.number),
            ["log-format", ..] | ["option", "httplog" | "httpslog" | "tcplog", ..] => {
                self.current.layout = Some(Layout::Written(line.number));
            }
            ["on", ..] if texts.contains(&"format") => {}
            _ => return,
        }
        self.refuse(line.number, error);
    }

    /// A line of a log-profile.
    fn of_profile(&mut self, line: &ConfigLine<'_>, words: &[Word]) {
        let at = words.iter().position(|word| word.text() == "format");
        if let Some(word) = at.filter(|_| line.keyword == "on").and_then(|at| words.get(at + 1)) {
            self.keep(line.number, word);
        }
    }

    /// A line of a frontend or of defaults.
    fn setting(&mut self, number: usize, words: &[Word]) {
        let texts: Vec<&str> = words.iter().map(Word::text).collect();
        match texts[..] {
            ["mode", mode, ..] => (self.current.is_http, self.current.untold_mode) = (mode == "http", None),
            ["option", "httplog" | "tcplog", "clf", ..] => self.current.layout = Some(Layout::Clf),
            ["option", "httplog", ..] => self.current.layout = Some(Layout::Http),
            ["option", "httpslog", ..] => self.current.layout = Some(Layout::Https),
            ["option", "tcplog", ..] => self.current.layout = Some(Layout::Tcp),
            ["log-format", _, ..] => {
                self.keep(number, &words[1]);
                self.current.layout = Some(Layout::Written(number));
            }
            ["error-log-format", _, ..] => {
                if let Ok(format) = CompiledFormat::of_any_word(&words[1]) {
                    self.of_errors.push((number, format));
                    self.current.error_format = Some(number);
                }
            }
            _ => {}
        }
    }

    fn keep(&mut self, number: usize, word: &Word) {
        match CompiledFormat::of_word(word) {
            Ok(format) => self.found.push((number, format)),
            Err(error) => self.refuse(number, error),
        }
    }

    fn refuse(&mut self, line: usize, error: LogFormatError) {
        let of_profile = matches!(self.section, Section::LogProfile);
        self.refused.push((RefusedFormat { line, frontends: Vec::new(), error }, of_profile));
    }

    fn begin_section(&mut self, line: &ConfigLine<'_>, rest: &[&str]) {
        // What it says holds for this one, if it is its defaults.
        self.end_section();
        let name = lines::name(rest);
        self.section = match line.keyword {
            "defaults" => Section::Defaults { name },
            "frontend" | "listen" => Section::Frontend { name },
            "log-profile" => Section::LogProfile,
            _ => Section::Other,
        };
        (self.began, self.of_branch) = (line.number, line.branch);
        self.current = self.defaults.of(line.keyword, rest);
        let elsewhere = self.current.of_branch.filter(|_| self.current.of_branch != line.branch);
        if let Some(branch) = elsewhere {
            // Whether its defaults are those, or others before them, is not known.
            self.refuse(line.number, conditional(branch));
            (self.current.layout, self.current.untold_mode) =
                (Some(Layout::Written(line.number)), Some(line.number));
        }
    }

    /// Keeps what the section that ends here has said.
    fn end_section(&mut self) {
        let mut settings = std::mem::take(&mut self.current);
        match std::mem::take(&mut self.section) {
            Section::Defaults { name } => {
                settings.of_branch = self.of_branch;
                self.defaults.end(&name, settings);
            }
            Section::Frontend { name } => {
                // One of each name: the other one stands in another branch.
                let mut others = self.frontends.iter_mut().filter(|(other, _)| *other == name);
                let other = others.find(|(_, other)| other.effective() != settings.effective());
                if let (Some((_, other)), Some(branch)) = (other, self.of_branch) {
                    other.layout = Some(Layout::Written(self.began));
                    settings.layout.clone_from(&other.layout);
                    self.refuse(self.began, conditional(branch));
                }
                self.frontends.push((name, settings));
            }
            Section::LogProfile | Section::Other => {}
        }
    }

    fn finish(self) -> FormatSet {
        let Self { frontends, found, of_errors, refused, .. } = self;
        let mut formats = FormatSet::default();
        let users = |layout: &Layout| {
            let uses = frontends.iter().filter(|(_, settings)| settings.effective().as_ref() == Some(layout));
            uses.map(|(name, _)| name.clone()).collect::<Vec<_>>()
        };
        let known = [
            (Layout::Http, LineFormat::Http),
            (Layout::Https, LineFormat::Https),
            (Layout::Tcp, LineFormat::Tcp),
            (Layout::Clf, LineFormat::Clf),
        ];
        for (layout, format) in known {
            let names = users(&layout);
            if !names.is_empty() {
                formats.add(format, names);
            }
        }
        let of_profile = |line: usize| {
            frontends.iter().all(|(_, settings)| settings.layout != Some(Layout::Written(line)))
        };
        for (line, format) in found {
            let names = users(&Layout::Written(line));
            // One that nobody uses is of a profile, or of defaults without a frontend, which does no harm.
            if !names.is_empty() || of_profile(line) {
                formats.add(LineFormat::Compiled(Box::new(format)), names);
            }
        }
        for (line, format) in of_errors {
            if frontends.iter().any(|(_, settings)| settings.error_format == Some(line)) {
                formats.add_of_errors(format);
            }
        }
        for (refused, of_profile) in refused {
            let mut frontends = users(&Layout::Written(refused.line));
            frontends.dedup();
            if of_profile || !frontends.is_empty() {
                formats.add_refused(RefusedFormat { frontends, ..refused });
            }
        }
        formats
    }
}

/// Of a line that holds or not as the `.if` in line `branch` says.
fn conditional(branch: usize) -> LogFormatError {
    LogFormatError { position: 0, kind: LogFormatErrorKind::Conditional(branch) }
}

impl Settings {
    /// What is really logged: in TCP mode `option httplog` means tcplog (seen on HAProxy 2.6.12).
    fn effective(&self) -> Option<Layout> {
        match &self.layout {
            Some(Layout::Http | Layout::Https) => match self.untold_mode {
                Some(line) => Some(Layout::Written(line)),
                None if self.is_http => self.layout.clone(),
                None => Some(Layout::Tcp),
            },
            layout => layout.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::log::format::Line;

    const CONFIG: &str = r#"
global
    log /dev/log local0
    setenv PREFIX "req="

defaults
    mode http
    option httplog

frontend web    # by the anonymous defaults
    bind "$UNKNOWN"
    default_backend app

defaults kv
    mode http
    log-format "${PREFIX}%f %b/%s %Ta"

frontend api
    bind :81

frontend cdn from kv
    log-format cdn\ %f\ %b/%s\ %Tr

defaults more from kv

listen admin from more
    bind :82
    error-log-format "broken %ci %[fc_err]"

defaults tcp-later
    option httplog

frontend sql from tcp-later
listen redis
    server r1 127.0.0.1:6379
frontend other
    mode http
    log-format "%b%s %Ta"
frontend unknown_variable
    mode http
    log-format "$NOT_KNOWN %b %Ta"
"#;

    #[track_caller]
    fn check(format: &mut LineFormat, line: &str, expected: &str) {
        let found = match format.read(line.as_bytes()) {
            Line::Request(request) => format!("{} {:?}", request.format().name(), request.timers),
            Line::Message(_) => "message".to_owned(),
            Line::Unparsed(error) => error.to_string(),
        };
        assert!(found.starts_with(expected), "{found}: {line}");
    }

    #[test]
    fn every_frontend_has_the_format_of_its_section_or_defaults() {
        let found = read(CONFIG, &|_| None);
        let refused: Vec<_> = found.refused().iter().map(ToString::to_string).collect();
        assert_eq!(refused.len(), 2, "{refused:?}");
        assert!(refused[0].starts_with("line 38: at byte 16: `%b` cannot be told apart"), "{refused:?}");
        assert!(refused[0].ends_with("(frontend other)"), "{refused:?}");
        assert_eq!(
            refused[1],
            "line 41: at byte 16: the environment variable `NOT_KNOWN` is not known here (frontend unknown_variable)"
        );
        // httplog, tcplog, and the two that are written.
        assert_eq!(found.len(), 4);
        let mut format = LineFormat::Set(Box::new(found));
        let http =
            "1.2.3.4:5 [21/Nov/2026:09:31:50.191] web be/s 0/0/0/1/1 200 7 - - ---- 1/1/0/0/0 0/0 \"GET /\"";
        check(&mut format, http, "httplog");
        check(&mut format, "req=api app/s1 12", "custom Timers { millis: [-1, -1, -1, -1, 12]");
        check(&mut format, "req=admin app/s1 12", "custom Timers { millis: [-1, -1, -1, -1, 12]");
        check(&mut format, "cdn cdn app/s1 12", "custom Timers { millis: [-1, -1, -1, 12, -1]");
        check(
            &mut format,
            "1.2.3.4:5 [21/Nov/2026:09:31:50.191] redis r/r1 0/0/9 7 -- 1/1/0/0/0 0/0",
            "tcplog",
        );
        check(&mut format, "broken 1.2.3.4 7", "message");
    }

    #[test]
    fn a_frontend_right_behind_its_defaults_has_their_format() {
        let found = read("defaults\n mode http\n option httplog\nfrontend f\n bind :80\n", &|_| None);
        assert_eq!(found.len(), 1);
    }

    #[test]
    fn formats_of_a_log_profile_are_found() {
        let found = read(
            "log-profile p\n    on accept drop\n    on any format \"p %b %s %Ta\"\nfrontend f\n    log-format \"%b %Tr\"",
            &|_| None,
        );
        assert_eq!((found.len(), found.refused()), (2, &[][..]));
    }

    /// What is refused of `text`, a line for each.
    #[track_caller]
    fn check_refused(text: &str, expected: &[&str]) {
        let found = read(text, &|name| (name == "THERE").then(|| "%f".to_owned()));
        let refused: Vec<String> = found.refused().iter().map(ToString::to_string).collect();
        let refused: Vec<String> =
            refused.iter().map(|refused| refused.replace(", which only HAProxy knows", "")).collect();
        assert_eq!(refused, expected, "{text}");
    }

    #[test]
    fn what_only_haproxy_knows_is_refused_with_its_line() {
        let branched = "frontend f\n mode http\n.if feature(X)\n LINE\n.endif\n";
        let refused = ["line 4: it holds or not as the `.if` in line 3 says (frontend f)"];
        check_refused(&branched.replace("LINE", "log-format \"%b %Ta\""), &refused);
        check_refused(&branched.replace("LINE", "option httplog"), &refused);
        check_refused(&branched.replace("LINE", "maxconn 7"), &[]);
        check_refused(
            &branched.replace("LINE", "log-format \"%b %Ta\"\n.endif\n.if 1\n.endif\n option httplog"),
            &[],
        );
        let mode = branched.replace("LINE", "mode tcp");
        check_refused(&format!("{mode} option httplog"), &refused);
        check_refused(&format!("{mode} option tcplog"), &[]);
        let profile = "log-profile p\n.if 1\n on any format \"%b %Ta\"\n.endif\n";
        check_refused(profile, &["line 3: it holds or not as the `.if` in line 2 says"]);
    }

    #[test]
    fn a_section_in_a_branch_is_known_unless_it_may_be_another() {
        let one = "log-format \"%b %Ta\"";
        check_refused(&format!(".if 1\nfrontend f\n {one}\n.endif"), &[]);
        check_refused(&format!(".if 1\ndefaults\n {one}\nfrontend f\n.endif"), &[]);
        check_refused(
            &format!(".if 1\nfrontend f\n {one}\n.else\nfrontend f\n option tcplog\n.endif"),
            &["line 5: it holds or not as the `.if` in line 1 says (frontend f)"],
        );
        check_refused(
            &format!(
                "defaults\n option tcplog\n.if 1\ndefaults\n {one}\n.endif\nfrontend f\nfrontend g\n {one}"
            ),
            &["line 7: it holds or not as the `.if` in line 3 says (frontend f)"],
        );
    }

    #[test]
    fn variables_are_as_haproxy_has_them() {
        let format = "frontend f\n log-format \"$V %b %Ta\"\n";
        let unknown = |line: usize| {
            format!("line {line}: at byte 13: the environment variable `V` is not known here (frontend f)")
        };
        check_refused(&format!("global\n setenv V a\n{format}"), &[]);
        check_refused(&format!("global\n setenv V \"$THERE\"\n{format}"), &[&unknown(4)]);
        // Whether it is set where HAProxy is started is not known.
        check_refused(&format!("global\n presetenv V a\n{format}"), &[&unknown(4)]);
        check_refused(&format!("global\n.if 1\n setenv V a\n.endif\n{format}"), &[&unknown(6)]);
        check_refused(&format!("global\n setenv V a\n unsetenv V\n{format}"), &[]);
    }
}
