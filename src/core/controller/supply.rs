//! What the pool offers, where its addresses were put, and what a restart of HAProxy has taken away.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::Action;
use super::backend::Backend;
use super::quarantine::Quarantine;
use crate::core::names::{BackendId, Names, ServerId};
use crate::core::plan::inventory::{AdminState, BackendState, Inventory, Process, ServerState};
use crate::core::plan::nodes::Kept;
use crate::core::plan::planner;
use crate::core::plan::step::{Lane, Purpose, Step};
use crate::core::plan::supply::{self, Offer, Placement, Stock, Supplied};
use crate::core::policy::decision::{Decision, Reason};
use crate::core::policy::order::{Ordered, What};
use crate::core::policy::place::NoPlace;
use crate::core::settings::spares::{Keywords, Spares};
use crate::core::settings::{BackendSettings, ReadyLimits};
use crate::core::wire::version::{Keeping, can_add_servers, keeping, keywords_for};

/// How long a server that could not be deleted is left alone.
const DELETE_AGAIN: Duration = Duration::from_secs(60);

/// What is known of a backend's pool.
#[derive(Debug, Default)]
pub(super) struct Store {
    /// `None`: nobody has told yet.
    offer: Option<Offer>,
    placed: HashMap<ServerId, Placement>,
    /// Addresses that failed to start.
    refused: Quarantine<SocketAddr>,
    /// The HAProxy that answered last.
    process: Option<Process>,
    /// The process of each HAProxy; `None` for one that does not answer.
    counted: Vec<Option<u32>>,
    /// Servers could not be deleted: it is not tried again before this.
    delete_from: Option<Instant>,
}

impl Store {
    /// What another agent has put where.
    pub(super) fn recall(&mut self, placed: &BTreeMap<String, Placement>, id: BackendId, names: &Names) {
        let known =
            placed.iter().filter_map(|(name, placement)| Some((names.server(id, name)?, placement.clone())));
        self.placed = known.collect();
    }

    /// A slot that is empty, or has the address that it was given.
    pub(super) fn is_slot(&self, server: &ServerState, spares: Spares) -> bool {
        let is_at = |address| spares.is_placeholder(address) || self.place(server.id) == Some(address);
        matches!(spares, Spares::Slots { .. }) && server.socket().is_some_and(is_at)
    }

    /// The address that `server`, a slot, was given.
    pub(super) fn place(&self, server: ServerId) -> Option<SocketAddr> {
        self.placed.get(&server).filter(|placed| !placed.added).map(|placed| placed.address)
    }

    /// To be kept.
    pub(super) fn memory(&self, names: &Names) -> BTreeMap<String, Placement> {
        let named =
            |(&id, placement): (&ServerId, &Placement)| (names.of_server(id).to_string(), placement.clone());
        self.placed.iter().map(named).collect()
    }

    pub(super) fn note_processes(&mut self, inventory: &Inventory) {
        (self.process, self.counted) = (Some(inventory.process.clone()), inventory.counted.clone());
    }

    /// All that answer, `counted`, were restarted: in a container, with the pid that they had.
    pub(super) fn note_restart(&mut self, counted: &[Option<u32>]) {
        for placement in self.placed.values_mut() {
            let answering = placement.pids.iter_mut().zip(counted).filter(|(_, now)| now.is_some());
            answering.for_each(|(had, _)| *had = None);
        }
    }

    /// Remembers what `lanes` are about to put where. What a restart took away and is being brought back is
    /// remembered as it was: if this agent dies on the way, the next one brings it back.
    pub(super) fn remember(&mut self, lanes: &[Lane]) {
        for step in lanes.iter().flat_map(|lane| &lane.steps) {
            let (server, address, added) = match step {
                Step::SetAddress { server, address } => (*server, *address, false),
                Step::Add { server, address, .. } => (*server, *address, true),
                _ => continue,
            };
            let fresh = Placement { address, added, serving: false, pids: self.counted.clone() };
            let placement = self.placed.entry(server).or_insert_with(|| fresh.clone());
            if placement.address != address || placement.added != added {
                *placement = fresh;
            }
        }
    }

