//! What comes from a pool, on several nodes: servers that were added, and slots that were given an address.
//!
//! A restart takes both away from the one node that is restarted; one that was away has what the others have given up
//! meanwhile. Whether a server is one of those, no node tells: who put it there does, as [`Kept`].

use std::collections::BTreeSet;
use std::net::SocketAddr;

use super::super::inventory::{AdminState, BackendState, Inventory, ServerState};
use super::super::supply;
use super::Kept;
use super::align::{Correction, Todo};
use crate::core::names::ServerId;
use crate::core::settings::spares::Spares;

/// What of a node's backend comes from the pool.
#[derive(Clone, Copy, Debug)]
pub struct Places<'a> {
    /// What is to be everywhere.
    pub kept: &'a Kept,
    /// Servers that were added to this node and are still there, whether they are to be or not.
    pub added: &'a BTreeSet<ServerId>,
}

impl Places<'_> {
    /// Gives each server of the pool its place, if it has not got it.
    pub fn provide(&self, wanted: &BackendState, found: &BackendState) -> Provided {
        let mut provided = Provided { todo: Todo::default(), backend: found.clone() };
        for wanted in wanted.servers.iter().filter(|wanted| wanted.alike) {
            let Some(address) = wanted.socket() else { continue };
            match self.kept.spares {
                Spares::Declared => {}
                Spares::Slots { .. } => self.provide_address(wanted, address, &mut provided),
                Spares::Dynamic if self.supplies(wanted.id) => {
                    self.provide_server(wanted.id, address, &mut provided)
                }
                Spares::Dynamic => {}
            }
        }
        provided
    }

    fn provide_address(&self, wanted: &ServerState, address: SocketAddr, provided: &mut Provided) {
        let server = wanted.id;
        let Some(found) = provided.server(server).filter(|found| self.has_moved(wanted, found)) else {
            return;
        };
        if found.state() == AdminState::Maint {
            (found.address, found.port) = (Some(address.ip()), address.port());
            provided.todo.now.push(Correction::Address { server, address });
        }
    }

    fn provide_server(&self, server: ServerId, address: SocketAddr, provided: &mut Provided) {
        let Some(keywords) = &self.kept.keywords else {
            if provided.server(server).is_none() {
                provided.todo.later.push(Correction::State { server, to: AdminState::Ready });
            }
            return;
        };
        match provided.server(server) {
            None => provided.backend.servers.push(supply::newcomer(server, address, keywords)),
            // Whoever added it did not get any further.
            Some(found)
                if found.is_at(address)
                    && found.state() == AdminState::Maint
                    && !found.checked
                    && keywords.has_check() =>
            {
                found.checked = true;
            }
            Some(_) => return,
        }
        provided.todo.now.push(Correction::Add { server, address, keywords: keywords.clone() });
    }

    /// The agent has added it, or has given it its address.
    pub fn supplies(&self, server: ServerId) -> bool {
        self.kept.spares != Spares::Declared && self.kept.placed.contains(&server)
    }

    /// A slot that is `found` elsewhere than it is `wanted`.
    pub fn has_moved(&self, wanted: &ServerState, found: &ServerState) -> bool {
        is_scattered(self.kept, wanted, found)
    }

    /// It was added, and is not to be there, or is to be somewhere else.
    pub fn is_surplus(&self, wanted: &BackendState, found: &ServerState) -> bool {
        let is_added = self.kept.spares == Spares::Dynamic && self.added.contains(&found.id);
        let is_wanted = wanted.server(found.id).is_some_and(|wanted| wanted.socket() == found.socket());
        is_added && !is_wanted && !found.admin.is_declared_disabled()
    }
}

/// What a node gets its places by, and what it has then.
pub struct Provided {
    /// Now, and later.
    pub todo: Todo,
    /// After what is done now.
    pub backend: BackendState,
}

impl Provided {
    fn server(&mut self, id: ServerId) -> Option<&mut ServerState> {
        self.backend.servers.iter_mut().find(|server| server.id == id)
    }
}

/// Slots of `kept` that are not at the same address in all that are `leading`.
pub(super) fn scattered(kept: &Kept, leading: &[&Inventory]) -> Vec<ServerId> {
    let mut backends = leading.iter().filter_map(|inventory| inventory.backend(kept.backend));
    let Some(first) = backends.next().filter(|_| matches!(kept.spares, Spares::Slots { .. })) else {
        return Vec::new();
    };
    let others: Vec<&BackendState> = backends.collect();
    let is_elsewhere = |slot: &&ServerState| {
        let theirs = others.iter().filter_map(|other| other.server(slot.id));
        theirs.into_iter().any(|other| is_scattered(kept, slot, other))
    };
    first.servers.iter().filter(is_elsewhere).map(|slot| slot.id).collect()
}

