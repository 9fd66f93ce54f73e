//! Server lines that HAProxy takes and few have: unix sockets, ports that are an offset, options that HAProxy does not show; on a
//! real HAProxy.

mod support;

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use serde_json::{Value, json};
use support::{Agent, Haproxy, Origin, PATIENCE, free_port, wait_until};

/// HAProxy, with a backend `app`: a server s1 that serves, a spare s2, and more.
struct Site {
    haproxy: Haproxy,
    _servers: [Origin; 2],
}

impl Site {
    /// These lines come next; in them `{dir}` is HAProxy's folder.
    fn start(lines: &str) -> Option<Self> {
        let servers = [Origin::start(), Origin::start()];
        let ports = servers.each_ref().map(Origin::port);
        let haproxy = Haproxy::start(&format!(
            "backend app\n    server s1 127.0.0.1:{}\n    server s2 127.0.0.1:{} disabled\n{lines}",
            ports[0], ports[1]
        ))?;
        Some(Self { haproxy, _servers: servers })
    }

    fn agent(&self) -> Agent {
        self.agent_at(&self.haproxy.socket())
    }

    /// One that asks HAProxy at `socket`.
    fn agent_at(&self, socket: &Path) -> Agent {
        self.agent_with(&format!("haproxy: {{ sockets: [{}] }}\n", socket.display()), "")
    }

    /// One with these lines in its config, and these keys of the backend.
    fn agent_with(&self, lines: &str, keys: &str) -> Agent {
        let config = format!(
            "tick: 100ms\n{lines}backends:\n  - name: app\n    target: {{ below: 250ms }}\n    policy: threshold\n{keys}"
        );
        let log = self.haproxy.dir().join("output");
        let agent = Agent::start(&config, &[log.to_str().expect("a temporary path is text")]);
        wait_until("it knows HAProxy", PATIENCE, || server(&agent, "s1")["role"] == "serving");
        agent
    }

    fn is(&self, server: &str, state: &str) -> bool {
        self.haproxy.servers("app", |_| String::new())[server].trim_end() == state
    }
}

/// What the agent knows of the backend.
fn backend(agent: &Agent) -> Value {
    agent.status().map(|status| status["backends"][0].clone()).unwrap_or_default()
}

fn server(agent: &Agent, server: &str) -> Value {
    let backend = backend(agent);
    let mut servers = backend["servers"].as_array().into_iter().flatten();
    servers.find(|one| one["server"] == server).cloned().unwrap_or_default()
}

/// What `check` prints.
fn check(agent: &Agent) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_haproxy-autoscale"));
    let output = command.args(["check", "--config"]).arg(agent.config()).output();
    String::from_utf8_lossy(&output.expect("it was built for this test").stdout).into_owned()
}

/// Listens at `socket`, and answers what HAProxy at `to` answers, with `damaged` done to each line of it. A prompt
/// is a line that has not ended: it comes with the next answer.
fn pass_on(socket: &Path, to: PathBuf, damaged: fn(&str) -> String) {
    let listener = UnixListener::bind(socket).expect("the folder is ours");
    thread::spawn(move || {
        for agent in listener.incoming() {
            let to = to.clone();
            // Who has gone away needs no answer.
            thread::spawn(move || -> io::Result<()> {
                let (agent, mut haproxy) = (agent?, UnixStream::connect(to)?);
                let (mut asked, mut theirs) = (agent.try_clone()?, haproxy.try_clone()?);
                thread::spawn(move || {
                    let _ = io::copy(&mut asked, &mut haproxy);
                    let _ = haproxy.shutdown(Shutdown::Write);
                });
                let mut answer = BufReader::new(&mut theirs);
                let (mut line, mut agent) = (String::new(), &agent);
                while answer.read_line(&mut line)? > 0 {
                    agent.write_all(damaged(&line).as_bytes())?;
                    line.clear();
                }
                agent.shutdown(Shutdown::Both)
            });
        }
    });
}

/// Answers whoever connects to `socket` that all is well.
fn answer_at(socket: &Path) {
    let listener = UnixListener::bind(socket).expect("the folder is ours");
    thread::spawn(move || {
        for asked in listener.incoming() {
            // Who has gone away needs no answer.
            let _ = asked.and_then(|mut asked| {
                let _ = asked.read(&mut [0; 1024])?;
                asked.write_all(b"HTTP/1.0 200 OK\r\n\r\n")
            });
        }
    });
}

#[test]
fn a_port_that_is_an_offset_costs_nobody_anything() {
    let lines =
        "    server offset 127.0.0.1:-1000 check port 1\nbackend other\n    server m 127.0.0.1:-1000\n";
    let Some(site) = Site::start(lines) else { return };
    let agent = site.agent();
    assert!(agent.command(&["pin", "app", "2"]).status.success());
    wait_until("s2 serves", PATIENCE, || site.is("s2", "READY"));
    assert_eq!(backend(&agent)["left_out"], json!([]));
}

