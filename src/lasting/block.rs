//! The managed block of a backend: the server lines between two lines of comment.
//!
//! In: the text of haproxy.cfg, and how the servers of a backend should stand. Out: the text with the
//! server lines of the block as they should be; everything outside of it, and every other line in it, is as it
//! was, byte for byte.
//!
//! ```text
//! backend app
//!     balance roundrobin
//!     # BEGIN haproxy-autoscale app
//!     server s1 10.0.0.1:80 check
//!     server s2 10.0.0.2:80 check disabled
//!     # END haproxy-autoscale app
//! ```

use super::declared::{Line, Lines, Section};
use super::line::{ServerLine, Wanted};
use crate::core::controller::{BackendStanding, ServerStanding};

/// What both markers begin with, behind `# BEGIN` and `# END`.
const WHOSE: &str = "haproxy-autoscale";

/// Why a block cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    /// Not there.
    #[error("there is no line `# BEGIN {WHOSE} {0}` before the servers of the backend")]
    NoBegin(String),
    /// It never ends, or a section begins in it.
    #[error(
        "line {line}: the block of `{backend}` has no line `# END {WHOSE} {backend}` before its section ends"
    )]
    NoEnd {
        /// Whose block.
        backend: String,
        /// Where it begins.
        line: usize,
    },
    /// There are two.
    #[error("line {line}: the block of `{backend}` is there twice")]
    Twice {
        /// Whose block.
        backend: String,
        /// The second one.
        line: usize,
    },
    /// It stands elsewhere.
    #[error(
        "line {line}: the block of `{backend}` does not stand in `backend {backend}` or `listen {backend}`"
    )]
    Elsewhere {
        /// Whose block.
        backend: String,
        /// Where it begins.
        line: usize,
    },
}

/// What became of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edited {
    /// The whole text.
    pub text: Vec<u8>,
    /// Servers of the backend without a line in the block: nothing of theirs is kept.
    pub without_line: Vec<String>,
}

/// `text` with the block of the backend as `standing` says. Lines of servers that stand as they did `before` are left
/// as they are: what somebody has written there meanwhile, for a reload to come, is kept.
///
/// # Errors
/// The block is not there, or not as it has to be.
pub fn edit(
    text: &[u8],
    standing: &BackendStanding,
    before: Option<&BackendStanding>,
) -> Result<Edited, BlockError> {
    let backend = &standing.backend;
    let mut edited = Vec::with_capacity(text.len() + 64);
    let mut found: Vec<String> = Vec::new();
    let (mut begun, mut ended) = (None, false);
    for (number, line) in (1..).zip(Lines::new(text)) {
        let is_open = begun.is_some() && !ended;
        if is_open && line.begins {
            break;
        }
        match marker(line.bytes, backend) {
            Some(Marker::Begin) if begun.is_some() => {
                return Err(BlockError::Twice { backend: backend.clone(), line: number });
            }
            Some(Marker::Begin) if line.section != Section::Proxy(backend.clone()) => {
                return Err(BlockError::Elsewhere { backend: backend.clone(), line: number });
            }
            Some(Marker::Begin) => begun = Some(number),
            Some(Marker::End) => ended |= is_open,
            None if is_open => {
                edited.extend(server_line(&line, standing, before, &mut found));
                continue;
            }
            None => {}
        }
        edited.extend_from_slice(line.bytes);
    }
    match begun {
        None => Err(BlockError::NoBegin(backend.clone())),
        Some(line) if !ended => Err(BlockError::NoEnd { backend: backend.clone(), line }),
        Some(_) => {
            let names = standing.servers.iter().map(|server| server.server.clone());
            Ok(Edited { text: edited, without_line: names.filter(|name| !found.contains(name)).collect() })
        }
    }
}

/// A line in the block as it should be.
fn server_line(
    line: &Line<'_>,
    standing: &BackendStanding,
    before: Option<&BackendStanding>,
    found: &mut Vec<String>,
) -> Vec<u8> {
    let Some(read) = ServerLine::read(line.bytes) else { return line.bytes.to_vec() };
    let Some(server) = server(standing, read.name()) else { return line.bytes.to_vec() };
    found.push(server.server.clone());
    let before = before.and_then(|before| self::server(before, read.name()));
    if before.is_some_and(|before| wanted(before) == wanted(server)) {
        return line.bytes.to_vec();
    }
    read.edited(line.bytes, &wanted(server), line.settings.disables)
}

fn server<'a>(standing: &'a BackendStanding, name: &str) -> Option<&'a ServerStanding> {
    standing.servers.iter().find(|server| server.server == name)
}

fn wanted(server: &ServerStanding) -> Wanted {
    Wanted {
        disabled: server.disabled,
        weight: server.weight,
        unsaid_weight: server.initial_weight,
        address: server.address.map(|address| (address, server.port)),
    }
}

enum Marker {
    Begin,
    End,
}

/// `# BEGIN haproxy-autoscale BACKEND` or its end, with any blanks around its words.
fn marker(line: &[u8], backend: &str) -> Option<Marker> {
    let line = std::str::from_utf8(line).ok()?.trim().strip_prefix('#')?;
    let mut words = line.split_ascii_whitespace();
    let marker = match words.next()? {
        "BEGIN" => Marker::Begin,
        "END" => Marker::End,
        _ => return None,
    };
    (words.next() == Some(WHOSE) && words.next() == Some(backend) && words.next().is_none()).then_some(marker)
}
