//! Whether a server still gets faster.

use std::time::Duration;

use super::probe::Warmth;

/// Two medians closer than this are equal to any user, and to the noise of a busy machine.
const NOISE: Duration = Duration::from_millis(1);

/// The latencies of warm-up requests, in the order of their answers.
#[derive(Clone, Debug)]
pub struct Latencies {
    all: Vec<Duration>,
    /// So many make a median that one outlier does not move.
    group: usize,
}

impl Latencies {
    /// None yet, of requests sent `concurrency` at a time.
    pub fn new(concurrency: u32) -> Self {
        Self { all: Vec::new(), group: (2 * concurrency as usize).max(8) }
    }

    /// One more.
    pub fn push(&mut self, latency: Duration) {
        self.all.push(latency);
    }

    /// How many there are.
    pub fn count(&self) -> u32 {
        u32::try_from(self.all.len()).unwrap_or(u32::MAX)
    }

    /// The server does not get faster any more: the median of the last requests is less than a
    /// tenth, or than a millisecond, below the median of as many before them. With one request
    /// or none there is nothing to compare.
    pub fn have_settled(&self) -> bool {
        let group = self.group.min(self.all.len() / 2);
        let (before, last) = self.all.split_at(self.all.len() - group);
        let before = median(&before[before.len() - group..]);
        let last = median(last);
        last + NOISE >= before || last >= before.mul_f64(0.9)
    }

    /// What came of it.
    pub fn warmth(&self) -> Warmth {
        let group = self.group.min(self.all.len());
        Warmth {
            requests: self.count(),
            first: median(&self.all[..group]),
            last: median(&self.all[self.all.len() - group..]),
        }
    }
}

/// The upper one of two; zero if there is none.
fn median(latencies: &[Duration]) -> Duration {
    let mut sorted = latencies.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(expected: bool, latencies_ms: &[u64]) {
        let mut latencies = Latencies::new(1);
        latencies_ms.iter().for_each(|&ms| latencies.push(Duration::from_millis(ms)));
        assert_eq!(latencies.have_settled(), expected);
    }

    #[test]
    fn a_server_has_settled_when_it_gets_no_faster() {
        check(true, &[50; 20]);
        check(true, &[30, 40, 50, 60]);
        check(false, &[90, 80, 70, 60]);
        check(true, &[100, 100, 95, 92]);
        check(false, &[[500; 8], [50; 8]].concat());
        check(true, &[vec![500; 8], vec![50; 16]].concat());
    }

    #[test]
    fn outliers_and_noise_do_not_count() {
        check(true, &[[50, 50, 50, 50, 50, 50, 50, 900], [50; 8]].concat());
        check(true, &[2, 2, 1, 1]);
    }

    #[test]
    fn little_is_enough_if_no_more_was_asked_for() {
        check(true, &[]);
        check(true, &[100]);
        check(false, &[100, 50]);
    }
}
