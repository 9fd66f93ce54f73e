//! What the executor does to the world: for real, or only as if.
//!
//! Both do the same walk, so that a dry run is the same code. What differs is below: whether a
//! command or a request is sent, and whether a ramp takes time.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::address::Address;
use super::client::Client;
use super::dry_run::DryRun;
use super::error::RuntimeError;
use crate::core::log::log_format::words::Variable;
use crate::core::names::Names;
use crate::core::plan::inventory::Inventory;
use crate::core::settings::WarmUp;
use crate::core::wire::command::{Name, ServerName};
use crate::core::wire::guarded::Guarded;
use crate::warm_up::probe::{self, WarmUpError, Warmth, Way};

/// A server that does not take a connection within this time would not do for users either.
const CONNECT_WITHIN: Duration = Duration::from_secs(1);

/// Real or pretending ones.
#[derive(Debug)]
pub(super) enum Hands {
    Real(Client),
    Pretending(Box<DryRun>),
}

impl Hands {
    /// Where HAProxy is asked.
    pub(super) fn address(&self) -> &Address {
        match self {
            Self::Real(client) => client.address(),
            Self::Pretending(dry_run) => dry_run.address(),
        }
    }

    /// They do what they are told to.
    pub(super) fn are_real(&self) -> bool {
        matches!(self, Self::Real(_))
    }

    /// See [`Client::variable`].
    pub(super) fn variable(&self, name: &str) -> Option<Variable> {
        match self {
            Self::Real(client) => client.variable(name),
            Self::Pretending(dry_run) => dry_run.variable(name),
        }
    }

    /// What HAProxy has, with what is pretended laid over it.
    pub(super) async fn inventory(&self, names: &Names) -> Result<Inventory, RuntimeError> {
        match self {
            Self::Real(client) => client.inventory(names).await,
            Self::Pretending(dry_run) => dry_run.inventory(names).await,
        }
    }

    /// [`Self::inventory`] of one backend.
    pub(super) async fn backend(&self, backend: &Name, names: &Names) -> Result<Inventory, RuntimeError> {
        match self {
            Self::Real(client) => client.backend_inventory(backend, names).await,
            Self::Pretending(dry_run) => dry_run.backend(backend, names).await,
        }
    }

    /// The stick-table that keeps clients on `server`, if there is one. Where nothing is really drained, nobody is waited for.
    pub(super) async fn table_of(
        &self,
        server: &ServerName,
        names: &Names,
    ) -> Result<Option<Arc<str>>, RuntimeError> {
        match self {
            Self::Real(client) => client.table_of(server, names).await,
            Self::Pretending(_) => Ok(None),
        }
    }

    /// See [`Client::held_by_old_workers`].
    pub(super) async fn held_by_old_workers(
        &self,
        server: &ServerName,
        names: &Names,
    ) -> Result<Vec<u32>, RuntimeError> {
        match self {
            Self::Real(client) => client.held_by_old_workers(server, names).await,
            Self::Pretending(_) => Ok(Vec::new()),
        }
    }

    /// Changes states or weights, where HAProxy is as it was read.
    pub(super) async fn change(&self, change: &Guarded, names: &Names) -> Result<(), RuntimeError> {
        match self {
            Self::Real(client) => client.change(change).await.map(drop),
            Self::Pretending(dry_run) => {
                dry_run.pretend(change.command(), names);
                Ok(())
            }
        }
    }

    /// Whether the server takes a connection.
    pub(super) async fn reach(&self, address: SocketAddr) -> io::Result<()> {
        match self {
            Self::Real(client) => timeout(CONNECT_WITHIN, client.reach(address)).await?,
            Self::Pretending(_) => Ok(()),
        }
    }

    /// Sends warm-up requests.
    pub(super) async fn warm_up(
        &self,
        address: SocketAddr,
        way: Way,
        requests: &WarmUp,
    ) -> Result<Warmth, WarmUpError> {
        match self {
            Self::Real(_) => probe::warm_up(address, way, requests).await,
            Self::Pretending(_) => Ok(Warmth::default()),
        }
    }

    /// Waits between two weights of a ramp.
    pub(super) async fn pause(&self, pause: Duration) {
        match self {
            Self::Real(_) => sleep(pause).await,
            Self::Pretending(_) => {}
        }
    }
}
