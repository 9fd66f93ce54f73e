//! A server that has been slower or failing for long is drained once another one has taken its place, and let back in
//! later, each time later than the time before.
//!
//! ```text
//!                          a spare                         relieved, and more serve
//!  outlier for long enough -------> the spare is started ----------------------------> it is drained
//!                     |                                    than `ready.min`
//!                     '-- as many serve as `ready.max` allows: drained at once, where `ready.min` lets it go
//! ```
//! Whatever the policy starts while it is an outlier relieves it as well.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::back_off::BackOff;
use super::backend::Backend;
use crate::core::names::{Names, ServerId};
use crate::core::plan::inventory::BackendState;
use crate::core::plan::ownership::{self, Role};
use crate::core::plan::planner;
use crate::core::policy::decision::{Decision, Reason};
use crate::core::policy::fleet::Fleet;

/// Since when which servers are outliers, and how often each was drained for it.
#[derive(Debug, Default)]
pub(super) struct Outliers {
    since: BTreeMap<ServerId, Instant>,
    /// Those of them that somebody else has begun to serve for since.
    relieved: BTreeSet<ServerId>,
    drained: BackOff,
}

impl Outliers {
    /// Which of the serving servers are outliers at `now`.
    fn note(&mut self, outliers: &[ServerId], now: Instant) {
        self.since.retain(|server, _| outliers.contains(server));
        self.relieved.retain(|server| outliers.contains(server));
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

    /// One more serves: so the one that has been an outlier for the longest can be done without.
    pub(super) fn relieve(&mut self) {
        let waiting = self.since.iter().filter(|(server, _)| !self.relieved.contains(server));
        let longest = waiting.min_by_key(|(_, since)| **since).map(|(&server, _)| server);
        self.relieved.extend(longest);
    }

    /// One less serves.
    pub(super) fn taken_away(&mut self, server: ServerId) {
        if !self.relieved.remove(&server) {
            self.relieved.pop_first();
        }
    }

    /// `server` was drained for it: for how long it is passed over.
    pub(super) fn drained(&mut self, server: ServerId, now: Instant) -> Duration {
        self.since.remove(&server);
        self.drained.begin(server, now)
    }
}

impl Backend {
    /// `decision`, or, where nothing else is to be done, to start another one in the place of a server that has been
    /// an outlier for long, and then to drain that one.
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
        let most = settings.most_of(state.servers.len());
        let may = !settings.drain_after.is_zero()
            && !self.is_moving()
            && self.doubt.is_none()
            && self.outliers.drained.count(now) < most;
        let Some((server, since)) = self.outliers.longest(settings.drain_after, now).filter(|_| may) else {
            return decision;
        };
        let is_relieved = self.outliers.relieved.contains(&server);
        match decision {
            // More are needed, and none is left: what it carries is missed.
            Decision::Hold(Reason::NoSpare | Reason::NoPlace(_)) => return decision,
            Decision::Hold(_) => {}
            // One too many serves: the outlier.
            Decision::ScaleDown { .. } if is_relieved => {}
            _ => return decision,
        }
        let ready = self.settings.ready;
        let is_full = ready.max.is_some_and(|max| fleet.serving >= max);
        let quarantined = self.quarantine.all(now);
        let spares = planner::startable(state, &self.settings, &self.claims, &quarantined, names);
        let spare = spares.first();
        if fleet.serving > ready.min && (is_relieved || is_full && spare.is_some()) {
            let reason = Reason::Outlier { server, since };
            return Decision::ScaleDown { by: 1, prefer: vec![server], reason };
        }
        match spare {
            Some(spare) if !is_full => {
                let name = |id: ServerId| names.of_server(id).to_string();
                let reason = Reason::StandIn { server: name(server), stand_in: name(*spare), since };
                Decision::ScaleUp { by: 1, reason }
            }
            _ => decision,
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
