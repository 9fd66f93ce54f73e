//! What the value of an item can look like: which bytes, how many, and where it ends.
//!
//! A shape knows the bytes a value is made of. Where the byte that follows a value in the
//! log-format cannot be one of them, the value ends by itself; elsewhere its end has to be searched for.

use crate::core::log::ending::is_state;
use crate::core::log::gathering::BAD_REQUEST;
use crate::core::log::head::is_name_byte;

/// Some of the 256 bytes, one bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bytes([u64; 4]);

impl Bytes {
    /// Those for which `is_in` holds.
    pub(super) fn of(is_in: impl Fn(u8) -> bool) -> Self {
        let mut bits = [0; 4];
        for byte in (0..=u8::MAX).filter(|&byte| is_in(byte)) {
            bits[usize::from(byte) / 64] |= 1 << (byte % 64);
        }
        Self(bits)
    }

    pub(super) fn has(&self, byte: u8) -> bool {
        self.0[usize::from(byte) / 64] >> (byte % 64) & 1 != 0
    }

    pub(super) fn is_all(&self) -> bool {
        self.0.iter().all(|&bits| bits == u64::MAX)
    }

    pub(super) fn overlaps(&self, other: &Self) -> bool {
        self.0.iter().zip(other.0).any(|(&mine, theirs)| mine & theirs != 0)
    }
}

/// What a value can look like.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Shape {
    /// A whole number, perhaps with a sign, or `-` for none.
    Number,
    /// At least so many of these bytes.
    Run(Bytes, usize),
    /// A date of exactly so many bytes.
    Date(usize),
    /// A termination state of exactly so many letters.
    State(usize),
    /// `?` and what follows it, or nothing at all, or HAProxy's word for no request.
    Query,
    /// `{a|b}`, or nothing at all.
    Captures,
    /// `"a" "b"`, or nothing at all.
    CaptureList,
    /// Text up to a quote; a backslash takes the byte behind it along.
    Escaped,
}

impl Shape {
    pub(super) fn name() -> Self {
        Self::Run(Bytes::of(is_name_byte), 1)
    }

    /// With the `~` of TLS.
    pub(super) fn transport_name() -> Self {
        Self::Run(Bytes::of(|byte| is_name_byte(byte) || byte == b'~'), 1)
    }

    /// IPv4, IPv6, `unix`, or `-` for none.
    pub(super) fn address() -> Self {
        Self::Run(Bytes::of(|byte| byte.is_ascii_hexdigit() || b":.-unix@".contains(&byte)), 1)
    }

    pub(super) fn hex() -> Self {
        Self::Run(Bytes::of(|byte| byte.is_ascii_hexdigit() || byte == b'-'), 1)
    }

    /// Letters, digits and what the names of hosts, TLS versions and ciphers have beside them.
    pub(super) fn plain_word() -> Self {
        Self::Run(Bytes::of(|byte| byte.is_ascii_alphanumeric() || b"-_.:+()=".contains(&byte)), 1)
    }

    /// Such as `HTTP/1.1`.
    pub(super) fn plain_word_with_slash() -> Self {
        Self::Run(Bytes::of(|byte| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte)), 0)
    }

    /// Printable, without blanks and quotes.
    pub(super) fn word() -> Self {
        Self::Run(Bytes::of(|byte| byte.is_ascii_graphic() && byte != b'"'), 0)
    }

    /// The same without `byte`.
    pub(super) fn word_but(byte: u8) -> Self {
        Self::Run(Bytes::of(|other| other.is_ascii_graphic() && other != b'"' && other != byte), 0)
    }

    /// Printable, with blanks but without quotes: what HAProxy encodes as `#22` and the like.
    pub(super) fn encoded() -> Self {
        Self::Run(Bytes::of(|byte| matches!(byte, b' '..=b'~') && byte != b'"'), 0)
    }

    /// Anything.
    pub(super) fn raw() -> Self {
        Self::Run(Bytes::of(|_| true), 0)
    }

    /// A value of any bytes: it is only told from what follows by what that is.
    #[cfg(test)]
    pub(super) fn is_raw(&self) -> bool {
        matches!(self, Self::Run(bytes, _) if bytes.is_all())
    }

    /// Bytes with which a value can begin.
    pub(super) fn first(&self) -> Bytes {
        match self {
            Self::Number => Bytes::of(|byte| byte.is_ascii_digit() || matches!(byte, b'-' | b'+')),
            Self::Run(bytes, _) => *bytes,
            Self::Date(_) => Bytes::of(|byte| byte.is_ascii_digit()),
            Self::State(_) => Bytes::of(|byte| byte == b'-' || byte.is_ascii_alphabetic()),
            Self::Query => Bytes::of(|byte| byte == b'?'),
            Self::Captures => Bytes::of(|byte| byte == b'{'),
            Self::CaptureList => Bytes::of(|byte| byte == b'"'),
            Self::Escaped => Bytes::of(|byte| byte != b'"'),
        }
    }

    /// Bytes with which a value could go on where it has ended: none may follow it in the log-format.
    pub(super) fn goes_on(&self) -> Bytes {
        match self {
            Self::Number => Bytes::of(|byte| byte.is_ascii_digit()),
            Self::Run(bytes, _) => *bytes,
            Self::Query => query_bytes(),
            Self::Date(_) | Self::State(_) => Bytes::of(|_| false),
            // A brace would be taken for theirs where they are not there.
            Self::Captures => Bytes::of(|byte| byte == b'{'),
            // A further text in quotes would be taken for one more of the list.
            Self::CaptureList => Bytes::of(|byte| byte == b'"'),
            Self::Escaped => Bytes::of(|byte| byte != b'"'),
        }
    }

    /// All bytes of a value, and how many it has at least, for searching its end.
    pub(super) fn run(&self) -> (Bytes, usize) {
        match self {
            Self::Number => (self.first(), 1),
            Self::Run(bytes, least) => (*bytes, *least),
            Self::Query => (query_bytes(), 0),
            // Their end is never searched.
            Self::Date(_) | Self::State(_) => (self.first(), 1),
            Self::CaptureList => (Bytes::of(|byte| matches!(byte, b' '..=b'~')), 0),
            Self::Captures | Self::Escaped => (Bytes::of(|_| true), 0),
        }
    }

    /// How long the value at the start of `text` is.
    ///
    /// # Errors
    /// At which byte it is not of this shape; at the end of `text` if it may only be cut.
    pub(super) fn length(&self, text: &[u8]) -> Result<usize, usize> {
        match self {
            Self::Number => number_length(text),
            Self::Run(bytes, least) => {
                let length = text.iter().position(|&byte| !bytes.has(byte)).unwrap_or(text.len());
                if length < *least { Err(length) } else { Ok(length) }
            }
            Self::Query if text.starts_with(BAD_REQUEST) => Ok(BAD_REQUEST.len()),
            Self::Query if text.first() != Some(&b'?') => Ok(0),
            Self::Query => {
                let is_in = query_bytes();
                Ok(text.iter().position(|&byte| !is_in.has(byte)).unwrap_or(text.len()))
            }
            Self::Date(length) if text.len() < *length => Err(text.len()),
            Self::Date(length) => {
                let is_date =
                    text.first().is_some_and(u8::is_ascii_digit) && !text[..*length].contains(&b'"');
                if is_date { Ok(*length) } else { Err(0) }
            }
            Self::State(letters) if text.len() < *letters => Err(text.len()),
            Self::State(letters) => {
                if is_state(&text[..*letters], *letters) {
                    Ok(*letters)
                } else {
                    Err(0)
                }
            }
            Self::Captures if text.first() != Some(&b'{') => Ok(0),
            Self::Captures => match text[1..].iter().position(|byte| matches!(byte, b'{' | b'}')) {
                Some(end) if text[end + 1] == b'}' => Ok(end + 2),
                Some(end) => Err(end + 1),
                None => Err(text.len()),
            },
            Self::CaptureList => list_length(text),
            Self::Escaped => escaped_length(text),
        }
    }
}

