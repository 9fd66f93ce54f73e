//! HAProxy's socket, and each configured backend as HAProxy has it.

use std::collections::{HashMap, HashSet};

use super::nodes::{self, Node};
use super::{Finding, capabilities, spares};
use crate::config::nearest::nearest;
use crate::config::{Config, NodeSettings};
use crate::core::controller::Memory;
use crate::core::names::Names;
use crate::core::plan::inventory::{AdminState, BackendState, Inventory, ServerState, Unread};
use crate::core::plan::ownership::{self, Claims, Role};
use crate::core::plan::supply::Offer;
use crate::core::plan::trackers;
use crate::core::settings::spares::Spares;
use crate::core::settings::{BackendSettings, Policy, Weights};
use crate::haproxy::address::Endpoint;
use crate::haproxy::client::Client;
use crate::report::chain;
use crate::state_file::StateDir;
use crate::telemetry::status;

pub(super) async fn check(config: &Config) -> Vec<Finding> {
    let (memory, _) = StateDir::peek(&config.state_dir);
    let (names, mut findings, mut nodes) = (Names::default(), Vec::new(), Vec::new());
    for node in &config.nodes {
        let (found, inventory) = check_socket(node, config, &memory, &names).await;
        findings.extend(found);
        nodes.extend(inventory.map(|inventory| Node { socket: node.socket.clone(), inventory }));
    }
    findings.extend(nodes::compare(&nodes, &config.backends, &memory, &names));
    findings
}

async fn check_socket(
    node: &NodeSettings,
    config: &Config,
    memory: &Memory,
    names: &Names,
) -> (Vec<Finding>, Option<Inventory>) {
    let socket = &node.socket;
    let about = format!("socket {socket}");
    let endpoint = match socket.parse::<Endpoint>() {
        Ok(endpoint) => endpoint.with_master(node.lasting.master()),
        Err(error) => return (vec![Finding::fail(&about, format!("{error}"), "")], None),
    };
    let client = Client::new(endpoint, config.socket_timeout).one_of(config.nodes.len());
    let inventory = match client.inventory(names).await {
        Ok(mut inventory) => {
            let least =
                |settings: &BackendSettings| Some((names.backend(&settings.name)?, settings.ready.min));
            let least: HashMap<_, _> = config.backends.iter().filter_map(least).collect();
            trackers::mark(&mut inventory, |id| least.get(&id).copied().unwrap_or(1));
            inventory
        }
        Err(error) => return (vec![Finding::fail(&about, chain(&error), "")], None),
    };
    let mut findings = match client.capabilities() {
        Some(known) => capabilities::haproxy(&about, &known),
        None => {
            let found = format!("HAProxy {} answers, but not what it can do", inventory.process.version);
            vec![Finding::warn(&about, found, "is it busy? try again, with a longer `haproxy.timeout`")]
        }
    };
    findings.push(old_workers(&about, &client).await);
    findings.extend(inventory.unread.iter().map(|unread| left_out(unread, names)));
    for settings in &config.backends {
        let about = match config.nodes.len() {
            0 | 1 => format!("backend {}", settings.name),
            _ => format!("backend {} on {socket}", settings.name),
        };
        let told = match config.pools.get(&settings.name) {
            Some(pool) => {
                let environment = |name: &str| client.variable(name);
                let ask = client.ask_for_variables(&inventory.process);
                Some(spares::told(&settings.name, pool, &environment, ask).await)
            }
            None => None,
        };
        let (offer, of_pool) = spares::pool(&about, told);
        findings.extend(of_pool);
        findings.extend(backend(&about, settings, offer.as_ref(), &inventory, memory, names));
        if let Some(offer) = &offer {
            findings.extend(spares::refused(&about, settings, offer, &client, &inventory, names).await);
        }
    }
    (findings, Some(inventory))
}

/// Whether a drain sees what old workers still have after a reload.
async fn old_workers(about: &str, client: &Client) -> Finding {
    let Some(master) = client.master() else {
        return Finding::ok(
            about,
            "no master is known: after a reload, a drain does not see the sessions that old processes still have \
             (give the master's socket, as `master:/run/haproxy-master.sock`)",
        );
    };
    match master.processes().await {
        Ok(processes) => {
            let many = processes.old_workers.len();
            Finding::ok(
                about,
                format!("its master tells of old workers ({many} now): drains wait for their sessions"),
            )
        }
        Err(error) => {
            Finding::fail(about, chain(&error), "until it answers, each drain lasts until its deadline")
        }
    }
}

