//! One backend: its estimates, the policy's state, the plan under way, whose servers are whose.

use std::collections::HashSet;
use std::sync::Arc;

use super::checks::Checks;
use super::doubt::counters;
use super::forgotten::Forgotten;
use super::growing::Growing;
use super::hands_off::HandsOff;
use super::latency_weights::LatencyWeights;
use super::limits::Limits;
use super::lingering::Lingering;
use super::mind::{Looks, Mind};
use super::moves::Moving;
use super::newcomers::Newcomers;
use super::outliers::Outliers;
use super::overrides::{Order, Override};
use super::quarantine::Quarantine;
use super::replacements::Replacements;
use super::supply::Store;
use super::temporary::TemporaryWeights;
use super::*;
use crate::core::estimate::coverage::{Coverage, Told};
use crate::core::estimate::estimator::{Estimator, Recorded};
use crate::core::log::sample::Class;
use crate::core::plan::inventory::{AdminState, BackendState};
use crate::core::plan::ownership::{self, Claims};
use crate::core::plan::shares::Shares;
use crate::core::plan::step::Found;
use crate::core::policy::decision::Reason;
use crate::core::policy::fleet::Fleet;
use crate::core::units::Weight;

#[derive(Debug)]
pub(super) struct Backend {
    pub(super) settings: Arc<BackendSettings>,
    pub(super) estimator: Estimator,
    pub(super) mind: Mind,
    pub(super) coverage: Coverage,
    /// Why the log cannot be gone by.
    pub(super) doubt: Option<Reason>,
    /// Ours: in MAINT or DRAIN by this agent's doing, or about to be.
    pub(super) claims: Claims,
    pub(super) hands_off: HandsOff,
    pub(super) checks: Checks,
    pub(super) quarantine: Quarantine<ServerId>,
    /// What its pool offers, and where that was put.
    pub(super) store: Store,
    /// Slots that it is to get.
    pub(super) growing: Growing,
    /// The latest reading, for plans that are made from it.
    pub(super) found: Option<Found>,
    /// HAProxy's socket changes nothing.
    pub(super) read_only: bool,
    pub(super) moving: Option<Moving>,
    pub(super) lingering: Lingering,
    pub(super) newcomers: Newcomers,
    /// Servers that HAProxy's own `slowstart` was seen to let into their share.
    pub(super) slowstarts: HashSet<ServerId>,
    pub(super) latency_weights: LatencyWeights,
    pub(super) outliers: Outliers,
    pub(super) replacements: Replacements,
    /// Weights a ramp has to put back.
    pub(super) borrowed: Vec<(ServerId, Weight)>,
    /// Weights that a restart of HAProxy may bring back.
    pub(super) temporary: TemporaryWeights,
    /// Weights that are less for a while.
    pub(super) shares: Option<Shares>,
    /// When the last plan was over: a reading of HAProxy from before may not show what it did.
    pub(super) settled: Option<Instant>,
    /// How it was before HAProxy was restarted.
    pub(super) forgotten: Option<Forgotten>,
    /// What a plan failed to bring about, to be tried with other servers.
    pub(super) again: Option<Decision>,
    /// Weights were refused: they are not tried again before this.
    pub(super) tidy_from: Option<Instant>,
    /// HAProxy's own count of sessions when a line last arrived.
    counted: Option<u64>,
    lines_since_stock: bool,
    pub(super) limits: Limits,
    pub(super) overridden: Option<Override>,
    /// What the policy would do, where an operator overrules it.
    pub(super) wish: Option<Decision>,
    pub(super) told: Option<(&'static str, &'static str)>,
    pub(super) latest: Option<Latest>,
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
            mind: Mind::new(&settings, now),
            limits: Limits::new(settings.ready),
            overridden: None,
            wish: None,
            coverage: Coverage::new(settings.log, settings.window.length),
            doubt: None,
            settings: Arc::new(settings),
            claims: Claims::default(),
            hands_off: HandsOff::default(),
            checks: Checks::default(),
            quarantine: Quarantine::default(),
            store: Store::default(),
            growing: Growing::default(),
            found: None,
            read_only: false,
            moving: None,
            lingering: Lingering::default(),
            newcomers: Newcomers::default(),
            slowstarts: HashSet::new(),
            latency_weights: LatencyWeights::default(),
            outliers: Outliers::default(),
            replacements: Replacements::default(),
            borrowed: Vec::new(),
            temporary: TemporaryWeights::default(),
            shares: None,
            settled: None,
            forgotten: None,
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
        self.mind.reconfigure(&self.settings, &settings, now);
        let same = (settings.target, settings.window, settings.band)
            == (self.settings.target, self.settings.window, self.settings.band);
        if !same {
            self.estimator = Estimator::new(settings.target, settings.window, now);
        }
        self.limits = Limits::new(settings.ready);
        if (settings.log, settings.window) != (self.settings.log, self.settings.window) {
            self.coverage = Coverage::new(settings.log, settings.window.length);
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
        self.claims.ours = memory.ours.iter().filter_map(server).collect();
        self.claims.starting = memory.starting.iter().filter_map(server).collect();
        self.store.recall(&memory.placed, id, names);
        self.temporary.recall(&memory.temporary, id, names);
        self.replacements.recall(&memory.replaced, id, names, now);
        self.borrowed =
            memory.weights.iter().filter_map(|(name, &weight)| Some((server(name)?, weight))).collect();
        self.claims.weights_owed = !self.borrowed.is_empty();
        let left_alone = memory.left_alone.iter().filter_map(|(name, &left)| Some((server(name)?, left)));
        let left_alone: Vec<_> = left_alone.collect();
        self.recall_known(memory, id, names);
        self.recall_hands_off(left_alone.into_iter(), now);
        if let Some((direction, left)) = memory.cooldown {
            self.mind.recall(direction, now + left);
        }
        self.overridden = memory.overridden.as_ref().map(|kept| Override::recall(kept, now));
    }

