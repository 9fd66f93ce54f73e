//! More servers at once, fewer in halves: the rule itself.

use std::time::Duration;

use super::Model;
use super::capacity::Promise;
use super::evaluation::{Carried, Condition, Evaluation, Limit};
use super::forecast::Forecast;
use super::need::{Capacity, Need};
use super::scene::Scene;
use super::strength::Strength;
use crate::core::policy::decision::{Decision, Load, Reason};

/// Between two moves away, beyond `trial`: the figures of the first have to settle.
const AFTER_TRIAL: Duration = Duration::from_secs(5);

/// After so long, requests have come together often enough to show how many a server takes side by side.
const UNPROVEN: Duration = Duration::from_secs(60);

/// What the figures ask for at one moment.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    pub(super) capacity: Capacity,
    pub(super) carried: Carried,
    pub(super) forecast: Forecast,
    pub(super) need: Need,
    pub(super) strength: Strength,
    /// `hold` without mistakes.
    pub(super) base: Duration,
    /// Requests a second: the higher of the last 15 and the last 30 s.
    pub(super) level: f64,
    pub(super) promise: Promise,
}

impl Wish {
    pub(super) fn decide(&self, model: &mut Model, scene: &Scene<'_>) -> (Decision, Evaluation) {
        let mut evaluation = self.evaluation(model, scene);
        let more = self.more(model, scene, &mut evaluation.limits);
        let fewer = self.fewer(model, scene, &mut evaluation);
        let decision = match more {
            Some(Decision::Hold(reason)) => match model.weighing.wish(scene.pool, scene.now) {
                Some((shares, reason)) => Decision::Reweigh { shares, reason },
                None => Decision::Hold(reason),
            },
            Some(decision) => decision,
            None => match model.weighing.wish(scene.pool, scene.now) {
                Some((shares, reason)) => Decision::Reweigh { shares, reason },
                None => fewer,
            },
        };
        evaluation.condition = self.condition(model, scene);
        (decision, evaluation)
    }

    /// What `explain` needs to know, without what stands in the way.
    fn evaluation(&self, model: &Model, scene: &Scene<'_>) -> Evaluation {
        let highest = model.patience.highest(self.base, scene.now);
        Evaluation {
            carried: Some(Carried { carries: self.capacity.carries, ..self.carried }),
            forecast: self.forecast,
            need_fast: self.need.fast,
            need_slow: self.need.slow.max(self.need.slots),
            need_in: self.need.fewer,
            want: scene.allowed(self.need.wish()),
            want_in: highest.map(|(needed, _)| needed.servers),
            may_add_in: model.effect.left(scene.now),
            may_remove_in: Duration::ZERO,
            ..model.bare(scene)
        }
    }

    fn condition(&self, model: &Model, scene: &Scene<'_>) -> Condition {
        if model.effect.reason().is_some() {
            Condition::NotLoad
        } else if self.need.wish() > scene.max {
            Condition::Full
        } else if self.need.fast > f64::from(scene.have()) {
            Condition::Outrun
        } else if self.carried.floor > self.promise.budget {
            Condition::NotLoad
        } else if scene.parked > 0 {
            Condition::Trial
        } else {
            Condition::Steady
        }
    }

    /// `None`: there are enough. A hold: there are not, and nothing can be done about it.
    fn more(&self, model: &Model, scene: &Scene<'_>, limits: &mut Vec<Limit>) -> Option<Decision> {
        let (wish, have) = (self.need.wish(), scene.have());
        let missing = scene.wanted(&self.need, &self.strength) - self.strength.have();
        if missing <= 0.0 {
            let is_full = wish > scene.max && have >= scene.max;
            return is_full.then(|| Decision::Hold(no_more(scene, limits)));
        }
        if self.is_unproven(scene) {
            let left = UNPROVEN.saturating_sub(scene.load.watched);
            limits.push(Limit::Unproven(left));
            return Some(Decision::Hold(Reason::Unproven { left }));
        }
        if let Some(reason) = model.effect.reason() {
            limits.push(Limit::NoEffect(model.effect.left(scene.now)));
            return Some(Decision::Hold(reason));
        }
        let may = scene.most().saturating_sub(have).min(scene.parked + scene.spare);
        Some(match self.strength.newcomers(missing).min(may) {
            0 => Decision::Hold(no_more(scene, limits)),
            by => Decision::ScaleUp { by, reason: self.reason(scene) },
        })
    }

