//! Tables with named columns: what `show stat` and `show servers state` have in common.

use std::str::FromStr;

use super::error::{AnswerError, excerpt};

/// A column that the heading has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    name: &'static str,
    place: usize,
}

/// The names of a table's columns.
pub(super) struct Heading<'a> {
    /// The command that shows the table.
    pub(super) table: &'static str,
    /// The names, in the table's order.
    pub(super) names: &'a [&'a str],
}

impl Heading<'_> {
    /// The column `name`, if the table has it.
    pub(super) fn find(&self, name: &'static str) -> Option<Column> {
        let place = self.names.iter().position(|&found| found == name)?;
        Some(Column { name, place })
    }

    /// The column `name`, which every version of HAProxy has.
    pub(super) fn need(&self, name: &'static str) -> Result<Column, AnswerError> {
        self.find(name).ok_or(AnswerError::NoColumn { table: self.table, column: name })
    }
}

/// What a table has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rows<'a, R> {
    /// The rows, in its order.
    pub rows: Vec<R>,
    /// Those that could not be read.
    pub unread: Vec<UnreadRow<'a>>,
}

/// A row of which one field says what cannot be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreadRow<'a> {
    /// The backend.
    pub backend: &'a str,
    /// The server in it, or `BACKEND`.
    pub server: &'a str,
    /// Which field, and what it says.
    pub error: AnswerError,
}

impl<'a, R> Rows<'a, R> {
    /// None yet.
    pub(super) const fn new() -> Self {
        Self { rows: Vec::new(), unread: Vec::new() }
    }

    /// Takes what a row of `server` was read as; `None` for one that is passed over.
    pub(super) fn take(
        &mut self,
        (backend, server): (&'a str, &'a str),
        read: Result<Option<R>, AnswerError>,
    ) {
        match read {
            Ok(row) => self.rows.extend(row),
            Err(error) => self.unread.push(UnreadRow { backend, server, error }),
        }
    }
}

/// One row's fields.
pub(super) struct Row<'r, 'a> {
    /// The command that shows the table.
    pub(super) table: &'static str,
    /// From 1, for errors.
    pub(super) row: usize,
    /// The fields, in the table's order.
    pub(super) fields: &'r [&'a str],
}

impl<'a> Row<'_, 'a> {
    /// It has a field for each of so many columns.
    pub(super) fn must_have(&self, columns: usize) -> Result<(), AnswerError> {
        let cut = AnswerError::CutRow { table: self.table, row: self.row };
        if self.fields.len() < columns { Err(cut) } else { Ok(()) }
    }

    /// The field, which may be empty.
    pub(super) fn text(&self, column: Column) -> Result<&'a str, AnswerError> {
        self.fields.get(column.place).copied().ok_or_else(|| self.bad(column, "there"))
    }

    /// The field, which must not be empty.
    pub(super) fn word(&self, column: Column) -> Result<&'a str, AnswerError> {
        self.text(column).ok().filter(|text| !text.is_empty()).ok_or_else(|| self.bad(column, "there"))
    }

    /// The field as a number that is `expected`.
    pub(super) fn number<T: FromStr>(
        &self,
        column: Column,
        expected: &'static str,
    ) -> Result<T, AnswerError> {
        self.word(column)?.parse().map_err(|_| self.bad(column, expected))
    }

    /// The field as a whole number; `None` if it is empty.
    pub(super) fn optional<T: FromStr>(&self, column: Column) -> Result<Option<T>, AnswerError> {
        if self.text(column)?.is_empty() { Ok(None) } else { self.number(column, "a whole number").map(Some) }
    }

    /// The field is not what was expected.
    pub(super) fn bad(&self, column: Column, expected: &'static str) -> AnswerError {
        let found = excerpt(self.fields.get(column.place).copied().unwrap_or_default());
        AnswerError::BadField { table: self.table, row: self.row, column: column.name, expected, found }
    }
}