    /// The estimate at `now`.
    pub(super) fn snapshot(&mut self, now: Instant) -> Snapshot {
        self.estimator.snapshot(now).of_sample(self.settings.log.sample_rate)
    }

    /// True if the sample is in the window now.
    pub(super) fn record(&mut self, sample: &Sample, now: Instant) -> bool {
        self.lines_since_stock = true;
        self.mind.record(sample, now);
        let told = if sample.class == Class::Success { Told::Success } else { Told::Other };
        self.coverage.count(told, sample.end);
        self.estimator.record(sample, now) == Recorded::InWindow
    }

    /// HAProxy's counters are others than before: it was restarted, or one of several has come or gone.
    pub(super) fn count_anew(&mut self) {
        self.counted = None;
        self.coverage.restart();
        self.hands_off.restart();
        // Its configuration may be another one.
        self.slowstarts.clear();
        self.replacements.restart();
    }

    /// Compares what HAProxy has, asked at `asked`, with what we remember. True if the memory changed. If
    /// not all HAProxys have answered (`pids`), the log may tell of requests that nobody has counted.
    pub(super) fn take_stock(
        &mut self,
        id: BackendId,
        state: &BackendState,
        pids: &Arc<[Option<u32>]>,
        asked: Instant,
        actions: &mut VecDeque<Action>,
    ) -> bool {
        let weights = state.servers.iter().map(|server| (server.id, server.weight)).collect();
        self.found = Some(Found { pids: pids.clone(), weights });
        self.coverage.count_all(!pids.contains(&None));
        self.coverage.take_stock(counters(state), asked);
        let slowstarts = state.servers.iter().filter(|server| server.slowstart);
        self.slowstarts.extend(slowstarts.map(|server| server.id));
        if std::mem::take(&mut self.lines_since_stock) || self.counted.is_none() {
            self.counted = Some(state.total_sessions);
        }
        if self.is_outdated(asked) {
            return false;
        }
        self.look_at_checks(id, state, asked, actions);
        let others = self.look_for_other_hands(id, state, asked, actions);
        if self.is_moving() {
            return others;
        }
        let has_moved = self.store.take_stock(state, self.settings.spares);
        let had_shares = self.shares.is_some();
        let are_back = self.look_for_temporary_weights(id, state, asked, actions);
        self.shares = self.shares.take().and_then(|shares| shares.found_in(state));
        // READY, or gone: whoever puts it into MAINT after this did it without us.
        let before = self.claims.ours.len();
        self.claims
            .ours
            .retain(|&id| state.server(id).is_some_and(|server| server.state() != AdminState::Ready));
        let begun = self.claims.starting.len();
        let is_between =
            |id: &ServerId| state.server(*id).is_some_and(|server| server.state() == AdminState::Drain);
        self.claims.starting.retain(is_between);
        let ended = self.claims.starting.len() != begun;
        ended
            || others
            || has_moved
            || are_back
            || self.claims.ours.len() != before
            || had_shares != self.shares.is_some()
    }

    /// What HAProxy was asked at `asked` may not show what the last plan did.
    fn is_outdated(&self, asked: Instant) -> bool {
        self.settled.is_some_and(|settled| asked < settled)
    }

