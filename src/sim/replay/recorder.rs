//! Keeps a [`Track`]: what happened over time, request by request, whether read from a log or modelled.

use std::time::Instant;

use hdrhistogram::Histogram;

use super::{Decision, Point, Summary, Track};
use crate::core::controller::{Event, Record};
use crate::core::estimate::latency::latency_of;
use crate::core::log::sample::{Class, Sample};
use crate::core::policy::decision::Decision as Decided;
use crate::core::settings::{Statistic, Target};
use crate::sim::driver::Witness;

/// Spans in which the target is held or missed, seconds: as long as the agent's own window unless it is set otherwise.
pub const SPAN_S: f64 = 30.0;
/// Latencies are kept in milliseconds with three digits; a day is more than any timeout.
const LONGEST_MS: u64 = 86_400_000;

/// Which points a track has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Grid {
    /// The whole time, seconds.
    pub length_s: f64,
    /// The span of a point, seconds.
    pub step_s: f64,
}

/// Spans that people read easily, seconds.
const STEPS_S: [f64; 13] =
    [1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0];
/// No picture is wider.
const MOST_POINTS: f64 = 1500.0;

impl Grid {
    /// The finest that has at most 1,500 points.
    pub fn new(length_s: f64) -> Self {
        let fits = |step_s: &&f64| length_s / **step_s <= MOST_POINTS;
        Self { length_s, step_s: STEPS_S.iter().find(fits).copied().unwrap_or(3600.0) }
    }

    fn len(&self) -> usize {
        (self.length_s / self.step_s).ceil().max(1.0) as usize
    }

    fn place(&self, at_s: f64) -> usize {
        ((at_s / self.step_s).max(0.0) as usize).min(self.len() - 1)
    }
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct Recorder {
    grid: Grid,
    target: Target,
    points: Vec<Point>,
    /// The latencies of each point, milliseconds.
    latencies: Vec<Vec<u32>>,
    spans: Vec<Span>,
    all: Histogram<u64>,
    summary: Summary,
    supplied_s: f64,
    decisions: Vec<Decision>,
}

/// What is needed of a span of [`SPAN_S`].
#[derive(Clone, Copy, Debug, Default)]
struct Span {
    requests: u32,
    over: u32,
    sum_ms: u64,
}

impl Span {
    fn is_over(&self, target: &Target) -> bool {
        let Self { requests, over, sum_ms } = *self;
        match target.statistic {
            Statistic::Percentile(_) => f64::from(over) > missed_share(target) * f64::from(requests),
            Statistic::Mean | Statistic::MeanOfLast(_) => {
                u128::from(sum_ms) > target.below.as_millis() * u128::from(requests)
            }
        }
    }
}

/// With more than this share of the requests above its limit `target` is missed; of a mean, with more than half.
pub(super) fn missed_share(target: &Target) -> f64 {
    match target.statistic {
        Statistic::Percentile(percentile) => 1.0 - percentile.value() / 100.0,
        Statistic::Mean | Statistic::MeanOfLast(_) => 0.5,
    }
}

impl Recorder {
    pub(super) fn new(grid: Grid, target: Target) -> Self {
        let point = |place: usize| Point { from_s: place as f64 * grid.step_s, ..Point::default() };
        Self {
            grid,
            target,
            points: (0..grid.len()).map(point).collect(),
            latencies: vec![Vec::new(); grid.len()],
            spans: vec![Span::default(); (grid.length_s / SPAN_S).ceil().max(1.0) as usize],
            // Bounds that are in order, and a number of digits that it takes.
            all: Histogram::new_with_bounds(1, LONGEST_MS, 3).expect("good bounds"),
            summary: Summary::default(),
            supplied_s: 0.0,
            decisions: Vec::new(),
        }
    }

