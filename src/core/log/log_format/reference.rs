//! A reading of lines by trying everything, to hold the real one against: slow and obvious.
//!
//! In: a log-format and a line of few bytes. Out: every way in which the line can be read, and whether the
//! real reader says the same. Compiled for tests and fuzz targets only.

use super::dead_ends::MOST_LOOKED_AT;
use super::items::Meaning;
use super::matching::Found;
use super::nodes;
use super::program::{Program, Step, ValueOf};
use super::shape::Shape;
use crate::core::log::gathering::BAD_REQUEST;

/// Steps after which a line is given up as one that can be read in too many ways.
const MOST_STEPS: usize = 200_000;

/// Holds the reading of `line` in the log-format `format` against all readings there are.
///
/// # Errors
/// What differs. Nothing does if `format` is none, or there are too many readings to try.
pub fn check_line(format: &str, line: &[u8]) -> Result<(), String> {
    program(format).map_or(Ok(()), |program| check(&program, line))
}

/// Writes a line in `format` of beginnings of `values`, and reads it back.
///
/// # Errors
/// What differs. Nothing does if `format` is none, or the values do not fit it.
pub fn check_rendered(format: &str, values: &[&[u8]]) -> Result<(), String> {
    program(format).map_or(Ok(()), |program| rendered(&program, values))
}

/// A program of good pieces only; `None` if they make none.
pub(super) fn program(text: &str) -> Option<Program> {
    let nodes = nodes::read(&super::only_word(text).ok()?).ok().filter(|nodes| !nodes.is_json)?;
    Program::new(&nodes.list).ok()
}

/// A reading of a line: where each value stands.
type Reading = Vec<(usize, usize)>;

/// What a line is made of, blocks and gaps in their order.
fn steps(program: &Program) -> Vec<Step> {
    let mut steps = Vec::new();
    for (number, block) in program.blocks.iter().enumerate() {
        steps.extend(number.checked_sub(1).map(|gap| Step::Value(program.gaps[gap].value)));
        steps.extend(block.steps.iter().cloned());
    }
    steps
}

/// Every way in which `text` can be read, by trying all lengths of all values; `None` if there are too many.
fn readings(program: &Program, text: &[u8], empty: Empty) -> Option<Vec<Reading>> {
    let mut trying = Trying { program, text, empty, left: MOST_STEPS, found: Vec::new() };
    trying.go_on(&steps(program), 0, &mut vec![(0, 0); program.values.len()])?;
    Some(trying.found)
}

/// Which values may be empty.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Empty {
    /// Those that HAProxy writes nothing for.
    AsWritten,
    /// All whose shape has no length.
    Anywhere,
}

/// Readings on their way.
struct Trying<'a> {
    program: &'a Program,
    text: &'a [u8],
    empty: Empty,
    /// Steps that may still be taken.
    left: usize,
    found: Vec<Reading>,
}

impl Trying<'_> {
    /// Tries all that `steps` can be from byte `at` on.
    fn go_on(&mut self, steps: &[Step], at: usize, reading: &mut Reading) -> Option<()> {
        self.left = self.left.checked_sub(1)?;
        let text = self.text;
        let Some((step, rest)) = steps.split_first() else {
            if at == text.len() {
                self.found.push(reading.clone());
            }
            return Some(());
        };
        match step {
            Step::Text(expected) if text[at..].starts_with(expected) => {
                self.go_on(rest, at + expected.len(), reading)
            }
            Step::Text(_) => Some(()),
            Step::Blank if text.get(at) == Some(&b' ') => self.go_on(rest, at + 1, reading),
            Step::Blank if at == 0 || at == text.len() || text[at - 1] == b' ' => {
                self.go_on(rest, at, reading)
            }
            Step::Blank => Some(()),
            &Step::Value(value) => self.try_value(value, rest, at, reading),
        }
    }

    /// Tries all lengths of a value, in quotes and without.
    fn try_value(&mut self, value: usize, rest: &[Step], at: usize, reading: &mut Reading) -> Option<()> {
        let (text, of) = (self.text, &self.program.values[value]);
        for end in at..=text.len() {
            self.left = self.left.checked_sub(1)?;
            let is_empty = at == end && self.empty == Empty::Anywhere && is_of(&of.meaning.shape, b"");
            if is_empty || is_value(of, &text[at..end]) {
                reading[value] = (at, end);
                self.go_on(rest, end, reading)?;
            }
            let quoted = text[at..end].strip_prefix(b"\"").and_then(|inner| inner.strip_suffix(b"\""));
            if let Some(inner) = quoted
                && of.meaning.writing.may_be_quoted
                && (is_of(&of.meaning.shape, inner)
                    || (inner.is_empty() && of.meaning.shape != Shape::Captures))
            {
                reading[value] = (at + 1, end - 1);
                self.go_on(rest, end, reading)?;
            }
        }
        Some(())
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
            text.is_empty()
                || text == BAD_REQUEST
                || (text[0] == b'?' && text.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'"'))
        }
        Shape::Date(length) => text.len() == *length && text[0].is_ascii_digit() && !text.contains(&b'"'),
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
            let is_part = |part: &str| part.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'"');
            text.is_empty() || inner.is_some_and(|inner| inner.split("\" \"").all(is_part))
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

