//! The curve through the bins: `T(n) = S max(1, n / c)` for n requests side by side.
//!
//! Requests wait for each other from c on, whatever serves them: workers with a queue, threads
//! that share cores, a pool of connections. For each c of a grid the best S is known at once by
//! least squares; the c with the smallest error is taken, and it is a knee if doing without one
//! fits clearly worse.

use super::bins::Point;

/// The grid of c: from one worker in steps of 6 %. Below one the curve is a straight line for every c.
const FIRST: f64 = 1.0;
const STEP: f64 = 1.06;

/// So many requests must have had at least as many beside them for c to be looked for there.
const SEEN: f64 = 20.0;

/// The error must grow by so much without a knee. By chance alone it would once in 2,000 fits.
const CLEARLY: f64 = 12.0;

/// A knee at the very end of what was seen is none.
const INSIDE: f64 = 0.97;

/// Errors within so much of the smallest one are as good: two standard deviations.
const AS_GOOD: f64 = 4.0;

/// Fewer requests than this in all bins are not enough.
const ENOUGH: f64 = 40.0;

/// What one fit says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Fit {
    /// S, seconds, above 0.
    pub(super) time: f64,
    /// With a knee c, else the least that c can be.
    pub(super) workers: f64,
    pub(super) knee: bool,
}

/// The best curve through `points`, which rise by `beside`; `None` if they are too few.
pub(super) fn fit(points: &[Point]) -> Option<Fit> {
    let most = most_beside(points)?;
    let all = Tails::of(points);
    let grid = || {
        let below = std::iter::successors(Some(FIRST), |c| Some(c * STEP)).take_while(move |&c| c < most);
        below.chain([most])
    };
    let mut best: Option<(f64, Curve)> = None;
    let mut tails = all;
    let mut rest = points;
    let mut errors = [(0.0, 0.0); 256];
    let mut tried = 0;
    for workers in grid() {
        // Points at or below c move from the sloping part to the flat one.
        while let Some((point, after)) = rest.split_first()
            && point.beside <= workers
        {
            tails.flatten(point);
            rest = after;
        }
        let curve = tails.curve(workers);
        if best.is_none_or(|(_, known)| curve.error < known.error) {
            best = Some((workers, curve));
        }
        // The grid has 197 members up to the last bin.
        if let Some(slot) = errors.get_mut(tried) {
            *slot = (workers, curve.error);
            tried += 1;
        }
    }
    let (workers, curve) = best?;
    let (_, without) = errors[tried - 1];
    let knee = without - curve.error > CLEARLY && workers < INSIDE * most;
    let least = errors[..tried].iter().find(|(_, error)| *error <= curve.error + AS_GOOD);
    let least = least.map_or(workers, |(workers, _)| *workers);
    let fit = Fit { time: curve.time, workers: if knee { workers } else { least }, knee };
    (fit.time.is_finite() && fit.time > 0.0).then_some(fit)
}

/// The highest number of requests side by side that was seen often enough.
fn most_beside(points: &[Point]) -> Option<f64> {
    let total: f64 = points.iter().map(|point| point.requests).sum();
    if total < ENOUGH {
        return None;
    }
    let mut above = 0.0;
    let often = points.iter().rev().find(|point| {
        above += point.requests;
        above >= SEEN
    });
    often.map(|point| point.beside.max(FIRST))
}

/// Weighted sums over the flat part of the curve and over the sloping one.
#[derive(Clone, Copy, Debug, Default)]
struct Tails {
    /// Of the squared times of all points.
    squares: f64,
    flat_weight: f64,
    flat_time: f64,
    /// Of beside squared, and of beside by time.
    slope_weight: f64,
    slope_time: f64,
}

/// The best curve with one c.
#[derive(Clone, Copy, Debug)]
struct Curve {
    time: f64,
    error: f64,
}

impl Tails {
    /// With all points in the sloping part.
    fn of(points: &[Point]) -> Self {
        points.iter().fold(Self::default(), |sums, point| Self {
            squares: sums.squares + point.weight * point.time * point.time,
            slope_weight: sums.slope_weight + point.weight * point.beside * point.beside,
            slope_time: sums.slope_time + point.weight * point.beside * point.time,
            ..sums
        })
    }

    fn flatten(&mut self, point: &Point) {
        self.flat_weight += point.weight;
        self.flat_time += point.weight * point.time;
        self.slope_weight -= point.weight * point.beside * point.beside;
        self.slope_time -= point.weight * point.beside * point.time;
    }

    fn curve(&self, workers: f64) -> Curve {
        // What rounding leaves of the sloping part once all points have left it may be below 0.
        let slope_weight = self.slope_weight.max(0.0) / (workers * workers);
        let slope_time = self.slope_time.max(0.0) / workers;
        let weight = self.flat_weight + slope_weight;
        let times = self.flat_time + slope_time;
        if weight <= 0.0 {
            return Curve { time: 0.0, error: f64::INFINITY };
        }
        Curve { time: times / weight, error: (self.squares - times * times / weight).max(0.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Points of 100 requests each, one for each number side by side, and 5 % off at most.
    fn points(most: u32, time: impl Fn(f64) -> f64) -> Vec<Point> {
        let point = |n: u32| {
            let beside = f64::from(n);
            let time = time(beside) * if n.is_multiple_of(2) { 1.02 } else { 0.98 };
            Point { beside, time, weight: 100.0 / (time * time), requests: 100.0 }
        };
        (1..=most).map(point).collect()
    }

    #[track_caller]
    fn check(points: &[Point], time: f64, workers: (f64, f64), knee: bool) {
        let found = fit(points).expect("there are enough");
        assert!((found.time / time - 1.0).abs() < 0.04, "{found:?}");
        assert!((workers.0..=workers.1).contains(&found.workers), "{found:?}");
        assert_eq!(found.knee, knee, "{found:?}");
    }

    #[test]
    fn a_bend_is_found_where_it_is() {
        for workers in [2.0, 5.0, 8.0, 20.0, 50.0] {
            let curve = |n: f64| 0.08 * (n / workers).max(1.0);
            check(&points(3 * workers as u32, curve), 0.08, (0.9 * workers, 1.1 * workers), true);
        }
    }

    #[test]
    fn without_a_bend_at_least_as_many_workers_as_fit_as_well() {
        check(&points(12, |_| 0.08), 0.08, (9.0, 12.0), false);
        check(&points(1, |_| 0.08), 0.08, (1.0, 1.0), false);
    }

    #[test]
    fn a_line_through_the_origin_is_one_worker_or_as_good_as_one() {
        let found = fit(&points(30, |n| 0.02 * n)).expect("there are enough");
        assert!((found.workers / found.time / 50.0 - 1.0).abs() < 0.05, "{found:?}");
    }

    #[test]
    fn too_little_or_nothing_at_all_says_nothing() {
        assert_eq!(fit(&[]), None);
        assert_eq!(fit(&[Point { requests: 39.0, ..points(1, |_| 0.08)[0] }]), None);
        assert_eq!(fit(&points(5, |_| 0.0)), None);
    }
}
