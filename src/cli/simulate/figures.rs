//! The figures of a run, or the means of several.

use crate::sim::score::Score;

/// See the module's text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Figures {
    /// Requests above the target, or failed, percent.
    pub(super) misses: f64,
    /// Failed requests, percent.
    pub(super) failed: f64,
    /// Server time, divided by the least that would have done.
    pub(super) cost: f64,
    pub(super) moves: f64,
    pub(super) weights: f64,
    pub(super) worst_s: f64,
    pub(super) p95_ms: f64,
    pub(super) p99_ms: f64,
    /// Servers missing and too many, percent of the least that would have done.
    pub(super) shortage: f64,
    pub(super) excess: f64,
}

/// Name, digits behind the point, value.
pub(super) type Named = (&'static str, usize, f64);

impl Figures {
    pub(super) fn of(score: &Score) -> Self {
        let percent = |count: u64| 100.0 * count as f64 / score.requests.max(1) as f64;
        Self {
            misses: percent(score.misses),
            failed: percent(score.failed),
            cost: score.server_seconds / score.clairvoyant_seconds.max(1.0),
            moves: score.moves as f64,
            weights: score.weight_changes as f64,
            worst_s: score.worst_stretch_s,
            p95_ms: score.p95_ms,
            p99_ms: score.p99_ms,
            shortage: 100.0 * score.shortage,
            excess: 100.0 * score.excess,
        }
    }

    /// Zeros for nothing.
    pub(super) fn mean(all: &[Self]) -> Self {
        let mean = |figure: fn(&Self) -> f64| all.iter().map(figure).sum::<f64>() / all.len().max(1) as f64;
        Self {
            misses: mean(|its| its.misses),
            failed: mean(|its| its.failed),
            cost: mean(|its| its.cost),
            moves: mean(|its| its.moves),
            weights: mean(|its| its.weights),
            worst_s: mean(|its| its.worst_s),
            p95_ms: mean(|its| its.p95_ms),
            p99_ms: mean(|its| its.p99_ms),
            shortage: mean(|its| its.shortage),
            excess: mean(|its| its.excess),
        }
    }

    /// `misses % / server time / moves / worst stretch s`.
    pub(super) fn cell(&self) -> String {
        let Self { misses, cost, moves, worst_s, .. } = self;
        format!("{misses:.2} / {cost:.2} / {moves:.0} / {worst_s:.0}")
    }

    /// All of them.
    pub(super) fn named(&self) -> [Named; 10] {
        [
            ("misses %", 2, self.misses),
            ("failed %", 2, self.failed),
            ("server time", 2, self.cost),
            ("moves", 0, self.moves),
            ("weights", 0, self.weights),
            ("worst s", 0, self.worst_s),
            ("p95 ms", 0, self.p95_ms),
            ("p99 ms", 0, self.p99_ms),
            ("short %", 1, self.shortage),
            ("excess %", 0, self.excess),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_percent_and_means_are_of_each_figure() {
        let score = Score {
            requests: 1000,
            misses: 10,
            failed: 1,
            server_seconds: 300.0,
            clairvoyant_seconds: 200.0,
            moves: 7,
            worst_stretch_s: 15.0,
            ..Score::default()
        };
        let one = Figures::of(&score);
        assert_eq!(one.cell(), "1.00 / 1.50 / 7 / 15");
        let other = Figures::of(&Score { misses: 30, moves: 8, ..score });
        assert_eq!(Figures::mean(&[one, other]).cell(), "2.00 / 1.50 / 8 / 15");
        assert_eq!(Figures::mean(&[]).misses, Figures::of(&Score::default()).misses.abs());
    }
}
