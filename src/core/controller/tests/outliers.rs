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
    fn unequal_seconds(&mut self, count: usize, slow_ms: i32) -> Vec<Plan> {
        let mut plans = Vec::new();
        for _ in 0..count {
            self.now += SECOND;
            let slow = self.site.id("s1");
            let serving: Vec<ServerId> = self.site.backend.serving().map(|server| server.id).collect();
            let samples: Vec<Sample> = (0..60)
                .map(|n| serving[n % serving.len()])
                .map(|server| self.sample(server, if server == slow { slow_ms } else { 60 }))
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

    fn weights(&self) -> Vec<u16> {
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
fn one_that_is_slow_for_long_is_drained_where_a_spare_can_take_its_place() {
    let mut world = world();
    let plans = world.unequal_seconds(240, 300);
    let moves: Vec<_> = plans.iter().filter(|plan| plan.purpose != Purpose::Reweigh).collect();
    assert_eq!(moves.len(), 0, "the fewest allowed serve: {moves:#?}");
    world.site.settings.ready.min = 2;
    let settings = vec![world.site.settings.clone()];
    world.controller.reconfigure(settings, world.now);
    let plans = world.unequal_seconds(5, 300);
    let gone: Vec<ServerId> = plans
        .iter()
        .filter(|plan| plan.purpose == Purpose::Remove)
        .flat_map(|plan| plan.lanes.iter().map(|lane| lane.server))
        .collect();
    assert_eq!(gone, [world.site.id("s1")]);
    assert_eq!(
        world.told(
            |event| matches!(event, Event::Decided { decision, .. } if decision.reason().key() == "outlier")
        ),
        1
    );
    let (now, id) = (world.now, world.site.id("s1"));
    let view = world.controller.view(world.site.backend.id, now).expect("it is configured");
    let s1 = view.servers.iter().find(|server| server.state.id == id).expect("it is there");
    assert_eq!(s1.role, Role::Spare);
    assert!(s1.quarantine.is_some_and(|left| left > 290 * SECOND), "{:?}", s1.quarantine);
}
