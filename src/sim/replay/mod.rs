//! Yesterday's log, decided on again: what would have been done, when, why, and what would have come of it.
//!
//! In: the lines of a log. Out: a [`Replay`], which has all that is told of it, in text, JSON or a picture.
//!
//! ```text
//!  lines ─▶ History ─▶ Workload ─▶ play(pool, who decides) ─▶ Track     one for each policy
//!           what was   what each request cost, and how servers work
//!              └──────────────────────────────────────────────▶ Track     as it was
//! ```
//! The arrivals and what each request cost are read from the log. How latency would have been with other servers is
//! not in any log: it is modelled, by the world of [`simulate`](super). How far that can be trusted shows in the
//! track of the very servers that were active, modelled, beside the log itself.

mod demand;
pub mod history;
mod learning;
pub mod notes;
pub mod play;
pub mod presence;
pub mod recorder;
pub mod workload;

use crate::core::settings::Target;
use crate::core::settings::schedule::CivilTime;

/// All that is told of one backend's past.
#[derive(Clone, Debug, PartialEq)]
pub struct Replay {
    /// The backend's name.
    pub backend: String,
    /// What should have stayed below what.
    pub target: Target,
    /// The first whole second of the log, by its own dates (no time zone). All times below count from here.
    pub begins: CivilTime,
    /// From there to the last request, seconds.
    pub length_s: f64,
    /// The spans of [`Track::points`], seconds. All tracks have as many points.
    pub step_s: f64,
    /// Servers of the pool, with their names; decisions and points count them.
    pub servers: Vec<String>,
    /// What was found in the log about how requests and servers are.
    pub learned: Learned,
    /// As it was: read from the log, nothing modelled. It has no decisions.
    pub actual: Track,
    /// The very servers that were active, modelled: how near this is to `actual` tells how far to trust the others.
    pub check: Track,
    /// One for each policy, in the order they were asked for; all modelled.
    pub policies: Vec<Track>,
    /// What is read from the log and what is modelled, each a whole sentence. The first two say the most important.
    pub notes: Vec<String>,
}

/// What the log tells of requests and servers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Learned {
    /// Requests that are played.
    pub requests: u64,
    /// Requests a server works on side by side.
    pub workers: u32,
    /// How that is known.
    pub workers_from: WorkersFrom,
    /// What a request takes on a server with a free worker, mean, seconds.
    pub service_s: f64,
    /// They wait in turn for a worker, or all share the cores.
    pub in_turn: bool,
    /// `maxconn` of each server, if HAProxy queued in front of them (or it was given).
    pub maxconn: Option<u32>,
}

/// How the number of workers is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkersFrom {
    /// The log shows where answers begin to take longer.
    Log,
    /// No server was ever full: it is the least that it can be.
    AtLeast,
    /// An operator said so.
    Given,
}

/// One way it went, or would have gone.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Track {
    /// `as it was`, `model`, `threshold`, `all-on`, ...
    pub name: String,
    /// What that is, in a line.
    pub about: String,
    /// The figures over all.
    pub summary: Summary,
    /// What happened over time, one for each span of [`Replay::step_s`].
    pub points: Vec<Point>,
    /// What was decided, in order; only of the agent's own policies.
    pub decisions: Vec<Decision>,
}

/// The figures of one track over the whole time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Summary {
    /// Requests that say something about the target: answered, failed for want of a server, or given up late.
    pub requests: u64,
    /// Of them above the target's limit, or failed.
    pub over: u64,
    /// Of them failed: errors of servers, timeouts, no server.
    pub failed: u64,
    /// Time in which the target was missed, seconds: spans of 30 s in which its statistic was above the limit.
    pub over_s: f64,
    /// Median by the target's timer, milliseconds; `None` without latencies.
    pub p50_ms: Option<f64>,
    /// 95th percentile.
    pub p95_ms: Option<f64>,
    /// 99th percentile.
    pub p99_ms: Option<f64>,
    /// Server time, seconds: starting, serving and draining servers.
    pub server_s: f64,
    /// Servers started or stopped.
    pub moves: u64,
    /// The most servers that served at a time.
    pub most_servers: u32,
}

/// What happened in one span of time. Requests are placed by when they came, whoever served them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Point {
    /// Seconds from [`Replay::begins`].
    pub from_s: f64,
    /// Requests that came and say something about the target.
    pub requests: u64,
    /// Of them above the target's limit, or failed.
    pub over: u64,
    /// Of them failed.
    pub failed: u64,
    /// Median by the target's timer, milliseconds; `None` without latencies.
    pub p50_ms: Option<f64>,
    /// 95th percentile.
    pub p95_ms: Option<f64>,
    /// Servers serving, mean over the span.
    pub serving: f64,
    /// Servers that cost (starting and draining ones too), mean over the span.
    pub paid: f64,
}

/// A decision to change something.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// Seconds from [`Replay::begins`].
    pub at_s: f64,
    /// `scale_up`, `scale_down` or `reweigh`.
    pub decision: &'static str,
    /// Servers that served when it was made.
    pub from: u32,
    /// How many it should become.
    pub to: u32,
    /// Why, one sentence.
    pub reason: String,
    /// The same as one word.
    pub rule: &'static str,
    /// What could not be done about it.
    pub refused: Option<String>,
    /// When the next move is possible, seconds; `None`: not known.
    pub next_move_s: Option<u64>,
    /// The statistic of the target over the window, milliseconds, as the policy saw it.
    pub latency_ms: Option<f64>,
    /// Requests a second over the window, as the policy saw it.
    pub rate: Option<f64>,
}

impl Replay {
    /// All tracks with their place in a table: as it was, the same modelled, then the policies.
    pub fn tracks(&self) -> impl Iterator<Item = &Track> {
        [&self.actual, &self.check].into_iter().chain(&self.policies)
    }

    /// With more than this share of the requests above the limit the target is missed.
    pub fn missed_share(&self) -> f64 {
        recorder::missed_share(&self.target)
    }

    /// How many servers really were active at this second.
    pub fn servers_were(&self, at_s: f64) -> u32 {
        let point = self.actual.points.get((at_s / self.step_s) as usize);
        point.map_or(0, |point| point.serving.round() as u32)
    }

    /// Seconds from [`Replay::begins`] as the log's clocks had it.
    pub fn civil(&self, at_s: f64) -> CivilTime {
        CivilTime::new(self.begins.seconds() + at_s as i64)
    }
}

impl Summary {
    /// Requests above the target as a share, 0 to 1; 0 without requests.
    pub fn over_share(&self) -> f64 {
        if self.requests == 0 { 0.0 } else { self.over as f64 / self.requests as f64 }
    }

    /// Server time, hours.
    pub fn server_hours(&self) -> f64 {
        self.server_s / 3600.0
    }
}
