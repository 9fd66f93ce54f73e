//! The whole agent on a real HAProxy to which things happen: restarts, other people's hands, and an agent
//! before it that was killed.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use haproxy_autoscale::demo::load::Load;
use nix::sys::signal::Signal;
use serde_json::Value;
use support::{Agent, Haproxy, NEVER, Origin, PATIENCE, free_port, wait_until};
use tempfile::TempDir;

mod support;

/// HAProxy, the servers s1, s2, ... of its backend `app`, and its log.
struct Site {
    haproxy: Haproxy,
    port: u16,
    servers: Vec<Origin>,
}

impl Site {
    /// One server for each of `keywords`, which end its line in the configuration.
    fn start(keywords: &[&str]) -> Option<Self> {
        let (port, servers): (_, Vec<_>) = (free_port(), keywords.iter().map(|_| Origin::start()).collect());
        let lines = (1..).zip(&servers).zip(keywords).map(|((n, server), keywords)| {
            format!(
                "    use-server s{n} if {{ path /s{n} }}\n    server s{n} 127.0.0.1:{} {keywords}\n",
                server.port()
            )
        });
        let haproxy = Haproxy::start(&format!(
            "global\n    log stdout format raw local0\n    stats socket {{dir}}/operator.sock mode 600 level operator\n\
             defaults\n    log global\n    mode http\n    option httplog\n    timeout connect 60s\n\
             \x20   timeout client 10m\n    timeout server 10m\n    timeout check 60s\n\
             frontend users\n    bind 127.0.0.1:{port}\n    default_backend app\n\
             backend app\n    balance roundrobin\n{}",
            lines.collect::<String>()
        ))?;
        Some(Self { haproxy, port, servers })
    }

    /// The agent on it, quick, with more `keys` of its backend.
    fn agent(&self, keys: &str) -> Agent {
        let dir = tempfile::Builder::new().prefix("ha").tempdir().expect("a temporary folder");
        self.agent_in(dir, keys)
    }

    /// In a folder that an agent before it has left.
    fn agent_in(&self, dir: TempDir, keys: &str) -> Agent {
        self.agent_with(dir, &self.config(keys))
    }

    fn agent_with(&self, dir: TempDir, config: &str) -> Agent {
        let log = self.haproxy.dir().join("output");
        let log = log.to_str().expect("a temporary path is text");
        Agent::start_in(dir, config, &[log], Stdio::null())
    }

    fn config(&self, keys: &str) -> String {
        let keys = keys.lines().map(|line| format!("    {}\n", line.trim())).collect::<String>();
        let window = "    window: { length: 1s, min_samples: 10 }\n";
        let window = if keys.contains("    window:") { "" } else { window };
        format!(
            "tick: 200ms\nhaproxy: {{ sockets: [{}] }}\nbackends:\n  - name: app\n\
             \x20   target: {{ below: 250ms }}\n    policy: threshold\n{window}{keys}",
            self.haproxy.socket().display()
        )
    }

    /// Each server's state and weight, as in `READY 1`.
    fn servers(&self) -> BTreeMap<String, String> {
        self.haproxy.servers("app", |row| row[7].to_owned())
    }

    fn is(&self, server: &str, state: &str) -> bool {
        self.servers()[server] == state
    }

    #[track_caller]
    fn wait_for(&self, server: &str, state: &str) {
        wait_until(&format!("{server} is {state}"), PATIENCE, || self.is(server, state));
    }

    fn ready(&self) -> usize {
        self.servers().values().filter(|state| state.starts_with("READY")).count()
    }

    /// A request; its answer's status.
    fn get(&self, path: &str) -> String {
        get(self.port, path)
    }

    /// A request to `server` that is never answered.
    fn keep_busy(&self, server: usize) {
        self.servers[server - 1].set_delay(NEVER);
        let (port, path) = (self.port, format!("/s{server}"));
        let before = self.servers[server - 1].requests();
        thread::spawn(move || get(port, &path));
        wait_until("the request is with its server", PATIENCE, || {
            self.servers[server - 1].requests() > before
        });
    }

    fn load(&self, rate: f64) -> Load {
        Load::new(SocketAddr::from(([127, 0, 0, 1], self.port)), move |_| rate).patience(PATIENCE)
    }
}

fn get(port: u16, path: &str) -> String {
    let mut answer = String::new();
    let mut ask = || -> std::io::Result<usize> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: users\r\nConnection: close\r\n\r\n")?;
        stream.read_to_string(&mut answer)
    };
    match ask() {
        Ok(_) => answer.split(' ').nth(1).unwrap_or_default().to_owned(),
        Err(error) => error.to_string(),
    }
}

// --- HAProxy is restarted.

#[test]
fn a_reload_in_the_middle_of_traffic_is_noticed_and_costs_no_request() {
    let Some(mut site) = Site::start(&["", "disabled"]) else { return };
    let agent = site.agent("");
    wait_until("it knows HAProxy", PATIENCE, || {
        agent.status().unwrap_or_default()["haproxy"]["pid"] == site.haproxy.pid()
    });
    let load = site.load(100.0).start(Duration::from_secs(3)).expect("the load runs");
    wait_until("requests come", PATIENCE, || !load.measured(20).is_empty());
    site.haproxy.reload();
    wait_until("the reload is noticed", PATIENCE, || {
        agent.has_journaled("event", "haproxy_restarted") && agent.has_journaled("pid", site.haproxy.pid())
    });
    assert!(load.finish().iter().all(|request| !request.is_failed()));
    wait_until("it is shown", PATIENCE, || {
        let status = agent.status().unwrap_or_default();
        status["haproxy"]["pid"] == site.haproxy.pid() && status["backends"][0]["health"] == "good"
    });
}

