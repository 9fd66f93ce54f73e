//! Knative's autoscaler (KPA) on concurrency: requests at once, over 60 s and over 6 s.
//!
//! Each 2 s, with `ready` pods: `ceil(mean concurrency / target)` for both windows, within
//! `floor(ready / 2)` and `ready x 1000`. Where the short window asks for twice the ready pods or
//! more, it panics: the larger of the two counts, never fewer than before, until 60 s have passed
//! without that. With a scale-down delay the largest wish within it holds. It starts in panic if there
//! is more than one pod (`pkg/autoscaler/scaling/autoscaler.go` and `config-autoscaler` of
//! knative/serving; Knative documentation, "Additional autoscaling configuration for Knative Pod
//! Autoscaler").
//!
//! The target is 70 % of the container's concurrency (`container-concurrency-target-percentage`), which
//! has to be told: here it is the true number of workers. Requests in HAProxy's queue count, as those in
//! Knative's activator do; so does a client that is still downloading. Scaling to zero is left out.

use super::pool::{resize, serving};
use super::recent::{Recent, mean};
use crate::core::log::sample::Sample;
use crate::sim::{Autoscaler, Order, Seen, ServerStage};

/// `tick-interval`.
const TICK_S: f64 = 2.0;
/// `stable-window`.
const STABLE_S: f64 = 60.0;
/// `panic-window-percentage`, 10 % of the stable window.
const PANIC_S: f64 = 6.0;
/// `container-concurrency-target-percentage`.
const TARGET_SHARE: f64 = 0.7;

/// See the module's text.
pub(super) struct Kpa {
    name: String,
    concurrency: Recent<f64>,
    decider: Option<Decider>,
    delay_s: f64,
    next_s: f64,
}

impl Kpa {
    /// With a `scale-down-delay` of `delay_s`; 0: without one.
    pub(super) fn new(name: String, delay_s: f64) -> Self {
        Self { name, concurrency: Recent::new(STABLE_S), decider: None, delay_s, next_s: 0.0 }
    }
}

impl Autoscaler for Kpa {
    fn name(&self) -> &str {
        &self.name
    }

    fn record(&mut self, _: &Sample) {}

    fn tick(&mut self, seen: &Seen<'_>) -> Vec<Order> {
        self.concurrency.add(seen.now_s, concurrency(seen));
        if seen.now_s < self.next_s {
            return Vec::new();
        }
        self.next_s = seen.now_s + TICK_S;
        let ready = serving(seen);
        let limits = Limits { target: TARGET_SHARE * seen.workers, ..Limits::DEFAULT };
        let decider =
            self.decider.get_or_insert_with(|| Decider::new(limits, ready, seen.now_s, self.delay_s));
        let stable = mean(self.concurrency.all());
        let panic = mean(self.concurrency.within(PANIC_S));
        let wanted = decider.scale(seen.now_s, ready, stable, panic);
        resize(seen, wanted.clamp(1, seen.servers.len()))
    }
}

/// Requests at once; those of a pod that is being deleted are seen by nobody.
fn concurrency(seen: &Seen<'_>) -> f64 {
    let ready = seen.servers.iter().filter(|server| server.stage == ServerStage::Serving);
    f64::from(seen.queued) + ready.map(|server| f64::from(server.requests)).sum::<f64>()
}

#[derive(Clone, Copy, Debug)]
struct Limits {
    /// Requests at once that a pod should have.
    target: f64,
    /// `max-scale-up-rate`.
    up_rate: f64,
    /// `max-scale-down-rate`.
    down_rate: f64,
    /// `panic-threshold-percentage`, as a part of 1.
    panic_threshold: f64,
}

impl Limits {
    const DEFAULT: Self = Self { target: 1.0, up_rate: 1000.0, down_rate: 2.0, panic_threshold: 2.0 };
}

/// From mean concurrencies to a number of pods.
#[derive(Debug)]
struct Decider {
    limits: Limits,
    /// When it last had a reason to panic; `None`: it is calm.
    panic_s: Option<f64>,
    /// The most that it wished for in this panic.
    most: usize,
    /// `None` without a scale-down delay.
    wishes: Option<Recent<usize>>,
}

impl Decider {
    fn new(limits: Limits, ready: usize, now_s: f64, delay_s: f64) -> Self {
        Self {
            limits,
            panic_s: (ready > 1).then_some(now_s),
            most: ready,
            wishes: (delay_s > 0.0).then(|| Recent::new(delay_s)),
        }
    }

    fn scale(&mut self, now_s: f64, ready: usize, stable: f64, panic: f64) -> usize {
        let limits = self.limits;
        let ready = ready.max(1) as f64;
        let (lowest, highest) = ((ready / limits.down_rate).floor(), (ready * limits.up_rate).ceil());
        let pods = |concurrency: f64| (concurrency / limits.target).ceil();
        let within = |pods: f64| pods.max(lowest).min(highest) as usize;
        self.look_for_panic(now_s, pods(panic) / ready >= limits.panic_threshold);
        let mut wanted = within(pods(stable));
        if self.panic_s.is_some() {
            self.most = self.most.max(wanted).max(within(pods(panic)));
            wanted = self.most;
        }
        let Some(wishes) = &mut self.wishes else { return wanted };
        wishes.add(now_s, wanted);
        wishes.all().max().unwrap_or(wanted)
    }

