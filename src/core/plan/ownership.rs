//! Whose server is it: which ones the agent may start, which it may take away.
//!
//! In: one reading of a backend, its settings, and the servers this agent has put where they
//! are. Out: a [`Role`] for each server, and the [`Fleet`] a policy decides on. Not every MAINT
//! is a spare: one that nobody declared to be may be somebody's work in progress.

use std::borrow::Cow;
use std::collections::HashSet;

use super::inventory::{AdminState, BackendState, ServerState};
use super::supply::Supply;
use crate::core::names::{Names, ServerId};
use crate::core::policy::fleet::Fleet;
use crate::core::settings::BackendSettings;
use crate::core::settings::spares::{Spares, is_nowhere};
use crate::core::units::Weight;

/// What the agent may do with a server.
///
/// ```text
///   Spare --> Serving, or Kept --> Draining --> Spare        by plans
///             Serving --> Retired                            by plans, once the pool has lost its address
///   Foreign                                                  by nobody here
/// ```
/// A slot that no address is left for is `Vacant`; the pool makes it a `Spare`.
/// There is no way from or to `Foreign`: such a server is left alone until whoever moved it
/// moves it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It waits in MAINT, or in DRAIN with half its start behind it, and is ours to start.
    Spare,
    /// It is in DRAIN, healthy, and ours to bring back: it is still warm.
    Draining,
    /// It serves, and may be taken away.
    Serving,
    /// It serves, and is not taken away: `always_up`, DNS brings and takes it, it tracks another server or is tracked by one that is
    /// needed, somebody has a hand on it, or it could not be started again.
    Kept,
    /// A slot that there is no address for.
    Vacant,
    /// Its address has left the pool: it is on its way out and does not come back.
    Retired,
    /// It is left alone.
    Foreign,
}

impl Role {
    /// One word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Spare => "spare",
            Self::Draining => "draining",
            Self::Serving => "serving",
            Self::Kept => "kept",
            Self::Vacant => "vacant",
            Self::Retired => "retired",
            Self::Foreign => "foreign",
        }
    }
}

/// What the agent remembers of whose a backend's servers are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    /// In DRAIN or MAINT by this agent's doing.
    pub ours: HashSet<ServerId>,
    /// Those of them whose start was begun, and not ended as far as anybody knows: in DRAIN they are not warm.
    pub starting: HashSet<ServerId>,
    /// Somebody else changed them lately: they are left alone.
    pub left_alone: HashSet<ServerId>,
    /// Some weights are those of a ramp that could not be put back yet.
    pub weights_owed: bool,
}

impl Claims {
    /// It has served, and is still warm: it could serve at once.
    pub fn is_warm(&self, server: &ServerState) -> bool {
        server.state() == AdminState::Drain && !self.starting.contains(&server.id)
    }

    /// Ratios would change if all weights were multiplied but those of servers that are left alone, or are not
    /// what they should be yet.
    pub fn hold_weights(&self, backend: &BackendState) -> bool {
        self.weights_owed || backend.serving().any(|server| self.left_alone.contains(&server.id))
    }

    /// The same for weights that stay multiplied for long: until after a server that is left alone has come back.
    pub fn hold_shares(&self, backend: &BackendState) -> bool {
        let counts = |server: &ServerState| server.weight > Weight::ZERO && !server.backup;
        let is_theirs = |server: &ServerState| counts(server) && self.left_alone.contains(&server.id);
        self.weights_owed || backend.servers.iter().any(is_theirs)
    }

    /// `backend` without the servers that are left alone.
    pub fn within_reach<'a>(&self, backend: &'a BackendState) -> Cow<'a, BackendState> {
        if self.left_alone.is_empty() {
            return Cow::Borrowed(backend);
        }
        let mut rest = backend.clone();
        rest.servers.retain(|server| !self.left_alone.contains(&server.id));
        Cow::Owned(rest)
    }
}

