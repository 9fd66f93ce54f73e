//! What became of a plan, one report at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::step::{Lane, Purpose, Step};
use crate::core::names::{BackendId, ServerId};

/// A report of the executor about one plan.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// A step was done, and HAProxy's state read back says so.
    StepDone {
        /// Whose plan.
        backend: BackendId,
        /// The step.
        step: Step,
        /// How long it took, retries included.
        took: Duration,
    },
    /// A server got to the end of its lane.
    Moved {
        /// Whose plan.
        backend: BackendId,
        /// The server that serves now, or is in MAINT now.
        server: ServerId,
        /// What the plan is for.
        purpose: Purpose,
    },
    /// A step failed for good; the lane's `undo` has been tried, unless somebody else has
    /// changed the server.
    Failed {
        /// Whose plan.
        backend: BackendId,
        /// The server of the lane; `None` for `before` and `after`.
        server: Option<ServerId>,
        /// The step.
        step: Step,
        /// Why, with its causes, as one line.
        error: String,
        /// Somebody else has changed the server.
        by_other: bool,
    },
    /// HAProxy was restarted before anything was done about it, and nothing was: what is to be done is decided anew.
    Outdated {
        /// Whose plan.
        backend: BackendId,
        /// The server of the lane; `None` for the whole plan.
        server: Option<ServerId>,
    },
    /// HAProxy was restarted with a configuration that lacks the server.
    Dropped {
        /// Whose plan.
        backend: BackendId,
        /// The server that is gone.
        server: ServerId,
        /// What the plan is for.
        purpose: Purpose,
    },
    /// A server in DRAIN without a session: what keeps clients on it is waited for too, or not any more.
    Kept {
        /// Whose plan.
        backend: BackendId,
        /// The server.
        server: ServerId,
        /// By what.
        by: Option<KeptBy>,
        /// In so long it goes to MAINT all the same.
        within: Duration,
    },
    /// The server has moved, but what was to follow could not be done: one that was added is still there, in
    /// MAINT. It is tried again later.
    LeftBehind {
        /// Whose plan.
        backend: BackendId,
        /// The server.
        server: ServerId,
        /// The step.
        step: Step,
        /// Why, with its causes, as one line.
        error: String,
    },
    /// Weights could not be set or were changed by somebody else. Servers are added all the
    /// same, with their full weight at once.
    RampGivenUp {
        /// Whose plan.
        backend: BackendId,
        /// The server whose ramp it was; `None` for those of all servers of the plan.
        server: Option<ServerId>,
        /// Why, with its causes, as one line.
        error: String,
        /// Somebody else has set its weight: that stays.
        by_other: bool,
    },
    /// The plan is over: nothing more will come of it.
    Finished {
        /// Whose plan.
        backend: BackendId,
        /// What it was for.
        purpose: Purpose,
        /// The agent stops, or every server of it was taken back.
        called_off: bool,
    },
}

impl Outcome {
    /// Whose plan it is about.
    pub const fn backend(&self) -> BackendId {
        match *self {
            Self::StepDone { backend, .. }
            | Self::Moved { backend, .. }
            | Self::Failed { backend, .. }
            | Self::Outdated { backend, .. }
            | Self::Dropped { backend, .. }
            | Self::Kept { backend, .. }
            | Self::LeftBehind { backend, .. }
            | Self::RampGivenUp { backend, .. }
            | Self::Finished { backend, .. } => backend,
        }
    }
}

/// What keeps clients on a server: DRAIN sends it nobody new, but them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeptBy {
    /// Sessions on HAProxy's old workers of these process ids.
    OldWorkers(Vec<u32>),
    /// A cookie of this name.
    Cookie(Arc<str>),
    /// Entries of this stick-table.
    Table(Arc<str>),
    /// Its own sessions: MAINT would close them (`on-marked-down shutdown-sessions`).
    OwnSessions,
}

impl fmt::Display for KeptBy {
    /// `cookie SRV`, `stick-table users`, `process 4711`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cookie(name) => write!(f, "cookie {name}"),
            Self::OldWorkers(pids) => {
                let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
                write!(f, "process {}", pids.join(", "))
            }
            Self::Table(name) => write!(f, "stick-table {name}"),
            Self::OwnSessions => f.write_str("on-marked-down shutdown-sessions"),
        }
    }
}

/// What has been changed about a plan since it began. `taken_back` and `added` only ever grow.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    /// The agent stops: only `after` is done; READY, DRAIN and MAINT stay as they are.
    pub stop: bool,
    /// Servers about which the decision was turned round: the `undo` of their lanes is done.
    pub taken_back: BTreeSet<ServerId>,
    /// Lanes for more servers. A plan with ramps gets none.
    pub added: Vec<Lane>,
    /// Newcomers whose weight does not go on rising.
    pub ramps: BTreeMap<ServerId, Ramp>,
    /// The fewest that have to serve are others now than when the plan was made.
    pub least_serving: Option<u32>,
}

/// What becomes of the ramp of a newcomer that is not like the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ramp {
    /// Its weight stays as it is, for now.
    Held,
    /// The lane's `retreat` is done, for this reason.
    TurnedAway(String),
}

impl Changes {
    /// All that a stop asks for.
    pub fn stop() -> Self {
        Self { stop: true, ..Self::default() }
    }

    /// What `server`'s lane has to end for, if it has.
    pub fn call_off(&self, server: ServerId) -> Option<CallOff> {
        match (self.stop, self.taken_back.contains(&server), self.ramps.get(&server)) {
            (true, _, _) => Some(CallOff::Stop),
            (false, true, _) => Some(CallOff::TakeBack),
            (false, false, Some(Ramp::TurnedAway(why))) => Some(CallOff::TurnAway(why.clone())),
            (false, false, Some(Ramp::Held) | None) => None,
        }
    }

    /// The weight of `server` is not to rise for now.
    pub fn is_held(&self, server: ServerId) -> bool {
        self.ramps.get(&server) == Some(&Ramp::Held)
    }
}

/// Why a lane is called off, and so what is done with what it has half done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallOff {
    /// The decision was turned round: the lane's `undo` is done.
    TakeBack,
    /// The newcomer is not like the others: the lane's `retreat` is done if it serves, else its `undo`.
    TurnAway(String),
    /// The agent stops: nothing more is done.
    Stop,
}
