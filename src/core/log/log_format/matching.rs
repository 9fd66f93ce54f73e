//! Runs a [`Program`] over a line: where each block stands, and whether it could stand elsewhere.
//!
//! All places are looked for at which a block can stand after the one before it and before the one
//! behind it. If there is one, its values are certain; if there are more, somebody may have written
//! something into a value that looks like the rest of the line, and the values are not to be
//! trusted. Costs a search of the line for each value that does not end by itself.

use super::program::{Block, Gap, Program, Step};
use super::shape::Shape;

/// Where the values of one line are. Kept from line to line, so that nothing is allocated.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    /// By value; `None` if it was not reached.
    spans: Vec<Option<(usize, usize)>>,
    /// The values that stand somewhere else in another reading of the line.
    is_doubtful: Vec<bool>,
    /// Places of all blocks, in order.
    pub(super) places: Vec<Place>,
    /// Where the places of each block begin.
    begins: Vec<usize>,
    /// Bytes at which places end or begin, sorted.
    pub(super) ends: Vec<usize>,
}

/// Where a block may stand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) begin: usize,
    pub(super) end: usize,
    /// It leads from the start of the line to its end.
    pub(super) is_good: bool,
}

/// Places of a block whose values are compared; of one with more, all are in doubt.
const MOST_COMPARED: usize = 64;

/// Why a line is not of a format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stop {
    /// The byte at which no reading could go on.
    pub(super) offset: usize,
    /// The value last looked at.
    pub(super) value: Option<usize>,
    /// The line ended there: it may have been cut.
    pub(super) is_at_end: bool,
}

impl Found {
    /// Where a value stands; `None` if it was not reached.
    pub(super) fn span(&self, value: usize) -> Option<(usize, usize)> {
        self.spans.get(value).copied().flatten()
    }

    /// The line can be read in another way, with this value elsewhere.
    pub(super) fn is_doubtful(&self, value: usize) -> bool {
        self.is_doubtful.get(value).copied().unwrap_or(true)
    }

    fn clear(&mut self, values: usize) {
        self.places.clear();
        self.begins.clear();
        self.spans.clear();
        self.spans.resize(values, None);
        self.is_doubtful.clear();
        self.is_doubtful.resize(values, false);
    }

    pub(super) fn places_of(&self, block: usize) -> std::ops::Range<usize> {
        let begin = self.begins.get(block).copied().unwrap_or(self.places.len());
        begin..self.begins.get(block + 1).copied().unwrap_or(self.places.len())
    }
}

impl Program {
    /// Finds the values of `text`, which has no white space at its end.
    ///
    /// # Errors
    /// It is not of this format. If it may have been cut and what stands before the cut is certain, the
    /// values before it have been found.
    pub(super) fn find(&self, text: &[u8], found: &mut Found) -> Result<(), Stop> {
        found.clear(self.values.len());
        let mut tried_again = false;
        for number in 0..self.blocks.len() {
            let tries = self.place_block(number, text, found)?;
            tried_again |= tries > 1;
        }
        let is_certain = found.places.len() == self.blocks.len();
        if !is_certain || self.gaps.iter().any(|gap| gap.shape.is_some()) {
            self.drop_dead_ends(text, found);
            if let (false, Some(gap)) = (found.places[0].is_good, self.gaps.first()) {
                let value = Some(gap.value);
                return Err(Stop { offset: found.places[0].end, value, is_at_end: false });
            }
        }
        self.keep_values(text, found, is_certain && !tried_again);
        Ok(())
    }

    /// Finds all places of a block behind the block before it. How often it was tried.
    fn place_block(&self, number: usize, text: &[u8], found: &mut Found) -> Result<usize, Stop> {
        let is_last = number + 1 == self.blocks.len();
        let before = number.checked_sub(1).map_or(0..0, |before| found.places_of(before));
        let begin = found.places.len();
        found.begins.push(begin);
        let mut trial = Trial::default();
        if let Some(gap) = number.checked_sub(1).and_then(|gap| self.gaps.get(gap)) {
            found.ends.clear();
            found.ends.extend(found.places[before].iter().map(|place| place.end));
            found.ends.sort_unstable();
            let ends = std::mem::take(&mut found.ends);
            let block = &self.blocks[number];
            for_each_begin(block, gap, text, &ends, is_last, |at| {
                self.try_at(number, text, at, is_last, found, &mut trial);
            });
            if found.places.len() == begin && trial.tries == 0 {
                trial.furthest = Some(gap.stop(text, &ends));
                if let Some(at) = block.begin_of_cut(text, &ends) {
                    self.try_at(number, text, at, is_last, found, &mut trial);
                }
            }
            found.ends = ends;
        } else {
            self.try_at(number, text, 0, is_last, found, &mut trial);
        }
        if found.places.len() > begin {
            return Ok(trial.tries);
        }
        let stop = trial.furthest.unwrap_or(stop(text, text.len(), None));
        if stop.is_at_end {
            self.keep_values_before_cut(number, text, trial, found);
        }
        Err(stop)
    }