fn query_bytes() -> Bytes {
    Bytes::of(|byte| byte.is_ascii_graphic() && byte != b'"')
}

fn number_length(text: &[u8]) -> Result<usize, usize> {
    let plus = usize::from(text.first() == Some(&b'+'));
    let sign = plus + usize::from(text.get(plus) == Some(&b'-'));
    let digits = text[sign..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let is_none = text.first() == Some(&b'-');
    if digits > 0 || is_none { Ok(sign + digits) } else { Err(sign) }
}

fn list_length(text: &[u8]) -> Result<usize, usize> {
    let mut at = 0;
    loop {
        let begin = if at == 0 { 0 } else { at + 1 };
        let separated = at == 0 || text.get(at) == Some(&b' ');
        if !separated || text.get(begin) != Some(&b'"') {
            return Ok(at);
        }
        let is_end = |&byte: &u8| byte == b'"' || !matches!(byte, b' '..=b'~');
        let end = text[begin + 1..].iter().position(is_end).map(|length| begin + 1 + length);
        match end.map(|end| (end, text[end])) {
            Some((end, b'"')) => at = end + 1,
            // HAProxy writes `#00` for what cannot be printed.
            Some((end, _)) => return Err(end),
            None => return Err(text.len()),
        }
    }
}

fn escaped_length(text: &[u8]) -> Result<usize, usize> {
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        match byte {
            b'"' => return Ok(at),
            // At the end, what it takes along was cut off.
            b'\\' if at + 1 == text.len() => return Err(text.len()),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    Ok(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(shape: &Shape, text: &str, expected: Result<usize, usize>) {
        assert_eq!(shape.length(text.as_bytes()), expected, "{shape:?} of {text}");
    }

    #[test]
    fn a_value_ends_where_its_shape_does() {
        check(&Shape::Number, "12 ", Ok(2));
        check(&Shape::Number, "+-1/", Ok(3));
        check(&Shape::Number, "-/", Ok(1));
        check(&Shape::Number, "-", Ok(1));
        check(&Shape::Number, "+", Err(1));
        check(&Shape::Number, "x", Err(0));
        check(&Shape::name(), "<NOSRV> ", Ok(7));
        check(&Shape::name(), " ", Err(0));
        check(&Shape::Date(24), "21/Nov/2026:09:31:50.191]", Ok(24));
        check(&Shape::Date(24), "21/Nov/2026:09", Err(14));
        check(&Shape::State(4), "sQVN ", Ok(4));
        check(&Shape::State(4), "sQ 1 ", Err(0));
        check(&Shape::Captures, "{a|b} {c}", Ok(5));
        check(&Shape::Captures, " {c}", Ok(0));
        check(&Shape::Captures, "{c", Err(2));
        check(&Shape::CaptureList, r#""a" "" "b c" x"#, Ok(12));
        check(&Shape::CaptureList, "x", Ok(0));
        check(&Shape::CaptureList, r#""a" "b"#, Err(6));
        check(&Shape::CaptureList, "\"a\" \"\0\"", Err(5));
        check(&Shape::Escaped, r#"a\"b\\" x"#, Ok(6));
        check(&Shape::Escaped, r"a\", Err(2));
    }
}
