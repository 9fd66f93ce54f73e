//! A newcomer's weight rises only as long as what it shows is near what the others show. Where HAProxy's own `slowstart` raises
//! its share nobody can hold that; but the newcomer is watched on until it is like the others, and turned away like any.
//!
//! ```text
//!  fewer than 20 requests of its own, or nobody to compare with       the ramp goes on
//!  failing well beyond the others                                    it is turned away: drained, MAINT, passed over
//!  failing, or slow, beyond the others                               its weight stays
//!  slow for as long as the ramp, and for a minute at least            it is turned away
//!  without it there would be fewer than `ready.min`, and no spare     its weight stays for as long, then goes on
//! ```
//! A pin, and `ready.min`, are no reason to keep it where another spare can be tried: it counts for none of the fewest
//! before its ramp is over.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use super::Action;
use super::backend::Backend;
use crate::core::estimate::snapshot::Snapshot;
use crate::core::names::{BackendId, Names, ServerId};
use crate::core::plan::inventory::{BackendState, ServerState};
use crate::core::plan::outcome::Ramp;
use crate::core::plan::planner;
use crate::core::plan::step::Purpose;
use crate::core::policy::Span;

/// Fewer requests say nothing about a server.
const ENOUGH: u64 = 20;
/// Share of failed requests beyond that of the others at which a ramp stands still.
const FAILING: f64 = 0.05;
/// The same at which the newcomer is turned away.
const BROKEN: f64 = 0.25;
/// Failures that may be chance.
const CHANCE: u64 = 2;
/// So many times the others' median is slow.
const SLOW: f64 = 2.0;
/// Less than this share of the target is no difference that a user would notice.
const NOTICED: f64 = 0.1;
/// The shortest time for which slowness is borne with: caches fill, compilers warm up.
const BORNE_WITH: Duration = Duration::from_secs(60);

/// Since when the weights of newcomers stand still.
#[derive(Debug, Default)]
pub(super) struct Newcomers(BTreeMap<ServerId, Instant>);

/// What is seen of a newcomer, or of the others.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Shown {
    requests: u64,
    failed: u64,
    median: Option<Duration>,
}

impl Shown {
    fn of(snapshot: &Snapshot) -> Self {
        Self { requests: snapshot.tally.total(), failed: snapshot.tally.server, median: snapshot.p50 }
    }

    fn failing(self) -> f64 {
        self.failed as f64 / self.requests.max(1) as f64
    }
}

/// All together, and the median of their medians.
fn together(others: &[Shown]) -> Option<Shown> {
    let mut medians: Vec<Duration> = others.iter().filter_map(|shown| shown.median).collect();
    medians.sort_unstable();
    let all = Shown {
        requests: others.iter().map(|shown| shown.requests).sum(),
        failed: others.iter().map(|shown| shown.failed).sum(),
        median: medians.get(medians.len() / 2).copied(),
    };
    (all.requests >= ENOUGH).then_some(all)
}

/// What becomes of the ramp of a newcomer that has shown `newcomer`; `None`: it goes on. `below` is the target,
/// `held` for how long its weight has stood still.
fn judge(
    newcomer: Shown,
    others: Shown,
    below: Duration,
    held: Duration,
    bearable: Duration,
) -> Option<Ramp> {
    if newcomer.requests < ENOUGH {
        return None;
    }
    let beyond = newcomer.failing() - others.failing();
    if newcomer.failed > CHANCE && beyond > BROKEN {
        let Shown { requests, failed, .. } = newcomer;
        let text = format!(
            "{failed} of {requests} requests to it failed, of those to the others {:.1} %",
            others.failing() * 100.0
        );
        return Some(Ramp::TurnedAway(text));
    }
    if newcomer.failed > CHANCE && beyond > FAILING {
        return Some(Ramp::Held);
    }
    let (own, theirs) = (newcomer.median?, others.median?);
    let is_slow = own > theirs.mul_f64(SLOW) && own.saturating_sub(theirs) > below.mul_f64(NOTICED);
    match (is_slow, held >= bearable) {
        (false, _) => None,
        (true, false) => Some(Ramp::Held),
        (true, true) => Some(Ramp::TurnedAway(format!(
            "its requests took {} in the middle, those of the others {}, for {}",
            Span(own),
            Span(theirs),
            Span(held)
        ))),
    }
}

