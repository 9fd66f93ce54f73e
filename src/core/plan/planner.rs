//! The shortest plan that gets from what HAProxy has to what was decided.
//!
//! ```text
//! add a spare        [address, or add], DRAIN, healthy, warm-up, [small weight], READY, [ramp]
//!                                                                               undo: MAINT, [delete]
//! one whose start was begun: the same, from DRAIN
//! bring one back     READY                                                      undo: DRAIN
//! take one away      DRAIN, drained or too late, MAINT, [delete]                undo: READY
//! finish a drain     drained or too late, MAINT, [delete]
//! bring back         [address, or add], DRAIN, healthy, READY                   undo: MAINT, [delete]
//! ```
//! A server that HAProxy itself lets into its share (`slowstart`) gets no ramp, if that is known beforehand; if it shows
//! only then, whoever carries the plan out leaves it out.
//!
//! A spare goes through DRAIN because checks pause in MAINT, and because READY means UP at once,
//! before any check has passed (seen on HAProxy 2.6.12). One without a check stays in MAINT until a connection to it
//! and its warm-up have shown that it is there: in DRAIN it would get the clients that stick to it.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::time::Duration;

use super::inventory::{AdminState, BackendState, ServerState};
use super::ownership::{Claims, Role, roles};
use super::step::{Lane, Plan, Purpose, Step};
use super::supply::Supply;
use super::weights::{self, WeightList};
use super::{ownership, ramp};
use crate::core::names::{Names, ServerId};
use crate::core::policy::decision::{Decision, Reason};
use crate::core::settings::{BackendSettings, WarmUp};
use crate::core::units::Weight;

/// How long a spare may take until its health check passes. Some run already; a service that is just
/// being started may need a minute, and one that is given up shortly before would be started in vain.
const HEALTHY_WITHIN: Duration = Duration::from_secs(120);

/// How long it may take until HAProxy lets go of a server in MAINT without sessions: its idle connections go with
/// MAINT. It is tried again.
const REMOVABLE_WITHIN: Duration = Duration::from_secs(30);

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
        let bound =
            server.backup || server.tracks.is_some() || !server.alike || server.admin.is_foreign_drain();
        server.state() == AdminState::Drain
            && claims.ours.contains(&server.id)
            && !claims.left_alone.contains(&server.id)
            && !bound
    };
    let lanes: Vec<Lane> = (backend.servers.iter().filter(abandoned))
        .map(|state| Lane {
            server: state.id,
            from: AdminState::Drain,
            steps: end_of_drain(state, settings),
            undo: Vec::new(),
            retreat: Vec::new(),
        })
        .collect();
    (!lanes.is_empty()).then(|| plain(Purpose::Remove, backend, settings, lanes))
}

/// Deletes servers that were added and are in MAINT without a session, as after a crash, or when the last has ended.
/// `None` if there are none.
pub fn delete_added(backend: &BackendState, settings: &BackendSettings) -> Option<Plan> {
    let is_left = |server: &&ServerState| {
        let was_added = matches!(server.supply, Some(Supply::Added(_)));
        was_added && server.state() == AdminState::Maint && server.sessions == 0
    };
    let lanes: Vec<Lane> = (backend.servers.iter().filter(is_left))
        .map(|state| Lane {
            server: state.id,
            from: AdminState::Maint,
            steps: deletion(state).into_iter().collect(),
            undo: Vec::new(),
            retreat: Vec::new(),
        })
        .collect();
    (!lanes.is_empty()).then(|| plain(Purpose::Remove, backend, settings, lanes))
}

/// Closes the sessions that are left on `servers`, which are in MAINT.
pub fn shut_down(backend: &BackendState, settings: &BackendSettings, servers: &[ServerId]) -> Plan {
    let lane = |&server: &ServerId| Lane {
        server,
        from: AdminState::Maint,
        steps: vec![Step::ShutdownSessions { server }],
        undo: Vec::new(),
        retreat: Vec::new(),
    };
    plain(Purpose::ShutDown, backend, settings, servers.iter().map(lane).collect())
}

