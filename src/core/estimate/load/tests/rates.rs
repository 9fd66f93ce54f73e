//! Arrivals, queues and all that is counted by the second.

use std::time::Duration;

use super::super::super::testing::answered;
use super::super::testing::{Discipline, Pool, Run, Stage, lines, servers, sorted};
use super::super::{Arrivals, LoadFigures, Serving};
use crate::core::log::sample::{Class, Sample, Timers};

fn pool(rate: f64, seconds: f64) -> Pool {
    Pool { servers: 4, discipline: Discipline::Workers(8), service: 0.08, cv: 1.0, rate, seconds, seed: 3 }
}

fn later(runs: Vec<Run>, seconds: f64) -> impl Iterator<Item = Run> {
    let shift = move |run: Run| Run { came: run.came + seconds, answered: run.answered + seconds, ..run };
    runs.into_iter().map(shift)
}

/// Each second's lines, and what is said of them.
fn play_lines(stage: &mut Stage, lines: &[Sample], seconds: u64) -> Vec<LoadFigures> {
    let mut rest = lines;
    let mut all = Vec::new();
    for _ in 0..seconds {
        let now = stage.at(stage.second as f64 + 1.0);
        let (come, later) = rest.split_at(rest.partition_point(|line| line.end <= now));
        rest = later;
        all.push(stage.tick(come, &[]));
    }
    all
}

#[track_caller]
fn assert_near(found: f64, wanted: f64, share: f64) {
    assert!((found - wanted).abs() <= share * wanted, "{found} is not {wanted}");
}

#[test]
fn requests_are_counted_when_they_come_and_not_when_they_are_answered() {
    // Two workers that get twice what they can do: half of what comes is in the queue.
    let pool = Pool { servers: 1, discipline: Discipline::Workers(2), ..pool(50.0, 60.0) };
    let figures = Stage::new().play(&pool.runs());
    assert_near(figures.arrivals.last_30, 50.0, 0.1);
    assert_near(figures.throughput.last_15, 25.0, 0.15);
    assert_near(figures.streams_grown, 4.0 * 25.0, 0.35);
}

#[test]
fn the_queue_is_seen_and_calm_streams_are_none() {
    let calm = pool(200.0, 120.0);
    let figures = Stage::new().play(&calm.runs());
    assert_eq!(figures.backlog, 0.0, "{figures:?}");
    let mut runs = calm.runs();
    // 600 a second on servers that can do 400: after 10 s there are 2000 too many.
    runs.extend(later(Pool { rate: 400.0, seconds: 10.0, seed: 4, ..calm }.runs(), 110.0));
    let mut most = 0.0_f64;
    Stage::new().play_each(&runs_of_one_queue(runs), |_, figures| most = most.max(figures.backlog));
    assert!((1200.0..2400.0).contains(&most), "{most}");
}

/// The same arrivals, with all work done anew in the order in which they came.
fn runs_of_one_queue(mut runs: Vec<Run>) -> Vec<Run> {
    runs.sort_by(|a, b| a.came.total_cmp(&b.came));
    let mut free = vec![[0.0_f64; 8]; 4];
    for run in &mut runs {
        let workers = &mut free[run.server];
        let first = (0..8).min_by(|&a, &b| workers[a].total_cmp(&workers[b])).unwrap();
        run.answered = run.came.max(workers[first]) + 0.08;
        workers[first] = run.answered;
    }
    sorted(runs)
}

#[test]
fn streams_that_never_end_are_no_queue_after_five_minutes() {
    let mut stage = Stage::new();
    let mut lines = lines(&pool(100.0, 480.0).runs(), stage.begin);
    let held_from = stage.at(60.0);
    lines.iter_mut().filter(|line| line.end > held_from).for_each(|line| line.beconn += 500);
    let all = play_lines(&mut stage, &lines, 470);
    assert!(all[370..].iter().all(|figures| figures.backlog == 0.0));
    assert_near(all[400].arrivals.last_30, 100.0, 0.15);
}

