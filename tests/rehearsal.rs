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

/// What is played for real.
const SEED: u64 = 1;
/// What is simulated: how far chance alone carries the figures.
const SEEDS: std::ops::RangeInclusive<u64> = 1..=10;
/// A real run may be so much outside of that: misses, and the share of the server time.
const POINTS: f64 = 8.0;
const SHARE: f64 = 0.15;
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
    let played = [model, threshold].map(|play| play.join().expect("its message is above"));
    let [Ok(model), Ok(threshold)] = played else {
        let _ = writeln!(std::io::stderr(), "skipped: the machine is too busy for a load: {played:?}");
        return;
    };
    let model = check(Decider::Agent(Policy::Model), model);
    let threshold = check(Decider::Agent(Policy::Threshold), threshold);
    assert!(model.misses < threshold.misses, "{model:?}, {threshold:?}");
}

/// `Err` with why each of the tries tells nothing.
fn until_good(decider: Decider) -> Result<Figures, Vec<String>> {
    let mut voids = Vec::new();
    for _ in 0..TRIES {
        match real(&flash(), decider, SEED) {
            Ok(figures) => return Ok(figures),
            Err(void) => voids.push(void),
        }
    }
    Err(voids)
}

#[track_caller]
fn check(decider: Decider, real: Figures) -> Figures {
    let simulated: Vec<Figures> = SEEDS.map(|seed| simulated(&flash(), decider, seed)).collect();
    let range = |of: fn(&Figures) -> f64| {
        simulated.iter().map(of).fold((f64::MAX, 0.0_f64), |(low, high), x| (low.min(x), high.max(x)))
    };
    let (misses, seconds) = (range(|figures| figures.misses), range(|figures| figures.server_seconds));
    assert!(
        (misses.0 - POINTS..=misses.1 + POINTS).contains(&real.misses)
            && (seconds.0 * (1.0 - SHARE)..=seconds.1 * (1.0 + SHARE)).contains(&real.server_seconds),
        "{}: {real:?}; simulated: misses of {misses:?} %, {seconds:?} server-seconds",
        decider.name(),
    );
    real
}
