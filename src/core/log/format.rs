//! What a line is: a request, a message of HAProxy's own, or not understood.

use memchr::memchr;

use super::cursor::Cursor;
use super::custom::CustomFormat;
use super::envelope;
use super::error::{ErrorKind, LineError};
use super::field::Field;
use super::format_set::FormatSet;
use super::head::{self, Head};
use super::line::{Counters, LogLine, Rest};
use super::log_format::CompiledFormat;
use super::message::Message;
use super::timers::{self, Kind, LineTimers};
use super::{clf, http, legacy, tcp};

/// In which format requests are expected.
#[derive(Clone, Debug, Default)]
pub enum LineFormat {
    /// httplog, httpslog, tcplog, either of them in CLF, or the layouts of HAProxy 1.1 and 1.2,
    /// told apart line by line.
    #[default]
    Auto,
    /// httplog. An httpslog line differs only behind the request line and is read as well.
    Http,
    /// httpslog; an httplog line is read as well.
    Https,
    /// tcplog.
    Tcp,
    /// httplog or tcplog in CLF.
    Clf,
    /// A configured regex.
    Custom(Box<CustomFormat>),
    /// A configured log-format.
    Compiled(Box<CompiledFormat>),
    /// Several formats, each of some frontends.
    Set(Box<FormatSet>),
}

/// What a line is. Every line is one of these, whatever its bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "it lives for one match, and a box would cost an allocation a line"
)]
pub enum Line<'a> {
    /// A request, or a TCP session.
    Request(LogLine<'a>),
    /// HAProxy wrote it, but not about a request: server DOWN, TLS handshake failed, and so on.
    Message(Message<'a>),
    /// None of these, and why.
    Unparsed(LineError),
}

impl LineFormat {
    /// Says what `line` (without its newline) is. Allocates nothing.
    ///
    /// `&mut`, because a regex needs a place for what it finds.
    pub fn read<'a>(&mut self, line: &'a [u8]) -> Line<'a> {
        if line.trim_ascii().is_empty() {
            return Line::Unparsed(LineError::of_line(ErrorKind::Empty, 0));
        }
        let body = envelope::body_offset(line);
        match self.read_body(line, body) {
            Line::Unparsed(error) if matches!(self, Self::Compiled(_) | Self::Set(_)) => {
                self.read_elsewhere(line, body).unwrap_or(Line::Unparsed(error))
            }
            read => read,
        }
    }

    /// A request in a format of somebody's own that itself begins like a syslog header.
    #[cold]
    fn read_elsewhere<'a>(&mut self, line: &'a [u8], body: usize) -> Option<Line<'a>> {
        let mut others = envelope::other_offsets(line).into_iter().filter(|&other| other != body);
        others.find_map(|other| {
            Some(self.read_body(line, other)).filter(|read| matches!(read, Line::Request(_)))
        })
    }

    /// The same, for a line whose syslog header is known to be `body` bytes long.
    pub(super) fn read_body<'a>(&mut self, line: &'a [u8], body: usize) -> Line<'a> {
        let read = match self {
            Self::Custom(custom) => custom.read(line, body),
            Self::Compiled(compiled) => compiled.read(line, body),
            Self::Set(set) => return set.read(line, body),
            Self::Auto | Self::Http | Self::Https | Self::Tcp | Self::Clf => {
                return self.read_known(line, body);
            }
        };
        read.map_or_else(|error| message_or(error, line, body), Line::Request)
    }

    /// A line in one of HAProxy's own formats.
    fn read_known<'a>(&self, line: &'a [u8], body: usize) -> Line<'a> {
        let read = read_traffic(line, body, self);
        // The client and the date come first in a request: without them the header was not understood.
        if let Line::Unparsed(LineError { field: Some(Field::ClientIp | Field::AcceptDate), .. }) = read {
            return read_without_client(line, body, self);
        }
        read
    }

    fn accepts(&self, kind: Kind) -> bool {
        match self {
            Self::Http | Self::Https => kind == Kind::Http,
            Self::Tcp => kind == Kind::Tcp,
            Self::Clf => false,
            Self::Auto | Self::Custom(_) | Self::Compiled(_) | Self::Set(_) => true,
        }
    }

    fn accepts_clf(&self) -> bool {
        matches!(self, Self::Auto | Self::Clf)
    }
}

