//! Somebody else changes servers.

use super::*;
use crate::core::plan::ownership::Role;

/// 600 s, as the settings of the tests have it.
const HANDS_OFF: usize = 600;

/// Three serve, of which only one is needed, and one spare.
fn idle_world() -> World {
    let mut world = World::new(3, 1);
    world.seconds(3, FAST_MS);
    world
}

fn role(world: &mut World, name: &str) -> Role {
    let id = world.site.id(name);
    let now = world.now;
    let view = world.controller.view(world.site.backend.id, now).expect("it is configured");
    view.servers.iter().find(|server| server.state.id == id).expect("it is there").role
}

fn told_changes(world: &World) -> usize {
    world.told(|event| matches!(event, Event::ChangedByOther { .. }))
}

#[test]
fn a_server_that_somebody_put_into_maint_is_left_alone_and_told_once() {
    let mut world = idle_world();
    world.site.configure("s2", |_| {});
    let settings = vec![world.site.settings.clone()];
    world.controller.reconfigure(settings, world.now);
    maint(world.site.server("s2"));
    world.seconds(5, FAST_MS);
    assert_eq!(role(&mut world, "s2"), Role::Foreign, "though the config names it");
    assert_eq!(told_changes(&world), 1);
    world.seconds(HANDS_OFF, FAST_MS);
    assert_eq!(role(&mut world, "s2"), Role::Spare);
    assert_eq!(world.told(|event| matches!(event, Event::HandsOffEnded { .. })), 1);
}

#[test]
fn a_spare_that_somebody_put_into_service_is_not_taken_away() {
    let mut world = idle_world();
    ready(world.site.server("s4"));
    world.second(FAST_MS);
    assert_eq!(role(&mut world, "s4"), Role::Kept);
}

#[test]
fn a_weight_that_somebody_set_is_a_hand_on_the_server() {
    let mut world = idle_world();
    world.site.server("s1").weight = Weight::saturating(7.0);
    world.second(FAST_MS);
    assert_eq!(role(&mut world, "s1"), Role::Kept);
    assert_eq!(role(&mut world, "s2"), Role::Serving);
}

#[test]
fn a_check_that_somebody_switched_off_is_a_hand_and_on_again_is_none() {
    let mut world = idle_world();
    for (checked, told) in [(true, 0), (false, 1), (false, 1), (true, 1), (false, 2)] {
        world.site.server("s1").checked = checked;
        world.second(FAST_MS);
        assert_eq!(told_changes(&world), told);
    }
    assert_eq!(role(&mut world, "s1"), Role::Kept);
}

#[test]
fn an_address_that_somebody_set_is_a_hand_but_not_one_that_dns_set() {
    let mut world = idle_world();
    world.site.server("s2").by_name = true;
    world.second(FAST_MS);
    for name in ["s1", "s2"] {
        world.site.server(name).port = 9;
    }
    world.second(FAST_MS);
    assert_eq!((role(&mut world, "s1"), told_changes(&world)), (Role::Kept, 1));
}

#[test]
fn a_weight_set_in_the_middle_of_a_ramp_is_told_with_the_one_that_it_had() {
    let mut world = owing_world();
    let plan = world.take_plan();
    let seven = Weight::saturating(7.0);
    let s1 = world.site.id("s1");
    let step = Step::SetWeights(vec![(s1, seven)]);
    world.report(Outcome::StepDone { backend: plan.backend, step, took: Duration::ZERO });
    world.site.server("s1").weight = Weight::ZERO;
    world.report(Outcome::Finished { backend: plan.backend, purpose: plan.purpose, called_off: false });
    world.second(FAST_MS);
    let change = Some(Change::Weight { from: seven, to: Weight::ZERO });
    let told =
        world.told(|event| matches!(event, Event::ChangedByOther { change: found, .. } if *found == change));
    assert_eq!(told, 1);
}

#[test]
fn a_server_that_somebody_drains_while_others_move_is_left_alone_too() {
    let mut world = World::new(3, 1);
    world.site.configure("s2", |_| {});
    world.controller.reconfigure(vec![world.site.settings.clone()], world.now);
    world.seconds(21, SLOW_MS);
    let plan = world.take_plan();
    assert_eq!(plan.lanes[0].server, world.site.id("s4"));
    drain(world.site.server("s2"));
    drain(world.site.server("s4"));
    world.second(SLOW_MS);
    assert_eq!(told_changes(&world), 1, "of s4 it is the plan's doing");
    assert_eq!(role(&mut world, "s2"), Role::Foreign);
    ready(world.site.server("s4"));
    world.succeed(&plan);
    world.second(SLOW_MS);
    assert_eq!(told_changes(&world), 1);
}

#[test]
fn resume_ends_it() {
    let mut world = idle_world();
    maint(world.site.server("s2"));
    ready(world.site.server("s4"));
    world.second(FAST_MS);
    let (backend, now) = (world.site.backend.id, world.now);
    let resumed = world.controller.handle_resume(backend, Operator::default(), now);
    assert_eq!(resumed, Resumed { order: None, servers: 2 });
    assert_eq!(role(&mut world, "s4"), Role::Serving);
}

