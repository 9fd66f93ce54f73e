//! What is learned from logs of which the truth is known.

use std::time::Duration;

use super::super::testing::{Discipline, Pool, Run, Stage, sorted};
use super::super::{LoadFigures, Service, Serving};
use crate::demo::random::Random;

const SERVICE: f64 = 0.08;

fn workers(workers: usize, cv: f64, load: f64) -> Pool {
    // Several small servers or a large one: about as many lines.
    let servers = if workers < 8 { 5 } else { 1 };
    let rate = load * (servers * workers) as f64 / SERVICE;
    Pool {
        servers,
        discipline: Discipline::Workers(workers),
        service: SERVICE,
        cv,
        rate,
        seconds: 240.0,
        seed: 1,
    }
}

/// How far off S and c/S are, as shares, and whether there is a knee.
fn off(figures: &LoadFigures, workers: f64, service: f64) -> (f64, f64, bool) {
    let learned = figures.service.expect("four minutes are enough");
    let capacity = learned.workers / learned.time / (workers / service);
    (learned.time / service - 1.0, capacity - 1.0, learned.knee)
}

#[track_caller]
#[expect(clippy::print_stdout, reason = "a line of the table below")]
fn check(pool: Pool, true_workers: usize) {
    let (time, capacity, knee) = off(&Stage::new().play(&pool.runs()), true_workers as f64, SERVICE);
    let load = pool.rate * SERVICE / (pool.servers * true_workers) as f64;
    println!(
        "{true_workers:7} {:5.1} {load:5.2} | {:+5.1} % | {:+6.1} % | {}",
        pool.cv,
        time * 100.0,
        capacity * 100.0,
        if knee { "seen" } else { "not seen" }
    );
    // Who comes to a single worker waits for the rest of what it does first, and of times that vary
    // much that is more than one of them: S comes out too long, and c/S too small.
    let (short, long) = match (true_workers, pool.cv > 1.5) {
        (1, true) => (-0.15, 0.25),
        (1, false) => (-0.15, 0.15),
        _ => (-0.12, 0.12),
    };
    let (least, most) = match (true_workers, knee) {
        (1..=3, true) => (-0.35, 0.35),
        (_, true) => (-0.15, 0.15),
        (_, false) => (-0.45, 0.10),
    };
    assert!((short..long).contains(&time), "S is {:+.0} % off: {pool:?}", time * 100.0);
    assert!((least..most).contains(&capacity), "c/S is {:+.0} % off: {pool:?}", capacity * 100.0);
}

/// Prints the table of what is learned against what is true.
#[test]
#[expect(clippy::print_stdout, reason = "the table is quoted in the documents")]
fn service_time_and_capacity_of_workers_with_a_queue_are_learned() {
    println!("workers    CV  load |    S    |   c/S    | knee");
    for true_workers in [1, 2, 4, 8, 16, 40] {
        for cv in [0.5, 1.0, 2.0] {
            for load in [0.6, 0.8, 0.95] {
                // What is steady is told by its ends; large servers have more lines in half the time.
                let seconds = if true_workers > 8 { 120.0 } else { 240.0 };
                if load != 0.8 || cv == 1.0 {
                    check(Pool { seconds, ..workers(true_workers, cv, load) }, true_workers);
                }
            }
        }
    }
}

fn learned(pool: Pool) -> Service {
    let figures = Stage::new().play(&pool.runs());
    figures.service.expect("four minutes are enough")
}

#[test]
fn cores_that_all_requests_share_are_learned_too() {
    for (cores, load) in [(4.0, 0.6), (4.0, 0.9), (8.0, 0.7), (8.0, 0.9), (16.0, 0.8), (16.0, 0.95)] {
        let rate = load * cores / SERVICE;
        let pool = Pool { discipline: Discipline::Shared(cores), rate, servers: 1, ..workers(1, 1.0, 1.0) };
        let found = learned(pool);
        let capacity = found.workers / found.time / (cores / SERVICE) - 1.0;
        let most = if found.knee { 0.30 } else { 0.10 };
        let least = if found.knee { -0.05 } else { -0.45 };
        assert!((least..most).contains(&capacity), "{capacity:+.2} {cores} cores, load {load}: {found:?}");
    }
}

