//! Where a backend's spare servers come from.
//!
//! What is in the pool is told while the agent runs, as an [`Offer`](crate::core::plan::supply::Offer):
//! here is only what is done with it.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use super::server_options::{options, undone_by};

/// Where spare servers come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spares {
    /// HAProxy has them all, in MAINT.
    Declared,
    /// HAProxy has slots, in MAINT, that get an address of the pool when they are needed.
    Slots {
        /// The address of a slot that has none; `None`: any that no server can have, see
        /// [`Spares::is_placeholder`].
        placeholder: Option<SocketAddr>,
        /// HAProxy's configuration gets more of them when they run out; `None`: it does not.
        grow: Option<Grow>,
    },
    /// They are added to HAProxy with an address of the pool, and deleted again.
    Dynamic,
}

/// How a backend gets more slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grow {
    /// At least so many at a time, above 0: each time takes a reload.
    pub by: u32,
    /// Never more slots than this; `None`: as many as it takes.
    pub to: Option<u32>,
}

impl Spares {
    /// `declared`, `slots` or `dynamic`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Declared => "declared",
            Self::Slots { .. } => "slots",
            Self::Dynamic => "dynamic",
        }
    }

    /// Whether a server at `address` is a slot that has none: its address is the one that was named,
    /// or else [nowhere](is_nowhere).
    pub fn is_placeholder(self, address: SocketAddr) -> bool {
        match self {
            Self::Slots { placeholder: Some(placeholder), .. } => address == placeholder,
            Self::Slots { placeholder: None, .. } => is_nowhere(address),
            Self::Declared | Self::Dynamic => false,
        }
    }

    /// How it gets more slots, if it does.
    pub const fn grow(self) -> Option<Grow> {
        match self {
            Self::Slots { grow, .. } => grow,
            Self::Declared | Self::Dynamic => None,
        }
    }
}

/// No server listens there: 0.0.0.0, `::`, or any address with port 0 or 1. So slots are recognised.
pub fn is_nowhere(address: SocketAddr) -> bool {
    address.ip().is_unspecified() || address.port() <= 1
}

/// What stands behind the address of a server that is added: `check inter 2s maxconn 50`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keywords(Arc<[String]>);

/// HAProxy takes lines of 64 words (seen on 2.6 to 3.4); `add server b/s address` are four of them, and a value in a cookie may
/// come behind them.
const MOST_WORDS: usize = 58;

/// Keywords that no server can be added with (seen on HAProxy 2.6 to 3.2), and those that are not the agent's to
/// give: a state and a name of its own.
const REFUSED: [&str; 9] = [
    "resolvers",
    "resolve-prefer",
    "resolve-net",
    "resolve-opts",
    "init-addr",
    "redir",
    "namespace",
    "enabled",
    "disabled",
];

impl Keywords {
    /// Takes `text`, words with blanks between and without quotes.
    ///
    /// # Errors
    /// As [`Keywords::of_words`].
    pub fn new(text: &str) -> Result<Self, KeywordsError> {
        Self::of_words(text.split_ascii_whitespace())
    }

    /// Takes `words` as HAProxy is to have them, blanks and quotes included.
    ///
    /// # Errors
    /// A word that no server can be added with, or a character that could end the command.
    pub fn of_words<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Self, KeywordsError> {
        let words: Vec<&str> = words.into_iter().collect();
        let characters = || words.iter().flat_map(|word| word.chars());
        if let Some(found) = characters().find(|&c| !(' '..='~').contains(&c) || matches!(c, ';' | '<')) {
            return Err(KeywordsError::Character(found));
        }
        if words.len() > MOST_WORDS {
            return Err(KeywordsError::TooMany(words.len()));
        }
        if let Some(at) = words.iter().position(|word| word.is_empty()) {
            let before = at.checked_sub(1).map_or("", |at| words[at]);
            return Err(KeywordsError::Empty(before.to_owned()));
        }
        if let Some(refused) = options(&words).find(|option| REFUSED.contains(&option[0])) {
            return Err(KeywordsError::Refused(refused[0].to_owned()));
        }
        let keywords = Self(words.into_iter().map(str::to_owned).collect());
        if keywords.number("weight") == Some(0) { Err(KeywordsError::NoWeight) } else { Ok(keywords) }
    }

