//! What stands between the names and the captures: `TR/Tw/Tc/Tr/Ta status bytes - - ---- ` and the counters.

use super::{Waits, Window};
use crate::core::log::ending::is_state;
use crate::core::log::lanes;
use crate::core::log::sample::Timers;

/// What is said there of a request that ended normally.
pub(super) struct Figures {
    pub(super) waits: Waits,
    pub(super) tr_ms: u32,
    pub(super) ta_ms: u32,
    /// The first digit of the status.
    pub(super) status_class: u8,
    /// Where they end.
    pub(super) end: usize,
}

/// What is said there of another request.
pub(super) struct UnusualFigures<'a> {
    pub(super) timers: Timers,
    pub(super) status: Option<u16>,
    pub(super) termination_state: &'a [u8],
    /// Where they end.
    pub(super) end: usize,
}

/// The most digits of a timer: three hours.
const MOST_DIGITS: usize = 7;

/// The most digits of the bytes.
const MOST_BYTES_DIGITS: usize = 18;

/// Reads the figures at `begin`; `None` for all that is not as usual.
#[inline(always)]
pub(super) fn read(window: &Window, begin: usize) -> Option<Figures> {
    let (waits, begin) = read_waits(window, begin)?;
    let (timers, end) = read_answer(window, begin)?;
    let [tr_ms, ta_ms, status_class] = timers;
    let end = read_counters(window, read_state(window, end)?)?;
    Some(Figures { waits, tr_ms, ta_ms, status_class: status_class as u8, end })
}

/// Reads the figures at `begin`, where timers may be -1, the status may be missing, and the end need not be
/// a normal one.
pub(super) fn read_unusual(window: &Window, begin: usize) -> Option<UnusualFigures<'_>> {
    let mut numbers = Numbers::new(window.get(begin..)?.first_chunk()?);
    let mut millis = [0; 5];
    for (ms, end) in millis.iter_mut().zip(*b"//// ") {
        *ms = numbers.next(end)?;
    }
    let status = match numbers.next(b' ')? {
        -1 => None,
        status @ 100..=999 => Some(status as u16),
        _ => return None,
    };
    let bytes = numbers.next_text(b' ')?;
    if bytes[0] == b'-' || bytes.len() > MOST_BYTES_DIGITS {
        return None;
    }
    let end = begin + numbers.at;
    let text: &[u8; 9] = window.get(end..)?.first_chunk()?;
    let [b'-', b' ', b'-', b' ', state @ .., b' '] = text else {
        return None;
    };
    if !is_state(state, state.len()) {
        return None;
    }
    let end = read_counters(window, end + text.len())?;
    Some(UnusualFigures { timers: Timers::new(millis), status, termination_state: state, end })
}

/// Numbers one behind the other; a minus may stand before each.
struct Numbers<'a> {
    text: &'a [u8; 64],
    /// Where the next one begins.
    at: usize,
    /// A bit for each byte behind a number; it is not looked further than 48 bytes.
    ends: u64,
}

impl<'a> Numbers<'a> {
    fn new(text: &'a [u8; 64]) -> Self {
        const SEEN: usize = 48;
        // There are so many.
        let seen = text.first_chunk::<SEEN>().unwrap_or(&[0; SEEN]);
        let (_, minuses) = lanes::outside_and_first(seen, b'-'..=b'9');
        let others = lanes::outside(seen, b'0'..=b'9');
        let begins = (others & !minuses) << 1 | 1;
        Self { text, at: 0, ends: others & !(minuses & begins) }
    }

    /// The next one, which is not empty, if `end` stands behind it.
    fn next_text(&mut self, end: u8) -> Option<&'a [u8]> {
        let at = self.ends.trailing_zeros() as usize;
        let number = self.text.get(self.at..at)?;
        if number.is_empty() || *self.text.get(at)? != end {
            return None;
        }
        self.ends = lanes::but_first(self.ends);
        self.at = at + 1;
        Some(number)
    }

    /// The number it says; of those below zero -1 alone.
    fn next(&mut self, end: u8) -> Option<i32> {
        let begin = self.at;
        match self.next_text(end)? {
            b"-1" => Some(-1),
            [b'-', ..] => None,
            number if number.len() > MOST_DIGITS => None,
            number => Some(lanes::number(*self.text.get(begin..)?.first_chunk()?, number.len()) as i32),
        }
    }
}

/// `TR/Tw/Tc/`, and where it ends.
#[inline(always)]
fn read_waits(window: &Window, begin: usize) -> Option<(Waits, usize)> {
    /// Three digits and slashes in the lower six bytes: what is the same in all of them, and a number that makes
    /// what is above 9 another kind of byte.
    const KIND: u64 = 0x0000_FFF0_FFF0_FFF0;
    const KINDS: u64 = 0x0000_2F30_2F30_2F30;
    const ABOVE_9: u64 = 0x0000_0006_0006_0006;
    const HUNDRED_TEN_ONE: u64 = 100 << 32 | 10 << 16 | 1;
    let text = u64::from_le_bytes(*window.get(begin..)?.first_chunk()?);
    if text & KIND == KINDS && text.wrapping_add(ABOVE_9) & KIND == KINDS {
        // A digit each sixteen bits, the first one lowest: the product has their number above the second one.
        let number = (text & !KIND & 0x0000_FFFF_FFFF_FFFF).wrapping_mul(HUNDRED_TEN_ONE) >> 32;
        return Some((Waits::Digits(number as u16), begin + 6));
    }
    read_longer_waits(window, begin)
}

