//! A log-format as something to run over a line: blocks, and between them values whose end is searched.
//!
//! In: nodes. Out: a [`Program`]. Most values end by themselves: a number at the `/` behind it, a name at a
//! blank. They and the text around them make up blocks, which match at a place or do not. A value
//! that what follows could be part of (any raw text; an IPv6 address before `:port`) stands between two
//! blocks, and ends wherever the next block can begin.

use memchr::memmem::Finder;

use super::error::{LogFormatError, LogFormatErrorKind};
use super::items::{self, Meaning, Target};
use super::nodes::{Item, Node, Source};
use super::samples;
use super::shape::{Bytes, Shape};
use crate::core::log::field::Field;

/// How lines of a log-format are taken apart.
#[derive(Clone, Debug)]
pub(super) struct Program {
    /// One more than there are `gaps`.
    pub(super) blocks: Vec<Block>,
    pub(super) gaps: Vec<Gap>,
    pub(super) values: Vec<ValueOf>,
}

/// Text and values that match at a place or do not.
#[derive(Clone, Debug, Default)]
pub(super) struct Block {
    pub(super) steps: Vec<Step>,
    /// What it begins with, where that is always the same.
    pub(super) anchor: Option<Finder<'static>>,
}

/// One step of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Text(Vec<u8>),
    /// A blank that is not there if a value before it was not.
    Blank,
    /// The value of that number.
    Value(usize),
}

/// A value whose end is searched for, between two blocks.
#[derive(Clone, Debug)]
pub(super) struct Gap {
    pub(super) value: usize,
    pub(super) bytes: Bytes,
    pub(super) is_any: bool,
    /// How many bytes it has at least.
    pub(super) least: usize,
    /// What more than its bytes it has to be like; `None` if that is all.
    pub(super) shape: Option<Shape>,
    /// Quotes may stand around it.
    pub(super) may_be_quoted: bool,
}

impl Gap {
    fn new(value: usize, meaning: &Meaning) -> Self {
        let may_be_quoted = meaning.writing.may_be_quoted;
        let (bytes, least) = meaning.shape.run();
        let bytes = Bytes::of(|byte| bytes.has(byte) || (may_be_quoted && byte == b'"'));
        let is_run = matches!(meaning.shape, Shape::Run(..)) && !may_be_quoted;
        let shape = (!is_run).then(|| meaning.shape.clone());
        Self { value, is_any: bytes.is_all(), bytes, least, shape, may_be_quoted }
    }

    /// Where the value itself stands between bytes `begin` and `end` of `text`.
    pub(super) fn span(&self, text: &[u8], begin: usize, end: usize) -> (usize, usize) {
        let is_quoted = self.may_be_quoted && matches!(text[begin..end], [b'"', .., b'"']);
        if is_quoted { (begin + 1, end - 1) } else { (begin, end) }
    }

    /// Whether `text[begin..end]` can be the value, quotes included.
    pub(super) fn holds(&self, text: &[u8], begin: usize, end: usize) -> bool {
        let Some(shape) = &self.shape else {
            return self.is_any || text[begin..end].iter().all(|&byte| self.bytes.has(byte));
        };
        let inner = self.span(text, begin, end);
        let is_empty = inner.0 == inner.1 && inner != (begin, end) && *shape != Shape::Captures;
        let inner = &text[inner.0..inner.1];
        is_empty || shape.length(inner) == Ok(inner.len())
    }
}

/// An item, and what it means.
#[derive(Clone, Debug)]
pub(super) struct ValueOf {
    pub(super) meaning: Meaning,
    pub(super) position: usize,
    pub(super) source: Source,
}

/// What `item` means.
///
/// # Errors
/// HAProxy has no such item.
pub(super) fn value_of(item: &Item) -> Result<ValueOf, LogFormatError> {
    let meaning = match &item.source {
        Source::Sample(expression) => samples::meaning(expression, item.flags),
        Source::Alias(name) => items::meaning(name, item.flags).ok_or_else(|| {
            LogFormatError::new(item.position, LogFormatErrorKind::UnknownItem(name.clone()))
        })?,
    };
    Ok(ValueOf { meaning, position: item.position, source: item.source.clone() })
}