    /// What `words`, all those of `default-server` lines, come to: without what a later one undoes, and without what no server can
    /// be added with; and what that was.
    ///
    /// # Errors
    /// As [`Keywords::of_words`].
    pub fn lenient(words: &[String]) -> Result<(Self, Vec<String>), KeywordsError> {
        let (mut kept, mut dropped) = (Vec::<&[String]>::new(), Vec::new());
        for option in options(words) {
            match (option[0].as_str(), undone_by(&option[0])) {
                // As every server is that is added.
                ("enabled", _) => dropped.retain(|option| option != "disabled"),
                (_, Some(undone)) => kept.retain(|option| !undone.contains(&option[0].as_str())),
                (word, None) if REFUSED.contains(&word) => dropped.push(option.join(" ")),
                _ => kept.push(option),
            }
        }
        // The check of a server with `ssl` has it too, unless that is said.
        if words.iter().any(|word| word == "no-check-ssl") && kept.iter().any(|option| option[0] == "ssl") {
            dropped.push("no-check-ssl".to_owned());
        }
        Ok((Self::of_words(kept.into_iter().flatten().map(String::as_str))?, dropped))
    }

    /// The same with one more, and its `value`: one that HAProxy can have for a name.
    #[must_use]
    pub fn with(&self, keyword: &str, value: &str) -> Self {
        Self(self.0.iter().cloned().chain([keyword.to_owned(), value.to_owned()]).collect())
    }

    /// The words.
    pub fn words(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// The server has a health check.
    pub fn has_check(&self) -> bool {
        self.words().any(|word| word == "check")
    }

    /// HAProxy lets its share rise by itself (`slowstart 30s`).
    pub fn has_slowstart(&self) -> bool {
        self.words().any(|word| word == "slowstart")
    }

    /// The server has an agent check.
    pub fn has_agent_check(&self) -> bool {
        self.words().any(|word| word == "agent-check")
    }

    /// What stands behind `keyword`, where it is for the last time: that holds.
    pub fn value(&self, keyword: &str) -> Option<&str> {
        let at = self.0.iter().rposition(|word| word == keyword)?;
        self.0.get(at + 1).map(String::as_str)
    }

    /// The number behind `keyword`.
    pub fn number(&self, keyword: &str) -> Option<u32> {
        self.value(keyword)?.parse().ok()
    }
}

impl fmt::Display for Keywords {
    /// As they stand in a line of HAProxy's configuration and on its socket: both take a backslash before what means
    /// something else in one of them (seen on HAProxy 2.6 to 3.2).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, word) in self.0.iter().enumerate() {
            f.write_str(if at > 0 { " " } else { "" })?;
            for character in word.chars() {
                let is_special = matches!(character, ' ' | '#' | '"' | '\'' | '\\');
                write!(f, "{}{character}", if is_special { "\\" } else { "" })?;
            }
        }
        Ok(())
    }
}

