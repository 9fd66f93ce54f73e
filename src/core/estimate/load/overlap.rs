//! How many requests were on a server when one of them came.
//!
//! A line comes when its request ends, so this is known only once all that were there have ended.
//! Each server has a ring of slots of equal length, in which every line counts itself for as long as it was
//! there. What came before the `base` is settled; requests that came later wait for it. All of it
//! runs on the times in the lines: a tail that stands still stops it, and nothing is lost.
//!
//! ```text
//!         base                            head
//!  settled │ slots that lines still change │ free, for the next second
//! ─────────┴───────────────────────────────┴──────────▶ time
//!           ◀──────────── wait ───────────▶
//! ```

use super::request::Stay;
use crate::core::names::ServerId;

/// Slots of a ring: at a millisecond each they hold the second between two ticks and a third of a second more.
const SLOTS: i64 = 1024;

/// A slot is an 8th of S, or less: what falls into one slot counts by halves, so nothing is lost by
/// it on average.
const TO_THE_SLOT: f64 = 8.0;
/// It is left as it is until it is clearly wrong: a change forgets what is in the rings.
const TOO_FINE: f64 = 2.5;
const TOO_COARSE: f64 = 0.4;
const LONGEST_STEP_MS: f64 = 65_536.0;

/// Others are waited for this many times S, or times what answers take at present: of times that vary much (CV 2),
/// 1 % of the work is in longer ones.
const PATIENCE: f64 = 25.0;
const PRESENT_PATIENCE: f64 = 4.0;
/// Before S is known, answers may take this many times S for all that is known.
const PERHAPS_WAITING: f64 = 4.0;
/// Lines of one moment do not come in order.
const LEAST_WAIT_MS: i64 = 250;
/// Between two ticks there is a second, and a little more.
const TICK_MS: i64 = 1200;

/// Requests that wait to be settled, at most.
const MOST_PENDING: usize = 768;

/// Of a second, so many requests are looked at; all of them count as others.
const MOST_A_SECOND: f64 = 300.0;

/// No latency by the target's timer.
const NO_LATENCY: u32 = u32::MAX;

/// The time axis of the rings, and the requests that wait.
#[derive(Clone, Debug)]
pub(super) struct Overlap {
    /// The length of a slot, a power of two.
    step_ms: i64,
    /// The first slot that is not settled. It begins with the estimator: who was there then is counted when it ends.
    base: i64,
    wait_ms: i64,
    pending: Vec<Pending>,
    /// One of 2 to this power is looked at.
    thinning: u32,
}

/// A request that waits.
#[derive(Clone, Copy, Debug)]
struct Pending {
    /// The lower half of its first millisecond: all that waits lies within minutes.
    start: u32,
    server: ServerId,
    tr_ms: u32,
    latency_ms: u32,
}

/// A request whose others are known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settled {
    /// Milliseconds.
    pub(super) start: i64,
    pub(super) server: ServerId,
    pub(super) tr_ms: u32,
    pub(super) latency_ms: Option<u32>,
}

impl Overlap {
    pub(super) fn new() -> Self {
        Self { step_ms: 2, base: 0, wait_ms: LEAST_WAIT_MS, pending: Vec::new(), thinning: 0 }
    }

    /// The slot up to which all has to be settled for a request that ended at `end` to have room.
    pub(super) fn needed(&self, end: i64) -> Option<i64> {
        let needed = self.slot(end) + 1 - SLOTS;
        (needed > self.base).then_some(needed)
    }

    /// The slot up to which all is known once the newest line is of `head`.
    pub(super) fn due(&self, head: i64) -> Option<i64> {
        let due = self.slot(head - self.wait_ms);
        (due > self.base).then_some(due)
    }

    /// Whether the others of a request that came at `start` can still be known.
    pub(super) fn is_open(&self, start: i64) -> bool {
        self.slot(start) >= self.base
    }

    /// Counts a request in its server's ring.
    pub(super) fn occupy(&self, ring: &mut Ring, stay: Stay) {
        ring.add(self.slot(stay.start), self.slot(stay.end), self.base);
    }

    /// Has a request wait for its others, unless there are enough of them.
    pub(super) fn ask(&mut self, request: Settled) {
        let pending = Pending {
            start: request.start as u32,
            server: request.server,
            tr_ms: request.tr_ms,
            latency_ms: request.latency_ms.unwrap_or(NO_LATENCY),
        };
        while pending.is_chosen(self.thinning) {
            if self.pending.len() < MOST_PENDING {
                if self.pending.len() == self.pending.capacity() {
                    self.pending.reserve_exact(MOST_PENDING / 3);
                }
                self.pending.push(pending);
                return;
            }
            self.thinning += 1;
            let thinning = self.thinning;
            self.pending.retain(|pending| pending.is_chosen(thinning));
        }
    }

    /// Brings the requests that came before slot `until` to the front, in the order in which they came, and
    /// says how many they are. [`Self::settle`] must follow.
    pub(super) fn ready(&mut self, until: i64) -> usize {
        let (until, origin) = (until * self.step_ms, self.origin());
        let mut ready = 0;
        for at in 0..self.pending.len() {
            if self.pending[at].start(origin) < until {
                self.pending.swap(at, ready);
                ready += 1;
            }
        }
        // The order of the lines must not matter.
        let key = |it: &Pending| (it.start(origin), it.server, it.tr_ms, it.latency_ms);
        self.pending[..ready].sort_unstable_by_key(key);
        ready
    }

    /// The request at place `at`.
    pub(super) fn pending(&self, at: usize) -> Settled {
        let pending = self.pending[at];
        Settled {
            start: pending.start(self.origin()),
            server: pending.server,
            tr_ms: pending.tr_ms,
            latency_ms: (pending.latency_ms != NO_LATENCY).then_some(pending.latency_ms),
        }
    }

