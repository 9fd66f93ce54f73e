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

impl Decision {
    /// `hold`, `scale_up` or `scale_down`.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Hold(_) => "hold",
            Self::ScaleUp { .. } => "scale_up",
            Self::ScaleDown { .. } => "scale_down",
        }
    }

    /// Why.
    pub const fn reason(&self) -> &Reason {
        match self {
            Self::Hold(reason) | Self::ScaleUp { reason, .. } | Self::ScaleDown { reason, .. } => reason,
        }
    }

    /// The same for another reason.
    #[must_use]
    pub fn map_reason(self, other: impl FnOnce(Reason) -> Reason) -> Self {
        match self {
            Self::Hold(reason) => Self::Hold(other(reason)),
            Self::ScaleUp { by, reason } => Self::ScaleUp { by, reason: other(reason) },
            Self::ScaleDown { by, reason } => Self::ScaleDown { by, reason: other(reason) },
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
    /// HAProxy has not said yet what it has.
    NoInventory,
    /// HAProxy answers, but has no such backend with servers.
    UnknownBackend,
    /// No line arrives, but HAProxy's counters show load: scale-down is off.
    Blind {
        /// Requests HAProxy counted since the last line.
        requests: u64,
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
    /// HAProxy's counters show a queue though no line arrives.
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
    /// An operator wants no moves.
    Paused {
        /// Until it ends by itself; `None`: it does not.
        left: Option<Duration>,
        /// Who.
        by: String,
    },
    /// An operator wants so many servers.
    Pinned {
        /// So many were asked for.
        asked: u32,
        /// So many it takes, because fewer are not allowed.
        to: u32,
        /// Until it ends by itself; `None`: it does not.
        left: Option<Duration>,
        /// Who.
        by: String,
        /// Why there are others now.
        but: Option<Box<Reason>>,
    },
}

impl Reason {
    /// One snake_case word for each kind.
    pub fn key(&self) -> &'static str {
        match self {
            Self::Scheduled { reason, .. } => reason.key(),
            Self::Paused { .. } => "paused",
            Self::Pinned { .. } if self.limited() => "pin_limited",
            Self::Pinned { .. } => "pinned",
            Self::TooFewSamples { .. } => "too_few_samples",
            Self::JustStarted { .. } => "just_started",
            Self::NoInventory => "no_inventory",
            Self::UnknownBackend => "unknown_backend",
            Self::Blind { .. } => "blind",
            Self::InBand { .. } => "in_band",
            Self::PendingUp { .. } => "pending_up",
            Self::PendingDown { .. } => "pending_down",
            Self::Acting => "acting",
            Self::CoolingDown { .. } => "cooling_down",
            Self::AtMax { .. } => "at_max",
            Self::NoSpare => "no_spare",
            Self::AtMin { .. } => "at_min",
            Self::NothingToRemove => "nothing_to_remove",
            Self::RestTooFew { .. } => "rest_too_few",
            Self::ServerFailures { .. } => "server_failures",
            Self::Breach { .. } => "breach",
            Self::Saturation { .. } => "saturation",
            Self::Burst { .. } => "burst",
            Self::SaturationBurst { .. } => "saturation_burst",
            Self::BlindQueue { .. } => "blind_queue",
            Self::BelowMin { .. } => "below_min",
            Self::AboveMax { .. } => "above_max",
            Self::Relaxed { .. } => "relaxed",
            Self::Idle { .. } => "idle",
        }
    }

    /// A move was called for, had lasted, and was not allowed: more than patience is needed.
    pub fn limited(&self) -> bool {
        match self {
            Self::Scheduled { reason, .. } => reason.limited(),
            Self::Pinned { but: Some(but), .. } => but.limited(),
            Self::AtMax { .. }
            | Self::NoSpare
            | Self::AtMin { .. }
            | Self::NothingToRemove
            | Self::RestTooFew { .. }
            | Self::ServerFailures { .. } => true,
            _ => false,
        }
    }

    /// A pin, and why there are other servers than it wants.
    #[must_use]
    pub fn but(mut self, why: Self) -> Self {
        if let Self::Pinned { but, .. } = &mut self {
            *but = Some(Box::new(why));
        }
        self
    }
}

/// What [`Reason::RestTooFew`] counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadUnit {
    /// Requests a second, against those at which the servers were last too slow.
    RequestsPerSecond,
    /// Requests side by side, against the servers' `maxconn`.
    Connections,
}
