//! Servers that all have in their configuration, and what becomes of nodes that come and go.

use std::process::{Command, Stdio};

use serde_json::Value;

use super::site::{Node, Site, absences, config, stands};
use super::support::{Agent, Haproxy, Origin, PATIENCE, free_port, wait_until};

#[test]
fn a_move_reaches_all() {
    let Some(site) = Site::start(&["", "disabled", "weight 3 disabled"]) else { return };
    let agent = site.agent("warm_up: { ramp: 1s }");
    let told = agent.event("haproxy answers").unwrap_or_default();
    assert!(told["sockets"].as_str().is_some_and(|sockets| !sockets.is_empty()), "{told}");
    wait_until("each is told by its address", PATIENCE, || {
        let events = agent.events();
        site.nodes.iter().all(|node| events.iter().any(|event| event["node"] == *node.socket))
    });
    agent.pin(3);
    for (server, state) in [("s1", "READY 1"), ("s2", "READY 1"), ("s3", "READY 3")] {
        site.wait_for(server, state);
    }
    wait_until("they are shown as one", PATIENCE, || {
        let status = agent.status().unwrap_or_default();
        status["backends"][0]["serving"] == 3 && status["backends"][0]["moving"].is_null()
    });
    agent.pin(1);
    wait_until("one is left on each", PATIENCE, || {
        let ready = |node: &Node| node.servers().values().filter(|state| state.starts_with("READY")).count();
        let maint = |node: &Node| node.servers().values().filter(|state| state.starts_with("MAINT")).count();
        site.nodes.iter().all(|node| (ready(node), maint(node)) == (1, 2))
    });
    assert_eq!(site.nodes[0].servers(), site.nodes[1].servers());
    assert!(agent.journal().iter().all(|entry| entry["error"].is_null()), "{:#?}", agent.journal());
}

#[test]
fn a_server_is_empty_when_it_is_on_all() {
    for busy in 0..2 {
        let Some(site) = Site::start(&["", ""]) else { return };
        let agent = site.agent("servers: { s1: { always_up: true } }");
        site.nodes[busy].keep_busy(&site.servers[1]);
        agent.pin(1);
        site.wait_for("s2", "DRAIN 1");
        site.servers[1].let_go();
        wait_until("one of them has let it go", PATIENCE, || {
            site.nodes.iter().any(|node| node.is("s2", "MAINT 1"))
        });
        assert_eq!(site.nodes[busy].sessions(), 0);
        site.wait_for("s2", "MAINT 1");
    }
}

#[test]
fn one_that_was_killed_is_brought_in_line_when_it_is_back() {
    for killed in 0..2 {
        let Some(mut site) = Site::start(&["", "disabled", "disabled"]) else { return };
        let agent = site.agent("warm_up: { ramp: 1s }");
        agent.pin(2);
        site.wait_for("s2", "READY 1");
        site.nodes[killed].haproxy.kill();
        wait_until("it is told", PATIENCE, || {
            agent.event("this haproxy does not answer; the others go on").is_some()
                && stands(&agent, killed) == "does not answer"
        });
        // The other one goes on, down and up.
        let other = 1 - killed;
        agent.pin(3);
        site.nodes[other].wait_for("s3", "READY 1");
        wait_until("it is shown", PATIENCE, || agent.server("s3")["serving"] == true);
        assert_eq!(agent.status().unwrap_or_default()["haproxy"]["answers"], true);
        agent.suspended(|| {
            site.nodes[killed].haproxy.start_again();
            assert!(site.nodes[killed].is("s2", "MAINT 1"), "it begins with what its configuration says");
        });
        for server in ["s2", "s3"] {
            site.nodes[killed].wait_for(server, "READY 1");
        }
        wait_until("it is told", PATIENCE, || {
            agent.event("this haproxy is in line again").is_some() && stands(&agent, killed) == "in line"
        });
        let moves = agent.journal().iter().filter(|entry| entry["decision"] == "scale_up").count();
        assert!(moves == 2 || absences(&agent) > 1, "{:#?}", agent.journal());
        assert!(agent.journal().iter().all(|entry| entry["event"] != "haproxy_restarted"));
    }
}

#[test]
fn one_that_comes_back_lets_go_of_servers_as_the_others_did() {
    let Some(mut site) = Site::start(&["", "", ""]) else { return };
    let agent = site.agent("servers: { s1: { always_up: true } }");
    wait_until("they are known", PATIENCE, || agent.server("s2")["serving"] == true);
    site.nodes[1].haproxy.kill();
    wait_until("it is noticed", PATIENCE, || stands(&agent, 1) == "does not answer");
    agent.pin(1);
    for server in ["s2", "s3"] {
        site.nodes[0].wait_for(server, "MAINT 1");
    }
    agent.suspended(|| {
        site.nodes[1].haproxy.start_again();
        site.nodes[1].keep_busy(&site.servers[1]);
    });
    site.nodes[1].wait_for("s2", "DRAIN 1");
    site.servers[1].let_go();
    site.nodes[1].wait_for("s2", "MAINT 1");
    assert_eq!(site.nodes[1].sessions(), 0);
    site.nodes[1].wait_for("s3", "MAINT 1");
    wait_until("it is in line", PATIENCE, || stands(&agent, 1) == "in line");
}

