//! Log-formats on a real HAProxy: what is read from each line is what httplog says of the same request.
//!
//! Each format has a frontend of its own. Its lines go to a socket as RFC 5424, with httplog as the
//! structured data, so that both formats tell of one request in one datagram. Requests of many kinds are
//! sent to all of them, some of which try to forge fields. Further formats, one a line as they stand
//! in a configuration, are taken from the file that the variable `LOG_FORMATS` names.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

use haproxy_autoscale::core::log::error::ErrorKind;
use haproxy_autoscale::core::log::field::{Field, Value};
use haproxy_autoscale::core::log::format::{Line, LineFormat};
use haproxy_autoscale::core::log::haproxy_cfg;
use haproxy_autoscale::core::log::line::LogLine;
use haproxy_autoscale::core::log::log_format::{CompiledFormat, LogFormatErrorKind};
use haproxy_autoscale::core::log::parser::LineParser;
use support::reference::fields_of;
use support::{Haproxy, PATIENCE, free_port};

mod support;

/// Formats of our own, one a line as they stand in a configuration: every item and flag, quoted in every way.
const FORMATS: &str = include_str!("../fixtures/log-formats.txt");

/// Formats that HAProxy takes and we cannot: each with the item that is named.
const REFUSED: &[(&str, &str)] = &[
    ("'%b%s %Ta'", "%b"),
    ("'%b-%s %Ta'", "%b"),
    ("'%[capture.req.hdr(1)] %s %[capture.req.hdr(0)] %b %Ta'", "%s"),
    ("'%b/%s %Tw%Tc'", "%Tw"),
    ("'%s%ST %b %Ta'", "%s"),
];

/// httplog, as structured data between marks that no client knows.
const HTTPLOG: &str = "SD-BEGIN %ci:%cp [%tr] %ft %b/%s %TR/%Tw/%Tc/%Tr/%Ta %ST %B %CC %CS %tsc %ac/%fc/%bc/%sc/%rc %sq/%bq %hr %hs %{+Q}r SD-END";

/// What a format has that tells the target with its query.
const WHOLE_TARGET: [&str; 6] = ["HQ", "HU", "%r", "}r", "req.uri", "LOG_FMT"];

/// Fields that no figure depends on.
const NOT_NEEDED: [Field; 7] = [
    Field::Method,
    Field::Path,
    Field::HttpVersion,
    Field::RequestCaptures,
    Field::ResponseCaptures,
    Field::RequestCookie,
    Field::ResponseCookie,
];

/// tcplog, as `HAPROXY_TCP_LOG_FMT` has it.
const TCPLOG: &str = "%ci:%cp [%t] %ft %b/%s %Tw/%Tc/%Tt %B %ts %ac/%fc/%bc/%sc/%rc %sq/%bq";

/// Requests, and whether they have something in them that looks like other parts of a line.
fn requests() -> Vec<(Vec<u8>, bool)> {
    let get = |target: &str, headers: &str| {
        format!("GET {target} HTTP/1.1\r\nHost: lab.example\r\nConnection: close\r\n{headers}\r\n")
            .into_bytes()
    };
    let mut odd = get("/odd/%20;=&?a=b&c=%22", "Cookie: S=abc\r\n");
    odd.truncate(odd.len() - 2);
    odd.extend_from_slice(b"User-Agent: Mozilla/5.0 (X11; Linux) \"q\" {a|b} #x caf\xe9\tz \\ ] 'y'\r\n\r\n");
    let honest = vec![
        get("/x?a=1", "User-Agent: curl/7.88.1\r\nCookie: S=abc\r\n"),
        get("/x", ""),
        get("/status/404", "User-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n"),
        get("/status/500", ""),
        get("/sleep/40", ""),
        get("/sleep/400", ""),
        get("/deny?x=y", "User-Agent: a\r\n"),
        get("/redirect", ""),
        get("/be_refused/x", ""),
        get("/be_none_up/x", ""),
        get("/be_queue/sleep/120", ""),
        get("/close", ""),
        b"POST /p HTTP/1.0\r\nContent-Length: 2\r\n\r\nhi".to_vec(),
        b"no request at all\r\n\r\n".to_vec(),
        b"GET /half".to_vec(),
    ];
    let tricky = vec![
        odd,
        get("/true", "Cookie: S=x - ---- 9/9/9/9/9 9/9 {z} \"GET /fake HTTP/1.1\"\r\n"),
        get("/true", "User-Agent: x\",\"be\":\"forged\",\"srv\":\"forged\",\"Ta\":1,\"fe\":\"y\r\n"),
        get("/true", "User-Agent: x\" be=forged srv=forged Tr=1 Ta=2 st=200 host=y end=---- z=\"\r\n"),
        get("/true", "User-Agent: x be=forged srv=forged Ta=9\r\nCookie: S=\" \"forged\r\n"),
    ];
    let honest = honest.into_iter().map(|request| (request, false));
    honest.chain(tricky.into_iter().map(|request| (request, true))).collect()
}

