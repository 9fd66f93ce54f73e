//! Troubles that repeat are counted and told once an interval, with the first example.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::warn;

use crate::core::log::error::LineError;
use crate::core::names::{BackendId, Names, ServerId};
use crate::core::plan::inventory::Unread;
use crate::telemetry::status;

/// What is to be told at the end of the interval.
#[derive(Debug)]
pub(super) struct Repeats {
    every: Duration,
    told: Option<Instant>,
    /// By source; there are few.
    unparsed: BTreeMap<Arc<str>, (u64, LineError)>,
    journal: Option<(u64, String)>,
    state: Option<(u64, String)>,
    /// What HAProxy shows and cannot be read.
    unread: BTreeSet<(BackendId, Option<ServerId>)>,
    /// That requests are told of twice is told once.
    duplicates_told: bool,
}

impl Repeats {
    pub(super) fn new(every: Duration) -> Self {
        Self {
            every,
            told: None,
            unparsed: BTreeMap::new(),
            journal: None,
            state: None,
            unread: BTreeSet::new(),
            duplicates_told: false,
        }
    }

    /// `lines` of `source` were not understood, `first` is what was wrong with the first of them.
    pub(super) fn note_unparsed(&mut self, source: Arc<str>, lines: u64, first: LineError) {
        self.unparsed.entry(source).or_insert((0, first)).0 += lines;
    }

    /// Lines of `source` told of requests that a line before had told of.
    pub(super) fn note_duplicate(&mut self, source: &str) {
        if !std::mem::replace(&mut self.duplicates_told, true) {
            warn!(
                source,
                "requests are logged twice and counted once; two `log` lines, or a syslog rule too many?"
            );
        }
    }

    /// HAProxy has shown this, which cannot be read; told when it begins.
    pub(super) fn note_unread(&mut self, unread: &[Unread], names: &Names) {
        let before =
            std::mem::replace(&mut self.unread, unread.iter().map(|it| (it.backend, it.server)).collect());
        for news in unread.iter().filter(|it| !before.contains(&(it.backend, it.server))) {
            let (backend, left_out) = (names.of_backend(news.backend), status::left_out(news, names));
            warn!(%backend, left_out, "haproxy shows what cannot be: that is left out, and all else goes on");
        }
    }

    /// A journal entry was lost.
    pub(super) fn note_journal(&mut self, error: &std::io::Error) {
        self.journal.get_or_insert_with(|| (0, error.to_string())).0 += 1;
    }

    /// The state file could not be written.
    pub(super) fn note_state(&mut self, error: &str) {
        self.state.get_or_insert_with(|| (0, error.to_owned())).0 += 1;
    }

    /// Until there is something to tell, and the last time is an interval ago. May be dropped at any time.
    pub(super) async fn due(&self) {
        if self.unparsed.is_empty() && self.journal.is_none() && self.state.is_none() {
            std::future::pending().await
        }
        if let Some(told) = self.told {
            tokio::time::sleep_until((told + self.every).into()).await;
        }
    }

    /// Tells what there is; the next interval begins.
    pub(super) fn tell(&mut self, now: Instant) {
        self.told = Some(now);
        self.tell_now();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::log::error::ErrorKind;
    use tokio::time::timeout;

    const EVERY: Duration = Duration::from_secs(30);

    async fn is_due(repeats: &Repeats) -> bool {
        timeout(Duration::from_millis(1), repeats.due()).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_is_told_at_once_and_what_follows_at_the_end_of_the_interval() {
        let mut repeats = Repeats::new(EVERY);
        assert!(!is_due(&repeats).await, "there is nothing to tell");
        let note = |repeats: &mut Repeats| {
            repeats.note_unparsed("a.log".into(), 3, LineError::of_line(ErrorKind::Empty, 0));
        };
        note(&mut repeats);
        assert!(is_due(&repeats).await);
        repeats.tell(tokio::time::Instant::now().into_std());
        assert!(!is_due(&repeats).await, "it is told");
        note(&mut repeats);
        assert!(!is_due(&repeats).await, "told not long ago");
        tokio::time::advance(EVERY).await;
        assert!(is_due(&repeats).await, "though no other line came");
    }
}
