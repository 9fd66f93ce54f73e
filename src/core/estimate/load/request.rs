//! What a line says about load: [`Sample`]s with their times counted from the estimator's start.

use std::time::Instant;

use super::super::latency::latency_of;
use crate::core::log::sample::{Class, Sample};
use crate::core::settings::{Target, Timer};

/// The time of what never happened: before all else, and far enough from the end of all numbers to
/// be counted with.
pub(super) const NEVER: i64 = i64::MIN / 4;

/// One request. Times are milliseconds since the estimator began, negative before that.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    /// When its last byte left; by this it is placed in time.
    pub(super) end: i64,
    /// Streams on the backend at `end`, without this one.
    pub(super) streams: u32,
    /// A server answered it, well or badly.
    pub(super) answered: bool,
    /// When it was on its server.
    pub(super) stay: Option<Stay>,
    /// Its Tr, if that tells what an answer takes.
    pub(super) tr_ms: Option<u32>,
    /// By the target's timer.
    pub(super) latency_ms: Option<u32>,
    /// Above the target's limit, or failed; `None` if it says nothing about the target.
    pub(super) missed: Option<bool>,
    /// Its Tw.
    pub(super) queue_ms: Option<u32>,
    /// From the answer's headers to its last byte.
    pub(super) transfer_ms: Option<u32>,
}

/// From a request's first moment on its server to the answer's headers, or to its end without one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stay {
    pub(super) start: i64,
    pub(super) end: i64,
}

impl Request {
    /// What `sample` says; one from the future ended `now`.
    pub(super) fn of(sample: &Sample, target: &Target, epoch: Instant, now: i64) -> Self {
        let end = millis_since(epoch, sample.end).min(now);
        let timer = |timer| sample.timers.get(timer);
        let (tr, connected) = (timer(Timer::Tr), timer(Timer::Tc).is_some());
        let before_answer = [Timer::Tw, Timer::Tc, Timer::Tr].map(|it| u64::from(timer(it).unwrap_or(0)));
        let waited = u64::from(sample.timers.waited());
        let transfer = waited.saturating_sub(before_answer.iter().sum());
        // A failure may be faster or slower than any answer: it says nothing about the work.
        let worked = connected && matches!(sample.class, Class::Success | Class::Client);
        let latency_ms = latency_of(sample, target).map(|latency| latency.ms);
        let is_late = |ms: u32| u128::from(ms) > target.below.as_millis();
        Self {
            end,
            streams: sample.beconn,
            answered: match sample.class {
                Class::Success => true,
                Class::Client | Class::Server => tr.is_some(),
                Class::Saturation | Class::Proxy => false,
            },
            stay: stay_of(sample, end, transfer),
            tr_ms: tr.filter(|_| worked && sample.server.is_some()),
            latency_ms,
            missed: match sample.class {
                Class::Server | Class::Saturation => Some(true),
                Class::Success | Class::Client => latency_ms.map(is_late),
                Class::Proxy => None,
            },
            queue_ms: timer(Timer::Tw),
            transfer_ms: tr.and(u32::try_from(transfer).ok()),
        }
    }
}

/// When it was on its server. A TCP session has no Tr: how long it stays is the client's affair,
/// so it is no work.
fn stay_of(sample: &Sample, end: i64, transfer: u64) -> Option<Stay> {
    let timer = |timer| sample.timers.get(timer).map(i64::from);
    sample.server?;
    timer(Timer::Tc)?;
    if let Some(tr) = timer(Timer::Tr) {
        let headers = end - i64::try_from(transfer).unwrap_or(0);
        return Some(Stay { start: headers - tr, end: headers });
    }
    let unanswered = matches!(sample.class, Class::Server | Class::Client);
    let is_http = timer(Timer::TR).is_some();
    // Without an answer `transfer` is what was waited for one.
    (unanswered && is_http).then(|| Stay { start: end - i64::try_from(transfer).unwrap_or(0), end })
}

/// Milliseconds from `epoch` to `at`, rounded down; before `epoch` they are negative.
pub(super) fn millis_since(epoch: Instant, at: Instant) -> i64 {
    let number = |millis: u128| i64::try_from(millis).unwrap_or(i64::MAX / 4);
    match at.checked_duration_since(epoch) {
        Some(after) => number(after.as_millis()),
        None => -number(epoch.saturating_duration_since(at).as_micros().div_ceil(1000)),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::super::testing::{answered, start};
    use super::*;
    use crate::core::log::sample::Timers;
    use crate::core::settings::Statistic;

    /// A request that ended 10 s after the start: `TR/Tw/Tc/Tr/Tt`, and what is read from it: stay,
    /// Tr, missed. The promise is 250 ms of Tt.
    #[track_caller]
    fn check(
        class: Class,
        millis: [i32; 5],
        stay: Option<(i64, i64)>,
        tr_ms: Option<u32>,
        missed: Option<bool>,
    ) {
        let epoch = start();
        let target =
            Target { timer: Timer::Tt, statistic: Statistic::Mean, below: Duration::from_millis(250) };
        let sample = answered(epoch + Duration::from_secs(10), 0);
        let sample = Sample { class, timers: Timers::new(millis), ..sample };
        let request = Request::of(&sample, &target, epoch, 20_000);
        let found = (request.stay.map(|it| (it.start, it.end)), request.tr_ms, request.missed);
        assert_eq!(found, (stay, tr_ms, missed), "{class:?} {millis:?}");
    }

    #[test]
    fn an_answer_tells_what_it_took_and_when() {
        check(Class::Success, [5, 20, 1, 80, 126], Some((9900, 9980)), Some(80), Some(false));
        check(Class::Success, [0, 0, 0, 80, 4080], Some((5920, 6000)), Some(80), Some(true));
        check(Class::Client, [0, 0, 0, 80, 4080], Some((5920, 6000)), Some(80), None);
    }

    #[test]
    fn a_failure_was_on_its_server_but_does_not_tell_what_an_answer_takes() {
        check(Class::Server, [0, 0, 0, 3, 3], Some((9997, 10_000)), None, Some(true));
        check(Class::Server, [9, 4, 1, -1, 1014], Some((9000, 10_000)), None, Some(true));
        check(Class::Client, [0, 0, 0, -1, 100], Some((9900, 10_000)), None, None);
        check(Class::Server, [0, 0, -1, -1, 3000], None, None, Some(true));
    }

    #[test]
    fn what_never_reached_a_server_was_never_on_it() {
        check(Class::Saturation, [0, 900, -1, -1, 900], None, None, Some(true));
        check(Class::Proxy, [0, -1, -1, -1, 0], None, None, None);
    }

    #[test]
    fn a_tcp_session_is_no_work() {
        check(Class::Success, [-1, 0, 1, -1, 9000], None, None, Some(true));
    }

    #[test]
    fn a_line_from_the_future_ended_now() {
        let epoch = start();
        let target =
            Target { timer: Timer::Tt, statistic: Statistic::Mean, below: Duration::from_millis(250) };
        let sample = answered(epoch + Duration::from_secs(90), 10);
        assert_eq!(Request::of(&sample, &target, epoch, 20_000).end, 20_000);
        assert_eq!(millis_since(epoch + Duration::from_millis(3), epoch), -3);
    }
}
