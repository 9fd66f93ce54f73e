//! Two worlds that differ in one thing, and what follows from it; or must not.

use haproxy_autoscale::core::log::sample::{Sample, Timers};
use haproxy_autoscale::core::policy::decision::Decision;
use haproxy_autoscale::core::settings::Timer;
use haproxy_autoscale::demo::random::Random;
use haproxy_autoscale::sim::scenario::{Scenario, Shape};
use proptest::prelude::*;

use super::play::{Hands, Second, play, play_with};
use super::recipe::{Recipe, any_world, level_world};
use super::worlds;

/// What was said and done in each second.
fn story(seconds: &[Second]) -> Vec<String> {
    let of =
        |it: &Second| format!("{} s: {} {:?} {:?} {:?}", it.at, it.says, it.after, it.begun, it.evaluation);
    seconds.iter().map(of).collect()
}

/// The first second in which they differ.
#[track_caller]
fn assert_same(one: &[Second], other: &[Second]) {
    let (one, other) = (story(one), story(other));
    let first = one.iter().zip(&other).find(|(one, other)| one != other);
    assert!(first.is_none(), "{first:?}");
}

/// `recipe` with other arrivals.
fn with_rate(recipe: &Recipe, factor: f64) -> Recipe {
    let mut other = recipe.clone();
    if let Shape::Constant(rate) = &mut other.scenario.load.shape {
        *rate *= factor;
    }
    other
}

/// Servers on average, once everything is learned: over the last part of the time.
fn settled_at(seconds: &[Second]) -> f64 {
    let last = &seconds[seconds.len() * 2 / 3..];
    last.iter().map(|second| f64::from(second.after.serving)).sum::<f64>() / last.len() as f64
}

proptest! {
    #![proptest_config(worlds(8))]

    #[test]
    fn the_same_world_is_decided_in_the_same_way(recipe in any_world(240.0)) {
        assert_same(&play(&recipe), &play(&recipe));
    }

    #[test]
    fn the_order_of_lines_within_a_tick_does_not_matter(recipe in any_world(300.0), seed: u64) {
        let mut random = Random::new(seed);
        // Fisher and Yates; `unit` is above 0 and at most 1.
        let mut shuffle = |_: u32, lines: &mut Vec<Sample>| {
            for last in (1..lines.len()).rev() {
                lines.swap(last, (random.unit() * (last + 1) as f64).ceil() as usize - 1);
            }
        };
        let (one, other) = (play(&recipe), play_with(&recipe, &mut shuffle, Hands::Free));
        assert_same(&one, &other);
    }

    /// That is the client's time, and no server's.
    #[test]
    fn how_long_clients_take_to_send_their_request_does_not_matter(recipe in any_world(300.0), factor in 2_i32..30) {
        let mut recipe = recipe;
        recipe.settings.target.timer = Timer::Tr;
        recipe.scenario.clients.slow_senders.share = 0.2;
        let mut slower = |_: u32, lines: &mut Vec<Sample>| {
            for line in lines {
                let ms = |timer| line.timers.get(timer).map_or(-1, |ms| ms as i32);
                let (sent, total) = (ms(Timer::TR), ms(Timer::Tt));
                let more = sent.max(0) * (factor - 1);
                let timers = [sent + more, ms(Timer::Tw), ms(Timer::Tc), ms(Timer::Tr), total + more];
                line.timers = Timers::new(timers);
            }
        };
        assert_same(&play(&recipe), &play_with(&recipe, &mut slower, Hands::Free));
    }

    #[test]
    fn spares_that_are_not_needed_do_not_matter(recipe in level_world(300.0, 0.1..0.5), more in 1_usize..4) {
        let mut larger = recipe.clone();
        larger.scenario.servers += more;
        let (one, other) = (play(&recipe), play(&larger));
        let all = recipe.scenario.servers as u32;
        let wants_all = |second: &Second| second.evaluation.as_ref().is_some_and(|it| it.want >= all);
        // From where not all that is wanted is there, the two go different ways.
        let end = other.iter().position(wants_all).unwrap_or(other.len());
        let moves = |seconds: &[Second]| -> Vec<(u32, u32, Option<&'static str>)> {
            let move_of = |it: &Second| (it.at, it.after.serving, it.begun.as_ref().map(Decision::name));
            seconds[..end].iter().map(move_of).collect()
        };
        prop_assert_eq!(moves(&one), moves(&other));
    }
}

