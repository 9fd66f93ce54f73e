//! Requests above the target's limit, or failed, by the minute.

use super::request::{NEVER, Request};

/// So many whole minutes are told, and one more is being counted.
const TOLD: i64 = 15;
const KEPT: usize = TOLD as usize + 1;

/// One minute: which, misses, of so many.
type Minute = (i64, u32, u32);

/// The last minutes.
#[derive(Clone, Debug)]
pub(super) struct Minutes {
    ring: [Minute; KEPT],
}

impl Default for Minutes {
    fn default() -> Self {
        Self { ring: [(NEVER, 0, 0); KEPT] }
    }
}

impl Minutes {
    /// Counts one request in the minute in which it ended.
    pub(super) fn record(&mut self, request: &Request) {
        let Some(missed) = request.missed else { return };
        let minute = request.end.div_euclid(60_000);
        let slot = &mut self.ring[minute.rem_euclid(KEPT as i64) as usize];
        if slot.0 > minute {
            return;
        }
        if slot.0 < minute {
            *slot = (minute, 0, 0);
        }
        slot.1 += u32::from(missed);
        slot.2 += 1;
    }

    /// Misses of so many, by whole minutes before second `now` since the start, the newest last.
    pub(super) fn told(&self, now: i64) -> Vec<(u64, u64)> {
        let minute = now.div_euclid(60);
        let first = (minute - TOLD).max(0);
        let told = |minute: i64| {
            let slot = self.ring[minute.rem_euclid(KEPT as i64) as usize];
            if slot.0 == minute { (u64::from(slot.1), u64::from(slot.2)) } else { (0, 0) }
        };
        (first..minute).map(told).collect()
    }
}