    /// Nothing has shown yet that the servers are not enough, only not yet that they are: a server's workers are
    /// known from below, from requests that came together, and in the first seconds hardly any have.
    fn is_unproven(&self, scene: &Scene<'_>) -> bool {
        let load = scene.load;
        let (late, of) = load.misses.last_15;
        let is_in_time = late as f64 <= self.promise.limit(self.carried.floor) * of as f64;
        let shows_no_limit = !self.carried.knee && self.carried.limit.is_none() && load.backlog <= 0.0;
        load.watched < UNPROVEN && shows_no_limit && is_in_time
    }

    /// Why more servers are wanted.
    fn reason(&self, scene: &Scene<'_>) -> Reason {
        let (need, arrivals) = (&self.need, &scene.load.arrivals);
        let needed = scene.allowed(need.wish());
        if let Some(rise) = self.forecast.sudden.filter(|_| need.ahead && need.fast >= need.servers()) {
            return Reason::Rising { slope: rise.slope, within: self.forecast.within, needed };
        }
        if need.slots > need.fast.max(need.slow) {
            let held = arrivals.last_15 * (self.capacity.service + scene.load.transfer);
            return Reason::Slots { held, each: self.capacity.slots.unwrap_or_default(), needed };
        }
        let without_trend = self.level * self.capacity.service / self.capacity.carries;
        if need.fast < need.slow && self.forecast.slow > 0.0 && without_trend <= f64::from(scene.have()) {
            let slope = arrivals.change_30.slope;
            return Reason::Rising { slope, within: self.forecast.within, needed };
        }
        let arrivals = if need.fast >= need.slow { arrivals.last_3 } else { self.level };
        let waiting = if need.backlog > 0.0 { scene.load.backlog } else { 0.0 };
        Reason::Need { load: self.load(arrivals), waiting, more: need.backlog, lost: self.strength.lost() }
    }

    fn load(&self, arrivals: f64) -> Load {
        Load {
            arrivals,
            service: self.capacity.service,
            workers: self.capacity.workers,
            carries: self.capacity.carries,
        }
    }

    /// Fewer servers, or what speaks against it.
    fn fewer(&self, model: &Model, scene: &Scene<'_>, evaluation: &mut Evaluation) -> Decision {
        let wished = self.without_one(model, scene);
        let kept = scene.allowed(self.need.wish_for_fewer().max(self.need.wish()));
        let may_go = scene.serving.saturating_sub(scene.min) as usize;
        let wants_fewer = may_go > 0 && kept <= wished && self.has_more_than_needed(scene);
        let until = model.patience.until(wished, self.base, scene.now);
        let waits = self.waits(model, scene, until);
        evaluation.may_remove_in = waits.iter().filter_map(Limit::left).max().unwrap_or_default();
        if wants_fewer {
            evaluation.limits.extend(waits.iter().chain(&self.obstacles(model, scene)));
        }
        if !evaluation.limits.is_empty() || !wants_fewer {
            return Decision::Hold(self.hold_reason(scene, evaluation, wants_fewer));
        }
        let Some((highest, since)) = model.patience.highest(self.base, scene.now) else {
            return Decision::Hold(self.balanced(scene, evaluation.may_remove_in));
        };
        let kept = kept.max(highest.servers);
        let leaving = model.weighing.prefer(scene.load, scene.pool, &self.capacity);
        let may_go = may_go.min(leaving.len());
        let enough = |gone: &usize| kept <= whole(self.strength.without(&leaving, *gone));
        let Some(excess) = (1..=may_go).rev().find(enough) else {
            return Decision::Hold(self.balanced(scene, evaluation.may_remove_in));
        };
        let (arrivals, busy) = (highest.arrivals, highest.busy);
        let trial = scene.settings.trial();
        Decision::ScaleDown {
            by: u32::try_from(excess.div_ceil(2)).unwrap_or(u32::MAX),
            prefer: leaving,
            reason: Reason::Ample { since, needed: kept, arrivals, busy, trial },
        }
    }

