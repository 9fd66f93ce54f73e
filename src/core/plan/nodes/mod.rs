//! Several HAProxys that are to be alike: nodes of a pair, or processes side by side.
//!
//! In: what each node says it has. Out: one [`Inventory`] for all of them ([`merge`]), who can be gone by, and
//! what those that lag behind are to be told ([`align`]). Policies and plans see one HAProxy.
//!
//! ```text
//!             answers for the first time,         nothing is left
//!             again, or as another process        to be put right
//!   Absent ────────────────────────────▶ Behind ─────────────────▶ InLine
//!      ▲                                    │                         │
//!      └──────────── does not answer ◀──────┴─────────────────────────┘
//! ```
//! The second of two sockets of one HAProxy is a `Twin`: it is not moved. Plans move nodes that are in line. A HAProxy
//! that is alone goes on from what it says; of several that were restarted together, the one that has run longest does.
//! Of those restarted one after the other, before the first was back in line, none is: what they say is not what anybody
//! wants, and they are told what was wanted before. After [`LEADERLESS_AT_MOST`] they go on from what they say as well.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::inventory::{BackendState, Inventory, Process};
use super::trackers;
use crate::core::names::{BackendId, ServerId};
use crate::core::settings::spares::{Keywords, Spares};

pub mod align;
mod differences;
pub mod merge;
mod node;
mod places;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use align::{Correction, Todo};
pub use differences::Difference;
use merge::Part;
use node::Node;
pub use node::{AGAIN_AFTER, NodeState, Refused, Standing};
use places::Places;

/// So long none of those that answer need be in line.
pub const LEADERLESS_AT_MOST: Duration = Duration::from_secs(30);

/// A backend that is kept alike on all nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Which.
    pub backend: BackendId,
    /// No node is told to have fewer servers serving.
    pub least_serving: u32,
    /// Where its spares come from.
    pub spares: Spares,
    /// Slots that the agent has given an address, or servers that it has added, or is about to.
    pub placed: BTreeSet<ServerId>,
    /// For servers that are added; `None`: nobody has said yet.
    pub keywords: Option<Keywords>,
    /// Servers that somebody else has changed, and that are to stay so for now.
    pub left_alone: BTreeSet<ServerId>,
}

/// What a node answered, or why it did not.
pub type Answer = Result<Inventory, String>;

/// All nodes.
#[derive(Debug)]
pub struct Nodes {
    nodes: Vec<Node>,
    kept: Vec<Kept>,
    /// What those that were in line had last of the backends that are kept alike.
    wanted: BTreeMap<BackendId, BackendState>,
    differences: Vec<Difference>,
    /// Slots that are not at the same address on all that are in line.
    scattered: BTreeSet<ServerId>,
    /// Since none of those that answer is in line.
    leaderless_since: Option<Instant>,
    /// That has lasted for too long.
    needs_lead: bool,
}

impl Nodes {
    /// So many nodes, of which nothing is known.
    pub fn new(count: usize) -> Self {
        Self {
            nodes: (0..count).map(|_| Node::new()).collect(),
            kept: Vec::new(),
            wanted: BTreeMap::new(),
            differences: Vec::new(),
            scattered: BTreeSet::new(),
            leaderless_since: None,
            needs_lead: false,
        }
    }

    /// These backends are kept alike; all others are left alone.
    pub fn keep(&mut self, kept: Vec<Kept>) {
        self.kept = kept;
    }

    /// How `node` stands.
    pub fn standing(&self, node: usize) -> Standing {
        self.nodes.get(node).map_or(Standing::Unknown, |node| node.standing)
    }

    /// Nodes that are worth asking: all but those that did not answer last time, or are another one.
    pub fn answering(&self) -> Vec<usize> {
        let is_worth_it =
            |&node: &usize| !matches!(self.nodes[node].standing, Standing::Absent | Standing::Twin(_));
        (0..self.nodes.len()).filter(is_worth_it).collect()
    }

    /// What there is to show.
    pub fn states(&self) -> Vec<NodeState> {
        self.nodes.iter().map(Node::state).collect()
    }

    /// Servers of the backends that are kept alike, and are not.
    pub fn differences(&self) -> &[Difference] {
        &self.differences
    }

    /// What the nodes that lag behind are to be told now.
    pub fn corrections(&self) -> Vec<(usize, Vec<Correction>)> {
        let behind = self.nodes.iter().enumerate().filter(|(_, node)| node.standing == Standing::Behind);
        behind.map(|(n, node)| (n, node.todo.now.clone())).filter(|(_, all)| !all.is_empty()).collect()
    }

    /// `node` has refused `correction`.
    pub fn refused(&mut self, node: usize, correction: Correction, error: String, now: Instant) {
        if let Some(node) = self.nodes.get_mut(node) {
            node.refused.push(Refused { correction, error });
            node.again.get_or_insert(now + node.again_after);
        }
    }

