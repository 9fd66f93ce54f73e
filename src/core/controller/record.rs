//! What is told: to the log, the journal and the metrics, in the same words.

use super::*;
use crate::core::policy::replacement::Unreplaced;

/// One thing worth telling about one backend.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Which backend.
    pub backend: BackendId,
    /// What.
    pub event: Event,
    /// The figures it was made from; `None` where no figures were looked at.
    pub snapshot: Option<Snapshot>,
    /// Servers serving when it was made.
    pub serving: u32,
    /// When the next move is possible; zero: now; `None`: not before somebody ends a pause.
    pub next_move: Option<Duration>,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// An evaluation: every move, and a hold whenever its reason changed.
    Decided {
        /// What, and why.
        decision: Decision,
        /// What could not be done about it.
        refused: Option<String>,
    },
    /// The executor reported something.
    Outcome(Outcome),
    /// An operator overrules the policy.
    Ordered(Override),
    /// No longer.
    OrderEnded {
        /// What was ordered.
        what: Override,
        /// Who ended it; `None`: its time is over.
        by: Option<Operator>,
    },
    /// Somebody else changed a server: it is left alone.
    ChangedByOther {
        /// Which server.
        server: ServerId,
        /// What was changed; `None`: its state, in the middle of a move.
        change: Option<Change>,
        /// For so long.
        lasts: Duration,
    },
    /// A server is no longer left alone.
    HandsOffEnded {
        /// Which server.
        server: ServerId,
    },
    /// A restart of HAProxy has brought back weights that were only for a while: they are put right.
    WeightsBroughtBack(Vec<BroughtBack>),
    /// A server that is READY went DOWN, or came UP again.
    Checked {
        /// Which server.
        server: ServerId,
        /// What HAProxy's checks say now.
        up: bool,
    },
    /// Servers that are DOWN, and why nobody takes their places: when that changes.
    NotReplaced(Unreplaced),
    /// HAProxy was restarted or reloaded: what was set at run time may be gone.
    Restarted(Process),
}
