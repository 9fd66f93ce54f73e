//! Whether the fields that are needed can be told apart, found out by trying.
//!
//! In: a program. Out: nothing, or the item that cannot be told apart, and a line to show it. Lines are made
//! up as HAProxy would write them, from a few values of each item that occur every day: names with
//! dashes, dots and colons, IPv6, timers of -1, logasap's `+`, missing captures, a user agent with
//! blanks. Each has to read back as it was made. What somebody might write into a
//! raw text in order to deceive is looked at line by line, in [`matching`](super::matching).

use super::error::{LogFormatError, LogFormatErrorKind};
use super::is_needed;
use super::items::Target;
use super::matching::Found;
use super::program::{Program, Step, ValueOf};
use super::shape::Shape;
use crate::core::log::field::Field;

/// So many lines are tried: each value of an item then meets each of its neighbour's several times.
const LINES: usize = 48;

/// # Errors
/// There is a line from which an item that is needed cannot be read.
pub(super) fn probe(program: &Program) -> Result<(), LogFormatError> {
    let mut found = Found::default();
    for round in 0..LINES {
        let (line, spans) = render(program, round);
        let trimmed = line.trim_ascii_end();
        let is_read = program.find(trimmed, &mut found).is_ok();
        for (number, value) in program.values.iter().enumerate() {
            let is_wrong = !is_read || found.is_doubtful(number) || found.span(number) != Some(spans[number]);
            if is_needed(value.meaning.target) && is_wrong {
                let (item, line) = (value.source.shown(), String::from_utf8_lossy(trimmed).into_owned());
                let kind = LogFormatErrorKind::CannotTellApart { item, line };
                return Err(LogFormatError::new(value.position, kind));
            }
        }
    }
    Ok(())
}

/// A line, and where its values are.
fn render(program: &Program, round: usize) -> (Vec<u8>, Vec<(usize, usize)>) {
    let mut line: Vec<u8> = Vec::new();
    let mut spans = vec![(0, 0); program.values.len()];
    let mut write = |value: usize, line: &mut Vec<u8>| {
        let text = example(&program.values[value], pick(round, value));
        spans[value] = (line.len(), line.len() + text.len());
        line.extend_from_slice(text.as_bytes());
    };
    for (number, block) in program.blocks.iter().enumerate() {
        if let Some(gap) = number.checked_sub(1).map(|gap| &program.gaps[gap]) {
            write(gap.value, &mut line);
        }
        for step in &block.steps {
            match step {
                Step::Text(text) => line.extend_from_slice(text),
                Step::Blank if line.last().is_none_or(|&last| last == b' ') => {}
                Step::Blank => line.push(b' '),
                &Step::Value(value) => write(value, &mut line),
            }
        }
    }
    (line, spans)
}

/// A number that looks arbitrary and is the same every time.
fn pick(round: usize, value: usize) -> usize {
    let mixed = (round as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15)
        ^ (value as u64).wrapping_mul(0xC2B2_AE3D_27D4_EB4F);
    (mixed.wrapping_mul(0xD6E8_FEB8_6659_FD93) >> 40) as usize
}

/// One of the values an item often has.
fn example(value: &ValueOf, pick: usize) -> &'static str {
    let examples: &[&str] = match (&value.meaning.target, &value.meaning.shape) {
        (Target::Field(Field::Backend), _) => &["app", "web-1.eu_a:8080", "b2"],
        (Target::Field(Field::Server), _) => &["s1", "10.0.0.1:8080", "<NOSRV>", "web-1.eu_a"],
        (Target::Field(Field::Frontend), Shape::Run(bytes, _)) if bytes.has(b'~') => {
            &["fe", "fe-1.eu:443~", "www_2"]
        }
        (Target::Field(Field::Frontend), _) => &["fe", "fe-1.eu:443", "www_2"],
        (Target::Field(Field::Status), _) => &["200", "-1", "503"],
        (Target::Field(Field::ClientIp), Shape::Run(..)) => {
            &["127.0.0.1", "2001:db8::9", "unix", "::ffff:1.2.3.4"]
        }
        (Target::Field(Field::Tq | Field::TR | Field::Tw | Field::Tc | Field::Tr), _) => {
            &["0", "-1", "123", "7"]
        }
        (Target::Field(Field::Ta | Field::Tt), _) => &["0", "+123", "45"],
        (Target::Field(Field::Retries), _) => &["0", "+1", "3"],
        (Target::Field(Field::Bytes), _) => &["0", "76", "+1234"],
        (Target::Field(Field::Method), Shape::Run(bytes, _)) if !bytes.has(b'<') => &["GET", "-", "POST"],
        (Target::Field(Field::Method), _) => &["GET", "<BADREQ>", "POST"],
        (Target::Field(Field::HttpVersion), _) => &["HTTP/1.1", "HTTP/2.0"],
        (Target::BarePath, _) => &["/x", "/a/b.c", "<BADREQ>"],
        (Target::Field(Field::Path), _) => &["/x", "/a/b?c=d", "<BADREQ>"],
        (Target::Query, _) | (_, Shape::Query) => &["", "?a=1&b=2"],
        (Target::RequestLine, _) => &["GET /x?a=1 HTTP/1.1", "<BADREQ>", "POST /a/b HTTP/2.0"],
        (Target::Field(Field::RequestCookie | Field::ResponseCookie), _) => &["-", "SID=abc"],
        (_, Shape::Number) => &["0", "123", "-", "45678"],
        (_, Shape::State(2)) => &["--", "sD", "CD"],
        (_, Shape::State(_)) => &["----", "sQVN", "LR--"],
        (_, Shape::Date(24)) => &["21/Nov/2026:09:31:50.191"],
        (_, Shape::Date(_)) => &["21/Nov/2026:09:31:50 +0000"],
        (_, Shape::Captures) => &["", "{}", "{lab|Mozilla/5.0 (X11; Linux)}"],
        (_, Shape::CaptureList) => &["", "\"a\"", "\"\" \"b c\""],
        (_, Shape::Escaped) => &["-", "Mozilla/5.0 (X11; Linux)", "a\\\"b"],
        (_, Shape::Run(bytes, _)) if bytes.has(b' ') => {
            &["-", "Mozilla/5.0 (X11; Linux) a=b", "2026-11-21 09:31:50"]
        }
        (_, Shape::Run(bytes, _)) if bytes.has(b'g') => &["-", "abc-1.2", "x"],
        (_, Shape::Run(bytes, _)) if bytes.has(b'.') => &["1795253510.191", "0.0"],
        (_, Shape::Run(..)) => &["-", "0", "7F000001"],
    };
    let shape = &value.meaning.shape;
    let fitting = |text: &&&str| shape.length(text.as_bytes()) == Ok(text.len());
    let count = examples.iter().filter(fitting).count().max(1);
    examples.iter().filter(fitting).nth(pick % count).copied().unwrap_or("-")
}