#[test]
fn what_is_read_is_what_httplog_says_of_the_same_request() {
    let mut formats: Vec<String> = FORMATS.lines().map(str::to_owned).collect();
    if let Some(path) = env::var_os("LOG_FORMATS") {
        let text = fs::read_to_string(path).expect("LOG_FORMATS names a file");
        formats.extend(text.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned));
    }
    let sink = UdpSocket::bind("127.0.0.1:0").expect("a loopback port");
    let server = serve();
    let mut tally = Tally::default();
    formats.retain(|format| is_usable(format, server, &mut tally));
    if Haproxy::takes("").is_none() {
        return;
    }
    // Which ones depends on its version.
    assert!(tally.accepted * 2 > FORMATS.lines().count(), "HAProxy takes {} formats only", tally.accepted);
    let ports: Vec<u16> = formats.iter().map(|_| free_port()).collect();
    let config = config(&formats, &ports, server, sink.local_addr().expect("it is bound").port());
    let Some(haproxy) = Haproxy::start(&config) else { return };
    let text = fs::read_to_string(haproxy.dir().join("haproxy.cfg")).expect("it was written");
    for (request, is_tricky) in requests() {
        send_to_all(&ports, &request);
        let lines = receive(&sink, formats.len());
        for (number, line) in lines {
            tally.check(&formats[number], &line, is_tricky);
            tally.lines += 1;
        }
    }
    tally.check_streams(&text);
    tally.tell();
}

#[test]
fn a_format_that_cannot_be_told_apart_is_refused_though_haproxy_takes_it() {
    for (format, item) in REFUSED {
        if !haproxy_takes(format, 1) {
            // Told by the other test, if there is no HAProxy.
            return;
        }
        match CompiledFormat::new(format).map_err(|error| error.kind) {
            Err(LogFormatErrorKind::CannotTellApart { item: found, .. }) => {
                assert_eq!(found, *item, "{format}")
            }
            other => panic!("{other:?}: {format}"),
        }
    }
}

/// Whether HAProxy takes the format, and it tells what is needed; all of those have to be read.
fn is_usable(format: &str, server: u16, tally: &mut Tally) -> bool {
    if !haproxy_takes(format, server) || !is_understood(format) {
        tally.not_taken += 1;
        return false;
    }
    tally.accepted += 1;
    match CompiledFormat::new(format) {
        Ok(_) => true,
        Err(error) => {
            // Binary encodings are HAProxy 3.0's; older ones take the flag for nothing.
            let lacks = match error.kind {
                LogFormatErrorKind::NoBackend | LogFormatErrorKind::NoTimer => true,
                LogFormatErrorKind::Unsupported(_) => !format.contains("%b"),
                _ => false,
            };
            assert!(lacks, "{error}: {format}");
            tally.without_what_is_needed += 1;
            false
        }
    }
}

/// Before HAProxy 3.0 names of items were taken for text, and JSON for nothing at all.
fn is_understood(format: &str) -> bool {
    !(format.contains("+json}o") || format.contains("%("))
        || Haproxy::version().is_some_and(|version| version >= vec![3, 0])
}

fn haproxy_takes(format: &str, server: u16) -> bool {
    Haproxy::takes(&config(&[format.to_owned()], &[1], server, 1)) == Some(true)
}

