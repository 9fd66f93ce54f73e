//! The short way through a line, for figures over whole logs: whose request, five timers, status, how
//! it ended and when; nothing else, and only of lines as nearly all are.
//!
//! In: the bytes from the start of a line on. Out: a [`FastLine`] of a request that ended normally (`--`)
//! with all five timers, or else an [`UnusualLine`]. Both are of complete httplog or httpslog lines without
//! captured cookies; for all others it is `None`, and [`LineFormat::read`](super::format::LineFormat::read)
//! has to say what they are. Where the short way says something whose names are names, the long way says
//! the same: the properties in `tests/fast_path.rs` hold them together. The fields are found many bytes at a
//! time (`lanes.rs`), and what is as it was in the line before (the header, the second) is compared and
//! not read again.

use memchr::memchr;

use super::date::Date;
use super::lanes::{self, Pattern};
use super::line::LogLine;
use figures::{Figures, UnusualFigures};
use header::Headers;

mod figures;
mod header;

/// What the short way finds in a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FastLine<'a> {
    /// `backend/server`.
    pub names: Names<'a>,
    /// TR, Tw and Tc; all of them happened.
    pub waits: Waits,
    /// Tr in milliseconds.
    pub tr_ms: u32,
    /// Ta in milliseconds.
    pub ta_ms: u32,
    /// The first digit of the status, 1 to 9.
    pub status_class: u8,
    /// When the request began.
    pub begun: Begun,
    /// Bytes of the line, its newline left out.
    pub length: usize,
}

/// What it finds in one that is not quite as usual: a timer that did not happen, another end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct UnusualLine<'a> {
    /// `backend/server`.
    pub names: Names<'a>,
    /// When the request began.
    pub begun: Begun,
    /// What the line says of frontend, backend, server, timers, status and termination state. The rest of it
    /// was not looked at, and is as in an empty line.
    pub request: LogLine<'a>,
    /// Bytes of the line, its newline left out.
    pub length: usize,
}

/// `backend/server` as it stands. It was not looked at whether names may be like this: what
/// has been seen in a line that was read the long way may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Names<'a> {
    /// The names and what follows them; a blank comes first, if they are shorter than the window.
    pub window: &'a [u8; WINDOW],
    /// The names alone.
    pub text: &'a [u8],
}

/// Bytes of a window; lines with names that do not fit in go the long way.
pub const WINDOW: usize = 64;

/// TR, Tw and Tc in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waits {
    /// Each is a digit, as is usual; the three of them written as one number.
    Digits(u16),
    /// At least one is longer.
    Longer([u32; 3]),
}

impl Waits {
    /// TR, Tw and Tc.
    pub fn millis(self) -> [u32; 3] {
        match self {
            Self::Digits(number) => [number / 100, number / 10 % 10, number % 10].map(u32::from),
            Self::Longer(millis) => millis,
        }
    }
}

/// When a request began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begun {
    /// Civil seconds from 1970.
    pub second: i64,
    /// The three digits behind the point.
    fraction: [u8; 3],
}

impl Begun {
    /// Civil milliseconds from 1970.
    pub fn millis(self) -> i64 {
        let [a, b, c] = self.fraction.map(|digit| i64::from(digit & 0x0F));
        self.second * 1000 + a * 100 + b * 10 + c
    }
}

/// Reads lines the short way; remembers what the next line will have again.
#[derive(Clone, Debug, Default)]
pub struct FastReader {
    headers: Headers,
    second: Second,
}

/// The second that the last line was in.
#[derive(Clone, Copy, Debug)]
struct Second {
    /// `[21/Nov/2026:09:31:50.`
    text: Pattern<2>,
    /// From 1970.
    second: i64,
}

/// A line whose figures go further goes the long way.
const HEAD: usize = 256;

/// What is looked at in one go may reach so far behind that.
const BEHIND: usize = 64;

/// The start of a line: with a place below [`HEAD`], nothing that is looked at is outside.
type Window = [u8; HEAD + BEHIND];

/// `[21/Nov/2026:09:31:50.`
const SECOND: usize = 22;

/// `[21/Nov/2026:09:31:50.191] `
const DATE: usize = SECOND + 5;

/// What stands before the timers.
struct Start<'a> {
    window: &'a Window,
    begun: Begun,
    frontend: &'a [u8],
    names: Names<'a>,
    /// Where the timers begin.
    figures: usize,
}

