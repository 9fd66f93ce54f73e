//! How long fewer servers must have been enough before one is taken away.
//!
//! `hold` doubles when a server is needed again soon after it was taken away, so that a load which
//! comes and goes cannot make servers come and go with it for long.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::core::settings::ModelSettings;

const LEAST_HOLD: Duration = Duration::from_secs(60);
const MOST_HOLD: Duration = Duration::from_secs(15 * 60);
/// So long without a mistake, and `hold` is halved.
const FORGIVEN: Duration = Duration::from_secs(30 * 60);

/// `hold`, and what was needed within it.
#[derive(Clone, Debug, Default)]
pub(super) struct Patience {
    /// 0 until it was doubled.
    hold: Duration,
    /// It was last doubled or halved.
    turned: Option<Instant>,
    added: Option<Instant>,
    /// The move away that has already been counted as a mistake.
    regretted: Option<Instant>,
    /// The newest last, each with fewer servers than the one before: there are never more of them
    /// than servers, and the first within a span tells the most that was needed in it.
    needs: VecDeque<Needed>,
    /// Since when `needs` has no gap.
    since: Option<Instant>,
}

/// What was needed at one time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Needed {
    at: Instant,
    /// So many servers.
    pub(super) servers: u32,
    /// At so many requests a second,
    pub(super) arrivals: f64,
    /// which kept so many workers busy.
    pub(super) busy: f64,
}

/// `hold` as it is without mistakes.
pub(super) fn base(settings: &ModelSettings, lead: Duration) -> Duration {
    settings.hold.unwrap_or_else(|| (LEAST_HOLD + lead.saturating_mul(6)).min(MOST_HOLD))
}

impl Patience {
    /// How long fewer servers must have been enough.
    pub(super) fn hold(&self, base: Duration) -> Duration {
        self.hold.max(base)
    }

    /// At `now` so many servers were needed.
    pub(super) fn observe(&mut self, servers: u32, arrivals: f64, busy: f64, base: Duration, now: Instant) {
        if self.hold > base && self.turned.is_some_and(|at| now.saturating_duration_since(at) >= FORGIVEN) {
            (self.hold, self.turned) = (self.hold / 2, Some(now));
        }
        self.since.get_or_insert(now);
        // What a later need tops is never the highest again.
        while self.needs.back().is_some_and(|needed| needed.servers <= servers) {
            self.needs.pop_back();
        }
        self.needs.push_back(Needed { at: now, servers, arrivals, busy });
    }

    /// Nobody knows what is needed at `now`: what was needed last is taken to be so still.
    pub(super) fn keep(&mut self, now: Instant) {
        if let Some(latest) = self.needs.back_mut() {
            latest.at = now;
        }
    }

    /// Servers were ordered; `taken`: when one was last taken away.
    pub(super) fn record_added(
        &mut self,
        taken: Option<Instant>,
        settings: &ModelSettings,
        lead: Duration,
        now: Instant,
    ) {
        self.added = Some(now);
        let too_soon = settings.min_off.max(LEAST_HOLD + lead.saturating_mul(12));
        let mistake = taken.filter(|&taken| now.saturating_duration_since(taken) < too_soon);
        if mistake.is_some() && mistake != self.regretted {
            let base = base(settings, lead);
            self.hold = self.hold(base).saturating_mul(2).min(settings.hold_max.max(base));
            (self.regretted, self.turned) = (mistake, Some(now));
        }
    }

    /// The most that was needed within `hold`, and for how long no more was; `None` while less than
    /// `hold` is known.
    pub(super) fn highest(&self, base: Duration, now: Instant) -> Option<(Needed, Duration)> {
        let hold = self.hold(base);
        let since = self.since.filter(|since| now.saturating_duration_since(*since) >= hold)?;
        let is_within = |needed: &Needed| now.saturating_duration_since(needed.at) <= hold;
        let place = self.needs.iter().position(is_within)?;
        let from = place.checked_sub(1).map_or(since, |before| self.needs[before].at);
        Some((self.needs[place], now.saturating_duration_since(from)))
    }

    /// How long until servers may be taken away again after some were added.
    pub(super) fn after_adding(&self, base: Duration, now: Instant) -> Duration {
        self.added.map_or(Duration::ZERO, |added| base.saturating_sub(now.saturating_duration_since(added)))
    }

    /// How long until no more than `servers` were needed for the whole of `hold`.
    pub(super) fn until(&self, servers: u32, base: Duration, now: Instant) -> Duration {
        let hold = self.hold(base);
        let last = self.needs.iter().rev().find(|needed| needed.servers > servers).map(|needed| needed.at);
        let from = last.or(self.since).unwrap_or(now);
        hold.saturating_sub(now.saturating_duration_since(from))
    }
}
