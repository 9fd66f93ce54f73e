//! The short way through a line, for figures over whole logs: whose request, five timers, status
//! and when; nothing else, and only of lines as nearly all are.
//!
//! In: the bytes from the start of a line on. Out: a [`FastLine`], or `None` for whatever is not a
//! complete httplog or httpslog line of a request that ended normally (`--`), without captured
//! cookies and with all five timers; then [`LineFormat::read`](super::format::LineFormat::read)
//! has to say what it is. Where there is a `FastLine` whose names are names, both say the same:
//! the properties in `tests/fast_path.rs` hold them together. The fields are found many at a
//! time (`lanes.rs`), and what is as it was in the line before (the header, the
//! minute) is compared and not read again.

use memchr::memchr;

use super::date::Date;
use super::ending::is_state;
use super::envelope::body_offset;
use super::lanes;

/// What the short way finds in a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FastLine<'a> {
    /// `backend/server`, as it stands. It was not looked at whether names may be like this: what
    /// has been seen in a line that was read the long way may.
    pub names: &'a [u8],
    /// TR, Tw, Tc, Tr and Ta; all of them happened.
    pub millis: [u32; 5],
    /// The first digit of the status, 1 to 9.
    pub status_class: u8,
    /// When the request began, in civil milliseconds from 1970.
    pub date_ms: i64,
    /// Bytes of the line, its newline left out.
    pub length: usize,
}

/// Reads lines the short way; remembers what the next line will have again.
#[derive(Clone, Debug)]
pub struct FastReader {
    /// The syslog header of the last line; longer ones go the long way.
    header: [u8; HEADER],
    /// A bit for each byte of it; `None` if it was too long.
    header_bits: Option<u64>,
    minute: Minute,
}

/// The minute that the last line was in.
#[derive(Clone, Copy, Debug, Default)]
struct Minute {
    /// `[21/Nov/2026:09:31:`
    text: [u8; MINUTE],
    millis: i64,
}

/// A line whose figures go further goes the long way.
const HEAD: usize = 256;

/// What is looked at in one go may reach so far behind that.
const BEHIND: usize = 64;

/// The start of a line: with a place below [`HEAD`], none of what is looked at needs a check of its own.
type Head = [u8; HEAD + BEHIND];

/// Bytes of the longest header; longer ones, as with structured data, go the long way.
const HEADER: usize = 64;

/// `[21/Nov/2026:09:31:`
const MINUTE: usize = 19;

/// `50.191] `
const SECOND: usize = 8;

/// Names are shorter, and so are IPv4 addresses with their ports.
const WORD: usize = 32;

/// Words longer than this go the long way.
const MOST_WORDS: usize = 2;

/// `TR/Tw/Tc/Tr/Ta status bytes `
const TIMERS: usize = 48;

/// `actconn/feconn/beconn/srv_conn/retries srv_queue/backend_queue `
const COUNTERS: usize = 32;

impl Default for FastReader {
    fn default() -> Self {
        Self { header: [0; HEADER], header_bits: None, minute: Minute::default() }
    }
}

