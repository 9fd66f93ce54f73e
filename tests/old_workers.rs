//! Sessions that old workers of HAProxy still have after a reload, and what a drain does about them; on a real HAProxy with
//! a master.

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::thread::{self, JoinHandle};

use serde_json::Value;
use support::{Agent, Haproxy, NEVER, Origin, PATIENCE, free_port, wait_until};

/// HAProxy with a master, before the servers s1 and s2 of the backend `app`.
struct Site {
    haproxy: Haproxy,
    port: u16,
    s2: Origin,
    s1: Origin,
}

impl Site {
    fn start(mode: &str) -> Option<Self> {
        let (port, s1, s2) = (free_port(), Origin::start(), Origin::start());
        let haproxy = Haproxy::start_with_master(&format!(
            "defaults\n    mode {mode}\n    timeout connect 60s\n    timeout client 10m\n    timeout server 10m\n\
             frontend users\n    bind 127.0.0.1:{port}\n    default_backend app\n\
             backend app\n    balance roundrobin\n    server s1 127.0.0.1:{}\n    server s2 127.0.0.1:{}\n",
            s1.port(),
            s2.port()
        ))?;
        Some(Self { haproxy, port, s1, s2 })
    }

    /// The agent, quick, that may take s2 away; its master is known by these words of `haproxy`.
    fn agent(&self, known: &str, drain_timeout: &str) -> Agent {
        let (admin, master) = (self.haproxy.socket(), self.haproxy.master_socket());
        let known = known.replace("{admin}", &admin.display().to_string());
        let known = known.replace("{master}", &master.display().to_string());
        let config = format!(
            "tick: 100ms\nhaproxy: {{ {known} }}\nbackends:\n  - name: app\n    target: {{ below: 250ms }}\n\
             \x20   policy: threshold\n    servers: {{ s1: {{ always_up: true }} }}\n    scale_up: {{ cooldown: 0s }}\n\
             \x20   scale_down: {{ idle_after: 1h, cooldown: 0s, drain_timeout: {drain_timeout} }}\n",
        );
        let log = self.haproxy.dir().join("output");
        let agent = Agent::start(&config, &[log.to_str().expect("a temporary path is text")]);
        wait_until("it knows HAProxy", PATIENCE, || agent.server("s2")["state"] == "READY");
        agent
    }

    /// Requests, one of which is on `server` until that lets it go.
    fn keep_busy(&self, server: &Origin) -> Vec<JoinHandle<String>> {
        let (port, before, mut requests) = (self.port, server.requests(), Vec::new());
        server.set_delay(NEVER);
        // Round robin: the next one gets there if this one does not.
        wait_until("a request is with the server", PATIENCE, || {
            requests.push(thread::spawn(move || get(port)));
            server.requests() > before
        });
        requests
    }

    /// s2 goes to MAINT once it has let go of `requests`, which are answered.
    #[track_caller]
    fn goes_when_they_end(&self, requests: Vec<JoinHandle<String>>) {
        assert_eq!(self.state(), "DRAIN");
        self.s2.let_go();
        self.wait_for("MAINT");
        for request in requests {
            let answer = request.join().expect("it does not panic");
            assert!(answer.starts_with("HTTP/1.1 200"), "it was cut off: {answer:?}");
        }
    }

    fn state(&self) -> String {
        let mut servers = self.haproxy.servers("app", |_| String::new());
        servers.remove("s2").expect("it is there").trim().to_owned()
    }

    #[track_caller]
    fn wait_for(&self, state: &str) {
        wait_until(&format!("s2 is in {state}"), PATIENCE, || self.state() == state);
    }
}

fn get(port: u16) -> String {
    let mut answer = String::new();
    if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) {
        let _ = write!(stream, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let _ = stream.read_to_string(&mut answer);
    }
    answer
}

/// What is said of s2 when the process `pid` keeps it in DRAIN.
fn words(pid: u32) -> String {
    format!("an old HAProxy still has sessions on it (process {pid}); MAINT in ")
}

/// It is in the journal that the process `pid` keeps s2 in DRAIN.
#[track_caller]
fn is_told(agent: &Agent, pid: u32) {
    let is_it = |entry: &Value| {
        let reason = entry["reason"].as_str().unwrap_or_default();
        entry["event"] == "old_sessions" && entry["server"] == "s2" && reason.contains(&words(pid))
    };
    wait_until("it is told", PATIENCE, || agent.journal().iter().any(is_it));
}

