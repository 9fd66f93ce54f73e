//! Lines of HAProxy's that are no requests: what became of servers and proxies, and the like.
//!
//! Their beginnings were collected from every `send_log` in the sources of HAProxy 3.5-dev5, and
//! from runs of 2.6.12. A known beginning makes the line a message; anything else has to be
//! told to the operator, for it may be a log format that the agent was not told of.

use memchr::memchr;

use super::date::Date;
use super::field::{Field, Value};
pub use super::head::Client;
use super::head::Head;

/// A line of HAProxy's that is no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// What HAProxy wrote, without the syslog header.
    pub text: &'a [u8],
    /// Whom it is about, if it is about a client.
    pub client: Option<Client<'a>>,
    /// When the connection was accepted, if it died before there was a request.
    pub date: Option<Date<'a>>,
    /// Where the client came in.
    pub frontend: Option<&'a [u8]>,
}

impl<'a> Message<'a> {
    /// What `body`, a line without its syslog header, says; `None` if it is no known message.
    pub(super) fn read(body: &'a [u8]) -> Option<Self> {
        let all = BEGINNINGS.iter().chain(&LEVELS).chain(&REPEATED);
        let is_known = all.into_iter().any(|beginning| body.starts_with(beginning));
        let connect = body.strip_prefix(b"Connect from ").and_then(read_connect);
        let (client, frontend) =
            connect.map_or((None, None), |(client, frontend)| (Some(client), Some(frontend)));
        is_known.then_some(Self { text: body, client, date: None, frontend })
    }

    /// A line of which no more is known than that HAProxy wrote it.
    pub(super) fn of_unknown(text: &'a [u8]) -> Self {
        Self { text, client: None, date: None, frontend: None }
    }

    /// The error line of a connection: `client [date] frontend/bind: message`.
    pub(super) fn of_connection(head: &Head<'a>, body: &'a [u8]) -> Self {
        let frontend = head.frontend().0;
        let name = memchr(b'/', frontend).map_or(frontend, |slash| &frontend[..slash]);
        Self { text: body, client: Some(head.client), date: Some(head.date), frontend: Some(name) }
    }

    /// A field by name; `None` if the message does not have it, as most do not.
    pub fn value(&self, field: Field) -> Option<Value<'a>> {
        match field {
            Field::ClientIp => self.client.map(|client| Value::Text(client.ip)),
            Field::ClientPort => {
                self.client.and_then(|client| client.port).map(|port| Value::Number(port.into()))
            }
            Field::AcceptDate => self.date.map(|date| Value::Text(date.text)),
            Field::Frontend => self.frontend.map(Value::Text),
            _ => None,
        }
    }
}

/// Client and frontend of `127.0.0.1:44294 to 127.0.0.1:21005 (fe_def/HTTP)`, which is written
/// where no log format is configured.
fn read_connect(text: &[u8]) -> Option<(Client<'_>, &[u8])> {
    let client = Client::read(&text[..memchr(b' ', text)?])?;
    let frontend = &text[memchr(b'(', text)? + 1..];
    Some((client, &frontend[..memchr(b'/', frontend)?]))
}

/// How messages begin.
const BEGINNINGS: [&[u8]; 36] = [
    b"Server ",
    b"Backup Server ",
    b"Health check for ",
    b"backend ",
    b"Backend ",
    b"frontend ",
    b"Frontend ",
    b"listener ",
    b"Proxy ",
    b"proxy ",
    b"Connect from ",
    b"Connect to ",
    b"Connect() failed ",
    b"Cannot bind ",
    b"Cannot set ",
    b"Stopping ",
    b"Stopped ",
    b"Pausing ",
    b"Paused ",
    b"Resuming ",
    b"Resumed ",
    b"Enabling ",
    b"Port ",
    b"SIGHUP",
    b"SPOE: ",
    b"DNS : ",
    b"acme: ",
    b"stick table: ",
    b"preconnect ",
    b"<OCSP-UPDATE> ",
    b"Blocking cacheable cookie ",
    b"Internal error: ",
    b"Scheduling a soft-stop ",
    b"Grace period expired",
    b"soft-stop running ",
    b"Some tasks resisted ",
];

/// What HAProxy's master and start-up write to the terminal, and journald then keeps.
const LEVELS: [&[u8]; 5] = [b"[NOTICE]", b"[WARNING]", b"[ALERT]", b"[EMERG]", b"[DIAG]"];

/// rsyslog's and journald's own: equal lines folded into one.
const REPEATED: [&[u8]; 2] = [b"message repeated ", b"last message repeated "];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_line_tells_who_connected_where() {
        let text = b"Connect from ::1:44294 to ::1:21005 (fe/HTTP)";
        let client = Some(Client { ip: b"::1", port: Some(44294) });
        let expected = Message { text, client, date: None, frontend: Some(b"fe") };
        assert_eq!(Message::read(text), Some(expected));
    }

    #[test]
    fn what_does_not_begin_like_a_message_is_none() {
        for text in ["", "Hello", "server a/b is UP", "GET / HTTP/1.1"] {
            assert_eq!(Message::read(text.as_bytes()), None, "{text}");
        }
    }
}
