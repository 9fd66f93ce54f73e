//! Finished settings of one backend: types that cannot be wrong in themselves.
//!
//! `config/` makes them from the file and checks every rule between two keys; the core takes
//! them as they are. Names and meanings are those of `config/haproxy-autoscale.yaml`.

use std::collections::BTreeMap;
use std::time::Duration;

use super::units::{Percentile, Ratio};

pub mod schedule;
pub mod server_lines;
pub(crate) mod server_options;
pub mod spares;

use schedule::Schedule;
use spares::Spares;

/// All there is to know about one backend that the agent may scale.
#[derive(Clone, Debug, PartialEq)]
pub struct BackendSettings {
    /// As in HAProxy's configuration.
    pub name: String,
    /// What has to stay below what.
    pub target: Target,
    /// How decisions are made.
    pub policy: Policy,
    /// For [`Policy::Model`].
    pub model: ModelSettings,
    /// Over what span the figures are taken.
    pub window: WindowSettings,
    /// How much of the requests the log has to tell of.
    pub log: LogSettings,
    /// Above `upper`: too slow. Below `lower`: more servers than needed.
    pub band: HysteresisBand,
    /// Fewest and most serving servers.
    pub ready: ReadyLimits,
    /// Others of these for certain times.
    pub schedule: Schedule,
    /// How servers are added.
    pub scale_up: ScaleUp,
    /// How servers are taken away.
    pub scale_down: ScaleDown,
    /// For every server that has none of its own.
    pub warm_up: WarmUp,
    /// So long a server is left alone that somebody else has changed; zero: not at all.
    pub hands_off: Duration,
    /// What becomes of servers that are slower, or fail more, than their peers.
    pub outliers: OutlierSettings,
    /// Where the weights come from.
    pub weights: Weights,
    /// Where spare servers come from.
    pub spares: Spares,
    /// Servers that the file says something about. A server named here is ours to use as a spare.
    pub servers: BTreeMap<String, ServerSettings>,
}

impl BackendSettings {
    /// How the server of that name is warmed up.
    pub fn warm_up_of(&self, server: &str) -> &WarmUp {
        self.servers.get(server).map_or(&self.warm_up, |server| &server.warm_up)
    }

    /// So long a server that is taken away stays in DRAIN at least; never past `drain_timeout`.
    pub fn trial(&self) -> Duration {
        match self.policy {
            Policy::Model => self.model.trial.min(self.scale_down.drain_timeout),
            Policy::Threshold => Duration::ZERO,
        }
    }
}

/// How decisions are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// By a hysteresis band around the target.
    Threshold,
    /// By the load in busy workers, learned from the log.
    Model,
}

/// Parameters of [`Policy::Model`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ModelSettings {
    /// So much of a server's workers may be busy at most, 0.3 to 0.95.
    pub utilization_max: f64,
    /// How long fewer servers must have been enough; `None`: 60 s and six times what a server needs to start.
    pub hold: Option<Duration>,
    /// The longest that `hold` may become after servers were taken away too early.
    pub hold_max: Duration,
    /// Servers needed again sooner than this after they were taken away: that was too early.
    pub min_off: Duration,
    /// In DRAIN for so long at least, from where a server can be taken back at once.
    pub trial: Duration,
    /// In how long a backlog should be gone.
    pub backlog: Duration,
    /// Gap between the limits for more and for fewer servers, as a share of a server's workers, 0 to 0.5.
    pub band: f64,
    /// Arrivals are extrapolated over the time a server needs to start.
    pub forecast: bool,
    /// Workers of a server, where they are not to be learned; above 0.
    pub workers: Option<f64>,
    /// Servers added or taken away in an hour, at most; beyond it only more servers are allowed.
    pub moves_per_hour: u32,
}

impl Default for ModelSettings {
    fn default() -> Self {
        Self {
            utilization_max: 0.8,
            hold: None,
            hold_max: Duration::from_secs(600),
            min_off: Duration::from_secs(300),
            trial: Duration::from_secs(20),
            backlog: Duration::from_secs(10),
            band: 0.06,
            forecast: true,
            workers: None,
            moves_per_hour: 200,
        }
    }
}

/// What becomes of outliers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OutlierSettings {
    /// At most this share of a backend's servers gets less weight or is drained for it, 0 to 0.5; where that is less
    /// than one server, one.
    pub most: f64,
    /// One that has been an outlier for so long is drained, if a spare can take its place; zero: never.
    pub drain_after: Duration,
}

impl OutlierSettings {
    /// So many of `servers`, never all.
    pub fn most_of(&self, servers: usize) -> usize {
        let most = (servers as f64 * self.most + 1e-9) as usize;
        most.max(1).min(servers.saturating_sub(1))
    }
}

impl Default for OutlierSettings {
    fn default() -> Self {
        Self { most: 0.34, drain_after: Duration::from_secs(600) }
    }
}

/// The promise: `statistic` of `timer` stays below `below`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Target {
    /// The timer of the log line.
    pub timer: Timer,
    /// What is taken over the window.
    pub statistic: Statistic,
    /// The promise itself.
    pub below: Duration,
}