#[test]
fn where_nobody_waits_for_anybody_no_knee_is_seen() {
    for (rate, seed) in [(50.0, 1), (200.0, 2), (400.0, 3)] {
        let discipline = Discipline::Unlimited;
        let pool = Pool { discipline, rate, seed, servers: 2, ..workers(1, 1.0, 1.0) };
        let mut others = 0;
        let runs = pool.runs();
        for run in runs.iter().step_by(50) {
            let beside = runs
                .iter()
                .filter(|it| it.server == run.server && it.came < run.came && run.came < it.answered);
            others = others.max(beside.count());
        }
        let found = Stage::new().play(&runs).service.expect("four minutes are enough");
        assert!(!found.knee, "{rate} a second: {found:?}");
        assert!(found.workers <= 2.0 + others as f64, "{others} others at most, {found:?}");
        assert!((found.time / SERVICE - 1.0).abs() < 0.1, "{found:?}");
    }
}

/// Requests that take `slope` for each one beside them, themselves included.
fn proportional(slope: f64, rate: f64) -> Vec<Run> {
    let mut random = Random::new(5);
    let mut runs: Vec<Run> = Vec::new();
    let mut now = 0.0;
    while now < 240.0 {
        now += random.until_next(rate).as_secs_f64();
        let others = runs.iter().rev().take(2000).filter(|run| run.answered > now).count();
        let took = random.lognormal(Duration::from_secs_f64(slope * (others + 1) as f64), 0.5);
        runs.push(Run { server: 0, came: now, answered: now + took.as_secs_f64() });
    }
    sorted(runs)
}

#[test]
fn a_time_that_grows_with_every_request_gives_its_slope() {
    let found = Stage::new().play(&proportional(0.02, 38.0)).service.expect("four minutes are enough");
    let slope = found.time / found.workers;
    assert!((slope / 0.02 - 1.0).abs() < 0.1, "{slope} {found:?}");
}

/// Clients that come back as soon as they are answered, twice to four times as many as workers.
fn never_idle(workers: usize, cv: f64) -> Vec<Run> {
    let mut random = Random::new(6);
    let mut free = vec![0.0_f64; workers];
    let mut clients: Vec<f64> = (0..4 * workers).map(|n| n as f64 * 0.01).collect();
    let mut runs = Vec::new();
    loop {
        let client = (0..clients.len()).min_by(|&a, &b| clients[a].total_cmp(&clients[b])).unwrap();
        let came = clients[client];
        if came > 240.0 {
            return sorted(runs);
        }
        let worker = (0..workers).min_by(|&a, &b| free[a].total_cmp(&free[b])).unwrap();
        let work = random.lognormal(Duration::from_secs_f64(SERVICE), cv).as_secs_f64();
        let answered = came.max(free[worker]) + work;
        free[worker] = answered;
        runs.push(Run { server: 0, came, answered });
        // Half of them stay away in every second half minute.
        let away = client % 2 == 1 && (answered / 30.0) as u64 % 2 == 1;
        clients[client] = answered + 0.003 + if away { 30.0 - answered % 30.0 } else { 0.0 };
    }
}

#[test]
fn servers_that_are_always_full_show_what_they_can_do_if_not_with_how_many_workers() {
    for (workers, cv) in [(1, 1.0), (4, 0.5), (8, 1.0), (16, 2.0)] {
        let found = Stage::new().play(&never_idle(workers, cv)).service.expect("four minutes are enough");
        let capacity = found.workers / found.time / (workers as f64 / SERVICE) - 1.0;
        assert!(capacity.abs() < 0.10, "{capacity:+.2} {workers} workers, CV {cv}: {found:?}");
    }
}

#[test]
fn a_deploy_that_changes_the_service_time_is_noticed_within_seconds() {
    let before = Pool { seconds: 120.0, ..workers(8, 1.0, 0.5) };
    let after = Pool { service: 0.12, seed: 2, ..before };
    let mut runs = before.runs();
    runs.extend(after.runs().into_iter().map(|run| Run {
        came: run.came + 120.0,
        answered: run.answered + 120.0,
        ..run
    }));
    let mut noticed = None;
    Stage::new().play_each(&sorted(runs), |second, figures| {
        let time = figures.service.map_or(0.0, |service| service.time);
        if second > 120 && time > 0.11 && noticed.is_none() {
            noticed = Some(second - 120);
        }
    });
    assert!(noticed.is_some_and(|seconds| seconds <= 30), "after {noticed:?} s");
}

