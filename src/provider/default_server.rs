//! The `default-server` lines that hold for a backend, in HAProxy's own configuration.
//!
//! Each line adds to those before it; a backend begins with those of its `defaults`: the ones that `from`
//! names, else the last ones before it (configuration manual 4.1 and 5.2).

use std::collections::HashMap;

use crate::core::log::haproxy_cfg::SECTIONS;
use crate::haproxy::words;

/// The words behind all `default-server` that hold for `backend`; `None` if there is no such backend.
pub(crate) fn keywords(text: &str, backend: &str) -> Option<Vec<String>> {
    let mut last_defaults = Vec::new();
    let mut named: HashMap<String, Vec<String>> = HashMap::new();
    // The section's keyword, its name, and its words so far.
    let mut section: (String, String, Vec<String>) = Default::default();
    for line in text.lines().map(split).chain([vec!["global".to_owned()]]) {
        let Some((keyword, rest)) = line.split_first() else { continue };
        if !SECTIONS.contains(&keyword.as_str()) {
            if keyword == "default-server" {
                section.2.extend_from_slice(rest);
            }
            continue;
        }
        let (of, name, words) = std::mem::take(&mut section);
        match of.as_str() {
            "backend" | "listen" if name == backend => return Some(words),
            "defaults" => {
                named.insert(name, words.clone());
                last_defaults = words;
            }
            _ => {}
        }
        let from = rest.iter().position(|word| word == "from").and_then(|at| rest.get(at + 1));
        let begun = match (from, keyword.as_str()) {
            (Some(from), _) => named.get(from).cloned().unwrap_or_default(),
            (None, "backend" | "listen") => last_defaults.clone(),
            (None, _) => Vec::new(),
        };
        let name = rest.first().filter(|name| *name != "from").cloned().unwrap_or_default();
        section = (keyword.clone(), name, begun);
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
    fn quotes_and_backslashes_are_taken_off() {
        assert_eq!(split(r#" a 'b c' "d\"e" f\ g #h"#), ["a", "b c", "d\"e", "f g"]);
        assert_eq!(split("# nothing"), Vec::<String>::new());
    }
}
