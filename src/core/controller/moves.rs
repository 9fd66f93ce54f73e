//! From decisions to plans, and what becomes of them.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use super::backend::Backend;
use super::temporary::weights_of;
use super::{Action, Event, Record, record};
use crate::core::names::{BackendId, Names, ServerId};
use crate::core::plan::inventory::{AdminState, BackendState, ServerState};
use crate::core::plan::outcome::{Changes, KeptBy, Outcome, Ramp};
use crate::core::plan::step::{Found, Lane, Plan, Purpose, Step};
use crate::core::plan::{planner, shares};
use crate::core::policy::decision::{Decision, Reason};
use crate::core::policy::state::Direction;
use crate::core::settings::Policy;

/// How long weights that could not be set are left alone: a hash algorithm, perhaps, that takes none.
const TIDY_AGAIN: Duration = Duration::from_secs(300);

/// The plan under way.
#[derive(Debug)]
pub(super) struct Moving {
    pub(super) plan: Plan,
    /// What it was made for; `None`: it only tidies up.
    decision: Option<Decision>,
    /// What was changed about it since.
    pub(super) changes: Changes,
    /// Servers that got to the end of their lanes, and those that did not.
    moved: HashSet<ServerId>,
    failed: HashSet<ServerId>,
    /// Servers that nothing was done about, as HAProxy was restarted.
    outdated: HashSet<ServerId>,
    /// What keeps clients on servers in DRAIN.
    kept: HashMap<ServerId, KeptBy>,
    /// Weights could not be set, or not be put right.
    weights_failed: bool,
    /// So many steps of a server's lane are done, since when.
    steps: HashMap<ServerId, (usize, Instant)>,
    begun: Instant,
}

impl Moving {
    fn new(plan: Plan, decision: Option<Decision>, now: Instant) -> Self {
        Self {
            plan,
            decision,
            changes: Changes::default(),
            moved: HashSet::new(),
            failed: HashSet::new(),
            outdated: HashSet::new(),
            kept: HashMap::new(),
            weights_failed: false,
            steps: HashMap::new(),
            begun: now,
        }
    }

    fn lane(&self, server: ServerId) -> Option<&Lane> {
        self.plan.lanes.iter().chain(&self.changes.added).find(|lane| lane.server == server)
    }

    fn note_done(&mut self, step: &Step, now: Instant) {
        let Some(server) = step.server() else { return };
        let done = self.steps.get(&server).map_or(0, |&(done, _)| done);
        let left = self.lane(server).and_then(|lane| lane.steps.get(done..)).unwrap_or_default();
        if let Some(at) = left.iter().position(|left| left == step) {
            self.steps.insert(server, (done + at + 1, now));
        }
    }

    /// It served when the plan began, and nothing has come of its lane.
    fn has_not_begun_with(&self, server: ServerId) -> bool {
        let served = self.lane(server).is_some_and(|lane| lane.from == AdminState::Ready);
        served && !self.steps.contains_key(&server)
    }

    /// The step that `server` is at, if it is on its way, and for how long already.
    pub(super) fn step(&self, server: ServerId, now: Instant) -> Option<(Step, Duration)> {
        let lane = self.lane(server).filter(|_| self.under_way().any(|id| id == server))?;
        let &(done, since) = self.steps.get(&server).unwrap_or(&(0, self.begun));
        Some((lane.steps.get(done)?.clone(), now.saturating_duration_since(since)))
    }

    /// The lanes of newcomers that are not like the others.
    pub(super) fn turned_away(&self) -> impl Iterator<Item = &Lane> {
        let turned = self.changes.ramps.iter().filter(|(_, ramp)| matches!(ramp, Ramp::TurnedAway(_)));
        turned.filter_map(|(server, _)| self.lane(*server))
    }

    /// The servers that it is about.
    pub(super) fn servers(&self) -> impl DoubleEndedIterator<Item = ServerId> {
        self.plan.lanes.iter().chain(&self.changes.added).map(|lane| lane.server)
    }

