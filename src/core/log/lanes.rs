//! Looks at many bytes at once: which of them are blanks, slashes, digits; and small numbers.
//!
//! Sixteen bytes at a time, with instructions that every x86-64 and every 64-bit ARM has; the crate
//! `wide` makes them safe to use. A mask has a bit for each byte, bit 0 for the first.

use memchr::memchr;
use wide::u8x16;

/// A bit for each byte that is no digit, and one for each that is `/`.
#[inline(always)]
pub(super) fn no_digits_and_slashes<const N: usize>(text: &[u8; N]) -> (u64, u64) {
    let (mut digits, mut slashes) = (0, 0);
    for (at, bytes) in parts(text) {
        // What is below `0` wraps around to far above 9.
        digits |= at_most(bytes - u8x16::splat(b'0'), 9) << at;
        slashes |= equal(bytes, u8x16::splat(b'/')) << at;
    }
    (!digits & (u64::MAX >> (64 - N)), slashes)
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
    const MOST_STEPS: usize = 16;
    let mut at = from;
    for _ in 0..MOST_STEPS {
        let Some(step) = text.get(at..).and_then(|rest| rest.first_chunk::<32>()) else {
            break;
        };
        let found = parts(step).fold(0, |all, (at, bytes)| all | equal(bytes, u8x16::splat(b'\n')) << at);
        if found != 0 {
            return Some(at + found.trailing_zeros() as usize);
        }
        at += 32;
    }
    memchr(b'\n', text.get(at..)?).map(|length| at + length)
}

/// A bit for each byte that is the same in both.
#[inline(always)]
pub(super) fn same<const N: usize>(one: &[u8; N], other: &[u8; N]) -> u64 {
    parts(one).zip(parts(other)).fold(0, |all, ((at, one), (_, other))| all | equal(one, other) << at)
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
    // Digits to pairs, and the four pairs, each times its power of a hundred, to the upper half.
    let pairs = digits.wrapping_mul(10).wrapping_add(digits >> 8);
    let first_and_third = (pairs & 0x0000_00FF_0000_00FF).wrapping_mul(0x000F_4240_0000_0064);
    let second_and_fourth = (pairs >> 16 & 0x0000_00FF_0000_00FF).wrapping_mul(0x0000_2710_0000_0001);
    (first_and_third.wrapping_add(second_and_fourth) >> 32) as u32
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
            other: [u8; 32],
        ) {
            let expected = (bits(&text, |byte| !byte.is_ascii_digit()), bits(&text, |byte| byte == b'/'));
            prop_assert_eq!(no_digits_and_slashes(&text), expected);
            prop_assert_eq!(white(&text), bits(&text, |byte| byte <= b' '));
            let mixed: [u8; 32] = std::array::from_fn(|at| if at % 3 == 0 { text[at] } else { other[at] });
            prop_assert_eq!(same(&text, &mixed), (0..32).map(|at| u64::from(text[at] == mixed[at]) << at).sum::<u64>());
            let word = *text.first_chunk::<8>().unwrap();
            let expected = word.map(|byte| if byte.is_ascii_digit() { 0 } else { 0x80 });
            prop_assert_eq!(no_digits(word), u64::from_le_bytes(expected));
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
}
