//! Looks at many bytes at once: which of them are blanks, slashes, digits; and small numbers.
//!
//! Sixteen bytes at a time, with instructions that every x86-64 and every 64-bit ARM has; the crate
//! `wide` makes them safe to use. A mask has a bit for each byte, bit 0 for the first.

use std::ops::{Range, RangeInclusive};

use memchr::memchr;
use wide::u8x16;

/// A text to compare others with; some of its bits may be others.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pattern<const PARTS: usize> {
    text: [u8x16; PARTS],
    /// Those that have to be the same; none behind its end.
    bits: [u8x16; PARTS],
}

impl<const PARTS: usize> Pattern<PARTS> {
    /// Of all bits of `text`; `None` if it is longer than so many times sixteen bytes.
    pub(crate) fn new(text: &[u8]) -> Option<Self> {
        let mut pattern = Self::default();
        for (at, &byte) in text.iter().enumerate() {
            pattern.text.get_mut(at / 16)?.as_mut_array()[at % 16] = byte;
            pattern.bits[at / 16].as_mut_array()[at % 16] = u8::MAX;
        }
        Some(pattern)
    }

    /// Where there are digits within `range`, there may be others, or one of `:;<=>?`, from now on.
    pub(super) fn let_digits_differ(&mut self, range: Range<usize>) {
        for at in range {
            let (part, at) = (at / 16, at % 16);
            if self.text[part].as_array()[at].is_ascii_digit() {
                self.bits[part].as_mut_array()[at] = 0xF0;
            }
        }
    }

    /// Whether `text` begins like it. A text that is shorter than its parts does not.
    #[inline(always)]
    pub(crate) fn begins(&self, text: &[u8]) -> bool {
        let Some(parts) = text.as_chunks::<16>().0.first_chunk::<PARTS>() else {
            return false;
        };
        let differences = parts.iter().zip(&self.text).zip(&self.bits);
        let differences = differences.map(|((part, own), bits)| (u8x16::new(*part) ^ *own) & *bits);
        equal(differences.fold(u8x16::ZERO, |all, it| all | it), u8x16::ZERO) == 0xFFFF
    }
}

impl<const PARTS: usize> Default for Pattern<PARTS> {
    /// All begins like it.
    fn default() -> Self {
        Self { text: [u8x16::ZERO; PARTS], bits: [u8x16::ZERO; PARTS] }
    }
}

/// A bit for each byte that is not in `range`.
#[inline(always)]
pub(super) fn outside<const N: usize>(text: &[u8; N], range: RangeInclusive<u8>) -> u64 {
    let (first, width) = (*range.start(), *range.end() - *range.start());
    // What is below the first wraps around to far above the last.
    let inside =
        parts(text).fold(0, |all, (at, bytes)| all | at_most(bytes - u8x16::splat(first), width) << at);
    !inside & (u64::MAX >> (64 - N))
}

/// The same, and a bit for each byte that is the first one in `range`.
#[inline(always)]
pub(super) fn outside_and_first<const N: usize>(text: &[u8; N], range: RangeInclusive<u8>) -> (u64, u64) {
    let (first, width) = (*range.start(), *range.end() - *range.start());
    let (mut inside, mut firsts) = (0, 0);
    for (at, bytes) in parts(text) {
        let bytes = bytes - u8x16::splat(first);
        inside |= at_most(bytes, width) << at;
        firsts |= equal(bytes, u8x16::ZERO) << at;
    }
    (!inside & (u64::MAX >> (64 - N)), firsts)
}

/// The lowest bit alone.
#[inline(always)]
pub(super) fn first(bits: u64) -> u64 {
    bits & bits.wrapping_neg()
}

/// All bits but the lowest.
#[inline(always)]
pub(super) fn but_first(bits: u64) -> u64 {
    bits & bits.wrapping_sub(1)
}

/// A bit for each byte that is a blank or a control character, a newline among them.
#[inline(always)]
pub(super) fn white<const N: usize>(text: &[u8; N]) -> u64 {
    parts(text).fold(0, |all, (at, bytes)| all | at_most(bytes, b' ') << at)
}

/// Where the next newline is, as `memchr` would say it; faster where it is near.
#[inline(always)]
pub(super) fn newline(text: &[u8], from: usize) -> Option<usize> {
    /// Lines are rarely longer than that behind their figures.
    const MOST_STEPS: usize = 8;
    let mut at = from;
    for _ in 0..MOST_STEPS {
        let Some(step) = text.get(at..).and_then(|rest| rest.first_chunk::<64>()) else {
            break;
        };
        let found = parts(step).fold(0, |all, (at, bytes)| all | equal(bytes, u8x16::splat(b'\n')) << at);
        if found != 0 {
            return Some(at + found.trailing_zeros() as usize);
        }
        at += 64;
    }
    memchr(b'\n', text.get(at..)?).map(|length| at + length)
}

