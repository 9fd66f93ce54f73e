//! What of the servers should outlast HAProxy's process: what is meant to stay, without what is on its way.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use super::backend::Backend;
use super::{Controller, Names};
use crate::core::plan::inventory::{AdminState, BackendState, Inventory, ServerState};
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
    /// Its weight, without what is only for a while. `None`: leave what the configuration says, for the server is out of
    /// service by somebody else's doing, or an agent check sets it.
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
    /// Its configuration is to get it, as a slot with what the slot `like` has.
    SlotToCome {
        /// One that is there.
        like: String,
    },
    /// It was added at run time, with these keywords.
    Added(Keywords),
}

impl ServerStanding {
    /// The keywords of a server that was added.
    pub fn added(&self) -> Option<&Keywords> {
        match &self.origin {
            Origin::Added(keywords) => Some(keywords),
            Origin::Declared | Origin::Slot | Origin::SlotToCome { .. } => None,
        }
    }

    /// The slot that it is to be like, of one that HAProxy does not have yet.
    pub fn to_come_like(&self) -> Option<&str> {
        match &self.origin {
            Origin::SlotToCome { like } => Some(like),
            Origin::Declared | Origin::Slot | Origin::Added(_) => None,
        }
    }
}

/// What one of several HAProxys answered last.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// All it has.
    pub inventory: &'a Inventory,
    /// It still answers, and has what the others have.
    pub in_line: bool,
}

/// What is meant to stay of one of several HAProxys; `together` is that of all of them. States are everybody's; what
/// is one's own is as it was in its last `answer`: whether it has a backend or a server, addresses, configured weights. `None`:
/// it has not answered yet, and is taken to have everything.
pub fn of_node(
    together: &[BackendStanding],
    answer: Option<Answer<'_>>,
    names: &Names,
) -> Vec<BackendStanding> {
    let of_backend = |standing: &BackendStanding| {
        let Some(Answer { inventory, in_line }) = answer else {
            let servers = standing.servers.iter().map(ServerStanding::unseen).collect();
            return Some(BackendStanding { backend: standing.backend.clone(), servers });
        };
        let own = inventory.backend(names.backend(&standing.backend)?)?;
        let own: HashMap<Arc<str>, &ServerState> =
            own.servers.iter().map(|server| (names.of_server(server.id), server)).collect();
        let of_server = |server: &ServerStanding| match own.get(server.server.as_str()) {
            Some(own) => Some(server.seen(own, in_line)),
            // It is to get it, or to get it again.
            None if server.to_come_like().is_some() => Some(server.clone()),
            None if !in_line && server.added().is_some() => Some(server.clone()),
            None => None,
        };
        let servers = standing.servers.iter().filter_map(of_server).collect();
        Some(BackendStanding { backend: standing.backend.clone(), servers })
    };
    together.iter().filter_map(of_backend).collect()
}

impl ServerStanding {
    /// On a HAProxy that shows it as `own`; `in_line`: now, and as the others have it.
    fn seen(&self, own: &ServerState, in_line: bool) -> Self {
        let is_for_a_while = self.weight != Some(self.current_weight);
        // The configured weight of the others is the configured one here.
        let is_configured = self.weight == Some(self.initial_weight) && own.weight == own.initial_weight;
        let is_own = in_line && !is_for_a_while || is_configured;
        let (address, port) = match self.origin {
            Origin::Slot | Origin::Added(_) if !in_line => (self.address, self.port),
            _ => (own.address, own.port),
        };
        let origin = match &self.origin {
            Origin::SlotToCome { .. } => Origin::Slot,
            origin => origin.clone(),
        };
        Self {
            weight: if is_own { self.weight.and(Some(own.weight)) } else { self.weight },
            current_weight: own.weight,
            initial_weight: own.initial_weight,
            is_out: is_out(own),
            address,
            port,
            origin,
            ..self.clone()
        }
    }

    /// On a HAProxy of which nothing is known: its address may be another there, and a weight that nobody has changed.
    fn unseen(&self) -> Self {
        let is_changed = |weight: &Weight| *weight != self.initial_weight || self.added().is_some();
        let (address, port) = match self.origin {
            Origin::Declared => (None, 0),
            Origin::Slot | Origin::SlotToCome { .. } | Origin::Added(_) => (self.address, self.port),
        };
        Self { weight: self.weight.filter(is_changed), address, port, ..self.clone() }
    }
}

/// In MAINT or DRAIN, by a command.
fn is_out(server: &ServerState) -> bool {
    let is_foreign = server.admin.is_foreign_maint() || server.admin.is_foreign_drain();
    server.state() != AdminState::Ready && !is_foreign
}

impl Controller {
    /// What is meant to stay of every configured backend that HAProxy has; `None` before it and all pools were read:
    /// nobody could tell whose servers are whose.
    pub fn standing(&self, now: Instant) -> Option<Vec<BackendStanding>> {
        let inventory = &self.readings.latest()?.inventory;
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
        let standing = there.map(|(server, role)| self.standing_of(&state, server, role, names));
        let mut standing: Vec<ServerStanding> = standing.collect();
        self.stand_with_slots_to_come(&mut standing, &state, names);
        Some(standing)
    }

    fn origin(&self, state: &BackendState, server: &ServerState, names: &Names) -> Origin {
        match &server.supply {
            Some(Supply::Added(_)) => Origin::Added(self.keywords_of(state, server, names)),
            Some(_) => Origin::Slot,
            // Filled by an agent that is forgotten.
            None => match self.settings().spares {
                Spares::Slots { .. } if server.admin.is_declared_disabled() => Origin::Slot,
                _ => Origin::Declared,
            },
        }
    }

    fn standing_of(
        &self,
        state: &BackendState,
        server: &ServerState,
        role: Role,
        names: &Names,
    ) -> ServerStanding {
        // An agent check's weight is so many percent of the configured one: written down, it would be taken of itself.
        let is_to_stay = role != Role::Foreign && !server.has_agent();
        let borrowed = self.to_put_back().iter().find(|(id, _)| *id == server.id);
        let weight = borrowed.map_or(server.weight, |&(_, weight)| weight);
        ServerStanding {
            server: names.of_server(server.id).to_string(),
            disabled: match (server.state(), role) {
                (AdminState::Ready, _) => Some(false),
                (AdminState::Maint, Role::Spare | Role::Vacant | Role::Retired) => Some(true),
                _ => None,
            },
            weight: is_to_stay.then_some(weight),
            current_weight: server.weight,
            initial_weight: server.initial_weight,
            is_out: is_out(server),
            address: server.address,
            port: server.port,
            origin: self.origin(state, server, names),
        }
    }
}
