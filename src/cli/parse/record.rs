//! One line of a log as a record: what it is, then its fields by HAProxy's names.

use super::writing::Record;
use crate::core::log::error::LineError;
use crate::core::log::field::{Field, Value};
use crate::core::log::format::Line;
use crate::core::log::line::{Counters, Format, LogLine, Tail};
use crate::core::log::message::Message;
use crate::core::settings::Timer;

/// Where a line comes from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin<'a> {
    /// The file, if it is to be told.
    pub(super) file: Option<&'a str>,
    /// Its number in the file, from 1.
    pub(super) line: u64,
}

/// Writes `line`, whose text is `text`.
pub(super) fn write(mut record: impl Record, origin: Origin<'_>, text: &[u8], line: &Line<'_>) {
    if let Some(file) = origin.file {
        record.text("file", file.as_bytes());
    }
    record.number("line", origin.line);
    match line {
        Line::Request(request) => write_request(&mut record, request),
        Line::Message(message) => write_message(&mut record, message),
        Line::Unparsed(error) => write_unparsed(&mut record, text, error),
    }
    record.end();
}

fn write_request(record: &mut impl Record, line: &LogLine<'_>) {
    let format = line.format();
    record.text("kind", b"request");
    record.text("format", format.name().as_bytes());
    if format == Format::Custom {
        write_what_is_there(record, |field| line.value(field));
    } else {
        write_known_format(record, line);
    }
    if line.partial {
        record.flag("partial", true);
    }
    if line.is_truncated() {
        record.flag("truncated", true);
    }
}

/// Every field that the format has; null where the line does not tell, and for timers of -1.
fn write_known_format(record: &mut impl Record, line: &LogLine<'_>) {
    let is_http = !line.is_tcp();
    record.text_or_null(Field::ClientIp.name(), line.client_ip);
    record.number_or_null(Field::ClientPort.name(), line.client_port);
    record.text_or_null(Field::AcceptDate.name(), line.date.map(|date| date.text));
    record.text_or_null(Field::Frontend.name(), line.frontend);
    record.flag(Field::Ssl.name(), line.ssl);
    record.text(Field::Backend.name(), line.backend);
    record.text(Field::Server.name(), line.server);
    let timers: &[(Field, Timer)] = if is_http {
        &[
            (line.first_timer(), Timer::TR),
            (Field::Tw, Timer::Tw),
            (Field::Tc, Timer::Tc),
            (Field::Tr, Timer::Tr),
            (line.last_timer(), Timer::Tt),
        ]
    } else {
        &[(Field::Tw, Timer::Tw), (Field::Tc, Timer::Tc), (Field::Tt, Timer::Tt)]
    };
    for &(field, timer) in timers {
        record.number_or_null(field.name(), line.timers.get(timer));
    }
    if is_http {
        record.number_or_null(Field::Status.name(), line.status);
    }
    record.number_or_null(Field::Bytes.name(), line.bytes);
    if is_http {
        record.text_or_null(Field::RequestCookie.name(), line.request_cookie);
        record.text_or_null(Field::ResponseCookie.name(), line.response_cookie);
    }
    record.text_or_null(Field::TerminationState.name(), line.termination_state);
    write_counters(record, &line.counters);
    if is_http {
        write_tail(record, &line.tail());
    }
}

fn write_counters(record: &mut impl Record, counters: &Counters) {
    record.number_or_null(Field::Actconn.name(), counters.actconn);
    record.number_or_null(Field::Feconn.name(), counters.feconn);
    record.number_or_null(Field::Beconn.name(), counters.beconn);
    record.number_or_null(Field::SrvConn.name(), counters.srv_conn);
    record.number_or_null(Field::Retries.name(), counters.retries);
    match counters.retries {
        Some(_) => record.flag(Field::Redispatched.name(), counters.redispatched),
        None => record.null(Field::Redispatched.name()),
    }
    record.number_or_null(Field::SrvQueue.name(), counters.srv_queue);
    record.number_or_null(Field::BackendQueue.name(), counters.backend_queue);
}

fn write_tail(record: &mut impl Record, tail: &Tail<'_>) {
    record.text_or_null(Field::RequestCaptures.name(), tail.request_captures);
    record.text_or_null(Field::ResponseCaptures.name(), tail.response_captures);
    record.text_or_null(Field::Method.name(), tail.request.method);
    record.text_or_null(Field::Path.name(), tail.request.path);
    record.text_or_null(Field::HttpVersion.name(), tail.request.http_version);
    let Some(tls) = tail.tls_details() else {
        return;
    };
    let codes = [Field::FcErr, Field::SslFcErr, Field::SslCErr, Field::SslCCaErr, Field::SslFcIsResumed];
    for (field, code) in codes.into_iter().zip(tls.codes) {
        record.text(field.name(), code);
    }
    record.text(Field::Sni.name(), tls.sni);
    record.text(Field::SslVersion.name(), tls.version);
    record.text(Field::SslCipher.name(), tls.cipher);
}

fn write_message(record: &mut impl Record, message: &Message<'_>) {
    record.text("kind", b"message");
    record.null("format");
    write_what_is_there(record, |field| message.value(field));
    record.text("message", message.text);
}

fn write_unparsed(record: &mut impl Record, text: &[u8], error: &LineError) {
    record.text("kind", b"unparsed");
    record.null("format");
    record.text("error", error.to_string().as_bytes());
    record.number("offset", error.offset as u64);
    record.text("text", text);
}

fn write_what_is_there<'a>(record: &mut impl Record, value: impl Fn(Field) -> Option<Value<'a>>) {
    for field in Field::ALL {
        match value(field) {
            Some(Value::Text(text)) => record.text(field.name(), text),
            // No field of a line is below zero: timers that did not happen are not there.
            Some(Value::Number(number)) => record.number_or_null(field.name(), u64::try_from(number).ok()),
            Some(Value::Flag(flag)) => record.flag(field.name(), flag),
            None => {}
        }
    }
}