    /// `server` has got to the end of its lane.
    pub(super) fn note_moved(&mut self, server: ServerId, purpose: Purpose) {
        if let Some(placement) = self.placed.get_mut(&server) {
            placement.serving = purpose == Purpose::Add;
            placement.note_had_by(&self.counted);
            if purpose == Purpose::Add {
                self.refused.end(placement.address);
            }
        }
    }

    /// `server` could not be started. True if that is held against its address, and not against itself.
    pub(super) fn note_failed(&mut self, server: ServerId, now: Instant) -> bool {
        let Some(placement) = self.placed.get_mut(&server) else { return false };
        placement.serving = false;
        self.refused.begin(placement.address, now);
        true
    }

    pub(super) fn note_left_behind(&mut self, now: Instant) {
        self.delete_from = Some(now + DELETE_AGAIN);
    }

    pub(super) fn forget_old(&mut self, now: Instant) {
        self.refused.forget_old(now);
    }

    /// How long the address of `server` is still passed over.
    pub(super) fn quarantine_left(&self, server: ServerId, now: Instant) -> Option<Duration> {
        self.refused.left(self.placed.get(&server)?.address, now)
    }

    /// Compares what HAProxy has with what was put where. True if that changed.
    pub(super) fn take_stock(&mut self, state: &BackendState, spares: Spares) -> bool {
        let (before, counted) = (self.placed.clone(), &self.counted);
        self.placed.retain(|&id, placement| {
            let restarted = placement.is_lost_to(counted);
            match state.server(id) {
                // Gone: by a restart, and then it may be brought back; else by us, or by somebody else. One that
                // does not answer may have it still.
                None => restarted && placement.serving || placement.is_out_of_sight(counted),
                Some(server) if server.is_at(placement.address) => {
                    placement.serving = server.state() == AdminState::Ready;
                    placement.note_had_by(counted);
                    true
                }
                // A slot that is empty again: by a restart, or by somebody's hand.
                Some(server) if !placement.added => {
                    placement.serving &= restarted && server.state() == AdminState::Maint;
                    server.socket().is_none_or(|address| spares.is_placeholder(address))
                }
                Some(_) => false,
            }
        });
        self.placed != before
    }

    /// What HAProxy had before it was restarted, and should have again.
    fn lost(&self) -> HashSet<ServerId> {
        let is_lost = |placement: &Placement| placement.serving && placement.is_lost_to(&self.counted);
        self.placed.iter().filter(|(_, placement)| is_lost(placement)).map(|(&id, _)| id).collect()
    }
}

impl Backend {
    /// Takes what its pool offers. True if that is news.
    pub(super) fn take_offer(&mut self, offer: Offer) -> bool {
        let is_news = self.store.offer.as_ref() != Some(&offer);
        self.store.offer = Some(offer);
        is_news
    }

    /// It has none, or what that offers has been told.
    pub(super) fn knows_its_pool(&self) -> bool {
        self.settings.spares == Spares::Declared || self.store.offer.is_some()
    }

    /// With what `server` of `state` was added.
    pub(super) fn keywords_of(&self, state: &BackendState, server: &ServerState, names: &Names) -> Keywords {
        let keywords = self.store.offer.as_ref().map(|offer| offer.keywords.clone()).unwrap_or_default();
        match &self.store.process {
            Some(process) => keywords_for(process, state, &names.of_server(server.id), &keywords),
            None => keywords,
        }
    }