#[test]
fn a_worker_that_was_reloaded_is_brought_in_line() {
    let Some(mut site) = Site::start(&["", "disabled"]) else { return };
    let agent = site.agent("");
    agent.pin(2);
    site.wait_for("s2", "READY 1");
    for _ in 0..3 {
        for node in &mut site.nodes {
            node.haproxy.reload();
            node.wait_for("s2", "READY 1");
        }
        wait_until("both are in line", PATIENCE, || (0..2).all(|node| stands(&agent, node) == "in line"));
    }
}

#[test]
fn one_that_hangs_keeps_nobody_waiting() {
    let Some(site) = Site::start(&["", "disabled", "disabled"]) else { return };
    let agent = site.agent("");
    wait_until("they are known", PATIENCE, || agent.server("s1")["serving"] == true);
    let hung = &site.nodes[0].haproxy;
    hung.hang();
    agent.pin(2);
    site.nodes[1].wait_for("s2", "READY 1");
    wait_until("it is told", PATIENCE, || stands(&agent, 0) == "does not answer");
    agent.pin(3);
    site.nodes[1].wait_for("s3", "READY 1");
    hung.go_on();
    for server in ["s2", "s3"] {
        site.nodes[0].wait_for(server, "READY 1");
    }
    wait_until("it is in line", PATIENCE, || stands(&agent, 0) == "in line");
}

#[test]
fn where_one_changes_nothing_it_is_named_and_the_others_are_left_as_they_are() {
    let Some(mut site) = Site::start(&["", "disabled"]) else { return };
    site.nodes[1].socket = site.nodes[1].haproxy.dir().join("operator.sock").display().to_string();
    let agent = site.agent("");
    agent.pin(2);
    wait_until("it is told", PATIENCE, || {
        agent.status().is_some_and(|status| {
            let refused = status["backends"][0]["refused"].as_str().unwrap_or_default().to_owned();
            let nodes = &status["haproxy"]["nodes"];
            refused.contains("level admin") && nodes[0]["read_only"] == false && nodes[1]["read_only"] == true
        })
    });
    site.nodes[0].haproxy.reload();
    wait_until("the reload is noticed", PATIENCE, || {
        agent
            .status()
            .is_some_and(|status| status["haproxy"]["nodes"][0]["pid"] == site.nodes[0].haproxy.pid())
    });
    assert!(site.nodes[0].is("s2", "MAINT 1") && site.nodes[1].is("s2", "MAINT 1"));
}

#[test]
fn two_sockets_of_one_haproxy_count_once() {
    let Some(site) = Site::start(&["", "disabled"]) else { return };
    let [_, master] = &site.nodes[..] else { return };
    let worker = master.haproxy.socket().display().to_string();
    let config = site.config("").replace(&master.socket, &format!("{}, {worker}", master.socket));
    let log = master.haproxy.dir().join("output").display().to_string();
    let agent = Agent::start(&config, &[&log]);
    wait_until("it is noticed", PATIENCE, || stands(&agent, 2) == "the same HAProxy as another");
    agent.pin(2);
    site.wait_for("s2", "READY 1");
    wait_until("the move is over", PATIENCE, || agent.server("s2")["serving"] == true);
    let told = |event: &Value| event["message"].as_str().is_some_and(|text| text.contains("it counts once"));
    let told: Vec<Value> = agent.events().into_iter().filter(told).collect();
    assert!(told.len() == 1 || absences(&agent) > 0, "{told:?}");
    assert!(told.iter().all(|event| event["node"] == worker), "{told:?}");
    let mut check = Command::new(env!("CARGO_BIN_EXE_haproxy-autoscale"));
    let output =
        check.args(["check", "--config"]).arg(agent.config()).output().expect("it was built for this test");
    let found = String::from_utf8_lossy(&output.stdout);
    let line = format!("FAIL  sockets: {} and {worker} are the same HAProxy", master.socket);
    assert!(found.contains(&line), "{found}");
    // The other two are still compared.
    assert!(found.contains("the same on all 2 HAProxys"), "{found}");
}