/// What is not of the configured format may be a message of HAProxy's own, or the error line of a
/// connection, whose format is always the same.
fn message_or<'a>(error: LineError, line: &'a [u8], body: usize) -> Line<'a> {
    let text = &line[body..];
    let of_connection = || {
        let head = Head::read(&mut Cursor::new(line, body)).ok()?;
        head.is_of_connection_error().then(|| Message::of_connection(&head, text))
    };
    Message::read(text).or_else(of_connection).map_or(Line::Unparsed(error), Line::Message)
}

/// A line in CLF, a message, or a request behind a header that is not known.
#[cold]
fn read_without_client<'a>(line: &'a [u8], body: usize, format: &LineFormat) -> Line<'a> {
    if clf::is_clf(&line[body..]) {
        return read_clf(line, body, format);
    }
    match (Message::read(&line[body..]), envelope::find_client(line)) {
        (Some(message), _) => Line::Message(message),
        (None, Some(client)) if client != body => read_traffic(line, client, format),
        _ => Line::Unparsed(LineError::of_line(ErrorKind::NotRecognised, body)),
    }
}

fn read_clf<'a>(line: &'a [u8], body: usize, format: &LineFormat) -> Line<'a> {
    let mut cursor = Cursor::new(line, body);
    if !format.accepts_clf() {
        let begin = memchr(b' ', &line[body..]).map_or(body, |blank| body + blank);
        return Line::Unparsed(LineError::of_field(ErrorKind::OtherFormat, Field::ClientPort, begin));
    }
    clf::read(&mut cursor).map_or_else(Line::Unparsed, Line::Request)
}

/// A request, or the error line of a connection that never had one.
fn read_traffic<'a>(line: &'a [u8], body: usize, format: &LineFormat) -> Line<'a> {
    let mut cursor = Cursor::new(line, body);
    let head = match Head::read(&mut cursor) {
        Ok(head) if head.is_of_connection_error() => {
            return Line::Message(Message::of_connection(&head, &line[body..]));
        }
        Ok(head) => head,
        Err(error) => return Line::Unparsed(error),
    };
    let (backend, server, timers) = match read_figures(&mut cursor, format) {
        Ok(figures) => figures,
        Err(error) => return read_legacy(line, body, format).unwrap_or(Line::Unparsed(error)),
    };
    let (frontend, ssl) = head.frontend();
    // Filled where it will be returned: it is large, and copying it was a fifth of the time.
    let mut read = Line::Request(LogLine {
        client_ip: Some(head.client.ip),
        client_port: head.client.port,
        date: Some(head.date),
        frontend: Some(frontend),
        ssl,
        backend,
        server,
        timers: timers.timers,
        partial: timers.partial,
        status: None,
        bytes: None,
        request_cookie: None,
        response_cookie: None,
        termination_state: None,
        counters: Counters::default(),
        rest: Rest::empty(timers.kind),
    });
    if let Line::Request(request) = &mut read {
        let rest = match timers.kind {
            Kind::Http => http::read(&mut cursor, request),
            Kind::Tcp => tcp::read(&mut cursor, request),
        };
        // A line that was cut behind its timers still says how long the request took.
        if let Err(error) = rest
            && error.kind != ErrorKind::Truncated
        {
            read = Line::Unparsed(error);
        }
    }
    read
}

/// A line in the layout of HAProxy 1.1 or 1.2; `None` if it is none.
#[cold]
fn read_legacy<'a>(line: &'a [u8], body: usize, format: &LineFormat) -> Option<Line<'a>> {
    let mut cursor = Cursor::new(line, body);
    let head = Head::read(&mut cursor).ok()?;
    let (frontend, ssl) = head.frontend();
    let mut request = LogLine {
        client_ip: Some(head.client.ip),
        client_port: head.client.port,
        date: Some(head.date),
        frontend: Some(frontend),
        ssl,
        ..LogLine::empty()
    };
    legacy::read(&mut cursor, &mut request).ok()?;
    let kind = if request.is_tcp() { Kind::Tcp } else { Kind::Http };
    format.accepts(kind).then_some(Line::Request(request))
}

