//! What a sample and a snapshot cost: time and allocations.
//!
//! `memory_of_*` fill a whole window and let go of it; the column `max alloc` is what it had.

use std::time::{Duration, Instant};

use divan::counter::ItemsCount;
use divan::{AllocProfiler, Bencher, black_box};
use haproxy_autoscale::core::estimate::estimator::Estimator;
use haproxy_autoscale::core::log::sample::{Class, Sample, Timers};
use haproxy_autoscale::core::names::Names;
use haproxy_autoscale::core::settings::{Statistic, Target, Timer, WindowSettings};
use haproxy_autoscale::core::units::Percentile;

#[global_allocator]
static ALLOC: AllocProfiler = AllocProfiler::system();

/// Samples recorded in one iteration.
const BATCH: u64 = 10_000;

const LENGTH: Duration = Duration::from_secs(30);

fn main() {
    divan::main();
}

fn estimator(started: Instant) -> Estimator {
    let target = Target {
        timer: Timer::Tt,
        statistic: Statistic::Percentile(Percentile::P95),
        below: Duration::from_millis(250),
    };
    Estimator::new(target, WindowSettings { length: LENGTH, min_samples: 50 }, started)
}

/// Answers of `servers` servers in turn, slower and faster ones mixed up to `slowest_ms`, `rate` a
/// second from `begin` on.
fn samples(begin: Instant, servers: u32, slowest_ms: u32, rate: u32) -> impl Iterator<Item = Sample> {
    let names = Names::default();
    let backend = names.backend("app").expect("the table is new");
    let ids: Vec<_> = (0..servers).map(|n| names.server(backend, &format!("s{n}"))).collect();
    (0u32..).map(move |n| {
        // Multiplying by a large odd number scatters the low values over the whole range.
        let scattered = f64::from(n.wrapping_mul(2_654_435_761)) / f64::from(u32::MAX);
        let ms = (f64::from(slowest_ms) * scattered.powi(4)) as i32;
        Sample {
            backend,
            server: ids[(n % servers) as usize],
            end: begin + Duration::from_secs(1) * n / rate,
            timers: Timers::new([0, 0, 0, ms, ms]),
            class: Class::Success,
            timed_out: false,
            beconn: 3,
            srv_conn: 1,
        }
    })
}

/// A window in full swing, and the moment it has come to.
fn running(servers: u32, slowest_ms: u32) -> (Estimator, Instant) {
    let begin = Instant::now();
    let mut estimator = estimator(begin);
    let mut now = begin;
    for sample in samples(begin, servers, slowest_ms, 1000).take(60_000) {
        now = sample.end;
        estimator.record(&sample, now);
    }
    (estimator, now)
}

/// One sample into its backend's and its server's window, slots falling out included: at 100,000
/// lines a second a batch is a tenth of a second.
#[divan::bench(args = [1, 10, 100])]
fn record(bencher: Bencher, servers: u32) {
    let (mut estimator, mut now) = running(servers, 1000);
    let batch: Vec<Sample> = samples(now, servers, 1000, 100_000).take(BATCH as usize).collect();
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| {
        for sample in &batch {
            estimator.record(black_box(&Sample { end: now, ..*sample }), now);
        }
        now += Duration::from_millis(100);
    });
}

/// A snapshot of the backend while no slot falls out.
#[divan::bench(args = [250, 4000, 30_000])]
fn snapshot(bencher: Bencher, slowest_ms: u32) {
    let (mut estimator, now) = running(10, slowest_ms);
    bencher.bench_local(|| black_box(estimator.snapshot(now)));
}

/// The same when slots fall out, the backend's and each server's.
#[divan::bench(args = [1, 10, 100])]
fn snapshot_after_a_slot(bencher: Bencher, servers: u32) {
    let full = running(servers, 1000);
    bencher.with_inputs(|| full.clone()).bench_local_refs(|(estimator, now)| {
        black_box(estimator.snapshot(*now + LENGTH / 5));
    });
}

#[divan::bench(args = [250, 1000, 4000, 30_000])]
fn memory_of_a_backend_without_servers(bencher: Bencher, slowest_ms: u32) {
    bencher.bench_local(|| fill(slowest_ms, None));
}

#[divan::bench(args = [250, 1000, 4000, 30_000])]
fn memory_of_a_backend_with_10_servers(bencher: Bencher, slowest_ms: u32) {
    bencher.bench_local(|| fill(slowest_ms, Some(10)));
}

fn fill(slowest_ms: u32, servers: Option<u32>) -> Estimator {
    let begin = Instant::now();
    let mut estimator = estimator(begin);
    for sample in samples(begin, servers.unwrap_or(1), slowest_ms, 1000).take(29_000) {
        let server = servers.and(sample.server);
        estimator.record(&Sample { server, ..sample }, sample.end);
    }
    estimator
}