    /// Counts a request that came at this second. What a client left early says nothing about the target.
    pub(super) fn count(&mut self, came_s: f64, sample: &Sample) {
        let latency_ms = latency_of(sample, &self.target).map(|latency| latency.ms);
        let failed = matches!(sample.class, Class::Server | Class::Saturation);
        let is_late = |ms: u32| u128::from(ms) > self.target.below.as_millis();
        if !failed && latency_ms.is_none() {
            return;
        }
        let over = failed || latency_ms.is_some_and(is_late);
        let place = self.grid.place(came_s);
        let point = &mut self.points[place];
        point.requests += 1;
        point.over += u64::from(over);
        point.failed += u64::from(failed);
        let last = self.spans.len() - 1;
        let span = &mut self.spans[((came_s / SPAN_S).max(0.0) as usize).min(last)];
        span.requests += 1;
        span.over += u32::from(over);
        if let Some(ms) = latency_ms {
            span.sum_ms += u64::from(ms);
            self.latencies[place].push(ms);
            self.all.saturating_record(ms.into());
        }
    }

    /// For `step_s` so many servers cost, and so many served.
    pub(super) fn supply(&mut self, step_s: f64, paid: usize, serving: usize) {
        // By its middle: steps do not add up exactly to the beginning of a point.
        let point = &mut self.points[self.grid.place(self.supplied_s + step_s / 2.0)];
        point.paid += paid as f64 * step_s;
        point.serving += serving as f64 * step_s;
        self.summary.server_s += paid as f64 * step_s;
        self.summary.most_servers = self.summary.most_servers.max(serving as u32);
        self.supplied_s += step_s;
    }

    /// The track, after so many moves.
    pub(super) fn finish(mut self, name: &str, about: &str, moves: u64) -> Track {
        let (step_s, length_s) = (self.grid.step_s, self.grid.length_s);
        for (point, latencies) in self.points.iter_mut().zip(&mut self.latencies) {
            let lasted_s = step_s.min(length_s - point.from_s).max(f64::MIN_POSITIVE);
            (point.paid, point.serving) = (point.paid / lasted_s, point.serving / lasted_s);
            latencies.sort_unstable();
            (point.p50_ms, point.p95_ms) = (share(latencies, 0.5), share(latencies, 0.95));
            self.summary.requests += point.requests;
            self.summary.over += point.over;
            self.summary.failed += point.failed;
        }
        let over = self.spans.iter().filter(|span| span.is_over(&self.target)).count();
        let percentile =
            |percent| (!self.all.is_empty()).then(|| self.all.value_at_percentile(percent) as f64);
        let summary = Summary {
            over_s: over as f64 * SPAN_S,
            p50_ms: percentile(50.0),
            p95_ms: percentile(95.0),
            p99_ms: percentile(99.0),
            moves,
            ..self.summary
        };
        Track {
            name: name.to_owned(),
            about: about.to_owned(),
            summary,
            points: self.points,
            decisions: self.decisions,
        }
    }
}

/// The value that this share of them does not exceed.
fn share(sorted: &[u32], share: f64) -> Option<f64> {
    let place = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(place.saturating_sub(1)).map(|&ms| f64::from(ms))
}

impl Witness for Recorder {
    fn told(&mut self, now_s: f64, record: &Record) {
        let Event::Decided { decision, refused } = &record.event else { return };
        let from = record.serving;
        let to = match decision {
            Decided::Hold(_) => return,
            Decided::Reweigh { .. } => from,
            Decided::ScaleUp { by, .. } => from + by,
            Decided::ScaleDown { by, .. } => from.saturating_sub(*by),
        };
        let snapshot = record.snapshot.as_ref();
        self.decisions.push(Decision {
            at_s: now_s,
            decision: decision.name(),
            from,
            to,
            reason: decision.reason().to_string(),
            rule: decision.reason().key(),
            refused: refused.clone(),
            next_move_s: record.next_move.map(|left| left.as_secs()),
            latency_ms: snapshot.and_then(|its| its.latency).map(|latency| latency.as_secs_f64() * 1e3),
            rate: snapshot.map(|its| its.rate),
        });
    }

    fn saw(&mut self, lines: &[Sample], began: Instant) {
        for line in lines {
            let ended_s = line.end.saturating_duration_since(began).as_secs_f64();
            self.count(ended_s - f64::from(line.timers.waited()) / 1e3, line);
        }
    }

    fn supplied(&mut self, step_s: f64, paid: usize, serving: usize) {
        self.supply(step_s, paid, serving);
    }
}
