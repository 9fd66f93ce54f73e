//! The dry run: commands are not sent, but remembered as if they had been.
//!
//! In: the commands of a plan, and readings of the real HAProxy. Out: readings that show what
//! would be, so that whoever decides goes on from there as it would for real.
//!
//! What is pretended of a server ends as soon as somebody really changes it, and all of it when
//! HAProxy is restarted: then what HAProxy says is nearer to what would be.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tracing::info;

use super::address::Address;
use super::client::Client;
use super::error::RuntimeError;
use crate::core::log::log_format::words::Variable;
use crate::core::names::{BackendId, Names, ServerId};
use crate::core::plan::inventory::{
    AdminState, BackendState, Inventory, OperationalState, Process, ServerState,
};
use crate::core::plan::supply;
use crate::core::settings::spares::Keywords;
use crate::core::units::Weight;
use crate::core::wire::command::{Command, Name, ServerName};

/// Reads a HAProxy and only pretends to change it.
#[derive(Debug)]
pub(super) struct DryRun {
    client: Client,
    overlay: Mutex<Overlay>,
}

impl DryRun {
    pub(super) fn new(client: Client) -> Self {
        Self { client, overlay: Mutex::default() }
    }

    pub(super) fn address(&self) -> &Address {
        self.client.address()
    }

    pub(super) fn variable(&self, name: &str) -> Option<Variable> {
        self.client.variable(name)
    }

    pub(super) async fn inventory(&self, names: &Names) -> Result<Inventory, RuntimeError> {
        let mut inventory = self.client.inventory(names).await?;
        self.overlay().apply(&mut inventory);
        Ok(inventory)
    }

    pub(super) async fn backend(&self, backend: &Name, names: &Names) -> Result<Inventory, RuntimeError> {
        let mut inventory = self.client.backend_inventory(backend, names).await?;
        self.overlay().apply(&mut inventory);
        Ok(inventory)
    }

    pub(super) fn pretend(&self, command: &Command, names: &Names) {
        info!(%command, "dry run: not sent");
        self.overlay().pretend(command, names);
    }

    /// A panic elsewhere leaves at worst one pretence half made; the next reading shows it.
    fn overlay(&self) -> MutexGuard<'_, Overlay> {
        self.overlay.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is pretended, and of which reality.
#[derive(Debug, Default)]
struct Overlay {
    process: Option<Process>,
    real: HashMap<ServerId, (AdminState, Weight)>,
    states: HashMap<ServerId, Pretence<AdminState>>,
    weights: HashMap<ServerId, Pretence<Weight>>,
    /// Of slots, as long as they really are in MAINT.
    addresses: HashMap<ServerId, SocketAddr>,
    /// Servers that would have been added, by their backends.
    added: HashMap<ServerId, (BackendId, ServerState)>,
    /// Servers that would have been deleted.
    deleted: HashSet<ServerId>,
}

/// One thing as it would be, as long as it really is what it was.
#[derive(Clone, Copy, Debug)]
struct Pretence<T> {
    real: T,
    pretended: T,
}

impl Overlay {
    /// Shows in `inventory`, which is what HAProxy really has, what would be.
    fn apply(&mut self, inventory: &mut Inventory) {
        // Nothing is sent that would need more.
        inventory.read_only = false;
        let before = self.process.replace(inventory.process.clone());
        if before.is_some_and(|before| inventory.process.is_another_than(&before)) {
            *self = Self { process: self.process.take(), ..Self::default() };
        }
        for backend in &mut inventory.backends {
            self.supply(backend);
        }
        for server in inventory.backends.iter_mut().flat_map(|backend| &mut backend.servers) {
            self.real.insert(server.id, (server.state(), server.weight));
            if let Some(state) = valid(&mut self.states, server.id, server.state()) {
                show(server, state);
            }
            if let Some(weight) = valid(&mut self.weights, server.id, server.weight) {
                server.weight = weight;
            }
        }
    }

