//! What httplog and tcplog lines begin with: client, date, frontend, backend and server.
//!
//! All of it is written by HAProxy or comes from its configuration, so it is read from the left
//! without a doubt; what a client can forge comes later in the line.

use memchr::{memchr, memrchr};

use super::cursor::Cursor;
use super::date::Date;
use super::error::{ErrorKind, LineError};
use super::field::Field;

/// Who connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client<'a> {
    /// Its address; IPv6 without brackets, `unix` for a Unix socket.
    pub ip: &'a [u8],
    /// Its port, for a Unix socket the number of the listener. `None` for `-:-`, as HAProxy's
    /// own OCSP requests have.
    pub port: Option<u16>,
}

/// `client_ip:client_port [date] frontend~ `.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head<'a> {
    pub(super) client: Client<'a>,
    pub(super) date: Date<'a>,
    /// With its `~`; or `frontend/bind:`, see [`Head::is_of_connection_error`].
    frontend: &'a [u8],
}

impl<'a> Head<'a> {
    /// Reads up to the blank behind the frontend.
    pub(super) fn read(cursor: &mut Cursor<'a>) -> Result<Self, LineError> {
        let begin = cursor.offset();
        let client = cursor.until(b' ', Field::ClientIp)?;
        let client =
            Client::read(client).ok_or(LineError::of_field(ErrorKind::NotAClient, Field::ClientIp, begin))?;
        let begin = cursor.offset();
        let not_a_date = LineError::of_field(ErrorKind::NotADate, Field::AcceptDate, begin);
        if !cursor.take(b'[') {
            return Err(not_a_date);
        }
        let date = match cursor.until_at(Date::HAPROXY_LENGTH, b']') {
            Some(date) => date,
            // Without milliseconds, or cut.
            None => cursor.until(b']', Field::AcceptDate)?,
        };
        let date = Date::from_haproxy(date).filter(|_| cursor.take(b' ')).ok_or(not_a_date)?;
        let frontend = cursor.until(b' ', Field::Frontend)?;
        Ok(Self { client, date, frontend })
    }

    /// The connection died before there was a request (configuration manual 8.2.5): the line is
    /// `client [date] frontend/bind: message`, and no name of HAProxy's has a `/` in it.
    pub(super) fn is_of_connection_error(&self) -> bool {
        self.frontend.ends_with(b":") && memchr(b'/', self.frontend).is_some()
    }

    /// The frontend's name, and whether it spoke TLS.
    pub(super) fn frontend(&self) -> (&'a [u8], bool) {
        match self.frontend.strip_suffix(b"~") {
            Some(name) => (name, true),
            None => (self.frontend, false),
        }
    }
}

/// Reads `backend/server` and the blank behind it.
pub(super) fn read_server<'a>(cursor: &mut Cursor<'a>) -> Result<(&'a [u8], &'a [u8]), LineError> {
    let begin = cursor.offset();
    let backend = read_name(cursor, b'/', Field::Backend)?;
    let server = read_name(cursor, b' ', Field::Server)?;
    if backend.is_empty() {
        return Err(LineError::of_field(ErrorKind::NotAName, Field::Backend, begin));
    }
    if server.is_empty() {
        return Err(LineError::of_field(ErrorKind::NotAName, Field::Server, cursor.offset() - 1));
    }
    Ok((backend, server))
}

/// A name up to `end`, which is taken too.
fn read_name<'a>(cursor: &mut Cursor<'a>, end: u8, field: Field) -> Result<&'a [u8], LineError> {
    let rest = cursor.rest();
    let length = rest.iter().position(|&byte| !is_name_byte(byte)).ok_or_else(|| cursor.truncated(field))?;
    if rest[length] != end {
        return Err(LineError::of_field(ErrorKind::NotAName, field, cursor.offset()));
    }
    cursor.skip(length + 1);
    Ok(&rest[..length])
}

/// Whether it may be in a name (configuration manual 4), or in what HAProxy calls its own
/// servers, such as `<NOSRV>`.
pub(super) fn is_name_byte(byte: u8) -> bool {
    NAME_BYTES[usize::from(byte)]
}

/// By byte: this is asked for each byte of two names a line.
const NAME_BYTES: [bool; 256] = {
    let mut allowed = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        allowed[byte] = matches!(byte as u8, b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'_' | b':' | b'.' | b'-' | b'<' | b'>');
        byte += 1;
    }
    allowed
};

impl<'a> Client<'a> {
    /// IPv6 addresses have no brackets, so the last colon splits.
    pub(super) fn read(text: &'a [u8]) -> Option<Self> {
        let colon = memrchr(b':', text)?;
        let (ip, port) = (&text[..colon], &text[colon + 1..]);
        if port == b"-" {
            return Some(Self { ip, port: None });
        }
        if port.is_empty() || port.len() > 5 || !port.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let port = port.iter().fold(0, |sum: u32, &digit| sum * 10 + u32::from(digit - b'0'));
        Some(Self { ip, port: Some(u16::try_from(port).ok()?) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_client(text: &str, expected: Option<(&str, Option<u16>)>) {
        let expected = expected.map(|(ip, port)| Client { ip: ip.as_bytes(), port });
        assert_eq!(Client::read(text.as_bytes()), expected, "{text}");
    }

    #[test]
    fn the_last_colon_splits_address_and_port() {
        check_client("127.0.0.1:50536", Some(("127.0.0.1", Some(50536))));
        check_client("2001:db8::9:5555", Some(("2001:db8::9", Some(5555))));
        check_client("unix:1", Some(("unix", Some(1))));
        check_client("-:-", Some(("-", None)));
        for text in ["", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:65536", "127.0.0.1:123456"] {
            check_client(text, None);
        }
    }
}
