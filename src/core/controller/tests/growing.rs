//! Slots that run out, and more that are asked for.

use std::sync::Arc;

use super::*;
use crate::core::controller::{Answer, Growable, Origin, of_node};
use crate::core::plan::supply::{Candidate, Offer};
use crate::core::plan::testing::{at, slot};
use crate::core::policy::place::Growth;
use crate::core::settings::Policy;
use crate::core::settings::spares::{Grow, Keywords, Spares};

/// s1 serves; s2 is a slot at one of the five addresses of the pool, and serves too.
fn world(grow: Option<Grow>, growable: Growable) -> World {
    let mut world = World::new(1, 1);
    slot(world.site.server("s2"));
    world.site.settings.spares = Spares::Slots { placeholder: None, grow };
    world.site.settings.policy = Policy::Threshold;
    world.controller.reconfigure(vec![world.site.settings.clone()], world.now);
    let candidate =
        |n: u8| Arc::new(Candidate { address: at(&format!("10.0.0.{n}:80")), name: None, warm_up: None });
    let candidates = (1..=5).map(candidate).collect();
    let offer = Offer { candidates, keywords: Keywords::default() };
    world.controller.handle_offer(world.site.backend.id, offer);
    world.controller.handle_growable(growable);
    world
}

fn can() -> Growable {
    Ok(Growth::UnderWay)
}

fn by(by: u32, to: Option<u32>) -> Option<Grow> {
    Some(Grow { by, to })
}

impl World {
    /// So many have to serve; what is ordered is done at once.
    fn has_to_serve(&mut self, min: u32) {
        self.site.settings.ready.min = min;
        self.controller.reconfigure(vec![self.site.settings.clone()], self.now);
        for _ in 0..3 {
            self.second(FAST_MS);
            if self.has_plan() {
                let plan = self.take_plan();
                self.succeed(&plan);
            }
        }
    }

    /// The slots that are to come, and why there are no more servers.
    fn slots_and_reason(&mut self) -> (String, String) {
        let view = self.controller.view(self.site.backend.id, self.now).expect("it is configured");
        let (decision, _) = view.decision.expect("it was evaluated");
        (view.slots_to_come.join(" "), decision.reason().to_string())
    }

    #[track_caller]
    fn check(&mut self, slots: &str, reason: &str) {
        let (found, why) = self.slots_and_reason();
        assert_eq!(found, slots, "{why}");
        assert!(why.contains(reason), "{why}");
    }

    /// HAProxy has s3 too, and each of several has it.
    fn gets_s3(&mut self, everywhere: bool) {
        let mut server = testing::server(self.site.id("s3"));
        slot(&mut server);
        (server.alike, server.everywhere) = (everywhere, everywhere);
        self.site.backend.servers.push(server);
        self.second(FAST_MS);
    }
}

#[test]
fn slots_are_asked_for_when_they_are_all_taken_and_not_before() {
    let mut world = world(by(1, None), can());
    world.has_to_serve(2);
    world.check("", "");
    world.has_to_serve(3);
    world.check("s3", "every slot is taken; haproxy.cfg gets the slot s3");
    // The same ones until they are there, whatever is asked for.
    world.seconds(5, FAST_MS);
    world.check("s3", "");
    world.has_to_serve(1);
    world.check("s3", "");
    world.gets_s3(true);
    world.check("", "");
}

#[test]
fn as_many_are_asked_for_as_are_missing_and_at_least_so_many_at_a_time() {
    let mut world = world(by(3, None), can());
    world.has_to_serve(3);
    world.check("s3 s4 s5", "gets the slots s3 to s5");
    // More are needed while they are on their way: only what is missing then.
    world.has_to_serve(6);
    world.check("s3 s4 s5 s6", "gets the slots s3 to s6");
}

#[test]
fn there_are_never_more_than_that() {
    let mut world = world(by(3, Some(2)), can());
    world.has_to_serve(6);
    world.check("s3", "haproxy.cfg gets the slot s3");
    world.gets_s3(true);
    world.has_to_serve(6);
    world.check("", "every slot is taken, and `grow` allows no more than 2; 3 more addresses wait");
}

#[test]
fn nothing_is_asked_for_where_it_is_off_or_cannot_be() {
    let mut off = world(None, can());
    off.has_to_serve(3);
    off.check("", "add `server-template s 3-6 127.0.0.1:1 disabled` to the backend");
    let mut cannot = world(by(3, None), Err("nobody writes it".to_owned()));
    cannot.has_to_serve(3);
    cannot.check("", "`grow` cannot do that, as nobody writes it");
    // From now on it can be.
    cannot.controller.handle_growable(Ok(Growth::Waits("it is night".to_owned())));
    cannot.second(FAST_MS);
    cannot.check("s3 s4 s5", "gets the slots s3 to s5: it is night");
    cannot.controller.handle_growable(Ok(Growth::Failed("it is full".to_owned())));
    cannot.second(FAST_MS);
    cannot.check("s3 s4 s5", "gets the slots s3 to s5, which has failed: it is full");
}

#[test]
fn a_new_slot_is_empty_and_like_one_that_is_there() {
    let mut world = world(by(1, None), can());
    world.has_to_serve(3);
    let standing = world.controller.standing(world.now).expect("it was read").remove(0);
    let new = standing.servers.last().expect("there are some");
    assert_eq!((new.server.as_str(), new.disabled, new.port), ("s3", Some(true), 1));
    assert_eq!(new.origin, Origin::SlotToCome { like: "s2".to_owned() });
    // Of several HAProxys each is to get it; one that has it has it.
    let origins = |inventory: Option<&Inventory>| {
        let answer = inventory.map(|inventory| Answer { inventory, in_line: true });
        let all = of_node(std::slice::from_ref(&standing), answer, &world.site.names);
        let origin = all[0].servers.iter().find(|server| server.server == "s3").map(|s3| s3.origin.clone());
        origin.expect("it is told")
    };
    assert_eq!(origins(None), new.origin);
    let before = world.inventory();
    assert_eq!(origins(Some(&before)), new.origin);
    let mut after = before;
    let mut s3 = testing::server(world.site.id("s3"));
    slot(&mut s3);
    after.backends[0].servers.push(s3);
    assert_eq!(origins(Some(&after)), Origin::Slot);
}

#[test]
fn a_slot_that_not_every_haproxy_has_is_to_come_still() {
    let mut world = world(by(1, None), can());
    world.has_to_serve(3);
    world.gets_s3(false);
    world.check("s3", "haproxy.cfg gets the slot s3");
    let standing = world.controller.standing(world.now).expect("it was read").remove(0);
    let s3 = standing.servers.iter().find(|server| server.server == "s3").expect("it is there");
    assert_eq!(s3.to_come_like(), Some("s2"));
}
