//! Lines of a log, in any order, to what one backend was asked for and what became of it.
//!
//! In: text of many files, in pieces, by several threads. Out: a [`History`] for each backend, its requests in the
//! order in which they came, by the dates in the lines. Lines that tell of a request again count once. What is no
//! server's affair (HAProxy's own answers, what it denied) is left out and counted.

use std::collections::HashMap;
use std::ops::Range;

use memchr::memchr;

use crate::core::log::error::LineError;
use crate::core::log::format::{Line, LineFormat};
use crate::core::log::framing::{DEFAULT_MOST_LINE_BYTES, SHOWN_BYTES};
use crate::core::log::line::LogLine;
use crate::core::log::parser::LineParser;
use crate::core::log::reader::UnparsedLine;
use crate::core::log::recent::identity;
use crate::core::log::sample::{Class, Owner, Timers, has_timed_out};
use crate::core::settings::Timer;

/// One backend's past.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    /// Its name.
    pub backend: String,
    /// The servers that had requests, by name: numbers in names count as numbers.
    pub servers: Vec<String>,
    /// All requests that count, in the order in which they came.
    pub requests: Vec<Past>,
    /// Lines that told of one of them again.
    pub repeats: u64,
    /// Requests without a date: nobody knows when they came.
    pub undated: u64,
}

/// A request as it was.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Past {
    /// When HAProxy had read it, civil milliseconds from 1970, by the clock of HAProxy's machine.
    pub came_ms: i64,
    /// Its timers.
    pub timers: Timers,
    /// How it ended.
    pub class: Class,
    /// By a timeout of HAProxy's.
    pub timed_out: bool,
    /// The server that had it last, by its place in [`History::servers`].
    pub server: Option<u16>,
    /// What identifies it.
    identity: u32,
}

/// What became of lines that are in no history.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Others {
    /// All lines.
    pub lines: u64,
    /// HAProxy's own messages.
    pub messages: u64,
    /// Lines that were not understood.
    pub unparsed: u64,
    /// The first of them, and why.
    pub first_unparsed: Option<UnparsedLine>,
    /// Requests that were nobody's: HAProxy answered or denied them itself.
    pub nobodys: u64,
    /// Sessions in TCP mode: how long they last is the client's affair.
    pub sessions: u64,
    /// Requests outside the range of time.
    pub outside: u64,
}

/// Reads lines into histories.
#[derive(Clone, Debug)]
pub struct Historian {
    parser: LineParser,
    /// Only this backend; `None`: all.
    only: Option<String>,
    /// Only requests that came from the first of these on and before the second, civil milliseconds.
    within: Range<i64>,
    backends: HashMap<Box<[u8]>, Gathered>,
    others: Others,
}

/// What is known of a backend while lines are read; servers are in the order of their coming.
#[derive(Clone, Debug, Default)]
struct Gathered {
    servers: Vec<Box<[u8]>>,
    requests: Vec<Past>,
    undated: u64,
}

impl Historian {
    /// Knows nothing yet; reads lines in `format`, and keeps the requests of one backend or of all that came
    /// `within` these civil milliseconds.
    pub fn new(format: LineFormat, only: Option<String>, within: Range<i64>) -> Self {
        Self {
            parser: LineParser::new(format),
            only,
            within,
            backends: HashMap::new(),
            others: Others::default(),
        }
    }

    /// Takes all lines that end in `text`, and returns how many bytes they have.
    pub fn take(&mut self, text: &[u8]) -> usize {
        let mut begin = 0;
        while let Some(length) = memchr(b'\n', &text[begin..]) {
            self.take_line(&text[begin..begin + length]);
            begin += length + 1;
        }
        begin
    }

    /// Counts a line that was too long to be kept.
    pub fn take_overlong(&mut self) {
        self.others.lines += 1;
        self.others.unparsed += 1;
    }

    fn take_line(&mut self, text: &[u8]) {
        if text.len() > DEFAULT_MOST_LINE_BYTES {
            return self.take_overlong();
        }
        self.others.lines += 1;
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        // What a line says may be borrowed from its parser.
        let mut parser = std::mem::take(&mut self.parser);
        match parser.read(text) {
            Line::Request(ref line) => self.take_request(line, text),
            Line::Message(_) => self.others.messages += 1,
            Line::Unparsed(error) => self.note_unparsed(text, error),
        }
        self.parser = parser;
    }

    fn note_unparsed(&mut self, text: &[u8], error: LineError) {
        self.others.unparsed += 1;
        self.others.first_unparsed.get_or_insert_with(|| UnparsedLine {
            text: String::from_utf8_lossy(&text[..text.len().min(SHOWN_BYTES)]).into_owned(),
            error,
        });
    }

