//! What a connection says line by line: which lines are new, which were lost, and what is no line of a log.

use std::time::{Duration, Instant};

use memchr::memmem;

use super::conversation::Process;
use super::overlap::{Found, History, Search};

/// What HAProxy answers instead of a ring (seen on 2.6.12): the socket's level is too low, there is no such
/// ring, or no such command.
const REFUSALS: [&[u8]; 3] = [b"Permission denied", b"No such event sink", b"Unknown command"];

/// The process stops, for another one has taken over; logged by each frontend and backend.
const STOPPING: &[u8] = b" stopped (cumulated conns";

/// The lines of one connection.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// Where the connection before stood; taken by the first line.
    before: Option<(Process, History)>,
    /// Processes whose lines come by another connection.
    not_of: Vec<Process>,
    begun: bool,
    is_ignored: bool,
    search: Option<Search>,
    history: History,
    heard: Notes,
}

/// What was heard beside lines, since last asked.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Notes {
    /// Lines that HAProxy had no room for.
    pub(super) lost: u64,
    /// Lines may have been overwritten unread.
    pub(super) is_gap: bool,
    /// HAProxy does not want to tell.
    pub(super) refusal: Option<String>,
    /// The process has been asked to stop.
    pub(super) is_stopping: bool,
}

impl Lines {
    /// Of a connection that follows on one that stood at `before`, beside others that read `not_of`.
    pub(super) fn new(before: Option<(Process, History)>, not_of: Vec<Process>) -> Self {
        Self { before, not_of, ..Self::default() }
    }

    /// Takes in a line of `process`'s ring, and adds those that are known to be new to `out`.
    pub(super) fn take(&mut self, process: &Process, line: &[u8], now: Instant, out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.begun, true) {
            self.begin(process, line, now);
        }
        if self.is_ignored {
            return;
        }
        if let Some(lost) = events_dropped(line) {
            // In a search these are of the time before as well.
            self.heard.lost += if self.search.is_none() { lost } else { 0 };
            return;
        }
        self.heard.is_stopping |= memmem::find(line, STOPPING).is_some();
        self.history.push(line);
        match &mut self.search {
            Some(search) => {
                search.push(line, now);
                self.look(now, out);
            }
            None => {
                out.extend_from_slice(line);
                out.push(b'\n');
            }
        }
    }

    fn begin(&mut self, process: &Process, line: &[u8], now: Instant) {
        if REFUSALS.iter().any(|refusal| line.starts_with(refusal)) {
            self.heard.refusal = Some(String::from_utf8_lossy(line).into_owned());
        }
        self.is_ignored =
            self.heard.refusal.is_some() || self.not_of.iter().any(|other| process.continues(other));
        if let Some((before, history)) = self.before.take()
            && process.continues(&before)
            && !history.is_empty()
        {
            self.search = Some(Search::new(history, now));
        }
    }

    /// Ends the search if it has found what it looks for, or has looked long enough.
    pub(super) fn look(&mut self, now: Instant, out: &mut Vec<u8>) {
        if let Some(search) = &mut self.search
            && let Some(found) = search.finish(now)
        {
            self.end_search(found, out);
        }
    }

    /// Nothing more will come. Returns where the connection stood.
    pub(super) fn end(mut self, out: &mut Vec<u8>) -> (History, Notes) {
        if let Some(mut search) = self.search.take() {
            let found = search.give_up();
            self.end_search(found, out);
        }
        (self.history, self.heard)
    }

    fn end_search(&mut self, found: Found, out: &mut Vec<u8>) {
        out.extend_from_slice(&found.new);
        self.heard.is_gap |= found.is_gap;
        self.search = None;
    }

    /// Hands out what was heard.
    pub(super) fn notes(&mut self) -> Notes {
        std::mem::take(&mut self.heard)
    }

    /// It wants to look after this time though nothing came.
    pub(super) fn next_look(&self, now: Instant) -> Option<Duration> {
        self.search.as_ref().map(|search| search.time_left(now))
    }
}

/// How many lines the ring had no room for, if this is what HAProxy puts in their place: `6 events dropped`,
/// behind the header of the ring's format.
fn events_dropped(line: &[u8]) -> Option<u64> {
    let before = line.strip_suffix(b" events dropped").or_else(|| line.strip_suffix(b" event dropped"))?;
    let digits = before.rsplit(|&byte| byte == b' ').next()?;
    str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: u32, uptime_s: u64, at: Instant) -> Process {
        Process { pid, uptime: Duration::from_secs(uptime_s), at }
    }

    #[track_caller]
    fn check(lines: &mut Lines, of: &Process, said: &[&str], new: &str, notes: &Notes) {
        let mut out = Vec::new();
        for line in said {
            lines.take(of, line.as_bytes(), of.at, &mut out);
        }
        assert_eq!(String::from_utf8_lossy(&out), new);
        assert_eq!(&lines.notes(), notes);
    }

    #[test]
    fn what_haproxy_had_no_room_for_is_counted_and_is_no_line() {
        let of = process(7, 1, Instant::now());
        let said = ["a", "1 event dropped", "<5>Nov 21 09:00:00 haproxy[7]: 5006 events dropped", "b"];
        check(&mut Lines::default(), &of, &said, "a\nb\n", &Notes { lost: 5007, ..Notes::default() });
        let said = ["x events dropped", "events dropped", "GET /5 events dropped?\""];
        let all = said.map(|line| format!("{line}\n")).concat();
        check(&mut Lines::default(), &of, &said, &all, &Notes::default());
    }

    #[test]
    fn a_refusal_is_no_line_of_a_log() {
        let of = process(7, 1, Instant::now());
        let refusal = Some("No such event sink".to_owned());
        check(
            &mut Lines::default(),
            &of,
            &["No such event sink"],
            "",
            &Notes { refusal, ..Notes::default() },
        );
        check(
            &mut Lines::default(),
            &of,
            &["a", "Permission denied"],
            "a\nPermission denied\n",
            &Notes::default(),
        );
    }

    #[test]
    fn a_process_that_stops_is_noticed() {
        let of = process(7, 1, Instant::now());
        let said = "Proxy fe stopped (cumulated conns: FE: 2, BE: 0).";
        let notes = Notes { is_stopping: true, ..Notes::default() };
        check(&mut Lines::default(), &of, &[said], &format!("{said}\n"), &notes);
    }

    #[test]
    fn only_what_the_same_process_had_said_is_read_before() {
        let now = Instant::now();
        let of = process(7, 5, now);
        let mut history = History::default();
        history.push(b"a");
        history.push(b"b");
        let after = || Lines::new(Some((of, history.clone())), Vec::new());
        check(&mut after(), &process(7, 6, now), &["a", "b", "c"], "c\n", &Notes::default());
        check(&mut after(), &process(8, 6, now), &["a", "b", "c"], "a\nb\nc\n", &Notes::default());
        check(&mut after(), &process(7, 0, now), &["a", "b", "c"], "a\nb\nc\n", &Notes::default());
        let mut other = Lines::new(None, vec![of]);
        check(&mut other, &process(7, 6, now), &["a", "b", "c"], "", &Notes::default());
    }
}
