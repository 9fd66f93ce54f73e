//! Server lines that HAProxy takes and few have: unix sockets, and ports that are an offset; on a real HAProxy.

mod support;

use std::os::unix::net::UnixListener;
use std::process::Command;

use serde_json::Value;
use support::{Agent, Haproxy, Origin, PATIENCE, wait_until};

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
        let config = format!(
            "tick: 100ms\nhaproxy: {{ sockets: [{}] }}\nbackends:\n  - name: app\n    target: {{ below: 250ms }}\n\
             \x20   policy: threshold\n",
            self.haproxy.socket().display()
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

#[test]
fn a_spare_on_a_unix_socket_serves_if_its_check_says_so_and_never_without_one() {
    let lines = "    server open unix@{dir}/open.sock\n    server bare unix@{dir}/bare.sock disabled\n\
                 \x20   server checked unix@{dir}/checked.sock check inter 100ms disabled\n";
    let Some(site) = Site::start(lines) else { return };
    let _listens = UnixListener::bind(site.haproxy.dir().join("checked.sock")).expect("the folder is ours");
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
