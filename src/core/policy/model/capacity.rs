//! How much of the load one server may carry, from the latency target.
//!
//! A server with c workers is taken for the queue M/G/c. The busier it is, the more requests wait,
//! and the longer; the limit is where waiting has used up a quarter of the requests that may be late.

use crate::core::estimate::load::{Calm, Service};
use crate::core::settings::{Statistic, Target};

/// Less than this of a server is never used: below it nothing waits, whatever the target.
const LEAST_UTILIZATION: f64 = 0.30;
/// Between two utilizations that are tried: finer than the figures they are made from.
const STEP: f64 = 0.025;
/// Waiting may make this share of the late requests that the target allows. The rest is for what
/// this model does not know: bursts, cold caches, servers that are not alike.
const WAITING_SHARE: f64 = 0.25;
/// A mean says nothing of single requests; if it is to be kept, about half of them are above it.
const BUDGET_OF_A_MEAN: f64 = 0.5;
/// Of a p100: nobody can keep it, and a limit of 0 would leave nothing to compare with.
const LEAST_BUDGET: f64 = 0.001;

/// What is promised.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Promise {
    /// Requests above it are late; seconds.
    pub(super) below: f64,
    /// This share of them may be.
    pub(super) budget: f64,
}

impl Promise {
    pub(super) fn of(target: &Target) -> Self {
        let budget = match target.statistic {
            Statistic::Percentile(percentile) => (1.0 - percentile.value() / 100.0).max(LEAST_BUDGET),
            Statistic::Mean | Statistic::MeanOfLast(_) => BUDGET_OF_A_MEAN,
        };
        Self { below: target.below.as_secs_f64(), budget }
    }

    /// The share of late requests that is too much where `floor` is late with a free worker.
    pub(super) fn limit(&self, floor: f64) -> f64 {
        self.budget.max(1.5 * floor + 0.01)
    }
}

/// The largest share of a server's workers that may be busy, whatever the target.
///
/// Without a knee they are only as many as were busy at once without a wait. Kept to the usual share of
/// those, a server with many workers would never be busy enough to show that it has more; so half of the
/// reserve goes until it does.
pub(super) fn most(service: &Service, utilization_max: f64) -> f64 {
    if service.knee { utilization_max } else { f64::midpoint(utilization_max, 1.0) }
}

/// The largest share of a server's workers that may be busy while `promise` is kept, 0.30 to `most`.
///
/// Where requests are late that found a free worker, and more of them than may be, no number of
/// servers keeps the promise: it is `most`, so that nothing is wasted on it.
pub(super) fn utilization(service: &Service, calm: &Calm, promise: Promise, most: f64) -> f64 {
    if calm.floor > promise.budget {
        return most;
    }
    let limit = calm.floor + WAITING_SHARE * promise.budget;
    let at = |step: u32| LEAST_UTILIZATION + f64::from(step) * STEP;
    let steps = ((most - LEAST_UTILIZATION) / STEP + 1e-6).max(0.0) as u32;
    // `late` rises with the utilization, so half of the steps can be left out each time.
    let (mut kept, mut missed) = (0, steps + 1);
    while missed - kept > 1 {
        let middle = (kept + missed) / 2;
        if late(at(middle), service, calm, promise.below) <= limit { kept = middle } else { missed = middle }
    }
    if kept == steps { most.max(LEAST_UTILIZATION) } else { at(kept) }
}

/// The share of requests above `below` seconds when `utilization` of the workers is busy.
fn late(utilization: f64, service: &Service, calm: &Calm, below: f64) -> f64 {
    let waiting = waiting(utilization, service.workers);
    let wait = mean_wait(utilization, service).max(f64::MIN_POSITIVE);
    let late_after_waiting = |latency: f64| (-(below - latency).max(0.0) / wait).exp();
    let mean: f64 = match calm.latencies.is_empty() {
        true => late_after_waiting(service.time),
        false => calm.latencies.iter().map(|&(latency, share)| share * late_after_waiting(latency)).sum(),
    };
    calm.floor + waiting * (mean - calm.floor).max(0.0)
}

/// The probability of having to wait (Sakasegawa's approximation).
fn waiting(utilization: f64, workers: f64) -> f64 {
    utilization.powf((2.0 * (workers + 1.0)).sqrt() - 1.0)
}

/// How long those wait that have to, on average, in seconds; taken as exponential.
fn mean_wait(utilization: f64, service: &Service) -> f64 {
    let variation = (0.6 + service.cv * service.cv) / 2.0;
    variation * service.time / (service.workers * (1.0 - utilization))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::policy::model::testing::calm;
    use crate::core::units::Percentile;

    /// A target of 5 S for 95 %, utilization at most 0.80.
    #[track_caller]
    fn check(workers: f64, cv: f64, expected: f64) {
        let service = Service { time: 0.08, workers, knee: true, cv };
        let promise = Promise { below: 0.4, budget: 0.05 };
        let found = utilization(&service, &calm(0.08, cv, 0.4), promise, 0.8);
        assert!((found - expected).abs() < 1e-9, "c = {workers}, CV {cv}: {found}, not {expected}");
    }

    #[test]
    fn with_few_workers_the_target_decides_and_with_many_the_most_allowed() {
        check(2.0, 1.0, 0.575);
        check(1.0, 0.5, 0.575);
        check(1.0, 1.0, 0.30);
        check(40.0, 1.0, 0.80);
    }

    #[test]
    fn a_server_whose_limit_was_not_seen_may_come_nearer_to_it() {
        let at = |knee| most(&Service { time: 0.25, workers: 20.0, knee, cv: 0.5 }, 0.8);
        assert!((at(true) - 0.8).abs() < 1e-9 && (at(false) - 0.9).abs() < 1e-9);
    }

    #[test]
    fn a_promise_that_no_number_of_servers_keeps_costs_nothing() {
        let service = Service { time: 0.08, workers: 1.0, knee: true, cv: 1.0 };
        let at = |floor: f64| {
            let calm = Calm { floor, latencies: vec![(0.08, 1.0 - floor), (0.5, floor)] };
            utilization(&service, &calm, Promise { below: 0.1, budget: 0.05 }, 0.8)
        };
        assert_eq!((at(0.04), at(0.06)), (0.30, 0.80));
    }

    #[test]
    fn without_calm_requests_the_service_time_stands_for_them() {
        let service = Service { time: 0.08, workers: 8.0, knee: true, cv: 1.0 };
        let found = |below| utilization(&service, &Calm::default(), Promise { below, budget: 0.05 }, 0.8);
        assert_eq!(found(0.4), 0.8);
        assert!(found(0.09) < 0.6, "{}", found(0.09));
    }

    #[test]
    fn a_mean_and_a_p100_have_a_budget_too() {
        #[track_caller]
        fn check(statistic: Statistic, budget: f64) {
            let target = Target { statistic, ..crate::core::policy::model::testing::settings().target };
            assert!((Promise::of(&target).budget - budget).abs() < 1e-9);
        }
        let percentile = |value| Statistic::Percentile(Percentile::new(value).expect("it is one"));
        check(percentile(95.0), 0.05);
        check(percentile(99.9), 0.001);
        check(percentile(100.0), 0.001);
        check(Statistic::Mean, 0.5);
        check(Statistic::MeanOfLast(100), 0.5);
    }
}
