//! Latencies in whole milliseconds: a list of a few, and a histogram of more, only as large as they are long.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::core::units::Percentile;

/// Steps of 1 ms below 256 ms; above that a step is less than 1 % of the value.
const SIGNIFICANT_DIGITS: u8 = 2;

/// The histogram's smallest range. 2 significant digits need steps of 1 up to here (1 KiB), and
/// 512 bytes for each doubling above.
const SMALLEST_RANGE_MS: u32 = 255;

/// What takes longer (70 min) counts as this long in percentiles: no band is up there, and a
/// timer gone wild must not cost memory. 8 KiB, the largest a histogram gets.
const LONGEST_MS: u32 = (1 << 22) - 1;

/// So many are kept as they are, in 256 bytes at most: of a thousand backends most servers have no more in a slot.
const FEW: usize = 64;

/// Latencies whose percentiles are known to one histogram step and whose mean is exact.
///
/// Empty, it owns no memory.
#[derive(Clone, Debug, Default)]
pub(super) struct Latencies {
    counts: Counts,
    total_ms: u64,
}

/// Each at most [`LONGEST_MS`]. A list becomes a histogram, and a histogram a list only when it is empty.
#[derive(Clone, Debug)]
enum Counts {
    /// The shortest first, at most [`FEW`].
    Few(Vec<u32>),
    Many(Box<Histogram<u32>>),
}

impl Default for Counts {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl Latencies {
    /// How many there are.
    pub(super) fn len(&self) -> u64 {
        match &self.counts {
            Counts::Few(few) => few.len() as u64,
            Counts::Many(counts) => counts.len(),
        }
    }

    /// No counter may overflow: the difference of two histograms would be wrong for good.
    pub(super) fn is_full(&self) -> bool {
        self.len() >= u64::from(u32::MAX)
    }

    /// Counts one more.
    pub(super) fn record(&mut self, ms: u32) {
        self.total_ms += u64::from(ms);
        let value = ms.min(LONGEST_MS);
        match &mut self.counts {
            Counts::Few(few) if few.len() < FEW => few.insert(few.partition_point(|&it| it < value), value),
            Counts::Few(few) => {
                let mut counts = histogram_of(few);
                record(&mut counts, value);
                self.counts = Counts::Many(counts);
            }
            Counts::Many(counts) => record(counts, value),
        }
    }

    /// Takes away all of `part`, each of which must have been recorded here too.
    pub(super) fn subtract(&mut self, part: &Self) {
        let taken = match (&mut self.counts, &part.counts) {
            (_, Counts::Few(less)) if less.is_empty() => return,
            (Counts::Few(few), Counts::Few(less)) => take_away(few, less),
            (Counts::Many(counts), Counts::Few(less)) => counts.subtract(&*histogram_of(less)).is_ok(),
            (Counts::Many(counts), Counts::Many(less)) => counts.subtract(&**less).is_ok(),
            (Counts::Few(_), Counts::Many(_)) => false,
        };
        debug_assert!(taken, "more was taken away than there was");
        self.total_ms = self.total_ms.saturating_sub(part.total_ms);
        if self.len() == 0 {
            *self = Self::default();
        }
    }

    /// The upper end of the histogram step in which `percentile` lies; `None` if there are none. The same for few as
    /// for many.
    pub(super) fn percentile(&self, percentile: Percentile) -> Option<Duration> {
        let ms = match &self.counts {
            Counts::Few(few) => {
                // As the histogram counts.
                let rank = (percentile.value() / 100.0 * few.len() as f64).ceil() as usize;
                end_of_step(*few.get(rank.saturating_sub(1).min(few.len().checked_sub(1)?))?)
            }
            Counts::Many(counts) => counts.value_at_percentile(percentile.value()),
        };
        Some(Duration::from_millis(ms))
    }

    /// The exact mean; `None` if there are none.
    pub(super) fn mean(&self) -> Option<Duration> {
        mean_of_millis(self.total_ms, self.len())
    }

