//! What the load estimate of `policy: model` costs: a line, a tick, a backend. `cargo bench --bench load`

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use divan::counter::ItemsCount;
use divan::{AllocProfiler, Bencher, black_box};
use haproxy_autoscale::core::estimate::load::{LoadEstimator, Serving};
use haproxy_autoscale::core::log::sample::{Class, Sample, Timers};
use haproxy_autoscale::core::names::{Names, ServerId};
use haproxy_autoscale::core::settings::{Statistic, Target, Timer};
use haproxy_autoscale::core::units::Percentile;

#[global_allocator]
static ALLOC: AllocProfiler = AllocProfiler::system();

/// The backends of a tick.
const BACKENDS: usize = 1000;

fn main() {
    divan::main();
}

fn target() -> Target {
    Target {
        timer: Timer::Tr,
        statistic: Statistic::Percentile(Percentile::P95),
        below: Duration::from_millis(400),
    }
}

fn servers(count: u32) -> Vec<ServerId> {
    let names = Names::default();
    let backend = names.backend("app").expect("the table is new");
    (0..count).filter_map(|n| names.server(backend, &format!("s{n}"))).collect()
}

/// The lines of one second at `rate`: 80 ms on average, some much longer.
fn lines(servers: &[ServerId], begin: Instant, rate: u32) -> Vec<Sample> {
    let names = Names::default();
    let backend = names.backend("app").expect("the table is new");
    let line = |n: u32| {
        // Multiplying by a large odd number scatters the low values over the whole range.
        let scattered = f64::from(n.wrapping_mul(2_654_435_761)) / f64::from(u32::MAX);
        let ms = (-80.0 * (1.0 - scattered).max(1e-4).ln()) as i32;
        Sample {
            backend,
            server: Some(servers[n as usize % servers.len()]),
            end: begin + Duration::from_secs(1) * n / rate,
            timers: Timers::new([0, 0, 0, ms, ms]),
            class: Class::Success,
            timed_out: false,
            beconn: rate / 12,
            srv_conn: rate / 12 / servers.len() as u32,
        }
    };
    (0..rate).map(line).collect()
}

/// An estimator that has seen `seconds` of `rate` lines a second, and the moment it has come to.
fn running(servers: &[ServerId], rate: u32, seconds: u32) -> (LoadEstimator, Instant) {
    let begin = Instant::now();
    let mut estimator = LoadEstimator::new(target(), begin);
    let serving: Vec<Serving> = servers.iter().map(|&server| Serving { server, share: 1.0 }).collect();
    let mut now = begin;
    for _ in 0..seconds {
        for line in lines(servers, now, rate) {
            estimator.record(&line, line.end);
        }
        now += Duration::from_secs(1);
        estimator.observe(&serving, now);
        black_box(estimator.figures(now));
    }
    (estimator, now)
}

/// One line, at `rate` lines a second.
#[divan::bench(args = [100, 1000, 10_000, 100_000], sample_count = 50, sample_size = 1)]
fn record(bencher: Bencher, rate: u32) {
    let servers = servers(10);
    let (estimator, now) = running(&servers, rate.min(2000), 20);
    let (estimator, now) = (RefCell::new(estimator), Cell::new(now));
    let second = || {
        black_box(estimator.borrow_mut().figures(now.get()));
        let come = lines(&servers, now.get(), rate);
        now.set(now.get() + Duration::from_secs(1));
        come
    };
    bencher.counter(ItemsCount::new(rate)).with_inputs(second).bench_local_values(|come| {
        let mut estimator = estimator.borrow_mut();
        come.iter().for_each(|line| estimator.record(black_box(line), line.end));
        come
    });
}

/// One tick of all backends, ten servers each, after a second of `rate` lines for each of them.
#[divan::bench(args = [0, 10, 100, 400], sample_count = 30, sample_size = 1)]
fn tick_of_1000_backends(bencher: Bencher, rate: u32) {
    let servers = servers(10);
    let serving: Vec<Serving> = servers.iter().map(|&server| Serving { server, share: 1.0 }).collect();
    let (estimator, now) = running(&servers, rate.max(1), 20);
    let (all, now) = (RefCell::new(vec![estimator; BACKENDS]), Cell::new(now));
    let second = || {
        let come = lines(&servers, now.get(), rate);
        for estimator in all.borrow_mut().iter_mut() {
            come.iter().for_each(|line| estimator.record(line, line.end));
        }
        now.set(now.get() + Duration::from_secs(1));
    };
    bencher.with_inputs(second).bench_local_values(|()| {
        for estimator in all.borrow_mut().iter_mut() {
            estimator.observe(&serving, now.get());
            black_box(estimator.figures(now.get()));
        }
    });
}

/// A backend of ten servers after a minute; the column `max alloc` is what it had.
#[divan::bench(args = [1, 100, 1000])]
fn memory_of_a_backend_with_10_servers(bencher: Bencher, rate: u32) {
    let servers = servers(10);
    bencher.bench_local(|| running(&servers, rate, 60));
}