fn config(formats: &[String], ports: &[u16], server: u16, sink: u16) -> String {
    let preset = HTTPLOG.trim_start_matches("SD-BEGIN ").trim_end_matches(" SD-END");
    let mut text = format!(
        "
global
    setenv HAPROXY_HTTP_LOG_FMT '{preset}'
    setenv HAPROXY_TCP_LOG_FMT '{TCPLOG}'
    tune.http.logurilen 4096
    # Counters are the same in both texts of a line.
    nbthread 1
backend be_app
    timeout server 200ms
    server a1 127.0.0.1:{server}
backend be_refused
    retries 0
    server r1 127.0.0.1:1
backend be_none_up
    server n1 127.0.0.1:1 disabled
backend be_queue
    timeout queue 30ms
    http-request set-path %[path,regsub(^/be_queue,)]
    server q1 127.0.0.1:{server} maxconn 1
"
    );
    for (number, (format, port)) in formats.iter().zip(ports).enumerate() {
        // Every third one logs before the end, with a `+` before what is not final.
        let asap = if number % 3 == 1 { "option logasap" } else { "" };
        text += &format!(
            "
frontend fe-{number}.x
    bind 127.0.0.1:{port}
    timeout http-request 200ms
    {asap}
    log 127.0.0.1:{sink} len 8192 format rfc5424 local0
    log-format-sd \"{HTTPLOG}\"
    log-format {format}
    capture cookie S= len 63
    capture request header Host len 40
    capture request header User-Agent len 100
    capture request header X-Third len 10
    capture response header Server len 40
    http-request deny if {{ path /deny }}
    http-request redirect location /elsewhere if {{ path /redirect }}
    use_backend %[path,field(2,/)] if {{ path_beg /be_ }}
    default_backend be_app
"
        );
    }
    text
}

/// A server that does what the path says. Its port; it lives as long as the test.
fn serve() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port");
    let port = listener.local_addr().expect("it is bound").port();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || answer(stream));
        }
    });
    port
}

fn answer(mut stream: TcpStream) {
    let mut target = String::new();
    let reading = stream.try_clone().expect("a socket can be cloned");
    for line in BufReader::new(reading).lines().map_while(Result::ok) {
        if target.is_empty() {
            target = line.split(' ').nth(1).unwrap_or_default().to_owned();
        }
        if line.is_empty() {
            break;
        }
    }
    let parts: Vec<&str> = target.split(['/', '?']).collect();
    let status = match parts.as_slice() {
        ["", "close", ..] => return,
        ["", "sleep", millis, ..] => {
            thread::sleep(Duration::from_millis(millis.parse().unwrap_or(0)));
            "200"
        }
        ["", "status", status, ..] => status,
        _ => "200",
    };
    let cookie = "Set-Cookie: S=fresh\r\n";
    let head = format!(
        "HTTP/1.1 {status} X\r\nServer: srv {{x|y}} \"z\"\r\n{cookie}Content-Length: 3\r\nConnection: close\r\n\r\nok\n"
    );
    // Whoever asked may have gone.
    let _ = stream.write_all(head.as_bytes());
}

/// Sends `request` to all at once and waits until each has been answered or closed.
fn send_to_all(ports: &[u16], request: &[u8]) {
    let mut streams: Vec<_> = ports
        .iter()
        .map(|&port| {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("HAProxy listens");
            stream.set_read_timeout(Some(PATIENCE)).expect("not zero");
            stream.write_all(request).expect("HAProxy reads");
            stream
        })
        .collect();
    for stream in &mut streams {
        // What it says does not matter here.
        let _ = stream.read_to_end(&mut Vec::new());
    }
}

/// One datagram of each frontend, by the frontend's number.
fn receive(sink: &UdpSocket, count: usize) -> BTreeMap<usize, Vec<u8>> {
    sink.set_read_timeout(Some(PATIENCE)).expect("not zero");
    let mut found = BTreeMap::new();
    let mut buffer = vec![0; 16 * 1024];
    while found.len() < count {
        let length = sink
            .recv(&mut buffer)
            .unwrap_or_else(|error| panic!("{} of {count} lines: {error}", found.len()));
        let line = buffer[..length].trim_ascii_end().to_vec();
        let number = split(&line).and_then(|(http, _)| {
            let text = String::from_utf8_lossy(http).into_owned();
            let name =
                text.split(' ').find_map(|word| word.strip_prefix("fe-"))?.trim_end_matches('~').to_owned();
            name.strip_suffix(".x")?.parse::<usize>().ok()
        });
        // The server that is down is told of too.
        if let Some(number) = number {
            assert!(found.insert(number, line).is_none(), "two lines of one request");
        }
    }
    found
}

