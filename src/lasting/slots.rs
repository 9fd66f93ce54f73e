//! Server lines for slots that HAProxy does not have yet: as those of a slot that it has, but empty.
//!
//! In: the text of haproxy.cfg, and how the servers of a backend should stand. Out: the lines that it has not got. What
//! can be of one server only (`id`, `guid`, the value of its `cookie`) is not copied.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::{Range, RangeInclusive};

use super::block::{Marker, marker, wanted};
use super::declared::{Declared, Line, Lines, Section};
use super::line::{ServerLine, Wanted, address_text, apply, literal};
use crate::core::controller::{BackendStanding, ServerStanding};
use crate::haproxy::words::{Word, words};

/// No `server-template` has more servers.
const MOST_SERVERS: usize = 100_000;

/// Why slots cannot be added.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SlotError {
    /// Nobody knows what they are to have.
    #[error(
        "there is no line of `{server}` in `backend {backend}` that the lines of more slots could be made after"
    )]
    NoModel {
        /// Whose slots.
        backend: String,
        /// The slot that they are to be like.
        server: String,
    },
    /// What a template makes of it.
    #[error(
        "haproxy.cfg would have no line for the slot `{0}`; `{{{{ servers }}}}` or a loop over all servers makes one"
    )]
    NoLine(String),
    /// It would be something else, or would get requests.
    #[error("the line of the slot `{slot}` in haproxy.cfg would not be `{address} ... disabled`")]
    NoSlot {
        /// Its backend and name.
        slot: String,
        /// Where it is to be.
        address: String,
    },
}

/// Servers of `standing` that HAProxy does not have yet, with their backends.
pub(super) fn to_come(
    standing: &[BackendStanding],
) -> impl Iterator<Item = (&BackendStanding, &ServerStanding)> {
    let of = |backend| of_backend(backend).map(move |server| (backend, server));
    standing.iter().flat_map(of)
}

/// The names of those, with their backends: `app/t4`.
pub(super) fn names(standing: &[BackendStanding]) -> Vec<String> {
    to_come(standing).map(|(backend, server)| name(backend, server)).collect()
}

/// Those of one backend.
fn of_backend(standing: &BackendStanding) -> impl Iterator<Item = &ServerStanding> {
    standing.servers.iter().filter(|server| server.to_come_like().is_some())
}

/// `standing` without them.
pub(super) fn without(standing: &[BackendStanding]) -> Vec<BackendStanding> {
    let mut standing = standing.to_vec();
    for backend in &mut standing {
        backend.servers.retain(|server| server.to_come_like().is_none());
    }
    standing
}

/// Those that `text` has no line for, as `backend/server`.
pub(super) fn undeclared(text: &[u8], standing: &[BackendStanding]) -> Vec<String> {
    let mut to_come = to_come(standing).peekable();
    if to_come.peek().is_none() {
        return Vec::new();
    }
    let declared = Declared::read(text);
    let is_new = |(backend, server): &(&BackendStanding, &ServerStanding)| {
        declared.server(&backend.backend, &server.server).is_none()
    };
    to_come.filter(is_new).map(|(backend, server)| name(backend, server)).collect()
}

/// Whether they would be what they are meant to be with `text`: else they might get requests at once.
///
/// # Errors
/// One would not be.
pub(super) fn check(text: &[u8], standing: &[BackendStanding]) -> Result<(), SlotError> {
    let mut to_come = to_come(standing).peekable();
    if to_come.peek().is_none() {
        return Ok(());
    }
    let declared = Declared::read(text);
    for (backend, server) in to_come {
        let line = declared.server(&backend.backend, &server.server);
        let line = line.ok_or_else(|| SlotError::NoLine(name(backend, server)))?;
        let address = server.address.map(|address| (address, server.port));
        if literal(&line.address) != address || line.disabled == (server.disabled == Some(false)) {
            let address = address.map(address_text).unwrap_or_default();
            return Err(SlotError::NoSlot { slot: name(backend, server), address });
        }
    }
    Ok(())
}

fn name(backend: &BackendStanding, server: &ServerStanding) -> String {
    format!("{}/{}", backend.backend, server.server)
}

