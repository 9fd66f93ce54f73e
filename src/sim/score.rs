//! How it went.

use hdrhistogram::Histogram;

use super::scenario::Scenario;
use super::world::{Answer, Totals};

/// Windows in which lateness is looked at, seconds.
const WINDOW_S: f64 = 5.0;
/// The share of misses above which such a window is late.
const LATE: f64 = 0.05;
/// The clairvoyant plans anew this often, seconds.
pub const PLAN_S: f64 = 10.0;
/// Latencies are kept in microseconds with three digits; a minute is more than any timeout here.
const LONGEST_US: u64 = 60_000_000;

/// What happened in one 5-s window.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Span {
    /// Seconds from the start.
    pub from_s: f64,
    /// Requests answered in it.
    pub requests: u64,
    /// Of them above the target, or failed.
    pub misses: u64,
    /// Mean servers serving.
    pub servers: f64,
}

/// Figures of one run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Score {
    /// Requests that count.
    pub requests: u64,
    /// Of them above the target, or failed.
    pub misses: u64,
    /// Of them failed: 5xx.
    pub failed: u64,
    /// Server-seconds paid for: starting, serving, draining.
    pub server_seconds: f64,
    /// The least that would have done, for somebody who knows each 10 s in advance.
    pub clairvoyant_seconds: f64,
    /// Servers started or stopped.
    pub moves: u64,
    /// Servers in DRAIN that were taken back before they were stopped.
    pub taken_back: u64,
    /// Weights changed.
    pub weight_changes: u64,
    /// The longest run of 5-s windows with more than 5 % misses, seconds.
    pub worst_stretch_s: f64,
    /// 95th and 99th percentile of Tw + Tr, milliseconds.
    pub p95_ms: f64,
    /// See `p95_ms`.
    pub p99_ms: f64,
    /// Mean servers missing (not serving) against the clairvoyant curve, as a share of it.
    pub shortage: f64,
    /// Mean servers too many (paid for) against the clairvoyant curve, as a share of it.
    pub excess: f64,
    /// All windows from the start.
    pub over_time: Vec<Span>,
}

impl Score {
    /// Misses as a share of the requests, 0 to 1; 0 without requests.
    pub fn miss_share(&self) -> f64 {
        if self.requests == 0 { 0.0 } else { self.misses as f64 / self.requests as f64 }
    }

    /// Server time against the clairvoyant's; 1 is the least there can be.
    pub fn cost(&self) -> f64 {
        if self.clairvoyant_seconds > 0.0 { self.server_seconds / self.clairvoyant_seconds } else { 0.0 }
    }
}

/// Keeps the score of a run.
#[derive(Debug)]
pub struct Scorer {
    target_ms: f64,
    /// Workers of the largest server, of the two largest ones, and so on.
    workers: Vec<f64>,
    score: Score,
    latencies: Histogram<u64>,
    window: Window,
    /// Seconds of late windows in a row up to now.
    stretch_s: f64,
    /// What the clairvoyant has now.
    least: f64,
    counted_s: f64,
}

/// One 5-s window.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    place: u64,
    requests: u64,
    misses: u64,
}

impl Scorer {
    /// Nothing has happened yet.
    pub fn new(scenario: &Scenario) -> Self {
        let mut sizes: Vec<u32> =
            (0..scenario.servers).map(|place| scenario.server_at(place).workers).collect();
        sizes.sort_unstable_by(|a, b| b.cmp(a));
        let mut sum = 0.0;
        let up_to = sizes.into_iter().map(|size| {
            sum += f64::from(size);
            sum
        });
        Self {
            target_ms: f64::from(scenario.target_ms),
            workers: up_to.collect(),
            score: Score::default(),
            // Bounds that are in order, and a number of digits that it takes.
            latencies: Histogram::new_with_bounds(1, LONGEST_US, 3).expect("good bounds"),
            window: Window::default(),
            stretch_s: 0.0,
            least: 1.0,
            counted_s: 0.0,
        }
    }

    /// Counts one request. They come in the order of their answers.
    pub fn count(&mut self, answer: &Answer) {
        let place = (answer.at_s / WINDOW_S) as u64;
        if place != self.window.place {
            self.close_window(place);
        }
        let is_miss = answer.waited_ms.is_none_or(|waited_ms| waited_ms > self.target_ms);
        let span = self.span(place as usize);
        span.requests += 1;
        span.misses += u64::from(is_miss);
        self.window.requests += 1;
        self.window.misses += u64::from(is_miss);
        self.score.requests += 1;
        self.score.misses += u64::from(is_miss);
        match answer.waited_ms {
            Some(waited_ms) => self.latencies.saturating_record((waited_ms * 1e3) as u64),
            None => self.score.failed += 1,
        }
    }

    /// The window of this number, from 0.
    fn span(&mut self, place: usize) -> &mut Span {
        let spans = &mut self.score.over_time;
        while spans.len() <= place {
            spans.push(Span { from_s: spans.len() as f64 * WINDOW_S, ..Span::default() });
        }
        &mut spans[place]
    }

    fn close_window(&mut self, next: u64) {
        let Window { place, requests, misses } = self.window;
        let is_late = misses as f64 > LATE * requests as f64;
        self.stretch_s = if is_late { self.stretch_s + WINDOW_S } else { 0.0 };
        self.score.worst_stretch_s = self.score.worst_stretch_s.max(self.stretch_s);
        if next != place + 1 {
            self.stretch_s = 0.0;
        }
        self.window = Window { place: next, ..Window::default() };
    }

