//! Several HAProxys: what changes about one of them is told once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};
use tracing::{info, warn};

use crate::core::controller::Answer;
use crate::core::names::{BackendId, Names, ServerId};
use crate::core::plan::inventory::{AdminState, Inventory};
use crate::core::plan::nodes::{Difference, NodeState, Standing};
use crate::telemetry::words::done;

/// A move takes a moment from one HAProxy to the next: what differs in so many readings differs.
const READINGS: u32 = 3;

/// What was told of each HAProxy.
#[derive(Debug)]
pub(super) struct NodeWatch {
    names: Vec<String>,
    dry_run: bool,
    states: Vec<NodeState>,
    latest: Vec<Option<Arc<Inventory>>>,
    told: Vec<Told>,
    /// Servers that are not alike, and in how many readings.
    differing: BTreeMap<ServerId, u32>,
}

#[derive(Debug, Default)]
struct Told {
    standing: Option<Standing>,
    /// Since when it does not answer.
    absent: Option<Timestamp>,
    pid: Option<u32>,
    lacks: BTreeSet<BackendId>,
}

impl NodeWatch {
    /// `names` are the sockets, as the config has them.
    pub(super) fn new(names: Vec<String>, dry_run: bool) -> Self {
        let told = names.iter().map(|_| Told::default()).collect();
        Self { names, dry_run, states: Vec::new(), latest: Vec::new(), told, differing: BTreeMap::new() }
    }

    /// Takes how they stand and what each of several has answered last, and tells what has changed. One alone is told of
    /// elsewhere.
    pub(super) fn take(
        &mut self,
        states: Vec<NodeState>,
        latest: Vec<Option<Arc<Inventory>>>,
        names: &Names,
    ) {
        if self.names.len() > 1 {
            for ((state, told), node) in states.iter().zip(&mut self.told).zip(&self.names) {
                told.note(state, node, names, self.dry_run);
            }
        }
        (self.states, self.latest) = (states, latest);
    }

    /// Whether `node` answers, and whether it is in line.
    pub(super) fn reach(&self, node: usize) -> (bool, bool) {
        let standing = self.states.get(node).map(|state| state.standing);
        let in_line = matches!(standing, Some(Standing::InLine | Standing::Twin(_)));
        (standing.is_some_and(Standing::answers), in_line)
    }

    /// What `node`, one of several, has answered last.
    pub(super) fn answer(&self, node: usize) -> Option<Answer<'_>> {
        let inventory = self.latest.get(node)?.as_deref()?;
        Some(Answer { inventory, in_line: self.reach(node).1 })
    }

    /// Why none of them may be taken away for a moment.
    pub(super) fn wait(&self) -> Option<String> {
        self.states().find_map(|(name, state)| match state.standing {
            Standing::InLine | Standing::Twin(_) => None,
            Standing::Behind => Some(format!("`{name}` has to be in line with the others first")),
            Standing::Absent | Standing::Unknown => {
                Some(format!("`{name}` does not answer, and only one HAProxy is to be away at a time"))
            }
        })
    }

    /// Takes what they do not have alike.
    pub(super) fn compare(&mut self, differences: &[Difference], names: &Names) {
        self.differing.retain(|id, _| differences.iter().any(|found| found.server == *id));
        for found in differences {
            let readings = self.differing.entry(found.server).or_default();
            *readings = readings.saturating_add(1);
            if *readings == READINGS {
                let backend = names.of_backend(names.backend_of(found.server));
                let (server, states) = (names.of_server(found.server), self.states_of(found));
                warn!(%backend, %server, states, "not the same on every haproxy: it is left alone until it is");
            }
        }
    }

    /// As in `READY on /run/a.sock, missing on /run/b.sock`; of a slot, with its addresses if they differ.
    fn states_of(&self, found: &Difference) -> String {
        let state = |(place, (node, state)): (usize, &(usize, Option<AdminState>))| {
            let name = self.names.get(*node).map_or("?", String::as_str);
            let address = found.addresses.get(place).copied().flatten();
            let address = address.map_or(String::new(), |address| format!(" at {address}"));
            format!("{}{address} on {name}", state.map_or("missing", AdminState::name))
        };
        found.states.iter().enumerate().map(state).collect::<Vec<_>>().join(", ")
    }

    /// Each with its name.
    pub(super) fn states(&self) -> impl Iterator<Item = (&str, &NodeState)> {
        self.names.iter().map(String::as_str).zip(&self.states)
    }

    /// The sockets of those that answer.
    pub(super) fn answering(&self) -> String {
        let answers = |(_, state): &(&str, &NodeState)| state.standing.answers();
        self.states().filter(answers).map(|(name, _)| name).collect::<Vec<_>>().join(", ")
    }

    /// How they stand, for `status`.
    pub(super) fn value(&self, names: &Names) -> Value {
        let node = |((name, state), told): ((&str, &NodeState), &Told)| {
            let lacks = state.lacks.iter().map(|&id| names.of_backend(id).to_string());
            json!({
                "socket": name,
                "standing": state.standing.name(),
                "answers": state.standing.answers(),
                "version": state.process.as_ref().map(|process| process.version.as_str()),
                "pid": state.process.as_ref().map(|process| process.pid),
                "error": state.error,
                "absent_since": told.absent.map(|since| since.to_string()),
                "left": state.left,
                "refused": state.refused.iter().map(|refused| refused.error.as_str()).collect::<Vec<_>>(),
                "lacks": lacks.collect::<Vec<_>>(),
                "read_only": state.read_only,
            })
        };
        Value::Array(self.states().zip(&self.told).map(node).collect())
    }
}

impl Told {
    fn note(&mut self, state: &NodeState, node: &str, names: &Names, dry_run: bool) {
        let pid = state.process.as_ref().map(|process| process.pid);
        let before = self.standing.replace(state.standing);
        let restarted = self.pid.is_some() && pid.is_some() && self.pid != pid;
        self.pid = pid.or(self.pid);
        match (before, state.standing) {
            (before, Standing::Absent) if before != Some(Standing::Absent) => {
                let error = state.error.as_deref().unwrap_or_default();
                self.absent = Some(Timestamp::now());
                warn!(node, error, "this haproxy does not answer; the others go on");
            }
            (before, twin @ Standing::Twin(_)) if before != Some(twin) => {
                warn!(
                    node,
                    pid,
                    "this is the same haproxy as by another of the sockets: it counts once; leave one out"
                );
            }
            (before, Standing::Behind) if before != Some(Standing::Behind) || restarted => {
                let left = state.left;
                done!(info, dry_run, { node, pid, restarted, left }, "this haproxy is brought in line with the others");
            }
            (Some(Standing::Behind), Standing::InLine) => {
                done!(info, dry_run, { node }, "this haproxy is in line again");
            }
            (None, Standing::InLine) => {
                let version = state.process.as_ref().map(|process| process.version.as_str());
                info!(node, version, pid, "this haproxy answers, and is in line");
            }
            (Some(Standing::Absent), Standing::InLine) => {
                info!(node, pid, restarted, "this haproxy answers again, and is in line");
            }
            (_, Standing::InLine) if restarted => {
                info!(node, pid, "this haproxy was restarted, and is in line")
            }
            _ => {}
        }
        if state.standing != Standing::Absent {
            self.absent = None;
        }
        for &backend in &state.lacks {
            if self.lacks.insert(backend) {
                let backend = names.of_backend(backend);
                warn!(node, %backend, "this haproxy has no such backend; the others go on");
            }
        }
        self.lacks.retain(|backend| state.lacks.contains(backend));
    }
}
