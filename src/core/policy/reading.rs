//! What the figures say by themselves, before time, limits and cooldowns have their say.

use std::time::{Duration, Instant};

use super::decision::Reason;
use super::fleet::{Fleet, SILENCE, UNSEEN_MARGIN};
use crate::core::estimate::snapshot::Snapshot;
use crate::core::settings::{BackendSettings, Statistic};

/// Requests that nobody had room for: this share of all is a breach, of a burst that breaks a
/// cooldown it takes the larger one.
const SATURATION_SHARE: f64 = 0.01;
const SATURATION_BURST_SHARE: f64 = 0.05;

/// Fewer failures than this are an accident, whatever their share.
const LEAST_FAILURES: u64 = 5;

/// While servers fail this share of the requests, what is left looks fast and proves nothing.
const SERVER_FAILURE_SHARE: f64 = 0.05;

/// One evaluation: all there is to decide from, but for the state.
#[derive(Clone, Copy, Debug)]
pub(super) struct Evaluation<'a> {
    pub(super) now: Instant,
    pub(super) seen: &'a Snapshot,
    pub(super) fleet: &'a Fleet,
    pub(super) settings: &'a BackendSettings,
}

/// What one evaluation says.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Reading {
    /// Too slow, or no room.
    Overload(Overload),
    /// Below the band.
    Relaxed(Duration),
    /// No request for so long, and HAProxy agrees.
    Idle(Duration),
    /// Within the band.
    InBand(Duration),
    /// Too few requests, but what there is does not speak against fewer servers.
    ThinAndFast(Reason),
    /// Nothing can be said.
    Unknown(Reason),
}

/// How too much load shows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Overload {
    /// The statistic is above the band.
    Slow(Duration),
    /// Requests fail because nobody has room.
    Saturated { failed: u64, of: u64 },
    /// The log is silent, and requests wait.
    Queued(u64),
}

impl Evaluation<'_> {
    /// What the figures say.
    pub(super) fn reading(&self) -> Reading {
        if let Some(requests) = self.blind() {
            return match self.fleet.queued {
                0 => Reading::Unknown(Reason::Blind { requests }),
                queued => Reading::Overload(Overload::Queued(queued)),
            };
        }
        if let Some(saturated) = self.saturated(SATURATION_SHARE) {
            return Reading::Overload(saturated);
        }
        let Some(latency) = self.latency() else {
            return self.without_latency();
        };
        let band = self.settings.band;
        if latency > band.upper() {
            Reading::Overload(Overload::Slow(latency))
        } else if latency < band.lower() {
            Reading::Relaxed(latency)
        } else {
            Reading::InBand(latency)
        }
    }

    /// Why a cooldown after a scale-down may be broken; `None` if there is no such reason.
    pub(super) fn burst(&self) -> Option<Reason> {
        if self.blind().is_some() {
            return None;
        }
        let upper = self.settings.band.upper();
        if let Some(latency) = self.latency().filter(|&latency| latency > upper.saturating_mul(2)) {
            return Some(Reason::Burst { statistic: self.settings.target.statistic, latency, upper });
        }
        match self.saturated(SATURATION_BURST_SHARE)? {
            Overload::Saturated { failed, of } if of >= self.needed_samples() => {
                Some(Reason::SaturationBurst { failed, of })
            }
            _ => None,
        }
    }

    /// `(failed, of)` if so many requests fail on their servers that the rest proves nothing.
    pub(super) fn failing_servers(&self) -> Option<(u64, u64)> {
        share_of(self.seen.tally.server, self.seen.tally.total(), SERVER_FAILURE_SHARE)
    }

    /// Requests that HAProxy counted while no line came, if that is too many for too long.
    fn blind(&self) -> Option<u64> {
        let silent = self.seen.newest.unwrap_or(self.seen.watched) > SILENCE;
        (silent && self.fleet.unseen > UNSEEN_MARGIN).then_some(self.fleet.unseen)
    }

    fn saturated(&self, share: f64) -> Option<Overload> {
        let (failed, of) = share_of(self.seen.tally.saturation, self.seen.tally.total(), share)?;
        Some(Overload::Saturated { failed, of })
    }

    /// The target's statistic, if it rests on enough requests.
    fn latency(&self) -> Option<Duration> {
        self.seen.latency.filter(|_| self.seen.samples >= self.needed_samples())
    }

    /// The mean of the last n is whole with n, however few the window has.
    fn needed_samples(&self) -> u64 {
        match self.settings.target.statistic {
            Statistic::MeanOfLast(n) => n as u64,
            Statistic::Percentile(_) | Statistic::Mean => self.settings.window.min_samples,
        }
    }

    fn without_latency(&self) -> Reading {
        let nothing_runs = self.fleet.sessions == 0 && self.fleet.unseen == 0;
        if self.seen.tally.total() == 0 && nothing_runs {
            return Reading::Idle(self.seen.newest.unwrap_or(self.seen.watched));
        }
        let (samples, min_samples) = (self.seen.samples, self.needed_samples());
        let too_few = Reason::TooFewSamples { samples, min_samples };
        match self.seen.latency {
            Some(latency) if latency >= self.settings.band.lower() => Reading::Unknown(too_few),
            _ => Reading::ThinAndFast(too_few),
        }
    }
}

fn share_of(failed: u64, of: u64, share: f64) -> Option<(u64, u64)> {
    (failed >= LEAST_FAILURES && failed as f64 >= share * of as f64).then_some((failed, of))
}