impl FastReader {
    /// Reads the line at the start of `text`, which may go on behind its end.
    #[inline(always)]
    pub fn read<'a>(&mut self, text: &'a [u8]) -> Option<FastLine<'a>> {
        let head: &Head = text.first_chunk()?;
        let client = self.header_length(head, text)?;
        let client_end = next_blank(head, client)?;
        if !is_client(head, client, client_end) {
            return None;
        }
        let date = client_end + 1;
        let date_ms = self.date(head, date)?;
        let frontend = date + MINUTE + SECOND;
        let (frontend_end, names_end) = next_blanks(head, frontend)?;
        // HAProxy's own requests, and error lines of connections, go the long way.
        if head[frontend] == b'<' || head[frontend_end - 1] == b':' {
            return None;
        }
        let names = frontend_end + 1;
        let (millis, status_class, end) = read_timers(head, names_end + 1)?;
        let length = lanes::newline(text, read_ending(head, end)?)?;
        Some(FastLine { names: text.get(names..names_end)?, millis, status_class, date_ms, length })
    }

    /// Learns the header of `line`, a whole one that was read the long way, unless it is the last one's.
    pub fn learn(&mut self, line: &[u8]) {
        let length = self.header_bits.map_or(0, |bits| bits.trailing_ones() as usize);
        // An empty header tells nothing: any line begins like that.
        if length == 0 || !line.starts_with(&self.header[..length]) {
            self.learn_anew(line);
        }
    }

    fn learn_anew(&mut self, line: &[u8]) {
        let header = &line[..body_offset(line)];
        self.header_bits = None;
        if let Some(own) = self.header.get_mut(..header.len()) {
            own.copy_from_slice(header);
            self.header_bits = Some(u64::MAX.checked_shr((HEADER - header.len()) as u32).unwrap_or(0));
        }
    }

    /// How long the header is.
    #[inline(always)]
    fn header_length(&mut self, head: &Head, text: &[u8]) -> Option<usize> {
        // Always there, in both.
        let same = lanes::same(&self.header, head.first_chunk()?);
        if self.header_bits.is_none_or(|bits| bits & !same != 0) {
            self.learn_anew(&text[..memchr(b'\n', text)?]);
        }
        self.header_bits.map(|bits| bits.trailing_ones() as usize)
    }

    /// The date between brackets at `at`, with the blank behind it.
    #[inline(always)]
    fn date(&mut self, head: &Head, at: usize) -> Option<i64> {
        if at >= HEAD {
            return None;
        }
        let minute = head[at..].first_chunk()?;
        if *minute != self.minute.text {
            self.minute = Minute::read(minute)?;
        }
        let (second, ms) = second(*head[at + MINUTE..].first_chunk()?)?;
        Some(self.minute.millis + i64::from(second) * 1000 + i64::from(ms))
    }
}

impl Minute {
    #[cold]
    fn read(text: &[u8; MINUTE]) -> Option<Self> {
        let mut whole = [b'0'; MINUTE + 1];
        whole[..MINUTE - 1].copy_from_slice(text.strip_prefix(b"[")?);
        let millis = Date::from_haproxy(&whole)?.millis;
        Some(Self { text: *text, millis })
    }
}

/// Seconds and milliseconds of `50.191] `.
#[inline(always)]
fn second(text: [u8; SECOND]) -> Option<(u32, u32)> {
    let [s1, s2, _, m1, m2, m3, _, _] = text.map(|byte| u32::from(byte & 0x0F));
    let (second, ms) = (s1 * 10 + s2, m1 * 100 + m2 * 10 + m3);
    // 60 is a leap second.
    let is_time = lanes::no_digits(text) == lanes::no_digits(*b"00.000] ")
        && (text[2], text[6], text[7]) == (b'.', b']', b' ')
        && second <= 60;
    is_time.then_some((second, ms))
}

/// The first byte from `at` on that is no more than a blank, if that is a blank.
#[inline(always)]
fn next_blank(head: &Head, mut at: usize) -> Option<usize> {
    for _ in 0..MOST_WORDS {
        let found = lanes::white::<WORD>(head.get(at..HEAD + WORD)?.first_chunk()?);
        if found != 0 {
            let at = at + found.trailing_zeros() as usize;
            return (head[at] == b' ').then_some(at);
        }
        at += WORD;
    }
    None
}

/// The two next ones; looks once if that is enough.
#[inline(always)]
fn next_blanks(head: &Head, at: usize) -> Option<(usize, usize)> {
    let found = lanes::white::<{ 2 * WORD }>(head.get(at..HEAD + 2 * WORD)?.first_chunk()?);
    let rest = found & found.wrapping_sub(1);
    if rest == 0 {
        let first = next_blank(head, at)?;
        return Some((first, next_blank(head, first + 1)?));
    }
    let (first, second) = (at + found.trailing_zeros() as usize, at + rest.trailing_zeros() as usize);
    (head[first] == b' ' && head[second] == b' ').then_some((first, second))
}

/// `65535` as bytes of a number.
const MOST_PORT: u64 = 0x36_3535_3335;

/// Whether `address:port` stands between `begin` and `end`, and nothing that may be a header.
#[inline(always)]
fn is_client(head: &Head, begin: usize, end: usize) -> bool {
    // An ISO date has a `T` there, and a priority begins with `<`.
    if end < begin + 8 || head[begin] == b'<' || head[begin + 10] == b'T' {
        return false;
    }
    let Some(last) = head[end - 8..].first_chunk() else {
        return false;
    };
    let digits = lanes::no_digits(*last).leading_zeros() as usize / 8;
    // As text of one length, numbers are ordered like numbers.
    let five = u64::from_be_bytes(*last) & 0xFF_FFFF_FFFF;
    // Without a branch: both lengths are common.
    let is_port = matches!(digits, 1..=4) | ((digits == 5) & (five <= MOST_PORT));
    is_port && head[end - 1 - digits] == b':'
}

