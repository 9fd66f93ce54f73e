//! What of the servers should outlast HAProxy's process: what is meant to stay, without what is on its way.

use std::net::IpAddr;
use std::time::Instant;

use super::backend::Backend;
use super::{Controller, Names};
use crate::core::plan::inventory::{AdminState, BackendState, ServerState};
use crate::core::plan::ownership::{self, Role};
use crate::core::plan::supply::Supply;
use crate::core::settings::spares::{Keywords, Spares};
use crate::core::units::Weight;

/// One backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendStanding {
    /// Its name.
    pub backend: String,
    /// Its servers in HAProxy's order.
    pub servers: Vec<ServerStanding>,
}

/// One server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerStanding {
    /// Its name.
    pub server: String,
    /// In MAINT by this agent's doing, or in service. `None`: leave what the configuration says, for the
    /// server is on its way, or out of service by somebody else's doing. Writing that down as `disabled`
    /// would make it a spare of ours.
    pub disabled: Option<bool>,
    /// Its weight, without what is only for a while. `None`: leave what the configuration says.
    pub weight: Option<Weight>,
    /// The weight it has now.
    pub current_weight: Weight,
    /// The weight it was started with.
    pub initial_weight: Weight,
    /// It is in MAINT or DRAIN now, by a command.
    pub is_out: bool,
    /// Where it is; `None` while unresolved, or a unix socket.
    pub address: Option<IpAddr>,
    /// 0 if it has none of its own.
    pub port: u16,
    /// How HAProxy came by it.
    pub origin: Origin,
}

/// How HAProxy came by a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Its configuration has it.
    Declared,
    /// Its configuration has it, as a slot: the address is the pool's.
    Slot,
    /// It was added at run time, with these keywords.
    Added(Keywords),
}

impl ServerStanding {
    /// The keywords of a server that was added.
    pub fn added(&self) -> Option<&Keywords> {
        match &self.origin {
            Origin::Added(keywords) => Some(keywords),
            Origin::Declared | Origin::Slot => None,
        }
    }
}

impl Controller {
    /// What is meant to stay of every configured backend that HAProxy has; `None` before it and all pools were read:
    /// nobody could tell whose servers are whose.
    pub fn standing(&self, now: Instant) -> Option<Vec<BackendStanding>> {
        let inventory = &self.latest.as_ref()?.inventory;
        let there = self.backends.iter().filter_map(|(&id, backend)| Some((backend, inventory.backend(id)?)));
        let standing = |(backend, state): (&Backend, &BackendState)| {
            let servers = backend.standing(state, &self.names, now)?;
            Some(BackendStanding { backend: backend.settings().name.clone(), servers })
        };
        there.map(standing).collect()
    }
}

impl Backend {
    fn standing(&self, state: &BackendState, names: &Names, now: Instant) -> Option<Vec<ServerStanding>> {
        if !self.knows_its_pool() {
            return None;
        }
        let state = self.supplied(state, names, now).state;
        let roles = ownership::roles(&state, self.settings(), &self.claims, names);
        let there = roles.filter(|(server, _)| !server.is_absent());
        Some(there.map(|(server, role)| self.standing_of(server, role, names)).collect())
    }

    fn origin(&self, server: &ServerState) -> Origin {
        match &server.supply {
            Some(Supply::Added(_)) => Origin::Added(self.keywords()),
            Some(_) => Origin::Slot,
            // Filled by an agent that is forgotten.
            None => match self.settings().spares {
                Spares::Slots { .. } if server.admin.is_declared_disabled() => Origin::Slot,
                _ => Origin::Declared,
            },
        }
    }

    fn standing_of(&self, server: &ServerState, role: Role, names: &Names) -> ServerStanding {
        let borrowed = self.to_put_back().iter().find(|(id, _)| *id == server.id);
        let weight = borrowed.map_or(server.weight, |&(_, weight)| weight);
        ServerStanding {
            server: names.of_server(server.id).to_string(),
            disabled: match (server.state(), role) {
                (AdminState::Ready, _) => Some(false),
                (AdminState::Maint, Role::Spare | Role::Vacant | Role::Retired) => Some(true),
                _ => None,
            },
            weight: (role != Role::Foreign && !server.has_agent()).then_some(weight),
            current_weight: server.weight,
            initial_weight: server.initial_weight,
            is_out: server.state() != AdminState::Ready
                && !server.admin.is_foreign_maint()
                && !server.admin.is_foreign_drain(),
            address: server.address,
            port: server.port,
            origin: self.origin(server),
        }
    }
}