    /// Tries a block at byte `at`.
    fn try_at(
        &self,
        number: usize,
        text: &[u8],
        at: usize,
        is_last: bool,
        found: &mut Found,
        trial: &mut Trial,
    ) {
        trial.tries += 1;
        let stop = match self.run(&self.blocks[number], text, at, &mut found.spans) {
            Ok(end) if !is_last || end == text.len() => {
                found.places.push(Place { begin: at, end, is_good: true });
                return;
            }
            Ok(end) => Stop { offset: end, value: None, is_at_end: false },
            Err(stop) => stop,
        };
        if stop.is_at_end {
            trial.at_end += 1;
            trial.begin_at_end = at;
        }
        if trial.furthest.is_none_or(|furthest| furthest.offset < stop.offset) {
            trial.furthest = Some(stop);
        }
    }

    /// Runs a block at byte `at` and notes its values. Where it ends.
    fn run(
        &self,
        block: &Block,
        text: &[u8],
        mut at: usize,
        spans: &mut [Option<(usize, usize)>],
    ) -> Result<usize, Stop> {
        let mut last = None;
        for step in &block.steps {
            match step {
                Step::Text(expected) => {
                    let rest = &text[at..];
                    if !rest.starts_with(expected) {
                        let same = rest.iter().zip(expected).take_while(|(a, b)| a == b).count();
                        return Err(stop(text, at + same, last));
                    }
                    at += expected.len();
                }
                Step::Blank if text.get(at) == Some(&b' ') => at += 1,
                Step::Blank if at == 0 || at == text.len() || text[at - 1] == b' ' => {}
                Step::Blank => return Err(stop(text, at, last)),
                &Step::Value(value) => {
                    last = Some(value);
                    let writing = self.values[value].meaning.writing;
                    let shape = &self.values[value].meaning.shape;
                    // Captures that are not there have no quotes either.
                    let opening: &[u8] = if *shape == Shape::Captures { b"\"{" } else { b"\"" };
                    let is_quoted = writing.may_be_quoted && text[at..].starts_with(opening);
                    let quote = usize::from(is_quoted);
                    let begin = at + quote;
                    let rest = text.get(begin..).unwrap_or_default();
                    let length = match shape.length(rest) {
                        Ok(length) => length,
                        Err(0) if quote == 1 && rest.first() == Some(&b'"') => 0,
                        Err(wrong) => return Err(stop(text, begin + wrong, last)),
                    };
                    at = begin + length + quote;
                    if quote == 1 && text.get(at - 1) != Some(&b'"') {
                        return Err(stop(text, (at - 1).min(text.len()), last));
                    }
                    spans[value] = Some((begin, begin + length));
                }
            }
        }
        Ok(at)
    }

    /// Notes the values of a line that was cut before or inside a block, as far as they are certain: up to the
    /// first value from outside, behind which anything may have been written.
    fn keep_values_before_cut(&self, number: usize, text: &[u8], trial: Trial, found: &mut Found) {
        found.spans.iter_mut().for_each(|span| *span = None);
        let is_own = |gap: &Gap| !self.values[gap.value].meaning.is_foreign;
        let (gap, gaps_before) = match number.checked_sub(1) {
            Some(last) => (self.gaps.get(last), &self.gaps[..last]),
            None => (None, &self.gaps[..0]),
        };
        if found.places.len() != number || !gaps_before.iter().all(is_own) {
            return;
        }
        self.keep_values_before(number, text, found);
        if trial.at_end == 1 && gap.is_none_or(is_own) {
            if let (Some(gap), Some(before)) = (gap, found.places.last()) {
                found.spans[gap.value] = Some(gap.span(text, before.end, trial.begin_at_end));
            }
            // What it finds before it fails is what is wanted.
            let _ = self.run(&self.blocks[number], text, trial.begin_at_end, &mut found.spans);
        }
    }

    /// Notes the values of the good place of each block, and doubts what is elsewhere in another good one.
    fn keep_values(&self, text: &[u8], found: &mut Found, has_spans: bool) {
        let mut end_before = (0, true);
        for (number, block) in self.blocks.iter().enumerate() {
            let places = found.places_of(number);
            let mut good = found.places[places].iter().filter(|place| place.is_good);
            let (first, is_certain) = (good.next().copied(), good.next().is_none());
            let Some(place) = first else { return };
            if !has_spans {
                let _ = self.run(block, text, place.begin, &mut found.spans);
            }
            if !is_certain {
                self.doubt_others(number, text, found);
            }
            if let Some(gap) = number.checked_sub(1).and_then(|gap| self.gaps.get(gap)) {
                found.spans[gap.value] = Some(gap.span(text, end_before.0, place.begin));
                found.is_doubtful[gap.value] = !(is_certain && end_before.1);
            }
            end_before = (place.end, is_certain);
        }
    }

