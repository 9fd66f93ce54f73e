//! Whether more servers helped.
//!
//! Where what holds the requests up is behind the servers (a database, a disk they share), more of
//! them answer no more requests, and each request takes longer. Judged a minute after the servers
//! have become half as many again, by what is answered; a flash crowd is answered by more servers.

use std::time::{Duration, Instant};

use super::capacity::Promise;
use super::guard::lower_bound;
use crate::core::estimate::load::LoadFigures;
use crate::core::policy::decision::Reason;

const JUDGED_AFTER: Duration = Duration::from_secs(60);
/// Servers that have not become half as many again by then are no trial.
const GIVEN_UP: Duration = Duration::from_secs(300);
/// Late for so long before: what is answered then is what the servers could do.
const LATE_BEFORE: Duration = Duration::from_secs(15);
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
    late_for: Duration,
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
        let sight = Sight {
            at: now,
            serving,
            answered: load.throughput.last_15,
            service,
            late: if of == 0 { 0.0 } else { late as f64 / of as f64 },
            late_for: self.late_since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since)),
        };
        match self.verdict {
            Some(_) => self.review(&sight, is_late && wants),
            None => self.judge(&sight, is_late && wants),
        }
        self.latest = Some(sight);
    }

    /// Why no more servers are added; `None` if they may be.
    pub(super) fn reason(&self) -> Option<Reason> {
        let Verdict { before, after, .. } = self.verdict?;
        Some(Reason::NoEffect {
            from: before.serving,
            to: after.serving,
            before: before.answered,
            after: after.answered,
        })
    }

    /// How long until it is tried again.
    pub(super) fn left(&self, now: Instant) -> Duration {
        let Some(verdict) = self.verdict else { return Duration::ZERO };
        self.pause().saturating_sub(now.saturating_duration_since(verdict.at))
    }

    fn pause(&self) -> Duration {
        AGAIN.saturating_mul(2_u32.saturating_pow(self.verdicts.saturating_sub(1))).min(LONGEST)
    }

    fn judge(&mut self, sight: &Sight, in_need: bool) {
        let now = sight.at;
        let has_grown = self.latest.is_some_and(|latest| sight.serving > latest.serving);
        if self.before.is_none() && has_grown {
            self.before = self.latest.filter(|latest| latest.late_for >= LATE_BEFORE);
        }
        let Some(before) = self.before else { return };
        let is_half_more = 2 * u64::from(sight.serving) >= 3 * u64::from(before.serving);
        if sight.serving < before.serving
            || (!is_half_more && now.saturating_duration_since(before.at) > GIVEN_UP)
        {
            (self.before, self.grown) = (None, None);
            return;
        }
        if !is_half_more {
            return;
        }
        if now.saturating_duration_since(*self.grown.get_or_insert(now)) < JUDGED_AFTER {
            return;
        }
        let helped = sight.answered > 1.1 * before.answered
            || sight.service < 0.95 * before.service
            || sight.late < 0.8 * before.late;
        if in_need && !helped {
            self.verdicts = self.verdicts.saturating_add(1);
            self.verdict = Some(Verdict { at: now, before, after: *sight, fading: None });
        }
        (self.before, self.grown) = (None, None);
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
