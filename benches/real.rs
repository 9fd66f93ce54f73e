//! The simulator held against a real HAProxy: three scenarios, three who decide.
//!
//! `cargo bench --bench real` plays them with small servers on loopback, a few minutes by the clock, and
//! writes the table to `benches/real.md`. HAProxy must be installed. Those of one scenario play side by
//! side; what the machine held up is void, told, and played again.

#![allow(clippy::print_stdout, reason = "a bench prints its figures")]

use std::fmt::Write as _;
use std::thread;

use haproxy_autoscale::sim::scenario::{Incident, Scenario, Shape, Trouble};
use rehearsal::{Decider, Figures};

#[path = "../tests/support/rehearsal.rs"]
#[allow(dead_code, unreachable_pub, reason = "a part of what the tests have")]
mod rehearsal;
#[path = "../tests/support/mod.rs"]
mod support;

/// That of the real run, and of the simulated one beside it.
const SEED: u64 = 1;
/// Others, for how far chance carries.
const OTHER_SEEDS: std::ops::Range<u64> = 2..32;
/// Tries of a run that the machine holds up.
const TRIES: u32 = 3;

fn main() {
    let mut text = String::new();
    let only: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    for scenario in scenarios() {
        if !only.is_empty() && !only.contains(&scenario.name) {
            continue;
        }
        for (decider, real) in Decider::ALL.into_iter().zip(side_by_side(&scenario)) {
            let row = row(&scenario, decider, real);
            println!("{row}");
            let _ = writeln!(text, "{row}");
        }
    }
}

fn scenarios() -> [Scenario; 3] {
    let wave = Shape::Wave { low: 20.0, high: 140.0, period_s: 120.0 };
    let flash = Shape::Lines(vec![(40.0, 35.0), (42.0, 140.0), (85.0, 140.0), (95.0, 35.0)]);
    let mut degraded = rehearsal::scenario("degraded", 120.0, Shape::Constant(80.0));
    degraded.incidents = vec![Incident { from_s: 40.0, until_s: 90.0, what: Trouble::SlowServer(0, 3.0) }];
    [rehearsal::scenario("wave", 150.0, wave), rehearsal::scenario("flash4x", 140.0, flash), degraded]
}

fn side_by_side(scenario: &Scenario) -> Vec<Result<Figures, String>> {
    thread::scope(|scope| {
        let play = |decider| scope.spawn(move || until_good(scenario, decider));
        let plays: Vec<_> = Decider::ALL.map(play).into();
        plays.into_iter().map(|play| play.join().expect("it has not panicked")).collect()
    })
}

fn until_good(scenario: &Scenario, decider: Decider) -> Result<Figures, String> {
    let mut last = Err(String::new());
    for _ in 0..TRIES {
        last = rehearsal::real(scenario, decider, SEED);
        match &last {
            Ok(_) => break,
            Err(void) => println!("{} under {} is void: {void}", scenario.name, decider.name()),
        }
    }
    last
}

fn row(scenario: &Scenario, decider: Decider, real: Result<Figures, String>) -> String {
    let same = rehearsal::simulated(scenario, decider, SEED);
    let others: Vec<Figures> =
        OTHER_SEEDS.map(|seed| rehearsal::simulated(scenario, decider, seed)).collect();
    let real = real.unwrap_or_default();
    let cell = |of: fn(&Figures) -> f64, digits: usize| {
        let spread = others.iter().map(of);
        let (low, high) = (spread.clone().fold(f64::MAX, f64::min), spread.clone().fold(0.0, f64::max));
        let mean = spread.sum::<f64>() / others.len() as f64;
        format!(
            "{:.digits$} / {:.digits$} / {mean:.digits$} ({low:.digits$}-{high:.digits$})",
            of(&real),
            of(&same)
        )
    };
    format!(
        "| {} | {} | {} | {} | {} | {} | {} |",
        scenario.name,
        decider.name(),
        cell(|figures| figures.misses, 1),
        cell(|figures| figures.server_seconds, 0),
        cell(|figures| figures.moves, 0),
        cell(|figures| figures.p95_ms, 0),
        cell(|figures| figures.requests, 0),
    )
}