#[test]
fn a_pause_of_the_tail_changes_nothing_and_late_lines_raise_nothing() {
    let (mut read, mut paused) = (Stage::new(), Stage::new());
    paused.begin = read.begin;
    paused.estimator = read.estimator.clone();
    let lines = lines(&pool(200.0, 120.0).runs(), read.begin);
    let whole = play_lines(&mut read, &lines, 110);
    let upto =
        |second: u64| lines.partition_point(|line| line.end <= paused.begin + Duration::from_secs(second));
    let (first, all) = (upto(70), upto(90));
    let (before, late) = (lines[..first].to_vec(), lines[first..all].to_vec());
    let mut told = play_lines(&mut paused, &before, 89);
    told.push(paused.tick(&late, &[]));
    told.extend(play_lines(&mut paused, &lines[all..], 20));
    for second in 72..89 {
        assert_eq!(told[second].arrivals.last_15, told[68].arrivals.last_15, "at {second} s");
        assert_eq!(told[second].service, told[72].service, "at {second} s");
        assert_eq!(told[second].backlog, 0.0, "at {second} s");
    }
    for (second, (found, wanted)) in told.iter().zip(&whole).enumerate().skip(89) {
        let rates = |it: &Arrivals| (it.last_3, it.last_5, it.last_15, it.last_30, it.change_5.slope);
        assert_eq!(rates(&found.arrivals), rates(&wanted.arrivals), "at {second} s");
    }
    let (found, wanted) = (told[109].service.unwrap(), whole[109].service.unwrap());
    assert_near(found.time, wanted.time, 0.05);
}

#[test]
fn lines_that_were_lost_are_no_fall_and_no_jump() {
    let mut stage = Stage::new();
    let mut lines = lines(&pool(200.0, 260.0).runs(), stage.begin);
    let (lost, found) = (stage.at(100.4), stage.at(220.4));
    lines.retain(|line| line.end < lost || line.end > found);
    let all = play_lines(&mut stage, &lines, 250);
    for (second, figures) in all.iter().enumerate().skip(60) {
        let change = figures.arrivals.change_5;
        assert!(change.slope < 4.0 * change.sigma, "{change:?} at {second} s");
        if second > 222 {
            assert_near(figures.arrivals.last_15, 200.0, 0.25);
        }
    }
    assert_eq!(all[165].arrivals.last_30, 0.0, "after a minute it is no pause any more");
}

#[test]
fn slow_clients_change_neither_service_time_nor_workers() {
    // A tenth of the clients send for 0.3 s and download for 2 s, and then for ten times as long.
    let learned = |factor: i32| {
        let mut stage = Stage::new();
        let mut lines = lines(&pool(300.0, 200.0).runs(), stage.begin);
        for line in lines.iter_mut().step_by(10) {
            let tr = line.timers.get(crate::core::settings::Timer::Tr).unwrap() as i32;
            let (sends, downloads) = (300 * factor, 2000 * factor);
            line.timers = Timers::new([sends, 0, 0, tr, sends + tr + downloads]);
            line.end += Duration::from_millis(downloads as u64);
        }
        lines.sort_by_key(|line| line.end);
        play_lines(&mut stage, &lines, 200).pop().unwrap()
    };
    let (once, tenfold) = (learned(1), learned(10));
    let (a, b) = (once.service.unwrap(), tenfold.service.unwrap());
    assert_near(b.time, a.time, 0.05);
    assert_near(b.workers / b.time, a.workers / a.time, 0.08);
    assert_near(once.transfer, 0.2, 0.2);
    assert_near(tenfold.transfer, 2.0, 0.2);
}

