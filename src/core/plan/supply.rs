//! What the pool offers, laid over what HAProxy has.
//!
//! In: one reading of a backend, the addresses of its pool, and which of them the agent has put
//! where. Out: the same reading, in which each server says what it is [`Supply`] of, and in which
//! servers that could be added stand in MAINT beside those that are there. From then on a slot or a
//! server to be added is a spare like any other: only its lane begins with one step more.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;

use super::inventory::{AdminFlags, AdminState, BackendState, OperationalState, ServerState};
use crate::core::names::{Names, ServerId};
use crate::core::settings::spares::{Keywords, Spares};
use crate::core::settings::{BackendSettings, WarmUp};
use crate::core::units::Weight;

/// Something that could serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Where it listens.
    pub address: SocketAddr,
    /// What a server that is added is called; `None`: after its address.
    pub name: Option<String>,
    /// Its own warm-up.
    pub warm_up: Option<WarmUp>,
}

impl Candidate {
    /// What a server that is added for it is called.
    pub fn server_name(&self) -> String {
        self.name.clone().unwrap_or_else(|| added_name(self.address))
    }
}

/// What a pool offers now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offer {
    /// The pool, in its order; no address twice.
    pub candidates: Vec<Arc<Candidate>>,
    /// For servers that are added.
    pub keywords: Keywords,
}

/// Where an address was put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The address.
    pub address: SocketAddr,
    /// The server was added; else it is a slot.
    pub added: bool,
    /// It was READY when last seen or moved.
    pub serving: bool,
    /// The processes that had it, one of each HAProxy, in their order.
    pub pids: Vec<Option<u32>>,
}

impl Placement {
    /// None of the processes that had it is among those that answer now, `counted` in the same order.
    pub fn is_lost_to(&self, counted: &[Option<u32>]) -> bool {
        !self.pids.iter().zip(counted).any(|(had, now)| had.is_some() && had == now)
    }

    /// One that had it does not answer.
    pub fn is_out_of_sight(&self, counted: &[Option<u32>]) -> bool {
        self.pids.iter().zip(counted).any(|(had, now)| had.is_some() && now.is_none())
    }

    /// All that answer have it; those that do not have what they had.
    pub fn note_had_by(&mut self, counted: &[Option<u32>]) {
        let before = |node: usize| self.pids.get(node).copied().flatten();
        self.pids = counted.iter().enumerate().map(|(node, now)| now.or_else(|| before(node))).collect();
    }
}

/// What the pool has to do with a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Supply {
    /// A slot in MAINT, and no address is left for it.
    Vacant,
    /// A slot in MAINT that is to have this address before it is started.
    Slot(Arc<Candidate>),
    /// HAProxy does not have it yet.
    Absent(Arc<Candidate>, Keywords),
    /// A slot in use; `None`: its address is no longer in the pool.
    Filled(Option<Arc<Candidate>>),
    /// It was added; `None`: its address is no longer in the pool.
    Added(Option<Arc<Candidate>>),
}

impl Supply {
    /// What of the pool it is for.
    pub fn candidate(&self) -> Option<&Candidate> {
        match self {
            Self::Slot(candidate) | Self::Absent(candidate, _) => Some(candidate),
            Self::Filled(candidate) | Self::Added(candidate) => candidate.as_deref(),
            Self::Vacant => None,
        }
    }

    /// Its address has been taken out of the pool.
    pub const fn is_retired(&self) -> bool {
        matches!(self, Self::Filled(None) | Self::Added(None))
    }
}

/// All that a supply is made from.
#[derive(Clone, Copy, Debug)]
pub struct Stock<'a> {
    /// The backend's.
    pub settings: &'a BackendSettings,
    /// What the pool offers; `None`: it has not said yet.
    pub offer: Option<&'a Offer>,
    /// Where addresses were put.
    pub placed: &'a HashMap<ServerId, Placement>,
    /// The servers this agent has put into DRAIN or MAINT.
    pub ours: &'a HashSet<ServerId>,
    /// Addresses that failed to start, and are passed over.
    pub refused: &'a HashSet<SocketAddr>,
    /// HAProxy takes servers at run time.
    pub can_add: bool,
    /// The table of names.
    pub names: &'a Names,
}

/// A backend with its pool.
#[derive(Clone, Debug, PartialEq)]
pub struct Supplied {
    /// What HAProxy has, and what could be added to it.
    pub state: BackendState,
    /// So many addresses of the pool have no slot.
    pub missing_slots: u32,
}

