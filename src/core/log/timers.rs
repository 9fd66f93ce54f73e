//! The timers of a line: `TR/Tw/Tc/Tr/Ta` in httplog, `Tw/Tc/Tt` in tcplog.
//!
//! A timer of -1 did not happen. A `+` before the last one means "so far": `option logasap`
//! wrote the line before the end (configuration manual 8.2.3 and 8.4). Timers without the blank
//! behind them are refused: `0/0/0` at the end of a cut line may have been `0/0/0/3/3`.

use super::cursor::Cursor;
use super::error::{ErrorKind, LineError};
use super::field::Field;
use super::sample::Timers;

/// What the timers of a line say, and by their number which format it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LineTimers {
    pub(super) timers: Timers,
    /// The last one is the time so far.
    pub(super) partial: bool,
    pub(super) kind: Kind,
}

/// Which timers a line has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Five: TR/Tw/Tc/Tr/Ta.
    Http,
    /// Three: Tw/Tc/Tt.
    Tcp,
}

/// Reads the timers and the blank behind them.
pub(super) fn read(cursor: &mut Cursor<'_>) -> Result<LineTimers, LineError> {
    let first = millis_then(cursor, b'/', Field::TR)?;
    let second = millis_then(cursor, b'/', Field::Tw)?;
    let begin = cursor.offset();
    let mut partial = cursor.take(b'+');
    let third = millis(cursor, Field::Tc)?;
    if cursor.take(b' ') {
        return Ok(LineTimers {
            timers: Timers::new([-1, first, second, -1, third]),
            partial,
            kind: Kind::Tcp,
        });
    }
    if partial || !cursor.take(b'/') {
        return Err(LineError::of_field(ErrorKind::NotMilliseconds, Field::Tc, begin));
    }
    let fourth = millis_then(cursor, b'/', Field::Tr)?;
    partial = cursor.take(b'+');
    let fifth = millis_then(cursor, b' ', Field::Ta)?;
    Ok(LineTimers { timers: Timers::new([first, second, third, fourth, fifth]), partial, kind: Kind::Http })
}

fn millis_then(cursor: &mut Cursor<'_>, end: u8, field: Field) -> Result<i32, LineError> {
    let begin = cursor.offset();
    let millis = millis(cursor, field)?;
    if cursor.take(end) {
        Ok(millis)
    } else {
        Err(LineError::of_field(ErrorKind::NotMilliseconds, field, begin))
    }
}

fn millis(cursor: &mut Cursor<'_>, field: Field) -> Result<i32, LineError> {
    cursor.number(field, ErrorKind::NotMilliseconds).map(saturating)
}

/// What does not fit in 32 bits is a connection of more than 24 days: the longest we can tell.
pub(super) fn saturating(millis: i64) -> i32 {
    millis.clamp(-1, i64::from(i32::MAX)) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<LineTimers, LineError>) {
        assert_eq!(read(&mut Cursor::new(text.as_bytes(), 0)), expected, "{text:?}");
    }

    fn read_as(kind: Kind, millis: [i32; 5], partial: bool) -> Result<LineTimers, LineError> {
        Ok(LineTimers { timers: Timers::new(millis), partial, kind })
    }

    fn refused(kind: ErrorKind, field: Field, offset: usize) -> Result<LineTimers, LineError> {
        Err(LineError::of_field(kind, field, offset))
    }

    #[test]
    fn five_timers_are_httplog_and_three_are_tcplog() {
        check("1/2/3/4/10 ", read_as(Kind::Http, [1, 2, 3, 4, 10], false));
        check("0/-1/-1/-1/+7 ", read_as(Kind::Http, [0, -1, -1, -1, 7], true));
        check("1/0/100 ", read_as(Kind::Tcp, [-1, 1, 0, -1, 100], false));
        check("1/-1/+804 ", read_as(Kind::Tcp, [-1, 1, -1, -1, 804], true));
        check("0/0/0/3/99999999999 ", read_as(Kind::Http, [0, 0, 0, 3, i32::MAX], false));
    }

    #[test]
    fn timers_that_may_be_cut_are_refused() {
        check("0/0/0", refused(ErrorKind::Truncated, Field::Tc, 5));
        check("0/0/0/3/", refused(ErrorKind::Truncated, Field::Ta, 8));
        check("0/0/0/3/3", refused(ErrorKind::Truncated, Field::Ta, 9));
    }

    #[test]
    fn what_is_no_timer_is_named() {
        check("0/x/0/3/3 ", refused(ErrorKind::NotMilliseconds, Field::Tw, 2));
        check("0/0/+0/3/3 ", refused(ErrorKind::NotMilliseconds, Field::Tc, 4));
        check("0/0/0/3 ", refused(ErrorKind::NotMilliseconds, Field::Tr, 6));
        check("0/0/0/3/4/5 ", refused(ErrorKind::NotMilliseconds, Field::Ta, 8));
        check("GET / ", refused(ErrorKind::NotMilliseconds, Field::TR, 0));
    }
}
