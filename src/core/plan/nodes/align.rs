//! What a node that lags behind is to be told, so that it has what the others have.
//!
//! In: a backend as it should be, and as the node has it. Out: [`Correction`]s for now and for later; the next
//! reading shows what is left. First what comes from a pool is given its place (`places`), then servers
//! are taken into service, and only when nothing is left of that, others out of it, one after the other as far as
//! enough go on serving, here and in backends whose servers track these. On its way to MAINT a server is drained.
//!
//! ```text
//!  into service    [add, or address], READY                 a server that all have declared, or without a check
//!                  [add, or address], DRAIN, checked, READY  one of a pool
//!  out of it       [DRAIN, drained], MAINT, [delete]
//! ```

use std::net::SocketAddr;
use std::time::Duration;

use super::super::inventory::{AdminState, BackendState, ServerState};
use super::super::supply;
use super::places::{Places, Provided};
use crate::core::names::ServerId;
use crate::core::settings::spares::Keywords;
use crate::core::units::Weight;

/// A server that is in MAINT on the others is drained for so long at most: of the sessions that run. Clients that stick to it
/// are not waited for, as a plan's drain does: it is told to be in MAINT since the others have given it up, and its machine
/// may be gone at any moment. The sooner they begin elsewhere the better. While a plan still drains it, what is wanted
/// here is DRAIN, and the plan waits for those of this node too.
const DRAIN_WITHIN: Duration = Duration::from_secs(60);

/// A check that passes on the others is waited for so long.
const UP_WITHIN: Duration = Duration::from_secs(60);

/// One thing to put right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Correction {
    /// `add server`, and its checks on; the latter alone where it is there already.
    Add {
        /// Which server.
        server: ServerId,
        /// Where it listens.
        address: SocketAddr,
        /// What stands behind its address.
        keywords: Keywords,
    },
    /// `set server ... addr`, for a slot in MAINT.
    Address {
        /// Which slot.
        server: ServerId,
        /// Where connections to it are to go.
        address: SocketAddr,
    },
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
    /// `del server`, for one in MAINT.
    Delete {
        /// Which server.
        server: ServerId,
    },
}

impl Correction {
    /// Which server it is about.
    pub const fn server(&self) -> ServerId {
        match self {
            Self::Add { server, .. }
            | Self::Address { server, .. }
            | Self::State { server, .. }
            | Self::Weight { server, .. }
            | Self::Delete { server } => *server,
        }
    }
}

/// What a node lacks of what it should have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Todo {
    /// To be done now.
    pub now: Vec<Correction>,
    /// To be done when that is done, when a server is empty, or when its check has passed.
    pub later: Vec<Correction>,
}

impl Todo {
    /// A server goes out of service now.
    pub fn takes_away(&self) -> bool {
        self.now.iter().any(|one| matches!(one, Correction::State { to, .. } if *to != AdminState::Ready))
    }
}

/// What is to be done so that a node with `found` gets to what is `wanted`. It has lagged behind for `waited`, and
/// keeps `least` servers serving, as far as it is ours.
pub fn todo(
    wanted: &BackendState,
    found: &BackendState,
    places: &Places<'_>,
    least: u32,
    waited: Duration,
) -> Todo {
    let Provided { mut todo, backend: found } = places.provide(wanted, found);
    let aims = wanted.servers.iter().filter_map(|wanted| Some((wanted.clone(), found.server(wanted.id)?)));
    let mut aims: Vec<_> = aims.filter(|(_, found)| !places.is_surplus(wanted, found)).collect();
    // A server that tracks another one has its state, and a weight of its own.
    let weights = aims.iter().filter(|(wanted, found)| is_weighable(wanted) && is_weighable(found));
    let weights = weights.filter_map(|(wanted, found)| Some((weight(wanted, found)?, *found)));
    // A server with weight 0 takes nothing any more: it goes as those do that are drained.
    let (emptied, weights): (Vec<_>, Vec<_>) =
        weights.partition(|(to, found)| *to == Weight::ZERO && found.is_serving());
    todo.now.extend(weights.into_iter().map(|(to, found)| Correction::Weight { server: found.id, to }));
    aims.retain(|(wanted, found)| is_settable(wanted) && is_settable(found));
    for (aim, found) in &mut aims {
        if places.has_moved(aim, found) {
            aim.admin = aim.admin.with(AdminState::Maint);
        }
    }
    for (wanted, found) in aims.iter().filter(|(wanted, _)| wanted.state() == AdminState::Ready) {
        let (server, is_supplied) = (wanted.id, places.supplies(wanted.id));
        match way_up(wanted, found, is_supplied && waited < UP_WITHIN) {
            Way::There => {}
            Way::By(to) => todo.now.push(Correction::State { server, to }),
            Way::Wait => todo.later.push(Correction::State { server, to: AdminState::Ready }),
        }
    }
    let surplus = found.servers.iter().filter(|found| is_settable(found) && places.is_surplus(wanted, found));
    let deletions = surplus.clone().filter(|found| found.state() == AdminState::Maint);
    let deletions = deletions.map(|found| Correction::Delete { server: found.id });
    let leaving = surplus.map(|found| (in_maint(found), found));
    let down = aims.into_iter().filter(|(wanted, _)| wanted.state() != AdminState::Ready).chain(leaving);
    way_down(down.collect(), &found, least, waited, &mut todo);
    empty(emptied, &found, least, &mut todo);
    todo.now.extend(deletions);
    todo
}

