//! What one server can do beside the others, from its own curve of Tr over the requests on it.
//!
//! Its requests are kept by steps of half an octave, which is enough to tell two workers from three, and fitted as those
//! of all servers are. It begins as the backend's figure has it, and leaves that the more
//! slowly the fewer its requests are. One odd stretch of half a minute is not believed.

use super::bins::{Bins, Point, memory};
use super::figures::Service;
use super::fit::fit;

/// The last one has 128 requests side by side and more.
const STEPS: usize = 14;

/// Fewer requests in a step say nothing, nor do those of so long ago.
const LEAST_WEIGHT: u16 = 8;
const MOST_AGE_S: i64 = 120;

/// About so long it takes until two thirds of a change are believed, seconds.
const MEMORY_S: f64 = 90.0;

/// More than this is told apart by nothing.
const MOST: f64 = 10.0;

/// Carrying so many times as much, or as little, is notable; below the second it is no longer. Servers that
/// are alike differ by a quarter by what is seen of them.
const NOTABLE: f64 = 1.45;
const ALIKE: f64 = 1.2;

/// Requests with about equally many beside them.
#[derive(Clone, Copy, Debug, Default)]
struct Step {
    /// Mean of Tr, seconds.
    mean: f32,
    /// Requests remembered.
    weight: u16,
    /// Of its last request, in units of [`TICK_S`] that begin anew after days.
    used: u16,
}

const TICK_S: i64 = 16;

/// The curve of one server.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct OwnCurve {
    steps: [Step; STEPS],
    /// The logarithm of how many times as much it carries as the backend's figure says.
    ratio: f32,
    is_notable: bool,
}

impl OwnCurve {
    /// Counts a request that took `tr` seconds beside `others`.
    pub(super) fn record(&mut self, others: u32, tr: f64, cv: f64, second: i64) {
        let step = &mut self.steps[index(others)];
        let weight = (f64::from(step.weight) + 1.0).min(memory(cv));
        step.mean += ((tr - f64::from(step.mean)) / weight) as f32;
        step.weight = weight as u16;
        step.used = tick(second);
    }

    /// Takes nothing for known until new requests have come, but for what was made of it.
    pub(super) fn forget(&mut self) {
        self.steps.iter_mut().for_each(|step| step.weight = step.weight.min(LEAST_WEIGHT - 1));
    }

    /// Compares it with the backend's curve. `passed_s`: since the last time.
    pub(super) fn look(&mut self, backend: &Service, second: i64, passed_s: f64) {
        let Some((found, requests)) = self.found(backend, second) else { return };
        let known = requests / (requests + memory(backend.cv));
        let share = known * (passed_s / MEMORY_S).min(1.0);
        let found = found.clamp(1.0 / MOST, MOST).ln();
        let ratio = f64::from(self.ratio) + share * (found - f64::from(self.ratio));
        self.ratio = ratio as f32;
        let limit = if self.is_notable { ALIKE } else { NOTABLE };
        self.is_notable = ratio.abs() > limit.ln();
    }

    /// How many times as much as the backend's figure says it carries; `None`: about as much.
    pub(super) fn ratio(&self) -> Option<f64> {
        self.is_notable.then(|| f64::from(self.ratio).exp())
    }

    /// The same as the requests of late have it, and how many they are; `None` if they are too few.
    fn found(&self, backend: &Service, second: i64) -> Option<(f64, f64)> {
        let mut points = [Point::NONE; STEPS];
        let mut count = 0;
        let mut requests = 0.0;
        for (at, step) in self.steps.iter().enumerate() {
            let age_s = i64::from(tick(second).wrapping_sub(step.used)) * TICK_S;
            if step.weight < LEAST_WEIGHT || age_s > MOST_AGE_S {
                continue;
            }
            points[count] = Bins::point(middle(at), f64::from(step.mean), step.weight.into(), backend.cv);
            count += 1;
            requests += f64::from(step.weight);
        }
        let own = fit(&points[..count])?;
        // Without a knee nothing speaks against what is known of its workers, but that there are more of them.
        let believed = backend.workers * self.ratio().unwrap_or(1.0).min(1.0);
        let workers = if own.knee { own.workers } else { own.workers.max(believed) };
        Some((workers / own.time * (backend.time / backend.workers), requests))
    }
}

fn tick(second: i64) -> u16 {
    (second / TICK_S) as u16
}

/// The step for so many others.
fn index(others: u32) -> usize {
    let here = others.saturating_add(1);
    let octave = here.ilog2();
    if octave == 0 {
        return 0;
    }
    let upper = (here >> (octave - 1)) & 1;
    ((2 * octave + upper - 1) as usize).min(STEPS - 1)
}

/// The number of requests side by side that a step stands for: the middle of its range.
fn middle(at: usize) -> f64 {
    let first = |at: usize| {
        let octave = 1_u32 << at.div_ceil(2);
        f64::from(if at == 0 || at % 2 == 1 { octave } else { octave + octave / 2 })
    };
    (first(at) + first(at + 1) - 1.0) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_stands_for_the_middle_of_what_falls_into_it() {
        for at in 0..STEPS - 1 {
            let members: Vec<u32> = (0..200).filter(|&others| index(others) == at).collect();
            let (first, last) = (members[0] + 1, members[members.len() - 1] + 1);
            assert_eq!(middle(at), f64::from(first + last) / 2.0, "step {at}: {first} to {last}");
        }
        assert_eq!(index(u32::MAX), STEPS - 1);
    }

    const BACKEND: Service = Service { time: 0.08, workers: 8.0, knee: true, cv: 1.0 };

    /// After `seconds` of 40 requests each on a server with so many workers; up to `most` of them side by side.
    fn after(mut curve: OwnCurve, workers: f64, service: f64, most: u32, seconds: i64) -> OwnCurve {
        for second in 0..seconds {
            for k in 0..40 {
                let others = k % most;
                curve.record(others, service * (f64::from(others + 1) / workers).max(1.0), 1.0, second);
            }
            curve.look(&BACKEND, second, 1.0);
        }
        curve
    }

    #[track_caller]
    fn check(workers: f64, service: f64, most: u32, seconds: i64, expected: Option<f64>) {
        let found = after(OwnCurve::default(), workers, service, most, seconds).ratio();
        let is_near = match (found, expected) {
            (Some(found), Some(expected)) => (found / expected - 1.0).abs() < 0.3,
            (found, expected) => found == expected,
        };
        assert!(is_near, "{found:?} is not {expected:?}");
    }

    #[test]
    fn a_smaller_a_larger_and_a_slower_server_are_known_by_their_own_curves() {
        check(2.0, 0.08, 12, 600, Some(0.25));
        check(20.0, 0.08, 40, 600, Some(2.5));
        check(8.0, 0.24, 6, 600, Some(0.33));
    }

    #[test]
    fn servers_that_are_alike_and_those_of_which_little_is_seen_are_as_the_backend() {
        check(8.0, 0.08, 20, 600, None);
        check(8.0, 0.09, 20, 600, None);
        check(8.0, 0.08, 3, 600, None); // its knee is out of sight
        check(2.0, 0.08, 12, 1, None);
    }

    #[test]
    fn one_odd_stretch_is_not_believed() {
        let odd = after(after(OwnCurve::default(), 8.0, 0.08, 20, 300), 8.0, 0.16, 20, 30);
        assert_eq!(odd.ratio(), None);
    }
}
