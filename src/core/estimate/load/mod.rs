//! What the requests of one backend cost, and how many of them its servers carry.
//!
//! In: the backend's samples, and once a tick which servers serve. Out: [`LoadFigures`]. Everything
//! here is learned from the log: service time and workers from the curve of Tr over the requests
//! side by side, arrivals before they have finished, the queue, the time a newcomer needs. What
//! that means for the number of servers is the policy's affair.
//!
//! ```text
//!  Sample ─▶ request.rs ─┬─▶ seconds.rs ─▶ arrivals.rs, backlog.rs, saturation.rs      rates, queues
//!                        ├─▶ misses.rs                                                 by the minute
//!                        └─▶ learner.rs ─▶ overlap.rs ─▶ bins.rs ─▶ fit.rs, curve.rs   S and c
//!                                                  ├─▶ calm.rs                         free workers
//!                                                  └─▶ servers.rs, own.rs              each server
//! ```
//!
//! What is not in the log is not made up. Without Tr (tcplog, or a format with Ta alone) there is
//! no [`Service`]: how long a session lasts is the client's affair. The rates are there all
//! the same. Without beconn, arrivals are completions, and there is no backlog.
//!
//! Memory does not depend on the rate: 3 KiB a backend before its first line, then 34 to 47 KiB
//! with ten servers, 2.5 KiB of them for each server; a test holds it to 48 KiB. A line costs about 0.1 µs
//! when it comes and as much when it is learned from (`benches/load.rs`).

use std::time::{Duration, Instant};

use crate::core::log::sample::Sample;
use crate::core::names::ServerId;
use crate::core::settings::Target;

mod arrivals;
mod backlog;
mod bins;
mod calm;
mod curve;
mod figures;
mod fit;
mod lead;
mod learner;
mod misses;
mod overlap;
mod own;
mod request;
mod saturation;
mod seconds;
mod servers;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use arrivals::Trend;
use backlog::Backlog;
use lead::Lead;
use learner::Learner;
use misses::Minutes;
use request::{Request, millis_since};
use saturation::{Saturation, Seen};
use seconds::{Recent, Seconds};

pub use figures::{Arrivals, Calm, Change, LoadFigures, Misses, ServerLoad, Service, Throughput};

/// Without a line for so long, while streams were left, the log or the servers stand still.
const BLIND_MS: i64 = 5000;
/// Longer than this they are not the last word: what really runs is for others to say.
const LONG_BLIND_MS: i64 = 60_000;
/// It is told sooner where so many lines should have come.
const SOON_BLIND_MS: i64 = 1500;
const SOON_BLIND_LINES: f64 = 30.0;

/// What full servers complete is theirs only if the same ones have been serving for so long.
const SAME_SERVERS_MS: i64 = 6000;

/// Learns the load of one backend.
#[derive(Clone, Debug)]
pub struct LoadEstimator {
    target: Target,
    epoch: Instant,
    seconds: Seconds,
    minutes: Minutes,
    learner: Learner,
    trend: Trend,
    backlog: Backlog,
    saturation: Saturation,
    lead: Lead,
    /// The second in which the log stopped, until it goes on.
    stopped: Option<i64>,
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
    pub fn new(target: Target, started: Instant) -> Self {
        Self {
            target,
            epoch: started,
            seconds: Seconds::default(),
            minutes: Minutes::default(),
            learner: Learner::new(target.below.as_millis()),
            trend: Trend::default(),
            backlog: Backlog::default(),
            saturation: Saturation::default(),
            lead: Lead::default(),
            stopped: None,
        }
    }

    /// Counts one request of this backend.
    pub fn record(&mut self, sample: &Sample, now: Instant) {
        let request = Request::of(sample, &self.target, self.epoch, self.millis(now));
        self.seconds.record(&request);
        self.minutes.record(&request);
        let Some(server) = sample.server else { return };
        if let Some(stay) = request.stay {
            self.lead.line(server, stay.start, request.end);
        }
        self.learner.record(server, sample, &request);
    }

    /// Takes which servers serve at `now`. One that was not among them at the last call has just
    /// begun: what it shows in its first 20 s is not learned from.
    pub fn observe(&mut self, serving: &[Serving], now: Instant) {
        let now = self.millis(now);
        let servers = &mut self.learner.servers;
        servers.observe(serving.iter().map(|it| (it.server, it.share)), now);
        self.lead.observe(|server| servers.serves(server), now);
    }

    /// A server was ordered: the lead runs from here to its first line.
    pub fn ordered(&mut self, server: ServerId, now: Instant) {
        self.lead.ordered(server, self.millis(now));
    }

    /// This server is slower than its peers: its requests say nothing about the others.
    pub fn set_slow(&mut self, server: ServerId, slow: bool) {
        self.learner.servers.of(server).set_slow(slow);
    }