impl Program {
    /// # Errors
    /// An item is not known, or cannot be read at its place.
    pub(super) fn new(nodes: &[Node]) -> Result<Self, LogFormatError> {
        let (steps, mut values) = steps_of(nodes)?;
        drop_second_ones(&mut values);
        let mut program = Self { blocks: Vec::new(), gaps: Vec::new(), values };
        let mut block = Block::default();
        for (at, step) in steps.iter().enumerate() {
            if let &Step::Value(value) = step
                && program.needs_search(value, &steps[at + 1..])
            {
                program.end_block(std::mem::take(&mut block));
                program.gaps.push(Gap::new(value, &program.values[value].meaning));
            } else {
                block.steps.push(step.clone());
            }
        }
        program.end_block(block);
        Ok(program)
    }

    fn end_block(&mut self, mut block: Block) {
        block.anchor = match block.steps.first() {
            Some(Step::Text(text)) => Some(Finder::new(text).into_owned()),
            _ => None,
        };
        self.blocks.push(block);
    }

    /// Whether what follows the value could be part of it.
    fn needs_search(&self, value: usize, after: &[Step]) -> bool {
        let meaning = &self.values[value].meaning;
        if meaning.shape == Shape::CaptureList && self.is_quote_next(after) {
            return true;
        }
        let mut goes_on = meaning.shape.goes_on();
        if meaning.shape == Shape::Captures && meaning.writing.may_be_quoted {
            goes_on = Bytes::of(|byte| matches!(byte, b'{' | b'"'));
        }
        for step in after {
            match step {
                Step::Text(text) => return text.first().is_some_and(|&byte| goes_on.has(byte)),
                Step::Blank if goes_on.has(b' ') => return true,
                // It vanishes with captures that are not there.
                Step::Blank if meaning.writing.may_vanish => {}
                Step::Blank => return false,
                &Step::Value(next) => {
                    let next = &self.values[next].meaning;
                    if meaning.shape == Shape::Captures && next.shape == Shape::Captures {
                        // One block alone is taken for the first, as in httplog.
                        continue;
                    }
                    let first = next.shape.first();
                    if goes_on.overlaps(&first) || (next.writing.may_be_quoted && goes_on.has(b'"')) {
                        return true;
                    }
                    if !can_be_empty(next) {
                        return false;
                    }
                }
            }
        }
        false
    }

    /// A further text in quotes follows, perhaps behind another list.
    fn is_quote_next(&self, after: &[Step]) -> bool {
        let next = after.iter().find(|step| match step {
            Step::Blank => false,
            &&Step::Value(value) => self.values[value].meaning.shape != Shape::CaptureList,
            Step::Text(text) => text.as_slice() != b" ",
        });
        matches!(next, Some(Step::Text(text)) if text.trim_ascii_start().starts_with(b"\""))
    }
}

fn can_be_empty(meaning: &Meaning) -> bool {
    let Meaning { shape, writing, .. } = meaning;
    writing.may_vanish
        || (!writing.is_quoted && matches!(shape, Shape::Run(_, 0) | Shape::Query | Shape::Escaped))
}

/// Each field is told by the item that tells it best, or first; the other items of it tell nothing.
fn drop_second_ones(values: &mut [ValueOf]) {
    for at in 0..values.len() {
        let target = values[at].meaning.target;
        let is_better = |other: Target| match target {
            Target::BarePath | Target::Query => {
                matches!(other, Target::Field(Field::Path) | Target::RequestLine)
            }
            Target::AcceptDate => other == Target::Field(Field::AcceptDate),
            Target::AcceptSeconds => {
                matches!(other, Target::AcceptDate | Target::Field(Field::AcceptDate))
            }
            _ => false,
        };
        let is_second = target != Target::Nothing
            && values.iter().enumerate().any(|(other_at, other)| {
                let other = other.meaning.target;
                (other_at < at && other == target) || is_better(other)
            });
        if is_second {
            values[at].meaning.target = Target::Nothing;
        }
    }
}

