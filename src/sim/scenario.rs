//! What arrives, what serves, what is to be kept.

use std::sync::Arc;

use super::arrivals::Coming;
use super::traces::Trace;
use crate::core::settings::schedule::CivilTime;

/// One closed loop.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// What it is called on the command line.
    pub name: String,
    /// One line about it.
    pub about: String,
    /// How long it lasts, seconds.
    pub length_s: f64,
    /// Servers of the pool.
    pub servers: usize,
    /// Of them serving at the start.
    pub serving_at_start: usize,
    /// The promise: so many milliseconds for 95 % of the requests, Tw + Tr.
    pub target_ms: u32,
    /// What arrives.
    pub load: Load,
    /// How clients behave.
    pub clients: Clients,
    /// How HAProxy is configured.
    pub haproxy: Haproxy,
    /// What each server is like.
    pub server: ServerModel,
    /// Workers of the servers by their place, from the first one again behind the last; empty: all have those of
    /// `server`.
    pub sizes: Vec<u32>,
    /// What happens meanwhile.
    pub incidents: Vec<Incident>,
    /// What the backend and its servers are called.
    pub names: PoolNames,
    /// What the clocks on the wall say at the start, by which schedules go; `None`: nobody asks.
    pub begins: Option<CivilTime>,
}

/// Names as HAProxy's configuration has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolNames {
    /// Of the backend.
    pub backend: String,
    /// Of the servers by their place; one that has none is called `s` and its number from 1.
    pub servers: Vec<String>,
}

impl PoolNames {
    /// Of the server at this place.
    pub fn server(&self, place: usize) -> String {
        self.servers.get(place).cloned().unwrap_or_else(|| format!("s{}", place + 1))
    }
}

/// The arrivals.
#[derive(Clone, Debug)]
pub struct Load {
    /// Requests a second over time; the arrivals are Poisson around it.
    pub shape: Shape,
    /// What makes the rate waver.
    pub noise: Noise,
}

/// Requests a second as a function of time.
#[derive(Clone, Debug)]
pub enum Shape {
    /// Always the same.
    Constant(f64),
    /// A cosine from `low` to `high` and back in `period_s`.
    Wave {
        /// At the start, and after each period.
        low: f64,
        /// In the middle of each period.
        high: f64,
        /// Seconds from low to low.
        period_s: f64,
    },
    /// Straight lines between points (second, rate); level before the first and after the last. In order.
    Lines(Vec<(f64, f64)>),
    /// `low` and `high` by turns, beginning with `low`.
    Square {
        /// In the first half of each period.
        low: f64,
        /// In the second half.
        high: f64,
        /// Seconds from one beginning of `low` to the next.
        period_s: f64,
    },
    /// From `low` up to `high` in a straight line, then at once back.
    Sawtooth {
        /// At the start of each period.
        low: f64,
        /// At its end.
        high: f64,
        /// Seconds from drop to drop.
        period_s: f64,
    },
    /// A level with bursts at random times.
    Bursts {
        /// Between bursts.
        base: f64,
        /// What a burst adds: evenly spread between these two.
        adds: (f64, f64),
        /// How long it lasts, seconds: evenly spread between these two.
        lasts_s: (f64, f64),
        /// Mean time from one burst's start to the next one's, seconds; exponential.
        every_s: f64,
    },
    /// A trace, scaled and played at another speed.
    Trace {
        /// The counts.
        trace: Arc<Trace>,
        /// This percentile of its bins becomes `peak`.
        percentile: f64,
        /// Requests a second.
        peak: f64,
        /// Seconds that a bin lasts here.
        bin_s: f64,
    },
    /// These very moments, seconds from the start, in order: a log's own arrivals. No noise.
    Moments(Arc<[f64]>),
    /// These very requests, in order: when they come, and what each costs. No noise, and nothing of the clients.
    Requests(Arc<[Coming]>),
}

/// Slow noise on the rate: normal around 1, its memory fading exponentially.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Noise {
    /// Standard deviation as a share of the rate; 0 for none.
    pub share: f64,
    /// How long it remembers, seconds, above 0.
    pub over_s: f64,
}

/// How clients behave.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clients {
    /// Some read the answer slowly: lognormal times of CV 1.
    pub slow_readers: Share,
    /// Some send the request slowly; all of these take the same time.
    pub slow_senders: Share,
    /// Some stay on an open stream after the answer's headers: lognormal times of CV 1.
    pub streams: Share,
}

/// A share of the requests, and how long something takes them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share {
    /// 0 to 1.
    pub share: f64,
    /// Mean, seconds.
    pub mean_s: f64,
}

/// The relevant lines of HAProxy's configuration.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Haproxy {
    /// `balance`.
    pub balance: Balance,
    /// `maxconn` of each server; `None`: unlimited.
    pub maxconn: Option<u32>,
    /// `timeout queue`, seconds.
    pub queue_timeout_s: f64,
    /// `timeout server`, seconds.
    pub server_timeout_s: f64,
    /// A drain ends after this, seconds, whatever is left on the server.
    pub drain_timeout_s: f64,
}