/// `state` with what the pool has to do with each of its servers.
pub fn supplied(state: &BackendState, stock: &Stock<'_>) -> Supplied {
    let mut supplied = Supplied { state: state.clone(), missing_slots: 0 };
    match stock.settings.spares {
        Spares::Declared => {}
        Spares::Slots { .. } => supplied.missing_slots = stock.fill_slots(&mut supplied.state),
        Spares::Dynamic => stock.add_servers(&mut supplied.state),
    }
    supplied
}

/// The name of a server that is added for `address`: always the same, so that what was learned of
/// it is found again.
fn added_name(address: SocketAddr) -> String {
    format!("dyn-{}-{}", address.ip(), address.port())
}

impl Stock<'_> {
    fn candidates(&self) -> &[Arc<Candidate>] {
        self.offer.map_or(&[], |offer| &offer.candidates)
    }

    /// Gives each address of the pool that is not in use a slot: the one it has, or had; else one
    /// that nobody ever had; else one whose address is not wanted now. Returns how many have none.
    fn fill_slots(&self, state: &mut BackendState) -> u32 {
        let is_free: Vec<bool> = state.servers.iter().map(|server| self.is_free_slot(server)).collect();
        let taken = state.servers.iter().zip(&is_free).filter(|(_, free)| !**free).map(|(server, _)| server);
        // Of several HAProxys one may have given a slot its address, and another not yet.
        let given = |server: &ServerState| self.placed.get(&server.id).map(|placed| placed.address);
        let in_use: HashSet<SocketAddr> =
            taken.flat_map(|server| server.socket().into_iter().chain(given(server))).collect();
        let waiting: Vec<_> = (self.candidates().iter())
            .filter(|candidate| {
                !in_use.contains(&candidate.address) && !self.refused.contains(&candidate.address)
            })
            .collect();
        let mut free: Vec<usize> = (0..is_free.len()).filter(|&at| is_free[at]).collect();
        let mut given: Vec<(usize, &Arc<Candidate>)> = Vec::new();
        let homeless: Vec<_> = (waiting.into_iter())
            .filter(|candidate| match self.home(candidate, state, &free) {
                Some(at) => {
                    free.retain(|&slot| slot != at);
                    given.push((at, candidate));
                    false
                }
                None => true,
            })
            .collect();
        free.sort_by_key(|&at| self.claim(&state.servers[at]));
        given.extend(free.iter().copied().zip(homeless.iter().copied()));
        for (at, server) in state.servers.iter_mut().enumerate() {
            server.supply = match (is_free[at], given.iter().find(|(slot, _)| *slot == at)) {
                (true, Some((_, candidate))) => Some(Supply::Slot((*candidate).clone())),
                (true, None) => Some(Supply::Vacant),
                (false, _) => self.filled(server),
            };
        }
        u32::try_from(homeless.len().saturating_sub(free.len())).unwrap_or(u32::MAX)
    }

    /// A slot in MAINT that is ours to fill.
    fn is_free_slot(&self, server: &ServerState) -> bool {
        let is_bound =
            server.backup || server.tracks.is_some() || server.admin.is_foreign_maint() || !server.alike;
        if server.state() != AdminState::Maint || is_bound || server.weight == Weight::ZERO {
            return false;
        }
        let is_ours = server.admin.is_declared_disabled()
            || self.ours.contains(&server.id)
            || self.settings.servers.contains_key(&*self.names.of_server(server.id));
        let is_empty = server.socket().is_none_or(|address| self.settings.spares.is_placeholder(address));
        let is_offered = || self.candidates().iter().any(|candidate| server.is_at(candidate.address));
        self.placed.get(&server.id).is_some_and(|placed| server.is_at(placed.address) || is_empty)
            || is_ours && (is_empty || server.admin.is_declared_disabled() && is_offered())
    }

    /// The free slot that has this address, or the one that had it last.
    fn home(&self, candidate: &Candidate, state: &BackendState, free: &[usize]) -> Option<usize> {
        let has = |&&at: &&usize| state.servers[at].is_at(candidate.address);
        let had = |&&at: &&usize| {
            self.placed.get(&state.servers[at].id).is_some_and(|placed| placed.address == candidate.address)
        };
        free.iter().find(has).or_else(|| free.iter().find(had)).copied()
    }

    /// How much somebody may still want the slot's last address; 0: it never had one.
    fn claim(&self, slot: &ServerState) -> u8 {
        match self.placed.get(&slot.id) {
            None => 0,
            Some(placed) if !self.offers(placed.address) => 1,
            Some(_) => 2,
        }
    }

    fn offers(&self, address: SocketAddr) -> bool {
        self.candidate(address).is_some()
    }

    fn candidate(&self, address: SocketAddr) -> Option<&Arc<Candidate>> {
        self.candidates().iter().find(|candidate| candidate.address == address)
    }

    /// A slot that this agent has filled, and that serves or drains.
    fn filled(&self, server: &ServerState) -> Option<Supply> {
        let placed =
            self.placed.get(&server.id).filter(|placed| !placed.added && server.is_at(placed.address))?;
        self.offer?;
        Some(Supply::Filled(self.candidate(placed.address).cloned()))
    }

    /// Marks the servers that were added, and puts those that could be beside them.
    fn add_servers(&self, state: &mut BackendState) {
        let Some(offer) = self.offer else { return };
        for server in &mut state.servers {
            server.supply = self.added(server);
        }
        let in_use: HashSet<SocketAddr> = state.servers.iter().filter_map(ServerState::socket).collect();
        let there: HashSet<ServerId> = state.servers.iter().map(|server| server.id).collect();
        let wanted = self.candidates().iter().filter(|candidate| {
            self.can_add && !in_use.contains(&candidate.address) && !self.refused.contains(&candidate.address)
        });
        let absent = wanted.filter_map(|candidate| {
            let id = self.names.server(state.id, &candidate.server_name())?;
            (!there.contains(&id)).then(|| absent(id, candidate, &offer.keywords))
        });
        let absent: Vec<_> = absent.collect();
        state.servers.extend(absent);
    }

    /// A server that this agent has added: it remembers, or the name and the address tell. One of
    /// HAProxy's configuration is never taken for one, whatever it is called.
    fn added(&self, server: &ServerState) -> Option<Supply> {
        let address = server.socket()?;
        let is_remembered =
            self.placed.get(&server.id).is_some_and(|placed| placed.added && placed.address == address);
        let is_called_so = *self.names.of_server(server.id) == *added_name(address);
        let is_ours = (is_remembered || is_called_so) && !server.admin.is_declared_disabled();
        is_ours.then(|| Supply::Added(self.candidate(address).cloned()))
    }
}

