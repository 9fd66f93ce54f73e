//! Somebody else's hand: a server that an operator, another program or an agent check put into another state, or gave
//! another weight, is left alone for a while.
//!
//! ```text
//!  each reading of HAProxy, but for the servers that a plan is moving:
//!    as before, or HAProxy was restarted, or a plan of ours has changed it     nothing
//!    another state, weight or address; no health check any more             left alone for `hands_off`, and told
//!  a plan that meets it in mid-move                                           the same
//!  another weight, and the server has an agent check                         nothing: it is what that says
//!  READY again, and the server has an agent check                            no longer left alone
//! ```
//! The first reading after the agent's start is compared with what the agent before it has left, if HAProxy is the same
//! process.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::backend::Backend;
use super::memory::{BackendMemory, Known};
use super::{Action, Event, Record, record};
use crate::core::names::{BackendId, Names, ServerId};
use crate::core::plan::inventory::{AdminState, BackendState, ServerState};
use crate::core::plan::step::{Lane, Step};
use crate::core::plan::weights::WeightList;
use crate::core::units::Weight;

/// What was changed about a server, and not by this agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// `set server ... state`, or the stats page.
    State {
        /// Before.
        from: AdminState,
        /// Since.
        to: AdminState,
    },
    /// `set server ... weight`.
    Weight {
        /// Before.
        from: Weight,
        /// Since.
        to: Weight,
    },
    /// The same, or a weight that a state file has brought back: HAProxy was restarted.
    WeightAtRestart {
        /// By right.
        from: Weight,
        /// Since.
        to: Weight,
    },
    /// `set server ... addr`.
    Address {
        /// Before.
        from: SocketAddr,
        /// Since.
        to: SocketAddr,
    },
    /// `disable health`: it stays as it is, UP or DOWN, whatever becomes of it.
    Unchecked,
}

/// How each server was found last, and which ones are left alone.
#[derive(Debug, Default)]
pub(super) struct HandsOff {
    seen: HashMap<ServerId, Seen>,
    /// What may be found there next is our own doing.
    touched: HashMap<ServerId, Touch>,
    until: HashMap<ServerId, Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    state: AdminState,
    weight: Weight,
    /// Of a slot, and where only somebody's hand can change it.
    place: Option<SocketAddr>,
    checked: bool,
}

impl Seen {
    fn of(server: &ServerState, is_slot: bool, is_alone: bool) -> Self {
        // DNS moves servers too; and of several HAProxys each may reach a server elsewhere.
        let is_fixed = is_alone && !server.by_name && !server.of_dns;
        let place = server.socket().filter(|_| is_slot || is_fixed);
        Self { state: server.admin.forced(), weight: server.weight, place, checked: server.checked }
    }

    /// What differs in `now`, beyond what a plan has done by its `touch`.
    fn changes(self, now: Self, touch: Option<&Touch>) -> impl Iterator<Item = Change> {
        let arrived = touch.and_then(|touch| touch.arrived);
        let from = arrived.unwrap_or(self.state);
        let on_its_way = arrived.is_none() && touch.is_some_and(|touch| touch.states.contains(&now.state));
        let is_moved = from != now.state && !on_its_way;
        let is_ours = touch.is_some_and(|touch| touch.weights.contains(&now.weight));
        let is_reweighed = self.weight != now.weight && !is_ours;
        let state = is_moved.then_some(Change::State { from, to: now.state });
        let weight = touch.and_then(|touch| touch.weighed).unwrap_or(self.weight);
        let weight = is_reweighed.then_some(Change::Weight { from: weight, to: now.weight });
        // One that a plan adds has its check off for a moment.
        let is_added = touch.is_some_and(|touch| !touch.addresses.is_empty());
        let is_unchecked = self.checked && !now.checked && !is_added;
        state.into_iter().chain(weight).chain(is_unchecked.then_some(Change::Unchecked))
    }

    /// A server that somebody has sent elsewhere; a slot that was emptied is one as before.
    fn sent_elsewhere(self, now: &ServerState, is_slot: bool, touch: Option<&Touch>) -> Option<Change> {
        let (from, to) = self.place.zip(now.socket())?;
        let is_ours = touch.is_some_and(|touch| touch.addresses.contains(&to));
        (from != to && now.alike && !is_slot && !is_ours).then_some(Change::Address { from, to })
    }
}

/// What a plan does to a server.
#[derive(Debug, Default)]
struct Touch {
    /// It may be left in any of these.
    states: Vec<AdminState>,
    /// It has got there.
    arrived: Option<AdminState>,
    weights: Vec<Weight>,
    /// The last of them that was set.
    weighed: Option<Weight>,
    addresses: Vec<SocketAddr>,
}

impl HandsOff {
    /// HAProxy was restarted, or another one of several is in line: what it has now is nobody's doing.
    pub(super) fn restart(&mut self) {
        self.seen.clear();
    }

