//! One backend: its estimates, the policy's state, the plan under way, whose servers are whose.

use std::sync::Arc;

use super::quarantine::Quarantine;
use super::*;
use crate::core::estimate::estimator::{Estimator, Recorded};
use crate::core::plan::inventory::{AdminState, BackendState};
use crate::core::plan::step::{Purpose, Step};
use crate::core::plan::{ownership, planner};
use crate::core::policy::decision::Reason;
use crate::core::policy::fleet::Fleet;
use crate::core::policy::state::{Direction, Phase, State};
use crate::core::policy::threshold;
use crate::core::units::Weight;

/// How long weights that could not be set are left alone: a hash algorithm, perhaps, that takes none.
const TIDY_AGAIN: Duration = Duration::from_secs(300);
/// Sessions HAProxy may have counted between the last line and the next inventory without a
/// line being missing: requests that are still running.
const UNSEEN_MARGIN: u64 = 5;

#[derive(Debug)]
pub(super) struct Backend {
    pub(super) settings: Arc<BackendSettings>,
    pub(super) estimator: Estimator,
    state: State,
    /// In MAINT or DRAIN by this agent's doing, or about to be.
    pub(super) ours: HashSet<ServerId>,
    pub(super) quarantine: Quarantine,
    pub(super) moving: Option<Moving>,
    /// Weights a ramp has to put back.
    pub(super) borrowed: Vec<(ServerId, Weight)>,
    /// When the last plan was over: a reading of HAProxy from before may not show what it did.
    settled: Option<Instant>,
    /// What a plan failed to bring about, to be tried with other servers.
    again: Option<Decision>,
    /// Weights were refused: they are not tried again before this.
    tidy_from: Option<Instant>,
    /// HAProxy's own count of sessions when a line last arrived.
    counted: Option<u64>,
    lines_since_stock: bool,
    told: Option<(&'static str, &'static str)>,
    pub(super) latest: Option<Latest>,
}

/// The plan under way.
#[derive(Debug)]
pub(super) struct Moving {
    pub(super) plan: Plan,
    /// What it was made for; `None`: it only tidies up.
    decision: Option<Decision>,
    /// Servers that did not get to the end of their lanes, and those that did.
    failed: u32,
    moved: u32,
    /// Weights could not be set, or not be put right.
    weights_failed: bool,
    called_off: bool,
}

/// The latest evaluation.
#[derive(Clone, Debug)]
pub(super) struct Latest {
    pub(super) decision: Decision,
    pub(super) refused: Option<String>,
    pub(super) fleet: Fleet,
}

impl Backend {
    pub(super) fn new(settings: BackendSettings, now: Instant) -> Self {
        Self {
            estimator: Estimator::new(settings.target, settings.window, now),
            settings: Arc::new(settings),
            state: State::default(),
            ours: HashSet::new(),
            quarantine: Quarantine::default(),
            moving: None,
            borrowed: Vec::new(),
            settled: None,
            again: None,
            tidy_from: None,
            counted: None,
            lines_since_stock: false,
            told: None,
            latest: None,
        }
    }

    pub(super) fn settings(&self) -> &BackendSettings {
        &self.settings
    }

    pub(super) fn is_moving(&self) -> bool {
        self.moving.is_some()
    }

    pub(super) fn reconfigure(&mut self, settings: BackendSettings, now: Instant) {
        let same = (settings.target, settings.window, settings.band)
            == (self.settings.target, self.settings.window, self.settings.band);
        if !same {
            self.estimator = Estimator::new(settings.target, settings.window, now);
        }
        self.settings = Arc::new(settings);
        self.told = None;
    }

    /// Takes back what was known before the agent was restarted.
    pub(super) fn recall(&mut self, memory: &Memory, id: BackendId, names: &Names, now: Instant) {
        let Some(memory) = memory.backends.iter().find(|memory| memory.name == self.settings.name) else {
            return;
        };
        let server = |name: &String| names.server(id, name);
        self.ours = memory.ours.iter().filter_map(server).collect();
        self.borrowed =
            memory.weights.iter().filter_map(|(name, &weight)| Some((server(name)?, weight))).collect();
        if let Some((direction, left)) = memory.cooldown {
            self.state = State::cooling_down(direction, now + left);
        }
    }

    pub(super) fn memory(&self, names: &Names, now: Instant) -> BackendMemory {
        let name = |id: &ServerId| names.of_server(*id).to_string();
        BackendMemory {
            name: self.settings.name.clone(),
            ours: self.ours.iter().map(name).collect(),
            weights: self.borrowed.iter().map(|(id, weight)| (name(id), *weight)).collect(),
            cooldown: match self.state.phase(now) {
                Phase::Cooldown { until, after } => Some((after, until - now)),
                _ => None,
            },
        }
    }

