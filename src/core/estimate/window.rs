//! A sliding window: a ring of slots, each with the histogram and the sums of its span of time.
//!
//! In: samples and `now`. Out: sums and latencies of the last `length`. A sample belongs to the
//! slot of its own `end`, so late lines and any order of lines give the same figures. Slots fall
//! out as `now` moves on; the running total is kept by adding samples and subtracting slots, and
//! never by merging. A slot has memory only while it has samples.

use std::ops::Range;
use std::time::{Duration, Instant};

use super::latencies::Latencies;
use super::tally::Sums;
use crate::core::log::sample::Sample;

/// What became of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// It is in the window.
    InWindow,
    /// It ended before the window begins, and changes nothing.
    TooLate,
}

/// Sums and latencies over a span that moves on in steps of one slot.
///
/// The newest slot is still filling, so with n slots between (n-1)/n of the length and all of it
/// is covered; [`Window::covered`] says how much.
#[derive(Clone, Debug)]
pub(super) struct Window {
    /// Where slot 0 begins. Slots before it have negative numbers.
    epoch: Instant,
    slot_nanos: u64,
    /// The number of the newest slot.
    newest: i64,
    /// When the newest slot begins and ends: most times are in it, and need no division.
    newest_span: Range<Instant>,
    /// Slot k is at k modulo their number.
    slots: Box<[Slot]>,
    total: Slot,
}

#[derive(Clone, Debug, Default)]
struct Slot {
    sums: Sums,
    latencies: Latencies,
}

impl Window {
    /// An empty window over `length`, in `slots` (at least 1) slots.
    pub(super) fn new(length: Duration, slots: usize, epoch: Instant) -> Self {
        let slots = slots.max(1);
        let mut window = Self {
            epoch,
            slot_nanos: (nanos(length) / slots as u64).max(1),
            newest: 0,
            newest_span: epoch..epoch,
            slots: vec![Slot::default(); slots].into_boxed_slice(),
            total: Slot::default(),
        };
        window.newest_span = window.span_of(0);
        window
    }

    /// Lets the slots fall out that are over at `now`. Going back in time does nothing.
    pub(super) fn advance(&mut self, now: Instant) {
        let newest = self.slot_number(now);
        if newest <= self.newest {
            return;
        }
        let passed = (newest - self.newest).min(self.slots.len() as i64);
        self.newest = newest;
        self.newest_span = self.span_of(newest);
        for number in newest - passed + 1..=newest {
            let index = self.index(number);
            let slot = std::mem::take(&mut self.slots[index]);
            self.total.sums.subtract(&slot.sums);
            self.total.latencies.subtract(&slot.latencies);
        }
    }

    /// Counts `sample`, with `latency_ms` if it has one. What claims to end after `now` (clocks
    /// differ a little) ends now.
    pub(super) fn record(&mut self, sample: &Sample, latency_ms: Option<u32>, now: Instant) -> Recorded {
        self.advance(now);
        let number = self.slot_number(sample.end).min(self.newest);
        if number < self.oldest() {
            return Recorded::TooLate;
        }
        let index = self.index(number);
        let latency_ms = latency_ms.filter(|_| !self.total.latencies.is_full());
        for slot in [&mut self.slots[index], &mut self.total] {
            slot.sums.record(sample);
            if let Some(ms) = latency_ms {
                slot.latencies.record(ms);
            }
        }
        Recorded::InWindow
    }

    /// The sums over the window.
    pub(super) fn sums(&self) -> &Sums {
        &self.total.sums
    }

    /// The latencies in the window.
    pub(super) fn latencies(&self) -> &Latencies {
        &self.total.latencies
    }

    /// How long ago the oldest slot begins at `now`, whether or not anybody watched then.
    pub(super) fn covered(&self, now: Instant) -> Duration {
        let since_epoch = now.saturating_duration_since(self.epoch);
        let begin_nanos = i128::from(self.oldest()) * i128::from(self.slot_nanos);
        let span = i128::try_from(since_epoch.as_nanos()).unwrap_or(i128::MAX).saturating_sub(begin_nanos);
        Duration::from_nanos(u64::try_from(span).unwrap_or(0))
    }

    /// The number of the newest slot; it changes when slots fall out.
    pub(super) fn newest(&self) -> i64 {
        self.newest
    }

    fn oldest(&self) -> i64 {
        self.newest - self.slots.len() as i64 + 1
    }

    fn index(&self, number: i64) -> usize {
        number.rem_euclid(self.slots.len() as i64) as usize
    }

    /// Empty if `number` is negative or in the far future.
    fn span_of(&self, number: i64) -> Range<Instant> {
        let after_epoch = |number: i64| {
            let nanos = u64::try_from(number).ok()?.checked_mul(self.slot_nanos)?;
            self.epoch.checked_add(Duration::from_nanos(nanos))
        };
        match (after_epoch(number), after_epoch(number + 1)) {
            (Some(begin), Some(end)) => begin..end,
            _ => self.epoch..self.epoch,
        }
    }

    fn slot_number(&self, at: Instant) -> i64 {
        if self.newest_span.contains(&at) {
            return self.newest;
        }
        // 2^63 ns are 292 years; slots are longer than 1 ns by far, so nothing overflows later on.
        let number = |nanos: u64| i64::try_from(nanos).unwrap_or(i64::MAX / 2);
        match at.checked_duration_since(self.epoch) {
            Some(after) => number(nanos(after) / self.slot_nanos),
            None => -number(nanos(self.epoch.saturating_duration_since(at)).div_ceil(self.slot_nanos)),
        }
    }

    /// What it costs, the struct itself included.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        let histograms = self.slots.iter().chain([&self.total]).map(|slot| slot.latencies.heap_bytes());
        size_of::<Self>() + size_of_val(&*self.slots) + histograms.sum::<usize>()
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
