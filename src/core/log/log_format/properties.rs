//! What holds for every log-format and every line: no panic, no wrong field, and the same readings as a
//! reference that tries everything.

use proptest::prelude::*;

use super::CompiledFormat;
use super::items::Meaning;
use super::matching::Found;
use super::nodes;
use super::program::{Program, Step, ValueOf};
use super::shape::Shape;
use super::words::Word;
use crate::core::log::format::{Line, LineFormat};
use crate::core::log::parser::LineParser;

/// Pieces that log-formats are made of, good ones and bad ones.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => prop::sample::select(vec![
            "%b", "%s", "%Ta", "%Tr", "%ST", "%ci", "%cp", "%hr", "%r", "%CC", "%ts", "%HP", "%HQ", "%Ts", "%ms", "%hrl",
            "%[var(a)]", "%[capture.req.hdr(0),json]", "%{+Q}r", "%{+Q}s", "%{+E}r", "%{+Q,+E}[var(a)]", "%{+Q}CC", "%{+X}cp",
            "%{+Q}hrl", "%{+Q}Ta", "%tr",
        ])
        .prop_map(str::to_owned),
        4 => prop::sample::select(vec![" ", "/", "|", ":", "\"", "x", "{", "}", "-", "=", "1", "  ", "a b"]).prop_map(str::to_owned),
        1 => prop::sample::select(vec![
            "%{+Q}o ", "%{+json}o ", "%(a)b", "%", "%{", "%[", "%(", "'", "\\", "%%", "%q", "$A", "${HAPROXY_TCP_LOG_FMT}", "#",
        ])
        .prop_map(str::to_owned),
    ]
}

fn format_text() -> impl Strategy<Value = String> {
    proptest::collection::vec(piece(), 0..10).prop_map(|pieces| pieces.concat())
}

/// Short lines of the bytes that formats are made of, so that they collide with them.
fn line() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(prop::sample::select(b"ab1-/|:\"{} \\x=?+".to_vec()), 0..24)
}

/// A program of good pieces only; `None` if they make none.
fn program(text: &str) -> Option<Program> {
    let nodes = nodes::read(&Word::plain(text, 0)).ok().filter(|nodes| !nodes.is_json)?;
    Program::new(&nodes.list).ok()
}

/// A reading of a line: where each value stands.
type Reading = Vec<(usize, usize)>;

/// Every way in which `text` can be read, by trying all lengths of all values.
fn readings(program: &Program, text: &[u8]) -> Vec<Reading> {
    let mut steps = Vec::new();
    for (number, block) in program.blocks.iter().enumerate() {
        steps.extend(number.checked_sub(1).map(|gap| Step::Value(program.gaps[gap].value)));
        steps.extend(block.steps.iter().cloned());
    }
    let mut found = Vec::new();
    try_all(program, &steps, text, 0, &mut vec![(0, 0); program.values.len()], &mut found);
    found
}

fn try_all(
    program: &Program,
    steps: &[Step],
    text: &[u8],
    at: usize,
    reading: &mut Reading,
    found: &mut Vec<Reading>,
) {
    let Some((step, rest)) = steps.split_first() else {
        if at == text.len() {
            found.push(reading.clone());
        }
        return;
    };
    match step {
        Step::Text(expected) => {
            if text[at..].starts_with(expected) {
                try_all(program, rest, text, at + expected.len(), reading, found);
            }
        }
        Step::Blank if text.get(at) == Some(&b' ') => try_all(program, rest, text, at + 1, reading, found),
        Step::Blank => {
            if at == 0 || at == text.len() || text[at - 1] == b' ' {
                try_all(program, rest, text, at, reading, found);
            }
        }
        &Step::Value(value) => {
            let meaning = &program.values[value].meaning;
            for end in at..=text.len() {
                if is_value(&program.values[value], &text[at..end]) {
                    reading[value] = (at, end);
                    try_all(program, rest, text, end, reading, found);
                }
                let quoted = text[at..end].strip_prefix(b"\"").and_then(|inner| inner.strip_suffix(b"\""));
                if let Some(inner) = quoted
                    && meaning.writing.may_be_quoted
                    && (inner.is_empty() || is_of(&meaning.shape, inner))
                {
                    reading[value] = (at + 1, end - 1);
                    try_all(program, rest, text, end, reading, found);
                }
            }
        }
    }
}

/// Whether HAProxy may write `text` for `value`: nothing only in quotes, or where it may vanish.
fn is_value(value: &ValueOf, text: &[u8]) -> bool {
    let Meaning { shape, writing, .. } = &value.meaning;
    let may_be_empty = writing.is_quoted || writing.may_vanish || *shape == Shape::Query;
    (may_be_empty || !text.is_empty()) && is_of(shape, text)
}

