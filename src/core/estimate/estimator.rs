//! The estimates of one backend and of its servers.
//!
//! In: the backend's samples, each with the `now` at which its line was read. Out: snapshots. It
//! knows nothing of other backends, of HAProxy's counters or of what the figures are for.
//!
//! Memory depends on the slowest request of each slot (`benches/window.rs`, all slots in use):
//! ```text
//!  slowest              250 ms      1 s      4 s     30 s
//!  a server            7.4 kB   13.5 kB  19.7 kB  28.9 kB
//!  the backend itself   16 kB     29 kB    43 kB    63 kB
//! ```
//! The budget is 26 KiB a server, its tenth of a backend included; a test below holds it up to
//! 4 s. Up to 64 requests in a slot, and in the whole window, cost 4 bytes each instead, and a server without
//! requests in the window nothing.

use std::collections::BTreeMap;
use std::time::Instant;

use super::figures::{Figures, Watch};
use super::latency::latency_of;
use super::snapshot::Snapshot;
use super::window::Window;
use crate::core::log::sample::Sample;
use crate::core::names::ServerId;
use crate::core::settings::{Target, WindowSettings};

pub use super::window::Recorded;

/// Decisions rest on the backend's window, so it is the finer one: of 30 s, at least 27.5 s are
/// covered at any time.
const BACKEND_SLOTS: usize = 12;

/// Servers are only compared with each other, which bears coarser steps, and there are many of
/// them: a sixth slot would break the budget above.
const SERVER_SLOTS: usize = 5;

/// Turns the samples of one backend into snapshots of it and of its servers.
#[derive(Clone, Debug)]
pub struct Estimator {
    target: Target,
    settings: WindowSettings,
    started: Instant,
    backend: Figures,
    servers: BTreeMap<ServerId, Figures>,
    /// The newest slot of the servers' windows when idle ones were last looked for.
    swept: i64,
    /// An empty window that moves on with `now`: the beginning of every new server's.
    blank: Window,
    late: u64,
}

impl Estimator {
    /// Knows nothing yet. `started` is when watching began: before `settings.length` has passed
    /// since, figures say less than they seem to.
    pub fn new(target: Target, settings: WindowSettings, started: Instant) -> Self {
        let window = |slots| Window::new(settings.length, slots, started);
        Self {
            target,
            settings,
            started,
            backend: Figures::new(window(BACKEND_SLOTS), target.statistic),
            servers: BTreeMap::new(),
            swept: 0,
            blank: window(SERVER_SLOTS),
            late: 0,
        }
    }

    /// Counts one request of this backend (whatever `sample.backend` says), at its own `end`.
    pub fn record(&mut self, sample: &Sample, now: Instant) -> Recorded {
        let latency = latency_of(sample, &self.target);
        let recorded = self.backend.record(sample, latency.map(|it| it.ms), sample.beconn, now);
        if recorded == Recorded::TooLate {
            self.late += 1;
            return recorded;
        }
        if let Some(server) = sample.server {
            let (blank, statistic) = (&self.blank, self.target.statistic);
            let figures =
                self.servers.entry(server).or_insert_with(|| Figures::new(blank.clone(), statistic));
            let latency_ms = latency.filter(|it| it.server).map(|it| it.ms);
            // The server's window may begin half a slot later; then it is too late for the server only.
            figures.record(sample, latency_ms, sample.srv_conn, now);
        }
        recorded
    }

    /// The backend at `now`.
    pub fn snapshot(&mut self, now: Instant) -> Snapshot {
        self.forget_idle_servers(now);
        self.backend.snapshot(&self.watch(now))
    }

    /// One server at `now`; `None` if the window has no request of it.
    pub fn server(&mut self, server: ServerId, now: Instant) -> Option<Snapshot> {
        self.forget_idle_servers(now);
        let watch = self.watch(now);
        let figures = self.servers.get_mut(&server).filter(|figures| !figures.is_idle())?;
        Some(figures.snapshot(&watch))
    }

    /// The servers that had requests in the window at the last snapshot, and new ones since.
    pub fn servers(&self) -> impl Iterator<Item = ServerId> {
        self.servers.keys().copied()
    }

    /// How many samples were [`Recorded::TooLate`].
    pub fn late(&self) -> u64 {
        self.late
    }

    fn watch(&self, now: Instant) -> Watch {
        Watch { statistic: self.target.statistic, length: self.settings.length, started: self.started, now }
    }

