//! Keeps a book of who has done what to which server, and holds each command of ours against the rules.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use haproxy_autoscale::core::names::Names;
use haproxy_autoscale::core::plan::inventory::{AdminState, Inventory, ServerState};

use super::cli::Change;
use super::haproxy::{Haproxy, NOWHERE, Server};

/// Durations are kept in whole seconds over a restart of the agent.
const SLACK: Duration = Duration::from_secs(3);

/// What has changed less long ago may not have been read before a command: an answer may take so long.
const UNSEEN: Duration = Duration::from_secs(4);
/// Nodes are not read at the same moment: what is said to one may cross an operator's change.
const CROSSES: Duration = Duration::from_secs(2);

/// Backend and server.
pub(crate) type Key = (String, String);

/// What the rules are about.
#[derive(Debug)]
pub(crate) struct Rules {
    /// Fewest servers by backend, as the config has had it lately, the latest last.
    min: HashMap<String, Vec<(Instant, usize)>>,
    pub(crate) hands_off: HashMap<String, Duration>,
    /// Spares because the config says so.
    pub(crate) named: HashSet<Key>,
    /// All that the pools have ever offered, by backend.
    pub(crate) offered: HashSet<(String, SocketAddr)>,
}

impl Rules {
    pub(crate) fn new() -> Self {
        let (min, hands_off) = (HashMap::new(), HashMap::new());
        Self { min, hands_off, named: HashSet::new(), offered: HashSet::new() }
    }

    pub(crate) fn set_min(&mut self, backend: &str, min: usize, now: Instant) {
        self.min.entry(backend.to_owned()).or_default().push((now, min));
    }

    /// The least that has held lately; whatever nobody scales keeps one.
    fn min(&self, backend: &str, now: Instant) -> usize {
        let Some(all) = self.min.get(backend) else { return 1 };
        let is_old = |at: &(Instant, usize)| now.duration_since(at.0) > UNSEEN;
        let before = all.iter().rposition(is_old).unwrap_or(0);
        all[before..].iter().map(|&(_, min)| min).min().unwrap_or(1)
    }
}

#[derive(Debug)]
pub(crate) struct Book {
    pub(crate) rules: Rules,
    names: Names,
    /// As whoever has watched all along expects each server to be, on all nodes together.
    expected: HashMap<Key, Stands>,
    pids: Vec<Option<u32>>,
    /// What is found next is nobody's doing: HAProxy or the agent has just started.
    is_new: bool,
    /// Somebody else's, until then.
    theirs: HashMap<Key, Instant>,
    /// Those of which the latest plan of each backend is, and when that began.
    planned: HashMap<Key, Instant>,
    /// Where a state or a weight is by our doing.
    state_is_ours: HashSet<Key>,
    weight_is_ours: HashSet<Key>,
    /// In DRAIN, and the last to touch it were we.
    half_drained: HashSet<Key>,
    /// When an operator has touched a server last; and those where nobody has looked since.
    touched: HashMap<Key, Instant>,
    unseen: HashSet<Key>,
    /// When commands about a server were refused.
    refused: HashMap<Key, Vec<Instant>>,
    /// The agent, if there was another one before it.
    started: Option<Instant>,
    /// The state that an operator has last wanted.
    wishes: HashMap<Key, AdminState>,
    /// Where we have set DRAIN, by node.
    drained: HashSet<(usize, Key)>,
    /// When each server has served last, where it was not us who ended that.
    served: HashMap<(usize, Key), Instant>,
    /// Weights that anybody but us has given to a server.
    pub(crate) rightful: HashMap<Key, Vec<u16>>,
    /// An operator has set a weight; and those that he has set on one of several nodes only.
    pub(crate) somebody_weighs: bool,
    pub(crate) weighed_alone: HashSet<Key>,
    /// Servers that he has changed on one of several nodes only, the last time: what all have together need not show it.
    pub(crate) changed_alone: HashSet<Key>,
    /// Servers of which a state file has kept a weight that they had for a while only.
    pub(crate) kept_from_a_ramp: HashSet<Key>,
    /// One of several nodes has refused something.
    pub(crate) one_has_refused: bool,
    /// An agent has gone since the storm began.
    pub(crate) has_lost_an_agent: bool,
    pub(crate) broken: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stands {
    state: AdminState,
    weight: u16,
}

/// One command, before it is carried out.
#[derive(Debug)]
pub(crate) struct Command<'a> {
    pub(crate) node: usize,
    pub(crate) key: &'a Key,
    pub(crate) change: &'a Change,
    /// Another node is so already.
    pub(crate) follows: bool,
    /// The node is told what it has missed: it was away, or restarted.
    pub(crate) catches_up: bool,
    /// It may be told what the others had a moment ago.
    pub(crate) lags: bool,
    pub(crate) now: Instant,
}

