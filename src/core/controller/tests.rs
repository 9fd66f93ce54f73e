//! The controller against a model of HAProxy and its traffic, second by second.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::core::log::error::{ErrorKind, LineError};
use crate::core::log::reader::UnparsedLine;
use crate::core::log::sample::{Class, Timers};
use crate::core::plan::inventory::{AdminState, BackendState};
use crate::core::plan::step::{Purpose, Step};
use crate::core::plan::testing::{self, Site, declared_disabled, drain, flags, maint, ready};
use crate::core::policy::decision::Reason;
use crate::core::policy::state::Direction;
use crate::core::units::Weight;

mod growing;
mod hands;
mod leaderless;
mod orders;
mod outliers;
mod remembered;
mod replacements;
mod seen;
mod slowstart;
mod standing;
mod temporary;

const SECOND: Duration = Duration::from_secs(1);
const FAST_MS: i32 = 50;
const SLOW_MS: i32 = 2000;

/// HAProxy, its traffic, and what the controller asked for.
struct World {
    site: Site,
    controller: Controller,
    now: Instant,
    pid: u32,
    done: Vec<Action>,
}

impl World {
    /// A backend `web` with `serving` READY servers and `spares` declared disabled.
    fn new(serving: usize, spares: usize) -> Self {
        Self::with_memory(serving, spares, &Memory::default())
    }

    fn with_memory(serving: usize, spares: usize, memory: &Memory) -> Self {
        let mut site = Site::new(serving + spares);
        for n in serving..serving + spares {
            declared_disabled(&mut site.backend.servers[n]);
        }
        site.settings.window = crate::core::settings::WindowSettings { length: 10 * SECOND, min_samples: 20 };
        let now = Instant::now();
        let controller = Controller::new(site.names.clone(), vec![site.settings.clone()], memory, now);
        Self { site, controller, now, pid: 1, done: Vec::new() }
    }

    /// A second with ten requests to the serving servers, each `latency_ms` long; none if it is negative.
    fn second(&mut self, latency_ms: i32) {
        self.now += SECOND;
        let serving: Vec<ServerId> = self.site.backend.serving().map(|server| server.id).collect();
        if latency_ms >= 0 {
            let samples: Vec<Sample> =
                serving.iter().cycle().take(10).map(|&server| self.sample(server, latency_ms)).collect();
            self.site.backend.total_sessions += samples.len() as u64;
            self.controller.handle_samples(&samples, self.now);
        }
        self.look();
        self.controller.handle_tick(self.now);
        self.collect();
    }

    fn sample(&self, server: ServerId, ms: i32) -> Sample {
        Sample {
            backend: self.site.backend.id,
            server: Some(server),
            end: self.now,
            timers: Timers::new([0, 0, 0, ms, ms]),
            class: Class::Success,
            timed_out: false,
            beconn: 0,
            srv_conn: 0,
        }
    }

    fn look(&mut self) {
        self.look_back_to(self.now);
    }

    /// What was asked for at `asked` arrives.
    fn look_back_to(&mut self, asked: Instant) {
        self.controller.handle_inventory(self.inventory(), asked, self.now);
    }

    fn inventory(&self) -> Inventory {
        testing::inventory(testing::process(self.pid, 9), vec![self.site.backend.clone()])
    }

    fn seconds(&mut self, count: usize, latency_ms: i32) {
        for _ in 0..count {
            self.second(latency_ms);
        }
    }

    fn collect(&mut self) {
        while let Some(action) = self.controller.poll_action() {
            self.done.push(action);
        }
    }

    /// The plan that was asked for and not taken yet.
    #[track_caller]
    fn take_plan(&mut self) -> Plan {
        let at = self.done.iter().position(|action| matches!(action, Action::Execute(_)));
        let before = at.and_then(|at| at.checked_sub(1)).map(|before| &self.done[before]);
        assert_eq!(before, Some(&Action::Remember), "it is remembered before it is done: {:#?}", self.done);
        match self.done.remove(at.expect("a plan was asked for")) {
            Action::Execute(plan) => plan,
            other => panic!("{other:?}"),
        }
    }

    fn has_plan(&self) -> bool {
        self.done.iter().any(|action| matches!(action, Action::Execute(_)))
    }

    fn report(&mut self, outcome: Outcome) {
        self.controller.handle_outcome(&outcome, self.now);
        self.collect();
    }

