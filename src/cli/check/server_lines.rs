//! What haproxy.cfg says of a backend's servers, and HAProxy does not show: who lets them into their share, and what a move of
//! theirs does to sessions.

use std::collections::{BTreeMap, BTreeSet};

use super::Finding;
use crate::config::Config;
use crate::core::policy::Span;
use crate::core::settings::BackendSettings;
use crate::core::settings::server_lines::{ServerLine, ServerTraits};
use crate::provider::default_server;
use crate::provider::haproxy_cfgs::HaproxyCfgs;

/// Servers that come from a pool.
const ADDED: &str = "those that are added";

pub(super) fn check(config: &Config) -> Vec<Finding> {
    let mut cfgs = HaproxyCfgs::new(config);
    let mut findings: Vec<Finding> = files(config, &cfgs).into_iter().collect();
    for settings in &config.backends {
        findings.extend(slowstart(&cfgs, settings));
        findings.extend(traits(&mut cfgs, settings));
    }
    findings
}

/// None of them can be read, where it would matter.
fn files(config: &Config, cfgs: &HaproxyCfgs) -> Option<Finding> {
    let is_read = config.backends.is_empty() || cfgs.texts().next().is_some();
    let paths: Vec<String> = cfgs.paths().map(|path| format!("`{}`", path.display())).collect();
    let found = format!(
        "{} cannot be read: whether server lines have `send-proxy`, `on-marked-down` or `on-marked-up` is not known, \
         as HAProxy does not show it (name the file as `haproxy.config`)",
        paths.join(", ")
    );
    (!is_read).then(|| Finding::ok("haproxy.cfg", found))
}

fn slowstart(cfgs: &HaproxyCfgs, settings: &BackendSettings) -> Option<Finding> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut add = |length: String, server: &str| found.entry(length).or_default().insert(server.to_owned());
    for text in cfgs.texts() {
        for (server, length) in default_server::slowstarts(&text, &settings.name) {
            add(length, &server);
        }
    }
    let keywords = cfgs.keywords_of_added(&settings.name);
    if let Some(length) = keywords.as_ref().and_then(|keywords| keywords.value("slowstart")) {
        add(length.to_owned(), ADDED);
    }
    let each = |(length, servers): (&String, &BTreeSet<String>)| {
        format!("{length} for {}", servers.iter().cloned().collect::<Vec<_>>().join(", "))
    };
    let all: Vec<String> = found.iter().map(each).collect();
    let ramp = if settings.warm_up.ramp.is_zero() { "" } else { "; `warm_up.ramp` is not for them" };
    let text = format!("HAProxy's own slowstart: {}{ramp}", all.join("; "));
    (!all.is_empty()).then(|| Finding::ok(&format!("backend {}", settings.name), text))
}

fn traits(cfgs: &mut HaproxyCfgs, settings: &BackendSettings) -> Vec<Finding> {
    let (about, lines) = (format!("backend {}", settings.name), cfgs.lines_of(&settings.name));
    let those = |has: &dyn Fn(&ServerTraits) -> bool| {
        let declared = lines.declared.iter().filter(|line| has(&line.traits)).map(ServerLine::to_string);
        let added = lines.added.filter(has).map(|_| ADDED.to_owned());
        declared.chain(added).collect::<BTreeSet<String>>().into_iter().collect::<Vec<_>>()
    };
    let warms_up = settings.warm_up.path.is_some()
        || settings.servers.values().any(|server| server.warm_up.path.is_some());
    let closed = those(&|traits| traits.closes_own);
    let closing = those(&|traits| traits.closes_backups);
    let proxied = those(&|traits| traits.proxy.is_some() && warms_up);
    let found = |servers: &[String], tell: &dyn Fn(&[String]) -> Finding| {
        if servers.is_empty() { None } else { Some(tell(servers)) }
    };
    let findings = [
        found(&closed, &|servers| closed_by_maint(&about, servers, settings)),
        found(&closing, &|servers| closing_backups(&about, servers)),
        found(&proxied, &|servers| {
            let servers = servers.join(", ");
            let found = format!(
                "warm-up requests to {servers} begin with the header of the PROXY protocol (`send-proxy`)"
            );
            Finding::ok(&about, found)
        }),
    ];
    findings.into_iter().flatten().collect()
}

fn closed_by_maint(about: &str, servers: &[String], settings: &BackendSettings) -> Finding {
    let stays = if servers.len() == 1 {
        "it stays in DRAIN until it has"
    } else {
        "they stay in DRAIN until they have"
    };
    let found = |end: &str| {
        let servers = servers.join(", ");
        format!(
            "MAINT closes the sessions of {servers} (`on-marked-down shutdown-sessions`): {stays} none, {end}"
        )
    };
    match settings.scale_down.shutdown_sessions {
        Some(after) => {
            let all = settings.scale_down.drain_timeout.saturating_add(after);
            Finding::ok(about, found(&format!("for {} at most", Span(all))))
        }
        None => {
            let remedy = "where sessions last for hours, set `scale_down.shutdown_sessions`";
            Finding::warn(about, found("however long that takes"), remedy)
        }
    }
}

fn closing_backups(about: &str, servers: &[String]) -> Finding {
    let (start, one) =
        if servers.len() == 1 { ("starts", "if it takes") } else { ("start", "by one that takes") };
    let found = format!(
        "when {} {start}, HAProxy closes the sessions of backup servers (`on-marked-up shutdown-backup-sessions`), even before \
         its check has passed; not {one} no connection or fails its warm-up",
        servers.join(", ")
    );
    Finding::warn(about, found, "to let those sessions end by themselves, take the option out of haproxy.cfg")
}
