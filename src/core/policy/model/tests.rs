//! The rule at work, second by second.

use std::time::Duration;

use super::testing::{World, steady};
use super::*;

/// The sentence of the last of `seconds` evaluations under `load`.
#[track_caller]
fn check(world: &mut World, seconds: u32, load: LoadFigures, expected: &str) {
    world.load = load;
    let found = world.ticks(seconds).to_string();
    assert_eq!(found, expected, "moves: {:?}", world.moves);
}

#[test]
fn as_many_servers_as_the_load_needs_are_ordered_at_once_and_once() {
    let mut world = World::new(5, 16);
    check(
        &mut world,
        1,
        steady(742.0),
        "scale up by 5: 742 req/s x 80 ms = 59.4 busy workers; a server carries 6.4 of its 8.0",
    );
    world.start_delay = Duration::from_secs(300);
    world.ticks(200);
    assert_eq!(world.moves.len(), 1, "orders count, however long starting takes: {:?}", world.moves);
}

#[test]
fn a_backlog_is_said_and_worked_off() {
    let mut world = World::new(5, 16);
    let load = LoadFigures { backlog: 310.0, ..steady(742.0) };
    check(
        &mut world,
        1,
        load,
        "scale up by 5: 742 req/s x 80 ms = 59.4 busy workers, 310 waiting need 2.5 more; \
         a server carries 6.4 of its 8.0",
    );
}

#[test]
fn fewer_servers_go_in_halves_once_they_have_not_been_needed_for_long_enough() {
    let mut world = World::new(9, 16);
    world.load = steady(320.0);
    world.ticks(600);
    let moves: Vec<_> = world.moves.iter().map(|(at, what)| (*at, what.as_str())).collect();
    assert_eq!(moves, [(91, "9 -2"), (116, "7 -1"), (141, "6 -1")], "5 are needed with something to spare");
}
