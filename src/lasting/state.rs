//! The state file: HAProxy's own `show servers state`, where HAProxy finds it when it starts (configuration manual,
//! `load-server-state-from-file`).

use std::path::Path;

use tokio::task::spawn_blocking;

use super::file::{FileError, Staged};
use crate::core::plan::inventory::AdminState;
use crate::core::wire::error::AnswerError;
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

/// Writes the file at `path`.
///
/// # Errors
/// The file is then as it was.
pub(super) async fn write(client: &Client, path: &Path) -> Result<(), StateError> {
    let text = ask(client).await?;
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
    let rows = servers_state::rows(&text)?;
    let is_out = |row: &&servers_state::StateRow<'_>| {
        let admin = row.admin;
        admin.state() != AdminState::Ready && !admin.is_foreign_maint() && !admin.is_foreign_drain()
    };
    let out = rows.iter().filter(is_out);
    Ok(out.map(|row| (row.backend.to_owned(), row.server.to_owned())).collect())
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
