//! Latencies in whole milliseconds, counted in a histogram that is only as large as they are long.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::core::units::Percentile;

/// Steps of 1 ms below 256 ms; above that a step is less than 1 % of the value.
const SIGNIFICANT_DIGITS: u8 = 2;

/// The histogram's smallest range. 2 significant digits need steps of 1 up to here (1 KiB), and
/// 512 bytes for each doubling above.
const SMALLEST_RANGE_MS: u64 = 255;

/// What takes longer (70 min) counts as this long in percentiles: no band is up there, and a
/// timer gone wild must not cost memory. 8 KiB, the largest a histogram gets.
const LONGEST_MS: u64 = (1 << 22) - 1;

/// Latencies whose percentiles are known to one histogram step and whose mean is exact.
///
/// Empty, it owns no memory.
#[derive(Clone, Debug, Default)]
pub(super) struct Latencies {
    counts: Option<Box<Histogram<u32>>>,
    total_ms: u64,
}

impl Latencies {
    /// How many there are.
    pub(super) fn len(&self) -> u64 {
        self.counts.as_ref().map_or(0, |counts| counts.len())
    }

    /// No counter may overflow: the difference of two histograms would be wrong for good.
    pub(super) fn is_full(&self) -> bool {
        self.len() >= u64::from(u32::MAX)
    }

    /// Counts one more.
    pub(super) fn record(&mut self, ms: u32) {
        self.total_ms += u64::from(ms);
        let value = u64::from(ms).min(LONGEST_MS);
        let counts = self.counts.get_or_insert_with(|| histogram_up_to(value));
        if value > counts.high() {
            let mut larger = histogram_up_to(value);
            let added = larger.add(&**counts);
            debug_assert!(added.is_ok(), "a larger range takes all that a smaller one has: {added:?}");
            *counts = larger;
        }
        counts.saturating_record(value);
    }

    /// Takes away all of `part`, each of which must have been recorded here too.
    pub(super) fn subtract(&mut self, part: &Self) {
        let (Some(counts), Some(less)) = (&mut self.counts, &part.counts) else {
            return;
        };
        let subtracted = counts.subtract(&**less);
        debug_assert!(subtracted.is_ok(), "more was taken away than there was: {subtracted:?}");
        self.total_ms = self.total_ms.saturating_sub(part.total_ms);
        if counts.is_empty() {
            *self = Self::default();
        }
    }

    /// The upper end of the histogram step in which `percentile` lies; `None` if there are none.
    pub(super) fn percentile(&self, percentile: Percentile) -> Option<Duration> {
        let counts = self.counts.as_ref().filter(|counts| !counts.is_empty())?;
        Some(Duration::from_millis(counts.value_at_percentile(percentile.value())))
    }

    /// The exact mean; `None` if there are none.
    pub(super) fn mean(&self) -> Option<Duration> {
        mean_of_millis(self.total_ms, self.len())
    }

    /// What it costs on the heap.
    #[cfg(test)]
    pub(super) fn heap_bytes(&self) -> usize {
        self.counts.as_ref().map_or(0, |counts| size_of_val(&**counts) + counts.distinct_values() * 4)
    }
}

/// `total_ms / count` to the microsecond; `None` if `count` is 0.
pub(super) fn mean_of_millis(total_ms: u64, count: u64) -> Option<Duration> {
    Some(Duration::from_micros(total_ms.saturating_mul(1000).checked_div(count)?))
}

/// An empty histogram for values up to `value`, the next power of two really. The range is given
/// beforehand because growing on demand would let the vector inside double its capacity.
fn histogram_up_to(value: u64) -> Box<Histogram<u32>> {
    let range = (value.max(SMALLEST_RANGE_MS) + 1).next_power_of_two() - 1;
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
            assert!(
                of(&[1, longest_ms]).heap_bytes() <= at_most_bytes,
                "{}",
                of(&[1, longest_ms]).heap_bytes()
            );
        }
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
}