#[test]
fn a_stop_in_the_middle_of_traffic_is_noticed_and_waited_out() {
    let Some(mut site) = Site::start(&["", "disabled"]) else { return };
    let agent = site.agent("ready: { min: 2 }");
    site.wait_for("s2", "READY 1");
    let load = site.load(100.0).start(NEVER).expect("the load runs");
    wait_until("requests come", PATIENCE, || !load.measured(20).is_empty());
    site.haproxy.kill();
    wait_until("it is noticed", PATIENCE, || {
        agent.event("haproxy does not answer; waiting for it").is_some()
            && agent.status().unwrap_or_default()["haproxy"]["answers"] == false
    });
    wait_until("it is no ground for decisions any more", PATIENCE, || {
        agent.backend()["health"] == "haproxy_absent"
    });
    let starts = || {
        let journal = agent.journal().into_iter();
        journal.filter(|entry| entry["event"] == "serving" && entry["server"] == "s2").count()
    };
    let before = starts();
    site.haproxy.start_again();
    wait_until("its return is noticed", PATIENCE, || {
        agent.has_journaled("event", "haproxy_restarted")
            && agent.status().unwrap_or_default()["haproxy"]["pid"] == site.haproxy.pid()
    });
    // It begins with one server; two have to serve.
    site.wait_for("s2", "READY 1");
    wait_until("the move is told", PATIENCE, || starts() > before);
}

// --- Somebody else changes servers.

#[test]
fn a_server_put_into_maint_by_hand_is_replaced_and_left_alone() {
    let Some(site) = Site::start(&["", "", "disabled"]) else { return };
    site.servers.iter().for_each(|server| server.set_delay(Duration::from_millis(20)));
    let agent = site.agent(
        "band: { lower: 1ms, upper: 5ms }\nready: { min: 2 }\nscale_up: { stabilization_window: 1s, cooldown: 0s }",
    );
    wait_until("both are shown", PATIENCE, || agent.server("s2")["serving"] == true);
    site.haproxy.ask("set server app/s1 state maint");
    wait_until("it is shown", PATIENCE, || {
        let s1 = agent.server("s1");
        s1["state"] == "MAINT" && s1["role"] == "foreign"
    });
    site.wait_for("s3", "READY 1");
    assert!(agent.has_journaled("rule", "below_min"), "{:#?}", agent.journal());
    // However much another server is needed.
    let load = site.load(50.0).start(NEVER).expect("the load runs");
    wait_until("another one is needed", PATIENCE, || agent.has_journaled("rule", "no_spare"));
    assert!(site.is("s1", "MAINT 1"));
    drop(load);
}

// --- A newcomer is not what it should be.

const TRIED: &str = "band: { lower: 1ms, upper: 5ms }\nscale_up: { stabilization_window: 1s, cooldown: 0s }\n\
    scale_down: { drain_timeout: 2s }\n";

#[test]
fn a_newcomer_that_fails_while_its_weight_rises_is_turned_away_and_another_one_tried() {
    // As the load asks for it; as the fewest allowed; by an operator's pin.
    for (ready, pin) in
        [("{ min: 2, max: 3 }", false), ("{ min: 3, max: 3 }", false), ("{ min: 2, max: 2 }", true)]
    {
        let Some(site) = Site::start(&["", "", "disabled", "disabled"]) else { return };
        site.servers.iter().for_each(|server| server.set_delay(Duration::from_millis(20)));
        site.servers[2].set_status(500);
        let load = site.load(200.0).start(NEVER).expect("the load runs");
        let agent = site.agent(&format!("{TRIED}ready: {ready}\nwarm_up: {{ ramp: 8s }}"));
        if pin {
            agent.pin(3);
        }
        wait_until("it is turned away", PATIENCE, || {
            agent.journal().iter().any(|entry| {
                let error = entry["error"].as_str().unwrap_or_default();
                let why = "requests to it failed, of those to the others 0.0 %";
                entry["server"] == "s3" && error.contains(why) && !error.contains("; and")
            })
        });
        wait_until("it is in quarantine", PATIENCE, || agent.server("s3")["quarantine_s"].is_u64());
        site.wait_for("s3", "MAINT 1");
        site.wait_for("s4", "READY 1");
        drop(load);
    }
}

#[test]
fn the_weight_of_a_newcomer_that_is_slow_stays_also_under_a_pin() {
    let Some(site) = Site::start(&["", "", "disabled"]) else { return };
    site.servers.iter().for_each(|server| server.set_delay(Duration::from_millis(20)));
    site.servers[2].set_delay(Duration::from_millis(400));
    let load = site.load(200.0).start(NEVER).expect("the load runs");
    let window = "window: { length: 3s, min_samples: 10 }";
    let agent = site.agent(&format!("{TRIED}{window}\nwarm_up: {{ ramp: 15s }}"));
    agent.pin(3);
    wait_until("it serves", PATIENCE, || site.servers()["s3"].starts_with("READY"));
    // Twice as long as its weight would rise.
    thread::sleep(Duration::from_secs(30));
    assert!(!site.is("s1", "READY 1"), "weights are as before: the ramp is over: {:?}", site.servers());
    site.servers[2].set_delay(Duration::from_millis(20));
    for server in ["s1", "s2", "s3"] {
        site.wait_for(server, "READY 1");
    }
    drop(load);
}

// --- HAProxy lets a newcomer into its share by itself.

/// What HAProxy shows of s2 in its slowstart, and how often it has chosen each server since it started.
#[derive(Clone, Copy, Debug)]
struct Share {
    throttle: Option<u64>,
    weights: [u64; 2],
    chosen: [u64; 2],
}

