//! What HAProxy cannot hold: whose MAINT it is, weights to put right, the cooldown, an operator's orders.
//!
//! Losing it is safe: a server in MAINT that nobody named is then left alone.
//!
//! All of it is written at once, so once for everything that is ordered in the same tick; what comes of it waits for
//! the next tick, the next order or the end: a thousand plans may end within a second. An agent that is killed
//! leaves one of these behind, and what the next one does follows from HAProxy's own state:
//!
//! ```text
//!  killed                    written down is      the next agent
//!  before orders are         none of them         finds HAProxy as it was: nothing was sent
//!  written
//!  after that, before or     the server is ours,  a server in DRAIN or MAINT is ours: finished, or taken back;
//!  in the middle of a plan   the weights owed     one in READY serves, and is no longer ours; weights are put right
//!  after its outcome,        the same             the same, and there is nothing left to do about it. Lost are a
//!  before the next tick                           cooldown of less than a tick's age (it watches for a whole window
//!                                                 first), and that somebody else took the server in this tick
//!  after that                all that is known    goes on from there
//! ```
//! What somebody else changes while no agent runs is found by comparing with how each server was left, if it is still
//! the same HAProxy: one that was restarted has what its configuration says.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::Controller;
use super::backend::Backend;
use super::overrides::{Operator, Order};
use super::temporary::Temporary;
use crate::core::names::{Names, ServerId};
use crate::core::plan::inventory::{AdminState, Inventory};
use crate::core::plan::supply::Placement;
use crate::core::policy::state::{Direction, Phase};
use crate::core::units::Weight;

/// Everything worth keeping over a restart of the agent.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Memory {
    /// One for each backend that has something to remember, in the order of the settings' names.
    pub backends: Vec<BackendMemory>,
    /// Which HAProxy showed it.
    pub shown_by: Option<ShownBy>,
}

/// A HAProxy; of several, the one that has run longest.
#[derive(Clone, Debug, PartialEq)]
pub struct ShownBy {
    /// The process of each; `None` for one that did not answer.
    pub pids: Vec<Option<u32>>,
    /// When it started, in seconds of Unix time, where it tells.
    pub started: Option<u64>,
    /// It runs for so long.
    pub runs_for: Duration,
}

impl ShownBy {
    /// Two clocks cannot be told apart by less.
    const MARGIN: Duration = Duration::from_secs(10);

    /// As it was in `inventory`, so long `ago`.
    pub fn new(inventory: &Inventory, ago: Duration) -> Self {
        Self {
            pids: inventory.counted.clone(),
            started: inventory.process.started,
            runs_for: Duration::from_secs(inventory.process.uptime_s) + ago,
        }
    }

    /// So much `later` it shows `inventory`: it has not been restarted, and has forgotten nothing.
    pub fn shows(&self, inventory: &Inventory, later: Duration) -> bool {
        let process = &inventory.process;
        let is_same_start = match (self.started, process.started) {
            (Some(before), Some(now)) => before == now,
            // The pid alone may be the same in a container.
            _ => {
                let expected = self.runs_for + later;
                expected.abs_diff(Duration::from_secs(process.uptime_s)) <= Self::MARGIN
            }
        };
        is_same_start && goes_on(&self.pids, &inventory.counted)
    }
}

/// Of one backend.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct BackendMemory {
    /// The backend's name.
    pub name: String,
    /// Servers in MAINT or DRAIN by this agent's doing.
    pub ours: BTreeSet<String>,
    /// Those of them whose start was begun.
    pub starting: BTreeSet<String>,
    /// Weights to put back: a ramp was under way.
    pub weights: BTreeMap<String, Weight>,
    /// Weights that servers have had for a while: a restart of HAProxy may bring them back.
    pub temporary: BTreeMap<String, Temporary>,
    /// What is left of the cooldown, and after which move.
    pub cooldown: Option<(Direction, Duration)>,
    /// Servers that are left alone, and for how long still.
    pub left_alone: BTreeMap<String, Duration>,
    /// How each server was found last: another state or weight is by somebody else.
    pub known: BTreeMap<String, Known>,
    /// What an operator wants instead of what the policy decides.
    pub overridden: Option<OverrideMemory>,
    /// Which addresses of the pool were put where, by the servers' names.
    pub placed: BTreeMap<String, Placement>,
    /// Servers that are DOWN, and who stands in for each; `None`: fewer were enough.
    pub replaced: BTreeMap<String, Option<String>>,
}

/// How a server was found, and what a plan may have made of it since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// By a command, or none.
    pub state: AdminState,
    /// Its weight.
    pub weight: Weight,
    /// States that a plan may have left it in instead.
    pub states: BTreeSet<AdminState>,
    /// Weights that a plan may have left it with instead.
    pub weights: BTreeSet<Weight>,
}

/// An [`Override`](super::Override).
#[derive(Clone, Debug, PartialEq)]
pub struct OverrideMemory {
    /// What.
    pub order: Order,
    /// Who; the process is not worth keeping.
    pub by: Operator,
    /// For so long already.
    pub age: Duration,
    /// What is left of it; `None`: it has no end of its own.
    pub left: Option<Duration>,
}

impl Controller {
    /// What HAProxy cannot hold, to be written down.
    pub fn memory(&self, now: Instant) -> Memory {
        let backends = self.backends.values().map(|backend| backend.memory(&self.names, now));
        let ago = |at: Instant| now.saturating_duration_since(at);
        let shown_by = match (self.readings.latest(), &self.shown_by) {
            (Some(latest), _) => Some(ShownBy::new(&latest.inventory, ago(latest.asked))),
            (None, Some((before, at))) => {
                Some(ShownBy { runs_for: before.runs_for + ago(*at), ..before.clone() })
            }
            (None, None) => None,
        };
        Memory { backends: backends.collect(), shown_by }
    }

    /// The HAProxy that shows `inventory`, asked for at `asked`, is the one that an agent before this one has left.
    pub(super) fn is_known(&mut self, inventory: &Inventory, asked: Instant) -> bool {
        let before = self.shown_by.take();
        before.is_some_and(|(before, at)| before.shows(inventory, asked.saturating_duration_since(at)))
    }
}

impl Backend {
    pub(super) fn memory(&self, names: &Names, now: Instant) -> BackendMemory {
        let name = |id: &ServerId| names.of_server(*id).to_string();
        BackendMemory {
            name: self.settings.name.clone(),
            ours: self.claims.ours.iter().map(name).collect(),
            starting: self.claims.starting.iter().map(name).collect(),
            weights: self.to_put_back().iter().map(|(id, weight)| (name(id), *weight)).collect(),
            temporary: self.temporary.memory(names),
            cooldown: match self.mind.phase(now) {
                Phase::Cooldown { until, after } => Some((after, until - now)),
                _ => None,
            },
            left_alone: self.hands_off.memory(names, now),
            known: self.hands_off.known(names),
            overridden: self.overridden.as_ref().map(|wanted| wanted.memory(now)),
            placed: self.store.memory(names),
            replaced: self.replacements.memory(names),
        }
    }
}

/// At least one process is still there.
pub(super) fn goes_on(before: &[Option<u32>], now: &[Option<u32>]) -> bool {
    before.iter().zip(now).any(|(before, now)| before.is_some() && before == now)
}
