//! Servers or addresses that failed to start, and how long they are passed over.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::time::{Duration, Instant};

/// How long a server whose start failed is passed over; doubled at each failure in a row.
const FIRST: Duration = Duration::from_secs(60);
/// No server is passed over for longer.
const LONGEST: Duration = Duration::from_secs(3600);

/// Those that are passed over.
#[derive(Debug)]
pub(super) struct Quarantine<K>(HashMap<K, Term>);

impl<K> Default for Quarantine<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

#[derive(Debug)]
struct Term {
    until: Instant,
    lasts: Duration,
}

impl<K: Copy + Eq + Hash> Quarantine<K> {
    /// `it` failed to start: it is passed over, twice as long as the last time.
    pub(super) fn begin(&mut self, it: K, now: Instant) {
        let lasts = self.0.get(&it).map_or(FIRST, |term| (term.lasts * 2).min(LONGEST));
        self.0.insert(it, Term { until: now + lasts, lasts });
    }

    /// `it` is passed over for so long.
    pub(super) fn begin_for(&mut self, it: K, lasts: Duration, now: Instant) {
        self.0.insert(it, Term { until: now + lasts, lasts: FIRST });
    }

    /// `it` has started.
    pub(super) fn end(&mut self, it: K) {
        self.0.remove(&it);
    }

    /// Forgets terms that have been over for as long as they lasted: what comes then is a new trouble.
    pub(super) fn forget_old(&mut self, now: Instant) {
        self.0.retain(|_, term| term.until + term.lasts > now);
    }

    /// Those passed over at `now`.
    pub(super) fn all(&self, now: Instant) -> HashSet<K> {
        self.0.iter().filter(|(_, term)| term.until > now).map(|(&it, _)| it).collect()
    }

    /// How long `it` is still passed over; `None` if it is not.
    pub(super) fn left(&self, it: K, now: Instant) -> Option<Duration> {
        let term = self.0.get(&it).filter(|term| term.until > now)?;
        Some(term.until - now)
    }
}
