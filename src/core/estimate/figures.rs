//! All figures of one backend, or of one server: a window, and the little that is older than it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::latencies::mean_of_millis;
use super::snapshot::Snapshot;
use super::window::{Recorded, Window};
use crate::core::log::sample::Sample;
use crate::core::settings::Statistic;
use crate::core::units::Percentile;

/// Rates are taken over this at least, so that the first request after the start is not thousands
/// a second.
const SHORTEST_SPAN: Duration = Duration::from_secs(1);

/// See the module's text.
#[derive(Clone, Debug)]
pub(super) struct Figures {
    window: Window,
    last: LastLatencies,
    newest: Option<Newest>,
}

/// What the newest line said.
#[derive(Clone, Copy, Debug)]
struct Newest {
    end: Instant,
    connections: u32,
}

/// When, and how watched: what a snapshot needs beside the figures.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watch {
    pub(super) statistic: Statistic,
    pub(super) length: Duration,
    pub(super) started: Instant,
    pub(super) now: Instant,
}

impl Figures {
    pub(super) fn new(window: Window, statistic: Statistic) -> Self {
        Self { window, last: LastLatencies::new(statistic), newest: None }
    }

    /// Counts `sample`, with `latency_ms` if it has one; `connections` is what its line said.
    pub(super) fn record(
        &mut self,
        sample: &Sample,
        latency_ms: Option<u32>,
        connections: u32,
        now: Instant,
    ) -> Recorded {
        let recorded = self.window.record(sample, latency_ms, now);
        if recorded == Recorded::InWindow {
            if let Some(ms) = latency_ms {
                self.last.push(ms);
            }
            if self.newest.is_none_or(|newest| newest.end <= sample.end) {
                self.newest = Some(Newest { end: sample.end, connections });
            }
        }
        recorded
    }

    /// Lets go of what is over at `now`.
    pub(super) fn advance(&mut self, now: Instant) {
        self.window.advance(now);
    }

    /// No request is in the window.
    pub(super) fn is_idle(&self) -> bool {
        self.window.sums().requests().total() == 0
    }

    /// The figures at `watch.now`.
    pub(super) fn snapshot(&mut self, watch: &Watch) -> Snapshot {
        self.window.advance(watch.now);
        let watched = watch.now.saturating_duration_since(watch.started);
        let span = self.window.covered(watch.now).min(watched).max(SHORTEST_SPAN).as_secs_f64();
        let (sums, latencies) = (self.window.sums(), self.window.latencies());
        let percentile = |value| Percentile::new(value).and_then(|it| latencies.percentile(it));
        let (latency, samples) = self.latency(watch.statistic);
        Snapshot {
            latency,
            p50: percentile(50.0),
            p95: percentile(95.0),
            p99: percentile(99.0),
            mean: latencies.mean(),
            samples,
            rate: sums.requests().total() as f64 / span,
            tally: sums.requests(),
            queue_time: sums.queue_time(),
            concurrency: sums.busy().as_secs_f64() / span,
            connections: self.newest.map(|newest| newest.connections),
            newest: self.newest.map(|newest| watch.now.saturating_duration_since(newest.end)),
            observed: watched.min(watch.length),
            watched,
        }
    }

    /// The statistic, and how many latencies it rests on. The last n are old news once the window
    /// is empty: slow answers of an hour ago are no reason to add servers now.
    fn latency(&self, statistic: Statistic) -> (Option<Duration>, u64) {
        let latencies = self.window.latencies();
        match statistic {
            Statistic::Percentile(percentile) => (latencies.percentile(percentile), latencies.len()),
            Statistic::Mean => (latencies.mean(), latencies.len()),
            Statistic::MeanOfLast(_) if latencies.len() == 0 => (None, 0),
            Statistic::MeanOfLast(_) => (self.last.mean(), self.last.len()),
        }
    }

    /// What the window costs.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() - size_of::<Window>() + self.window.bytes() + self.last.millis.capacity() * 4
    }
}

/// The last n latencies in the order their lines came, for [`Statistic::MeanOfLast`] only.
#[derive(Clone, Debug)]
struct LastLatencies {
    most: usize,
    millis: VecDeque<u32>,
    total_ms: u64,
}

impl LastLatencies {
    fn new(statistic: Statistic) -> Self {
        let most = if let Statistic::MeanOfLast(most) = statistic { most } else { 0 };
        Self { most, millis: VecDeque::new(), total_ms: 0 }
    }

    fn push(&mut self, ms: u32) {
        if self.most == 0 {
            return;
        }
        if self.millis.len() == self.most {
            self.total_ms -= self.millis.pop_front().map_or(0, u64::from);
        }
        self.millis.push_back(ms);
        self.total_ms += u64::from(ms);
    }

    fn len(&self) -> u64 {
        self.millis.len() as u64
    }

    /// `None` until there are n.
    fn mean(&self) -> Option<Duration> {
        if self.millis.len() < self.most { None } else { mean_of_millis(self.total_ms, self.len()) }
    }
}
