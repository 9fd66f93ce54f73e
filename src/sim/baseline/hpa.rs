//! Kubernetes' HorizontalPodAutoscaler on a metric of the whole service: the mean latency.
//!
//! `desired = ceil(ready x metric / target)`, nothing within 10 %; a sync every 15 s; on the way down
//! the largest wish of the last 5 min; on the way up at most 4 pods or 100 % more in 15 s, whichever
//! is more (Kubernetes documentation, Horizontal Pod Autoscaling, "Algorithm details" and "Default
//! behavior"; `getUsageRatioReplicaCount` in `pkg/controller/podautoscaler/replica_calculator.go`).
//! Without a request there is no metric, and nothing changes.
//!
//! The target is a quarter of the promise. Latency says little below the knee: at the promise itself it
//! would start servers when they are late already.

use super::pool::{ordered, resize, serving};
use super::recent::Recent;
use crate::core::log::sample::Sample;
use crate::core::settings::Timer;
use crate::sim::{Autoscaler, Order, Seen};

/// `--horizontal-pod-autoscaler-sync-period`; the scaling policies' `periodSeconds` is the same.
const SYNC_S: f64 = 15.0;
/// `--horizontal-pod-autoscaler-tolerance`.
const TOLERANCE: f64 = 0.1;
/// `scaleDown.stabilizationWindowSeconds`.
const DOWN_WINDOW_S: f64 = 300.0;
/// Pods that `scaleUp.policies` always allow in a period, besides twice as many as there are.
const MOST_NEW: usize = 4;
/// See the module's text.
const TARGET_SHARE: f64 = 0.25;

/// See the module's text.
pub(super) struct Hpa {
    name: String,
    target_ms: f64,
    /// Of the requests since the last sync.
    sum_ms: f64,
    count: f64,
    next_s: f64,
    wishes: Recent<usize>,
}

impl Hpa {
    pub(super) fn new(name: String, promise_ms: u32) -> Self {
        Self {
            name,
            target_ms: TARGET_SHARE * f64::from(promise_ms),
            sum_ms: 0.0,
            count: 0.0,
            next_s: 0.0,
            wishes: Recent::new(DOWN_WINDOW_S),
        }
    }

    /// The servers it settles on, of `current` ordered and `ready` serving ones.
    fn decide(&mut self, now_s: f64, current: usize, ready: usize, ratio: f64) -> usize {
        if self.wishes.all().next().is_none() {
            // It begins with what there is, as if it had wished for that.
            self.wishes.add(now_s, current);
        }
        let wish = desired(current, ready, ratio);
        self.wishes.add(now_s, wish);
        let highest = self.wishes.all().max().unwrap_or(wish);
        if wish < current {
            highest.min(current)
        } else {
            wish.min(current.saturating_mul(2).max(current + MOST_NEW))
        }
    }
}

impl Autoscaler for Hpa {
    fn name(&self) -> &str {
        &self.name
    }

    fn record(&mut self, sample: &Sample) {
        let waited = sample.timers.get(Timer::Tw).unwrap_or(0);
        let whole = sample
            .timers
            .get(Timer::Tr)
            .map_or_else(|| sample.timers.waited(), |tr| waited.saturating_add(tr));
        self.sum_ms += f64::from(whole);
        self.count += 1.0;
    }

    fn tick(&mut self, seen: &Seen<'_>) -> Vec<Order> {
        if seen.now_s < self.next_s {
            return Vec::new();
        }
        self.next_s = seen.now_s + SYNC_S;
        if self.count == 0.0 {
            return Vec::new();
        }
        let ratio = self.sum_ms / self.count / self.target_ms;
        (self.sum_ms, self.count) = (0.0, 0.0);
        let wanted = self.decide(seen.now_s, ordered(seen), serving(seen), ratio);
        resize(seen, wanted.clamp(1, seen.servers.len()))
    }
}

/// Before stabilization and limits.
fn desired(current: usize, ready: usize, ratio: f64) -> usize {
    if (ratio - 1.0).abs() <= TOLERANCE {
        return current;
    }
    (ready as f64 * ratio).ceil() as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::baseline::testing::{World, orders, sample};

    #[test]
    fn the_examples_of_the_documentation() {
        // 200m with a target of 100m doubles, 50m halves, within 0.1 nothing is done.
        assert_eq!(desired(4, 4, 2.0), 8);
        assert_eq!(desired(4, 4, 0.5), 2);
        assert_eq!(desired(4, 4, 1.09), 4);
        assert_eq!(desired(4, 4, 0.91), 4);
        assert_eq!(desired(4, 4, 1.11), 5);
        // Those that are not ready do not count.
        assert_eq!(desired(6, 2, 2.0), 4);
    }

    #[track_caller]
    fn check(wishes: &[(f64, usize, f64, usize)]) {
        let mut hpa = Hpa::new("hpa".to_owned(), 400);
        for &(now_s, current, ratio, expected) in wishes {
            assert_eq!(hpa.decide(now_s, current, current, ratio), expected, "at {now_s} s");
        }
    }

    #[test]
    fn down_goes_the_largest_wish_of_five_minutes() {
        check(&[
            (0.0, 10, 0.5, 10),
            (150.0, 10, 0.7, 10),
            (285.0, 10, 0.5, 10),
            (300.0, 10, 0.5, 7),
            (450.0, 7, 0.3, 5),
        ]);
    }

    #[test]
    fn up_goes_four_or_twice_as_many_at_once() {
        check(&[(0.0, 2, 9.0, 6), (15.0, 6, 9.0, 12), (30.0, 12, 1.3, 16)]);
    }

    #[test]
    fn the_mean_since_the_last_sync_decides_and_silence_does_not() {
        let mut hpa = Hpa::new("hpa".to_owned(), 400);
        let mut world = World::new("on on off off off off");
        let mut after = |now_s, latencies: &[i32]| {
            latencies.iter().for_each(|&tr| hpa.record(&sample([0, 50, 0, tr, tr + 50])));
            orders(&hpa.tick(&world.at(now_s).seen()))
        };
        assert_eq!(after(0.0, &[50, 50]), "");
        assert_eq!(after(14.0, &[200, 200]), "");
        assert_eq!(after(15.0, &[]), "+2 +3 +4");
        assert_eq!(after(30.0, &[]), "");
        // Nobody had room for it: what it waited counts.
        assert_eq!(after(45.0, &[-1]), "");
        let mut hpa = Hpa::new("hpa".to_owned(), 400);
        hpa.record(&sample([0, 180, -1, -1, 180]));
        assert_eq!(hpa.sum_ms, 180.0);
    }
}
