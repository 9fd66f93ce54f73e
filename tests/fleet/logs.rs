//! Whether the log is whole, while one of them is away.

use std::net::SocketAddr;
use std::time::Duration;

use haproxy_autoscale::demo::load::{Load, Running};

use super::site::{Site, stands};
use super::support::{PATIENCE, wait_until};

const LINES: [&str; 4] = [
    "balance roundrobin",
    "http-request set-log-level silent if { rand(100) lt 50 } { nbsrv(app) ge 2 }",
    "server s1 {s1}",
    "server s2 {s1} disabled",
];

fn load(site: &Site, node: usize) -> Running {
    let load = Load::new(SocketAddr::from(([127, 0, 0, 1], site.nodes[node].port)), |_| 40.0);
    load.start(Duration::from_secs(300)).expect("the load runs")
}

#[test]
fn while_one_is_away_the_log_is_held_against_what_the_others_count() {
    let Some(site) = Site::start_with(&LINES) else { return };
    let agent = site.agent("ready: { max: 2 }");
    site.nodes[1].haproxy.hang();
    wait_until("it is away", PATIENCE, || stands(&agent, 1) == "does not answer");
    let _load = load(&site, 0);
    wait_until("the log is found to be whole", PATIENCE, || {
        let app = agent.backend();
        app["coverage"]["expected"].as_u64() > Some(100) && app["doubt"].is_null()
    });
    assert_eq!(agent.backend()["coverage"]["whole"], false);
    let status = String::from_utf8_lossy(&agent.command(&["status"]).stdout).into_owned();
    assert!(status.contains("may stand for missing ones"), "{status}");
    // What is decided rests on it: one server is too slow.
    site.servers[0].set_delay(Duration::from_millis(400));
    site.nodes[0].wait_for("s2", "READY 1");
    // With two of them HAProxy logs every other request.
    wait_until("that is found too", PATIENCE, || {
        agent.backend()["doubt"].as_str().is_some_and(|doubt| doubt.contains("were understood in the log"))
    });
    site.nodes[1].haproxy.go_on();
    wait_until("it is back", PATIENCE, || stands(&agent, 1) == "in line");
    site.nodes[1].wait_for("s2", "READY 1");
}
