//! What the requests of one backend cost, and how many of them its servers carry.
//!
//! In: the backend's samples, and once a tick which servers serve. Out: [`LoadFigures`]. Everything
//! here is learned from the log: service time and workers from the curve of Tr over the requests
//! side by side, arrivals before they have finished, the queue, the time a newcomer needs. What
//! that means for the number of servers is the policy's affair.

use std::time::{Duration, Instant};

use crate::core::log::sample::Sample;
use crate::core::names::ServerId;
use crate::core::settings::Target;

mod figures;

pub use figures::{Arrivals, Calm, Change, LoadFigures, Misses, ServerLoad, Service, Throughput};

/// Learns the load of one backend.
#[derive(Clone, Debug)]
pub struct LoadEstimator {
    target: Target,
}

/// A server that takes requests, as HAProxy has it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Serving {
    /// Which.
    pub server: ServerId,
    /// Its weight over its full weight, above 0.
    pub share: f64,
}

impl LoadEstimator {
    /// Knows nothing yet.
    pub fn new(target: Target, _started: Instant) -> Self {
        Self { target }
    }

    /// Counts one request of this backend.
    pub fn record(&mut self, _sample: &Sample, _now: Instant) {}

    /// Takes which servers serve at `now`. One that was not among them at the last call has just
    /// begun: what it shows in its first 20 s is not learned from.
    pub fn observe(&mut self, _serving: &[Serving], _now: Instant) {}

    /// A server was ordered: the lead runs from here to its first line.
    pub fn ordered(&mut self, _server: ServerId, _now: Instant) {}

    /// This server is slower than its peers: its requests say nothing about the others.
    pub fn set_slow(&mut self, _server: ServerId, _slow: bool) {}

    /// The figures at `now`. Called once a tick, and never with an earlier `now`.
    pub fn figures(&mut self, _now: Instant) -> LoadFigures {
        let _ = self.target;
        LoadFigures { lead: Duration::from_secs(5), ..LoadFigures::default() }
    }
}
