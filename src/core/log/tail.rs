//! What comes after the queues: captured headers, the request line, what httpslog adds.
//!
//! Nothing here is needed for a [`Sample`](super::sample::Sample), so it is read only when
//! somebody asks. `{`, `}`, `|` and `"` inside the values are written as `#7B` and so on
//! (configuration manual 8.6), so reading from the left is safe.

use memchr::{memchr, memrchr};

/// The tail of an httplog, httpslog or tcplog line; what is missing is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tail<'a> {
    /// Captured request headers, joined by `|`. If a line has but one block, it is taken for this one.
    pub request_captures: Option<&'a [u8]>,
    /// Captured response headers, joined by `|`.
    pub response_captures: Option<&'a [u8]>,
    /// The request line, unless it was `<BADREQ>`.
    pub request: Request<'a>,
    /// The request line has its closing quote.
    pub is_complete: bool,
    /// Whatever comes after the request line.
    pub extra: &'a [u8],
}

/// A request line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Request<'a> {
    /// Such as `GET`.
    pub method: Option<&'a [u8]>,
    /// The target, query included; an absolute URI in HTTP/2.
    pub path: Option<&'a [u8]>,
    /// Such as `HTTP/1.1`; `None` where HAProxy cut the request line.
    pub http_version: Option<&'a [u8]>,
}

/// What httpslog writes after the request line (configuration manual 8.2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TlsDetails<'a> {
    /// `fc_err`, `ssl_fc_err` (hexadecimal), `ssl_c_err`, `ssl_c_ca_err`, `ssl_fc_is_resumed`.
    pub codes: [&'a [u8]; 5],
    /// The server name the client asked for, as it sent it; `-` if it sent none.
    pub sni: &'a [u8],
    /// Such as `TLSv1.3`.
    pub version: &'a [u8],
    /// Such as `TLS_AES_256_GCM_SHA384`.
    pub cipher: &'a [u8],
}

impl<'a> Tail<'a> {
    /// Reads all that follows `srv_queue/backend_queue`.
    pub fn read(text: &'a [u8]) -> Self {
        let (request_captures, text) = take_block(text.trim_ascii());
        let (response_captures, text) = take_block(text);
        let tail = Self { request_captures, response_captures, ..Self::default() };
        let Some(text) = text.strip_prefix(b"\"") else {
            return Self { extra: text, ..tail };
        };
        match memchr(b'"', text) {
            Some(end) => {
                let (request, extra) = (Request::read(&text[..end]), text[end + 1..].trim_ascii());
                Self { request, extra, is_complete: true, ..tail }
            }
            None => Self { request: Request::read(text), ..tail },
        }
    }

    /// What httpslog adds; `None` if it is not there as a whole.
    pub fn tls_details(&self) -> Option<TlsDetails<'a>> {
        // In the place of a request line it is none of that.
        let blank = memchr(b' ', self.extra).filter(|_| self.is_complete)?;
        let (codes, rest) = (&self.extra[..blank], &self.extra[blank + 1..]);
        let mut codes = codes.split(|&byte| byte == b'/');
        let five = [codes.next()?, codes.next()?, codes.next()?, codes.next()?, codes.next()?];
        // The name comes raw from the client and may have a `/` in it, so the last two slashes count.
        let cipher = memrchr(b'/', rest)?;
        let version = memrchr(b'/', &rest[..cipher])?;
        codes.next().is_none().then_some(TlsDetails {
            codes: five,
            sni: &rest[..version],
            version: &rest[version + 1..cipher],
            cipher: &rest[cipher + 1..],
        })
    }
}

impl<'a> Request<'a> {
    /// Splits `GET /path HTTP/1.1`; none of it is there if the text is not such a line.
    pub fn read(text: &'a [u8]) -> Self {
        let Some(blank) = memchr(b' ', text) else {
            return Self::default();
        };
        let (method, rest) = (&text[..blank], &text[blank + 1..]);
        let version_at = match memrchr(b' ', rest) {
            Some(at) if rest[at + 1..].starts_with(b"HTTP/") => Some(at),
            // An empty target leaves two blanks in a row, of which the first is taken already.
            None if rest.starts_with(b"HTTP/") => None,
            _ => return Self { method: Some(method), path: Some(rest), http_version: None },
        };
        let (path, version) = version_at.map_or((&rest[..0], rest), |at| (&rest[..at], &rest[at + 1..]));
        Self { method: Some(method), path: Some(path), http_version: Some(version) }
    }
}

