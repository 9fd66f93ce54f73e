//! What the `server` lines of a backend say that HAProxy does not show at run time, and that decides what a move does to
//! sessions.

use std::fmt;

use super::server_options::{options, undone_by};

/// The lines of one backend's servers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerLines {
    /// Those of haproxy.cfg.
    pub declared: Vec<ServerLine>,
    /// What servers have that are added at run time, where that is known.
    pub added: Option<ServerTraits>,
}

/// One `server` or `server-template`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerLine {
    /// The server's name; the beginning of it, with a number behind it, for a template.
    pub name: String,
    /// It is a template.
    pub is_template: bool,
    /// What it says, its `default-server` included.
    pub traits: ServerTraits,
}

/// What a move of the server does besides moving it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServerTraits {
    /// MAINT closes its sessions: `on-marked-down shutdown-sessions`.
    pub closes_own: bool,
    /// Its start, DRAIN included, closes the sessions of backup servers: `on-marked-up shutdown-backup-sessions`.
    pub closes_backups: bool,
    /// It expects this before anything else on a connection.
    pub proxy: Option<ProxyHeader>,
}

/// A header of the PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyHeader {
    /// A line of text: `send-proxy`.
    V1,
    /// Binary: `send-proxy-v2` and its kin.
    V2,
}

impl ServerLines {
    /// What is known of the server `name`: all that any of its lines says, where there are several; `None` if nothing is.
    pub fn traits_of(&self, name: &str) -> Option<ServerTraits> {
        let lines = self.declared.iter().filter(|line| line.is_of(name)).map(|line| line.traits);
        lines.reduce(ServerTraits::or).or(self.added)
    }
}

impl ServerLine {
    fn is_of(&self, server: &str) -> bool {
        match server.strip_prefix(&self.name) {
            Some("") => !self.is_template,
            Some(rest) => self.is_template && rest.bytes().all(|byte| byte.is_ascii_digit()),
            None => false,
        }
    }
}

impl fmt::Display for ServerLine {
    /// `s1`, or `web*` for a template.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.name, if self.is_template { "*" } else { "" })
    }
}

impl ServerTraits {
    /// Of a server that has these words behind its address.
    pub fn of_words<S: AsRef<str>>(words: &[S]) -> Self {
        let mut all = Self::default();
        let (mut v1, mut v2) = (false, false);
        for option in options(words) {
            let value = option.get(1).map_or("", AsRef::as_ref);
            match option[0].as_ref() {
                "on-marked-down" => all.closes_own = value == "shutdown-sessions",
                "on-marked-up" => all.closes_backups = value == "shutdown-backup-sessions",
                "send-proxy" => v1 = true,
                "no-send-proxy" => v1 = false,
                "send-proxy-v2" | "send-proxy-v2-ssl" | "send-proxy-v2-ssl-cn" => v2 = true,
                "no-send-proxy-v2" => v2 = false,
                word if undone_by(word).is_some_and(|undone| undone.contains(&"send-proxy-v2")) => v2 = false,
                _ => {}
            }
        }
        // Of both HAProxy sends the second (seen on 2.2 to 3.4).
        all.proxy = if v2 { Some(ProxyHeader::V2) } else { v1.then_some(ProxyHeader::V1) };
        all
    }

    /// What either of them says.
    fn or(self, other: Self) -> Self {
        Self {
            closes_own: self.closes_own || other.closes_own,
            closes_backups: self.closes_backups || other.closes_backups,
            proxy: self.proxy.or(other.proxy),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(words: &str, expected: ServerTraits) {
        let found = ServerTraits::of_words(&words.split(' ').collect::<Vec<_>>());
        assert_eq!(found, expected, "{words}");
    }

    #[test]
    fn what_a_line_says_last_holds() {
        let none = ServerTraits::default();
        let proxy = |header| ServerTraits { proxy: Some(header), ..none };
        check("check inter 2s", none);
        check("check on-marked-down shutdown-sessions", ServerTraits { closes_own: true, ..none });
        check("on-marked-up shutdown-backup-sessions", ServerTraits { closes_backups: true, ..none });
        check("send-proxy check", proxy(ProxyHeader::V1));
        check("send-proxy send-proxy-v2-ssl", proxy(ProxyHeader::V2));
        check("send-proxy no-send-proxy", none);
        check("send-proxy-v2 no-send-proxy-v2 send-proxy", proxy(ProxyHeader::V1));
        check("send-proxy-v2-ssl-cn no-send-proxy-v2-ssl", none);
        // A value is no option.
        check("cookie send-proxy", none);
    }

    #[test]
    fn a_server_has_its_own_line_or_that_of_its_template_or_what_added_ones_have() {
        let line = |name: &str, is_template, proxy| ServerLine {
            name: name.to_owned(),
            is_template,
            traits: ServerTraits { proxy: Some(proxy), ..ServerTraits::default() },
        };
        let declared = vec![line("s", true, ProxyHeader::V1), line("sx", false, ProxyHeader::V2)];
        let mut lines = ServerLines { declared, added: None };
        let proxy = |lines: &ServerLines, name| lines.traits_of(name).map(|traits| traits.proxy);
        assert_eq!(proxy(&lines, "s12"), Some(Some(ProxyHeader::V1)));
        assert_eq!(proxy(&lines, "sx"), Some(Some(ProxyHeader::V2)));
        assert_eq!((proxy(&lines, "s"), proxy(&lines, "sx1")), (None, None));
        lines.added = Some(ServerTraits::default());
        assert_eq!(proxy(&lines, "dyn-10.0.0.4-80"), Some(None));
    }
}
