//! All stages for all backends: one pure object, driven from outside.
//!
//! In: samples, inventories, outcomes and `now`. Out: [`Action`]s. The contract is one
//! `handle_*`, then [`poll_action`](Controller::poll_action) until `None`. No callbacks, no
//! channels, no tasks and no clock in here: what was to be logged comes out as a value too.
//!
//! ```text
//!  handle_samples ──▶ Estimator ─┐
//!  handle_inventory ─▶ Fleet ────┼─ handle_tick ─▶ policy::step ─▶ planner ─▶ Action::Execute
//!  handle_outcome ◀── executor ◀─┴────────────────────────────────────────────────┘
//! ```
//! Absent on purpose: a second plan for a backend that has one (a scale-up calls a drain off
//! first), and a cooldown that begins before HAProxy has said yes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::estimate::coverage::Told;
use super::estimate::snapshot::Snapshot;
use super::log::reader::Batch;
use super::log::sample::Sample;
use super::names::{BackendId, Names, ServerId};
use super::plan::inventory::{Inventory, Process};
use super::plan::nodes::Kept;
use super::plan::outcome::{Changes, Outcome};
use super::plan::step::Plan;
use super::plan::supply::Offer;
use super::plan::trackers;
use super::policy::decision::Decision;
use super::settings::BackendSettings;
use super::settings::schedule::CivilTime;

mod back_off;
mod backend;
mod checks;
mod doubt;
mod forgotten;
mod growing;
mod hands_off;
mod latency_weights;
mod limits;
mod lingering;
mod memory;
mod mind;
mod moves;
mod newcomers;
mod outliers;
mod overrides;
mod pool;
mod quarantine;
mod readings;
mod record;
mod replacements;
mod standing;
mod supply;
mod temporary;
#[cfg(test)]
mod tests;
mod tidy;
mod vacancies;
mod view;

use backend::Backend;
pub use doubt::reason as doubt;
pub use growing::Growable;
pub use hands_off::Change;
pub use limits::LimitsView;
use memory::goes_on;
pub use memory::{BackendMemory, Known, Memory, OverrideMemory, ShownBy};
pub use overrides::{Operator, Order, Override};
use readings::{Reading, Readings};
pub use record::{Event, Record};
pub use standing::{Answer, BackendStanding, Origin, ServerStanding, of_node};
pub use temporary::{BroughtBack, Temporary};
pub use view::{Health, ServerView, View};

/// Something for the agent to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Write [`Controller::memory`] down, before what follows is done: see [`Memory`].
    Remember,
    /// Carry a plan out, and report every [`Outcome`].
    Execute(Plan),
    /// This is what has been changed about the plan of this backend.
    Change(BackendId, Changes),
    /// Tell it: log, journal, metrics.
    Record(Box<Record>),
}

/// Decides for every configured backend.
#[derive(Debug)]
pub struct Controller {
    names: Names,
    backends: BTreeMap<BackendId, Backend>,
    readings: Readings,
    /// Which HAProxy an agent before this one has seen last, as it was at this start.
    shown_by: Option<(ShownBy, Instant)>,
    /// What the clocks on the wall say.
    local: Option<CivilTime>,
    log: doubt::Log,
    /// Outcomes have changed what is to be remembered.
    unwritten: bool,
    actions: VecDeque<Action>,
}

impl Controller {
    /// A controller for `settings` that has seen nothing yet.
    pub fn new(names: Names, settings: Vec<BackendSettings>, memory: &Memory, now: Instant) -> Self {
        let mut controller = Self {
            names,
            backends: BTreeMap::new(),
            readings: Readings::default(),
            shown_by: memory.shown_by.clone().map(|shown_by| (shown_by, now)),
            local: None,
            log: doubt::Log::default(),
            unwritten: false,
            actions: VecDeque::new(),
        };
        controller.reconfigure(settings, now);
        for (id, backend) in &mut controller.backends {
            backend.recall(memory, *id, &controller.names, now);
        }
        controller
    }

    /// HAProxy is read `every` so often, and answers `within` so long or not at all: two ticks and a slow answer later
    /// what it said is no ground for a decision. Without this, 5 s.
    pub fn expect_readings(&mut self, every: Duration, within: Duration) {
        self.readings.come_every(every, within);
    }

    /// Takes other settings. A backend that stays keeps its state; its estimates begin anew only
    /// where target or window changed. A backend that goes is left as it is.
    pub fn reconfigure(&mut self, settings: Vec<BackendSettings>, now: Instant) {
        let mut old = std::mem::take(&mut self.backends);
        for settings in settings {
            let Some(id) = self.names.backend(&settings.name) else { continue };
            let backend = match old.remove(&id) {
                Some(mut backend) => {
                    backend.reconfigure(settings, now);
                    backend.settle_limits(id, self.local, &mut self.actions);
                    backend
                }
                None => Backend::new(settings, now),
            };
            self.backends.insert(id, backend);
        }
        for (id, backend) in old {
            if backend.is_moving() {
                self.actions.push_back(Action::Change(id, Changes::stop()));
            }
        }
    }

