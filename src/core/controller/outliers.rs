//! A server that has been slower or failing for long is drained while a spare can take its place, and let back in
//! later, each time later than the time before.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::back_off::BackOff;
use super::backend::Backend;
use crate::core::names::{Names, ServerId};
use crate::core::plan::inventory::BackendState;
use crate::core::plan::ownership::{self, Role};
use crate::core::policy::decision::{Decision, Reason};
use crate::core::policy::fleet::Fleet;

/// Since when which servers are outliers, and how often each was drained for it.
#[derive(Debug, Default)]
pub(super) struct Outliers {
    since: BTreeMap<ServerId, Instant>,
    drained: BackOff,
}

impl Outliers {
    /// Which of the serving servers are outliers at `now`.
    fn note(&mut self, outliers: &[ServerId], now: Instant) {
        self.since.retain(|server, _| outliers.contains(server));
        for &server in outliers {
            self.since.entry(server).or_insert(now);
        }
    }

    /// The one that has been an outlier for the longest, and for `long` at least.
    fn longest(&self, long: Duration, now: Instant) -> Option<(ServerId, Duration)> {
        let (&server, &since) = self.since.iter().min_by_key(|(_, since)| **since)?;
        let lasted = now.saturating_duration_since(since);
        (lasted >= long).then_some((server, lasted))
    }

    /// `server` was drained for it: for how long it is passed over.
    pub(super) fn drained(&mut self, server: ServerId, now: Instant) -> Duration {
        self.since.remove(&server);
        self.drained.begin(server, now)
    }
}

impl Backend {
    /// `decision`, or, where nothing else is to be done, to drain a server that has been an outlier for long.
    pub(super) fn without_outliers(
        &mut self,
        decision: Decision,
        state: &BackendState,
        fleet: &Fleet,
        names: &Names,
        now: Instant,
    ) -> Decision {
        let roles = ownership::roles(state, &self.settings, &self.claims, names);
        let mine: Vec<ServerId> =
            roles.filter(|(_, role)| *role == Role::Serving).map(|(server, _)| server.id).collect();
        let is_outlier =
            |server: ServerId| self.mind.is_outlier(server) || self.latency_weights.is_outlier(server);
        let outliers: Vec<ServerId> = mine.into_iter().filter(|&server| is_outlier(server)).collect();
        self.outliers.note(&outliers, now);
        let settings = self.settings.outliers;
        let has_room = fleet.startable > 0 && fleet.serving > self.settings.ready.min;
        let most = settings.most_of(state.servers.len());
        let may = matches!(decision, Decision::Hold(_))
            && !settings.drain_after.is_zero()
            && has_room
            && !self.is_moving()
            && self.doubt.is_none()
            && self.outliers.drained.count(now) < most;
        match self.outliers.longest(settings.drain_after, now).filter(|_| may) {
            Some((server, since)) => {
                Decision::ScaleDown { by: 1, prefer: vec![server], reason: Reason::Outlier { server, since } }
            }
            None => decision,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_recovers_in_time_stays() {
        let names = Names::default();
        let backend = names.backend("web").expect("there is room");
        let server = names.server(backend, "s1").expect("there is room");
        let (mut outliers, now) = (Outliers::default(), Instant::now());
        outliers.note(&[server], now);
        outliers.note(&[], now + Duration::from_secs(599));
        outliers.note(&[server], now + Duration::from_secs(600));
        assert_eq!(outliers.longest(Duration::from_secs(600), now + Duration::from_secs(601)), None);
    }
}