#[inline(never)]
fn read_longer_waits(window: &Window, begin: usize) -> Option<(Waits, usize)> {
    let text: &[u8; 40] = window.get(begin..)?.first_chunk()?;
    let mut ends = lanes::outside::<32>(text.first_chunk()?, b'0'..=b'9');
    let (mut millis, mut at) = ([0; 3], 0);
    for ms in &mut millis {
        let end = ends.trailing_zeros() as usize;
        if *text.get(end)? != b'/' || end == at || end - at > MOST_DIGITS {
            return None;
        }
        *ms = lanes::number(*text.get(at..)?.first_chunk()?, end - at);
        at = end + 1;
        ends = lanes::but_first(ends);
    }
    Some((Waits::Longer(millis), begin + at))
}

/// `Tr/Ta status bytes `: the two, the first digit of the status, and where it ends.
#[inline(always)]
fn read_answer(window: &Window, begin: usize) -> Option<([u32; 3], usize)> {
    let text: &[u8; 48] = window.get(begin..)?.first_chunk()?;
    let ends = lanes::outside::<32>(text.first_chunk()?, b'0'..=b'9');
    let (tr_end, ends) = (ends.trailing_zeros() as usize, lanes::but_first(ends));
    let (ta_end, ends) = (ends.trailing_zeros() as usize, lanes::but_first(ends));
    let (status_end, ends) = (ends.trailing_zeros() as usize, lanes::but_first(ends));
    if ends == 0 {
        return None;
    }
    let bytes_end = ends.trailing_zeros() as usize;
    let (tr_digits, ta_digits, bytes_digits) = (tr_end, ta_end - tr_end - 1, bytes_end - status_end - 1);
    let status: &[u8; 3] = text.get(ta_end + 1..)?.first_chunk()?;
    let is_usual = (text[tr_end], text[ta_end], text[status_end], text[bytes_end]) == (b'/', b' ', b' ', b' ')
        && (1..=MOST_DIGITS).contains(&tr_digits)
        && (1..=MOST_DIGITS).contains(&ta_digits)
        && status_end - ta_end == 4
        && status[0] != b'0'
        // What follows a 101 is a tunnel: its last timer is no latency, and the long way says so.
        && status != b"101"
        && (1..=MOST_BYTES_DIGITS).contains(&bytes_digits);
    if !is_usual {
        return None;
    }
    let tr_ms = lanes::number(*text.first_chunk()?, tr_digits);
    let ta_ms = lanes::number(*text.get(tr_end + 1..)?.first_chunk()?, ta_digits);
    Some(([tr_ms, ta_ms, u32::from(status[0] - b'0')], begin + bytes_end + 1))
}

/// `- - ---- `: no cookies, and a normal end. Where it ends.
#[inline(always)]
fn read_state(window: &Window, begin: usize) -> Option<usize> {
    let text: &[u8; 9] = window.get(begin..)?.first_chunk()?;
    (text == b"- - ---- " || is_normal_end(text)).then_some(begin + text.len())
}

/// The same where cookies keep clients at their servers, as in `- - --NI `.
#[inline(never)]
fn is_normal_end(text: &[u8; 9]) -> bool {
    text.starts_with(b"- - --") && text[8] == b' ' && is_state(&text[4..8], 4)
}

/// `actconn/feconn/beconn/srv_conn/retries srv_queue/backend_queue `: where it ends.
#[inline(always)]
fn read_counters(window: &Window, begin: usize) -> Option<usize> {
    let text: &[u8; 32] = window.get(begin..)?.first_chunk()?;
    let (blanks, slashes) = lanes::outside_and_first(text, b'/'..=b'9');
    let (fifth, blanks) = (lanes::first(blanks), lanes::but_first(blanks));
    let seventh = lanes::first(blanks);
    if seventh == 0 {
        return None;
    }
    // A bit for the byte behind each number.
    let ends = slashes & (seventh - 1) | fifth | seventh;
    let from_fifth = lanes::but_first(lanes::but_first(lanes::but_first(lanes::but_first(ends))));
    let from_sixth = lanes::but_first(from_fifth);
    // HAProxy's counters have 32 bits; those of eight digits and more go the long way.
    let digits = (seventh - 1) & !ends;
    let twos = digits & digits >> 1;
    let fours = twos & twos >> 2;
    let is_usual = from_fifth ^ from_sixth == fifth
        && lanes::but_first(from_sixth) == seventh
        && ends & (ends << 1 | 1) == 0
        && fours & fours >> 4 == 0
        && text[fifth.trailing_zeros() as usize & 31] == b' ';
    let length = seventh.trailing_zeros() as usize;
    (is_usual && text[length & 31] == b' ').then_some(begin + length + 1)
}
