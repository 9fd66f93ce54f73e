//! What is meant to stay of the servers, and what is not.

use super::*;
use crate::core::controller::{Origin, ServerStanding};
use crate::core::plan::supply::Offer;
use crate::core::plan::testing;
use crate::core::settings::spares::Spares;

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
    let mut world = World::with_memory(1, 1, &Memory { backends: vec![memory] });
    world.second(FAST_MS);
    let server = world.standing("s1");
    assert_eq!((server.current_weight, server.weight), (Weight::ONE, Some(Weight::MAX)));
}

/// s1 serves, s2 is a slot that was filled and has gone back to MAINT.
#[test]
fn nobody_knows_whose_servers_are_whose_before_the_pool_has_told() {
    let mut world = World::new(1, 1);
    testing::slot(world.site.server("s2"));
    testing::move_to(world.site.server("s2"), "10.0.0.4:80");
    world.site.settings.spares = Spares::Slots { placeholder: None };
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
    world.site.settings.spares = Spares::Slots { placeholder: None };
    world.controller.reconfigure(vec![world.site.settings.clone()], world.now);
    world.controller.handle_offer(world.site.backend.id, Offer::default());
    world.second(FAST_MS);
    assert_eq!(world.standing("s2").disabled, Some(true));
}
