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
    rest: &'a [u8],
    line_length: usize,
}

impl<'a> Cursor<'a> {
    /// At byte `at` of `line`; at its end if it is shorter.
    pub(super) fn new(line: &'a [u8], at: usize) -> Self {
        Self { rest: line.get(at..).unwrap_or_default(), line_length: line.len() }
    }

    /// Bytes from the start of the line.
    pub(super) fn offset(self) -> usize {
        self.line_length - self.rest.len()
    }

    /// What has not been read.
    pub(super) fn rest(self) -> &'a [u8] {
        self.rest
    }

    /// The next byte, not taken.
    pub(super) fn peek(self) -> Option<u8> {
        self.rest.first().copied()
    }

    /// Takes the next byte if it is `byte`.
    #[inline]
    pub(super) fn take(&mut self, byte: u8) -> bool {
        match self.rest {
            [first, after @ ..] if *first == byte => {
                self.rest = after;
                true
            }
            _ => false,
        }
    }

    /// Takes the next `text.len()` bytes if they are `text`.
    pub(super) fn take_text(&mut self, text: &[u8]) -> bool {
        let after = self.rest.strip_prefix(text);
        self.rest = after.unwrap_or(self.rest);
        after.is_some()
    }

    /// Goes on by `count` bytes, at most to the end of the line.
    pub(super) fn skip(&mut self, count: usize) {
        self.rest = self.rest.get(count..).unwrap_or_default();
    }

    /// All up to `end`, which is taken too.
    pub(super) fn until(&mut self, end: u8, field: Field) -> Result<&'a [u8], LineError> {
        let rest = self.rest;
        let length = memchr(end, rest).ok_or_else(|| self.truncated(field))?;
        self.rest = &rest[length + 1..];
        Ok(&rest[..length])
    }

    /// All up to a blank, which is taken too.
    pub(super) fn word(&mut self, field: Field) -> Result<&'a [u8], LineError> {
        self.until(b' ', field)
    }

    /// What stands between two quotes; takes them, and a blank before and behind.
    pub(super) fn quoted(&mut self, field: Field) -> Result<&'a [u8], LineError> {
        self.take(b' ');
        if !self.take(b'"') {
            let not_quoted = LineError::of_field(ErrorKind::NotQuoted, field, self.offset());
            return Err(if self.rest.is_empty() { self.truncated(field) } else { not_quoted });
        }
        let text = self.until(b'"', field)?;
        if self.take(b' ') { Ok(text) } else { Err(self.truncated(field)) }
    }

    /// All up to `end`, which is taken too, if it comes after exactly `length` bytes.
    pub(super) fn until_at(&mut self, length: usize, end: u8) -> Option<&'a [u8]> {
        let (text, after) = self.rest.split_at_checked(length)?;
        self.rest = after.strip_prefix(&[end])?;
        Some(text)
    }

    /// A whole number, perhaps with a minus sign. Some byte has to follow it, or it may be cut.
    ///
    /// # Errors
    /// `wrong` if it is no number; out of range beyond eighteen digits.
    #[inline]
    pub(super) fn number(&mut self, field: Field, wrong: ErrorKind) -> Result<i64, LineError> {
        let number = self.last_number(field, wrong)?;
        if self.rest.is_empty() { Err(self.truncated(field)) } else { Ok(number) }
    }

    /// A whole number and `end` behind it, which is taken too.
    #[inline]
    pub(super) fn number_then(&mut self, end: u8, field: Field) -> Result<i64, LineError> {
        let begin = self.offset();
        let number = self.number(field, ErrorKind::NotANumber)?;
        if self.take(end) {
            Ok(number)
        } else {
            Err(LineError::of_field(ErrorKind::NotANumber, field, begin))
        }
    }

    /// A count and `end` behind it, which is taken too. HAProxy's counters are 32 bits wide.
    #[inline]
    pub(super) fn count_then(&mut self, end: u8, field: Field) -> Result<u32, LineError> {
        let begin = self.offset();
        let number = self.number_then(end, field)?;
        u32::try_from(number).map_err(|_| LineError::of_field(ErrorKind::OutOfRange, field, begin))
    }

    /// A whole number that may be the last thing in the line.
    #[inline]
    pub(super) fn last_number(&mut self, field: Field, wrong: ErrorKind) -> Result<i64, LineError> {
        let begin = *self;
        let is_negative = self.take(b'-');
        let digits = self.rest;
        let mut value: i64 = 0;
        while let [byte, after @ ..] = self.rest
            && byte.is_ascii_digit()
        {
            // Wraps beyond eighteen digits, which is refused below.
            value = value.wrapping_mul(10).wrapping_add(i64::from(byte - b'0'));
            self.rest = after;
        }
        match digits.len() - self.rest.len() {
            1..=18 => Ok(if is_negative { -value } else { value }),
            0 if self.rest.is_empty() => Err(self.truncated(field)),
            0 => Err(LineError::of_field(wrong, field, begin.offset())),
            _ => Err(LineError::of_field(ErrorKind::OutOfRange, field, begin.offset())),
        }
    }

    /// The line ends here although `field` is not complete.
    #[cold]
    pub(super) fn truncated(self, field: Field) -> LineError {
        LineError::of_field(ErrorKind::Truncated, field, self.line_length)
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