impl Backend {
    /// Lets ramps go on, stand still, or end, by what their servers show.
    pub(super) fn watch_newcomers(
        &mut self,
        id: BackendId,
        state: &BackendState,
        names: &Names,
        now: Instant,
        actions: &mut VecDeque<Action>,
    ) {
        let moving = self.moving.as_ref().filter(|moving| moving.plan.purpose == Purpose::Add);
        let Some(moving) = moving else {
            self.newcomers.0.clear();
            return;
        };
        let newcomers: HashSet<ServerId> = moving.under_way().collect();
        let is_rising = |server: &ServerState| moving.sets_weights() || server.slowstart;
        let can_spare = state.serving().count() > self.settings.ready.min as usize;
        let may_go = can_spare || self.has_another(&newcomers, state, names, now);
        let mut shown = |server| self.estimator.server(server, now).map(|snapshot| Shown::of(&snapshot));
        let serving = || state.serving().map(|server| server.id);
        let others: Vec<Shown> =
            serving().filter(|id| !newcomers.contains(id)).filter_map(&mut shown).collect();
        let others = together(&others);
        let mut ramps = moving.changes.ramps.clone();
        let watched = state.serving().filter(|server| newcomers.contains(&server.id) && is_rising(server));
        for server in watched.map(|server| server.id) {
            if matches!(ramps.get(&server), Some(Ramp::TurnedAway(_))) {
                continue;
            }
            let held = self.newcomers.0.get(&server).map_or(Duration::ZERO, |&since| now - since);
            let ramp = self.settings.warm_up_of(&names.of_server(server)).ramp;
            let (below, bearable) = (self.settings.target.below, ramp.max(BORNE_WITH));
            let both = shown(server).zip(others);
            match both.and_then(|(newcomer, others)| judge(newcomer, others, below, held, bearable)) {
                Some(Ramp::TurnedAway(_)) if !may_go && held < bearable => {
                    self.newcomers.0.entry(server).or_insert(now);
                    ramps.insert(server, Ramp::Held);
                }
                // There is nobody better.
                Some(Ramp::TurnedAway(_)) if !may_go => drop(ramps.remove(&server)),
                Some(ramp) => {
                    self.newcomers.0.entry(server).or_insert(now);
                    ramps.insert(server, ramp);
                }
                None => {
                    self.newcomers.0.remove(&server);
                    ramps.remove(&server);
                }
            }
        }
        if let Some(moving) = &mut self.moving
            && moving.changes.ramps != ramps
        {
            moving.changes.ramps = ramps;
            for lane in moving.turned_away() {
                self.hands_off.expect(&lane.retreat);
            }
            actions.extend([Action::Remember, Action::Change(id, moving.changes.clone())]);
        }
    }

    /// A spare that can be tried in the place of one of `newcomers`.
    fn has_another(
        &self,
        newcomers: &HashSet<ServerId>,
        state: &BackendState,
        names: &Names,
        now: Instant,
    ) -> bool {
        let quarantined = self.quarantine.all(now);
        let spares = planner::startable(state, &self.settings, &self.claims, &quarantined, names);
        spares.iter().any(|server| !newcomers.contains(server))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BELOW: Duration = Duration::from_millis(400);
    const OTHERS: Shown = Shown { requests: 1000, failed: 10, median: Some(Duration::from_millis(80)) };

    #[track_caller]
    fn check(requests: u64, failed: u64, ms: u64, held_s: u64, expected: Option<&str>) {
        let newcomer = Shown { requests, failed, median: Some(Duration::from_millis(ms)) };
        let found = judge(newcomer, OTHERS, BELOW, Duration::from_secs(held_s), BORNE_WITH);
        let words = found.map(|ramp| match ramp {
            Ramp::Held => "held".to_owned(),
            Ramp::TurnedAway(why) => why,
        });
        assert_eq!(words.as_deref(), expected);
    }

    #[test]
    fn a_newcomer_like_the_others_goes_on() {
        check(100, 1, 90, 0, None);
        check(100, 0, 20, 0, None);
    }

    #[test]
    fn a_few_requests_say_nothing() {
        check(19, 19, 9000, 0, None);
    }

    #[test]
    fn a_newcomer_that_fails_is_held_or_turned_away() {
        check(100, 2, 80, 0, None);
        check(100, 9, 80, 0, Some("held"));
        check(100, 40, 80, 0, Some("40 of 100 requests to it failed, of those to the others 1.0 %"));
    }

    #[test]
    fn a_slow_newcomer_is_held_for_a_while() {
        check(100, 0, 500, 0, Some("held"));
        check(100, 0, 500, 59, Some("held"));
        check(
            100,
            0,
            500,
            60,
            Some("its requests took 500 ms in the middle, those of the others 80 ms, for 1 min"),
        );
    }

    #[test]
    fn a_difference_that_nobody_notices_is_none() {
        let quick = Shown { median: Some(Duration::from_millis(2)), ..OTHERS };
        let newcomer = Shown { requests: 100, failed: 0, median: Some(Duration::from_millis(30)) };
        assert_eq!(judge(newcomer, quick, BELOW, Duration::ZERO, BORNE_WITH), None);
    }
}
