//! The lines of `option httplog clf` and, from HAProxy 3.1 on, of `option tcplog clf`.
//!
//! They begin like the Common Log Format of web servers, so that its tools can read them, and
//! go on with HAProxy's fields one by one, names in quotes. What a client can forge, its captured
//! cookie, comes behind everything that counts, so a line is read from the left. The
//! brackets hold the second only, and the milliseconds that the line has elsewhere are those of another moment
//! (the accept), so a request is placed to the second.

use memchr::memchr;

use super::cursor::Cursor;
use super::date::Date;
use super::ending::{Counters, is_state};
use super::error::{ErrorKind, LineError};
use super::field::Field;
use super::head::is_name_byte;
use super::http::{read_bytes, read_status};
use super::line::{LogLine, Rest};
use super::sample::Timers;
use super::timers::saturating;

/// `client_ip - - [`; what follows a client in no other format.
pub(super) fn is_clf(body: &[u8]) -> bool {
    memchr(b' ', body).is_some_and(|blank| body[blank..].starts_with(b" - - ["))
}

/// Reads a line from `cursor`, which stands at the client.
///
/// # Errors
/// If it is not such a line, or cut before its timers are complete.
pub(super) fn read<'a>(cursor: &mut Cursor<'a>) -> Result<LogLine<'a>, LineError> {
    let mut line = LogLine::empty();
    line.client_ip = Some(cursor.until(b' ', Field::ClientIp)?);
    let begin = cursor.offset();
    let not_a_date = LineError::of_field(ErrorKind::NotADate, Field::AcceptDate, begin);
    if !cursor.take_text(b"- - [") {
        return Err(not_a_date);
    }
    line.date = Some(Date::from_haproxy(cursor.until(b']', Field::AcceptDate)?).ok_or(not_a_date)?);
    let request = cursor.quoted(Field::Method)?;
    let is_tcp = request == b"TCP ";
    line.status = if is_tcp { cursor.word(Field::Status).map(|_| None)? } else { read_status(cursor)? };
    line.bytes = Some(read_bytes(cursor)?);
    cursor.take_text(br#""" "" "#);
    line.client_port = u16::try_from(cursor.number_then(b' ', Field::ClientPort)?).ok();
    cursor.word(Field::AcceptDate)?;
    let frontend = cursor.quoted(Field::Frontend)?;
    line.ssl = frontend.ends_with(b"~");
    line.frontend = Some(frontend.strip_suffix(b"~").unwrap_or(frontend));
    line.backend = read_name(cursor, Field::Backend)?;
    line.server = read_name(cursor, Field::Server)?;
    read_timers(cursor, is_tcp, &mut line)?;
    line.rest = Rest::Clf { request, cookies_on: b"", is_tcp };
    match read_end(cursor, &mut line) {
        Ok(()) => line.rest = Rest::Clf { request, cookies_on: cursor.rest(), is_tcp },
        Err(error) if error.kind == ErrorKind::Truncated => {}
        Err(error) => return Err(error),
    }
    Ok(line)
}

/// A name in quotes and the blank behind them.
fn read_name<'a>(cursor: &mut Cursor<'a>, field: Field) -> Result<&'a [u8], LineError> {
    let begin = cursor.offset();
    let name = cursor.quoted(field)?;
    if name.is_empty() || !name.iter().copied().all(is_name_byte) {
        return Err(LineError::of_field(ErrorKind::NotAName, field, begin));
    }
    Ok(name)
}

/// `TR Tw Tc Tr Ta `, or `Th Tw Tc Tt U ` in TCP.
fn read_timers<'a>(cursor: &mut Cursor<'a>, is_tcp: bool, line: &mut LogLine<'a>) -> Result<(), LineError> {
    let fields = if is_tcp {
        [Field::TR, Field::Tw, Field::Tc, Field::Tt]
    } else {
        [Field::TR, Field::Tw, Field::Tc, Field::Tr]
    };
    let mut millis = [-1; 5];
    for (at, field) in fields.into_iter().enumerate() {
        line.partial |= cursor.take(b'+');
        millis[at] = read_millis(cursor, field)?;
    }
    if is_tcp {
        let [_, queue, connect, total, _] = millis;
        line.timers = Timers::new([-1, queue, connect, -1, total]);
        cursor.word(Field::Bytes)?;
    } else {
        line.partial |= cursor.take(b'+');
        millis[4] = read_millis(cursor, Field::Ta)?;
        line.timers = Timers::new(millis);
    }
    Ok(())
}

fn read_millis(cursor: &mut Cursor<'_>, field: Field) -> Result<i32, LineError> {
    let begin = cursor.offset();
    let number = cursor.number(field, ErrorKind::NotMilliseconds)?;
    if !cursor.take(b' ') {
        return Err(LineError::of_field(ErrorKind::NotMilliseconds, field, begin));
    }
    Ok(saturating(number))
}

