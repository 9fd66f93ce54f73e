//! Points as they are drawn: fewer than were kept, each for a stretch of time that can be seen.

use crate::sim::replay::Point;

/// Finer ones would lie within a pixel of a narrow page.
const MOST: usize = 360;

/// What happened in some points one after the other.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Stretch {
    /// Requests a second.
    pub(super) rate: f64,
    /// 95th percentile, milliseconds: the mean of the points', by their requests; `None` without latencies.
    pub(super) p95_ms: Option<f64>,
    /// Servers serving, mean.
    pub(super) serving: f64,
}

/// How many points make one stretch, of so many points.
pub(super) fn each(points: usize) -> usize {
    points.div_ceil(MOST).max(1)
}

/// `points` in stretches of `each`; `step_s` is the span of a point.
pub(super) fn stretches(points: &[Point], each: usize, step_s: f64) -> Vec<Stretch> {
    points.chunks(each).map(|points| stretch(points, step_s)).collect()
}

fn stretch(points: &[Point], step_s: f64) -> Stretch {
    let many = points.len() as f64;
    let requests: u64 = points.iter().map(|point| point.requests).sum();
    let known = || points.iter().filter_map(|point| point.p95_ms.map(|ms| (ms, point.requests as f64)));
    let (sum, weight) = known().fold((0.0, 0.0), |(sum, weight), (ms, by)| (sum + ms * by, weight + by));
    Stretch {
        rate: requests as f64 / (many * step_s),
        p95_ms: (weight > 0.0).then(|| sum / weight),
        serving: points.iter().map(|point| point.serving).sum::<f64>() / many,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_joined_by_their_requests() {
        let point = |requests, p95_ms, serving| Point { requests, p95_ms, serving, ..Point::default() };
        let points = [point(30, Some(100.0), 2.0), point(10, Some(300.0), 4.0), point(0, None, 4.0)];
        let joined = stretches(&points, 2, 5.0);
        assert_eq!(joined[0], Stretch { rate: 4.0, p95_ms: Some(150.0), serving: 3.0 });
        assert_eq!(joined[1], Stretch { rate: 0.0, p95_ms: None, serving: 4.0 });
        assert_eq!([each(0), each(360), each(361), each(1500)], [1, 1, 2, 5]);
    }
}
