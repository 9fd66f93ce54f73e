//! Whether more servers helped.
//!
//! Where what holds the requests up is behind the servers (a database, a disk they share), more of
//! them answer no more requests, and each request takes longer. Judged a minute after the servers
//! have become half as many again, by what is answered: a flash crowd is answered by more servers.
//! Where each request has become much dearer with them, the next servers wait for the verdict, which
//! comes sooner: need grows with what a request costs, and would go on to the last server.

use std::time::{Duration, Instant};

use super::capacity::Promise;
use super::guard::lower_bound;
use crate::core::estimate::load::LoadFigures;
use crate::core::policy::decision::Reason;

const JUDGED_AFTER: Duration = Duration::from_secs(60);
/// Where requests have become so many times as dear: by then all that is answered comes from the new
/// number of servers.
const JUDGED_SOON: Duration = Duration::from_secs(15);
const DEARER: f64 = 1.3;
/// Servers that have not become half as many again by then are no trial.
const GIVEN_UP: Duration = Duration::from_secs(300);
/// What is answered is what the servers can do if they were late for so long, or if it has not changed
/// by more than this share of late.
const LATE_BEFORE: Duration = Duration::from_secs(15);
const STEADY: f64 = 0.15;
/// What is no longer so for this long is over.
const OVER: Duration = Duration::from_secs(30);
/// Fewer requests in 15 s prove nothing.
const LEAST_REQUESTS: u64 = 100;
/// One more try after this; then after twice as long, and so on.
const AGAIN: Duration = Duration::from_secs(300);
const LONGEST: Duration = Duration::from_secs(3600);

/// Watches the growth of the servers.
#[derive(Clone, Debug, Default)]
pub(super) struct Effect {
    late_since: Option<Instant>,
    /// How it was when servers last began to be added.
    latest: Option<Sight>,
    before: Option<Sight>,
    grown: Option<Instant>,
    /// It does not look as if they helped; the verdict comes then.
    doubt: Option<(Sight, Instant)>,
    verdict: Option<Verdict>,
    verdicts: u32,
}

#[derive(Clone, Copy, Debug)]
struct Sight {
    at: Instant,
    serving: u32,
    /// Requests a second.
    answered: f64,
    service: f64,
    late: f64,
    /// It is late, and what is answered is what the servers can do.
    at_limit: bool,
}

/// More servers did not help.
#[derive(Clone, Copy, Debug)]
struct Verdict {
    at: Instant,
    before: Sight,
    after: Sight,
    /// It may be over since then.
    fading: Option<Instant>,
}

impl Effect {
    /// `wants`: more servers are needed than there are.
    pub(super) fn observe(
        &mut self,
        load: &LoadFigures,
        service: f64,
        serving: u32,
        wants: bool,
        promise: Promise,
        now: Instant,
    ) {
        let (late, of) = load.misses.last_15;
        let is_late = of >= LEAST_REQUESTS && lower_bound(late, of) > promise.limit(0.0);
        self.late_since = is_late.then(|| self.late_since.unwrap_or(now));
        let late_for = self.late_since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        let answered = load.throughput;
        let is_steady = (answered.last_4 - answered.last_15).abs() <= STEADY * answered.last_15;
        let sight = Sight {
            at: now,
            serving,
            answered: answered.last_15,
            service,
            late: if of == 0 { 0.0 } else { late as f64 / of as f64 },
            at_limit: is_late && (is_steady || late_for >= LATE_BEFORE),
        };
        match self.verdict {
            Some(_) => self.review(&sight, is_late && wants),
            None => self.judge(&sight, is_late && wants),
        }
        self.latest = Some(sight);
    }

    /// Why no more servers are added; `None` if they may be.
    pub(super) fn reason(&self) -> Option<Reason> {
        let of_verdict = self.verdict.map(|verdict| (verdict.before, verdict.after));
        let in_doubt = || Some((self.before?, self.doubt?.0));
        let (before, after) = of_verdict.or_else(in_doubt)?;
        Some(Reason::NoEffect {
            from: before.serving,
            to: after.serving,
            before: before.answered,
            after: after.answered,
        })
    }

    /// How long until it is tried again.
    pub(super) fn left(&self, now: Instant) -> Duration {
        let Some(verdict) = self.verdict else {
            return self.doubt.map_or(Duration::ZERO, |(_, until)| until.saturating_duration_since(now));
        };
        self.pause().saturating_sub(now.saturating_duration_since(verdict.at))
    }

    fn pause(&self) -> Duration {
        AGAIN.saturating_mul(2_u32.saturating_pow(self.verdicts.saturating_sub(1))).min(LONGEST)
    }

    fn judge(&mut self, sight: &Sight, in_need: bool) {
        let now = sight.at;
        let has_grown = self.latest.is_some_and(|latest| sight.serving > latest.serving);
        if self.before.is_none() && has_grown {
            self.before = self.latest.filter(|latest| latest.at_limit);
        }
        let Some(before) = self.before else { return };
        let is_half_more = 2 * u64::from(sight.serving) >= 3 * u64::from(before.serving);
        if sight.serving < before.serving
            || (!is_half_more && now.saturating_duration_since(before.at) > GIVEN_UP)
        {
            (self.before, self.grown, self.doubt) = (None, None, None);
            return;
        }
        if !is_half_more {
            return;
        }
        let for_so_long = now.saturating_duration_since(*self.grown.get_or_insert(now));
        let answers_more = sight.answered > 1.1 * before.answered || sight.late < 0.8 * before.late;
        let is_dearer = sight.service > DEARER * before.service;
        let judged_after = if is_dearer { JUDGED_SOON } else { JUDGED_AFTER };
        if let Some(left) = judged_after.checked_sub(for_so_long).filter(|left| !left.is_zero()) {
            self.doubt = (in_need && is_dearer && !answers_more).then(|| (*sight, now + left));
            return;
        }
        let helped = answers_more || sight.service < 0.95 * before.service;
        if in_need && !helped {
            self.verdicts = self.verdicts.saturating_add(1);
            self.verdict = Some(Verdict { at: now, before, after: *sight, fading: None });
        }
        (self.before, self.grown, self.doubt) = (None, None, None);
    }

