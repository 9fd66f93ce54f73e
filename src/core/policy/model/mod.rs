//! `policy: model`: as many servers as the load needs.
//!
//! In: [`LoadFigures`] and the [`Pool`]. Out: a [`Decision`], and the [`Evaluation`] it came from. The
//! load in busy workers is arrivals times service time; what a server may carry of it follows from
//! the target. Latency itself only guards: it says nothing below the knee and too much above it.
//!
//! ```text
//!  LoadFigures ─▶ saturation, capacity, guard ─▶ what a server carries ─┐
//!            └──▶ forecast ─────────────────────────────────────────────┴▶ need ─▶ more, at once
//!  Pool ─▶ watch                                           need ─▶ patience ────▶ fewer, half of them
//!     └──▶ weights: SLOW, FAILING, SHIFTED                                        each time, on trial
//! ```
//! Absent on purpose: a move that was decided is not remembered as done. What became of it is read
//! from the next pool, so a refused one is asked for again, and orders that are under way count.

use std::time::{Duration, Instant};

use super::decision::{Decision, Reason};
use super::pool::Pool;
use super::stabilizer::Stabilizer;
use crate::core::estimate::load::{LoadFigures, Service};
use crate::core::names::ServerId;
use crate::core::settings::{BackendSettings, Weights};

mod capacity;
mod effect;
mod evaluation;
mod forecast;
mod guard;
mod need;
mod patience;
#[cfg(test)]
mod properties;
mod rule;
mod saturation;
mod scene;
mod strength;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod watch;
mod weights;

use capacity::Promise;
use effect::Effect;
pub use evaluation::{Carried, Condition, Evaluation, Limit};
pub use forecast::{Forecast, Rise};
use guard::{Guard, Use};
use need::{Capacity, Need};
use patience::Patience;
use rule::Wish;
use saturation::Saturation;
use scene::Scene;
use strength::Strength;
use watch::Watch;
use weights::Weighing;

/// Before anything is learned, servers at their limit are given this share of it.
const OF_AN_UNKNOWN_LIMIT: f64 = 0.8;

/// What the policy remembers of one backend.
#[derive(Clone, Debug, Default)]
pub struct Model {
    watch: Watch,
    saturation: Saturation,
    guard: Guard,
    patience: Patience,
    weighing: Weighing,
    effect: Effect,
    /// HAProxy's counters show a queue that no line tells of.
    blind_queue: Stabilizer,
    /// When a server was last to be taken away.
    removed: Option<Instant>,
    /// What a request costs was known at the last evaluation.
    knows: bool,
    latest: Option<Evaluation>,
}

/// Servers' worth: of those that serve, and with those that soon will.
#[derive(Clone, Copy, Debug)]
struct Whole {
    serving: f64,
    have: f64,
}

impl Model {
    /// Decides at `now`; to be called about once a second. The same calls give the same decisions.
    ///
    /// A decision to move is a wish. It comes again until the pool shows what became of it: servers
    /// that are to serve as [`Starting`](super::pool::Stage::Starting) up to their full weight, those
    /// that are to go as [`Parked`](super::pool::Stage::Parked) until they are in MAINT.
    pub fn decide(
        &mut self,
        now: Instant,
        load: &LoadFigures,
        pool: &Pool,
        settings: &BackendSettings,
    ) -> Decision {
        self.watch.observe(pool, now);
        let scene = Scene::new(now, load, pool, settings);
        let limit =
            self.saturation.observe(load, self.full(&scene).serving, self.watch.serving_for(now), now);
        let service = load.service.map(|service| match settings.model.workers {
            Some(workers) => Service { workers, knee: true, ..service },
            None => service,
        });
        self.knows = service.is_some();
        let blind = scene.blind();
        if blind.is_none() {
            self.blind_queue.reset();
        }
        let (decision, evaluation) = match (service, blind) {
            (_, Some(reason)) => self.wait_for_lines(&scene, reason),
            (None, None) => self.learn(&scene, limit),
            (Some(service), None) => self.follow(&scene, service, limit),
        };
        self.latest = Some(evaluation);
        let decision = scene.outside_limits().unwrap_or(decision);
        match decision {
            Decision::ScaleUp { .. } => {
                let taken = self.watch.taken();
                self.patience.record_added(taken, &settings.model, load.lead, now);
            }
            Decision::ScaleDown { .. } => self.removed = Some(now),
            Decision::Hold(_) | Decision::Reweigh { .. } => {}
        }
        decision
    }

