//! What is to be done, and why. Journal, log, status and replay print these and nothing else.

use std::time::Duration;

pub use super::load::{Load, LoadUnit};
use super::order::Ordered;
use super::place::NoPlace;
use super::replacement::Replacement;
use crate::core::log::error::LineError;
use crate::core::names::ServerId;
use crate::core::settings::Statistic;

/// What is to be done about one backend.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// Nothing.
    Hold(Reason),
    /// `by` more servers.
    ScaleUp {
        /// How many, at least 1.
        by: u32,
        /// Why.
        reason: Reason,
    },
    /// `by` fewer servers.
    ScaleDown {
        /// How many, at least 1.
        by: u32,
        /// These first, in this order; then whichever has the least to lose.
        prefer: Vec<ServerId>,
        /// Why.
        reason: Reason,
    },
    /// Other weights.
    Reweigh {
        /// What every serving server is to have of its full weight: 1.0 is all of it.
        shares: Vec<(ServerId, f64)>,
        /// Why.
        reason: Reason,
    },
}

impl Decision {
    /// `hold`, `scale_up`, `scale_down` or `reweigh`.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Hold(_) => "hold",
            Self::ScaleUp { .. } => "scale_up",
            Self::ScaleDown { .. } => "scale_down",
            Self::Reweigh { .. } => "reweigh",
        }
    }

    /// Why.
    pub const fn reason(&self) -> &Reason {
        match self {
            Self::Hold(reason)
            | Self::ScaleUp { reason, .. }
            | Self::ScaleDown { reason, .. }
            | Self::Reweigh { reason, .. } => reason,
        }
    }
}