    /// Why clients cannot be kept on servers that are added to it.
    pub(super) fn loses_clients(&self, state: &BackendState) -> Option<&'static str> {
        let (offer, process) = (self.store.offer.as_ref()?, self.store.process.as_ref()?);
        match keeping(process, state, &offer.keywords) {
            Keeping::Lost(why) if self.settings.spares == Spares::Dynamic => Some(why),
            _ => None,
        }
    }

    /// What is to be the same on several HAProxys.
    pub(super) fn kept(&self, id: BackendId) -> Kept {
        Kept {
            backend: id,
            least_serving: self.limits.scheduled.min,
            spares: self.settings.spares,
            placed: self.store.placed.keys().copied().collect(),
            keywords: self.store.offer.as_ref().map(|offer| offer.keywords.clone()),
            left_alone: self.claims.left_alone.iter().copied().collect(),
        }
    }

    /// What HAProxy has, what the pool has to do with it, and what has shown before.
    pub(super) fn supplied(&self, state: &BackendState, names: &Names, now: Instant) -> Supplied {
        let refused = self.store.refused.all(now);
        let mut supplied = supply::supplied(
            state,
            &Stock {
                settings: &self.settings,
                offer: self.store.offer.as_ref(),
                placed: &self.store.placed,
                ours: &self.claims.ours,
                refused: &refused,
                can_add: self.cannot_add(state).is_none(),
                names,
            },
        );
        for server in &mut supplied.state.servers {
            server.slowstart |= self.slowstarts.contains(&server.id);
        }
        supplied
    }

    /// Why no server can be added to it at run time.
    fn cannot_add(&self, state: &BackendState) -> Option<&'static str> {
        self.store.process.as_ref().and_then(|process| can_add_servers(process, state).err())
    }

    /// `reason`, or the better one where a spare is missing only because there is no place for it.
    pub(super) fn for_want_of_place(&self, reason: Reason, supplied: &Supplied, names: &Names) -> Reason {
        let state = &supplied.state;
        if let Reason::Ordered(Ordered { what: What::Pinned { but: Some(but), .. }, .. }) = &reason {
            let but = self.for_want_of_place(Reason::clone(but), supplied, names);
            let Reason::Ordered(ordered) = reason else { return reason };
            return Reason::Ordered(ordered.but(but));
        }
        match (&reason, self.settings.spares) {
            (Reason::NoSpare, Spares::Slots { .. }) if supplied.missing_slots > 0 => {
                Reason::NoPlace(self.no_slot(supplied, names))
            }
            (Reason::NoSpare, Spares::Dynamic) => match self.cannot_add(state) {
                Some(why) => Reason::NoPlace(NoPlace::Add(why)),
                None => reason,
            },
            _ => reason,
        }
    }

    /// The same for a decision to hold.
    pub(super) fn place_explained(&self, decision: Decision, supplied: &Supplied, names: &Names) -> Decision {
        match decision {
            Decision::Hold(reason) => Decision::Hold(self.for_want_of_place(reason, supplied, names)),
            decision => decision,
        }
    }

    /// Brings back what a restart of HAProxy took away. True if a plan for it has begun.
    pub(super) fn bring_back_placed(
        &mut self,
        state: &BackendState,
        names: &Names,
        now: Instant,
        actions: &mut VecDeque<Action>,
    ) -> bool {
        let lost = self.store.lost();
        if self.is_moving() || lost.is_empty() {
            return false;
        }
        let Some(plan) = planner::bring_back(state, &self.settings, &lost, &self.claims, names) else {
            return false;
        };
        self.begin(plan, None, now, actions);
        true
    }

    /// Servers that have no place any more: those that were added and wait in MAINT, and one at a time of those
    /// whose address has left the pool. True if a plan for it has begun.
    pub(super) fn clear_away(
        &mut self,
        state: &BackendState,
        names: &Names,
        now: Instant,
        actions: &mut VecDeque<Action>,
    ) -> bool {
        if self.store.delete_from.is_some_and(|from| now < from) {
            return false;
        }
        let deletion = planner::delete_added(state, &self.settings);
        let retire = || {
            // A pin is kept on the long run; for one server to replace another there may be one more.
            let ready = ReadyLimits { max: self.limits.scheduled.max, ..self.settings.ready };
            let settings = BackendSettings { ready, ..BackendSettings::clone(&self.settings) };
            planner::retire(state, &settings, &self.claims, &self.quarantine.all(now), names)
        };
        let Some(plan) = deletion.or_else(retire) else { return false };
        self.begin(plan, None, now, actions);
        true
    }
}