/// Backend, server and timers.
type Figures<'a> = (&'a [u8], &'a [u8], LineTimers);

fn read_figures<'a>(cursor: &mut Cursor<'a>, format: &LineFormat) -> Result<Figures<'a>, LineError> {
    let (backend, server) = head::read_server(cursor)?;
    let begin = cursor.offset();
    let timers = timers::read(cursor)?;
    if !format.accepts(timers.kind) {
        // tcplog's first timer is Tw, httplog's is TR.
        let field = if timers.kind == Kind::Tcp { Field::TR } else { Field::Tw };
        return Err(LineError::of_field(ErrorKind::OtherFormat, field, begin));
    }
    Ok((backend, server, timers))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::log::field::Value;
    use proptest::prelude::*;

    const HTTP: &str = r#"127.0.0.1:50536 [21/Nov/2026:09:31:50.191] fe~ app/a1 1/2/3/4/10 200 76 - - --NI 9/8/7/6/+5 4/3 {a|b} {c} "GET /x?a=1 HTTP/1.1""#;
    const HEADER: &str = "Nov 21 09:55:39 vm haproxy[20463]: ";

    #[track_caller]
    fn request(text: &str) -> LogLine<'_> {
        match LineFormat::Auto.read(text.as_bytes()) {
            Line::Request(line) => line,
            other => panic!("{other:?}: {text}"),
        }
    }

    #[track_caller]
    fn check_fields(text: &str, expected: &[(&str, &str)]) {
        let line = request(text);
        for &(name, expected) in expected {
            let found = match line.value(Field::from_name(name).expect("a field")) {
                Some(Value::Text(text)) => String::from_utf8_lossy(text).into_owned(),
                Some(Value::Number(number)) => number.to_string(),
                Some(Value::Flag(flag)) => flag.to_string(),
                None => "none".to_owned(),
            };
            assert_eq!(found, expected, "{name} of {text}");
        }
    }

    #[track_caller]
    fn check_error(format: &mut LineFormat, text: &str, expected: &str) {
        match format.read(text.as_bytes()) {
            Line::Unparsed(error) => assert_eq!(error.to_string(), expected, "{text}"),
            other => panic!("{other:?}: {text}"),
        }
    }

    #[test]
    fn every_field_of_an_httplog_line_is_found() {
        for header in ["", HEADER] {
            check_fields(
                &format!("{header}{HTTP}"),
                &[
                    ("client_ip", "127.0.0.1"),
                    ("client_port", "50536"),
                    ("accept_date", "21/Nov/2026:09:31:50.191"),
                    ("frontend", "fe"),
                    ("ssl", "true"),
                    ("backend", "app"),
                    ("server", "a1"),
                    ("TR", "1"),
                    ("Tw", "2"),
                    ("Tc", "3"),
                    ("Tr", "4"),
                    ("Ta", "10"),
                    ("Tt", "none"),
                    ("status", "200"),
                    ("bytes", "76"),
                    ("request_cookie", "-"),
                    ("response_cookie", "-"),
                    ("termination_state", "--NI"),
                    ("actconn", "9"),
                    ("feconn", "8"),
                    ("beconn", "7"),
                    ("srv_conn", "6"),
                    ("retries", "5"),
                    ("redispatched", "true"),
                    ("srv_queue", "4"),
                    ("backend_queue", "3"),
                    ("request_captures", "a|b"),
                    ("response_captures", "c"),
                    ("method", "GET"),
                    ("path", "/x?a=1"),
                    ("http_version", "HTTP/1.1"),
                    ("sni", "none"),
                ],
            );
        }
    }

    #[test]
    fn every_field_of_a_tcplog_line_is_found() {
        check_fields(
            "::1:57510 [21/Nov/2026:09:32:26.992] fe tcp/t1 1/0/+1006 +69 sD 5/4/3/2/1 0/7",
            &[
                ("client_ip", "::1"),
                ("TR", "none"),
                ("Tw", "1"),
                ("Tc", "0"),
                ("Tr", "none"),
                ("Ta", "none"),
                ("Tt", "1006"),
                ("status", "none"),
                ("bytes", "69"),
                ("termination_state", "sD"),
                ("actconn", "5"),
                ("retries", "1"),
                ("backend_queue", "7"),
                ("method", "none"),
            ],
        );
    }

    #[test]
    fn a_captured_cookie_cannot_forge_what_follows_it() {
        let forged = r#"S=x - ---- 9/9/9/9/9 9/9 {z} "GET /fake HTTP/1.1""#;
        let line = format!(
            r#"1.2.3.4:5 [21/Nov/2026:09:31:50.191] fe be/s1 0/0/0/21/21 200 76 {forged} - sD-- 1/2/3/4/0 5/6 {{lab}} {{}} "GET /true HTTP/1.1""#
        );
        let expected = [
            ("request_cookie", forged),
            ("response_cookie", "-"),
            ("termination_state", "sD--"),
            ("beconn", "3"),
            ("backend_queue", "6"),
            ("request_captures", "lab"),
            ("path", "/true"),
        ];
        check_fields(&line, &expected);
        check_fields(&format!("{line} 0/00/0/0/0 -/TLSv1.3/AES"), &expected);
        check_fields(&line.replace(&format!("{forged} -"), "- S=y z"), &[("response_cookie", "S=y z")]);
        // Cut inside the request line: nothing behind the cookies can be trusted.
        let cut = &line[..line.len() - 6];
        check_fields(
            cut,
            &[("Ta", "21"), ("status", "200"), ("termination_state", "none"), ("beconn", "none")],
        );
    }

    #[test]
    fn a_line_that_was_cut_keeps_what_is_complete() {
        let timers_end = HTTP.find(" 200").expect("a status");
        for end in timers_end + 1..=HTTP.len() {
            let line = request(&HTTP[..end]);
            assert_eq!(line.timers, request(HTTP).timers, "{}", &HTTP[..end]);
            assert_eq!(line.is_truncated(), end < HTTP.len(), "{}", &HTTP[..end]);
            assert!(line.status.is_none_or(|status| status == 200), "{}", &HTTP[..end]);
        }
        for end in 1..=timers_end {
            let line = LineFormat::Auto.read(&HTTP.as_bytes()[..end]);
            assert!(matches!(line, Line::Unparsed(_)), "{}", &HTTP[..end]);
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        let auto = &mut LineFormat::Auto;
        let check = |from: &str, to: &str, expected: &str| {
            check_error(&mut LineFormat::Auto, &format!("{HEADER}{}", HTTP.replacen(from, to, 1)), expected);
        };
        check("3/4/10", "3/x/10", "field Tr at byte 95 is not a whole number of milliseconds");
        check("app/a1", "\"pp/a1", "field backend at byte 82 is not a name");
        check("app/a1", "app/a\"1", "field server at byte 86 is not a name");
        check(" 200 ", " 1000000 ", "field status at byte 100 is out of range");
        check("--NI", "--N", "field termination_state at byte 111 is not a termination state");
        check("9/8/7", "9/8/x", "field beconn at byte 120 is not a whole number");
        check("/7/6/", "/7/99999999999/", "field srv_conn at byte 122 is out of range");
        check_error(auto, "", "line from byte 0 is empty");
        check_error(auto, "nonsense", "line from byte 0 is neither a request nor a message of HAProxy's");
        check_error(auto, HEADER, "line from byte 35 is neither a request nor a message of HAProxy's");
        check_error(
            &mut LineFormat::Tcp,
            HTTP,
            "field Tw at byte 54 belongs to another log format than the configured one",
        );
    }

    #[test]
    fn a_request_is_found_behind_a_header_nobody_knows() {
        check_fields(&format!("2026-11-21T09:36:03Z stdout F {HTTP}"), &[("backend", "app"), ("Ta", "10")]);
        check_fields(&format!("lb-1  | {HTTP}"), &[("client_ip", "127.0.0.1")]);
    }

    #[test]
    fn messages_of_haproxys_own_are_no_requests() {
        for text in [
            "Server be/s1 is DOWN, changed from CLI. 1 active and 0 backup servers left.",
            "backend be has no server available!",
            "Proxy fe stopped (cumulated conns: FE: 1, BE: 0).",
            "Connect from 127.0.0.1:44294 to 127.0.0.1:21005 (fe/HTTP)",
            "127.0.0.1:53194 [21/Nov/2026:09:32:15.896] fe_tls/1: SSL handshake failure",
            "message repeated 3 times: [ 127.0.0.1:5 [21/Nov/2026:09:32:15.896] fe be/s 0/0/0/0/0 200 5]",
        ] {
            for header in ["", HEADER, "<134>", "2026-11-21T09:36:03.020178+00:00 "] {
                let line = format!("{header}{text}");
                let found = LineFormat::Auto.read(line.as_bytes());
                assert!(matches!(found, Line::Message(message) if message.text == text.as_bytes()), "{line}");
            }
        }
    }

    /// A name as HAProxy allows it (configuration manual 4).
    fn name() -> impl Strategy<Value = String> {
        "[A-Za-z0-9_:.-]{1,20}"
    }

    proptest! {
        #[test]
        fn a_rendered_line_reads_back(
            (backend, server, frontend) in (name(), name(), name()),
            millis in proptest::array::uniform5(-1i32..2_000_000),
            (status, bytes, partial) in (100u16..600, any::<u32>(), any::<bool>()),
            counters in proptest::array::uniform4(0u32..100_000),
            (path, captures) in ("/[!-~&&[^\"#]]{0,40}", "[ -~&&[^\"#{}]]{0,40}"),
            cookie in "S=[ -~]{0,40}",
        ) {
            let [tr_request, tw, tc, tr, ta] = millis;
            let (plus, [actconn, feconn, beconn, srv_conn]) = (if partial { "+" } else { "" }, counters);
            for cookie in ["-", cookie.trim_end()] {
                let text = format!(
                    "{HEADER}2001:db8::9:5555 [21/Nov/2026:09:31:50.191] {frontend} {backend}/{server} \
                     {tr_request}/{tw}/{tc}/{tr}/{plus}{ta} {status} {plus}{bytes} {cookie} - ---- \
                     {actconn}/{feconn}/{beconn}/{srv_conn}/0 0/0 {{{captures}}} \"GET {path} HTTP/1.1\""
                );
                let line = request(&text);
                prop_assert_eq!(line.backend, backend.as_bytes());
                prop_assert_eq!(line.server, server.as_bytes());
                prop_assert_eq!(line.frontend, Some(frontend.as_bytes()));
                prop_assert_eq!(line.timers, crate::core::log::sample::Timers::new(millis));
                prop_assert_eq!((line.status, line.bytes, line.partial), (Some(status), Some(bytes.into()), partial));
                prop_assert_eq!(line.request_cookie, Some(cookie.as_bytes()));
                let found = [line.counters.actconn, line.counters.feconn, line.counters.beconn, line.counters.srv_conn];
                prop_assert_eq!(found, counters.map(Some));
                prop_assert_eq!(line.tail().request_captures, Some(captures.as_bytes()));
                prop_assert_eq!(line.tail().request.path, Some(path.as_bytes()));
            }
        }

        #[test]
        fn a_damaged_line_is_never_a_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..40),
            at in any::<prop::sample::Index>(),
            length in 0usize..40,
        ) {
            let whole = format!("{HEADER}{HTTP}").into_bytes();
            let at = at.index(whole.len());
            let mut damaged = whole[..at].to_vec();
            damaged.extend_from_slice(&bytes);
            damaged.extend_from_slice(&whole[(at + length).min(whole.len())..]);
            for mut format in [LineFormat::Auto, LineFormat::Tcp] {
                if let Line::Request(line) = format.read(&damaged) {
                    for field in Field::ALL {
                        let _ = line.value(field);
                    }
                }
            }
        }
    }
}
