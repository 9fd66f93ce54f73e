//! Where a source that is not a file is: what stands behind `udp://`, `tcp://`, `unix://`, `journald:` and
//! `ring:`, and the settings behind its `?`.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::haproxy::address::Address;

/// Whoever has HAProxy's group may write, and nobody else: a forged line can move servers.
const MODE: u32 = 0o660;

/// A path with a NUL behind it has to fit into `sun_path` (unix(7)).
const LONGEST_PATH: usize = 107;

/// A unix datagram socket of our own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UnixPlace {
    /// Absolute.
    pub path: PathBuf,
    /// Who may write: permission bits.
    pub mode: u32,
    /// Whose it is; `None`: group `haproxy`'s, if there is such a group.
    pub group: Option<String>,
}

/// A TCP address for syslog.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TcpPlace {
    /// To listen on.
    pub address: SocketAddr,
    /// How messages are told apart.
    pub framing: TcpFraming,
}

/// How messages on a connection are told apart (RFC 6587, 3.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TcpFraming {
    /// Each message tells.
    #[default]
    Auto,
    /// Each message ends with a newline: for lines that themselves begin with a number and a blank.
    Lines,
}

/// A ring of HAProxy's, read over the Runtime API.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RingPlace {
    /// Its name in HAProxy's configuration.
    pub name: String,
    /// The Runtime API; `None`: the one that the config names, or where Debian's HAProxy has it.
    pub address: Option<Address>,
}

/// Why a place is none: what was expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NoPlace(pub(super) String);

fn no_place<T>(expected: impl Into<String>) -> Result<T, NoPlace> {
    Err(NoPlace(expected.into()))
}

/// `127.0.0.1:514` or `[::1]:514`. No names: what a name means may change, a socket's address does not.
pub(super) fn socket_address(text: &str) -> Result<SocketAddr, NoPlace> {
    match text.parse::<SocketAddr>() {
        Ok(address) if address.port() > 0 => Ok(address),
        _ => no_place("an IP address and a port, such as 127.0.0.1:5514 or [::1]:5514"),
    }
}

impl TcpPlace {
    pub(super) fn parse(text: &str) -> Result<Self, NoPlace> {
        let (address, settings) = split_settings(text);
        let mut framing = TcpFraming::Auto;
        for (key, value) in settings {
            framing = match (key, value) {
                ("framing", "auto") => TcpFraming::Auto,
                ("framing", "lines") => TcpFraming::Lines,
                _ => return no_place("no setting but framing=auto or framing=lines"),
            };
        }
        Ok(Self { address: socket_address(address)?, framing })
    }
}

impl UnixPlace {
    pub(super) fn parse(text: &str) -> Result<Self, NoPlace> {
        let (path, settings) = split_settings(text);
        if !path.starts_with('/') || path.ends_with('/') {
            return no_place("an absolute path, such as unix:///run/haproxy-autoscale/log.sock");
        }
        if path.len() > LONGEST_PATH {
            return no_place(format!("a path of at most {LONGEST_PATH} bytes, the most a socket can have"));
        }
        let mut place = Self { path: path.into(), mode: MODE, group: None };
        for (key, value) in settings {
            match (key, u32::from_str_radix(value, 8)) {
                ("mode", Ok(mode)) if mode <= 0o777 => place.mode = mode,
                ("mode", _) => return no_place("a mode in octal digits, such as mode=660"),
                ("group", _) if !value.is_empty() => place.group = Some(value.to_owned()),
                _ => return no_place("no settings but mode and group, such as ?mode=660&group=haproxy"),
            }
        }
        Ok(place)
    }
}

impl RingPlace {
    /// Where Debian's HAProxy has its stats socket, for a ring that nobody gave an address.
    pub(super) fn usual_address() -> Address {
        Address::Unix("/run/haproxy/admin.sock".into())
    }

    /// The same ring, at `address` if it has none of its own.
    #[must_use]
    pub fn or_at(mut self, address: &Address) -> Self {
        self.address.get_or_insert_with(|| address.clone());
        self
    }

    pub(super) fn parse(text: &str) -> Result<Self, NoPlace> {
        let (name, address) = match text.split_once('@') {
            Some((name, address)) => (name, Some(address)),
            None => (text, None),
        };
        // What HAProxy takes as a name; it goes into a command.
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
        if name.is_empty() || !name.bytes().all(is_name) {
            return no_place("the name of a `ring` section in haproxy.cfg, such as ring:requests");
        }
        let address = address.map(str::parse).transpose();
        let address = address.map_err(|error| NoPlace(format!("the address of a stats socket: {error}")))?;
        Ok(Self { name: name.to_owned(), address })
    }
}

/// The name of a unit as it is given to `journalctl -u`; nothing that could be taken for an option.
pub(super) fn unit(text: &str) -> Result<String, NoPlace> {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:@\\*?".contains(&byte);
    if text.is_empty() || text.starts_with('-') || !text.bytes().all(is_part) {
        return no_place("the name of a systemd unit, such as journald:haproxy");
    }
    Ok(text.to_owned())
}

/// What stands before a `?`, and the settings behind it.
fn split_settings(text: &str) -> (&str, impl Iterator<Item = (&str, &str)>) {
    let (place, settings) = text.split_once('?').unwrap_or((text, ""));
    let settings = settings.split('&').filter(|setting| !setting.is_empty());
    (place, settings.map(|setting| setting.split_once('=').unwrap_or((setting, ""))))
}

impl fmt::Display for UnixPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unix://{}", self.path.display())
    }
}

impl fmt::Display for TcpPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tcp://{}", self.address)
    }
}

impl fmt::Display for RingPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ring:{}", self.name)?;
        self.address.as_ref().map_or(Ok(()), |address| write!(f, "@{address}"))
    }
}
