//! HAProxy's own formats read a second time, slowly: by regular expressions, one for each format, and
//! by splitting. What the real parser makes of a line has to be the same, field by field.
//!
//! [`check`] does that. Only whole lines are read here. A line that was cut is none; what the real parser still makes of
//! it is held against the line it was cut from.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use haproxy_autoscale::core::log::envelope::body_offset;
use haproxy_autoscale::core::log::field::{Field, Value};
use haproxy_autoscale::core::log::format::{Line, LineFormat};
use haproxy_autoscale::core::log::line::LogLine;
use regex::bytes::{Captures, Regex};

/// What a line says: each field it has, as text.
pub type Fields = BTreeMap<Field, String>;

/// Client, date and frontend, as httplog and tcplog begin.
const HEAD: &str = r"^(?<ip>[^ ]*):(?<port>-|[0-9]{1,5}) \[(?<date>[^\]]*)\] (?<frontend>[^ ]*) ";
/// HAProxy's names, and those it has for servers of its own.
const NAME: &str = r"[A-Za-z0-9_:.<>-]+";
const NUMBER: &str = r"-?[0-9]{1,18}";
/// `backend/server`, then as many timers as a format has.
const SERVER: &str = r"(?<backend>NAME)/(?<server>NAME) ";
const HTTP_TIMERS: &str = r"(?<t1>N)/(?<t2>N)/(?<t3>N)/(?<t4>N)/(?<plus>\+?)(?<t5>N) ";
const TCP_TIMERS: &str = r"(?<t2>N)/(?<t3>N)/(?<plus>\+?)(?<t5>N) ";
const COUNTERS: &str =
    r"(?<actconn>N)/(?<feconn>N)/(?<beconn>N)/(?<srv_conn>N)/(?<redispatched>\+?)(?<retries>N) ";
const QUEUES: &str = r"(?<srv_queue>N)/(?<backend_queue>N)(?<tail> .*)?$";

fn regex(parts: &[&str]) -> Regex {
    let pattern = parts.concat().replace("NAME", NAME).replace("N)", &format!("{NUMBER})"));
    Regex::new(&format!("(?s-u){pattern}")).expect("written above")
}

static HTTP: LazyLock<Regex> =
    LazyLock::new(|| regex(&[HEAD, SERVER, HTTP_TIMERS, r"(?<status>N) \+?(?<bytes>N) (?<cookies_on>.*)$"]));
