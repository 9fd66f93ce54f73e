//! The layouts of HAProxy 1.1 and 1.2, which are still in old logs.
//!
//! A `listen` was all there was, so no backend stands before the server; counters came in twos
//! and threes, and in the other order. Client, date and frontend are as today, and have been read.
//! Layouts as in the manuals of those versions:
//!
//! ```text
//! 1.1  server Tq/Tc/Tr/Tt status bytes cookies state  feconn/actconn            captures "request"
//! 1.2  server Tq/Tw/Tc/Tr/Tt status bytes cookies state  srv_conn/feconn/actconn srv_queue/backend_queue ...
//! tcp  server Tw/Tc/Tt bytes state counters queues; 1.1: Tc/Tt
//! ```

use super::cursor::Cursor;
use super::ending::{Counters, is_state, read_backend_queue};
use super::error::{ErrorKind, LineError};
use super::field::Field;
use super::head::is_name_byte;
use super::http::{read_bytes, read_cookies, read_status};
use super::line::{LogLine, Rest};
use super::sample::Timers;
use super::timers::saturating;

/// Reads what follows the frontend into `line`.
///
/// # Errors
/// If it is not such a line, or cut before its timers are complete.
#[cold]
pub(super) fn read<'a>(cursor: &mut Cursor<'a>, line: &mut LogLine<'a>) -> Result<(), LineError> {
    let begin = cursor.offset();
    line.server = cursor.word(Field::Server)?;
    if line.server.is_empty() || !line.server.iter().copied().all(is_name_byte) {
        return Err(LineError::of_field(ErrorKind::NotAName, Field::Server, begin));
    }
    line.backend = line.frontend.unwrap_or_default();
    let is_tcp = read_timers(cursor, line)?;
    line.rest = Rest::Old { tail: b"", is_tcp };
    match read_end(cursor, line, is_tcp) {
        Ok(()) => line.rest = Rest::Old { tail: cursor.rest(), is_tcp },
        Err(error) if error.kind == ErrorKind::Truncated => {}
        Err(error) => return Err(error),
    }
    Ok(())
}

/// Two to five timers and the blank behind them; whether they are those of TCP.
fn read_timers<'a>(cursor: &mut Cursor<'a>, line: &mut LogLine<'a>) -> Result<bool, LineError> {
    let begin = cursor.offset();
    let (millis, count, partial) = read_numbers(cursor, Field::Tw, ErrorKind::NotMilliseconds)?;
    let [a, b, c, d, e] = millis.map(saturating);
    let (timers, is_tcp) = match count {
        5 => ([a, b, c, d, e], false),
        4 => ([a, -1, b, c, d], false),
        3 => ([-1, a, b, -1, c], true),
        2 => ([-1, -1, a, -1, b], true),
        _ => return Err(LineError::of_field(ErrorKind::NotMilliseconds, Field::Tw, begin)),
    };
    (line.timers, line.partial) = (Timers::new(timers), partial);
    Ok(is_tcp)
}

/// Up to five numbers with `/` between them and a blank behind; the last may have a `+`.
fn read_numbers(
    cursor: &mut Cursor<'_>,
    field: Field,
    wrong: ErrorKind,
) -> Result<([i64; 5], usize, bool), LineError> {
    let mut numbers = [-1; 5];
    for count in 1..=numbers.len() {
        let begin = cursor.offset();
        let has_plus = cursor.take(b'+');
        numbers[count - 1] = cursor.number(field, wrong)?;
        if cursor.take(b' ') {
            return Ok((numbers, count, has_plus));
        }
        if has_plus || !cursor.take(b'/') {
            return Err(LineError::of_field(wrong, field, begin));
        }
    }
    Err(LineError::of_field(wrong, field, cursor.offset()))
}

/// What follows the timers.
fn read_end<'a>(cursor: &mut Cursor<'a>, line: &mut LogLine<'a>, is_tcp: bool) -> Result<(), LineError> {
    if !is_tcp {
        line.status = read_status(cursor)?;
    }
    line.bytes = Some(read_bytes(cursor)?);
    if cursor.take_text(b"- - ") {
        line.request_cookie = Some(b"-");
        line.response_cookie = Some(b"-");
    } else if !is_tcp {
        read_cookies(cursor, line)?;
    }
    let begin = cursor.offset();
    let state = cursor.word(Field::TerminationState)?;
    if !is_state(state, if is_tcp { 2 } else { 4 }) {
        return Err(LineError::of_field(ErrorKind::NotAState, Field::TerminationState, begin));
    }
    line.termination_state = Some(state);
    // All or none, as of today's lines: what was cut is not told apart from what is short.
    let mut counters = read_counters(cursor)?;
    read_queues(cursor, &mut counters)?;
    line.counters = counters;
    Ok(())
}