proptest! {
    // Two worlds of ten minutes each.
    #![proptest_config(worlds(4))]

    #[test]
    fn twice_the_load_never_ends_with_fewer_servers(recipe in level_world(540.0, 0.05..0.4)) {
        let (one, twice) = (settled_at(&play(&recipe)), settled_at(&play(&with_rate(&recipe, 2.0))));
        prop_assert!(twice >= one - 0.25, "{one} servers, and {twice} for twice the load");
    }

    /// Cheaper by what larger servers pool, and by chance one more.
    #[test]
    fn twice_the_load_on_servers_of_twice_the_size_ends_with_as_many(recipe in level_world(540.0, 0.2..0.7)) {
        let mut larger = with_rate(&recipe, 2.0);
        larger.scenario.server.workers *= 2;
        let (one, twice) = (settled_at(&play(&recipe)), settled_at(&play(&larger)));
        prop_assert!(twice <= one + 1.25, "{one} servers, and {twice} of twice the size for twice the load");
    }

    #[test]
    fn a_line_more_or_less_is_forgotten(
        recipe in level_world(600.0, 0.1..0.8), at in 20_u32..240, what in 0_u32..3,
    ) {
        let mut left = 1;
        let mut change = |second: u32, lines: &mut Vec<Sample>| {
            let Some(&line) = lines.last().filter(|_| second >= at && left > 0) else { return };
            left -= 1;
            match what {
                0 => drop(lines.pop()),
                1 => lines.push(line),
                // It took a minute.
                _ => lines.push(Sample { timers: Timers::new([0, 0, 0, 60_000, 60_000]), ..line }),
            }
        };
        // With tied hands both see the same servers, and what they want can be compared.
        let one = play_with(&recipe, &mut |_, _| {}, Hands::Tied);
        let other = play_with(&recipe, &mut change, Hands::Tied);
        let wanted = |seconds: &[Second]| -> Vec<Option<u32>> {
            seconds[480..].iter().map(|it| it.evaluation.as_ref().map(|it| it.want)).collect()
        };
        let (one, other) = (wanted(&one), wanted(&other));
        let same = one.iter().zip(&other).filter(|(one, other)| one == other).count();
        prop_assert!(same as f64 >= 0.9 * one.len() as f64, "{same} of {}: {one:?} and {other:?}", one.len());
    }
}

/// Of many worlds that begin with two servers, or with three.
#[test]
fn one_more_server_does_not_make_more_of_them_likelier() {
    let mut runner = proptest::test_runner::TestRunner::new(worlds(12));
    let added = std::cell::Cell::new([0_u32; 2]);
    let world = level_world(120.0, 0.2..0.9);
    let compare = |recipe: Recipe| {
        for more in [0, 1] {
            let scenario = Scenario { serving_at_start: 2 + more, servers: 9, ..recipe.scenario.clone() };
            let by = |second: &Second| match second.begun {
                Some(Decision::ScaleUp { by, .. }) => by,
                _ => 0,
            };
            let mut sums = added.get();
            sums[more] += play(&Recipe { scenario, ..recipe.clone() }).iter().map(by).sum::<u32>();
            added.set(sums);
        }
        Ok(())
    };
    runner.run(&world, compare).unwrap();
    let [two, three] = added.get();
    assert!(three <= two, "{two} were added to two servers, and {three} to three");
}
