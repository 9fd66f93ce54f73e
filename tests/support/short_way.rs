//! The short way through a line held against the long way.

use haproxy_autoscale::core::log::fast::{FastLine, FastReader, UnusualLine};
use haproxy_autoscale::core::log::format::{Line, LineFormat};
use haproxy_autoscale::core::log::line::LogLine;
use haproxy_autoscale::core::log::parser::LineParser;
use haproxy_autoscale::core::log::sample::{Class, Owner, Timers};
use haproxy_autoscale::core::settings::Timer;

/// What follows a line in a log; the short way looks at more than one line at once.
pub const NEXT: &str = "Nov 21 09:31:51 lb haproxy[1]: 10.0.0.2:40000 [21/Nov/2026:09:31:51.000] fe be/s2 0/0/0/7/8 200 9 - - ---- 1/1/0/0/0 0/0 \"GET /\"\n";

/// How many lines were read the short way: as usual ones, and as others.
#[derive(Debug, Default, PartialEq)]
pub struct Found {
    pub usual: usize,
    pub unusual: usize,
}

/// Reads `lines` one behind the other, holds each that is read the short way against the long way, and
/// returns how many those were.
#[track_caller]
pub fn check(lines: &[Vec<u8>]) -> Found {
    let mut text = lines.join(&b'\n');
    let end = text.len();
    text.extend_from_slice(&[b"\n", NEXT.repeat(4).as_bytes()].concat());
    let mut fast = FastReader::default();
    let (mut begin, mut found) = (0, Found::default());
    while let Some(length) = text[begin..].iter().position(|&byte| byte == b'\n') {
        let (line, rest) = (&text[begin..begin + length], &text[begin..]);
        if let Some(short) = fast.read(rest) {
            found.usual += usize::from(check_usual(line, &short) && begin < end);
        } else if let Some(short) = fast.read_unusual(rest) {
            found.unusual += usize::from(check_unusual(line, &short) && begin < end);
        } else if let Line::Request(_) = LineFormat::Auto.read(line) {
            fast.learn(line);
        }
        begin += length + 1;
    }
    found
}

/// Backend and server; `None` if they are no names: whether they may be like this is not for the short way
/// to say.
fn names(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut names = text.split(|&byte| byte == b'/');
    let is_name = |name: &&[u8]| {
        !name.is_empty() && name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"_:.-<>".contains(byte))
    };
    let names = [names.next(), names.next(), names.next()];
    let [Some(backend), Some(server), None] = names else { return None };
    [backend, server].iter().all(is_name).then_some((backend, server))
}

/// Calls `compare` with what the long way says of `line`.
#[track_caller]
fn check_long(line: &[u8], compare: impl FnOnce(&LogLine<'_>)) {
    match LineParser::default().read(line.strip_suffix(b"\r").unwrap_or(line)) {
        Line::Request(long) => compare(&long),
        other => panic!("{other:?}: {}", line.escape_ascii()),
    }
}

/// `false` if its names are no names.
#[track_caller]
fn check_usual(line: &[u8], short: &FastLine<'_>) -> bool {
    let shown = line.escape_ascii();
    assert_eq!(short.length, line.len(), "{shown}");
    let Some((backend, server)) = names(short.names.text) else {
        return false;
    };
    check_long(line, |long| {
        assert_eq!((backend, server), (long.backend, long.server), "{shown}");
        let timers = [Timer::TR, Timer::Tw, Timer::Tc, Timer::Tr, Timer::Tt];
        let [tr, tw, tc] = short.waits.millis();
        let millis = [tr, tw, tc, short.tr_ms, short.ta_ms].map(Some);
        assert_eq!(millis, timers.map(|timer| long.timers.get(timer)), "{shown}");
        assert_eq!(Some(u16::from(short.status_class)), long.status.map(|status| status / 100), "{shown}");
        assert_eq!(Some(short.begun.millis()), long.date.map(|date| date.millis), "{shown}");
        assert_eq!(short.begun.second, short.begun.millis().div_euclid(1000), "{shown}");
        let class = if short.status_class >= 5 { Class::Server } else { Class::Success };
        assert_eq!((Class::of(long), long.partial, long.is_tcp()), (class, false, false), "{shown}");
        assert_ne!(long.status, Some(101), "{shown}");
        assert!(long.frontend.is_some_and(|frontend| !frontend.starts_with(b"<")), "{shown}");
    });
    true
}

/// `false` if its names are no names.
#[track_caller]
fn check_unusual(line: &[u8], short: &UnusualLine<'_>) -> bool {
    let shown = line.escape_ascii();
    assert_eq!(short.length, line.len(), "{shown}");
    let Some((backend, server)) = names(short.names.text) else {
        return false;
    };
    check_long(line, |long| {
        assert_eq!((backend, server), (long.backend, long.server), "{shown}");
        assert_eq!(Some(short.begun.millis()), long.date.map(|date| date.millis), "{shown}");
        let figures = |line: &LogLine<'_>| {
            (Timers::of(line), line.timers, line.status, Class::of(line), line.partial, line.is_tcp())
        };
        assert_eq!(figures(&short.request), figures(long), "{shown}");
        assert_eq!(Owner::of(&short.request), Owner::of(long), "{shown}");
        assert_eq!(short.request.frontend, long.frontend, "{shown}");
        assert_eq!(short.request.termination_state, long.termination_state, "{shown}");
    });
    true
}