/// Makes `change` in `backend`.
pub(super) fn make(backend: &mut BackendState, change: &Correction) {
    if let Correction::Add { server, address, keywords } = change {
        backend.servers.retain(|found| found.id != *server);
        backend.servers.push(supply::newcomer(*server, *address, keywords));
    }
    for server in backend.servers.iter_mut().filter(|found| found.id == change.server()) {
        match *change {
            Correction::Add { .. } | Correction::Delete { .. } => {}
            Correction::Address { address, .. } => {
                (server.address, server.port) = (Some(address.ip()), address.port());
            }
            Correction::State { to, .. } => server.admin = server.admin.with(to),
            Correction::Weight { to, .. } => server.weight = to,
        }
    }
    if let Correction::Delete { server } = change {
        backend.servers.retain(|found| found.id != *server);
    }
}

/// How far a server is on its way.
enum Way {
    There,
    By(AdminState),
    Wait,
}

/// How a server gets into service. One that has just got its address is not taken for healthy before a check has
/// passed, as long as that `may_take` its time.
fn way_up(wanted: &ServerState, found: &ServerState, may_take: bool) -> Way {
    let is_proven = !found.checked || !may_take || found.check_passed;
    match found.state() {
        AdminState::Ready if may_take && wanted.is_serving() && !found.is_up() => Way::Wait,
        AdminState::Ready => Way::There,
        AdminState::Maint if !is_proven => Way::By(AdminState::Drain),
        AdminState::Drain if !is_proven => Way::Wait,
        _ => Way::By(AdminState::Ready),
    }
}

/// How servers get out of service, once all others are in it, and as far as `least` stay.
fn way_down(
    down: Vec<(ServerState, &ServerState)>,
    found: &BackendState,
    least: u32,
    waited: Duration,
    todo: &mut Todo,
) {
    let is_wide = todo == &Todo::default();
    let mut leaving: Vec<ServerId> = Vec::new();
    for (wanted, server) in down.iter().filter(|(wanted, server)| wanted.state() != server.state()) {
        let id = server.id;
        leaving.push(id);
        // Those that track one go with it.
        let goes = |one: &&ServerState| {
            leaving.contains(&one.id) || one.tracks.is_some_and(|root| leaving.contains(&root))
        };
        let stay = found.serving().filter(|one| !goes(one)).count();
        let may_go = !server.is_serving() || (stay >= least as usize && !server.needed_elsewhere);
        match next_state(wanted, server, waited) {
            Some(to) if is_wide && may_go => todo.now.push(Correction::State { server: id, to }),
            _ => {
                leaving.pop();
                todo.later.push(Correction::State { server: id, to: wanted.state() });
            }
        }
    }
}

/// How servers get weight 0, once nothing else is left to do.
fn empty(emptied: Vec<(Weight, &ServerState)>, found: &BackendState, least: u32, todo: &mut Todo) {
    let is_done = todo == &Todo::default();
    let may_go = if is_done { found.serving().count().saturating_sub(least as usize) } else { 0 };
    let mut corrections = emptied.into_iter().map(|(to, found)| Correction::Weight { server: found.id, to });
    todo.now.extend(corrections.by_ref().take(may_go));
    todo.later.extend(corrections);
}

fn in_maint(found: &ServerState) -> ServerState {
    ServerState { admin: found.admin.with(AdminState::Maint), ..found.clone() }
}

/// A state that commands can change, on nodes that agree about it.
fn is_settable(server: &ServerState) -> bool {
    let is_foreign = server.admin.is_foreign_maint() || server.admin.is_foreign_drain();
    is_weighable(server) && server.tracks.is_none() && !is_foreign
}

/// A weight that shares are reckoned by, on nodes that agree about its server.
fn is_weighable(server: &ServerState) -> bool {
    server.alike && !server.backup
}

/// The weight that it is to have, if it has another one. One that is the configured one there is the configured one
/// here. The same weight is right as it is: one that was changed and kept is the configured one where HAProxy was
/// restarted with it.
fn weight(wanted: &ServerState, found: &ServerState) -> Option<Weight> {
    let is_configured = wanted.weight == wanted.initial_weight;
    let to = if is_configured { found.initial_weight } else { wanted.weight };
    let is_right = found.weight == to || found.weight == wanted.weight;
    (!is_right && !found.has_agent()).then_some(to)
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
