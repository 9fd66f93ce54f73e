//! How often each number of milliseconds was seen, exact where requests usually are.

use hdrhistogram::Histogram;

/// Numbers below this are counted one by one: 16 KiB at most, and only as far as they were seen.
const EXACT_BELOW: u32 = 4096;

/// Of longer ones this many digits are kept.
const DIGITS: u8 = 3;

/// The fewest counters that are worth having.
const FEWEST: usize = 64;

/// How often each number of milliseconds was seen.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Counts {
    /// By milliseconds.
    exact: Vec<u32>,
    long: Option<Box<Long>>,
}

/// Those from [`EXACT_BELOW`] on.
#[derive(Clone, Debug, PartialEq)]
struct Long {
    histogram: Histogram<u64>,
    sum: u64,
    max: u32,
}

impl Counts {
    /// Counts one.
    #[inline]
    pub(super) fn add(&mut self, ms: u32) {
        match self.exact.get_mut(ms as usize) {
            // A file with four billion lines of one latency has no more to tell.
            Some(count) => *count = count.saturating_add(1),
            None => self.add_many(ms, 1),
        }
    }

    /// Counts one so many times.
    #[cold]
    pub(super) fn add_many(&mut self, ms: u32, times: u32) {
        if ms >= EXACT_BELOW {
            return self.long.get_or_insert_with(Long::boxed).add(ms, times);
        }
        let at = ms as usize;
        if at >= self.exact.len() {
            self.exact.resize((at + 1).next_power_of_two().max(FEWEST), 0);
        }
        self.exact[at] = self.exact[at].saturating_add(times);
    }

    /// What was counted below [`EXACT_BELOW`], and how often.
    pub(super) fn exact(&self) -> impl Iterator<Item = (u32, u32)> {
        (0..).zip(self.exact.iter().copied()).filter(|&(_, count)| count > 0)
    }

    /// Counts all that `other` has counted.
    pub(super) fn add_all(&mut self, other: &Self) {
        if self.exact.len() < other.exact.len() {
            self.exact.resize(other.exact.len(), 0);
        }
        for (own, theirs) in self.exact.iter_mut().zip(&other.exact) {
            *own = own.saturating_add(*theirs);
        }
        if let Some(theirs) = &other.long {
            self.long.get_or_insert_with(Long::boxed).add_all(theirs);
        }
    }

    /// How many were counted.
    pub(super) fn count(&self) -> u64 {
        let long = self.long.as_ref().map_or(0, |long| long.histogram.len());
        self.exact.iter().copied().map(u64::from).sum::<u64>() + long
    }

    /// All milliseconds together.
    pub(super) fn sum(&self) -> u64 {
        let exact = (0..).zip(&self.exact).map(|(ms, &count): (u64, _)| ms * u64::from(count));
        exact.sum::<u64>() + self.long.as_ref().map_or(0, |long| long.sum)
    }

    /// The most that was counted; `None` if nothing was.
    pub(super) fn max(&self) -> Option<u32> {
        let exact = || self.exact.iter().rposition(|&count| count > 0).map(|ms| ms as u32);
        self.long.as_ref().map(|long| long.max).or_else(exact)
    }

    /// The smallest that at least `permille` thousandths of all do not exceed; `None` if nothing was counted.
    pub(super) fn percentile(&self, permille: u16) -> Option<u32> {
        let rank = (self.count() * u64::from(permille)).div_ceil(1000).max(1);
        let mut seen = 0;
        for (ms, &count) in (0..).zip(&self.exact) {
            seen += u64::from(count);
            if seen >= rank {
                return Some(ms);
            }
        }
        self.long.as_ref().map(|long| long.at(rank - seen))
    }
}

impl Long {
    fn boxed() -> Box<Self> {
        // Refused are more than five digits only, and this is a constant.
        let histogram = Histogram::new(DIGITS).expect("3 digits are allowed");
        Box::new(Self { histogram, sum: 0, max: 0 })
    }

    fn add(&mut self, ms: u32, times: u32) {
        // It grows, so there is nothing that it could refuse.
        let _ = self.histogram.record_n(ms.into(), times.into());
        self.sum += u64::from(ms) * u64::from(times);
        self.max = self.max.max(ms);
    }

    fn add_all(&mut self, other: &Self) {
        // It grows, so there is nothing that it could refuse.
        let _ = self.histogram.add(&other.histogram);
        self.sum += other.sum;
        self.max = self.max.max(other.max);
    }

    /// The `rank`th, from 1.
    fn at(&self, rank: u64) -> u32 {
        let mut seen = 0;
        let found = self.histogram.iter_recorded().find(|step| {
            seen += step.count_since_last_iteration();
            seen >= rank
        });
        let found =
            found.map_or(self.max, |step| u32::try_from(step.value_iterated_to()).unwrap_or(self.max));
        found.min(self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn percentiles_are_those_of_the_sorted_truth(
            one in proptest::collection::vec(prop_oneof![0u32..300, 0u32..10_000, any::<u32>()], 0..200),
            other in proptest::collection::vec(0u32..10_000, 0..50),
        ) {
            let (mut counts, mut more) = (Counts::default(), Counts::default());
            one.iter().for_each(|&ms| counts.add(ms));
            other.iter().for_each(|&ms| more.add(ms));
            counts.add_all(&more);
            let mut truth = [one, other].concat();
            truth.sort_unstable();
            prop_assert_eq!(counts.count(), truth.len() as u64);
            prop_assert_eq!(counts.sum(), truth.iter().copied().map(u64::from).sum::<u64>());
            prop_assert_eq!(counts.max(), truth.last().copied());
            for permille in [500, 900, 999, 1000] {
                let rank = (usize::from(permille) * truth.len()).div_ceil(1000);
                let Some(&expected) = rank.checked_sub(1).and_then(|at| truth.get(at)) else {
                    prop_assert_eq!(counts.percentile(permille), None);
                    continue;
                };
                let found = counts.percentile(permille).unwrap();
                let allowed = if expected < EXACT_BELOW { 0.0 } else { 0.001 * f64::from(expected) };
                prop_assert!((f64::from(found) - f64::from(expected)).abs() <= allowed, "{} {}", found, expected);
            }
        }
    }
}