/// The role of each server of `backend`, in HAProxy's order.
///
pub fn roles<'a>(
    backend: &'a BackendState,
    settings: &'a BackendSettings,
    claims: &'a Claims,
    names: &'a Names,
) -> impl Iterator<Item = (&'a ServerState, Role)> {
    backend.servers.iter().map(move |server| (server, role(server, settings, claims, names)))
}

/// What a policy may see of `backend`. A server that is `quarantined` is not startable.
///
/// `unseen` is left at 0: only the controller knows what the log has shown.
pub fn fleet(
    backend: &BackendState,
    settings: &BackendSettings,
    claims: &Claims,
    quarantined: &HashSet<ServerId>,
    names: &Names,
) -> Fleet {
    let mut fleet = Fleet {
        maxconn: backend.serving().map(|server| server.maxconn.map(u64::from)).sum(),
        queued: u64::from(backend.queued),
        sessions: u64::from(backend.sessions),
        ..Fleet::default()
    };
    for (server, role) in roles(backend, settings, claims, names) {
        fleet.queued += u64::from(server.queued);
        fleet.serving += u32::from(server.is_serving());
        match role {
            Role::Spare | Role::Draining if quarantined.contains(&server.id) => {}
            Role::Spare | Role::Draining => fleet.startable += 1,
            Role::Serving => fleet.removable += 1,
            Role::Kept | Role::Vacant | Role::Retired | Role::Foreign => {}
        }
    }
    fleet
}

fn role(server: &ServerState, settings: &BackendSettings, claims: &Claims, names: &Names) -> Role {
    let configured = settings.servers.get(&*names.of_server(server.id));
    let is_supplied = matches!(server.supply, Some(Supply::Slot(_) | Supply::Absent(..) | Supply::Added(_)));
    let is_ours = configured.is_some() || claims.ours.contains(&server.id) || is_supplied;
    // A slot at an address that is none of the pool's was sent there by somebody.
    let is_slot = matches!(settings.spares, Spares::Slots { .. });
    // One that DNS brings and takes away is moved only where the config says so.
    let is_of_dns = server.of_dns && configured.is_none() && !is_supplied;
    let is_declared = server.admin.is_declared_disabled() && !is_slot && !is_of_dns;
    let is_theirs = claims.left_alone.contains(&server.id);
    let is_retired = server.is_retired();
    // A backup serves when all others are down, a tracking server does as the tracked one does; one that is not
    // alike on all HAProxys is somebody's doing on one of them.
    let is_bound = server.backup || server.tracks.is_some() || !server.alike;
    // Of a pool's slots, their supply tells.
    let has_no_pool = settings.spares == Spares::Declared;
    let is_empty = configured.is_none() && has_no_pool && is_empty_slot(server, settings);
    // A slot that waits for its address has none of its own yet.
    let is_startable = is_supplied || server.start_can_be_proved();
    match server.state() {
        AdminState::Ready if !server.is_serving() => Role::Foreign,
        AdminState::Ready if is_theirs => Role::Kept,
        AdminState::Ready if is_bound || is_of_dns || server.needed_elsewhere => Role::Kept,
        AdminState::Ready if configured.is_some_and(|server| server.always_up) => Role::Kept,
        AdminState::Ready if is_empty || !is_startable => Role::Kept,
        AdminState::Ready => Role::Serving,
        // Weight 0 is somebody's wish that it should not serve; READY would not change that.
        _ if is_theirs || is_bound || server.weight == Weight::ZERO => Role::Foreign,
        _ if server.admin.is_foreign_drain() || server.admin.is_foreign_maint() => Role::Foreign,
        _ if server.supply == Some(Supply::Vacant) => Role::Vacant,
        // Who names it in the config knows what is there.
        _ if is_empty => Role::Vacant,
        _ if !is_startable => Role::Foreign,
        _ if is_ours && is_retired => Role::Retired,
        AdminState::Drain if is_ours && !claims.is_warm(server) => Role::Spare,
        AdminState::Drain if is_ours && is_healthy(server) => Role::Draining,
        AdminState::Drain => Role::Foreign,
        AdminState::Maint if is_ours || is_declared => Role::Spare,
        AdminState::Maint => Role::Foreign,
    }
}

