//! What HAProxy said last, and whether it can be gone by.

use std::time::{Duration, Instant};

use crate::core::names::BackendId;
use crate::core::plan::inventory::{BackendState, Inventory};
use crate::core::plan::nodes::LEADERLESS_AT_MOST;
use crate::core::policy::decision::Reason;

/// An inventory older than this is no ground for a decision: two ticks and a slow answer.
const STALE_AFTER: Duration = Duration::from_secs(5);

/// The readings of HAProxy.
#[derive(Debug, Default)]
pub(super) struct Readings {
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

impl Readings {
    /// The latest that could be gone by, however old.
    pub(super) fn latest(&self) -> Option<&Reading> {
        self.latest.as_ref()
    }

    /// What `backend` had in it.
    pub(super) fn backend(&self, backend: BackendId) -> Option<&BackendState> {
        self.latest()?.inventory.backend(backend)
    }

    /// The latest, if it is a ground for a decision at `now`.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) fn current(&self, now: Instant) -> Result<&Reading, Reason> {
        let is_fresh = |arrived: Instant| now.saturating_duration_since(arrived) <= STALE_AFTER;
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