/// `balance`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    /// `roundrobin`.
    RoundRobin,
    /// `leastconn`.
    LeastConn,
}

impl Balance {
    /// As HAProxy has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RoundRobin => "roundrobin",
            Self::LeastConn => "leastconn",
        }
    }
}

/// What each server is like when it is healthy and warm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ServerModel {
    /// Requests it works on side by side: workers, or cores.
    pub workers: u32,
    /// What they do with more requests than that.
    pub discipline: Discipline,
    /// Mean time a request needs a worker, seconds; lognormal.
    pub service_s: f64,
    /// Its coefficient of variation.
    pub cv: f64,
    /// By so much longer takes a request for each `workers` connections beyond `workers`; 0 for none.
    pub thrash: f64,
    /// From the order to start to being healthy, seconds, +-20 %; 0: the process runs all the time,
    /// and stays warm for 5 minutes.
    pub start_delay_s: f64,
    /// The first request after the start takes `1 + cold_extra` times as long.
    pub cold_extra: f64,
    /// Requests after which `cold_extra` has fallen to 1/e.
    pub cold_over: f64,
    /// The agent's warm-up requests, `workers` at a time, for at most 20 s.
    pub warm_up_requests: u32,
}

/// What a server does with more requests than it has workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discipline {
    /// They wait in the order they came.
    Fifo,
    /// All get the same share of the cores.
    Shared,
}

/// Something that happens, and ends again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Incident {
    /// Seconds from the start.
    pub from_s: f64,
    /// Seconds from the start; infinite if it stays.
    pub until_s: f64,
    /// What.
    pub what: Trouble,
}

/// What may happen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Trouble {
    /// Every request on every server takes so many times as long: a deploy, or what is behind the servers.
    Slower(f64),
    /// Every request on this server, by its place, takes so many times as long.
    SlowServer(usize, f64),
    /// A share of the requests takes so many times as long.
    Mix {
        /// 0 to 1.
        share: f64,
        /// Times.
        by: f64,
    },
    /// This server, by its place, refuses connections, and what it had fails.
    Down(usize),
    /// No line gets through to whoever decides; they are lost.
    LogLost,
}

impl Scenario {
    /// The standard backend under `shape`: 16 servers of 8 workers, 80 ms (CV 1), 400 ms for 95 %.
    pub fn standard(name: &str, about: &str, length_s: f64, shape: Shape) -> Self {
        Self {
            name: name.to_owned(),
            about: about.to_owned(),
            length_s,
            servers: 16,
            serving_at_start: 2,
            target_ms: 400,
            load: Load { shape, noise: Noise { share: 0.04, over_s: 30.0 } },
            clients: Clients {
                slow_readers: Share { share: 0.02, mean_s: 4.0 },
                slow_senders: Share { share: 0.01, mean_s: 0.5 },
                streams: Share { share: 0.0, mean_s: 600.0 },
            },
            haproxy: Haproxy {
                balance: Balance::RoundRobin,
                maxconn: None,
                queue_timeout_s: 10.0,
                server_timeout_s: 30.0,
                drain_timeout_s: 60.0,
            },
            server: ServerModel {
                workers: 8,
                discipline: Discipline::Fifo,
                service_s: 0.08,
                cv: 1.0,
                thrash: 0.0,
                start_delay_s: 5.0,
                cold_extra: 3.0,
                cold_over: 60.0,
                warm_up_requests: 100,
            },
            sizes: Vec::new(),
            incidents: Vec::new(),
            names: PoolNames { backend: "app".to_owned(), servers: Vec::new() },
            begins: None,
        }
    }

    /// The incidents of `now_s`.
    pub fn troubles(&self, now_s: f64) -> impl Iterator<Item = Trouble> {
        let is_on = move |incident: &&Incident| incident.from_s <= now_s && now_s < incident.until_s;
        self.incidents.iter().filter(is_on).map(|incident| incident.what)
    }

    /// The server at this place, healthy and warm.
    pub fn server_at(&self, place: usize) -> ServerModel {
        let size = self.sizes.get(place % self.sizes.len().max(1)).copied();
        ServerModel { workers: size.unwrap_or(self.server.workers), ..self.server }
    }

    /// Workers of a server, on average over the pool.
    pub fn mean_workers(&self) -> f64 {
        let all: f64 = (0..self.servers).map(|place| f64::from(self.server_at(place).workers)).sum();
        if self.servers == 0 { f64::from(self.server.workers) } else { all / self.servers as f64 }
    }

    /// Mean service time of a healthy, warm server at `now_s`, seconds.
    pub fn service_s(&self, now_s: f64) -> f64 {
        self.troubles(now_s).fold(self.server.service_s, |service_s, trouble| match trouble {
            Trouble::Slower(by) => service_s * by,
            Trouble::Mix { share, by } => service_s * (1.0 - share + share * by),
            Trouble::SlowServer(..) | Trouble::Down(_) | Trouble::LogLost => service_s,
        })
    }
}
