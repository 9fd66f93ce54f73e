//! The state file: HAProxy's own `show servers state`, where HAProxy finds it when it starts (configuration manual,
//! `load-server-state-from-file`).
//!
//! Slots, and servers that were added, are left out. Of a slot HAProxy would take state and port from the file but not
//! the address, and send requests to the placeholder (seen on 2.2 to 3.2); it has to start empty, and is filled anew.
//!
//! Of a HAProxy that is away, or has not yet what others have, the rows are put right: it starts with what they have.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::Path;

use tokio::task::spawn_blocking;

use super::file::{self, FileError, Staged};
use crate::core::controller::{BackendStanding, Origin, ServerStanding};
use crate::core::plan::inventory::AdminState;
use crate::core::wire::error::AnswerError;
use crate::core::wire::table::Rows;
use crate::core::wire::{info, servers_state};
use crate::haproxy::client::Client;
use crate::haproxy::error::RuntimeError;

/// Why there is no new state file.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// HAProxy was not to be asked.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// What it said makes no sense.
    #[error("HAProxy's servers cannot be read")]
    Answer(#[from] AnswerError),
    /// An old worker answered; the new one will.
    #[error("an old process of HAProxy's answered, which is about to end")]
    Stopping,
    /// It cannot be written.
    #[error(transparent)]
    File(#[from] FileError),
}

/// Writes the file at `path`, but for servers that do not stand in HAProxy's configuration with their address.
///
/// # Errors
/// The file is then as it was.
pub(super) async fn write(
    client: &Client,
    path: &Path,
    standing: &[BackendStanding],
) -> Result<(), StateError> {
    put(path, without_pools(&ask(client).await?, standing)).await
}

/// The same with states and weights as `standing` says, which are not yet those of HAProxy.
///
/// # Errors
/// The file is then as it was.
pub(super) async fn write_as_meant(
    client: &Client,
    path: &Path,
    standing: &[BackendStanding],
) -> Result<(), StateError> {
    let text = without_pools(&ask(client).await?, standing);
    put(path, as_meant(&text, standing)).await
}

/// Puts states and weights right in the file at `path`, whose HAProxy cannot be asked. False if there is none.
///
/// # Errors
/// The file is then as it was.
pub(super) async fn put_right(path: &Path, standing: &[BackendStanding]) -> Result<bool, StateError> {
    let text = match file::read(path) {
        Ok(text) => text,
        Err(FileError::Read(_, error)) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    let text = String::from_utf8_lossy(&text);
    let meant = as_meant(&text, standing);
    if meant != text {
        put(path, meant).await?;
    }
    Ok(true)
}

async fn put(path: &Path, text: String) -> Result<(), StateError> {
    let path = path.to_owned();
    let written = spawn_blocking(move || Staged::write(&path, text.as_bytes())?.install()).await;
    match written {
        Ok(written) => Ok(written?),
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// Servers, with their backends, that a command has put into MAINT or DRAIN.
pub(super) async fn out_of_service(client: &Client) -> Result<Vec<(String, String)>, StateError> {
    let text = ask(client).await?;
    let rows = servers_state::rows(&text)?.rows;
    let is_out = |row: &&servers_state::StateRow<'_>| {
        let admin = row.admin;
        admin.state() != AdminState::Ready && !admin.is_foreign_maint() && !admin.is_foreign_drain()
    };
    let out = rows.iter().filter(is_out);
    Ok(out.map(|row| (row.backend.to_owned(), row.server.to_owned())).collect())
}

/// Whether it has all of these servers, named with their backends.
pub(super) async fn has_all(client: &Client, servers: &[(&str, &str)]) -> Result<bool, StateError> {
    let text = ask(client).await?;
    let Rows { rows, unread } = servers_state::rows(&text)?;
    let read = rows.iter().map(|row| (row.backend, row.server));
    let there: HashSet<_> = read.chain(unread.iter().map(|row| (row.backend, row.server))).collect();
    Ok(servers.iter().all(|server| there.contains(server)))
}

/// `text` without the rows of slots and servers that were added.
fn without_pools(text: &str, standing: &[BackendStanding]) -> String {
    let of_pools: HashSet<(&str, &str)> = standing
        .iter()
        .flat_map(|backend| backend.servers.iter().map(|server| (backend.backend.as_str(), server)))
        .filter(|(_, server)| server.origin != Origin::Declared)
        .map(|(backend, server)| (backend, server.server.as_str()))
        .collect();
    // A row begins with the ids and names of a backend and a server (management manual 9.3).
    let is_of_pool = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let (backend, server) = (words.nth(1), words.nth(1));
        backend.zip(server).is_some_and(|names| of_pools.contains(&names))
    };
    text.split_inclusive('\n').filter(|line| !is_of_pool(line)).collect()
}

/// `text` with rows as `standing` says; of those that it does not tell they are as they were.
fn as_meant(text: &str, standing: &[BackendStanding]) -> String {
    let servers = standing.iter().flat_map(|backend| {
        backend.servers.iter().map(|server| ((backend.backend.as_str(), server.server.as_str()), server))
    });
    let servers: HashMap<_, _> = servers.collect();
    let row = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let server = servers.get(&(*words.get(1)?, *words.get(3)?))?;
        meant_row(&words, server)
    };
    text.split_inclusive('\n').map(|line| row(line).unwrap_or_else(|| line.to_owned())).collect()
}

/// A row with the operational state, the administrative one and the weight of `server` (management manual 9.3); `None` if it
/// is no such row.
fn meant_row(words: &[&str], server: &ServerStanding) -> Option<String> {
    const FORCED_MAINT: u32 = 0x01;
    const FORCED_DRAIN: u32 = 0x08;
    const RUNNING: &str = "2";
    let &[_, _, _, _, _, operational, admin, weight, ..] = words else { return None };
    let before: u32 = admin.parse().ok()?;
    let admin = match server.disabled {
        Some(true) => (before | FORCED_MAINT) & !FORCED_DRAIN,
        Some(false) => before & !(FORCED_MAINT | FORCED_DRAIN),
        None => before,
    };
    // In MAINT it is stopped. Whether it is up is for its check to say; without one it is.
    let operational = if before & !admin & FORCED_MAINT != 0 { RUNNING } else { operational };
    let weight = server.weight.map_or(weight.to_owned(), |weight| weight.to_string());
    let (before, after) = (words[..5].join(" "), words[8..].join(" "));
    Some(format!("{before} {operational} {admin} {weight} {after}"))
}

/// What `show servers state` shows, of a process that is to stay.
async fn ask(client: &Client) -> Result<String, StateError> {
    let answer = client.tell("show info;show servers state").await?;
    let (process, rows) = answer.split_once("\n\n").unwrap_or((&answer, ""));
    if info::process(process)?.stopping {
        return Err(StateError::Stopping);
    }
    servers_state::rows(rows)?;
    Ok(format!("{}\n", rows.trim()))
}

#[cfg(test)]
mod tests {
    use super::super::testing::server;
    use super::*;
    use crate::core::controller::ServerStanding;

    #[test]
    fn slots_are_left_out_and_all_else_stays() {
        let slot = ServerStanding { origin: Origin::Slot, ..server("s2", Some(false), 1, "10.0.0.4:80") };
        let servers = vec![server("s1", Some(false), 1, "10.0.0.1:80"), slot];
        let standing = [BackendStanding { backend: "app".to_owned(), servers }];
        let text = "1\n# be_id be_name srv_id srv_name\n2 app 1 s1 10.0.0.1 2\n2 app 2 s2 10.0.0.4 2\n3 b 1 s2 10.0.0.9 2\n";
        assert_eq!(without_pools(text, &standing), text.replace("2 app 2 s2 10.0.0.4 2\n", ""));
        assert_eq!(without_pools(text, &[]), text);
    }

    #[track_caller]
    fn check(row: &str, disabled: Option<bool>, weight: u16, expected: &str) {
        let servers = vec![server("s1", disabled, weight, "10.0.0.1:80")];
        let standing = [BackendStanding { backend: "app".to_owned(), servers }];
        let text = |row: &str| {
            format!(
                "1\n# be_id be_name srv_id srv_name\n2 app 1 s1 10.0.0.1 {row} 10 0\n3 b 1 s1 10.0.0.9 0 1 9\n"
            )
        };
        assert_eq!(as_meant(&text(row), &standing), text(expected), "{row}");
    }

    #[test]
    fn rows_are_put_right() {
        check("2 0 10", Some(false), 10, "2 0 10");
        // Declared `disabled`, in MAINT; taken into service.
        check("0 5 10", Some(false), 70, "2 4 70");
        check("2 4 70", Some(true), 70, "2 5 70");
        check("2 8 10", Some(true), 10, "2 1 10");
        check("2 8 10", Some(false), 10, "2 0 10");
        // Its check has failed there.
        check("0 0 10", Some(false), 10, "0 0 10");
        check("2 8 10", None, 10, "2 8 10");
        check("x y z", Some(false), 10, "x y z");
    }
}