#[test]
fn a_jump_stands_out_and_chance_does_not() {
    let mut runs = pool(150.0, 300.0).runs();
    runs.extend(later(Pool { rate: 400.0, seconds: 20.0, seed: 4, ..pool(0.0, 0.0) }.runs(), 290.0));
    let (mut calm, mut jump) = (0.0_f64, 0.0_f64);
    Stage::new().play_each(&sorted(runs), |second, figures| {
        let change = figures.arrivals.change_5;
        let height = change.slope / change.sigma;
        if second <= 290 { calm = calm.max(height) } else { jump = jump.max(height) }
    });
    assert!(calm < 4.0 && jump > 8.0, "{calm} {jump}");
}

#[test]
fn a_change_that_comes_again_and_again_is_nothing_to_stand_out() {
    // A second of 300 more in every ten.
    let mut runs = pool(100.0, 600.0).runs();
    for k in 0..60 {
        runs.extend(later(
            Pool { rate: 300.0, seconds: 1.0, seed: 100 + k, ..pool(0.0, 0.0) }.runs(),
            k as f64 * 10.0,
        ));
    }
    let mut highest = 0.0_f64;
    Stage::new().play_each(&sorted(runs), |second, figures| {
        let change = figures.arrivals.change_3;
        if second > 300 {
            highest = highest.max(change.slope / change.sigma);
        }
    });
    assert!(highest < 4.0, "{highest}");
}

#[test]
fn the_peak_is_the_last_hours_without_the_present_rise() {
    let mut runs = pool(100.0, 900.0).runs();
    runs.extend(later(Pool { rate: 150.0, seconds: 30.0, seed: 4, ..pool(0.0, 0.0) }.runs(), 300.0));
    runs.extend(later(Pool { rate: 250.0, seconds: 40.0, seed: 5, ..pool(0.0, 0.0) }.runs(), 860.0));
    let mut peaks = Vec::new();
    Stage::new().play_each(&sorted(runs), |_, figures| peaks.push(figures.arrivals.peak));
    assert_eq!(peaks[298], None);
    assert_near(peaks[600].unwrap(), 250.0, 0.15);
    assert_near(peaks[895].unwrap(), 250.0, 0.15);
}

/// Answers that had to wait in HAProxy because each server takes only `maxconn` at a time.
fn behind_maxconn(maxconn: usize, workers: usize, rate: f64, seconds: u64, stage: &Stage) -> Vec<Sample> {
    let arrivals = Pool { servers: 1, rate, seconds: seconds as f64, ..pool(0.0, 0.0) };
    let mut came: Vec<(f64, f64)> = arrivals.runs().iter().map(|run| (run.came, run.answered)).collect();
    came.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut slots, mut free) = (vec![0.0_f64; maxconn], vec![0.0_f64; workers]);
    let first = |all: &[f64]| (0..all.len()).min_by(|&a, &b| all[a].total_cmp(&all[b])).unwrap();
    let mut times = Vec::new();
    for (at, _) in came {
        let (slot, worker) = (first(&slots), first(&free));
        let start = at.max(slots[slot]);
        let end = start.max(free[worker]) + 0.08;
        (slots[slot], free[worker]) = (end, end);
        times.push((at, start, end));
    }
    let id = servers(1)[0];
    let at = |seconds: f64| stage.at(seconds);
    let mut lines: Vec<Sample> = times
        .iter()
        .map(|&(came, start, end)| {
            let streams = times.iter().filter(|it| it.0 < end && end < it.2).count();
            let on_server = times.iter().filter(|it| it.1 < end && end < it.2).count();
            let ms = |seconds: f64| (seconds * 1000.0).round() as i32;
            Sample {
                server: Some(id),
                timers: Timers::new([0, ms(start - came), 0, ms(end - start), ms(end - came)]),
                beconn: streams as u32,
                srv_conn: on_server as u32,
                ..answered(at(end), 0)
            }
        })
        .collect();
    lines.sort_by_key(|line| line.end);
    lines
}