/// A timer of the log line, by HAProxy's names (configuration manual 8.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Timer {
    /// Receiving the request.
    TR,
    /// Waiting in HAProxy's queues.
    Tw,
    /// Connecting to the server.
    Tc,
    /// The server's answer up to its last header.
    Tr,
    /// The last timer of the line: Ta since HAProxy 1.7, Tt before and in tcplog.
    Tt,
}

impl Timer {
    /// HAProxy's name for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TR => "TR",
            Self::Tw => "Tw",
            Self::Tc => "Tc",
            Self::Tr => "Tr",
            Self::Tt => "Tt",
        }
    }
}

/// What is taken over a window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Statistic {
    /// This share of the requests was at most as slow.
    Percentile(Percentile),
    /// The mean over the window.
    Mean,
    /// The mean of the last this many requests, however old; at least 1.
    MeanOfLast(usize),
}

/// The sliding window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowSettings {
    /// Its span, at least a second.
    pub length: Duration,
    /// Fewer requests than this in it are no reason to do anything.
    pub min_samples: u64,
}

/// What is expected of the log.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LogSettings {
    /// When fewer of the requests that HAProxy counts are understood in the log, nothing is decided
    /// on it. [`Ratio::NONE`]: the two are not compared.
    pub coverage: Ratio,
    /// HAProxy logs this share of the requests, above 0.
    pub sample_rate: Ratio,
}

/// `lower` < `upper`; between them nothing changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HysteresisBand {
    lower: Duration,
    upper: Duration,
}

impl HysteresisBand {
    /// `None` unless `lower` is below `upper`.
    pub fn new(lower: Duration, upper: Duration) -> Option<Self> {
        (lower < upper).then_some(Self { lower, upper })
    }

    /// Below it there are more servers than needed.
    pub const fn lower(self) -> Duration {
        self.lower
    }

    /// Above it the backend is too slow.
    pub const fn upper(self) -> Duration {
        self.upper
    }
}

/// Fewest and most serving servers (READY, up, weight above 0); `min` <= `max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadyLimits {
    /// At least 1: draining the last READY server turns the whole backend DOWN.
    pub min: u32,
    /// `None`: as many as there are.
    pub max: Option<u32>,
}

/// How servers are added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScaleUp {
    /// How long a breach has to last.
    pub stabilization_window: Duration,
    /// So many evaluations in a row also count as lasting; 0: only the window counts.
    pub breaches: u32,
    /// Quiet time after servers were added.
    pub cooldown: Duration,
    /// Servers a move, at least 1.
    pub step: u32,
}

/// How servers are taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScaleDown {
    /// How long figures below the band have to last.
    pub stabilization_window: Duration,
    /// No request for so long: the backend is idle.
    pub idle_after: Duration,
    /// Quiet time after servers were taken away.
    pub cooldown: Duration,
    /// Servers a move, at least 1.
    pub step: u32,
    /// How long DRAIN waits at most, for sessions to end and for clients that stick to the server, before MAINT.
    pub drain_timeout: Duration,
    /// Clients that a cookie keeps on a server are taken to have gone once no session has come to it for so long.
    pub sticky_quiet: Duration,
    /// Sessions that are still on a server so long after it went to MAINT are closed; `None`: never.
    pub shutdown_sessions: Option<Duration>,
}

/// Requests to a server before its first users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WarmUp {
    /// What is asked for; `None`: no request is ever sent.
    pub path: Option<String>,
    /// GET or HEAD.
    pub method: WarmUpMethod,
    /// The `Host` header; `None`: the server's address.
    pub host: Option<String>,
    /// TLS or not.
    pub tls: WarmUpTls,
    /// The name sent in SNI; `None`: the host.
    pub sni: Option<String>,
    /// At least so many requests, 1 or more; up to ten times as many until the latency settles.
    pub requests: u32,
    /// So many at a time, 1 or more.
    pub concurrency: u32,
    /// For each request.
    pub timeout: Duration,
    /// Accepted statuses, inclusive.
    pub statuses: (u16, u16),
    /// How long the weight rises after READY; zero: no ramp.
    pub ramp: Duration,
}

/// The method of warm-up requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WarmUpMethod {
    /// GET.
    Get,
    /// HEAD.
    Head,
}

/// Whether warm-up requests use TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WarmUpTls {
    /// As HAProxy does: where the server line has `ssl` (HAProxy tells since 2.4).
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

/// Where the weights come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weights {
    /// They stay as they are, but for ramps.
    Keep,
    /// In proportion to the configured `capacity` of each server.
    ByCapacity,
    /// Less for servers that are slower than their peers.
    ByLatency,
}

/// What the file says about one server.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerSettings {
    /// Never taken away.
    pub always_up: bool,
    /// Relative to the other servers, above 0; 1 unless said.
    pub capacity: f64,
    /// Its own warm-up.
    pub warm_up: WarmUp,
}
