//! What several nodes have, as if it were one HAProxy.
//!
//! ```text
//!   sessions, queues, requests, maxconn     the sum
//!   state                                   the weakest: MAINT before DRAIN before READY
//!   health check                            the weakest: DOWN before UP
//!   weight, share in slowstart              the smallest
//! ```
//! So a server serves if it does on each node. State, health and weight count where a node is in line; sessions and
//! queues count on every node that answers, as a server is empty only if it is on all of them. The order of
//! the nodes does not matter, and one node alone is what it is.

use std::collections::HashMap;

use super::super::inventory::{
    AdminFlags, AdminState, BackendState, Inventory, OperationalState, ServerState, Unread,
};
use crate::core::names::ServerId;

/// What one node has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part<T> {
    /// Of one that is in line: everything counts.
    Leading(T),
    /// Of one that lags behind: what runs on it counts.
    Following(T),
}

impl<T> Part<T> {
    fn value(&self) -> &T {
        match self {
            Self::Leading(value) | Self::Following(value) => value,
        }
    }

    fn of<U>(self, value: U) -> Part<U> {
        match self {
            Self::Leading(_) => Part::Leading(value),
            Self::Following(_) => Part::Following(value),
        }
    }

    fn leading(&self) -> Option<&T> {
        match self {
            Self::Leading(value) => Some(value),
            Self::Following(_) => None,
        }
    }
}

/// All nodes together; `None` if there are none. The process is the one that has run longest.
pub fn inventory(mut parts: Vec<Part<Inventory>>) -> Option<Inventory> {
    if let [Part::Leading(_) | Part::Following(_)] = &parts[..] {
        return parts.pop().map(|part| match part {
            Part::Leading(alone) | Part::Following(alone) => alone,
        });
    }
    let leading = parts.iter().filter_map(Part::leading).map(|inventory| &inventory.process);
    let process = leading.max_by_key(|process| (process.uptime_s, process.pid))?.clone();
    let mut counted: Vec<Option<u32>> = parts.iter().flat_map(|part| part.value().counted.clone()).collect();
    counted.sort_unstable();
    let disabled = parts.iter().flat_map(|part| part.value().disabled.clone()).collect();
    let read_only = parts.iter().any(|part| part.value().read_only);
    let unread = Unread::once(parts.iter().flat_map(|part| part.value().unread.clone()).collect());
    let mut places: HashMap<_, usize> = HashMap::new();
    let mut states: HashMap<_, Vec<Part<BackendState>>> = HashMap::new();
    for part in parts {
        let (leads, Part::Leading(inventory) | Part::Following(inventory)) = (part.leading().is_some(), part);
        for (place, backend) in inventory.backends.into_iter().enumerate() {
            let first = places.entry(backend.id).or_insert(place);
            *first = place.min(*first);
            let part = if leads { Part::Leading(backend) } else { Part::Following(backend) };
            states.entry(part.value().id).or_default().push(part);
        }
    }
    let mut backends: Vec<BackendState> = states.into_values().filter_map(backend).collect();
    backends.sort_by_key(|backend| (places[&backend.id], backend.id));
    let in_line = Vec::new(); // whoever puts them together knows
    Some(Inventory { process, backends, disabled, counted, read_only, in_line, unread })
}

/// One backend on all nodes that have it; `None` if none of those that are in line does.
pub fn backend(mut parts: Vec<Part<BackendState>>) -> Option<BackendState> {
    if let [Part::Leading(_)] = &parts[..] {
        return parts.pop().map(|part| match part {
            Part::Leading(alone) | Part::Following(alone) => alone,
        });
    }
    let leading = || parts.iter().filter_map(Part::leading);
    let id = leading().next()?.id;
    let algorithm = leading().map(|backend| &backend.algorithm).min()?.clone();
    let all = || parts.iter().map(Part::value);
    Some(BackendState {
        id,
        algorithm,
        // What one of them cannot do is not done on any.
        dynamic: leading().map(|backend| backend.dynamic).reduce(both_dynamic).flatten(),
        mode: leading().map(|backend| &backend.mode).min()?.clone(),
        cookie: leading().map(|backend| backend.cookie).max().unwrap_or_default(),
        queued: all().fold(0, |sum, backend| sum.saturating_add(backend.queued)),
        sessions: all().fold(0, |sum, backend| sum.saturating_add(backend.sessions)),
        total_sessions: all().fold(0, |sum, backend| sum.saturating_add(backend.total_sessions)),
        total_requests: all()
            .map(|backend| backend.total_requests)
            .try_fold(0u64, |sum, total| Some(sum.saturating_add(total?))),
        servers: servers(&parts),
    })
}

