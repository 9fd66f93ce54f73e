//! HAProxy is restarted with a state file from while weights were those of a ramp, or were shares.

use super::*;
use crate::core::settings::Weights;

/// Weights of s1, s2, ...
type Row = Vec<u16>;

impl World {
    /// Servers of weight `own`, the last of which is started with a ramp. What HAProxy showed meanwhile.
    fn ramped(servers: usize, own: u16) -> (Self, Vec<Row>) {
        let mut world = Self::new(servers - 1, 1);
        for server in &mut world.site.backend.servers {
            (server.weight, server.initial_weight) = (weight(own), weight(own));
        }
        (world.site.settings.warm_up.ramp, world.site.settings.ready.min) = (10 * SECOND, servers as u32);
        world.controller.reconfigure(vec![world.site.settings.clone()], world.now);
        world.seconds(2, FAST_MS);
        let plan = world.take_plan();
        let mut meanwhile = world.site.backend.clone();
        let mut rows = Vec::new();
        for step in plan.before.iter().chain(&plan.lanes[0].steps) {
            apply(&mut meanwhile, step);
            rows.extend(matches!(step, Step::SetWeights(_)).then(|| row(&meanwhile)));
        }
        world.succeed(&plan);
        world.second(FAST_MS);
        assert_eq!(world.weights(), vec![own; servers]);
        (world, rows)
    }

    fn give(&mut self, row: &[u16]) {
        for (server, &value) in self.site.backend.servers.iter_mut().zip(row) {
            server.weight = weight(value);
        }
    }

    /// HAProxy is restarted, and has these weights.
    fn restart_with(&mut self, row: &[u16]) {
        self.pid += 1;
        self.give(row);
        self.done.clear();
    }

    /// Another agent, by what this one remembers.
    fn replace_agent(&mut self) {
        let memory = self.controller.memory(self.now);
        let settings = vec![self.site.settings.clone()];
        self.controller = Controller::new(self.site.names.clone(), settings, &memory, self.now);
    }

    /// What is planned within some seconds is done.
    fn settle_weights(&mut self) {
        for _ in 0..3 {
            self.second(FAST_MS);
            while self.has_plan() {
                let plan = self.take_plan();
                assert_eq!(plan.purpose, Purpose::Reweigh);
                self.succeed(&plan);
            }
        }
    }

    /// How often was told that weights came back, and that one was left as it is.
    fn told_of_weights(&self) -> (usize, usize) {
        let is_left = |event: &Event| {
            matches!(event, Event::ChangedByOther { change: Some(Change::WeightAtRestart { .. }), .. })
        };
        (self.told(|event| matches!(event, Event::WeightsBroughtBack(_))), self.told(is_left))
    }
}

fn weight(value: u16) -> Weight {
    Weight::saturating(value.into())
}

fn row(backend: &BackendState) -> Row {
    backend.servers.iter().map(|server| server.weight.value()).collect()
}

#[test]
fn weights_of_a_ramp_are_put_right_at_every_restart_that_brings_them_back() {
    for own in [1, 10, 60] {
        for is_another_agent in [false, true] {
            let (mut world, rows) = World::ramped(3, own);
            for row in rows {
                if is_another_agent {
                    world.replace_agent();
                }
                world.restart_with(&row);
                world.settle_weights();
                assert_eq!(world.weights(), [own; 3], "of {row:?}");
                assert_eq!(world.told_of_weights(), (1, 0), "of {row:?}");
            }
        }
    }
}

#[test]
fn weights_that_come_back_in_the_middle_of_a_move_are_put_right_after_it() {
    let (mut world, rows) = World::ramped(3, 1);
    (world.site.settings.ready.min, world.site.settings.ready.max) = (1, Some(2));
    world.controller.reconfigure(vec![world.site.settings.clone()], world.now);
    world.seconds(60, FAST_MS);
    let plan = world.take_plan();
    assert_eq!(plan.purpose, Purpose::Remove);
    world.restart_with(&rows[4]);
    world.seconds(2, FAST_MS);
    world.succeed(&plan);
    world.settle_weights();
    assert_eq!((world.weights(), world.told_of_weights()), (vec![1; 3], (1, 0)));
}