impl Book {
    pub(crate) fn new(names: &Names, rules: Rules, haproxy: &Haproxy) -> Self {
        let all = haproxy
            .backends
            .iter()
            .flat_map(|backend| backend.servers.iter().map(move |server| (backend, server)));
        let rightful =
            all.map(|(backend, server)| ((backend.name.clone(), server.name.clone()), vec![server.weight]));
        Self {
            rules,
            names: names.clone(),
            expected: HashMap::new(),
            pids: Vec::new(),
            is_new: true,
            theirs: HashMap::new(),
            planned: HashMap::new(),
            state_is_ours: HashSet::new(),
            weight_is_ours: HashSet::new(),
            half_drained: HashSet::new(),
            touched: HashMap::new(),
            unseen: HashSet::new(),
            refused: HashMap::new(),
            started: None,
            wishes: HashMap::new(),
            drained: HashSet::new(),
            served: HashMap::new(),
            rightful: rightful.collect(),
            somebody_weighs: false,
            weighed_alone: HashSet::new(),
            changed_alone: HashSet::new(),
            kept_from_a_ramp: HashSet::new(),
            one_has_refused: false,
            has_lost_an_agent: false,
            broken: Vec::new(),
        }
    }

    /// A state file keeps what `haproxy` has now.
    pub(crate) fn note_kept(&mut self, haproxy: &Haproxy) {
        for backend in &haproxy.backends {
            for server in &backend.servers {
                let key = (backend.name.clone(), server.name.clone());
                if !self.rightful.get(&key).is_some_and(|rightful| rightful.contains(&server.weight)) {
                    self.kept_from_a_ramp.insert(key);
                }
            }
        }
    }

    /// Who serves now, before something happens that is not our doing.
    pub(crate) fn note_serving(&mut self, node: usize, haproxy: &Haproxy, now: Instant) {
        for backend in &haproxy.backends {
            for server in backend.servers.iter().filter(|server| server.serves()) {
                self.served.insert((node, (backend.name.clone(), server.name.clone())), now);
            }
        }
    }

    /// We are about to make a change that HAProxy will make.
    pub(crate) fn ours(&mut self, command: &Command<'_>, haproxy: &Haproxy) {
        let Command { key, change, .. } = *command;
        let known = haproxy.server(&key.0, &key.1);
        match (change, known) {
            (Change::State(state), Some(server)) => self.our_state(command, server, *state),
            (Change::Weight(weight), Some(server)) => self.our_weight(command, server, *weight),
            (Change::Address(address), Some(server)) => {
                if server.state() != AdminState::Maint {
                    self.break_rule(key, &format!("an address in {}", server.state().name()));
                }
                let is_slot =
                    server.disabled || self.state_is_ours.contains(key) || self.rules.named.contains(key);
                if !is_slot || server.backup || server.tracks.is_some() {
                    self.break_rule(key, "an address for what is no slot of ours");
                }
                // On a node that is told what the others have a slot may be emptied.
                if !((command.follows || command.lags) && *address == NOWHERE.into()) {
                    self.place(key, *address, haproxy);
                }
            }
            (Change::Add(address, keywords), None) => {
                self.place(key, *address, haproxy);
                let weight = keywords.iter().skip_while(|word| *word != "weight").nth(1);
                let weight = weight.map_or(1, |weight| weight.parse().expect("a number"));
                self.rightful.entry(key.clone()).or_default().push(weight);
                self.state_is_ours.insert(key.clone());
            }
            (Change::Delete, Some(server)) => {
                if !server.added {
                    self.break_rule(key, "deleted, and we have not added it");
                }
                if server.state() != AdminState::Maint {
                    self.break_rule(key, &format!("deleted in {}", server.state().name()));
                }
            }
            (Change::ShutDown, Some(server)) if server.state() != AdminState::Maint => {
                self.break_rule(key, &format!("sessions shut down in {}", server.state().name()));
            }
            (Change::EnableCheck, Some(server)) if !server.added => {
                self.break_rule(key, "checks enabled, and we have not added it");
            }
            _ => {}
        }
    }

    /// Whoever served, and does not any more by what we have just done.
    pub(crate) fn after(&mut self, command: &Command<'_>, before: &Haproxy, after: &Haproxy) {
        for (was, is) in before.backends.iter().zip(&after.backends) {
            let key = |server: &Server| (command.node, (was.name.clone(), server.name.clone()));
            let serves = |server: &Server| is.server(&server.name).is_some_and(Server::serves);
            let gone: Vec<&Server> = was.servers.iter().filter(|one| one.serves() && !serves(one)).collect();
            if gone.is_empty() {
                continue;
            }
            for server in gone {
                self.served.remove(&key(server));
            }
            let is_recent = |server: &&Server| {
                let at = self.served.get(&key(server));
                at.is_some_and(|&at| command.now.duration_since(at) < UNSEEN)
            };
            let recent = is.servers.iter().filter(|server| !server.serves()).filter(is_recent).count();
            let (left, min) = (is.serving() + recent, self.rules.min(&was.name, command.now));
            if left < min {
                let what = format!(
                    "{:?} on {}: {left} serve in {}, and {min} have to",
                    command.change, command.node, was.name
                );
                self.break_rule(command.key, &what);
            }
        }
    }

