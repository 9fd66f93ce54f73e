//! All that a policy may see of the log, at one `now`.

use std::time::Duration;

use crate::core::units::Ratio;

/// The estimate over one window: of a backend, or of one server.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Snapshot {
    /// The target's statistic of the target's timer; `None` without a sample.
    pub latency: Option<Duration>,
    /// Median of the target's timer.
    pub p50: Option<Duration>,
    /// 95th percentile of the target's timer.
    pub p95: Option<Duration>,
    /// 99th percentile of the target's timer.
    pub p99: Option<Duration>,
    /// Mean of the target's timer.
    pub mean: Option<Duration>,
    /// Requests on whose latency `latency` rests: those of the window, or the last n.
    pub samples: u64,
    /// All requests a second over the window, failed ones too.
    pub rate: f64,
    /// How the requests in the window ended.
    pub tally: Tally,
    /// Mean of Tw over the requests that have one.
    pub queue_time: Option<Duration>,
    /// Requests side by side, by Little's law: time spent in Tw, Tc and Tr by all requests of the window, over its length.
    pub concurrency: f64,
    /// Streams on the backend (of a server: on the server) when its newest line was written.
    pub connections: Option<u32>,
    /// How long ago the newest request ended; `None` if there never was one.
    pub newest: Option<Duration>,
    /// How much of the window has been observed since the start, at most its length.
    pub observed: Duration,
    /// How long it has been watched since the start, at whatever the window's length.
    pub watched: Duration,
}

impl Snapshot {
    /// Of a log that has only this share of the requests: what counts them is put right, what tells how
    /// much rests on them is not.
    #[must_use]
    pub fn of_sample(self, rate: Ratio) -> Self {
        Self { rate: self.rate / rate.value(), concurrency: self.concurrency / rate.value(), ..self }
    }
}

/// Requests of a window by [`Class`](crate::core::log::sample::Class).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Tally {
    /// Answered.
    pub success: u64,
    /// The server's fault.
    pub server: u64,
    /// Nobody had room.
    pub saturation: u64,
    /// The client's doing.
    pub client: u64,
    /// HAProxy's doing.
    pub proxy: u64,
}

impl Tally {
    /// All requests.
    pub fn total(self) -> u64 {
        self.success + self.server + self.saturation + self.client + self.proxy
    }
}