/// Where `srv_queue/backend_queue` ends in `text`, found from the right: before a complete request
/// line and at most two blocks of captures. `None` if there is no complete request line.
pub(super) fn begin_from_right(text: &[u8]) -> Option<usize> {
    let close = memrchr(b'"', text)?;
    // After the request line comes nothing, or a blank and what httpslog adds. A quote with
    // anything else behind it opens a request line that was cut.
    if !matches!(text.get(close + 1), None | Some(b' ')) {
        return None;
    }
    let mut end = blank_before(text, memrchr(b'"', &text[..close])?)?;
    for _ in 0..2 {
        if !text[..end].ends_with(b"}") {
            break;
        }
        end = blank_before(text, memrchr(b'{', &text[..end])?)?;
    }
    Some(end)
}

/// The blank before byte `at`.
fn blank_before(text: &[u8], at: usize) -> Option<usize> {
    at.checked_sub(1).filter(|&blank| text[blank] == b' ')
}

/// A `{...}` at the start of `text`, without its braces, and what follows the blank behind it.
fn take_block(text: &[u8]) -> (Option<&[u8]>, &[u8]) {
    let block = text.strip_prefix(b"{").and_then(|inner| Some((inner, memchr(b'}', inner)?)));
    block.map_or((None, text), |(inner, end)| (Some(&inner[..end]), inner[end + 1..].trim_ascii_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, captures: [Option<&str>; 2], request: [Option<&str>; 3], extra: &str) {
        let tail = Tail::read(text.as_bytes());
        let request = request.map(|part| part.map(str::as_bytes));
        assert_eq!([tail.request_captures, tail.response_captures], captures.map(|c| c.map(str::as_bytes)));
        assert_eq!([tail.request.method, tail.request.path, tail.request.http_version], request);
        assert_eq!(tail.extra, extra.as_bytes());
    }

    #[test]
    fn every_part_of_the_tail_may_be_missing() {
        let get = [Some("GET"), Some("/x?a=1"), Some("HTTP/1.1")];
        check(r#" "GET /x?a=1 HTTP/1.1""#, [None, None], get, "");
        check(r#" {a|b c} {} "GET /x?a=1 HTTP/1.1""#, [Some("a|b c"), Some("")], get, "");
        check(r#" {a} "GET /x?a=1 HTTP/1.1" 0/0/0/0/0 -/a/b"#, [Some("a"), None], get, "0/0/0/0/0 -/a/b");
        check(r#" "<BADREQ>""#, [None, None], [None; 3], "");
        check(r#" """#, [None, None], [None; 3], "");
        check(r#" "GET  HTTP/1.1""#, [None, None], [Some("GET"), Some(""), Some("HTTP/1.1")], "");
        check(r#" "GET /cut"#, [None, None], [Some("GET"), Some("/cut"), None], "");
        check(" {cut", [None, None], [None; 3], "{cut");
        check("", [None, None], [None; 3], "");
    }

    #[test]
    fn tls_details_survive_a_slash_in_the_server_name() {
        let tail = Tail::read(br#" "GET / HTTP/1.1" 0/0A/1/2/3 a/b/TLSv1.3/AES"#);
        let details = tail.tls_details().unwrap();
        assert_eq!(details.codes, [&b"0"[..], b"0A", b"1", b"2", b"3"]);
        assert_eq!(
            (details.sni, details.version, details.cipher),
            (&b"a/b"[..], &b"TLSv1.3"[..], &b"AES"[..])
        );
        assert_eq!(Tail::read(br#" "GET / HTTP/1.1" AES/TLSv1.2"#).tls_details(), None);
        assert_eq!(Tail::read(b" 0/0A/1/2/3 a/TLSv1.3/AES").tls_details(), None, "no request line");
    }
}