    fn our_state(&mut self, command: &Command<'_>, server: &Server, state: AdminState) {
        let key = command.key;
        let from = server.state();
        if server.backup || server.tracks.is_some() {
            self.break_rule(key, &format!("{}: it is bound", state.name()));
        }
        // Those that were all restarted get what an operator had set before.
        let is_wish = command.lags && self.wishes.get(key) == Some(&state);
        let may_be_told = command.catches_up || is_wish || self.has_crossed_a_plan(key);
        if self.is_theirs(key, command.now) && !may_be_told {
            self.break_rule(key, &format!("{}: it is to be left alone", state.name()));
        }
        let is_known = self.state_is_ours.contains(key) || self.rules.named.contains(key) || server.added;
        // Somebody may have changed it on that node only; without a time for it nobody keeps off.
        let drained = (command.node, key.clone());
        let has_no_time = self.rules.hands_off.get(&key.0).is_none_or(Duration::is_zero);
        let is_told =
            command.lags && (has_no_time || self.drained.contains(&drained)) || self.has_crossed_a_plan(key);
        match state {
            AdminState::Drain => self.drained.insert(drained),
            AdminState::Ready | AdminState::Maint => self.drained.remove(&drained),
        };
        if from != AdminState::Ready
            && from != state
            && !is_known
            && !server.disabled
            && !command.catches_up
            && !is_told
        {
            self.break_rule(key, &format!("{}: it is in {} by somebody else", state.name(), from.name()));
        }
        // Not where a node is only told what another one has, by whomever.
        if state != AdminState::Ready && (!command.follows || self.planned.contains_key(key)) {
            self.state_is_ours.insert(key.clone());
        }
        match state {
            // As another one is, or all were before they were reloaded, by whomever.
            AdminState::Drain if command.follows || command.lags && !self.planned.contains_key(key) => false,
            AdminState::Drain => self.half_drained.insert(key.clone()),
            AdminState::Ready | AdminState::Maint => self.half_drained.remove(key),
        };
        if let Some(expected) =
            self.expected.get_mut(key).filter(|_| !(command.follows && command.catches_up))
        {
            expected.state = state;
        }
    }

    fn our_weight(&mut self, command: &Command<'_>, server: &Server, weight: u16) {
        let (key, from) = (command.key, server.weight);
        if weight == from {
            return;
        }
        let is_crossed =
            command.lags && self.touched.get(key).is_some_and(|&at| command.now.duration_since(at) < CROSSES);
        // What an operator has set before the node was restarted it is told again.
        let is_his = command.lags && self.rightful.get(key).is_some_and(|all| all.contains(&weight));
        if !command.catches_up && !is_crossed && !is_his {
            if server.backup || weight == 0 || from == 0 {
                self.break_rule(key, &format!("weight {from} to {weight}"));
            }
            if self.is_theirs(key, command.now) && !self.weight_is_ours.contains(key) {
                self.break_rule(key, &format!("weight {from} to {weight}: it is to be left alone"));
            }
        }
        self.weight_is_ours.insert(key.clone());
        if let Some(expected) =
            self.expected.get_mut(key).filter(|_| !(command.follows && command.catches_up))
        {
            expected.weight = weight;
        }
    }

    /// An address of the pool is where no other server of the backend is.
    fn place(&mut self, key: &Key, address: SocketAddr, haproxy: &Haproxy) {
        if !self.rules.offered.contains(&(key.0.clone(), address)) {
            self.break_rule(key, &format!("{address} has never been in its pool"));
        }
        let backend = haproxy.backend(&key.0);
        let others = backend.iter().flat_map(|one| &one.servers).filter(|server| server.name != key.1);
        if let Some(other) = others.into_iter().find(|server| server.address == address) {
            let (name, state) = (other.name.clone(), other.state().name());
            self.break_rule(key, &format!("{address}, which {name} has as well, in {state}"));
        }
    }

    /// An operator has changed a server.
    pub(crate) fn their_change(&mut self, key: &Key, server: &Server, has_changed: bool, now: Instant) {
        self.drained.retain(|(_, drained)| drained != key);
        self.wishes.insert(key.clone(), server.forced);
        let before = self.expected.get(key).map(|expected| expected.weight);
        self.somebody_weighs |= before != Some(server.weight);
        self.touched.insert(key.clone(), now);
        // Nobody can see what is as it was.
        if has_changed {
            self.unseen.insert(key.clone());
        }
        self.half_drained.remove(key);
        self.rightful.entry(key.clone()).or_default().push(server.weight);
    }