fn absent(id: ServerId, candidate: &Arc<Candidate>, keywords: &Keywords) -> ServerState {
    let supply = Some(Supply::Absent(candidate.clone(), keywords.clone()));
    ServerState { supply, ..newcomer(id, candidate.address, keywords) }
}

/// A server as HAProxy shows it after it was added at `address` with `keywords` and its checks were enabled: in
/// MAINT.
pub fn newcomer(id: ServerId, address: SocketAddr, keywords: &Keywords) -> ServerState {
    let weight =
        keywords.number("weight").map_or(Weight::ONE, |weight| Weight::saturating(f64::from(weight)));
    ServerState {
        id,
        address: Some(address.ip()),
        port: address.port(),
        admin: AdminFlags(0).with(AdminState::Maint),
        operational: OperationalState::Stopped,
        weight,
        initial_weight: weight,
        checked: keywords.has_check(),
        check_passed: false,
        check_failed: false,
        agent_checked: keywords.has_agent_check(),
        agent_off: false,
        by_name: false,
        of_dns: false,
        backup: false,
        tracks: None,
        needed_elsewhere: false,
        alike: true,
        everywhere: true,
        tls: Some(keywords.words().any(|word| word == "ssl")),
        sessions: 0,
        queued: 0,
        total_sessions: 0,
        cookie: None,
        maxconn: keywords.number("maxconn").filter(|&maxconn| maxconn > 0),
        throttle: None,
        slowstart: keywords.has_slowstart(),
        supply: None,
    }
}

/// The first of the `keywords` that wants a number and has none, with what it has: so no server comes out as asked.
pub fn no_number(keywords: &Keywords) -> Option<(&'static str, &str)> {
    let wrong = |keyword| Some((keyword, keywords.value(keyword).filter(|it| it.parse::<u32>().is_err())?));
    ["weight", "maxconn"].into_iter().find_map(wrong)
}

