//! Servers in service whose checks call them DOWN.

use super::*;
use crate::core::plan::inventory::OperationalState;
use crate::core::policy::replacement::Vacancy;
use crate::core::settings::{Policy, ReadyLimits};

impl World {
    /// Of these settings.
    fn set(&mut self, change: impl FnOnce(&mut BackendSettings)) {
        change(&mut self.site.settings);
        self.controller.reconfigure(vec![self.site.settings.clone()], self.now);
    }

    fn down(&mut self, name: &str) {
        let server = self.site.server(name);
        (server.operational, server.check_passed) = (OperationalState::Stopped, false);
        server.check_failed = true;
    }

    fn up(&mut self, name: &str) {
        let server = self.site.server(name);
        (server.operational, server.check_passed) = (OperationalState::Running, true);
        server.check_failed = false;
    }

    /// What was told of servers that are not replaced.
    fn told_unreplaced(&self) -> Vec<String> {
        let told = self.done.iter().filter_map(|action| match action {
            Action::Record(record) => match &record.event {
                Event::NotReplaced(unreplaced) => Some(unreplaced.to_string()),
                _ => None,
            },
            _ => None,
        });
        told.collect()
    }

    /// What is shown of it: who stands in for it, or why nobody does.
    fn place_of(&mut self, name: &str) -> (Option<String>, Option<Vacancy>) {
        let (id, now) = (self.site.id(name), self.now);
        let view = self.controller.view(self.site.backend.id, now).expect("it is configured");
        let server = view.servers.into_iter().find(|server| server.state.id == id).expect("it is there");
        let names = &self.site.names;
        (server.stand_in.map(|stand_in| names.of_server(stand_in).to_string()), server.vacancy)
    }

    /// The servers that the next plan starts.
    #[track_caller]
    fn started(&mut self) -> Vec<String> {
        let plan = self.take_plan();
        assert_eq!(plan.purpose, Purpose::Add);
        let names =
            plan.lanes.iter().map(|lane| self.site.names.of_server(lane.server).to_string()).collect();
        self.succeed(&plan);
        names
    }

    /// For so long each plan is carried out at once; the names of the servers that were moved.
    fn moved_within(&mut self, seconds: usize) -> Vec<String> {
        let mut moved = Vec::new();
        for _ in 0..seconds {
            self.second(FAST_MS);
            while self.has_plan() {
                let plan = self.take_plan();
                moved
                    .extend(plan.lanes.iter().map(|lane| self.site.names.of_server(lane.server).to_string()));
                self.succeed(&plan);
            }
        }
        moved
    }
}

/// `serving` of which each is UP by a check, and `spares`; fast enough to be left alone by the policy.
fn world(serving: usize, spares: usize) -> World {
    let mut world = World::new(serving, spares);
    world.site.backend.servers.iter_mut().for_each(|server| server.checked = true);
    for n in 1..=serving {
        world.up(&format!("s{n}"));
    }
    world.set(|settings| settings.scale_down.stabilization_window = Duration::from_secs(3600));
    world.seconds(15, FAST_MS);
    world
}

#[test]
fn a_server_that_is_down_for_more_than_a_flap_is_replaced_by_a_spare_and_begins_no_cooldown() {
    for policy in [Policy::Threshold, Policy::Model] {
        let mut world = world(3, 2);
        world.set(|settings| settings.policy = policy);
        world.seconds(15, FAST_MS);
        world.down("s1");
        world.second(FAST_MS);
        assert!(!world.has_plan(), "{policy:?}: once is a flap");
        world.seconds(1, FAST_MS);
        assert_eq!(world.started(), ["s4"], "{policy:?}");
        assert_eq!(world.rules().last(), Some(&"down"));
        let view = world.controller.view(world.site.backend.id, world.now).expect("it is configured");
        assert_eq!(view.cooldown, Duration::ZERO);
        assert_eq!(world.moved_within(30), [] as [&str; 0], "{policy:?}: once");
    }
}

#[test]
fn it_is_replaced_within_a_cooldown_too() {
    let mut world = world(2, 3);
    world.seconds(40, SLOW_MS);
    assert_eq!(world.started(), ["s3"]);
    world.up("s3");
    world.second(FAST_MS);
    world.down("s1");
    world.seconds(3, FAST_MS);
    assert_eq!(world.started(), ["s4"]);
}

