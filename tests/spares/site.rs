//! HAProxy, its backend `app`, a pool of servers outside of it, and the agent.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use serde_json::Value;
use tempfile::TempDir;

use super::support::{Agent, Haproxy, NEVER, Origin, PATIENCE, free_port, wait_until};

pub(crate) struct Site {
    pub(crate) haproxy: Haproxy,
    port: u16,
    /// `s1`, which is in HAProxy's configuration.
    pub(crate) first: Origin,
    /// Those that can be brought in.
    pub(crate) pool: Vec<Origin>,
}

impl Site {
    /// A pool of so many; `lines` are those of the backend, in which `{s1}` stands for the address of the first server.
    pub(crate) fn start(pool: usize, lines: &[&str]) -> Option<Self> {
        Self::start_with(pool, &[], lines)
    }

    /// The same, with lines for the `global` section.
    pub(crate) fn start_with(pool: usize, global: &[&str], lines: &[&str]) -> Option<Self> {
        let (port, first) = (free_port(), Origin::start());
        let text = |lines: &[&str]| lines.iter().map(|line| format!("    {line}\n")).collect::<String>();
        let (global, lines) = (text(global), text(lines));
        let lines = lines.replace("{s1}", &format!("127.0.0.1:{}", first.port()));
        let haproxy = Haproxy::start(&format!(
            "global\n    log stdout format raw local0\n{global}\
             defaults\n    log global\n    mode http\n    option httplog\n    timeout connect 60s\n\
             \x20   timeout client 10m\n    timeout server 10m\n    timeout check 60s\n    retries 0\n\
             frontend users\n    bind 127.0.0.1:{port}\n    default_backend app\nbackend app\n{lines}",
        ))?;
        Some(Self { haproxy, port, first, pool: (0..pool).map(|_| Origin::start()).collect() })
    }

    /// The pool's addresses.
    pub(crate) fn addresses(&self) -> Vec<String> {
        self.pool.iter().map(|server| format!("127.0.0.1:{}", server.port())).collect()
    }

    /// Writes a pool file with those of these numbers.
    pub(crate) fn write_pool(&self, numbers: &[usize]) -> PathBuf {
        let file = self.haproxy.dir().join("app.pool");
        let lines: String = numbers.iter().map(|&n| format!("{}\n", self.addresses()[n])).collect();
        fs::write(&file, lines).expect("the folder is ours");
        file
    }

    pub(crate) fn agent(&self, spares: &str) -> Agent {
        self.agent_in(tempfile::Builder::new().prefix("ha").tempdir().expect("a temporary folder"), spares)
    }

    /// One that reaches HAProxy at `socket`.
    pub(crate) fn agent_at(&self, socket: &Path, spares: &str) -> Agent {
        let ours = self.haproxy.socket().display().to_string();
        self.agent_with(&self.config(spares).replace(&ours, &socket.display().to_string()))
    }

    pub(crate) fn agent_with(&self, config: &str) -> Agent {
        let dir = tempfile::Builder::new().prefix("ha").tempdir().expect("a temporary folder");
        self.start_agent(dir, config)
    }

    /// In a folder that an agent before it has left.
    pub(crate) fn agent_in(&self, dir: TempDir, spares: &str) -> Agent {
        self.start_agent(dir, &self.config(spares))
    }

    fn start_agent(&self, dir: TempDir, config: &str) -> Agent {
        let log = self.haproxy.dir().join("output");
        let log = log.to_str().expect("a temporary path is text");
        let agent = Agent::start_in(dir, config, &[log], Stdio::null());
        wait_until("it knows HAProxy", PATIENCE, || agent.backend()["serving"].is_number());
        agent
    }

    /// A quick one.
    pub(crate) fn config(&self, spares: &str) -> String {
        format!(
            "tick: 200ms\nhaproxy: {{ sockets: [{}] }}\nbackends:\n  - name: app\n    target: {{ below: 1s }}\n\
             \x20   policy: threshold\n    window: {{ length: 1s, min_samples: 10 }}\n\
             \x20   scale_up: {{ cooldown: 0s }}\n    scale_down: {{ cooldown: 0s, drain_timeout: 1s }}\n\
             \x20   servers: {{ s1: {{ always_up: true }} }}\n    spares: {{ {spares} }}\n",
            self.haproxy.socket().display()
        )
    }

