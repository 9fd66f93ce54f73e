//! When to try again what has failed: soon, then ever later, then soon again once it has worked for a while.

use std::time::{Duration, Instant};

/// One thing that is tried again and again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Backoff {
    shortest: Duration,
    longest: Duration,
    next: Duration,
    at: Option<Instant>,
}

impl Backoff {
    /// Pauses from `shortest` to `longest`, each twice the one before. The first try is due at once.
    pub(super) const fn new(shortest: Duration, longest: Duration) -> Self {
        Self { shortest, longest, next: shortest, at: None }
    }

    /// It has failed: the next try is due after a pause.
    pub(super) fn failed(&mut self, now: Instant) {
        self.at = Some(now + self.next);
        self.next = (self.next * 2).min(self.longest);
    }

    /// It works: should it fail again, the pause is short. The next try is due at once.
    pub(super) fn worked(&mut self) {
        (self.next, self.at) = (self.shortest, None);
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.at.is_none_or(|at| at <= now)
    }

    /// How long until the next try; zero if it is due.
    pub(super) fn time_left(&self, now: Instant) -> Duration {
        self.at.map_or(Duration::ZERO, |at| at.saturating_duration_since(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_until_it_works() {
        let mut now = Instant::now();
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(5));
        assert!(backoff.is_due(now));
        let mut pauses = Vec::new();
        for _ in 0..4 {
            backoff.failed(now);
            assert!(!backoff.is_due(now));
            let pause = backoff.time_left(now);
            pauses.push(pause.as_secs());
            now += pause;
            assert!(backoff.is_due(now));
        }
        assert_eq!(pauses, [1, 2, 4, 5]);
        backoff.worked();
        backoff.failed(now);
        assert_eq!(backoff.time_left(now), Duration::from_secs(1));
    }
}