    /// Every step is done at once, and HAProxy says so.
    fn succeed(&mut self, plan: &Plan) {
        let all = plan.lanes.iter().flat_map(|lane| &lane.steps);
        for step in plan.before.iter().chain(all).chain(&plan.after) {
            apply(&mut self.site.backend, step);
        }
        self.look();
        for lane in &plan.lanes {
            self.report(Outcome::Moved { backend: plan.backend, server: lane.server, purpose: plan.purpose });
        }
        self.report(Outcome::Finished { backend: plan.backend, purpose: plan.purpose, called_off: false });
    }

    /// The first step of each lane fails, and it is undone.
    fn fail(&mut self, plan: &Plan) {
        for lane in &plan.lanes {
            let error = "refused".to_owned();
            let step = lane.steps[0].clone();
            self.report(Outcome::Failed {
                backend: plan.backend,
                server: Some(lane.server),
                step,
                error,
                by_other: false,
            });
        }
        self.report(Outcome::Finished { backend: plan.backend, purpose: plan.purpose, called_off: false });
    }

    /// The reasons of the decisions told so far, by their words.
    fn rules(&self) -> Vec<&'static str> {
        let told = self.done.iter().filter_map(|action| match action {
            Action::Record(record) => match &record.event {
                Event::Decided { decision, .. } => Some(decision.reason().key()),
                _ => None,
            },
            _ => None,
        });
        told.collect()
    }
}

fn apply(backend: &mut BackendState, step: &Step) {
    match step {
        Step::Set { server, state } => {
            let server = backend.servers.iter_mut().find(|each| each.id == *server).expect("ours");
            match state {
                AdminState::Ready => ready(server),
                AdminState::Drain => drain(server),
                AdminState::Maint => maint(server),
            }
        }
        Step::SetAddress { server, address } => {
            let server = backend.servers.iter_mut().find(|each| each.id == *server).expect("ours");
            (server.address, server.port) = (Some(address.ip()), address.port());
        }
        Step::SetWeights(weights) => {
            for (id, weight) in weights {
                backend.servers.iter_mut().find(|each| each.id == *id).expect("ours").weight = *weight;
            }
        }
        _ => {}
    }
}

#[test]
fn nothing_is_done_on_first_sight_however_slow_it_is() {
    let mut world = World::new(1, 2);
    world.seconds(9, SLOW_MS);
    assert!(!world.has_plan(), "{:?}", world.rules());
    assert_eq!(world.rules(), ["just_started"]);
}

#[test]
fn a_breach_that_lasts_starts_a_spare_and_the_cooldown_waits_for_haproxys_yes() {
    let mut world = World::new(1, 2);
    world.seconds(21, SLOW_MS);
    let plan = world.take_plan();
    assert_eq!((plan.purpose, plan.lanes.len()), (Purpose::Add, 1));
    world.seconds(60, SLOW_MS);
    assert!(!world.has_plan(), "one plan at a time");
    assert_eq!(world.controller.views(world.now)[0].cooldown, Duration::ZERO, "HAProxy has not said yes");
    world.succeed(&plan);
    assert_eq!(world.controller.views(world.now)[0].cooldown, 30 * SECOND);
    world.seconds(29, SLOW_MS);
    assert!(!world.has_plan(), "cooling down");
    world.seconds(30, SLOW_MS);
    assert_eq!(world.take_plan().lanes.len(), 1, "still too slow after the cooldown: the next one");
}

#[test]
fn a_spare_that_does_not_start_is_passed_over_and_another_one_is_tried() {
    let mut world = World::new(1, 2);
    world.seconds(21, SLOW_MS);
    let first = world.take_plan();
    world.fail(&first);
    world.second(SLOW_MS);
    let second = world.take_plan();
    assert_ne!(first.lanes[0].server, second.lanes[0].server);
    world.fail(&second);
    assert!(!world.has_plan(), "no other spare");
    world.seconds(30, SLOW_MS);
    assert!(world.rules().contains(&"no_spare"), "{:?}", world.rules());
    world.seconds(60, SLOW_MS);
    assert!(world.has_plan(), "after a while it is tried again");
}

