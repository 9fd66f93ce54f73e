//! Tr by the requests that were on the same server already: the curve itself, unsmoothed.
//!
//! A bin forgets by count and not by time: what was learned at noon is still known at night. If
//! all bins at once are wrong, as after a deploy, all of them forget at once.

/// Each number of others below this has a bin of its own.
const SINGLE: u32 = 64;

/// Above, an octave has so many.
const TO_THE_OCTAVE: u32 = 16;

/// More others than this share the last bin.
const MOST_OTHERS: u32 = 1 << 16;

/// A bin remembers so many requests if they all take the same time, and more the more they differ.
const MEMORY: f64 = 100.0;

/// A bin that got nothing for so long says nothing any more.
const MOST_AGE_S: i64 = 900;

/// Fewer requests than this say nothing about their mean.
const LEAST_WEIGHT: f64 = 8.0;

/// Requests that take so many standard errors longer or shorter than their bins say did not do so
/// by chance.
const NOT_BY_CHANCE: f64 = 4.5;

/// Times that hardly vary still differ by more than chance from what was learned: the curve between
/// two bins is no straight line.
const LEAST_SPREAD: f64 = 0.3;

/// Timers are whole milliseconds, so equal ones may differ by this, squared (seconds).
const ROUNDING: f64 = 0.0005 * 0.0005;

/// Tr of requests with equally many others beside them.
#[derive(Clone, Copy, Debug, Default)]
struct Bin {
    /// Requests remembered.
    weight: f32,
    /// Mean, and mean squared deviation, seconds.
    mean: f32,
    square: f32,
    /// The second of its last request, plus one; 0: never.
    used: u32,
}

/// All bins, as far as they were needed.
#[derive(Clone, Debug, Default)]
pub(super) struct Bins {
    bins: Vec<Bin>,
    /// What the last requests took, what their bins said they would, and how many they are.
    took: f64,
    expected: f64,
    compared: f64,
}

/// What one bin contributes to the fit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Point {
    /// Requests on the server, this one included.
    pub(super) beside: f64,
    /// Mean of Tr, seconds.
    pub(super) time: f64,
    /// One over the square of what `time` is off by.
    pub(super) weight: f64,
    /// Requests remembered.
    pub(super) requests: f64,
}

impl Point {
    /// Says nothing.
    pub(super) const NONE: Self = Self { beside: 1.0, time: 0.0, weight: 0.0, requests: 0.0 };
}

impl Bins {
    /// Counts a request that took `tr` seconds with `others` on its server. `cv`: how much such
    /// times vary; `second`: when.
    /// `true` if all bins were wrong.
    pub(super) fn record(&mut self, others: u32, tr: f64, cv: f64, second: i64) -> bool {
        let at = index(others);
        if self.bins.len() <= at {
            self.bins.resize(at + 1, Bin::default());
        }
        let bin = &mut self.bins[at];
        let (weight, mean, square) = (f64::from(bin.weight), f64::from(bin.mean), f64::from(bin.square));
        let is_known = weight >= LEAST_WEIGHT;
        let weight = (weight + 1.0).min(memory(cv));
        let off = tr - mean;
        // The first request is the mean itself, and deviates from nothing.
        let deviation = if weight > 1.0 { off * off } else { 0.0 };
        bin.weight = weight as f32;
        bin.mean = (mean + off / weight) as f32;
        bin.square = (square + (deviation - square) / weight) as f32;
        bin.used = u32::try_from(second.max(0)).unwrap_or(u32::MAX - 1) + 1;
        is_known && self.compare(tr, mean, cv)
    }

    /// Compares what requests take with what their bins said they would, and forgets those if they
    /// are wrong.
    fn compare(&mut self, tr: f64, expected: f64, cv: f64) -> bool {
        let most = memory(cv);
        let keep = 1.0 - 1.0 / most;
        self.took = self.took * keep + tr;
        self.expected = self.expected * keep + expected;
        self.compared = self.compared * keep + 1.0;
        let chance = cv.max(LEAST_SPREAD) / self.compared.sqrt();
        let off = (self.took - self.expected).abs();
        let is_wrong = self.compared >= most / 4.0
            && off > NOT_BY_CHANCE * chance * self.expected + ROUNDING.sqrt() * self.compared;
        if is_wrong {
            self.forget();
        }
        is_wrong
    }

    /// Takes nothing for known until new requests have come.
    pub(super) fn forget(&mut self) {
        let least = (LEAST_WEIGHT - 1.0) as f32;
        self.bins.iter_mut().for_each(|bin| bin.weight = bin.weight.min(least));
        (self.took, self.expected, self.compared) = (0.0, 0.0, 0.0);
    }

