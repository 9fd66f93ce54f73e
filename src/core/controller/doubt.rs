//! Whether the log of a backend can be gone by, and what is decided if not.
//!
//! A log that tells of too few requests, or of too many, is as good as a silent one: what it says
//! is no ground for a move, and HAProxy's own counters are. So the policy is shown a silent log,
//! and where it holds for that, the reason is put right.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use super::backend::Backend;
use crate::core::estimate::coverage::{Counters, Share, Verdict};
use crate::core::estimate::snapshot::Snapshot;
use crate::core::log::error::LineError;
use crate::core::plan::inventory::BackendState;
use crate::core::policy::decision::{Decision, Reason};
use crate::core::policy::fleet::{Fleet, SILENCE};

/// A line that was not understood explains what is missing for so long: the longest span that is compared.
const EXPLAINS: Duration = Duration::from_secs(60);

/// What the policy sees of a log that cannot be gone by: longer than any line is waited for.
const AS_GOOD_AS_SILENT: Duration = Duration::from_secs(3600);

/// What is known of the log as a whole.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Log {
    newest: Option<Instant>,
    unparsed: Option<Unparsed>,
}

/// The first line that was not understood after all had been well for a while, and when one last was not.
#[derive(Clone, Copy, Debug)]
struct Unparsed {
    first: LineError,
    newest: Instant,
}

impl Log {
    /// Lines came; of those that were not understood this was the first.
    pub(super) fn note(&mut self, unparsed: Option<LineError>, now: Instant) {
        self.newest = Some(now);
        if let Some(error) = unparsed {
            let first = self.unparsed(now).unwrap_or(error);
            self.unparsed = Some(Unparsed { first, newest: now });
        }
    }

    fn is_silent(&self, now: Instant) -> bool {
        self.newest.is_none_or(|newest| now.saturating_duration_since(newest) > SILENCE)
    }

    fn unparsed(&self, now: Instant) -> Option<LineError> {
        let lately = |unparsed: &Unparsed| now.saturating_duration_since(unparsed.newest) <= EXPLAINS;
        self.unparsed.filter(lately).map(|unparsed| unparsed.first)
    }
}

/// What HAProxy has counted for the log's lines to be held against: a line is written when its
/// request is over, which `req_tot` counts at that moment. TCP has no such counter.
pub(super) fn counters(state: &BackendState) -> Counters {
    let begun = state.total_sessions;
    let over = || begun.saturating_sub(state.sessions.into());
    Counters { begun, ended: state.total_requests.unwrap_or_else(over) }
}

/// Why a log cannot be gone by of which that was `found`; `unparsed` is what was wrong with a line of it.
pub fn reason(found: &Share, unparsed: Option<LineError>) -> Option<Reason> {
    let &Share { understood, expected, span, verdict, .. } = found;
    match verdict {
        Verdict::Good => None,
        Verdict::TooFew { only_failures } => {
            Some(Reason::Uncovered { understood, expected, span, only_failures, first: unparsed })
        }
        Verdict::TooMany => Some(Reason::TooManyLines { lines: understood, expected, span }),
    }
}

impl Backend {
    /// Looks anew at whether the log can be gone by.
    pub(super) fn weigh(&mut self, log: &Log, now: Instant) {
        let found = self.coverage.found().filter(|_| !log.is_silent(now));
        self.doubt = found.and_then(|found| reason(&found, log.unparsed(now)));
    }

    /// What the policy may see of the log, and of HAProxy.
    pub(super) fn trusted<'a>(&self, snapshot: &'a Snapshot, fleet: Fleet) -> (Cow<'a, Snapshot>, Fleet) {
        let Some(found) = self.coverage.found().filter(|_| self.doubt.is_some()) else {
            return (Cow::Borrowed(snapshot), fleet);
        };
        let silent = Snapshot { newest: Some(AS_GOOD_AS_SILENT), ..snapshot.clone() };
        (Cow::Owned(silent), Fleet { unseen: fleet.unseen.max(found.counted), ..fleet })
    }

    /// `decision`, with the real reason where it was made for a silent log.
    pub(super) fn explained(&self, decision: Decision) -> Decision {
        match (decision, &self.doubt) {
            (Decision::Hold(Reason::Blind { .. }), Some(doubt)) => Decision::Hold(doubt.clone()),
            (decision, _) => decision,
        }
    }
}
