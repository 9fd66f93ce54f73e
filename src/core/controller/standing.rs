//! What of the servers should outlast HAProxy's process: what is meant to stay, without what is on its way.

use std::net::IpAddr;

use super::backend::Backend;
use super::{Controller, Names};
use crate::core::plan::inventory::{AdminState, BackendState, ServerState};
use crate::core::plan::ownership::{self, Role};
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
}

impl Controller {
    /// What is meant to stay of every configured backend that HAProxy has; `None` before it was read.
    pub fn standing(&self) -> Option<Vec<BackendStanding>> {
        let inventory = &self.latest.as_ref()?.inventory;
        let backends = self.backends.iter().filter_map(|(&id, backend)| {
            let servers = backend.standing(inventory.backend(id)?, &self.names);
            Some(BackendStanding { backend: backend.settings().name.clone(), servers })
        });
        Some(backends.collect())
    }
}

impl Backend {
    fn standing(&self, state: &BackendState, names: &Names) -> Vec<ServerStanding> {
        let roles = ownership::roles(state, self.settings(), &self.claims, names);
        roles.map(|(server, role)| self.standing_of(server, role, names)).collect()
    }

    fn standing_of(&self, server: &ServerState, role: Role, names: &Names) -> ServerStanding {
        let borrowed = self.to_put_back().iter().find(|(id, _)| *id == server.id);
        let weight = borrowed.map_or(server.weight, |&(_, weight)| weight);
        ServerStanding {
            server: names.of_server(server.id).to_string(),
            disabled: match (server.state(), role) {
                (AdminState::Ready, _) => Some(false),
                (AdminState::Maint, Role::Spare) => Some(true),
                _ => None,
            },
            weight: (role != Role::Foreign).then_some(weight),
            current_weight: server.weight,
            initial_weight: server.initial_weight,
            is_out: server.state() != AdminState::Ready
                && !server.admin.is_foreign_maint()
                && !server.admin.is_foreign_drain(),
            address: server.address,
            port: server.port,
        }
    }
}
