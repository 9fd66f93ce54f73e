//! What no log may do: figures that are no numbers, an order that matters, memory without end.

use std::time::Duration;

use proptest::prelude::*;

use super::super::super::testing::{answered, start};
use super::super::testing::{Discipline, Pool, Stage, lines, servers};
use super::super::{LoadFigures, Serving};
use crate::core::log::sample::{Class, Sample, Timers};

fn wild_sample() -> impl Strategy<Value = (i64, Sample)> {
    let timer = prop_oneof![-1..3i32, 0..500i32, 0..100_000i32, Just(i32::MAX)];
    let class = prop_oneof![
        4 => Just(Class::Success),
        1 => Just(Class::Server),
        1 => Just(Class::Saturation),
        1 => Just(Class::Client),
        1 => Just(Class::Proxy),
    ];
    let age_ms = prop_oneof![8 => 0..1000i64, 1 => -100_000..100_000i64, 1 => 0..10_000_000i64];
    let streams = prop_oneof![0..40u32, any::<u32>()];
    let timers = proptest::array::uniform5(timer);
    (age_ms, timers, class, any::<bool>(), 0..5usize, streams.clone(), streams).prop_map(
        |(age_ms, timers, class, timed_out, server, beconn, srv_conn)| {
            let ids = servers(4);
            let sample = Sample {
                server: ids.get(server).copied(),
                timers: Timers::new(timers),
                class,
                timed_out,
                beconn,
                srv_conn,
                ..answered(start(), 0)
            };
            (age_ms, sample)
        },
    )
}

#[track_caller]
fn assert_finite(figures: &LoadFigures) {
    let LoadFigures { service, arrivals, throughput, calm, .. } = figures;
    let mut all = vec![
        figures.backlog,
        figures.streams_grown,
        figures.transfer,
        figures.queue_time,
        figures.saturated_workers.unwrap_or(0.0),
        arrivals.last_3,
        arrivals.last_30,
        arrivals.peak.unwrap_or(0.0),
        throughput.last_4,
        throughput.last_15,
        calm.floor,
    ];
    for change in [arrivals.change_3, arrivals.change_5, arrivals.change_30] {
        all.extend([change.slope.abs(), change.sigma]);
    }
    if let Some(service) = service {
        assert!(service.time > 0.0 && service.workers > 0.0 && service.cv <= 3.0, "{service:?}");
        all.extend([service.time, service.workers, service.cv]);
    }
    for server in &figures.servers {
        all.extend([server.recent.unwrap_or(0.0), server.slowness.unwrap_or(0.0)]);
    }
    all.extend(calm.latencies.iter().flat_map(|&(latency, share)| [latency, share]));
    all[1] = all[1].abs();
    assert!(all.iter().all(|figure| figure.is_finite() && *figure >= 0.0), "{figures:?}");
    let shares: f64 = calm.latencies.iter().map(|it| it.1).sum();
    assert!(calm.latencies.is_empty() || (shares - 1.0).abs() < 1e-6, "{shares}");
    assert!(calm.latencies.len() <= 64 && figures.misses.minutes.len() <= 15);
}

/// What a backend of ten servers costs after a minute of `rate` requests a second.
fn bytes_at(rate: f64) -> usize {
    let pool = Pool {
        servers: 10,
        discipline: Discipline::Workers(8),
        service: 0.08,
        cv: 1.0,
        rate,
        seconds: 60.0,
        seed: 7,
    };
    let mut stage = Stage::new();
    stage.play(&pool.runs());
    stage.estimator.bytes()
}

#[test]
fn ten_servers_and_their_backend_stay_in_budget_at_any_rate() {
    let sizes = [0.5, 50.0, 500.0, 4000.0].map(bytes_at);
    assert!(sizes.iter().all(|bytes| *bytes <= 48 * 1024), "{sizes:?} bytes");
    let idle = Stage::new().estimator.bytes();
    assert!(idle <= 4 * 1024, "{idle} bytes before the first line");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_line_makes_a_figure_that_is_no_number(
        ticks in proptest::collection::vec(
            (prop_oneof![8 => Just(1u64), 1 => 0..4000u64], proptest::collection::vec(wild_sample(), 0..60)), 1..40),
        orders in proptest::collection::vec((0..40usize, 0..4usize, any::<bool>()), 0..12),
    ) {
        let mut stage = Stage::new();
        let ids = servers(4);
        let mut second = 0;
        for (tick, (passed, samples)) in ticks.into_iter().enumerate() {
            second += passed;
            let now = stage.begin + Duration::from_secs(second);
            for (age_ms, sample) in samples {
                let age = Duration::from_millis(age_ms.unsigned_abs());
                let end = if age_ms < 0 { now + age } else { now.checked_sub(age).unwrap_or(now) };
                stage.estimator.record(&Sample { end, ..sample }, now);
            }
            for &(_, server, flag) in orders.iter().filter(|(at, ..)| *at == tick) {
                let share = if flag { 1.0 } else { f64::NAN };
                stage.estimator.observe(&[Serving { server: ids[server], share }], now);
                stage.estimator.ordered(ids[server], now);
                stage.estimator.set_slow(ids[server], flag);
            }
            assert_finite(&stage.estimator.figures(now));
        }
    }

    /// Not after a silence either, when the first lines leave no room for those that were before them.
    #[test]
    fn the_order_of_lines_within_a_tick_does_not_matter(
        seed in any::<u64>(), capacity in 1..12usize, load in 0.3..1.1f64, service in 0.004..0.3f64,
        silence in (3..10u64, 1..9u64),
    ) {
        let pool = Pool {
            servers: 3,
            discipline: Discipline::Workers(capacity),
            service,
            rate: (load * (3 * capacity) as f64 / service).min(700.0),
            cv: 1.0,
            seconds: 20.0,
            seed,
        };
        let (mut stage, mut shuffled) = (Stage::new(), Stage::new());
        shuffled.begin = stage.begin;
        shuffled.estimator = stage.estimator.clone();
        let lines = lines(&pool.runs(), stage.begin);
        let (from, lasts) = silence;
        for second in 1..=23u64 {
            let is_lost = (from..from + lasts).contains(&second);
            let within = |line: &&Sample| {
                let at = line.end.duration_since(stage.begin).as_secs_f64();
                !is_lost && at > second as f64 - 1.0 && at <= second as f64
            };
            let mut come: Vec<Sample> = lines.iter().filter(within).copied().collect();
            let figures = stage.tick(&come, &[]);
            come.sort_by_key(|line| (line.end.duration_since(stage.begin).as_nanos() as u64).wrapping_mul(seed | 1));
            prop_assert_eq!(figures, shuffled.tick(&come, &[]));
        }
    }
}