    /// True if the sample is in the window now.
    pub(super) fn record(&mut self, sample: &Sample, now: Instant) -> bool {
        self.lines_since_stock = true;
        self.estimator.record(sample, now) == Recorded::InWindow
    }

    /// Compares what HAProxy has, asked at `asked`, with what we remember. True if the memory changed.
    pub(super) fn take_stock(&mut self, state: &BackendState, asked: Instant, restarted: bool) -> bool {
        if std::mem::take(&mut self.lines_since_stock) || restarted || self.counted.is_none() {
            self.counted = Some(state.total_sessions);
        }
        if self.is_moving() || self.is_outdated(asked) {
            return false;
        }
        // READY, or gone: whoever puts it into MAINT after this did it without us.
        let before = self.ours.len();
        self.ours.retain(|&id| state.server(id).is_some_and(|server| server.state() != AdminState::Ready));
        self.ours.len() != before
    }

    /// What HAProxy was asked at `asked` may not show what the last plan did.
    fn is_outdated(&self, asked: Instant) -> bool {
        self.settled.is_some_and(|settled| asked < settled)
    }

    pub(super) fn record_restart(&mut self, id: BackendId, process: &Process) -> Record {
        self.counted = None;
        Record {
            backend: id,
            event: Event::Restarted(process.clone()),
            snapshot: None,
            serving: 0,
            next_move: Duration::ZERO,
        }
    }

    /// One evaluation: policy, plan, record. `asked` is when HAProxy was asked for `state`, if it answered lately.
    pub(super) fn evaluate(
        &mut self,
        id: BackendId,
        asked: Option<Instant>,
        state: Option<&BackendState>,
        names: &Names,
        now: Instant,
        actions: &mut VecDeque<Action>,
    ) {
        if asked.is_some_and(|asked| self.is_outdated(asked)) {
            return;
        }
        self.quarantine.forget_old(now);
        let snapshot = self.estimator.snapshot(now);
        let Some(state) = state else {
            let reason = if asked.is_some() { Reason::UnknownBackend } else { Reason::NoInventory };
            self.conclude(id, Decision::Hold(reason), None, snapshot, Fleet::default(), now, actions);
            return;
        };
        let may_tidy = self.tidy_from.is_none_or(|from| now >= from);
        if may_tidy && self.put_weights_back(state, actions) {
            return;
        }
        let fleet = self.fleet(state, names, now);
        let (next, decision) = threshold::step(self.state.clone(), now, &snapshot, &fleet, &self.settings);
        self.state = next;
        let decision = self.again.take().unwrap_or(decision);
        let refused =
            self.act(id, &decision, state, names, now, actions).err().map(|reason| reason.to_string());
        if may_tidy && matches!(decision, Decision::Hold(_)) && !self.is_moving() {
            self.tidy(state, names, actions);
        }
        self.conclude(id, decision, refused, snapshot, fleet, now, actions);
    }

    fn fleet(&self, state: &BackendState, names: &Names, now: Instant) -> Fleet {
        let passed_over = self.quarantine.servers(now);
        let mut fleet = ownership::fleet(state, &self.settings, &self.ours, &passed_over, names);
        let unseen = self.counted.map_or(0, |counted| state.total_sessions.saturating_sub(counted));
        let running = u64::from(state.sessions);
        fleet.unseen = unseen.saturating_sub(running + UNSEEN_MARGIN);
        fleet
    }

    /// Turns a decision into a plan, or calls off the plan that stands against it.
    fn act(
        &mut self,
        id: BackendId,
        decision: &Decision,
        state: &BackendState,
        names: &Names,
        now: Instant,
        actions: &mut VecDeque<Action>,
    ) -> Result<(), Reason> {
        if matches!(decision, Decision::Hold(_) | Decision::Reweigh { .. }) {
            return Ok(());
        }
        if let Some(moving) = &mut self.moving {
            if matches!(decision, Decision::ScaleUp { .. })
                && moving.plan.purpose != Purpose::Add
                && !moving.called_off
            {
                moving.called_off = true;
                actions.push_back(Action::CallOff(id, CallOff::TakeBack));
            }
            return Ok(());
        }
        let planned =
            planner::plan(decision, state, &self.settings, &self.ours, &self.quarantine.servers(now), names);
        match planned {
            Ok(plan) => {
                let direction = match decision {
                    Decision::ScaleDown { .. } => Direction::Down,
                    _ => Direction::Up,
                };
                self.state = std::mem::take(&mut self.state).acting(direction);
                self.begin(plan, Some(decision.clone()), actions);
                Ok(())
            }
            Err(reason) => {
                self.state = std::mem::take(&mut self.state).failed();
                Err(reason)
            }
        }
    }