/// Why a server cannot be added with some keywords.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeywordsError {
    /// A character that means something else on HAProxy's socket.
    #[error("`{}` cannot be sent to HAProxy", .0.escape_default())]
    Character(char),
    /// HAProxy would take it.
    #[error("with `weight 0` a server that is added would get no requests")]
    NoWeight,
    /// A word without a character: HAProxy's socket has no quotes.
    #[error("the value of `{0}` is empty, and cannot be sent to HAProxy")]
    Empty(String),
    /// More words than HAProxy reads in a line.
    #[error("{0} words are more than the {MOST_WORDS} that HAProxy takes")]
    TooMany(usize),
    /// HAProxy has that for servers of its configuration only.
    #[error("HAProxy takes no `{0}` for a server that is added at run time")]
    Refused(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<&str, KeywordsError>) {
        let found = Keywords::new(text).map(|keywords| keywords.to_string());
        assert_eq!(found, expected.map(str::to_owned), "{text:?}");
    }

    #[test]
    fn keywords_are_words_that_end_no_command() {
        check("  check   inter 2s ", Ok("check inter 2s"));
        check("", Ok(""));
        for character in [';', '\u{7f}', '<', 'ä'] {
            check(&format!("check{character}"), Err(KeywordsError::Character(character)));
        }
        check("check resolvers dns", Err(KeywordsError::Refused("resolvers".to_owned())));
        check("weight 5 weight 0", Err(KeywordsError::NoWeight));
        check("disabled", Err(KeywordsError::Refused("disabled".to_owned())));
        check(&"check ".repeat(61), Err(KeywordsError::TooMany(61)));
    }

    #[test]
    fn a_word_stays_one_whatever_is_in_it() {
        let keywords = Keywords::of_words(["sni", "str(a b)", "x", r#"#"'\"#]).unwrap();
        assert_eq!(keywords.to_string(), r#"sni str(a\ b) x \#\"\'\\"#);
        assert_eq!(keywords.words().nth(1), Some("str(a b)"));
        assert_eq!(Keywords::of_words(["maxconn", ""]), Err(KeywordsError::Empty("maxconn".to_owned())));
    }

    #[test]
    fn keywords_tell_of_checks_and_limits() {
        let keywords = Keywords::new("check inter 2s weight 10 maxconn 50").unwrap();
        assert!(keywords.has_check() && !keywords.has_agent_check());
        assert_eq!((keywords.number("weight"), keywords.number("maxconn")), (Some(10), Some(50)));
        assert_eq!(keywords.number("rise"), None);
        assert!(!Keywords::new("check-ssl").unwrap().has_check());
    }

    #[test]
    fn what_haproxy_takes_in_its_configuration_only_is_left_out_of_a_default_server() {
        let words = ["check", "resolvers", "dns", "init-addr", "last,none", "disabled", "inter", "2s"];
        let (keywords, dropped) = Keywords::lenient(&words.map(str::to_owned)).unwrap();
        assert_eq!(keywords.to_string(), "check inter 2s");
        assert_eq!(dropped, ["resolvers dns", "init-addr last,none", "disabled"]);
    }

    #[test]
    fn what_a_later_word_of_a_default_server_undoes_is_gone() {
        let check = |words: &str, expected: &str, left_out: &[&str]| {
            let words: Vec<String> = words.split(' ').map(str::to_owned).collect();
            let (keywords, dropped) = Keywords::lenient(&words).unwrap();
            assert_eq!(
                (keywords.to_string().as_str(), &dropped[..]),
                (expected, &left_out.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>()[..])
            );
        };
        check("check inter 300ms no-check", "inter 300ms", &[]);
        check("check no-check check", "check", &[]);
        check("ssl verify none no-ssl agent-check no-agent-check", "verify none", &[]);
        check("cookie check sni ssl check no-check no-ssl", "cookie check sni ssl", &[]);
        check("disabled enabled", "", &[]);
        check("ssl check-ssl no-check-ssl", "ssl", &["no-check-ssl"]);
        // HAProxy takes these itself.
        check("backup no-backup send-proxy no-send-proxy", "backup no-backup send-proxy no-send-proxy", &[]);
        check("cookie disabled", "cookie disabled", &[]);
    }

    #[test]
    fn a_placeholder_is_what_no_server_can_have_or_what_is_named() {
        let any = Spares::Slots { placeholder: None, grow: None };
        let named = Spares::Slots { placeholder: Some("127.0.0.1:80".parse().unwrap()), grow: None };
        for (address, by_default) in [
            ("0.0.0.0:80", true),
            ("[::]:443", true),
            ("127.0.0.1:1", true),
            ("10.0.0.4:0", true),
            ("127.0.0.1:80", false),
        ] {
            let address: SocketAddr = address.parse().unwrap();
            assert_eq!(any.is_placeholder(address), by_default, "{address}");
            assert_eq!(named.is_placeholder(address), !by_default, "{address}");
            assert!(!Spares::Dynamic.is_placeholder(address));
        }
    }
}