    /// Doubts the values of a block that stand elsewhere in another of its good places.
    #[cold]
    fn doubt_others(&self, number: usize, text: &[u8], found: &mut Found) {
        let block = &self.blocks[number];
        let values = block.steps.iter().filter_map(|step| match step {
            &Step::Value(value) => Some(value),
            Step::Text(_) | Step::Blank => None,
        });
        let places = found.places_of(number).filter(|&at| found.places[at].is_good);
        let (others, mut spans): (Vec<usize>, _) = (places.skip(1).collect(), found.spans.clone());
        let are_too_many = others.len() > MOST_COMPARED;
        for at in others.into_iter().take(MOST_COMPARED) {
            let _ = self.run(block, text, found.places[at].begin, &mut spans);
            for value in values.clone() {
                found.is_doubtful[value] |= are_too_many || spans[value] != found.spans[value];
            }
        }
    }

    /// Notes the values of the blocks before a cut, each of which has one place.
    fn keep_values_before(&self, number: usize, text: &[u8], found: &mut Found) {
        let mut end_before = 0;
        for at in 0..number {
            let Place { begin, end, .. } = found.places[at];
            let _ = self.run(&self.blocks[at], text, begin, &mut found.spans);
            if let Some(gap) = at.checked_sub(1).map(|gap| &self.gaps[gap]) {
                found.spans[gap.value] = Some(gap.span(text, end_before, begin));
            }
            end_before = end;
        }
    }
}

/// What came of trying a block at several places.
#[derive(Clone, Copy, Debug, Default)]
struct Trial {
    tries: usize,
    furthest: Option<Stop>,
    /// How often the line ended before the block did.
    at_end: usize,
    begin_at_end: usize,
}

fn stop(text: &[u8], offset: usize, value: Option<usize>) -> Stop {
    Stop { offset, value, is_at_end: offset >= text.len() }
}

impl Gap {
    /// Where the value ends without what should follow it.
    fn stop(&self, text: &[u8], ends: &[usize]) -> Stop {
        let begin = ends.last().copied().unwrap_or(text.len()).min(text.len());
        let length = text[begin..].iter().position(|&byte| !self.is_any && !self.bytes.has(byte));
        stop(text, length.map_or(text.len(), |length| begin + length), Some(self.value))
    }
}

impl Block {
    /// Where it begins in a line that was cut inside the text it begins with.
    fn begin_of_cut(&self, text: &[u8], ends: &[usize]) -> Option<usize> {
        let needle = self.anchor.as_ref()?.needle();
        let from = text.len().saturating_sub(needle.len() - 1).max(ends.first().copied()?);
        (from..text.len()).find(|&at| needle.starts_with(&text[at..]))
    }
}

/// Calls `each` for every byte at which `block` may begin: its first text is there, and all between it and
/// one of `ends`, the places where the block before may have ended, can be the value in `gap`.
fn for_each_begin(
    block: &Block,
    gap: &Gap,
    text: &[u8],
    ends: &[usize],
    is_last: bool,
    mut each: impl FnMut(usize),
) {
    let (Some(&first), Some(&last)) = (ends.first(), ends.last()) else { return };
    let (mut looked_at, mut good_from, mut next_end) = (first, first, 0);
    // Whether the block may begin at `at`; `None` if it may neither there nor anywhere behind.
    let mut may_begin = |at: usize| {
        if !gap.is_any {
            while looked_at < at {
                if !gap.bytes.has(text[looked_at]) {
                    good_from = looked_at + 1;
                }
                looked_at += 1;
            }
        }
        while ends.get(next_end).is_some_and(|&end| end + gap.least <= at) {
            next_end += 1;
        }
        let nearest = next_end.checked_sub(1).map(|end| ends[end]);
        if nearest.is_some_and(|end| end >= good_from) {
            return Some(true);
        }
        if good_from > last { None } else { Some(false) }
    };
    let mut consider = |at: usize| match may_begin(at) {
        Some(true) => {
            each(at);
            true
        }
        Some(false) => true,
        None => false,
    };
    let begin = first + gap.least;
    if block.steps.is_empty() && is_last {
        consider(text.len());
        return;
    }
    let Some(rest) = text.get(begin..) else { return };
    match &block.anchor {
        Some(anchor) => {
            let mut from = 0;
            while let Some(at) = anchor.find(&rest[from..]) {
                if !consider(begin + from + at) {
                    return;
                }
                from += at + 1;
            }
        }
        None => {
            let _ = (begin..=text.len()).all(consider);
        }
    }
}
