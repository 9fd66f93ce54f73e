//! The `default-server` lines that hold for a backend, in HAProxy's own configuration, and what its servers have of them.
//!
//! Each line adds to those before it; a backend begins with those of its `defaults`: the ones that `from`
//! names, else the last ones before it (configuration manual 4.1 and 5.2).

use std::collections::HashMap;

use crate::core::log::haproxy_cfg::SECTIONS;
use crate::haproxy::words;

/// The words behind all `default-server` that hold for `backend`; `None` if there is no such backend.
pub(crate) fn keywords(text: &str, backend: &str) -> Option<Vec<String>> {
    read(text, backend).map(|section| section.defaults)
}

/// How long HAProxy's own `slowstart` lets servers of `backend` into their share, by name, as it is written; those of a
/// `server-template` by its prefix.
pub(crate) fn slowstarts(text: &str, backend: &str) -> Vec<(String, String)> {
    let servers = read(text, backend).map(|section| section.servers).unwrap_or_default();
    let length = |words: &[String]| {
        let at = words.iter().rposition(|word| word == "slowstart")?;
        words.get(at + 1).filter(|length| length.trim_end_matches(char::is_alphabetic) != "0").cloned()
    };
    servers.into_iter().filter_map(|(name, words)| Some((name, length(&words)?))).collect()
}

/// A section as far as it has come.
#[derive(Default)]
struct Section {
    keyword: String,
    name: String,
    /// The words of its `default-server` lines, and of those of its defaults.
    defaults: Vec<String>,
    /// Its servers, each with all that holds for it.
    servers: Vec<(String, Vec<String>)>,
}

impl Section {
    fn line(&mut self, keyword: &str, rest: &[String]) {
        // Before the options: a name and an address, a template's number between them.
        let options = match keyword {
            "default-server" => return self.defaults.extend_from_slice(rest),
            "server" => 2,
            "server-template" => 3,
            _ => return,
        };
        if let (Some(name), Some(options)) = (rest.first(), rest.get(options..)) {
            self.servers.push((name.clone(), [&self.defaults, options].concat()));
        }
    }
}

/// The section of `backend`; `None` if there is none.
fn read(text: &str, backend: &str) -> Option<Section> {
    let mut last_defaults = Vec::new();
    let mut named: HashMap<String, Vec<String>> = HashMap::new();
    let mut section = Section::default();
    for line in text.lines().map(split).chain([vec!["global".to_owned()]]) {
        let Some((keyword, rest)) = line.split_first() else { continue };
        if !SECTIONS.contains(&keyword.as_str()) {
            section.line(keyword, rest);
            continue;
        }
        let ended = std::mem::take(&mut section);
        match ended.keyword.as_str() {
            "backend" | "listen" if ended.name == backend => return Some(ended),
            "defaults" => {
                named.insert(ended.name, ended.defaults.clone());
                last_defaults = ended.defaults;
            }
            _ => {}
        }
        let from = rest.iter().position(|word| word == "from").and_then(|at| rest.get(at + 1));
        let defaults = match (from, keyword.as_str()) {
            (Some(from), _) => named.get(from).cloned().unwrap_or_default(),
            (None, "backend" | "listen") => last_defaults.clone(),
            (None, _) => Vec::new(),
        };
        let name = rest.first().filter(|name| *name != "from").cloned().unwrap_or_default();
        section = Section { keyword: keyword.clone(), name, defaults, servers: Vec::new() };
    }
    None
}

/// The words of a line, without quotes and backslashes; `#` begins a comment.
fn split(line: &str) -> Vec<String> {
    words::words(line.as_bytes()).into_iter().map(|word| word.text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, backend: &str, expected: Option<&str>) {
        let found = keywords(text, backend).map(|words| words.join(" "));
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
    fn quotes_and_backslashes_are_taken_off() {
        assert_eq!(split(r#" a 'b c' "d\"e" f\ g #h"#), ["a", "b c", "d\"e", "f g"]);
        assert_eq!(split("# nothing"), Vec::<String>::new());
    }
}
