//! A request as a line tells of it: every field, still borrowed from the line.
//!
//! [`LogLine`] is the same for all formats; what a format does not have is `None`. Captures and
//! request line are read when asked for, because most callers never do.

use super::clf;
use super::date::Date;
pub use super::ending::Counters;
use super::field::{Field, Value};
use super::json::unescape;
use super::sample::Timers;
pub use super::tail::{Request, Tail, TlsDetails};
use super::timers::Kind;
use crate::core::settings::Timer;

/// One request (httplog) or session (tcplog).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LogLine<'a> {
    /// Address of the client; IPv6 without brackets, `unix` for a Unix socket.
    pub client_ip: Option<&'a [u8]>,
    /// Port of the client; for a Unix socket the number of the listener.
    pub client_port: Option<u16>,
    /// When the request began (httplog) or the connection was accepted (tcplog).
    pub date: Option<Date<'a>>,
    /// The frontend, without its `~`.
    pub frontend: Option<&'a [u8]>,
    /// The frontend had its `~`: the client spoke TLS.
    pub ssl: bool,
    /// The backend; the frontend's name if none was chosen.
    pub backend: &'a [u8],
    /// The server, or one of HAProxy's own such as `<NOSRV>`; empty if the configured format has none.
    pub server: &'a [u8],
    /// TR, Tw, Tc, Tr and the last one, which is Ta or Tt.
    pub timers: Timers,
    /// `option logasap` wrote the line before the end: the last timer is the time so far.
    pub partial: bool,
    /// The status; `None` if no response was sent.
    pub status: Option<u16>,
    /// Bytes to the client, headers included (from HAProxy 3.3 on: bytes from the server).
    pub bytes: Option<u64>,
    /// The client's captured cookie, raw; `-` if there was none.
    pub request_cookie: Option<&'a [u8]>,
    /// The server's captured cookie, raw; `-` if there was none.
    pub response_cookie: Option<&'a [u8]>,
    /// How it ended, two or four letters; `None` if the line was cut before it.
    pub termination_state: Option<&'a [u8]>,
    /// How much was going on when the line was written.
    pub counters: Counters,
    /// What follows the counters, by format.
    pub(super) rest: Rest<'a>,
}

/// What follows the counters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Rest<'a> {
    /// Of an httplog or httpslog line, not read yet.
    Http(&'a [u8]),
    /// Of a tcplog line, not read yet.
    Tcp(&'a [u8]),
    /// Of a line of `option httplog clf` or `option tcplog clf`: its request line, and what
    /// stands behind the queues.
    Clf { request: &'a [u8], cookies_on: &'a [u8], is_tcp: bool },
    /// Of a line in the layout of HAProxy 1.1 or 1.2, not read yet.
    Old { tail: &'a [u8], is_tcp: bool },
    /// What a configured regex or log-format has found.
    Custom(Picked<'a>),
}

/// What a configured regex or log-format has found beyond the fields that all formats have.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Picked<'a> {
    pub(super) request: Request<'a>,
    pub(super) captures: [Option<&'a [u8]>; 2],
    /// With its `?`, where the path was found without it.
    pub(super) query: Option<&'a [u8]>,
    /// Texts whose backslashes are to be decoded, one bit for each of [`Self::TEXTS`].
    pub(super) escaped: u8,
    /// TR or Tq.
    pub(super) first_timer: Field,
    /// Ta or Tt.
    pub(super) last_timer: Field,
    pub(super) is_tcp: bool,
    pub(super) is_truncated: bool,
}

impl<'a> LogLine<'a> {
    /// Decodes the texts that a configured log-format has written with backslashes, into `buffer`, and puts a
    /// path and its query together.
    pub(super) fn decode(&mut self, buffer: &'a mut Vec<u8>) {
        let Rest::Custom(picked) = &mut self.rest else { return };
        let (mut escaped, query) = (picked.escaped, picked.query.take());
        if escaped == 0 && query.is_none() {
            return;
        }
        buffer.clear();
        if query.is_some() {
            picked.set_escaped(Field::Path);
            escaped = picked.escaped;
        }
        let mut ends = [0; Picked::TEXTS.len()];
        for (at, end) in ends.iter_mut().enumerate() {
            if escaped & (1 << at) != 0
                && let Some(raw) = self.text_mut(Picked::TEXTS[at])
            {
                unescape(raw, buffer, usize::MAX);
                if Picked::TEXTS[at] == Field::Path {
                    unescape(query.unwrap_or_default(), buffer, usize::MAX);
                }
            }
            *end = buffer.len();
        }
        let (mut begin, decoded) = (0, &buffer[..]);
        for (at, end) in ends.into_iter().enumerate() {
            if escaped & (1 << at) != 0
                && let Some(text) = self.text_mut(Picked::TEXTS[at])
            {
                *text = &decoded[begin..end];
            }
            begin = end;
        }
    }

    fn text_mut(&mut self, field: Field) -> Option<&mut &'a [u8]> {
        let Rest::Custom(picked) = &mut self.rest else { return None };
        match field {
            Field::Method => picked.request.method.as_mut(),
            Field::Path => picked.request.path.as_mut(),
            Field::HttpVersion => picked.request.http_version.as_mut(),
            Field::RequestCookie => self.request_cookie.as_mut(),
            Field::ResponseCookie => self.response_cookie.as_mut(),
            Field::RequestCaptures => picked.captures[0].as_mut(),
            Field::ResponseCaptures => picked.captures[1].as_mut(),
            _ => None,
        }
    }
}

impl Picked<'_> {
    /// The texts that come from outside, and so may need a backslash.
    const TEXTS: [Field; 7] = [
        Field::Method,
        Field::Path,
        Field::HttpVersion,
        Field::RequestCookie,
        Field::ResponseCookie,
        Field::RequestCaptures,
        Field::ResponseCaptures,
    ];

    /// Notes that `field` has backslashes to be decoded.
    pub(super) fn set_escaped(&mut self, field: Field) {
        if let Some(at) = Self::TEXTS.into_iter().position(|text| text == field) {
            self.escaped |= 1 << at;
        }
    }
}

/// Which format a line was found to be in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// `option httplog`.
    Httplog,
    /// `option httpslog`.
    Httpslog,
    /// `option tcplog`.
    Tcplog,
    /// `option httplog clf`.
    HttplogClf,
    /// `option tcplog clf`.
    TcplogClf,
    /// A configured regex or log-format.
    Custom,
}

