//! Lines in, accounts out: one for each `backend/server`, and what became of all lines.

use std::mem;

use memchr::memchr;

use super::account::Account;
use super::index::Index;
use super::timeline::{Axis, change};
use crate::cli::parts::Lines;
use crate::core::log::fast::{FastLine, FastReader};
use crate::core::log::format::{Line, LineFormat};
use crate::core::log::framing::DEFAULT_MOST_LINE_BYTES;
use crate::core::log::line::LogLine;
use crate::core::log::parser::LineParser;

/// Which requests count, by their accept date in civil milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) from_ms: i64,
    /// This one no more.
    pub(super) to_ms: i64,
}

impl Range {
    /// All of time.
    pub(super) const ALL: Self = Self { from_ms: i64::MIN, to_ms: i64::MAX };

    fn contains(&self, ms: i64) -> bool {
        self.from_ms <= ms && ms < self.to_ms
    }
}

/// What became of lines that are in no account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Others {
    /// HAProxy's own messages.
    pub(super) messages: u64,
    /// Lines that were not understood.
    pub(super) unparsed: u64,
    /// Requests outside the range of time.
    pub(super) outside: u64,
    /// Requests of more backends and servers than are counted.
    pub(super) dropped: u64,
}

/// See the module's text.
#[derive(Clone, Debug)]
pub(super) struct Book {
    pub(super) others: Others,
    /// `backend/server` of each account.
    names: Index,
    accounts: Vec<Account>,
    pub(super) axis: Axis,
    /// The first and the last second in which a request began, from 1970.
    pub(super) span: Option<(i64, i64)>,
    /// `None` for all of time.
    range: Option<Range>,
    parser: LineParser,
    /// `None` where no line is in a format that it knows.
    fast: Option<FastReader>,
    /// The last second, and its cell.
    second: (i64, usize),
    /// Where names are put together, so that a line allocates nothing.
    key: Vec<u8>,
}

impl Lines for Book {
    fn take(&mut self, text: &[u8]) -> usize {
        Self::take(self, text)
    }

    fn take_overlong(&mut self) {
        Self::take_overlong(self);
    }

    fn add_all(&mut self, other: Self) {
        Self::add_all(self, &other);
    }
}

impl Book {
    /// An empty one, for lines in `format`.
    pub(super) fn new(format: LineFormat, range: Range) -> Self {
        let is_http = matches!(format, LineFormat::Auto | LineFormat::Http | LineFormat::Https);
        Self {
            others: Others::default(),
            accounts: Vec::new(),
            axis: Axis::default(),
            span: None,
            names: Index::default(),
            range: Some(range).filter(|&range| range != Range::ALL),
            parser: LineParser::new(format),
            fast: is_http.then(FastReader::default),
            second: (i64::MIN, 0),
            key: Vec::new(),
        }
    }

    /// Takes all lines that end in `text`, and returns how many bytes they have.
    pub(super) fn take(&mut self, text: &[u8]) -> usize {
        let mut begin = 0;
        loop {
            let rest = &text[begin..];
            let length = match self.fast.as_mut().and_then(|fast| fast.read(rest)) {
                Some(line) if self.take_fast(&line) => Some(line.length),
                _ => self.take_other(rest),
            };
            match length {
                Some(length) => begin += length + 1,
                None => return begin,
            }
        }
    }

    /// Counts a line that was too long to be kept.
    pub(super) fn take_overlong(&mut self) {
        self.others.unparsed += 1;
    }

    /// `false` if its names were not seen before: only the long way can tell whether they are names.
    #[inline(always)]
    fn take_fast(&mut self, line: &FastLine<'_>) -> bool {
        let Some(id) = self.names.find(line.names) else {
            return false;
        };
        if line.length > DEFAULT_MOST_LINE_BYTES {
            return false;
        }
        if self.range.is_some_and(|range| !range.contains(line.begun.millis())) {
            self.others.outside += 1;
            return true;
        }
        let cell = self.cell(line.begun.second);
        self.accounts[id].add_fast(line, cell);
        true
    }

    /// Takes the line at the start of `text`, which is not as nearly all are, and returns how long it is; `None` if
    /// it has no end.
    #[inline(never)]
    fn take_other(&mut self, text: &[u8]) -> Option<usize> {
        if let Some(line) = self.fast.as_mut().and_then(|fast| fast.read_unusual(text))
            && line.length <= DEFAULT_MOST_LINE_BYTES
            && let Some(id) = self.names.find(line.names)
        {
            match self.place(Some(line.begun.millis())) {
                Some(cell) => self.accounts[id].add(&line.request, cell),
                None => self.others.outside += 1,
            }
            return Some(line.length);
        }
        let length = memchr(b'\n', text)?;
        self.take_line(&text[..length]);
        Some(length)
    }