impl Site {
    /// `None` as long as s2 is not READY.
    fn share(&self) -> Option<Share> {
        let servers = self.servers();
        let weight = |server: &str| servers[server].strip_prefix("READY ")?.parse().ok();
        let weights = [weight("s1")?, weight("s2")?];
        let stat = self.haproxy.ask("show stat app 4 -1");
        let heading: Vec<&str> = stat.lines().next()?.split(',').collect();
        let figure = |server: &str, column: &str| {
            let row = stat.lines().find(|line| line.starts_with(&format!("app,{server},")))?;
            row.split(',').nth(heading.iter().position(|name| *name == column)?)?.parse().ok()
        };
        let chosen = [figure("s1", "lbtot")?, figure("s2", "lbtot")?];
        Some(Share { throttle: figure("s2", "throttle"), weights, chosen })
    }
}

#[test]
fn a_newcomer_gets_what_haproxys_slowstart_gives_it_and_no_ramp_makes_it_less() {
    const FULL: f64 = 0.4;
    let Some(site) = Site::start(&["check inter 100ms", "check inter 100ms slowstart 20s disabled"]) else {
        return;
    };
    let load = site.load(200.0).start(NEVER).expect("the load runs");
    let agent = site.agent("ready: { min: 2 }\nwarm_up: { ramp: 10m }");
    let (mut shares, mut is_shown): (Vec<Share>, bool) = (Vec::new(), false);
    wait_until("HAProxy is through with it", PATIENCE, || {
        shares.extend(site.share());
        is_shown |= agent.server("s2")["throttle_percent"].is_u64();
        shares.last().is_some_and(|share| share.throttle.is_none())
    });
    assert!(shares[0].throttle.is_some_and(|percent| percent < 90), "it begins with READY: {:?}", shares[0]);
    assert!(is_shown, "`status` tells of it");
    assert!(
        shares.iter().all(|share| share.weights[1] >= share.weights[0]),
        "no ramp comes on top: {shares:?}"
    );
    // Of the requests between two looks no more than the later one lets it have; some are under way.
    for pair in shares.windows(2) {
        let [s1, s2] = [0, 1].map(|server| (pair[1].chosen[server] - pair[0].chosen[server]) as f64);
        let throttle = pair[1].throttle.unwrap_or(100) as f64;
        assert!(s2 <= (s1 + s2) * throttle / (100.0 + throttle) + 5.0, "{pair:?}");
    }
    let before = *shares.last().expect("waited for");
    wait_until("it has all of its share", PATIENCE, || {
        let now = site.share().expect("it is READY");
        let [s1, s2] = [0, 1].map(|server| (now.chosen[server] - before.chosen[server]) as f64);
        s1 + s2 > 100.0 && s2 / (s1 + s2) > FULL
    });
    site.wait_for("s2", "READY 1");
    drop(load);
}

// --- The agent before was killed.

#[test]
fn a_socket_that_changes_nothing_is_told_and_no_server_is_blamed_for_it() {
    let Some(mut site) = Site::start(&["", "disabled"]) else { return };
    let config = site.config("ready: { min: 2 }").replace("admin.sock", "operator.sock");
    let dir = tempfile::Builder::new().prefix("ha").tempdir().expect("a temporary folder");
    let agent = site.agent_with(dir, &config);
    let told = || agent.status().map(|status| status["backends"][0].clone()).unwrap_or_default();
    wait_until("it is told", PATIENCE, || told()["health"] == "read_only");
    let reason = "needs `level admin`";
    wait_until("the spare is wanted", PATIENCE, || {
        told()["refused"].as_str().is_some_and(|why| why.contains(reason))
    });
    assert!(told()["doubt"].as_str().unwrap().contains(reason), "{}", told());
    assert_eq!(agent.server("s2")["quarantine_s"], Value::Null, "it has not failed");
    let file = site.haproxy.dir().join("haproxy.cfg");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("level operator", "level admin")).unwrap();
    site.haproxy.reload();
    site.wait_for("s2", "READY 1");
}

