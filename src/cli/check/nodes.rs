//! Several HAProxys that are to be moved as one: in what do they differ?
//!
//! In: what each that answers has. Out: what the agent will leave alone, put right, or be misled by. Servers that
//! an agent has added, and addresses that it has given, are not looked at: it brings them in line.

use super::Finding;
use crate::core::controller::Memory;
use crate::core::names::{Names, ServerId};
use crate::core::plan::inventory::{AdminState, BackendState, Inventory, ServerState};
use crate::core::settings::BackendSettings;

/// One HAProxy that answers.
pub(super) struct Node {
    pub(super) socket: String,
    pub(super) inventory: Inventory,
}

/// How those that answer differ in what is scaled; nothing if there is only one.
pub(super) fn compare(
    nodes: &[Node],
    backends: &[BackendSettings],
    memory: &Memory,
    names: &Names,
) -> Vec<Finding> {
    let twins = twins(nodes);
    let is_twin = |node: &Node| twins.iter().any(|(twin, _)| twin.socket == node.socket);
    let mut findings: Vec<Finding> = twins.iter().map(|(twin, other)| tell_twin(twin, other)).collect();
    let nodes: Vec<&Node> = nodes.iter().filter(|node| !is_twin(node)).collect();
    if nodes.len() < 2 {
        return findings;
    }
    findings.extend(versions(&nodes));
    for settings in backends {
        let Some(id) = names.backend(&settings.name) else { continue };
        let theirs = nodes.iter().filter_map(|&node| Some((node, node.inventory.backend(id)?)));
        let remembered = memory.backends.iter().find(|memory| memory.name == settings.name);
        let is_placed = |server: ServerId| {
            remembered.is_some_and(|memory| memory.placed.contains_key(&*names.of_server(server)))
        };
        let about = format!("backend {}", settings.name);
        let comparison = Comparison { about, nodes: theirs.collect(), names, is_placed: &is_placed };
        findings.extend(comparison.findings());
    }
    findings
}

/// Those that are the same HAProxy as one before them, with that one.
fn twins(nodes: &[Node]) -> Vec<(&Node, &Node)> {
    let is_same = |one: &Node, other: &Node| one.inventory.process.is_the_same_as(&other.inventory.process);
    let twin = |(at, node)| Some((node, nodes[..at].iter().find(|other| is_same(node, other))?));
    nodes.iter().enumerate().filter_map(twin).collect()
}

fn tell_twin(twin: &Node, other: &Node) -> Finding {
    let pid = twin.inventory.process.pid;
    Finding::fail(
        "sockets",
        format!("{} and {} are the same HAProxy (process {pid})", other.socket, twin.socket),
        "leave one of them out of `haproxy.sockets`: it is one HAProxy, however it is reached",
    )
}

fn versions(nodes: &[&Node]) -> Option<Finding> {
    let found = nodes.iter().map(|node| (node.socket.as_str(), Some(&node.inventory.process.version)));
    let found = differing(&found.collect::<Vec<_>>(), |version| version.as_str().to_owned())?;
    let remedy = "what one of them refuses fails the move on all; bring them to the same release";
    Some(Finding::warn("sockets", format!("not the same HAProxy everywhere: {found}"), remedy))
}

/// One backend on those that have it.
struct Comparison<'a> {
    about: String,
    nodes: Vec<(&'a Node, &'a BackendState)>,
    names: &'a Names,
    is_placed: &'a dyn Fn(ServerId) -> bool,
}