    fn review(&mut self, sight: &Sight, in_need: bool) {
        let pause = self.pause();
        let Some(verdict) = &mut self.verdict else { return };
        let now = sight.at;
        verdict.fading = if in_need { None } else { Some(verdict.fading.unwrap_or(now)) };
        let is_over = verdict.fading.is_some_and(|since| now.saturating_duration_since(since) >= OVER);
        if is_over || sight.answered > 1.2 * verdict.after.answered {
            (self.verdict, self.verdicts) = (None, 0);
        } else if now.saturating_duration_since(verdict.at) >= pause {
            self.verdict = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::policy::model::testing::steady;

    const PROMISE: Promise = Promise { below: 0.4, budget: 0.05 };

    /// What is seen at one second: servers, requests answered, share late, service time.
    type Sights = fn(u64) -> (u32, f64, f64, f64);

    /// From when to when more servers are not added, of `seconds`.
    #[track_caller]
    fn check(seconds: u64, sights: Sights, expected: &[(u64, u64)]) {
        let (mut effect, start) = (Effect::default(), Instant::now());
        let mut stopped: Vec<(u64, u64)> = Vec::new();
        for second in 0..seconds {
            let (serving, answered, late, service) = sights(second);
            let mut load = steady(answered);
            load.misses.last_15 = ((late * 1000.0) as u64, 1000);
            let now = start + Duration::from_secs(second);
            effect.observe(&load, service, serving, true, PROMISE, now);
            if effect.reason().is_some() {
                match stopped.last_mut() {
                    Some((_, until)) if *until == second - 1 => *until = second,
                    _ => stopped.push((second, second)),
                }
            }
        }
        assert_eq!(stopped, expected);
    }

    /// 4 servers, after 100 s 6.
    fn grown(second: u64) -> u32 {
        if second < 100 { 4 } else { 6 }
    }

    #[test]
    fn servers_that_answer_no_more_than_before_are_no_help() {
        check(400, |second| (grown(second), 300.0, 0.4, 0.2), &[(160, 399)]);
    }

    #[test]
    fn servers_that_answer_more_are() {
        check(400, |second| (grown(second), 50.0 * f64::from(grown(second)), 0.4, 0.2), &[]);
    }

    #[test]
    fn faster_answers_and_fewer_late_ones_are_help_too() {
        check(400, |second| (grown(second), 300.0, 0.4, if second < 100 { 0.2 } else { 0.15 }), &[]);
        check(400, |second| (grown(second), 300.0, if second < 100 { 0.4 } else { 0.3 }, 0.2), &[]);
    }

    #[test]
    fn a_few_more_servers_are_no_trial() {
        check(600, |second| (if second < 100 { 4 } else { 5 }, 300.0, 0.4, 0.2), &[]);
    }

    #[test]
    fn a_crowd_that_has_just_come_is_no_evidence() {
        let (mut effect, start) = (Effect::default(), Instant::now());
        for second in 0..400 {
            let mut load = steady(300.0);
            load.throughput.last_4 = if second < 90 { 300.0 } else { 400.0 };
            load.misses.last_15 = (if second < 90 { 0 } else { 400 }, 1000);
            effect.observe(&load, 0.2, grown(second), true, PROMISE, start + Duration::from_secs(second));
            assert_eq!(effect.reason(), None);
        }
    }

    #[test]
    fn where_requests_get_dearer_with_each_server_the_next_ones_wait() {
        check(300, |second| (grown(second), 300.0, 0.4, 0.05 * f64::from(grown(second))), &[(100, 299)]);
        check(
            110,
            |second| (grown(second), 50.0 * f64::from(grown(second)), 0.4, 0.05 * f64::from(grown(second))),
            &[],
        );
    }

    #[test]
    fn too_few_requests_are_no_evidence() {
        let (mut effect, start) = (Effect::default(), Instant::now());
        for second in 0..400 {
            let mut load = steady(4.0);
            load.misses.last_15 = (40, 60);
            effect.observe(&load, 0.2, grown(second), true, PROMISE, start + Duration::from_secs(second));
            assert_eq!(effect.reason(), None);
        }
    }

    #[test]
    fn it_ends_when_what_held_them_up_is_gone() {
        check(
            400,
            |second| (grown(second), 300.0, if second < 250 { 0.4 } else { 0.01 }, 0.2),
            &[(160, 279)],
        );
        check(
            400,
            |second| (grown(second), if second < 250 { 300.0 } else { 400.0 }, 0.4, 0.2),
            &[(160, 249)],
        );
    }

    #[test]
    fn it_is_tried_again_after_longer_and_longer() {
        let sights: Sights = |second| {
            let serving = if second < 460 {
                grown(second)
            } else if second < 500 {
                6
            } else {
                9
            };
            (serving, 300.0, 0.4, 0.2)
        };
        check(1200, sights, &[(160, 459), (560, 1159)]);
    }
}