#[test]
fn it_outlives_the_agent() {
    let mut world = idle_world();
    ready(world.site.server("s4"));
    world.second(FAST_MS);
    let memory = world.controller.memory(world.now);
    let mut next = World::with_memory(3, 1, &memory);
    ready(next.site.server("s4"));
    next.second(FAST_MS);
    assert_eq!(role(&mut next, "s4"), Role::Kept);
    assert_eq!(told_changes(&next), 0);
}

/// A spare serves by the agent's doing; that agent has gone since.
fn left_by_another() -> Memory {
    let mut world = World::new(1, 1);
    world.seconds(30, SLOW_MS);
    let plan = world.take_plan();
    world.succeed(&plan);
    world.seconds(2, FAST_MS);
    world.controller.memory(world.now)
}

#[test]
fn what_somebody_changed_while_no_agent_ran_is_noticed() {
    let memory = left_by_another();
    let mut next = World::with_memory(1, 1, &memory);
    next.site.server("s1").weight = Weight::saturating(7.0);
    next.second(FAST_MS);
    assert_eq!(told_changes(&next), 2, "{:?}", next.done);
    assert_eq!([role(&mut next, "s1"), role(&mut next, "s2")], [Role::Kept, Role::Foreign]);
}

#[test]
fn what_haproxy_forgot_while_no_agent_ran_is_nobodys_hand() {
    let memory = left_by_another();
    let mut next = World::with_memory(1, 1, &memory);
    next.pid += 1;
    next.second(FAST_MS);
    assert_eq!((told_changes(&next), role(&mut next, "s2")), (0, Role::Spare));
}

#[test]
fn what_a_plan_has_done_after_the_last_thing_remembered_is_nobodys_hand() {
    let mut world = World::new(1, 1);
    world.seconds(30, SLOW_MS);
    let _plan = world.take_plan();
    let memory = world.controller.memory(world.now);
    for state in [ready, maint] {
        let mut next = World::with_memory(1, 1, &memory);
        state(next.site.server("s2"));
        next.second(FAST_MS);
        assert_eq!(told_changes(&next), 0);
    }
}

#[test]
fn a_process_is_known_by_its_start_and_where_it_does_not_tell_by_how_long_it_runs() {
    let world = World::new(1, 0);
    let mut inventory = world.inventory();
    let seconds = Duration::from_secs;
    let before = ShownBy::new(&inventory, Duration::ZERO);
    inventory.process.uptime_s = 69;
    assert!(before.shows(&inventory, seconds(60)));
    assert!(!before.shows(&inventory, seconds(120)), "a container has the same pid again");
    inventory.process.started = Some(1_000);
    let before = ShownBy::new(&inventory, Duration::ZERO);
    assert!(before.shows(&inventory, seconds(3600)), "a clock was set");
    inventory.process.started = Some(1_001);
    assert!(!before.shows(&inventory, Duration::ZERO));
    inventory.process.started = Some(1_000);
    inventory.counted = vec![Some(before.pids[0].unwrap() + 1)];
    assert!(!before.shows(&inventory, Duration::ZERO));
}

#[test]
fn a_restart_of_haproxy_is_nobodys_hand() {
    let mut world = idle_world();
    maint(world.site.server("s2"));
    world.pid += 1;
    world.second(FAST_MS);
    assert_eq!(told_changes(&world), 0);
}

#[test]
fn what_the_agent_does_itself_is_nobodys_hand() {
    let mut world = World::new(1, 1);
    world.seconds(30, SLOW_MS);
    let plan = world.take_plan();
    ready(world.site.server("s2"));
    let backend = plan.backend;
    let server = plan.lanes[0].server;
    world.report(Outcome::Moved { backend, server, purpose: Purpose::Add });
    world.report(Outcome::Finished { backend, purpose: Purpose::Add, called_off: false });
    world.seconds(3, FAST_MS);
    assert_eq!(told_changes(&world), 0);
}

#[test]
fn a_server_that_was_changed_in_the_middle_of_a_move_is_left_alone() {
    let mut world = World::new(1, 1);
    world.seconds(30, SLOW_MS);
    let plan = world.take_plan();
    let (backend, server) = (plan.backend, plan.lanes[0].server);
    let (step, error) = (plan.lanes[0].steps[0].clone(), "it is MAINT, not DRAIN".to_owned());
    world.report(Outcome::Failed { backend, server: Some(server), step, error, by_other: true });
    world.report(Outcome::Finished { backend, purpose: Purpose::Add, called_off: false });
    world.seconds(3, SLOW_MS);
    assert_eq!(told_changes(&world), 1);
    assert_eq!(role(&mut world, "s2"), Role::Foreign);
    assert!(!world.has_plan(), "there is no other spare");
}