    /// `node` did not answer.
    pub fn failed(&mut self, node: usize, error: String) {
        if let Some(node) = self.nodes.get_mut(node) {
            (node.standing, node.error) = (Standing::Absent, Some(error));
            (node.todo, node.behind) = (Todo::default(), None);
        }
    }

    /// Takes which process has answered for each node that has; those not named were not asked.
    pub fn judge(&mut self, answered: &[(usize, &Process)]) {
        // Readings overtake each other, so that uptimes tell nothing here.
        let is_same = |node: &Node, process: &Process| {
            let identity = |process: &Process| (process.pid, process.started);
            node.process.as_ref().is_some_and(|before| identity(before) == identity(process))
        };
        let continues = |nodes: &[Node], node: usize, process: &Process| {
            nodes[node].standing == Standing::InLine && is_same(&nodes[node], process)
        };
        let known: Vec<_> = answered.iter().filter(|(node, _)| *node < self.nodes.len()).copied().collect();
        let someone = known.iter().any(|&(node, process)| continues(&self.nodes, node, process));
        let is_behind = |&(node, _): &(usize, &Process)| self.nodes[node].standing == Standing::Behind;
        let waits = !self.needs_lead && known.iter().any(is_behind);
        let lead = match someone || waits {
            true => None,
            // The first of those that have run longest.
            false => known.iter().rev().max_by_key(|(_, process)| process.uptime_s).map(|&(node, _)| node),
        };
        for (n, process) in known {
            let goes_on = continues(&self.nodes, n, process) || Some(n) == lead;
            let node = &mut self.nodes[n];
            let is_same = is_same(node, process);
            if !is_same {
                node.behind = None;
                node.unlike.clear();
                node.again_after = AGAIN_AFTER;
            }
            if !is_same || !matches!(node.standing, Standing::Behind | Standing::InLine) {
                node.forget_refused();
            }
            node.standing = if goes_on { Standing::InLine } else { Standing::Behind };
            (node.process, node.error) = (Some(process.clone()), None);
        }
    }

    /// Takes a reading of all nodes, in their order, at `now`; `None` for one that was not asked and is absent.
    /// What they have together comes back; `None` if none has answered.
    ///
    /// Unless it is `settled`, something was changed while they answered: what they had one after the other may never
    /// have been so on all of them, and none gets in line by it.
    pub fn take(&mut self, answers: Vec<Option<Answer>>, settled: bool, now: Instant) -> Option<Inventory> {
        let mut found: Vec<(usize, Inventory)> = Vec::new();
        let mut counted = vec![None; self.nodes.len()];
        for (node, answer) in answers.into_iter().enumerate() {
            match answer {
                Some(Ok(inventory)) => {
                    counted[node] = Some(inventory.process.pid);
                    self.nodes[node].read_only = inventory.read_only;
                    let same =
                        found.iter().find(|(_, other)| inventory.process.is_the_same_as(&other.process));
                    match same {
                        Some(&(of, _)) => self.nodes[node].note_twin(of, inventory.process),
                        None => found.push((node, inventory)),
                    }
                }
                Some(Err(error)) => self.failed(node, error),
                None => {}
            }
        }
        self.needs_lead = self.leaderless_since.is_some_and(|since| now >= since + LEADERLESS_AT_MOST);
        self.judge(&found.iter().map(|(node, inventory)| (*node, &inventory.process)).collect::<Vec<_>>());
        if self.nodes.len() > 1 {
            let least =
                |id| self.kept.iter().find(|kept| kept.backend == id).map_or(1, |kept| kept.least_serving);
            found.iter_mut().for_each(|(_, inventory)| trackers::mark(inventory, least));
            self.compare(&found, settled, now);
        }
        let is_in_line = |node: &usize| self.nodes[*node].standing == Standing::InLine;
        let in_line: Vec<usize> = (0..self.nodes.len()).filter(is_in_line).collect();
        self.leaderless_since = if in_line.is_empty() { self.leaderless_since.or(Some(now)) } else { None };
        let parts = found.into_iter().map(|(node, inventory)| self.part(node, inventory)).collect();
        let mut merged = merge::inventory(parts)?;
        merged.backends.iter_mut().for_each(|backend| self.tell_scattered(backend));
        Some(Inventory { counted, in_line, ..merged })
    }

    /// A plan has made `change`. While none is in line plans move all of them, and what is wanted moves along.
    pub fn made(&mut self, backend: BackendId, change: &Correction) {
        if self.someone_is_in_line() {
            return;
        }
        if let Some(wanted) = self.wanted.get_mut(&backend) {
            align::make(wanted, change);
        }
        for lag in self.nodes.iter_mut().filter_map(|node| node.behind.as_mut()) {
            lag.untold.remove(&change.server());
        }
    }

