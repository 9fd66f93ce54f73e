//! What a SOURCE argument names, and what there is to tell about it while it is read.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;

/// Where bytes come from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// A path, followed by name: a file, a FIFO, a link to one; it need not be there yet.
    File(PathBuf),
    /// Standard input, to its end.
    Stdin,
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
        match scheme(text) {
            Some(scheme) => Err(SourceError::NotSupported { scheme: scheme.to_owned() }),
            None => Ok(Self::File(PathBuf::from(text))),
        }
    }
}

/// `udp` of `udp://...`, `journald` of `journald:...`; any other text is a path, colons and all.
fn scheme(text: &str) -> Option<&str> {
    if text.starts_with("journald:") {
        return Some("journald");
    }
    let (scheme, _) = text.split_once("://")?;
    let is_scheme = !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_scheme.then_some(scheme)
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Stdin => f.write_str("standard input"),
        }
    }
}

/// Why a SOURCE argument cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// No text at all.
    #[error("a source cannot be empty: expected a path, or `-` for standard input")]
    Empty,
    /// A kind of source that this version does not read.
    #[error(
        "`{scheme}` sources are not supported by this version: expected a path, or `-` for standard input"
    )]
    NotSupported {
        /// What stands before the colon.
        scheme: String,
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
}

impl SourceEvent {
    /// Lines are, or may be, lost or missing until something is done about it.
    pub fn is_trouble(&self) -> bool {
        match self {
            Self::Missing | Self::Unreadable(_) | Self::NotAFile => true,
            Self::Unread(_) | Self::WriterGone => true,
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
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn what_is_not_read_by_this_version_is_refused_by_name() {
        let refused = |scheme| {
            format!(
                "`{scheme}` sources are not supported by this version: expected a path, or `-` for standard input"
            )
        };
        check("udp://127.0.0.1:514", Err(&refused("udp")));
        check("tcp://127.0.0.1:514", Err(&refused("tcp")));
        check("unix:///run/log.sock", Err(&refused("unix")));
        check("journald:haproxy.service", Err(&refused("journald")));
        check("", Err("a source cannot be empty: expected a path, or `-` for standard input"));
    }
}
