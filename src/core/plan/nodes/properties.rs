//! What holds for any nodes.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

use super::align::{self, Correction, Todo};
use super::merge::{self, Part};
use super::places::Places;
use super::tests::declared;
use crate::core::names::{BackendId, Names};
use crate::core::plan::inventory::{
    AdminFlags, AdminState, BackendState, Cookie, Inventory, OperationalState, ServerState,
};
use crate::core::plan::testing::{self, Site};
use crate::core::units::Weight;

/// More rounds than any node needs: up, drained, down one by one.
const ROUNDS: usize = 40;

fn server(names: &Names, backend: BackendId, n: usize) -> impl Strategy<Value = ServerState> + use<> {
    let id = names.server(backend, &format!("s{n}")).expect("the table is as good as empty");
    let flags = prop_oneof![4 => Just(0), 2 => Just(1), 2 => Just(5), 2 => Just(8), 1 => 0u32..0x40];
    let state = prop_oneof![
        1 => Just(OperationalState::Stopped),
        1 => Just(OperationalState::Starting),
        4 => Just(OperationalState::Running),
        1 => Just(OperationalState::Stopping)
    ];
    let numbers = (0u32..4, 0u32..3, proptest::option::of(1u32..100));
    (flags, state, 0u16..5, 1u16..3, any::<bool>(), any::<bool>(), prop::bool::weighted(0.1), numbers)
        .prop_map(
            move |(
                flags,
                operational,
                weight,
                initial,
                checked,
                check_passed,
                backup,
                (sessions, queued, maxconn),
            )| {
                let mut server = Site::new(1).backend.servers.remove(0);
                server.id = id;
                (server.admin, server.operational) = (AdminFlags(flags), operational);
                (server.weight, server.initial_weight) =
                    (Weight::saturating(f64::from(weight)), Weight::saturating(f64::from(initial)));
                (server.checked, server.check_passed) = (checked, checked && check_passed);
                (server.backup, server.maxconn) = (backup, maxconn);
                (server.sessions, server.queued) = (sessions, queued);
                server
            },
        )
}

/// A backend with some of the servers s0 to s5.
fn backend(names: &Names, name: &str) -> impl Strategy<Value = BackendState> + use<> {
    let id = names.backend(name).expect("the table is as good as empty");
    let servers: Vec<_> = (0..6).map(|n| proptest::option::weighted(0.8, server(names, id, n))).collect();
    let totals = (0u32..9, 0u32..9, 0u64..99, proptest::option::weighted(0.8, 0u64..99));
    (servers, totals).prop_map(move |(servers, (queued, sessions, total_sessions, total_requests))| {
        BackendState {
            id,
            algorithm: "roundrobin".to_owned(),
            dynamic: Some(true),
            mode: "http".to_owned(),
            cookie: Cookie::None,
            queued,
            sessions,
            total_sessions,
            total_requests,
            servers: servers.into_iter().flatten().collect(),
        }
    })
}

fn inventory(names: &Names) -> impl Strategy<Value = Inventory> + use<> {
    let backends = (
        proptest::option::weighted(0.9, backend(names, "a")),
        proptest::option::weighted(0.9, backend(names, "b")),
    );
    (backends, 1u32..9, 0u64..9).prop_map(|((a, b), pid, uptime_s)| {
        testing::inventory(testing::process(pid, uptime_s), a.into_iter().chain(b).collect())
    })
}

fn parts(names: &Names) -> impl Strategy<Value = Vec<Part<Inventory>>> + use<> {
    let part = (inventory(names), prop::bool::weighted(0.8))
        .prop_map(|(found, leads)| if leads { Part::Leading(found) } else { Part::Following(found) });
    vec(part, 1..5)
}

fn todo(wanted: &BackendState, found: &BackendState, least: u32, waited: Duration) -> Todo {
    let places = Places { kept: &declared(wanted.id, least), added: &BTreeSet::new() };
    align::todo(wanted, found, &places, least, waited)
}

