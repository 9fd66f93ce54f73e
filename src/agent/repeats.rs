//! Troubles that repeat are counted and told once an interval, with the first example.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::warn;

use crate::core::log::error::LineError;

/// What is to be told at the end of the interval.
#[derive(Debug)]
pub(super) struct Repeats {
    every: Duration,
    told: Option<Instant>,
    /// By source; there are few.
    unparsed: BTreeMap<Arc<str>, (u64, LineError)>,
    journal: Option<(u64, String)>,
    state: Option<(u64, String)>,
}

impl Repeats {
    pub(super) fn new(every: Duration) -> Self {
        Self { every, told: None, unparsed: BTreeMap::new(), journal: None, state: None }
    }

    /// `lines` of `source` were not understood, `first` is what was wrong with the first of them.
    pub(super) fn note_unparsed(&mut self, source: Arc<str>, lines: u64, first: LineError) {
        self.unparsed.entry(source).or_insert((0, first)).0 += lines;
    }

    /// A journal entry was lost.
    pub(super) fn note_journal(&mut self, error: &std::io::Error) {
        self.journal.get_or_insert_with(|| (0, error.to_string())).0 += 1;
    }

    /// The state file could not be written.
    pub(super) fn note_state(&mut self, error: &str) {
        self.state.get_or_insert_with(|| (0, error.to_owned())).0 += 1;
    }

    /// Tells, unless something was told less than an interval ago.
    pub(super) fn tell(&mut self, now: Instant) {
        let nothing = self.unparsed.is_empty() && self.journal.is_none() && self.state.is_none();
        let early = self.told.is_some_and(|told| now.saturating_duration_since(told) < self.every);
        if !nothing && !early {
            self.told = Some(now);
            self.tell_now();
        }
    }

    /// Tells what there is.
    pub(super) fn tell_now(&mut self) {
        // Not the line itself: it may hold what nobody should read, such as a URL with a password.
        for (source, (skipped, first)) in std::mem::take(&mut self.unparsed) {
            warn!(source = &*source, skipped, %first, "lines not understood");
        }
        if let Some((lost, error)) = self.journal.take() {
            warn!(lost, error, "journal entries lost");
        }
        if let Some((failed, error)) = self.state.take() {
            warn!(failed, error, "state not kept; after a restart spares may not be known as ours");
        }
    }
}