#[test]
fn not_beyond_the_most_that_may_serve_nor_against_an_operator() {
    let mut full = world(3, 2);
    full.set(|settings| settings.ready = ReadyLimits { min: 1, max: Some(3) });
    full.down("s1");
    full.seconds(3, FAST_MS);
    assert_eq!(full.started(), ["s4"], "three may be healthy");
    full.up("s4");
    full.set(|settings| settings.ready.max = Some(2));
    full.down("s2");
    assert_eq!(full.moved_within(30), [] as [&str; 0], "two are");
    let mut paused = world(3, 2);
    paused.order(Order::Pause, None);
    paused.down("s1");
    assert_eq!(paused.moved_within(30), [] as [&str; 0]);
}

#[test]
fn where_everything_is_down_each_place_is_filled_once() {
    let mut world = world(3, 9);
    for name in ["s1", "s2", "s3"] {
        world.down(name);
    }
    let moved = world.moved_within(120);
    assert_eq!(moved, ["s4", "s5", "s6"]);
}

#[test]
fn where_the_stand_in_is_down_as_well_nobody_is_replaced() {
    let mut world = world(5, 9);
    world.down("s1");
    assert_eq!(world.moved_within(5), ["s6"]);
    world.up("s6");
    world.seconds(2, FAST_MS);
    world.down("s6");
    world.down("s2");
    assert_eq!(world.moved_within(60), [] as [&str; 0]);
    world.up("s6");
    assert_eq!(world.moved_within(5), ["s7"], "s6 stands in for s1 again, and s2 is DOWN");
}

#[test]
fn a_stand_in_that_does_not_start_is_replaced_by_the_next_but_not_for_ever() {
    let mut world = world(2, 9);
    world.down("s1");
    let mut tried = 0;
    for _ in 0..50 {
        world.second(FAST_MS);
        if world.has_plan() {
            let plan = world.take_plan();
            world.fail(&plan);
            tried += plan.lanes.len();
        }
    }
    assert_eq!(tried, 2, "as many as served");
}

#[test]
fn a_server_that_goes_down_and_up_each_minute_causes_few_moves() {
    let mut world = world(3, 4);
    world.set(|settings| settings.ready.max = Some(3));
    let mut moved = 0;
    for _ in 0..60 {
        world.down("s1");
        moved += world.moved_within(30).len();
        for n in 1..=7 {
            if world.site.server(&format!("s{n}")).state() == AdminState::Ready {
                world.up(&format!("s{n}"));
            }
        }
        moved += world.moved_within(30).len();
    }
    assert!((2..=12).contains(&moved), "{moved} moves in an hour");
}

#[test]
fn one_down_after_the_other_is_stood_in_for_by_the_same_spare() {
    let mut world = world(3, 3);
    let mut moved = Vec::new();
    for name in ["s1", "s2", "s3"] {
        world.down(name);
        moved.extend(world.moved_within(10));
        world.up(name);
        world.up("s4");
        moved.extend(world.moved_within(10));
    }
    assert_eq!(moved, ["s4"]);
}

#[test]
fn what_the_load_has_asked_for_meanwhile_is_a_stand_in_too() {
    let mut world = world(3, 3);
    world.set(|settings| settings.ready.min = 3);
    world.down("s1");
    assert_eq!(world.moved_within(30), ["s4"], "the fewest that are allowed have asked for it");
    assert!(!world.rules().contains(&"down"));
}

/// Three in service, of which s1 is DOWN when the agent starts, and two spares.
fn found_down(memory: &Memory) -> World {
    let mut world = World::with_memory(3, 2, memory);
    world.site.backend.servers.iter_mut().for_each(|server| server.checked = true);
    world.set(|settings| settings.scale_down.stabilization_window = Duration::from_secs(3600));
    world.up("s2");
    world.up("s3");
    world.down("s1");
    world
}

/// Within the time in which the first checks after a start may not be over.
const EARLY: usize = 30;

#[test]
fn a_server_that_was_never_seen_up_is_replaced_when_it_has_been_down_for_longer_than_a_start_takes() {
    let mut world = found_down(&Memory::default());
    assert_eq!(world.moved_within(EARLY), [] as [&str; 0]);
    let (_, vacancy) = world.place_of("s1");
    assert!(matches!(vacancy, Some(Vacancy::Early { .. })), "{vacancy:?}");
    assert_eq!(world.told_unreplaced(), [] as [&str; 0], "it is no news yet");
    assert_eq!(world.moved_within(2), ["s4"]);
    world.up("s4");
    assert_eq!(world.moved_within(600), [] as [&str; 0], "once");
}

