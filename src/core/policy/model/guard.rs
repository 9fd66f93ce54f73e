//! The latency target's say: what a server may carry is cut while the target is missed, and given
//! back slowly.
//!
//! `gamma` is fast and answers for the last seconds; `room` is slow and answers for the promise
//! over a quarter of an hour. Neither acts on requests that were late with a free worker, nor while
//! servers are needed that cannot be had: then a lack of servers makes requests late, and not what each carries.

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
    /// Evaluations of the present minute at which servers were lacking, of all.
    lacking: (u32, u32),
    /// Minutes in which they mostly were, the newest in the lowest bit.
    lacked: u32,
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
    /// More servers are needed, and cannot be had.
    pub(super) lacking: bool,
}

impl Default for Guard {
    fn default() -> Self {
        Self {
            gamma: 1.0,
            room: 1.0,
            checked: None,
            cut: None,
            backlog: None,
            minute: None,
            lacking: (0, 0),
            lacked: 0,
        }
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
        self.lacking.0 += u32::from(used.lacking);
        self.lacking.1 += 1;
        if is_due(&mut self.checked, CHECK_EVERY, now) {
            self.check(load, promise, used, now);
        }
        if is_due(&mut self.minute, MINUTE, now) {
            let (lacking, of) = std::mem::take(&mut self.lacking);
            self.lacked = self.lacked << 1 | u32::from(2 * lacking >= of);
            self.room = new_room(self.room, &load.misses, self.lacked, promise.limit(load.calm.floor));
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
        let is_late = lower_bound(late, of) > promise.limit(floor);
        if is_late && used.lacking {
            return;
        }
        if is_late && used.of_workers > LEAST_UTILIZATION {
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

/// `lacked`: minutes that say nothing, the newest in the lowest bit.
fn new_room(room: f64, misses: &Misses, lacked: u32, limit: f64) -> f64 {
    let newest_first = misses.minutes.iter().rev().enumerate();
    let telling = newest_first.filter(|(age, _)| lacked.checked_shr(*age as u32).unwrap_or(0) & 1 == 0);
    let minutes: Vec<(u64, u64)> = telling.map(|(_, minute)| *minute).collect();
    let (late, of) = minutes.iter().fold((0, 0), |sum, minute| (sum.0 + minute.0, sum.1 + minute.1));
    if of < LEAST_REQUESTS_FOR_ROOM {
        return room;
    }
    let is_late: Vec<bool> = minutes.iter().map(|&(late, of)| share(late, of) > limit).collect();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::policy::model::testing::steady;

    const PROMISE: Promise = Promise { below: 0.4, budget: 0.05 };
    const QUIET_USE: Use =
        Use { of_workers: 0.7, of_limit: 0.9, unchanged_for: Duration::from_secs(60), lacking: false };

    /// What is left of gamma after a minute in which `late` of 1000 requests were.
    #[track_caller]
    fn check(late: u64, used: Use, change: impl Fn(&mut LoadFigures), expected: f64) {
        let mut load =
            LoadFigures { misses: Misses { last_15: (late, 1000), minutes: vec![] }, ..steady(100.0) };
        load.calm.floor = 0.01;
        change(&mut load);
        let (mut guard, start) = (Guard::default(), Instant::now());
        (0..=60).for_each(|second| {
            guard.observe(&load, PROMISE, used, start + Duration::from_secs(second));
        });
        assert!((guard.gamma() - expected).abs() < 1e-9, "{}", guard.gamma());
    }

    #[test]
    fn a_missed_target_cuts_what_a_server_may_carry() {
        check(100, QUIET_USE, |_| {}, 0.6);
        check(60, QUIET_USE, |_| {}, 1.0); // might be chance
        check(100, Use { of_workers: 0.4, ..QUIET_USE }, |_| {}, 1.0);
        check(100, Use { unchanged_for: Duration::from_secs(20), ..QUIET_USE }, |_| {}, 1.0);
        check(100, Use { lacking: true, ..QUIET_USE }, |_| {}, 1.0);
        check(100, QUIET_USE, |load| load.backlog = 3.0, 1.0);
        check(100, QUIET_USE, |load| load.misses.last_15 = (6, 59), 1.0);
        check(100, QUIET_USE, |load| load.calm.floor = 0.09, 1.0); // with a free worker as well
    }

    #[test]
    fn what_was_cut_comes_back_slowly_while_servers_are_well_used() {
        let start = Instant::now();
        let at = |second| start + Duration::from_secs(second);
        let mut guard = Guard { gamma: 0.9, cut: Some(start), ..Guard::default() };
        let load = LoadFigures { misses: Misses { last_15: (5, 1000), minutes: vec![] }, ..steady(100.0) };
        (0..120).for_each(|second| guard.observe(&load, PROMISE, QUIET_USE, at(second)));
        assert_eq!(guard.gamma(), 0.9, "not within two minutes");
        (120..180).for_each(|second| guard.observe(&load, PROMISE, QUIET_USE, at(second)));
        assert!((guard.gamma() - 0.96).abs() < 0.006, "{}", guard.gamma());
        let idle = Use { of_limit: 0.5, ..QUIET_USE };
        let before = guard.gamma();
        (180..400).for_each(|second| guard.observe(&load, PROMISE, idle, at(second)));
        assert_eq!(guard.gamma(), before, "servers with little to do prove nothing");
    }

    /// `minutes` of 1000 requests, of which this many are late.
    #[track_caller]
    fn check_room(before: f64, minutes: &[u64], expected: f64) {
        check_room_where(before, minutes, 0, expected);
    }

    /// The same where servers were lacking in some of them, the last in the lowest bit.
    #[track_caller]
    fn check_room_where(before: f64, minutes: &[u64], lacked: u32, expected: f64) {
        let misses = Misses { last_15: (0, 0), minutes: minutes.iter().map(|late| (*late, 1000)).collect() };
        let found = new_room(before, &misses, lacked, 0.05);
        assert!((found - expected).abs() < 1e-9, "{found}");
    }

    #[test]
    fn bursts_that_come_back_buy_room_and_one_crowd_does_not() {
        check_room(1.0, &[0, 300, 0, 300, 0, 300, 0, 0], 1.12);
        check_room(1.0, &[0, 0, 300, 300, 300, 0, 0, 0], 1.0);
        check_room(1.0, &[60; 8], 1.12);
        check_room(1.95, &[60; 8], 2.0);
    }

    #[test]
    fn room_that_is_not_needed_is_given_back() {
        check_room(1.5, &[40; 15], 1.5);
        check_room(1.5, &[29; 15], 1.5 * 0.985);
        check_room(1.5, &[5; 15], 1.5 * 0.95);
        check_room(1.01, &[5; 15], 1.0);
        let few = Misses { last_15: (0, 0), minutes: vec![(0, 10); 15] };
        assert_eq!(new_room(1.5, &few, 0, 0.05), 1.5, "too few requests to say");
    }

    #[test]
    fn minutes_in_which_servers_were_lacking_buy_no_room() {
        check_room_where(1.0, &[0, 0, 0, 300, 300, 300, 300, 300, 300, 300, 300, 300], 0b1_1111_1111, 1.0);
        check_room_where(1.5, &[0, 0, 0, 300, 300], 0b11, 1.5 * 0.95);
        check_room_where(1.0, &[60, 60, 60, 60, 60, 60, 60, 60, 300], 0b1, 1.12);
    }

    #[test]
    fn a_minute_counts_as_lacking_if_most_of_it_was() {
        #[track_caller]
        fn check(lacking_s: u64, expected: u32) {
            let (mut guard, start) = (Guard::default(), Instant::now());
            for second in 0..=60 {
                let used = Use { lacking: second < lacking_s, ..QUIET_USE };
                guard.observe(&steady(100.0), PROMISE, used, start + Duration::from_secs(second));
            }
            assert_eq!(guard.lacked, expected);
        }
        check(25, 0);
        check(35, 1);
    }

    #[test]
    fn wilsons_lower_bound_is_below_the_share_and_nears_it() {
        assert_eq!(lower_bound(0, 0), 0.0);
        assert!(lower_bound(5, 60) < 0.05 && lower_bound(5000, 60_000) > 0.08);
        assert!(lower_bound(60, 60) < 1.0);
    }
}
