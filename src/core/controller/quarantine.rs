//! Servers that failed to start, and how long they are passed over.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use crate::core::names::ServerId;

/// How long a server whose start failed is passed over; doubled at each failure in a row.
const FIRST: Duration = Duration::from_secs(60);
/// No server is passed over for longer.
const LONGEST: Duration = Duration::from_secs(3600);

/// Servers that are passed over.
#[derive(Debug, Default)]
pub(super) struct Quarantine(HashMap<ServerId, Term>);

#[derive(Debug)]
struct Term {
    until: Instant,
    lasts: Duration,
}

impl Quarantine {
    /// `server` failed to start: it is passed over, twice as long as the last time.
    pub(super) fn begin(&mut self, server: ServerId, now: Instant) {
        let lasts = self.0.get(&server).map_or(FIRST, |term| (term.lasts * 2).min(LONGEST));
        self.0.insert(server, Term { until: now + lasts, lasts });
    }

    /// `server` is passed over for so long.
    pub(super) fn begin_for(&mut self, server: ServerId, lasts: Duration, now: Instant) {
        self.0.insert(server, Term { until: now + lasts, lasts: FIRST });
    }

    /// `server` has started.
    pub(super) fn end(&mut self, server: ServerId) {
        self.0.remove(&server);
    }

    /// Forgets terms that have been over for as long as they lasted: what comes then is a new trouble.
    pub(super) fn forget_old(&mut self, now: Instant) {
        self.0.retain(|_, term| term.until + term.lasts > now);
    }

    /// Those passed over at `now`.
    pub(super) fn servers(&self, now: Instant) -> HashSet<ServerId> {
        self.0.iter().filter(|(_, term)| term.until > now).map(|(&server, _)| server).collect()
    }

    /// How long `server` is still passed over; `None` if it is not.
    pub(super) fn left(&self, server: ServerId, now: Instant) -> Option<Duration> {
        let term = self.0.get(&server).filter(|term| term.until > now)?;
        Some(term.until - now)
    }
}