#[test]
fn what_somebody_else_changes_is_left_alone_until_its_time_is_over_or_resume() {
    let Some(site) = Site::start(&["", "", "disabled"]) else { return };
    let keys = "hands_off: 1h\nready: { min: 1, max: 2 }\nscale_down: { idle_after: 2s, cooldown: 0s }\n\
                servers: { s1: { always_up: true } }";
    // No server is idle before it is changed.
    let agent = site.agent(&keys.replace("idle_after: 2s", "idle_after: 1h"));
    wait_until("the agent knows HAProxy", PATIENCE, || agent.server("s3")["role"] == "spare");
    site.haproxy.ask("set server app/s2 weight 7");
    wait_until("it is told", PATIENCE, || agent.has_journaled("event", "changed_by_other"));
    assert_eq!(agent.server("s2")["role"], "kept");
    let config = fs::read_to_string(agent.config()).expect("it was written");
    fs::write(agent.config(), config.replace("idle_after: 1h", "idle_after: 2s"))
        .expect("the folder is ours");
    agent.signal(Signal::SIGHUP);
    wait_until("it would be taken away", PATIENCE, || agent.has_journaled("rule", "nothing_to_remove"));
    // A newcomer with a ramp would have to change all weights.
    assert!(site.is("s2", "READY 7"), "{:?}", site.servers());
    let left = agent.into_dir().expect("a temporary folder");
    let agent = site.agent_in(left, keys);
    wait_until("the next agent knows it too", PATIENCE, || agent.server("s2")["role"] == "kept");
    let output = agent.command(&["resume", "app"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("one server that somebody else changed is no longer left alone"), "{text}");
    site.wait_for("s2", "MAINT 7");
}

#[test]
fn a_check_switched_off_and_an_address_set_by_hand_are_noticed() {
    let Some(site) = Site::start(&["check inter 200ms", "", "disabled", "disabled"]) else { return };
    let agent = site.agent("ready: { min: 2, max: 2 }");
    wait_until("the agent knows HAProxy", PATIENCE, || agent.server("s3")["role"] == "spare");
    site.haproxy.ask("disable health app/s1");
    let port = free_port();
    site.haproxy.ask(&format!("set server app/s3 addr 127.0.0.1 port {port}"));
    wait_until("both are left alone", PATIENCE, || {
        [agent.server("s1"), agent.server("s3")].iter().all(|server| server["left_alone_s"].is_u64())
    });
    let why = |server: &str| {
        let journal = agent.journal();
        let told = |entry: &&Value| entry["event"] == "changed_by_other" && entry["server"] == server;
        journal
            .iter()
            .filter(told)
            .map(|entry| entry["reason"].as_str().unwrap_or_default().to_owned())
            .collect()
    };
    let (s1, s3): (Vec<String>, Vec<String>) = (why("s1"), why("s3"));
    assert!(s1.len() == 1 && s1[0].starts_with("its health check switched off, "), "{s1:?}");
    assert!(s3.len() == 1 && s3[0].contains(&format!(" to 127.0.0.1:{port}, ")), "{s3:?}");
    // Another spare is taken, not the one behind whose address nobody listens.
    site.haproxy.ask("set server app/s2 state maint");
    site.wait_for("s4", "READY 1");
    assert!(site.is("s3", "MAINT 1"), "{:?}", site.servers());
}

#[test]
fn what_somebody_else_changes_while_no_agent_runs_is_left_alone() {
    let Some(mut site) = Site::start(&["", "disabled", ""]) else { return };
    let keys = "ready: { min: 3 }\nscale_up: { cooldown: 0s }";
    let mut agent = site.agent(keys);
    site.wait_for("s2", "READY 1");
    wait_until("it is over", PATIENCE, || agent.server("s2")["role"] == "serving");
    assert!(agent.stop().0.success());
    // It is declared `disabled`: but for the agent's memory it is a spare like any other.
    site.haproxy.ask("set server app/s2 state maint");
    site.haproxy.ask("set server app/s3 weight 7");
    let left = agent.into_dir().expect("a temporary folder");
    let agent = site.agent_in(left, keys);
    wait_until("both are left alone", PATIENCE, || {
        [agent.server("s2"), agent.server("s3")].iter().all(|server| server["left_alone_s"].is_u64())
    });
    wait_until("another one is missed", PATIENCE, || agent.has_journaled("rule", "no_spare"));
    assert!(site.is("s2", "MAINT 1"), "{:?}", site.servers());
    assert!(agent.command(&["resume", "app"]).status.success());
    site.wait_for("s2", "READY 1");
    // HAProxy itself forgets: that is nobody's hand.
    let left = agent.into_dir().expect("a temporary folder");
    site.haproxy.reload();
    let agent = site.agent_in(left, keys);
    site.wait_for("s2", "READY 1");
    let told = |entry: &Value| entry["event"] == "changed_by_other" && entry["server"] == "s2";
    assert_eq!(agent.journal().iter().filter(|entry| told(entry)).count(), 1);
}

#[test]
fn servers_that_dns_brings_are_moved_only_if_the_config_names_them() {
    // Several servers of one name; whether it is resolved only once, HAProxy does not tell.
    let Some(haproxy) = Haproxy::start(&format!(
        "defaults\n    mode http\n    timeout connect 60s\n    timeout client 10m\n    timeout server 10m\n    timeout check 60s\n\
         backend app\n    server-template d 3 localhost:{}\n",
        free_port()
    )) else {
        return;
    };
    let log = haproxy.dir().join("output").display().to_string();
    let start = |keys: &str| {
        let config = format!(
            "tick: 200ms\nhaproxy: {{ sockets: [{}] }}\nbackends:\n  - name: app\n    target: {{ below: 250ms }}\n\
             \x20   policy: threshold\n    window: {{ length: 1s }}\n    ready: {{ max: 1 }}\n\
             \x20   scale_down: {{ cooldown: 0s }}\n{keys}",
            haproxy.socket().display()
        );
        Agent::start(&config, &[&log])
    };
    let agent = start("");
    wait_until("none may go", PATIENCE, || agent.has_journaled("rule", "nothing_to_remove"));
    assert!(["d1", "d2", "d3"].iter().all(|server| agent.server(server)["role"] == "kept"));
    drop(agent);
    let agent = start("    servers: { d2: {} }\n");
    wait_until("one goes", PATIENCE, || agent.server("d2")["state"] == "MAINT");
    wait_until("no more of them may go", PATIENCE, || agent.has_journaled("rule", "nothing_to_remove"));
    assert!(["d1", "d3"].iter().all(|server| agent.server(server)["state"] == "READY"));
}

#[test]
fn weights_of_a_ramp_that_was_killed_are_put_right_at_the_next_start() {
    let Some(site) = Site::start(&["", "weight 2", "disabled"]) else { return };
    let keys = "ready: { min: 3 }\nwarm_up: { ramp: 60s }";
    let agent = site.agent(keys);
    wait_until("the ramp is under way", PATIENCE, || {
        let servers = site.servers();
        servers["s3"].starts_with("READY") && servers["s1"] == "READY 100"
    });
    assert_ne!(site.servers()["s3"], "READY 100");
    let left = agent.into_dir().expect("a temporary folder");
    assert!(site.is("s2", "READY 200"), "it was killed in the middle");
    let agent = site.agent_in(left, keys);
    for (server, state) in [("s1", "READY 1"), ("s2", "READY 2"), ("s3", "READY 1")] {
        site.wait_for(server, state);
    }
    let mut agent = agent;
    assert!(agent.stop().0.success());
    assert!(site.is("s1", "READY 1"));
}

/// The folder of an agent that was killed while s2 was draining.
fn killed_in_a_drain(site: &Site) -> TempDir {
    site.keep_busy(2);
    let agent = site.agent(&format!("ready: {{ max: 1 }}\n{}", s1_stays("10m")));
    site.wait_for("s2", "DRAIN 1");
    agent.into_dir().expect("a temporary folder")
}

fn s1_stays(drain_timeout: &str) -> String {
    format!("scale_down: {{ drain_timeout: {drain_timeout} }}\nservers: {{ s1: {{ always_up: true }} }}")
}

#[test]
fn a_drain_that_was_killed_is_finished_and_the_server_is_known_as_ours() {
    let Some(site) = Site::start(&["", ""]) else { return };
    let left = killed_in_a_drain(&site);
    let agent = site.agent_in(left, &format!("ready: {{ max: 1 }}\n{}", s1_stays("4s")));
    site.wait_for("s2", "MAINT 1");
    wait_until("it is known as ours", PATIENCE, || {
        let status = agent.status().unwrap_or_default();
        agent.server("s2")["role"] == "spare" && status["backends"][0]["spare"] == 1
    });
    // So does the one after it, killed while nothing moves.
    let left = agent.into_dir().expect("a temporary folder");
    let _agent = site.agent_in(left, &format!("ready: {{ min: 2 }}\n{}", s1_stays("10m")));
    site.wait_for("s2", "READY 1");
}

#[test]
fn a_drain_that_was_killed_is_taken_back_if_the_server_is_needed() {
    let Some(site) = Site::start(&["", ""]) else { return };
    let left = killed_in_a_drain(&site);
    let agent = site.agent_in(left, &format!("ready: {{ min: 2 }}\n{}", s1_stays("10m")));
    site.wait_for("s2", "READY 1");
    assert!(!agent.has_journaled("event", "in_maint"), "{:#?}", agent.journal());
}

#[test]
fn an_agent_killed_before_it_wrote_down_what_came_of_a_move_leaves_enough_for_the_next_one() {
    let Some(site) = Site::start(&["", ""]) else { return };
    let keys = "ready: { max: 1 }\nservers: { s1: { always_up: true } }";
    // What comes of a move is written down with the next tick: a long time here.
    let config = site.config(keys).replace("tick: 200ms", "tick: 10s");
    let dir = tempfile::Builder::new().prefix("ha").tempdir().expect("a temporary folder");
    let agent = site.agent_with(dir, &config);
    wait_until("the move is over", PATIENCE, || agent.has_journaled("event", "finished"));
    let left = agent.into_dir().expect("a temporary folder");
    assert!(site.is("s2", "MAINT 1"));
    let _agent = site.agent_in(left, "ready: { min: 2 }");
    site.wait_for("s2", "READY 1");
}

#[test]
fn connections_that_linger_in_maint_are_closed_only_where_the_config_says_so() {
    for (more, are_closed) in [("", false), (", shutdown_sessions: 1s", true)] {
        let Some(site) = Site::start(&["", ""]) else { return };
        site.keep_busy(2);
        let scale_down = format!("scale_down: {{ idle_after: 2s, cooldown: 0s, drain_timeout: 1s{more} }}");
        let agent = site
            .agent(&format!("ready: {{ max: 1 }}\n{scale_down}\nservers: {{ s1: {{ always_up: true }} }}"));
        site.wait_for("s2", "MAINT 1");
        let sessions = || agent.server("s2")["sessions"].as_u64();
        if are_closed {
            wait_until("it is told", PATIENCE, || agent.has_journaled("event", "sessions_closed"));
            wait_until("they are gone", PATIENCE, || sessions() == Some(0));
        } else {
            wait_until("the move is over", PATIENCE, || agent.has_journaled("event", "finished"));
            assert_eq!(sessions(), Some(1));
        }
    }
}

// --- Servers whose health checks fail.

const CHECK: &str = "check inter 100ms fall 2 rise 1";

/// Waits until the agent has seen the checks of these servers pass: those that never did are not replaced at once.
fn sees_well(agent: &Agent, servers: &[&str]) {
    for server in servers {
        wait_until("its check was seen to pass", PATIENCE, || {
            let shown = agent.server(server);
            shown["state"] == "READY" && shown["check_passed"] == true
        });
    }
}

#[test]
fn a_server_that_its_check_calls_down_is_replaced_by_a_spare_and_serves_again_when_it_is_well() {
    for policy in ["threshold", "model"] {
        let spare = format!("{CHECK} disabled");
        let last = format!("{CHECK} disabled\n    option httpchk GET /");
        let Some(site) = Site::start(&[CHECK, CHECK, &spare, &last]) else { return };
        let config = site.config("ready: { max: 2 }\nscale_up: { cooldown: 10m }");
        let dir = tempfile::Builder::new().prefix("ha").tempdir().expect("a temporary folder");
        let agent = site.agent_with(dir, &config.replace("policy: threshold", &format!("policy: {policy}")));
        sees_well(&agent, &["s1", "s2"]);
        site.servers[0].set_status(503);
        site.wait_for("s3", "READY 1");
        let told = agent.journal().into_iter().find(|entry| entry["rule"] == "down").expect("it is told");
        assert_eq!(
            (&told["decision"], &told["from"], &told["to"]),
            (&"scale_up".into(), &1.into(), &2.into())
        );
        assert_eq!(told["reason"], "s1 is DOWN by its check: s3 takes its place");
        assert!(site.is("s1", "READY 1") && site.is("s4", "MAINT 1"), "{:?}", site.servers());
        wait_until("it is shown", PATIENCE, || agent.server("s1")["stand_in"] == "s3");
        site.servers[0].set_status(200);
        // One of the three is too many now.
        wait_until("one goes", PATIENCE, || agent.has_journaled("event", "in_maint"));
        assert!(agent.has_journaled("rule", "above_max"), "{:#?}", agent.journal());
        assert_eq!(site.ready(), 2);
    }
}

#[test]
fn a_server_that_went_down_while_no_agent_ran_is_replaced_and_one_that_was_replaced_before_not_again() {
    let spare = format!("{CHECK} disabled");
    let last = format!("{CHECK} disabled\n    option httpchk GET /\n    timeout check 1h");
    // After the reload no check has said anything of it; where that can be, it is DOWN.
    let can_be_down = Haproxy::version().is_some_and(|version| version >= vec![3, 1]);
    let early = format!("{CHECK} {}", if can_be_down { "init-state down" } else { "" });
    let servers = [CHECK, CHECK, CHECK, &spare, &spare, &early, &last];
    let Some(mut site) = Site::start(&servers) else { return };
    let agent = site.agent("");
    sees_well(&agent, &["s1", "s2", "s3"]);
    site.servers[0].set_status(503);
    // What it has not seen to serve before a reload, it does not bring back.
    sees_well(&agent, &["s4"]);
    wait_until("the move is over", PATIENCE, || agent.is_still());
    site.servers[5].set_delay(NEVER);
    site.haproxy.reload();
    site.wait_for("s4", "READY 1");
    wait_until("the spare is known to be back", PATIENCE, || agent.server("s1")["stand_in"] == "s4");
    sees_well(&agent, &["s2", "s3", "s4"]);
    let dir = agent.into_dir().expect("the folder stays");
    site.servers[1].set_status(503);
    let is_down = || site.haproxy.servers("app", |row| row[5].to_owned())["s2"] == "READY 0";
    wait_until("HAProxy calls it DOWN", PATIENCE, is_down);
    let agent = site.agent_in(dir, "");
    wait_until("why it is not replaced yet is shown", PATIENCE, || {
        let why = agent.server("s2")["not_replaced"].as_str().unwrap_or_default().to_owned();
        why.starts_with("not seen UP since the agent or HAProxy was started; not for ")
    });
    site.wait_for("s5", "READY 1");
    wait_until("both are shown", PATIENCE, || {
        (agent.server("s1")["stand_in"] == "s4") && agent.server("s2")["stand_in"] == "s5"
    });
    assert!(site.is("s7", "MAINT 1"), "{:?}", site.servers());
    let told = agent.journal().into_iter().filter(|entry| entry["rule"] == "down");
    let told: Vec<Value> = told.map(|entry| entry["reason"].clone()).collect();
    let takes_its_place =
        |server: &str, other: &str| format!("{server} is DOWN by its check: {other} takes its place");
    assert_eq!(told, [takes_its_place("s1", "s4"), takes_its_place("s2", "s5")]);
}

#[test]
fn where_all_checks_fail_no_spare_takes_a_place_that_the_first_ones_could_not() {
    let spare = format!("{CHECK} disabled");
    let last = format!("{CHECK} disabled\n    option httpchk GET /");
    let Some(site) = Site::start(&[CHECK, CHECK, &spare, &spare, &spare, &last]) else { return };
    let agent = site.agent("ready: { min: 2 }");
    sees_well(&agent, &["s1", "s2"]);
    site.servers.iter().for_each(|server| server.set_status(503));
    let is_starting = |server: &str| site.is(server, "DRAIN 1");
    wait_until("as many as served are tried", PATIENCE, || is_starting("s3") && is_starting("s4"));
    let spent = |agent: &Agent| agent.backend()["serving"] == 0;
    wait_until("nobody serves", PATIENCE, || spent(&agent));
    assert!(site.is("s5", "MAINT 1") && site.is("s6", "MAINT 1"), "{:?}", site.servers());
    site.servers.iter().for_each(|server| server.set_status(200));
    wait_until("all is well", PATIENCE, || site.ready() >= 2);
}

#[test]
fn why_a_server_that_is_down_is_not_replaced_is_shown_and_told_when_it_changes() {
    let last = format!("{CHECK}\n    option httpchk GET /");
    let Some(site) = Site::start(&[CHECK, &last]) else { return };
    let agent = site.agent("");
    sees_well(&agent, &["s1", "s2"]);
    let reasons = || -> Vec<String> {
        let told = agent.journal().into_iter().filter(|entry| entry["event"] == "not_replaced");
        told.map(|entry| entry["reason"].as_str().unwrap_or_default().to_owned()).collect()
    };
    let shows = |what: &str| {
        wait_until(what, PATIENCE, || agent.server("s1")["not_replaced"] == what);
    };
    site.servers[0].set_status(503);
    shows("no spare can be started");
    let explained = agent.command(&["explain", "app"]).stdout;
    let sentence = "s1 is DOWN and not replaced: no spare can be started";
    assert!(String::from_utf8_lossy(&explained).contains(sentence));
    let status = agent.command(&["status"]).stdout;
    let note = "DOWN by its check, not replaced: no spare can be started";
    assert!(String::from_utf8_lossy(&status).contains(note));
    assert!(agent.command(&["pause", "app"]).status.success());
    shows("the backend is paused");
    wait_until("it was told once for each reason", PATIENCE, || {
        reasons() == [sentence, "s1 is DOWN and not replaced: the backend is paused"]
    });
    site.servers[0].set_status(200);
    wait_until("it is UP", PATIENCE, || {
        let shown = agent.server("s1");
        shown["up"] == true && shown["not_replaced"].is_null()
    });
    assert_eq!(reasons().len(), 2);
}

#[test]
fn the_fewest_serve_at_once_when_the_agent_starts() {
    let Some(site) = Site::start(&["", "disabled", "disabled"]) else { return };
    let agent = site.agent("ready: { min: 3 }\nwindow: { length: 1h, min_samples: 10 }");
    site.wait_for("s2", "READY 1");
    site.wait_for("s3", "READY 1");
    assert!(agent.has_journaled("rule", "below_min"), "{:#?}", agent.journal());
}

// --- Agent checks.

/// What HAProxy's agent checks ask, and what it answers.
struct AgentCheck {
    port: u16,
    says: Arc<Mutex<&'static str>>,
}

impl AgentCheck {
    /// None on HAProxy 2.2.9, which was not seen to understand any answer: all ended as `L7TOUT`.
    fn start(says: &'static str) -> Option<Self> {
        if Haproxy::version()? < vec![2, 4] {
            return None;
        }
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let says = Arc::new(Mutex::new(says));
        let answer = says.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let words = *answer.lock().expect("nobody panics with it");
                // Who has gone away is asked again.
                let _ = stream.and_then(|mut stream| writeln!(stream, "{words}"));
            }
        });
        Some(Self { port, says })
    }

    fn say(&self, words: &'static str) {
        *self.says.lock().expect("nobody panics with it") = words;
    }

    /// The keywords of a server that asks it.
    fn keywords(&self) -> String {
        format!("weight 100 {CHECK} agent-check agent-inter 100ms agent-port {}", self.port)
    }
}

