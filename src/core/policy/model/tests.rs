//! The rule at work, second by second.

use std::time::Duration;

use super::testing::{World, steady};
use super::*;
use crate::core::estimate::load::{Change, Misses, ServerLoad};
use crate::core::policy::pool::Stage;

/// What the last of `seconds` evaluations under `load` says.
#[track_caller]
fn check(world: &mut World, seconds: u32, load: LoadFigures, expected: &str) {
    world.load = load;
    let found = world.ticks(seconds).to_string();
    assert_eq!(found, expected, "moves: {:?}", world.moves);
}

fn latest(world: &World) -> &Evaluation {
    world.model.latest().expect("it has been asked")
}

fn moves(world: &World) -> Vec<(u64, &str)> {
    world.moves.iter().map(|(at, what)| (*at, what.as_str())).collect()
}

/// What keeps a world that should have fewer servers from it.
fn limits(world: &World) -> Vec<&'static str> {
    latest(world).limits.iter().map(Limit::key).collect()
}

#[test]
fn as_many_servers_as_the_load_needs_are_ordered_at_once_and_once() {
    let mut world = World::new(5, 16);
    let expected = "scale up by 5: 742 req/s x 80 ms = 59.4 busy workers; a server carries 6.4 of its 8.0";
    check(&mut world, 1, steady(742.0), expected);
    world.start_delay = Duration::from_secs(300);
    world.ticks(200);
    assert_eq!(world.moves.len(), 1, "orders count, however long starting takes: {:?}", world.moves);
}

#[test]
fn a_backlog_is_said_and_worked_off() {
    let load = LoadFigures { backlog: 310.0, ..steady(742.0) };
    let expected = "scale up by 5: 742 req/s x 80 ms = 59.4 busy workers, 310 waiting need 2.5 more; \
                    a server carries 6.4 of its 8.0";
    check(&mut World::new(5, 16), 1, load, expected);
}

#[test]
fn a_rise_is_met_before_it_is_there() {
    let mut load = steady(150.0);
    load.arrivals.change_5 = Change { slope: 61.0, sigma: 4.0 };
    let expected = "scale up by 3: arrivals rise by 61 req/s each second; in 8 s they need 5 servers";
    check(&mut World::new(2, 16), 1, load.clone(), expected);
    let mut world = World::new(2, 16);
    world.settings.model.forecast = false;
    world.load = load;
    assert!(matches!(world.tick(), Decision::Hold(_)));
    let mut slow = steady(150.0);
    slow.arrivals.change_30 = Change { slope: 2.0, sigma: 0.3 };
    let expected = "scale up by 1: arrivals rise by 2.0 req/s each second; in 8 s they need 3 servers";
    check(&mut World::new(2, 16), 1, slow, expected);
}

#[test]
fn fewer_servers_go_in_halves_once_they_have_not_been_needed_for_long_enough() {
    let mut world = World::new(9, 16);
    world.load = steady(320.0);
    world.ticks(90);
    let expected = "hold: 320 req/s x 80 ms = 26 busy workers, 36 % of 72; more above 724 req/s, \
                    fewer after 1 s below 593";
    assert_eq!(
        world.model.clone().decide(world.now, &world.load, &world.pool, &world.settings).to_string(),
        expected
    );
    let expected = "scale down by 2: for 1 min 30 s at most 5 were needed (highest 320 req/s = 26 busy workers); \
                    no new requests for 20 s first";
    let load = world.load.clone();
    check(&mut world, 1, load, expected);
    world.ticks(600);
    assert_eq!(
        moves(&world),
        [(91, "9 -2"), (116, "7 -1"), (141, "6 -1")],
        "5 are needed with something to spare"
    );
}

