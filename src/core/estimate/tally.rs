//! What is summed up beside the latencies, in the same slots: requests by class, time in queues,
//! time at work.

use std::time::Duration;

use super::latencies::mean_of_millis;
use super::snapshot::Tally;
use crate::core::log::sample::{Class, Sample};
use crate::core::settings::Timer;

/// Sums over some requests; those of a window are the sums of its slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sums {
    requests: Tally,
    queue_ms: u64,
    with_queue_time: u64,
    busy_ms: u64,
}

impl Sums {
    /// Counts one more request.
    pub(super) fn record(&mut self, sample: &Sample) {
        match sample.class {
            Class::Success => self.requests.success += 1,
            Class::Server => self.requests.server += 1,
            Class::Saturation => self.requests.saturation += 1,
            Class::Client => self.requests.client += 1,
            Class::Proxy => self.requests.proxy += 1,
        }
        if let Some(tw_ms) = sample.timers.get(Timer::Tw) {
            self.queue_ms += u64::from(tw_ms);
            self.with_queue_time += 1;
        }
        self.busy_ms += u64::from(busy_ms(sample));
    }

    /// Takes away `part`, which must have been recorded here too.
    pub(super) fn subtract(&mut self, part: &Self) {
        let (requests, less) = (&mut self.requests, part.requests);
        requests.success -= less.success;
        requests.server -= less.server;
        requests.saturation -= less.saturation;
        requests.client -= less.client;
        requests.proxy -= less.proxy;
        self.queue_ms -= part.queue_ms;
        self.with_queue_time -= part.with_queue_time;
        self.busy_ms -= part.busy_ms;
    }

    /// Requests by class.
    pub(super) fn requests(&self) -> Tally {
        self.requests
    }

    /// Mean of Tw; `None` if no request got as far as a queue.
    pub(super) fn queue_time(&self) -> Option<Duration> {
        mean_of_millis(self.queue_ms, self.with_queue_time)
    }

    /// Time all requests together spent in Tw, Tc and Tr.
    pub(super) fn busy(&self) -> Duration {
        Duration::from_millis(self.busy_ms)
    }
}

/// Tw, Tc and Tr of one request; without an answer (no Tr) what it waited for one. Tr is never
/// there in tcplog, so it is the whole session in that case.
fn busy_ms(sample: &Sample) -> u32 {
    let timer = |timer| sample.timers.get(timer).unwrap_or(0);
    match sample.timers.get(Timer::Tr) {
        Some(tr_ms) => tr_ms.saturating_add(timer(Timer::Tw)).saturating_add(timer(Timer::Tc)),
        None => sample.timers.waited(),
    }
}
