//! Lines that tell of a request again: of two log targets, of a syslog daemon that sends anew, of a
//! file that is read twice, of several `log-steps`.
//!
//! In: a line as it was read. Out: whether one like it was among the last some ten thousand. What
//! identifies a request is who asked, when (to the millisecond), where it went and how long the
//! steps took, so it may come through different sources and in different formats. Two requests can be
//! alike: of a connection that is used by many at once, or many times in a millisecond. That is for
//! those to judge who know how many there were. Lines without a date are never alike.

use super::line::LogLine;
use crate::core::settings::Timer;

/// Lines that are remembered, in groups. Two ways to us may differ by a second, at ten thousand lines a second.
const GROUPS: usize = 1 << 12;
const GROUP: usize = 4;

/// The lines of the last moments; by default none is remembered.
#[derive(Clone, Debug, Default)]
pub struct Recent {
    /// What identifies a line, in the group that it says itself, the newest first. Zero: nothing.
    seen: Box<[[u64; GROUP]]>,
}

impl Recent {
    /// Remembers lines.
    pub fn new() -> Self {
        Self { seen: vec![[0; GROUP]; GROUPS].into() }
    }

    /// Whether a line before `line`, whose text ends like `text`, has told of the same request of `whom`;
    /// remembers it.
    #[inline]
    pub(super) fn has_seen(&mut self, line: &LogLine<'_>, whom: u64, text: &[u8]) -> bool {
        if self.seen.is_empty() {
            return false;
        }
        let Some(identity) = identity(line, whom, text) else { return false };
        let group = (identity >> 32) as usize % self.seen.len();
        let [a, b, c, d] = self.seen[group];
        let has_seen = [a, b, c, d].contains(&identity);
        if !has_seen {
            self.seen[group] = [identity, a, b, c];
        }
        has_seen
    }
}

/// What identifies the request of `line`, of whom it was and whose text ends like `text`; `None` if it has no date.
pub fn identity(line: &LogLine<'_>, whom: u64, text: &[u8]) -> Option<u64> {
    let timer = |timer| u64::from(line.timers.get(timer).unwrap_or(u32::MAX));
    // Of a request the last timer may grow from one log step to the next; a session has no other.
    let last = if line.is_tcp() { timer(Timer::Tt) } else { timer(Timer::TR) };
    let date = line.date?.millis as u64;
    let [ip, more_of_ip] = both_ends(line.client_ip.unwrap_or_default());
    let port = u64::from(line.client_port.unwrap_or(0)) << 16 | u64::from(line.status.unwrap_or(0));
    // What is wrapped in JSON ends like all others, or with when it was wrapped.
    let text = if text.starts_with(b"{") { b"" } else { text.trim_ascii_end() };
    let [end_a, end_b, end_c] = end(text);
    // They do not wait for each other.
    let parts = [
        mixed(date, port),
        mixed(ip, more_of_ip ^ whom.rotate_left(24)),
        mixed(last << 32 | timer(Timer::Tw), timer(Timer::Tc) << 32 | timer(Timer::Tr)),
        mixed(end_a, end_b),
    ];
    Some(mixed(parts[0] ^ parts[1].rotate_left(13), parts[2] ^ parts[3].rotate_left(29) ^ end_c))
}

/// The first and the last eight bytes, which may overlap; of a shorter text all of it.
fn both_ends(text: &[u8]) -> [u64; 2] {
    match (text.first_chunk(), text.last_chunk()) {
        (Some(&first), Some(&last)) => [u64::from_le_bytes(first), u64::from_le_bytes(last)],
        _ => [text.iter().fold(0, |all, &byte| all << 8 | u64::from(byte)), 0],
    }
}

/// The last 24 bytes, where the requests of one connection differ; of a shorter text nothing.
fn end(text: &[u8]) -> [u64; 3] {
    let Some(end) = text.last_chunk::<24>() else { return [0; 3] };
    let (words, _) = end.as_chunks::<8>();
    [words[0], words[1], words[2]].map(u64::from_le_bytes)
}

/// Both halves of a product of two numbers that are hardly ever zero. Whoever makes two lines collide has made
/// one of them look like the other, which is judged by how many requests there were.
fn mixed(a: u64, b: u64) -> u64 {
    // Any bits will do: these are of the golden ratio, and of the square root of 2.
    let product = u128::from(a ^ 0x9e37_79b9_7f4a_7c15) * u128::from(b ^ 0x6a09_e667_f3bc_c909);
    (product >> 64) as u64 ^ product as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::log::format::{Line, LineFormat};
    use proptest::prelude::*;

    const LINE: &str = "127.0.0.1:50536 [21/Nov/2026:09:31:50.191] fe be/s1 0/0/0/3/3 200 76 - - ---- 1/1/0/0/0 0/0 \"GET /x HTTP/1.1\"";

    fn has_seen(recent: &mut Recent, text: &str) -> bool {
        match LineFormat::Auto.read(text.as_bytes()) {
            Line::Request(line) => recent.has_seen(&line, both_ends(line.server)[0], text.as_bytes()),
            other => panic!("{other:?}: {text}"),
        }
    }

    /// Whether `second` tells of what [`LINE`] has told.
    #[track_caller]
    fn check(is_repeat: bool, second: &str) {
        let mut recent = Recent::new();
        assert!(!has_seen(&mut recent, LINE));
        assert_eq!(has_seen(&mut recent, second), is_repeat, "{second}");
    }

    #[test]
    fn the_same_request_is_known_by_whatever_way_its_line_came() {
        check(true, LINE);
        check(true, &format!("<134>Nov 21 09:31:50 haproxy[7]: {LINE}"));
        check(true, &format!("2026-11-21T09:31:50.2Z stdout F {LINE}\r"));
        // As `log-steps` response and close write it on HAProxy 3.2.
        check(true, &LINE.replace("0/3/3 200 76", "0/3/9 200 5076").replace("1/1/0/0/0", "1/1/1/1/0"));
    }

    #[test]
    fn another_request_is_another_one() {
        for (from, to) in [
            (":50536", ":50537"),
            ("0.191", "0.192"),
            ("be/s1", "be/s2"),
            ("0/0/0/3/3", "0/0/0/4/4"),
            ("0/0/0/3/3", "0/1/0/3/4"),
            (" 200 ", " 500 "),
            ("/x HTTP", "/y HTTP"),
        ] {
            check(false, &LINE.replace(from, to));
        }
    }

    #[test]
    fn by_default_nothing_is_remembered() {
        let mut recent = Recent::default();
        assert!(!has_seen(&mut recent, LINE) && !has_seen(&mut recent, LINE));
    }

    proptest! {
        #[test]
        fn every_line_is_known_again_for_thousands_of_lines_and_no_other_is(
            ports in proptest::collection::hash_set(1u16..65535, 1..2000),
            minute in 0..60,
        ) {
            let mut recent = Recent::new();
            let lines: Vec<String> = ports
                .iter()
                .map(|port| LINE.replace("50536", &port.to_string()).replace(":31:", &format!(":{minute:02}:")))
                .collect();
            for line in &lines {
                prop_assert!(!has_seen(&mut recent, line));
            }
            let known = lines.iter().filter(|line| has_seen(&mut recent, line)).count();
            // Five that meet in one group are all lost when they come again in the same order.
            prop_assert!(known + 20 + lines.len() / 50 >= lines.len(), "{known} of {}", lines.len());
        }
    }
}
