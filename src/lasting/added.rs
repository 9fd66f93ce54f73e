//! Server lines for servers that were added at run time: HAProxy starts with them, and the agent goes on as if it had
//! added them again.
//!
//! HAProxy's `default-server` holds for a server line and not for `add server`, so a line is written only where
//! that makes no difference.

use super::line::{ServerLine, Wanted, address_text};
use crate::core::controller::ServerStanding;
use crate::core::settings::server_options::options;
use crate::core::settings::spares::Keywords;

/// Ends each line that is written for a server that was added, and told from the operator's own by it.
const MARK: &str = "# added by haproxy-autoscale";

/// Options of `default-server` that change nothing for a server with an IP address.
const FOR_NAMES: [&str; 7] =
    ["disabled", "enabled", "init-addr", "resolve-net", "resolve-opts", "resolve-prefer", "resolvers"];

/// Whether `line` was written by the function of that name.
pub(super) fn is_marked(line: &[u8]) -> bool {
    line.trim_ascii_end().ends_with(MARK.as_bytes())
}

/// The line for `server`, which was added with `keywords`.
pub(super) fn line(
    indent: &str,
    server: &ServerStanding,
    keywords: &Keywords,
    is_disabled_by_default: bool,
) -> String {
    let address = server.address.map(|address| address_text((address, server.port))).unwrap_or_default();
    let line = format!("{indent}server {} {address} {keywords}", server.server);
    let line = line.trim_end();
    let wanted = Wanted {
        disabled: Some(false),
        weight: server.weight,
        unsaid_weight: server.initial_weight,
        address: None,
    };
    let edited = ServerLine::read(line.as_bytes())
        .map(|read| read.edited(line.as_bytes(), &wanted, is_disabled_by_default));
    // It was read as text.
    let line = edited.map_or(line.into(), |edited| String::from_utf8_lossy(&edited).into_owned());
    format!("{line} {MARK}\n")
}

/// The first option that `default_server` would give to a line with `keywords`, and HAProxy has not given the server.
pub(super) fn inherited<'a>(default_server: &'a [String], keywords: &Keywords) -> Option<&'a str> {
    let mut options = options(default_server).map(|option| option[0].as_str());
    options.find(|option| !FOR_NAMES.contains(option) && !keywords.words().any(|word| word == *option))
}

#[cfg(test)]
mod tests {
    use super::super::testing::server;
    use super::*;
    use crate::core::controller::Origin;
    use proptest::prelude::*;

    fn keywords(text: &str) -> Keywords {
        Keywords::new(text).unwrap()
    }

    #[track_caller]
    fn check(keywords: &str, is_disabled_by_default: bool, expected: &str) {
        let keywords = self::keywords(keywords);
        let server = ServerStanding {
            origin: Origin::Added(keywords.clone()),
            ..server("dyn-10.0.0.4-80", Some(false), 1, "10.0.0.4:80")
        };
        let line = line("  ", &server, &keywords, is_disabled_by_default);
        assert_eq!(line, format!("{expected} # added by haproxy-autoscale\n"));
        assert!(is_marked(line.as_bytes()));
    }

    #[test]
    fn a_line_has_what_the_server_was_added_with() {
        check("check inter 2s", false, "  server dyn-10.0.0.4-80 10.0.0.4:80 check inter 2s");
        check("", true, "  server dyn-10.0.0.4-80 10.0.0.4:80 enabled");
        check("check weight 20", false, "  server dyn-10.0.0.4-80 10.0.0.4:80 check weight 1");
        check("sni str(#\"')", false, "  server dyn-10.0.0.4-80 10.0.0.4:80 sni str(\\#\\\"\\')");
    }

    #[track_caller]
    fn check_inherited(default_server: &str, keywords: &str, expected: Option<&str>) {
        let words: Vec<String> = default_server.split_ascii_whitespace().map(str::to_owned).collect();
        assert_eq!(inherited(&words, &self::keywords(keywords)), expected, "{default_server} / {keywords}");
    }

    #[test]
    fn what_a_line_would_get_from_the_default_server_besides_is_found() {
        check_inherited("", "check", None);
        check_inherited("check inter 2s", "check inter 5s maxconn 9", None);
        check_inherited("check inter 2s ssl", "check inter 2s", Some("ssl"));
        check_inherited("inter check", "inter 5s", None);
        check_inherited("resolvers dns disabled init-addr none", "check", None);
    }

    proptest! {
        #[test]
        fn a_line_is_read_back_as_what_the_server_was_added_with(
            words in prop::collection::vec("[!-:=-\\[\\]-~]{1,8}", 0..6),
        ) {
            let Ok(keywords) = Keywords::new(&words.join(" ")) else { return Ok(()) };
            let text = line("", &server("s", Some(false), 1, "10.0.0.4:80"), &keywords, false);
            let read = ServerLine::read(text.as_bytes()).unwrap();
            prop_assert_eq!(read.address(), "10.0.0.4:80");
            if !words.iter().any(|word| word == "weight") {
                prop_assert_eq!(read.options(), keywords.words().collect::<Vec<_>>());
            }
        }
    }
}