    /// Takes a line, its end left off, the long way.
    fn take_line(&mut self, text: &[u8]) {
        if text.len() > DEFAULT_MOST_LINE_BYTES {
            return self.take_overlong();
        }
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        // What a line says may be borrowed from its parser.
        let mut parser = mem::take(&mut self.parser);
        match parser.read(text) {
            Line::Request(ref line) => {
                self.take_request(line);
                // A line wrapped in JSON never goes the short way, and neither does a TCP session.
                let is_short = !text.starts_with(b"{") && !line.is_tcp();
                if let Some(fast) = self.fast.as_mut().filter(|_| is_short) {
                    fast.learn(text);
                }
            }
            Line::Message(_) => self.others.messages += 1,
            Line::Unparsed(_) => self.others.unparsed += 1,
        }
        self.parser = parser;
    }

    fn take_request(&mut self, line: &LogLine<'_>) {
        let Some(cell) = self.place(line.date.map(|date| date.millis)) else {
            self.others.outside += 1;
            return;
        };
        let mut key = std::mem::take(&mut self.key);
        key.clear();
        [line.backend, b"/", line.server].iter().for_each(|part| key.extend_from_slice(part));
        match self.account(&key) {
            Some(account) => account.add(line, cell),
            None => self.others.dropped += 1,
        }
        self.key = key;
    }

    /// The cell of a request that began at `date_ms`, if it is known when; `None` if it is outside the range.
    fn place(&mut self, date_ms: Option<i64>) -> Option<Option<usize>> {
        // What has no date is as good as any other, unless a time was asked for.
        if self.range.is_some_and(|range| date_ms.is_none_or(|ms| !range.contains(ms))) {
            return None;
        }
        Some(date_ms.map(|ms| self.cell(ms.div_euclid(1000))))
    }

    /// The cell of a second from 1970; the axis is made longer if it has none.
    #[inline(always)]
    fn cell(&mut self, second: i64) -> usize {
        if self.second.0 != second {
            self.second = (second, self.new_cell(second));
        }
        self.second.1
    }

    #[cold]
    fn new_cell(&mut self, second: i64) -> usize {
        let (first, last) = self.span.get_or_insert((second, second));
        (*first, *last) = ((*first).min(second), (*last).max(second));
        if let Some(cell) = self.axis.cell(second) {
            return cell;
        }
        let change = self.axis.reach(second);
        self.accounts.iter_mut().for_each(|account| account.over_time.change(&change));
        self.axis.cell(second).unwrap_or(0)
    }

    /// The account of these names; `None` if there are too many.
    fn account(&mut self, names: &[u8]) -> Option<&mut Account> {
        let id = self.names.insert(names)?;
        if id == self.accounts.len() {
            self.accounts.push(Account::of(names));
        }
        self.accounts.get_mut(id)
    }

    /// All accounts with their `backend/server`, in the order in which they were seen.
    pub(super) fn accounts(&self) -> impl Iterator<Item = (&[u8], &Account)> {
        self.names.texts().iter().map(|names| &**names).zip(&self.accounts)
    }

