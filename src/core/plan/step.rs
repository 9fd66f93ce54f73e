//! Plans as plain data: what is to be done to a backend's servers, and in which order.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::inventory::AdminState;
use crate::core::names::{BackendId, Names, ServerId};
use crate::core::settings::WarmUp;
use crate::core::settings::spares::Keywords;
use crate::core::units::Weight;

/// What is to be done to one backend. Lanes are independent of each other and may run side by
/// side; every prefix of every lane, in any mixture, leaves at least `ready.min` serving.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Whose servers.
    pub backend: BackendId,
    /// What it is for.
    pub purpose: Purpose,
    /// No step is done that would leave fewer than so many serving, even if servers have gone
    /// down since the plan was made. [`Changes`](super::outcome::Changes) may say otherwise since.
    pub least_serving: u32,
    /// What HAProxy had when it was made, if that is known: on another process nothing of it is begun, and a weight
    /// that is another one since is left alone.
    pub found: Option<Found>,
    /// Done first. If one of these fails, nothing else is done; but where weights turn out not to
    /// be settable (a static algorithm), servers are added all the same, without a ramp.
    pub before: Vec<Step>,
    /// One for each server that is to move.
    pub lanes: Vec<Lane>,
    /// Done last, whatever became of the lanes, also when the plan is called off or the agent
    /// stops: puts temporary weights right. A weight that this plan has not set is left alone.
    pub after: Vec<Step>,
}

/// What HAProxy had when a plan was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The process of each HAProxy; `None` for one that did not answer.
    pub pids: Arc<[Option<u32>]>,
    /// Of all servers.
    pub weights: Vec<(ServerId, Weight)>,
}

impl Found {
    /// The weight that `server` had, if it was there.
    pub fn weight(&self, server: ServerId) -> Option<Weight> {
        self.weights.iter().find(|(id, _)| *id == server).map(|&(_, weight)| weight)
    }
}

/// What a plan is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// The servers of its lanes are to serve.
    Add,
    /// The servers of its lanes are to go to MAINT.
    Remove,
    /// The sessions of the servers of its lanes are to be closed.
    ShutDown,
    /// Weights only; no lanes.
    Reweigh,
}

impl Purpose {
    /// `add`, `remove` or `reweigh`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Remove => "remove",
            Self::ShutDown => "shut_down",
            Self::Reweigh => "reweigh",
        }
    }
}

/// The way of one server.
#[derive(Clone, Debug, PartialEq)]
pub struct Lane {
    /// Which server.
    pub server: ServerId,
    /// The state the plan was made for. In any other the server has become somebody else's
    /// business.
    pub from: AdminState,
    /// In this order; a failed one ends the lane. With the last [`Step::Set`] the move itself is
    /// done: what follows is the ramp.
    pub steps: Vec<Step>,
    /// Done if a step up to the last [`Step::Set`] fails, or if the plan is called off to be
    /// taken back before it. A server that serves already is not torn away again.
    pub undo: Vec<Step>,
    /// Done if the server is turned away in the middle of its ramp, or of HAProxy's `slowstart`.
    pub retreat: Vec<Step>,
}

/// One thing to do; after each command the state is read back.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Gives a slot, in MAINT, the address that it is to serve.
    SetAddress {
        /// The slot.
        server: ServerId,
        /// Where connections to it are to go.
        address: SocketAddr,
    },
    /// Adds a server, in MAINT, with its checks on.
    Add {
        /// The server that is to be.
        server: ServerId,
        /// Where it listens.
        address: SocketAddr,
        /// What stands behind its address.
        keywords: Keywords,
    },
    /// Deletes a server in MAINT once nothing holds on to it. One whose sessions have outlasted its drain stays, until
    /// somebody asks for this again.
    Remove {
        /// A server that was added.
        server: ServerId,
        /// For one without sessions, longer than this is a failure.
        within: Duration,
    },
    /// `set server ... state`.
    Set {
        /// Which server.
        server: ServerId,
        /// To what.
        state: AdminState,
    },
    /// Weights of several servers, in one command line, so that no ratio is wrong in between.
    SetWeights(Vec<(ServerId, Weight)>),
    /// Waits until the server's health check passes; of a server without one, until a TCP
    /// connect to it succeeds.
    AwaitHealthy {
        /// Which server.
        server: ServerId,
        /// Longer than this is a failure.
        within: Duration,
    },
    /// Sends warm-up requests; none if they have no path.
    WarmUp {
        /// Which server.
        server: ServerId,
        /// What is sent, and what has to come back.
        requests: WarmUp,
    },
    /// Waits until no session is left on the server, none waits for it, and no client sticks to it.
    AwaitDrained {
        /// Which server.
        server: ServerId,
        /// So long it waits in any case: until then the server can be taken back at once.
        at_least: Duration,
        /// Clients that a cookie keeps on it are taken to have gone once no session has come for so long.
        quiet: Duration,
        /// After this the lane goes on all the same.
        within: Duration,
        /// Sessions are closed so long after MAINT; `None`: never. Where MAINT itself closes them, it waits so much longer
        /// for their end.
        closed_after: Option<Duration>,
    },
    /// Closes what is left on a server in MAINT.
    ShutdownSessions {
        /// Which server.
        server: ServerId,
    },
    /// Waits between two weights of a ramp.
    Pause(Duration),
}

impl Step {
    /// The one server that it is about.
    pub fn server(&self) -> Option<ServerId> {
        match self {
            Self::SetAddress { server, .. }
            | Self::Add { server, .. }
            | Self::Remove { server, .. }
            | Self::Set { server, .. }
            | Self::AwaitHealthy { server, .. }
            | Self::WarmUp { server, .. }
            | Self::AwaitDrained { server, .. }
            | Self::ShutdownSessions { server } => Some(*server),
            Self::SetWeights(weights) => match weights[..] {
                [(server, _)] => Some(server),
                _ => None,
            },
            Self::Pause(_) => None,
        }
    }

    /// What is done, in words, such as `set web/s1 DRAIN`.
    pub fn words(&self, names: &Names) -> String {
        let named = |server: ServerId| {
            format!("{}/{}", names.of_backend(names.backend_of(server)), names.of_server(server))
        };
        match self {
            Self::SetAddress { server, address } => format!("set {} address {address}", named(*server)),
            Self::Add { server, address, keywords } => {
                format!("add {} {address} {keywords}", named(*server)).trim_end().to_owned()
            }
            Self::Remove { server, .. } => format!("delete {}", named(*server)),
            Self::Set { server, state } => format!("set {} {}", named(*server), state.name()),
            Self::SetWeights(weights) => {
                let each = weights.iter().map(|(server, weight)| format!("{} {weight}", named(*server)));
                format!("set weights: {}", each.collect::<Vec<_>>().join(", "))
            }
            Self::AwaitHealthy { server, within } => {
                format!("wait up to {within:?} until {} is healthy", named(*server))
            }
            Self::WarmUp { server, .. } => format!("warm up {}", named(*server)),
            Self::AwaitDrained { server, at_least, within, .. } if !at_least.is_zero() => {
                let server = named(*server);
                format!("wait {at_least:?} at least, up to {within:?} until {server} has no sessions")
            }
            Self::AwaitDrained { server, within, .. } => {
                format!("wait up to {within:?} until {} has no sessions", named(*server))
            }
            Self::ShutdownSessions { server } => format!("close the sessions of {}", named(*server)),
            Self::Pause(pause) => format!("wait {pause:?}"),
        }
    }
}
