//! How much of a wish may come true: fewest and most serving servers, steps, what HAProxy has,
//! and what the servers that stay could carry.

use super::decision::{LoadUnit, Reason};
use super::reading::Evaluation;
use super::state::State;

/// The servers that stay after a scale-down may get this share of a load that was too much, so
/// that the move is not taken back at once.
const SAFE_SHARE: f64 = 0.8;

impl Evaluation<'_> {
    /// The fewest servers that must serve, never 0: that would turn the backend DOWN.
    pub(super) fn min(&self) -> u32 {
        self.settings.ready.min.max(1)
    }

    /// How many servers to add where `wish` are wished for.
    pub(super) fn addable(&self, wish: u32) -> Result<u32, Reason> {
        let serving = self.fleet.serving;
        let below_max = self.settings.ready.max.map_or(u32::MAX, |max| max.saturating_sub(serving));
        match wish.min(below_max).min(self.fleet.startable) {
            0 if below_max == 0 => Err(Reason::AtMax { serving }),
            0 => Err(Reason::NoSpare),
            by => Ok(by),
        }
    }

    /// How many servers to take away where `wish` are wished for, whatever the load.
    pub(super) fn removable(&self, wish: u32) -> Result<u32, Reason> {
        let serving = self.fleet.serving;
        let above_min = serving.saturating_sub(self.min());
        match wish.min(above_min).min(self.fleet.removable) {
            0 if above_min == 0 => Err(Reason::AtMin { serving }),
            0 => Err(Reason::NothingToRemove),
            by => Ok(by),
        }
    }

    /// The same, but so that those that stay can carry the load.
    pub(super) fn dispensable(&self, wish: u32, state: &State) -> Result<u32, Reason> {
        let by = self.removable(wish)?;
        if let Some((failed, of)) = self.failing_servers() {
            return Err(Reason::ServerFailures { failed, of });
        }
        let fits = |by: &u32| self.rest_too_few(self.fleet.serving - by, state).is_none();
        match (1..=by).rev().find(fits) {
            Some(by) => Ok(by),
            None => Err(self.rest_too_few(self.fleet.serving - 1, state).unwrap_or(Reason::NothingToRemove)),
        }
    }

    /// Why `left` servers would be too few; `None` if they would do.
    fn rest_too_few(&self, left: u32, state: &State) -> Option<Reason> {
        let servers = f64::from(left.max(1));
        let too_few = |each: f64, limit: f64, unit: LoadUnit| {
            (each > SAFE_SHARE * limit).then_some(Reason::RestTooFew { left, each, limit, unit })
        };
        let by_rate = state
            .overload(self.now)
            .and_then(|limit| too_few(self.seen.rate / servers, limit, LoadUnit::RequestsPerSecond));
        // A connection holds its place to the last byte, and concurrency ends with the headers.
        let connections = self.seen.concurrency.max(self.fleet.sessions as f64);
        let by_maxconn = || {
            let each = self.fleet.maxconn? as f64 / f64::from(self.fleet.serving.max(1));
            too_few(connections / servers, each, LoadUnit::Connections)
        };
        by_rate.or_else(by_maxconn)
    }
}