#[test]
fn a_weight_that_an_agent_check_reports_is_nobodys_hand_and_is_left_to_it() {
    let Some(check) = AgentCheck::start("up 60%") else { return };
    let spare = format!("{} disabled", check.keywords());
    let Some(site) = Site::start(&[&check.keywords(), &spare]) else { return };
    site.wait_for("s1", "READY 60");
    let agent = site.agent("warm_up: { ramp: 10m }");
    wait_until("it has seen s1", PATIENCE, || agent.server("s1")["role"] == "serving");
    check.say("up 80%");
    site.wait_for("s1", "READY 80");
    agent.pin(2);
    wait_until("both serve, and no ramp goes on", PATIENCE, || agent.has_journaled("event", "finished"));
    check.say("up 70%");
    site.wait_for("s1", "READY 70");
    site.wait_for("s2", "READY 70");
    wait_until("it was seen", PATIENCE, || agent.server("s2")["weight"] == 70);
    assert!(!agent.has_journaled("event", "changed_by_other"), "{:#?}", agent.journal());
}

#[test]
fn an_agent_check_that_says_ready_does_not_end_a_maint_of_ours() {
    let Some(check) = AgentCheck::start("up ready") else { return };
    let Some(site) = Site::start(&["", &check.keywords()]) else { return };
    let agent = site.agent("servers: { s1: { always_up: true } }");
    wait_until("it has seen s2", PATIENCE, || agent.server("s2")["role"] == "serving");
    agent.pin(1);
    site.wait_for("s2", "MAINT 100");
    wait_until("the move is over", PATIENCE, || agent.has_journaled("event", "finished"));
    // Killed with it in MAINT: the next one brings the check back with the server.
    let agent = site.agent_in(agent.into_dir().expect("a temporary folder"), "ready: { min: 2 }");
    site.wait_for("s2", "READY 100");
    check.say("up 50%");
    site.wait_for("s2", "READY 50");
    assert!(!agent.has_journaled("event", "changed_by_other"), "{:#?}", agent.journal());
}