#[test]
fn a_spare_that_did_start_is_not_started_again_for_one_that_did_not() {
    let mut world = World::new(1, 3);
    world.site.settings.scale_up.step = 2;
    world.controller.reconfigure(vec![world.site.settings.clone()], world.now);
    world.seconds(21, SLOW_MS);
    let plan = world.take_plan();
    let (good, bad) = (plan.lanes[0].clone(), plan.lanes[1].clone());
    good.steps.iter().for_each(|step| apply(&mut world.site.backend, step));
    let (backend, purpose) = (plan.backend, plan.purpose);
    world.report(Outcome::Moved { backend, server: good.server, purpose });
    let step = bad.steps[0].clone();
    world.report(Outcome::Failed {
        backend,
        server: Some(bad.server),
        step,
        error: "refused".to_owned(),
        by_other: false,
    });
    world.report(Outcome::Finished { backend, purpose, called_off: false });
    assert!(!world.has_plan(), "HAProxy has not been looked at since");
    world.second(SLOW_MS);
    let again: Vec<ServerId> = world.take_plan().lanes.iter().map(|lane| lane.server).collect();
    assert_eq!(again, [world.site.id("s4")]);
}

#[test]
fn nothing_is_decided_on_what_haproxy_had_before_the_last_move() {
    let mut world = World::new(1, 2);
    world.site.settings.ready.min = 2;
    world.controller.reconfigure(vec![world.site.settings.clone()], world.now);
    world.seconds(10, FAST_MS);
    let plan = world.take_plan();
    let before = world.now;
    world.now += SECOND;
    let backend = plan.backend;
    world.report(Outcome::Moved { backend, server: plan.lanes[0].server, purpose: plan.purpose });
    world.report(Outcome::Finished { backend, purpose: plan.purpose, called_off: false });
    // HAProxy hangs, then a late answer comes: one server serving, as it was.
    world.controller.handle_tick(world.now);
    world.look_back_to(before);
    world.controller.handle_tick(world.now);
    world.collect();
    assert!(!world.has_plan(), "the second one serves by now");
}

#[test]
fn a_server_stays_ours_whatever_a_late_answer_says() {
    let mut world = World::new(2, 0);
    world.seconds(330, FAST_MS);
    let plan = world.take_plan();
    let before = world.now;
    let ready = world.site.backend.clone();
    world.now += SECOND;
    world.succeed(&plan);
    let drained = std::mem::replace(&mut world.site.backend, ready);
    world.look_back_to(before);
    world.collect();
    world.site.backend = drained;
    world.second(FAST_MS);
    assert_eq!(world.controller.memory(world.now).backends[0].ours.len(), 1);
}

#[test]
fn a_scale_up_that_meets_a_drain_calls_it_off() {
    let mut world = World::new(2, 0);
    world.seconds(330, FAST_MS);
    let plan = world.take_plan();
    assert_eq!(plan.purpose, Purpose::Remove);
    drain(world.site.server("s2"));
    world.seconds(40, SLOW_MS);
    let id = world.site.backend.id;
    let back = Changes { taken_back: [plan.lanes[0].server].into(), ..Changes::default() };
    let call_offs = world.done.iter().filter(|action| **action == Action::Change(id, back.clone())).count();
    assert_eq!(call_offs, 1, "called off, and once");
    ready(world.site.server("s2"));
    world.report(Outcome::Finished { backend: id, purpose: plan.purpose, called_off: true });
    assert_eq!(world.controller.views(world.now)[0].cooldown, Duration::ZERO, "nothing was moved");
}

#[test]
fn a_plan_under_way_keeps_to_a_minimum_that_is_raised() {
    let mut world = World::new(3, 0);
    world.seconds(330, FAST_MS);
    let plan = world.take_plan();
    assert_eq!((plan.purpose, plan.least_serving), (Purpose::Remove, 1));
    drain(world.site.server("s3"));
    world.site.settings.ready.min = 3;
    world.controller.reconfigure(vec![world.site.settings.clone()], world.now);
    world.collect();
    let id = world.site.backend.id;
    let mut changes = Changes { least_serving: Some(3), ..Changes::default() };
    assert_eq!(world.done.pop(), Some(Action::Change(id, changes.clone())), "at once");
    world.second(FAST_MS);
    changes.taken_back.insert(world.site.id("s3"));
    assert!(world.done.contains(&Action::Change(id, changes)), "and it grows back: {:#?}", world.done);
}

#[test]
fn a_silent_log_is_no_idleness_while_haproxy_counts_requests() {
    let mut world = World::new(2, 0);
    world.seconds(30, FAST_MS);
    for _ in 0..600 {
        world.site.backend.total_sessions += 10;
        world.second(-1);
    }
    assert!(!world.has_plan());
    assert_eq!(world.controller.views(world.now)[0].health, Health::Blind);
}

