//! What a simulated request costs. `cargo bench --bench simulation`

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use haproxy_autoscale::core::log::sample::Sample;
use haproxy_autoscale::core::settings::Policy;
use haproxy_autoscale::sim::{Autoscaler, Order, Seen, driver, scenarios};

/// A wave of an hour: 1.7 million requests.
const SCENARIO: &str = "maint-D0";

fn main() {
    divan::main();
}

/// Starts every server.
struct AllOn;

impl Autoscaler for AllOn {
    fn name(&self) -> &str {
        "all on"
    }

    fn record(&mut self, sample: &Sample) {
        black_box(sample);
    }

    fn tick(&mut self, seen: &Seen<'_>) -> Vec<Order> {
        (0..seen.servers.len()).map(Order::Start).collect()
    }
}

#[divan::bench(sample_count = 5, sample_size = 1)]
fn requests_with_all_servers_on(bencher: Bencher<'_, '_>) {
    let scenario = scenarios::named(SCENARIO).expect("good traces").expect("it is built in");
    let requests = driver::compete(&scenario, 1, &mut AllOn, &mut driver::Nobody).requests;
    let bencher = bencher.counter(ItemsCount::new(requests));
    bencher.bench_local(|| driver::compete(&scenario, 1, &mut AllOn, &mut driver::Nobody));
}

#[divan::bench(sample_count = 5, sample_size = 1, args = [Policy::Threshold, Policy::Model])]
fn requests_under_the_controller(bencher: Bencher<'_, '_>, policy: &Policy) {
    let scenario = scenarios::named(SCENARIO).expect("good traces").expect("it is built in");
    let settings = driver::settings(&scenario, *policy).expect("a good target");
    let run = || driver::control(&scenario, 1, settings.clone(), &mut driver::Nobody);
    let bencher = bencher.counter(ItemsCount::new(run().requests));
    bencher.bench_local(run);
}
