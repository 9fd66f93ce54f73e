//! Which requests say something about latency, and what.
//!
//! The slowest requests are the ones that never end well: left out, a server that hangs looks
//! fast; taken as 0 ms, a refusal looks faster than any answer. So each way to end has its rule.

use crate::core::log::sample::{Class, Sample};
use crate::core::settings::{Target, Timer};

/// A latency, and to whom it is charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latency {
    /// Milliseconds.
    pub ms: u32,
    /// Its server had a hand in it; otherwise only its backend is charged.
    pub server: bool,
}

/// What `sample` says about the target's timer; `None` if nothing.
///
/// - Answered: the timer, if it happened.
/// - Timed out: the timer if it happened, else what was waited, the least it would have been.
/// - Timed out in a queue: the same, for the backend only. The server never saw it.
/// - Left by its client (also in a queue): what was waited, if that alone breaks the promise.
///   Less than that says nothing: the answer might have come the next moment.
/// - Failed on its server, or stopped by HAProxy: nothing. It is counted as a failure.
pub fn latency_of(sample: &Sample, target: &Target) -> Option<Latency> {
    let waited = sample.timers.waited();
    let left_late = || (u128::from(waited) > target.below.as_millis()).then_some(waited);
    let ms = match sample.class {
        Class::Success => sample.timers.get(target.timer)?,
        Class::Server | Class::Saturation if sample.timed_out => {
            sample.timers.get(target.timer).unwrap_or(waited)
        }
        Class::Saturation => left_late()?,
        Class::Client if is_complete(sample, target.timer) => sample.timers.get(target.timer)?,
        Class::Client if sample.timers.get(Timer::Tr).is_none() => left_late()?,
        Class::Client | Class::Server | Class::Proxy => return None,
    };
    Some(Latency { ms, server: sample.class != Class::Saturation })
}

/// The client did not cut this timer short. It always cuts the last one short, and that one is
/// never -1.
fn is_complete(sample: &Sample, timer: Timer) -> bool {
    timer != Timer::Tt && sample.timers.get(timer).is_some()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::testing::{answered, start};
    use super::*;
    use crate::core::log::sample::Timers;
    use crate::core::settings::Statistic;

    /// TR/Tw/Tc/Tr/Tt as in a log line; the promise is 250 ms.
    #[track_caller]
    fn check(timer: Timer, class: Class, timed_out: bool, millis: [i32; 5], expected: Option<(u32, &str)>) {
        let sample = Sample { timers: Timers::new(millis), class, timed_out, ..answered(start(), 0) };
        let target = Target { timer, statistic: Statistic::Mean, below: Duration::from_millis(250) };
        let latency = latency_of(&sample, &target);
        let charged = latency.map(|it| (it.ms, if it.server { "server" } else { "backend" }));
        assert_eq!(charged, expected, "{timer:?} {class:?} {millis:?}");
    }

    #[test]
    fn an_answer_counts_with_the_target_s_timer() {
        check(Timer::Tt, Class::Success, false, [1, 2, 3, 40, 50], Some((50, "server")));
        check(Timer::Tr, Class::Success, false, [1, 2, 3, 40, 50], Some((40, "server")));
        check(Timer::Tr, Class::Success, false, [0, 0, 0, 0, 0], Some((0, "server")));
    }

    #[test]
    fn a_timer_that_did_not_happen_is_no_latency() {
        check(Timer::Tr, Class::Success, false, [0, 0, 0, -1, 700], None);
    }

    #[test]
    fn a_failure_is_not_a_fast_answer() {
        check(Timer::Tr, Class::Server, false, [0, 0, 0, 1, 1], None);
        check(Timer::Tt, Class::Server, false, [0, 0, -1, -1, 3], None);
        check(Timer::Tt, Class::Proxy, false, [0, -1, -1, -1, 0], None);
    }

    #[test]
    fn a_timeout_counts_as_slow() {
        check(Timer::Tr, Class::Server, true, [5, 0, 0, -1, 1005], Some((1000, "server")));
        check(Timer::Tt, Class::Server, true, [5, 0, 0, -1, 1005], Some((1005, "server")));
        check(Timer::Tc, Class::Server, true, [0, 0, -1, -1, 900], Some((900, "server")));
        check(Timer::Tw, Class::Server, true, [0, 7, 0, -1, 1000], Some((7, "server")));
    }

    #[test]
    fn a_timeout_in_a_queue_is_charged_to_the_backend_only() {
        check(Timer::Tr, Class::Saturation, true, [0, 300, -1, -1, 300], Some((300, "backend")));
        check(Timer::Tw, Class::Saturation, true, [0, 100, -1, -1, 100], Some((100, "backend")));
        check(Timer::Tt, Class::Saturation, false, [0, -1, -1, -1, 0], None);
        check(Timer::Tt, Class::Saturation, false, [0, 400, -1, -1, 400], Some((400, "backend")));
    }

    #[test]
    fn a_client_that_left_counts_if_it_had_waited_too_long() {
        check(Timer::Tr, Class::Client, false, [9, 0, 0, -1, 259], None);
        check(Timer::Tr, Class::Client, false, [9, 0, 0, -1, 260], Some((251, "server")));
        check(Timer::Tt, Class::Client, false, [9, 0, 0, -1, 260], Some((251, "server")));
    }

    #[test]
    fn a_client_that_left_in_the_middle_of_the_answer_had_its_headers() {
        check(Timer::Tr, Class::Client, false, [0, 0, 0, 80, 9000], Some((80, "server")));
        check(Timer::Tt, Class::Client, false, [0, 0, 0, 80, 9000], None);
    }
}