impl FastReader {
    /// Reads the line at the start of `text`, which may go on behind its end.
    #[inline(always)]
    pub fn read<'a>(&mut self, text: &'a [u8]) -> Option<FastLine<'a>> {
        let Start { window, names, begun, figures, .. } = self.start(text)?;
        let Figures { waits, tr_ms, ta_ms, status_class, end } = figures::read(window, figures)?;
        let length = lanes::newline(text, end)?;
        Some(FastLine { names, waits, tr_ms, ta_ms, status_class, begun, length })
    }

    /// Reads the line at the start of `text`, of which [`Self::read`] could say nothing.
    #[inline(never)]
    pub fn read_unusual<'a>(&mut self, text: &'a [u8]) -> Option<UnusualLine<'a>> {
        let Start { window, names, begun, frontend, figures } = self.start(text)?;
        let UnusualFigures { timers, status, termination_state, end } =
            figures::read_unusual(window, figures)?;
        let length = lanes::newline(text, end)?;
        let (backend, server) = names.text.split_at(memchr(b'/', names.text)?);
        let request = LogLine {
            frontend: Some(frontend.strip_suffix(b"~").unwrap_or(frontend)),
            backend,
            server: &server[1..],
            timers,
            status,
            termination_state: Some(termination_state),
            ..LogLine::empty()
        };
        Some(UnusualLine { names, begun, request, length })
    }

    /// Learns the header of `line`, a whole one that was read the long way, unless it is the last one's.
    pub fn learn(&mut self, line: &[u8]) {
        self.headers.learn(line);
    }

    /// Reads up to the timers.
    #[inline(always)]
    fn start<'a>(&mut self, text: &'a [u8]) -> Option<Start<'a>> {
        let window: &Window = text.first_chunk()?;
        let client = self.headers.length(window, text)?;
        let date = client_end(window, client)? + 1;
        let fraction = self.fraction(window, date)?;
        let frontend = date + DATE;
        let (frontend_end, names_end) = two_blanks(window, frontend)?;
        // HAProxy's own requests, and error lines of connections, go the long way.
        if window[frontend] == b'<' || window[frontend_end - 1] == b':' {
            return None;
        }
        let names = window.get(frontend_end + 1..)?.first_chunk()?;
        Some(Start {
            window,
            begun: Begun { second: self.second.second, fraction },
            frontend: window.get(frontend..frontend_end)?,
            names: Names { window: names, text: names.get(..names_end - frontend_end - 1)? },
            figures: names_end + 1,
        })
    }

    /// Reads the date between brackets at `at` with the blank behind it: the digits behind its point. The rest
    /// of it is then in [`Self::second`].
    #[inline(always)]
    fn fraction(&mut self, window: &Window, at: usize) -> Option<[u8; 3]> {
        let text: &[u8; 32] = window.get(at..)?.first_chunk()?;
        if !self.second.text.begins(text) {
            self.second = Second::read(text)?;
        }
        let [a, b, c, rest @ ..] = *text[SECOND..].first_chunk::<5>()?;
        let is_fraction = a.is_ascii_digit() & b.is_ascii_digit() & c.is_ascii_digit();
        (is_fraction && rest == *b"] ").then_some([a, b, c])
    }
}

impl Second {
    /// Of the date at the start of `text`.
    #[cold]
    fn read(text: &[u8; 32]) -> Option<Self> {
        let text = &text[..SECOND];
        // A blank there would mean that no milliseconds follow.
        if !text.ends_with(b".") {
            return None;
        }
        // Its milliseconds were not looked at, and are not of interest.
        let mut date = [b'0'; Date::HAPROXY_LENGTH];
        date[..SECOND - 1].copy_from_slice(text.strip_prefix(b"[")?);
        let second = Date::from_haproxy(&date)?.millis.div_euclid(1000);
        Some(Self { text: Pattern::new(text)?, second })
    }
}

impl Default for Second {
    /// The first one of 1970, which is as good as any.
    fn default() -> Self {
        // Neither fails: it is a date, and no longer than a pattern.
        Self::read(b"[01/Jan/1970:00:00:00.000]      ").expect("a date")
    }
}

/// Where the client that begins at `begin` ends, if it is an address and a port, and nothing that may still
/// be a part of the syslog header.
#[inline(always)]
fn client_end(window: &Window, begin: usize) -> Option<usize> {
    // An IPv4 address and its port have only bytes that are next to each other.
    let others = lanes::outside::<32>(window.get(begin..)?.first_chunk()?, b'.'..=b':');
    let end = begin + others.trailing_zeros() as usize;
    let end = if window.get(end) == Some(&b' ') { end } else { other_client_end(window, begin)? };
    (end >= begin + 8 && ends_with_port(window[end - 8..].first_chunk()?)).then_some(end)
}

/// The same for an IPv6 address, or a Unix socket.
#[inline(never)]
fn other_client_end(window: &Window, begin: usize) -> Option<usize> {
    let end = next_blank(window, begin)?;
    // A priority begins like that, a line wrapped in JSON, and a date in ISO 8601.
    let may_be_header = matches!(window[begin], b'<' | b'{') || window[begin + 10] == b'T';
    (!may_be_header).then_some(end)
}

/// `65535` as bytes of a number.
const MOST_PORT: u64 = 0x36_3535_3335;

/// Whether the last of these bytes are a colon and a port.
#[inline(always)]
fn ends_with_port(text: &[u8; 8]) -> bool {
    let digit_bits = lanes::no_digits(*text).leading_zeros() & 0x38;
    let text = u64::from_be_bytes(*text);
    // As text, numbers are ordered like numbers of one length, and shorter ones come first.
    let port = text & !(u64::MAX << digit_bits);
    (1..=MOST_PORT).contains(&port) && (text >> digit_bits) as u8 == b':'
}

/// The first byte from `at` on that is no more than a blank, if that is a blank.
fn next_blank(window: &Window, at: usize) -> Option<usize> {
    let found = lanes::white::<64>(window.get(at..)?.first_chunk()?);
    let at = at + found.trailing_zeros() as usize;
    (window.get(at) == Some(&b' ')).then_some(at)
}

/// The two next ones; looks once if that is enough.
#[inline(always)]
fn two_blanks(window: &Window, at: usize) -> Option<(usize, usize)> {
    let first = lanes::white::<48>(window.get(at..)?.first_chunk()?);
    let second = first & first.wrapping_sub(1);
    if second == 0 {
        return two_blanks_far_apart(window, at);
    }
    let [first, second] = [first, second].map(|bits| at + bits.trailing_zeros() as usize);
    (window[first] == b' ' && window[second] == b' ').then_some((first, second))
}

#[inline(never)]
fn two_blanks_far_apart(window: &Window, at: usize) -> Option<(usize, usize)> {
    let first = next_blank(window, at)?;
    Some((first, next_blank(window, first + 1)?))
}