    /// The latest evaluation; `None` before the first.
    pub fn latest(&self) -> Option<&Evaluation> {
        self.latest.as_ref()
    }

    /// `server` is slower, or fails more, than its peers: what it shows says nothing about them.
    pub fn is_outlier(&self, server: ServerId) -> bool {
        self.weighing.is_outlier(server)
    }

    /// What a request costs is not known: [`decide`](Self::decide) then keeps the limits, adds
    /// servers to those that are at theirs, and leaves all else to another policy.
    pub fn is_learning(&self) -> bool {
        !self.knows
    }

    /// No line comes: nothing is moved but for what HAProxy's own counters show.
    fn wait_for_lines(&mut self, scene: &Scene<'_>, reason: Reason) -> (Decision, Evaluation) {
        self.patience.keep(scene.now);
        let before = self.latest.as_ref();
        let evaluation = Evaluation {
            condition: Condition::Blind,
            limits: vec![Limit::Blind],
            carried: before.and_then(|latest| latest.carried),
            ..self.bare(scene)
        };
        let queued = scene.pool.queued;
        if queued == 0 || scene.starting > 0 {
            self.blind_queue.reset();
            return (Decision::Hold(reason), evaluation);
        }
        let since = self.blind_queue.confirm(scene.now);
        let wished = scene.settings.scale_up;
        if since < wished.stabilization_window || scene.have() >= scene.max {
            return (Decision::Hold(reason), evaluation);
        }
        self.blind_queue.reset();
        let by = wished.step.min(scene.max - scene.have());
        (scene.up(by, Reason::BlindQueue { queued, since }), evaluation)
    }

    /// Nothing is known but that the servers are at their limit, if they are.
    fn learn(&mut self, scene: &Scene<'_>, limit: Option<f64>) -> (Decision, Evaluation) {
        let mut evaluation =
            Evaluation { condition: Condition::Learning, limits: vec![Limit::Learning], ..self.bare(scene) };
        let arrivals = scene.load.arrivals.last_3;
        let needed = limit.map_or(0.0, |limit| arrivals / (OF_AN_UNKNOWN_LIMIT * limit)).ceil() as u32;
        evaluation.want = scene.allowed(needed.max(scene.have()));
        if needed <= scene.have() {
            let watched = scene.load.watched;
            return (Decision::Hold(Reason::Learning { watched }), evaluation);
        }
        let (answered, serving) = (scene.load.throughput.last_4, scene.serving);
        let reason = Reason::Outrun { arrivals, answered, serving, needed };
        let decision = match evaluation.want.saturating_sub(scene.have()) {
            0 => Decision::Hold(Reason::AtMax { serving }),
            by => scene.up(by, reason),
        };
        (decision, evaluation)
    }

