//! A trouble is told when it has lasted a while, once; its end is told if it was.

use std::time::{Duration, Instant};

use super::SourceEvent;

/// How long a trouble that usually passes by itself must last to be told: a rotation leaves a path
/// without a file, and a restart a FIFO without a writer, for less than this.
pub(super) const PASSING: Duration = Duration::from_secs(1);

/// The trouble a source is in, if any.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    present: Option<(SourceEvent, Instant)>,
    told: Option<SourceEvent>,
}

impl Trouble {
    /// Takes note of how it is `now`. Returns what to tell.
    pub(super) fn note(
        &mut self,
        trouble: Option<SourceEvent>,
        patience: Duration,
        now: Instant,
    ) -> Option<SourceEvent> {
        let Some(trouble) = trouble else {
            self.present = None;
            return self.told.take().map(|told| match told {
                SourceEvent::WriterGone => SourceEvent::WriterBack,
                _ => SourceEvent::Readable,
            });
        };
        let since = match &self.present {
            Some((present, since)) if *present == trouble => *since,
            _ => now,
        };
        self.present = Some((trouble.clone(), since));
        if self.told.as_ref() == Some(&trouble) || now.saturating_duration_since(since) < patience {
            return None;
        }
        self.told = Some(trouble.clone());
        Some(trouble)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use SourceEvent::{Missing, NotAFile, Readable, WriterBack, WriterGone};

    /// Each: at this millisecond, in this trouble, this is told.
    #[track_caller]
    fn check(patience_ms: u64, story: &[(u64, Option<SourceEvent>, Option<SourceEvent>)]) {
        let (mut trouble, start) = (Trouble::default(), Instant::now());
        for (at, present, told) in story {
            let now = start + Duration::from_millis(*at);
            let patience = Duration::from_millis(patience_ms);
            assert_eq!(trouble.note(present.clone(), patience, now), *told, "at {at} ms");
        }
    }

    #[test]
    fn a_trouble_is_told_once_and_so_is_its_end() {
        check(0, &[(0, Some(Missing), Some(Missing)), (1, Some(Missing), None), (2, None, Some(Readable))]);
        check(0, &[(0, Some(WriterGone), Some(WriterGone)), (1, None, Some(WriterBack)), (2, None, None)]);
    }

    #[test]
    fn a_trouble_that_passes_is_not_told_and_neither_is_its_end() {
        check(1000, &[(0, Some(Missing), None), (999, Some(Missing), None), (1000, None, None)]);
        check(1000, &[(0, Some(Missing), None), (1000, Some(Missing), Some(Missing))]);
    }

    #[test]
    fn a_trouble_that_turns_into_another_is_told_anew() {
        check(
            0,
            &[
                (0, Some(Missing), Some(Missing)),
                (1, Some(NotAFile), Some(NotAFile)),
                (2, None, Some(Readable)),
            ],
        );
    }
}