/// It was declared for an address that it gets elsewhere.
pub fn is_empty_slot(server: &ServerState, settings: &BackendSettings) -> bool {
    let is_empty = |address| match settings.spares {
        Spares::Declared => is_nowhere(address),
        spares => spares.is_placeholder(address),
    };
    server.socket().is_some_and(is_empty)
}

/// Up, and if it is checked at all, up by a check and not by assumption.
fn is_healthy(server: &ServerState) -> bool {
    server.is_up() && (server.check_passed || !server.checked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::plan::inventory::OperationalState;
    use crate::core::plan::testing::{self, Site};

    /// The role of a server that is `change`d, in a backend whose config names `named`.
    #[track_caller]
    fn check(expected: Role, named: bool, ours: bool, change: impl FnOnce(&mut ServerState)) {
        let mut site = Site::new(1);
        if named {
            site.configure("s1", |_| {});
        }
        if ours {
            site.claims.ours.insert(site.id("s1"));
        }
        change(site.server("s1"));
        let found =
            roles(&site.backend, &site.settings, &site.claims, &site.names).next().map(|(_, role)| role);
        assert_eq!(found, Some(expected));
    }

    #[test]
    fn maint_is_a_spare_only_if_somebody_said_so() {
        check(Role::Foreign, false, false, testing::maint);
        check(Role::Spare, true, false, testing::maint);
        check(Role::Spare, false, true, testing::maint);
        check(Role::Spare, false, false, testing::declared_disabled);
    }

    #[test]
    fn a_slot_that_is_elsewhere_than_its_pool_is_left_alone() {
        let mut site = Site::new(2);
        site.settings.spares = Spares::Slots { placeholder: None, grow: None };
        testing::declared_disabled(site.server("s1"));
        testing::maint(site.server("s2"));
        site.claims.ours.insert(site.id("s2"));
        let found: Vec<Role> =
            roles(&site.backend, &site.settings, &site.claims, &site.names).map(|(_, role)| role).collect();
        assert_eq!(found, [Role::Foreign, Role::Spare], "s2 has an address of its own, and served by itself");
    }

    #[test]
    fn an_empty_slot_is_no_spare_unless_somebody_named_it() {
        for address in ["0.0.0.0:80", "[::]:80", "127.0.0.1:1", "10.0.0.1:0"] {
            let slot = |server: &mut ServerState| {
                testing::declared_disabled(server);
                testing::move_to(server, address);
                server.checked = true;
            };
            check(Role::Vacant, false, false, slot);
            check(Role::Vacant, false, true, slot);
            check(Role::Spare, true, false, slot);
        }
    }

    #[test]
    fn where_nothing_proves_a_start_there_is_no_spare_and_nothing_is_taken_away() {
        let unix = |server: &mut ServerState| (server.address, server.port) = (None, 0);
        let of_its_clients = |server: &mut ServerState| server.port = 0;
        for at in [unix, of_its_clients] {
            check(Role::Kept, false, false, at);
            check(Role::Foreign, true, true, |server| {
                testing::declared_disabled(server);
                at(server);
            });
            check(Role::Spare, true, true, |server| {
                testing::declared_disabled(server);
                at(server);
                server.checked = true;
            });
        }
        check(Role::Serving, false, false, |server| {
            unix(server);
            server.checked = true;
        });
        check(Role::Kept, false, false, |server| {
            of_its_clients(server);
            server.checked = true;
        });
    }

    #[test]
    fn maint_by_dns_or_by_a_tracked_server_is_left_alone() {
        for flags in [0x02, 0x20, 0x21, 0x26, 0x19] {
            check(Role::Foreign, true, true, |server| testing::flags(server, flags));
        }
    }

    #[test]
    fn backup_and_tracking_servers_are_left_alone() {
        for state in [testing::maint, testing::drain, testing::declared_disabled] {
            check(Role::Foreign, true, true, |server| {
                state(server);
                server.backup = true;
            });
            check(Role::Foreign, true, true, |server| {
                state(server);
                server.tracks = Some(server.id);
            });
        }
        check(Role::Foreign, true, true, |server| server.backup = true);
        check(Role::Kept, true, true, |server| server.tracks = Some(server.id));
    }

    #[test]
    fn servers_that_dns_brings_are_moved_only_if_the_config_names_them() {
        let of_dns = |state: fn(&mut ServerState)| {
            move |server: &mut ServerState| {
                state(server);
                server.of_dns = true;
            }
        };
        check(Role::Kept, false, false, of_dns(testing::ready));
        check(Role::Serving, true, false, of_dns(testing::ready));
        check(Role::Foreign, false, false, of_dns(testing::declared_disabled));
        check(Role::Spare, true, false, of_dns(testing::declared_disabled));
        check(Role::Spare, false, true, of_dns(testing::maint));
    }

    #[test]
    fn a_drain_made_by_somebody_else_is_left_alone() {
        check(Role::Foreign, false, false, testing::drain);
        check(Role::Draining, true, false, testing::drain);
        check(Role::Draining, false, true, testing::drain);
        check(Role::Foreign, true, true, |server| testing::flags(server, 0x10));
    }

    #[test]
    fn a_server_whose_start_was_not_ended_is_not_warm() {
        let mut site = Site::new(1);
        let id = site.id("s1");
        site.claims.ours.insert(id);
        site.claims.starting.insert(id);
        let role = |site: &Site| {
            let mut roles = roles(&site.backend, &site.settings, &site.claims, &site.names);
            roles.next().map(|(_, role)| role)
        };
        testing::drain(site.server("s1"));
        assert_eq!(role(&site), Some(Role::Spare));
        site.claims.left_alone.insert(id);
        assert_eq!(role(&site), Some(Role::Foreign));
        testing::ready(site.server("s1"));
        site.claims.left_alone.clear();
        assert_eq!(role(&site), Some(Role::Serving));
    }

    #[test]
    fn a_draining_server_whose_check_fails_does_not_come_back() {
        check(Role::Foreign, true, true, |server| {
            testing::drain(server);
            server.operational = OperationalState::Stopped;
        });
        check(Role::Foreign, true, true, |server| {
            testing::drain(server);
            (server.checked, server.check_passed) = (true, false);
        });
    }

    #[test]
    fn weight_zero_is_somebodys_wish() {
        for state in [testing::ready, testing::maint, testing::drain] {
            check(Role::Foreign, true, true, |server| {
                state(server);
                server.weight = Weight::ZERO;
            });
        }
    }

    #[test]
    fn serving_servers_may_go_unless_they_are_always_up() {
        check(Role::Serving, false, false, testing::ready);
        check(Role::Serving, true, false, testing::ready);
        let mut site = Site::new(1);
        site.configure("s1", |server| server.always_up = true);
        let found =
            roles(&site.backend, &site.settings, &site.claims, &site.names).next().map(|(_, role)| role);
        assert_eq!(found, Some(Role::Kept));
        check(Role::Foreign, true, true, |server| server.operational = OperationalState::Stopped);
    }

    #[test]
    fn the_fleet_counts_each_server_for_what_it_is() {
        let mut site = Site::new(6);
        site.configure("s1", |server| server.always_up = true);
        testing::declared_disabled(site.server("s3"));
        testing::declared_disabled(site.server("s4"));
        testing::maint(site.server("s5"));
        testing::drain(site.server("s6"));
        site.claims.ours.insert(site.id("s6"));
        site.quarantined.insert(site.id("s4"));
        for (name, maxconn) in [("s1", 10), ("s2", 20), ("s3", 40)] {
            site.server(name).maxconn = Some(maxconn);
        }
        site.server("s2").queued = 3;
        (site.backend.queued, site.backend.sessions) = (4, 9);
        let expected = Fleet {
            serving: 2,
            startable: 2,
            removable: 1,
            maxconn: Some(30),
            queued: 7,
            sessions: 9,
            unseen: 0,
        };
        assert_eq!(site.fleet(), expected);
        site.server("s1").maxconn = None;
        assert_eq!(site.fleet().maxconn, None, "one server without a limit takes any number");
    }
}