    /// Each server's state and address, as in `READY 127.0.0.1:8080`.
    pub(crate) fn servers(&self) -> BTreeMap<String, String> {
        self.haproxy.servers("app", |row| format!("{}:{}", row[4], row[18]))
    }

    /// The servers in this state but s1, with their addresses.
    pub(crate) fn in_state(&self, state: &str) -> BTreeMap<String, String> {
        let servers = self.servers().into_iter().filter(|(name, _)| name != "s1");
        servers.filter_map(|(name, is)| Some((name, is.strip_prefix(state)?.trim().to_owned()))).collect()
    }

    /// Waits until so many but s1 are READY, and returns them with their addresses.
    #[track_caller]
    pub(crate) fn wait_for_ready(&self, count: usize) -> BTreeMap<String, String> {
        wait_until(&format!("{count} of the pool are READY"), PATIENCE, || {
            self.in_state("READY").len() == count
        });
        self.in_state("READY")
    }

    #[track_caller]
    pub(crate) fn wait_until_is(&self, server: &str, is: &str) {
        wait_until(&format!("{server} is {is}"), PATIENCE, || {
            self.servers().get(server).is_some_and(|it| it == is)
        });
    }

    /// A request; its answer's status.
    pub(crate) fn get(&self) -> String {
        get(self.port)
    }

    /// The whole answer to a request with these header lines.
    pub(crate) fn ask(&self, header: &str) -> String {
        ask(self.port, header).expect("HAProxy answers")
    }

    /// So many requests, each of which has to be answered well.
    pub(crate) fn all_answered(&self, count: usize) {
        for _ in 0..count {
            assert_eq!(self.get(), "200");
        }
    }

    /// A request that is under way until `server` lets it go.
    pub(crate) fn keep_busy(&self, server: &Origin) {
        server.set_delay(NEVER);
        let (port, before) = (self.port, server.requests());
        // Round robin: one of these gets there.
        wait_until("a request is with it", PATIENCE, || {
            thread::spawn(move || get(port));
            server.requests() > before
        });
    }
}

/// The whole answer to a request with these header lines.
fn ask(port: u16, header: &str) -> std::io::Result<String> {
    let mut answer = String::new();
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    write!(stream, "GET / HTTP/1.1\r\nHost: users\r\nConnection: close\r\n{header}\r\n")?;
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn get(port: u16) -> String {
    match ask(port, "") {
        Ok(answer) => answer.split(' ').nth(1).unwrap_or_default().to_owned(),
        Err(error) => error.to_string(),
    }
}

/// What `check` prints for the site with these spares.
pub(crate) fn checked(site: &Site, spares: &str) -> String {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let config = dir.path().join("config.yaml");
    let own = format!("state_dir: {0}\nruntime_dir: {0}\n", dir.path().display());
    fs::write(&config, own + &site.config(spares)).expect("the folder is ours");
    let output = Command::new(env!("CARGO_BIN_EXE_haproxy-autoscale"))
        .args(["check", "--config"])
        .arg(&config)
        .output();
    String::from_utf8_lossy(&output.expect("the binary was built for this test").stdout).into_owned()
}

/// The pool as a list in the config.
pub(crate) fn list(addresses: &[String]) -> String {
    format!("pool: [{}]", addresses.join(", "))
}

/// Waits until the agent has seen these serve with a check that passes: others are replaced by nobody.
#[track_caller]
pub(crate) fn sees_well(agent: &Agent, servers: &BTreeMap<String, String>) {
    wait_until("their checks were seen to pass", PATIENCE, || {
        let all = agent.backend()["servers"].as_array().cloned().unwrap_or_default();
        let is_well = |it: &&Value| it["state"] == "READY" && it["check_passed"] == true;
        let well = all.iter().filter(is_well).filter_map(|it| it["server"].as_str());
        well.filter(|name| servers.contains_key(*name)).count() == servers.len()
    });
}
