//! What a node that lags behind is to be told, so that it has what the others have.
//!
//! In: a backend as it should be, and as the node has it. Out: [`Correction`]s for now and for later; the next
//! reading shows what is left. First servers are taken into service, and only when nothing is left of that, others
//! out of it, one after the other as far as enough go on serving. On its way to MAINT a server is drained.

use std::time::Duration;

use super::super::inventory::{AdminState, BackendState, ServerState};
use crate::core::names::ServerId;
use crate::core::units::Weight;

/// A server that is in MAINT on the others is drained for so long at most.
const DRAIN_WITHIN: Duration = Duration::from_secs(60);

/// One thing to put right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Correction {
    /// `set server ... state`.
    State {
        /// Which server.
        server: ServerId,
        /// To what.
        to: AdminState,
    },
    /// `set server ... weight`.
    Weight {
        /// Which server.
        server: ServerId,
        /// To what.
        to: Weight,
    },
}

impl Correction {
    /// Which server it is about.
    pub const fn server(self) -> ServerId {
        match self {
            Self::State { server, .. } | Self::Weight { server, .. } => server,
        }
    }
}

/// What a node lacks of what it should have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Todo {
    /// To be done now.
    pub now: Vec<Correction>,
    /// To be done when that is done, or when a server is empty.
    pub later: Vec<Correction>,
}

/// What is to be done so that a node with `found` gets to what is `wanted`. It has lagged behind for `waited`, and
/// keeps `least` servers serving, as far as it is ours.
pub fn todo(wanted: &BackendState, found: &BackendState, least: u32, waited: Duration) -> Todo {
    let pairs = wanted.servers.iter().filter_map(|wanted| Some((wanted, found.server(wanted.id)?)));
    let pairs: Vec<_> = pairs.filter(|(wanted, found)| is_settable(wanted) && is_settable(found)).collect();
    let weights = pairs.iter().filter_map(|(wanted, found)| weight(wanted, found));
    let differ = || pairs.iter().filter(|(wanted, found)| wanted.state() != found.state());
    let ready = differ().filter(|(wanted, _)| wanted.state() == AdminState::Ready);
    let ready = ready.map(|(wanted, _)| Correction::State { server: wanted.id, to: AdminState::Ready });
    let mut todo = Todo { now: weights.chain(ready).collect(), later: Vec::new() };
    let is_wide = todo.now.is_empty();
    let mut serving = found.serving().count();
    for &(wanted, found) in differ().filter(|(wanted, _)| wanted.state() != AdminState::Ready) {
        let to = next_state(wanted, found, waited);
        let may_go = !found.is_serving() || serving > least as usize;
        match to {
            Some(to) if is_wide && may_go => {
                serving -= usize::from(found.is_serving());
                todo.now.push(Correction::State { server: wanted.id, to });
            }
            _ => todo.later.push(Correction::State { server: wanted.id, to: wanted.state() }),
        }
    }
    todo
}

/// A state that commands can change, on nodes that agree about it.
fn is_settable(server: &ServerState) -> bool {
    let is_bound = server.backup || server.tracking;
    let is_foreign = server.admin.is_foreign_maint() || server.admin.is_foreign_drain();
    server.alike && !is_bound && !is_foreign
}

/// A weight that is the configured one there is the configured one here.
fn weight(wanted: &ServerState, found: &ServerState) -> Option<Correction> {
    let is_configured = wanted.weight == wanted.initial_weight;
    let to = if is_configured { found.initial_weight } else { wanted.weight };
    (found.weight != to).then_some(Correction::Weight { server: wanted.id, to })
}

/// The state on the way out of service; `None` while a drain goes on.
fn next_state(wanted: &ServerState, found: &ServerState, waited: Duration) -> Option<AdminState> {
    let is_empty = (found.sessions, found.queued) == (0, 0);
    match (wanted.state(), found.state()) {
        (AdminState::Maint, _) if is_empty || waited >= DRAIN_WITHIN => Some(AdminState::Maint),
        (AdminState::Maint, AdminState::Drain) => None,
        _ => Some(AdminState::Drain),
    }
}