    fn take_request(&mut self, line: &LogLine<'_>, text: &[u8]) {
        let (backend, server) = match Owner::of(line) {
            Owner::Server { backend, server } => (backend, Some(server)),
            // Of a frontend that is no backend nothing will be played: it has no servers.
            Owner::Backend(backend) | Owner::BackendIfKnown(backend) => (backend, None),
            Owner::Nobody => {
                self.others.nobodys += 1;
                return;
            }
        };
        if self.only.as_ref().is_some_and(|only| only.as_bytes() != backend) {
            return;
        }
        let class = Class::of(line);
        if class == Class::Proxy {
            self.others.nobodys += 1;
            return;
        }
        if line.is_tcp() {
            self.others.sessions += 1;
            return;
        }
        let gathered = match self.backends.get_mut(backend) {
            Some(known) => known,
            None => self.backends.entry(backend.into()).or_default(),
        };
        let Some(date) = line.date else {
            gathered.undated += 1;
            return;
        };
        let timers = Timers::of(line);
        let came_ms = date.millis + i64::from(timers.get(Timer::TR).unwrap_or(0));
        if !self.within.contains(&came_ms) {
            self.others.outside += 1;
            return;
        }
        let server = server.and_then(|server| gathered.server(server));
        gathered.requests.push(Past {
            came_ms,
            timers,
            class,
            timed_out: has_timed_out(line, class),
            server,
            identity: identity(line, 0, text).unwrap_or(0) as u32,
        });
    }

    /// Takes all that `other` has.
    pub fn add_all(&mut self, other: Self) {
        let (own, theirs) = (&mut self.others, other.others);
        own.lines += theirs.lines;
        own.messages += theirs.messages;
        own.unparsed += theirs.unparsed;
        own.nobodys += theirs.nobodys;
        own.sessions += theirs.sessions;
        own.outside += theirs.outside;
        // Whichever part was read first: the same one is told.
        let first = own.first_unparsed.take().into_iter().chain(theirs.first_unparsed);
        own.first_unparsed = first.min_by(|a, b| a.text.cmp(&b.text));
        for (backend, gathered) in other.backends {
            self.backends.entry(backend).or_default().add_all(gathered);
        }
    }

    /// The histories of all backends that had requests on servers, the busiest first, and what became of the
    /// other lines.
    pub fn finish(self) -> (Vec<History>, Others) {
        let with_servers = self.backends.into_iter().filter(|(_, gathered)| !gathered.servers.is_empty());
        let mut histories: Vec<History> =
            with_servers.map(|(backend, gathered)| gathered.finish(text_of(&backend))).collect();
        histories.sort_by(|a, b| b.requests.len().cmp(&a.requests.len()).then(a.backend.cmp(&b.backend)));
        (histories, self.others)
    }
}

impl Gathered {
    /// The place of a server, made now if it is new; `None` if there are too many.
    fn server(&mut self, name: &[u8]) -> Option<u16> {
        // Servers are few, and the one looked for is often among the first.
        let place = self.servers.iter().position(|known| **known == *name).unwrap_or_else(|| {
            self.servers.push(name.into());
            self.servers.len() - 1
        });
        u16::try_from(place).ok()
    }

    fn add_all(&mut self, other: Self) {
        self.undated += other.undated;
        let places: Vec<_> = other.servers.iter().map(|name| self.server(name)).collect();
        let place = |server: u16| places.get(usize::from(server)).copied().flatten();
        let theirs = other.requests.into_iter();
        self.requests.extend(theirs.map(|past| Past { server: past.server.and_then(place), ..past }));
    }

    fn finish(mut self, backend: String) -> History {
        let names: Vec<String> = self.servers.iter().map(|name| text_of(name)).collect();
        let mut order: Vec<usize> = (0..names.len()).collect();
        order.sort_by_key(|&place| natural(&names[place]));
        let mut places = vec![0; names.len()];
        for (new, &old) in order.iter().enumerate() {
            places[old] = new as u16;
        }
        for past in &mut self.requests {
            past.server = past.server.map(|old| places[usize::from(old)]);
        }
        let key = |past: &Past| (past.came_ms, past.identity, past.server, past.timers.waited());
        self.requests.sort_by_key(key);
        let all = self.requests.len();
        self.requests.dedup_by(|a, b| (a.came_ms, a.identity) == (b.came_ms, b.identity));
        self.requests.shrink_to_fit();
        History {
            backend,
            servers: order.into_iter().map(|place| names[place].clone()).collect(),
            repeats: (all - self.requests.len()) as u64,
            requests: self.requests,
            undated: self.undated,
        }
    }
}

impl Past {
    /// `timer` in seconds; 0 if it did not happen.
    pub(super) fn seconds(&self, timer: Timer) -> f64 {
        f64::from(self.timers.get(timer).unwrap_or(0)) / 1e3
    }
}

fn text_of(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

/// `web10` after `web9`: letters, then the number at the end.
fn natural(name: &str) -> (String, u64, String) {
    let letters = name.trim_end_matches(|c: char| c.is_ascii_digit());
    let number = name[letters.len()..].parse().unwrap_or(0);
    (letters.to_owned(), number, name.to_owned())
}
