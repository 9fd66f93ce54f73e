//! Servers that those of other backends track.
//!
//! In: all that HAProxy has. Out: the same, with the servers marked that must not go, as those of another backend that
//! track them would go with them (configuration manual 5.2, `track`; seen on HAProxy 2.2 to 3.4). Within one
//! backend the planner sees to it.

use std::collections::{BTreeMap, HashSet};

use super::inventory::{BackendState, Inventory, ServerState};
use crate::core::names::{BackendId, ServerId};

/// Marks servers as [`needed_elsewhere`](ServerState::needed_elsewhere): so many that each backend keeps `least`
/// serving servers, however many of the others go.
pub fn mark(inventory: &mut Inventory, least: impl Fn(BackendId) -> u32) {
    let needed = needed(inventory, least);
    for server in inventory.backends.iter_mut().flat_map(|backend| &mut backend.servers) {
        server.needed_elsewhere = needed.contains(&server.id);
    }
}

fn needed(inventory: &Inventory, least: impl Fn(BackendId) -> u32) -> HashSet<ServerId> {
    let servers = || inventory.backends.iter().flat_map(|backend| &backend.servers);
    let tracks: BTreeMap<ServerId, ServerId> =
        servers().filter_map(|server| Some((server.id, server.tracks?))).collect();
    let mut needed = HashSet::new();
    for backend in inventory.backends.iter().filter(|backend| backend.servers.iter().any(tracks_another)) {
        let own: HashSet<ServerId> = backend.servers.iter().map(|server| server.id).collect();
        let roots = backend.serving().map(|server| root(server.id, &tracks));
        let (inside, mut outside): (Vec<_>, Vec<_>) = roots.partition(|root| own.contains(root));
        // The same ones each time, and as few as it takes.
        outside.sort_unstable();
        let lacking = (least(backend.id) as usize).saturating_sub(inside.len());
        needed.extend(outside.into_iter().take(lacking));
    }
    needed
}

/// Some of its servers track servers of other backends.
pub fn cross_backends(backend: &BackendState) -> bool {
    let mut roots = backend.servers.iter().filter_map(|server| server.tracks);
    roots.any(|root| backend.server(root).is_none())
}

fn tracks_another(server: &ServerState) -> bool {
    server.tracks.is_some()
}

/// The server at the end of the chain: the one that is acted on.
fn root(id: ServerId, tracks: &BTreeMap<ServerId, ServerId>) -> ServerId {
    let next = |id: &ServerId| tracks.get(id).copied();
    // HAProxy starts with no loop; a chain has no more links than there are servers that track.
    std::iter::successors(Some(id), next).take(tracks.len() + 1).last().unwrap_or(id)
}

#[cfg(test)]
mod tests {
    use super::super::inventory::BackendState;
    use super::super::testing::{self, Site};
    use super::*;

    /// Backend `app` with s1 to s3, and `side` with servers that track some of them; the third of each place: how the
    /// tracking one stands.
    #[track_caller]
    fn check(tracking: &[(&str, bool)], own: usize, least: u32, expected: &[&str]) {
        let site = Site::new(3);
        let side = site.names.backend("side").expect("a table with room");
        let server = |n: usize| testing::server(site.names.server(side, &format!("t{n}")).expect("room"));
        let mut servers: Vec<ServerState> = (0..own).map(server).collect();
        for (n, &(tracked, serves)) in tracking.iter().enumerate() {
            let mut tracker = server(own + n);
            tracker.tracks = Some(site.id(tracked));
            if !serves {
                testing::maint(&mut tracker);
            }
            servers.push(tracker);
        }
        let backends = vec![site.backend.clone(), BackendState { id: side, servers, ..site.backend.clone() }];
        let mut inventory = testing::inventory(testing::process(1, 9), backends);
        mark(&mut inventory, |id| if id == side { least } else { 1 });
        let marked = inventory.backends[0].servers.iter().filter(|server| server.needed_elsewhere);
        let names: Vec<_> = marked.map(|server| site.names.of_server(server.id).to_string()).collect();
        assert_eq!(names, expected);
    }

    #[test]
    fn as_many_stay_as_the_trackers_backend_needs() {
        let all = [("s1", true), ("s2", true), ("s3", true)];
        check(&all, 0, 1, &["s1"]);
        check(&all, 0, 2, &["s1", "s2"]);
        check(&all, 1, 2, &["s1"]);
        check(&all, 2, 2, &[]);
        check(&all, 0, 0, &[]);
        check(&[("s3", true)], 0, 1, &["s3"]);
        check(&[("s1", false), ("s3", true)], 0, 1, &["s3"]);
        check(&[("s2", true), ("s2", true)], 0, 2, &["s2"]);
        check(&[], 3, 1, &[]);
    }
}