impl Comparison<'_> {
    fn findings(&self) -> Vec<Finding> {
        let is_same = || Finding::ok(&self.about, format!("the same on all {} HAProxys", self.nodes.len()));
        let found: Vec<Finding> = [
            self.algorithm(),
            self.missing(),
            self.states(),
            self.servers(
                "weights",
                |server| server.initial_weight,
                ToString::to_string,
                "requests are shared out otherwise on each; give each server the same weight everywhere",
            ),
            self.servers(
                "`maxconn`",
                |server| server.maxconn,
                |maxconn| maxconn.map_or("none".to_owned(), |maxconn| maxconn.to_string()),
                "the agent goes by the sum, as if each got its share of the requests; give them the same",
            ),
            self.servers(
                "health checks",
                |server| server.checked,
                |checked| if *checked { "checked" } else { "not checked" }.to_owned(),
                "the one without takes a server for healthy that is not; give it `check` there too",
            ),
            self.servers(
                "roles",
                |server| (server.backup, server.tracks.is_some()),
                |role| {
                    match role {
                        (true, _) => "backup",
                        (_, true) => "tracking another",
                        _ => "neither backup nor tracking",
                    }
                    .to_owned()
                },
                "it is left alone; make the server lines the same",
            ),
            self.servers(
                "addresses",
                |server| server.socket(),
                |address| address.map_or("none".to_owned(), |address| address.to_string()),
                "fine if each leads to the same server; a server of its own needs a name of its own",
            ),
        ]
        .into_iter()
        .flatten()
        .collect();
        if found.is_empty() && self.nodes.len() > 1 { vec![is_same()] } else { found }
    }

    fn algorithm(&self) -> Option<Finding> {
        let found: Vec<_> =
            self.nodes.iter().map(|(node, state)| (node.socket.as_str(), Some(&state.algorithm))).collect();
        let found = differing(&found, |algorithm| format!("`balance {algorithm}`"))?;
        let remedy = "what one of them cannot do is done on none; give them the same `balance`";
        Some(Finding::warn(&self.about, found, remedy))
    }

    fn missing(&self) -> Option<Finding> {
        let each = self.ids().into_iter().filter(|id| !(self.is_placed)(*id)).filter_map(|id| {
            let lacking = self.nodes.iter().filter(|(_, state)| state.server(id).is_none());
            let lacking: Vec<&str> = lacking.map(|(node, _)| node.socket.as_str()).collect();
            let name = self.names.of_server(id);
            (!lacking.is_empty()).then(|| format!("{name} is missing on {}", lacking.join(", ")))
        });
        let each: Vec<String> = each.collect();
        let remedy = "it is left alone everywhere; declare it there too, or take it out of the others";
        (!each.is_empty()).then(|| Finding::warn(&self.about, each.join("; "), remedy))
    }

    /// At the agent's start the HAProxy that has run longest is right.
    fn states(&self) -> Option<Finding> {
        let longest = self.nodes.iter().rev().max_by_key(|(node, _)| node.inventory.process.uptime_s)?;
        let remedy = format!(
            "the agent does everywhere as {} has it, which has run longest, when it starts; what differs later is \
             left alone: `set server ... state` by hand",
            longest.0.socket
        );
        self.servers("states", ServerState::state, |state: &AdminState| state.name().to_owned(), &remedy)
    }

    /// In what servers differ that more than one has.
    fn servers<T: PartialEq>(
        &self,
        what: &str,
        value: impl Fn(&ServerState) -> T,
        words: impl Fn(&T) -> String,
        remedy: &str,
    ) -> Option<Finding> {
        let each = self.ids().into_iter().filter(|id| !(self.is_placed)(*id)).filter_map(|id| {
            let theirs =
                |(node, state): &(&Node, &BackendState)| (node.socket.clone(), state.server(id).map(&value));
            let theirs: Vec<(String, Option<T>)> = self.nodes.iter().map(theirs).collect();
            let theirs: Vec<_> = theirs.iter().map(|(node, value)| (node.as_str(), value.as_ref())).collect();
            Some(format!("{} ({})", self.names.of_server(id), differing(&theirs, &words)?))
        });
        let each: Vec<String> = each.collect();
        (!each.is_empty()).then(|| {
            Finding::warn(&self.about, format!("not the same {what} everywhere: {}", each.join(", ")), remedy)
        })
    }

    /// Its servers, in the order in which they are found.
    fn ids(&self) -> Vec<ServerId> {
        let mut ids = Vec::new();
        for server in self.nodes.iter().flat_map(|(_, state)| &state.servers) {
            if !ids.contains(&server.id) {
                ids.push(server.id);
            }
        }
        ids
    }
}

/// As in `50 on /run/a.sock, 100 on /run/b.sock`, if those that have a value do not have the same.
fn differing<T: PartialEq>(found: &[(&str, Option<&T>)], words: impl Fn(&T) -> String) -> Option<String> {
    let found: Vec<(&str, &T)> = found.iter().filter_map(|(node, value)| Some((*node, (*value)?))).collect();
    let (_, first) = *found.first()?;
    if found.iter().all(|(_, value)| *value == first) {
        return None;
    }
    let each = found.iter().map(|(node, value)| format!("{} on {node}", words(value)));
    Some(each.collect::<Vec<_>>().join(", "))
}