/// An agent before this one has left s1 with a weight to be put back, and HAProxy takes no weights.
fn owing_world() -> World {
    let weights = [("s1".to_owned(), Weight::ONE)].into();
    let memory = BackendMemory { name: "web".into(), weights, ..Default::default() };
    let mut world = World::with_memory(1, 2, &Memory { backends: vec![memory], ..Default::default() });
    world.site.server("s1").weight = Weight::saturating(100.0);
    world.second(FAST_MS);
    world
}

fn refuse_weights(world: &mut World) {
    let plan = world.take_plan();
    let (backend, step, error) = (plan.backend, plan.before[0].clone(), "refused".to_owned());
    world.report(Outcome::Failed { backend, server: None, step, error, by_other: false });
    world.report(Outcome::Finished { backend, purpose: plan.purpose, called_off: false });
}

#[test]
fn a_server_that_somebody_changed_while_weights_were_set_is_left_alone() {
    let mut world = owing_world();
    let plan = world.take_plan();
    assert_eq!(plan.purpose, Purpose::Reweigh);
    maint(world.site.server("s1"));
    world.succeed(&plan);
    world.second(FAST_MS);
    assert_eq!(told_changes(&world), 1);
    assert_eq!(role(&mut world, "s1"), Role::Foreign);
}

#[test]
fn a_newcomer_that_somebody_took_out_before_its_plan_was_over_is_left_alone() {
    let mut world = World::new(1, 1);
    world.seconds(30, SLOW_MS);
    let plan = world.take_plan();
    let (backend, server) = (plan.backend, plan.lanes[0].server);
    world.report(Outcome::Moved { backend, server, purpose: Purpose::Add });
    world.site.server("s2").admin = flags_of_maint();
    world.report(Outcome::Finished { backend, purpose: Purpose::Add, called_off: false });
    world.second(FAST_MS);
    assert_eq!(told_changes(&world), 1);
    assert_eq!(role(&mut world, "s2"), Role::Foreign);
}

fn flags_of_maint() -> crate::core::plan::inventory::AdminFlags {
    crate::core::plan::inventory::AdminFlags(0x05)
}

#[test]
fn weights_that_could_not_be_put_back_outlast_the_plans_after_that() {
    let mut world = owing_world();
    refuse_weights(&mut world);
    world.seconds(30, SLOW_MS);
    let plan = world.take_plan();
    assert_eq!(plan.purpose, Purpose::Add);
    world.succeed(&plan);
    let memory = world.controller.memory(world.now);
    assert_eq!(memory.backends[0].weights, [("s1".to_owned(), Weight::ONE)].into());
}

#[test]
fn a_weight_is_not_put_back_where_somebody_has_set_another() {
    let mut world = owing_world();
    refuse_weights(&mut world);
    world.seconds(2, FAST_MS);
    world.site.server("s1").weight = Weight::saturating(7.0);
    world.second(FAST_MS);
    assert!(world.controller.memory(world.now).backends[0].weights.is_empty());
}

#[test]
fn a_weight_of_an_agent_check_is_no_hand_and_its_ready_ends_its_drain() {
    let mut world = idle_world();
    world.site.server("s1").agent_checked = true;
    world.second(FAST_MS);
    world.site.server("s1").weight = Weight::saturating(7.0);
    world.second(FAST_MS);
    assert_eq!((role(&mut world, "s1"), told_changes(&world)), (Role::Serving, 0));
    drain(world.site.server("s1"));
    world.second(FAST_MS);
    assert_eq!((role(&mut world, "s1"), told_changes(&world)), (Role::Foreign, 1));
    ready(world.site.server("s1"));
    world.second(FAST_MS);
    assert_eq!((role(&mut world, "s1"), told_changes(&world)), (Role::Serving, 1));
}

#[test]
fn what_a_plan_has_not_begun_somebody_else_has_done() {
    let mut world = World::new(1, 1);
    world.seconds(30, SLOW_MS);
    let plan = world.take_plan();
    drain(world.site.server("s2"));
    world.report(Outcome::Outdated { backend: plan.backend, server: Some(plan.lanes[0].server) });
    world.report(Outcome::Finished { backend: plan.backend, purpose: Purpose::Add, called_off: false });
    world.seconds(3, SLOW_MS);
    assert_eq!((told_changes(&world), role(&mut world, "s2")), (1, Role::Foreign));
    assert!(!world.has_plan(), "it stays in DRAIN");
}

#[test]
fn sessions_of_a_server_that_serves_somewhere_are_not_closed() {
    let ours = BackendMemory { name: "web".into(), ours: ["s2".to_owned()].into(), ..Default::default() };
    let mut world = World::with_memory(1, 1, &Memory { backends: vec![ours], ..Default::default() });
    world.site.settings.scale_down.shutdown_sessions = Some(5 * SECOND);
    world.controller.reconfigure(vec![world.site.settings.clone()], world.now);
    world.second(FAST_MS);
    let s2 = world.site.server("s2");
    (s2.sessions, s2.alike) = (3, false);
    world.seconds(10, FAST_MS);
    assert!(!world.has_plan());
    world.site.server("s2").alike = true;
    world.seconds(10, FAST_MS);
    assert_eq!(world.take_plan().purpose, Purpose::ShutDown);
}