/// In what `server` is not as the `keywords` say that it was added with. HAProxy takes what is no number for 0.
pub fn deviation(server: &ServerState, keywords: &Keywords) -> Option<String> {
    let weight = u32::from(server.initial_weight.value());
    let told = [("weight", weight), ("maxconn", server.maxconn.unwrap_or(0))];
    let differs = told.into_iter().find_map(|(keyword, found)| {
        let asked = keywords.value(keyword).filter(|asked| asked.parse() != Ok(found))?;
        Some(format!("its {keyword} is {found} where `{asked}` was asked for"))
    });
    differs.or_else(|| (weight == 0).then(|| "its weight is 0: it would get no requests".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::plan::testing::{self, Site, at, move_to};

    /// A backend with s1 READY and `slots` empty slots after it.
    fn with_slots(slots: usize) -> Site {
        let mut site = Site::new(1 + slots);
        site.settings.spares = Spares::Slots { placeholder: None, grow: None };
        for n in 0..slots {
            testing::slot(site.server(&format!("s{}", n + 2)));
        }
        site
    }

    /// What each server is for, by name, and how many slots are missing.
    #[track_caller]
    fn check(site: &Site, expected: &str, missing: u32) {
        let found = site.supplied();
        let words = found.state.servers.iter().filter_map(|server| {
            let is_for = |candidate: &Candidate| format!(" {}", candidate.address);
            let word = match server.supply.as_ref()? {
                Supply::Vacant => "vacant".to_owned(),
                Supply::Slot(candidate) => format!("slot{}", is_for(candidate)),
                Supply::Absent(candidate, _) => format!("absent{}", is_for(candidate)),
                Supply::Filled(candidate) => {
                    format!("filled{}", candidate.as_deref().map(is_for).unwrap_or_default())
                }
                Supply::Added(candidate) => {
                    format!("added{}", candidate.as_deref().map(is_for).unwrap_or_default())
                }
            };
            Some(format!("{}: {word}", site.names.of_server(server.id)))
        });
        assert_eq!(words.collect::<Vec<_>>().join(", "), expected);
        assert_eq!(found.missing_slots, missing);
    }

    const A: &str = "10.0.0.1:80";
    const B: &str = "10.0.0.2:80";
    const C: &str = "10.0.0.3:80";

    #[test]
    fn addresses_get_slots_in_their_order_and_the_missing_ones_are_counted() {
        let mut site = with_slots(2);
        check(&site, "s2: vacant, s3: vacant", 0);
        site.offer(&[A]);
        check(&site, "s2: slot 10.0.0.1:80, s3: vacant", 0);
        site.offer(&[A, B, C]);
        check(&site, "s2: slot 10.0.0.1:80, s3: slot 10.0.0.2:80", 1);
    }

    #[test]
    fn an_address_comes_back_to_the_slot_that_has_it_or_had_it_last() {
        let mut site = with_slots(3);
        site.offer(&[A, B, C]);
        site.place("s4", A, false, false);
        move_to(site.server("s3"), C);
        site.place("s3", C, false, false);
        check(&site, "s2: slot 10.0.0.2:80, s3: slot 10.0.0.3:80, s4: slot 10.0.0.1:80", 0);
    }

    #[test]
    fn an_address_that_one_of_several_haproxys_has_given_to_a_slot_is_given_to_no_other() {
        let mut site = with_slots(2);
        site.offer(&[A]);
        site.place("s2", A, false, false);
        site.server("s2").alike = false;
        check(&site, "s3: vacant", 0);
    }

    #[test]
    fn a_slot_is_taken_from_an_address_only_where_no_other_is_left() {
        let mut site = with_slots(3);
        site.place("s2", A, false, false);
        site.place("s3", C, false, false);
        site.offer(&[B, C]);
        check(&site, "s2: vacant, s3: slot 10.0.0.3:80, s4: slot 10.0.0.2:80", 0);
        site.place("s4", A, false, false);
        check(&site, "s2: slot 10.0.0.2:80, s3: slot 10.0.0.3:80, s4: vacant", 0);
    }

    #[test]
    fn an_address_in_use_or_refused_waits_for_no_slot() {
        let mut site = with_slots(2);
        site.offer(&[A, B, C]);
        move_to(site.server("s1"), A);
        site.refused.insert(at(B));
        check(&site, "s2: slot 10.0.0.3:80, s3: vacant", 0);
    }

    #[test]
    fn a_slot_in_use_whose_address_has_left_the_pool_is_known() {
        let mut site = with_slots(1);
        site.offer(&[A]);
        let s2 = site.server("s2");
        testing::ready(s2);
        move_to(s2, B);
        check(&site, "", 1);
        site.place("s2", B, false, true);
        check(&site, "s2: filled", 1);
        site.offer(&[A, B]);
        check(&site, "s2: filled 10.0.0.2:80", 1);
        site.offer = None;
        check(&site, "", 0);
    }

    #[test]
    fn a_server_in_maint_is_a_slot_only_if_it_is_ours_and_has_no_address_of_its_own() {
        let mut site = with_slots(1);
        site.offer(&[A]);
        testing::maint(site.server("s2"));
        check(&site, "", 1);
        site.claims.ours.insert(site.id("s2"));
        check(&site, "s2: slot 10.0.0.1:80", 0);
        for change in [
            (|server| move_to(server, "10.0.0.9:80")) as fn(&mut ServerState),
            |server| server.backup = true,
            |server| server.tracks = Some(server.id),
            |server| testing::flags(server, 0x21),
            |server| server.weight = Weight::ZERO,
        ] {
            let mut site = site.clone();
            change(site.server("s2"));
            check(&site, "", 1);
        }
    }

    #[test]
    fn after_the_memory_is_lost_a_filled_slot_is_known_by_the_pool() {
        let mut site = with_slots(1);
        move_to(site.server("s2"), A);
        check(&site, "", 0);
        site.offer(&[A]);
        check(&site, "s2: slot 10.0.0.1:80", 0);
    }

    #[test]
    fn what_could_be_added_stands_beside_what_is_there() {
        let mut site = Site::new(1);
        site.settings.spares = Spares::Dynamic;
        check(&site, "", 0);
        site.offer(&[A, B]);
        check(&site, "dyn-10.0.0.1-80: absent 10.0.0.1:80, dyn-10.0.0.2-80: absent 10.0.0.2:80", 0);
        move_to(site.server("s1"), B);
        check(&site, "dyn-10.0.0.1-80: absent 10.0.0.1:80", 0);
        site.place("s1", B, true, true);
        check(&site, "s1: added 10.0.0.2:80, dyn-10.0.0.1-80: absent 10.0.0.1:80", 0);
        site.offer(&[A]);
        check(&site, "s1: added, dyn-10.0.0.1-80: absent 10.0.0.1:80", 0);
    }

    #[test]
    fn a_server_of_the_configuration_is_not_taken_for_one_that_was_added() {
        let mut site = Site::new(1);
        site.settings.spares = Spares::Dynamic;
        let named = Candidate { address: at(A), name: Some("s1".to_owned()), warm_up: None };
        site.offer = Some(Offer { candidates: vec![Arc::new(named)], keywords: Keywords::default() });
        check(&site, "", 0);
        move_to(site.server("s1"), A);
        check(&site, "", 0);
        site.place("s1", A, true, true);
        testing::declared_disabled(site.server("s1"));
        check(&site, "", 0);
    }

    #[test]
    fn a_server_that_is_not_what_was_asked_for_is_known() {
        let found = |weight: u16, maxconn: Option<u32>, keywords: &str| {
            let keywords = Keywords::new(keywords).unwrap();
            let mut site = Site::new(1);
            let server = site.server("s1");
            (server.initial_weight, server.maxconn) = (Weight::new(weight).unwrap(), maxconn);
            deviation(server, &keywords).unwrap_or_default()
        };
        assert_eq!(found(1, None, "check"), "");
        assert_eq!(found(20, Some(50), "maxconn 5 weight 20 maxconn 50"), "");
        assert_eq!(found(0, None, "weight ${W}"), "its weight is 0 where `${W}` was asked for");
        assert_eq!(found(1, None, "maxconn ${M}"), "its maxconn is 0 where `${M}` was asked for");
        assert_eq!(found(0, None, "check"), "its weight is 0: it would get no requests");
    }

    #[test]
    fn an_added_server_is_as_its_keywords_say() {
        let mut site = Site::new(0);
        site.settings.spares = Spares::Dynamic;
        site.offer(&[A]);
        let keywords = Keywords::new("check weight 20 maxconn 50 ssl").unwrap();
        site.offer.as_mut().unwrap().keywords = keywords;
        let server = site.supplied().state.servers.remove(0);
        assert_eq!(
            (server.weight.value(), server.maxconn, server.tls, server.checked),
            (20, Some(50), Some(true), true)
        );
        assert_eq!(server.state(), AdminState::Maint);
    }

    #[test]
    fn what_was_put_somewhere_is_lost_with_the_last_process_that_had_it() {
        let mut placement = Placement { address: at(A), added: true, serving: true, pids: Vec::new() };
        assert!(placement.is_lost_to(&[Some(1), Some(2)]), "nobody knows who had it");
        placement.note_had_by(&[Some(1), Some(2)]);
        assert!(!placement.is_lost_to(&[Some(3), Some(2)]));
        assert!(!placement.is_out_of_sight(&[Some(3), Some(2)]));
        // One does not answer, and may have it still.
        assert!(placement.is_out_of_sight(&[Some(3), None]));
        assert!(placement.is_lost_to(&[Some(3), None]));
        placement.note_had_by(&[Some(3), None]);
        assert_eq!(placement.pids, [Some(3), Some(2)]);
        assert!(placement.is_lost_to(&[Some(4), Some(5)]));
        // The pids of two machines have nothing to do with each other.
        assert!(placement.is_lost_to(&[Some(2), Some(3)]));
    }
}