#[test]
fn the_agent_check_of_a_newcomer_that_haproxy_slow_starts_is_on_again() {
    let Some(check) = AgentCheck::start("up") else { return };
    let spare = format!("{} slowstart 5s disabled", check.keywords());
    let Some(site) = Site::start(&["weight 100", &spare]) else { return };
    let _agent = site.agent("ready: { min: 2 }");
    site.wait_for("s2", "READY 100");
    check.say("up 50%");
    site.wait_for("s2", "READY 50");
}

#[test]
fn a_server_that_its_agent_check_drains_is_left_alone_until_that_says_ready() {
    let Some(check) = AgentCheck::start("up") else { return };
    let Some(site) = Site::start(&["", &check.keywords()]) else { return };
    let agent = site.agent("");
    wait_until("it has seen s2", PATIENCE, || agent.server("s2")["role"] == "serving");
    check.say("drain");
    wait_until("it is left alone", PATIENCE, || agent.has_journaled("event", "changed_by_other"));
    check.say("ready up");
    wait_until("it no longer is", PATIENCE, || agent.has_journaled("event", "hands_off_ended"));
    wait_until("it is as before", PATIENCE, || agent.server("s2")["role"] == "serving");
}

// --- How many, which, and with which weights.

#[test]
fn traffic_is_shared_out_by_capacity_also_after_a_restart() {
    let Some(mut site) = Site::start(&["", "", ""]) else { return };
    let keys = "weights: by_capacity\nservers: { s1: { capacity: 2 }, s3: { capacity: 3 } }";
    let agent = site.agent(&format!("{keys}\nscale_down: {{ idle_after: 1h }}"));
    for _ in 0..2 {
        for (server, state) in [("s1", "READY 170"), ("s2", "READY 85"), ("s3", "READY 255")] {
            site.wait_for(server, state);
        }
        let before: Vec<u64> = site.servers.iter().map(Origin::requests).collect();
        (0..60).for_each(|_| assert_eq!(site.get("/"), "200"));
        let got: Vec<u64> =
            site.servers.iter().zip(before).map(|(server, before)| server.requests() - before).collect();
        for (got, fair) in got.iter().zip([20, 10, 30]) {
            assert!(got.abs_diff(fair) <= 2, "{got:?} requests");
        }
        agent.suspended(|| {
            site.haproxy.kill();
            site.haproxy.start_again();
            assert!(site.is("s1", "READY 1"));
        });
    }
}