    /// The rule.
    fn follow(&mut self, scene: &Scene<'_>, service: Service, limit: Option<f64>) -> (Decision, Evaluation) {
        let (load, now) = (scene.load, scene.now);
        let promise = Promise::of(&scene.settings.target);
        let carried = self.carried(scene, service, limit, promise);
        let capacity = Capacity::new(
            service.time,
            carried.workers,
            carried.carries,
            limit,
            scene.settings.model.band,
            scene.slots(),
        );
        let forecast = match scene.settings.model.forecast {
            true => Forecast::of(&load.arrivals, load.lead),
            false => Forecast::default(),
        };
        let full = self.full(scene);
        let need = Need::of(load, &capacity, &forecast, full.have, scene.settings.model.backlog);
        let level = load.arrivals.last_15.max(load.arrivals.last_30);
        self.guard.observe(load, promise, self.used(scene, &full, level, &capacity, &need), now);
        let base = patience::base(&scene.settings.model, load.lead);
        // What servers were ordered for was needed, even if it was only expected: else a load whose rises come again
        // and again would lose servers after each.
        let kept = need.wish_for_fewer().max(need.wish()).min(scene.max.saturating_add(1));
        self.patience.observe(kept, level, level * service.time, base, now);
        self.weighing.observe(load, scene.pool, &carried, promise, scene.settings.outliers, now);
        if scene.settings.weights != Weights::ByCapacity {
            self.weighing.share_by_strength(load, scene.pool);
        }
        let strength = Strength::of(load, scene.pool, &self.weighing);
        let wants = need.without_credit().ceil() + strength.lost() > f64::from(scene.have()) + 0.5;
        self.effect.observe(load, service.time, scene.serving, wants, promise, now);
        let wish = Wish { capacity, carried, forecast, need, strength, base, level, promise };
        wish.decide(self, scene)
    }

    fn carried(&self, scene: &Scene<'_>, service: Service, limit: Option<f64>, promise: Promise) -> Carried {
        let workers = saturation::workers(scene.load, &service);
        let most = capacity::most(&service, scene.settings.model.utilization_max);
        let learned = Service { workers, ..service };
        let utilization = capacity::utilization(&learned, &scene.load.calm, promise, most);
        let (gamma, room) = (self.guard.gamma(), self.guard.room());
        Carried {
            service: service.time,
            workers,
            knee: service.knee,
            utilization,
            gamma,
            room,
            carries: utilization * workers * gamma / room,
            floor: scene.load.calm.floor,
            limit,
        }
    }

    /// What the servers would carry if each had its full weight, unless one is known to be smaller or larger than
    /// another: then what they do carry.
    fn full(&self, scene: &Scene<'_>) -> Whole {
        let unequal = !scene.load.unequal.is_empty();
        let strength = unequal.then(|| Strength::of(scene.load, scene.pool, &self.weighing));
        match strength.filter(|strength| !strength.is_equal()) {
            Some(strength) => Whole { serving: strength.serving(), have: strength.have() },
            None => Whole { serving: f64::from(scene.serving), have: f64::from(scene.have()) },
        }
    }

    fn used(&self, scene: &Scene<'_>, full: &Whole, level: f64, capacity: &Capacity, need: &Need) -> Use {
        let can_add =
            scene.have() < scene.most() && scene.parked + scene.spare > 0 && self.effect.reason().is_none();
        let each = level * capacity.service / if full.serving > 0.0 { full.serving } else { 1.0 };
        Use {
            of_workers: each / capacity.workers,
            of_limit: each / capacity.carries,
            unchanged_for: self.watch.unchanged_for(scene.now),
            lacking: f64::from(need.wish()) > full.have && !can_add,
        }
    }

    /// An evaluation that knows nothing of what a request costs.
    fn bare(&self, scene: &Scene<'_>) -> Evaluation {
        let base = patience::base(&scene.settings.model, scene.load.lead);
        Evaluation {
            condition: Condition::Learning,
            arrivals: scene.load.arrivals.last_15.max(scene.load.arrivals.last_30),
            backlog: scene.load.backlog,
            carried: None,
            forecast: Forecast::default(),
            need_fast: 0.0,
            need_slow: 0.0,
            need_in: 0.0,
            want: scene.allowed(scene.have()),
            want_in: None,
            serving: scene.serving,
            starting: scene.starting,
            parked: scene.parked,
            lost: Strength::of(scene.load, scene.pool, &self.weighing).lost(),
            unequal: strength::unequal(scene.load, scene.pool),
            hold: self.patience.hold(base),
            limits: Vec::new(),
            may_add_in: Duration::ZERO,
            may_remove_in: self.patience.hold(base),
        }
    }
}
