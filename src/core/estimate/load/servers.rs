//! Each server by itself: how it compares with the curve, what it did lately, since when it serves.

use super::bins::memory;
use super::figures::{ServerLoad, Service};
use super::overlap::Ring;
use super::own::OwnCurve;
use super::request::{NEVER, Request};
use crate::core::log::sample::{Class, Sample};
use crate::core::names::ServerId;

/// What a server shows so soon after it began to serve is not learned from: caches are cold.
const COLD_MS: i64 = 20_000;

/// A server without lines for so long gives back its ring, and is forgotten after an hour.
const QUIET_MS: i64 = 5 * 60_000;
const FORGOTTEN_MS: i64 = 60 * 60_000;
/// What makes it differ from the others is remembered over a night.
const FORGOTTEN_IF_UNEQUAL_MS: i64 = 24 * FORGOTTEN_MS;

/// So much slower than the middle one of its peers, a server tells nothing about the others, until it
/// is less than that.
const OUTLIER: f64 = 1.6;
const NONE_ANY_MORE: f64 = 1.25;
/// Of fewer servers none is the middle one.
const PEERS: usize = 3;

/// This share of what would be remembered of its requests makes a comparison.
const ENOUGH: f64 = 0.25;

const SECONDS: usize = 5;
const TENS: usize = 7;

/// All servers that were seen, by rising id.
#[derive(Clone, Debug, Default)]
pub(super) struct Servers {
    all: Vec<Server>,
    /// How often it was observed which servers serve.
    observed: u64,
    /// When the servers that serve were last others than before, and the sum of their weights.
    changed: i64,
    shares: f64,
}

/// One server.
#[derive(Clone, Debug)]
pub(super) struct Server {
    pub(super) id: ServerId,
    pub(super) ring: Ring,
    pub(super) own: OwnCurve,
    /// Of its newest line: its end, and the streams left on the server.
    newest: Option<(i64, u32)>,
    /// The last observation at which it served; 0: never.
    served: u64,
    /// Nothing is learned from requests that came before.
    warm_from: i64,
    is_slow: bool,
    is_outlier: bool,
    /// What its requests took, what the curve says they should have, and how many they were.
    took: f64,
    expected: f64,
    compared: f64,
    /// Requests and their Tr in milliseconds, by second.
    seconds: [(i64, u32, u64); SECONDS],
    /// Requests and failures, by ten seconds.
    tens: [(i64, u32, u32); TENS],
}

impl Servers {
    /// The entry of `id`, made now if it is new.
    pub(super) fn of(&mut self, id: ServerId) -> &mut Server {
        let at = match self.all.binary_search_by_key(&id, |server| server.id) {
            Ok(at) => at,
            Err(at) => {
                // Servers are few, and seldom new: no room is kept for more.
                self.all.reserve_exact(1);
                self.all.insert(at, Server::new(id));
                at
            }
        };
        &mut self.all[at]
    }

    /// The entry of `id`, if there is one.
    pub(super) fn known(&mut self, id: ServerId) -> Option<&mut Server> {
        let at = self.all.binary_search_by_key(&id, |server| server.id).ok()?;
        self.all.get_mut(at)
    }

    /// Their rings.
    pub(super) fn rings(&mut self) -> impl Iterator<Item = &mut Ring> {
        self.all.iter_mut().map(|server| &mut server.ring)
    }

    /// Takes which servers serve at `now`, with their weights. At the first call nobody knows since
    /// when they do: it is taken for long.
    pub(super) fn observe(&mut self, serving: impl Iterator<Item = (ServerId, f64)>, now: i64) {
        let before = self.observed;
        self.observed += 1;
        let served = self.all.iter().filter(|server| before > 0 && server.served == before).count();
        let (mut stayed, mut serve) = (0, 0);
        self.shares = 0.0;
        for (id, share) in serving {
            let observed = self.observed;
            let server = self.of(id);
            if server.served == before && before > 0 {
                stayed += 1;
            } else if before > 0 {
                server.set_cold(now);
            }
            server.served = observed;
            serve += 1;
            self.shares += if share.is_finite() { share.max(0.0) } else { 0.0 };
        }
        if stayed != served || stayed != serve {
            self.changed = now;
        }
    }