#[test]
fn an_idle_backend_goes_down_to_its_minimum_though_no_line_arrives() {
    let mut world = World::new(3, 0);
    world.seconds(30, FAST_MS);
    for _ in 0..3000 {
        world.second(-1);
        if world.has_plan() {
            let plan = world.take_plan();
            world.succeed(&plan);
        }
    }
    assert_eq!(world.site.backend.serving().count(), 1);
}

#[test]
fn haproxy_gone_is_told_and_nothing_is_decided() {
    let mut world = World::new(1, 1);
    world.seconds(15, SLOW_MS);
    world.now += 6 * SECOND;
    world.controller.handle_tick(world.now);
    assert_eq!(world.controller.views(world.now)[0].health, Health::HaproxyAbsent);
    world.collect();
    assert!(!world.has_plan());
}

#[test]
fn a_server_that_somebody_made_ready_is_no_longer_ours() {
    let memory = BackendMemory { name: "web".into(), ours: ["s2".to_owned()].into(), ..Default::default() };
    let mut world = World::with_memory(2, 0, &Memory { backends: vec![memory], ..Default::default() });
    maint(world.site.server("s2"));
    world.second(FAST_MS);
    let ours = |world: &World| world.controller.memory(world.now).backends[0].ours.clone();
    assert_eq!(ours(&world), BTreeSet::from(["s2".to_owned()]), "in MAINT, as we left it");
    ready(world.site.server("s2"));
    world.second(FAST_MS);
    assert_eq!(ours(&world), BTreeSet::new());
    flags(world.site.server("s2"), 0x01);
    world.seconds(60, SLOW_MS);
    assert!(!world.has_plan(), "the MAINT after that is somebody else's");
}

#[test]
fn weights_that_a_crash_left_behind_are_put_back_first() {
    let weights = [("s1".to_owned(), Weight::ONE), ("gone".to_owned(), Weight::ONE)].into();
    let memory = BackendMemory { name: "web".into(), weights, ..Default::default() };
    let mut world = World::with_memory(1, 1, &Memory { backends: vec![memory], ..Default::default() });
    world.second(FAST_MS);
    let plan = world.take_plan();
    assert_eq!(plan.purpose, Purpose::Reweigh);
    assert_eq!(plan.before, [Step::SetWeights(vec![(world.site.id("s1"), Weight::ONE)])]);
    world.succeed(&plan);
    assert!(world.controller.memory(world.now).backends[0].weights.is_empty());
    world.seconds(2, FAST_MS);
    assert!(!world.has_plan(), "once");
}

#[test]
fn weights_that_could_not_be_put_back_are_not_forgotten() {
    let weights = [("s1".to_owned(), Weight::ONE)].into();
    let memory = BackendMemory { name: "web".into(), weights, ..Default::default() };
    let mut world = World::with_memory(1, 0, &Memory { backends: vec![memory], ..Default::default() });
    world.second(FAST_MS);
    let plan = world.take_plan();
    let step = plan.before[0].clone();
    world.report(Outcome::Failed {
        backend: plan.backend,
        server: None,
        step,
        error: "hangs".to_owned(),
        by_other: false,
    });
    world.report(Outcome::Finished { backend: plan.backend, purpose: plan.purpose, called_off: false });
    assert_eq!(world.controller.memory(world.now).backends[0].weights.len(), 1);
    world.seconds(299, FAST_MS);
    assert!(!world.has_plan(), "not again and again");
    world.seconds(2, FAST_MS);
    assert!(world.has_plan(), "after a while");
}

#[test]
fn a_cooldown_survives_a_restart_of_the_agent() {
    let cooldown = Some((Direction::Up, 25 * SECOND));
    let memory = BackendMemory { name: "web".into(), cooldown, ..Default::default() };
    let mut world = World::with_memory(1, 1, &Memory { backends: vec![memory], ..Default::default() });
    world.seconds(24, SLOW_MS);
    assert!(!world.has_plan());
    world.seconds(20, SLOW_MS);
    assert!(world.has_plan());
}

#[test]
fn a_restart_of_haproxy_is_told_once() {
    let mut world = World::new(1, 1);
    world.seconds(3, FAST_MS);
    world.pid = 2;
    world.seconds(3, FAST_MS);
    let told = world.done.iter().filter(|action| {
        matches!(action, Action::Record(record) if matches!(&record.event, Event::Restarted(process) if process.pid == 2))
    });
    assert_eq!(told.count(), 1);
}

