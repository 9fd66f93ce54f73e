//! The shortest plan that gets from what HAProxy has to what was decided.
//!
//! ```text
//! add a spare        DRAIN, healthy, warm-up, [small weight], READY, [ramp]     undo: MAINT
//! bring one back     READY                                                      undo: DRAIN
//! take one away      DRAIN, drained or too late, MAINT                          undo: READY
//! finish a drain     drained or too late, MAINT
//! ```
//! A spare goes through DRAIN because checks pause in MAINT, and because READY means UP at once,
//! before any check has passed (seen on HAProxy 2.6.12).

use std::cmp::Reverse;
use std::collections::HashSet;
use std::time::Duration;

use super::inventory::{AdminState, BackendState, ServerState};
use super::ownership::{Claims, Role, roles};
use super::step::{Lane, Plan, Purpose, Step};
use super::weights::{self, WeightList};
use super::{ownership, ramp};
use crate::core::names::{Names, ServerId};
use crate::core::policy::decision::{Decision, Reason};
use crate::core::settings::{BackendSettings, Policy, WarmUp};
use crate::core::units::Weight;

/// How long a spare may take until its health check passes. Some run already; a service that is just
/// being started may need a minute, and one that is given up shortly before would be started in vain.
const HEALTHY_WITHIN: Duration = Duration::from_secs(120);

/// What is to be done in HAProxy for `decision`.
///
/// Those `quarantined` are not started.
///
/// # Errors
/// The reason to hold instead: the decision's own, or that nothing can be done about it.
pub fn plan(
    decision: &Decision,
    backend: &BackendState,
    settings: &BackendSettings,
    claims: &Claims,
    quarantined: &HashSet<ServerId>,
    names: &Names,
) -> Result<Plan, Reason> {
    let planner = Planner { backend, settings, claims, quarantined, names };
    match decision {
        Decision::Hold(reason) | Decision::Reweigh { reason, .. } => Err(reason.clone()),
        Decision::ScaleUp { by, .. } => planner.scale_up(*by),
        Decision::ScaleDown { by, prefer, .. } => planner.scale_down(*by, prefer),
    }
}

/// Ends the drains that this agent has begun and nobody carries on, as after a restart: `claims.ours`
/// that are in DRAIN go to MAINT once their sessions have ended. `None` if there are none.
///
/// A server that only the config names is not taken for abandoned: DRAIN may be its operator's.
pub fn finish_drains(backend: &BackendState, settings: &BackendSettings, claims: &Claims) -> Option<Plan> {
    let abandoned = |server: &&ServerState| {
        let bound = server.backup || server.tracking || server.admin.is_foreign_drain();
        server.state() == AdminState::Drain
            && claims.ours.contains(&server.id)
            && !claims.left_alone.contains(&server.id)
            && !bound
    };
    let lanes: Vec<Lane> = (backend.servers.iter().filter(abandoned))
        .map(|&ServerState { id: server, .. }| Lane {
            server,
            from: AdminState::Drain,
            steps: end_of_drain(server, settings).into(),
            undo: Vec::new(),
            retreat: Vec::new(),
        })
        .collect();
    (!lanes.is_empty()).then(|| plain(Purpose::Remove, backend, settings, lanes))
}

struct Planner<'a> {
    backend: &'a BackendState,
    settings: &'a BackendSettings,
    claims: &'a Claims,
    quarantined: &'a HashSet<ServerId>,
    names: &'a Names,
}

