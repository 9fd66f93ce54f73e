//! What HAProxy's configuration declares, as far as it matters to what lasts: servers, and the state file.
//!
//! In: the text of a configuration. Out: a [`Declared`]. Nothing is refused here; whether it is right is
//! HAProxy's to say. `defaults` hold for the sections behind them, or for those that name them by
//! `from` (configuration manual 4.1).

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::line::ServerLine;
use super::slots;
use crate::core::log::haproxy_cfg::lines::SECTIONS;
use crate::core::units::Weight;
use crate::haproxy::words::{Word, words};

/// A configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Declared {
    /// `server-state-file` of `global`, with `server-state-base` before it.
    pub state_file: Option<PathBuf>,
    /// Backends and `listen` sections, in their order.
    pub proxies: Vec<DeclaredProxy>,
}

/// A backend or a `listen` section.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeclaredProxy {
    /// Its name.
    pub name: String,
    /// `load-server-state-from-file global` holds for it.
    pub loads_state: bool,
    /// It has a `server-template`, whose servers have no lines of their own.
    pub has_template: bool,
    /// Those of its `server` lines, and of a `server-template`.
    pub servers: Vec<DeclaredServer>,
}

/// A server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeclaredServer {
    /// Its name.
    pub name: String,
    /// Its address, without quotes.
    pub address: String,
    /// It begins in MAINT.
    pub disabled: bool,
    /// `weight`, if the line has one that is a number.
    pub weight: Option<Weight>,
    /// What stands there.
    pub written: Written,
}

/// Words as they are written: HAProxy takes variables in double quotes only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// The address.
    pub address: String,
    /// The value of `weight`, if the line has one.
    pub weight: Option<String>,
}

impl Declared {
    /// Reads `text`.
    pub fn read(text: &[u8]) -> Self {
        let mut declared = Self::default();
        let (mut base, mut file) = (None, None);
        for line in Lines::new(text) {
            let keyword = line.words.first().map(|word| word.text.as_str()).unwrap_or_default();
            let value = || line.words.get(1).map(|word| PathBuf::from(&word.text));
            match (&line.section, keyword) {
                (Section::Global, "server-state-base") => base = value(),
                (Section::Global, "server-state-file") => file = value(),
                (Section::Proxy(name), _) => declared.proxy_line(name, keyword, &line),
                _ => {}
            }
        }
        declared.state_file = file.map(|file| base.unwrap_or_default().join(file));
        declared
    }

    /// The backend or `listen` section `name`.
    pub fn proxy(&self, name: &str) -> Option<&DeclaredProxy> {
        self.proxies.iter().find(|proxy| proxy.name == name)
    }

    /// A server of it.
    pub fn server(&self, proxy: &str, server: &str) -> Option<&DeclaredServer> {
        self.proxy(proxy)?.servers.iter().find(|declared| declared.name == server)
    }

    /// Whether `backend` is started with what the file at `path` says.
    pub fn loads(&self, backend: &str, path: &Path) -> bool {
        self.state_file.as_deref() == Some(path) && self.proxy(backend).is_some_and(|proxy| proxy.loads_state)
    }

    fn proxy_line(&mut self, name: &str, keyword: &str, line: &Line<'_>) {
        if self.proxies.last().is_none_or(|proxy| proxy.name != name) {
            self.proxies.push(DeclaredProxy { name: name.to_owned(), ..DeclaredProxy::default() });
        }
        let Some(proxy) = self.proxies.last_mut() else { return };
        proxy.loads_state = line.settings.loads_state;
        proxy.has_template |= keyword == "server-template";
        for (name, text) in slots::server_lines(line.bytes) {
            let Some(server) = ServerLine::read(&text) else { continue };
            proxy.servers.push(DeclaredServer {
                name,
                address: server.address().to_owned(),
                disabled: server.disabled().unwrap_or(line.settings.disables),
                weight: server.weight(),
                written: server.written(&text),
            });
        }
    }
}

/// In what section a line stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Section {
    Global,
    Defaults(Option<String>),
    /// A backend or a `listen` section.
    Proxy(String),
    Other,
}

/// What a section has said so far, its defaults included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Settings {
    /// `default-server ... disabled`.
    pub(super) disables: bool,
    /// `load-server-state-from-file global`.
    pub(super) loads_state: bool,
}

/// A line and where it stands.
pub(super) struct Line<'a> {
    /// Its newline included.
    pub(super) bytes: &'a [u8],
    pub(super) words: Vec<Word>,
    /// For the line that begins a section, that one.
    pub(super) section: Section,
    /// It begins a section.
    pub(super) begins: bool,
    /// With what this line says.
    pub(super) settings: Settings,
}

impl Line<'_> {
    /// The blanks that it begins with.
    pub(super) fn indent(&self) -> &[u8] {
        let blanks = self.bytes.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        &self.bytes[..blanks]
    }
}

