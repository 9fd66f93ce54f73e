//! Service time and workers, as they are believed after many fits.

use super::bins::{Bins, Point};
use super::figures::Service;
use super::fit::{Fit, fit};

/// S and c follow a fit by this share, faster where the times differ by more than [`FAR`]. Both by the
/// same: what a fit makes of one it takes from the other, and c/S is what counts.
const FOLLOW: f64 = 0.25;
const FOLLOW_FAST: f64 = 0.5;
const FAR: f64 = 0.2;

/// A fit is made so often, if requests have come since.
const EVERY_MS: i64 = 2000;

/// No bin has a higher place.
const MOST_POINTS: usize = 256;

/// What is believed of the curve.
#[derive(Clone, Debug, Default)]
pub(super) struct Curve {
    known: Option<Fit>,
    fitted: Option<i64>,
}

impl Curve {
    /// Fits again if it is time to: `now` in milliseconds.
    pub(super) fn learn(&mut self, bins: &Bins, cv: f64, now: i64) {
        if self.fitted.is_some_and(|fitted| (0..EVERY_MS).contains(&(now - fitted))) {
            return;
        }
        self.fitted = Some(now);
        let mut points = [Point::NONE; MOST_POINTS];
        let mut count = 0;
        for (slot, point) in points.iter_mut().zip(bins.points(cv, now.div_euclid(1000))) {
            *slot = point;
            count += 1;
        }
        if let Some(found) = fit(&points[..count]) {
            self.follow(found);
        }
    }

    fn follow(&mut self, found: Fit) {
        let Some(known) = &mut self.known else {
            self.known = Some(found);
            return;
        };
        let is_far = (found.time - known.time).abs() > FAR * known.time;
        let share = if is_far { FOLLOW_FAST } else { FOLLOW };
        known.time += share * (found.time - known.time);
        match (found.knee, known.knee) {
            (true, true) => known.workers += share * (found.workers - known.workers),
            (true, false) => (known.workers, known.knee) = (found.workers, true),
            // One fit that is too high by chance must not last.
            (false, _) => known.workers += share * (found.workers - known.workers).max(0.0),
        }
    }

    /// S, seconds.
    pub(super) fn time(&self) -> Option<f64> {
        self.known.map(|known| known.time)
    }

    /// c.
    pub(super) fn workers(&self) -> Option<f64> {
        self.known.map(|known| known.workers)
    }

    /// What a request should take, in seconds, beside so many others.
    pub(super) fn expected(&self, others: u32) -> Option<f64> {
        self.known.map(|known| known.time * ((f64::from(others) + 1.0) / known.workers).max(1.0))
    }

    /// As the policy sees it.
    pub(super) fn service(&self, cv: f64) -> Option<Service> {
        self.known.map(|Fit { time, workers, knee }| Service { time, workers, knee, cv })
    }
}
