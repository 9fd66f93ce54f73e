//! The agent in storms: operators, reloads, failures, pools and orders by chance, against a model of HAProxy.
//!
//! Controller, executor and client are the real ones, on a clock that is turned on; HAProxy is a model that is spoken to
//! in its own language, on one node or several. At every command: never fewer than `ready.min` by our doing, no server that is
//! not ours, no address in use twice, nothing deleted that we have not added. At every moment: one plan for each
//! backend. When the storm is over: rest within a bounded time, with the right servers, places and weights, on all nodes alike.
//! `PROPTEST_CASES=5000` plays so many; `TRACE=1` prints what happens.

mod agent;
mod book;
mod cli;
mod dice;
mod fleet;
mod haproxy;
mod play;
mod rest;
mod site;
mod socket;
mod storm;

use play::World;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

/// The same few every time, or as many new ones as the environment says.
fn storms() -> ProptestConfig {
    let usual = ProptestConfig::default();
    let few = ProptestConfig { cases: 30, rng_seed: RngSeed::Fixed(1), ..usual.clone() };
    let config = if std::env::var_os("PROPTEST_CASES").is_some() { usual } else { few };
    ProptestConfig { failure_persistence: None, max_shrink_iters: 200, ..config }
}

proptest! {
    #![proptest_config(storms())]

    #[test]
    fn whatever_happens_no_rule_is_broken_and_afterwards_there_is_rest(
        site in site::site(), storm in storm::storm(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.expect("a runtime").block_on(async {
            let mut world = World::new(&site);
            world.play(&storm).await?;
            world.calm_down().await
        })?;
    }
}