#[test]
fn servers_behind_a_queue_of_haproxys_are_full_and_show_what_they_have() {
    let mut stage = Stage::new();
    let serving = [Serving { server: servers(1)[0], share: 1.0 }];
    // Four workers can do 50 a second; 60 come.
    let lines = behind_maxconn(6, 4, 60.0, 60, &stage);
    let mut rest = &lines[..];
    let mut figures = LoadFigures::default();
    for _ in 0..55 {
        let now = stage.at(stage.second as f64 + 1.0);
        let (come, later) = rest.split_at(rest.partition_point(|line| line.end <= now));
        rest = later;
        figures = stage.tick(come, &serving);
    }
    assert!(figures.queueing_for > Duration::from_secs(20), "{figures:?}");
    assert!(figures.queue_time > 0.5, "{figures:?}");
    // Which of the two it is stays open without a calm hour; what counts is what they can do.
    let capacity = figures.saturated_workers.unwrap() / figures.service.unwrap().time;
    assert_near(capacity, 50.0, 0.1);
}

#[test]
fn misses_are_late_answers_and_failures_but_not_what_clients_do() {
    let mut stage = Stage::new();
    let make = |second: f64, class, millis| Sample {
        class,
        timers: Timers::new(millis),
        ..answered(stage.at(second), 0)
    };
    let lines = [
        make(61.0, Class::Success, [0, 0, 0, 80, 80]),
        make(61.0, Class::Success, [0, 0, 0, 480, 480]),
        make(62.0, Class::Server, [0, 0, 0, -1, 10]),
        make(62.0, Class::Saturation, [0, 9000, -1, -1, 9000]),
        make(63.0, Class::Client, [0, 0, 0, -1, 20]),
        make(63.0, Class::Proxy, [0, -1, -1, -1, 0]),
        make(63.0, Class::Client, [0, 0, 0, -1, 2000]),
    ];
    let figures = play_lines(&mut stage, &lines, 65).pop().unwrap();
    assert_eq!(figures.misses.last_15, (4, 5));
    assert_eq!(figures.misses.minutes, [(0, 0)]);
    let figures = play_lines(&mut stage, &[], 60).pop().unwrap();
    assert_eq!((figures.misses.last_15, figures.misses.minutes), ((0, 0), vec![(0, 0), (4, 5)]));
    assert_eq!(figures.servers.len(), 0, "no request in the last minute");
}

#[test]
fn without_tr_no_service_time_is_made_up() {
    let mut stage = Stage::new();
    let mut lines = lines(&pool(200.0, 60.0).runs(), stage.begin);
    for line in &mut lines {
        let total = line.timers.get(crate::core::settings::Timer::Tr).unwrap() as i32;
        line.timers = Timers::new([-1, 0, 0, -1, total]);
    }
    let figures = play_lines(&mut stage, &lines, 60).pop().unwrap();
    assert_eq!((figures.service, figures.backlog), (None, 0.0));
    assert_near(figures.arrivals.last_30, 200.0, 0.1);
}

#[test]
fn without_beconn_arrivals_are_completions() {
    let mut stage = Stage::new();
    let mut lines = lines(&pool(200.0, 60.0).runs(), stage.begin);
    lines.iter_mut().for_each(|line| line.beconn = 0);
    let figures = play_lines(&mut stage, &lines, 60).pop().unwrap();
    assert_eq!(figures.arrivals.last_15, figures.throughput.last_15);
    assert!(figures.service.is_some());
}

#[test]
fn nothing_seen_is_nothing_said() {
    let mut stage = Stage::new();
    let figures = stage.tick(&[], &[]);
    let nothing = LoadFigures {
        lead: Duration::from_secs(5),
        watched: Duration::from_secs(1),
        arrivals: figures.arrivals,
        ..LoadFigures::default()
    };
    assert_eq!(figures, nothing);
    assert_eq!((figures.arrivals.last_3, figures.arrivals.last_30), (0.0, 0.0));
}
