//! The stabilization window: a breach has to last before it counts.

use std::time::{Duration, Instant};

/// For how long, and at how many evaluations in a row, one thing has been so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stabilizer {
    since: Option<Instant>,
    evaluations: u32,
}

impl Stabilizer {
    /// It is so at `now`; returns for how long already.
    pub(super) fn confirm(&mut self, now: Instant) -> Duration {
        self.evaluations = self.evaluations.saturating_add(1);
        now.saturating_duration_since(*self.since.get_or_insert(now))
    }

    /// It is not so, or nobody knows.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }

    /// Since when; `None` if it is not so.
    pub(super) fn since(&self) -> Option<Instant> {
        self.since
    }

    /// In a row.
    pub(super) fn evaluations(&self) -> u32 {
        self.evaluations
    }
}