/// Takes a server away whose address has left the pool, or adds one first if there would be too few. `None` if
/// there is none, or nothing can be done within the limits.
pub fn retire(
    backend: &BackendState,
    settings: &BackendSettings,
    claims: &Claims,
    quarantined: &HashSet<ServerId>,
    names: &Names,
) -> Option<Plan> {
    let planner = Planner { backend, settings, claims, quarantined, names };
    let removable = planner.removable(&[]).into_iter().find(|server| server.is_retired())?;
    if planner.serving_by_themselves() > settings.ready.min {
        return Some(plain(Purpose::Remove, backend, settings, vec![planner.remove(removable)]));
    }
    planner.scale_up(1).ok()
}

/// Brings back those of `lost` that HAProxy had before it was restarted: with their addresses, and their checks
/// passed, but without warm-up, as they have just served. `None` if there are none.
pub fn bring_back(
    backend: &BackendState,
    settings: &BackendSettings,
    lost: &HashSet<ServerId>,
    claims: &Claims,
    names: &Names,
) -> Option<Plan> {
    let none = HashSet::new();
    let planner = Planner { backend, settings, claims, quarantined: &none, names };
    let room = settings.ready.max.map_or(usize::MAX, |max| max.saturating_sub(planner.serving()) as usize);
    let is_lost = |server: &&ServerState| lost.contains(&server.id) && server.state() == AdminState::Maint;
    let lanes: Vec<Lane> = (planner.startable().into_iter().filter(is_lost).take(room))
        .map(|state| {
            let mut lane = planner.add(state, &Ramps::default());
            lane.steps.retain(|step| !matches!(step, Step::WarmUp { .. }));
            lane
        })
        .collect();
    (!lanes.is_empty()).then(|| plain(Purpose::Add, backend, settings, lanes))
}

