//! The short way through a line held against the long way.

use haproxy_autoscale::core::log::fast::{FastLine, FastReader};
use haproxy_autoscale::core::log::format::{Line, LineFormat};
use haproxy_autoscale::core::log::sample::Class;
use haproxy_autoscale::core::settings::Timer;

/// What follows a line in a log; the short way looks at more than one line at once.
pub const NEXT: &str = "Nov 21 09:31:51 lb haproxy[1]: 10.0.0.2:40000 [21/Nov/2026:09:31:51.000] fe be/s2 0/0/0/7/8 200 9 - - ---- 1/1/0/0/0 0/0 \"GET /\"\n";

/// Reads `lines` one behind the other, holds each that is read the short way against the long way, and
/// returns how many those were.
#[track_caller]
pub fn check(lines: &[Vec<u8>]) -> usize {
    let mut text = lines.join(&b'\n');
    let end = text.len();
    text.extend_from_slice(&[b"\n", NEXT.repeat(4).as_bytes()].concat());
    let mut fast = FastReader::default();
    let (mut begin, mut found) = (0, 0);
    while let Some(length) = text[begin..].iter().position(|&byte| byte == b'\n') {
        let line = &text[begin..begin + length];
        if let Some(short) = fast.read(&text[begin..]) {
            found += usize::from(check_line(line, &short) && begin < end);
        } else if let Line::Request(_) = LineFormat::Auto.read(line) {
            fast.learn(line);
        }
        begin += length + 1;
    }
    found
}

/// `false` if its names are no names: whether they may be like this is not for the short way to say.
#[track_caller]
fn check_line(line: &[u8], short: &FastLine<'_>) -> bool {
    let shown = line.escape_ascii();
    assert!(short.length <= line.len(), "it reads on behind the end of {shown}");
    let mut names = short.names.split(|&byte| byte == b'/');
    let is_name = |name: &[u8]| {
        !name.is_empty() && name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"_:.-<>".contains(byte))
    };
    let [Some(backend), Some(server), None] = [names.next(), names.next(), names.next()] else {
        return false;
    };
    if !is_name(backend) || !is_name(server) {
        return false;
    }
    let Line::Request(long) = LineFormat::Auto.read(line) else {
        panic!("no request: {shown}");
    };
    assert_eq!((backend, server), (long.backend, long.server), "{shown}");
    let timers = [Timer::TR, Timer::Tw, Timer::Tc, Timer::Tr, Timer::Tt];
    assert_eq!(short.millis.map(Some), timers.map(|timer| long.timers.get(timer)), "{shown}");
    assert_eq!(Some(u16::from(short.status_class)), long.status.map(|status| status / 100), "{shown}");
    assert_eq!(Some(short.date_ms), long.date.map(|date| date.millis), "{shown}");
    let class = if short.status_class >= 5 { Class::Server } else { Class::Success };
    assert_eq!((Class::of(&long), long.partial, long.is_tcp()), (class, false, false), "{shown}");
    assert_ne!(long.status, Some(101), "{shown}");
    assert!(long.frontend.is_some_and(|frontend| !frontend.starts_with(b"<")), "{shown}");
    true
}
