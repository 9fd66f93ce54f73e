//! Which servers HAProxy itself lets into their share, where the config says where its configuration is.

use std::collections::{BTreeMap, BTreeSet};

use super::Finding;
use crate::config::{Config, DefaultServer, Keep};
use crate::core::log::log_format::words::Variable;
use crate::core::settings::BackendSettings;
use crate::core::settings::spares::Keywords;
use crate::provider::default_server;

/// Servers that come from a pool.
const ADDED: &str = "those that are added";

pub(super) fn check(config: &Config) -> Vec<Finding> {
    config.backends.iter().filter_map(|settings| backend(config, settings)).collect()
}

fn backend(config: &Config, settings: &BackendSettings) -> Option<Finding> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut add = |length: String, server: &str| found.entry(length).or_default().insert(server.to_owned());
    for text in haproxy_cfgs(config) {
        for (server, length) in default_server::slowstarts(&text, &settings.name) {
            add(length, &server);
        }
    }
    let keywords = match config.pools.get(&settings.name).map(|pool| &pool.default_server) {
        None => None,
        Some(DefaultServer::Given(keywords)) => Some(keywords.clone()),
        Some(DefaultServer::HaproxyCfg(path)) => {
            let text = std::fs::read(path).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            // What only HAProxy can tell is told of where it is needed.
            let words = default_server::keywords(&text, &settings.name, &|_| Variable::Unknown);
            words.ok().flatten().and_then(|words| Some(Keywords::lenient(&words).ok()?.0))
        }
    };
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

/// HAProxy's configuration, as often as the config names it. One that cannot be read is told of where it is needed.
fn haproxy_cfgs(config: &Config) -> Vec<String> {
    let of_log = config.log_format.haproxy_cfg().map(|(_, text)| text);
    let lasting = config.nodes.iter().map(|node| &node.lasting);
    let lasting = lasting.filter(|lasting| lasting.keep != Keep::None || lasting.start);
    let kept = lasting.filter_map(|lasting| std::fs::read(&lasting.config).ok());
    of_log.into_iter().chain(kept.map(|text| String::from_utf8_lossy(&text).into_owned())).collect()
}
