//! What the agent did, counted.

use serde_json::{Value, json};

use crate::core::controller::{Event, Record};
use crate::core::log::reader::LineCounts;
use crate::core::plan::outcome::Outcome;
use crate::core::policy::decision::Decision;

/// What the agent did, told once at its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// What became of the lines.
    pub lines: LineCounts,
    /// Requests that a line before had told of already; they are counted once.
    pub duplicate: u64,
    /// Scale-ups and scale-downs decided.
    pub decisions: u64,
    /// Servers moved, as HAProxy confirmed.
    pub moves: u64,
}

impl Summary {
    /// Counts a decision or a move.
    pub(super) fn count(&mut self, record: &Record) {
        match &record.event {
            Event::Decided { decision: Decision::ScaleUp { .. } | Decision::ScaleDown { .. }, .. } => {
                self.decisions += 1;
            }
            Event::Outcome(Outcome::Moved { .. }) => self.moves += 1,
            _ => {}
        }
    }

    /// What became of the lines, for `status`.
    pub(super) fn lines_value(&self) -> Value {
        let LineCounts { lines, requests, messages, unparsed, steps, dropped, lost } = self.lines;
        json!({
            "lines": lines,
            "requests": requests,
            "messages": messages,
            "unparsed": unparsed,
            "steps": steps,
            "dropped": dropped,
            "lost": lost,
            "duplicate": self.duplicate,
        })
    }
}