    /// Those of them on their way, in the order in which they were chosen.
    pub(super) fn under_way(&self) -> impl DoubleEndedIterator<Item = ServerId> {
        self.servers().filter(|server| {
            let is_turned_round = self.changes.taken_back.contains(server) || self.outdated.contains(server);
            !is_turned_round && !self.moved.contains(server) && !self.failed.contains(server)
        })
    }

    /// What keeps clients on `server` in DRAIN.
    pub(super) fn kept(&self, server: ServerId) -> Option<KeptBy> {
        let is_under_way = self.under_way().any(|each| each == server);
        self.kept.get(&server).filter(|_| is_under_way).cloned()
    }

    /// No step of it leaves fewer serving.
    fn least_serving(&self) -> u32 {
        self.changes.least_serving.unwrap_or(self.plan.least_serving)
    }

    /// It makes servers serve beside those that did, and not for some that are gone.
    fn adds_one_more(&self) -> bool {
        match &self.decision {
            Some(Decision::ScaleUp { reason, .. }) => {
                !matches!(reason, Reason::Down(_) | Reason::Forgotten { .. })
            }
            _ => false,
        }
    }

    pub(super) fn sets_weights(&self) -> bool {
        !self.plan.before.is_empty() || !self.plan.after.is_empty()
    }
}

impl Backend {
    /// Turns a decision into a plan, or into a change of the plan under way. True if anything was begun.
    pub(super) fn act(
        &mut self,
        id: BackendId,
        decision: &Decision,
        state: &BackendState,
        names: &Names,
        now: Instant,
        actions: &mut VecDeque<Action>,
    ) -> Result<bool, Reason> {
        let direction = match decision {
            Decision::Hold(_) => return Ok(false),
            _ if self.read_only => {
                self.mind.failed();
                return Err(Reason::ReadOnly);
            }
            Decision::Reweigh { shares, .. } => {
                return Ok(self.share_out(shares, state, names, now, actions));
            }
            Decision::ScaleUp { .. } => Direction::Up,
            Decision::ScaleDown { .. } => Direction::Down,
        };
        match self.moving.as_ref().map(|moving| (moving.plan.purpose, direction)) {
            None => {}
            Some((Purpose::Remove, Direction::Up)) => {
                return Ok(self.take_back(decision, state, now, actions));
            }
            Some((Purpose::Add, Direction::Up) | (Purpose::Remove, Direction::Down)) => {
                return self.widen(id, decision, state, names, now, actions);
            }
            Some((Purpose::Add | Purpose::ShutDown | Purpose::Reweigh, _)) => return Ok(false),
        }
        match planner::plan(decision, state, &self.settings, &self.claims, &self.quarantine.all(now), names) {
            Ok(plan) => {
                self.mind.acting(direction);
                self.begin(plan, Some(decision.clone()), now, actions);
                Ok(true)
            }
            Err(reason) => {
                self.mind.failed();
                Err(reason)
            }
        }
    }

    /// The load came back: servers that are being taken away go on serving, those that are missed
    /// the most first, unless their addresses have left the pool. True if there were any.
    fn take_back(
        &mut self,
        decision: &Decision,
        state: &BackendState,
        now: Instant,
        actions: &mut VecDeque<Action>,
    ) -> bool {
        let is_exact = self.settings.policy == Policy::Model || self.overridden.is_some();
        let wanted = match decision {
            Decision::ScaleUp { by, .. } if is_exact => *by as usize,
            _ => usize::MAX,
        };
        let Some(moving) = &mut self.moving else { return false };
        // What has left the pool would have to go again.
        let is_retired = |server: &ServerId| state.server(*server).is_some_and(ServerState::is_retired);
        let back = moving.under_way().rev().filter(|server| !is_retired(server));
        let back: Vec<ServerId> = back.take(wanted).collect();
        if back.is_empty() {
            return false;
        }
        self.replacements.ordered(back.iter().copied(), now);
        moving.changes.taken_back.extend(back);
        actions.push_back(Action::Change(state.id, moving.changes.clone()));
        true
    }

