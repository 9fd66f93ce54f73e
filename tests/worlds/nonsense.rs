//! Lines that no HAProxy would write: figures stay figures, and the promises are kept.

use std::time::{Duration, Instant};

use haproxy_autoscale::core::log::sample::{Class, Sample, Timers};
use haproxy_autoscale::demo::random::Random;
use proptest::prelude::*;

use super::play::{Hands, play_with};
use super::promises::Witness;
use super::recipe::any_world;
use super::worlds;

const EXTREMES: [i32; 6] = [-1, 0, 1, 1000, 3_600_000, i32::MAX];
const CLASSES: [Class; 5] = [Class::Success, Class::Saturation, Class::Server, Class::Client, Class::Proxy];

/// One of them.
fn any_of<T: Copy>(random: &mut Random, all: &[T]) -> T {
    // `unit` is above 0 and at most 1.
    all[(random.unit() * all.len() as f64).ceil() as usize - 1]
}

/// The same line with anything in it.
fn spoiled(line: Sample, random: &mut Random) -> Sample {
    let timers = [(); 5].map(|()| any_of(random, &EXTREMES));
    let off = Duration::from_secs(any_of(random, &[0, 1, 20, 7200]));
    let end: Instant =
        if random.unit() < 0.5 { line.end + off } else { line.end - off.min(Duration::from_secs(20)) };
    let count = |random: &mut Random| any_of(random, &[0, 1, 1000, u32::MAX]);
    Sample {
        server: line.server.filter(|_| random.unit() < 0.8),
        end,
        timers: Timers::new(timers),
        class: any_of(random, &CLASSES),
        timed_out: random.unit() < 0.1,
        beconn: count(random),
        srv_conn: count(random),
        ..line
    }
}

proptest! {
    #![proptest_config(worlds(8))]

    #[test]
    fn nonsense_in_the_log_makes_no_nonsense_of_decisions(
        recipe in any_world(240.0), share in 0.001_f64..1.0, seed: u64,
    ) {
        let (mut random, mut witness) = (Random::new(seed), Witness::default());
        let mut spoil = |_: u32, lines: &mut Vec<Sample>| {
            for line in lines {
                if random.unit() < share {
                    *line = spoiled(*line, &mut random);
                }
            }
        };
        for second in play_with(&recipe, &mut spoil, Hands::Free) {
            witness.see(&second, &recipe);
        }
    }
}