#[test]
fn a_haproxy_that_has_just_started_does_not_start_every_spare() {
    let mut world = World::new(3, 9);
    world.site.backend.servers.iter_mut().for_each(|server| server.checked = true);
    world.set(|settings| settings.scale_down.stabilization_window = Duration::from_secs(24 * 3600));
    world.down("s1");
    world.down("s2");
    assert_eq!(world.moved_within(EARLY), [] as [&str; 0]);
    let mut tried = 0;
    for _ in 0..1200 {
        world.second(FAST_MS);
        if world.has_plan() {
            let plan = world.take_plan();
            world.fail(&plan);
            tried += plan.lanes.len();
        }
    }
    assert_eq!(tried, 3, "as many as were in service; nothing has come of any");
    world.moved_within(3600);
    let stand_ins = ["s1", "s2"].map(|name| world.place_of(name).0.is_some());
    assert_eq!(stand_ins, [true, true], "an hour later it may be better");
}

#[test]
fn a_server_that_is_down_until_its_first_check_is_nobodys_loss() {
    let mut world = found_down(&Memory::default());
    world.site.server("s1").check_failed = false;
    assert_eq!(world.moved_within(600), [] as [&str; 0]);
    world.down("s1");
    assert_eq!(world.moved_within(EARLY), [] as [&str; 0]);
    assert_eq!(world.moved_within(3), ["s4"]);
}

#[test]
fn a_slot_without_an_address_is_nobodys_loss() {
    let mut world = found_down(&Memory::default());
    world.site.server("s1").port = 1;
    assert_eq!(world.moved_within(60), [] as [&str; 0]);
    assert_eq!(world.place_of("s1"), (None, None));
}

#[test]
fn who_stands_in_for_a_server_does_so_over_a_reload_and_over_a_restart_of_the_agent() {
    let mut world = world(3, 2);
    world.down("s1");
    assert_eq!(world.moved_within(5), ["s4"]);
    world.up("s4");
    world.seconds(2, FAST_MS);
    // HAProxy is reloaded: each server is UP until a check says otherwise, and the spare is one again.
    world.pid += 1;
    ready(world.site.server("s1"));
    world.site.server("s1").check_passed = false;
    declared_disabled(world.site.server("s4"));
    assert_eq!(world.moved_within(2), ["s4"], "it is brought back");
    world.down("s1");
    world.up("s4");
    assert_eq!(world.moved_within(60), [] as [&str; 0]);
    assert_eq!(world.place_of("s1"), (Some("s4".to_owned()), None));
    let memory = world.controller.memory(world.now);
    let mut next = found_down(&memory);
    ready(next.site.server("s4"));
    next.up("s4");
    assert_eq!(next.moved_within(60), [] as [&str; 0]);
    assert_eq!(next.place_of("s1"), (Some("s4".to_owned()), None));
    next.down("s2");
    assert_eq!(next.moved_within(5), ["s5"]);
}

#[test]
fn a_stand_in_that_is_gone_for_longer_than_a_start_takes_stands_in_for_nobody() {
    let mut world = world(3, 2);
    world.down("s1");
    assert_eq!(world.moved_within(5), ["s4"]);
    world.up("s4");
    let memory = world.controller.memory(world.now);
    // While no agent runs, HAProxy is restarted, or somebody puts s4 into MAINT.
    for (pid, expected) in [(2, "s4"), (1, "s5")] {
        let mut next = found_down(&memory);
        next.pid = pid;
        assert_eq!(next.moved_within(EARLY), [] as [&str; 0]);
        assert_eq!(next.moved_within(3), [expected]);
    }
}

#[test]
fn where_a_stand_in_is_taken_away_fewer_servers_are_enough() {
    let mut world = world(3, 2);
    world.down("s1");
    assert_eq!(world.moved_within(5), ["s4"]);
    world.up("s4");
    world.order(Order::Pin(2), None);
    let moved = world.moved_within(600);
    assert_eq!(moved, ["s4"]);
    world.resume();
    assert_eq!(world.moved_within(60), [] as [&str; 0]);
    assert_eq!(world.place_of("s1"), (None, Some(Vacancy::NotNeeded)));
    let memory = world.controller.memory(world.now);
    assert_eq!(found_down(&memory).moved_within(60), [] as [&str; 0], "the next agent knows");
}

