//! The last minute, second by second: what every rate is made of.
//!
//! A line belongs to the second in which its request ended, however late it is read: a tail that
//! was held up for half a minute then leaves no trace in the rates.

use super::request::{NEVER, Request};

/// A minute is asked for; the rest is for lines that come late.
const KEPT: usize = 72;

/// So many seconds without a line are a gap.
const LOST: i64 = 2;

/// As far back as [`Recent`] looks: twice the longest span, for its change.
pub(super) const SPAN: usize = 60;

/// What happened in one second.
#[derive(Clone, Copy, Debug)]
struct Second {
    /// Which; the smallest number before there was any.
    at: i64,
    /// Of the newest line in it: its end, and the streams it left behind.
    newest: i64,
    streams: u32,
    sums: Sums,
}

/// Sums over the lines of one or more seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sums {
    pub(super) lines: u32,
    pub(super) answered: u32,
    /// Requests that tell their Tr.
    pub(super) worked: u32,
    /// Requests that tell their Tw, and those of them that had to wait.
    pub(super) with_queue: u32,
    pub(super) queued: u32,
    pub(super) transfers: u32,
    pub(super) judged: u32,
    pub(super) missed: u32,
    tr_ms: u64,
    queue_ms: u64,
    transfer_ms: u64,
}

/// The ring of seconds; empty until the first line.
#[derive(Clone, Debug, Default)]
pub(super) struct Seconds {
    ring: Vec<Second>,
    /// The first second of which all is known: that of the start, whatever lines come from before it.
    first: i64,
    /// End and streams of the newest line of all.
    newest: Option<(i64, u32)>,
}

impl Seconds {
    /// Counts one request; one that ended before the ring's oldest second is too late.
    pub(super) fn record(&mut self, request: &Request) {
        let second = request.end.div_euclid(1000);
        if self.ring.is_empty() {
            self.ring = vec![Second::EMPTY; KEPT];
        }
        let slot = &mut self.ring[second.rem_euclid(KEPT as i64) as usize];
        if slot.at > second {
            return;
        }
        if slot.at < second {
            *slot = Second { at: second, ..Second::EMPTY };
        }
        slot.sums.record(request);
        if is_newer(request, (slot.newest, slot.streams)) {
            (slot.newest, slot.streams) = (request.end, request.streams);
        }
        if self.newest.is_none_or(|newest| is_newer(request, newest)) {
            self.newest = Some((request.end, request.streams));
        }
    }

    /// Lines that ended after second `stopped` have come at last. If those of several seconds are
    /// missing before them, they are lost, and what is known begins anew.
    pub(super) fn resume(&mut self, stopped: i64) {
        let next = self.ring.iter().map(|slot| slot.at).filter(|at| *at > stopped).min();
        if let Some(next) = next.filter(|next| next - stopped > LOST) {
            self.first = next;
        }
    }

    /// When the newest line's request ended, and the streams it left behind.
    pub(super) fn newest(&self) -> Option<(i64, u32)> {
        self.newest
    }

    /// All there is to know of the minute before second `now`.
    pub(super) fn recent(&self, now: i64) -> Recent {
        let known = usize::try_from(now - self.first).unwrap_or(0);
        let mut recent =
            Recent { since: [Sums::default(); SPAN + 1], streams: [0; SPAN + 1], known: known.min(1 << 20) };
        if self.ring.is_empty() {
            return recent;
        }
        let oldest = now - SPAN as i64;
        let before = self.ring.iter().filter(|slot| slot.at < oldest && !slot.is_empty());
        let mut streams = before.max_by_key(|slot| slot.at).map(|slot| slot.streams);
        for (back, second) in (1..=SPAN).rev().zip(oldest..) {
            recent.streams[back] = streams.unwrap_or(0);
            if second == self.first {
                streams = None;
            }
            let slot = &self.ring[second.rem_euclid(KEPT as i64) as usize];
            if slot.at != second {
                continue;
            }
            if streams.is_none() {
                // Nothing is known of the time before: as if the streams had always been there.
                recent.streams[back..].fill(slot.streams);
            }
            recent.since[back] = slot.sums;
            streams = Some(slot.streams);
        }
        recent.streams[0] = streams.unwrap_or(0);
        for back in 1..=SPAN {
            recent.since[back] = recent.since[back].and(&recent.since[back - 1]);
        }
        recent
    }

    #[cfg(test)]
    pub(super) fn heap_bytes(&self) -> usize {
        self.ring.capacity() * size_of::<Second>()
    }
}

/// Of lines that ended in the same millisecond the last one leaves the fewest streams behind.
fn is_newer(request: &Request, (end, streams): (i64, u32)) -> bool {
    request.end > end || (request.end == end && request.streams < streams)
}

impl Second {
    const EMPTY: Self = Self {
        at: NEVER,
        newest: NEVER,
        streams: 0,
        sums: Sums {
            lines: 0,
            answered: 0,
            worked: 0,
            with_queue: 0,
            queued: 0,
            transfers: 0,
            judged: 0,
            missed: 0,
            tr_ms: 0,
            queue_ms: 0,
            transfer_ms: 0,
        },
    };

    fn is_empty(&self) -> bool {
        self.at == NEVER
    }
}