/// HAProxy has forgotten everything: these are READY again, all others as the configuration declares them.
fn restart(world: &mut World, ready_again: &[&str]) {
    world.pid += 1;
    let ids: Vec<ServerId> = ready_again.iter().map(|name| world.site.id(name)).collect();
    for server in &mut world.site.backend.servers {
        if ids.contains(&server.id) { ready(server) } else { declared_disabled(server) }
    }
}

#[test]
fn spares_that_served_come_back_after_a_restart_of_haproxy() {
    let mut world = World::new(3, 1);
    world.seconds(3, FAST_MS);
    restart(&mut world, &["s1"]);
    world.seconds(1, FAST_MS);
    let plan = world.take_plan();
    assert_eq!((plan.purpose, plan.lanes.len()), (Purpose::Add, 2));
    assert!(world.rules().contains(&"forgotten"));
    world.succeed(&plan);
    world.seconds(20, FAST_MS);
    assert!(!world.has_plan(), "once");
}

#[test]
fn servers_that_were_taken_away_go_again_after_a_restart_of_haproxy() {
    let memory = BackendMemory { name: "web".into(), ours: ["s3".to_owned()].into(), ..Default::default() };
    let mut world = World::with_memory(2, 1, &Memory { backends: vec![memory], ..Default::default() });
    world.seconds(3, FAST_MS);
    restart(&mut world, &["s1", "s2", "s3"]);
    world.seconds(1, FAST_MS);
    let plan = world.take_plan();
    assert_eq!(plan.purpose, Purpose::Remove);
    assert_eq!(plan.lanes.iter().map(|lane| lane.server).collect::<Vec<_>>(), [world.site.id("s3")]);
}

#[test]
fn a_reload_that_keeps_everything_by_a_state_file_moves_nothing() {
    let mut world = World::new(2, 1);
    world.seconds(3, FAST_MS);
    world.pid = 2;
    world.seconds(10, FAST_MS);
    assert!(!world.has_plan());
}

#[test]
fn a_backend_that_leaves_the_config_has_its_plan_stopped() {
    let mut world = World::new(1, 1);
    world.seconds(21, SLOW_MS);
    let plan = world.take_plan();
    world.controller.reconfigure(vec![], world.now);
    world.collect();
    assert!(world.done.contains(&Action::Change(plan.backend, Changes::stop())));
}

#[test]
fn a_move_needed_and_not_allowed_is_told_with_its_reason() {
    let mut world = World::new(2, 0);
    world.seconds(40, SLOW_MS);
    let view = &world.controller.views(world.now)[0];
    let decision = view.decision.clone().map(|(decision, _)| decision);
    assert_eq!(decision, Some(Decision::Hold(Reason::NoSpare)), "{:?}", world.rules());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..Default::default() })]

    /// Whatever the traffic does and however plans end: never below the minimum, one plan at a
    /// time, and only servers that are ours.
    #[test]
    fn the_minimum_holds_and_strangers_are_left_alone(
        seconds in prop::collection::vec((prop_oneof![Just(-1), 0..3000i32], 0..20u8), 100..900),
    ) {
        let mut world = World::new(3, 3);
        world.site.settings.ready.min = 2;
        world.site.settings.scale_down.stabilization_window = 20 * SECOND;
        world.site.settings.scale_down.idle_after = 20 * SECOND;
        world.site.settings.scale_down.cooldown = 5 * SECOND;
        maint(world.site.server("s3")); // somebody's work in progress
        world.controller.reconfigure(vec![world.site.settings.clone()], world.now);
        let stranger = world.site.id("s3");
        let mut running: Option<Plan> = None;
        for (latency, chance) in seconds {
            world.second(latency);
            if world.has_plan() {
                prop_assert!(running.is_none(), "a second plan");
                running = Some(world.take_plan());
            }
            if let Some(plan) = &running {
                prop_assert!(plan.lanes.iter().all(|lane| lane.server != stranger));
            }
            match chance {
                0 => if let Some(plan) = running.take() { world.fail(&plan) },
                1..=5 => if let Some(plan) = running.take() { world.succeed(&plan) },
                _ => {}
            }
            prop_assert!(world.site.backend.serving().count() >= 2);
        }
    }
}