/// The lines of a configuration, one after the other: what comes out, put together, is what went in.
pub(super) struct Lines<'a> {
    rest: std::slice::SplitInclusive<'a, u8, fn(&u8) -> bool>,
    section: Section,
    settings: Settings,
    last_defaults: Settings,
    named_defaults: HashMap<String, Settings>,
}

impl<'a> Lines<'a> {
    pub(super) fn new(text: &'a [u8]) -> Self {
        let is_newline: fn(&u8) -> bool = |&byte| byte == b'\n';
        Self {
            rest: text.split_inclusive(is_newline),
            section: Section::Other,
            settings: Settings::default(),
            last_defaults: Settings::default(),
            named_defaults: HashMap::new(),
        }
    }

    fn begin(&mut self, words: &[Word]) {
        if let Section::Defaults(name) = std::mem::replace(&mut self.section, Section::Other) {
            self.named_defaults.extend(name.map(|name| (name, self.settings)));
            self.last_defaults = self.settings;
        }
        let text = |at: usize| words.get(at).map(|word| word.text.clone());
        let from = words.iter().position(|word| word.text == "from").and_then(|at| text(at + 1));
        let named = from.map(|name| self.named_defaults.get(&name).copied().unwrap_or_default());
        (self.section, self.settings) = match words[0].text.as_str() {
            "global" => (Section::Global, Settings::default()),
            "defaults" => {
                let name = text(1).filter(|name| name != "from");
                (Section::Defaults(name), named.unwrap_or_default())
            }
            "backend" | "listen" => {
                (Section::Proxy(text(1).unwrap_or_default()), named.unwrap_or(self.last_defaults))
            }
            _ => (Section::Other, Settings::default()),
        };
    }

    fn take_setting(&mut self, words: &[Word]) {
        let value = words.get(1).map(|word| word.text.as_str());
        match words.first().map(|word| word.text.as_str()) {
            Some("load-server-state-from-file") => self.settings.loads_state = value == Some("global"),
            Some("default-server") => {
                // The same options as those of a server line, which has a name and an address before them.
                let options = words[1..].iter().map(|word| format!(" '{}'", word.text)).collect::<String>();
                let line = ServerLine::read(format!("server name address{options}").as_bytes());
                let said = line.and_then(|line| line.disabled());
                self.settings.disables = said.unwrap_or(self.settings.disables);
            }
            _ => {}
        }
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = Line<'a>;

    fn next(&mut self) -> Option<Line<'a>> {
        let bytes = self.rest.next()?;
        let words = words(bytes);
        let begins = words.first().is_some_and(|word| SECTIONS.contains(&word.text.as_str()));
        if begins {
            self.begin(&words);
        } else {
            self.take_setting(&words);
        }
        Some(Line { bytes, words, section: self.section.clone(), begins, settings: self.settings })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "\
global
    server-state-base /var/lib/haproxy
    server-state-file servers.state
defaults
    load-server-state-from-file global
    default-server inter 2s
frontend users
    default_backend app
backend app
    server s1 10.0.0.1:80 weight 5
    server s2 10.0.0.2:80 disabled # a spare
backend slots
    default-server disabled
    load-server-state-from-file none
    server-template w 3 10.0.0.9:80
    server s1 web.example:80
    server s2 10.0.0.2:80 enabled
backend alone
    load-server-state-from-file local
    server-state-file-name servers.state
    server s1 10.0.0.1:80
defaults plain
listen more from plain
    server s1 10.0.0.1:80
";

    #[test]
    fn servers_and_state_file_are_found_with_what_their_defaults_say() {
        let declared = Declared::read(CONFIG.as_bytes());
        let file = Path::new("/var/lib/haproxy/servers.state");
        assert_eq!(declared.state_file.as_deref(), Some(file));
        let loads = |name| declared.loads(name, file);
        let backends = ["app", "slots", "alone", "more", "none"];
        assert_eq!(backends.map(loads), [true, false, false, false, false], "`local` loads another file");
        assert!(!declared.loads("app", Path::new("/other")));
        let disabled = |proxy, server| declared.server(proxy, server).map(|server| server.disabled);
        assert_eq!(disabled("app", "s1"), Some(false));
        assert_eq!(disabled("app", "s2"), Some(true));
        assert_eq!(disabled("slots", "s1"), Some(true));
        assert_eq!(disabled("slots", "s2"), Some(false));
        assert_eq!(disabled("slots", "s3"), None);
        assert_eq!(declared.server("app", "s1").unwrap().weight.unwrap().value(), 5);
        assert_eq!(declared.proxies.iter().filter(|proxy| proxy.has_template).count(), 1);
    }

    #[test]
    fn the_lines_put_together_are_the_text() {
        for text in [CONFIG, "", "\n\n", "backend", "a\r\nb"] {
            let together =
                Lines::new(text.as_bytes()).flat_map(|line| line.bytes.to_vec()).collect::<Vec<_>>();
            assert_eq!(together, text.as_bytes());
        }
    }
}