impl Planner<'_> {
    fn scale_up(&self, by: u32) -> Result<Plan, Reason> {
        let serving = self.serving();
        let room = self.settings.ready.max.map_or(u32::MAX, |max| max.saturating_sub(serving));
        if room == 0 {
            return Err(Reason::AtMax { serving });
        }
        let mut chosen = self.startable();
        chosen.truncate(by.min(room) as usize);
        if chosen.is_empty() {
            return Err(Reason::NoSpare);
        }
        let ramps = Ramps::new(self, &chosen);
        let lanes = chosen.iter().map(|&server| self.add(server, &ramps)).collect();
        let plan = plain(Purpose::Add, self.backend, self.settings, lanes);
        Ok(Plan { before: ramps.before, after: ramps.after, ..plan })
    }

    fn scale_down(&self, by: u32, prefer: &[ServerId]) -> Result<Plan, Reason> {
        let serving = self.serving();
        let room = serving.saturating_sub(self.settings.ready.min);
        if room == 0 {
            return Err(Reason::AtMin { serving });
        }
        let mut chosen = self.removable(prefer);
        chosen.truncate(by.min(room) as usize);
        if chosen.is_empty() {
            return Err(Reason::NothingToRemove);
        }
        let lanes = chosen.iter().map(|&server| self.remove(server)).collect();
        Ok(plain(Purpose::Remove, self.backend, self.settings, lanes))
    }

    /// Warm ones first, then those meant to be up, then those the config names; HAProxy's order
    /// among equals.
    fn startable(&self) -> Vec<&ServerState> {
        let roles = roles(self.backend, self.settings, self.claims, self.names);
        let mut startable: Vec<_> = roles
            .filter(|(server, role)| {
                matches!(role, Role::Draining | Role::Spare) && !self.quarantined.contains(&server.id)
            })
            .collect();
        startable.sort_by_key(|(server, role)| {
            let configured = self.settings.servers.get(&*self.names.of_server(server.id));
            let always_up = configured.is_some_and(|server| server.always_up);
            (*role != Role::Draining, !always_up, configured.is_none())
        });
        startable.into_iter().map(|(server, _)| server).collect()
    }

    /// Those that the decision prefers, then those with the least to lose: fewest requests on them or
    /// waiting for them, then the lowest weight, then last in HAProxy's order.
    fn removable(&self, prefer: &[ServerId]) -> Vec<&ServerState> {
        let roles = roles(self.backend, self.settings, self.claims, self.names);
        let mut removable: Vec<_> =
            roles.filter(|(_, role)| *role == Role::Serving).map(|(server, _)| server).enumerate().collect();
        removable.sort_by_key(|(place, server)| {
            let preferred = prefer.iter().position(|id| *id == server.id).unwrap_or(prefer.len());
            let requests = u64::from(server.sessions) + u64::from(server.queued);
            (preferred, requests, server.weight, Reverse(*place))
        });
        removable.into_iter().map(|(_, server)| server).collect()
    }

    fn add(&self, state: &ServerState, ramps: &Ramps) -> Lane {
        let server = state.id;
        let set = |state| Step::Set { server, state };
        let mut retreat = Vec::new();
        let (from, steps) = match state.state() {
            AdminState::Drain => (AdminState::Drain, vec![set(AdminState::Ready)]),
            from => {
                let mut steps = vec![
                    set(AdminState::Drain),
                    Step::AwaitHealthy { server, within: HEALTHY_WITHIN },
                    Step::WarmUp { server, requests: self.warm_up(server).clone() },
                ];
                let (small, climb) = ramps.steps(server, self.warm_up(server).ramp);
                if !climb.is_empty() {
                    retreat.push(set(AdminState::Drain));
                    retreat.extend(end_of_drain(server, self.settings));
                }
                steps.extend(small);
                steps.push(set(AdminState::Ready));
                steps.extend(climb);
                (from, steps)
            }
        };
        Lane { server, from, steps, undo: vec![set(from)], retreat }
    }

    fn remove(&self, state: &ServerState) -> Lane {
        let server = state.id;
        let mut steps = vec![Step::Set { server, state: AdminState::Drain }];
        steps.extend(end_of_drain(server, self.settings));
        let undo = vec![Step::Set { server, state: AdminState::Ready }];
        Lane { server, from: AdminState::Ready, steps, undo, retreat: Vec::new() }
    }

    fn warm_up(&self, server: ServerId) -> &WarmUp {
        self.settings.warm_up_of(&self.names.of_server(server))
    }

    fn serving(&self) -> u32 {
        ownership::fleet(self.backend, self.settings, self.claims, self.quarantined, self.names).serving
    }
}