fn backend(
    about: &str,
    settings: &BackendSettings,
    offer: Option<&Offer>,
    inventory: &Inventory,
    memory: &Memory,
    names: &Names,
) -> Vec<Finding> {
    let id = names.backend(&settings.name);
    let Some(state) = id.and_then(|id| inventory.backend(id)) else {
        if id.is_some_and(|id| inventory.disabled.contains(&id)) {
            let remedy = "take `disabled` out of it in haproxy.cfg, or it out of the config";
            return vec![Finding::fail(
                about,
                "haproxy.cfg has it `disabled`: nobody is served by it",
                remedy,
            )];
        }
        let all: Vec<String> =
            inventory.backends.iter().map(|b| names.of_backend(b.id).to_string()).collect();
        let hint = match nearest(&settings.name, &all) {
            Some(name) => format!("did you mean `{name}`?"),
            None => format!("HAProxy has {}", all.join(", ")),
        };
        return vec![Finding::fail(about, "HAProxy has no such backend", hint)];
    };
    let remembered = memory.backends.iter().find(|memory| memory.name == settings.name);
    let ours = remembered.into_iter().flat_map(|memory| &memory.ours);
    let ours = ours.filter_map(|name| names.server(state.id, name)).collect();
    let claims = Claims { ours, ..Claims::default() };
    let supply = spares::Supply {
        settings,
        offer,
        process: &inventory.process,
        remembered,
        ours: &claims.ours,
        names,
    };
    let supplied = supply.of(state);
    let mut findings = capabilities::backend(about, state, names);
    findings.extend(supply.check(about, state, &supplied));
    let state = &supplied.state;
    findings.extend(servers(about, settings, state, &claims, names));
    findings.extend(no_spares(about, settings, state, &claims, names));
    findings.extend(configured_servers(about, settings, state, names));
    findings.extend(signals(about, state, names));
    findings.extend(weights(about, settings, state));
    findings
}

fn left_out(unread: &Unread, names: &Names) -> Finding {
    let about = format!("backend {}", names.of_backend(unread.backend));
    let remedy = "nothing is known of that, and nothing is done about it; all else goes on";
    Finding::warn(&about, format!("left out, {}", status::left_out(unread, names)), remedy)
}

/// Who serves, and who could. `claims` are those of an agent before this.
fn servers(
    about: &str,
    settings: &BackendSettings,
    state: &BackendState,
    claims: &Claims,
    names: &Names,
) -> Vec<Finding> {
    let fleet = ownership::fleet(state, settings, claims, &HashSet::new(), names);
    let found = format!(
        "{} serving, {} spare, {} that may be taken away",
        fleet.serving, fleet.startable, fleet.removable
    );
    let mut findings = vec![if fleet.startable + fleet.removable == 0 {
        let remedy = "declare spares as `disabled` in haproxy.cfg, name them under `servers` in the config, or see `spares`";
        Finding::fail(about, format!("{found}: nothing to scale"), remedy)
    } else {
        Finding::ok(about, found)
    }];
    if fleet.serving == 0 {
        let remedy = "are they DOWN, or all in MAINT or DRAIN? see `show servers state` on the stats socket";
        findings.push(Finding::warn(about, "no server serves now", remedy));
    }
    let reachable = fleet.serving + fleet.startable;
    let scheduled = settings.schedule.entries.iter().map(|entry| (entry.limits.min, entry.at.words()));
    for (min, at) in
        [(settings.ready.min, "")].into_iter().chain(scheduled).filter(|&(min, _)| reachable < min)
    {
        let when = if at.is_empty() { String::new() } else { format!(" of `{at}`") };
        findings.push(Finding::fail(
            about,
            format!("`ready.min`{when} is {min}, but at most {reachable} servers can serve"),
            "lower it, or give the backend more servers",
        ));
    }
    findings
}

/// Servers out of service that are no spares: slots, where the config has no pool for them, and a MAINT that is somebody
/// else's.
fn no_spares(
    about: &str,
    settings: &BackendSettings,
    state: &BackendState,
    claims: &Claims,
    names: &Names,
) -> Vec<Finding> {
    let named = |is: &dyn Fn(&ServerState, Role) -> bool| {
        let roles =
            ownership::roles(state, settings, claims, names).filter(|&(server, role)| is(server, role));
        roles.map(|(server, _)| names.of_server(server.id).to_string()).collect::<Vec<_>>().join(", ")
    };
    let vacant = named(&|_, role| role == Role::Vacant && settings.spares == Spares::Declared);
    let unprovable = named(&|server, role| role != Role::Vacant && is_unprovable(server));
    let foreign = named(&|server, role| {
        role == Role::Foreign
            && !is_unprovable(server)
            && server.state() == AdminState::Maint
            && !server.backup
            && server.tracks.is_none()
            // DNS has no address for it: nobody else can end that.
            && !server.admin.is_foreign_maint()
    });
    let findings = [
        (
            "on a unix socket, or the port that clients came to, and without a health check: no spares, and never taken away",
            unprovable,
            "add `check` to their lines: nothing else would prove that one has started",
        ),
        (
            "empty slots, whose address is nobody's, and no spares",
            vacant,
            "say where they get addresses from: `spares: { kind: slots, pool: [...] }`; a server that is \
             there all the same is named under `servers`",
        ),
        (
            "in MAINT, not ours, and left alone",
            foreign,
            "to use one as a spare, name it under `servers` in the config, with a weight above 0 in haproxy.cfg",
        ),
    ];
    let found = findings.into_iter().filter(|(_, servers, _)| !servers.is_empty());
    found.map(|(what, servers, remedy)| Finding::warn(about, format!("{what}: {servers}"), remedy)).collect()
}

