//! Whether slots can be added where the config wants that when they run out.

use std::fs;

use super::super::Finding;
use super::{draft, of};
use crate::config::{Config, NodeSettings};
use crate::core::controller::{BackendStanding, Origin, ServerStanding};
use crate::core::settings::BackendSettings;
use crate::core::settings::spares::Grow;
use crate::haproxy::address::Endpoint;
use crate::haproxy::client::Client;
use crate::lasting::reload::Reloader;

/// For each backend that wants it: which HAProxys cannot, or how many at a time.
pub(super) fn check(config: &Config) -> Vec<Finding> {
    let wanted = config.backends.iter().filter_map(|backend| Some((backend, backend.spares.grow()?)));
    wanted.flat_map(|(backend, grow)| backend_findings(config, backend, grow)).collect()
}

fn backend_findings(config: &Config, backend: &BackendSettings, grow: Grow) -> Vec<Finding> {
    let about = |of: &str| format!("haproxy.keep{of} for `grow` of {}", backend.name);
    let cannot = |node: &NodeSettings| {
        let why = node.lasting.cannot_grow()?;
        let remedy = match config.nodes.len() {
            1 => "`keep: block` or `keep: template`, and a `reload`",
            _ => {
                "`keep: block` or `keep: template`, and a `reload`, for each HAProxy: slots that one lacks are used on none"
            }
        };
        Some(Finding::fail(&about(&of(config, node)), format!("{why}: no slots can be added"), remedy))
    };
    let findings: Vec<Finding> = config.nodes.iter().filter_map(cannot).collect();
    if !findings.is_empty() {
        return findings;
    }
    let most = grow.to.map_or(String::new(), |to| format!(", up to {to}"));
    vec![Finding::ok(&about(""), format!("slots that run out get {} more at a time at least{most}", grow.by))]
}

/// Whether HAProxy takes what would be written with one slot more.
pub(super) async fn rehearse(
    about: &str,
    config: &Config,
    node: &NodeSettings,
    standing: &[BackendStanding],
) -> Vec<Finding> {
    let (Ok(address), Ok(old)) = (node.socket.parse::<Endpoint>(), fs::read(&node.lasting.config)) else {
        return Vec::new();
    };
    let reloader = Reloader::new(node.lasting.clone(), Client::new(address, config.socket_timeout));
    let mut findings = Vec::new();
    let growing = config.backends.iter().filter(|backend| backend.spares.grow().is_some());
    for backend in growing.filter(|_| node.lasting.cannot_grow().is_none()) {
        let Some((slot, grown)) = with_one_more(standing, &backend.name) else { continue };
        let about = format!("{about} with the slot {}/{slot}", backend.name);
        findings.extend(draft::with_slots(&about, &node.lasting, &old, &grown, &reloader).await);
    }
    findings
}

/// `standing` with an empty slot like the last one of `backend`; `None` if it has none.
fn with_one_more(standing: &[BackendStanding], backend: &str) -> Option<(String, Vec<BackendStanding>)> {
    let mut standing = standing.to_vec();
    let servers = &mut standing.iter_mut().find(|standing| standing.backend == backend)?.servers;
    let last = servers.iter().rfind(|server| server.origin == Origin::Slot && server.weight.is_some())?;
    let server = format!("{}-more", last.server);
    let new = ServerStanding {
        server: server.clone(),
        disabled: Some(true),
        is_out: true,
        address: Some([127, 0, 0, 1].into()),
        port: 1,
        origin: Origin::SlotToCome { like: last.server.clone() },
        ..last.clone()
    };
    servers.push(new);
    Some((server, standing))
}