    /// A plan takes these steps.
    pub(super) fn expect<'a>(&mut self, steps: impl IntoIterator<Item = &'a Step>) {
        for step in steps {
            match step {
                Step::Set { server, state } => self.touched.entry(*server).or_default().states.push(*state),
                Step::SetWeights(weights) => {
                    for &(server, weight) in weights {
                        self.touched.entry(server).or_default().weights.push(weight);
                    }
                }
                Step::SetAddress { server, address } | Step::Add { server, address, .. } => {
                    self.touched.entry(*server).or_default().addresses.push(*address);
                }
                _ => {}
            }
        }
    }

    /// A plan has brought `server` into `state`: in another it is by somebody else.
    pub(super) fn arrived(&mut self, server: ServerId, state: AdminState) {
        self.touched.entry(server).or_default().arrived = Some(state);
    }

    /// A plan was to set the state of `server`, and has not: another one is by somebody else.
    pub(super) fn left_as_it_was(&mut self, server: ServerId) {
        self.touched.entry(server).or_default().states.clear();
    }

    /// A plan has set these weights.
    pub(super) fn weighed(&mut self, weights: &WeightList) {
        for &(server, weight) in weights {
            self.touched.entry(server).or_default().weighed = Some(weight);
        }
    }

    /// Compares with what was found before, but for those that are `moving`, if a plan is under way. True beside
    /// it if anything is known now that was not. `is_alone`: there is one HAProxy.
    fn look(
        &mut self,
        state: &BackendState,
        moving: Option<&HashSet<ServerId>>,
        is_alone: bool,
        is_slot: impl Fn(&ServerState) -> bool,
    ) -> (Vec<(ServerId, Change)>, bool) {
        let (mut changes, mut is_news) = (Vec::new(), false);
        let is_moving = |id: &ServerId| moving.is_some_and(|moving| moving.contains(id));
        for server in state.servers.iter().filter(|server| !is_moving(&server.id)) {
            let is_slot = is_slot(server);
            let now = Seen::of(server, is_slot, is_alone);
            let before = self.seen.insert(server.id, now);
            // What an agent check reports is another weight at any time.
            let is_same = |before: Seen| before == now || before.state == now.state && server.has_agent();
            is_news |= !before.is_some_and(is_same);
            let touch = self.touched.get(&server.id);
            let found = before.into_iter().flat_map(|before| before.changes(now, touch));
            let is_hand = |change: &Change| !matches!(change, Change::Weight { .. }) || !server.has_agent();
            let sent = before.and_then(|before| before.sent_elsewhere(server, is_slot, touch));
            changes.extend(found.filter(is_hand).chain(sent).map(|change| (server.id, change)));
        }
        if moving.is_none() {
            is_news |= !self.touched.is_empty();
            self.touched.clear();
        }
        if self.seen.len() > state.servers.len() {
            let there: HashSet<ServerId> = state.servers.iter().map(|server| server.id).collect();
            self.seen.retain(|server, _| there.contains(server));
        }
        (changes, is_news)
    }

    /// How each server was found, for the next agent.
    pub(super) fn known(&self, names: &Names) -> BTreeMap<String, Known> {
        let known = |(server, seen): (&ServerId, &Seen)| {
            let touch = self.touched.get(server);
            let arrived = touch.and_then(|touch| touch.arrived);
            let states = touch.filter(|_| arrived.is_none()).map(|touch| &touch.states);
            let known = Known {
                state: arrived.unwrap_or(seen.state),
                weight: seen.weight,
                states: states.into_iter().flatten().copied().collect(),
                weights: touch.into_iter().flat_map(|touch| &touch.weights).copied().collect(),
            };
            (names.of_server(*server).to_string(), known)
        };
        self.seen.iter().map(known).collect()
    }

    /// How long `server` is still left alone; `None` if it is not.
    pub(super) fn left(&self, server: ServerId, now: Instant) -> Option<Duration> {
        self.until.get(&server).map(|until| until.saturating_duration_since(now))
    }

    /// What is left for each, by name.
    pub(super) fn memory(&self, names: &Names, now: Instant) -> BTreeMap<String, Duration> {
        let left = |(server, until): (&ServerId, &Instant)| {
            (names.of_server(*server).to_string(), until.saturating_duration_since(now))
        };
        self.until.iter().map(left).collect()
    }
}

impl Backend {
    /// Takes back what an agent before this one left alone.
    pub(super) fn recall_hands_off(
        &mut self,
        left: impl Iterator<Item = (ServerId, Duration)>,
        now: Instant,
    ) {
        for (server, left) in left {
            self.hands_off.until.insert(server, now + left);
            self.claims.left_alone.insert(server);
        }
    }

