//! Requests that wait, told apart from streams that are merely there.

use super::seconds::Recent;

/// Arrivals and service times are known to about this.
const MARGIN: f64 = 1.15;

/// Streams of a calm backend vary like independent arrivals; this many standard deviations are no queue.
const DEVIATIONS: f64 = 4.0;

/// Who waits takes longer: without that, many streams are many clients.
const SLOWER: f64 = 1.25;

/// What the streams never fell below for 5 minutes is no queue: long polls, WebSockets, downloads.
const PIECES: i64 = 30;
const PIECE_S: i64 = 10;
/// Before so many pieces are known, it may be one.
const ENOUGH: usize = 12;

/// What the streams did not fall below lately.
#[derive(Clone, Debug, Default)]
pub(super) struct Backlog {
    /// The smallest number of streams beyond the load, by ten seconds.
    pieces: [(i64, f32); PIECES as usize],
}

impl Backlog {
    /// Learns from the streams at second `now`, if `busy` workers are what the load needs.
    pub(super) fn learn(&mut self, recent: &Recent, busy: f64, now: i64) {
        let beyond = (f64::from(recent.streams()) - MARGIN * busy).max(0.0) as f32;
        // 0 is the number of no piece, so that an empty ring needs no marks.
        let piece = now.div_euclid(PIECE_S) + 1;
        let slot = &mut self.pieces[piece.rem_euclid(PIECES) as usize];
        let least = if slot.0 == piece { slot.1.min(beyond) } else { beyond };
        *slot = (piece, least);
    }

    /// Streams that are always there; 0 until that can be told.
    pub(super) fn held(&self, now: i64) -> f64 {
        let piece = now.div_euclid(PIECE_S) + 1;
        let lately = || self.pieces.iter().filter(|slot| slot.0 > 0 && piece - slot.0 < PIECES);
        if lately().count() < ENOUGH {
            return 0.0;
        }
        lately().map(|slot| f64::from(slot.1)).reduce(f64::min).unwrap_or(0.0)
    }

    /// Requests waiting. `rate` is what arrives a second, `time` S.
    pub(super) fn waiting(&self, recent: &Recent, rate: f64, time: f64, now: i64) -> f64 {
        let last_3 = recent.sums(3, 0);
        let slower = last_3.mean_tr().is_none_or(|tr| tr + last_3.mean_queue() > SLOWER * time);
        if !slower {
            return 0.0;
        }
        let transfers = rate * recent.sums(60, 0).mean_transfer();
        let base = MARGIN * rate * time + transfers.max(self.held(now));
        (f64::from(recent.streams()) - base - DEVIATIONS * (base + 1.0).sqrt()).max(0.0)
    }
}
