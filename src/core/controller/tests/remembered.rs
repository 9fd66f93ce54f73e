//! What an agent that is killed leaves on the disk, and what the next one makes of it.

use super::*;

/// A world, and what its agent has written down.
struct Watched {
    world: World,
    written: Memory,
    /// So often.
    times: usize,
}

impl Watched {
    /// Two servers serve, and there may be one: the plan for that is ordered.
    fn one_too_many() -> (Self, Plan) {
        let mut world = World::new(2, 0);
        world.site.settings.ready.max = Some(1);
        world.controller.reconfigure(vec![world.site.settings.clone()], world.now);
        Self::ordered(world)
    }

    /// One serves, and there have to be two.
    fn one_too_few() -> (Self, Plan) {
        let mut world = World::new(1, 1);
        world.site.settings.ready.min = 2;
        world.controller.reconfigure(vec![world.site.settings.clone()], world.now);
        Self::ordered(world)
    }

    fn ordered(mut world: World) -> (Self, Plan) {
        world.until_plan();
        let plan = world.take_plan();
        let mut watched = Self { world, written: Memory::default(), times: 0 };
        watched.write();
        assert_eq!(watched.times, 1, "it is remembered before it is done");
        (watched, plan)
    }

    /// As the agent does it: once, however often it is asked to at a time.
    fn write(&mut self) {
        if self.world.done.contains(&Action::Remember) {
            self.written = self.world.controller.memory(self.world.now);
            self.times += 1;
        }
        self.world.done.clear();
    }

    fn report(&mut self, outcome: Outcome) {
        self.world.report(outcome);
        self.write();
    }

    /// Goes on with `plan`, and stops at `point`: how many of its steps are done, then its outcomes, then a tick.
    fn play_to(&mut self, plan: &Plan, point: usize) {
        let lane = &plan.lanes[0];
        let (backend, server, purpose) = (plan.backend, lane.server, plan.purpose);
        let steps = plan.before.iter().chain(&lane.steps).chain(&plan.after);
        for step in steps.clone().take(point) {
            apply(&mut self.world.site.backend, step);
        }
        let beyond = point.saturating_sub(steps.count());
        if beyond > 0 {
            self.report(Outcome::Moved { backend, server, purpose });
        }
        if beyond > 1 {
            self.report(Outcome::Finished { backend, purpose, called_off: false });
        }
        if beyond > 2 {
            self.world.second(FAST_MS);
            self.write();
        }
    }

    /// The agent is killed. The next one begins with what was written down, and other limits.
    fn next_agent(mut self, min: u32) -> World {
        self.world.site.settings.ready.min = min;
        self.world.site.settings.ready.max = None;
        let settings = vec![self.world.site.settings.clone()];
        self.world.controller =
            Controller::new(self.world.site.names.clone(), settings, &self.written, self.world.now);
        self.world
    }
}

impl World {
    /// Some seconds go by, until there is a plan.
    fn until_plan(&mut self) {
        for _ in 0..30 {
            if !self.has_plan() {
                self.second(FAST_MS);
            }
        }
    }

    /// A drain that is half done may be finished first: then the server is brought back.
    fn settle(&mut self) {
        for _ in 0..4 {
            self.until_plan();
            if self.has_plan() {
                let plan = self.take_plan();
                self.succeed(&plan);
            }
        }
    }
}

/// Points at which an agent may be killed: before and after each step, and after what comes of them.
fn points(plan: &Plan) -> std::ops::RangeInclusive<usize> {
    0..=plan.before.len() + plan.lanes[0].steps.len() + plan.after.len() + 3
}

#[test]
fn a_server_that_was_taken_away_is_known_as_ours_wherever_the_agent_was_killed() {
    for point in points(&Watched::one_too_many().1) {
        let (mut watched, plan) = Watched::one_too_many();
        watched.play_to(&plan, point);
        let mut world = watched.next_agent(2);
        let server = plan.lanes[0].server;
        world.settle();
        let state = world.site.backend.server(server).unwrap().state();
        assert_eq!(state, AdminState::Ready, "killed at {point}");
    }
}

#[test]
fn a_server_that_was_added_is_no_longer_ours_wherever_the_agent_was_killed() {
    for point in points(&Watched::one_too_few().1) {
        let (mut watched, plan) = Watched::one_too_few();
        watched.play_to(&plan, point);
        let mut world = watched.next_agent(2);
        world.settle();
        let kept = &world.controller.memory(world.now).backends[0];
        assert!(kept.ours.is_empty() && kept.weights.is_empty(), "killed at {point}: {kept:?}");
        assert_eq!(world.site.backend.serving().count(), 2, "killed at {point}");
        let weights: BTreeSet<Weight> = world.site.backend.servers.iter().map(|each| each.weight).collect();
        assert_eq!(weights.len(), 1, "killed at {point}: {weights:?}");
    }
}

#[test]
fn what_comes_of_plans_is_written_down_once_with_the_next_tick() {
    let (mut watched, plan) = Watched::one_too_many();
    watched.play_to(&plan, points(&plan).last().unwrap() - 1);
    assert_eq!(watched.times, 1, "its outcomes wait");
    watched.world.second(FAST_MS);
    watched.write();
    assert_eq!((watched.times, &watched.written), (2, &watched.world.controller.memory(watched.world.now)));
    watched.world.seconds(5, FAST_MS);
    watched.write();
    assert_eq!(watched.times, 2, "there is no more to write");
}

#[test]
fn weights_that_were_owed_to_a_server_that_is_gone_stand_in_no_ramps_way() {
    let owed = BackendMemory {
        name: "web".to_owned(),
        weights: [("gone".to_owned(), Weight::ONE)].into(),
        ..Default::default()
    };
    let mut world = World::with_memory(2, 1, &Memory { backends: vec![owed], shown_by: None });
    world.site.settings.warm_up.ramp = 10 * SECOND;
    world.controller.reconfigure(vec![world.site.settings.clone()], world.now);
    world.seconds(30, SLOW_MS);
    assert!(!world.take_plan().before.is_empty(), "it has a ramp");
}
