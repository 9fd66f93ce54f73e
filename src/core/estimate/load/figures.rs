//! All that `policy: model` may see of the log, at one `now`.
//!
//! Times are seconds, rates are by the second. No figure is NaN or infinite.

use std::time::Duration;

use crate::core::names::ServerId;

/// See the module's text.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LoadFigures {
    /// What a request costs; `None` until it is known.
    pub service: Option<Service>,
    /// How fast requests come.
    pub arrivals: Arrivals,
    /// How fast they are answered.
    pub throughput: Throughput,
    /// Requests waiting beyond what is usual at this load; 0 unless a real queue shows.
    pub backlog: f64,
    /// Streams on the backend when the newest line was written.
    pub streams: u32,
    /// By how many the streams have grown over the last 4 s.
    pub streams_grown: f64,
    /// How requests that found a free worker fared.
    pub calm: Calm,
    /// Misses of the target.
    pub misses: Misses,
    /// From ordering a server to its first line, warm-up included.
    pub lead: Duration,
    /// Mean transfer time after the answer's headers (Ta - TR - Tw - Tc - Tr), seconds.
    pub transfer: f64,
    /// Mean Tw of the last 3 s, seconds.
    pub queue_time: f64,
    /// For how long HAProxy itself has been queueing without a break.
    pub queueing_for: Duration,
    /// Workers of a server by what they did while HAProxy queued in front of them: then they are full by
    /// definition, whatever the curve says. Believed for a minute, then let go by 5 % a minute.
    pub saturated_workers: Option<f64>,
    /// How long ago the newest request ended; `None`: there was none.
    pub silent_for: Option<Duration>,
    /// How long it has been learning.
    pub watched: Duration,
    /// Each server that had requests in the last minute.
    pub servers: Vec<ServerLoad>,
    /// The servers that carry notably less or more than `service` says, and how many times as much, by rising
    /// id; those that do not serve at present too.
    pub unequal: Vec<(ServerId, f64)>,
}

/// The curve of Tr over the requests side by side on a server: flat up to the knee, then rising.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Service {
    /// S: what a request takes on a server with a free worker, above 0.
    pub time: f64,
    /// c: requests a server works on side by side before they wait for each other, above 0.
    pub workers: f64,
    /// The knee has been seen; else `workers` is the least it can be.
    pub knee: bool,
    /// Coefficient of variation of the time of requests that found a free worker, at most 3.
    pub cv: f64,
}

/// Requests a second, as they come: completions and the growth of the streams on the backend.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Arrivals {
    /// Over the last 3 whole seconds.
    pub last_3: f64,
    /// Over 4.
    pub last_4: f64,
    /// Over 5.
    pub last_5: f64,
    /// Over 10.
    pub last_10: f64,
    /// Over 15.
    pub last_15: f64,
    /// Over 30.
    pub last_30: f64,
    /// Against the 3 s before, by the second.
    pub change_3: Change,
    /// Against the 5 s before, by the second.
    pub change_5: Change,
    /// Against the 30 s before, by the second.
    pub change_30: Change,
    /// The highest `last_10` of the last hour but the present rise; `None` before 5 min are known.
    pub peak: Option<f64>,
}

/// How a rate changes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Change {
    /// Requests a second, more (or fewer) each second.
    pub slope: f64,
    /// What `slope` usually is: the larger of chance alone and what was seen lately.
    pub sigma: f64,
}

/// Requests that were answered, a second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Throughput {
    /// Over the last 4 whole seconds.
    pub last_4: f64,
    /// Over the first two of them.
    pub first_half: f64,
    /// Over the last two of them.
    pub second_half: f64,
    /// Over the last 15.
    pub last_15: f64,
}

/// Requests that found a free worker: what no server could do better.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Calm {
    /// Share of them above the target.
    pub floor: f64,
    /// Their latencies by the target's timer, each with the share of requests it stands for; the
    /// shares add up to 1. Empty: nothing is known. At most 64.
    pub latencies: Vec<(f64, f64)>,
}

/// Requests above the target's limit, or failed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Misses {
    /// Over the last 15 s: misses, of so many.
    pub last_15: (u64, u64),
    /// By the minute, the newest last; at most 15.
    pub minutes: Vec<(u64, u64)>,
}

/// One server.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ServerLoad {
    /// Which.
    pub server: ServerId,
    /// Mean Tr of the last 3 s; `None` without a line.
    pub recent: Option<f64>,
    /// Its Tr against what the curve says for the requests it had side by side (moving average);
    /// `None` until enough requests are known.
    pub slowness: Option<f64>,
    /// Failures of its own over the last minute, of so many requests.
    pub failed: (u64, u64),
    /// Streams on it when its newest line was written.
    pub streams: u32,
}
