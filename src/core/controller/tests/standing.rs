//! What is meant to stay of the servers, and what is not.

use super::*;
use crate::core::controller::{Answer, Origin, ServerStanding, of_node};
use crate::core::plan::supply::Offer;
use crate::core::plan::testing;
use crate::core::settings::spares::{Keywords, Spares};

impl World {
    fn standing(&self, server: &str) -> ServerStanding {
        let standing = self.controller.standing(self.now).expect("HAProxy was read");
        let server = standing[0].servers.iter().find(|standing| standing.server == server);
        server.expect("it is there").clone()
    }
}

#[test]
fn nothing_is_known_before_haproxy_was_read() {
    assert_eq!(World::new(1, 1).controller.standing(Instant::now()), None);
}

#[test]
fn serving_servers_and_spares_stand_as_they_are() {
    let mut world = World::new(1, 1);
    world.second(FAST_MS);
    let (serving, spare) = (world.standing("s1"), world.standing("s2"));
    assert_eq!((serving.disabled, serving.is_out), (Some(false), false));
    assert_eq!((spare.disabled, spare.is_out), (Some(true), true));
    assert!(serving.weight.is_some() && spare.weight.is_some());
}

/// Written down as `disabled`, it would be a spare of ours after the next reload.
#[test]
fn what_somebody_else_has_taken_out_is_left_as_the_configuration_has_it() {
    for admin in [0x01, 0x08] {
        let mut world = World::new(2, 0);
        flags(world.site.server("s2"), admin);
        world.second(FAST_MS);
        let server = world.standing("s2");
        assert_eq!((server.disabled, server.weight, server.is_out), (None, None, true), "{admin:#x}");
    }
}

#[test]
fn a_weight_that_is_only_for_a_while_is_not_the_one_that_stays() {
    let weights = [("s1".to_owned(), Weight::MAX)].into();
    let memory = BackendMemory { name: "web".into(), weights, ..Default::default() };
    let mut world = World::with_memory(1, 1, &Memory { backends: vec![memory], ..Default::default() });
    world.second(FAST_MS);
    let server = world.standing("s1");
    assert_eq!((server.current_weight, server.weight), (Weight::ONE, Some(Weight::MAX)));
}

/// It is some percent of the configured one: written down, it would be taken of itself after each reload.
#[test]
fn a_weight_that_an_agent_check_sets_is_left_as_the_configuration_has_it() {
    let mut world = World::new(2, 0);
    world.site.server("s2").agent_checked = true;
    world.second(FAST_MS);
    assert_eq!((world.standing("s1").weight, world.standing("s2").weight), (Some(Weight::ONE), None));
}

/// s1 serves, s2 is a slot that was filled and has gone back to MAINT.
#[test]
fn nobody_knows_whose_servers_are_whose_before_the_pool_has_told() {
    let mut world = World::new(1, 1);
    testing::slot(world.site.server("s2"));
    testing::move_to(world.site.server("s2"), "10.0.0.4:80");
    world.site.settings.spares = Spares::Slots { placeholder: None, grow: None };
    world.controller.reconfigure(vec![world.site.settings.clone()], world.now);
    world.second(FAST_MS);
    assert_eq!(world.controller.standing(world.now), None);
    world.controller.handle_offer(world.site.backend.id, Offer::default());
    let (serving, slot) = (world.standing("s1"), world.standing("s2"));
    assert_eq!((serving.origin, slot.origin), (Origin::Declared, Origin::Slot));
}

#[test]
fn a_slot_that_there_is_no_address_for_stays_in_maint() {
    let mut world = World::new(1, 1);
    testing::slot(world.site.server("s2"));
    world.site.settings.spares = Spares::Slots { placeholder: None, grow: None };
    world.controller.reconfigure(vec![world.site.settings.clone()], world.now);
    world.controller.handle_offer(world.site.backend.id, Offer::default());
    world.second(FAST_MS);
    assert_eq!(world.standing("s2").disabled, Some(true));
}

/// s1 as one of several HAProxys is to keep it: `together` is how all of them have it, the node has `own`.
#[track_caller]
fn check_of_node(
    together: impl FnOnce(&mut ServerStanding),
    own: Option<&dyn Fn(&mut World)>,
    in_line: bool,
    expected: &str,
) {
    let mut world = World::new(1, 0);
    world.second(FAST_MS);
    let mut all = world.controller.standing(world.now).unwrap();
    together(&mut all[0].servers[0]);
    let inventory = own.map(|own| {
        own(&mut world);
        world.inventory()
    });
    let answer = inventory.as_ref().map(|inventory| Answer { inventory, in_line });
    let found = of_node(&all, answer, &world.site.names);
    let words = found.iter().flat_map(|backend| &backend.servers).map(|server| {
        let weight = server.weight.map_or("-".to_owned(), |weight| weight.to_string());
        let address = server.address.map_or("-".to_owned(), |ip| format!("{ip}:{}", server.port));
        format!("{} {:?} {weight} {address}", server.server, server.disabled)
    });
    let words = if found.is_empty() { "no backend".to_owned() } else { words.collect() };
    assert_eq!(words, expected);
}