/// A slot at two addresses. Other servers may well be reached elsewhere from one node than from another.
fn is_scattered(kept: &Kept, one: &ServerState, other: &ServerState) -> bool {
    let is_empty = |server: &ServerState| server.socket().is_some_and(|at| kept.spares.is_placeholder(at));
    let is_slot = || kept.placed.contains(&one.id) || is_empty(one) || is_empty(other);
    matches!(kept.spares, Spares::Slots { .. }) && one.socket() != other.socket() && is_slot()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use super::super::align;
    use super::*;
    use crate::core::plan::inventory::OperationalState;
    use crate::core::plan::testing::{self, Site, at, move_to};
    use crate::core::settings::spares::Keywords;

    const A: &str = "10.0.0.1:80";
    const B: &str = "10.0.0.2:80";

    /// What the others have, a node that lags behind, and what the agent knows of both.
    struct Stage {
        wanted: Site,
        found: Site,
        kept: Kept,
        added: BTreeSet<ServerId>,
        waited: Duration,
    }

    impl Stage {
        /// Both have s1, READY, and s2; at most one server less may serve.
        fn new(spares: Spares) -> Self {
            let wanted = Site::new(2);
            let kept = Kept {
                backend: wanted.backend.id,
                least_serving: 1,
                spares,
                placed: [wanted.id("s2")].into(),
                keywords: Some(Keywords::new("check maxconn 5").expect("keywords")),
                left_alone: BTreeSet::new(),
            };
            let found = wanted.clone();
            Self { wanted, found, kept, added: BTreeSet::new(), waited: Duration::ZERO }
        }

        fn slots() -> Self {
            let mut stage = Self::new(Spares::Slots { placeholder: None, grow: None });
            for site in [&mut stage.wanted, &mut stage.found] {
                testing::slot(site.server("s2"));
                site.server("s2").checked = true;
            }
            stage
        }

        /// Both have s2 as it was added, at A.
        fn dynamic() -> Self {
            let mut stage = Self::new(Spares::Dynamic);
            stage.added.insert(stage.wanted.id("s2"));
            for site in [&mut stage.wanted, &mut stage.found] {
                move_to(site.server("s2"), A);
                site.server("s2").checked = true;
                site.server("s2").check_passed = true;
            }
            stage
        }

        fn todo(&self) -> align::Todo {
            let places = Places { kept: &self.kept, added: &self.added };
            align::todo(&self.wanted.backend, &self.found.backend, &places, 1, self.waited)
        }

        /// What is told now, as in `add 10.0.0.1:80, DRAIN`, and how much is left for later; all of it is about s2.
        #[track_caller]
        fn check(&self, now: &str, later: usize) {
            let todo = self.todo();
            let words = todo.now.iter().map(|one| match one {
                Correction::Add { address, keywords, .. } => format!("add {address} {keywords}"),
                Correction::Address { address, .. } => format!("address {address}"),
                Correction::State { to, .. } => to.name().to_owned(),
                Correction::Weight { to, .. } => format!("weight {to}"),
                Correction::Delete { .. } => "delete".to_owned(),
            });
            assert_eq!((words.collect::<Vec<_>>().join(", "), todo.later.len()), (now.to_owned(), later));
            assert!(todo.now.iter().chain(&todo.later).all(|one| one.server() == self.wanted.id("s2")));
        }

        fn lose(site: &mut Site) {
            let s2 = site.id("s2");
            site.backend.servers.retain(|server| server.id != s2);
        }
    }

    #[test]
    fn a_server_that_a_restart_took_away_is_added_checked_and_taken_into_service() {
        let mut stage = Stage::dynamic();
        stage.check("", 0);
        Stage::lose(&mut stage.found);
        stage.check("add 10.0.0.1:80 check maxconn 5, DRAIN", 0);
        // It is there, and its check has not passed.
        stage.found.backend.servers = stage.wanted.backend.servers.clone();
        testing::drain(stage.found.server("s2"));
        stage.found.server("s2").check_passed = false;
        stage.check("", 1);
        stage.found.server("s2").check_passed = true;
        stage.check("READY", 0);
        // READY, and up only with its check.
        testing::ready(stage.found.server("s2"));
        stage.found.server("s2").operational = OperationalState::Stopping;
        stage.check("", 1);
        stage.waited = UP_FOR_SURE;
        stage.check("", 0);
    }

    const UP_FOR_SURE: Duration = Duration::from_secs(60);

    #[test]
    fn a_check_that_never_passes_there_is_haproxys_business_in_the_end() {
        let mut stage = Stage::dynamic();
        testing::drain(stage.found.server("s2"));
        stage.found.server("s2").check_passed = false;
        stage.check("", 1);
        stage.waited = UP_FOR_SURE;
        stage.check("READY", 0);
    }

    #[test]
    fn a_server_that_was_left_without_its_checks_gets_them() {
        let mut stage = Stage::dynamic();
        testing::maint(stage.found.server("s2"));
        stage.found.server("s2").checked = false;
        stage.found.server("s2").check_passed = false;
        stage.check("add 10.0.0.1:80 check maxconn 5, DRAIN", 0);
    }

    #[test]
    fn without_a_check_it_serves_at_once() {
        let mut stage = Stage::dynamic();
        stage.kept.keywords = Some(Keywords::default());
        stage.wanted.server("s2").checked = false;
        Stage::lose(&mut stage.found);
        stage.check("add 10.0.0.1:80 , READY", 0);
    }

    #[test]
    fn nothing_is_added_before_it_is_known_with_what() {
        let mut stage = Stage::dynamic();
        stage.kept.keywords = None;
        Stage::lose(&mut stage.found);
        stage.check("", 1);
    }

    #[test]
    fn a_server_that_the_others_have_given_up_is_drained_and_deleted() {
        let mut stage = Stage::dynamic();
        Stage::lose(&mut stage.wanted);
        stage.found.server("s2").sessions = 1;
        stage.check("DRAIN", 0);
        testing::drain(stage.found.server("s2"));
        stage.check("", 1);
        stage.found.server("s2").sessions = 0;
        stage.check("MAINT", 0);
        testing::maint(stage.found.server("s2"));
        stage.check("delete", 0);
        Stage::lose(&mut stage.found);
        stage.check("", 0);
    }

    #[test]
    fn a_server_that_is_elsewhere_now_is_deleted_and_added_anew() {
        let mut stage = Stage::dynamic();
        move_to(stage.found.server("s2"), B);
        stage.check("MAINT", 0);
        testing::maint(stage.found.server("s2"));
        stage.check("delete", 0);
        Stage::lose(&mut stage.found);
        stage.check("add 10.0.0.1:80 check maxconn 5, DRAIN", 0);
    }

    #[test]
    fn a_server_that_nobody_has_added_is_left_alone() {
        let mut stage = Stage::dynamic();
        stage.added.clear();
        Stage::lose(&mut stage.wanted);
        stage.check("", 0);
        let mut stage = Stage::dynamic();
        stage.kept.placed.clear();
        Stage::lose(&mut stage.found);
        stage.check("", 0);
        let mut stage = Stage::dynamic();
        Stage::lose(&mut stage.wanted);
        testing::declared_disabled(stage.found.server("s2"));
        stage.check("", 0);
    }

    #[test]
    fn the_last_one_that_serves_is_not_taken_away() {
        let mut stage = Stage::dynamic();
        Stage::lose(&mut stage.wanted);
        for site in [&mut stage.wanted, &mut stage.found] {
            testing::maint(site.server("s1"));
        }
        stage.check("", 1);
    }

    #[test]
    fn a_slot_gets_its_address_before_it_serves() {
        let mut stage = Stage::slots();
        stage.check("", 0);
        move_to(stage.wanted.server("s2"), A);
        stage.check("address 10.0.0.1:80", 0);
        testing::ready(stage.wanted.server("s2"));
        stage.check("address 10.0.0.1:80, DRAIN", 0);
        move_to(stage.found.server("s2"), A);
        testing::drain(stage.found.server("s2"));
        stage.check("", 1);
        stage.found.server("s2").check_passed = true;
        stage.check("READY", 0);
    }

    #[test]
    fn a_slot_that_serves_elsewhere_is_emptied_first() {
        let mut stage = Stage::slots();
        move_to(stage.wanted.server("s2"), A);
        testing::ready(stage.wanted.server("s2"));
        testing::ready(stage.found.server("s2"));
        move_to(stage.found.server("s2"), B);
        stage.found.server("s2").sessions = 1;
        stage.check("DRAIN", 0);
        testing::drain(stage.found.server("s2"));
        stage.check("", 1);
        stage.found.server("s2").sessions = 0;
        stage.check("MAINT", 0);
        testing::maint(stage.found.server("s2"));
        stage.check("address 10.0.0.1:80, DRAIN", 0);
    }

    #[test]
    fn a_declared_server_may_be_reached_elsewhere() {
        let mut stage = Stage::slots();
        stage.kept.placed.clear();
        for (site, address) in [(&mut stage.wanted, A), (&mut stage.found, B)] {
            move_to(site.server("s2"), address);
        }
        stage.check("", 0);
        assert!(!is_scattered(&stage.kept, stage.wanted.server("s2"), stage.found.server("s2")));
        stage.kept.placed.insert(stage.wanted.id("s2"));
        stage.check("address 10.0.0.1:80", 0);
        assert!(is_scattered(&stage.kept, stage.wanted.server("s2"), stage.found.server("s2")));
        assert_ne!(at(A), at(B));
    }
}