#[test]
fn servers_that_are_on_their_way_out_come_back_first() {
    let mut world = world(3, 1);
    world.set(|settings| settings.scale_down.stabilization_window = Duration::ZERO);
    world.second(FAST_MS);
    let plan = world.take_plan();
    assert_eq!(plan.purpose, Purpose::Remove);
    drain(world.site.server("s3"));
    world.down("s1");
    world.seconds(3, FAST_MS);
    let back = Changes { taken_back: [world.site.id("s3")].into(), ..Changes::default() };
    assert!(world.done.contains(&Action::Change(world.site.backend.id, back)), "{:#?}", world.rules());
}

#[test]
fn who_stands_in_for_a_server_is_shown_until_it_is_up() {
    let mut world = world(3, 2);
    world.down("s1");
    world.second(FAST_MS);
    assert_eq!(world.place_of("s1"), (None, None), "once is a flap");
    assert_eq!(world.moved_within(2), ["s4"]);
    assert_eq!(world.place_of("s1"), (Some("s4".to_owned()), None));
    world.up("s1");
    world.up("s4");
    world.second(FAST_MS);
    assert_eq!(world.place_of("s1"), (None, None));
    world.down("s2");
    world.seconds(2, FAST_MS);
    assert_eq!(world.place_of("s2"), (Some("s4".to_owned()), None));
    assert_eq!(world.told_unreplaced(), [] as [&str; 0]);
}

/// What is shown of s1, and all that was told, once it has been DOWN in this world.
#[track_caller]
fn check_vacancy(vacancy: Vacancy, told: &[&str], mut world: World) {
    world.down("s1");
    world.moved_within(5);
    assert_eq!(world.place_of("s1"), (None, Some(vacancy)));
    assert_eq!(world.told_unreplaced(), told, "{vacancy:?}: once");
}

#[test]
fn why_a_server_that_is_down_is_not_replaced_is_shown_and_told_once() {
    let down = "s1 is DOWN and not replaced:";
    let why = |why: &str| format!("{down} {why}");
    check_vacancy(Vacancy::NoSpare, &[&why("no spare can be started")], world(2, 0));
    let mut full = world(3, 2);
    full.set(|settings| settings.ready = ReadyLimits { min: 1, max: Some(2) });
    check_vacancy(Vacancy::Full { max: 2 }, &[&why("2 serve, which is `ready.max`")], full);
    let mut paused = world(3, 2);
    paused.order(Order::Pause, None);
    check_vacancy(Vacancy::Paused, &[&why("the backend is paused")], paused);
    let mut pinned = world(3, 0);
    pinned.order(Order::Pin(3), None);
    let pin = why("under a pin only the number of serving servers counts");
    check_vacancy(Vacancy::Pinned, &[&pin], pinned);
}

#[test]
fn a_reason_that_changes_is_told_again_and_one_of_several_servers_once_for_all() {
    let mut world = world(4, 0);
    world.down("s1");
    world.down("s3");
    world.seconds(5, FAST_MS);
    world.order(Order::Pause, None);
    world.seconds(5, FAST_MS);
    let both = "s1 and s3 are DOWN and not replaced:";
    let told = [format!("{both} no spare can be started"), format!("{both} the backend is paused")];
    assert_eq!(world.told_unreplaced(), told);
}

#[test]
fn a_server_that_came_back_a_moment_ago_is_told_to_be_replaced_later() {
    let mut world = world(3, 2);
    world.set(|settings| settings.ready.max = Some(3));
    world.down("s1");
    world.moved_within(5);
    world.up("s1");
    world.up("s4");
    world.moved_within(20);
    world.down("s1");
    world.moved_within(5);
    let (_, vacancy) = world.place_of("s1");
    assert!(matches!(vacancy, Some(Vacancy::Again { left }) if left.as_secs() > 200), "{vacancy:?}");
}

#[test]
fn where_all_are_down_it_is_told_that_enough_spares_were_tried() {
    let mut world = world(2, 5);
    world.down("s1");
    world.down("s2");
    for _ in 0..20 {
        world.second(FAST_MS);
        if world.has_plan() {
            let plan = world.take_plan();
            world.fail(&plan);
        }
    }
    let told = world.told_unreplaced();
    assert!(
        told.iter().any(|told| told.contains("spares were tried already, for 2 that served")),
        "{told:?}"
    );
}
