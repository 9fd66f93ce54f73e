//! What was wrong with a line: of what kind, in which field, at which byte.

use std::fmt;

use super::field::Field;

/// Why a line was not understood. A value: tests compare it and metrics count it by kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineError {
    /// What was wrong.
    pub kind: ErrorKind,
    /// In which field; `None` if it was the line as a whole.
    pub field: Option<Field>,
    /// Where, in bytes from the start of the line, syslog header included; the first byte is 0.
    pub offset: usize,
}

/// What kind of thing was wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// Nothing is in the line.
    Empty,
    /// The line is longer than this many bytes and was dropped whole.
    TooLong(usize),
    /// The line is neither a request in a known format nor a message HAProxy is known to write.
    NotRecognised,
    /// The configured regex does not match the line.
    NoMatch,
    /// The line ends inside or before the field.
    Truncated,
    /// The field is not `address:port`.
    NotAClient,
    /// The field is not a date such as `[21/Nov/2026:09:31:50.191]`.
    NotADate,
    /// The field is not a name HAProxy would accept, or the `/` after the backend is missing.
    NotAName,
    /// The field is not a whole number of milliseconds.
    NotMilliseconds,
    /// The field is not a whole number.
    NotANumber,
    /// The field is a number that HAProxy would not write there.
    OutOfRange,
    /// The line is in another format than the one configured; the field is the first that shows it.
    OtherFormat,
    /// The field does not stand in quotes.
    NotQuoted,
    /// The line can be read in two ways that differ in the field.
    Ambiguous,
    /// The field, or what stands behind it, is not as the configured log-format says.
    NotAsConfigured,
    /// The field is not two (tcplog) or four (httplog) letters and dashes.
    NotAState,
}

impl LineError {
    /// An error of the whole line.
    pub const fn of_line(kind: ErrorKind, offset: usize) -> Self {
        Self { kind, field: None, offset }
    }

    /// An error of one field.
    pub(super) const fn of_field(kind: ErrorKind, field: Field, offset: usize) -> Self {
        Self { kind, field: Some(field), offset }
    }
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let offset = self.offset;
        match (self.kind, self.field) {
            (ErrorKind::Truncated, Some(field)) => {
                write!(f, "line ends at byte {offset} before field {field} is complete")
            }
            (kind, Some(field)) => write!(f, "field {field} at byte {offset} {kind}"),
            (kind, None) => write!(f, "line from byte {offset} {kind}"),
        }
    }
}

impl fmt::Display for ErrorKind {
    /// The end of a sentence that begins with what was looked at.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("is empty"),
            Self::TooLong(limit) => write!(f, "is longer than {limit} bytes"),
            Self::NotRecognised => f.write_str("is neither a request nor a message of HAProxy's"),
            Self::NoMatch => f.write_str("does not match the configured regex"),
            Self::Truncated => f.write_str("ends too early"),
            Self::NotAClient => f.write_str("is not an address and a port"),
            Self::NotADate => f.write_str("is not a date"),
            Self::NotAName => f.write_str("is not a name"),
            Self::NotMilliseconds => f.write_str("is not a whole number of milliseconds"),
            Self::NotANumber => f.write_str("is not a whole number"),
            Self::OutOfRange => f.write_str("is out of range"),
            Self::OtherFormat => f.write_str("belongs to another log format than the configured one"),
            Self::NotQuoted => f.write_str("is not in quotes"),
            Self::Ambiguous => f.write_str("can be read in two ways"),
            Self::NotAsConfigured => f.write_str("is not as the configured log-format says"),
            Self::NotAState => f.write_str("is not a termination state"),
        }
    }
}

impl std::error::Error for LineError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_what_was_expected_and_where() {
        let timer = LineError::of_field(ErrorKind::NotMilliseconds, Field::Tr, 71);
        assert_eq!(timer.to_string(), "field Tr at byte 71 is not a whole number of milliseconds");
        let cut = LineError::of_field(ErrorKind::Truncated, Field::Ta, 80);
        assert_eq!(cut.to_string(), "line ends at byte 80 before field Ta is complete");
        let long = LineError::of_line(ErrorKind::TooLong(65536), 0);
        assert_eq!(long.to_string(), "line from byte 0 is longer than 65536 bytes");
    }
}