#[test]
fn what_is_owed_is_no_weight_to_be_kept() {
    let (mut world, rows) = World::ramped(3, 10);
    world.restart_with(&rows[4]);
    world.look();
    let standing = world.controller.standing(world.now).expect("it has been read");
    assert!(standing[0].servers.iter().all(|server| server.weight == Some(weight(10))), "{standing:?}");
    assert_eq!(world.controller.memory(world.now).backends[0].weights.len(), 3);
}

#[test]
fn configured_weights_are_right() {
    let (mut world, rows) = World::ramped(3, 10);
    for (server, &value) in world.site.backend.servers.iter_mut().zip(&rows[4]) {
        server.initial_weight = weight(value);
    }
    world.restart_with(&rows[4]);
    world.settle_weights();
    assert_eq!((world.weights(), world.told_of_weights()), (rows[4].clone(), (0, 0)));
}

#[test]
fn a_weight_that_anybody_could_have_set_is_left_and_told() {
    let (mut world, rows) = World::ramped(3, 100);
    let row = &rows[5];
    assert_eq!(row[..], [100, 100, 50], "nothing has to be multiplied");
    for told in [1, 0] {
        world.restart_with(row);
        world.settle_weights();
        assert_eq!((world.weights(), world.told_of_weights()), (row.clone(), (0, told)));
    }
}

#[test]
fn a_weight_that_somebody_was_seen_to_set_stays_where_the_others_are_put_right() {
    for is_another_agent in [false, true] {
        let (mut world, rows) = World::ramped(4, 1);
        let mut theirs = world.weights();
        theirs[1] = 100;
        world.give(&theirs);
        world.second(FAST_MS);
        if is_another_agent {
            world.replace_agent();
        }
        world.restart_with(&theirs);
        world.settle_weights();
        assert_eq!((world.weights(), world.told_of_weights()), (theirs.clone(), (0, 0)));
        world.restart_with(&rows[4]);
        world.settle_weights();
        assert_eq!((world.weights(), world.told_of_weights()), (theirs, (1, 0)));
    }
}

#[test]
fn weights_of_shares_are_put_right_too() {
    let mut world = World::new(3, 0);
    world.site.settings.weights = Weights::ByLatency;
    world.site.settings.ready.min = 3;
    world.controller.reconfigure(vec![world.site.settings.clone()], world.now);
    world.unequal_seconds(60, 400);
    let then = world.weights();
    assert!(then[0] < 100 && then[1..] == [100, 100], "{then:?}");
    world.unequal_seconds(240, 60);
    assert_eq!(world.weights(), [1, 1, 1]);
    for _ in 0..2 {
        world.restart_with(&then);
        world.settle_weights();
        assert_eq!((world.weights(), world.told_of_weights()), (vec![1, 1, 1], (1, 0)));
    }
}

#[test]
fn shares_in_force_are_not_put_right_by_a_restart_that_keeps_them() {
    let mut world = World::new(3, 0);
    world.site.settings.weights = Weights::ByLatency;
    world.controller.reconfigure(vec![world.site.settings.clone()], world.now);
    world.unequal_seconds(60, 400);
    let then = world.weights();
    world.restart_with(&then);
    world.look();
    world.collect();
    assert_eq!(world.told_of_weights(), (0, 0));
    let owed = &world.controller.memory(world.now).backends[0].weights;
    assert!(owed.values().all(|&owed| owed == Weight::ONE) && owed.len() == 3, "{owed:?}");
}

#[test]
fn servers_that_are_gone_are_forgotten() {
    let (mut world, _) = World::ramped(3, 1);
    world.site.backend.servers.truncate(2);
    world.settle_weights();
    let known = &world.controller.memory(world.now).backends[0].temporary;
    assert!(known.len() == 2 && !known.contains_key("s3"), "{known:?}");
}

proptest! {
    /// Whatever the agent has set, and whether anybody has seen it or not.
    #[test]
    fn a_weight_that_an_operator_has_set_at_a_restart_is_never_changed(
        own in prop::sample::select(vec![1_u16, 2, 10, 50, 100, 128, 200]), servers in 2..5_usize, at in 0..5_usize,
        theirs in 0..=256_u16, is_another_agent: bool,
    ) {
        let (mut world, _) = World::ramped(servers, own);
        if is_another_agent {
            world.replace_agent();
        }
        let mut row = world.weights();
        row[at % servers] = theirs;
        world.restart_with(&row);
        world.settle_weights();
        prop_assert_eq!(world.weights(), row);
    }
}
