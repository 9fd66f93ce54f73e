//! What is to happen when: the earliest first, and of several at one moment the one that was entered first.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

/// Things to come, each at a time (seconds, or any other measure that only grows).
#[derive(Clone, Debug)]
pub(super) struct Agenda<T> {
    heap: BinaryHeap<Reverse<Entry<T>>>,
    entered: u64,
}

#[derive(Clone, Debug)]
struct Entry<T> {
    at: f64,
    place: u64,
    what: T,
}

impl<T> Agenda<T> {
    pub(super) fn new() -> Self {
        Self { heap: BinaryHeap::new(), entered: 0 }
    }

    pub(super) fn enter(&mut self, at: f64, what: T) {
        self.entered += 1;
        self.heap.push(Reverse(Entry { at, place: self.entered, what }));
    }

    /// When the next thing happens; infinite: nothing will.
    pub(super) fn next_at(&self) -> f64 {
        self.heap.peek().map_or(f64::INFINITY, |Reverse(entry)| entry.at)
    }

    pub(super) fn take(&mut self) -> Option<T> {
        self.heap.pop().map(|Reverse(entry)| entry.what)
    }

    pub(super) fn len(&self) -> usize {
        self.heap.len()
    }

    pub(super) fn clear(&mut self) {
        self.heap.clear();
    }
}

impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.at.total_cmp(&other.at).then(self.place.cmp(&other.place))
    }
}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<T> Eq for Entry<T> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_comes_first_and_equals_in_their_order() {
        let mut agenda = Agenda::new();
        for (at, what) in [(2.0, 'c'), (1.0, 'a'), (2.0, 'd'), (1.0, 'b')] {
            agenda.enter(at, what);
        }
        assert_eq!(agenda.next_at(), 1.0);
        let taken: String = std::iter::from_fn(|| agenda.take()).collect();
        assert_eq!((taken.as_str(), agenda.next_at()), ("abcd", f64::INFINITY));
    }
}
