//! Takes off what wraps a whole line in JSON: Docker's `json-file` driver, `journalctl -o json`.
//!
//! In: a line, and a buffer that is used again. Out: the line inside, borrowed from the buffer
//! where its escapes had to be decoded, else from the line itself; and the way back, so that an
//! error can name a byte of the line as it stands. Lines that are JSON by HAProxy's own
//! `log-format` are nobody's wrapping and stay as they are. Allocates nothing once the buffer has grown.

use memchr::memchr;

use super::json::{JsonValue, Members, unescape};

/// Where the line inside stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Inside {
    /// In the line itself.
    Line { begin: usize, end: usize },
    /// Decoded, all of the buffer; it was a string whose text begins there.
    Text { begin: usize },
    /// Decoded, all of the buffer; it was an array of numbers.
    Bytes { begin: usize },
}

/// The line inside `line`; `None` if nothing known wraps it.
pub(super) fn open(line: &[u8], buffer: &mut Vec<u8>) -> Option<Inside> {
    let wrapped = wrapped(line)?;
    buffer.clear();
    match wrapped {
        (JsonValue::Text(raw), begin) if memchr(b'\\', raw).is_none() => {
            Some(Inside::Line { begin, end: begin + raw.len() })
        }
        (JsonValue::Text(raw), begin) => {
            unescape(raw, buffer, usize::MAX);
            trim_newline(buffer);
            Some(Inside::Text { begin })
        }
        (JsonValue::Nested(array), begin) => {
            decode_bytes(array, buffer)?;
            trim_newline(buffer);
            Some(Inside::Bytes { begin })
        }
        (JsonValue::Plain(_), _) => None,
    }
}

impl Inside {
    /// The line inside.
    pub(super) fn text<'a>(self, line: &'a [u8], buffer: &'a [u8]) -> &'a [u8] {
        match self {
            Self::Line { begin, end } => &line[begin..end],
            Self::Text { .. } | Self::Bytes { .. } => buffer,
        }
    }

    /// Which byte of `line` the byte `offset` of the line inside comes from.
    #[cold]
    pub(super) fn offset_in(self, line: &[u8], offset: usize) -> usize {
        match self {
            Self::Line { begin, .. } => begin + offset,
            Self::Text { begin } => begin + unescape(&line[begin..], &mut Vec::new(), offset),
            Self::Bytes { begin } => {
                let numbers = line[begin..].iter().enumerate().filter(|&(_, &byte)| byte == b',');
                // The number of that byte comes behind as many commas.
                let before = offset.checked_sub(1).and_then(|commas| numbers.map(|(at, _)| at).nth(commas));
                begin + before.map_or(1, |comma| comma + 1)
            }
        }
    }
}

/// The value that holds the line, and where its text begins.
///
/// Docker writes `log`, `stream` and `time` (json-file driver, seen from Docker 20.10). Of journald's
/// fields those that it vouches for begin with two underscores; the line is `MESSAGE`, as an array of
/// bytes where it is not UTF-8 (systemd's JOURNAL EXPORT FORMATS).
fn wrapped(line: &[u8]) -> Option<(JsonValue<'_>, usize)> {
    let (mut log, mut message) = (None, None);
    let (mut is_docker, mut is_journal) = (false, false);
    for member in Members::new(line)? {
        match member.key {
            b"log" => log = Some((member.value, member.begin)),
            b"stream" | b"time" if log.is_some() => is_docker = true,
            b"MESSAGE" => message = Some((member.value, member.begin)),
            key if key.starts_with(b"__") => is_journal = true,
            _ => {}
        }
    }
    log.filter(|_| is_docker).or(message.filter(|_| is_journal))
}

/// Docker keeps the newline of each line.
fn trim_newline(buffer: &mut Vec<u8>) {
    while buffer.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
        buffer.pop();
    }
}

/// `[72,195,169]`; `None` if it is anything else.
fn decode_bytes(array: &[u8], buffer: &mut Vec<u8>) -> Option<()> {
    let numbers = array.strip_prefix(b"[")?.strip_suffix(b"]")?;
    for number in numbers.split(|&byte| byte == b',') {
        let digits = number.trim_ascii();
        if digits.is_empty() || digits.len() > 3 || !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let value = digits.iter().fold(0, |sum: u16, &digit| sum * 10 + u16::from(digit - b'0'));
        buffer.push(u8::try_from(value).ok()?);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, expected: Option<&str>) {
        let mut buffer = b"of the line before".to_vec();
        let found = open(line.as_bytes(), &mut buffer);
        let text = found.map(|inside| inside.text(line.as_bytes(), &buffer));
        assert_eq!(text.map(String::from_utf8_lossy).as_deref(), expected, "{line}");
    }

    #[test]
    fn the_line_inside_is_found() {
        check(r#"{"log":"a \"b\"\n","stream":"stdout","time":"2026-11-21T09:36:03.02Z"}"#, Some("a \"b\""));
        check(r#"{"log":"plain","stream":"stderr","time":"x"}"#, Some("plain"));
        check(r#"{"__CURSOR":"s=1","MESSAGE":"a \"b\"","_PID":"7"}"#, Some("a \"b\""));
        check(r#"{"MESSAGE":[97,32,233,10],"__CURSOR":"s=1"}"#, Some("a \u{fffd}"));
    }

    #[test]
    fn what_wraps_nothing_stays_as_it_is() {
        check(r#"{"log":"haproxy","backend":"be"}"#, None);
        check(r#"{"MESSAGE":"x"}"#, None);
        check(r#"{"MESSAGE":[1,999],"__CURSOR":"s=1"}"#, None);
        check(r#"{"MESSAGE":null,"__CURSOR":"s=1"}"#, None);
        check("127.0.0.1", None);
    }

    #[track_caller]
    fn check_offset(line: &str, inside: &str) {
        let mut buffer = Vec::new();
        let found = open(line.as_bytes(), &mut buffer).expect("wrapped");
        let text = found.text(line.as_bytes(), &buffer);
        let offset = text.iter().position(|&byte| byte == b'!').expect("it is marked");
        let in_line = found.offset_in(line.as_bytes(), offset);
        assert!(line[in_line..].starts_with(inside), "{line}: byte {in_line}");
    }

    #[test]
    fn a_byte_inside_is_found_in_the_line() {
        check_offset(r#"{"log":"a\"\\é\u00e9!","stream":"stdout"}"#, "!");
        check_offset(r#"{"log":"!a\"","stream":"stdout"}"#, "!");
        check_offset(r#"{"log":"a!","stream":"stdout"}"#, "!");
        check_offset(r#"{"MESSAGE":[97,33,98],"__CURSOR":"s=1"}"#, "33");
        check_offset(r#"{"MESSAGE":[33,98],"__CURSOR":"s=1"}"#, "33");
    }
}
