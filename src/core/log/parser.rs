//! A line as it stands in a file to what it says: wrapping off, syslog header off, fields.
//!
//! In: one line, wrapped in JSON or not. Out: the same [`Line`] that [`LineFormat::read`] gives. The
//! difference is a buffer, used again for each line, into which escapes are decoded.

use super::error::LineError;
use super::format::{Line, LineFormat};
use super::wrapping;

/// Reads line after line of one format.
#[derive(Clone, Debug, Default)]
pub struct LineParser {
    format: LineFormat,
    /// What was inside the wrapping of the last line that had one.
    inside: Vec<u8>,
    /// Texts of the last line that had backslashes in them.
    decoded: Vec<u8>,
}

impl LineParser {
    /// Reads lines in `format`.
    pub fn new(format: LineFormat) -> Self {
        Self { format, inside: Vec::new(), decoded: Vec::new() }
    }

    /// Says what `line` (without its newline) is. Allocates nothing, once its buffer has grown.
    pub fn read<'a>(&'a mut self, line: &'a [u8]) -> Line<'a> {
        let inside = if line.starts_with(b"{") { wrapping::open(line, &mut self.inside) } else { None };
        let text = inside.map_or(line, |inside| inside.text(line, &self.inside));
        let mut read = self.format.read(text);
        match &mut read {
            Line::Request(request) => request.decode(&mut self.decoded),
            Line::Unparsed(error) => {
                let offset = inside.map_or(error.offset, |inside| inside.offset_in(line, error.offset));
                *error = LineError { offset, ..*error };
            }
            Line::Message(_) => {}
        }
        read
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = r#"127.0.0.1:5 [21/Nov/2026:09:31:50.191] fe be/s1 0/0/0/3/3 200 76 - - ---- 1/1/0/0/0 0/0 "GET /x HTTP/1.1""#;

    #[track_caller]
    fn check(line: &str) {
        let mut parser = LineParser::default();
        for _ in 0..2 {
            match parser.read(line.as_bytes()) {
                Line::Request(request) => {
                    assert_eq!((request.backend, request.server), (&b"be"[..], &b"s1"[..]), "{line}");
                    assert_eq!(request.tail().request.path, Some(&b"/x"[..]), "{line}");
                }
                other => panic!("{other:?}: {line}"),
            }
        }
    }

    #[test]
    fn a_line_is_the_same_in_every_wrapping() {
        let quoted = serde_json::Value::from(BODY).to_string();
        let numbers = serde_json::Value::from(BODY.as_bytes()).to_string();
        check(BODY);
        check(&format!(
            r#"{{"log":{},"stream":"stdout","time":"2026-11-21T09:36:03.02Z"}}"#,
            quoted.replace("1.1\\\"", "1.1\\\"\\n")
        ));
        check(&format!(r#"{{"__CURSOR":"s=1","PRIORITY":"6","MESSAGE":{quoted},"_PID":"7"}}"#));
        check(&format!(r#"{{"MESSAGE":{numbers},"__CURSOR":"s=1"}}"#));
        let with_header = serde_json::Value::from(format!("<134>Nov 21 09:31:50 haproxy[1]: {BODY}"));
        check(&format!(r#"{{"log":{with_header},"stream":"stdout"}}"#));
        check(&format!("2026-11-21T09:36:03.020178123Z stdout F {BODY}"));
    }

    #[test]
    fn an_error_names_the_byte_of_the_line_as_it_stands() {
        let line = r#"{"log":"127.0.0.1:5 [21/Nov/2026:09:31:50.191] \u0066e be/s1 0/x/0/3/3 200","stream":"stdout"}"#;
        match LineParser::default().read(line.as_bytes()) {
            Line::Unparsed(error) => assert!(line[error.offset..].starts_with("x/0/3/3"), "{error}"),
            other => panic!("{other:?}"),
        }
    }
}