/// `status` says so too.
#[track_caller]
fn is_shown(agent: &Agent, pid: u32) {
    let has = |value: &Value| value.as_str().is_some_and(|text| text.contains(&words(pid)));
    wait_until("it is shown", PATIENCE, || has(&agent.server("s2")["doing"]));
}

/// Ways in which a master is known.
const KNOWN: [&str; 2] =
    ["sockets: ['master:{master}']", "sockets: ['{admin}'], reload: { by: master, socket: '{master}' }"];

#[test]
fn a_drain_waits_for_the_sessions_of_an_old_worker() {
    for (mode, known) in [("http", KNOWN[0]), ("tcp", KNOWN[0]), ("tcp", KNOWN[1])] {
        let Some(mut site) = Site::start(mode) else { return };
        let requests = site.keep_busy(&site.s2);
        let old = site.haproxy.pid();
        site.haproxy.reload();
        let agent = site.agent(known, "1h");
        agent.pin(1);
        is_told(&agent, old);
        is_shown(&agent, old);
        site.goes_when_they_end(requests);
    }
}

#[test]
fn check_tells_whether_old_workers_are_seen() {
    let Some(mut site) = Site::start("http") else { return };
    let _requests = site.keep_busy(&site.s2);
    site.haproxy.reload();
    let seen = "ok    socket {}: its master tells of old workers (1 now): drains wait for their sessions";
    let alone = "ok    socket {}: no master is known: after a reload, a drain does not see";
    let wrong = "FAIL  socket {}: cannot connect to `/nowhere/master.sock`";
    let (admin, master) = (site.haproxy.socket(), site.haproxy.master_socket());
    let (admin, master) = (admin.display().to_string(), format!("master:{}", master.display()));
    let nowhere = KNOWN[1].replace("{master}", "/nowhere/master.sock");
    for (known, words, socket) in [
        (KNOWN[0], seen, &master),
        (KNOWN[1], seen, &admin),
        ("sockets: ['{admin}']", alone, &admin),
        (&nowhere, wrong, &admin),
    ] {
        let agent = site.agent(known, "1h");
        let mut check = Command::new(env!("CARGO_BIN_EXE_haproxy-autoscale"));
        let told = check.args(["check", "--config"]).arg(agent.config()).output();
        let told =
            String::from_utf8_lossy(&told.expect("the binary was built for this test").stdout).into_owned();
        let words = words.replace("{}", socket);
        assert!(told.lines().any(|line| line.starts_with(&words)), "{words}\n{told}");
    }
    site.s2.let_go();
}

#[test]
fn a_reload_in_the_middle_of_a_drain_does_not_end_it() {
    let Some(mut site) = Site::start("tcp") else { return };
    let requests = site.keep_busy(&site.s2);
    let agent = site.agent(KNOWN[0], "1h");
    agent.pin(1);
    site.wait_for("DRAIN");
    let old = site.haproxy.pid();
    site.haproxy.reload();
    is_told(&agent, old);
    site.wait_for("DRAIN");
    site.goes_when_they_end(requests);
}

#[test]
fn the_deadline_of_a_drain_holds_for_an_old_worker_too() {
    let Some(mut site) = Site::start("http") else { return };
    let _requests = site.keep_busy(&site.s2);
    let old = site.haproxy.pid();
    site.haproxy.reload();
    let agent = site.agent(KNOWN[0], "20s");
    agent.pin(1);
    is_told(&agent, old);
    site.wait_for("MAINT");
    site.s2.let_go();
}

#[test]
fn a_master_that_cannot_be_asked_delays_a_drain_no_longer_than_to_its_deadline() {
    let Some(site) = Site::start("http") else { return };
    let nowhere = KNOWN[1].replace("{master}", "/nowhere/master.sock");
    let agent = site.agent(&nowhere, "20s");
    agent.pin(1);
    let told = "not known whether old haproxy processes have sessions on it";
    wait_until("it is told", PATIENCE, || agent.event(told).is_some());
    site.wait_for("MAINT");
}

#[test]
fn an_old_worker_without_sessions_on_the_server_does_not_matter() {
    let Some(mut site) = Site::start("http") else { return };
    // It goes on for the sake of s1.
    let _requests = site.keep_busy(&site.s1);
    wait_until("s2 has none", PATIENCE, || {
        let stat = site.haproxy.ask("show stat app 4 -1");
        stat.lines().any(|row| row.starts_with("app,s2,0,0,"))
    });
    site.haproxy.reload();
    let agent = site.agent(KNOWN[0], "1h");
    agent.pin(1);
    site.wait_for("MAINT");
    assert!(agent.journal().iter().all(|entry| entry["event"] != "old_sessions"));
    site.s1.let_go();
}
