//! From lines to the curve: requests side by side, bins, fits, calm requests, servers compared.

use super::bins::Bins;
use super::calm::{CalmSample, FREE};
use super::curve::Curve;
use super::overlap::{Overlap, Settled};
use super::request::{Request, Stay};
use super::seconds::Recent;
use super::servers::Servers;
use crate::core::log::sample::Sample;
use crate::core::names::ServerId;

/// So many lines at most are put aside until the tick's end. More of them in one tick, after a silence longer
/// than the rings, are learned from as they come.
const MOST_LATER: usize = 768;

/// A line that was put aside.
#[derive(Clone, Copy, Debug)]
struct Later {
    stay: Stay,
    server: ServerId,
    tr_ms: Option<u32>,
    latency_ms: Option<u32>,
}

/// All that is learned about service time and workers.
#[derive(Clone, Debug)]
pub(super) struct Learner {
    pub(super) servers: Servers,
    pub(super) curve: Curve,
    pub(super) calm: CalmSample,
    overlap: Overlap,
    bins: Bins,
    /// Lines for which the rings have no room until what was before them is settled: after a silence. In the
    /// tick that brings them others may still come that were before them.
    later: Vec<Later>,
    /// When the newest request ended.
    head: i64,
}

impl Learner {
    pub(super) fn new(below_ms: u128) -> Self {
        Self {
            servers: Servers::default(),
            curve: Curve::default(),
            calm: CalmSample::new(below_ms),
            overlap: Overlap::new(),
            bins: Bins::default(),
            later: Vec::new(),
            head: 0,
        }
    }

    /// Counts one request that `server` had.
    pub(super) fn record(&mut self, server: ServerId, sample: &Sample, request: &Request) {
        self.servers.of(server).record(sample, request);
        let Some(stay) = request.stay else { return };
        let line = Later { stay, server, tr_ms: request.tr_ms, latency_ms: request.latency_ms };
        if self.overlap.needed(stay.end).is_none() {
            self.take(line);
            return;
        }
        if self.later.len() == MOST_LATER {
            self.take_later();
        }
        self.later.push(line);
    }

    /// Takes what was put aside: in whatever order it came, it is learned from in the same one.
    fn take_later(&mut self) {
        let mut later = std::mem::take(&mut self.later);
        later.sort_unstable_by_key(|it| (it.stay.end, it.stay.start, it.server, it.tr_ms, it.latency_ms));
        for line in later {
            if let Some(until) = self.overlap.needed(line.stay.end) {
                self.sweep(until);
            }
            self.take(line);
        }
    }

    fn take(&mut self, Later { stay, server, tr_ms, latency_ms }: Later) {
        self.head = self.head.max(stay.end);
        self.overlap.occupy(&mut self.servers.of(server).ring, stay);
        if let Some(tr_ms) = tr_ms
            && self.overlap.is_open(stay.start)
        {
            self.overlap.ask(Settled { start: stay.start, server, tr_ms, latency_ms });
        }
    }

    /// Learns from all that is settled by now. Times are milliseconds.
    pub(super) fn learn(&mut self, recent: &Recent, now: i64) {
        self.take_later();
        if let Some(until) = self.overlap.due(self.head) {
            self.sweep(until);
        }
        self.curve.learn(&self.bins, self.calm.cv(), now);
        if let Some(service) = self.curve.service(self.calm.cv()) {
            self.servers.look(&service, now.div_euclid(1000));
        }
        let rate = f64::from(recent.sums(1, 0).worked);
        if self.overlap.tune(self.curve.time(), recent.sums(60, 0).mean_tr(), rate, self.head) {
            self.servers.rings().for_each(super::overlap::Ring::empty);
        }
        if self.servers.tend(self.calm.cv(), now) {
            self.bins.forget();
        }
    }

    /// Settles what came before slot `until`.
    fn sweep(&mut self, until: i64) {
        let ready = self.overlap.ready(until);
        for at in 0..ready {
            self.settle(&self.overlap.pending(at));
        }
        if ready > 0 {
            self.calm.finish_sweep();
        }
        self.overlap.settle(until, ready, self.servers.rings());
    }

    fn settle(&mut self, request: &Settled) {
        let Some(server) = self.servers.known(request.server) else { return };
        if !server.is_warm(request.start) {
            return;
        }
        let others = self.overlap.others(&server.ring, request.start, request.tr_ms);
        let (tr, cv) = (f64::from(request.tr_ms) / 1000.0, self.calm.cv());
        if let Some(expected) = self.curve.expected(others) {
            server.compare(tr, expected, cv);
        }
        let second = request.start.div_euclid(1000);
        server.own.record(others, tr, cv, second);
        if !server.is_example() {
            return;
        }
        if self.bins.record(others, tr, cv, second) {
            self.servers.forget_curves();
        }
        if self.curve.workers().is_some_and(|workers| f64::from(others) < FREE * workers) {
            self.calm.record(tr, request.latency_ms);
        }
    }

    #[cfg(test)]
    pub(super) fn heap_bytes(&self) -> usize {
        let parts = [
            self.servers.heap_bytes(),
            self.overlap.heap_bytes(),
            self.bins.heap_bytes(),
            self.later.capacity() * size_of::<Later>(),
            self.calm.heap_bytes(),
        ];
        parts.iter().sum()
    }
}
