//! The body of `option httplog` and `option httpslog`, from the status on (configuration manual
//! 8.2.3 and 8.2.4). The two differ only behind the request line.
//!
//! Captured cookies are written raw (seen on HAProxy 2.6.12 and 3.5-dev5): blanks, quotes and
//! braces go through, so a client can forge all that follows them when read from the left. What
//! stands left of them is safe; the rest is read from the right, where the request line and the
//! header captures have their quotes and braces escaped.

use memchr::memrchr;

use super::cursor::Cursor;
use super::ending;
use super::error::{ErrorKind, LineError};
use super::field::Field;
use super::line::{LogLine, Rest};
use super::tail;

/// HAProxy's termination states in HTTP: who ended it, when, and two about persistence cookies.
const STATE_LETTERS: usize = 4;

/// Reads what follows the timers into `line`.
///
/// # Errors
/// [`ErrorKind::Truncated`] if the line ends early; what came before is in `line` and is good.
pub(super) fn read<'a>(cursor: &mut Cursor<'a>, line: &mut LogLine<'a>) -> Result<(), LineError> {
    line.status = read_status(cursor)?;
    line.bytes = Some(read_bytes(cursor)?);
    if cursor.take_text(b"- - ") {
        line.request_cookie = Some(b"-");
        line.response_cookie = Some(b"-");
    } else {
        read_cookies(cursor, line)?;
    }
    let (state, counters) = ending::read(cursor, STATE_LETTERS)?;
    (line.termination_state, line.counters) = (Some(state), counters);
    line.rest = Rest::Http(cursor.rest());
    Ok(())
}

/// The status; `None` for -1 and 0: no response was sent.
pub(super) fn read_status(cursor: &mut Cursor<'_>) -> Result<Option<u16>, LineError> {
    let begin = cursor.offset();
    match cursor.number_then(b' ', Field::Status)? {
        -1 | 0 => Ok(None),
        status @ 100..=999 => Ok(Some(status as u16)),
        _ => Err(LineError::of_field(ErrorKind::OutOfRange, Field::Status, begin)),
    }
}

/// Bytes to the client; with logasap a `+` stands before them.
pub(super) fn read_bytes(cursor: &mut Cursor<'_>) -> Result<u64, LineError> {
    cursor.take(b'+');
    let begin = cursor.offset();
    let bytes = cursor.number_then(b' ', Field::Bytes)?;
    u64::try_from(bytes).map_err(|_| LineError::of_field(ErrorKind::OutOfRange, Field::Bytes, begin))
}

/// Request and response cookie, found from the right; moves on to the termination state.
///
/// In a line that was cut nothing tells a forged state from the real one, so there is none.
pub(super) fn read_cookies<'a>(cursor: &mut Cursor<'a>, line: &mut LogLine<'a>) -> Result<(), LineError> {
    let rest = cursor.rest();
    let cut = cursor.truncated(Field::TerminationState);
    let mut begin = tail::begin_from_right(rest).ok_or(cut)?;
    let not_a_state = LineError::of_field(ErrorKind::NotAState, Field::TerminationState, cursor.offset());
    // Queues, counters and state: three words to the left; HAProxy 1.1 has no queues.
    for _ in 0..3 {
        let end = begin;
        begin = memrchr(b' ', &rest[..end]).ok_or(not_a_state)?;
        if ending::is_state(&rest[begin + 1..end], STATE_LETTERS) {
            break;
        }
    }
    let (request, response) = split_cookies(&rest[..begin]).ok_or(not_a_state)?;
    (line.request_cookie, line.response_cookie) = (Some(request), Some(response));
    cursor.skip(begin + 1);
    Ok(())
}

/// Either cookie is `-` if there was none. If there are both, the response cookie, which a
/// server of ours wrote, is taken to be the last word.
fn split_cookies(both: &[u8]) -> Option<(&[u8], &[u8])> {
    if let Some(response) = both.strip_prefix(b"- ") {
        return Some((&both[..1], response));
    }
    let blank = memrchr(b' ', both)?;
    Some((&both[..blank], &both[blank + 1..]))
}
