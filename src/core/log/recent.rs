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

/// Lines that are remembered, at least; a power of 2. Two ways to us may differ by a second, at ten
/// thousand lines a second.
const REMEMBERED: usize = 1 << 14;

/// So much of a line's end is looked at: of the request line, where requests of one connection differ.
const END: usize = 24;

/// The lines of the last moments; by default none is remembered.
#[derive(Clone, Debug, Default)]
pub struct Recent {
    /// What identifies a line, at the place that it says itself. Zero: nothing.
    seen: Box<[u64]>,
}

impl Recent {
    /// Remembers lines.
    pub fn new() -> Self {
        Self { seen: vec![0; REMEMBERED].into() }
    }

    /// Whether a line before `line`, whose text ends like `text`, has told of the same request; remembers it.
    #[inline]
    pub(super) fn has_seen(&mut self, line: &LogLine<'_>, text: &[u8]) -> bool {
        if self.seen.is_empty() {
            return false;
        }
        let Some(identity) = identity(line, text) else { return false };
        // The highest bits are the best mixed.
        let place = (identity >> 32) as usize % self.seen.len();
        std::mem::replace(&mut self.seen[place], identity) == identity
    }
}

/// What identifies the request of `line`; `None` if it has no date.
fn identity(line: &LogLine<'_>, text: &[u8]) -> Option<u64> {
    let mut hash = Hash(line.date?.millis as u64);
    hash.number(u64::from(line.client_port.unwrap_or(0)) << 16 | u64::from(line.status.unwrap_or(0)));
    hash.text(line.client_ip.unwrap_or_default());
    hash.text(line.frontend.unwrap_or_default());
    hash.text(line.backend);
    hash.text(line.server);
    let timer = |timer| u64::from(line.timers.get(timer).unwrap_or(u32::MAX));
    hash.number(timer(Timer::TR) << 32 | timer(Timer::Tw));
    hash.number(timer(Timer::Tc) << 32 | timer(Timer::Tr));
    // Of a request the last timer may grow from one log step to the next; a session has no other.
    if line.is_tcp() {
        hash.number(timer(Timer::Tt));
    }
    // What is wrapped in JSON ends like all others, or with when it was wrapped.
    let text = if text.starts_with(b"{") { b"" } else { text.trim_ascii_end() };
    hash.text(&text[text.len().saturating_sub(END)..]);
    Some(hash.0)
}

/// Eight bytes at a time. Whoever makes two lines collide has made one of them look like the other,
/// which is judged by how many requests there were.
struct Hash(u64);

impl Hash {
    #[inline(always)]
    fn number(&mut self, number: u64) {
        // Half of the product of two odd 64-bit numbers; the multiplier is that of the golden ratio.
        let product = u128::from(self.0 ^ number) * 0x9e37_79b9_7f4a_7c15;
        self.0 = (product >> 64) as u64 ^ product as u64 ^ number.rotate_left(32);
    }

    #[inline(always)]
    fn text(&mut self, text: &[u8]) {
        let (whole, rest) = text.as_chunks::<8>();
        for &eight in whole {
            self.number(u64::from_le_bytes(eight));
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        // The length tells `ab` + `c` from `a` + `bc`.
        self.number(u64::from_le_bytes(last) ^ (text.len() as u64) << 56);
    }
}