/// Nodes to steps: blanks that are always there become text, quotes around values too.
fn steps_of(nodes: &[Node]) -> Result<(Vec<Step>, Vec<ValueOf>), LogFormatError> {
    let mut building = Building { steps: Vec::new(), values: Vec::new() };
    let mut vanishes = true;
    for (at, node) in nodes.iter().enumerate() {
        match node {
            Node::Text(text) => {
                building.text(text);
                vanishes = false;
            }
            Node::Blank if vanishes || is_tail_optional(&nodes[at + 1..]) => building.steps.push(Step::Blank),
            Node::Blank => building.text(b" "),
            Node::Item(item) => vanishes = building.item(item)?,
        }
    }
    // What a line begins and ends with is trimmed, so a blank there would never be found.
    while building.steps.last() == Some(&Step::Blank) {
        building.steps.pop();
    }
    Ok((building.steps, building.values))
}

/// All that follows may be written as nothing, and then the line ends before its last blank.
fn is_tail_optional(nodes: &[Node]) -> bool {
    nodes.iter().all(|node| match node {
        Node::Text(_) => false,
        Node::Blank => true,
        Node::Item(item) => value_of(item).is_ok_and(|value| can_be_empty(&value.meaning)),
    })
}

struct Building {
    steps: Vec<Step>,
    values: Vec<ValueOf>,
}

impl Building {
    fn text(&mut self, text: &[u8]) {
        match self.steps.last_mut() {
            Some(Step::Text(last)) => last.extend_from_slice(text),
            _ => self.steps.push(Step::Text(text.to_vec())),
        }
    }

    /// Whether it may vanish.
    fn item(&mut self, item: &Item) -> Result<bool, LogFormatError> {
        let mut value = value_of(item)?;
        if self.joins_seconds(&value) || self.joins_path(&value) {
            return Ok(false);
        }
        let is_quoted = value.meaning.writing.is_quoted;
        if is_quoted {
            self.text(b"\"");
            // Quotes with nothing in them stand for nothing.
            if let Shape::Run(_, least) = &mut value.meaning.shape {
                *least = 0;
            }
        }
        let vanishes = value.meaning.writing.may_vanish;
        self.steps.push(Step::Value(self.values.len()));
        self.values.push(value);
        if is_quoted {
            self.text(b"\"");
        }
        Ok(vanishes)
    }

    /// `%HP%HQ` is one target, with its query.
    fn joins_path(&mut self, value: &ValueOf) -> bool {
        let Some(Step::Value(path)) = self.steps.last() else { return false };
        let path = &mut self.values[*path].meaning;
        let is_path = path.target == Target::BarePath && path.writing == value.meaning.writing;
        if !is_path || value.meaning.target != Target::Query {
            return false;
        }
        path.target = Target::Field(Field::Path);
        if path.shape != Shape::Escaped {
            path.shape = Shape::word();
        }
        true
    }

    /// `%Ts.%ms` is one number with a fraction.
    fn joins_seconds(&mut self, value: &ValueOf) -> bool {
        let is_millis = value.source == Source::Alias("ms".to_owned());
        let [.., Step::Value(seconds), Step::Text(dot)] = self.steps.as_slice() else { return false };
        if !is_millis || dot != b"." || self.values[*seconds].meaning.target != Target::AcceptSeconds {
            return false;
        }
        let digits = Bytes::of(|byte| byte.is_ascii_digit() || byte == b'.');
        self.values[*seconds].meaning.shape = Shape::Run(digits, 1);
        self.steps.pop();
        true
    }
}