#[test]
fn answers_that_took_many_seconds_do_not_keep_it_from_learning_that_they_are_fast_again() {
    let fast = Pool { seconds: 300.0, ..workers(8, 1.0, 0.5) };
    let slow = Pool {
        discipline: Discipline::Unlimited,
        service: 10.0,
        cv: 0.3,
        rate: 20.0,
        seconds: 600.0,
        seed: 2,
        ..fast
    };
    let mut runs = slow.runs();
    runs.extend(fast.runs().into_iter().map(|run| Run {
        came: run.came + 600.0,
        answered: run.answered + 600.0,
        ..run
    }));
    let (mut slowest, mut noticed) = (0.0_f64, None);
    Stage::new().play_each(&sorted(runs), |second, figures| {
        let time = figures.service.map_or(0.0, |service| service.time);
        slowest = slowest.max(time);
        if second > 600 && time < 0.1 && noticed.is_none() {
            noticed = Some(second - 600);
        }
    });
    assert!(slowest > 5.0, "{slowest}");
    assert!(noticed.is_some_and(|seconds| seconds <= 120), "after {noticed:?} s");
}

/// Four servers of which the last one takes three times as long after a minute.
fn one_gets_slow() -> Vec<Run> {
    let before = Pool { servers: 4, rate: 200.0, seconds: 60.0, ..workers(8, 1.0, 1.0) };
    let fast = Pool { servers: 3, rate: 150.0, seconds: 60.0, seed: 2, ..before };
    let slow = Pool { servers: 1, rate: 50.0, service: 3.0 * SERVICE, seed: 3, ..fast };
    let mut runs = before.runs();
    let later = |run: Run| Run { came: run.came + 60.0, answered: run.answered + 60.0, ..run };
    runs.extend(fast.runs().into_iter().map(later));
    runs.extend(slow.runs().into_iter().map(|run| Run { server: 3, ..later(run) }));
    sorted(runs)
}

#[test]
fn a_slow_server_is_told_by_its_requests_and_spoils_nothing() {
    let figures = Stage::new().play(&one_gets_slow());
    let slowness: Vec<f64> = figures.servers.iter().filter_map(|server| server.slowness).collect();
    assert_eq!(slowness.len(), 4, "{slowness:?}");
    assert!(slowness[..3].iter().all(|it| (0.7..1.3).contains(it)), "{slowness:?}");
    assert!((2.3..4.5).contains(&slowness[3]), "{slowness:?}");
    let found = figures.service.expect("two minutes are enough");
    assert!((found.time / SERVICE - 1.0).abs() < 0.1, "{found:?}");
}

#[test]
fn a_server_that_has_just_begun_is_not_learned_from() {
    let mut stage = Stage::new();
    let ids = super::super::testing::servers(2);
    let both: Vec<Serving> = ids.iter().map(|&server| Serving { server, share: 1.0 }).collect();
    let old = Pool { servers: 1, rate: 60.0, seconds: 60.0, ..workers(8, 1.0, 1.0) };
    let cold = Pool { service: 4.0 * SERVICE, seconds: 18.0, seed: 2, ..old };
    let mut runs = old.runs();
    runs.extend(cold.runs().into_iter().map(|run| Run {
        server: 1,
        came: run.came + 40.0,
        answered: run.answered + 40.0,
    }));
    let figures =
        stage.play_serving(&sorted(runs), |second| if second < 40 { &both[..1] } else { &both[..] });
    let found = figures.service.expect("a minute is enough");
    assert!((found.time / SERVICE - 1.0).abs() < 0.12, "{found:?}");
}

#[test]
fn fast_and_slow_services_are_learned_alike() {
    for service in [0.005, 0.02, 0.3, 1.0] {
        for true_workers in [2, 8] {
            let servers = if true_workers == 2 { 5 } else { 2 };
            let rate = 0.8 * (servers * true_workers) as f64 / service;
            let pool = Pool { service, rate, servers, seconds: 120.0, ..workers(true_workers, 1.0, 0.8) };
            let figures = Stage::new().play(&pool.runs());
            let (time, capacity, _) = off(&figures, true_workers as f64, service);
            assert!(time.abs() < 0.15 && capacity.abs() < 0.15, "{time:+.2} {capacity:+.2} {pool:?}");
        }
    }
}