fn both_dynamic(one: Option<bool>, other: Option<bool>) -> Option<bool> {
    match (one, other) {
        (Some(false), _) | (_, Some(false)) => Some(false),
        (Some(true), Some(true)) => Some(true),
        _ => None,
    }
}

/// Each server that a node in line has, in the order of HAProxy's.
fn servers(parts: &[Part<BackendState>]) -> Vec<ServerState> {
    let mut places: HashMap<ServerId, usize> = HashMap::new();
    let mut states: HashMap<ServerId, Vec<Part<&ServerState>>> = HashMap::new();
    for part in parts {
        for (place, server) in part.value().servers.iter().enumerate() {
            let first = places.entry(server.id).or_insert(place);
            *first = place.min(*first);
            states.entry(server.id).or_default().push(part.clone().of(server));
        }
    }
    let nodes = parts.iter().filter_map(Part::leading).count();
    let mut servers: Vec<ServerState> =
        states.into_values().filter_map(|states| server(&states, nodes)).collect();
    servers.sort_by_key(|server| (places[&server.id], server.id));
    servers
}

/// One server on all nodes; `nodes` of those with its backend are in line.
fn server(parts: &[Part<&ServerState>], nodes: usize) -> Option<ServerState> {
    let leading: Vec<&ServerState> = parts.iter().filter_map(Part::leading).copied().collect();
    let &first = leading.first()?;
    let all = || parts.iter().map(Part::value);
    let checked = leading.iter().any(|server| server.checked);
    let state = first.state();
    // A slot that not all have given its address yet is taken to be where it serves.
    let place = |server: &&&ServerState| (weakness(&server.admin).0, server.address, server.port);
    let &ServerState { address, port, .. } = *leading.iter().min_by_key(place)?;
    Some(ServerState {
        id: first.id,
        address,
        port,
        admin: leading.iter().map(|server| server.admin).max_by_key(weakness)?,
        operational: leading.iter().map(|server| server.operational).min_by_key(|state| strength(*state))?,
        weight: leading.iter().map(|server| server.weight).min()?,
        initial_weight: leading.iter().map(|server| server.initial_weight).min()?,
        checked,
        check_passed: checked && leading.iter().all(|server| server.check_passed || !server.checked),
        check_failed: leading.iter().any(|server| server.check_failed),
        agent_checked: leading.iter().any(|server| server.agent_checked),
        agent_off: leading.iter().any(|server| server.agent_off),
        by_name: leading.iter().any(|server| server.by_name),
        of_dns: leading.iter().any(|server| server.of_dns),
        backup: leading.iter().any(|server| server.backup),
        supply: first.supply.clone(),
        tracks: leading.iter().find_map(|server| server.tracks),
        needed_elsewhere: false,
        everywhere: leading.len() == nodes,
        alike: leading.len() == nodes && leading.iter().all(|server| server.alike && server.state() == state),
        tls: leading.iter().map(|server| server.tls).max()?,
        sessions: all().fold(0, |sum, server| sum.saturating_add(server.sessions)),
        queued: all().fold(0, |sum, server| sum.saturating_add(server.queued)),
        total_sessions: all().fold(0, |sum, server| sum.saturating_add(server.total_sessions)),
        cookie: all().find_map(|server| server.cookie.clone()),
        maxconn: all()
            .map(|server| server.maxconn)
            .try_fold(0u32, |sum, limit| Some(sum.saturating_add(limit?))),
        throttle: leading.iter().filter_map(|server| server.throttle).min(),
        slowstart: leading.iter().any(|server| server.slowstart),
    })
}

fn weakness(flags: &AdminFlags) -> (u8, u32) {
    let rank = match flags.state() {
        AdminState::Ready => 0,
        AdminState::Drain => 1,
        AdminState::Maint => 2,
    };
    (rank, flags.0)
}

fn strength(state: OperationalState) -> u8 {
    match state {
        OperationalState::Stopped => 0,
        OperationalState::Stopping => 1,
        OperationalState::Starting => 2,
        OperationalState::Running => 3,
    }
}