    /// The bins that say something at `second`, by rising `beside`.
    pub(super) fn points(&self, cv: f64, second: i64) -> impl Iterator<Item = Point> {
        let counts = move |bin: &Bin| {
            let used = i64::from(bin.used) - 1;
            bin.used > 0 && f64::from(bin.weight) >= LEAST_WEIGHT && second - used <= MOST_AGE_S
        };
        self.bins.iter().enumerate().filter(move |(_, bin)| counts(bin)).map(move |(at, bin)| {
            let (requests, time) = (f64::from(bin.weight), f64::from(bin.mean));
            // Half of what such times vary by anyway, half of what these did: neither alone holds for few.
            let square = ((cv * time).powi(2) + f64::from(bin.square)) / 2.0 + ROUNDING;
            Point { beside: others_in(at) + 1.0, time, weight: requests / square, requests }
        })
    }

    /// `requests` that took `time` with so many side by side, where such times vary by `cv`.
    pub(super) fn point(beside: f64, time: f64, requests: f64, cv: f64) -> Point {
        let square = (cv * time).powi(2) + ROUNDING;
        Point { beside, time, weight: requests / square, requests }
    }

    #[cfg(test)]
    pub(super) fn heap_bytes(&self) -> usize {
        self.bins.capacity() * size_of::<Bin>()
    }
}

/// So many requests are remembered where times vary by `cv`.
pub(super) fn memory(cv: f64) -> f64 {
    MEMORY * (1.0 + cv * cv)
}

/// The bin for so many others.
fn index(others: u32) -> usize {
    let others = others.min(MOST_OTHERS);
    if others < SINGLE {
        return others as usize;
    }
    let octave = others.ilog2() - SINGLE.ilog2();
    let within = (others >> octave) - SINGLE;
    (SINGLE + octave * TO_THE_OCTAVE + within * TO_THE_OCTAVE / SINGLE) as usize
}

/// The number of others that bin `at` stands for: the middle of its range.
fn others_in(at: usize) -> f64 {
    let at = at as u32;
    if at < SINGLE {
        return f64::from(at);
    }
    let (octave, within) = ((at - SINGLE) / TO_THE_OCTAVE, (at - SINGLE) % TO_THE_OCTAVE);
    let first = f64::from(SINGLE << octave) * (1.0 + f64::from(within) / f64::from(TO_THE_OCTAVE));
    let width = f64::from(SINGLE << octave) / f64::from(TO_THE_OCTAVE);
    first + (width - 1.0) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bin_stands_for_the_middle_of_what_falls_into_it() {
        for at in 0..index(MOST_OTHERS) {
            let mut members = (0..=MOST_OTHERS).filter(|&others| index(others) == at);
            let first = members.next().expect("no bin is left out");
            let last = members.next_back().unwrap_or(first);
            assert_eq!(others_in(at), f64::from(first + last) / 2.0, "bin {at}: {first} to {last}");
        }
        assert_eq!(index(u32::MAX), index(MOST_OTHERS));
        assert!(index(MOST_OTHERS) < 256);
    }

    #[test]
    fn a_bin_has_the_mean_of_its_requests_and_forgets_by_count() {
        let mut bins = Bins::default();
        (0..1000).for_each(|k| {
            bins.record(3, if k % 2 == 0 { 0.1 } else { 0.3 }, 0.5, 7);
        });
        let point = bins.points(0.5, 7).next().unwrap();
        assert!((point.time - 0.2).abs() < 0.01 && point.beside == 4.0, "{point:?}");
        assert_eq!(point.requests, 125.0);
        (0..500).for_each(|_| {
            bins.record(3, 0.8, 0.5, 8);
        });
        let point = bins.points(0.5, 8).next().unwrap();
        assert!((point.time - 0.8).abs() < 0.02, "{point:?}");
    }

    #[test]
    fn all_bins_forget_at_once_if_all_are_wrong() {
        let mut bins = Bins::default();
        (0..2000).for_each(|k| {
            bins.record(k % 10, 0.1, 0.5, 7);
        });
        (0..200).for_each(|k| {
            bins.record(k % 5, 0.15, 0.5, 8);
        });
        let points: Vec<Point> = bins.points(0.5, 8).collect();
        assert_eq!(points.len(), 5, "nothing is known of the bins without new requests: {points:?}");
        assert!(points.iter().all(|point| (point.time - 0.15).abs() < 0.02), "{points:?}");
    }

    #[test]
    fn few_requests_or_old_ones_say_nothing() {
        let mut bins = Bins::default();
        (0..7).for_each(|_| {
            bins.record(0, 0.1, 1.0, 0);
        });
        assert_eq!(bins.points(1.0, 0).count(), 0);
        bins.record(0, 0.1, 1.0, 0);
        assert_eq!((bins.points(1.0, 900).count(), bins.points(1.0, 901).count()), (1, 0));
    }
}