    /// What `node` has, for what it counts. If none is in line, all count.
    pub fn part<T>(&self, node: usize, found: T) -> Part<T> {
        match self.standing(node) == Standing::InLine || !self.someone_is_in_line() {
            true => Part::Leading(found),
            false => Part::Following(found),
        }
    }

    fn someone_is_in_line(&self) -> bool {
        self.nodes.iter().any(|node| node.standing == Standing::InLine)
    }

    /// Finds out what those that lag behind are to be told; who has everything is in line.
    fn compare(&mut self, found: &[(usize, Inventory)], settled: bool, now: Instant) {
        self.note_wanted(found);
        let mut in_line = self.nodes.iter().filter(|node| node.standing == Standing::InLine).count();
        for (n, inventory) in found {
            let node = &mut self.nodes[*n];
            node.note_added(&self.kept, inventory);
            let pairs: Vec<_> = (self.kept.iter())
                .filter_map(|kept| {
                    Some((kept, self.wanted.get(&kept.backend)?, inventory.backend(kept.backend)))
                })
                .collect();
            let missing = pairs.iter().filter(|(_, _, found)| found.is_none());
            node.lacks = missing.map(|(kept, ..)| kept.backend).collect();
            node.todo = Todo::default();
            if node.standing != Standing::Behind {
                node.behind = None;
                let unlike = self.differences.iter().map(|difference| difference.server);
                let is_theirs =
                    |server: &ServerId| self.kept.iter().any(|kept| kept.left_alone.contains(server));
                node.unlike = unlike.filter(is_theirs).collect();
                if node.again.is_some_and(|again| now >= again) && in_line > 1 {
                    in_line -= 1;
                    node.tell_again();
                }
                continue;
            }
            let waited = node.lag(&pairs, now);
            let tracks_another = pairs.iter().filter_map(|(.., found)| *found).any(trackers::cross_backends);
            for (kept, wanted, found) in pairs {
                let Some(found) = found else { continue };
                let places = Places { kept, added: &node.added };
                // What goes in one backend may take servers of another with it: one backend after the other.
                let is_first = !tracks_another || !node.todo.takes_away();
                let least = if is_first { kept.least_serving } else { u32::MAX };
                let todo = align::todo(wanted, found, &places, least, waited);
                node.todo.now.extend(todo.now);
                node.todo.later.extend(todo.later);
            }
            let is_left = |one: &Correction| {
                !node.unlike.contains(&one.server())
                    && !node.refused.iter().any(|refused| refused.covers(one))
            };
            node.todo.now.retain(is_left);
            node.todo.later.retain(is_left);
            node.note_told();
            if settled && node.todo == Todo::default() {
                (node.standing, node.behind) = (Standing::InLine, None);
                if node.refused.is_empty() {
                    node.again_after = AGAIN_AFTER;
                }
            }
        }
    }

    fn note_wanted(&mut self, found: &[(usize, Inventory)]) {
        let in_line = |node: usize| self.standing(node) == Standing::InLine;
        let leading: Vec<&Inventory> =
            found.iter().filter(|(node, _)| in_line(*node)).map(|(_, inventory)| inventory).collect();
        if leading.is_empty() {
            return;
        }
        let of = |id| {
            leading.iter().filter_map(|inventory| inventory.backend(id)).cloned().map(Part::Leading).collect()
        };
        let wanted =
            self.kept.iter().filter_map(|kept| Some((kept.backend, merge::backend(of(kept.backend))?)));
        let mut wanted: BTreeMap<_, _> = wanted.collect();
        self.scattered = self.kept.iter().flat_map(|kept| places::scattered(kept, &leading)).collect();
        wanted.values_mut().for_each(|backend| self.tell_scattered(backend));
        self.wanted = wanted;
        let unlike = self.wanted.values().flat_map(|backend| {
            let unlike = backend.servers.iter().filter(|server| !server.alike);
            unlike.map(|server| {
                differences::of(backend.id, server.id, found, self.scattered.contains(&server.id))
            })
        });
        self.differences = unlike.collect();
        for kept in &self.kept {
            let Some(wanted) = self.wanted.get_mut(&kept.backend) else { continue };
            let is_ours =
                |server: &ServerId| kept.placed.contains(server) && !kept.left_alone.contains(server);
            for server in wanted.servers.iter_mut().filter(|server| !server.alike && is_ours(&server.id)) {
                // Those that lag behind get it, though one that is in line has it not.
                if let Some(theirs) = places::agreed(kept, server.id, &leading) {
                    (server.admin, server.address, server.port) = (theirs.admin, theirs.address, theirs.port);
                    server.alike = true;
                }
            }
        }
    }

    /// Slots at several addresses are not alike.
    fn tell_scattered(&self, backend: &mut BackendState) {
        for server in backend.servers.iter_mut().filter(|server| self.scattered.contains(&server.id)) {
            server.alike = false;
        }
    }
}
