//! Walks a line field by field from the left and knows its offset.
//!
//! In: one line and where to begin. Out: words and numbers, borrowed; or a [`LineError`] that
//! names the field and the byte. A field counts as read only with the byte that ends it: a
//! line may be cut anywhere, and `12` at its end may have been `1234`.

use memchr::memchr;

use super::error::{ErrorKind, LineError};
use super::field::Field;

/// A place in a line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a> {
    line: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// At byte `at` of `line`; at its end if it is shorter.
    pub(super) fn new(line: &'a [u8], at: usize) -> Self {
        Self { line, at: at.min(line.len()) }
    }

    /// Bytes from the start of the line.
    pub(super) fn offset(self) -> usize {
        self.at
    }

    /// What has not been read.
    pub(super) fn rest(self) -> &'a [u8] {
        self.line.get(self.at..).unwrap_or_default()
    }

    /// The next byte, not taken.
    pub(super) fn peek(self) -> Option<u8> {
        self.line.get(self.at).copied()
    }

    /// Takes the next byte if it is `byte`.
    pub(super) fn take(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    /// Takes the next `text.len()` bytes if they are `text`.
    pub(super) fn take_text(&mut self, text: &[u8]) -> bool {
        let is_next = self.rest().starts_with(text);
        self.at += if is_next { text.len() } else { 0 };
        is_next
    }

    /// Goes on by `count` bytes, at most to the end of the line.
    pub(super) fn skip(&mut self, count: usize) {
        self.at = (self.at + count).min(self.line.len());
    }

    /// All up to `end`, which is taken too.
    pub(super) fn until(&mut self, end: u8, field: Field) -> Result<&'a [u8], LineError> {
        let rest = self.rest();
        let length = memchr(end, rest).ok_or_else(|| self.truncated(field))?;
        self.at += length + 1;
        Ok(&rest[..length])
    }

    /// A whole number, perhaps with a minus sign. Some byte has to follow it, or it may be cut.
    ///
    /// # Errors
    /// `wrong` if it is no number; out of range beyond eighteen digits.
    pub(super) fn number(&mut self, field: Field, wrong: ErrorKind) -> Result<i64, LineError> {
        let number = self.last_number(field, wrong)?;
        if self.at == self.line.len() { Err(self.truncated(field)) } else { Ok(number) }
    }

    /// A whole number and `end` behind it, which is taken too.
    pub(super) fn number_then(&mut self, end: u8, field: Field) -> Result<i64, LineError> {
        let begin = self.at;
        let number = self.number(field, ErrorKind::NotANumber)?;
        if self.take(end) {
            Ok(number)
        } else {
            Err(LineError::of_field(ErrorKind::NotANumber, field, begin))
        }
    }

    /// A count and `end` behind it, which is taken too. HAProxy's counters are 32 bits wide.
    pub(super) fn count_then(&mut self, end: u8, field: Field) -> Result<u32, LineError> {
        let begin = self.at;
        let number = self.number_then(end, field)?;
        u32::try_from(number).map_err(|_| LineError::of_field(ErrorKind::OutOfRange, field, begin))
    }

    /// A whole number that may be the last thing in the line.
    pub(super) fn last_number(&mut self, field: Field, wrong: ErrorKind) -> Result<i64, LineError> {
        let begin = self.at;
        let is_negative = self.take(b'-');
        let first_digit = self.at;
        let mut value: i64 = 0;
        while let Some(digit) = self.peek().map(|byte| byte.wrapping_sub(b'0')).filter(|&digit| digit < 10) {
            // Eighteen digits always fit in 64 bits, so nothing can overflow.
            if self.at - first_digit == 18 {
                return Err(LineError::of_field(ErrorKind::OutOfRange, field, begin));
            }
            value = value * 10 + i64::from(digit);
            self.at += 1;
        }
        if self.at > first_digit {
            return Ok(if is_negative { -value } else { value });
        }
        if self.at == self.line.len() {
            return Err(self.truncated(field));
        }
        Err(LineError::of_field(wrong, field, begin))
    }

    /// The line ends here although `field` is not complete.
    pub(super) fn truncated(self, field: Field) -> LineError {
        LineError::of_field(ErrorKind::Truncated, field, self.line.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_number(text: &str, expected: Result<i64, (ErrorKind, usize)>) {
        let found = Cursor::new(text.as_bytes(), 0).number_then(b' ', Field::Tw);
        assert_eq!(found.map_err(|error| (error.kind, error.offset)), expected, "{text:?}");
    }

    #[test]
    fn a_number_ends_with_its_delimiter_or_not_at_all() {
        check_number("12 ", Ok(12));
        check_number("-1 ", Ok(-1));
        check_number("999999999999999999 ", Ok(999_999_999_999_999_999));
        check_number("1000000000000000000 ", Err((ErrorKind::OutOfRange, 0)));
        check_number("12", Err((ErrorKind::Truncated, 2)));
        check_number("-", Err((ErrorKind::Truncated, 1)));
        check_number("", Err((ErrorKind::Truncated, 0)));
        check_number(" ", Err((ErrorKind::NotANumber, 0)));
        check_number("- ", Err((ErrorKind::NotANumber, 0)));
        check_number("1a ", Err((ErrorKind::NotANumber, 0)));
    }
}