/// The weights around the ramps of one plan.
#[derive(Default)]
struct Ramps {
    /// Full weights while the plan goes on; empty if no server gets a ramp.
    full: WeightList,
    before: Vec<Step>,
    after: Vec<Step>,
}

impl Ramps {
    fn new(planner: &Planner<'_>, chosen: &[&ServerState]) -> Self {
        let Planner { backend, settings, names, .. } = *planner;
        let has_ramp = |server: &ServerState| {
            server.state() == AdminState::Maint && planner.warm_up(server.id).ramp > Duration::ZERO
        };
        let slow: Vec<ServerId> =
            chosen.iter().filter(|server| has_ramp(server)).map(|server| server.id).collect();
        // A server that is alone gets all the traffic, whatever its weight.
        let may_weigh = backend.takes_weights() && !planner.claims.hold_weights(backend);
        if planner.serving() == 0 || !may_weigh {
            return Self::default();
        }
        let rightful = weights::full(backend, settings, names);
        let Some(smallest) = weights::of(&rightful, &slow).min() else { return Self::default() };
        let full = weights::multiply(&rightful, weights::factor(&rightful, smallest));
        if weights::of(&full, &slow).all(|weight| weight == Weight::ONE) {
            return Self::default();
        }
        Self { before: vec![Step::SetWeights(full.clone())], after: vec![Step::SetWeights(rightful)], full }
    }

    /// What is to be done before READY, and after it.
    fn steps(&self, server: ServerId, over: Duration) -> (Option<Step>, Vec<Step>) {
        let Some(&(_, full)) = self.full.iter().find(|(id, _)| *id == server) else {
            return (None, Vec::new());
        };
        let mut climb = ramp::climb(full, over).into_iter();
        let set = |weight| Step::SetWeights(vec![(server, weight)]);
        let small = climb.next().map(|(_, weight)| set(weight));
        (small, climb.flat_map(|(pause, weight)| [Step::Pause(pause), set(weight)]).collect())
    }
}

fn end_of_drain(server: ServerId, settings: &BackendSettings) -> [Step; 2] {
    let trial = match settings.policy {
        Policy::Model => settings.model.trial,
        Policy::Threshold => Duration::ZERO,
    };
    [
        Step::AwaitDrained { server, at_least: trial, within: settings.scale_down.drain_timeout },
        Step::Set { server, state: AdminState::Maint },
    ]
}

