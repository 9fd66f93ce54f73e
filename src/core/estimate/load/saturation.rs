//! Servers that are full by definition: HAProxy itself queues in front of them.
//!
//! With a server's `maxconn` the curve is never seen beyond it, and the knee may stay hidden. What
//! full servers complete then tells how many workers they have.

use super::seconds::Recent;

/// Queueing for so long is no burst.
const LASTING_MS: i64 = 6000;

/// The wait must be worth mentioning against S.
const WORTH: f64 = 0.2;

/// The queue by HAProxy's counters is believed above so many requests, and this share of all
/// streams: each server's count may be one off.
const LEAST_QUEUE: f64 = 3.0;
const LEAST_SHARE: f64 = 0.1;

/// So many of the requests of a second must have waited; without counters, so many.
const WAITED: f64 = 0.5;
const WAITED_UNCOUNTED: f64 = 0.8;

/// The newest figure counts for so much.
const FOLLOW: f64 = 0.3;

/// What full servers did is believed for so long, and then let go by so much a minute.
const BELIEVED_MS: i64 = 60_000;
const LET_GO: f64 = 1.05;
/// Then it is twenty times what it was, and no limit any more.
const FORGOTTEN_MS: i64 = 61 * 60_000;

/// Whether HAProxy queues, and what full servers did.
#[derive(Clone, Debug, Default)]
pub(super) struct Saturation {
    since: Option<i64>,
    workers: Option<(f64, i64)>,
}

/// What [`Saturation`] learns from, at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    /// Streams on all servers, each when its newest line was written; `None` without any.
    pub(super) on_servers: Option<u32>,
    /// Servers that have taken requests for as long as it takes, by their weights; 0: not known.
    pub(super) servers: f64,
    /// S.
    pub(super) time: Option<f64>,
}

impl Saturation {
    /// Learns from the last seconds before `now`, in milliseconds.
    pub(super) fn learn(&mut self, recent: &Recent, seen: Seen, now: i64) {
        if !is_queueing(recent, seen.on_servers) {
            self.since = None;
            return;
        }
        let since = *self.since.get_or_insert(now);
        let Some(time) = seen.time.filter(|_| now - since >= LASTING_MS && seen.servers > 0.0) else {
            return;
        };
        if recent.sums(6, 0).mean_queue() <= WORTH * time {
            return;
        }
        let found = recent.answered(6, 0) * time / seen.servers;
        if found > 0.0 {
            let known =
                self.workers.filter(|(_, at)| now - at < BELIEVED_MS).map_or(found, |(known, _)| known);
            self.workers = Some((known + FOLLOW * (found - known), now));
        }
    }

    /// For how long HAProxy has been queueing, milliseconds.
    pub(super) fn queueing_ms(&self, now: i64) -> u64 {
        self.since.map_or(0, |since| u64::try_from(now - since).unwrap_or(0))
    }

    /// Workers of a server, by what full ones did.
    pub(super) fn workers(&self, now: i64) -> Option<f64> {
        let (workers, at) = self.workers?;
        let age = now - at;
        let minutes = (age - BELIEVED_MS).max(0) as f64 / 60_000.0;
        (age < FORGOTTEN_MS).then(|| workers * LET_GO.powf(minutes))
    }
}

fn is_queueing(recent: &Recent, on_servers: Option<u32>) -> bool {
    let second = recent.sums(1, 0);
    let waited = f64::from(second.queued) / f64::from(second.with_queue.max(1));
    let streams = f64::from(recent.streams());
    match on_servers {
        Some(on_servers) if streams > 0.0 => {
            let queue = streams - f64::from(on_servers);
            waited > WAITED && queue > LEAST_QUEUE.max(LEAST_SHARE * streams)
        }
        _ => waited > WAITED_UNCOUNTED,
    }
}
