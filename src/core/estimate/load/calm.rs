//! Requests that found a free worker: what no number of servers could do better.

use super::figures::Calm;

/// The share of a worker that is left free: closer to the knee requests may have waited after all.
pub(super) const FREE: f64 = 0.8;

/// Classes of latency below the target's limit; one more is above it. What matters is how far below
/// the limit a latency is, so they are equally wide.
const BELOW: usize = 63;

/// About so many requests are remembered: the share above the target is then known to within 1 %.
const MEMORY: f64 = 1000.0;

/// Fewer say nothing about a spread.
const ENOUGH: f64 = 50.0;

/// The spread follows what the sample says by this share, a sweep.
const FOLLOW: f64 = 0.02;

/// More is told apart from this by nothing that it is used for.
const MOST: f64 = 3.0;

/// A spread until one is known: that of exponential times.
const UNKNOWN: f64 = 1.0;

/// The latencies and the spread of calm requests.
#[derive(Clone, Debug)]
pub(super) struct CalmSample {
    below_ms: f64,
    /// Requests and the sum of their latencies in seconds, by class of latency.
    classes: Box<[(f32, f32); BELOW + 1]>,
    /// Requests, sum and sum of squares of Tr in seconds.
    worked: (f64, f64, f64),
    cv: Option<f64>,
    sweeps: u32,
}

impl CalmSample {
    /// Knows nothing; the promise is `below_ms`.
    pub(super) fn new(below_ms: u128) -> Self {
        // Any limit of a config is far below 2^53 ms.
        Self {
            below_ms: (below_ms as f64).max(1.0),
            classes: Box::new([(0.0, 0.0); BELOW + 1]),
            worked: (0.0, 0.0, 0.0),
            cv: None,
            sweeps: 0,
        }
    }

    /// Counts one: its Tr, and its latency by the target's timer if it has one.
    pub(super) fn record(&mut self, tr_s: f64, latency_ms: Option<u32>) {
        let (count, sum, squares) = self.worked;
        self.worked = (count + 1.0, sum + tr_s, squares + tr_s * tr_s);
        let Some(latency_ms) = latency_ms else { return };
        let latency_ms = f64::from(latency_ms);
        let is_late = latency_ms > self.below_ms;
        let class = if is_late { BELOW } else { (latency_ms / self.below_ms * BELOW as f64) as usize };
        let class = &mut self.classes[if is_late { BELOW } else { class.min(BELOW - 1) }];
        class.0 += 1.0;
        class.1 += (latency_ms / 1000.0) as f32;
    }

    /// After each sweep: learns the spread, and forgets what is more than it remembers.
    pub(super) fn finish_sweep(&mut self) {
        let (count, sum, squares) = self.worked;
        if count >= ENOUGH && sum > 0.0 {
            let mean = sum / count;
            let cv = ((squares / count - mean * mean).max(0.0).sqrt() / mean).min(MOST);
            self.sweeps = self.sweeps.saturating_add(1);
            // The first sweeps count alike, so that the beginning is not remembered for minutes.
            let share = FOLLOW.max(1.0 / f64::from(self.sweeps));
            let known = self.cv.unwrap_or(cv);
            self.cv = Some(known + share * (cv - known));
        }
        if count > MEMORY {
            let keep = MEMORY / count;
            self.worked = (count * keep, sum * keep, squares * keep);
            for class in self.classes.iter_mut() {
                *class = (class.0 * keep as f32, class.1 * keep as f32);
            }
        }
    }

    /// Coefficient of variation of Tr.
    pub(super) fn cv(&self) -> f64 {
        self.cv.unwrap_or(UNKNOWN)
    }

    /// As the policy sees it.
    pub(super) fn figures(&self) -> Calm {
        let total: f64 = self.classes.iter().map(|class| f64::from(class.0)).sum();
        if total < 1.0 {
            return Calm::default();
        }
        let seen = self.classes.iter().filter(|class| class.0 > 0.0);
        let share = |class: &(f32, f32)| (f64::from(class.1 / class.0), f64::from(class.0) / total);
        let mut latencies = Vec::with_capacity(BELOW + 1);
        latencies.extend(seen.map(share));
        Calm { floor: f64::from(self.classes[BELOW].0) / total, latencies }
    }

    #[cfg(test)]
    pub(super) fn heap_bytes(&self) -> usize {
        size_of_val(&*self.classes)
    }
}
