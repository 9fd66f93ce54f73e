//! Servers that are slower than their peers, with `weights: by_latency`.

use super::*;
use crate::core::plan::ownership::Role;
use crate::core::settings::Weights;

/// Three serve, one is a spare; outliers are drained after a minute.
fn world() -> World {
    let mut world = World::new(3, 1);
    world.site.settings.weights = Weights::ByLatency;
    world.site.settings.outliers.drain_after = 60 * SECOND;
    world.site.settings.ready.min = 3;
    let settings = vec![world.site.settings.clone()];
    world.controller.reconfigure(settings, world.now);
    world
}

impl World {
    /// Seconds in which s1 takes `slow_ms`, the others 60 ms, and every plan is carried out at once.
    pub(super) fn unequal_seconds(&mut self, count: usize, slow_ms: i32) -> Vec<Plan> {
        self.seconds_with_slow(&["s1"], count, slow_ms)
    }

    fn seconds_with_slow(&mut self, slow: &[&str], count: usize, slow_ms: i32) -> Vec<Plan> {
        let slow: Vec<ServerId> = slow.iter().map(|name| self.site.id(name)).collect();
        let mut plans = Vec::new();
        for _ in 0..count {
            self.now += SECOND;
            let serving: Vec<ServerId> = self.site.backend.serving().map(|server| server.id).collect();
            let samples: Vec<Sample> = (0..60)
                .map(|n| serving[n % serving.len()])
                .map(|server| self.sample(server, if slow.contains(&server) { slow_ms } else { 60 }))
                .collect();
            self.site.backend.total_sessions += samples.len() as u64;
            self.controller.handle_samples(&samples, self.now);
            self.look();
            self.controller.handle_tick(self.now);
            self.collect();
            while self.has_plan() {
                let plan = self.take_plan();
                self.carry_out(&plan);
                plans.push(plan);
            }
        }
        plans
    }

    fn carry_out(&mut self, plan: &Plan) {
        for step in &plan.before {
            let Step::SetWeights(weights) = step else { continue };
            for &(server, weight) in weights {
                let found = self.site.backend.servers.iter_mut().find(|found| found.id == server);
                found.expect("it is there").weight = weight;
            }
        }
        for lane in &plan.lanes {
            let name = self.site.names.of_server(lane.server).to_string();
            match plan.purpose {
                Purpose::Add => ready(self.site.server(&name)),
                _ => maint(self.site.server(&name)),
            }
            self.report(Outcome::Moved { backend: plan.backend, server: lane.server, purpose: plan.purpose });
        }
        self.report(Outcome::Finished { backend: plan.backend, purpose: plan.purpose, called_off: false });
    }

    pub(super) fn weights(&self) -> Vec<u16> {
        self.site.backend.servers.iter().map(|server| server.weight.value()).collect()
    }
}

#[test]
fn a_slow_server_gets_less_step_by_step_and_its_weight_back_when_it_is_well() {
    let mut world = world();
    world.site.settings.outliers.drain_after = Duration::ZERO;
    let settings = vec![world.site.settings.clone()];
    world.controller.reconfigure(settings, world.now);
    let plans = world.unequal_seconds(120, 300);
    assert!(plans.iter().all(|plan| plan.purpose == Purpose::Reweigh), "{plans:#?}");
    assert!((3..=6).contains(&plans.len()), "{} changes of weights", plans.len());
    let weights = world.weights();
    assert!((33..=45).contains(&weights[0]) && weights[1..] == [100, 100, 100], "{weights:?}");
    world.unequal_seconds(180, 60);
    assert_eq!(world.weights(), [1, 1, 1, 1]);
}

#[test]
fn one_that_somebody_weighs_keeps_that_weight_while_another_gets_less() {
    let mut world = World::new(5, 0);
    world.site.settings.weights = Weights::ByLatency;
    world.site.settings.outliers.drain_after = Duration::ZERO;
    world.controller.reconfigure(vec![world.site.settings.clone()], world.now);
    world.seconds_with_slow(&["s1", "s2"], 120, 300);
    let weights = world.weights();
    assert!(weights[..2].iter().all(|weight| *weight < 50), "{weights:?}");
    world.site.server("s1").weight = Weight::saturating(90.0);
    world.seconds_with_slow(&["s1", "s2"], 60, 600);
    let weights = world.weights();
    assert!(weights[0] == 90 && weights[1] < 50, "{weights:?}");
}

impl World {
    /// Which servers these plans start, and which they take away.
    fn moves(&self, plans: &[Plan]) -> Vec<(Purpose, String)> {
        let moves = plans.iter().filter(|plan| plan.purpose != Purpose::Reweigh).flat_map(|plan| {
            let name = |server| self.site.names.of_server(server).to_string();
            plan.lanes.iter().map(move |lane| (plan.purpose, name(lane.server)))
        });
        moves.collect()
    }

    fn set_ready(&mut self, min: u32, max: Option<u32>) {
        self.site.settings.ready = crate::core::settings::ReadyLimits { min, max };
        self.controller.reconfigure(vec![self.site.settings.clone()], self.now);
    }
}

#[test]
fn one_that_is_slow_for_long_is_drained_after_a_spare_has_taken_its_place() {
    let mut world = world();
    let plans = world.unequal_seconds(240, 300);
    let expected = [(Purpose::Add, "s4".to_owned()), (Purpose::Remove, "s1".to_owned())];
    assert_eq!(world.moves(&plans), expected, "the fewest allowed serve all the time");
    let rules = world.rules();
    let told: Vec<_> = rules.iter().filter(|rule| ["stand_in", "outlier"].contains(*rule)).collect();
    assert_eq!(told, [&"stand_in", &"outlier"]);
    let (now, id) = (world.now, world.site.id("s1"));
    let view = world.controller.view(world.site.backend.id, now).expect("it is configured");
    let s1 = view.servers.iter().find(|server| server.state.id == id).expect("it is there");
    assert_eq!(s1.role, Role::Spare);
    assert!(s1.quarantine.is_some(), "it is passed over");
}

#[test]
fn with_as_many_as_may_serve_it_is_drained_first_or_not_at_all() {
    let mut world = world();
    world.set_ready(3, Some(3));
    let plans = world.unequal_seconds(240, 300);
    assert_eq!(world.moves(&plans), [], "the fewest allowed, and the most");
    world.set_ready(2, Some(3));
    let plans = world.unequal_seconds(5, 300);
    assert_eq!(world.moves(&plans), [(Purpose::Remove, "s1".to_owned())]);
}

#[test]
fn what_else_was_started_meanwhile_takes_its_place_too() {
    let mut world = world();
    world.unequal_seconds(60, 300);
    world.set_ready(4, None);
    let plans = world.unequal_seconds(5, 300);
    assert_eq!(world.moves(&plans), [(Purpose::Add, "s4".to_owned())]);
    world.set_ready(3, None);
    let plans = world.unequal_seconds(120, 300);
    assert_eq!(world.moves(&plans), [(Purpose::Remove, "s1".to_owned())], "no other spare is needed");
}