    /// Counts all that `other` has counted.
    pub(super) fn add_all(&mut self, other: &Self) {
        self.others.messages += other.others.messages;
        self.others.unparsed += other.others.unparsed;
        self.others.outside += other.others.outside;
        self.others.dropped += other.others.dropped;
        if let Some((first, last)) = other.span {
            let own = self.span.get_or_insert((first, last));
            *own = (own.0.min(first), own.1.max(last));
        }
        let own = self.axis.join(&other.axis);
        self.accounts.iter_mut().for_each(|account| account.over_time.change(&own));
        let theirs = change(other.axis, self.axis);
        for (names, account) in other.accounts() {
            match self.account(names) {
                Some(own) => {
                    own.add_all(account);
                    own.over_time.add_all(&account.over_time, &theirs);
                }
                None => self.others.dropped += account.requests(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use proptest::prelude::*;

    use super::super::account::CLASSES;
    use super::*;

    /// All accounts, by name.
    fn accounts(book: &Book) -> Vec<(String, &Account)> {
        let mut accounts: Vec<_> = book
            .accounts()
            .map(|(names, account)| (String::from_utf8_lossy(names).into_owned(), account))
            .collect();
        accounts.sort_by(|one, other| one.0.cmp(&other.0));
        accounts
    }

    /// Whether two accounts say the same, however it was counted.
    fn is_same(one: &Account, other: &Account) -> bool {
        let ended = |account: &Account| CLASSES.map(|class| account.ended(class));
        (ended(one), one.nobodys, one.statuses()) == (ended(other), other.nobodys, other.statuses())
            && one.timers() == other.timers()
            && one.over_time == other.over_time
    }

    fn of(text: &[u8], range: Range) -> Book {
        let mut book = Book::new(LineFormat::Auto, range);
        assert_eq!(book.take(text), text.len());
        book
    }

    /// The same without the fast way.
    fn slowly_of(text: &[u8], range: Range) -> Book {
        let mut book = Book::new(LineFormat::Auto, range);
        book.fast = None;
        assert_eq!(book.take(text), text.len());
        book
    }

    #[track_caller]
    fn check(text: &[u8], range: Range) {
        let (found, expected) = (of(text, range), slowly_of(text, range));
        assert_eq!((found.others, found.span, found.axis), (expected.others, expected.span, expected.axis));
        assert_eq!(found.accounts.len(), expected.accounts.len());
        for ((name, found), (_, expected)) in accounts(&found).into_iter().zip(accounts(&expected)) {
            assert!(is_same(found, expected), "{name}: {found:?}\n{expected:?}");
        }
    }

    fn fixtures() -> Vec<u8> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/lines");
        let mut logs: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        logs.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
        logs.sort();
        logs.iter().flat_map(|path| fs::read(path).unwrap()).collect()
    }

    #[test]
    fn both_ways_count_the_same_on_lines_of_a_real_haproxy() {
        let text = fixtures();
        check(&text, Range::ALL);
        // Twice, since the fast way takes only names that it has seen.
        check(&text.repeat(2), Range::ALL);
        let (first, last) = of(&text, Range::ALL).span.unwrap();
        let middle = (first + last) / 2 * 1000;
        check(&text.repeat(2), Range { from_ms: middle, to_ms: middle + 2000 });
        assert!(of(&text, Range { from_ms: middle, to_ms: middle + 2000 }).others.outside > 0);
    }

    #[test]
    fn a_line_that_is_too_long_is_not_understood() {
        let line =
            "1.2.3.4:50000 [21/Nov/2026:09:31:50.191] fe be/s 0/0/0/1/1 200 7 - - ---- 1/1/0/0/0 0/0 \"GET /";
        let text = format!("{line}\n{line}{}\n{line}\n", "x".repeat(DEFAULT_MOST_LINE_BYTES));
        check(text.as_bytes(), Range::ALL);
        assert_eq!(of(text.as_bytes(), Range::ALL).others.unparsed, 1);
    }

    proptest! {
        #[test]
        fn both_ways_count_the_same_on_damaged_lines(
            damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0u8..3), 0..200),
        ) {
            let mut text = fixtures();
            for (at, byte, how) in damage {
                let at = at.index(text.len());
                match how {
                    0 => text[at] = byte,
                    1 => text.insert(at, byte),
                    _ => drop(text.remove(at)),
                }
            }
            text.push(b'\n');
            check(&text, Range::ALL);
        }

        #[test]
        fn books_put_together_say_the_same_as_one(cuts in proptest::collection::vec(any::<prop::sample::Index>(), 1..4)) {
            let text = fixtures().repeat(2);
            let mut together = Book::new(LineFormat::Auto, Range::ALL);
            let mut begin = 0;
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len())).collect();
            cuts.sort_unstable();
            cuts.push(text.len());
            for cut in cuts {
                begin += {
                    let mut part = Book::new(LineFormat::Auto, Range::ALL);
                    let taken = part.take(&text[begin..cut.max(begin)]);
                    together.add_all(&part);
                    taken
                };
            }
            let whole = of(&text, Range::ALL);
            prop_assert_eq!((together.others, together.span), (whole.others, whole.span));
            let requests = |book: &Book| accounts(book).into_iter().map(|(names, account)| {
                let cells: u64 = account.over_time.cells().iter().map(|cell| cell.requests()).sum();
                (names, account.requests(), account.timers(), cells)
            }).collect::<Vec<_>>();
            prop_assert_eq!(requests(&together), requests(&whole));
        }
    }
}
