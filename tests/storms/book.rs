//! Keeps a book of who has done what to which server, and holds each command of ours against the rules.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use haproxy_autoscale::core::names::{Names, ServerId};
use haproxy_autoscale::core::plan::inventory::{AdminState, BackendState, Inventory, ServerState};
use haproxy_autoscale::core::units::Weight;

use super::haproxy::Haproxy;

/// A left-alone server's time is kept in whole seconds over a restart of the agent.
const SLACK: Duration = Duration::from_secs(3);

#[derive(Debug)]
pub(crate) struct Book {
    names: Names,
    /// Fewest servers, as the config has it now.
    pub(crate) min: usize,
    hands_off: Duration,
    /// Spares because the config says so.
    named: HashSet<ServerId>,
    /// As whoever has watched all along expects each server to be.
    expected: HashMap<ServerId, Stands>,
    pid: Option<u32>,
    /// What is found next is nobody's doing: HAProxy or the agent has just started.
    is_new: bool,
    /// Somebody else's, until then.
    theirs: HashMap<ServerId, Instant>,
    /// Where a state or a weight is by our doing.
    state_is_ours: HashSet<ServerId>,
    weight_is_ours: HashSet<ServerId>,
    /// In DRAIN, and the last to touch it were we.
    half_drained: HashSet<ServerId>,
    /// When an operator has last touched a server.
    touched: HashMap<ServerId, Instant>,
    /// Weights that anybody but us has given to a server.
    pub(crate) rightful: HashMap<ServerId, Vec<Weight>>,
    /// An operator has set a weight.
    pub(crate) somebody_weighs: bool,
    pub(crate) broken: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stands {
    state: AdminState,
    weight: Weight,
}

impl Stands {
    fn of(server: &ServerState) -> Self {
        Self { state: server.admin.forced(), weight: server.weight }
    }
}

impl Book {
    pub(crate) fn new(
        names: &Names,
        state: &BackendState,
        hands_off: Duration,
        named: HashSet<ServerId>,
    ) -> Self {
        Self {
            names: names.clone(),
            min: 1,
            hands_off,
            named,
            expected: HashMap::new(),
            pid: None,
            is_new: true,
            theirs: HashMap::new(),
            state_is_ours: HashSet::new(),
            weight_is_ours: HashSet::new(),
            half_drained: HashSet::new(),
            touched: HashMap::new(),
            rightful: state.servers.iter().map(|server| (server.id, vec![server.weight])).collect(),
            somebody_weighs: false,
            broken: Vec::new(),
        }
    }

    /// HAProxy is told a state.
    pub(crate) fn our_state(&mut self, haproxy: &mut Haproxy, id: ServerId, state: AdminState, now: Instant) {
        let server = haproxy.server(id).clone();
        let (from, before) = (server.state(), haproxy.serving());
        haproxy.set_state(id, state);
        let after = haproxy.serving();
        if after < before && after < self.min {
            self.break_rule(id, &format!("{}: {after} serve, and {} have to", state.name(), self.min));
        }
        if server.backup || server.tracks.is_some() {
            self.break_rule(id, &format!("{}: it is bound", state.name()));
        }
        if self.is_theirs(id, now) {
            self.break_rule(id, &format!("{}: it is to be left alone", state.name()));
        }
        let is_known = self.state_is_ours.contains(&id) || self.named.contains(&id);
        if from != AdminState::Ready && !is_known && !server.admin.is_declared_disabled() {
            self.break_rule(id, &format!("{}: it is in {} by somebody else", state.name(), from.name()));
        }
        match state {
            AdminState::Ready => self.state_is_ours.remove(&id),
            AdminState::Drain | AdminState::Maint => self.state_is_ours.insert(id),
        };
        match state {
            AdminState::Drain => self.half_drained.insert(id),
            AdminState::Ready | AdminState::Maint => self.half_drained.remove(&id),
        };
        if let Some(expected) = self.expected.get_mut(&id) {
            expected.state = state;
        }
    }

    /// HAProxy is told weights.
    pub(crate) fn our_weights(
        &mut self,
        haproxy: &mut Haproxy,
        weights: &[(ServerId, Weight)],
        now: Instant,
    ) {
        for &(id, weight) in weights {
            let server = haproxy.server(id).clone();
            haproxy.set_weight(id, weight);
            if weight == server.weight {
                continue;
            }
            if server.backup || weight == Weight::ZERO || server.weight == Weight::ZERO {
                self.break_rule(id, &format!("weight {} to {weight}", server.weight));
            }
            if self.is_theirs(id, now) && !self.weight_is_ours.contains(&id) {
                let from = server.weight;
                self.break_rule(id, &format!("weight {from} to {weight}: it is to be left alone"));
            }
            self.weight_is_ours.insert(id);
            if let Some(expected) = self.expected.get_mut(&id) {
                expected.weight = weight;
            }
        }
    }

    /// An operator changes a server.
    pub(crate) fn their_change(&mut self, server: &ServerState, now: Instant) {
        let before = self.expected.get(&server.id).map(|expected| expected.weight);
        self.somebody_weighs |= before != Some(server.weight);
        self.touched.insert(server.id, now);
        self.half_drained.remove(&server.id);
        self.rightful.entry(server.id).or_default().push(server.weight);
    }

    /// The agent is shown this; it `can_see` others' doings while it does nothing itself.
    pub(crate) fn look(&mut self, inventory: &Inventory, asked: Instant, can_see: bool) {
        self.is_new |= self.pid.replace(inventory.process.pid) != Some(inventory.process.pid);
        if !can_see {
            return;
        }
        for server in &inventory.backends[0].servers {
            let now = Stands::of(server);
            let Some(before) = self.expected.insert(server.id, now).filter(|before| *before != now) else {
                continue;
            };
            if now.state == AdminState::Ready {
                self.state_is_ours.remove(&server.id);
            }
            if before.weight != now.weight {
                self.weight_is_ours.remove(&server.id);
            }
            if !self.is_new {
                self.theirs.insert(server.id, asked + self.hands_off);
            }
        }
        self.is_new = false;
    }

    /// The agent was told by its executor that somebody else has changed this server.
    pub(crate) fn met_in_mid_move(&mut self, server: &ServerState, now: Instant) {
        self.theirs.insert(server.id, now + self.hands_off);
        self.expected.insert(server.id, Stands::of(server));
    }

    /// An operator has touched it at least once.
    pub(crate) fn was_touched(&self, id: ServerId) -> bool {
        self.touched.contains_key(&id)
    }

    /// The agent starts anew.
    pub(crate) fn restart(&mut self) {
        self.is_new = true;
    }

    /// An operator is content with how all servers stand, whether the agent has seen it already or not.
    pub(crate) fn resume(&mut self, state: &BackendState) {
        self.expected.extend(state.servers.iter().map(|server| (server.id, Stands::of(server))));
        self.theirs.clear();
    }

    /// We have begun to drain it, and nobody has touched it since.
    pub(crate) fn is_half_drained(&self, id: ServerId) -> bool {
        self.half_drained.contains(&id)
    }

    fn is_theirs(&self, id: ServerId, now: Instant) -> bool {
        self.theirs.get(&id).is_some_and(|&until| now + SLACK < until)
    }

    fn break_rule(&mut self, id: ServerId, what: &str) {
        self.broken.push(format!("{} {what}", self.names.of_server(id)));
    }
}
