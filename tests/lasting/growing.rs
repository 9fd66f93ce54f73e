//! Slots that run out: haproxy.cfg gets more, and HAProxy is reloaded.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use haproxy_autoscale::demo::load::Load;
use serde_json::Value;

use super::site::{
    As, BINARY, MASTER, Site, findings, has_journaled, kept, metrics, of_node, order, status_text, told,
};
use super::support::{Agent, PATIENCE, wait_until};

/// One slot for two addresses, and nothing to spare.
const ONE: &str = "    server slot1 127.0.0.1:1 weight 10 maxconn 77 cookie slot1 disabled # the only one\n";

const GROWS: &str = "kind: slots, grow: { by: 2, to: 3 }";

fn backend(agent: &Agent) -> Value {
    agent.status().unwrap_or_default()["backends"][0].clone()
}

/// Waits until so many of the backend's servers serve, and returns all of them.
#[track_caller]
fn serving(site: &Site, count: usize) -> Vec<String> {
    let is_ready = |server: &String| server.contains(" READY ");
    wait_until(&format!("{count} serve"), PATIENCE, || {
        site.servers().iter().filter(|server| is_ready(server)).count() == count
    });
    site.servers()
}

#[track_caller]
fn reloads(agent: &Agent, count: usize) {
    let told = || agent.events().iter().filter(|event| event["message"] == "haproxy reloaded").count();
    wait_until(&format!("{count} reloads are told"), PATIENCE, || told() >= count);
    assert_eq!(told(), count);
}

#[test]
fn a_block_gets_more_slots_like_the_last_one() {
    let Some(site) = Site::with_pool(ONE, GROWS, ("", "")) else { return };
    let agent = site.agent(&format!("  keep: block\n{MASTER}"));
    order(&agent, &["pin", "app", "3"]);
    let servers = serving(&site, 3);
    assert_eq!(servers, ["s1 READY 10", "slot1 READY 10", "slot2 READY 10", "slot3 MAINT 10"]);
    reloads(&agent, 1);
    let text = site.cfg_text();
    let line = "    server slot3 127.0.0.1:1 weight 10 maxconn 77 cookie slot3 disabled\n    # END";
    assert!(text.contains(line), "{text}");
}
