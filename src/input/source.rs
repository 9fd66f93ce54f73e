//! What a SOURCE argument names, and what there is to tell about it while it is read.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use super::LinkEvent;
use super::place::{NoPlace, RingPlace, TcpPlace, UnixPlace, socket_address, unit};

/// Where bytes come from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// A path, followed by name: a file, a FIFO, a link to one; it need not be there yet.
    File(PathBuf),
    /// Standard input, to its end.
    Stdin,
    /// `udp://ADDR:PORT`: a UDP address to receive on.
    Udp(SocketAddr),
    /// `unix:///path`: a datagram socket of our own.
    Unix(UnixPlace),
    /// `tcp://ADDR:PORT`: syslog over TCP, to listen on.
    Tcp(TcpPlace),
    /// `journald:UNIT`: what a systemd unit logs.
    Journald(String),
    /// `ring:NAME` or `ring:NAME@ADDRESS`: a ring of HAProxy's.
    Ring(RingPlace),
}

impl FromStr for Source {
    type Err = SourceError;

    fn from_str(text: &str) -> Result<Self, SourceError> {
        if text.is_empty() {
            return Err(SourceError::Empty);
        }
        if text == "-" {
            return Ok(Self::Stdin);
        }
        let Some((kind, place)) = split_kind(text) else { return Ok(Self::File(PathBuf::from(text))) };
        let source = match kind {
            "udp" => socket_address(place).map(Self::Udp),
            "tcp" => TcpPlace::parse(place).map(Self::Tcp),
            "unix" => UnixPlace::parse(place).map(Self::Unix),
            "journald" => unit(place).map(Self::Journald),
            "ring" => RingPlace::parse(place).map(Self::Ring),
            _ => return Err(SourceError::Unknown { kind: kind.to_owned() }),
        };
        source.map_err(|NoPlace(expected)| SourceError::NoPlace { kind: kind.to_owned(), expected })
    }
}

/// `udp` and what is behind it of `udp://...`, `journald` of `journald:...`; any other text is a path,
/// colons and all.
fn split_kind(text: &str) -> Option<(&str, &str)> {
    if let Some((kind @ ("journald" | "ring"), place)) = text.split_once(':') {
        return Some((kind, place));
    }
    let (kind, place) = text.split_once("://")?;
    let is_kind = !kind.is_empty() && kind.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_kind.then_some((kind, place))
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Stdin => f.write_str("standard input"),
            Self::Udp(address) => write!(f, "udp://{address}"),
            Self::Unix(place) => place.fmt(f),
            Self::Tcp(place) => place.fmt(f),
            Self::Journald(unit) => write!(f, "journald:{unit}"),
            Self::Ring(place) => place.fmt(f),
        }
    }
}

/// Why a SOURCE argument cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// No text at all.
    #[error("a source cannot be empty: expected a path, or `-` for standard input")]
    Empty,
    /// A kind of source that there is not.
    #[error(
        "there is no source `{kind}://`: expected a path, `-`, udp://, tcp://, unix://, journald: or ring:"
    )]
    Unknown {
        /// What stands before the colon.
        kind: String,
    },
    /// A place where nothing can be.
    #[error("not a place to read from: expected {expected}")]
    NoPlace {
        /// What stands before the colon.
        kind: String,
        /// What should stand behind it.
        expected: String,
    },
}

/// Something an operator should know about a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceEvent {
    /// The path leads nowhere. What was open is still read.
    Missing,
    /// The path leads to something that cannot be opened or read.
    Unreadable(io::ErrorKind),
    /// The path leads to a directory, a device or a socket.
    NotAFile,
    /// The trouble told before is over.
    Readable,
    /// The path leads to another file than before; `missed` files that were there in between have been
    /// found under their new names and are read first.
    Rotated {
        /// How many, 0 as a rule.
        missed: usize,
    },
    /// A file that was there in between is compressed or unreadable by now: its lines are lost.
    Unread(PathBuf),
    /// The file was emptied, and is read from its new start.
    Truncated,
    /// A FIFO has no writer any more. It stays open for the next one.
    WriterGone,
    /// A FIFO is written to again.
    WriterBack,
    /// The source has ended: standard input at its end.
    Ended,
    /// Of a source that is not a file.
    Link(LinkEvent),
}

impl From<LinkEvent> for SourceEvent {
    fn from(event: LinkEvent) -> Self {
        Self::Link(event)
    }
}

impl SourceEvent {
    /// Lines are, or may be, lost or missing until something is done about it.
    pub fn is_trouble(&self) -> bool {
        match self {
            Self::Missing | Self::Unreadable(_) | Self::NotAFile => true,
            Self::Unread(_) | Self::WriterGone => true,
            Self::Link(event) => event.is_trouble(),
            Self::Readable | Self::Rotated { .. } | Self::Truncated | Self::WriterBack | Self::Ended => false,
        }
    }
}