    fn pretend(&mut self, command: &Command, names: &Names) {
        match command {
            Command::SetState { server, state } => self.pretend_state(server, *state, names),
            Command::DrainUntilChecked { server } => self.pretend_state(server, AdminState::Drain, names),
            Command::ReadyFromDrain { server, .. } | Command::SlowStart { server } => {
                self.pretend_state(server, AdminState::Ready, names)
            }
            Command::SetWeights(line) => {
                for (server, weight) in line.weights() {
                    let Some((id, (_, real))) = self.known(server, names) else { continue };
                    self.weights.insert(id, Pretence { real, pretended: *weight });
                }
            }
            Command::SetAddress { server, address } => {
                if let Some((id, _)) = self.known(server, names) {
                    self.addresses.insert(id, *address);
                }
            }
            Command::AddServer { server, address, keywords } => {
                self.pretend_server(server, *address, keywords, names);
            }
            Command::DeleteServer { server } => {
                if let Some((id, _)) = self.known(server, names) {
                    self.deleted.insert(id);
                    self.added.remove(&id);
                }
            }
            Command::WithAgent { change, .. } => self.pretend(change, names),
            Command::EnableChecks { .. }
            | Command::AwaitRemovable { .. }
            | Command::ShutdownSessions { .. } => {}
            Command::ShowInfo | Command::ShowInventory(_) | Command::ShowLevel => {}
            Command::ShowAbilities | Command::ShowVariable(_) | Command::TryDynamic(_) => {}
            Command::ShowTables(_) | Command::ShowEntries { .. } | Command::TryKeywords { .. } => {}
        }
    }

    fn pretend_server(
        &mut self,
        server: &ServerName,
        address: SocketAddr,
        keywords: &Keywords,
        names: &Names,
    ) {
        let Some(backend) = names.backend(server.backend.as_str()) else { return };
        let Some(id) = names.server(backend, server.server.as_str()) else { return };
        let added = supply::newcomer(id, address, keywords);
        self.deleted.remove(&id);
        self.real.insert(id, (added.state(), added.weight));
        self.added.insert(id, (backend, added));
    }

    /// Shows in `backend` the servers and addresses that it would have.
    fn supply(&mut self, backend: &mut BackendState) {
        backend.servers.retain(|server| !self.deleted.contains(&server.id));
        self.added.retain(|id, (of, _)| *of != backend.id || backend.server(*id).is_none());
        let added = self.added.values().filter(|(of, _)| *of == backend.id);
        backend.servers.extend(added.map(|(_, server)| server.clone()));
        for server in &mut backend.servers {
            if server.state() != AdminState::Maint {
                self.addresses.remove(&server.id);
            } else if let Some(address) = self.addresses.get(&server.id) {
                (server.address, server.port) = (Some(address.ip()), address.port());
            }
        }
    }

    fn pretend_state(&mut self, server: &ServerName, state: AdminState, names: &Names) {
        if let Some((id, (real, _))) = self.known(server, names) {
            self.states.insert(id, Pretence { real, pretended: state });
        }
    }

    /// A server that no reading has shown is not there, and cannot be changed.
    fn known(&self, server: &ServerName, names: &Names) -> Option<(ServerId, (AdminState, Weight))> {
        let backend = names.backend(server.backend.as_str())?;
        let id = names.server(backend, server.server.as_str())?;
        self.real.get(&id).map(|&real| (id, real))
    }
}

/// What is pretended of `server`, if that is still a pretence and still about what is real.
fn valid<T: PartialEq + Copy>(
    pretences: &mut HashMap<ServerId, Pretence<T>>,
    server: ServerId,
    real: T,
) -> Option<T> {
    let pretence = *pretences.get(&server)?;
    if pretence.real == real {
        return Some(pretence.pretended);
    }
    pretences.remove(&server);
    None
}

/// Makes `server` look as it would in `state`: outside MAINT its check has passed, in DRAIN and in
/// MAINT its sessions have ended. Nobody can know; it keeps no plan waiting.
fn show(server: &mut ServerState, state: AdminState) {
    let real = server.state();
    server.admin = server.admin.with(state);
    if state == AdminState::Maint {
        (server.operational, server.check_passed) = (OperationalState::Stopped, false);
    } else if real == AdminState::Maint {
        (server.operational, server.check_passed) = (OperationalState::Running, server.checked);
    }
    if state != AdminState::Ready {
        (server.sessions, server.queued, server.cookie) = (0, 0, None);
    }
}
