//! The simulator held against a real HAProxy: three scenarios, three who decide.
//!
//! `cargo bench --bench real` plays them with small servers on loopback, 20 minutes by the clock, and prints
//! the table (`make real` keeps it in `benches/real.md`); with the name of a scenario behind it, that one alone.
//! HAProxy must be installed. Those of one scenario play side by side; what the machine held up is void, told,
//! and played again.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a bench prints its figures")]

use std::thread;

use haproxy_autoscale::sim::scenario::{Incident, Scenario, Shape, Trouble};
use rehearsal::{Decider, Figures};

#[path = "../tests/support/rehearsal.rs"]
mod rehearsal;
#[path = "../tests/support/mod.rs"]
mod support;

/// Each is played for real, and simulated.
const SEEDS: std::ops::RangeInclusive<u64> = 1..=3;
/// Tries of a run that the machine holds up.
const TRIES: u32 = 3;

fn main() {
    let only: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    println!("{HEADING}");
    for scenario in scenarios().iter().filter(|scenario| only.is_empty() || only.contains(&scenario.name)) {
        let mut pairs = Decider::ALL.map(|decider| (decider, Vec::new()));
        for seed in SEEDS {
            for ((decider, pairs), real) in pairs.iter_mut().zip(side_by_side(scenario, seed)) {
                pairs.extend(real.map(|real| (real, rehearsal::simulated(scenario, *decider, seed))));
            }
        }
        for (decider, pairs) in &pairs {
            println!("{}", row(scenario, *decider, pairs));
        }
    }
}

/// The wave goes once through seven times its least, the flash is four times as much within 2 s, and one of
/// the servers at work takes three times as long for 50 s.
fn scenarios() -> [Scenario; 3] {
    let wave = Shape::Wave { low: 20.0, high: 140.0, period_s: 120.0 };
    let flash = Shape::Lines(vec![(40.0, 35.0), (42.0, 140.0), (85.0, 140.0), (95.0, 35.0)]);
    let mut degraded = rehearsal::scenario("degraded", 120.0, Shape::Constant(80.0));
    let slow = Trouble::SlowServer(0, 3.0);
    degraded.incidents = vec![Incident { from_s: 40.0, until_s: 90.0, what: slow }];
    [rehearsal::scenario("wave", 150.0, wave), rehearsal::scenario("flash4x", 140.0, flash), degraded]
}

/// What each decider really made of it; `None` where every try was void.
fn side_by_side(scenario: &Scenario, seed: u64) -> Vec<Option<Figures>> {
    thread::scope(|scope| {
        let play = |decider| scope.spawn(move || until_good(scenario, decider, seed));
        let plays: Vec<_> = Decider::ALL.map(play).into();
        plays.into_iter().map(|play| play.join().expect("it has not panicked")).collect()
    })
}

fn until_good(scenario: &Scenario, decider: Decider, seed: u64) -> Option<Figures> {
    let told = |void| eprintln!("void: {} under {}, seed {seed}: {void}", scenario.name, decider.name());
    (0..TRIES).find_map(|_| rehearsal::real(scenario, decider, seed).map_err(told).ok())
}

const HEADING: &str = "\
| scenario | who decides | runs | misses %, real | simulated | server-seconds, real | simulated | moves, real | simulated | p95 ms, real | simulated |
|---|---|---|---|---|---|---|---|---|---|---|";

/// Means of the runs.
fn row(scenario: &Scenario, decider: Decider, pairs: &[(Figures, Figures)]) -> String {
    let mean =
        |of: &dyn Fn(&(Figures, Figures)) -> f64| pairs.iter().map(of).sum::<f64>() / pairs.len() as f64;
    let cells = |of: fn(&Figures) -> f64, digits: usize| {
        let (real, simulated) = (mean(&|pair| of(&pair.0)), mean(&|pair| of(&pair.1)));
        format!("{real:.digits$} | {simulated:.digits$}")
    };
    format!(
        "| {} | {} | {} | {} | {} | {} | {} |",
        scenario.name,
        decider.name(),
        pairs.len(),
        cells(|figures| figures.misses, 1),
        cells(|figures| figures.server_seconds, 0),
        cells(|figures| figures.moves, 1),
        cells(|figures| figures.p95_ms, 0),
    )
}