    /// Takes how an agent before this one found each server, and where slots were put. If HAProxy was restarted since,
    /// see [`restart`](HandsOff::restart).
    pub(super) fn recall_known(&mut self, memory: &BackendMemory, id: BackendId, names: &Names) {
        for (name, known) in &memory.known {
            let Some(server) = names.server(id, name) else { continue };
            let place = self.store.place(server);
            let seen = Seen {
                state: known.state,
                weight: known.weight,
                place,
                // Not known: it is what is found first.
                checked: false,
            };
            self.hands_off.seen.insert(server, seen);
            if !known.states.is_empty() || !known.weights.is_empty() {
                let states = known.states.iter().copied().collect();
                let weights = known.weights.iter().copied().collect();
                self.hands_off.touched.insert(server, Touch { states, weights, ..Touch::default() });
            }
        }
    }

    /// What these lanes and steps are about to change is no surprise.
    pub(super) fn expect_changes<'a>(
        &mut self,
        lanes: impl Iterator<Item = &'a Lane>,
        weights: impl Iterator<Item = &'a Step>,
    ) {
        self.hands_off.expect(weights);
        for lane in lanes {
            self.hands_off.expect(lane.steps.iter().chain(&lane.undo));
        }
    }

    /// Notices what somebody else has changed. True if there is something to remember.
    pub(super) fn look_for_other_hands(
        &mut self,
        id: BackendId,
        state: &BackendState,
        now: Instant,
        actions: &mut VecDeque<Action>,
    ) -> bool {
        let moving = self.moving.as_ref().map(|moving| moving.servers().collect());
        let is_alone = self.found.as_ref().is_some_and(|found| found.pids.len() == 1);
        let is_slot = |server: &ServerState| self.store.is_slot(server, self.settings.spares);
        let (changes, is_news) = self.hands_off.look(state, moving.as_ref(), is_alone, is_slot);
        for &(server, change) in &changes {
            if let Change::Weight { .. } = change {
                // A weight that was to be put back: somebody wants another one.
                self.borrowed.retain(|(id, _)| *id != server);
                self.temporary.forget(server);
            }
            if let Change::Address { .. } = change {
                // What stands behind it is no spare of ours, for however long it is left alone.
                self.claims.ours.remove(&server);
            }
            let has_agent = state.server(server).is_some_and(ServerState::has_agent);
            let is_back = has_agent && matches!(change, Change::State { to: AdminState::Ready, .. });
            if is_back && self.claims.left_alone.contains(&server) {
                self.take_in_hand(id, &[server], now, actions);
            } else {
                self.leave_alone(id, server, Some(change), now, actions);
            }
        }
        is_news || !changes.is_empty()
    }

    /// Keeps off `server`, from now on.
    pub(super) fn leave_alone(
        &mut self,
        id: BackendId,
        server: ServerId,
        change: Option<Change>,
        now: Instant,
        actions: &mut VecDeque<Action>,
    ) {
        let lasts = self.settings.hands_off;
        if lasts.is_zero() {
            return;
        }
        self.hands_off.until.insert(server, now + lasts);
        self.claims.left_alone.insert(server);
        self.tell_hand(id, Event::ChangedByOther { server, change, lasts }, now, actions);
    }

    /// Ends what is over.
    pub(super) fn end_hands_off_in_time(
        &mut self,
        id: BackendId,
        now: Instant,
        actions: &mut VecDeque<Action>,
    ) {
        let over: Vec<ServerId> = self
            .hands_off
            .until
            .iter()
            .filter(|(_, until)| **until <= now)
            .map(|(&server, _)| server)
            .collect();
        self.take_in_hand(id, &over, now, actions);
    }

    /// Ends all of it: an operator says so. How many servers that were.
    pub(super) fn end_hands_off(
        &mut self,
        id: BackendId,
        now: Instant,
        actions: &mut VecDeque<Action>,
    ) -> usize {
        let all: Vec<ServerId> = self.hands_off.until.keys().copied().collect();
        self.take_in_hand(id, &all, now, actions);
        all.len()
    }

    fn take_in_hand(
        &mut self,
        id: BackendId,
        servers: &[ServerId],
        now: Instant,
        actions: &mut VecDeque<Action>,
    ) {
        for &server in servers {
            self.hands_off.until.remove(&server);
            self.claims.left_alone.remove(&server);
            self.tell_hand(id, Event::HandsOffEnded { server }, now, actions);
        }
        if !servers.is_empty() {
            actions.push_back(Action::Remember);
        }
    }

    fn tell_hand(&mut self, id: BackendId, event: Event, now: Instant, actions: &mut VecDeque<Action>) {
        self.told = None;
        let serving = self.latest.as_ref().map_or(0, |latest| latest.fleet.serving);
        let next_move = self.next_move(now);
        actions.push_back(record(Record { backend: id, event, snapshot: None, serving, next_move }));
    }
}
