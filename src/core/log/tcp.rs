//! The body of `option tcplog`, from the bytes on (configuration manual 8.2.2).

use super::cursor::Cursor;
use super::ending;
use super::error::LineError;
use super::http::read_bytes;
use super::line::{LogLine, Rest};

/// HAProxy's termination states in TCP: who ended it, and when.
const STATE_LETTERS: usize = 2;

/// Reads what follows the timers into `line`.
///
/// # Errors
/// [`Truncated`](super::error::ErrorKind::Truncated) if the line ends early; what came before is in `line` and is good.
pub(super) fn read<'a>(cursor: &mut Cursor<'a>, line: &mut LogLine<'a>) -> Result<(), LineError> {
    line.bytes = Some(read_bytes(cursor)?);
    let (state, counters) = ending::read(cursor, STATE_LETTERS)?;
    (line.termination_state, line.counters) = (Some(state), counters);
    line.rest = Rest::Tcp(cursor.rest());
    Ok(())
}
