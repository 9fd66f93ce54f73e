//! The controller in storms: operators, reloads, failures and orders by chance, against a model of HAProxy.
//!
//! At every command: never fewer than `ready.min` by our doing, and no server that is not ours. At every moment:
//! one plan. When the storm is over: rest within a bounded time, with the right servers and weights.
//! `PROPTEST_CASES=5000` plays so many; `TRACE=1` prints what happens.

mod book;
mod dice;
mod hands;
mod haproxy;
mod play;
mod storm;

use play::World;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

/// The same few every time, or as many new ones as the environment says.
fn storms() -> ProptestConfig {
    let usual = ProptestConfig::default();
    let few = ProptestConfig { cases: 150, rng_seed: RngSeed::Fixed(1), ..usual.clone() };
    let config = if std::env::var_os("PROPTEST_CASES").is_some() { usual } else { few };
    ProptestConfig { failure_persistence: None, max_shrink_iters: 200, ..config }
}

proptest! {
    #![proptest_config(storms())]

    #[test]
    fn whatever_happens_no_rule_is_broken_and_afterwards_there_is_rest(
        site in storm::site(), storm in storm::storm(),
    ) {
        let mut world = World::new(&site);
        world.play(&storm)?;
        world.calm_down(site.load)?;
    }
}