    /// Whether `id` served at the last observation.
    pub(super) fn serves(&self, id: ServerId) -> bool {
        let at = self.all.binary_search_by_key(&id, |server| server.id);
        at.is_ok_and(|at| self.observed > 0 && self.all[at].served == self.observed)
    }

    /// The sum of the weights of those that serve, if they have been the same for so long; else 0.
    pub(super) fn settled_shares(&self, least_ms: i64, now: i64) -> f64 {
        if now - self.changed >= least_ms { self.shares } else { 0.0 }
    }

    /// Streams on all servers with lines in the last minute; `None` without any.
    pub(super) fn streams(&self, now: i64) -> Option<u32> {
        let lately =
            self.all.iter().filter_map(|server| server.newest).filter(|newest| now - newest.0 < 60_000);
        lately.map(|newest| newest.1).reduce(u32::saturating_add)
    }

    /// Finds those that are no example for the others, and forgets those that are gone. `true` if
    /// there is one more: what was learned lately was learned from it too.
    pub(super) fn tend(&mut self, cv: f64, now: i64) -> bool {
        let observed = self.observed;
        self.all.retain_mut(|server| {
            let quiet_ms = now - server.newest.map_or(server.warm_from, |newest| newest.0);
            if quiet_ms > QUIET_MS {
                server.ring.release();
            }
            let is_unequal = server.own.ratio().is_some();
            quiet_ms <= if is_unequal { FORGOTTEN_IF_UNEQUAL_MS } else { FORGOTTEN_MS }
                || server.is_slow
                || (observed > 0 && server.served == observed)
        });
        let slowness = |server: &Server| server.slowness(cv);
        let middle = median(self.all.iter().filter_map(slowness));
        let mut is_spoilt = false;
        for server in &mut self.all {
            let limit = if server.is_outlier { NONE_ANY_MORE } else { OUTLIER };
            let ratio = server.slowness(cv);
            let is_outlier = middle.zip(ratio).is_some_and(|(middle, ratio)| ratio > limit * middle);
            is_spoilt |= is_outlier && server.is_example();
            server.is_outlier = is_outlier;
        }
        is_spoilt
    }

    /// Compares one of them with the backend's curve: each in its turn.
    pub(super) fn look(&mut self, backend: &Service, second: i64) {
        let count = self.all.len().max(1);
        let Some(server) = self.all.get_mut(second.rem_euclid(count as i64) as usize) else { return };
        // What was learned stays while a server is away.
        if server.newest.is_some_and(|newest| second - newest.0.div_euclid(1000) <= 60) {
            server.own.look(backend, second, count as f64);
        }
    }

    /// All are different from what was learned.
    pub(super) fn forget_curves(&mut self) {
        self.all.iter_mut().for_each(|server| server.own.forget());
    }

    /// Those that carry notably less or more than the backend's figure says.
    pub(super) fn unequal(&self) -> Vec<(ServerId, f64)> {
        self.all.iter().filter_map(|server| Some((server.id, server.own.ratio()?))).collect()
    }

    /// As the policy sees those with requests in the minute before `now`, up to second `second`.
    pub(super) fn figures(&self, cv: f64, second: i64) -> Vec<ServerLoad> {
        let mut told = Vec::with_capacity(self.all.len());
        told.extend(self.all.iter().filter_map(|server| server.figures(cv, second)));
        told
    }

    #[cfg(test)]
    pub(super) fn heap_bytes(&self) -> usize {
        let rings: usize = self.all.iter().map(|server| server.ring.heap_bytes()).sum();
        rings + self.all.capacity() * size_of::<Server>()
    }
}

/// Of an odd number the middle one, of an even one the lower of the two.
fn median(figures: impl Iterator<Item = f64>) -> Option<f64> {
    let mut figures: Vec<f64> = figures.collect();
    if figures.len() < PEERS {
        return None;
    }
    figures.sort_unstable_by(f64::total_cmp);
    figures.get((figures.len() - 1) / 2).copied()
}