/// `text` with lines for the slots that are to come, at the end of the block of their backend. Those of a
/// `server-template` in it get lines of their own, as their addresses would be lost with the reload that this takes.
///
/// # Errors
/// There is no line to go by.
pub(super) fn grown<'a>(text: &'a [u8], standing: &BackendStanding) -> Result<Cow<'a, [u8]>, SlotError> {
    let (missing, model) = missing(text, standing)?;
    if missing.is_empty() {
        return Ok(Cow::Borrowed(text));
    }
    let (mut grown, mut is_open) = (Vec::with_capacity(text.len() + 1024), false);
    for line in Lines::new(text) {
        match marker(line.bytes, &standing.backend) {
            Some(Marker::Begin) => is_open = true,
            Some(Marker::End) if std::mem::take(&mut is_open) => {
                let new = missing.iter().filter_map(|server| empty_line(&model, server, &line));
                grown.extend(new.flatten());
            }
            None if is_open => {
                grown.extend(of_template(&line, standing).unwrap_or_else(|| line.bytes.to_vec()));
                continue;
            }
            _ => {}
        }
        grown.extend_from_slice(line.bytes);
    }
    Ok(Cow::Owned(grown))
}

/// The slots that the section of the backend has no line for, and the line that theirs are made after.
fn missing<'a>(
    text: &[u8],
    standing: &'a BackendStanding,
) -> Result<(Vec<&'a ServerStanding>, Vec<u8>), SlotError> {
    let mut missing: Vec<&ServerStanding> = of_backend(standing).collect();
    let Some(like) = missing.first().and_then(|server| server.to_come_like()) else {
        return Ok((Vec::new(), Vec::new()));
    };
    let section = Section::Proxy(standing.backend.clone());
    let lines = Lines::new(text).filter(|line| line.section == section);
    let there: HashMap<String, Vec<u8>> = lines.flat_map(|line| server_lines(line.bytes)).collect();
    missing.retain(|server| !there.contains_key(&server.server));
    let no_model = || SlotError::NoModel { backend: standing.backend.clone(), server: like.to_owned() };
    let model = there.get(like).ok_or_else(no_model)?.clone();
    Ok((missing, model))
}

/// The lines that the servers of a `server-template` would have; `None` if it is none, or of names that DNS resolves.
fn of_template(line: &Line<'_>, standing: &BackendStanding) -> Option<Vec<u8>> {
    let template = TemplateLine::read(line.bytes)?;
    literal(&template.words[3].text)?;
    let edited = |(name, bytes): (String, Vec<u8>)| {
        let server = standing.servers.iter().find(|server| server.server == name);
        match (server, ServerLine::read(&bytes)) {
            (Some(server), Some(read)) => read.edited(&bytes, &wanted(server), line.settings.disables),
            _ => bytes,
        }
    };
    Some(server_lines(line.bytes).into_iter().flat_map(edited).collect())
}

/// A `server` line for `server` after that of a `model`, to stand before the line that ends the block.
fn empty_line(model: &[u8], server: &ServerStanding, end: &Line<'_>) -> Option<Vec<u8>> {
    let address = server.address.map(|address| (address, server.port))?;
    let line = ServerLine::read(model)?.renamed(model, &server.server, &address_text(address));
    let wanted = Wanted {
        disabled: Some(server.disabled != Some(false)),
        weight: server.weight,
        unsaid_weight: server.initial_weight,
        address: None,
    };
    let line = ServerLine::read(&line)?.edited(&line, &wanted, end.settings.disables);
    Some([end.indent(), &line, b"\n"].concat())
}

/// The servers of a `server` line or a `server-template` with plain addresses, each with a `server` line for it.
pub(super) fn server_lines(line: &[u8]) -> Vec<(String, Vec<u8>)> {
    if let Some(server) = ServerLine::read(line) {
        return vec![(server.name().to_owned(), line.to_vec())];
    }
    let Some(template) = TemplateLine::read(line) else { return Vec::new() };
    let of = |number| (template.name(number), template.server(line, number));
    template.numbers.clone().take(MOST_SERVERS).map(of).collect()
}

/// What a `server-template` line says: servers, each of which could have a line like it.
struct TemplateLine {
    words: Vec<Word>,
    numbers: RangeInclusive<u32>,
}

impl TemplateLine {
    /// `None` if it is none. The number of servers, or the first and last number, stands behind the prefix.
    fn read(line: &[u8]) -> Option<Self> {
        let words = words(line);
        if words.len() < 4 || words[0].text != "server-template" {
            return None;
        }
        let numbers = match words[2].text.split_once('-') {
            Some((first, last)) => first.parse().ok()?..=last.parse().ok()?,
            None => 1..=words[2].text.parse().ok()?,
        };
        Some(Self { words, numbers })
    }

    fn name(&self, number: u32) -> String {
        format!("{}{number}", self.words[1].text)
    }

    /// `line`, which this was read from, for one of them.
    fn server(&self, line: &[u8], number: u32) -> Vec<u8> {
        let at =
            |from: usize, to: usize| -> Range<usize> { self.words[from].at.start..self.words[to].at.end };
        apply(line, vec![(at(0, 0), "server".to_owned()), (at(1, 2), self.name(number))])
    }
}