/// A plan that sets no weights.
fn plain(purpose: Purpose, backend: &BackendState, settings: &BackendSettings, lanes: Vec<Lane>) -> Plan {
    Plan {
        backend: backend.id,
        purpose,
        least_serving: settings.ready.min,
        before: Vec::new(),
        lanes,
        after: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::plan::inventory::OperationalState;
    use crate::core::plan::testing::{self, Site, down, up};

    /// The plan in words, a line a step: what comes before and after, and each lane by its server.
    fn words(site: &Site, plan: &Plan) -> String {
        let text = |label: &str, steps: &[Step]| -> String {
            steps.iter().map(|step| format!("{label}: {}\n", step.words(&site.names))).collect()
        };
        let mut words = text("before", &plan.before);
        for lane in &plan.lanes {
            let name = site.names.of_server(lane.server);
            words += &text(&name, &lane.steps);
            words += &text(&format!("{name} undo"), &lane.undo);
        }
        words + &text("after", &plan.after)
    }

    /// `expected` is compared line by line, without indentation.
    #[track_caller]
    fn check(site: &Site, decision: &Decision, expected: &str) {
        let found = site.plan(decision).map(|plan| words(site, &plan));
        let expected: String = expected
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .map(|line| format!("{line}\n"))
            .collect();
        assert_eq!(found, Ok(expected));
    }

    /// Which servers the plan moves, in its order.
    #[track_caller]
    fn check_chosen(site: &Site, decision: &Decision, expected: &[&str]) {
        let plan = site.plan(decision).expect("a plan");
        let found: Vec<_> = plan.lanes.iter().map(|lane| site.names.of_server(lane.server)).collect();
        assert_eq!(found.iter().map(|name| &**name).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_spare_is_checked_and_warmed_up_before_it_is_ready() {
        let mut site = Site::new(2);
        testing::declared_disabled(site.server("s2"));
        check(
            &site,
            &up(1),
            "s2: set web/s2 DRAIN
             s2: wait up to 120s until web/s2 is healthy
             s2: warm up web/s2
             s2: set web/s2 READY
             s2 undo: set web/s2 MAINT",
        );
    }

    #[test]
    fn a_ramp_multiplies_all_weights_first_and_puts_them_right_at_the_end() {
        let mut site = Site::new(3);
        site.settings.warm_up.ramp = Duration::from_secs(10);
        site.server("s2").weight = Weight::saturating(64.0);
        testing::declared_disabled(site.server("s3"));
        check(
            &site,
            &up(1),
            "before: set weights: web/s1 4, web/s2 256, web/s3 4
             s3: set web/s3 DRAIN
             s3: wait up to 120s until web/s3 is healthy
             s3: warm up web/s3
             s3: set weights: web/s3 1
             s3: set web/s3 READY
             s3: wait 3s
             s3: set weights: web/s3 2
             s3: wait 3s
             s3: set weights: web/s3 3
             s3: wait 2s
             s3: set weights: web/s3 4
             s3 undo: set web/s3 MAINT
             after: set weights: web/s1 1, web/s2 64, web/s3 1",
        );
    }

    #[test]
    fn there_is_no_ramp_where_it_would_change_nothing() {
        let mut site = Site::new(2);
        site.settings.warm_up.ramp = Duration::from_secs(10);
        testing::declared_disabled(site.server("s2"));
        let has_ramp = |site: &Site| !site.plan(&up(1)).expect("a plan").before.is_empty();
        assert!(has_ramp(&site));
        for (algorithm, dynamic) in [("source", Some(false)), ("first", Some(true))] {
            let static_site = Site {
                backend: BackendState { algorithm: algorithm.to_owned(), dynamic, ..site.backend.clone() },
                ..site.clone()
            };
            assert!(!has_ramp(&static_site), "{algorithm}");
        }
        let mut indivisible = site.clone();
        indivisible.server("s1").weight = Weight::MAX;
        assert!(!has_ramp(&indivisible));
        site.server("s1").operational = OperationalState::Stopped;
        assert!(!has_ramp(&site), "a server that is alone gets everything anyway");
    }

    #[test]
    fn a_ramp_ends_at_the_weight_by_capacity() {
        let mut site = Site::new(2);
        site.settings.weights = crate::core::settings::Weights::ByCapacity;
        site.settings.warm_up.ramp = Duration::from_secs(10);
        site.configure("s2", |server| server.capacity = 2.0);
        testing::declared_disabled(site.server("s2"));
        let plan = site.plan(&up(1)).expect("a plan");
        let rightful = vec![(site.id("s1"), Weight::saturating(128.0)), (site.id("s2"), Weight::MAX)];
        assert_eq!(plan.before, [Step::SetWeights(rightful.clone())]);
        assert_eq!(plan.after, [Step::SetWeights(rightful)]);
        assert_eq!(plan.lanes[0].steps.last(), Some(&Step::SetWeights(vec![(site.id("s2"), Weight::MAX)])));
    }

    #[test]
    fn a_draining_server_comes_back_before_a_spare_is_started() {
        let mut site = Site::new(3);
        testing::declared_disabled(site.server("s2"));
        testing::drain(site.server("s3"));
        site.claims.ours.insert(site.id("s3"));
        check(&site, &up(1), "s3: set web/s3 READY\n s3 undo: set web/s3 DRAIN");
        check_chosen(&site, &up(2), &["s3", "s2"]);
        site.server("s3").operational = OperationalState::Stopped;
        check_chosen(&site, &up(2), &["s2"]);
    }

    #[test]
    fn those_meant_to_be_up_are_started_first_then_those_named() {
        let mut site = Site::new(5);
        for name in ["s2", "s3", "s4", "s5"] {
            testing::declared_disabled(site.server(name));
        }
        site.configure("s4", |_| {});
        site.configure("s5", |server| server.always_up = true);
        check_chosen(&site, &up(9), &["s5", "s4", "s2", "s3"]);
        site.settings.ready.max = Some(3);
        check_chosen(&site, &up(9), &["s5", "s4"]);
        site.quarantined.insert(site.id("s5"));
        check_chosen(&site, &up(1), &["s4"]);
    }

    #[test]
    fn each_server_has_its_own_warm_up() {
        let mut site = Site::new(2);
        testing::declared_disabled(site.server("s2"));
        site.configure("s2", |server| server.warm_up.path = Some("/warm".to_owned()));
        let plan = site.plan(&up(1)).expect("a plan");
        let requests = site.settings.servers["s2"].warm_up.clone();
        assert!(plan.lanes[0].steps.contains(&Step::WarmUp { server: site.id("s2"), requests }));
    }

    #[test]
    fn a_server_is_drained_before_maint() {
        check(
            &Site::new(2),
            &down(1),
            "s2: set web/s2 DRAIN
             s2: wait up to 60s until web/s2 has no sessions
             s2: set web/s2 MAINT
             s2 undo: set web/s2 READY",
        );
    }

    #[test]
    fn the_server_with_the_least_to_lose_goes_first() {
        let mut site = Site::new(5);
        site.server("s1").sessions = 1;
        (site.server("s2").sessions, site.server("s2").queued) = (1, 1);
        site.server("s4").weight = Weight::saturating(2.0);
        check_chosen(&site, &down(9), &["s5", "s3", "s4", "s1"]);
        site.configure("s5", |server| server.always_up = true);
        site.settings.ready.min = 3;
        check_chosen(&site, &down(9), &["s3", "s4"]);
    }

    #[test]
    fn what_cannot_be_done_is_refused_with_a_reason() {
        let mut site = Site::new(2);
        assert_eq!(site.plan(&up(1)), Err(Reason::NoSpare));
        site.settings.ready.max = Some(2);
        assert_eq!(site.plan(&up(1)), Err(Reason::AtMax { serving: 2 }));
        for name in ["s1", "s2"] {
            site.configure(name, |server| server.always_up = true);
        }
        assert_eq!(site.plan(&down(1)), Err(Reason::NothingToRemove));
        site.settings.ready.min = 2;
        assert_eq!(site.plan(&down(1)), Err(Reason::AtMin { serving: 2 }));
        assert_eq!(site.plan(&Decision::Hold(Reason::NoInventory)), Err(Reason::NoInventory));
    }

    #[test]
    fn drains_left_over_from_before_are_ended_if_they_are_our_own() {
        let mut site = Site::new(3);
        site.configure("s2", |_| {});
        testing::drain(site.server("s2"));
        assert_eq!(finish_drains(&site.backend, &site.settings, &site.claims), None);
        testing::drain(site.server("s3"));
        site.claims.ours.insert(site.id("s3"));
        let plan = finish_drains(&site.backend, &site.settings, &site.claims).expect("a plan");
        assert_eq!(
            words(&site, &plan),
            "s3: wait up to 60s until web/s3 has no sessions\ns3: set web/s3 MAINT\n"
        );
    }
}