    /// What it costs on the heap.
    #[cfg(test)]
    pub(super) fn heap_bytes(&self) -> usize {
        match &self.counts {
            Counts::Few(few) => few.capacity() * 4,
            Counts::Many(counts) => size_of_val(&**counts) + counts.distinct_values() * 4,
        }
    }
}

/// `total_ms / count` to the microsecond; `None` if `count` is 0.
pub(super) fn mean_of_millis(total_ms: u64, count: u64) -> Option<Duration> {
    Some(Duration::from_micros(total_ms.saturating_mul(1000).checked_div(count)?))
}

/// Takes each of `less` away from `few`; both are sorted. True if all of them were there.
fn take_away(few: &mut Vec<u32>, less: &[u32]) -> bool {
    less.iter().all(|value| few.binary_search(value).map(|at| few.remove(at)).is_ok())
}

/// The longest latency of the histogram step that `ms` is in.
fn end_of_step(ms: u32) -> u64 {
    const STEPS: u32 = SMALLEST_RANGE_MS.div_ceil(2);
    let step = (ms / STEPS).max(1).ilog2();
    u64::from(ms | ((1 << step) - 1))
}

fn record(counts: &mut Box<Histogram<u32>>, ms: u32) {
    let value = u64::from(ms);
    if value > counts.high() {
        let mut larger = histogram_up_to(ms);
        let added = larger.add(&**counts);
        debug_assert!(added.is_ok(), "a larger range takes all that a smaller one has: {added:?}");
        *counts = larger;
    }
    counts.saturating_record(value);
}

/// With all of `few`, the shortest first.
fn histogram_of(few: &[u32]) -> Box<Histogram<u32>> {
    let mut counts = histogram_up_to(few.last().copied().unwrap_or(0));
    few.iter().for_each(|&ms| counts.saturating_record(u64::from(ms)));
    counts
}

/// An empty histogram for values up to `ms`, the next power of two really. The range is given
/// beforehand because growing on demand would let the vector inside double its capacity.
fn histogram_up_to(ms: u32) -> Box<Histogram<u32>> {
    let range = u64::from(ms.max(SMALLEST_RANGE_MS) + 1).next_power_of_two() - 1;
    // Refused are only a range below 2 and more than 5 digits; these are 255 at least, and 2.
    Box::new(Histogram::new_with_max(range, SIGNIFICANT_DIGITS).expect("a range above 2 and 2 digits"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[u32]) -> Latencies {
        let mut latencies = Latencies::default();
        values.iter().for_each(|&ms| latencies.record(ms));
        latencies
    }

    #[test]
    fn empty_says_nothing_and_owns_nothing() {
        let mut latencies = of(&[7, 300]);
        latencies.subtract(&of(&[7, 300]));
        assert_eq!((latencies.len(), latencies.heap_bytes()), (0, 0));
        assert_eq!((latencies.mean(), latencies.percentile(Percentile::new(50.0).unwrap())), (None, None));
    }

    #[test]
    fn zero_milliseconds_are_a_latency() {
        let latencies = of(&[0, 0]);
        assert_eq!(latencies.len(), 2);
        assert_eq!(latencies.percentile(Percentile::new(99.0).unwrap()), Some(Duration::ZERO));
        assert_eq!(latencies.mean(), Some(Duration::ZERO));
    }

    #[test]
    fn it_is_as_small_as_its_longest_latency_allows() {
        #[track_caller]
        fn check(longest_ms: u32, at_most_bytes: usize) {
            let bytes = of(&[[1; FEW].as_slice(), &[longest_ms]].concat()).heap_bytes();
            assert!(bytes <= at_most_bytes, "{bytes}");
        }
        assert_eq!(of(&[30_000; FEW]).heap_bytes(), 4 * FEW);
        check(255, 1024 + 128);
        check(1_000, 2 * 1024 + 128);
        check(4_000, 3 * 1024 + 128);
        check(30_000, 4 * 1024 + 512 + 128);
        check(u32::MAX, 8 * 1024 + 128);
    }

    #[test]
    fn the_mean_knows_even_what_is_beyond_the_histogram() {
        assert_eq!(of(&[0, u32::MAX]).mean(), Some(Duration::from_micros(u64::from(u32::MAX) * 500)));
    }

    #[test]
    fn a_few_say_the_same_as_a_histogram_of_them() {
        for value in (0..5_000).chain([LONGEST_MS / 2, LONGEST_MS / 2 + 1, LONGEST_MS]) {
            assert_eq!(end_of_step(value), histogram_of(&[value]).highest_equivalent(u64::from(value)));
        }
        for count in 1..=FEW as u32 {
            let values: Vec<u32> = (0..count).map(|n| n * n * n).collect();
            let (few, many) = (of(&values), histogram_of(&values));
            for percent in [0.1, 1.0, 25.0, 50.0, 90.0, 95.0, 99.0, 99.9, 100.0] {
                let percentile = Percentile::new(percent).unwrap();
                let said = few.percentile(percentile).unwrap().as_millis() as u64;
                assert_eq!(said, many.value_at_percentile(percent), "p{percent} of {count}");
            }
        }
    }

    #[test]
    fn what_is_taken_away_leaves_the_rest_whether_few_or_many() {
        for (all, less) in [(10, 3), (FEW, FEW - 1), (FEW + 1, 20), (3 * FEW, 2 * FEW)] {
            let values: Vec<u32> = (0..all as u32).map(|n| n * 37 % 1000).collect();
            let mut left = of(&values);
            left.subtract(&of(&values[..less]));
            let expected = of(&values[less..]);
            assert_eq!((left.len(), left.mean()), (expected.len(), expected.mean()), "{all} less {less}");
            for percentile in [50.0, 95.0].map(|percent| Percentile::new(percent).unwrap()) {
                assert_eq!(left.percentile(percentile), expected.percentile(percentile), "{all} less {less}");
            }
        }
    }
}
