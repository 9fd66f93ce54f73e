//! What can be wrong with an answer of HAProxy.

use super::response::Refusal;

/// Why an answer does not say what its command asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// HAProxy's "no". Parts of the line before and after this one may have been carried out.
    #[error("HAProxy refused `{command}`")]
    Refused {
        /// The part of the line that was refused.
        command: String,
        /// Its reason.
        #[source]
        refusal: Refusal,
    },
    /// The answer stops before its end: HAProxy, or the way to it, broke down.
    #[error("the answer ends after {received} bytes, before it is complete")]
    Incomplete {
        /// What came.
        received: usize,
    },
    /// A section of the answer does not begin as it must.
    #[error("expected {expected}, found `{found}`")]
    NoSection {
        /// What should have come.
        expected: &'static str,
        /// What came, cut short.
        found: String,
    },
    /// A table lacks a column that no known version of HAProxy leaves out.
    #[error("`{table}` has no column `{column}`")]
    NoColumn {
        /// The command that shows the table.
        table: &'static str,
        /// The column's name in its heading.
        column: &'static str,
    },
    /// A field is not what its column holds.
    #[error("`{column}` in row {row} of `{table}` is not {expected}: `{found}`")]
    BadField {
        /// The command that shows the table.
        table: &'static str,
        /// The row, from 1 at the first one below the heading.
        row: usize,
        /// The column's name in its heading.
        column: &'static str,
        /// What the column holds.
        expected: &'static str,
        /// What was found, cut short; nothing where the row is too short.
        found: String,
    },
    /// A row has fewer fields than its table has columns: the answer was damaged.
    #[error("row {row} of `{table}` is cut off")]
    CutRow {
        /// The command that shows the table.
        table: &'static str,
        /// The row, from 1 at the first one below the heading.
        row: usize,
    },
    /// `show info` lacks a line that no known version of HAProxy leaves out, or it is garbled.
    #[error("`show info` has no line `{key}: ` followed by {expected}")]
    BadInfo {
        /// The line's key.
        key: &'static str,
        /// What its value is.
        expected: &'static str,
    },
    /// `show stat` shows nothing of a backend that was asked for by name: a frontend of the
    /// same name was shown instead. Ask for all.
    #[error("`show stat {backend}` shows no backend of that name")]
    NoStat {
        /// Which backend.
        backend: String,
    },
    /// HAProxy has more backends and servers than the agent can keep names of.
    #[error("HAProxy has more backends and servers than the agent can name")]
    TooManyNames,
}

/// The beginning of `text` as one short line, for messages.
pub(super) fn excerpt(text: &str) -> String {
    /// Enough to recognise a message, short enough for a log line.
    const MOST_CHARACTERS: usize = 120;
    let line = text.lines().next().unwrap_or_default();
    let mut excerpt = String::new();
    for c in line.chars().take(MOST_CHARACTERS) {
        if c.is_control() { excerpt.extend(c.escape_default()) } else { excerpt.push(c) }
    }
    excerpt
}