/// Blocks of captures. Of several, one alone is taken for the first, as in httplog: HAProxy's readings are two.
fn captures(program: &Program) -> usize {
    program.values.iter().filter(|value| value.meaning.shape == Shape::Captures).count()
}

/// Whether what is certain is so in every reading, and what is read can be read.
pub(super) fn check(program: &Program, line: &[u8]) -> Result<(), String> {
    let text = line.trim_ascii_end();
    let mut found = Found::default();
    let result = program.find(text, &mut found);
    let Some(all) = readings(program, text, Empty::AsWritten) else { return Ok(()) };
    let shown = text.escape_ascii();
    // Where HAProxy would write a `-` there may be nothing as well, as far as the real reader is concerned.
    let is_lenient = all.is_empty()
        && result.is_ok()
        && readings(program, text, Empty::Anywhere).is_none_or(|all| !all.is_empty());
    // A line that could be cut up in very many ways is looked at less closely.
    let is_glanced_at = all.is_empty() && found.places.len() > MOST_LOOKED_AT;
    if all.is_empty() == result.is_ok() && !is_lenient && !is_glanced_at {
        return Err(format!("{shown}: {result:?}, and there are {} readings", all.len()));
    }
    let one_is_the_first = captures(program) > 1;
    for (number, value) in program.values.iter().enumerate() {
        let is_agreed = one_is_the_first && value.meaning.shape == Shape::Captures;
        let is_certain = result.is_ok() && !found.is_doubtful(number) && !is_agreed;
        if is_certain && all.iter().any(|reading| Some(reading[number]) != found.span(number)) {
            let item = value.source.shown();
            return Err(format!("{item} of {shown}: {:?}, of {all:?}", found.span(number)));
        }
    }
    Ok(())
}

/// Renders `program` with beginnings of `values`, as long as they fit, and reads that back.
pub(super) fn rendered(program: &Program, values: &[&[u8]]) -> Result<(), String> {
    if captures(program) > 1 {
        return Ok(());
    }
    let mut line: Vec<u8> = Vec::new();
    let mut spans = Vec::new();
    let mut values = values.iter();
    for step in steps(program) {
        match step {
            Step::Text(text) => line.extend_from_slice(&text),
            Step::Blank if line.last().is_none_or(|&last| last == b' ') => {}
            Step::Blank => line.push(b' '),
            Step::Value(value) => {
                let wanted = values.next().copied().unwrap_or_default();
                // The longest beginning of it that is such a value, and does not end in a blank.
                let fits = |&length: &usize| {
                    let text = &wanted[..length];
                    is_value(&program.values[value], text) && !text.ends_with(b" ")
                };
                let Some(length) = (0..=wanted.len()).rev().find(fits) else { return Ok(()) };
                spans.push((value, (line.len(), line.len() + length)));
                line.extend_from_slice(&wanted[..length]);
            }
        }
    }
    // What a line begins with is never a blank.
    if line.trim_ascii() != line {
        return Ok(());
    }
    let mut found = Found::default();
    program.find(&line, &mut found).map_err(|stop| format!("{}: {stop:?}", line.escape_ascii()))?;
    let wrong =
        spans.into_iter().find(|&(value, span)| !found.is_doubtful(value) && found.span(value) != Some(span));
    wrong.map_or(Ok(()), |(value, span)| {
        let (item, found) = (program.values[value].source.shown(), found.span(value));
        Err(format!("{item} of {}: {found:?} instead of {span:?}", line.escape_ascii()))
    })
}
