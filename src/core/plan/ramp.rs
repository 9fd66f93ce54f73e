//! The weights of a slow start, as a function of time.
//!
//! A ramp climbs in equal steps from a tenth of the full weight, at READY, to all of it. Where
//! weights are too small to be divided is `weights.rs`'s matter.

use std::time::Duration;

use crate::core::units::Weight;

/// Ten steps: each is small beside what a server can take, and a ramp of 30 s still needs only
/// one command every 3 s.
const STEPS: u32 = 10;

/// The weight after `elapsed` of a ramp that lasts `over`: at least 1, so that the server serves
/// from the start, and `full` in the last tenth and ever after.
pub fn weight_at(full: Weight, elapsed: Duration, over: Duration) -> Weight {
    if elapsed >= over {
        return full;
    }
    // 9 ns added, so that a tenth rounded down to whole nanoseconds counts as reached.
    let step = (elapsed.as_nanos() * u128::from(STEPS) + 9) / over.as_nanos() + 1;
    let weight = Weight::saturating(f64::from(full.value()) * step as f64 / f64::from(STEPS));
    weight.clamp(Weight::ONE, full.max(Weight::ONE))
}

/// A ramp as the weights it goes through, each with the pause before it. The first has none and
/// belongs before READY, the last is `full`. A `full` of 1, or a ramp of no length, is just that.
pub fn climb(full: Weight, over: Duration) -> Vec<(Duration, Weight)> {
    let mut climb = vec![(Duration::ZERO, weight_at(full, Duration::ZERO, over))];
    let mut last = Duration::ZERO;
    for step in 1..STEPS {
        let at = over * step / STEPS;
        let weight = weight_at(full, at, over);
        if climb.last().is_none_or(|&(_, before)| weight > before) {
            climb.push((at - last, weight));
            last = at;
        }
    }
    climb
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(full: u16, over_s: u64, expected: &[(u64, u16)]) {
        let climbed = climb(Weight::saturating(full.into()), Duration::from_secs(over_s));
        let found: Vec<_> =
            climbed.iter().map(|(pause, weight)| (pause.as_millis() as u64, weight.value())).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_ramp_climbs_by_tenths() {
        check(
            100,
            30,
            &[
                (0, 10),
                (3000, 20),
                (3000, 30),
                (3000, 40),
                (3000, 50),
                (3000, 60),
                (3000, 70),
                (3000, 80),
                (3000, 90),
                (3000, 100),
            ],
        );
    }

    #[test]
    fn a_small_weight_climbs_in_fewer_steps() {
        check(2, 10, &[(0, 1), (7000, 2)]);
        check(1, 10, &[(0, 1)]);
    }

    #[test]
    fn no_time_means_the_full_weight_at_once() {
        check(100, 0, &[(0, 100)]);
    }

    proptest! {
        #[test]
        fn a_ramp_rises_from_serving_to_full_in_its_time(full in 1_u16..=256, over_ms in 0_u64..10_000_000) {
            let (full, over) = (Weight::saturating(full.into()), Duration::from_millis(over_ms));
            let climb = climb(full, over);
            prop_assert!(climb[0].1 > Weight::ZERO);
            prop_assert!(climb.windows(2).all(|pair| pair[0].1 < pair[1].1));
            prop_assert_eq!(climb[climb.len() - 1].1, full);
            prop_assert!(climb.iter().map(|&(pause, _)| pause).sum::<Duration>() <= over);
        }

        #[test]
        fn the_weight_never_falls_while_time_goes_on(full in 1_u16..=256, a in 0_u64..20_000, b in 0_u64..20_000) {
            let at = |ms| weight_at(Weight::saturating(full.into()), Duration::from_millis(ms), Duration::from_secs(10));
            prop_assert!(at(a.min(b)) <= at(a.max(b)));
        }
    }
}