    /// Remembers what the plan is about to do before it is done: a crash in between then finds
    /// servers in MAINT that are known to be ours, and weights that have to be put back.
    pub(super) fn begin(&mut self, plan: Plan, decision: Option<Decision>, actions: &mut VecDeque<Action>) {
        self.ours.extend(servers_of(&plan));
        self.borrowed = plan.after.iter().flat_map(weights_of).collect();
        self.moving = Some(Moving {
            plan: plan.clone(),
            decision,
            failed: 0,
            moved: 0,
            weights_failed: false,
            called_off: false,
        });
        actions.push_back(Action::Remember);
        actions.push_back(Action::Execute(plan));
    }

    /// Keeps the evaluation, and tells it if it is a move or holds for another reason than before.
    #[allow(clippy::too_many_arguments, reason = "the parts of one record, used in one place")]
    fn conclude(
        &mut self,
        id: BackendId,
        decision: Decision,
        refused: Option<String>,
        snapshot: Snapshot,
        fleet: Fleet,
        now: Instant,
        actions: &mut VecDeque<Action>,
    ) {
        let key = (decision.name(), decision.reason().key());
        if self.told.replace(key) != Some(key) {
            actions.push_back(record(Record {
                backend: id,
                event: Event::Decided { decision: decision.clone(), refused: refused.clone() },
                snapshot: Some(snapshot),
                serving: fleet.serving,
                next_move: self.cooldown(now),
            }));
        }
        self.latest = Some(Latest { decision, refused, fleet });
    }

    pub(super) fn cooldown(&self, now: Instant) -> Duration {
        self.state.cooldown_left(now).unwrap_or_default()
    }

    pub(super) fn handle_outcome(&mut self, outcome: &Outcome, now: Instant, actions: &mut VecDeque<Action>) {
        let Some(moving) = &mut self.moving else { return };
        match outcome {
            Outcome::StepDone { .. } | Outcome::RampGivenUp { .. } => {}
            Outcome::Moved { server, .. } => {
                moving.moved += 1;
                if moving.plan.purpose == Purpose::Add {
                    self.ours.remove(server);
                    self.quarantine.end(*server);
                }
            }
            Outcome::Failed { server: None, .. } => moving.weights_failed = true,
            Outcome::Failed { server: Some(server), .. } => {
                moving.failed += 1;
                if moving.plan.purpose == Purpose::Add {
                    self.quarantine.begin(*server, now);
                }
            }
            Outcome::Finished { called_off, .. } => {
                self.finish(*called_off, now);
                actions.push_back(Action::Remember);
            }
        }
        if !matches!(outcome, Outcome::StepDone { .. }) {
            actions.push_back(record(Record {
                backend: outcome.backend(),
                event: Event::Outcome(outcome.clone()),
                snapshot: None,
                serving: self.latest.as_ref().map_or(0, |latest| latest.fleet.serving),
                next_move: self.cooldown(now),
            }));
        }
    }

    /// The plan is over. HAProxy's yes begins the cooldown; a start that failed is tried with
    /// another server; a plan that was taken back leaves the way free for what turned it.
    fn finish(&mut self, called_off: bool, now: Instant) {
        let Some(moving) = self.moving.take() else { return };
        match moving.weights_failed {
            true => self.tidy_from = Some(now + TIDY_AGAIN),
            false => self.borrowed.clear(),
        }
        self.told = None;
        self.settled = Some(now);
        let policy = std::mem::take(&mut self.state);
        self.state = match (&moving.decision, moving.plan.purpose) {
            (None, _) => policy,
            (Some(_), _) if moving.moved == 0 => policy.failed(),
            (Some(_), Purpose::Remove) => policy.applied(now, Direction::Down, &self.settings),
            (Some(_), _) => policy.applied(now, Direction::Up, &self.settings),
        };
        // Not here: which servers are left, and with which weights, has to be read first.
        self.again = match moving.decision {
            Some(Decision::ScaleUp { reason, .. }) if moving.failed > 0 && !called_off => {
                Some(Decision::ScaleUp { by: moving.failed, reason })
            }
            _ => None,
        };
    }
}

fn weights_of(step: &Step) -> Vec<(ServerId, Weight)> {
    match step {
        Step::SetWeights(weights) => weights.clone(),
        _ => Vec::new(),
    }
}