fn read_counters(cursor: &mut Cursor<'_>) -> Result<Counters, LineError> {
    let begin = cursor.offset();
    let (numbers, count, redispatched) = read_numbers(cursor, Field::Actconn, ErrorKind::NotANumber)?;
    let mut counts = [None; 5];
    for (found, number) in counts.iter_mut().zip(&numbers[..count]) {
        let out_of_range = |_| LineError::of_field(ErrorKind::OutOfRange, Field::Actconn, begin);
        *found = Some(u32::try_from(*number).map_err(out_of_range)?);
    }
    let [a, b, c, d, e] = counts;
    let none = Counters::default();
    Ok(match count {
        5 => Counters { actconn: a, feconn: b, beconn: c, srv_conn: d, retries: e, redispatched, ..none },
        4 => Counters { actconn: a, feconn: b, beconn: c, srv_conn: d, ..none },
        3 => Counters { srv_conn: a, feconn: b, actconn: c, ..none },
        _ => Counters { feconn: a, actconn: b, ..none },
    })
}

/// `srv_queue/backend_queue`, if they are there.
fn read_queues(cursor: &mut Cursor<'_>, counters: &mut Counters) -> Result<(), LineError> {
    if !cursor.peek().is_some_and(|byte| byte.is_ascii_digit()) {
        return Ok(());
    }
    counters.srv_queue = Some(cursor.count_then(b'/', Field::SrvQueue)?);
    counters.backend_queue = Some(read_backend_queue(cursor)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::core::log::field::{Field, Value};
    use crate::core::log::format::{Line, LineFormat};

    /// `text` behind client, date and frontend, and its fields as `name=value`.
    #[track_caller]
    fn check(text: &str, expected: &str) {
        let line = format!("10.1.2.3:33320 [15/Oct/2003:08:32:17] web {text}");
        let Line::Request(request) = LineFormat::Auto.read(line.as_bytes()) else {
            panic!("no request: {line}")
        };
        let skipped = [
            Field::ClientIp,
            Field::ClientPort,
            Field::AcceptDate,
            Field::Frontend,
            Field::Ssl,
            Field::Redispatched,
        ];
        let mut found = Vec::new();
        for field in Field::ALL.into_iter().filter(|field| !skipped.contains(field)) {
            match request.value(field) {
                Some(Value::Text(text)) => found.push(format!("{field}={}", String::from_utf8_lossy(text))),
                Some(Value::Number(number)) => found.push(format!("{field}={number}")),
                Some(Value::Flag(_)) | None => {}
            }
        }
        assert_eq!(found.join(" "), expected, "{line}");
    }

    #[test]
    fn the_layouts_of_1_1_and_1_2_are_read() {
        check(
            r#"s1 9/7/14/30 502 243 - - PH-- 2/3 "GET /a? HTTP/1.0""#,
            "backend=web server=s1 Tq=9 Tc=7 Tr=14 Tt=30 status=502 bytes=243 request_cookie=- response_cookie=- \
             termination_state=PH-- actconn=3 feconn=2 method=GET path=/a? http_version=HTTP/1.0",
        );
        check(
            r#"s1 6559/1230/7/147/6870 200 243 - - ---- 99/239/324 0/9 {h} {} "HEAD / HTTP/1.0" "#,
            "backend=web server=s1 Tq=6559 Tw=1230 Tc=7 Tr=147 Tt=6870 status=200 bytes=243 request_cookie=- \
             response_cookie=- termination_state=---- actconn=324 feconn=239 srv_conn=99 srv_queue=0 backend_queue=9 \
             request_captures=h response_captures= method=HEAD path=/ http_version=HTTP/1.0",
        );
        check(
            r#"<NOSRV> -1/-1/-1/-1/50001 408 0 - - cR-- 2/2 0/0 """#,
            "backend=web server=<NOSRV> Tt=50001 status=408 bytes=0 request_cookie=- response_cookie=- \
             termination_state=cR-- actconn=2 feconn=2 srv_queue=0 backend_queue=0",
        );
        check(
            r#"s1 9/7/14/30 200 243 SID=a b SID=c ---- 2/3 {h} "GET / HTTP/1.0""#,
            "backend=web server=s1 Tq=9 Tc=7 Tr=14 Tt=30 status=200 bytes=243 request_cookie=SID=a b response_cookie=SID=c \
             termination_state=---- actconn=3 feconn=2 request_captures=h method=GET path=/ http_version=HTTP/1.0",
        );
        check(
            "s1 0/0/5007 0 cD 0/1/2 0/0",
            "backend=web server=s1 Tw=0 Tc=0 Tt=5007 bytes=0 termination_state=cD actconn=2 feconn=1 srv_conn=0 \
             srv_queue=0 backend_queue=0",
        );
        // Cut within its queues.
        check(
            "s1 0/0/5007 0 cD 0/1/2 0",
            "backend=web server=s1 Tw=0 Tc=0 Tt=5007 bytes=0 termination_state=cD",
        );
    }

    #[test]
    fn what_is_no_such_layout_keeps_the_error_of_todays() {
        for (text, expected) in [
            ("s1 9", "field backend at byte 42 is not a name"),
            ("s1 9/7/14/30/1/2 502 243", "field backend at byte 42 is not a name"),
            ("s1 a/b/c", "field backend at byte 42 is not a name"),
        ] {
            let line = format!("10.1.2.3:33320 [15/Oct/2003:08:32:17] web {text}");
            match LineFormat::Auto.read(line.as_bytes()) {
                Line::Unparsed(error) => assert_eq!(error.to_string(), expected, "{line}"),
                other => panic!("{other:?}: {line}"),
            }
        }
    }
}
