//! Can the simulator be trusted? A flash crowd on a real HAProxy, and what `simulate` says of the same.
//! The long form, with more scenarios, is `cargo bench --bench real`.

use std::io::Write as _;
use std::thread;

use haproxy_autoscale::core::settings::Policy;
use haproxy_autoscale::demo::haproxy;
use haproxy_autoscale::sim::scenario::{Scenario, Shape};
use rehearsal::{Decider, Figures, real, simulated};

#[path = "support/rehearsal.rs"]
mod rehearsal;
mod support;

const SEED: u64 = 1;
/// Chance alone carries the figures so far: the same requests a few milliseconds later, other start delays.
const POINTS: f64 = 10.0;
const SHARE: f64 = 0.25;
/// Tries of a run that the machine holds up.
const TRIES: u32 = 4;

fn flash() -> Scenario {
    let shape = Shape::Lines(vec![(12.0, 30.0), (13.0, 110.0), (32.0, 110.0), (33.0, 30.0)]);
    rehearsal::scenario("flash", 45.0, shape)
}

#[test]
fn the_simulator_says_what_happens_on_a_real_haproxy() {
    if haproxy::find().is_none() {
        assert!(std::env::var_os("CI").is_none(), "CI needs a haproxy");
        let _ = writeln!(std::io::stderr(), "skipped: no haproxy on this machine");
        return;
    }
    let play = |policy| thread::spawn(move || until_good(Decider::Agent(policy)));
    let [model, threshold] = [Policy::Model, Policy::Threshold].map(play);
    let model = check(Decider::Agent(Policy::Model), model.join().expect("its message is above"));
    let threshold = check(Decider::Agent(Policy::Threshold), threshold.join().expect("its message is above"));
    assert!(model.misses < threshold.misses, "{model:?}, {threshold:?}");
}

fn until_good(decider: Decider) -> Figures {
    let mut voids = Vec::new();
    for _ in 0..TRIES {
        match real(&flash(), decider, SEED) {
            Ok(figures) => return figures,
            Err(void) => voids.push(void),
        }
    }
    panic!("the machine is too busy for a load: {voids:#?}");
}

#[track_caller]
fn check(decider: Decider, real: Figures) -> Figures {
    let simulated = simulated(&flash(), decider, SEED);
    let is_near = (real.misses - simulated.misses).abs() <= POINTS
        && (real.server_seconds / simulated.server_seconds - 1.0).abs() <= SHARE;
    assert!(is_near, "{}: real {real:?}, simulated {simulated:?}", decider.name());
    real
}
