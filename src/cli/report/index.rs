//! Where the account is of `backend/server`: a hash table for short texts.
//!
//! Asked once for each line, so it looks at a window of the line instead of at each byte: at the first
//! 31 bytes at once, and only of longer texts at the rest. Backends and servers come from HAProxy's
//! configuration: nobody outside can choose them so that they collide.

use crate::core::log::fast::{Names, WINDOW};
use crate::core::log::lanes::Pattern;

/// Texts and their numbers, from 0 on in the order in which they came.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    /// Each in the slot of its hash, or in the next one that was free. Mostly empty: a second look costs
    /// more than memory that nobody touches.
    slots: Vec<Slot>,
    texts: Vec<Box<[u8]>>,
}

/// Room for a text; empty without a number.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    /// The text and the blank behind it, or what of them fits in.
    text: Pattern<2>,
    is_whole: bool,
    number: Option<u32>,
}

/// Bytes of a text and its blank that a slot has room for.
const SLOT: usize = 32;

/// Slots of the first table.
const FEWEST: usize = 1024;

/// Slots for each text, at least.
const SPARE: usize = 8;

/// Texts that are kept, as many as the agent's own table of names has room for. A log that was damaged all
/// over shall not fill the memory.
const MOST: usize = 1 << 17;

impl Index {
    /// The number of these names.
    #[inline(always)]
    pub(super) fn find(&self, names: Names<'_>) -> Option<usize> {
        let mut at = self.slot(names);
        loop {
            let slot = self.slots.get(at)?;
            let number = slot.number?;
            if slot.text.begins(names.window)
                && (slot.is_whole || *self.texts[number as usize] == *names.text)
            {
                return Some(number as usize);
            }
            at = (at + 1) % self.slots.len();
        }
    }

    /// The number of `text`, given out now if it is new; `None` if there is no room.
    pub(super) fn insert(&mut self, text: &[u8]) -> Option<usize> {
        let window = &window(text);
        if let Some(number) = self.find(Names { window, text }) {
            return Some(number);
        }
        if self.texts.len() >= MOST {
            return None;
        }
        if self.slots.len() <= SPARE * self.texts.len() {
            self.slots = vec![Slot::default(); (2 * self.slots.len()).max(FEWEST)];
            (0..self.texts.len()).for_each(|number| self.place(number));
        }
        self.texts.push(text.into());
        self.place(self.texts.len() - 1);
        Some(self.texts.len() - 1)
    }

    /// All texts, by number.
    pub(super) fn texts(&self) -> &[Box<[u8]>] {
        &self.texts
    }

    /// Puts a text that is not there yet into its slot.
    fn place(&mut self, number: usize) {
        let text = &self.texts[number];
        let window = &window(text);
        let mut at = self.slot(Names { window, text });
        let length = SLOT.min(text.len() + 1);
        while self.slots[at].number.is_some() {
            at = (at + 1) % self.slots.len();
        }
        self.slots[at] = Slot {
            text: Pattern::new(&window[..length]).unwrap_or_default(),
            is_whole: text.len() < SLOT,
            number: Some(number as u32),
        };
    }

    /// Where to look first. There is a power of two of them.
    #[inline(always)]
    fn slot(&self, names: Names<'_>) -> usize {
        hash(names) & self.slots.len().wrapping_sub(1)
    }
}

/// The start of `text` as it stands in a line, where a blank follows.
fn window(text: &[u8]) -> [u8; WINDOW] {
    let mut window = [b' '; WINDOW];
    window.iter_mut().zip(text).for_each(|(own, &byte)| *own = byte);
    window
}

/// Of the first, the middle and the last eight bytes; of shorter texts, of all of them.
#[inline(always)]
fn hash(names: Names<'_>) -> usize {
    /// Any numbers with many ones and zeros.
    const NOISE: [u64; 2] = [0x9E37_79B9_7F4A_7C15, 0xD6E8_FEB8_6659_FD93];
    let length = names.text.len().min(WINDOW);
    let first = word(names.window, 0);
    let words = if length < 8 {
        [first & !(u64::MAX << (8 * length)), 0]
    } else {
        [first ^ word(names.window, length / 2 - 4).rotate_left(29), word(names.window, length - 8)]
    };
    // Each bit of a product's middle depends on all bits of both.
    let product = u128::from(words[0] ^ NOISE[0]) * u128::from(words[1] ^ NOISE[1]);
    (product ^ product >> 64) as usize
}

/// The eight bytes from `at` on.
#[inline(always)]
fn word(window: &[u8; WINDOW], at: usize) -> u64 {
    // There are always so many.
    window.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |word| u64::from_le_bytes(*word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn find(index: &Index, text: &[u8]) -> Option<usize> {
        index.find(Names { window: &window(text), text })
    }

    proptest! {
        #[test]
        fn it_is_a_map(texts in proptest::collection::vec("[a-c]{0,3}/[a-c]{0,20}|[a-b]{0,2}/x{22,70}[a-b]", 0..600)) {
            let (mut index, mut expected) = (Index::default(), HashMap::new());
            for text in &texts {
                prop_assert_eq!(find(&index, text.as_bytes()), expected.get(text).copied());
                let next = expected.len();
                let number = *expected.entry(text.clone()).or_insert(next);
                prop_assert_eq!(index.insert(text.as_bytes()), Some(number));
            }
            for (text, number) in expected {
                prop_assert_eq!(find(&index, text.as_bytes()), Some(number));
                prop_assert_eq!(&*index.texts()[number], text.as_bytes());
            }
        }
    }

    #[test]
    fn names_as_people_give_them_do_not_crowd() {
        let (backends, mut index) = (["app", "api", "static_assets", "search-backend"], Index::default());
        for number in 0..50 {
            for backend in backends {
                for server in
                    [format!("s{number}"), format!("web-{number:02}"), format!("10.0.0.{number}:8080")]
                {
                    index.insert(format!("{backend}/{server}").as_bytes());
                }
            }
        }
        let is_crowded = |(at, slot): &(usize, &Slot)| {
            let text = slot.number.map(|number| &*index.texts[number as usize]);
            text.is_some_and(|text| index.slot(Names { window: &window(text), text }) != *at)
        };
        let crowded = index.slots.iter().enumerate().filter(is_crowded).count();
        assert!(crowded * 10 < index.texts.len(), "{crowded} of {} are not in their slot", index.texts.len());
    }

    #[test]
    fn what_has_no_room_is_told_and_the_rest_is_still_there() {
        let mut index = Index::default();
        let text = |number: usize| format!("be/{number}").into_bytes();
        assert!((0..MOST).all(|number| index.insert(&text(number)) == Some(number)));
        assert_eq!((index.insert(&text(MOST)), index.insert(&text(7))), (None, Some(7)));
    }
}