static HTTP_END: LazyLock<Regex> = LazyLock::new(|| regex(&["^(?<state>[A-Za-z-]{4}) ", COUNTERS, QUEUES]));
static TCP: LazyLock<Regex> = LazyLock::new(|| {
    regex(&[HEAD, SERVER, TCP_TIMERS, r"\+?(?<bytes>N) (?<state>[A-Za-z-]{2}) ", COUNTERS, QUEUES])
});
/// What is found from the right: state, counters and mostly queues, then blocks of captures and the request line; tried from two blocks down to none.
static FROM_THE_RIGHT: LazyLock<[Regex; 3]> = LazyLock::new(|| {
    [2, 1, 0].map(|blocks| {
        let blocks = format!(r"(?: \{{[^{{]*\}}){{{blocks}}}");
        let before = r"(?:[A-Za-z-]{4} [^ ]*|[^ ]* [^ ]* [^ ]*)";
        regex(&[r"^(?<cookies>.*) (?<end>", before, &blocks, r#" "[^"]*"(?: [^"]*)?)$"#])
    })
});
static CLF: LazyLock<Regex> = LazyLock::new(|| {
    regex(&[
        r#"^(?<ip>[^ ]*) - - \[(?<date>[^\]]*)\] ?"(?<request>[^"]*)" (?<status>[^ ]*) \+?(?<bytes>N) "#,
        r#"(?:"" "" )?(?<any_port>N) [^ ]*  ?"(?<frontend>[^"]*)"  ?"(?<backend>NAME)"  ?"(?<server>NAME)" "#,
        r"(?<p1>\+?)(?<t1>N) (?<p2>\+?)(?<t2>N) (?<p3>\+?)(?<t3>N) (?<p4>\+?)(?<t4>N) (?<last>[^ ]*) ",
        r"(?<state>[A-Za-z-]{4}) (?<actconn>N) (?<feconn>N) (?<beconn>N) (?<srv_conn>N) ",
        r"(?<redispatched>\+?)(?<retries>N) (?<srv_queue>N) (?<backend_queue>N) (?<tail>.*)$",
    ])
});
static NUMBER_ALONE: LazyLock<Regex> = LazyLock::new(|| regex(&["^(N)$"]));
/// The layouts of HAProxy 1.1 and 1.2, which have no backend before the server.
static LEGACY: LazyLock<Regex> = LazyLock::new(|| {
    regex(&[HEAD, r"(?<server>NAME) (?<timers>(?:N)(?:/N){0,3}/(?<plus>\+?)(?:N)) (?<rest>.*)$"])
});
static LEGACY_HTTP: LazyLock<Regex> =
    LazyLock::new(|| regex(&[r"^(?<status>N) \+?(?<bytes>N) (?<cookies_on>.*)$"]));
static LEGACY_TCP: LazyLock<Regex> = LazyLock::new(|| regex(&[r"^\+?(?<bytes>N) (?<cookies_on>.*)$"]));
static LEGACY_END: LazyLock<Regex> = LazyLock::new(|| {
    regex(&[
        r"^(?<state>[A-Za-z-]+) (?<counters>(?:N)(?:/N){0,3}/(?<redispatched>\+?)(?:N)|\+?(?:N)) ",
        r"(?:(?<srv_queue>[0-9]{1,18})/(?<backend_queue>N)(?<tail> .*)?$|(?<no_queues>(?:[^0-9].*)?)$)",
    ])
});
/// One word before the first date in brackets that has a word before it.
static CLIENT: LazyLock<Regex> =
    LazyLock::new(|| regex(&[r"^(?:.*? )??(?<client>[^ ]* \[[0-9]{2}/.../....:)"]));

/// The layout of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// httplog or httpslog.
    Http,
    /// tcplog.
    Tcp,
    /// Either in CLF.
    Clf,
    /// HTTP as HAProxy 1.1 and 1.2 wrote it.
    OldHttp,
    /// TCP as they did.
    OldTcp,
}

/// What `body`, a line without its syslog header, says, if it is a whole line of a request.
pub fn read(body: &[u8]) -> Option<(Layout, Fields)> {
    read_http(body)
        .map(|fields| (Layout::Http, fields))
        .or_else(|| read_tcp(body).map(|fields| (Layout::Tcp, fields)))
        .or_else(|| read_clf(body).map(|fields| (Layout::Clf, fields)))
        .or_else(|| read_legacy(body))
}

/// Where a client and its date stand behind a header that nobody knows.
pub fn client_offset(line: &[u8]) -> Option<usize> {
    CLIENT.captures(line).and_then(|found| found.name("client")).map(|client| client.start())
}

/// The same of a line that the real parser has read.
pub fn fields_of(line: &LogLine<'_>) -> Fields {
    let text = |value| match value {
        Value::Text(text) => text.escape_ascii().to_string(),
        Value::Number(number) => number.to_string(),
        Value::Flag(flag) => flag.to_string(),
    };
    Field::ALL.into_iter().filter_map(|field| Some((field, text(line.value(field)?)))).collect()
}

/// What a line says, as a whole.
#[derive(Debug, PartialEq)]
pub enum Said {
    /// A request, all of its fields.
    Request(Fields),
    /// A message.
    Message,
    /// Neither.
    Unparsed,
}

/// Reads `line` in `format`; whatever is said has to stand in it.
#[track_caller]
pub fn said(format: &mut LineFormat, line: &[u8]) -> Said {
    match format.read(line) {
        Line::Request(request) => {
            check_request(&request, line);
            Said::Request(fields_of(&request))
        }
        Line::Message(message) => {
            assert!(line.ends_with(message.text.trim_ascii_end()) || line.ends_with(message.text));
            Said::Message
        }
        Line::Unparsed(error) => {
            assert!(error.offset <= line.len(), "{error}: {}", line.escape_ascii());
            Said::Unparsed
        }
    }
}

/// What no line may lead to, whatever its format.
#[track_caller]
pub fn check_request(request: &LogLine<'_>, line: &[u8]) {
    assert!(!request.backend.is_empty(), "{}", line.escape_ascii());
    assert!(request.status.is_none_or(|status| (100..=999).contains(&status)), "{}", line.escape_ascii());
    assert!(request.is_custom() || !request.server.is_empty(), "{}", line.escape_ascii());
}

/// Whole headers, up to the tag.
const HEADERS: [&str; 4] = [
    "Nov 21 09:55:39 vm haproxy[20463]: ",
    "<134>Nov 21 09:36:03 haproxy[20583]: ",
    "2026-11-21T09:55:39.522078+00:00 vm haproxy[20463]: ",
    "2026-11-21T09:36:03.020178123Z stdout F <134>Nov 21 09:36:03 haproxy[20583]: ",
];

/// What the rest of a line may add to: `12` was `1234`, `GET /x` was `GET /xyz`.
const CUT_SHORT: [Field; 9] = [
    Field::BackendQueue,
    Field::RequestCaptures,
    Field::ResponseCaptures,
    Field::Method,
    Field::Path,
    Field::HttpVersion,
    Field::Sni,
    Field::SslVersion,
    Field::SslCipher,
];

/// Holds all that is read of `line` against the slow reading; each single format against `auto`; the line behind
/// known headers, and cut at every byte, against the line itself.
#[track_caller]
pub fn check(line: &[u8]) {
    let found = said(&mut LineFormat::Auto, line);
    let layout = check_reference(line, &found);
    check_formats(line, &found, layout);
    if let Said::Request(fields) = &found {
        // How far a client is looked for has an end, which a header brings nearer.
        let begins_with_client = client_offset(line).is_none_or(|offset| offset == 0);
        if body_offset(line) == 0 && begins_with_client && layout.is_some() {
            for header in HEADERS {
                let whole = [header.as_bytes(), line].concat();
                assert_eq!(said(&mut LineFormat::Auto, &whole), found, "{}", whole.escape_ascii());
            }
        }
        // Raw cookies may hold a whole line.
        let has_cookie = [Field::RequestCookie, Field::ResponseCookie]
            .iter()
            .any(|cookie| fields.get(cookie).is_some_and(|cookie| cookie != "-"));
        // Behind a header that is not known the client is searched for; what looks like one may be cut off.
        let is_searched = client_offset(line).is_some_and(|offset| offset != body_offset(line));
        if !has_cookie && !is_searched && layout.is_some() {
            check_prefixes(line, fields);
        }
    }
}

/// Which layout the line has, if it is a whole line of today's.
fn check_reference(line: &[u8], found: &Said) -> Option<Layout> {
    let offsets = [Some(body_offset(line)), client_offset(line)];
    let bodies = offsets.map(|offset| offset.and_then(|offset| read(&line[offset..])));
    match (found, &bodies) {
        (Said::Request(fields), [Some((layout, expected)), _]) => {
            assert_eq!(fields, expected, "{}", line.escape_ascii());
            Some(*layout)
        }
        (Said::Request(fields), [None, Some((layout, expected))]) if fields == expected => Some(*layout),
        (Said::Request(fields), _) => {
            // What was cut is no whole line.
            assert!(!fields.contains_key(&Field::Feconn), "{fields:?} of {}", line.escape_ascii());
            None
        }
        (_, [Some(_), _]) => panic!("{found:?}: {}", line.escape_ascii()),
        _ => None,
    }
}

fn check_formats(line: &[u8], found: &Said, layout: Option<Layout>) {
    let formats = [
        (LineFormat::Http, [Layout::Http, Layout::OldHttp]),
        (LineFormat::Https, [Layout::Http, Layout::OldHttp]),
        (LineFormat::Tcp, [Layout::Tcp, Layout::OldTcp]),
        (LineFormat::Clf, [Layout::Clf; 2]),
    ];
    for (mut format, of) in formats {
        let alone = said(&mut format, line);
        let is_of = layout.map(|layout| of.contains(&layout));
        if is_of == Some(true) || matches!(alone, Said::Request(_)) {
            assert_eq!(&alone, found, "{format:?}: {}", line.escape_ascii());
            assert_ne!(is_of, Some(false), "{format:?}: {}", line.escape_ascii());
        }
    }
}

fn check_prefixes(line: &[u8], whole: &Fields) {
    for end in 0..line.len() {
        let Line::Request(request) = LineFormat::Auto.read(&line[..end]) else { continue };
        for (field, value) in fields_of(&request) {
            // In CLF, what follows may be more of a cookie, and then none is told.
            let is_cookie = matches!(field, Field::RequestCookie | Field::ResponseCookie);
            let is_the_same = whole.get(&field).map_or(is_cookie, |whole| *whole == value);
            let is_the_same = is_the_same || CUT_SHORT.contains(&field);
            assert!(is_the_same, "{field}={value} of {}", line[..end].escape_ascii());
        }
    }
}

fn read_http(body: &[u8]) -> Option<Fields> {
    let found = HTTP.captures(body)?;
    let mut fields = Fields::new();
    head(&found, &mut fields)?;
    timers(&found, ["t1", "t2", "t3", "t4", "t5"], Field::Ta, &mut fields);
    status(&found, &mut fields)?;
    number(&found, "bytes", Field::Bytes, &mut fields, i64::MAX)?;
    let cookies_on = &found["cookies_on"];
    let (request, response, end) = match cookies_on.strip_prefix(b"- - ") {
        Some(end) => (&b"-"[..], &b"-"[..], end),
        None => cookies(cookies_on)?,
    };
    text(Field::RequestCookie, request, &mut fields);
    text(Field::ResponseCookie, response, &mut fields);
    ending(&HTTP_END.captures(end)?, &mut fields)?;
    Some(fields)
}

fn read_tcp(body: &[u8]) -> Option<Fields> {
    let found = TCP.captures(body)?;
    let mut fields = Fields::new();
    head(&found, &mut fields)?;
    timers(&found, ["", "t2", "t3", "", "t5"], Field::Tt, &mut fields);
    number(&found, "bytes", Field::Bytes, &mut fields, i64::MAX)?;
    ending(&found, &mut fields)?;
    Some(fields)
}

fn read_clf(body: &[u8]) -> Option<Fields> {
    let found = CLF.captures(body)?;
    let mut fields = Fields::new();
    text(Field::ClientIp, &found["ip"], &mut fields);
    if let Ok(port @ 0..=65535) = int(&found["any_port"]).try_into() {
        let _: u32 = port;
        fields.insert(Field::ClientPort, port.to_string());
    }
    date(&found["date"], &mut fields)?;
    names(&found, &mut fields);
    let is_tcp = &found["request"] == b"TCP ";
    if is_tcp {
        timers(&found, ["", "t2", "t3", "", "t4"], Field::Tt, &mut fields);
    } else {
        let last = found["last"].strip_prefix(b"+").unwrap_or(&found["last"]);
        let is_number = NUMBER_ALONE.is_match(last);
        status(&found, &mut fields)?;
        timers(&found, ["t1", "t2", "t3", "t4", ""], Field::Ta, &mut fields);
        is_number.then(|| timer(last, Field::Ta, &mut fields))?;
    }
    number(&found, "bytes", Field::Bytes, &mut fields, i64::MAX)?;
    counters(&found, &mut fields)?;
    text(Field::TerminationState, &found["state"], &mut fields);
    request(&found["request"], &mut fields);
    clf_tail(&found["tail"], &mut fields);
    Some(fields)
}

fn read_legacy(body: &[u8]) -> Option<(Layout, Fields)> {
    let found = LEGACY.captures(body)?;
    let mut fields = Fields::new();
    head(&found, &mut fields)?;
    if let Some(frontend) = fields.get(&Field::Frontend).cloned() {
        fields.insert(Field::Backend, frontend);
    }
    let numbers = found["timers"].split(|&byte| byte == b'/');
    let numbers: Vec<&[u8]> = numbers.map(|number| number.strip_prefix(b"+").unwrap_or(number)).collect();
    let names: &[Field] = match numbers.len() {
        5 => &[Field::Tq, Field::Tw, Field::Tc, Field::Tr, Field::Tt],
        4 => &[Field::Tq, Field::Tc, Field::Tr, Field::Tt],
        3 => &[Field::Tw, Field::Tc, Field::Tt],
        _ => &[Field::Tc, Field::Tt],
    };
    for (field, number) in names.iter().zip(&numbers) {
        timer(number, *field, &mut fields);
    }
    let is_tcp = numbers.len() < 4;
    let middle = if is_tcp { &LEGACY_TCP } else { &LEGACY_HTTP }.captures(&found["rest"])?;
    if !is_tcp {
        status(&middle, &mut fields)?;
    }
    number(&middle, "bytes", Field::Bytes, &mut fields, i64::MAX)?;
    let cookies_on = &middle["cookies_on"];
    let end = match cookies_on.strip_prefix(b"- - ") {
        None if is_tcp => cookies_on,
        none => {
            let (request, response, end) =
                none.map_or_else(|| cookies(cookies_on), |end| Some((b"-", b"-", end)))?;
            text(Field::RequestCookie, request, &mut fields);
            text(Field::ResponseCookie, response, &mut fields);
            end
        }
    };
    let found = LEGACY_END.captures(end)?;
    legacy_ending(&found, if is_tcp { 2 } else { 4 }, &mut fields)?;
    Some((if is_tcp { Layout::OldTcp } else { Layout::OldHttp }, fields))
}

fn legacy_ending(found: &Captures<'_>, letters: usize, fields: &mut Fields) -> Option<()> {
    let state = &found["state"];
    (state.len() == letters).then(|| text(Field::TerminationState, state, fields))?;
    let counters = found["counters"].split(|&byte| byte == b'/');
    let counters: Vec<i64> = counters.map(|count| int(count.strip_prefix(b"+").unwrap_or(count))).collect();
    let names: &[Field] = match counters.len() {
        5 => &[Field::Actconn, Field::Feconn, Field::Beconn, Field::SrvConn, Field::Retries],
        4 => &[Field::Actconn, Field::Feconn, Field::Beconn, Field::SrvConn],
        3 => &[Field::SrvConn, Field::Feconn, Field::Actconn],
        _ => &[Field::Feconn, Field::Actconn],
    };
    for (field, count) in names.iter().zip(&counters) {
        u32::try_from(*count).ok().map(|count| fields.insert(*field, count.to_string()))?;
    }
    if counters.len() == 5 {
        let has_plus = found.name("redispatched").is_some_and(|plus| !plus.is_empty());
        fields.insert(Field::Redispatched, has_plus.to_string());
    }
    if found.name("srv_queue").is_some() {
        number(found, "srv_queue", Field::SrvQueue, fields, i64::from(u32::MAX))?;
        number(found, "backend_queue", Field::BackendQueue, fields, i64::from(u32::MAX))?;
    }
    let rest = found.name("tail").or(found.name("no_queues"));
    tail(rest.map_or(b"", |rest| rest.as_bytes()), letters == 2, fields);
    Some(())
}

/// `"cookie" "cookie"`, then captured headers in quotes: told only where no quote can be a client's.
fn clf_tail(tail: &[u8], fields: &mut Fields) {
    let parts: Vec<&[u8]> = tail.trim_ascii().split(|&byte| byte == b'"').collect();
    let or_dash = |cookie: &[u8]| if cookie.is_empty() { b"-".to_vec() } else { cookie.to_vec() };
    if let Some(captures) = tail.strip_prefix(br#""" """#) {
        text(Field::RequestCookie, b"-", fields);
        text(Field::ResponseCookie, b"-", fields);
        if let Some(list) = captures.strip_prefix(b" ").map(<[u8]>::trim_ascii)
            && !list.is_empty()
        {
            text(Field::RequestCaptures, list, fields);
        }
    } else if let [b"", request, b" ", response, b""] = parts[..] {
        text(Field::RequestCookie, &or_dash(request), fields);
        text(Field::ResponseCookie, &or_dash(response), fields);
    }
}

/// Both cookies, and what stands behind them.
fn cookies(text: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let found = FROM_THE_RIGHT.iter().find_map(|regex| regex.captures(text))?;
    let (cookies, end) = (found.name("cookies")?.as_bytes(), found.name("end")?.as_bytes());
    if let Some(response) = cookies.strip_prefix(b"- ") {
        return Some((b"-", response, end));
    }
    let blank = cookies.iter().rposition(|&byte| byte == b' ')?;
    Some((&cookies[..blank], &cookies[blank + 1..], end))
}

fn head(found: &Captures<'_>, fields: &mut Fields) -> Option<()> {
    text(Field::ClientIp, &found["ip"], fields);
    if &found["port"] != b"-" {
        let port = int(&found["port"]);
        (port <= 65535).then(|| fields.insert(Field::ClientPort, port.to_string()))?;
    }
    // The error line of a connection, which is no request.
    let frontend = &found["frontend"];
    if frontend.ends_with(b":") && frontend.contains(&b'/') {
        return None;
    }
    names(found, fields);
    date(&found["date"], fields)
}

/// Frontend, backend and server.
fn names(found: &Captures<'_>, fields: &mut Fields) {
    let frontend = &found["frontend"];
    text(Field::Frontend, frontend.strip_suffix(b"~").unwrap_or(frontend), fields);
    fields.insert(Field::Ssl, frontend.ends_with(b"~").to_string());
    if let Some(backend) = found.name("backend") {
        text(Field::Backend, backend.as_bytes(), fields);
    }
    text(Field::Server, &found["server"], fields);
}

/// `21/Nov/2026:09:31:50.191`; milliseconds may be missing, and then a zone may follow.
fn date(text: &[u8], fields: &mut Fields) -> Option<()> {
    static DATE: LazyLock<Regex> = LazyLock::new(|| {
        regex(&[
            r"^(?:0[1-9]|[12][0-9]|3[01])/(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)/[0-9]{4}",
            r":(?:[01][0-9]|2[0-3]):[0-5][0-9]:(?:[0-5][0-9]|60)(?:\.[0-9]{3}| .*)?$",
        ])
    });
    DATE.is_match(text).then(|| self::text(Field::AcceptDate, text, fields))
}

fn timers(found: &Captures<'_>, names: [&str; 5], last: Field, fields: &mut Fields) {
    for (name, field) in names.into_iter().zip([Field::TR, Field::Tw, Field::Tc, Field::Tr, last]) {
        if let Some(value) = found.name(name) {
            timer(value.as_bytes(), field, fields);
        }
    }
}

/// What did not happen is below 0; what is more than 24 days is told as that.
fn timer(text: &[u8], field: Field, fields: &mut Fields) {
    let millis = int(text).min(i64::from(i32::MAX));
    if millis >= 0 {
        fields.insert(field, millis.to_string());
    }
}

fn status(found: &Captures<'_>, fields: &mut Fields) -> Option<()> {
    let text = &found["status"];
    match NUMBER_ALONE.is_match(text).then(|| int(text))? {
        -1 | 0 => {}
        status @ 100..=999 => drop(fields.insert(Field::Status, status.to_string())),
        _ => return None,
    }
    Some(())
}

fn ending(found: &Captures<'_>, fields: &mut Fields) -> Option<()> {
    text(Field::TerminationState, &found["state"], fields);
    counters(found, fields)?;
    let is_tcp = found["state"].len() == 2;
    tail(found.name("tail").map_or(b"", |tail| tail.as_bytes()), is_tcp, fields);
    Some(())
}

fn counters(found: &Captures<'_>, fields: &mut Fields) -> Option<()> {
    for field in [
        Field::Actconn,
        Field::Feconn,
        Field::Beconn,
        Field::SrvConn,
        Field::Retries,
        Field::SrvQueue,
        Field::BackendQueue,
    ] {
        number(found, &field.to_string(), field, fields, i64::from(u32::MAX))?;
    }
    fields.insert(Field::Redispatched, (&found["redispatched"] == b"+").to_string());
    Some(())
}

fn number(found: &Captures<'_>, name: &str, field: Field, fields: &mut Fields, most: i64) -> Option<()> {
    let number = int(&found[name]);
    (0..=most).contains(&number).then(|| drop(fields.insert(field, number.to_string())))
}

/// Captures, request line, and what httpslog adds.
fn tail(text: &[u8], is_tcp: bool, fields: &mut Fields) {
    static TAIL: LazyLock<Regex> = LazyLock::new(|| {
        regex(&[r"^(?:\{(?<hr>[^}]*)\}[ \t\n\x0C\r]*(?:\{(?<hs>[^}]*)\}[ \t\n\x0C\r]*)?)?(?<rest>.*)$"])
    });
    let text = text.trim_ascii();
    let Some(found) = TAIL.captures(text) else { return };
    for (name, field) in [("hr", Field::RequestCaptures), ("hs", Field::ResponseCaptures)] {
        if let Some(captures) = found.name(name) {
            self::text(field, captures.as_bytes(), fields);
        }
    }
    let Some(quoted) = found["rest"].strip_prefix(b"\"") else {
        // A session has no request line that could be missing.
        return if is_tcp {
            tls(&found["rest"], fields)
        };
    };
    let mut parts = quoted.splitn(2, |&byte| byte == b'"');
    request(parts.next().unwrap_or_default(), fields);
    tls(parts.next().unwrap_or_default().trim_ascii(), fields);
}

/// `GET /x HTTP/1.1`, the version perhaps cut off.
fn request(text: &[u8], fields: &mut Fields) {
    let words: Vec<&[u8]> = text.split(|&byte| byte == b' ').collect();
    let [method, rest @ ..] = &words[..] else { return };
    let (path, version) = match rest {
        [] => return,
        [path @ .., version] if version.starts_with(b"HTTP/") => (path, Some(version)),
        path => (path, None),
    };
    self::text(Field::Method, method, fields);
    self::text(Field::Path, &path.join(&b' '), fields);
    if let Some(version) = version {
        self::text(Field::HttpVersion, version, fields);
    }
}

/// `0/0/0/0/0 name/TLSv1.3/cipher`.
fn tls(text: &[u8], fields: &mut Fields) {
    static TLS: LazyLock<Regex> =
        LazyLock::new(|| regex(&[r"^([^/ ]*)/([^/ ]*)/([^/ ]*)/([^/ ]*)/([^/ ]*) (.*)/([^/]*)/([^/]*)$"]));
    let names = [
        Field::FcErr,
        Field::SslFcErr,
        Field::SslCErr,
        Field::SslCCaErr,
        Field::SslFcIsResumed,
        Field::Sni,
        Field::SslVersion,
        Field::SslCipher,
    ];
    if let Some(found) = TLS.captures(text) {
        for (at, field) in names.into_iter().enumerate() {
            self::text(field, &found[at + 1], fields);
        }
    }
}

fn text(field: Field, text: &[u8], fields: &mut Fields) {
    fields.insert(field, text.escape_ascii().to_string());
}

/// Of what is known to be a number of at most eighteen digits.
fn int(text: &[u8]) -> i64 {
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).expect("a number")
}