    /// The clairvoyant plans for the arrivals to come (a second), which need a worker for `service_s` each: the
    /// smallest m of which the largest servers have A + sqrt(A) workers, out of the pool.
    pub fn plan(&mut self, rate: f64, service_s: f64) {
        let busy = rate * service_s;
        let wanted = busy + busy.sqrt();
        // A sum that is short of what it takes by rounding only is enough.
        let too_few = self.workers.iter().filter(|&&workers| workers < wanted - 1e-9).count();
        self.least = (too_few + 1).min(self.workers.len()).max(1) as f64;
    }

    /// For `step_s` so many servers were paid for, and so many of them served.
    pub fn supply(&mut self, step_s: f64, paid: usize, serving: usize) {
        let (paid, serving) = (paid as f64, serving as f64);
        self.score.server_seconds += paid * step_s;
        self.score.clairvoyant_seconds += self.least * step_s;
        self.score.shortage += step_s * (self.least - serving).max(0.0) / self.least;
        self.score.excess += step_s * (paid - self.least).max(0.0) / self.least;
        self.span((self.counted_s / WINDOW_S) as usize).servers += serving * step_s / WINDOW_S;
        self.counted_s += step_s;
    }

    /// The score, with the counts of the world.
    pub fn finish(mut self, totals: Totals) -> Score {
        self.close_window(self.window.place + 1);
        let percentile_ms = |percentile| self.latencies.value_at_percentile(percentile) as f64 / 1e3;
        Score {
            moves: totals.moves,
            taken_back: totals.taken_back,
            weight_changes: totals.weight_changes,
            p95_ms: percentile_ms(95.0),
            p99_ms: percentile_ms(99.0),
            shortage: self.score.shortage / self.counted_s.max(f64::MIN_POSITIVE),
            excess: self.score.excess / self.counted_s.max(f64::MIN_POSITIVE),
            ..self.score
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::scenario::Shape;

    fn scorer() -> Scorer {
        Scorer::new(&Scenario::standard("", "", 60.0, Shape::Constant(1.0)))
    }

    /// One answer in each second, as `.` in time, `x` late, `5` failed, blank for none.
    #[track_caller]
    fn check_stretch(answers: &str, expected_s: f64) {
        let mut scorer = scorer();
        for (second, what) in answers.chars().enumerate() {
            let waited_ms = match what {
                '.' => Some(400.0),
                'x' => Some(400.1),
                '5' => None,
                _ => continue,
            };
            scorer.count(&Answer { at_s: second as f64, waited_ms });
        }
        assert_eq!(scorer.finish(Totals::default()).worst_stretch_s, expected_s, "{answers}");
    }

    #[test]
    fn the_worst_stretch_is_of_windows_next_to_each_other() {
        check_stretch("....................", 0.0);
        check_stretch("....x.....xxxxx.....", 5.0);
        check_stretch("....xx....5.........", 15.0);
        check_stretch(".....x....x....", 10.0);
        check_stretch(".....x         x....", 5.0);
    }

    #[test]
    fn failures_are_misses_without_a_latency() {
        let mut scorer = scorer();
        for waited_ms in [Some(100.0), Some(300.0), Some(401.0), None] {
            scorer.count(&Answer { at_s: 1.0, waited_ms });
        }
        let score = scorer.finish(Totals::default());
        assert_eq!((score.requests, score.misses, score.failed), (4, 2, 1));
        assert!((score.p95_ms - 401.0).abs() < 1.0 && score.miss_share() == 0.5);
    }

    #[test]
    fn the_clairvoyant_has_the_fewest_servers_that_do() {
        let mut scorer = scorer();
        for (rate, least) in [(0.0, 1.0), (150.0, 2.0), (750.0, 9.0), (1e6, 16.0)] {
            scorer.plan(rate, 0.08);
            assert_eq!(scorer.least, least, "{rate} req/s");
        }
    }

    #[test]
    fn supply_is_held_against_the_clairvoyant_moment_by_moment() {
        let mut scorer = scorer();
        scorer.plan(350.0, 0.08); // 28 + 5.3 of 8: 5
        scorer.supply(10.0, 10, 10);
        scorer.supply(10.0, 5, 4);
        let score = scorer.finish(Totals::default());
        assert_eq!((score.server_seconds, score.clairvoyant_seconds, score.cost()), (150.0, 100.0, 1.5));
        assert_eq!((score.shortage, score.excess), (0.1, 0.5));
    }

    #[test]
    fn what_happened_is_kept_window_by_window() {
        let mut scorer = scorer();
        for step in 0..50 {
            scorer.supply(0.2, 3, if step < 10 { 1 } else { 2 });
        }
        for (at_s, waited_ms) in [(0.1, 100.0), (4.9, 500.0), (5.0, 100.0)] {
            scorer.count(&Answer { at_s, waited_ms: Some(waited_ms) });
        }
        let spans = scorer.finish(Totals::default()).over_time;
        let found: Vec<_> = spans.iter().map(|span| (span.from_s, span.requests, span.misses)).collect();
        assert_eq!(found, [(0.0, 2, 1), (5.0, 1, 0)]);
        assert!((spans[0].servers - 1.6).abs() < 1e-9 && (spans[1].servers - 2.0).abs() < 1e-9, "{spans:?}");
    }
}