#[test]
fn a_row_that_cannot_be_read_costs_its_server_and_not_the_haproxy() {
    let lines = "    server odd 127.0.0.1:7 disabled\nbackend other\n    server odd 127.0.0.1:7\n";
    let Some(site) = Site::start(lines) else { return };
    let socket = site.haproxy.dir().join("between.sock");
    pass_on(&socket, site.haproxy.socket(), |line| {
        // `srv_port` of `show servers state`, which HAProxy 2.2 has near the line's end, `qcur` of `show stat`.
        line.replace(" - 7 -", " - 70000 -").replace("other,odd,0,", "other,odd,x,")
    });
    let agent = site.agent_at(&socket);
    assert!(agent.command(&["pin", "app", "3"]).status.success());
    let told = |what: &str| agent.events().iter().any(|event| event["message"] == what);
    wait_until("s2 serves", PATIENCE, || told("server serves") || told("step failed"));
    assert!(!told("step failed") && site.is("s2", "READY"));
    assert!(site.is("odd", "MAINT"));
    const WHY: &str = "of `show servers state` is not a port: `70000`";
    let left_out = backend(&agent)["left_out"][0].to_string();
    assert!(left_out.starts_with("\"odd: `srv_port` in row ") && left_out.contains(WHY), "{left_out}");
    let told: Vec<Value> = agent
        .events()
        .into_iter()
        .filter(|event| !event["left_out"].is_null())
        .map(|it| it["backend"].clone())
        .collect();
    assert_eq!(told, ["app", "other"], "once each");
    let text = agent.command(&["status"]);
    for text in [String::from_utf8_lossy(&text.stdout).into_owned(), check(&agent)] {
        assert!(text.contains("left out, odd: ") && text.contains(WHY), "{text}");
    }
}

#[test]
fn a_spare_on_a_unix_socket_serves_if_its_check_says_so_and_never_without_one() {
    // A check that only connects to a unix socket lasts as long as `timeout check` (HAProxy 2.2.9).
    let lines = "    option httpchk\n    server open unix@{dir}/open.sock\n    server bare unix@{dir}/bare.sock disabled\n\
                 \x20   server checked unix@{dir}/checked.sock check inter 100ms disabled\n";
    let Some(site) = Site::start(lines) else { return };
    answer_at(&site.haproxy.dir().join("checked.sock"));
    let agent = site.agent();
    assert!(agent.command(&["pin", "app", "5"]).status.success());
    for spare in ["s2", "checked"] {
        wait_until(&format!("{spare} serves"), PATIENCE, || site.is(spare, "READY"));
    }
    wait_until("it has no more", PATIENCE, || {
        backend(&agent)["reason"].to_string().contains("none is left to add")
    });
    assert!(site.is("bare", "MAINT"));
    assert_eq!(
        (&server(&agent, "bare")["role"], &server(&agent, "open")["role"]),
        (&"foreign".into(), &"kept".into())
    );
    let told = check(&agent);
    let line = told.lines().find(|line| line.contains("no spares, and never taken away")).unwrap_or(&told);
    assert!(line.ends_with(": open, bare"), "{line}");
    assert!(!told.contains("server-template"), "{told}");
}

#[test]
fn what_haproxy_does_not_show_of_a_server_is_read_in_its_configuration() {
    let (port, origin) = (free_port(), Origin::start());
    let lines = format!(
        "    default-server on-marked-down shutdown-sessions\n\
         \x20   server s3 127.0.0.1:{port} send-proxy on-marked-up shutdown-backup-sessions disabled\n\
         listen proxied\n    bind 127.0.0.1:{port} accept-proxy\n    server s 127.0.0.1:{}\n",
        origin.port()
    );
    let Some(site) = Site::start(&lines) else { return };
    let (socket, config) = (site.haproxy.socket(), site.haproxy.dir().join("haproxy.cfg"));
    let haproxy = format!("haproxy: {{ sockets: [{}], config: {} }}\n", socket.display(), config.display());
    let agent = site.agent_with(&haproxy, "    warm_up: { path: /, requests: 1 }\n");
    assert!(agent.command(&["pin", "app", "3"]).status.success());
    wait_until("s3 serves", PATIENCE, || site.is("s3", "READY"));
    assert!(origin.requests() > 0, "it was warmed up");
    let told = check(&agent);
    for found in [
        "MAINT closes the sessions of s3 (`on-marked-down shutdown-sessions`): it stays in DRAIN until it has none",
        "when s3 starts, HAProxy closes the sessions of backup servers",
        "warm-up requests to s3 begin with the header of the PROXY protocol",
    ] {
        assert!(told.contains(found), "{told}");
    }
}
