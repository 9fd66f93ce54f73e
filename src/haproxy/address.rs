//! Where a Runtime API listens.
//!
//! In: what an operator writes, in the spellings of HAProxy's own `stats socket` line too. Out: a
//! path or a host and port. Nothing is looked up here.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The address of a Runtime API.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// A unix socket.
    Unix(PathBuf),
    /// A TCP socket.
    Tcp {
        /// A name or an IP address, without brackets.
        host: String,
        /// From 1.
        port: u16,
    },
}

impl FromStr for Address {
    type Err = AddressError;

    /// Reads `/run/haproxy/admin.sock`, `unix:/path`, `unix:///path`, `unix@/path`, `host:port`,
    /// `[::1]:9999`, `tcp://host:port`, `ipv4@127.0.0.1:9999` and `ipv6@::1:9999`.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        let text = text.trim();
        for prefix in ["unix://", "unix:", "unix@"] {
            if let Some(path) = text.strip_prefix(prefix) {
                return unix(text, path);
            }
        }
        if text.starts_with('/') {
            return unix(text, text);
        }
        let place = ["tcp://", "tcp:", "tcp@", "tcp4@", "tcp6@", "ipv4@", "ipv6@"]
            .into_iter()
            .find_map(|prefix| text.strip_prefix(prefix))
            .unwrap_or(text);
        tcp(text, place)
    }
}

fn unix(text: &str, path: &str) -> Result<Address, AddressError> {
    if path.starts_with('/') {
        Ok(Address::Unix(path.into()))
    } else {
        Err(AddressError::RelativePath { text: text.to_owned() })
    }
}

fn tcp(text: &str, place: &str) -> Result<Address, AddressError> {
    let wrong = || AddressError::Unknown { text: text.to_owned() };
    let (host, port) = place.rsplit_once(':').ok_or_else(wrong)?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if host.is_empty() || host.contains(['/', '@', '[', ']', '*']) || host.contains(char::is_whitespace) {
        return Err(wrong());
    }
    match port.parse() {
        Ok(port) if port > 0 => Ok(Address::Tcp { host: host.to_owned(), port }),
        _ => Err(AddressError::Port { text: text.to_owned() }),
    }
}

impl fmt::Display for Address {
    /// In a spelling that [`Address::from_str`] reads.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => path.display().fmt(f),
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

/// A Runtime API and who answers there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Where it listens.
    pub address: Address,
    /// It is the master's (`haproxy -W -S ...`): commands are for its current worker.
    pub is_master: bool,
    /// Where another socket is the master's: it tells of old workers.
    pub master: Option<Address>,
}

impl Endpoint {
    /// The same, with the unix socket of its master, if that is known and another one.
    #[must_use]
    pub fn with_master(self, socket: Option<&Path>) -> Self {
        let master = socket.filter(|_| !self.is_master).map(|path| Address::Unix(path.to_owned()));
        Self { master, ..self }
    }
}

impl FromStr for Endpoint {
    type Err = AddressError;

    /// Reads what [`Address`] reads, with `master:` before it for a master's.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (is_master, address) = match text.trim().strip_prefix("master:") {
            Some(address) => (true, address),
            None => (false, text),
        };
        Ok(Self { address: address.parse()?, is_master, master: None })
    }
}

impl From<Address> for Endpoint {
    /// A `stats socket`.
    fn from(address: Address) -> Self {
        Self { address, is_master: false, master: None }
    }
}

/// Why something is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Neither a path nor a host with a port.
    #[error(
        "`{text}` is neither the path of a unix socket, such as `/run/haproxy/admin.sock`, nor `host:port`"
    )]
    Unknown {
        /// What was written.
        text: String,
    },
    /// The path of a unix socket depends on where the agent is started.
    #[error("the path in `{text}` does not begin with `/`")]
    RelativePath {
        /// What was written.
        text: String,
    },
    /// The port is none.
    #[error("the port in `{text}` is not a number from 1 to 65535")]
    Port {
        /// What was written.
        text: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, shown: &str) {
        let address: Address = text.parse().unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(address.to_string(), shown);
        assert_eq!(shown.parse(), Ok(address), "what is shown can be read again");
    }

    #[test]
    fn unix_sockets_are_absolute_paths() {
        check("/run/haproxy/admin.sock", "/run/haproxy/admin.sock");
        check("unix:/run/h.sock", "/run/h.sock");
        check("unix:///run/h.sock", "/run/h.sock");
        check("unix@/run/h.sock", "/run/h.sock");
        assert!(matches!("unix:run/h.sock".parse::<Address>(), Err(AddressError::RelativePath { .. })));
    }

    #[test]
    fn tcp_sockets_are_a_host_and_a_port() {
        check("localhost:9999", "localhost:9999");
        check("127.0.0.1:9999", "127.0.0.1:9999");
        check("tcp://lb1.example:9999", "lb1.example:9999");
        check("ipv4@127.0.0.1:9999", "127.0.0.1:9999");
        check("ipv6@::1:9999", "[::1]:9999");
        check("[::1]:9999", "[::1]:9999");
    }

    #[test]
    fn a_master_is_named_as_such() {
        let master = |text: &str| text.parse::<Endpoint>().unwrap();
        assert_eq!(master("master:/run/m.sock").address, Address::Unix("/run/m.sock".into()));
        assert!(master("master:/run/m.sock").is_master && master("master:localhost:9999").is_master);
        assert!(!master("/run/m.sock").is_master);
        assert!("master:run/m.sock".parse::<Endpoint>().is_err());
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "admin.sock", "run/haproxy/admin.sock", "http://localhost:80", ":9999", "*:9999"] {
            assert!(matches!(text.parse::<Address>(), Err(AddressError::Unknown { .. })), "{text}");
        }
        for text in ["localhost:", "localhost:0", "localhost:65536", "localhost:x"] {
            assert!(matches!(text.parse::<Address>(), Err(AddressError::Port { .. })), "{text}");
        }
    }
}