    /// More servers for the plan under way. One with ramps is left to its end: their weights
    /// belong together.
    fn widen(
        &mut self,
        id: BackendId,
        decision: &Decision,
        state: &BackendState,
        names: &Names,
        now: Instant,
        actions: &mut VecDeque<Action>,
    ) -> Result<bool, Reason> {
        // One that was begun on a HAProxy that has been restarted since goes to its end first.
        let may = |moving: &&Moving| !moving.sets_weights() && self.is_same_process(&moving.plan);
        let Some(moving) = self.moving.as_ref().filter(may) else { return Ok(false) };
        let under_way: HashSet<ServerId> = moving.under_way().collect();
        let decision = self.beyond(&under_way, decision, state)?;
        let taken: HashSet<ServerId> = moving.servers().collect();
        let others = state.servers.iter().filter(|server| !taken.contains(&server.id)).cloned().collect();
        let rest = BackendState { servers: others, ..state.clone() };
        let quarantined = self.quarantine.all(now);
        let more = planner::plan(&decision, &rest, &self.settings, &self.claims, &quarantined, names)?;
        if !more.before.is_empty() || !more.after.is_empty() {
            return Ok(false);
        }
        self.remember_lanes(&more.lanes, more.purpose, now);
        self.expect_changes(more.lanes.iter(), std::iter::empty());
        let Some(moving) = &mut self.moving else { return Ok(false) };
        moving.changes.added.extend(more.lanes);
        actions.push_back(Action::Remember);
        actions.push_back(Action::Change(id, moving.changes.clone()));
        Ok(true)
    }

    fn is_same_process(&self, plan: &Plan) -> bool {
        let pids = |found: &Option<Found>| found.as_ref().map(|found| found.pids.clone());
        pids(&plan.found) == pids(&self.found)
    }

    /// `decision` within the limits that are left by the servers `under_way`.
    fn beyond(
        &self,
        under_way: &HashSet<ServerId>,
        decision: &Decision,
        state: &BackendState,
    ) -> Result<Decision, Reason> {
        let still = |server: &&crate::core::plan::inventory::ServerState| under_way.contains(&server.id);
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let serving = count(state.serving().count());
        let not_yet = count(under_way.len()).saturating_sub(count(state.serving().filter(still).count()));
        let (reason, room) = match decision {
            Decision::ScaleUp { .. } => {
                let max = self.settings.ready.max.unwrap_or(u32::MAX);
                (Reason::AtMax { serving }, max.saturating_sub(serving).saturating_sub(not_yet))
            }
            _ => {
                let left = count(state.serving_by_themselves().filter(|server| !still(server)).count());
                (Reason::AtMin { serving: left }, left.saturating_sub(self.settings.ready.min))
            }
        };
        match decision.clone() {
            _ if room == 0 => Err(reason),
            Decision::ScaleUp { by, reason } => Ok(Decision::ScaleUp { by: by.min(room), reason }),
            Decision::ScaleDown { by, prefer, reason } => {
                Ok(Decision::ScaleDown { by: by.min(room), prefer, reason })
            }
            other => Ok(other),
        }
    }

    /// The plan under way goes by the limits of the moment.
    pub(super) fn tell_limits(&mut self, id: BackendId, actions: &mut VecDeque<Action>) {
        let least = self.settings.ready.min;
        let Some(moving) = &mut self.moving else { return };
        if moving.least_serving() != least && !moving.plan.lanes.is_empty() {
            moving.changes.least_serving = Some(least);
            actions.push_back(Action::Change(id, moving.changes.clone()));
        }
    }

    /// Gives each of these servers its share of its full weight, above 0, at most 1, and the others
    /// theirs in full. True if that takes a plan, and none is under way.
    pub(super) fn share_out(
        &mut self,
        wanted: &[(ServerId, f64)],
        state: &BackendState,
        names: &Names,
        now: Instant,
        actions: &mut VecDeque<Action>,
    ) -> bool {
        let is_held = self.shares.is_none() && self.claims.hold_shares(state);
        let is_free = self.moving.is_none() && !self.is_paused() && !is_held;
        let may = is_free && self.tidy_from.is_none_or(|from| now >= from);
        // Whoever has weighed a server while others get less wants it so.
        let wanted = wanted.iter().filter(|(server, _)| !self.claims.left_alone.contains(server));
        let wanted: Vec<(ServerId, f64)> = wanted.copied().collect();
        let planned = shares::share_out(&wanted, self.shares.as_ref(), state, &self.settings, names);
        let Some((plan, shares)) = planned.filter(|_| may) else { return false };
        // Until they are back, what is to be put back is remembered.
        self.shares = shares.or(self.shares.take());
        self.begin(plan, None, now, actions);
        true
    }