    /// HAProxy is another process than the one that showed `before`.
    pub(super) fn record_restart(
        &mut self,
        id: BackendId,
        process: &Process,
        before: Option<&BackendState>,
    ) -> Record {
        // After two in a row it is still how it was before the first.
        let before = before.filter(|_| self.forgotten.is_none());
        self.forgotten =
            before.map(|before| Forgotten::of(before, &self.claims.ours)).or(self.forgotten.take());
        Record {
            backend: id,
            event: Event::Restarted(process.clone()),
            snapshot: None,
            serving: 0,
            next_move: Some(Duration::ZERO),
        }
    }

    /// One evaluation: policy, plan, record. By what was `found`, and when it was asked for; or there is nothing to go by.
    pub(super) fn evaluate(
        &mut self,
        id: BackendId,
        found: Result<(Instant, &BackendState), Reason>,
        names: &Names,
        now: Instant,
        actions: &mut VecDeque<Action>,
    ) {
        if found.as_ref().is_ok_and(|&(asked, _)| self.is_outdated(asked)) {
            return;
        }
        self.quarantine.forget_old(now);
        self.store.forget_old(now);
        let snapshot = self.snapshot(now);
        let (asked, state) = match found {
            Ok(found) => found,
            Err(reason) => {
                let fleet = self.last_fleet(&reason);
                self.conclude(id, Decision::Hold(reason), None, snapshot, fleet, now, actions);
                return;
            }
        };
        let may_tidy = !self.is_paused() && !self.read_only && self.tidy_from.is_none_or(|from| now >= from);
        if may_tidy && self.put_weights_back(state, now, actions) {
            return;
        }
        let supplied = self.supplied(state, names, now);
        let state = &supplied.state;
        self.note_lingering(state, now);
        if may_tidy && self.bring_back_placed(state, names, now, actions) {
            return;
        }
        self.watch_newcomers(id, state, names, now, actions);
        let fleet = self.fleet(state, names, now);
        let pool = self.pool(state, &fleet, names, now);
        let (seen, trusted) = self.trusted(&snapshot, fleet);
        let looks = Looks { snapshot: &seen, fleet: &trusted, pool: &pool, in_doubt: self.doubt.is_some() };
        let decision = self.mind.decide(now, &looks, &self.settings);
        let decision = self.again.take().unwrap_or(decision);
        let decision = self.bring_back(decision, state, names, now);
        let decision = self.with_replacements(decision, asked, state, &fleet, names, now);
        self.compare_latencies(state, now);
        let decision = self.without_outliers(decision, state, &fleet, names, now);
        let decision = self.explained(decision);
        let decision = self.overrule(decision, state, &fleet, now);
        self.ask_for_slots(&decision, &supplied, &fleet, names);
        let decision = self.place_explained(decision, &supplied, names);
        let refused = match self.act(id, &decision, state, names, now, actions) {
            Ok(begun) => {
                // A move is told each time it is made, a reason to hold only once.
                self.told = self.told.filter(|_| !begun);
                None
            }
            Err(reason) => Some(self.for_want_of_place(reason, &supplied, names).to_string()),
        };
        self.look_at_vacancies(id, state, &fleet, names, now, actions);
        let is_idle = matches!(decision, Decision::Hold(_)) || refused.is_some();
        if may_tidy && is_idle && !self.is_moving() {
            self.tidy(state, names, now, actions);
        }
        self.conclude(id, decision, refused, snapshot, fleet, now, actions);
    }

    /// As it was, while nobody knows better; but one that does not answer has none.
    fn last_fleet(&self, reason: &Reason) -> Fleet {
        let last = self.latest.as_ref().filter(|_| matches!(reason, Reason::NoneInLine { .. }));
        last.map_or_else(Fleet::default, |latest| latest.fleet)
    }

    pub(super) fn fleet(&self, state: &BackendState, names: &Names, now: Instant) -> Fleet {
        let passed_over = self.quarantine.all(now);
        let mut fleet = ownership::fleet(state, &self.settings, &self.claims, &passed_over, names);
        let unseen = self.counted.map_or(0, |counted| state.total_sessions.saturating_sub(counted));
        let running = u64::from(state.sessions);
        let unlogged = unseen.saturating_sub(running) as f64;
        fleet.unseen = (unlogged * self.settings.log.sample_rate.value()) as u64;
        fleet
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
                next_move: self.next_move(now),
            }));
        }
        self.latest = Some(Latest { decision, refused, fleet });
    }

    pub(super) fn cooldown(&self, now: Instant) -> Duration {
        self.mind.cooldown(now)
    }

    /// From when on a move is possible, as far as anybody can say; `None`: not before somebody ends a pause.
    pub(super) fn next_move(&self, now: Instant) -> Option<Duration> {
        let cooldown = self.cooldown(now);
        match &self.overridden {
            Some(wanted) if wanted.order == Order::Pause => wanted.left(now).map(|left| left.max(cooldown)),
            _ => Some(cooldown),
        }
    }
}