    /// This server has not got all of its share yet: nothing is learned from it so soon.
    pub fn set_cold(&mut self, server: ServerId, now: Instant) {
        let now = self.millis(now);
        self.learner.servers.of(server).set_cold(now);
    }

    /// The figures at `now`. Called once a tick, and never with an earlier `now`.
    ///
    /// If the log or the servers stand still, they are those of the time before, for a minute.
    pub fn figures(&mut self, now: Instant) -> LoadFigures {
        let now = self.millis(now);
        let stands = self.is_standing_still(now);
        self.mark_stop(stands);
        if let (true, Some(second)) = (stands, self.stopped) {
            let recent = self.seconds.recent(second);
            let arrivals = self.trend.see(&recent, second);
            return self.told(&recent, arrivals, now);
        }
        let recent = self.seconds.recent(now.div_euclid(1000));
        let arrivals = self.learn(&recent, now);
        self.told(&recent, arrivals, now)
    }

    /// No line comes, though streams are left and lines should.
    fn is_standing_still(&self, now: i64) -> bool {
        let Some((newest, streams)) = self.seconds.newest() else { return false };
        let silent = now - newest;
        let has_streams = f64::from(streams) > self.backlog.held(now.div_euclid(1000));
        if !(SOON_BLIND_MS..LONG_BLIND_MS).contains(&silent) || !has_streams {
            return false;
        }
        let rate = self.seconds.recent(newest.div_euclid(1000)).arrivals(15, 0);
        silent >= BLIND_MS || rate * silent as f64 / 1000.0 >= SOON_BLIND_LINES
    }

    /// Remembers when lines stopped coming, until they come again.
    fn mark_stop(&mut self, stands: bool) {
        let newest = self.seconds.newest().map(|(newest, _)| newest.div_euclid(1000));
        if let Some(stopped) = self.stopped.filter(|stopped| newest.is_some_and(|newest| newest > *stopped)) {
            self.seconds.resume(stopped);
            self.stopped = None;
        }
        if stands && self.stopped.is_none() {
            self.stopped = newest;
        }
    }

    fn learn(&mut self, recent: &Recent, now: i64) -> Arrivals {
        let second = now.div_euclid(1000);
        self.learner.learn(recent, now);
        let arrivals = self.trend.learn(recent, second);
        let (curve, servers) = (&self.learner.curve, &self.learner.servers);
        if let Some(time) = curve.time() {
            self.backlog.learn(recent, arrivals.last_15.max(arrivals.last_30) * time, second);
        }
        let seen = Seen {
            on_servers: servers.streams(now),
            servers: servers.settled_shares(SAME_SERVERS_MS, now),
            time: curve.time(),
        };
        self.saturation.learn(recent, seen, now);
        arrivals
    }

    fn told(&self, recent: &Recent, arrivals: Arrivals, now: i64) -> LoadFigures {
        let second = now.div_euclid(1000);
        let (curve, calm) = (&self.learner.curve, &self.learner.calm);
        let last_15 = recent.sums(15, 0);
        LoadFigures {
            service: curve.service(calm.cv()),
            arrivals,
            throughput: Throughput {
                last_4: recent.answered(4, 0),
                first_half: recent.answered(2, 2),
                second_half: recent.answered(2, 0),
                last_15: recent.answered(15, 0),
            },
            backlog: curve.time().map_or(0.0, |time| {
                let rate = arrivals.last_15.max(arrivals.last_30);
                self.backlog.waiting(recent, rate, time, second)
            }),
            streams: recent.streams(),
            streams_grown: recent.grown(4),
            calm: calm.figures(),
            misses: Misses {
                last_15: (u64::from(last_15.missed), u64::from(last_15.judged)),
                minutes: self.minutes.told(second),
            },
            lead: self.lead.mean(),
            transfer: recent.sums(60, 0).mean_transfer(),
            queue_time: recent.sums(3, 0).mean_queue(),
            queueing_for: Duration::from_millis(self.saturation.queueing_ms(now)),
            saturated_workers: self.saturation.workers(now),
            silent_for: self
                .seconds
                .newest()
                .map(|(newest, _)| Duration::from_millis(u64::try_from(now - newest).unwrap_or(0))),
            watched: Duration::from_millis(u64::try_from(now).unwrap_or(0)),
            servers: self.learner.servers.figures(calm.cv(), second),
            unequal: self.learner.servers.unequal(),
        }
    }

    /// What it costs, the struct itself included.
    #[cfg(test)]
    fn bytes(&self) -> usize {
        size_of::<Self>() + self.seconds.heap_bytes() + self.learner.heap_bytes()
    }

    /// Milliseconds since the start; never before it.
    fn millis(&self, now: Instant) -> i64 {
        millis_since(self.epoch, now).max(0)
    }
}