    /// Puts weights right that are less for a while: the agent stops. True if a plan for it has begun.
    pub(super) fn restore_weights(
        &mut self,
        state: &BackendState,
        now: Instant,
        actions: &mut VecDeque<Action>,
    ) -> bool {
        let restoring = self.shares.as_ref().and_then(|shares| shares.restoring(state, &self.settings));
        let Some(plan) = restoring.filter(|_| self.moving.is_none()) else { return false };
        // The latest reading may be from before they were set.
        if let Some(found) = &mut self.found {
            found.weights.clear();
        }
        self.begin(plan, None, now, actions);
        true
    }

    /// Remembers what the plan is about to do before it is done: a crash in between then finds
    /// servers in MAINT that are known to be ours, and weights that have to be put back.
    pub(super) fn begin(
        &mut self,
        mut plan: Plan,
        decision: Option<Decision>,
        now: Instant,
        actions: &mut VecDeque<Action>,
    ) {
        plan.found = plan.found.or_else(|| self.found.clone());
        self.remember_lanes(&plan.lanes, plan.purpose, now);
        self.expect_changes(plan.lanes.iter(), plan.before.iter().chain(&plan.after));
        self.owe(weights_of(&plan.after));
        self.note_weights(&plan);
        self.moving = Some(Moving::new(plan.clone(), decision, now));
        actions.push_back(Action::Remember);
        actions.push_back(Action::Execute(plan));
    }

    fn remember_lanes(&mut self, lanes: &[Lane], purpose: Purpose, now: Instant) {
        self.claims.ours.extend(lanes.iter().map(|lane| lane.server));
        self.store.remember(lanes);
        if purpose == Purpose::Add {
            let begun = lanes.iter().filter(|lane| lane.from == AdminState::Maint).map(|lane| lane.server);
            self.claims.starting.extend(begun);
            self.mind.ordered(lanes.iter().map(|lane| lane.server), now);
            self.replacements.ordered(lanes.iter().map(|lane| lane.server), now);
        }
    }

