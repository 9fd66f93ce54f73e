//! The controller in random worlds, from the lines of the log to the servers: what it never does, and what does
//! not change when something that should not matter does.
//!
//! Each world is a simulated HAProxy with clients, servers and incidents by chance. `WORLDS=2000` plays so many
//! for each property instead of a few.

mod nonsense;
mod pairs;
mod play;
mod promises;
mod recipe;

use proptest::test_runner::{Config, RngSeed};

/// How many worlds each property is tried in: the same `few` every time, or as many new ones as the environment says.
fn worlds(few: u32) -> Config {
    let many = std::env::var("WORLDS").ok().and_then(|worlds| worlds.parse().ok());
    let few_ones = Config { cases: few, rng_seed: RngSeed::Fixed(1), ..Config::default() };
    let config = many.map_or(few_ones, |cases| Config { cases, ..Config::default() });
    Config { failure_persistence: None, max_shrink_iters: 16, ..config }
}
