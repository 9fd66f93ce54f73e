//! Plans as plain data: what is to be done to a backend's servers, and in which order.

use std::time::Duration;

use super::inventory::AdminState;
use crate::core::names::{BackendId, ServerId};
use crate::core::units::Weight;

/// What is to be done to one backend. Lanes are independent of each other and may run side by
/// side; every prefix of every lane, in any mixture, leaves at least `ready.min` serving.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Whose servers.
    pub backend: BackendId,
    /// What it is for.
    pub purpose: Purpose,
    /// Done first. If one of these fails, nothing else is done.
    pub before: Vec<Step>,
    /// One for each server that is to move.
    pub lanes: Vec<Lane>,
    /// Done last, whatever became of the lanes, also when the plan is called off or the agent
    /// stops: puts temporary weights right.
    pub after: Vec<Step>,
}

/// What a plan is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// The servers of its lanes are to serve.
    Add,
    /// The servers of its lanes are to go to MAINT.
    Remove,
    /// Weights only; no lanes.
    Reweigh,
}

/// The way of one server.
#[derive(Clone, Debug, PartialEq)]
pub struct Lane {
    /// Which server.
    pub server: ServerId,
    /// In this order; a failed one ends the lane.
    pub steps: Vec<Step>,
    /// Done if a step fails, or if the plan is called off to be taken back.
    pub undo: Vec<Step>,
}

/// One thing to do; after each command the state is read back.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
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
    /// Sends the configured warm-up requests; none if no path is configured.
    WarmUp {
        /// Which server.
        server: ServerId,
    },
    /// Waits until no session is left on the server and none waits for it.
    AwaitDrained {
        /// Which server.
        server: ServerId,
        /// After this the lane goes on all the same.
        within: Duration,
    },
    /// Waits between two weights of a ramp.
    Pause(Duration),
}
