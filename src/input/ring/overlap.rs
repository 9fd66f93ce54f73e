//! Where in a ring that is read anew the lines begin that were not read before.
//!
//! A ring has no positions: who connects gets all that is in it, oldest first, and then what comes. So the
//! last lines of the connection before are looked for in what the new one brings.
//!
//! ```text
//!  read before    a b c d e f g
//!  in the ring          d e f g h i
//!                               ^ new from here
//! ```

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

/// Lines that are remembered. Two lines in a row are seldom the same, so many never.
const KEPT: usize = 64;

/// So many lines in a row cannot be another place in the log.
const SURE: usize = 8;

/// HAProxy writes all that is in the ring at once; after so much silence that was it.
const QUIET: Duration = Duration::from_millis(100);

/// A busy HAProxy is never silent. It has written out the largest ring long before.
const LONGEST_SEARCH: Duration = Duration::from_secs(1);

/// Bytes of lines that are held back at most: the largest ring anybody would have.
const MOST_HELD: usize = 64 << 20;

/// The last lines that were read of a ring.
#[derive(Clone, Debug, Default)]
pub(super) struct History(VecDeque<u64>);

impl History {
    pub(super) fn push(&mut self, line: &[u8]) {
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back(hash(line));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn hash(line: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    line.hash(&mut hasher);
    hasher.finish()
}

/// Looks for a history in the lines of a ring, which are held back meanwhile.
#[derive(Debug)]
pub(super) struct Search {
    history: History,
    held: Vec<u8>,
    /// Of each line held: its hash, and where it ends in `held`.
    lines: Vec<(u64, usize)>,
    /// The longest match so far: how many lines, and the line it ends with.
    best: Option<(usize, usize)>,
    begun: Instant,
    heard: Instant,
}

/// What a search came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// The lines that were not read before, each with its newline.
    pub(super) new: Vec<u8>,
    /// The last line of the history was not there: lines between it and these may be lost.
    pub(super) is_gap: bool,
}

impl Search {
    pub(super) fn new(history: History, now: Instant) -> Self {
        let (held, lines) = (Vec::new(), Vec::new());
        Self { history, held, lines, best: None, begun: now, heard: now }
    }

    /// Takes in the next line of the ring.
    pub(super) fn push(&mut self, line: &[u8], now: Instant) {
        self.heard = now;
        self.held.extend_from_slice(line);
        self.held.push(b'\n');
        self.lines.push((hash(line), self.held.len()));
        let matched = self.matched_at_end();
        if matched.is_some() && matched >= self.best {
            self.best = matched;
        }
    }

    /// How many of the last lines held are the last of the history, if they are all that can be.
    fn matched_at_end(&self) -> Option<(usize, usize)> {
        let History(history) = &self.history;
        let possible = history.len().min(self.lines.len());
        let pairs = self.lines.iter().rev().zip(history.iter().rev());
        let matched = pairs.take_while(|((hash, _), known)| hash == *known).count();
        (matched > 0 && matched == possible).then_some((matched, self.lines.len() - 1))
    }

    /// What there is of new lines, once that is known.
    pub(super) fn finish(&mut self, now: Instant) -> Option<Found> {
        let is_sure = self.best.is_some_and(|(matched, _)| matched >= SURE.min(self.history.0.len()));
        let is_over = self.time_left(now).is_zero() || self.held.len() > MOST_HELD;
        (is_sure || is_over).then(|| self.give_up())
    }

    /// What there is of new lines as far as can be told: nothing more will come.
    pub(super) fn give_up(&mut self) -> Found {
        let read_before = self.best.map_or(0, |(_, last)| self.lines[last].1);
        let mut new = std::mem::take(&mut self.held);
        new.drain(..read_before);
        Found { new, is_gap: self.best.is_none() && !self.lines.is_empty() }
    }

    /// How long until it is given up, if nothing comes.
    pub(super) fn time_left(&self, now: Instant) -> Duration {
        let end = (self.heard + QUIET).min(self.begun + LONGEST_SEARCH);
        end.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// After reading `before`, the ring holds `ring`: what is new, and whether lines may be missing.
    fn search(before: &[String], ring: &[String]) -> (Vec<String>, bool) {
        let now = Instant::now();
        let mut history = History::default();
        before.iter().for_each(|line| history.push(line.as_bytes()));
        let (mut search, mut new, mut is_gap) = (Some(Search::new(history, now)), Vec::new(), false);
        let mut take = |found: Found| {
            is_gap = found.is_gap;
            found.new
        };
        for line in ring {
            match &mut search {
                None => new.extend(format!("{line}\n").into_bytes()),
                Some(searching) => {
                    searching.push(line.as_bytes(), now);
                    if let Some(found) = searching.finish(now) {
                        new.extend(take(found));
                        search = None;
                    }
                }
            }
        }
        if let Some(mut searching) = search {
            let found = searching.finish(now + QUIET).expect("it was quiet long enough");
            new.extend(take(found));
        }
        (String::from_utf8(new).unwrap().lines().map(str::to_owned).collect(), is_gap)
    }

    #[track_caller]
    fn check(before: &str, ring: &str, new: &str, gap: bool) {
        let lines = |text: &str| -> Vec<String> { text.split_whitespace().map(str::to_owned).collect() };
        assert_eq!(search(&lines(before), &lines(ring)), (lines(new), gap), "{before} | {ring}");
    }

    #[test]
    fn what_follows_the_last_line_read_is_new() {
        check("a b c d", "a b c d e f", "e f", false);
        check("a b c d", "a b c d", "", false);
        check("a b c d", "x y a b c d e", "e", false);
        check("d", "a b c d e", "e", false);
    }

    #[test]
    fn the_ring_may_have_dropped_what_was_read_long_ago() {
        check("a b c d e f g h i j k l", "k l m n", "m n", false);
        check("a b c d e f g h i j k l", "l", "", false);
    }

    #[test]
    fn lines_that_were_overwritten_unread_leave_a_gap() {
        check("a b c d", "m n o", "m n o", true);
        check("a b c d", "", "", false);
    }

    #[test]
    fn lines_that_are_the_same_are_not_taken_for_the_end() {
        check("a b a b c a b", "a b a b c a b a b x", "a b x", false);
    }

    proptest! {
        #[test]
        fn no_line_is_lost_or_doubled_wherever_ring_and_reader_stand(
            total in 1usize..400, read in 0.0..1.0f64, oldest in 0.0..1.0f64, seeds in 0usize..50,
        ) {
            // Lines as HAProxy writes them: no two the same.
            let line = |n: usize| format!("{} {n}", n.wrapping_mul(seeds));
            let read = 1 + (read * (total - 1) as f64) as usize;
            let oldest = (oldest * total as f64) as usize;
            let before: Vec<_> = (0..read).map(line).collect();
            let ring: Vec<_> = (oldest..total).map(line).collect();
            let (new, gap) = search(&before, &ring);
            let expected: Vec<_> = (read.max(oldest)..total).map(line).collect();
            prop_assert_eq!(new, expected);
            prop_assert_eq!(gap, oldest >= read && oldest < total);
        }
    }
}