    /// Counts requests. Those of backends that nobody configured are passed over.
    pub fn handle_samples(&mut self, samples: &[Sample], now: Instant) -> Counted {
        let mut counted = Counted::default();
        for sample in samples {
            match self.backends.get_mut(&sample.backend).map(|backend| backend.record(sample, now)) {
                None => counted.elsewhere += 1,
                Some(true) => counted.used += 1,
                Some(false) => counted.late += 1,
            }
        }
        counted
    }

    /// Takes what was read of the log. Requests that HAProxy's counters prove to be no repetitions move
    /// from the batch's repetitions to its samples.
    pub fn handle_batch(&mut self, batch: &mut Batch, now: Instant) -> Counted {
        if batch.counts.lines > 0 {
            self.log.note(batch.first_unparsed.as_ref().map(|line| line.error), now);
        }
        for answer in &batch.answers {
            if let Some(backend) = self.backends.get_mut(&answer.backend) {
                backend.coverage.count(Told::Other, answer.end);
            }
        }
        let mut duplicate = 0;
        for repeat in batch.repeats.drain(..) {
            match self.backends.get_mut(&repeat.backend) {
                Some(backend) if !backend.coverage.drops_repeats() => batch.samples.push(repeat),
                backend => {
                    duplicate += 1;
                    if let Some(backend) = backend {
                        backend.coverage.count(Told::Repeat, repeat.end);
                    }
                }
            }
        }
        Counted { duplicate, ..self.handle_samples(&batch.samples, now) }
    }

    /// Takes what HAProxy says it has. It was asked at `asked`: what was done after that may not be in it.
    /// While no HAProxy is in line, what they have is nobody's wish, and no ground for anything.
    pub fn handle_inventory(&mut self, mut inventory: Inventory, asked: Instant, now: Instant) {
        if inventory.in_line.is_empty() {
            return self.readings.note_none_in_line(now);
        }
        let least = |id| self.backends.get(&id).map_or(1, |backend| backend.limits.scheduled.min);
        trackers::mark(&mut inventory, least);
        let latest = self.readings.latest().map(|latest| &latest.inventory);
        let is_another = |before: &Inventory| match (&before.counted[..], &inventory.counted[..]) {
            ([_], [_]) => inventory.process.is_another_than(&before.process),
            (before, now) => before != now,
        };
        let anew = latest.is_some_and(is_another);
        let in_line_as_before = latest.is_none_or(|before| before.in_line == inventory.in_line);
        let goes_on =
            |before: &Inventory| before.counted.len() > 1 && goes_on(&before.counted, &inventory.counted);
        let restarted = anew && latest.is_some_and(|before| !goes_on(before));
        if restarted {
            let process = inventory.process.clone();
            for (&id, backend) in &mut self.backends {
                let before = self.readings.backend(id);
                self.actions.push_back(record(backend.record_restart(id, &process, before)));
                backend.store.note_restart(&inventory.counted);
            }
        }
        // What an agent before this one has left is no guide to a HAProxy that has forgotten it.
        let is_new_to_us = self.readings.latest().is_none() && !self.is_known(&inventory, asked);
        let pids = Arc::from(inventory.counted.as_slice());
        let mut changed = false;
        for (&id, backend) in &mut self.backends {
            backend.store.note_processes(&inventory);
            if is_new_to_us {
                backend.hands_off.restart();
            }
            let Some(state) = inventory.backend(id) else { continue };
            backend.read_only = inventory.read_only;
            if anew {
                backend.count_anew();
            }
            // Where that one has a server otherwise, nobody has changed it.
            if !in_line_as_before {
                backend.hands_off.restart();
            }
            if restarted || is_new_to_us {
                backend.temporary.restart();
            }
            changed |= backend.take_stock(id, state, &pids, asked, &mut self.actions);
        }
        if changed {
            self.actions.push_back(Action::Remember);
        }
        self.readings.take(Reading { asked, arrived: now, inventory });
    }

    /// Takes what the pool of `backend` offers: spares come from it from now on. True if that is news.
    pub fn handle_offer(&mut self, backend: BackendId, offer: Offer) -> bool {
        self.backends.get_mut(&backend).is_some_and(|backend| backend.take_offer(offer))
    }