    /// What the servers carry without the one that would go first, in whole servers.
    fn without_one(&self, model: &Model, scene: &Scene<'_>) -> u32 {
        if self.strength.is_equal() && self.strength.lost() == 0.0 {
            return scene.serving.saturating_sub(1);
        }
        let leaving = model.weighing.prefer(scene.load, scene.pool, &self.capacity);
        match leaving.is_empty() {
            true => whole(self.strength.serving() - 1.0),
            false => whole(self.strength.without(&leaving, 1)),
        }
    }

    fn has_more_than_needed(&self, scene: &Scene<'_>) -> bool {
        f64::from(scene.allowed(self.need.wish())) < self.strength.serving()
    }

    /// What passes with time.
    fn waits(&self, model: &Model, scene: &Scene<'_>, until: Duration) -> Vec<Limit> {
        let now = scene.now;
        let spacing = scene.settings.trial().saturating_add(AFTER_TRIAL);
        let removed = model
            .removed
            .map_or(Duration::ZERO, |removed| spacing.saturating_sub(now.saturating_duration_since(removed)));
        let spent = model.watch.spent(scene.settings.model.moves_per_hour, now);
        [
            Limit::Hold(until),
            Limit::JustAdded(model.patience.after_adding(self.base, now)),
            Limit::JustRemoved(removed),
            Limit::MovesPerHour(spent.unwrap_or_default()),
        ]
        .into_iter()
        .filter(|limit| limit.left().is_some_and(|left| !left.is_zero()))
        .collect()
    }

    /// What does not.
    fn obstacles(&self, model: &Model, scene: &Scene<'_>) -> Vec<Limit> {
        let failures = scene.failures();
        [
            (scene.starting > 0).then_some(Limit::Starting(scene.starting)),
            (scene.parked > 0).then_some(Limit::Parked(scene.parked)),
            (scene.load.backlog > 0.0).then_some(Limit::Backlog(scene.load.backlog)),
            model.weighing.shifts().then_some(Limit::Overfull),
            failures.map(|(failed, of)| Limit::Failures(failed, of)),
            (scene.removable() == 0).then_some(Limit::NothingToRemove),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// The sentence for what nothing is done about.
    fn hold_reason(&self, scene: &Scene<'_>, evaluation: &Evaluation, wants_fewer: bool) -> Reason {
        let patience_is_over = !evaluation.limits.iter().any(|limit| matches!(limit, Limit::Hold(_)));
        for limit in evaluation.limits.iter().filter(|_| wants_fewer && patience_is_over) {
            match *limit {
                Limit::NothingToRemove => return Reason::NothingToRemove,
                Limit::Failures(failed, of) => return Reason::ServerFailures { failed, of },
                Limit::MovesPerHour(left) => {
                    let allowed = scene.settings.model.moves_per_hour;
                    return Reason::MovesSpent { allowed, left };
                }
                _ => {}
            }
        }
        if self.carried.floor > self.promise.budget {
            let below = scene.settings.target.below;
            return Reason::NotLoad { floor: self.carried.floor, below };
        }
        match (scene.starting, scene.parked) {
            (0, 0) => self.balanced(scene, evaluation.may_remove_in),
            (0, servers) => Reason::OnTrial { servers },
            _ => Reason::Acting,
        }
    }

    fn balanced(&self, scene: &Scene<'_>, after: Duration) -> Reason {
        let serving = scene.serving;
        let enough = (self.strength.have() + 0.5).floor().max(0.0);
        let (above, below) = Need::limits(&self.capacity, enough);
        Reason::Balanced {
            load: self.load(self.level),
            serving,
            above,
            below: (serving > scene.min).then_some(below),
            after,
        }
    }
}

/// So many servers, where half of one may be missing.
fn whole(strength: f64) -> u32 {
    (strength + 0.5).floor().max(0.0) as u32
}

/// Why no server can be added.
fn no_more(scene: &Scene<'_>, limits: &mut Vec<Limit>) -> Reason {
    if scene.have() >= scene.most() {
        limits.push(Limit::Max(scene.most()));
        return Reason::AtMax { serving: scene.serving };
    }
    limits.push(Limit::NoSpare);
    Reason::NoSpare
}