#[test]
fn what_is_changed_by_hand_on_one_is_left_alone() {
    let Some(site) = Site::start(&["", "", "disabled"]) else { return };
    let agent = site.agent("ready: { min: 2 }");
    wait_until("they are known", PATIENCE, || agent.server("s2")["serving"] == true);
    site.nodes[0].haproxy.ask("set server app/s2 state drain");
    let is_told = |event: &Value| {
        event["message"] == "not the same on every haproxy: it is left alone until it is"
            && event["server"] == "s2"
    };
    wait_until("it is told", PATIENCE, || {
        agent.events().iter().any(is_told) && agent.server("s2")["alike"] == false
    });
    // It does not serve on all of them, so another one is started.
    site.wait_for("s3", "READY 1");
    assert!(site.nodes[0].is("s2", "DRAIN 1") && site.nodes[1].is("s2", "READY 1"));
    site.nodes[0].haproxy.ask("set server app/s2 state ready");
    wait_until("it is theirs again", PATIENCE, || agent.server("s2")["serving"] == true);
}

#[test]
fn servers_that_not_all_have_are_left_alone() {
    let Some(site) = Site::start_each(&[&["", "disabled", "disabled"], &["", "disabled"]]) else { return };
    let agent = site.agent("");
    agent.pin(3);
    site.wait_for("s2", "READY 1");
    let is_told = |event: &Value| {
        let states = event["states"].as_str().unwrap_or_default();
        event["message"] == "not the same on every haproxy: it is left alone until it is"
            && event["server"] == "s3"
            && states.starts_with("MAINT on ")
            && states.contains(", missing on ")
    };
    wait_until("it is told", PATIENCE, || agent.events().iter().any(is_told));
    assert_eq!(agent.server("s3")["role"], "foreign");
    wait_until("the others have moved", PATIENCE, || agent.server("s2")["serving"] == true);
    assert!(site.nodes[0].is("s3", "MAINT 1"));
}

#[test]
fn a_backend_that_one_lacks_is_told_and_moved_on_the_others() {
    let Some(mut site) = Site::start(&["", "disabled"]) else { return };
    let (port, spare) = (free_port(), Origin::start());
    let other = config(port, &[""], &[spare])
        .replace("backend app", "backend other")
        .replace("_backend app", "_backend other");
    let Some(haproxy) = Haproxy::start(&other) else { return };
    let socket = haproxy.socket().display().to_string();
    site.nodes[1] = Node { haproxy, port, socket };
    let agent = site.agent("");
    agent.pin(2);
    site.nodes[0].wait_for("s2", "READY 1");
    wait_until("it is told", PATIENCE, || {
        agent.event("this haproxy has no such backend; the others go on").is_some()
            && agent.status().unwrap_or_default()["haproxy"]["nodes"][1]["lacks"][0] == "app"
    });
}

#[test]
fn a_server_of_the_same_name_in_a_listen_section_is_another_server() {
    let origin = Origin::start();
    let sections = |port: u16| {
        let servers =
            format!("    server s1 127.0.0.1:{0}\n    server s2 127.0.0.1:{0} disabled\n", origin.port());
        format!("listen app\n    bind 127.0.0.1:{port}\n{servers}backend other\n{servers}")
    };
    let nodes: Vec<Haproxy> = (0..2).filter_map(|_| Haproxy::start(&sections(free_port()))).collect();
    let [a, b] = &nodes[..] else { return };
    let config = format!(
        "tick: 200ms\nhaproxy: {{ sockets: [{}, {}] }}\nbackends:\n\
         \x20 - {{ name: app, target: {{ below: 250ms }}, policy: threshold }}\n\
         \x20 - {{ name: other, target: {{ below: 250ms }}, policy: threshold }}\n",
        a.socket().display(),
        b.socket().display()
    );
    let agent = Agent::start_with(&config, &["-"], Stdio::piped());
    wait_until("both are in line", PATIENCE, || (0..2).all(|node| stands(&agent, node) == "in line"));
    let moved = |backend: &str| {
        let answers = nodes.iter().map(|node| node.ask(&format!("show servers state {backend}")));
        // The second server's `srv_admin_state`: READY, and disabled in the configuration.
        answers.filter(|answer| answer.contains(" s2 127.0.0.1 2 4 ")).count()
    };
    agent.pin(2);
    wait_until("it serves on both", PATIENCE, || moved("app") == 2);
    assert_eq!(moved("other"), 0);
}

#[test]
fn at_the_start_the_one_that_has_run_longest_is_right() {
    let Some(mut site) = Site::start(&["", "disabled"]) else { return };
    site.nodes[0].haproxy.ask("set server app/s2 state ready");
    wait_until("it is older by a second", PATIENCE, || {
        let info = site.nodes[0].haproxy.ask("show info");
        info.lines().any(|line| {
            line.strip_prefix("Uptime_sec: ").is_some_and(|uptime| uptime.parse().unwrap_or(0) > 1)
        })
    });
    site.nodes[1].haproxy.kill();
    site.nodes[1].haproxy.start_again();
    let _agent = site.agent("");
    site.nodes[1].wait_for("s2", "READY 1");
    assert!(site.nodes[0].is("s2", "READY 1"));
}