#[test]
fn what_is_on_trial_comes_back_at_once_and_makes_for_patience() {
    let mut world = World::new(8, 16);
    world.load = steady(200.0);
    world.ticks(95);
    assert_eq!(moves(&world), [(91, "8 -3")]);
    assert_eq!(latest(&world).condition, Condition::Trial);
    assert_eq!(
        world.tick().to_string(),
        "hold: 3 servers without new requests until it is clear that fewer will do"
    );
    world.load = steady(600.0);
    world.tick();
    assert_eq!(
        (world.pool.count(Stage::Serving), world.pool.count(Stage::Starting)),
        (8, 0),
        "those on trial first"
    );
    world.tick();
    assert_eq!(latest(&world).hold, Duration::from_secs(180), "it was a mistake");
    world.load = steady(200.0);
    world.ticks(170);
    assert_eq!(moves(&world).len(), 2);
    assert_eq!(limits(&world), ["hold"]);
    world.ticks(20);
    assert_eq!(moves(&world).last(), Some(&(279, "8 -3")), "{:?}", world.moves);
}

#[test]
fn nothing_goes_while_anything_speaks_against_it() {
    #[track_caller]
    fn check(change: impl Fn(&mut World), expected: &[&str]) {
        let mut world = World::new(9, 16);
        world.load = steady(100.0);
        change(&mut world);
        world.ticks(100);
        assert_eq!(limits(&world), expected);
        assert!(moves(&world).is_empty(), "{:?}", world.moves);
    }
    check(|world| world.load.backlog = 3.0, &["backlog"]);
    check(|world| world.pool.servers[9].stage = Stage::Starting, &["starting"]);
    check(
        |world| world.pool.servers.iter_mut().for_each(|member| member.removable = false),
        &["nothing_to_remove"],
    );
    check(|world| world.settings.model.moves_per_hour = 0, &["moves_per_hour"]);
    check(|world| world.settings.model.hold = Some(Duration::from_secs(101)), &["hold"]);
    let failing = |world: &mut World| {
        let server = |member: &super::super::pool::Member| ServerLoad {
            server: member.server,
            recent: Some(0.08),
            slowness: Some(1.0),
            failed: (6, 60),
            streams: 1,
        };
        world.load.servers = world.pool.at(Stage::Serving).map(server).collect();
    };
    check(failing, &["failures"]);
}

#[test]
fn the_fewest_and_the_most_hold_whatever_the_load() {
    let mut world = World::new(1, 16);
    world.settings.ready = crate::core::settings::ReadyLimits { min: 3, max: Some(5) };
    let learning = LoadFigures { service: None, ..steady(0.0) };
    check(&mut world, 1, learning, "scale up by 2: 1 server serving, 3 is the fewest allowed");
    check(&mut world, 8, steady(5000.0), "hold: too much load, but 5 servers serve, the most allowed");
    assert_eq!((latest(&world).condition, limits(&world)), (Condition::Full, vec!["max"]));
    world.settings.ready.max = Some(4);
    world.load = steady(5000.0);
    assert_eq!(world.tick().to_string(), "scale down by 1: 5 servers serving, 4 is the most allowed");
    let mut world = World::new(2, 2);
    check(&mut world, 1, steady(5000.0), "hold: more servers are needed, but none is left to add");
    assert_eq!(limits(&world), ["no_spare"]);
}

#[test]
fn before_anything_is_learned_only_servers_at_their_limit_are_helped() {
    let mut load = LoadFigures { service: None, watched: Duration::from_secs(12), ..steady(380.0) };
    let mut world = World::new(2, 16);
    let expected = "hold: watched for 12 s, too little to know what a request costs";
    check(&mut world, 10, load.clone(), expected);
    assert!(world.model.is_learning());
    load.throughput.last_4 = 200.0;
    (load.throughput.first_half, load.throughput.second_half) = (200.0, 200.0);
    (load.streams, load.streams_grown) = (720, 700.0);
    let expected = "scale up by 3: 380 req/s come, 2 servers cannot answer more than 200; it takes 5";
    check(&mut world, 1, load, expected);
    check(&mut world, 1, steady(380.0), "hold: a move is being carried out");
    assert!(!world.model.is_learning());
}

