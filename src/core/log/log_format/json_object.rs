//! Lines that HAProxy 3.0 and later writes by `%{+json}o`: one JSON object of the named items.
//!
//! Texts are what the same item writes elsewhere, escaped for JSON once more; a number may be a
//! text if the format says so (`%(status:str)ST`); and logasap's `+` is not written at all.

use super::super::error::{ErrorKind, LineError};
use super::super::gathering::{Gathering, Whole};
use super::super::json::{End, JsonValue, Members};
use super::super::line::LogLine;
use super::error::LogFormatError;
use super::items::Target;
use super::nodes::Node;
use super::program::{ValueOf, value_of};
use super::{Has, take};

/// The named items of a format.
#[derive(Clone, Debug)]
pub(super) struct JsonObject {
    keys: Vec<Vec<u8>>,
    /// As many as `keys`.
    values: Vec<ValueOf>,
}

impl JsonObject {
    /// # Errors
    /// An item is not known.
    pub(super) fn new(nodes: &[Node]) -> Result<Self, LogFormatError> {
        let mut object = Self { keys: Vec::new(), values: Vec::new() };
        for node in nodes {
            let Node::Item(item) = node else { continue };
            let mut value = value_of(item)?;
            let Some(name) = &item.name else { continue };
            let is_first = |target| object.values.iter().all(|other| other.meaning.target != target);
            if value.meaning.target != Target::Nothing && !is_first(value.meaning.target) {
                value.meaning.target = Target::Nothing;
            }
            value.meaning.writing.has_backslashes = true;
            object.keys.push(name.clone().into_bytes());
            object.values.push(value);
        }
        Ok(object)
    }

    pub(super) fn values(&self) -> &[ValueOf] {
        &self.values
    }

    /// Whether `text` is an object with these keys.
    pub(super) fn fits(&self, text: &[u8]) -> bool {
        let Some(mut members) = Members::new(text) else { return false };
        let known = members.by_ref().all(|member| self.keys.iter().any(|key| key == member.key));
        known && members.end() == End::Closed
    }

    pub(super) fn read<'a>(&self, text: &'a [u8], body: usize, has: Has) -> Result<LogLine<'a>, LineError> {
        let wrong = |offset| LineError::of_line(ErrorKind::NotAsConfigured, body + offset);
        let mut members = Members::new(text).ok_or(wrong(0))?;
        let mut gathering = Gathering::new();
        for member in members.by_ref() {
            let Some(at) = self.keys.iter().position(|key| key == member.key) else {
                return Err(wrong(member.begin));
            };
            let value = match member.value {
                JsonValue::Text(text) | JsonValue::Plain(text) => text,
                JsonValue::Nested(_) => continue,
            };
            if value != b"null" {
                take(&mut gathering, &self.values[at], value, body + member.begin)?;
            }
        }
        let (end, offset) = (members.end(), members.offset());
        let is_truncated = end == End::Cut;
        if end == End::Broken {
            return Err(wrong(offset));
        }
        if is_truncated && !gathering.has_timer(has.total) {
            return Err(LineError::of_line(ErrorKind::Truncated, body + text.len()));
        }
        gathering.finish(Whole { has_server: has.server, is_tcp: !has.http, is_truncated }, body)
    }
}