/// Those that can be started, in the order in which they are.
pub fn startable(
    backend: &BackendState,
    settings: &BackendSettings,
    claims: &Claims,
    quarantined: &HashSet<ServerId>,
    names: &Names,
) -> Vec<ServerId> {
    let planner = Planner { backend, settings, claims, quarantined, names };
    planner.startable().into_iter().map(|server| server.id).collect()
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
        let room = self.serving_by_themselves().saturating_sub(self.settings.ready.min);
        if room == 0 {
            return Err(Reason::AtMin { serving });
        }
        let removable = self.removable(prefer);
        let mut left = by.min(room);
        let fitting = removable.iter().filter(|server| {
            let goes = self.go_with(server);
            let fits = goes <= left;
            left -= if fits { goes } else { 0 };
            fits
        });
        let mut chosen: Vec<&ServerState> = fitting.copied().collect();
        if chosen.is_empty() {
            chosen.extend(removable.first());
        }
        if chosen.is_empty() {
            return Err(Reason::NothingToRemove);
        }
        let lanes = chosen.iter().map(|&server| self.remove(server)).collect();
        Ok(plain(Purpose::Remove, self.backend, self.settings, lanes))
    }

    /// So many serve less without `server`: those of its backend that track it go with it.
    fn go_with(&self, server: &ServerState) -> u32 {
        let trackers = self.backend.serving().filter(|other| other.tracks == Some(server.id)).count();
        u32::try_from(trackers).unwrap_or(u32::MAX).saturating_add(1)
    }

    /// Warm ones first, then those meant to be up, then those the config names, then those that have their
    /// address already; HAProxy's order among equals.
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
            (*role != Role::Draining, !always_up, configured.is_none(), provision(server).is_some())
        });
        startable.into_iter().map(|(server, _)| server).collect()
    }

    /// Those whose address has left the pool, those that the decision prefers, then those with the least to lose: fewest requests on them or
    /// waiting for them, then the lowest weight, then last in HAProxy's order.
    fn removable(&self, prefer: &[ServerId]) -> Vec<&ServerState> {
        let roles = roles(self.backend, self.settings, self.claims, self.names);
        let mut removable: Vec<_> =
            roles.filter(|(_, role)| *role == Role::Serving).map(|(server, _)| server).enumerate().collect();
        removable.sort_by_key(|(place, server)| {
            let preferred = prefer.iter().position(|id| *id == server.id).unwrap_or(prefer.len());
            let requests = u64::from(server.sessions) + u64::from(server.queued);
            (!server.is_retired(), preferred, requests, server.weight, Reverse(*place))
        });
        removable.into_iter().map(|(_, server)| server).collect()
    }

    fn add(&self, state: &ServerState, ramps: &Ramps) -> Lane {
        let server = state.id;
        let set = |state| Step::Set { server, state };
        let mut retreat = Vec::new();
        let is_warm = self.claims.is_warm(state);
        let steps = match is_warm {
            true => vec![set(AdminState::Ready)],
            false => {
                let mut steps: Vec<Step> = provision(state).into_iter().collect();
                steps.extend(state.checked.then(|| set(AdminState::Drain)));
                steps.extend([
                    Step::AwaitHealthy { server, within: HEALTHY_WITHIN },
                    Step::WarmUp { server, requests: self.warm_up(state).clone() },
                ]);
                let (small, climb) = ramps.steps(server, self.ramp(state));
                retreat.push(set(AdminState::Drain));
                retreat.extend(end_of_drain(state, self.settings));
                steps.extend(small);
                steps.push(set(AdminState::Ready));
                steps.extend(climb);
                steps
            }
        };
        let mut undo = vec![set(if is_warm { AdminState::Drain } else { AdminState::Maint })];
        undo.extend(deletion(state).filter(|_| !is_warm));
        Lane { server, from: state.state(), steps, undo, retreat }
    }

    fn remove(&self, state: &ServerState) -> Lane {
        let server = state.id;
        let mut steps = vec![Step::Set { server, state: AdminState::Drain }];
        steps.extend(end_of_drain(state, self.settings));
        let undo = vec![Step::Set { server, state: AdminState::Ready }];
        Lane { server, from: AdminState::Ready, steps, undo, retreat: Vec::new() }
    }

    /// The pool's for this address, else the config's for this server, else the backend's.
    fn warm_up<'a>(&'a self, server: &'a ServerState) -> &'a WarmUp {
        let of_pool = server.supply.as_ref().and_then(Supply::candidate).and_then(|it| it.warm_up.as_ref());
        let configured = || self.settings.servers.get(&*self.names.of_server(server.id));
        of_pool.or_else(|| configured().map(|it| &it.warm_up)).unwrap_or(&self.settings.warm_up)
    }

    /// How long its weight rises; HAProxy's own `slowstart` goes before.
    fn ramp(&self, server: &ServerState) -> Duration {
        if server.slowstart { Duration::ZERO } else { self.warm_up(server).ramp }
    }

    /// Servers that are left when one is taken away: none that tracks it.
    fn serving_by_themselves(&self) -> u32 {
        u32::try_from(self.backend.serving_by_themselves().count()).unwrap_or(u32::MAX)
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
        let has_ramp =
            |server: &ServerState| !planner.claims.is_warm(server) && planner.ramp(server) > Duration::ZERO;
        let slow: Vec<ServerId> =
            chosen.iter().filter(|server| has_ramp(server)).map(|server| server.id).collect();
        // A server that is alone gets all the traffic, whatever its weight.
        let may_weigh = backend.takes_weights() && !planner.claims.hold_weights(backend);
        if planner.serving() == 0 || !may_weigh {
            return Self::default();
        }
        let mut rightful = weights::full(&planner.claims.within_reach(backend), settings, names);
        let is_there: HashSet<ServerId> = rightful.iter().map(|&(server, _)| server).collect();
        let to_be_added = chosen.iter().filter(|server| server.is_absent() && server.weight > Weight::ZERO);
        rightful.extend(to_be_added.map(|server| (server.id, server.weight)));
        let Some(smallest) = weights::of(&rightful, &slow).min() else { return Self::default() };
        let full = weights::multiply(&rightful, weights::factor(&rightful, smallest));
        if weights::of(&full, &slow).all(|weight| weight == Weight::ONE) {
            return Self::default();
        }
        let before = full.iter().copied().filter(|(server, _)| is_there.contains(server)).collect();
        Self { before: vec![Step::SetWeights(before)], after: vec![Step::SetWeights(rightful)], full }
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

/// What comes before a spare can be started.
fn provision(state: &ServerState) -> Option<Step> {
    let server = state.id;
    match &state.supply {
        Some(Supply::Slot(candidate)) if !state.is_at(candidate.address) => {
            Some(Step::SetAddress { server, address: candidate.address })
        }
        Some(Supply::Absent(candidate, keywords)) => {
            Some(Step::Add { server, address: candidate.address, keywords: keywords.clone() })
        }
        _ => None,
    }
}

/// What comes after MAINT for a server that was added, or is to be.
fn deletion(state: &ServerState) -> Option<Step> {
    let was_added = matches!(state.supply, Some(Supply::Absent(..) | Supply::Added(_)));
    was_added.then_some(Step::Remove { server: state.id, within: REMOVABLE_WITHIN })
}

fn end_of_drain(state: &ServerState, settings: &BackendSettings) -> Vec<Step> {
    let server = state.id;
    let mut steps = vec![
        Step::AwaitDrained {
            server,
            at_least: settings.trial(),
            quiet: settings.scale_down.sticky_quiet,
            within: settings.scale_down.drain_timeout,
            closed_after: settings.scale_down.shutdown_sessions,
        },
        Step::Set { server, state: AdminState::Maint },
    ];
    steps.extend(deletion(state));
    steps
}

/// A plan that sets no weights.
fn plain(purpose: Purpose, backend: &BackendState, settings: &BackendSettings, lanes: Vec<Lane>) -> Plan {
    Plan {
        backend: backend.id,
        purpose,
        least_serving: settings.ready.min,
        found: None,
        before: Vec::new(),
        lanes,
        after: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::plan::inventory::OperationalState;
    use crate::core::plan::supply::{Candidate, Offer};
    use crate::core::plan::testing::{self, Site, down, up};
    use crate::core::settings::spares::{Keywords, Spares};

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
    fn a_server_that_another_one_tracks_does_not_go_if_both_are_needed() {
        let mut site = Site::new(2);
        site.server("s2").tracks = Some(site.id("s1"));
        assert_eq!(site.plan(&down(1)), Err(Reason::AtMin { serving: 2 }));
    }

    #[test]
    fn no_more_go_than_are_to_go_if_others_can_that_nobody_tracks() {
        let mut site = Site::new(3);
        site.server("s1").tracks = Some(site.id("s3"));
        check_chosen(&site, &down(1), &["s2"]);
    }

    #[test]
    fn a_ramp_does_not_touch_the_weight_of_a_server_that_is_left_alone() {
        let mut site = Site::new(3);
        site.settings.warm_up.ramp = Duration::from_secs(10);
        testing::declared_disabled(site.server("s2"));
        testing::maint(site.server("s3"));
        site.claims.left_alone.insert(site.id("s3"));
        let plan = site.plan(&up(1)).expect("a spare");
        let (s1, s2) = (site.id("s1"), site.id("s2"));
        let hundred = Weight::saturating(100.0);
        assert_eq!(plan.before, [Step::SetWeights(vec![(s1, hundred), (s2, hundred)])]);
    }

    #[test]
    fn a_spare_is_checked_and_warmed_up_before_it_is_ready() {
        let mut site = Site::new(2);
        testing::declared_disabled(site.server("s2"));
        site.server("s2").checked = true;
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
    fn a_spare_without_a_check_is_not_reached_by_anybody_before_it_is_warm() {
        let mut site = Site::new(2);
        testing::declared_disabled(site.server("s2"));
        check(
            &site,
            &up(1),
            "s2: wait up to 120s until web/s2 is healthy
             s2: warm up web/s2
             s2: set web/s2 READY
             s2 undo: set web/s2 MAINT",
        );
    }

    #[test]
    fn a_start_that_was_broken_off_is_made_from_its_beginning() {
        let mut site = Site::new(2);
        testing::drain(site.server("s2"));
        (site.server("s2").checked, site.server("s2").check_passed) = (true, true);
        let s2 = site.id("s2");
        site.claims.ours.insert(s2);
        check(&site, &up(1), "s2: set web/s2 READY\n s2 undo: set web/s2 DRAIN");
        site.claims.starting.insert(s2);
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

    /// s1 serves, s2 is a slot; the pool has one address.
    fn with_a_slot() -> Site {
        let mut site = Site::new(2);
        site.settings.spares = Spares::Slots { placeholder: None, grow: None };
        testing::slot(site.server("s2"));
        site.server("s2").checked = true;
        site.offer(&["10.0.0.4:80"]);
        site
    }

    /// s1 serves, the pool has one address.
    fn with_a_pool() -> Site {
        let mut site = Site::new(1);
        site.settings.spares = Spares::Dynamic;
        site.offer(&["10.0.0.4:80"]);
        site.offer.as_mut().expect("just made").keywords = Keywords::new("check inter 2s").expect("good");
        site
    }

    #[test]
    fn a_slot_gets_its_address_in_maint_and_keeps_it_there() {
        let mut site = with_a_slot();
        check(
            &site.laid_out(),
            &up(1),
            "s2: set web/s2 address 10.0.0.4:80
             s2: set web/s2 DRAIN
             s2: wait up to 120s until web/s2 is healthy
             s2: warm up web/s2
             s2: set web/s2 READY
             s2 undo: set web/s2 MAINT",
        );
        testing::move_to(site.server("s2"), "10.0.0.4:80");
        site.place("s2", "10.0.0.4:80", false, true);
        let again = site.laid_out().plan(&up(1)).expect("a plan");
        assert!(matches!(again.lanes[0].steps[0], Step::Set { .. }), "it has its address: {again:?}");
        testing::ready(site.server("s2"));
        check(
            &site.laid_out(),
            &down(1),
            "s2: set web/s2 DRAIN
             s2: wait up to 60s until web/s2 has no sessions
             s2: set web/s2 MAINT
             s2 undo: set web/s2 READY",
        );
    }

    #[test]
    fn a_server_is_added_before_its_check_and_deleted_after_maint() {
        let mut site = with_a_pool();
        check(
            &site.laid_out(),
            &up(1),
            "dyn-10.0.0.4-80: add web/dyn-10.0.0.4-80 10.0.0.4:80 check inter 2s
             dyn-10.0.0.4-80: set web/dyn-10.0.0.4-80 DRAIN
             dyn-10.0.0.4-80: wait up to 120s until web/dyn-10.0.0.4-80 is healthy
             dyn-10.0.0.4-80: warm up web/dyn-10.0.0.4-80
             dyn-10.0.0.4-80: set web/dyn-10.0.0.4-80 READY
             dyn-10.0.0.4-80 undo: set web/dyn-10.0.0.4-80 MAINT
             dyn-10.0.0.4-80 undo: delete web/dyn-10.0.0.4-80",
        );
        testing::move_to(site.server("s1"), "10.0.0.4:80");
        site.place("s1", "10.0.0.4:80", true, true);
        site.settings.ready.min = 0;
        check(
            &site.laid_out(),
            &down(1),
            "s1: set web/s1 DRAIN
             s1: wait up to 60s until web/s1 has no sessions
             s1: set web/s1 MAINT
             s1: delete web/s1
             s1 undo: set web/s1 READY",
        );
    }

    #[test]
    fn a_ramp_of_an_added_server_sets_no_weight_before_it_is_there() {
        let mut site = with_a_pool();
        site.settings.warm_up.ramp = Duration::from_secs(10);
        let plan = site.laid_out().plan(&up(1)).expect("a plan");
        let text = words(&site, &plan);
        assert!(text.starts_with("before: set weights: web/s1 100\n"), "{text}");
        assert!(text.contains("dyn-10.0.0.4-80: set weights: web/dyn-10.0.0.4-80 10\n"), "{text}");
        assert!(text.ends_with("after: set weights: web/s1 1, web/dyn-10.0.0.4-80 1\n"), "{text}");
    }

    #[test]
    fn a_server_that_haproxy_slow_starts_gets_no_ramp_of_ours() {
        let mut site = with_a_pool();
        site.settings.warm_up.ramp = Duration::from_secs(10);
        site.offer.as_mut().expect("just made").keywords =
            Keywords::new("check slowstart 30s").expect("good");
        let text = words(&site, &site.laid_out().plan(&up(1)).expect("a plan"));
        assert!(!text.contains("weights"), "{text}");
        let mut site = Site::new(3);
        site.settings.warm_up.ramp = Duration::from_secs(10);
        for name in ["s2", "s3"] {
            testing::declared_disabled(site.server(name));
        }
        site.server("s3").slowstart = true;
        let text = words(&site, &site.plan(&up(2)).expect("a plan"));
        let weights = |server: &str| text.matches(&format!("{server}: set weights: web/{server} ")).count();
        assert_eq!((weights("s2"), weights("s3")), (10, 1), "its full weight among the others': {text}");
    }

    #[test]
    fn a_slot_that_has_its_address_is_started_before_one_that_has_not() {
        let mut site = Site::new(3);
        site.settings.spares = Spares::Slots { placeholder: None, grow: None };
        testing::slot(site.server("s2"));
        testing::slot(site.server("s3"));
        testing::move_to(site.server("s3"), "10.0.0.5:80");
        site.place("s3", "10.0.0.5:80", false, false);
        site.offer(&["10.0.0.4:80", "10.0.0.5:80"]);
        check_chosen(&site.laid_out(), &up(2), &["s3", "s2"]);
    }

    #[test]
    fn the_pools_warm_up_comes_before_the_servers() {
        let mut site = with_a_slot();
        site.configure("s2", |server| server.warm_up.path = Some("/slot".to_owned()));
        let mut warm_up = site.settings.warm_up.clone();
        warm_up.path = Some("/pool".to_owned());
        let candidate =
            Candidate { address: testing::at("10.0.0.4:80"), name: None, warm_up: Some(warm_up.clone()) };
        site.offer = Some(Offer { candidates: vec![candidate.into()], keywords: Keywords::default() });
        let plan = site.laid_out().plan(&up(1)).expect("a plan");
        assert!(plan.lanes[0].steps.contains(&Step::WarmUp { server: site.id("s2"), requests: warm_up }));
    }

    #[test]
    fn what_has_left_the_pool_goes_first_and_does_not_come_back() {
        let mut site = Site::new(3);
        site.settings.spares = Spares::Slots { placeholder: None, grow: None };
        site.offer(&[]);
        testing::move_to(site.server("s1"), "10.0.0.4:80");
        site.place("s1", "10.0.0.4:80", false, true);
        site.server("s1").sessions = 9;
        check_chosen(&site.laid_out(), &down(1), &["s1"]);
        let retire = |site: &Site| {
            let site = site.laid_out();
            retire(&site.backend, &site.settings, &site.claims, &site.quarantined, &site.names)
        };
        assert_eq!(retire(&site).map(|plan| plan.purpose), Some(Purpose::Remove));
        site.settings.ready.min = 3;
        assert_eq!(retire(&site), None, "too few would be left, and there is no other");
        testing::maint(site.server("s3"));
        site.claims.ours.insert(site.id("s3"));
        site.settings.ready.min = 2;
        assert_eq!(retire(&site).map(|plan| plan.purpose), Some(Purpose::Add), "another one first");
        testing::drain(site.server("s1"));
        site.claims.ours.insert(site.id("s1"));
        check_chosen(&site.laid_out(), &up(9), &["s3"]);
    }

    #[test]
    fn an_added_server_that_is_left_in_maint_is_deleted() {
        let mut site = with_a_pool();
        let state = site.laid_out();
        assert_eq!(delete_added(&state.backend, &state.settings), None);
        testing::move_to(site.server("s1"), "10.0.0.4:80");
        testing::maint(site.server("s1"));
        site.place("s1", "10.0.0.4:80", true, false);
        let state = site.laid_out();
        let plan = delete_added(&state.backend, &state.settings).expect("a plan");
        assert_eq!(words(&site, &plan), "s1: delete web/s1\n");
    }

    #[test]
    fn what_a_restart_took_away_comes_back_without_warm_up_but_with_its_check() {
        let mut site = with_a_slot();
        let lost = HashSet::from([site.id("s2")]);
        let state = site.laid_out();
        let back = |lost: &HashSet<ServerId>| {
            bring_back(&state.backend, &state.settings, lost, &state.claims, &state.names)
        };
        assert_eq!(back(&HashSet::new()), None);
        assert_eq!(
            words(&site, &back(&lost).expect("a plan")),
            "s2: set web/s2 address 10.0.0.4:80\ns2: set web/s2 DRAIN\ns2: wait up to 120s until web/s2 is healthy\n\
             s2: set web/s2 READY\ns2 undo: set web/s2 MAINT\n"
        );
        site.settings.ready.max = Some(1);
        let state = site.laid_out();
        assert_eq!(bring_back(&state.backend, &state.settings, &lost, &state.claims, &state.names), None);
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