#[test]
fn in_the_first_minute_servers_that_are_in_time_are_not_taken_for_full() {
    #[track_caller]
    fn check(change: impl Fn(&mut LoadFigures), holds: bool) {
        let mut world = World::new(2, 16);
        let service = Service { time: 0.08, workers: 1.0, knee: false, cv: 1.0 };
        let watched = Duration::from_secs(4);
        world.load = LoadFigures { service: Some(service), watched, ..steady(60.0) };
        change(&mut world.load);
        let decision = world.tick();
        assert_eq!(matches!(decision, Decision::Hold(Reason::Unproven { .. })), holds, "{decision}");
        assert_eq!(limits(&world).contains(&"unproven"), holds);
        assert_eq!(matches!(decision, Decision::ScaleUp { .. }), !holds, "{decision}");
    }
    check(|_| {}, true);
    check(|load| load.arrivals.change_3 = Change { slope: 20.0, sigma: 1.0 }, true);
    check(|load| load.watched = Duration::from_secs(60), false);
    check(|load| load.misses.last_15 = (40, 240), false);
    check(|load| load.backlog = 20.0, false);
    check(|load| load.service = load.service.map(|service| Service { knee: true, ..service }), false);
}

#[test]
fn a_pool_that_was_too_small_has_learned_nothing_from_it() {
    let mut world = World::new(8, 8);
    let (good, late) = ((100, 12_000), (20_000, 60_000));
    // The minutes that are told are those in which it was too small.
    for minute in 0..=20 {
        let lasted = minute.min(15);
        let minutes = [vec![good; 15 - lasted], vec![late; lasted]].concat();
        world.load = LoadFigures { misses: Misses { last_15: (5000, 15_000), minutes }, ..steady(1000.0) };
        world.ticks(60);
    }
    assert_eq!(latest(&world).condition, Condition::Full);
    let minutes = [vec![late; 11], vec![good; 4]].concat();
    world.load = LoadFigures { misses: Misses { last_15: (3, 3000), minutes }, ..steady(200.0) };
    world.ticks(240);
    let carried = latest(&world).carried.expect("it is known");
    assert_eq!((carried.gamma, carried.room), (1.0, 1.0));
    assert_eq!(world.pool.count(Stage::Serving), 3);
}

#[test]
fn without_lines_nothing_moves_but_for_what_haproxy_counts() {
    let mut world = World::new(4, 16);
    world.load = steady(100.0);
    world.ticks(85);
    let silent = LoadFigures { silent_for: Some(Duration::from_secs(12)), streams: 34, ..steady(0.0) };
    let expected = "hold: no log line for 12 s, 34 requests were running: nothing is taken away";
    check(&mut world, 30, silent.clone(), expected);
    assert_eq!((latest(&world).condition, world.model.is_learning()), (Condition::Blind, false));
    (world.pool.unseen, world.pool.queued) = (90, 7);
    let expected = "hold: no log line comes, though HAProxy counts 90 requests since the last";
    check(&mut world, 10, silent.clone(), expected);
    let expected = "scale up by 1: the log does not tell, and HAProxy has had a queue for 10 s, now 7 long";
    check(&mut world, 1, silent, expected);
}

#[test]
fn streams_that_stay_for_ever_are_no_silence() {
    let mut world = World::new(4, 16);
    let quiet = LoadFigures { silent_for: Some(Duration::from_secs(61)), streams: 34, ..steady(0.0) };
    world.load = quiet;
    world.ticks(200);
    assert!(world.pool.count(Stage::Serving) < 4, "long polls at night: {:?}", world.moves);
}

#[test]
fn a_backend_that_is_late_without_being_full_gets_no_servers_for_it() {
    let mut world = World::new(4, 16);
    let mut load = steady(200.0);
    load.calm.floor = 0.22;
    load.misses = Misses { last_15: (660, 3000), minutes: vec![(2640, 12_000); 15] };
    let expected = "hold: late without being full: requests that found a free worker miss 400 ms in 22 % of cases; \
                    more servers will not help";
    check(&mut world, 80, load, expected);
    assert_eq!(latest(&world).condition, Condition::NotLoad);
    assert_eq!(latest(&world).carried.map(|carried| (carried.gamma, carried.room)), Some((1.0, 1.0)));
}

