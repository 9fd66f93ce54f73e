//! What is meant to stay of the servers, and what is not.

use super::*;
use crate::core::controller::ServerStanding;

impl World {
    fn standing(&self, server: &str) -> ServerStanding {
        let standing = self.controller.standing().expect("HAProxy was read");
        let server = standing[0].servers.iter().find(|standing| standing.server == server);
        server.expect("it is there").clone()
    }
}

#[test]
fn nothing_is_known_before_haproxy_was_read() {
    assert_eq!(World::new(1, 1).controller.standing(), None);
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
