//! Clients that are kept on their servers, by a cookie or a stick-table, and what a drain does about them; on a real HAProxy.

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use serde_json::Value;
use support::{Agent, Haproxy, Origin, PATIENCE, free_port, wait_until};

/// HAProxys before the servers s1 and s2 of the backend `app`.
struct Site {
    nodes: Vec<(Haproxy, u16)>,
    servers: [Origin; 2],
}

/// A cookie for each server.
const COOKIE: [&str; 3] = ["cookie SRV insert indirect nocache", "cookie a", "cookie b"];

/// What a client of s2 sends then.
const WITH_COOKIE: &str = "Cookie: SRV=b";

/// Users who name themselves stay where they were first.
const TABLE: &str = "stick-table type string len 32 size 1k expire 1h\n    stick on hdr(x-user)";

/// The name of one who was first on s2.
const WITH_NAME: &str = "X-User: ann";

impl Site {
    /// One HAProxy, with these lines in the backend, and these words on the servers' lines, and with more sections.
    fn start([lines, s1, s2]: [&str; 3], sections: &str) -> Option<Self> {
        Self::start_many(1, [lines, s1, s2], sections)
    }

    fn start_many(many: usize, [lines, s1, s2]: [&str; 3], sections: &str) -> Option<Self> {
        let servers = [Origin::start(), Origin::start()];
        let ports = servers.each_ref().map(Origin::port);
        let node = |_| {
            let port = free_port();
            let haproxy = Haproxy::start(&format!(
                "frontend users\n    bind 127.0.0.1:{port}\n    default_backend app\n\
                 backend app\n    balance roundrobin\n    {lines}\n\
                 \x20   server s1 127.0.0.1:{} {s1}\n    server s2 127.0.0.1:{} {s2}\n{}",
                ports[0],
                ports[1],
                sections.replace("{s2}", &format!("127.0.0.1:{}", ports[1]))
            ))?;
            Some((haproxy, port))
        };
        Some(Self { nodes: (0..many).map(node).collect::<Option<_>>()?, servers })
    }

    /// The agent, quick, that may take s2 away.
    fn agent(&self, scale_down: &str) -> Agent {
        let sockets: Vec<_> =
            self.nodes.iter().map(|(node, _)| node.socket().display().to_string()).collect();
        let config = format!(
            "tick: 100ms\nhaproxy: {{ sockets: [{}] }}\nbackends:\n  - name: app\n    target: {{ below: 250ms }}\n\
             \x20   policy: threshold\n    servers: {{ s1: {{ always_up: true }} }}\n    scale_up: {{ cooldown: 0s }}\n\
             \x20   scale_down: {{ idle_after: 1h, cooldown: 0s, {scale_down} }}\n",
            sockets.join(", ")
        );
        let log = self.nodes[0].0.dir().join("output");
        let agent = Agent::start(&config, &[log.to_str().expect("a temporary path is text")]);
        wait_until("it knows HAProxy", PATIENCE, || agent.server("s2")["state"] == "READY");
        agent
    }

    /// Which server answers a request with this header.
    #[track_caller]
    fn server_of(&self, header: &str) -> usize {
        self.server_on(0, header)
    }

    #[track_caller]
    fn server_on(&self, node: usize, header: &str) -> usize {
        let before = self.servers.each_ref().map(Origin::requests);
        let mut stream = TcpStream::connect(("127.0.0.1", self.nodes[node].1)).expect("HAProxy listens");
        write!(stream, "GET / HTTP/1.1\r\nHost: x\r\n{header}\r\nConnection: close\r\n\r\n")
            .expect("it reads");
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        assert!(answer.starts_with("HTTP/1.1 200"), "{header}: {answer:?}");
        let got = |n: &usize| self.servers[n - 1].requests() > before[n - 1];
        (1..=2).find(got).expect("it was one of them")
    }

    /// Has the user who is named in `header` begin on s2.
    #[track_caller]
    fn begin_on_s2(&self, node: usize, header: &str) {
        let forget = |name: &str| self.nodes[node].0.ask(&format!("clear table {name}"));
        wait_until("the user has come to s2", PATIENCE, || {
            self.server_on(node, header) == 2 || {
                forget("app");
                forget("table");
                false
            }
        });
        assert_eq!(self.server_on(node, header), 2, "it sticks");
    }

    fn state(&self, node: usize) -> String {
        let mut servers = self.nodes[node].0.servers("app", |_| String::new());
        servers.remove("s2").expect("it is there").trim().to_owned()
    }