fn weight(weight: u16) -> Weight {
    Weight::new(weight).unwrap()
}

/// Of the others, s1 is READY at 10.0.0.1:80 with its configured weight of 1.
#[test]
fn what_a_haproxy_has_of_its_own_stays_its_own() {
    let others = |server: &mut ServerStanding| {
        (server.address, server.port) = (Some([10, 0, 0, 1].into()), 80);
    };
    let elsewhere = |world: &mut World| {
        let s1 = world.site.server("s1");
        testing::move_to(s1, "10.9.0.1:80");
        (s1.weight, s1.initial_weight) = (weight(20), weight(20));
    };
    // Away or not, it is as it was seen last.
    check_of_node(others, Some(&elsewhere), true, "s1 Some(false) 20 10.9.0.1:80");
    check_of_node(others, Some(&elsewhere), false, "s1 Some(false) 20 10.9.0.1:80");
    check_of_node(others, None, false, "s1 Some(false) - -");
    let without = |world: &mut World| world.site.backend.servers.clear();
    check_of_node(others, Some(&without), true, "");
    check_of_node(others, Some(&without), false, "");
}

#[test]
fn a_state_is_everybodys_also_where_it_is_not_yet_so() {
    let in_maint = |world: &mut World| maint(world.site.server("s1"));
    check_of_node(|_| {}, Some(&in_maint), false, "s1 Some(false) 1 127.0.0.1:8080");
    check_of_node(
        |server| server.disabled = Some(true),
        Some(&|_| {}),
        false,
        "s1 Some(true) 1 127.0.0.1:8080",
    );
    check_of_node(|server| server.disabled = None, Some(&|_| {}), true, "s1 None 1 127.0.0.1:8080");
}

#[test]
fn a_weight_that_was_changed_holds_for_all() {
    let changed = |server: &mut ServerStanding| {
        (server.weight, server.current_weight) = (Some(weight(70)), weight(70));
    };
    let own = |world: &mut World| {
        let s1 = world.site.server("s1");
        (s1.weight, s1.initial_weight) = (weight(20), weight(20));
    };
    check_of_node(changed, Some(&own), false, "s1 Some(false) 70 127.0.0.1:8080");
    check_of_node(changed, None, false, "s1 Some(false) 70 -");
    // One for a while only.
    let for_a_while = |server: &mut ServerStanding| server.current_weight = weight(5);
    let own = |world: &mut World| world.site.server("s1").weight = weight(5);
    check_of_node(for_a_while, Some(&own), true, "s1 Some(false) 1 127.0.0.1:8080");
    // Changed back, and it was away.
    check_of_node(|_| {}, Some(&own), false, "s1 Some(false) 1 127.0.0.1:8080");
    // Nobody's to write down.
    check_of_node(|server| server.weight = None, Some(&own), true, "s1 Some(false) - 127.0.0.1:8080");
}

#[test]
fn what_comes_from_the_pool_is_everybodys_and_what_was_restarted_gets_it_again() {
    let of_pool = |origin: Origin| {
        move |server: &mut ServerStanding| {
            (server.address, server.port, server.origin) = (Some([10, 0, 0, 4].into()), 80, origin);
        }
    };
    let empty = |world: &mut World| testing::move_to(world.site.server("s1"), "127.0.0.1:1");
    check_of_node(of_pool(Origin::Slot), Some(&empty), false, "s1 Some(false) 1 10.0.0.4:80");
    check_of_node(of_pool(Origin::Slot), None, false, "s1 Some(false) - 10.0.0.4:80");
    let added = || of_pool(Origin::Added(Keywords::default()));
    let without = |world: &mut World| world.site.backend.servers.clear();
    check_of_node(added(), Some(&without), false, "s1 Some(false) 1 10.0.0.4:80");
    check_of_node(added(), None, false, "s1 Some(false) 1 10.0.0.4:80");
    // Somebody has deleted it.
    check_of_node(added(), Some(&without), true, "");
}

#[test]
fn a_backend_that_a_haproxy_lacks_is_not_for_it() {
    let another = |world: &mut World| world.site.backend.id = world.site.names.backend("other").unwrap();
    check_of_node(|_| {}, Some(&another), true, "no backend");
}