impl Server {
    fn new(id: ServerId) -> Self {
        Self {
            id,
            ring: Ring::default(),
            own: OwnCurve::default(),
            newest: None,
            served: 0,
            warm_from: NEVER,
            is_slow: false,
            is_outlier: false,
            took: 0.0,
            expected: 0.0,
            compared: 0.0,
            seconds: [(NEVER, 0, 0); SECONDS],
            tens: [(NEVER, 0, 0); TENS],
        }
    }

    /// Counts one request that it had.
    pub(super) fn record(&mut self, sample: &Sample, request: &Request) {
        let newest = (request.end, sample.srv_conn);
        let is_newer = |known: (i64, u32)| newest.0 > known.0 || (newest.0 == known.0 && newest.1 < known.1);
        if self.newest.is_none_or(is_newer) {
            self.newest = Some(newest);
        }
        if let Some(tr_ms) = request.tr_ms {
            let second = request.end.div_euclid(1000);
            let slot = &mut self.seconds[second.rem_euclid(SECONDS as i64) as usize];
            if slot.0 < second {
                *slot = (second, 0, 0);
            }
            if slot.0 == second {
                *slot = (second, slot.1 + 1, slot.2 + u64::from(tr_ms));
            }
        }
        if matches!(sample.class, Class::Success | Class::Server | Class::Client) {
            let ten = request.end.div_euclid(10_000);
            let slot = &mut self.tens[ten.rem_euclid(TENS as i64) as usize];
            if slot.0 < ten {
                *slot = (ten, 0, 0);
            }
            if slot.0 == ten {
                *slot = (ten, slot.1 + 1, slot.2 + u32::from(sample.class == Class::Server));
            }
        }
    }

    pub(super) fn set_slow(&mut self, slow: bool) {
        self.is_slow = slow;
    }

    pub(super) fn set_cold(&mut self, now: i64) {
        self.warm_from = now + COLD_MS;
    }

    /// Whether it served long enough at `start` to be learned from.
    pub(super) fn is_warm(&self, start: i64) -> bool {
        start >= self.warm_from
    }

    /// Whether what it does holds for its peers too.
    pub(super) fn is_example(&self) -> bool {
        !self.is_slow && !self.is_outlier
    }

    /// A request took `tr` seconds, and by the curve it should have been `expected`.
    pub(super) fn compare(&mut self, tr: f64, expected: f64, cv: f64) {
        let most = memory(cv);
        let keep = if self.compared + 1.0 > most { (most - 1.0) / most } else { 1.0 };
        self.took = self.took * keep + tr;
        self.expected = self.expected * keep + expected;
        self.compared = (self.compared + 1.0).min(most);
    }

    /// How much longer its requests take than the curve says; `None` until there are enough.
    fn slowness(&self, cv: f64) -> Option<f64> {
        let is_known = self.compared >= ENOUGH * memory(cv) && self.expected > 0.0;
        is_known.then(|| self.took / self.expected)
    }

    fn figures(&self, cv: f64, second: i64) -> Option<ServerLoad> {
        let (end, streams) = self.newest?;
        if second - end.div_euclid(1000) > 60 {
            return None;
        }
        let lately = |at: i64| (second - 3..second).contains(&at);
        let seconds = self.seconds.iter().filter(|slot| lately(slot.0));
        let (count, tr_ms) = seconds.fold((0, 0), |sum, slot| (sum.0 + u64::from(slot.1), sum.1 + slot.2));
        let ten = second.div_euclid(10);
        let tens = self.tens.iter().filter(|slot| ten - slot.0 < TENS as i64);
        let (requests, failed) =
            tens.fold((0, 0), |sum, slot| (sum.0 + u64::from(slot.1), sum.1 + u64::from(slot.2)));
        Some(ServerLoad {
            server: self.id,
            recent: (count > 0).then(|| tr_ms as f64 / count as f64 / 1000.0),
            slowness: self.slowness(cv),
            failed: (failed, requests),
            streams,
        })
    }
}
