//! What httplog and tcplog lines have after the bytes: termination state, counters, queues.

use memchr::memchr;

use super::cursor::Cursor;
use super::error::{ErrorKind, LineError};
use super::field::Field;

/// The counters of a line, as they were when it was written; `None` where the format has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections of the process, this one included.
    pub actconn: Option<u32>,
    /// Connections of the frontend, this one included.
    pub feconn: Option<u32>,
    /// Streams of the backend, those in queues included; this one only if the line is partial.
    pub beconn: Option<u32>,
    /// Streams of the server; this one only if the line is partial.
    pub srv_conn: Option<u32>,
    /// Connection retries.
    pub retries: Option<u32>,
    /// The retries went to another server, whose name is not in the line.
    pub redispatched: bool,
    /// Requests that left the server's queue while this one was in it, itself included.
    pub srv_queue: Option<u32>,
    /// Requests that left the backend's queue while this one was in it, itself included.
    pub backend_queue: Option<u32>,
}

/// Termination state and counters; goes to the end of `srv_queue/backend_queue`.
///
/// `letters` is how long the state is: 4 in httplog, 2 in tcplog.
pub(super) fn read<'a>(cursor: &mut Cursor<'a>, letters: usize) -> Result<(&'a [u8], Counters), LineError> {
    let begin = cursor.offset();
    let rest = cursor.rest();
    let Some(state) = cursor.until_at(letters, b' ').filter(|state| is_state(state, letters)) else {
        let is_cut = rest.len() <= letters && memchr(b' ', rest).is_none();
        let not_a_state = LineError::of_field(ErrorKind::NotAState, Field::TerminationState, begin);
        return Err(if is_cut { cursor.truncated(Field::TerminationState) } else { not_a_state });
    };
    let actconn = cursor.count_then(b'/', Field::Actconn)?;
    let feconn = cursor.count_then(b'/', Field::Feconn)?;
    let beconn = cursor.count_then(b'/', Field::Beconn)?;
    let srv_conn = cursor.count_then(b'/', Field::SrvConn)?;
    let redispatched = cursor.take(b'+');
    let retries = cursor.count_then(b' ', Field::Retries)?;
    let srv_queue = cursor.count_then(b'/', Field::SrvQueue)?;
    let backend_queue = read_backend_queue(cursor)?;
    let counters = Counters {
        actconn: Some(actconn),
        feconn: Some(feconn),
        beconn: Some(beconn),
        srv_conn: Some(srv_conn),
        retries: Some(retries),
        redispatched,
        srv_queue: Some(srv_queue),
        backend_queue: Some(backend_queue),
    };
    Ok((state, counters))
}

/// The last field of a tcplog line, so it may end the line; otherwise a blank follows.
pub(super) fn read_backend_queue(cursor: &mut Cursor<'_>) -> Result<u32, LineError> {
    let (field, begin) = (Field::BackendQueue, cursor.offset());
    let number = cursor.last_number(field, ErrorKind::NotANumber)?;
    if !matches!(cursor.peek(), None | Some(b' ')) {
        return Err(LineError::of_field(ErrorKind::NotANumber, field, begin));
    }
    u32::try_from(number).map_err(|_| LineError::of_field(ErrorKind::OutOfRange, field, begin))
}

/// Whether `text` has the shape of a termination state: that many letters and dashes.
pub(super) fn is_state(text: &[u8], letters: usize) -> bool {
    text.len() == letters && text.iter().all(|&byte| byte == b'-' || byte.is_ascii_alphabetic())
}
