//! One moment: all there is to decide from, but for what the model remembers.

use std::time::{Duration, Instant};

use super::need::Need;
use super::strength::Strength;
use crate::core::estimate::load::LoadFigures;
use crate::core::policy::decision::{Decision, Reason};
use crate::core::policy::fleet::{SILENCE, UNSEEN_MARGIN};
use crate::core::policy::pool::{Pool, Stage};
use crate::core::settings::BackendSettings;

/// What still runs after a minute without a new request is no work: long polls, downloads.
const IDLE_STREAMS: Duration = Duration::from_secs(60);
/// While servers fail this share of the requests, what is left looks fast and proves nothing.
const FAILURES: f64 = 0.05;
const LEAST_FAILURES: u64 = 5;

#[derive(Clone, Copy, Debug)]
pub(super) struct Scene<'a> {
    pub(super) now: Instant,
    pub(super) load: &'a LoadFigures,
    pub(super) pool: &'a Pool,
    pub(super) settings: &'a BackendSettings,
    pub(super) serving: u32,
    pub(super) starting: u32,
    pub(super) parked: u32,
    pub(super) spare: u32,
    /// The fewest that must serve, never 0: that would turn the backend DOWN.
    pub(super) min: u32,
    /// The most that may; not more than there are.
    pub(super) max: u32,
}

impl<'a> Scene<'a> {
    pub(super) fn new(
        now: Instant,
        load: &'a LoadFigures,
        pool: &'a Pool,
        settings: &'a BackendSettings,
    ) -> Self {
        let min = settings.ready.min.max(1);
        let all = u32::try_from(pool.servers.len()).unwrap_or(u32::MAX);
        Self {
            now,
            load,
            pool,
            settings,
            serving: pool.count(Stage::Serving),
            starting: pool.count(Stage::Starting),
            parked: pool.count(Stage::Parked),
            spare: pool.count(Stage::Spare),
            min,
            max: settings.ready.max.unwrap_or(u32::MAX).max(min).min(all),
        }
    }

    /// Servers that serve, or soon will.
    pub(super) fn have(&self) -> u32 {
        self.serving + self.starting
    }

    /// The most that may serve, however many there are.
    pub(super) fn most(&self) -> u32 {
        self.settings.ready.max.unwrap_or(u32::MAX).max(self.min)
    }

    /// `wish` within the fewest and the most.
    pub(super) fn allowed(&self, wish: u32) -> u32 {
        wish.max(self.min).min(self.max)
    }

    /// Servers as the backend's figure has them that `need` asks for, within the fewest and the most. While all
    /// servers are alike it is a whole number, of which half a server may be missing.
    pub(super) fn wanted(&self, need: &Need, strength: &Strength) -> f64 {
        match strength.is_equal() {
            true => f64::from(self.allowed(need.wish())) - 0.5,
            false => need.without_credit().min(f64::from(self.max) * strength.most()),
        }
    }

    /// Why the figures are not of now.
    pub(super) fn blind(&self) -> Option<Reason> {
        let since = self.load.silent_for.filter(|since| *since > SILENCE)?;
        let unseen = self.pool.unseen;
        if unseen > UNSEEN_MARGIN {
            return Some(Reason::Blind { requests: unseen });
        }
        let streams = self.load.streams;
        let running: u64 = self.pool.servers.iter().map(|member| u64::from(member.sessions)).sum();
        let nothing_new = running <= u64::from(streams) + UNSEEN_MARGIN;
        let is_idle = streams == 0 || (since >= IDLE_STREAMS && nothing_new);
        (!is_idle).then_some(Reason::Silent { since, streams })
    }

    /// `(failed, of)` if so many requests fail on their servers that the rest proves nothing.
    pub(super) fn failures(&self) -> Option<(u64, u64)> {
        let servers = &self.load.servers;
        let (failed, of) =
            servers.iter().fold((0, 0), |sum, server| (sum.0 + server.failed.0, sum.1 + server.failed.1));
        (failed >= LEAST_FAILURES && failed as f64 >= FAILURES * of as f64).then_some((failed, of))
    }

    /// An operator's limit needs neither figures nor patience.
    pub(super) fn outside_limits(&self) -> Option<Decision> {
        let (serving, min) = (self.serving, self.min);
        if let Some(missing) = min.checked_sub(self.have()).filter(|missing| *missing > 0) {
            return Some(self.up(missing, Reason::BelowMin { serving, min }));
        }
        let most = self.most();
        let excess = serving.checked_sub(most).filter(|excess| *excess > 0)?;
        if self.starting + self.parked > 0 {
            return None;
        }
        let removable = u32::try_from(self.removable()).unwrap_or(u32::MAX);
        Some(match excess.min(removable) {
            0 => Decision::Hold(Reason::NothingToRemove),
            by => Decision::ScaleDown {
                by,
                prefer: Vec::new(),
                reason: Reason::AboveMax { serving, max: most },
            },
        })
    }

    /// `by` more, or as many as there are.
    pub(super) fn up(&self, by: u32, reason: Reason) -> Decision {
        match by.min(self.parked + self.spare) {
            0 => Decision::Hold(Reason::NoSpare),
            by => Decision::ScaleUp { by, reason },
        }
    }

    /// Serving servers that may be taken away.
    pub(super) fn removable(&self) -> usize {
        self.pool.at(Stage::Serving).filter(|member| member.removable).count()
    }

    /// Places on a server: the mean `maxconn` of those that serve, if all have one.
    pub(super) fn slots(&self) -> Option<f64> {
        let places: u64 =
            self.pool.at(Stage::Serving).map(|member| member.maxconn.map(u64::from)).sum::<Option<u64>>()?;
        (places > 0).then(|| places as f64 / f64::from(self.serving.max(1)))
    }
}