/// Sixteen bytes each, and where they begin.
#[inline(always)]
fn parts<const N: usize>(text: &[u8; N]) -> impl Iterator<Item = (usize, u8x16)> {
    const { assert!(N.is_multiple_of(16) && N <= 64, "a bit for each byte") };
    let (parts, _) = text.as_chunks::<16>();
    parts.iter().enumerate().map(|(at, part)| (at * 16, u8x16::new(*part)))
}

#[inline(always)]
fn at_most(bytes: u8x16, most: u8) -> u64 {
    bytes.min(u8x16::splat(most)).simd_eq(bytes).to_bitmask().into()
}

#[inline(always)]
fn equal(one: u8x16, other: u8x16) -> u64 {
    one.simd_eq(other).to_bitmask().into()
}

/// One in each byte.
const ONES: u64 = 0x0101_0101_0101_0101;

const TOP_BITS: u64 = 0x80 * ONES;

/// The number that the first `length` bytes of `text` say.
///
/// They have to be digits, 1 to 8 of them; with anything else the answer is some number.
#[inline(always)]
pub(super) fn number(text: [u8; 8], length: usize) -> u32 {
    // The last digit goes to the top byte, what follows it is shifted out.
    let digits = (u64::from_le_bytes(text) & (0x0F * ONES)) << ((8 - length) * 8 % 64);
    // Two neighbours become one number each time: the first of them, being worth more, is in the lower bits.
    let pairs = digits.wrapping_mul(10 << 8 | 1) >> 8 & 0x00FF_00FF_00FF_00FF;
    let fours = pairs.wrapping_mul(100 << 16 | 1) >> 16 & 0x0000_FFFF_0000_FFFF;
    (fours.wrapping_mul(10_000 << 32 | 1) >> 32) as u32
}

/// The top bit of each byte that is no digit, the first byte's in the lowest.
#[inline(always)]
pub(super) fn no_digits(text: [u8; 8]) -> u64 {
    // Digits become 0 to 9, and nothing else does. Adding to seven bits cannot carry into the next byte.
    let word = u64::from_le_bytes(text) ^ (u64::from(b'0') * ONES);
    (((word & !TOP_BITS) + (127 - 9) * ONES) | word) & TOP_BITS
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bits(text: &[u8], is: impl Fn(u8) -> bool) -> u64 {
        text.iter().rev().fold(0, |bits, &byte| bits << 1 | u64::from(is(byte)))
    }

    proptest! {
        #[test]
        fn a_mask_tells_each_byte(
            text in proptest::array::uniform32(prop_oneof![any::<u8>(), Just(b' '), Just(b'/'), b'/'..=b':']),
        ) {
            prop_assert_eq!(outside(&text, b'0'..=b'9'), bits(&text, |byte| !byte.is_ascii_digit()));
            let expected = (bits(&text, |byte| !(b'/'..=b'9').contains(&byte)), bits(&text, |byte| byte == b'/'));
            prop_assert_eq!(outside_and_first(&text, b'/'..=b'9'), expected);
            prop_assert_eq!(white(&text), bits(&text, |byte| byte <= b' '));
            let word = *text.first_chunk::<8>().unwrap();
            let expected = word.map(|byte| if byte.is_ascii_digit() { 0 } else { 0x80 });
            prop_assert_eq!(no_digits(word), u64::from_le_bytes(expected));
        }

        #[test]
        fn a_pattern_says_whether_a_text_begins_like_it(
            text in proptest::collection::vec(any::<u8>(), 0..40),
            other: [u8; 32],
            is_same: bool,
        ) {
            let mut other = other;
            if is_same {
                other.iter_mut().zip(&text).for_each(|(other, &byte)| *other = byte);
            }
            let found = Pattern::<2>::new(&text).map(|pattern| pattern.begins(&other));
            prop_assert_eq!(found, (text.len() <= 32).then(|| other.starts_with(&text)));
        }

        #[test]
        fn a_newline_is_found_wherever_it_is(
            text in proptest::collection::vec(prop_oneof![300 => any::<u8>(), 1 => Just(b'\n')], 0..1000),
            from in 0usize..1100,
        ) {
            let expected = text.iter().skip(from).position(|&byte| byte == b'\n').map(|length| from + length);
            prop_assert_eq!(newline(&text, from), expected);
        }

        #[test]
        fn a_number_ends_where_its_length_says(expected in 0u32..100_000_000, others: [u8; 8]) {
            let digits = expected.to_string();
            let mut text = others;
            text[..digits.len()].copy_from_slice(digits.as_bytes());
            prop_assert_eq!(number(text, digits.len()), expected);
        }
    }

    #[test]
    fn digits_may_differ_where_that_was_said() {
        let mut pattern = Pattern::<1>::new(b"a12:3").unwrap();
        pattern.let_digits_differ(2..5);
        let begins = |text: &[u8; 16]| pattern.begins(text);
        assert!(begins(b"a19:0 whatever   "[..16].try_into().unwrap()));
        for text in [b"a22:3           ", b"a1x:3           ", b"a12;3           ", b"a12: 3          "] {
            assert!(!begins(text), "{}", text.escape_ascii());
        }
    }
}