/// httplog and the format's own text of a datagram.
fn split(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let find = |text: &[u8], mark: &[u8]| text.windows(mark.len()).position(|window| window == mark);
    let begin = find(line, b"SD-BEGIN ")? + b"SD-BEGIN ".len();
    let end = find(line, b" SD-END ")?;
    Some((&line[begin..end], &line[end + b" SD-END ".len()..]))
}

/// What has been compared.
#[derive(Default)]
struct Tally {
    accepted: usize,
    not_taken: usize,
    without_what_is_needed: usize,
    lines: usize,
    fields: usize,
    ambiguous: usize,
    left_out: usize,
    /// The fields that each format was found to tell.
    told: BTreeMap<String, BTreeSet<Field>>,
    /// All lines, for reading them as one stream.
    seen: Vec<(String, Vec<u8>)>,
}

impl Tally {
    /// Holds what is read of a line against httplog.
    fn check(&mut self, format: &str, line: &[u8], is_tricky: bool) {
        let (http, own) = split(line).expect("it was split before");
        let shown = String::from_utf8_lossy(line).into_owned();
        let Line::Request(http) = LineFormat::Http.read(http) else { panic!("no httplog: {shown}") };
        let compiled = CompiledFormat::new(format).expect("it was compiled before");
        let mut parser = LineParser::new(LineFormat::Compiled(Box::new(compiled)));
        let own = match parser.read(own) {
            Line::Request(own) => own,
            Line::Unparsed(error) if is_tricky && error.kind == ErrorKind::Ambiguous => {
                self.ambiguous += 1;
                return;
            }
            other => panic!("{other:?}\n{format}\n{shown}"),
        };
        let present = Field::ALL.into_iter().filter(|&field| own.value(field).is_some());
        let told = self.told.entry(format.to_owned()).or_default();
        told.extend(present);
        for &field in &*told {
            self.fields += 1;
            // What nobody needs may be left out where it can be read in two ways.
            let is_left_out = is_tricky && NOT_NEEDED.contains(&field) && own.value(field).is_none();
            self.left_out += usize::from(is_left_out);
            let same = is_left_out || is_same(field, &http, &own, format);
            assert!(
                same,
                "{field}: {:?}, httplog has {:?}\n{format}\n{shown}",
                own.value(field),
                http.value(field)
            );
        }
        // A number in JSON has no `+` that could tell.
        if told.contains(&Field::Ta) && !format.contains("+json}o") {
            assert_eq!(own.partial, http.partial, "{format}\n{shown}");
        }
        check_headers(format, split(line).expect("it was split before").1);
        self.seen.push((format.to_owned(), line.to_vec()));
    }

    /// All formats in one stream, known from HAProxy's configuration: each line is read as its own format reads it,
    /// if it names its frontend.
    fn check_streams(&self, config: &str) {
        let found = haproxy_cfg::read(config, &|_| None);
        assert_eq!(found.refused(), [], "all formats were compiled before");
        let mut parser = LineParser::new(LineFormat::Set(Box::new(found)));
        for (format, line) in &self.seen {
            let (http, own) = split(line).expect("it was split before");
            let Line::Request(http) = LineFormat::Http.read(http) else { continue };
            match parser.read(own) {
                Line::Request(own) if self.told[format].contains(&Field::Frontend) => {
                    for field in [Field::Backend, Field::Server, Field::Frontend, Field::Ta, Field::Status] {
                        let same = !self.told[format].contains(&field) || is_same(field, &http, &own, format);
                        assert!(same, "{field} of {}\n{format}", String::from_utf8_lossy(line));
                    }
                }
                Line::Request(_) => {}
                other => panic!("{other:?}: {}\n{format}", String::from_utf8_lossy(line)),
            }
        }
    }

