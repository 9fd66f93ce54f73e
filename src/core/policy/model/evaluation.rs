//! One evaluation as a record: figures, rule, wish, what stood in its way, and when it may move.

use std::fmt::{Display, Formatter, Result};
use std::time::Duration;

use super::forecast::Forecast;
use crate::core::names::ServerId;
use crate::core::policy::sentence::Span;

/// See the module's text. `explain`, status and metrics show it.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// Where the backend stands.
    pub condition: Condition,
    /// Requests a second: the higher of the last 15 and the last 30 s.
    pub arrivals: f64,
    /// Requests that wait beyond what is usual.
    pub backlog: f64,
    /// What a server can do; `None` while it is not known.
    pub carried: Option<Carried>,
    /// What is expected to come.
    pub forecast: Forecast,
    /// Servers needed at once; 0 unless those there are would be full.
    pub need_fast: f64,
    /// Servers needed for the level of the last half minute, and where it goes.
    pub need_slow: f64,
    /// With fewer servers than this none may go.
    pub need_in: f64,
    /// Servers wanted, within the fewest and the most allowed.
    pub want: u32,
    /// The most that kept any from going within `hold`; `None` while less than `hold` is known.
    pub want_in: Option<u32>,
    /// Servers that serve,
    pub serving: u32,
    /// are being started,
    pub starting: u32,
    /// or get no new requests until they go.
    pub parked: u32,
    /// Servers' worth that those that serve, or soon will, carry less than as many equal ones; below 0: more.
    pub lost: f64,
    /// Serving servers that carry notably less or more than the others do on average, and how many times as much.
    pub unequal: Vec<(ServerId, f64)>,
    /// How long fewer servers must have been enough.
    pub hold: Duration,
    /// What kept it from more servers or from fewer.
    pub limits: Vec<Limit>,
    /// Servers may be added so long from now at the earliest; zero: at any time.
    pub may_add_in: Duration,
    /// Servers may go so long from now at the earliest, if the load stays as it is.
    pub may_remove_in: Duration,
}

/// What a server can do, as learned.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Carried {
    /// S: a request keeps a worker busy for so long, seconds.
    pub service: f64,
    /// c: requests it works on side by side.
    pub workers: f64,
    /// `workers` was seen; else it is the least it can be.
    pub knee: bool,
    /// rho*: the share of them that may be busy, from the target.
    pub utilization: f64,
    /// Cut of the last minutes, 0.6 to 1: while the target is missed.
    pub gamma: f64,
    /// Room for bursts, 1 to 2: over the last quarter of an hour.
    pub room: f64,
    /// u*: busy workers it may carry.
    pub carries: f64,
    /// Share of the requests that were late with a free worker.
    pub floor: f64,
    /// Requests a second that it was seen to answer at most; `None`: it is not at its limit.
    pub limit: Option<f64>,
}

/// Where a backend stands. Shown; the rule does not depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Condition {
    /// What a request costs is not known yet.
    Learning,
    /// Nothing is called for.
    Steady,
    /// More comes than the servers can carry.
    Outrun,
    /// A server without new requests waits for what happens without it.
    Trial,
    /// No line tells what happens.
    Blind,
    /// More servers are needed than may serve.
    Full,
    /// Late, and not for want of servers.
    NotLoad,
}

impl Condition {
    /// Such as `steady`, `not_load`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Learning => "learning",
            Self::Steady => "steady",
            Self::Outrun => "outrun",
            Self::Trial => "trial",
            Self::Blind => "blind",
            Self::Full => "full",
            Self::NotLoad => "not_load",
        }
    }
}

/// What stands in the way of a move.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    /// These are the fewest allowed.
    Min(u32),
    /// These are the most allowed.
    Max(u32),
    /// No server is left to add.
    NoSpare,
    /// None of the servers may be taken away.
    NothingToRemove,
    /// More servers did not help; tried again so long from now.
    NoEffect(Duration),
    /// No line tells what happens.
    Blind,
    /// What a request costs is not known.
    Learning,
    /// What a server can carry is not known, and no request was late for want of servers; so long to go.
    Unproven(Duration),
    /// Fewer servers have not been enough for long enough, for so long.
    Hold(Duration),
    /// Servers were added not long ago; so long to go.
    JustAdded(Duration),
    /// Servers were taken away not long ago; so long to go.
    JustRemoved(Duration),
    /// So many are being started.
    Starting(u32),
    /// So many get no new requests until they go.
    Parked(u32),
    /// So many requests wait.
    Backlog(f64),
    /// Work is queued in a server.
    Overfull,
    /// So many of so many requests failed on their servers: the others prove nothing.
    Failures(u64, u64),
    /// Too many moves within an hour; so long to go.
    MovesPerHour(Duration),
}

impl Limit {
    /// One snake_case word for each kind.
    pub const fn key(&self) -> &'static str {
        match self {
            Self::Min(_) => "min",
            Self::Max(_) => "max",
            Self::NoSpare => "no_spare",
            Self::NothingToRemove => "nothing_to_remove",
            Self::NoEffect(_) => "no_effect",
            Self::Blind => "blind",
            Self::Learning => "learning",
            Self::Unproven(_) => "unproven",
            Self::Hold(_) => "hold",
            Self::JustAdded(_) => "just_added",
            Self::JustRemoved(_) => "just_removed",
            Self::Starting(_) => "starting",
            Self::Parked(_) => "parked",
            Self::Backlog(_) => "backlog",
            Self::Overfull => "overfull",
            Self::Failures(..) => "failures",
            Self::MovesPerHour(_) => "moves_per_hour",
        }
    }

    /// How long it stands at least, if the load stays as it is; `None`: that is not a matter of time.
    pub const fn left(&self) -> Option<Duration> {
        match self {
            Self::NoEffect(left)
            | Self::Unproven(left)
            | Self::Hold(left)
            | Self::JustAdded(left)
            | Self::JustRemoved(left)
            | Self::MovesPerHour(left) => Some(*left),
            _ => None,
        }
    }
}

impl Display for Limit {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Min(min) => write!(f, "the fewest allowed is {min}"),
            Self::Max(max) => write!(f, "the most allowed is {max}"),
            Self::NoSpare => f.write_str("no server is left to add"),
            Self::NothingToRemove => f.write_str("none of the servers may be taken away"),
            Self::NoEffect(left) => {
                write!(f, "more servers did not help; tried again in {}", Span(*left))
            }
            Self::Blind => f.write_str("no log line comes"),
            Self::Learning => f.write_str("what a request costs is not known yet"),
            Self::Unproven(left) => {
                write!(f, "what a server can carry is not known yet; {} to go", Span(*left))
            }
            Self::Hold(left) => write!(f, "fewer must have been enough for {} longer", Span(*left)),
            Self::JustAdded(left) => write!(f, "servers were just added; {} to go", Span(*left)),
            Self::JustRemoved(left) => write!(f, "servers were just taken away; {} to go", Span(*left)),
            Self::Starting(servers) => write!(f, "{servers} being started"),
            Self::Parked(servers) => write!(f, "{servers} without new requests, on trial"),
            Self::Backlog(waiting) => write!(f, "{waiting:.0} requests wait"),
            Self::Overfull => f.write_str("work is queued in a server"),
            Self::Failures(failed, of) => write!(f, "{failed} of {of} requests failed on their servers"),
            Self::MovesPerHour(left) => {
                write!(f, "too many moves within an hour; {} to go", Span(*left))
            }
        }
    }
}