    #[track_caller]
    fn wait_for(&self, state: &str) {
        wait_until(&format!("s2 is in {state}"), PATIENCE, || {
            (0..self.nodes.len()).all(|node| self.state(node) == state)
        });
    }

    /// While s2 is in DRAIN, `client` comes to it, and nobody new does.
    #[track_caller]
    fn keeps(&self, client: &str) {
        for _ in 0..4 {
            assert_eq!(self.server_of(client), 2, "it stays");
            assert_eq!(self.server_of("X-User: new"), 1, "nobody new gets there");
            assert_eq!(self.state(0), "DRAIN");
            thread::sleep(Duration::from_millis(300));
        }
    }
}

#[track_caller]
fn is_told(agent: &Agent, by: &str) {
    let words = format!("clients stick to it ({by}); MAINT in ");
    let has = |value: &Value| value.as_str().is_some_and(|text| text.contains(&words));
    wait_until("it is told", PATIENCE, || has(&agent.server("s2")["doing"]));
    let entry = agent.journal().into_iter().find(|entry| entry["event"] == "clients_stick");
    assert!(entry.is_some_and(|entry| has(&entry["reason"]) && entry["server"] == "s2"));
    let explained = agent.command(&["explain", "app"]).stdout;
    assert!(String::from_utf8_lossy(&explained).contains(&format!("s2 is in DRAIN: {words}")));
}

#[test]
fn a_client_with_a_cookie_stays_until_the_deadline() {
    let Some(site) = Site::start(COOKIE, "") else { return };
    let agent = site.agent("drain_timeout: 20s");
    assert_eq!(site.server_of(WITH_COOKIE), 2);
    agent.pin(1);
    site.wait_for("DRAIN");
    site.keeps(WITH_COOKIE);
    is_told(&agent, "cookie SRV");
    wait_until("the deadline", PATIENCE, || {
        thread::sleep(Duration::from_millis(300));
        site.server_of(WITH_COOKIE) == 1
    });
    site.wait_for("MAINT");
}

#[test]
fn once_nobody_comes_with_a_cookie_the_server_goes_before_the_deadline() {
    let Some(site) = Site::start(COOKIE, "") else { return };
    let agent = site.agent("drain_timeout: 1h, sticky_quiet: 15s");
    agent.pin(1);
    site.wait_for("DRAIN");
    site.keeps(WITH_COOKIE);
    site.wait_for("MAINT");
}

#[test]
fn a_user_in_a_stick_table_stays_until_it_has_no_entry_any_more() {
    let elsewhere = "stick on hdr(x-user) table table";
    let users = "backend table\n    stick-table type string len 32 size 1k expire 1h\n";
    for (lines, sections, table) in [(TABLE, "", "app"), (elsewhere, users, "table")] {
        let Some(site) = Site::start([lines, "", ""], sections) else { return };
        site.begin_on_s2(0, WITH_NAME);
        let agent = site.agent("drain_timeout: 1h");
        agent.pin(1);
        site.wait_for("DRAIN");
        site.keeps(WITH_NAME);
        is_told(&agent, &format!("stick-table {table}"));
        site.nodes[0].0.ask(&format!("clear table {table}"));
        site.wait_for("MAINT");
        assert_eq!(site.server_of(WITH_NAME), 1);
    }
}

#[test]
fn a_user_in_a_stick_table_goes_at_the_deadline() {
    let Some(site) = Site::start([TABLE, "", ""], "") else { return };
    site.begin_on_s2(0, WITH_NAME);
    let agent = site.agent("drain_timeout: 20s");
    agent.pin(1);
    site.wait_for("DRAIN");
    site.keeps(WITH_NAME);
    site.wait_for("MAINT");
    assert_eq!(site.server_of(WITH_NAME), 1, "HAProxy sends it elsewhere");
}