    #[expect(clippy::print_stderr, reason = "figures for whoever runs it with --nocapture")]
    fn tell(&self) {
        eprintln!(
            "{} formats that HAProxy takes ({} it does not), {} lack a backend or a timer, {} were run: {} lines, {} fields \
             compared, {} of them left out and {} lines refused because they can be read in two ways",
            self.accepted,
            self.not_taken,
            self.without_what_is_needed,
            self.accepted - self.without_what_is_needed,
            self.lines,
            self.fields,
            self.left_out,
            self.ambiguous
        );
    }
}

/// What is read of `own` is the same behind every header that a log may have before it, and behind none.
#[track_caller]
fn check_headers(format: &str, own: &[u8]) {
    const HEADERS: [&str; 5] = [
        "<134>Nov 21 09:55:39 haproxy[7]: ",
        "Nov 21 09:55:39 vm haproxy[7]: ",
        "2026-11-21T09:55:39.522078+00:00 vm haproxy[7]: ",
        "<134>1 2026-11-21T09:55:39.522078+00:00 vm haproxy 7 - - ",
        "",
    ];
    let read = |header: &str| {
        let compiled = CompiledFormat::new(format).expect("it was compiled before");
        let mut parser = LineParser::new(LineFormat::Compiled(Box::new(compiled)));
        match parser.read(&[header.as_bytes(), own].concat()) {
            Line::Request(request) => fields_of(&request),
            other => panic!("{other:?} behind `{header}`: {}\n{format}", String::from_utf8_lossy(own)),
        }
    };
    let first = read(HEADERS[0]);
    for header in HEADERS {
        assert_eq!(read(header), first, "behind `{header}`: {}\n{format}", String::from_utf8_lossy(own));
    }
}

/// Whether both say the same of a request, each in its own words.
fn is_same(field: Field, http: &LogLine<'_>, own: &LogLine<'_>, format: &str) -> bool {
    let (expected, found) = (http.value(field), own.value(field));
    let is_bad = http.tail().request.method.is_none();
    match field {
        // Fetches of the request and of its timers fail where there is none.
        _ if is_bad && found.is_none() && format.contains(".timer.") => true,
        // Of the same second or so, unless the connection was made long before.
        Field::AcceptDate => match (http.date, own.date) {
            (Some(http), Some(own)) => (http.millis - own.millis).abs() <= 1_500,
            _ => false,
        },
        // They count from the accept, so they cannot be less than what httplog has.
        Field::Tq => number(found) >= number(http.value(Field::TR)),
        Field::Tt => number(found) >= number(http.value(Field::Ta)),
        Field::TerminationState => match (expected, found) {
            (Some(Value::Text(expected)), Some(Value::Text(found))) => expected.starts_with(found),
            _ => false,
        },
        // No frontend has `~` here, so that nothing tells that it has none.
        Field::Ssl => true,
        // Fetches of the request fail where there is none.
        Field::Backend if is_bad && format.contains("[be_name]") => {
            found == Some(Value::Text(b"-")) || found == expected
        }
        // `%HP` alone has no query.
        Field::Path if !WHOLE_TARGET.iter().any(|item| format.contains(item)) => {
            let bare = |value| text(value)?.split(|&byte| byte == b'?').next().map(<[u8]>::to_vec);
            bare(expected) == bare(found)
        }
        Field::Method | Field::Path | Field::HttpVersion => text(expected) == text(found),
        // A cookie with a blank in it cannot be told from the next one, so neither is.
        Field::RequestCookie | Field::ResponseCookie => found.is_none() || expected == found,
        _ => expected == found,
    }
}

fn number(value: Option<Value<'_>>) -> i64 {
    match value {
        Some(Value::Number(number)) => number,
        _ => -1,
    }
}

/// With HAProxy's `#22` decoded.
fn text(value: Option<Value<'_>>) -> Option<Vec<u8>> {
    let Some(Value::Text(text)) = value else { return None };
    let mut decoded = Vec::new();
    let mut rest = text;
    while let [first, after @ ..] = rest {
        let hex = (*first == b'#').then(|| after.get(..2)).flatten();
        match hex.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()) {
            Some(byte) => {
                decoded.push(byte);
                rest = &after[2..];
            }
            None => {
                decoded.push(*first);
                rest = after;
            }
        }
    }
    Some(decoded)
}