    /// Costs nothing but once a slot.
    fn forget_idle_servers(&mut self, now: Instant) {
        self.blank.advance(now);
        if self.blank.newest() == self.swept {
            return;
        }
        self.swept = self.blank.newest();
        self.servers.retain(|_, figures| {
            figures.advance(now);
            !figures.is_idle()
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::super::testing::{answered, start};
    use super::*;
    use crate::core::log::sample::{Class, Timers};
    use crate::core::names::Names;
    use crate::core::settings::{Statistic, Timer};
    use crate::core::units::Percentile;

    const LENGTH: Duration = Duration::from_secs(30);

    fn estimator(statistic: Statistic, started: Instant) -> Estimator {
        let target = Target { timer: Timer::Tr, statistic, below: Duration::from_millis(250) };
        Estimator::new(target, WindowSettings { length: LENGTH, min_samples: 50 }, started)
    }

    fn p95() -> Statistic {
        Statistic::Percentile(Percentile::new(95.0).unwrap())
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn s(s: u64) -> Duration {
        Duration::from_secs(s)
    }

    #[test]
    fn nothing_seen_is_nothing_said() {
        let t0 = start();
        let seen = estimator(p95(), t0).snapshot(t0);
        assert_eq!((seen.latency, seen.mean, seen.newest, seen.connections), (None, None, None, None));
        assert_eq!((seen.samples, seen.rate, seen.concurrency), (0, 0.0, 0.0));
    }

    #[test]
    fn requests_leave_the_window_when_their_time_is_over_even_if_no_line_comes() {
        let t0 = start();
        let mut estimator = estimator(p95(), t0);
        estimator.record(&answered(t0 + s(40), 80), t0 + s(40));
        assert_eq!(estimator.snapshot(t0 + s(67)).samples, 1);
        let seen = estimator.snapshot(t0 + s(70));
        assert_eq!((seen.samples, seen.latency, seen.rate), (0, None, 0.0));
        assert_eq!((seen.newest, seen.observed, seen.watched), (Some(s(30)), s(30), s(70)));
    }

    #[test]
    fn a_late_line_counts_at_its_own_time_and_a_very_late_one_not_at_all() {
        let t0 = start();
        let mut estimator = estimator(p95(), t0);
        let now = t0 + s(100);
        assert_eq!(estimator.record(&answered(now - s(20), 80), now), Recorded::InWindow);
        assert_eq!(estimator.record(&answered(now - s(31), 9000), now), Recorded::TooLate);
        assert_eq!(estimator.record(&answered(t0 - s(1), 9000), now), Recorded::TooLate);
        let seen = estimator.snapshot(now);
        assert_eq!((seen.samples, seen.latency, seen.newest), (1, Some(ms(80)), Some(s(20))));
        assert_eq!(estimator.late(), 2);
        assert_eq!(estimator.snapshot(now + s(11)).samples, 0);
    }

    #[test]
    fn a_line_from_the_future_counts_now() {
        let t0 = start();
        let mut estimator = estimator(p95(), t0);
        assert_eq!(estimator.record(&answered(t0 + s(500), 80), t0), Recorded::InWindow);
        assert_eq!(estimator.snapshot(t0).newest, Some(Duration::ZERO));
        assert_eq!(estimator.snapshot(t0 + s(31)).samples, 0);
    }

    #[test]
    fn rate_concurrency_and_queue_time_are_those_of_the_window() {
        let t0 = start();
        let mut estimator = estimator(p95(), t0);
        for k in 0..600 {
            let end = t0 + ms(k * 100);
            // Each has 100 ms of queue, 20 ms of connecting, 180 ms of server, 700 ms of download.
            let timers = Timers::new([5, 100, 20, 180, 1000]);
            estimator.record(&Sample { timers, beconn: 7, ..answered(end, 0) }, end);
        }
        let seen = estimator.snapshot(t0 + s(60));
        assert!((seen.rate - 10.0).abs() < 0.2, "{}", seen.rate);
        assert!((seen.concurrency - 3.0).abs() < 0.1, "{}", seen.concurrency);
        assert_eq!((seen.queue_time, seen.connections), (Some(ms(100)), Some(7)));
    }

    #[test]
    fn requests_without_an_answer_kept_somebody_busy_all_the_same() {
        let t0 = start();
        let mut estimator = estimator(p95(), t0);
        let timers = Timers::new([2000, 0, 1, -1, 12_000]);
        let hung = Sample { class: Class::Server, timed_out: true, timers, ..answered(t0 + s(1), 0) };
        estimator.record(&hung, t0 + s(1));
        assert_eq!(estimator.snapshot(t0 + s(10)).concurrency, 1.0);
    }

    #[test]
    fn rates_just_after_the_start_are_of_the_time_watched() {
        let t0 = start();
        let mut estimator = estimator(p95(), t0);
        for k in 0..50 {
            estimator.record(&answered(t0 + ms(k * 100), 80), t0 + s(5));
        }
        assert_eq!(estimator.snapshot(t0 + s(5)).rate, 10.0);
    }

    #[test]
    fn failures_are_counted_by_class_and_do_not_make_the_backend_faster() {
        let t0 = start();
        let mut estimator = estimator(Statistic::Mean, t0);
        for class in [Class::Success, Class::Server, Class::Saturation, Class::Client, Class::Proxy] {
            let ms = if class == Class::Success { 200 } else { 1 };
            let timers = Timers::new([0, 0, 0, if ms == 1 { -1 } else { ms }, ms]);
            estimator.record(&Sample { class, timers, ..answered(t0, 0) }, t0);
        }
        let seen = estimator.snapshot(t0);
        assert_eq!((seen.tally.total(), seen.tally.saturation), (5, 1));
        assert_eq!((seen.samples, seen.latency), (1, Some(ms(200))));
    }

    #[test]
    fn a_server_is_not_charged_for_the_queue_before_it() {
        let t0 = start();
        let mut estimator = estimator(p95(), t0);
        let timers = Timers::new([0, 5000, -1, -1, 5000]);
        let left = Sample { class: Class::Saturation, timed_out: true, timers, ..answered(t0, 0) };
        estimator.record(&left, t0);
        assert_eq!(estimator.snapshot(t0).samples, 1);
        let server = estimator.server(left.server.unwrap(), t0).unwrap();
        assert_eq!((server.samples, server.tally.saturation), (0, 1));
    }

    #[test]
    fn a_server_without_requests_is_forgotten_and_may_come_back() {
        let t0 = start();
        let mut estimator = estimator(p95(), t0);
        let sample = answered(t0, 80);
        let server = sample.server.unwrap();
        estimator.record(&sample, t0);
        assert_eq!(estimator.server(server, t0 + s(1)).map(|seen| seen.samples), Some(1));
        assert_eq!(estimator.server(server, t0 + s(31)), None);
        assert_eq!(estimator.servers().count(), 0);
        estimator.record(&answered(t0 + s(90), 90), t0 + s(90));
        assert_eq!(estimator.server(server, t0 + s(91)).and_then(|seen| seen.latency), Some(ms(90)));
    }

    #[test]
    fn the_mean_of_the_last_n_waits_for_n_and_then_knows_no_age() {
        let t0 = start();
        let mut estimator = estimator(Statistic::MeanOfLast(3), t0);
        let mut after = |at, ms| {
            estimator.record(&answered(t0 + s(at), ms), t0 + s(at));
            let seen = estimator.snapshot(t0 + s(at));
            (seen.latency, seen.samples)
        };
        assert_eq!(after(0, 900), (None, 1));
        assert_eq!(after(1, 100), (None, 2));
        assert_eq!(after(2, 200), (Some(ms(400)), 3));
        assert_eq!(after(3, 300), (Some(ms(200)), 3));
        assert_eq!(after(300, 700), (Some(ms(400)), 3));
        assert_eq!(estimator.snapshot(t0 + s(340)).latency, None, "nothing came for a whole window");
    }

    #[test]
    fn a_clock_that_stands_still_or_goes_back_changes_nothing() {
        let t0 = start();
        let mut estimator = estimator(p95(), t0);
        estimator.record(&answered(t0 + s(50), 80), t0 + s(50));
        assert_eq!(estimator.snapshot(t0 + s(10)).samples, 1);
        assert_eq!(estimator.snapshot(t0 + s(50)).samples, 1);
    }

    /// The budget: 26 KiB a server, of 10 in a backend, whose own window is included.
    #[test]
    fn ten_servers_and_their_backend_stay_in_budget_up_to_four_seconds() {
        let t0 = start();
        let mut estimator = estimator(p95(), t0);
        let names = Names::default();
        let backend = names.backend("web").unwrap();
        for slot in 0..12 {
            // More than are kept one by one.
            for n in 0..10 * 65 {
                let server = names.server(backend, &format!("s{}", n % 10));
                let end = t0 + slot * LENGTH / 12;
                estimator.record(&Sample { server, ..answered(end, 4_000) }, end);
            }
        }
        let windows = estimator.servers.values().chain([&estimator.backend]).map(Figures::bytes);
        let total: usize = windows.sum();
        assert!(total <= 10 * 26 * 1024, "{} bytes a server", total / 10);
    }

    /// `(age_ms, latency_ms)` of requests at the moment they are looked at.
    fn requests() -> impl Strategy<Value = Vec<(u64, i32)>> {
        let latency = prop_oneof![0..300i32, 0..5_000, 0..4_000_000];
        proptest::collection::vec((0u64..40_000, latency), 1..400)
    }

    /// The request in the middle of things is at most one histogram step below what is said.
    fn is_within_a_step(said: Option<Duration>, sorted: &[u64], percent: f64) -> bool {
        let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
        let truth = sorted[rank.clamp(1, sorted.len()) - 1];
        let said = said.map_or(u64::MAX, |said| said.as_millis() as u64);
        said >= truth && said - truth <= truth / 128
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn percentiles_are_within_one_step_of_the_sorted_truth_and_the_mean_is_exact(requests in requests()) {
            let now = start() + s(100);
            let mut estimator = estimator(p95(), now - s(100));
            let mut truth = Vec::new();
            for &(age_ms, latency_ms) in &requests {
                let sample = answered(now - ms(age_ms), latency_ms);
                if estimator.record(&sample, now) == Recorded::InWindow {
                    truth.push(latency_ms as u64);
                } else {
                    prop_assert!(age_ms > 27_500, "{age_ms} ms is not old");
                }
            }
            let seen = estimator.snapshot(now);
            truth.sort_unstable();
            prop_assert_eq!(seen.samples, truth.len() as u64);
            if truth.is_empty() {
                return Ok(());
            }
            for (said, percent) in [(seen.p50, 50.0), (seen.p95, 95.0), (seen.p99, 99.0), (seen.latency, 95.0)] {
                prop_assert!(is_within_a_step(said, &truth, percent), "p{percent} {said:?} of {truth:?}");
            }
            let mean_us = truth.iter().sum::<u64>() * 1000 / truth.len() as u64;
            prop_assert_eq!(seen.mean, Some(Duration::from_micros(mean_us)));
        }

        #[test]
        fn any_order_of_lines_gives_the_same_figures(requests in requests(), seed in any::<u64>()) {
            let now = start() + s(100);
            let see = |requests: &[(u64, i32)]| {
                let mut estimator = estimator(p95(), now - s(100));
                for &(age_ms, latency_ms) in requests {
                    estimator.record(&answered(now - ms(age_ms), latency_ms), now);
                }
                estimator.snapshot(now)
            };
            let mut shuffled = requests.clone();
            shuffled.sort_by_key(|&(age_ms, latency_ms)| (age_ms ^ seed).wrapping_mul(latency_ms as u64 | 1));
            prop_assert_eq!(see(&requests), see(&shuffled));
        }

        #[test]
        fn what_fell_out_leaves_no_trace(requests in requests(), step_ms in 1u64..20_000) {
            let t0 = start();
            let mut moving = estimator(p95(), t0);
            let mut arrivals: Vec<_> = requests.iter().map(|&(at_ms, latency_ms)| (t0 + ms(at_ms), latency_ms)).collect();
            arrivals.sort_unstable();
            for &(at, latency_ms) in &arrivals {
                moving.record(&answered(at, latency_ms), at);
            }
            for now in (0..=60_000u64).step_by(step_ms as usize).map(|past| t0 + ms(40_000 + past)) {
                let mut fresh = estimator(p95(), t0);
                for &(at, latency_ms) in &arrivals {
                    fresh.record(&answered(at, latency_ms), now);
                }
                let (seen, expected) = (moving.snapshot(now), fresh.snapshot(now));
                prop_assert_eq!((seen.samples, seen.p50, seen.p99), (expected.samples, expected.p50, expected.p99));
                prop_assert_eq!((seen.tally, seen.mean), (expected.tally, expected.mean));
                prop_assert!(seen.rate.is_finite() && seen.concurrency.is_finite());
            }
        }
    }
}