impl fmt::Display for SourceEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("file is missing, waiting for it"),
            Self::Unreadable(kind) => write!(f, "file cannot be read: {kind}"),
            Self::NotAFile => f.write_str("neither a file nor a FIFO"),
            Self::Readable => f.write_str("file can be read again"),
            Self::Rotated { missed: 0 } => f.write_str("file was rotated"),
            Self::Rotated { missed } => write!(f, "file was rotated {} times, all of it is read", missed + 1),
            Self::Unread(path) => {
                write!(f, "rotated and compressed or locked before it was read: {}", path.display())
            }
            Self::Truncated => f.write_str("file was truncated"),
            Self::WriterGone => f.write_str("FIFO has no writer, waiting for one"),
            Self::WriterBack => f.write_str("FIFO has a writer again"),
            Self::Ended => f.write_str("source has ended"),
            Self::Link(event) => event.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::TcpFraming;

    #[track_caller]
    fn check(text: &str, expected: Result<Source, &str>) {
        let expected = expected.map_err(str::to_owned);
        assert_eq!(text.parse::<Source>().map_err(|error| error.to_string()), expected, "{text}");
    }

    #[test]
    fn a_source_is_a_path_or_standard_input() {
        check("-", Ok(Source::Stdin));
        check("/var/log/haproxy.log", Ok(Source::File("/var/log/haproxy.log".into())));
        check("./-", Ok(Source::File("./-".into())));
        check("log:2026-11-21", Ok(Source::File("log:2026-11-21".into())));
        check("/srv/a://b", Ok(Source::File("/srv/a://b".into())));
    }

    #[test]
    fn a_source_that_is_no_file_says_what_it_is() {
        let unix = |path: &str, mode, group: Option<&str>| {
            Ok(Source::Unix(UnixPlace { path: path.into(), mode, group: group.map(str::to_owned) }))
        };
        let ring = |name: &str, address: Option<&str>| {
            let address = address.map(|address| address.parse().unwrap());
            Ok(Source::Ring(RingPlace { name: name.to_owned(), address }))
        };
        let tcp =
            |address: &str, framing| Ok(Source::Tcp(TcpPlace { address: address.parse().unwrap(), framing }));
        check("udp://127.0.0.1:5514", Ok(Source::Udp("127.0.0.1:5514".parse().unwrap())));
        check("udp://[::1]:5514", Ok(Source::Udp("[::1]:5514".parse().unwrap())));
        check("tcp://0.0.0.0:601", tcp("0.0.0.0:601", TcpFraming::Auto));
        check("tcp://[::]:601?framing=lines", tcp("[::]:601", TcpFraming::Lines));
        check("unix:///run/log.sock", unix("/run/log.sock", 0o660, None));
        check("unix:///run/log.sock?mode=0666", unix("/run/log.sock", 0o666, None));
        check("unix:///a?mode=600&group=adm", unix("/a", 0o600, Some("adm")));
        check("journald:haproxy", Ok(Source::Journald("haproxy".to_owned())));
        check("journald:haproxy@lb-1.service", Ok(Source::Journald("haproxy@lb-1.service".to_owned())));
        check("ring:requests", ring("requests", None));
        check("ring:requests@/run/haproxy/admin.sock", ring("requests", Some("/run/haproxy/admin.sock")));
        check("ring:requests@127.0.0.1:9999", ring("requests", Some("127.0.0.1:9999")));
    }

    #[test]
    fn a_place_where_nothing_can_be_is_refused_with_what_was_expected() {
        let refused = |expected: &str| format!("not a place to read from: expected {expected}");
        let address = refused("an IP address and a port, such as 127.0.0.1:5514 or [::1]:5514");
        for text in ["udp://", "udp://localhost:514", "udp://127.0.0.1", "udp://127.0.0.1:0", "tcp://:514"] {
            check(text, Err(&address));
        }
        let framing = refused("no setting but framing=auto or framing=lines");
        check("tcp://127.0.0.1:514?framing=x", Err(&framing));
        check("tcp://127.0.0.1:514?idle=3", Err(&framing));
        let path = refused("an absolute path, such as unix:///run/haproxy-autoscale/log.sock");
        check("unix://run/log.sock", Err(&path));
        check("unix:///run/", Err(&path));
        let long = format!("unix:///{}", "x".repeat(107));
        check(&long, Err(&refused("a path of at most 107 bytes, the most a socket can have")));
        check("unix:///a?mode=8", Err(&refused("a mode in octal digits, such as mode=660")));
        check("unix:///a?mode=1777", Err(&refused("a mode in octal digits, such as mode=660")));
        let settings = refused("no settings but mode and group, such as ?mode=660&group=haproxy");
        check("unix:///a?group=", Err(&settings));
        check("unix:///a?user=x", Err(&settings));
        let unit = refused("the name of a systemd unit, such as journald:haproxy");
        check("journald:", Err(&unit));
        check("journald:-f", Err(&unit));
        check("journald:a b", Err(&unit));
        let name = refused("the name of a `ring` section in haproxy.cfg, such as ring:requests");
        check("ring:", Err(&name));
        check("ring:a;b@/s", Err(&name));
        check("ring:@/s", Err(&name));
        let no_address = "the address of a stats socket: `admin.sock` is neither the path of a unix socket, \
                          such as `/run/haproxy/admin.sock`, nor `host:port`";
        check("ring:a@admin.sock", Err(&refused(no_address)));
        check(
            "redis://127.0.0.1:1",
            Err(
                "there is no source `redis://`: expected a path, `-`, udp://, tcp://, unix://, journald: or ring:",
            ),
        );
        check("", Err("a source cannot be empty: expected a path, or `-` for standard input"));
    }
}
