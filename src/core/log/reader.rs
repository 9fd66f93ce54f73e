//! Bytes of one source to [`Sample`]s: all stages of reading put together.
//!
//! In: chunks as they were read, and when they arrived. Out: a [`Batch`]: samples, how many lines
//! were what, and the first line that was not understood. Names are shared with whoever else
//! uses the table; each reader remembers the ids of its own, so that the table is locked for
//! new names only. Nothing is allocated for a line, the batch's own vector aside.

use std::ops::AddAssign;
use std::time::Instant;

use super::clock::Clock;
use super::error::{ErrorKind, LineError};
use super::format::{Line, LineFormat};
use super::framing::{Frame, Framing, SHOWN_BYTES};
use super::line::LogLine;
use super::name_cache::{Ids, NameCache};
use super::parser::LineParser;
use super::recent::Recent;
use super::sample::{Owner, Sample, answered_for, is_early_step};
use crate::core::names::{BackendId, Names};
use crate::core::settings::Timer;

/// What became of some bytes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// Of the requests that are somebody's, in the order of their lines.
    pub samples: Vec<Sample>,
    /// The same of lines that tell of a request again, as far as [`Recent`] can say.
    pub repeats: Vec<Sample>,
    /// Requests that HAProxy answered itself for a backend.
    pub answers: Vec<Answer>,
    /// How many lines were what.
    pub counts: LineCounts,
    /// The first line that was not understood.
    pub first_unparsed: Option<UnparsedLine>,
}

impl Batch {
    /// Empties it and keeps its memory.
    pub fn clear(&mut self) {
        self.samples.clear();
        self.repeats.clear();
        self.answers.clear();
        self.counts = LineCounts::default();
        self.first_unparsed = None;
    }
}

/// A request that HAProxy answered itself for a backend, or denied: no figure of any server's, but the
/// backend's counters have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Whose counters.
    pub backend: BackendId,
    /// When it ended.
    pub end: Instant,
}

/// How many lines were what. `lines` = `requests` + `messages` + `unparsed`, always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LineCounts {
    /// All of them.
    pub lines: u64,
    /// Requests and TCP sessions, those that are nobody's included.
    pub requests: u64,
    /// HAProxy's own messages.
    pub messages: u64,
    /// Lines that were not understood.
    pub unparsed: u64,
    /// Of the requests, those that tell of a step before the answer (`log-steps`).
    pub steps: u64,
    /// Of the requests, those whose sample was lost because the table of names is full.
    pub dropped: u64,
    /// Lines that never arrived, as far as their source knows: none of the others counts them.
    pub lost: u64,
}

impl AddAssign for LineCounts {
    fn add_assign(&mut self, other: Self) {
        self.lines += other.lines;
        self.requests += other.requests;
        self.messages += other.messages;
        self.unparsed += other.unparsed;
        self.steps += other.steps;
        self.dropped += other.dropped;
        self.lost += other.lost;
    }
}

/// A line that was not understood, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnparsedLine {
    /// Its first 200 bytes; what is not UTF-8 is replaced.
    pub text: String,
    /// What was wrong.
    pub error: LineError,
}

/// Reads the log of one source.
#[derive(Clone, Debug)]
pub struct Reader {
    framing: Framing,
    lines: LineReader,
}

impl Reader {
    /// Reads lines in `format`; new names get their ids from `names`.
    pub fn new(names: Names, format: LineFormat) -> Self {
        let rest =
            Keeping { clock: Clock::default(), cache: NameCache::new(names), recent: Recent::default() };
        let lines = LineReader { parser: LineParser::new(format), keeping: rest };
        Self { framing: Framing::default(), lines }
    }

    /// With another limit: a longer line is dropped whole and counted as not understood.
    #[must_use]
    pub fn with_most_line_bytes(mut self, most_line_bytes: usize) -> Self {
        self.framing = Framing::new(most_line_bytes);
        self
    }