    /// Moves the base on to slot `until`, empties the slots behind it, and drops the first `ready` requests.
    pub(super) fn settle<'a>(&mut self, until: i64, ready: usize, rings: impl Iterator<Item = &'a mut Ring>) {
        self.pending.drain(..ready);
        rings.for_each(|ring| ring.clear(self.base, until));
        self.base = until;
    }

    /// Requests on `ring`'s server when one came at `start` that took `tr_ms`, itself not counted.
    pub(super) fn others(&self, ring: &Ring, start: i64, tr_ms: u32) -> u32 {
        let (first, last) = (self.slot(start), self.slot(start + i64::from(tr_ms)));
        (ring.halves(first).saturating_sub(u32::from(first < last))) / 2
    }

    /// Fits slots and waiting to S and to what answers take at present, in seconds, and the choice to
    /// `rate` requests a second. `true` if the rings have to be emptied.
    pub(super) fn tune(&mut self, time: Option<f64>, present: Option<f64>, rate: f64, head: i64) -> bool {
        let Some(time) = time.or(present.map(|present| present / PERHAPS_WAITING)) else { return false };
        // Answers take S at least. Where they take less, S is of another time, and waiting so long would keep it so.
        let time = present.map_or(time, |present| time.min(present));
        let wait_ms = (PATIENCE * time).max(PRESENT_PATIENCE * present.unwrap_or(0.0)) * 1000.0;
        let needed_ms = (wait_ms + TICK_MS as f64) / SLOTS as f64;
        let step_ms = (time * 1000.0 / TO_THE_SLOT).max(needed_ms).clamp(2.0, LONGEST_STEP_MS);
        let ratio = step_ms / self.step_ms as f64;
        let renew = !(TOO_COARSE..TOO_FINE).contains(&ratio);
        if renew {
            self.step_ms = 1 << (step_ms as u64).max(2).ilog2();
            self.pending.clear();
            self.base = self.slot(head);
        }
        self.wait_ms = (wait_ms as i64).max(LEAST_WAIT_MS).min(SLOTS * self.step_ms - TICK_MS);
        let room = MOST_PENDING as f64 * 1000.0 / (self.wait_ms + TICK_MS) as f64;
        let share = rate / MOST_A_SECOND.min(room);
        self.thinning = if share > 1.0 { share.log2().ceil() as u32 } else { 0 };
        renew
    }

    /// The first millisecond that is not settled.
    fn origin(&self) -> i64 {
        self.base * self.step_ms
    }

    fn slot(&self, at: i64) -> i64 {
        at.div_euclid(self.step_ms)
    }

    #[cfg(test)]
    pub(super) fn heap_bytes(&self) -> usize {
        self.pending.capacity() * size_of::<Pending>()
    }
}

impl Pending {
    /// Its first millisecond, if all is counted from `origin`.
    fn start(&self, origin: i64) -> i64 {
        origin + i64::from(self.start.wrapping_sub(origin as u32) as i32)
    }

    /// Whether it is one of those looked at. By its own figures alone: in whatever order lines come,
    /// the same ones are chosen.
    fn is_chosen(&self, thinning: u32) -> bool {
        let mut mixed =
            (u64::from(self.start) << 32) ^ (self.server.index() as u64) << 20 ^ u64::from(self.tr_ms);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        mixed.trailing_zeros() >= thinning
    }
}

/// Requests on one server, in halves, by slot. In its first and last slot a request counts one half; empty until the first one.
#[derive(Clone, Debug, Default)]
pub(super) struct Ring(Vec<u16>);

impl Ring {
    /// Counts a request that came in slot `first` and ended in slot `last`.
    fn add(&mut self, first: i64, last: i64, base: i64) {
        if last < base || last == first {
            return;
        }
        if self.0.is_empty() {
            self.0 = vec![0; SLOTS as usize];
        }
        let within = last < base + SLOTS;
        let last = last.min(base + SLOTS);
        let inner = first.saturating_add(1).max(base);
        self.add_range(inner, last, 2);
        if first >= base {
            self.add_range(first, first + 1, 1);
        }
        if within {
            self.add_range(last, last + 1, 1);
        }
    }

    /// Adds to the slots from `first` up to `end`, at most once around.
    fn add_range(&mut self, first: i64, end: i64, halves: u16) {
        self.each_part(first, end, |part| {
            for slot in part {
                *slot = slot.saturating_add(halves);
            }
        });
    }

    fn clear(&mut self, first: i64, end: i64) {
        self.each_part(first, end.min(first + SLOTS), |part| part.fill(0));
    }

    /// The slots from `first` up to `end` lie in two parts at most.
    fn each_part(&mut self, first: i64, end: i64, mut change: impl FnMut(&mut [u16])) {
        if self.0.is_empty() || end <= first {
            return;
        }
        let length = (end - first).min(SLOTS) as usize;
        let at = first.rem_euclid(SLOTS) as usize;
        let until = (at + length).min(SLOTS as usize);
        change(&mut self.0[at..until]);
        change(&mut self.0[..at + length - until]);
    }

    /// What slot `at` holds.
    fn halves(&self, at: i64) -> u32 {
        self.0.get(at.rem_euclid(SLOTS) as usize).copied().map_or(0, u32::from)
    }

    /// Forgets all, and gives back the memory.
    pub(super) fn release(&mut self) {
        self.0 = Vec::new();
    }

    /// Forgets all.
    pub(super) fn empty(&mut self) {
        self.0.fill(0);
    }

    #[cfg(test)]
    pub(super) fn heap_bytes(&self) -> usize {
        self.0.capacity() * size_of::<u16>()
    }
}
