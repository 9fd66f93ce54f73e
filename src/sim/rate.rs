//! Requests a second as a function of time.

use std::f64::consts::TAU;

use rand_distr::{Distribution, Exp1, StandardUniform};
use rand_pcg::Pcg64;

use super::scenario::Shape;

/// A [`Shape`] with its random parts drawn.
#[derive(Clone, Debug)]
pub(super) struct Rate {
    shape: Shape,
    /// From, until, added; in order, none before the one before it has ended.
    bursts: Vec<(f64, f64, f64)>,
    /// Requests a second for each count of the trace.
    scale: f64,
}

impl Rate {
    /// `shape` up to `end_s`.
    pub(super) fn new(shape: &Shape, end_s: f64, random: &mut Pcg64) -> Self {
        let bursts = match *shape {
            Shape::Bursts { adds, lasts_s, every_s, .. } => {
                draw_bursts(adds, lasts_s, every_s, end_s, random)
            }
            _ => Vec::new(),
        };
        let scale = match shape {
            Shape::Trace { trace, percentile, peak, .. } => {
                let at_peak = trace.percentile(*percentile);
                if at_peak > 0.0 { peak / at_peak } else { 0.0 }
            }
            _ => 1.0,
        };
        Self { shape: shape.clone(), bursts, scale }
    }

    /// Requests a second at `now_s`, not below 0.
    pub(super) fn at(&self, now_s: f64) -> f64 {
        let part = |period_s: f64| (now_s / period_s).fract();
        let rate = match &self.shape {
            Shape::Constant(rate) => *rate,
            Shape::Wave { low, high, period_s } => {
                low + (high - low) * (1.0 - (TAU * part(*period_s)).cos()) / 2.0
            }
            Shape::Lines(points) => on_lines(points, now_s),
            Shape::Square { low, high, period_s } => {
                if part(*period_s) < 0.5 {
                    *low
                } else {
                    *high
                }
            }
            Shape::Sawtooth { low, high, period_s } => low + (high - low) * part(*period_s),
            Shape::Bursts { base, .. } => base + self.burst(now_s),
            Shape::Trace { trace, bin_s, .. } => trace.at(now_s / bin_s) * self.scale,
            Shape::Moments(_) | Shape::Requests(_) => 0.0,
        };
        rate.max(0.0)
    }

    fn burst(&self, now_s: f64) -> f64 {
        let next = self.bursts.partition_point(|(from, ..)| *from <= now_s);
        let last = next.checked_sub(1).map(|last| self.bursts[last]);
        last.filter(|(_, until, _)| now_s < *until).map_or(0.0, |(.., adds)| adds)
    }
}

/// Level before the first point and after the last.
fn on_lines(points: &[(f64, f64)], now_s: f64) -> f64 {
    let next = points.partition_point(|(at, _)| *at <= now_s);
    match (next.checked_sub(1).and_then(|last| points.get(last)), points.get(next)) {
        (Some((from, a)), Some((to, b))) => a + (b - a) * (now_s - from) / (to - from),
        (Some((_, level)), None) | (None, Some((_, level))) => *level,
        (None, None) => 0.0,
    }
}

fn draw_bursts(
    adds: (f64, f64),
    lasts_s: (f64, f64),
    every_s: f64,
    end_s: f64,
    random: &mut Pcg64,
) -> Vec<(f64, f64, f64)> {
    let mut bursts = Vec::new();
    let mut from = 0.0;
    let between = |random: &mut Pcg64, (low, high): (f64, f64)| {
        let share: f64 = StandardUniform.sample(random);
        low + (high - low) * share
    };
    // One that would begin before the one before it has ended begins then.
    while from < end_s {
        let gap: f64 = Exp1.sample(random);
        from += gap * every_s;
        let lasts = between(random, lasts_s);
        let begins = bursts.last().map_or(from, |&(_, until, _)| from.max(until));
        bursts.push((begins, begins + lasts, between(random, adds)));
    }
    bursts
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::sim::random;
    use crate::sim::traces::Trace;

    #[track_caller]
    fn check(shape: Shape, expected: &[(f64, f64)]) {
        let rate = Rate::new(&shape, 1000.0, &mut random::stream(1, random::BURSTS));
        for &(at, expected) in expected {
            assert!((rate.at(at) - expected).abs() < 1e-9, "{} and not {expected} at {at}", rate.at(at));
        }
    }

    #[test]
    fn shapes_are_what_their_names_say() {
        check(Shape::Constant(5.0), &[(0.0, 5.0), (1e6, 5.0)]);
        let wave = Shape::Wave { low: 60.0, high: 900.0, period_s: 3600.0 };
        check(wave, &[(0.0, 60.0), (900.0, 480.0), (1800.0, 900.0), (3600.0, 60.0)]);
        let square = Shape::Square { low: 1.0, high: 2.0, period_s: 10.0 };
        check(square, &[(4.9, 1.0), (5.0, 2.0), (9.9, 2.0), (10.0, 1.0)]);
        let saw = Shape::Sawtooth { low: 200.0, high: 520.0, period_s: 90.0 };
        check(saw, &[(0.0, 200.0), (45.0, 360.0), (90.0, 200.0)]);
        let lines = Shape::Lines(vec![(10.0, 1.0), (20.0, 3.0), (20.0, 9.0)]);
        check(lines, &[(0.0, 1.0), (15.0, 2.0), (19.0, 2.8), (20.0, 9.0), (99.0, 9.0)]);
        check(Shape::Lines(vec![]), &[(1.0, 0.0)]);
    }

    #[test]
    fn a_trace_is_scaled_and_played_at_its_own_speed() {
        let trace = Arc::new(Trace::from_csv("minute,requests\n0,10\n1,20\n2,40\n").unwrap());
        let shape = Shape::Trace { trace, percentile: 100.0, peak: 800.0, bin_s: 5.0 };
        check(shape, &[(2.5, 200.0), (5.0, 300.0), (7.5, 400.0), (12.5, 800.0), (100.0, 800.0)]);
    }

    #[test]
    fn bursts_come_as_often_and_as_large_as_asked_for() {
        let shape = Shape::Bursts { base: 30.0, adds: (150.0, 700.0), lasts_s: (1.0, 4.0), every_s: 16.0 };
        let rate = Rate::new(&shape, 160_000.0, &mut random::stream(1, random::BURSTS));
        let within = |x: f64, (low, high): (f64, f64)| (low..=high).contains(&x);
        assert!(rate.bursts.iter().all(|burst| within(burst.2, (150.0, 700.0))));
        assert!(rate.bursts.is_sorted_by(|a, b| a.1 <= b.0), "none begins before the last has ended");
        assert!(within(rate.bursts.len() as f64, (9_700.0, 10_300.0)), "{}", rate.bursts.len());
        let first = rate.bursts[0];
        assert_eq!(rate.at((first.0 + first.1) / 2.0), 30.0 + first.2);
    }
}
