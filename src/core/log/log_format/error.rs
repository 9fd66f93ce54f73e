//! Why a log-format cannot be used to read lines, and at which byte of its text.

use std::fmt;

/// Why a log-format was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFormatError {
    /// Where, in bytes from the start of the text as it was given, quotes and backslashes included.
    pub position: usize,
    /// What was wrong.
    pub kind: LogFormatErrorKind,
}

/// What kind of thing was wrong with a log-format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogFormatErrorKind {
    /// HAProxy has no `%name`.
    UnknownItem(String),
    /// This opening bracket is never closed.
    Unclosed(char),
    /// What follows a `%` is no item; `%%` stands for the sign itself.
    NotAnItem,
    /// Nobody told the value of this environment variable.
    UnknownVariable(String),
    /// It holds or not as the `.if` in this line says.
    Conditional(usize),
    /// HAProxy takes it, but what it writes cannot be read here.
    Unsupported(&'static str),
    /// No item tells the backend: `%b` or `%[be_name]`.
    NoBackend,
    /// No item is a timer: `%TR`, `%Tw`, `%Tc`, `%Tr`, `%Ta`, `%Tt` or one of their sample fetches.
    NoTimer,
    /// There is a line from which this item cannot be read.
    CannotTellApart {
        /// As written in the text, such as `%s`.
        item: String,
        /// Such a line.
        line: String,
    },
}

impl LogFormatError {
    pub(super) const fn new(position: usize, kind: LogFormatErrorKind) -> Self {
        Self { position, kind }
    }
}

impl fmt::Display for LogFormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use LogFormatErrorKind as Kind;
        let position = self.position;
        match &self.kind {
            Kind::NoBackend => f.write_str("the log-format does not tell the backend: it has no %b"),
            Kind::NoTimer => f.write_str("the log-format has no timer: %TR, %Tw, %Tc, %Tr, %Ta or %Tt"),
            Kind::UnknownItem(name) => write!(f, "at byte {position}: HAProxy has no item `%{name}`"),
            Kind::Unclosed(bracket) => write!(f, "at byte {position}: `{bracket}` is never closed"),
            Kind::NotAnItem => {
                write!(f, "at byte {position}: no item follows the `%` (the sign itself is `%%`)")
            }
            Kind::UnknownVariable(name) => {
                write!(f, "at byte {position}: the environment variable `{name}` is not known here")
            }
            Kind::Conditional(line) => {
                write!(f, "it holds or not as the `.if` in line {line} says, which only HAProxy knows")
            }
            Kind::Unsupported(what) => write!(f, "at byte {position}: {what}"),
            Kind::CannotTellApart { item, line } => {
                write!(
                    f,
                    "at byte {position}: `{item}` cannot be told apart from what stands beside it, as in `{line}`"
                )
            }
        }
    }
}

impl std::error::Error for LogFormatError {}
