//! How fast requests come, how that changes, and how much of a change is chance.

use super::figures::{Arrivals, Change};
use super::request::NEVER;
use super::seconds::Recent;

/// A change of this is told apart from what it usually is, as far back as so many seconds; slower
/// changes by a longer memory.
const MEMORY_S: f64 = 300.0;
const LONG_MEMORY_S: f64 = 1800.0;

/// One surprise counts for at most so many times what is usual: else the first steep rise would
/// make the second one look normal.
const MOST_SURPRISE: f64 = 16.0;

/// Peaks are of the last hour, but for the present and the last minute: a rise must not be measured by itself.
const PEAK_MINUTES: i64 = 60;
const PRESENT_MINUTES: i64 = 2;

/// Before so many seconds nothing is called a peak.
const PEAK_KNOWN: usize = 300;

/// What is remembered of arrivals beyond the last minute.
#[derive(Clone, Debug, Default)]
pub(super) struct Trend {
    usual_3: Usual,
    usual_5: Usual,
    usual_30: Usual,
    peaks: Peaks,
    /// The second of the last look.
    at: Option<i64>,
}

impl Trend {
    /// The arrivals of the minute before second `now`, which is learned from.
    pub(super) fn learn(&mut self, recent: &Recent, now: i64) -> Arrivals {
        let passed = self.at.map_or(1, |at| (now - at).clamp(0, 60));
        self.at = Some(now);
        for (usual, seconds, memory) in [
            (&mut self.usual_3, 3, MEMORY_S),
            (&mut self.usual_5, 5, MEMORY_S),
            (&mut self.usual_30, 30, LONG_MEMORY_S),
        ] {
            if recent.knows(2 * seconds) {
                usual.learn(slope(recent, seconds), chance(recent, seconds), passed as f64 / memory);
            }
        }
        self.peaks.note(now, recent.arrivals(10, 0));
        self.see(recent, now)
    }

    /// The same, and nothing is learned from it.
    pub(super) fn see(&self, recent: &Recent, now: i64) -> Arrivals {
        let last = |seconds| recent.arrivals(seconds, 0);
        let change = |usual: &Usual, seconds| change(recent, seconds, usual);
        Arrivals {
            last_3: last(3),
            last_4: last(4),
            last_5: last(5),
            last_10: last(10),
            last_15: last(15),
            last_30: last(30),
            change_3: change(&self.usual_3, 3),
            change_5: change(&self.usual_5, 5),
            change_30: change(&self.usual_30, 30),
            peak: recent.knows(PEAK_KNOWN).then(|| self.peaks.highest(now)).flatten(),
        }
    }
}

fn change(recent: &Recent, seconds: usize, usual: &Usual) -> Change {
    if !recent.knows(2 * seconds) {
        return Change { slope: 0.0, sigma: chance(recent, seconds).sqrt() };
    }
    let sigma = usual.square.max(chance(recent, seconds)).sqrt();
    Change { slope: slope(recent, seconds), sigma }
}

/// Requests a second more each second: the last span against the one before.
fn slope(recent: &Recent, seconds: usize) -> f64 {
    (recent.arrivals(seconds, 0) - recent.arrivals(seconds, seconds)) / seconds as f64
}

/// The square of what `slope` is by chance alone, if arrivals are independent of each other. Where
/// nothing came it is as if one request had.
fn chance(recent: &Recent, seconds: usize) -> f64 {
    let span = seconds as f64;
    let rates = recent.arrivals(seconds, 0) + recent.arrivals(seconds, seconds);
    rates.max(1.0 / span) / span.powi(3)
}

/// What the square of a change usually is: a moving average.
#[derive(Clone, Copy, Debug, Default)]
struct Usual {
    square: f64,
}

impl Usual {
    /// `share`: of the memory that has passed since the last time.
    fn learn(&mut self, slope: f64, chance: f64, share: f64) {
        let most = MOST_SURPRISE * self.square.max(chance);
        self.square += share.min(1.0) * ((slope * slope).min(most) - self.square);
    }
}

/// The highest rate of each of the last minutes.
#[derive(Clone, Debug)]
struct Peaks {
    ring: [(i64, f32); (PEAK_MINUTES + PRESENT_MINUTES) as usize],
}

impl Default for Peaks {
    fn default() -> Self {
        Self { ring: [(NEVER, 0.0); (PEAK_MINUTES + PRESENT_MINUTES) as usize] }
    }
}

impl Peaks {
    fn note(&mut self, second: i64, rate: f64) {
        let minute = second.div_euclid(60);
        let slot = &mut self.ring[minute.rem_euclid(PEAK_MINUTES + PRESENT_MINUTES) as usize];
        let before = if slot.0 == minute { slot.1 } else { 0.0 };
        *slot = (minute, before.max(rate as f32));
    }

    fn highest(&self, second: i64) -> Option<f64> {
        let minute = second.div_euclid(60);
        let is_past = |at: i64| (minute - PEAK_MINUTES..=minute - PRESENT_MINUTES).contains(&at);
        self.ring.iter().filter(|slot| is_past(slot.0)).map(|slot| f64::from(slot.1)).reduce(f64::max)
    }
}