    fn look_for_panic(&mut self, now_s: f64, is_over: bool) {
        if is_over {
            self.panic_s = Some(now_s);
        } else if self.panic_s.is_some_and(|panic_s| now_s - panic_s > STABLE_S) {
            self.panic_s = None;
            self.most = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::baseline::testing::{World, orders};

    /// One that is calm, as in Knative's own tests: rates of 10, a panic at twice the pods.
    fn calm(target: f64) -> Decider {
        Decider::new(Limits { target, up_rate: 10.0, down_rate: 10.0, ..Limits::DEFAULT }, 1, 0.0, 0.0)
    }

    /// Steps of (seconds, ready pods, stable and panic concurrency, pods that it wants then).
    #[track_caller]
    fn check(mut decider: Decider, steps: &[(f64, usize, f64, f64, usize)]) {
        for &(now_s, ready, stable, panic, expected) in steps {
            assert_eq!(decider.scale(now_s, ready, stable, panic), expected, "at {now_s} s");
        }
    }

    #[test]
    fn calm_goes_by_the_long_window() {
        check(calm(10.0), &[(0.0, 8, 100.0, 100.0, 10), (2.0, 8, 50.0, 50.0, 5)]);
        check(calm(10.0), &[(0.0, 5, 50.0, 50.0, 5)]);
    }

    #[test]
    fn rates_limit_each_step() {
        check(calm(10.0), &[(0.0, 1, 1000.0, 1001.0, 10), (2.0, 10, 1000.0, 1001.0, 100)]);
        check(calm(10.0), &[(0.0, 100, 1.0, 1.0, 10), (2.0, 10, 1.0, 1.0, 1)]);
        // As it is configured by default, half of what is ready.
        let halves = Decider::new(Limits { target: 10.0, ..Limits::DEFAULT }, 1, 0.0, 0.0);
        check(halves, &[(0.0, 9, 1.0, 1.0, 4), (2.0, 4, 1.0, 1.0, 2), (4.0, 2, 1.0, 1.0, 1)]);
    }

    #[test]
    fn panic_keeps_the_most_until_the_long_window_has_passed() {
        check(
            calm(10.0),
            &[
                (0.0, 1, 100.0, 100.0, 10),
                (2.0, 10, 100.0, 1000.0, 100),
                (32.0, 10, 1.0, 1.0, 100),
                (63.0, 10, 1.0, 1.0, 1),
            ],
        );
    }

    #[test]
    fn panic_ends_though_the_load_still_grows_slowly() {
        check(
            calm(1.0),
            &[(0.0, 10, 11.0, 25.0, 25), (30.0, 40, 30.0, 41.0, 41), (62.0, 55, 50.0, 56.0, 50)],
        );
    }

    #[test]
    fn a_new_reason_to_panic_extends_it() {
        check(
            calm(1.0),
            &[(0.0, 10, 11.0, 25.0, 25), (30.0, 40, 30.0, 80.0, 80), (70.0, 80, 10.0, 10.0, 80)],
        );
    }

    #[test]
    fn a_panic_takes_the_larger_of_both_windows() {
        let begun = |ready| {
            Decider::new(
                Limits { target: 1.0, up_rate: 10.0, down_rate: 10.0, ..Limits::DEFAULT },
                ready,
                0.0,
                0.0,
            )
        };
        check(begun(5), &[(5.0, 5, 50.0, 30.0, 50)]);
        check(begun(5), &[(5.0, 5, 20.0, 30.0, 30)]);
        // It begins in panic, so as not to lose what is there.
        check(begun(5), &[(0.0, 5, 1.0, 1.0, 5)]);
    }

    #[test]
    fn a_delay_keeps_the_largest_wish() {
        let limits = Limits { target: 10.0, up_rate: 10.0, down_rate: 10.0, panic_threshold: 100.0 };
        check(
            Decider::new(limits, 1, 0.0, 300.0),
            &[
                (540.0, 1, 40.0, 40.0, 4),
                (600.0, 1, 30.0, 30.0, 4),
                (660.0, 1, 0.0, 0.0, 4),
                (840.0, 1, 0.0, 0.0, 3),
                (900.0, 1, 0.0, 0.0, 0),
            ],
        );
    }

    #[test]
    fn a_burst_is_answered_by_the_short_window() {
        let mut kpa = Kpa::new("kpa".to_owned(), 0.0);
        let mut world = World::new("on off off off");
        world.workers = 10.0;
        let mut after = |now_s, requests, queued| {
            (world.requests, world.queued) = (requests, queued);
            orders(&kpa.tick(&world.at(now_s).seen()))
        };
        // The target is 7 at once on each.
        assert_eq!(after(0.0, 7, 0), "");
        assert_eq!(after(1.0, 70, 0), "");
        // Over 6 s it is (7 + 70 + 70) / 3 = 49, as it is over 60 s after 3 s: 7 servers, of which 4 are there.
        assert_eq!(after(2.0, 0, 70), "+1 +2 +3");
    }
}
