//! What the HAProxy that answers can do, and what each configured backend is made of.

use super::Finding;
use crate::core::names::Names;
use crate::core::plan::inventory::{BackendState, Cookie, ServerState};
use crate::core::wire::response::Level;
use crate::core::wire::version::{Capabilities, OLDEST, Row};

/// About the socket: the process, what the socket may do, what is missing and what is done about it.
pub(super) fn haproxy(about: &str, known: &Capabilities) -> Vec<Finding> {
    let process = &known.process;
    let answers = format!("HAProxy {} answers, pid {}", process.version, process.pid);
    let [major, minor] = OLDEST;
    let mut findings = vec![match known.is_too_old() {
        false => Finding::ok(about, answers),
        true => {
            Finding::warn(about, answers, format!("the agent is made for HAProxy {major}.{minor} and newer"))
        }
    }];
    findings.push(match known.level {
        Level::Admin => Finding::ok(about, "level admin"),
        level => Finding::fail(
            about,
            format!("level {level}: servers cannot be changed"),
            "`stats socket ... level admin` in haproxy.cfg; the default is operator",
        ),
    });
    let lacks = |row: &Row| {
        let [major, minor, _] = row.since;
        Finding::ok(about, format!("{} is there from {major}.{minor} on; here: {}", row.what, row.without))
    };
    findings.extend(known.missing().map(lacks));
    findings
}

/// What `state` is made of, as far as HAProxy tells.
pub(super) fn backend(about: &str, state: &BackendState, names: &Names) -> Vec<Finding> {
    let mut words = vec![mode(state), balance(state)];
    words
        .extend((state.cookie != Cookie::None).then(|| "a cookie keeps clients on their servers".to_owned()));
    words.extend(
        [
            ("agent checks", listed(state, names, |server| server.agent_checked)),
            ("backup", listed(state, names, |server| server.backup)),
            ("tracking", listed(state, names, |server| server.tracks.is_some())),
            (
                "kept, as another backend's servers track them",
                listed(state, names, |server| server.needed_elsewhere),
            ),
            ("in slowstart now", listed(state, names, |server| server.slowstart)),
            ("by host name", listed(state, names, |server| server.by_name && !server.of_dns)),
            (
                "brought and taken by DNS, left alone unless named under `servers`",
                listed(state, names, |server| server.of_dns),
            ),
        ]
        .into_iter()
        .filter(|(_, servers)| !servers.is_empty())
        .map(|(what, servers)| format!("{what}: {servers}")),
    );
    words.extend(slots(state, names));
    let found = words.join("; ");
    vec![match state.mode.as_str() {
        "" | "http" | "tcp" => Finding::ok(about, found),
        _ => {
            let found = format!(
                "{found}: HAProxy logs no requests of it, so nothing tells how many servers it needs"
            );
            Finding::fail(about, found, "take it out of the config")
        }
    }]
}

/// As haproxy.cfg has it.
fn mode(state: &BackendState) -> String {
    let word = match state.mode.as_str() {
        "" => "http",
        "syslog" => "log",
        mode => mode,
    };
    format!("mode {word}")
}

fn balance(state: &BackendState) -> String {
    // `random` and some others have no name in HAProxy's figures.
    let algorithm = match state.algorithm.as_str() {
        // To a socket of `level user` it shows none.
        "" => return "balance not shown".to_owned(),
        "unknown" => "random or the like",
        algorithm => algorithm,
    };
    let weights = match (state.dynamic, state.takes_weights()) {
        (_, false) if state.algorithm == "first" => "ignores weights",
        (Some(true), _) => "takes any weight",
        (Some(false), _) => "takes no weight at run time: READY, DRAIN and MAINT only",
        (None, _) => "HAProxy does not tell whether it takes weights: the first that is refused will",
    };
    format!("balance {algorithm}, {weights}")
}

fn listed(state: &BackendState, names: &Names, is: impl Fn(&ServerState) -> bool) -> String {
    let servers = state.servers.iter().filter(|server| is(server));
    servers.map(|server| names.of_server(server.id).to_string()).collect::<Vec<_>>().join(", ")
}

/// Servers in a row that a `server-template` may have made: one prefix, numbers one after the other, one address.
/// HAProxy does not tell, so this is what it looks like.
fn slots(state: &BackendState, names: &Names) -> Option<String> {
    let numbered = |server: &ServerState| {
        let name = names.of_server(server.id).to_string();
        let prefix = name.trim_end_matches(|c: char| c.is_ascii_digit()).len();
        let number: u32 = name[prefix..].parse().ok()?;
        // Not on a unix socket each.
        Some((name[..prefix].to_owned(), number, server.address?, server.port))
    };
    let follows = |a: &&ServerState, b: &&ServerState| match (numbered(a), numbered(b)) {
        (Some(a), Some(b)) => (&a.0, a.2, a.3) == (&b.0, b.2, b.3) && a.1.checked_add(1) == Some(b.1),
        _ => false,
    };
    let servers: Vec<&ServerState> = state.servers.iter().collect();
    let row = servers.chunk_by(follows).filter(|row| row.len() > 1).max_by_key(|row| row.len())?;
    let name = |server: &ServerState| names.of_server(server.id).to_string();
    Some(format!("{} to {} look like a server-template", name(row[0]), name(row[row.len() - 1])))
}
