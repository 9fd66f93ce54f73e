//! The latency target's say: what a server may carry is cut while the target is missed, and given
//! back slowly.
//!
//! `gamma` is fast and answers for the last seconds; `room` is slow and answers for the promise
//! over a quarter of an hour. Neither acts on requests that were late with a free worker.

use std::time::{Duration, Instant};

use super::capacity::Promise;
use crate::core::estimate::load::{LoadFigures, Misses};

const CHECK_EVERY: Duration = Duration::from_secs(5);
/// After a change of servers or weights, and after a backlog, the figures are of another time.
const QUIET: Duration = Duration::from_secs(30);
const LEAST_REQUESTS: u64 = 60;
/// Below this utilization requests are not late for want of servers.
const LEAST_UTILIZATION: f64 = 0.4;
const CUT: f64 = 0.93;
const LEAST_GAMMA: f64 = 0.6;
const GIVEN_BACK: f64 = 0.005;
/// Nothing is given back sooner after a cut.
const AFTER_A_CUT: Duration = Duration::from_secs(120);
/// Good figures prove something only where servers carry this share of what they may.
const WELL_USED: f64 = 0.7;

const MINUTE: Duration = Duration::from_secs(60);
const LEAST_REQUESTS_FOR_ROOM: u64 = 300;
/// One flash crowd is an event; what comes back so often is how the load is.
const LATE_STRETCHES: usize = 3;
const LATE_MINUTES: usize = 8;
const MOST_ROOM: f64 = 2.0;

/// For 95 % of certainty that a share is at least so large.
const Z: f64 = 1.64;

/// Learned corrections of what a server may carry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Guard {
    /// 0.6 to 1: what is left of it.
    gamma: f64,
    /// 1 to 2: it is divided by this.
    room: f64,
    checked: Option<Instant>,
    cut: Option<Instant>,
    backlog: Option<Instant>,
    minute: Option<Instant>,
}

/// How much the servers have to do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Use {
    /// Share of their workers that is busy.
    pub(super) of_workers: f64,
    /// Share of what they may carry.
    pub(super) of_limit: f64,
    /// For so long nothing was changed.
    pub(super) unchanged_for: Duration,
}

impl Default for Guard {
    fn default() -> Self {
        Self { gamma: 1.0, room: 1.0, checked: None, cut: None, backlog: None, minute: None }
    }
}

impl Guard {
    pub(super) fn gamma(&self) -> f64 {
        self.gamma
    }

    pub(super) fn room(&self) -> f64 {
        self.room
    }

    pub(super) fn observe(&mut self, load: &LoadFigures, promise: Promise, used: Use, now: Instant) {
        if load.backlog > 0.0 {
            self.backlog = Some(now);
        }
        if is_due(&mut self.checked, CHECK_EVERY, now) {
            self.check(load, promise, used, now);
        }
        if is_due(&mut self.minute, MINUTE, now) {
            self.room = new_room(self.room, &load.misses, promise.limit(load.calm.floor));
        }
    }

    fn check(&mut self, load: &LoadFigures, promise: Promise, used: Use, now: Instant) {
        let (late, of) = load.misses.last_15;
        let is_over = |then: Option<Instant>, quiet: Duration| {
            then.is_none_or(|then| now.saturating_duration_since(then) >= quiet)
        };
        if used.unchanged_for < QUIET || !is_over(self.backlog, QUIET) || of < LEAST_REQUESTS {
            return;
        }
        let floor = load.calm.floor;
        let half = floor + 0.5 * (promise.budget - floor).max(0.0);
        if lower_bound(late, of) > promise.limit(floor) && used.of_workers > LEAST_UTILIZATION {
            self.gamma = (self.gamma * CUT).max(LEAST_GAMMA);
            self.cut = Some(now);
        } else if share(late, of) < half && is_over(self.cut, AFTER_A_CUT) && used.of_limit > WELL_USED {
            self.gamma = (self.gamma + GIVEN_BACK).min(1.0);
        }
    }
}

/// True once in `every`; the first time that long after it was first asked.
fn is_due(last: &mut Option<Instant>, every: Duration, now: Instant) -> bool {
    let due = now.saturating_duration_since(*last.get_or_insert(now)) >= every;
    if due {
        *last = Some(now);
    }
    due
}

fn new_room(room: f64, misses: &Misses, limit: f64) -> f64 {
    let (late, of) = misses.minutes.iter().fold((0, 0), |sum, minute| (sum.0 + minute.0, sum.1 + minute.1));
    if of < LEAST_REQUESTS_FOR_ROOM {
        return room;
    }
    let is_late: Vec<bool> = misses.minutes.iter().map(|&(late, of)| share(late, of) > limit).collect();
    let late_minutes = is_late.iter().filter(|late| **late).count();
    let stretches = is_late.chunk_by(|a, b| a == b).filter(|stretch| stretch[0]).count();
    let is_usual = stretches >= LATE_STRETCHES || late_minutes >= LATE_MINUTES;
    let factor = match share(late, of) {
        late if late > limit && is_usual => 1.12,
        late if late < 0.3 * limit => 0.95,
        late if late < 0.6 * limit => 0.985,
        _ => 1.0,
    };
    (room * factor).clamp(1.0, MOST_ROOM)
}

fn share(late: u64, of: u64) -> f64 {
    if of == 0 { 0.0 } else { late as f64 / of as f64 }
}

/// The share that `late` of `of` stand for is at least so large (Wilson's score interval).
pub(super) fn lower_bound(late: u64, of: u64) -> f64 {
    if of == 0 {
        return 0.0;
    }
    let (n, p, z2) = (of as f64, share(late, of), Z * Z);
    let spread = Z * (p * (1.0 - p).max(0.0) / n + z2 / (4.0 * n * n)).sqrt();
    ((p + z2 / (2.0 * n) - spread) / (1.0 + z2 / n)).max(0.0)
}
