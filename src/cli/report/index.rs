//! Where the account is of `backend/server`: a hash table for short texts.
//!
//! Asked once for each line, so it looks at words of the text instead of at each byte: the first and
//! the last eight bytes, which up to sixteen are all of it, and of longer ones two more. Backends
//! and servers come from HAProxy's configuration: nobody outside can choose them so that they collide.

/// Texts and their numbers, from 0 on in the order in which they came.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    /// Each in the slot of its key, or in the next one that was free. Mostly empty: a second look costs a
    /// processor more than memory that nobody touches.
    slots: Vec<Option<(Key, u32)>>,
    texts: Vec<Box<[u8]>>,
}

/// The first and the last eight bytes, and the length; of longer texts the rest is mixed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Key {
    first: u64,
    last: u64,
    length: u32,
}

/// Up to this length the key is all there is.
const WHOLE: u32 = 16;

/// Slots of the first table.
const FEWEST: usize = 4096;

/// Slots for each text, at least.
const SPARE: usize = 8;

/// Texts that are kept, as many as the agent's own table of names has room for. A log that was damaged all
/// over shall not fill the memory.
const MOST: usize = 1 << 17;

impl Index {
    /// The number of `text`.
    #[inline(always)]
    pub(super) fn find(&self, text: &[u8]) -> Option<usize> {
        let key = Key::of(text);
        let mut at = key.slot(self.slots.len());
        loop {
            let &(found, number) = self.slots.get(at)?.as_ref()?;
            if found == key && (key.length <= WHOLE || *self.texts[number as usize] == *text) {
                return Some(number as usize);
            }
            at = (at + 1) % self.slots.len();
        }
    }

    /// The number of `text`, given out now if it is new; `None` if there is no room.
    pub(super) fn insert(&mut self, text: &[u8]) -> Option<usize> {
        if let Some(number) = self.find(text) {
            return Some(number);
        }
        if self.texts.len() >= MOST {
            return None;
        }
        if self.slots.len() <= SPARE * self.texts.len() {
            self.slots = vec![None; (2 * self.slots.len()).max(FEWEST)];
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
        let key = Key::of(&self.texts[number]);
        let mut at = key.slot(self.slots.len());
        while self.slots[at].is_some() {
            at = (at + 1) % self.slots.len();
        }
        self.slots[at] = Some((key, number as u32));
    }
}

impl Key {
    #[inline(always)]
    fn of(text: &[u8]) -> Self {
        // Lines are shorter than 4 GiB.
        let length = text.len() as u32;
        let (Some(first), Some(last)) = (text.first_chunk(), text.last_chunk()) else {
            let first = text.iter().fold(0, |word, &byte| word << 8 | u64::from(byte));
            return Self { first, last: 0, length };
        };
        let (first, last) = (u64::from_le_bytes(*first), u64::from_le_bytes(*last));
        if let (Some(second), Some(third)) = (word(text, 8), word(text, text.len().wrapping_sub(16))) {
            // What two long texts differ in may be in the middle.
            return Self { first: first ^ second.rotate_left(7) ^ third.rotate_left(31), last, length };
        }
        Self { first, last, length }
    }

    /// Of so many, a power of two. Names often differ in one digit only, which may be the lowest or the
    /// highest byte of a word; up to eight bytes the two words are the same.
    #[inline(always)]
    fn slot(self, slots: usize) -> usize {
        const ODD: u64 = 0x9E37_79B9_7F4A_7C15;
        let mixed = (self.first.wrapping_mul(ODD) ^ self.last.rotate_left(17)).wrapping_mul(ODD);
        let mixed = (mixed ^ mixed >> 32).wrapping_mul(ODD);
        (mixed >> 32) as usize & slots.wrapping_sub(1)
    }
}

/// The eight bytes from `at` on.
#[inline(always)]
fn word(text: &[u8], at: usize) -> Option<u64> {
    text.get(at..)?.first_chunk().copied().map(u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    proptest! {
        #[test]
        fn it_is_a_map(texts in proptest::collection::vec("[a-c]{0,3}/[a-c]{0,20}", 0..600)) {
            let (mut index, mut expected) = (Index::default(), HashMap::new());
            for text in &texts {
                prop_assert_eq!(index.find(text.as_bytes()), expected.get(text).copied());
                let next = expected.len();
                let number = *expected.entry(text.clone()).or_insert(next);
                prop_assert_eq!(index.insert(text.as_bytes()), Some(number));
            }
            for (text, number) in expected {
                prop_assert_eq!(index.find(text.as_bytes()), Some(number));
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
        let slots = index.slots.len();
        let crowded =
            |(at, slot): (usize, &Option<(Key, u32)>)| slot.is_some_and(|(key, _)| key.slot(slots) != at);
        let crowded = index.slots.iter().enumerate().filter(|&slot| crowded(slot)).count();
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