    /// Remembers lines in `recent` from now on, and returns what it did before; sources that share one are
    /// held against each other.
    pub fn remember_in(&mut self, recent: Recent) -> Recent {
        std::mem::replace(&mut self.lines.keeping.recent, recent)
    }

    /// Reads `bytes`, which arrived at `arrived`, and adds what they say to `batch`. A half line
    /// at their end is kept until the rest of it comes.
    pub fn read(&mut self, bytes: &[u8], arrived: Instant, batch: &mut Batch) {
        let Self { framing, lines } = self;
        let limit = framing.most_line_bytes();
        framing.push(bytes, |frame| lines.take(frame, limit, arrived, batch));
    }

    /// Ends the half line that was kept: nothing more will come, so it counts as a line.
    pub fn finish(&mut self, arrived: Instant, batch: &mut Batch) {
        let Self { framing, lines } = self;
        let limit = framing.most_line_bytes();
        framing.finish(|frame| lines.take(frame, limit, arrived, batch));
    }

    /// Forgets the half line that was kept: what comes next does not continue it.
    pub fn discard_half_line(&mut self) {
        self.framing.discard_half_line();
    }

    /// Learns how the dates of this source relate to `Instant`s from `tail`, the last bytes of a file
    /// that was last written at `written`. Reads no samples and changes nothing else.
    pub fn learn_clock(&mut self, tail: &[u8], written: Instant) {
        // What follows the last newline may be half a line.
        let ends =
            tail.rsplit(|&byte| byte == b'\n').skip(1).find_map(|line| match self.lines.parser.read(line) {
                Line::Request(request) => end_millis(&request),
                Line::Message(_) | Line::Unparsed(_) => None,
            });
        if let Some(end) = ends {
            self.lines.keeping.clock.seed(end, written);
        }
    }
}

/// All that is done with a whole line.
#[derive(Clone, Debug)]
struct LineReader {
    parser: LineParser,
    keeping: Keeping,
}

/// All that is done with a request, once it is read.
#[derive(Clone, Debug)]
struct Keeping {
    clock: Clock,
    cache: NameCache,
    recent: Recent,
}

impl LineReader {
    fn take(&mut self, frame: Frame<'_>, limit: usize, arrived: Instant, batch: &mut Batch) {
        batch.counts.lines += 1;
        match frame {
            Frame::Line(text) => match self.parser.read(text) {
                Line::Request(ref request) => {
                    batch.counts.requests += 1;
                    self.keeping.keep_sample(request, text, arrived, batch);
                }
                Line::Message(_) => batch.counts.messages += 1,
                Line::Unparsed(error) => count_unparsed(text, error, batch),
            },
            Frame::Overlong(head) => {
                count_unparsed(head, LineError::of_line(ErrorKind::TooLong(limit), 0), batch);
            }
        }
    }
}

impl Keeping {
    fn keep_sample(&mut self, line: &LogLine<'_>, text: &[u8], arrived: Instant, batch: &mut Batch) {
        // Requests that are nobody's tell the time as well.
        let end = end_millis(line).map_or(arrived, |end| self.clock.place(end, arrived));
        match self.cache.ids(Owner::of(line)) {
            Ids::Known(backend, server) => {
                let whom = (backend.index() as u64) << 32 | server.map_or(0, |id| id.index() as u64 + 1);
                let is_repeat = self.recent.has_seen(line, whom, text);
                let samples = if is_repeat { &mut batch.repeats } else { &mut batch.samples };
                samples.push(Sample::new(line, backend, server, end));
            }
            Ids::Full => batch.counts.dropped += 1,
            Ids::None if is_early_step(line) => batch.counts.steps += 1,
            Ids::None => {
                let backend = answered_for(line).and_then(|name| self.cache.known_backend(name));
                let is_new = |id: &BackendId| !self.recent.has_seen(line, (id.index() as u64) << 32, text);
                if let Some(backend) = backend.filter(is_new) {
                    batch.answers.push(Answer { backend, end });
                }
            }
        }
    }
}