#[test]
fn a_server_that_nobody_sticks_to_leaves_at_once() {
    let [cookie, s1, _] = COOKIE;
    // Another backend's users are on a server of that name.
    let other = format!("listen other\n    bind 127.0.0.1:{{other}}\n    {TABLE}\n    server s2 {{s2}}\n");
    let counting = "stick-table type string len 32 size 1k expire 1h store http_req_cnt\n    \
                    http-request track-sc0 hdr(x-user)";
    for (lines, sections) in
        [([TABLE, "", ""], ""), ([cookie, s1, ""], ""), ([counting, "", ""], ""), (["", "", ""], &*other)]
    {
        let port = free_port();
        let Some(site) = Site::start(lines, &sections.replace("{other}", &port.to_string())) else { return };
        if !sections.is_empty() {
            support::request(port, 0..1);
            let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("HAProxy listens");
            write!(stream, "GET / HTTP/1.1\r\nHost: x\r\n{WITH_NAME}\r\nConnection: close\r\n\r\n")
                .expect("it reads");
            let _ = stream.read_to_string(&mut String::new());
            assert!(site.nodes[0].0.ask("show table other").contains("ann"));
        }
        let agent = site.agent("drain_timeout: 1h");
        agent.pin(1);
        site.wait_for("MAINT");
        assert!(
            agent.journal().iter().all(|entry| entry["event"] != "clients_stick"),
            "{lines:?} {sections}"
        );
    }
}

#[test]
fn a_drain_that_waits_for_clients_is_taken_back_at_once() {
    let Some(site) = Site::start(COOKIE, "") else { return };
    let agent = site.agent("drain_timeout: 1h");
    agent.pin(1);
    site.wait_for("DRAIN");
    is_told(&agent, "cookie SRV");
    agent.pin(2);
    site.wait_for("READY");
    wait_until("it is told no more", PATIENCE, || agent.server("s2").get("doing") == Some(&Value::Null));
}

#[test]
fn clients_of_any_of_several_haproxys_are_waited_for() {
    let Some(site) = Site::start_many(2, [TABLE, "", ""], "") else { return };
    site.begin_on_s2(1, WITH_NAME);
    let agent = site.agent("drain_timeout: 1h");
    agent.pin(1);
    site.wait_for("DRAIN");
    is_told(&agent, "stick-table app");
    assert_eq!(site.server_on(1, WITH_NAME), 2);
    site.nodes[1].0.ask("clear table app");
    site.wait_for("MAINT");
}

/// The machine of s2, which has a client of its own, is down when the agent starts it: the client notices nothing.
#[track_caller]
fn keeps_from_a_dead_one(check: &str) {
    let [cookie, s1, s2] = COOKIE;
    // HAProxy lets a client wait for a second and more when it finds nobody.
    let lines = format!("{cookie}\n    timeout connect 1s");
    let Some(mut site) = Site::start([&lines, s1, &format!("{s2} {check}")], "") else { return };
    let agent = site.agent("drain_timeout: 0s");
    agent.pin(1);
    site.wait_for("MAINT");
    let port = site.servers[1].port();
    // It listens no more.
    site.servers[1] = Origin::start();
    agent.pin(2);
    wait_until("it is being started", PATIENCE, || agent.server("s2")["doing"].is_string());
    for _ in 0..50 {
        assert_eq!(site.server_of(WITH_COOKIE), 1);
        thread::sleep(Duration::from_millis(20));
    }
    assert_ne!(site.state(0), "READY");
    site.servers[1] = Origin::start_on(port);
    site.wait_for("READY");
    assert_eq!(site.server_of(WITH_COOKIE), 2);
}

#[test]
fn nobody_is_sent_to_a_server_that_has_not_passed_its_check() {
    keeps_from_a_dead_one("check inter 500ms rise 2 fall 4");
}

#[test]
fn nobody_is_sent_to_a_server_without_a_check_that_takes_no_connection() {
    keeps_from_a_dead_one("");
}

#[test]
fn clients_of_a_haproxy_that_comes_back_in_the_middle_of_a_drain_are_waited_for() {
    let Some(mut site) = Site::start_many(2, [TABLE, "", ""], "") else { return };
    site.begin_on_s2(0, WITH_NAME);
    let agent = site.agent("drain_timeout: 1h");
    agent.pin(1);
    site.wait_for("DRAIN");
    agent.suspended(|| {
        site.nodes[1].0.kill();
        site.nodes[1].0.start_again();
        site.begin_on_s2(1, WITH_NAME);
    });
    site.wait_for("DRAIN");
    site.nodes[0].0.ask("clear table app");
    for _ in 0..8 {
        assert_eq!(site.server_on(1, WITH_NAME), 2, "it stays");
        assert_eq!((site.state(0), site.state(1)), ("DRAIN".to_owned(), "DRAIN".to_owned()));
        thread::sleep(Duration::from_millis(500));
    }
    site.nodes[1].0.ask("clear table app");
    site.wait_for("MAINT");
}
