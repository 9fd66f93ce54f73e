//! HAProxy's configuration to the log formats of its frontends.
//!
//! In: the text of `haproxy.cfg`, and what is known of its environment. Out: the formats of all frontends, as a
//! [`FormatSet`], which also knows those that had to be refused, with their place. Read are sections, `mode`, `option
//! httplog` and its kin, `log-format`, `error-log-format`, the formats of a `log-profile`, and
//! `setenv`; all else is passed over. What a frontend does not say comes from its `defaults`: those named by
//! `from`, else the last ones before it (configuration manual 4.1).

use std::collections::HashMap;

use super::format::LineFormat;
use super::format_set::{FormatSet, RefusedFormat};
use super::log_format::words::{self, Word};
use super::log_format::{CompiledFormat, LogFormatError, presets};

/// Words that begin a section (configuration manual 2.3 and the chapters it names).
pub const SECTIONS: [&str; 22] = [
    "global",
    "defaults",
    "frontend",
    "backend",
    "listen",
    "peers",
    "userlist",
    "resolvers",
    "cache",
    "program",
    "http-errors",
    "ring",
    "log-forward",
    "log-profile",
    "mailers",
    "fcgi-app",
    "crt-store",
    "traces",
    "acme",
    "dynamic-update",
    "stats-file",
    "healthcheck",
];

/// Reads `text`. `environment` tells the values of variables that HAProxy is known to run with.
pub fn read(text: &str, environment: &dyn Fn(&str) -> Option<String>) -> FormatSet {
    let mut reader = Reader {
        environment,
        variables: HashMap::new(),
        section: Section::Other,
        current: Settings::default(),
        last_defaults: Settings::default(),
        named_defaults: HashMap::new(),
        frontends: Vec::new(),
        found: Vec::new(),
        of_errors: Vec::new(),
        refused: Vec::new(),
    };
    for (number, line) in text.lines().enumerate() {
        reader.line(number + 1, line);
    }
    reader.end_section();
    reader.finish()
}

/// What a section has said so far.
#[derive(Clone, Debug, Default)]
struct Settings {
    /// HAProxy's own default is TCP.
    is_http: bool,
    layout: Option<Layout>,
    /// The line of its `error-log-format`, if it is one of those found.
    error_format: Option<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Layout {
    Http,
    Https,
    Tcp,
    Clf,
    /// The `log-format` of that line.
    Written(usize),
}

enum Section {
    Global,
    Defaults { name: Option<String> },
    Frontend { name: String },
    LogProfile,
    Other,
}

struct Reader<'a> {
    environment: &'a dyn Fn(&str) -> Option<String>,
    /// Set by `setenv` and `presetenv`.
    variables: HashMap<String, String>,
    section: Section,
    current: Settings,
    last_defaults: Settings,
    named_defaults: HashMap<String, Settings>,
    /// In their order, with what they log.
    frontends: Vec<(String, Settings)>,
    /// Formats by line: those for requests, and those for errors.
    found: Vec<(usize, CompiledFormat)>,
    of_errors: Vec<(usize, CompiledFormat)>,
    refused: Vec<RefusedFormat>,
}

impl Reader<'_> {
    fn line(&mut self, number: usize, line: &str) {
        let words = {
            let known = |name: &str| {
                let set = self.variables.get(name).cloned();
                set.or_else(|| (self.environment)(name)).or_else(|| presets::variable(name)).into()
            };
            words::split(line, &known)
        };
        match words {
            Ok(words) => self.keywords(number, &words),
            Err(error) => self.unreadable(number, line, error),
        }
    }

    /// A line with a variable that is not known: it matters only if it is about the log.
    fn unreadable(&mut self, number: usize, line: &str, error: LogFormatError) {
        if line.split_ascii_whitespace().next() == Some("log-format") {
            self.refuse(number, error);
            self.current.layout = Some(Layout::Written(number));
        }
    }

    fn keywords(&mut self, number: usize, words: &[Word]) {
        let texts: Vec<&str> = words.iter().map(Word::text).collect();
        let Some(&keyword) = texts.first() else { return };
        if self.begin_section(keyword, &texts[1..]) {
            return;
        }
        match (&self.section, texts.as_slice()) {
            (Section::Global, ["setenv" | "presetenv", name, value, ..]) => {
                self.variables.insert((*name).to_owned(), (*value).to_owned());
            }
            (Section::LogProfile, ["on", rest @ ..]) => {
                if let Some(at) = rest.iter().position(|&word| word == "format")
                    && let Some(word) = words.get(at + 2)
                {
                    self.keep(number, word);
                }
            }
            (Section::Defaults { .. } | Section::Frontend { .. }, rest) => self.setting(number, rest, words),
            _ => {}
        }
    }

    /// A line of a frontend or of defaults.
    fn setting(&mut self, number: usize, texts: &[&str], words: &[Word]) {
        match texts {
            ["mode", mode, ..] => self.current.is_http = *mode == "http",
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
        self.refused.push(RefusedFormat { line, frontends: Vec::new(), error });
    }

    /// Whether the line begins a section.
    fn begin_section(&mut self, keyword: &str, rest: &[&str]) -> bool {
        if !SECTIONS.contains(&keyword) {
            return false;
        }
        // What it says holds for this one, if it is its defaults.
        self.end_section();
        let from = || rest.iter().position(|&word| word == "from").and_then(|at| rest.get(at + 1));
        let (section, settings) = match keyword {
            "global" => (Section::Global, Settings::default()),
            "defaults" => {
                let name = rest.first().filter(|&&name| name != "from").map(|&name| name.to_owned());
                // Without `from` they begin with HAProxy's own.
                let settings = from().and_then(|&name| self.named_defaults.get(name)).cloned();
                (Section::Defaults { name }, settings.unwrap_or_default())
            }
            "frontend" | "listen" => {
                let name = rest.first().copied().unwrap_or_default().to_owned();
                let defaults =
                    from().map_or(Some(&self.last_defaults), |&name| self.named_defaults.get(name));
                (Section::Frontend { name }, defaults.cloned().unwrap_or_default())
            }
            "log-profile" => (Section::LogProfile, Settings::default()),
            _ => (Section::Other, Settings::default()),
        };
        (self.section, self.current) = (section, settings);
        true
    }

    /// Keeps what the section that ends here has said.
    fn end_section(&mut self) {
        let settings = std::mem::take(&mut self.current);
        match std::mem::replace(&mut self.section, Section::Other) {
            Section::Defaults { name } => {
                self.named_defaults.extend(name.map(|name| (name, settings.clone())));
                self.last_defaults = settings;
            }
            Section::Frontend { name } => self.frontends.push((name, settings)),
            Section::Global | Section::LogProfile | Section::Other => {}
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
        for refused in refused {
            let frontends = users(&Layout::Written(refused.line));
            formats.add_refused(RefusedFormat { frontends, ..refused });
        }
        formats
    }
}

impl Settings {
    /// What is really logged: in TCP mode `option httplog` means tcplog (seen on HAProxy 2.6.12).
    fn effective(&self) -> Option<Layout> {
        match &self.layout {
            Some(Layout::Http | Layout::Https) if !self.is_http => Some(Layout::Tcp),
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
}