#[test]
fn a_server_that_is_slower_than_its_peers_gets_less_until_the_agent_stops() {
    let Some(site) = Site::start(&["", ""]) else { return };
    site.servers[1].set_delay(Duration::from_millis(100));
    let load = site.load(200.0).start(NEVER).expect("the load runs");
    let mut agent =
        site.agent("weights: by_latency\nready: { min: 2 }\nwindow: { length: 2s, min_samples: 10 }");
    let weight = |server: &str| -> u32 {
        site.servers()[server].rsplit(' ').next().and_then(|weight| weight.parse().ok()).expect("a weight")
    };
    wait_until("the slower one has less weight", PATIENCE, || weight("s2") * 10 <= weight("s1") * 9);
    assert!(weight("s2") * 4 > weight("s1"), "{:?}", site.servers());
    assert!(agent.stop().0.success());
    assert_eq!((weight("s1"), weight("s2")), (1, 1));
    drop(load);
}

#[test]
fn a_spare_takes_the_place_of_a_server_that_is_slow_for_long_before_it_is_drained() {
    let Some(site) = Site::start(&["", "", "", "disabled"]) else { return };
    site.servers.iter().for_each(|server| server.set_delay(Duration::from_millis(20)));
    site.servers[1].set_delay(Duration::from_millis(150));
    let load = site.load(200.0).start(NEVER).expect("the load runs");
    let agent = site.agent(
        "weights: by_latency\nready: { min: 3 }\nwindow: { length: 2s, min_samples: 10 }\n\
         outliers: { drain_after: 1s }\nscale_down: { drain_timeout: 5s, idle_after: 1h }",
    );
    let rules = || -> Vec<String> {
        let rule = |entry: &Value| Some(entry["rule"].as_str()?.to_owned());
        agent
            .journal()
            .iter()
            .filter_map(rule)
            .filter(|rule| ["stand_in", "outlier"].contains(&&**rule))
            .collect()
    };
    // What it gets follows slowly: some of the patience for each part of the way.
    let weight = |server: &str| -> u32 {
        site.servers()[server].rsplit(' ').next().and_then(|weight| weight.parse().ok()).expect("a weight")
    };
    wait_until("it has less weight", PATIENCE, || weight("s2") * 10 <= weight("s1") * 8);
    wait_until("a spare is started", PATIENCE, || rules().contains(&"stand_in".to_owned()));
    wait_until("it is drained", PATIENCE, || {
        assert!(site.ready() >= 3, "{:?}", site.servers());
        site.servers()["s2"].starts_with("MAINT")
    });
    assert!(site.servers()["s4"].starts_with("READY"), "{:?}", site.servers());
    let told = rules();
    assert!(told[0] == "stand_in" && told.contains(&"outlier".to_owned()), "{told:?}");
    let told = agent.journal().into_iter().find(|entry| entry["rule"] == "stand_in").expect("it is told");
    let reason = told["reason"].as_str().unwrap_or_default();
    assert!(reason.starts_with("s2 has been slower") && reason.ends_with("s4 takes its place"), "{reason}");
    drop(load);
}