    /// The agent is shown this; it `can_see` others' doings in backends while it does nothing there itself.
    pub(crate) fn look(&mut self, inventory: &Inventory, can_see: impl Fn(&str) -> bool) {
        let all_answer = inventory.counted.iter().all(Option::is_some);
        self.is_new |= self.pids != inventory.counted || !all_answer;
        self.pids.clone_from(&inventory.counted);
        let mut is_seen = true;
        for backend in &inventory.backends {
            let name = self.names.of_backend(backend.id).to_string();
            if !can_see(&name) {
                is_seen = false;
                continue;
            }
            for server in &backend.servers {
                self.look_at((name.clone(), self.names.of_server(server.id).to_string()), server);
            }
        }
        self.is_new &= !is_seen;
    }

    /// Whatever nobody has seen yet is gone with the process that had it.
    pub(crate) fn forget_unseen(&mut self) {
        self.unseen.clear();
    }

    fn look_at(&mut self, key: Key, server: &ServerState) {
        let now = Stands { state: server.admin.forced(), weight: server.weight.value() };
        let is_theirs = self.unseen.remove(&key) && !self.is_new && !self.changed_alone.contains(&key);
        // What an agent finds first may be as the one before it has left it.
        let is_first = |touched: Instant| self.started.is_some_and(|started| touched < started + CROSSES);
        let Some(before) = self.expected.insert(key.clone(), now).filter(|before| *before != now) else {
            return;
        };
        if now.state == AdminState::Ready {
            self.state_is_ours.remove(&key);
        }
        if before.weight != now.weight {
            self.weight_is_ours.remove(&key);
        }
        // The agent may have seen it while another server of the backend was on its way.
        let is_seen = is_theirs && !self.has_crossed_a_plan(&key);
        if let Some(&since) = self.touched.get(&key).filter(|&&touched| is_seen && !is_first(touched)) {
            let hands_off = self.rules.hands_off.get(&key.0).copied().unwrap_or_default();
            self.theirs.insert(key, since + hands_off);
        }
    }

    /// A plan of ours for these servers of `backend` begins.
    pub(crate) fn plan(&mut self, backend: &str, servers: impl Iterator<Item = Key>, now: Instant) {
        self.planned.retain(|key, _| key.0 != backend);
        self.planned.extend(servers.map(|server| (server, now)));
    }

    /// The plan under way was made from a reading that need not have shown what an operator did, or he has done what
    /// had just been refused us.
    fn has_crossed_a_plan(&self, key: &Key) -> bool {
        let ours = self.planned.get(key).into_iter().chain(self.refused.get(key).into_iter().flatten());
        let is_near = |touched: Instant, ours: Instant| touched + CROSSES > ours && ours + CROSSES > touched;
        self.touched.get(key).is_some_and(|&touched| ours.into_iter().any(|&ours| is_near(touched, ours)))
    }

    /// A command of ours has been refused.
    pub(crate) fn note_refused(&mut self, key: &Key, now: Instant) {
        self.refused.entry(key.clone()).or_default().push(now);
    }

    /// The agent was told by its executor that somebody else has changed this server.
    pub(crate) fn met_in_mid_move(&mut self, key: &Key, server: &Server, now: Instant) {
        let hands_off = self.rules.hands_off.get(&key.0).copied().unwrap_or_default();
        self.theirs.insert(key.clone(), now + hands_off);
        self.expected.insert(key.clone(), Stands { state: server.forced, weight: server.weight });
    }

    /// An operator has touched it at least once.
    pub(crate) fn was_touched(&self, key: &Key) -> bool {
        self.touched.contains_key(key)
    }

    /// The agent starts anew.
    pub(crate) fn restart(&mut self, now: Instant) {
        (self.is_new, self.has_lost_an_agent, self.started) = (true, true, Some(now));
    }

    /// An operator is content with how all servers stand, whether the agent has seen it already or not.
    pub(crate) fn resume(&mut self) {
        self.is_new = true;
        self.theirs.clear();
    }

    /// We have begun to drain it, and nobody has touched it since.
    pub(crate) fn is_half_drained(&self, key: &Key) -> bool {
        self.half_drained.contains(key)
    }

    fn is_theirs(&self, key: &Key, now: Instant) -> bool {
        self.theirs.get(key).is_some_and(|&until| now + SLACK < until)
    }

    fn break_rule(&mut self, key: &Key, what: &str) {
        self.broken.push(format!("{}/{} {what}", key.0, key.1));
    }
}