impl World {
    /// A second with ten requests of which so many are told of, perhaps again, and perhaps a line that is not
    /// understood.
    fn second_of_log(&mut self, latency_ms: i32, told: usize, again: usize, unparsed: bool) {
        self.now += SECOND;
        let server = self.site.backend.serving().next().expect("one serves").id;
        let sample = self.sample(server, latency_ms);
        let error = LineError::of_line(ErrorKind::NotRecognised, 7);
        let mut batch = Batch {
            samples: vec![sample; told],
            repeats: vec![sample; again],
            first_unparsed: unparsed.then(|| UnparsedLine { text: "secret".to_owned(), error }),
            ..Batch::default()
        };
        batch.counts.lines = 1;
        self.site.backend.total_sessions += 10;
        self.controller.handle_batch(&mut batch, self.now);
        self.look();
        self.controller.handle_tick(self.now);
        self.collect();
    }

    fn reason(&mut self) -> String {
        self.controller.views(self.now)[0].decision.as_ref().expect("evaluated").0.reason().to_string()
    }
}

#[test]
fn a_log_that_tells_of_too_little_is_no_ground_for_a_move_until_it_is_whole_again() {
    let mut world = World::new(1, 2);
    for _ in 0..40 {
        world.second_of_log(SLOW_MS, 6, 0, true);
    }
    assert!(!world.has_plan(), "{:?}", world.rules());
    assert_eq!(
        world.reason(),
        "only 60 % of HAProxy's 100 requests of the last 10 s were understood in the log; \
         the first that was not: line from byte 7 is neither a request nor a message of HAProxy's"
    );
    assert_eq!(world.controller.views(world.now)[0].health, Health::Uncovered);
    for _ in 0..30 {
        world.second_of_log(SLOW_MS, 10, 0, false);
    }
    assert!(world.has_plan(), "{:?}", world.rules());
    assert_eq!(world.controller.views(world.now)[0].health, Health::Good);
}

#[test]
fn under_such_a_log_haproxys_own_counters_still_add_servers() {
    let mut world = World::new(1, 2);
    world.site.backend.servers[0].queued = 7;
    for _ in 0..40 {
        world.second_of_log(FAST_MS, 6, 0, false);
    }
    assert!(world.rules().contains(&"blind_queue") && world.has_plan(), "{:?}", world.rules());
    let mut world = World::new(1, 2);
    world.site.settings.ready.min = 2;
    world.controller.reconfigure(vec![world.site.settings.clone()], world.now);
    for _ in 0..40 {
        world.second_of_log(FAST_MS, 0, 0, true);
    }
    assert!(world.rules().contains(&"below_min") && world.has_plan(), "{:?}", world.rules());
}

#[test]
fn what_is_told_twice_is_counted_once_and_what_is_alike_is_not() {
    let mut world = World::new(1, 2);
    for _ in 0..20 {
        world.second_of_log(FAST_MS, 10, 10, false);
    }
    let view = &world.controller.views(world.now)[0];
    assert_eq!((view.health, view.snapshot.samples), (Health::Good, 100));
    // Half of the requests look like another one.
    let mut world = World::new(1, 2);
    for _ in 0..20 {
        world.second_of_log(FAST_MS, 5, 5, false);
    }
    let view = &world.controller.views(world.now)[0];
    assert_eq!((view.health, view.snapshot.samples), (Health::Good, 100));
}

#[test]
fn a_log_that_tells_of_too_much_is_no_ground_for_a_move() {
    let mut world = World::new(1, 2);
    for _ in 0..40 {
        world.second_of_log(SLOW_MS, 20, 0, false);
    }
    assert!(!world.has_plan(), "{:?}", world.rules());
    assert!(world.reason().starts_with("the log tells of 200 requests in 10 s, HAProxy counted 100"));
    assert_eq!(world.controller.views(world.now)[0].health, Health::TooManyLines);
}

#[test]
fn a_sample_of_the_requests_is_all_there_has_to_be_where_it_is_one() {
    let mut world = World::new(1, 2);
    world.site.settings.log.sample_rate = crate::core::units::Ratio::percent(20);
    world.controller.reconfigure(vec![world.site.settings.clone()], world.now);
    for _ in 0..30 {
        world.second_of_log(FAST_MS, 2, 0, false);
    }
    let view = &world.controller.views(world.now)[0];
    assert_eq!((view.health, view.snapshot.samples), (Health::Good, 20));
    assert!((9.0..11.5).contains(&view.snapshot.rate), "{}", view.snapshot.rate);
}
