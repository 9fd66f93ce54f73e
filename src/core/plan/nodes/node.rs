//! One of several HAProxys, and what is known of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::super::inventory::{AdminState, BackendState, Inventory, Process};
use super::Kept;
use super::align::{Correction, Todo};
use crate::core::names::{BackendId, ServerId};
use crate::core::settings::spares::Spares;
use crate::core::units::Weight;

/// What a node has refused it is told again after so long; then after twice as long, and so on.
pub const AGAIN_AFTER: Duration = Duration::from_secs(60);

/// But not less often than that.
pub const AGAIN_AT_LEAST: Duration = Duration::from_secs(600);

/// How a node stands to the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It has not been asked yet.
    Unknown,
    /// It does not answer.
    Absent,
    /// It answers, and has not yet what the others have.
    Behind,
    /// It can be gone by.
    InLine,
    /// It is the HAProxy of this number, by another socket: it counts once.
    Twin(usize),
}

impl Standing {
    /// One or two words for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "not asked yet",
            Self::Absent => "does not answer",
            Self::Behind => "behind",
            Self::InLine => "in line",
            Self::Twin(_) => "the same HAProxy as another",
        }
    }

    /// There is a HAProxy that answers.
    pub const fn answers(self) -> bool {
        matches!(self, Self::Behind | Self::InLine | Self::Twin(_))
    }
}

/// One node, for those who show it.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeState {
    /// How it stands.
    pub standing: Standing,
    /// The process that answered last.
    pub process: Option<Process>,
    /// Why it does not answer.
    pub error: Option<String>,
    /// What it is still to be told.
    pub left: usize,
    /// What it has refused; it is told that again after [`AGAIN_AFTER`].
    pub refused: Vec<Refused>,
    /// Backends that others have and it has not.
    pub lacks: Vec<BackendId>,
    /// Its socket changes nothing.
    pub read_only: bool,
}

/// A correction that a node has refused.
#[derive(Clone, Debug, PartialEq)]
pub struct Refused {
    /// What was to be put right.
    pub correction: Correction,
    /// The node's words.
    pub error: String,
}

impl Refused {
    /// It is no use to tell `correction`: a server that has not got its place is not taken into service.
    pub(super) fn covers(&self, correction: &Correction) -> bool {
        let is_place = matches!(self.correction, Correction::Add { .. } | Correction::Address { .. });
        self.correction == *correction || is_place && self.correction.server() == correction.server()
    }
}

/// What is known of one node.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) standing: Standing,
    pub(super) process: Option<Process>,
    pub(super) error: Option<String>,
    pub(super) todo: Todo,
    pub(super) refused: Vec<Refused>,
    /// When it is told again what it has refused, and after how long the next time.
    pub(super) again: Option<Instant>,
    pub(super) again_after: Duration,
    pub(super) lacks: Vec<BackendId>,
    pub(super) read_only: bool,
    /// Servers that the agent has added to it.
    pub(super) added: BTreeSet<ServerId>,
    /// Those that somebody else has made unlike while it was in line, or has changed while it lagged behind: they stay
    /// so on this process.
    pub(super) unlike: BTreeSet<ServerId>,
    /// So long as it lags behind.
    pub(super) behind: Option<Lag>,
}

/// That a node lags behind.
#[derive(Debug)]
pub(super) struct Lag {
    since: Instant,
    /// What it had when it was read last, of what it has been told nothing about.
    pub(super) untold: BTreeMap<ServerId, (AdminState, Weight)>,
}

impl Node {
    /// Nothing is known of it.
    pub(super) fn new() -> Self {
        Self {
            standing: Standing::Unknown,
            process: None,
            error: None,
            todo: Todo::default(),
            refused: Vec::new(),
            again: None,
            again_after: AGAIN_AFTER,
            lacks: Vec::new(),
            read_only: false,
            added: BTreeSet::new(),
            unlike: BTreeSet::new(),
            behind: None,
        }
    }

    /// What there is to show of it.
    pub(super) fn state(&self) -> NodeState {
        NodeState {
            standing: self.standing,
            process: self.process.clone(),
            error: self.error.clone(),
            left: self.todo.now.len() + self.todo.later.len(),
            refused: self.refused.clone(),
            lacks: self.lacks.clone(),
            read_only: self.read_only,
        }
    }

    /// For how long it has lagged behind. Notes what somebody else changes meanwhile.
    pub(super) fn lag(
        &mut self,
        pairs: &[(&Kept, &BackendState, Option<&BackendState>)],
        now: Instant,
    ) -> Duration {
        let servers = pairs.iter().filter_map(|(_, _, found)| *found).flat_map(|found| &found.servers);
        let found: BTreeMap<ServerId, (AdminState, Weight)> =
            servers.map(|server| (server.id, (server.state(), server.weight))).collect();
        let Some(lag) = &mut self.behind else {
            self.behind = Some(Lag { since: now, untold: found });
            return Duration::ZERO;
        };
        lag.untold.retain(|server, before| {
            let is_as_before = found.get(server) == Some(&*before);
            if !is_as_before {
                self.unlike.insert(*server);
            }
            is_as_before
        });
        now.saturating_duration_since(lag.since)
    }

    /// What it is told now changes by our doing.
    pub(super) fn note_told(&mut self) {
        let Some(lag) = &mut self.behind else { return };
        for correction in &self.todo.now {
            lag.untold.remove(&correction.server());
        }
    }

    /// What it has refused may be possible by now.
    pub(super) fn tell_again(&mut self) {
        self.standing = Standing::Behind;
        self.again_after = (self.again_after * 2).min(AGAIN_AT_LEAST);
        self.forget_refused();
    }

    /// It may be told everything again.
    pub(super) fn forget_refused(&mut self) {
        self.refused.clear();
        self.again = None;
    }

    /// It is the one of number `of`.
    pub(super) fn note_twin(&mut self, of: usize, process: Process) {
        (self.standing, self.process, self.error) = (Standing::Twin(of), Some(process), None);
        (self.todo, self.behind) = (Todo::default(), None);
    }

    /// What the agent has added is known until it is seen to be gone, whatever becomes of it elsewhere.
    pub(super) fn note_added(&mut self, kept: &[Kept], found: &Inventory) {
        let has = |server: &ServerId| found.backends.iter().any(|backend| backend.server(*server).is_some());
        let added = kept.iter().filter(|kept| kept.spares == Spares::Dynamic).flat_map(|kept| &kept.placed);
        self.added.extend(added);
        self.added.retain(has);
    }
}