fn count_unparsed(text: &[u8], error: LineError, batch: &mut Batch) {
    batch.counts.unparsed += 1;
    batch.first_unparsed.get_or_insert_with(|| UnparsedLine {
        text: String::from_utf8_lossy(&text[..text.len().min(SHOWN_BYTES)]).into_owned(),
        error,
    });
}

/// When the request ended by the clock of the HAProxy host, in civil milliseconds.
fn end_millis(line: &LogLine<'_>) -> Option<i64> {
    let took = line.timers.get(Timer::Tt).unwrap_or(0);
    line.date.map(|date| date.millis + i64::from(took))
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test is the caller that brings `now`")]
mod tests {
    use super::*;
    use crate::core::log::sample::Class;
    use proptest::prelude::*;
    use std::time::Duration;

    /// A line of `names`, accepted `at` ms after some moment, with `end` behind the timers.
    fn line(names: &str, at: u32, timers: &str, end: &str) -> String {
        let (second, ms) = (at / 1000, at % 1000);
        format!(
            "1.2.3.4:5 [21/Nov/2026:09:00:{second:02}.{ms:03}] fe {names} {timers} {end} 1/1/0/0/0 0/0 \"GET /\"\n"
        )
    }

    const OK: &str = "200 76 - - ----";

    fn read(reader: &mut Reader, text: &str, arrived: Instant) -> Batch {
        let mut batch = Batch::default();
        reader.read(text.as_bytes(), arrived, &mut batch);
        batch
    }

    #[test]
    fn every_line_is_counted_as_one_thing() {
        let mut reader = Reader::new(Names::default(), LineFormat::Auto);
        let text = line("be/s", 0, "0/0/0/1/1", OK)
            + &line("be/<STATS>", 0, "0/0/0/0/0", "200 76 - - LR--")
            + "Server be/s is DOWN.\n\nwhat is this\n"
            + &"x".repeat(70_000)
            + "\nProxy be stopped";
        let mut batch = read(&mut reader, &text, Instant::now());
        let counts = LineCounts { lines: 6, requests: 2, messages: 1, unparsed: 3, ..LineCounts::default() };
        assert_eq!((batch.counts, batch.samples.len()), (counts, 1));
        let first = batch.first_unparsed.clone().unwrap();
        assert_eq!((first.text.as_str(), first.error.kind), ("", ErrorKind::Empty));
        reader.finish(Instant::now(), &mut batch);
        assert_eq!(batch.counts, LineCounts { lines: 7, messages: 2, ..counts }, "the half line counts too");
    }

    #[test]
    fn an_unparsed_line_is_shown_from_its_start() {
        let mut reader = Reader::new(Names::default(), LineFormat::Auto);
        let text = format!("\u{e9}{}\n", "x".repeat(300));
        let first = read(&mut reader, &text, Instant::now()).first_unparsed.unwrap();
        assert_eq!(first.text, text.chars().take(199).collect::<String>());
    }

    #[test]
    fn readers_of_one_table_agree_on_ids() {
        let names = Names::default();
        let mut ids = [0, 1].map(|_| {
            let mut reader = Reader::new(names.clone(), LineFormat::Auto);
            let text = line("be/s1", 0, "0/0/0/1/1", OK)
                + &line("be/s2", 0, "0/0/0/1/1", OK)
                + &line("be/s1", 0, "0/0/0/1/1", OK);
            read(&mut reader, &text, Instant::now())
                .samples
                .iter()
                .map(|sample| sample.server.unwrap())
                .collect::<Vec<_>>()
        });
        assert_eq!(ids[0], ids[1]);
        assert_eq!(ids[0][0], ids[0][2]);
        ids[0].dedup();
        assert_eq!(ids[0].len(), 3);
        assert_eq!(
            (&*names.of_server(ids[0][1]), &*names.of_backend(names.backend_of(ids[0][1]))),
            ("s2", "be")
        );
    }

    #[test]
    fn a_frontend_that_chose_no_backend_does_not_become_one() {
        let names = Names::default();
        let mut reader = Reader::new(names.clone(), LineFormat::Auto);
        let none_up = line("fe/<NOSRV>", 0, "0/-1/-1/-1/0", "503 217 - - SC--");
        assert_eq!(read(&mut reader, &none_up, Instant::now()).samples, []);
        assert_eq!(names.known_backend("fe"), None);
        // A `listen` is both, and known once one of its servers was.
        let id = names.backend("fe").unwrap();
        let samples = read(&mut reader, &none_up, Instant::now()).samples;
        assert_eq!(
            samples.iter().map(|s| (s.backend, s.server, s.class)).collect::<Vec<_>>(),
            [(id, None, Class::Saturation)]
        );
    }

    #[test]
    fn a_full_table_drops_samples_and_says_so() {
        let names = Names::default();
        let known = names.backend("be").and_then(|be| names.server(be, "s"));
        let mut number = 0;
        while names.backend(&format!("be{number}")).is_some() {
            number += 1;
        }
        let mut reader = Reader::new(names, LineFormat::Auto);
        let text = line("be/s", 0, "0/0/0/1/1", OK) + &line("new/s", 0, "0/0/0/1/1", OK).repeat(2);
        let batch = read(&mut reader, &text, Instant::now());
        assert_eq!(batch.samples.iter().map(|sample| sample.server).collect::<Vec<_>>(), [known]);
        assert_eq!((batch.counts.requests, batch.counts.dropped), (3, 2));
    }

    #[test]
    fn a_request_ends_when_its_line_says() {
        let mut reader = Reader::new(Names::default(), LineFormat::Auto);
        let written = Instant::now();
        let tail =
            format!("alf a line\n{}Server be/s is UP.\nhalf a li", line("be/s", 1_000, "0/0/0/9/500", OK));
        reader.learn_clock(tail.as_bytes(), written);
        let arrived = written + Duration::from_secs(20);
        let text = line("be/s", 0, "0/0/0/9/1400", OK) + &line("be/s", 3_000, "0/0/0/9/500", OK);
        let samples = read(&mut reader, &text, arrived).samples;
        let ends: Vec<_> = samples.iter().map(|sample| sample.end).collect();
        assert_eq!(ends, [written - Duration::from_millis(100), written + Duration::from_secs(2)]);
    }

    proptest! {
        #[test]
        fn any_bytes_in_any_chunks_are_all_counted(
            pieces in proptest::collection::vec(prop_oneof![
                Just(line("be/s", 0, "0/0/0/1/1", OK).into_bytes()),
                Just(b"Server be/s is DOWN.\n".to_vec()),
                Just(b"\n".to_vec()),
                proptest::collection::vec(any::<u8>(), 0..50),
            ], 0..30),
            chunk in 1usize..100,
        ) {
            let bytes = pieces.concat();
            let now = Instant::now();
            let mut reader = Reader::new(Names::default(), LineFormat::Auto);
            let mut batch = Batch::default();
            for chunk in bytes.chunks(chunk) {
                reader.read(chunk, now, &mut batch);
            }
            reader.finish(now, &mut batch);
            let newlines = bytes.iter().filter(|&&byte| byte == b'\n').count();
            let half = usize::from(bytes.last().is_some_and(|&byte| byte != b'\n'));
            let counts = batch.counts;
            prop_assert_eq!(counts.lines, (newlines + half) as u64);
            prop_assert_eq!(counts.lines, counts.requests + counts.messages + counts.unparsed);
            prop_assert_eq!(batch.first_unparsed.is_some(), counts.unparsed > 0);
            prop_assert!(batch.samples.len() as u64 <= counts.requests);
        }
    }
}