/// `TR/Tw/Tc/Tr/Ta status bytes - - `: the timers, the first digit of the status, and where it ends.
#[inline(always)]
fn read_timers(head: &Head, begin: usize) -> Option<([u32; 5], u8, usize)> {
    if begin >= HEAD {
        return None;
    }
    let text: &[u8; TIMERS + 8] = head[begin..].first_chunk()?;
    let (mut others, slashes) = lanes::no_digits_and_slashes::<TIMERS>(text.first_chunk()?);
    let all = others;
    let [a, b, c, d] = [(); 4].map(|()| take_first(&mut others));
    let four = all ^ others;
    let [e, f, g] = [(); 3].map(|()| take_first(&mut others));
    let seven = all ^ others;
    // Then there are seven of them, g being the last.
    if g >= TIMERS {
        return None;
    }
    let lengths = [a, b - a - 1, c - b - 1, d - c - 1, e - d - 1];
    let is_usual = four & !slashes == 0
        && (text[e], text[f], text[g]) == (b' ', b' ', b' ')
        && are_apart(seven)
        && lengths.iter().fold(0, |all, length| all | length) <= 7
        && f - e == 4
        && g - f <= 19
        && text[e + 1] >= b'1'
        // What follows a 101 is a tunnel: its last timer is no latency, and the long way says so.
        && text[e + 1..].first_chunk() != Some(b"101")
        // No cookies.
        && text[g + 1..].first_chunk() == Some(b"- - ");
    if !is_usual {
        return None;
    }
    let [l1, l2, l3, l4, l5] = lengths;
    let first = if l1 | l2 | l3 == 1 {
        // As it nearly always is: nobody waited.
        [text[0], text[a + 1], text[b + 1]].map(|digit| u32::from(digit - b'0'))
    } else {
        [number(text, 0, l1)?, number(text, a + 1, l2)?, number(text, b + 1, l3)?]
    };
    let millis = [first[0], first[1], first[2], number(text, c + 1, l4)?, number(text, d + 1, l5)?];
    Some((millis, text[e + 1] - b'0', begin + g + 5))
}

/// The number of `length` digits at `begin`.
#[inline(always)]
fn number(text: &[u8; TIMERS + 8], begin: usize, length: usize) -> Option<u32> {
    Some(lanes::number(*text.get(begin..)?.first_chunk()?, length))
}

/// `---- actconn/feconn/beconn/srv_conn/retries srv_queue/backend_queue `: where it ends.
#[inline(always)]
fn read_ending(head: &Head, begin: usize) -> Option<usize> {
    if begin >= HEAD {
        return None;
    }
    let state: &[u8; 5] = head[begin..].first_chunk()?;
    if state != b"---- " && !(state.starts_with(b"--") && state[4] == b' ' && is_state(&state[..4], 4)) {
        return None;
    }
    let text: &[u8; COUNTERS] = head[begin + 5..].first_chunk()?;
    let (mut others, slashes) = lanes::no_digits_and_slashes(text);
    let all = others;
    for _ in 0..4 {
        take_first(&mut others);
    }
    let four = all ^ others;
    let e = take_first(&mut others);
    let before_sixth = others;
    take_first(&mut others);
    let sixth = before_sixth ^ others;
    let g = take_first(&mut others);
    if g >= COUNTERS {
        return None;
    }
    // HAProxy's counters have 32 bits; those of eight digits and more go the long way.
    let digits = !all & ((1 << g) - 1);
    let twos = digits & digits >> 1;
    let fours = twos & twos >> 2;
    let is_usual = (four | sixth) & !slashes == 0
        && (text[e], text[g]) == (b' ', b' ')
        && are_apart(all ^ others)
        && fours & fours >> 4 == 0;
    is_usual.then_some(begin + 5 + g + 1)
}

/// Whether something is before each bit that is not in the mask.
#[inline(always)]
fn are_apart(bits: u64) -> bool {
    bits & (bits << 1 | 1) == 0
}

/// Takes the lowest bit, and returns its place; 63 if there is none.
#[inline(always)]
fn take_first(bits: &mut u64) -> usize {
    // With a bit that is always there the processor's own instruction does, and the last bit of a mask of
    // 48 is never it.
    let first = (*bits | 1 << 63).trailing_zeros() as usize;
    *bits &= bits.wrapping_sub(1);
    first
}