#[test]
fn a_server_that_the_last_one_of_another_backend_tracks_stays() {
    let check = "check inter 100ms fall 1000";
    let last = format!("{check}\nbackend side\n    server t2 127.0.0.1:1 track app/s2");
    let Some(site) = Site::start(&[check, check, &last]) else { return };
    let agent = site.agent("scale_down: { idle_after: 1s, cooldown: 0s }");
    wait_until("there is one left", PATIENCE, || agent.has_journaled("rule", "at_min"));
    for (server, state) in [("s1", "MAINT 1"), ("s2", "READY 1"), ("s3", "MAINT 1")] {
        assert!(site.is(server, state), "{:?}", site.servers());
    }
}

#[test]
fn no_more_than_max_no_fewer_than_min_and_always_those_that_are_always_up() {
    let Some(site) = Site::start(&["", "", "", ""]) else { return };
    let agent = site.agent(
        "ready: { min: 2, max: 3 }\nservers: { s4: { always_up: true } }\n\
         scale_down: { idle_after: 2s, cooldown: 0s }",
    );
    let mut fewest = usize::MAX;
    wait_until("there are as few as there may be", PATIENCE, || {
        fewest = fewest.min(site.ready());
        agent.has_journaled("rule", "at_min")
    });
    assert_eq!((fewest, site.ready()), (2, 2));
    for (server, state) in [("s1", "READY 1"), ("s2", "MAINT 1"), ("s3", "MAINT 1"), ("s4", "READY 1")] {
        assert!(site.is(server, state), "{:?}", site.servers());
    }
    let downs: Vec<_> =
        agent.journal().into_iter().filter(|entry| entry["decision"] == "scale_down").collect();
    let steps: Vec<_> = downs.iter().map(|entry| (&entry["rule"], &entry["from"], &entry["to"])).collect();
    assert_eq!(
        steps,
        [
            (&Value::from("above_max"), &Value::from(4), &Value::from(3)),
            (&Value::from("idle"), &Value::from(3), &Value::from(2))
        ]
    );
}