impl Format {
    /// Its name, as in HAProxy's configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Httplog => "httplog",
            Self::Httpslog => "httpslog",
            Self::Tcplog => "tcplog",
            Self::HttplogClf => "httplog clf",
            Self::TcplogClf => "tcplog clf",
            Self::Custom => "custom",
        }
    }
}

impl<'a> LogLine<'a> {
    /// The format of the line.
    pub fn format(&self) -> Format {
        match self.rest {
            Rest::Http(text) if Tail::read(text).tls_details().is_some() => Format::Httpslog,
            Rest::Http(_) | Rest::Old { is_tcp: false, .. } => Format::Httplog,
            Rest::Tcp(_) | Rest::Old { is_tcp: true, .. } => Format::Tcplog,
            Rest::Clf { is_tcp: false, .. } => Format::HttplogClf,
            Rest::Clf { is_tcp: true, .. } => Format::TcplogClf,
            Rest::Custom(_) => Format::Custom,
        }
    }

    /// Captures, request line and what httpslog adds; costs one look at each of their bytes.
    pub fn tail(&self) -> Tail<'a> {
        match self.rest {
            Rest::Http(text) | Rest::Old { tail: text, is_tcp: false } => Tail::read(text),
            Rest::Tcp(text) | Rest::Old { tail: text, is_tcp: true } => {
                let tail = Tail::read(text);
                Tail { is_complete: tail.is_complete || tail.request == Request::default(), ..tail }
            }
            Rest::Clf { request, cookies_on, .. } => Tail {
                request_captures: clf::captures(cookies_on),
                response_captures: None,
                request: Request::read(request),
                is_complete: true,
                extra: b"",
            },
            Rest::Custom(picked) => Tail {
                request_captures: picked.captures[0],
                response_captures: picked.captures[1],
                request: picked.request,
                is_complete: !picked.is_truncated,
                extra: b"",
            },
        }
    }

    /// The line was cut, by HAProxy's `len` or by the log's receiver. The fields that are there are good.
    pub fn is_truncated(&self) -> bool {
        match self.rest {
            Rest::Custom(picked) => picked.is_truncated,
            _ => self.termination_state.is_none() || !self.tail().is_complete,
        }
    }

    /// It is of a TCP session.
    pub fn is_tcp(&self) -> bool {
        match self.rest {
            Rest::Http(_) => false,
            Rest::Tcp(_) => true,
            Rest::Clf { is_tcp, .. } | Rest::Old { is_tcp, .. } => is_tcp,
            Rest::Custom(picked) => picked.is_tcp,
        }
    }

    /// It was read by a configured regex or log-format, so anything but the backend may be missing.
    pub fn is_custom(&self) -> bool {
        matches!(self.rest, Rest::Custom(_))
    }

    /// A line that says nothing yet.
    pub(super) fn empty() -> Self {
        Self {
            client_ip: None,
            client_port: None,
            date: None,
            frontend: None,
            ssl: false,
            backend: b"",
            server: b"",
            timers: Timers::new([-1; 5]),
            partial: false,
            status: None,
            bytes: None,
            request_cookie: None,
            response_cookie: None,
            termination_state: None,
            counters: Counters::default(),
            rest: Rest::Http(b""),
        }
    }

    /// A field by name; `None` if the line does not have it. Timers that did not happen are `None`.
    pub fn value(&self, field: Field) -> Option<Value<'a>> {
        let text = |text: Option<&'a [u8]>| text.map(Value::Text);
        let count = |count: Option<u32>| count.map(|count| Value::Number(count.into()));
        match field {
            Field::ClientIp => text(self.client_ip),
            Field::ClientPort => count(self.client_port.map(u32::from)),
            Field::AcceptDate => text(self.date.map(|date| date.text)),
            Field::Frontend => text(self.frontend),
            Field::Ssl => self.frontend.map(|_| Value::Flag(self.ssl)),
            Field::Backend => text(Some(self.backend)),
            Field::Server => text(Some(self.server).filter(|server| !server.is_empty())),
            Field::Tq | Field::TR => {
                count(self.timers.get(Timer::TR).filter(|_| self.first_timer() == field))
            }
            Field::Tw => count(self.timers.get(Timer::Tw)),
            Field::Tc => count(self.timers.get(Timer::Tc)),
            Field::Tr => count(self.timers.get(Timer::Tr)),
            Field::Ta | Field::Tt => count(self.timers.get(Timer::Tt).filter(|_| self.last_timer() == field)),
            Field::Status => count(self.status.map(u32::from)),
            Field::Bytes => self.bytes.and_then(|bytes| i64::try_from(bytes).ok()).map(Value::Number),
            Field::RequestCookie => text(self.request_cookie),
            Field::ResponseCookie => text(self.response_cookie),
            Field::TerminationState => text(self.termination_state),
            Field::Actconn => count(self.counters.actconn),
            Field::Feconn => count(self.counters.feconn),
            Field::Beconn => count(self.counters.beconn),
            Field::SrvConn => count(self.counters.srv_conn),
            Field::Retries => count(self.counters.retries),
            Field::Redispatched => self.counters.retries.map(|_| Value::Flag(self.counters.redispatched)),
            Field::SrvQueue => count(self.counters.srv_queue),
            Field::BackendQueue => count(self.counters.backend_queue),
            Field::RequestCaptures => text(self.tail().request_captures),
            Field::ResponseCaptures => text(self.tail().response_captures),
            Field::Method => text(self.tail().request.method),
            Field::Path => text(self.tail().request.path),
            Field::HttpVersion => text(self.tail().request.http_version),
            Field::FcErr => self.tls_code(0),
            Field::SslFcErr => self.tls_code(1),
            Field::SslCErr => self.tls_code(2),
            Field::SslCCaErr => self.tls_code(3),
            Field::SslFcIsResumed => self.tls_code(4),
            Field::Sni => text(self.tail().tls_details().map(|tls| tls.sni)),
            Field::SslVersion => text(self.tail().tls_details().map(|tls| tls.version)),
            Field::SslCipher => text(self.tail().tls_details().map(|tls| tls.cipher)),
        }
    }

    fn tls_code(&self, at: usize) -> Option<Value<'a>> {
        self.tail().tls_details().and_then(|tls| tls.codes.get(at).copied()).map(Value::Text)
    }

    /// Under which name [`Timer::TR`] is logged: TR, or Tq as HAProxy had before 1.7.
    pub fn first_timer(&self) -> Field {
        match self.rest {
            Rest::Old { .. } => Field::Tq,
            Rest::Custom(picked) => picked.first_timer,
            Rest::Http(_) | Rest::Tcp(_) | Rest::Clf { .. } => Field::TR,
        }
    }

    /// Under which name [`Timer::Tt`] is logged: Ta, or Tt.
    pub fn last_timer(&self) -> Field {
        match self.rest {
            Rest::Http(_) | Rest::Clf { is_tcp: false, .. } => Field::Ta,
            Rest::Tcp(_) | Rest::Clf { is_tcp: true, .. } | Rest::Old { .. } => Field::Tt,
            Rest::Custom(picked) => picked.last_timer,
        }
    }
}

impl Rest<'_> {
    /// Nothing follows, or nothing that has been reached.
    pub(super) fn empty(kind: Kind) -> Self {
        match kind {
            Kind::Http => Self::Http(b""),
            Kind::Tcp => Self::Tcp(b""),
        }
    }
}
