//! Old workers: after a reload they go on with the sessions they have, maybe for hours, and the new worker knows nothing of
//! them. HAProxy's master does, where its socket is known.

use std::net::SocketAddr;

use super::client::Client;
use super::error::RuntimeError;
use crate::core::names::Names;
use crate::core::plan::inventory::Inventory;
use crate::core::wire::command::ServerName;
use crate::core::wire::master::Processes;
use crate::core::wire::old_worker;

impl Client {
    /// The old workers with sessions on `server`; none where no master is known.
    ///
    /// # Errors
    /// If the master, or one of them, does not tell.
    pub(super) async fn held_by_old_workers(
        &self,
        server: &ServerName,
        names: &Names,
    ) -> Result<Vec<u32>, RuntimeError> {
        let Some(master) = self.master() else { return Ok(Vec::new()) };
        let workers = master.processes().await?.old_workers;
        if workers.is_empty() {
            return Ok(workers);
        }
        let inventory = self.backend_inventory(&server.backend, names).await?;
        let at = address_of(server, &inventory, names);
        let mut holding = Vec::new();
        // After a reload that failed the current worker may stand among the old ones.
        for pid in workers.into_iter().filter(|&pid| pid != inventory.process.pid) {
            if master.old_worker_holds(pid, server, at).await? {
                holding.push(pid);
            }
        }
        Ok(holding)
    }

    /// The workers of this master.
    ///
    /// # Errors
    /// If it does not tell.
    pub(crate) async fn processes(&self) -> Result<Processes, RuntimeError> {
        // Without `quit` the master leaves the connection open (seen on HAProxy 2.2 to 3.4).
        let answer = self.tell("show proc;quit").await?;
        Processes::parse(&answer).map_err(|error| self.garbage(error))
    }

    async fn old_worker_holds(
        &self,
        pid: u32,
        server: &ServerName,
        at: Option<SocketAddr>,
    ) -> Result<bool, RuntimeError> {
        let Some(text) = self.ask_worker(pid, &old_worker::question(&server.backend)).await? else {
            return Ok(false);
        };
        for old in old_worker::find(&text, server, at).map_err(|error| self.garbage(error))? {
            let Some(text) = self.ask_worker(pid, &old.question()).await? else { return Ok(false) };
            if old.sessions(&text).map_err(|error| self.garbage(error))? > 0 {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Where `server` is.
fn address_of(server: &ServerName, inventory: &Inventory, names: &Names) -> Option<SocketAddr> {
    let backend = names.backend(server.backend.as_str())?;
    let id = names.server(backend, server.server.as_str())?;
    inventory.backend(backend)?.server(id)?.socket()
}