    /// Why clients cannot be kept on servers that are added to `backend`, where its pool and HAProxy say so.
    pub fn loses_clients(&self, backend: BackendId) -> Option<&'static str> {
        let state = self.readings.backend(backend)?;
        self.backends.get(&backend)?.loses_clients(state)
    }

    /// Takes what the clocks on the wall say; schedules go by it. Told before each tick.
    pub fn handle_local_time(&mut self, local: CivilTime) {
        self.local = Some(local);
    }

    /// An operator overrules the policy for `backend`. What was ordered before is returned; `None` also where
    /// nobody configured the backend, and nothing is done then.
    pub fn handle_order(&mut self, backend: BackendId, wanted: Override, now: Instant) -> Option<Override> {
        let ours = self.backends.get_mut(&backend)?;
        let (before, actions) = ours.take_order(backend, wanted, now);
        self.actions.extend(actions);
        ours.settle_limits(backend, self.local, &mut self.actions);
        self.decide_anew(backend, now);
        before
    }

    /// An operator ends what was ordered for `backend`, and that servers of it are left alone.
    pub fn handle_resume(&mut self, backend: BackendId, by: Operator, now: Instant) -> Resumed {
        let Some(ours) = self.backends.get_mut(&backend) else { return Resumed::default() };
        let ended = ours.end_order(backend, Some(by), now);
        let servers = ours.end_hands_off(backend, now, &mut self.actions);
        let order = ended.map(|(order, actions)| {
            self.actions.extend(actions);
            order
        });
        ours.settle_limits(backend, self.local, &mut self.actions);
        self.decide_anew(backend, now);
        Resumed { order, servers }
    }

    /// What an operator says holds at once: `backend` is shown so, and evaluated without waiting for the next tick.
    fn decide_anew(&mut self, backend: BackendId, now: Instant) {
        let reading = self.readings.current(now).ok();
        let Some((ours, reading)) = self.backends.get_mut(&backend).zip(reading) else { return };
        let found = reading.of(backend);
        if let Ok((_, state)) = found {
            ours.reconsider(state, &self.names, now);
        }
        ours.evaluate(backend, found, &self.names, now, &mut self.actions);
    }

    /// Evaluates every backend. What outcomes have changed since the last tick is written down with it.
    pub fn handle_tick(&mut self, now: Instant) {
        if std::mem::take(&mut self.unwritten) {
            self.actions.push_back(Action::Remember);
        }
        let reading = self.readings.current(now);
        for (&id, backend) in &mut self.backends {
            self.actions.extend(backend.end_order_in_time(id, now).into_iter().flatten());
            backend.end_hands_off_in_time(id, now, &mut self.actions);
            backend.settle_limits(id, self.local, &mut self.actions);
            backend.weigh(&self.log, now);
            let found = reading.clone().and_then(|reading| reading.of(id));
            backend.evaluate(id, found, &self.names, now, &mut self.actions);
        }
    }

    /// Takes what became of a step, a lane or a plan.
    pub fn handle_outcome(&mut self, outcome: &Outcome, now: Instant) {
        let id = outcome.backend();
        let Some(backend) = self.backends.get_mut(&id) else { return };
        backend.handle_outcome(outcome, now, &mut self.actions);
        self.unwritten |= !matches!(outcome, Outcome::StepDone { .. });
    }

    /// The agent stops: weights that are less for a while are put right.
    pub fn handle_stop(&mut self, now: Instant) {
        for (&id, backend) in &mut self.backends {
            if let Some(state) = self.readings.backend(id) {
                backend.restore_weights(state, now, &mut self.actions);
            }
        }
    }

    /// The next thing to do, oldest first.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// What is known of every backend, for status, metrics and health.
    pub fn views(&mut self, now: Instant) -> Vec<View> {
        let ids: Vec<BackendId> = self.backends.keys().copied().collect();
        ids.into_iter().filter_map(|id| self.view(id, now)).collect()
    }

    /// The same of one backend; `None` if nobody configured it.
    pub fn view(&mut self, backend: BackendId, now: Instant) -> Option<View> {
        let state = self.readings.backend(backend);
        let view = self.backends.get_mut(&backend)?.view(backend, state, self.local, &self.names, now);
        Some(View { unread: self.readings.unread(backend), ..view })
    }

    /// The HAProxy process that answered last.
    pub fn process(&self) -> Option<&Process> {
        self.readings.latest().map(|latest| &latest.inventory.process)
    }

    /// The names of all configured backends.
    pub fn backend_names(&self) -> impl Iterator<Item = String> {
        self.backends.values().map(|backend| backend.settings().name.clone())
    }

    /// What is to be the same on several HAProxys.
    pub fn kept(&self) -> Vec<Kept> {
        self.backends.iter().map(|(&id, backend)| backend.kept(id)).collect()
    }

    /// The settings of `backend`, if it is configured.
    pub fn settings(&self, backend: BackendId) -> Option<&BackendSettings> {
        self.backends.get(&backend).map(Backend::settings)
    }
}

/// What an operator has ended.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resumed {
    /// The order there was.
    pub order: Option<Override>,
    /// So many servers are no longer left alone.
    pub servers: usize,
}

/// What became of a batch of samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// In a window now.
    pub used: u64,
    /// Older than the window: counted, but they do not move the present.
    pub late: u64,
    /// Of backends that nobody configured.
    pub elsewhere: u64,
    /// Told of already by a line before.
    pub duplicate: u64,
}

fn record(record: Record) -> Action {
    Action::Record(Box::new(record))
}