/// Why. `Display` is one sentence with figures for a tired operator; [`Reason::key`] is one word
/// for metrics and the journal.
#[derive(Clone, Debug, PartialEq)]
pub enum Reason {
    /// Too few requests in the window to say anything.
    TooFewSamples {
        /// So many there are.
        samples: u64,
        /// So many it takes.
        min_samples: u64,
    },
    /// The agent has not yet watched for a whole window.
    JustStarted {
        /// Until it has.
        left: Duration,
    },
    /// HAProxy has not said lately, or yet, what it has.
    NoInventory,
    /// Of several HAProxys none has what it is to have: they were restarted one after the other.
    NoneInLine {
        /// Then they are gone by all the same.
        at_most: Duration,
    },
    /// HAProxy's socket shows everything and changes nothing.
    ReadOnly,
    /// HAProxy answers, but has no such backend with servers.
    UnknownBackend,
    /// HAProxy's configuration has it `disabled`: nobody is served by it.
    DisabledBackend,
    /// No line arrives, but HAProxy's counters show load: scale-down is off.
    Blind {
        /// Requests HAProxy counted since the last line.
        requests: u64,
    },
    /// Too many of the requests that HAProxy counts are not understood in the log: scale-down is off.
    Uncovered {
        /// So many were.
        understood: u64,
        /// Of so many.
        expected: u64,
        /// Over so long.
        span: Duration,
        /// Nearly all of them failed: those that ended well are not logged.
        only_failures: bool,
        /// What was wrong with the first line that was not understood lately.
        first: Option<LineError>,
    },
    /// The log tells of more requests than HAProxy counts: scale-down is off.
    TooManyLines {
        /// So many lines.
        lines: u64,
        /// For so many requests.
        expected: u64,
        /// Over so long.
        span: Duration,
    },
    /// Within the band.
    InBand {
        /// What is taken over the window.
        statistic: Statistic,
        /// Its value.
        latency: Duration,
        /// The band's lower end.
        lower: Duration,
        /// The band's upper end.
        upper: Duration,
    },
    /// Too much load, but not for long enough yet.
    PendingUp {
        /// The reason it would be done for.
        wish: Box<Reason>,
        /// For so long already.
        since: Duration,
        /// So long it has to last,
        needed: Duration,
        /// or so many evaluations in a row; 0: only the time counts.
        breaches: u32,
    },
    /// Below the band (or idle), but not for long enough yet.
    PendingDown {
        /// The reason it would be done for.
        wish: Box<Reason>,
        /// For so long already.
        since: Duration,
        /// So long it has to last.
        needed: Duration,
    },
    /// A plan is being carried out.
    Acting,
    /// Quiet time after a move.
    CoolingDown {
        /// Until it is over.
        left: Duration,
    },
    /// Too slow, but every server that may serve serves.
    AtMax {
        /// So many serve.
        serving: u32,
    },
    /// Too slow, but no server is ours to add.
    NoSpare,
    /// Too slow, but HAProxy has no place for what the pool offers.
    NoPlace(NoPlace),
    /// Fast enough, but fewer servers are not allowed.
    AtMin {
        /// So many serve.
        serving: u32,
    },
    /// Fast enough, but no server may be taken away (always up, or somebody else's).
    NothingToRemove,
    /// Fast enough, but the servers that remain could not carry the load.
    RestTooFew {
        /// So many would remain.
        left: u32,
        /// Each would get so much of `unit`.
        each: f64,
        /// So much of it is known to be too much; 80 % of it is the most.
        limit: f64,
        /// What is counted.
        unit: LoadUnit,
    },
    /// Fast enough, but so many requests fail on their servers that the others prove nothing.
    ServerFailures {
        /// So many of the window's requests.
        failed: u64,
        /// Of so many.
        of: u64,
    },
    /// The target's statistic has been above the band for long enough.
    Breach {
        /// What is taken over the window.
        statistic: Statistic,
        /// Its value.
        latency: Duration,
        /// The band's upper end.
        upper: Duration,
        /// For so long.
        since: Duration,
    },
    /// Requests fail because nobody has room.
    Saturation {
        /// So many of the window's requests.
        failed: u64,
        /// Of so many.
        of: u64,
        /// For so long.
        since: Duration,
    },
    /// So far above the band after a scale-down that the cooldown is broken.
    Burst {
        /// What is taken over the window.
        statistic: Statistic,
        /// Its value, more than twice `upper`.
        latency: Duration,
        /// The band's upper end.
        upper: Duration,
    },
    /// So many failures for want of room after a scale-down that the cooldown is broken.
    SaturationBurst {
        /// So many of the window's requests.
        failed: u64,
        /// Of so many.
        of: u64,
    },
    /// HAProxy's counters show a queue, and the log does not tell.
    BlindQueue {
        /// Requests waiting in HAProxy.
        queued: u64,
        /// For so long.
        since: Duration,
    },
    /// Fewer servers serve than the fewest allowed.
    BelowMin {
        /// So many serve.
        serving: u32,
        /// The fewest allowed.
        min: u32,
    },
    /// More servers serve than the most allowed.
    AboveMax {
        /// So many serve.
        serving: u32,
        /// The most allowed.
        max: u32,
    },
    /// The target's statistic has been below the band for long enough.
    Relaxed {
        /// What is taken over the window.
        statistic: Statistic,
        /// Its value.
        latency: Duration,
        /// The band's lower end.
        lower: Duration,
        /// For so long.
        since: Duration,
    },
    /// No request for long enough.
    Idle {
        /// For so long.
        since: Duration,
    },
    /// A limit that a schedule has set.
    Scheduled {
        /// The limit's own reason.
        reason: Box<Reason>,
        /// When the limit holds, as the config says it.
        at: String,
    },
    /// Servers in service are DOWN.
    Down(Replacement),
    /// HAProxy was restarted, and what was set at run time is gone.
    Forgotten {
        /// So many servers are not as they were.
        servers: u32,
    },
    /// An operator wants it so.
    Ordered(Ordered),
    /// `policy: model` does not know yet what a request costs.
    Learning {
        /// It has watched for so long.
        watched: Duration,
    },
    /// Nor, for so long to go, how much a server can carry; so far no request was late for want of servers.
    Unproven(Duration),
    /// No line for a while, though requests were running: nothing is taken away.
    Silent {
        /// For so long.
        since: Duration,
        /// So many were running when the last line was written.
        streams: u32,
    },
    /// More requests come than the servers have shown they can answer.
    Outrun {
        /// Requests a second that come,
        arrivals: f64,
        /// and that are answered
        answered: f64,
        /// by so many servers.
        serving: u32,
        /// It takes so many.
        needed: u32,
    },
    /// The load in busy workers needs more servers.
    Need {
        /// The load.
        load: Load,
        /// Requests that wait already,
        waiting: f64,
        /// and so many more busy workers that it takes to get rid of them in time.
        more: f64,
        /// So many servers' worth of weight is taken away from slow ones.
        lost: f64,
    },
    /// The requests need more places than `maxconn` gives.
    Slots {
        /// So many are held at once.
        held: f64,
        /// A server has so many.
        each: f64,
        /// It takes so many servers.
        needed: u32,
    },
    /// Arrivals rise so fast that more servers are needed when these can be there.
    Rising {
        /// Requests a second, more each second.
        slope: f64,
        /// From now.
        within: Duration,
        /// It takes so many servers then.
        needed: u32,
    },
    /// Fewer servers have been enough for long enough.
    Ample {
        /// For so long.
        since: Duration,
        /// At most so many were needed,
        needed: u32,
        /// at so many requests a second,
        arrivals: f64,
        /// which kept so many workers busy.
        busy: f64,
        /// So long they get no new requests before they go.
        trial: Duration,
    },
    /// As many servers as the load needs.
    Balanced {
        /// The load.
        load: Load,
        /// On so many servers.
        serving: u32,
        /// More servers above so many requests a second.
        above: f64,
        /// Fewer below so many; `None`: these are the fewest.
        below: Option<f64>,
        /// Fewer only after so long; zero: at once.
        after: Duration,
    },
    /// Servers without new requests wait for what happens without them.
    OnTrial {
        /// So many.
        servers: u32,
    },
    /// Late without being full: more servers will not help.
    NotLoad {
        /// This share of the requests that found a free worker
        floor: f64,
        /// was slower than this.
        below: Duration,
    },
    /// More servers did not help: what holds the requests up is behind the servers.
    NoEffect {
        /// From so many servers
        from: u32,
        /// to so many,
        to: u32,
        /// and so many requests a second were answered before
        before: f64,
        /// and after.
        after: f64,
    },
    /// So many moves within an hour that no server is taken away.
    MovesSpent {
        /// So many are allowed.
        allowed: u32,
        /// Until the first of them is an hour old.
        left: Duration,
    },
    /// A server is slower than its peers.
    Slow {
        /// Which.
        server: ServerId,
        /// So many times as slow, with as many requests on it.
        ratio: f64,
        /// What it gets of its weight.
        share: f64,
    },
    /// A server carries less than others: it has fewer workers, or slower ones.
    Smaller {
        /// Which.
        server: ServerId,
        /// What it carries of what the best one does, and gets of its weight.
        share: f64,
    },
    /// A server fails more requests than its peers.
    Failing {
        /// Which.
        server: ServerId,
        /// So many failed,
        failed: u64,
        /// of so many.
        of: u64,
        /// What it gets of its weight.
        share: f64,
    },
    /// Work is queued in a server, where the others cannot reach it.
    Overfull {
        /// Which.
        server: ServerId,
        /// So long its requests wait in it.
        wait: Duration,
        /// What it gets of its weight.
        share: f64,
    },
    /// A server has been slower, or failing more, than its peers for too long.
    Outlier {
        /// Which.
        server: ServerId,
        /// For so long.
        since: Duration,
    },
    /// A server has been so for too long, and another one is to take its place before it is drained.
    StandIn {
        /// Its name.
        server: String,
        /// The other one's.
        stand_in: String,
        /// It has been so for so long.
        since: Duration,
    },
    /// A server is as its peers again.
    Recovered {
        /// Which.
        server: ServerId,
    },
}
