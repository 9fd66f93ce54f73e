//! What HAProxy said last, and whether it can be gone by.

use std::time::{Duration, Instant};

use crate::core::names::BackendId;
use crate::core::plan::inventory::{BackendState, Inventory, Unread};
use crate::core::plan::nodes::LEADERLESS_AT_MOST;
use crate::core::policy::decision::Reason;

/// The readings of HAProxy.
#[derive(Debug)]
pub(super) struct Readings {
    /// An older one is no ground for a decision.
    stale_after: Duration,
    /// The latest in which a HAProxy was in line.
    latest: Option<Reading>,
    /// When one came in which none was, if that was the last.
    none_in_line: Option<Instant>,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) asked: Instant,
    pub(super) arrived: Instant,
    pub(super) inventory: Inventory,
}

impl Default for Readings {
    /// One each second.
    fn default() -> Self {
        Self { stale_after: Duration::from_secs(5), latest: None, none_in_line: None }
    }
}

impl Readings {
    /// One comes `every` so often, and `within` so long after it was asked for.
    pub(super) fn come_every(&mut self, every: Duration, within: Duration) {
        self.stale_after = every * 2 + within;
    }

    /// The latest that could be gone by, however old.
    pub(super) fn latest(&self) -> Option<&Reading> {
        self.latest.as_ref()
    }

    /// What `backend` had in it.
    pub(super) fn backend(&self, backend: BackendId) -> Option<&BackendState> {
        self.latest()?.inventory.backend(backend)
    }

    /// What of `backend` was left out of it.
    pub(super) fn unread(&self, backend: BackendId) -> Vec<Unread> {
        let unread = self.latest().map_or(&[][..], |latest| &latest.inventory.unread);
        unread.iter().filter(|unread| unread.backend == backend).cloned().collect()
    }

    /// The latest, if it is a ground for a decision at `now`.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) fn current(&self, now: Instant) -> Result<&Reading, Reason> {
        let is_fresh = |arrived: Instant| now.saturating_duration_since(arrived) <= self.stale_after;
        if self.none_in_line.is_some_and(is_fresh) {
            return Err(Reason::NoneInLine { at_most: LEADERLESS_AT_MOST });
        }
        self.latest().filter(|reading| is_fresh(reading.arrived)).ok_or(Reason::NoInventory)
    }

    /// One came at `now` in which no HAProxy was in line.
    pub(super) fn note_none_in_line(&mut self, now: Instant) {
        self.none_in_line = Some(now);
    }

    pub(super) fn take(&mut self, reading: Reading) {
        (self.latest, self.none_in_line) = (Some(reading), None);
    }
}

impl Reading {
    /// When it was asked for, and what `backend` had.
    ///
    /// # Errors
    /// If it had no such backend, or does nothing by it.
    pub(super) fn of(&self, backend: BackendId) -> Result<(Instant, &BackendState), Reason> {
        match self.inventory.backend(backend) {
            Some(state) => Ok((self.asked, state)),
            None if self.inventory.disabled.contains(&backend) => Err(Reason::DisabledBackend),
            None => Err(Reason::UnknownBackend),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::plan::testing;

    #[track_caller]
    fn check(readings: &mut Readings, age_s: u64, holds: bool) {
        let now = Instant::now();
        let inventory = testing::inventory(testing::process(1, 9), Vec::new());
        readings.take(Reading { asked: now, arrived: now, inventory });
        assert_eq!(readings.current(now + Duration::from_secs(age_s)).is_ok(), holds, "{age_s} s");
    }

    #[test]
    fn a_reading_holds_for_two_ticks_and_a_slow_answer() {
        let mut readings = Readings::default();
        check(&mut readings, 5, true);
        check(&mut readings, 6, false);
        readings.come_every(Duration::from_secs(10), Duration::from_secs(5));
        check(&mut readings, 25, true);
        check(&mut readings, 26, false);
    }
}
