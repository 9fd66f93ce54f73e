//! What nodes that are in line do not have alike, for those who show it.

use std::net::SocketAddr;

use super::super::inventory::{AdminState, Inventory, ServerState};
use crate::core::names::{BackendId, ServerId};

/// A server that nodes in line do not have alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Which.
    pub server: ServerId,
    /// What each node has that answers and has its backend; `None`: not this server.
    pub states: Vec<(usize, Option<AdminState>)>,
    /// Where each of them has it, if that is the difference.
    pub addresses: Vec<Option<SocketAddr>>,
}

/// How the nodes that were `found` have `server`.
pub(super) fn of(
    backend: BackendId,
    server: ServerId,
    found: &[(usize, Inventory)],
    is_scattered: bool,
) -> Difference {
    let theirs = found.iter().filter_map(|(node, inventory)| Some((*node, inventory.backend(backend)?)));
    let theirs: Vec<_> = theirs.map(|(node, backend)| (node, backend.server(server))).collect();
    let addresses =
        theirs.iter().filter(|_| is_scattered).map(|(_, server)| server.and_then(ServerState::socket));
    Difference {
        server,
        addresses: addresses.collect(),
        states: theirs.iter().map(|(node, server)| (*node, server.map(ServerState::state))).collect(),
    }
}