#[test]
fn servers_that_did_not_help_are_the_last_that_are_added() {
    let mut world = World::new(4, 30);
    // A database takes longer the more servers ask it: 300 requests a second and no more.
    for second in 0..200 {
        let serving = f64::from(world.pool.count(Stage::Serving));
        let mut load = steady(300.0);
        if second > 30 {
            load.service.as_mut().expect("it is known").time = 0.04 * serving;
            load.misses.last_15 = (2000, 4500);
            (load.throughput.last_4, load.throughput.last_15) = (250.0, 250.0);
        }
        world.load = load;
        world.tick();
    }
    let last = world.tick();
    let sentence = last.to_string();
    assert!(sentence.contains("what holds them up is behind the servers"), "{sentence}");
    assert!(last.reason().limited());
    assert_eq!(world.pool.count(Stage::Serving), 8, "{:?}", world.moves);
    assert_eq!((latest(&world).condition, limits(&world)), (Condition::NotLoad, vec!["no_effect"]));
    assert!(latest(&world).may_add_in > Duration::ZERO);
}

#[test]
fn a_slow_server_gets_less_weight_and_the_others_help() {
    let mut world = World::new(5, 16);
    world.load = steady(380.0);
    let servers = world.pool.at(Stage::Serving).map(|member| ServerLoad {
        server: member.server,
        recent: Some(0.08),
        slowness: Some(1.0),
        failed: (0, 500),
        streams: 6,
    });
    world.load.servers = servers.collect();
    world.load.servers[0].slowness = Some(3.0);
    let found: Vec<String> = (0..12)
        .map(|_| world.tick())
        .filter(|it| !matches!(it, Decision::Hold(_)))
        .map(|it| it.to_string())
        .collect();
    let expected = [
        "reweigh: 33 % of its weight: it takes 3.0 x as long as its peers with as many requests on it",
        "scale up by 1: 380 req/s x 80 ms = 30.4 busy workers; a server carries 6.4 of its 8.0; slow ones carry 0.7 less",
    ];
    assert_eq!(found, expected);
}

#[test]
fn beyond_the_moves_of_an_hour_servers_are_only_added() {
    let mut world = World::new(8, 16);
    world.settings.model.moves_per_hour = 5;
    for second in 0..3000_u32 {
        world.load = steady(if second / 200 % 2 == 0 { 100.0 } else { 400.0 });
        world.tick();
    }
    let away = |from: u64, until: u64| -> u32 {
        let within =
            moves(&world).into_iter().filter(|(at, what)| (from..until).contains(at) && what.contains('-'));
        within.filter_map(|(_, what)| what.split('-').nth(1)?.parse::<u32>().ok()).sum()
    };
    assert!(away(0, 3000) <= 8, "{:?}", world.moves);
    let expected = "hold: fewer servers would do, but 5 moves an hour are allowed; ";
    world.load = steady(100.0);
    let found = world.ticks(300).to_string();
    assert!(found.starts_with(expected), "{found}");
}

#[test]
fn workers_can_be_told() {
    let mut world = World::new(5, 16);
    world.settings.model.workers = Some(2.0);
    world.load = steady(100.0);
    world.tick();
    let carried = latest(&world).carried.expect("it is known");
    assert_eq!((carried.workers, carried.knee), (2.0, true));
}

#[test]
fn an_evaluation_says_all_there_is_to_explain() {
    let mut world = World::new(6, 12);
    world.load = steady(412.0);
    world.ticks(100);
    let evaluation = latest(&world);
    let carried = evaluation.carried.expect("it is known");
    assert_eq!((evaluation.condition, evaluation.want, evaluation.want_in), (Condition::Steady, 6, Some(6)));
    assert_eq!((evaluation.serving, evaluation.starting, evaluation.parked), (6, 0, 0));
    assert_eq!((carried.utilization, carried.carries, carried.limit), (0.8, 6.4, None));
    assert!((evaluation.need_slow - 5.15).abs() < 1e-9 && (evaluation.need_in - 5.567).abs() < 1e-3);
    assert_eq!((evaluation.hold, evaluation.may_add_in), (Duration::from_secs(90), Duration::ZERO));
    assert!(evaluation.limits.is_empty(), "neither more nor fewer are wanted");
}
