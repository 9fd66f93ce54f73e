//! What an operator is told and shown of servers.

use super::*;
use crate::core::plan::inventory::OperationalState;

impl World {
    fn check_fails(&mut self, name: &str, fails: bool) {
        let server = self.site.server(name);
        server.operational = if fails { OperationalState::Stopped } else { OperationalState::Running };
        self.second(FAST_MS);
    }

    /// Whether each server that was told of is up.
    fn told_checks(&self) -> Vec<bool> {
        let up = |action: &Action| match action {
            Action::Record(record) => match record.event {
                Event::Checked { up, .. } => Some(up),
                _ => None,
            },
            _ => None,
        };
        self.done.iter().filter_map(up).collect()
    }

    /// The step that the plan is at with this server, and for how long.
    fn step_of(&mut self, name: &str) -> Option<(Step, Duration)> {
        let (id, now) = (self.site.id(name), self.now);
        let view = self.controller.view(self.site.backend.id, now).expect("it is configured");
        view.servers.into_iter().find(|server| server.state.id == id)?.step
    }
}

#[test]
fn a_server_that_goes_down_is_told_once_and_so_is_its_return() {
    let mut world = World::new(2, 1);
    world.seconds(3, FAST_MS);
    world.check_fails("s2", true);
    world.check_fails("s2", true);
    assert_eq!(world.told_checks(), [false]);
    world.check_fails("s2", false);
    assert_eq!(world.told_checks(), [false, true]);
}

#[test]
fn one_that_is_down_and_taken_out_of_service_has_not_come_back() {
    let mut world = World::new(2, 1);
    world.check_fails("s2", true);
    maint(world.site.server("s2"));
    world.second(FAST_MS);
    assert_eq!(world.told_checks(), [false], "at first sight too");
    ready(world.site.server("s2"));
    world.second(FAST_MS);
    assert_eq!(world.told_checks(), [false]);
}

#[test]
fn the_step_that_is_waited_for_is_shown_with_how_long_it_is_waited_for() {
    let mut world = World::new(2, 1);
    world.seconds(330, FAST_MS);
    let plan = world.take_plan();
    let lane = plan.lanes[0].clone();
    let name = world.site.names.of_server(lane.server).to_string();
    let (set, wait) = (lane.steps[0].clone(), lane.steps[1].clone());
    assert!(matches!(wait, Step::AwaitDrained { .. }), "{wait:?}");
    assert_eq!(world.step_of(&name).map(|(step, _)| step), Some(set.clone()));
    world.report(Outcome::StepDone { backend: plan.backend, step: set, took: Duration::ZERO });
    world.now += 7 * SECOND;
    assert_eq!(world.step_of(&name), Some((wait, 7 * SECOND)));
    world.succeed(&plan);
    assert_eq!(world.step_of(&name), None);
}
