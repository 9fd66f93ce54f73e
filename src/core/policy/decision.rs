//! What is to be done, and why. Journal, log, status and replay print these and nothing else.

use std::time::Duration;

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
        /// Why.
        reason: Reason,
    },
}

/// Why. `Display` is one sentence for a tired operator; [`Reason::key`] is one word for metrics.
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
    /// HAProxy has not said yet what it has.
    NoInventory,
    /// No line arrives, but HAProxy's counters show load: scale-down is off.
    Blind {
        /// Requests HAProxy counted since the last line.
        requests: u64,
    },
    /// Within the band.
    InBand {
        /// The target's statistic.
        latency: Duration,
    },
    /// Above the band, but not for long enough yet.
    PendingUp {
        /// The target's statistic.
        latency: Duration,
        /// For so long already.
        since: Duration,
        /// So long it has to last.
        needed: Duration,
    },
    /// Below the band (or idle), but not for long enough yet.
    PendingDown {
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
    /// Fast enough, but fewer servers are not allowed.
    AtMin {
        /// So many serve.
        serving: u32,
    },
    /// Fast enough, but no server may be taken away (always up, or somebody else's).
    NothingToRemove,
    /// Fast enough, but the servers that remain could not carry the load.
    RestTooFew {
        /// Each remaining server would get so much of `unit`.
        each: f64,
        /// More than this is too much.
        limit: f64,
        /// What is counted.
        unit: LoadUnit,
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
    },
    /// So far above the band after a scale-down that the cooldown is broken.
    Burst {
        /// The target's statistic.
        latency: Duration,
        /// The band's upper end.
        upper: Duration,
    },
    /// HAProxy's counters show a queue though no line arrives.
    BlindQueue {
        /// Requests waiting in HAProxy.
        queued: u64,
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
}

/// What [`Reason::RestTooFew`] counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadUnit {
    /// Requests a second, against the rate at which the band was last breached.
    RequestsPerSecond,
    /// Requests side by side, against the servers' `maxconn`.
    Connections,
}
