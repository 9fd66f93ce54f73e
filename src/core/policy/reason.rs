//! What machines make of a [`Reason`]: its key, its server, whether it is a limit. Its words are in `sentence.rs`.

use super::decision::Reason;
use crate::core::names::ServerId;

impl Reason {
    /// One snake_case word for each kind.
    pub fn key(&self) -> &'static str {
        match self {
            Self::Scheduled { reason, .. } => reason.key(),
            Self::Ordered(ordered) => ordered.key(),
            Self::TooFewSamples { .. } => "too_few_samples",
            Self::JustStarted { .. } => "just_started",
            Self::NoInventory => "no_inventory",
            Self::NoneInLine { .. } => "none_in_line",
            Self::ReadOnly => "read_only",
            Self::UnknownBackend => "unknown_backend",
            Self::DisabledBackend => "disabled_backend",
            Self::Blind { .. } => "blind",
            Self::Uncovered { .. } => "uncovered",
            Self::TooManyLines { .. } => "too_many_lines",
            Self::InBand { .. } => "in_band",
            Self::PendingUp { .. } => "pending_up",
            Self::PendingDown { .. } => "pending_down",
            Self::Acting => "acting",
            Self::CoolingDown { .. } => "cooling_down",
            Self::AtMax { .. } => "at_max",
            Self::NoSpare => "no_spare",
            Self::NoPlace(why) => why.key(),
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
            Self::Down(_) => "down",
            Self::Forgotten { .. } => "forgotten",
            Self::Learning { .. } => "learning",
            Self::Unproven { .. } => "unproven",
            Self::Silent { .. } => "silent",
            Self::Outrun { .. } => "outrun",
            Self::Need { .. } => "need",
            Self::Slots { .. } => "slots",
            Self::Rising { .. } => "rising",
            Self::Ample { .. } => "ample",
            Self::Balanced { .. } => "balanced",
            Self::OnTrial { .. } => "on_trial",
            Self::NotLoad { .. } => "not_load",
            Self::NoEffect { .. } => "no_effect",
            Self::MovesSpent { .. } => "moves_spent",
            Self::Slow { .. } => "slow",
            Self::Smaller { .. } => "smaller",
            Self::Failing { .. } => "failing",
            Self::Overfull { .. } => "overfull",
            Self::Outlier { .. } => "outlier",
            Self::StandIn { .. } => "stand_in",
            Self::Recovered { .. } => "recovered",
        }
    }

    /// The server it is about, if it is about one.
    pub const fn server(&self) -> Option<ServerId> {
        match self {
            Self::Slow { server, .. }
            | Self::Smaller { server, .. }
            | Self::Failing { server, .. }
            | Self::Overfull { server, .. }
            | Self::Outlier { server, .. }
            | Self::Recovered { server } => Some(*server),
            _ => None,
        }
    }

    /// A move was called for, had lasted, and was not allowed: more than patience is needed.
    pub fn limited(&self) -> bool {
        match self {
            Self::Scheduled { reason, .. } => reason.limited(),
            Self::Ordered(ordered) => ordered.limited(),
            Self::AtMax { .. }
            | Self::ReadOnly
            | Self::NoSpare
            | Self::NoPlace(_)
            | Self::AtMin { .. }
            | Self::NothingToRemove
            | Self::RestTooFew { .. }
            | Self::ServerFailures { .. }
            | Self::NotLoad { .. }
            | Self::NoEffect { .. }
            | Self::MovesSpent { .. } => true,
            _ => false,
        }
    }
}