    pub(super) fn handle_outcome(&mut self, outcome: &Outcome, now: Instant, actions: &mut VecDeque<Action>) {
        let Some(moving) = &mut self.moving else { return };
        match outcome {
            Outcome::StepDone { step, .. } => {
                moving.note_done(step, now);
                if let Step::SetWeights(weights) = step {
                    self.hands_off.weighed(weights);
                }
            }
            Outcome::RampGivenUp { .. } => {}
            Outcome::Outdated { server, .. } => {
                server.iter().for_each(|&server| self.hands_off.left_as_it_was(server));
                moving.outdated.extend(server);
            }
            Outcome::Dropped { server, purpose, .. } => {
                // One that was to go has gone.
                let servers = match purpose {
                    Purpose::Remove => &mut moving.moved,
                    _ => &mut moving.outdated,
                };
                servers.insert(*server);
                self.claims.ours.remove(server);
                self.claims.starting.remove(server);
            }
            Outcome::Kept { server, by: Some(by), .. } => {
                moving.kept.insert(*server, by.clone());
            }
            Outcome::Kept { server, .. } => drop(moving.kept.remove(server)),
            Outcome::LeftBehind { .. } => self.store.note_left_behind(now),
            Outcome::Moved { server, .. } => {
                moving.moved.insert(*server);
                let is_added = moving.plan.purpose == Purpose::Add;
                let state = if is_added { AdminState::Ready } else { AdminState::Maint };
                self.hands_off.arrived(*server, state);
                if let Some(Reason::Outlier { .. }) = moving.decision.as_ref().map(Decision::reason) {
                    let lasts = self.outliers.drained(*server, now);
                    self.quarantine.begin_for(*server, lasts, now);
                }
                self.store.note_moved(*server, moving.plan.purpose);
                if moving.plan.purpose == Purpose::Remove {
                    self.replacements.taken_away(*server);
                    self.outliers.taken_away(*server);
                }
                if moving.adds_one_more() {
                    self.outliers.relieve();
                }
                if moving.plan.purpose == Purpose::Add {
                    self.claims.ours.remove(server);
                    self.claims.starting.remove(server);
                    self.quarantine.end(*server);
                }
            }
            Outcome::Failed { server: None, .. } => moving.weights_failed = true,
            Outcome::Failed { server: Some(server), by_other, .. } => {
                moving.failed.insert(*server);
                if *by_other {
                    // Out of service it is by somebody else alone.
                    if moving.has_not_begun_with(*server) {
                        self.claims.ours.remove(server);
                    }
                    self.leave_alone(outcome.backend(), *server, None, now, actions);
                } else if moving.plan.purpose != Purpose::Add {
                    self.store.note_left_behind(now);
                } else if !self.store.note_failed(*server, now) {
                    self.quarantine.begin(*server, now);
                }
            }
            Outcome::Finished { called_off, .. } => self.finish(*called_off, now),
        }
        if !matches!(outcome, Outcome::StepDone { .. }) {
            actions.push_back(record(Record {
                backend: outcome.backend(),
                event: Event::Outcome(outcome.clone()),
                snapshot: None,
                serving: self.latest.as_ref().map_or(0, |latest| latest.fleet.serving),
                next_move: self.next_move(now),
            }));
        }
    }

    /// The plan is over. HAProxy's yes begins the cooldown; a start that failed is tried with
    /// another server; a plan that was taken back leaves the way free for what turned it.
    fn finish(&mut self, called_off: bool, now: Instant) {
        let Some(moving) = self.moving.take() else { return };
        if moving.weights_failed {
            self.tidy_from = Some(now + TIDY_AGAIN);
            // Some of them may have been set: what to put back is known, and tried again.
            if let Some(shares) = self.shares.take_if(|_| moving.plan.purpose == Purpose::Reweigh) {
                self.borrowed = shares.base().to_vec();
            }
        } else {
            self.repay(&moving.plan);
            // They are back. Whoever looked at the weights alone could take one that is as it was for one that is less.
            let is_restored = moving.plan.purpose == Purpose::Reweigh;
            self.shares.take_if(|shares| is_restored && weights_of(&moving.plan.before) == shares.base());
        }
        if moving.plan.purpose == Purpose::Add {
            let not_there = moving.servers().filter(|server| !moving.moved.contains(server));
            not_there.for_each(|server| self.replacements.failed(server));
        }
        self.claims.weights_owed = !self.borrowed.is_empty();
        self.told = None;
        self.settled = Some(now);
        match (&moving.decision, moving.plan.purpose) {
            (None, _) => {}
            (Some(_), _) if moving.moved.is_empty() => self.mind.failed(),
            // It answers no demand: there is nothing to wait for.
            (Some(Decision::ScaleUp { reason: Reason::Down(_) | Reason::StandIn { .. }, .. }), _) => {
                self.mind.failed();
            }
            (Some(_), Purpose::Remove) => self.mind.applied(now, Direction::Down, &self.settings),
            (Some(_), _) => self.mind.applied(now, Direction::Up, &self.settings),
        }
        // Not here: which servers are left, and with which weights, has to be read first.
        let failed = u32::try_from(moving.failed.len()).unwrap_or(u32::MAX);
        self.again = match moving.decision {
            // A pin, if there still is one, a server that is still DOWN, and an outlier ask again by themselves.
            Some(Decision::ScaleUp {
                reason: Reason::Ordered(_) | Reason::Down(_) | Reason::StandIn { .. },
                ..
            }) => None,
            Some(Decision::ScaleUp { reason, .. }) if failed > 0 && !called_off => {
                Some(Decision::ScaleUp { by: failed, reason })
            }
            _ => None,
        };
    }
}