/// It could be ours to start, if anything could tell that it has started.
fn is_unprovable(server: &ServerState) -> bool {
    let is_of_others = server.backup || server.tracks.is_some() || server.admin.is_foreign_maint();
    !is_of_others && server.supply.is_none() && !server.start_can_be_proved()
}

/// Servers that the config names and HAProxy does not have.
fn configured_servers(
    about: &str,
    settings: &BackendSettings,
    state: &BackendState,
    names: &Names,
) -> Vec<Finding> {
    let all: Vec<String> =
        state.servers.iter().map(|server| names.of_server(server.id).to_string()).collect();
    let unknown = settings.servers.keys().filter(|name| !all.contains(name));
    let tell = |name: &String| {
        let hint = nearest(name, &all).map(|name| format!("did you mean `{name}`?"));
        let hint = hint.unwrap_or_else(|| format!("it has {}", all.join(", ")));
        Finding::fail(about, format!("HAProxy has no server `{name}` in it"), hint)
    };
    unknown.map(tell).collect()
}

/// What the agent will not see, or not know in time.
fn signals(about: &str, state: &BackendState, names: &Names) -> Vec<Finding> {
    let list = |without: &dyn Fn(&ServerState) -> bool| {
        let servers = state.servers.iter().filter(|server| without(server));
        servers.map(|server| names.of_server(server.id).to_string()).collect::<Vec<_>>().join(", ")
    };
    let mut findings = Vec::new();
    let unlimited = list(&|server| server.maxconn.is_none());
    if !unlimited.is_empty() {
        findings.push(Finding::warn(
            about,
            format!("no `maxconn` on {unlimited}: HAProxy never queues, so overload shows only as latency"),
            "give each server a `maxconn` of about twice what it handles at once",
        ));
    }
    let unchecked = list(&|server| !server.checked && server.tracks.is_none() && !is_unprovable(server));
    if !unchecked.is_empty() {
        findings.push(Finding::warn(
            about,
            format!("no health check on {unchecked}: a start is proved by a TCP connect only"),
            "add `check` to the server lines",
        ));
    }
    findings
}

fn weights(about: &str, settings: &BackendSettings, state: &BackendState) -> Vec<Finding> {
    if (settings.weights, settings.policy) == (Weights::ByLatency, Policy::Model) {
        return vec![Finding::warn(
            about,
            "`weights: by_latency` is not used: `policy: model` gives slower and failing servers less by itself",
            "leave it out, or decide by `policy: threshold`",
        )];
    }
    let wants_weights = settings.weights != Weights::Keep
        || !settings.warm_up.ramp.is_zero()
        || settings.servers.values().any(|server| !server.warm_up.ramp.is_zero());
    if state.servers.iter().any(|server| server.has_agent() && !server.backup) {
        let found = "weights are what its agent checks say: none are set, ramps and `weights` have no effect";
        return vec![match wants_weights {
            true => Finding::warn(about, found, "leave ramps and `weights` out, or the agent checks"),
            false => Finding::ok(about, found),
        }];
    }
    let (grade_fail, found) = match (state.dynamic, state.algorithm.as_str()) {
        (_, "first") => (false, "`balance first` ignores weights".to_owned()),
        (Some(true), _) => return Vec::new(),
        (Some(false), "static-rr") => (true, "`balance static-rr` takes no weights at run time".to_owned()),
        (Some(false), algorithm) => {
            (true, format!("`balance {algorithm}` takes weights only with `hash-type consistent`"))
        }
        (None, "source" | "uri" | "hdr" | "url_param" | "rdp-cookie" | "hash") => {
            (false, "its hash algorithm takes weights only with `hash-type consistent`".to_owned())
        }
        (None, _) => return Vec::new(),
    };
    let remedy =
        "servers are still enabled and drained; for ramps and `weights` use roundrobin, leastconn or random";
    match (wants_weights, grade_fail) {
        (true, true) => vec![Finding::fail(about, found, remedy)],
        (true, false) => vec![Finding::warn(about, found, remedy)],
        (false, _) => vec![Finding::ok(about, format!("{found}; none are wanted"))],
    }
}