/// Termination state, counters and queues.
fn read_end<'a>(cursor: &mut Cursor<'a>, line: &mut LogLine<'a>) -> Result<(), LineError> {
    let begin = cursor.offset();
    let state = cursor.word(Field::TerminationState)?;
    if !is_state(state, 4) {
        return Err(LineError::of_field(ErrorKind::NotAState, Field::TerminationState, begin));
    }
    line.termination_state = Some(state);
    let mut counters = Counters {
        actconn: Some(cursor.count_then(b' ', Field::Actconn)?),
        feconn: Some(cursor.count_then(b' ', Field::Feconn)?),
        beconn: Some(cursor.count_then(b' ', Field::Beconn)?),
        srv_conn: Some(cursor.count_then(b' ', Field::SrvConn)?),
        redispatched: cursor.take(b'+'),
        ..Counters::default()
    };
    counters.retries = Some(cursor.count_then(b' ', Field::Retries)?);
    counters.srv_queue = Some(cursor.count_then(b' ', Field::SrvQueue)?);
    counters.backend_queue = Some(cursor.count_then(b' ', Field::BackendQueue)?);
    line.counters = counters;
    (line.request_cookie, line.response_cookie) = cookies(cursor.rest());
    Ok(())
}

/// The captured cookies, which are raw: only where no quote of theirs can be meant. `-` for none.
fn cookies(text: &[u8]) -> (Option<&[u8]>, Option<&[u8]>) {
    if text.starts_with(br#""" """#) {
        return (Some(b"-"), Some(b"-"));
    }
    let mut parts = text.trim_ascii().split(|&byte| byte == b'"');
    match [parts.next(), parts.next(), parts.next(), parts.next(), parts.next(), parts.next()] {
        [Some(b""), Some(request), Some(b" "), Some(response), Some(b""), None] => {
            (Some(or_dash(request)), Some(or_dash(response)))
        }
        _ => (None, None),
    }
}

fn or_dash(cookie: &[u8]) -> &[u8] {
    if cookie.is_empty() { b"-" } else { cookie }
}

/// The captured headers, as a list of quoted texts: which of them are of the request cannot be told.
/// `None` if there are none, or a cookie makes it unsafe to say where they begin.
pub(super) fn captures(cookies_on: &[u8]) -> Option<&[u8]> {
    let list = cookies_on.strip_prefix(br#""" "" "#)?.trim_ascii();
    (!list.is_empty()).then_some(list)
}

#[cfg(test)]
mod tests {
    use crate::core::log::error::ErrorKind;
    use crate::core::log::format::{Line, LineFormat};
    use crate::core::log::line::Format;
    use crate::core::settings::Timer;

    /// As HAProxy 3.5-dev5 writes it; the lines of 2.6.12, which has no such option, are in `fixtures/lines`.
    const TCP: &str = r#"::1 - - [21/Nov/2026:09:49:23 +0000] "TCP " 000 69 "" "" 51868 668 "fe~" "db" "d1" 0 1 2 1002 53 sD-- 9 8 7 6 +5 4 3 "" "" "#;

    #[test]
    fn a_tcp_session_in_clf_is_read() {
        for format in [LineFormat::Auto, LineFormat::Clf] {
            let Line::Request(line) = format.clone().read(TCP.as_bytes()) else { panic!("no request") };
            assert_eq!((line.format(), line.is_tcp(), line.ssl), (Format::TcplogClf, true, true));
            assert_eq!((line.backend, line.server, line.status), (&b"db"[..], &b"d1"[..], None));
            let timers = [Timer::TR, Timer::Tw, Timer::Tc, Timer::Tr, Timer::Tt].map(|t| line.timers.get(t));
            assert_eq!(timers, [None, Some(1), Some(2), None, Some(1002)]);
            assert_eq!(
                (line.counters.retries, line.counters.redispatched, line.counters.backend_queue),
                (Some(5), true, Some(3))
            );
            assert!(!line.is_truncated());
        }
    }

    #[test]
    fn a_line_that_was_cut_keeps_what_is_complete() {
        let timers_end = TCP.find(" sD--").expect("a state");
        for end in 1..=TCP.len() {
            match LineFormat::Auto.read(&TCP.as_bytes()[..end]) {
                Line::Request(line) => {
                    assert!(end > timers_end, "{}", &TCP[..end]);
                    assert_eq!(line.timers.get(Timer::Tt), Some(1002), "{}", &TCP[..end]);
                }
                Line::Unparsed(_) => assert!(end <= timers_end, "{}", &TCP[..end]),
                Line::Message(message) => panic!("{message:?}"),
            }
        }
    }

    #[test]
    fn clf_is_refused_where_another_format_is_configured() {
        for mut format in [LineFormat::Http, LineFormat::Tcp] {
            let Line::Unparsed(error) = format.read(TCP.as_bytes()) else { panic!("{format:?}") };
            assert_eq!(error.kind, ErrorKind::OtherFormat);
        }
    }
}