impl Sums {
    fn record(&mut self, request: &Request) {
        self.lines += 1;
        self.answered += u32::from(request.answered);
        if let Some(tr_ms) = request.tr_ms {
            self.worked += 1;
            self.tr_ms += u64::from(tr_ms);
        }
        if let Some(queue_ms) = request.queue_ms {
            self.with_queue += 1;
            self.queued += u32::from(queue_ms > 0);
            self.queue_ms += u64::from(queue_ms);
        }
        if let Some(transfer_ms) = request.transfer_ms {
            self.transfers += 1;
            self.transfer_ms += u64::from(transfer_ms);
        }
        if let Some(missed) = request.missed {
            self.judged += 1;
            self.missed += u32::from(missed);
        }
    }

    /// With those of `other` as well.
    fn and(mut self, other: &Self) -> Self {
        self.lines = self.lines.wrapping_add(other.lines);
        self.answered = self.answered.wrapping_add(other.answered);
        self.worked = self.worked.wrapping_add(other.worked);
        self.with_queue = self.with_queue.wrapping_add(other.with_queue);
        self.queued = self.queued.wrapping_add(other.queued);
        self.transfers = self.transfers.wrapping_add(other.transfers);
        self.judged = self.judged.wrapping_add(other.judged);
        self.missed = self.missed.wrapping_add(other.missed);
        self.tr_ms = self.tr_ms.wrapping_add(other.tr_ms);
        self.queue_ms = self.queue_ms.wrapping_add(other.queue_ms);
        self.transfer_ms = self.transfer_ms.wrapping_add(other.transfer_ms);
        self
    }

    /// Without those of `part`, which are among them.
    fn without(mut self, part: &Self) -> Self {
        self.lines = self.lines.wrapping_sub(part.lines);
        self.answered = self.answered.wrapping_sub(part.answered);
        self.worked = self.worked.wrapping_sub(part.worked);
        self.with_queue = self.with_queue.wrapping_sub(part.with_queue);
        self.queued = self.queued.wrapping_sub(part.queued);
        self.transfers = self.transfers.wrapping_sub(part.transfers);
        self.judged = self.judged.wrapping_sub(part.judged);
        self.missed = self.missed.wrapping_sub(part.missed);
        self.tr_ms = self.tr_ms.wrapping_sub(part.tr_ms);
        self.queue_ms = self.queue_ms.wrapping_sub(part.queue_ms);
        self.transfer_ms = self.transfer_ms.wrapping_sub(part.transfer_ms);
        self
    }

    /// Mean Tr, seconds; `None` if no request tells it.
    pub(super) fn mean_tr(&self) -> Option<f64> {
        mean_seconds(self.tr_ms, self.worked)
    }

    /// Mean Tw, seconds; 0 if no request tells it.
    pub(super) fn mean_queue(&self) -> f64 {
        mean_seconds(self.queue_ms, self.with_queue).unwrap_or(0.0)
    }

    /// Mean transfer time, seconds; 0 if no request tells it.
    pub(super) fn mean_transfer(&self) -> f64 {
        mean_seconds(self.transfer_ms, self.transfers).unwrap_or(0.0)
    }
}

fn mean_seconds(total_ms: u64, count: u32) -> Option<f64> {
    (count > 0).then(|| total_ms as f64 / f64::from(count) / 1000.0)
}

/// The minute before one moment, looked at backwards.
#[derive(Clone, Debug)]
pub(super) struct Recent {
    /// Since so many seconds before the moment.
    since: [Sums; SPAN + 1],
    /// Streams so many seconds before the moment.
    streams: [u32; SPAN + 1],
    /// So many seconds are known, even if nothing happened in them.
    known: usize,
}

impl Recent {
    /// All of `seconds` whole seconds, the newest of which ended `ago` seconds before the moment.
    pub(super) fn sums(&self, seconds: usize, ago: usize) -> Sums {
        self.since[(ago + seconds).min(SPAN)].without(&self.since[ago.min(SPAN)])
    }

    /// Requests a second that came: those that ended, and the growth of the streams. Where less is
    /// known than is asked for, it is the rate of what is known.
    pub(super) fn arrivals(&self, seconds: usize, ago: usize) -> f64 {
        let end = (ago + seconds).min(self.known).min(SPAN);
        if end <= ago {
            return 0.0;
        }
        let lines = self.since[end].lines.wrapping_sub(self.since[ago].lines);
        let grown = f64::from(self.streams[ago]) - f64::from(self.streams[end]);
        ((f64::from(lines) + grown) / (end - ago) as f64).max(0.0)
    }

    /// Requests a second that were answered, like [`Self::arrivals`].
    pub(super) fn answered(&self, seconds: usize, ago: usize) -> f64 {
        let end = (ago + seconds).min(self.known).min(SPAN);
        if end <= ago {
            return 0.0;
        }
        let answered = self.since[end].answered.wrapping_sub(self.since[ago].answered);
        f64::from(answered) / (end - ago) as f64
    }

    /// By how many the streams have grown over the last `seconds`.
    pub(super) fn grown(&self, seconds: usize) -> f64 {
        f64::from(self.streams[0]) - f64::from(self.streams[seconds.min(SPAN)])
    }

    /// Streams at the moment itself.
    pub(super) fn streams(&self) -> u32 {
        self.streams[0]
    }

    /// Whether so many seconds are known.
    pub(super) fn knows(&self, seconds: usize) -> bool {
        self.known >= seconds
    }
}
