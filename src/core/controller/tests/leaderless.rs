//! Several HAProxys, and none of them in line.

use super::*;

impl World {
    /// A second in which all have lost their spares, and none has got them back.
    fn second_with_none_in_line(&mut self) {
        self.now += SECOND;
        let mut inventory = self.inventory();
        inventory.in_line.clear();
        let lost = &mut inventory.backends[0].servers;
        lost.iter_mut().filter(|server| server.admin.is_declared_disabled()).for_each(maint);
        lost.iter_mut().filter(|server| !server.admin.is_declared_disabled()).for_each(ready);
        self.controller.handle_inventory(inventory, self.now, self.now);
        self.controller.handle_tick(self.now);
        self.collect();
    }

    fn decision(&mut self) -> Decision {
        let view = self.controller.view(self.site.backend.id, self.now).expect("it is configured");
        view.decision.expect("it was evaluated").0
    }
}

/// s1 alone is declared to serve, s2 serves as well, and three have to.
fn with_two_spares() -> World {
    let mut world = World::new(1, 3);
    world.site.settings.ready.min = 3;
    world.controller.reconfigure(vec![world.site.settings.clone()], world.now);
    ["s2", "s3"].iter().for_each(|name| ready(world.site.server(name)));
    world.seconds(3, FAST_MS);
    assert!(!world.has_plan());
    world
}

#[test]
fn while_none_is_in_line_nothing_is_begun() {
    let mut world = with_two_spares();
    for _ in 0..20 {
        world.second_with_none_in_line();
    }
    assert!(!world.has_plan());
    assert!(matches!(world.decision(), Decision::Hold(Reason::NoneInLine { .. })), "{:?}", world.decision());
    world.second(FAST_MS);
    assert!(!world.has_plan(), "they have got back what they had");
    assert!(!matches!(world.decision(), Decision::Hold(Reason::NoneInLine { .. })));
}

#[test]
fn an_order_waits_until_one_is_in_line() {
    let mut world = with_two_spares();
    world.second_with_none_in_line();
    let wanted = Override { order: Order::Pin(4), by: Operator::default(), since: world.now, until: None };
    world.controller.handle_order(world.site.backend.id, wanted, world.now);
    world.collect();
    world.second_with_none_in_line();
    assert!(!world.has_plan());
    world.second(FAST_MS);
    assert_eq!(world.take_plan().lanes[0].server, world.site.id("s4"));
}

#[test]
fn what_they_have_lost_meanwhile_is_nobodys_hand_and_still_ours() {
    let mut world = World::new(2, 1);
    world.seconds(330, FAST_MS);
    let plan = world.take_plan();
    assert_eq!(plan.purpose, Purpose::Remove);
    world.succeed(&plan);
    let gone = plan.lanes[0].server;
    world.second(FAST_MS);
    for _ in 0..3 {
        world.second_with_none_in_line();
    }
    world.second(FAST_MS);
    assert_eq!(world.told(|event| matches!(event, Event::ChangedByOther { .. })), 0);
    let ours = &world.controller.memory(world.now).backends[0].ours;
    assert!(ours.contains(&*world.site.names.of_server(gone)), "{ours:?}");
}

#[test]
fn what_is_under_way_goes_on() {
    let mut world = World::new(3, 1);
    world.seconds(21, SLOW_MS);
    let plan = world.take_plan();
    world.second_with_none_in_line();
    world.succeed(&plan);
    world.second(FAST_MS);
    assert_eq!(world.site.backend.serving().count(), 4);
    assert_eq!(world.told(|event| matches!(event, Event::ChangedByOther { .. })), 0);
}