/// Whether all of `text` is one value of `shape`.
fn is_of(shape: &Shape, text: &[u8]) -> bool {
    match shape {
        Shape::Number => {
            let digits = text.strip_prefix(b"+").unwrap_or(text);
            let digits = digits.strip_prefix(b"-").unwrap_or(digits);
            text == b"-" || (!digits.is_empty() && digits.iter().all(u8::is_ascii_digit))
        }
        Shape::Run(bytes, least) => text.len() >= *least && text.iter().all(|&byte| bytes.has(byte)),
        Shape::Query => {
            text.is_empty() || (text[0] == b'?' && !text.iter().any(|byte| b" \"".contains(byte)))
        }
        Shape::Date(_) => false,
        Shape::State(letters) => {
            text.len() == *letters && text.iter().all(|&byte| byte == b'-' || byte.is_ascii_alphabetic())
        }
        Shape::Captures => {
            let inner = text.strip_prefix(b"{").and_then(|inner| inner.strip_suffix(b"}"));
            text.is_empty() || inner.is_some_and(|inner| !inner.iter().any(|byte| b"{}".contains(byte)))
        }
        Shape::CaptureList => {
            let list = String::from_utf8_lossy(text);
            let inner = list.strip_prefix('"').and_then(|list| list.strip_suffix('"'));
            text.is_empty() || inner.is_some_and(|inner| inner.split("\" \"").all(|part| !part.contains('"')))
        }
        Shape::Escaped => {
            let mut escaped = false;
            let mut is_open = true;
            for &byte in text {
                is_open &= escaped || byte != b'"';
                escaped = !escaped && byte == b'\\';
            }
            is_open && !escaped
        }
    }
}

/// Fills in what only one reading has, from the line itself.
#[track_caller]
fn check(program: &Program, text: &[u8]) -> Result<(), TestCaseError> {
    let text = text.trim_ascii_end();
    let mut found = Found::default();
    let result = program.find(text, &mut found);
    let all = readings(program, text);
    prop_assert!(all.is_empty() || result.is_ok(), "{:?}: {:?}", String::from_utf8_lossy(text), result);
    for value in 0..program.values.len() {
        if result.is_ok() && !found.is_doubtful(value) {
            for reading in &all {
                prop_assert_eq!(
                    Some(reading[value]),
                    found.span(value),
                    "{} of {:?}",
                    program.values[value].source.shown(),
                    String::from_utf8_lossy(text)
                );
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_text_is_a_format_or_refused(text in prop_oneof![format_text(), any::<String>()], lines in proptest::collection::vec(line(), 3)) {
        if let Ok(format) = CompiledFormat::new(&text) {
            let mut parser = LineParser::new(LineFormat::Compiled(Box::new(format)));
            for line in lines {
                let _ = parser.read(&line);
            }
        }
    }

    #[test]
    fn any_bytes_are_a_line_or_not(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let format = r#"'%ci:%cp [%tr] %b/%s %Ta %hr "%[var(a)]" %{+E}r %CC %{+Q}hrl'"#;
        let mut parser = LineParser::new(LineFormat::Compiled(Box::new(CompiledFormat::new(format).unwrap())));
        let _ = parser.read(&bytes);
        let whole = [b"1.2.3.4:5 [21/Nov/2026:09:31:50.191] be/s1 12 ".as_slice(), &bytes].concat();
        if let Line::Request(line) = parser.read(&whole) {
            prop_assert_eq!((line.backend, line.server), (&b"be"[..], &b"s1"[..]));
        }
    }

    #[test]
    fn certain_values_are_those_of_every_reading(text in format_text(), line in line()) {
        if let Some(program) = program(&text) {
            check(&program, &line)?;
        }
    }

    /// Lines that the format does make, each value a text of few bytes.
    #[test]
    fn a_rendered_line_reads_back(text in format_text(), values in proptest::collection::vec(line(), 10)) {
        let Some(program) = program(&text) else { return Ok(()) };
        // Of two blocks of captures, one alone is taken for the first.
        prop_assume!(program.values.iter().filter(|value| value.meaning.shape == Shape::Captures).count() < 2);
        let mut rendered: Vec<u8> = Vec::new();
        let mut spans = Vec::new();
        let mut values = values.into_iter();
        for (number, block) in program.blocks.iter().enumerate() {
            let gap = number.checked_sub(1).map(|gap| Step::Value(program.gaps[gap].value));
            for step in gap.iter().chain(&block.steps) {
                match step {
                    Step::Text(text) => rendered.extend_from_slice(text),
                    Step::Blank if rendered.last().is_none_or(|&last| last == b' ') => {}
                    Step::Blank => rendered.push(b' '),
                    &Step::Value(value) => {
                        let wanted = values.next().unwrap_or_default();
                        // The longest beginning of it that is such a value, and does not end in a blank.
                        let fits = |length: &usize| is_value(&program.values[value], &wanted[..*length]) && !wanted[..*length].ends_with(b" ");
                        let Some(length) = (0..=wanted.len()).rev().find(fits) else { return Ok(()) };
                        spans.push((value, (rendered.len(), rendered.len() + length)));
                        rendered.extend_from_slice(&wanted[..length]);
                    }
                }
            }
        }
        // What a line begins with is never a blank.
        prop_assume!(!rendered.starts_with(b" ") && !rendered.ends_with(b" "));
        let mut found = Found::default();
        let result = program.find(&rendered, &mut found);
        prop_assert!(result.is_ok(), "{:?}: {:?}", String::from_utf8_lossy(&rendered), result);
        for (value, span) in spans {
            let is_right = found.is_doubtful(value) || found.span(value) == Some(span);
            prop_assert!(is_right, "{} of {:?}", program.values[value].source.shown(), String::from_utf8_lossy(&rendered));
        }
    }
}