/// What HAProxy makes of `corrections`. Sessions on servers out of service end.
fn obey(found: &mut BackendState, corrections: &[Correction]) {
    for correction in corrections {
        let server = found.servers.iter_mut().find(|server| server.id == correction.server());
        let server = server.expect("nothing is said to servers that are not there");
        match *correction {
            Correction::State { to, .. } => server.admin = server.admin.with(to),
            Correction::Weight { to, .. } => server.weight = to,
            _ => unreachable!("all servers are declared"),
        }
    }
    for server in found.servers.iter_mut().filter(|server| server.state() != AdminState::Ready) {
        (server.sessions, server.queued) = (0, 0);
    }
}

proptest! {
    #[test]
    fn one_node_is_what_it_is(found in inventory(&Names::default())) {
        prop_assert_eq!(merge::inventory(vec![Part::Leading(found.clone())]), Some(found));
    }

    #[test]
    fn a_node_twice_is_alike_and_has_twice_the_load(found in backend(&Names::default(), "a")) {
        let merged = merge::backend(vec![Part::Leading(found.clone()), Part::Leading(found.clone())]).unwrap();
        prop_assert_eq!(merged.sessions, 2 * found.sessions);
        for (merged, server) in merged.servers.iter().zip(&found.servers) {
            let maxconn = server.maxconn.map(|limit| 2 * limit);
            let twice = ServerState { sessions: 2 * server.sessions, queued: 2 * server.queued, maxconn, ..server.clone() };
            prop_assert_eq!(merged, &twice);
        }
    }

    #[test]
    fn the_order_of_the_nodes_does_not_matter(parts in parts(&Names::default()), by in 0usize..5) {
        let mut others = parts.clone();
        others.rotate_left(by % parts.len());
        prop_assert_eq!(merge::inventory(parts.clone()), merge::inventory(others.clone()));
        others.reverse();
        prop_assert_eq!(merge::inventory(parts), merge::inventory(others));
    }

    #[test]
    fn loads_add_up_and_a_server_serves_if_it_does_everywhere(parts in vec(backend(&Names::default(), "a"), 2..5)) {
        let merged = merge::backend(parts.iter().cloned().map(Part::Leading).collect()).unwrap();
        prop_assert_eq!(merged.sessions, parts.iter().map(|part| part.sessions).sum::<u32>());
        prop_assert_eq!(merged.total_sessions, parts.iter().map(|part| part.total_sessions).sum::<u64>());
        for server in &merged.servers {
            let each: Vec<_> = parts.iter().map(|part| part.server(server.id)).collect();
            prop_assert_eq!(server.is_serving(), each.iter().all(|each| each.is_some_and(ServerState::is_serving)));
            prop_assert_eq!(server.sessions, each.iter().flatten().map(|each| each.sessions).sum::<u32>());
        }
    }

    #[test]
    fn a_node_that_lags_behind_gets_what_the_others_have_and_is_then_left_alone(
        wanted in backend(&Names::default(), "a"),
        found in backend(&Names::default(), "a"),
    ) {
        let mut found = found;
        for _ in 0..ROUNDS {
            let todo = todo(&wanted, &found, 0, Duration::ZERO);
            if todo == Todo::default() {
                break;
            }
            // Where there is nothing to say, the last sessions are waited for.
            obey(&mut found, &todo.now);
        }
        prop_assert_eq!(todo(&wanted, &found, 0, Duration::ZERO), Todo::default());
        for server in &found.servers {
            let Some(wanted) = wanted.server(server.id) else { continue };
            let is_bound = |server: &ServerState| server.backup || server.admin.is_foreign_maint() || server.admin.is_foreign_drain();
            prop_assert!(is_bound(server) || is_bound(wanted) || server.state() == wanted.state());
        }
    }

    #[test]
    fn no_step_of_it_leaves_fewer_serving_than_have_to(
        wanted in backend(&Names::default(), "a"),
        found in backend(&Names::default(), "a"),
        least in 0u32..4,
    ) {
        let mut found = found;
        for _ in 0..ROUNDS {
            let before = found.serving().count();
            let todo = todo(&wanted, &found, least, Duration::ZERO);
            // A weight of 0 is somebody's wish on the others.
            let is_state = |one: &&Correction| matches!(one, Correction::State { .. });
            for step in todo.now.iter().filter(is_state) {
                let states = [step.clone()];
                obey(&mut found, &states);
                prop_assert!(found.serving().count() >= before.min(least as usize), "{:?}", step);
            }
            obey(&mut found, &todo.now);
        }
    }
}
