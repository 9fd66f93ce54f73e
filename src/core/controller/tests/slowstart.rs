//! Newcomers that HAProxy's own `slowstart` lets into their share.

use super::*;
use crate::core::plan::outcome::Ramp;
use crate::core::policy::fleet::Fleet;
use crate::core::policy::pool::Stage;

/// s1 serves and is too slow; s2, a spare, is READY and throttled, its lane under way.
fn in_slowstart() -> (World, Plan) {
    let mut world = World::new(1, 2);
    world.seconds(21, SLOW_MS);
    let plan = world.take_plan();
    let newcomer = world.site.server("s2");
    ready(newcomer);
    (newcomer.slowstart, newcomer.throttle) = (true, Some(40));
    (world, plan)
}

impl World {
    /// A second in which every server answers, s2 with this class.
    fn answers(&mut self, class: Class) {
        let (newcomer, serving) = (self.site.id("s2"), self.site.backend.serving().map(|server| server.id));
        let servers: Vec<ServerId> = serving.collect();
        let samples: Vec<Sample> = (0..40)
            .map(|n| servers[n % servers.len()])
            .map(|server| {
                let class = if server == newcomer { class } else { Class::Success };
                Sample { class, ..self.sample(server, FAST_MS) }
            })
            .collect();
        self.site.backend.total_sessions += samples.len() as u64;
        self.controller.handle_samples(&samples, self.now);
        self.second(-1);
    }

    fn ramps(&self) -> Vec<Option<&Ramp>> {
        let changes = self.done.iter().filter_map(|action| match action {
            Action::Change(_, changes) => Some(changes.ramps.values().next()),
            _ => None,
        });
        changes.collect()
    }
}

#[test]
fn one_that_fails_is_turned_away_though_the_agent_sets_no_weights() {
    let (mut world, plan) = in_slowstart();
    assert!(plan.before.is_empty() && plan.after.is_empty(), "{plan:?}");
    assert!(!plan.lanes[0].retreat.is_empty(), "there is a way back: {plan:?}");
    (0..5).for_each(|_| world.answers(Class::Server));
    let ramps = world.ramps();
    assert!(matches!(ramps[..], [.., Some(Ramp::TurnedAway(_))]), "{ramps:?}");
    assert!(world.done.contains(&Action::Remember), "where it goes from here is nobody's hand");
    let known = &world.controller.memory(world.now).backends[0].known["s2"];
    assert!(known.states.contains(&AdminState::Drain), "{known:?}");
}

#[test]
fn one_that_is_like_the_others_is_left_to_haproxy() {
    let (mut world, _) = in_slowstart();
    (0..30).for_each(|_| world.answers(Class::Success));
    assert_eq!(world.ramps(), []);
}

#[test]
fn a_newcomer_without_it_and_without_a_ramp_is_nobodys_concern() {
    let (mut world, _) = in_slowstart();
    let newcomer = world.site.server("s2");
    (newcomer.slowstart, newcomer.throttle) = (false, None);
    (0..5).for_each(|_| world.answers(Class::Server));
    assert_eq!(world.ramps(), []);
}

#[test]
fn who_was_seen_in_it_gets_no_ramp_next_time() {
    let ramps = |seen: bool| {
        let mut world = World::new(1, 1);
        world.site.settings.warm_up.ramp = 30 * SECOND;
        world.controller.reconfigure(vec![world.site.settings.clone()], world.now);
        world.site.server("s2").slowstart = seen;
        world.second(FAST_MS);
        world.site.server("s2").slowstart = false;
        world.seconds(30, SLOW_MS);
        !world.take_plan().before.is_empty()
    };
    assert_eq!([false, true].map(ramps), [true, false]);
}

#[test]
fn what_a_restarted_haproxy_has_is_found_out_anew() {
    let mut world = World::new(1, 1);
    world.site.server("s2").slowstart = true;
    world.second(FAST_MS);
    world.site.server("s2").slowstart = false;
    let knows = |world: &mut World| world.controller.views(world.now)[0].servers[1].state.slowstart;
    assert!(knows(&mut world));
    world.pid += 1;
    world.second(FAST_MS);
    assert!(!knows(&mut world));
}

#[test]
fn one_in_it_counts_as_on_its_way_unless_it_is_alone() {
    let (mut world, _) = in_slowstart();
    let at = |world: &World, stage: Stage| {
        let backend = world.controller.backends.values().next().expect("one is configured");
        let pool = backend.pool(&world.site.backend, &Fleet::default(), &world.site.names, world.now);
        let names = pool.at(stage).map(|member| world.site.names.of_server(member.server).to_string());
        names.collect::<Vec<_>>().join(" ")
    };
    assert_eq!([Stage::Serving, Stage::Starting].map(|stage| at(&world, stage)), ["s1", "s2"]);
    maint(world.site.server("s1"));
    assert_eq!([Stage::Serving, Stage::Starting].map(|stage| at(&world, stage)), ["s2", ""]);
}
