//! What became of a plan, one report at a time.

use std::time::Duration;

use super::step::{Purpose, Step};
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
    },
    /// The plan is over: nothing more will come of it.
    Finished {
        /// Whose plan.
        backend: BackendId,
        /// What it was for.
        purpose: Purpose,
        /// It was called off.
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
            | Self::RampGivenUp { backend, .. }
            | Self::Finished { backend, .. } => backend,
        }
    }
}

/// Why a plan is called off, and so what is done with what it has half done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallOff {
    /// The decision was turned round: each lane's `undo` is done, then `after`.
    TakeBack,
    /// The agent stops: only `after` is done; READY, DRAIN and MAINT stay as they are.
    Stop,
}
