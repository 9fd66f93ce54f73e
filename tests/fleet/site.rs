//! Two HAProxys before the same servers, and the agent.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Stdio;
use std::thread;

use tempfile::TempDir;

use super::support::{Agent, Haproxy, NEVER, Origin, PATIENCE, free_port, wait_until};

/// Two HAProxys before the same servers s1, s2, ...
pub(crate) struct Site {
    pub(crate) nodes: Vec<Node>,
    pub(crate) servers: Vec<Origin>,
}

pub(crate) struct Node {
    pub(crate) haproxy: Haproxy,
    pub(crate) port: u16,
    /// As the agent's config names it.
    pub(crate) socket: String,
}

impl Site {
    /// A plain HAProxy and a master, with one server for each of `keywords`, which end its line.
    pub(crate) fn start(keywords: &[&str]) -> Option<Self> {
        Self::start_each(&[keywords, keywords])
    }

    /// Each with servers of its own.
    pub(crate) fn start_each(keywords: &[&[&str]; 2]) -> Option<Self> {
        let most = keywords.iter().map(|each| each.len()).max().unwrap_or(0);
        let servers: Vec<Origin> = (0..most).map(|_| Origin::start()).collect();
        let config = |node: usize, port| config(port, keywords[node], &servers);
        let nodes = Self::nodes(config)?;
        Some(Self { nodes, servers })
    }

    /// A plain HAProxy and a master, with the lines of the backend `app` for both, in which `{s1}` stands for the address
    /// of the first server.
    pub(crate) fn start_with(lines: &[&str]) -> Option<Self> {
        let first = Origin::start();
        let lines: String = lines.iter().map(|line| format!("    {line}\n")).collect();
        let lines = lines.replace("{s1}", &format!("127.0.0.1:{}", first.port()));
        let nodes = Self::nodes(|_, port| sections(port, &lines))?;
        Some(Self { nodes, servers: vec![first] })
    }

    fn nodes(config: impl Fn(usize, u16) -> String) -> Option<Vec<Node>> {
        let mut nodes = Vec::new();
        for (node, is_master) in [false, true].into_iter().enumerate() {
            let port = free_port();
            let config = config(node, port);
            let haproxy = match is_master {
                true => Haproxy::start_with_master(&config)?,
                false => Haproxy::start(&config)?,
            };
            let socket: PathBuf = if is_master { haproxy.master_socket() } else { haproxy.socket() };
            let prefix = if is_master { "master:" } else { "" };
            let socket = format!("{prefix}{}", socket.display());
            nodes.push(Node { haproxy, port, socket });
        }
        Some(nodes)
    }

    /// The agent on them, quick, with more `keys` of its backend.
    pub(crate) fn agent(&self, keys: &str) -> Agent {
        let dir = tempfile::Builder::new().prefix("ha").tempdir().expect("a temporary folder");
        let agent = self.agent_in(dir, keys);
        wait_until("all of them are in line", PATIENCE, || {
            (0..2).all(|node| stands(&agent, node) == "in line")
        });
        agent
    }

    /// In a folder that an agent before it has left.
    pub(crate) fn agent_in(&self, dir: TempDir, keys: &str) -> Agent {
        let logs: Vec<String> =
            self.nodes.iter().map(|node| node.haproxy.dir().join("output").display().to_string()).collect();
        let logs: Vec<&str> = logs.iter().map(String::as_str).collect();
        Agent::start_in(dir, &self.config(keys), &logs, Stdio::null())
    }

    pub(crate) fn config(&self, keys: &str) -> String {
        let sockets: Vec<&str> = self.nodes.iter().map(|node| node.socket.as_str()).collect();
        let keys = keys.lines().map(|line| format!("    {}\n", line.trim())).collect::<String>();
        format!(
            "tick: 200ms\nhaproxy: {{ sockets: [{}] }}\nbackends:\n  - name: app\n\
             \x20   target: {{ below: 250ms }}\n    policy: threshold\n    window: {{ length: 1s, min_samples: 10 }}\n\
             \x20   scale_up: {{ cooldown: 0s }}\n\
             \x20   scale_down: {{ cooldown: 0s, drain_timeout: 10m, idle_after: 1h }}\n{keys}",
            sockets.join(", ")
        )
    }

    #[track_caller]
    pub(crate) fn wait_for(&self, server: &str, state: &str) {
        for node in &self.nodes {
            node.wait_for(server, state);
        }
    }
}

pub(crate) fn config(port: u16, keywords: &[&str], servers: &[Origin]) -> String {
    let lines = (1..).zip(servers).zip(keywords).map(|((n, server), keywords)| {
        format!(
            "    use-server s{n} if {{ path /s{n} }}\n    server s{n} 127.0.0.1:{} {keywords}\n",
            server.port()
        )
    });
    sections(port, &format!("    balance roundrobin\n{}", lines.collect::<String>()))
}

/// The whole configuration, with the `lines` of its backend.
fn sections(port: u16, lines: &str) -> String {
    format!(
        "global\n    log stdout format raw local0\n    stats socket {{dir}}/operator.sock mode 600 level operator\n\
         defaults\n    log global\n    mode http\n    option httplog\n    timeout connect 60s\n\
         \x20   timeout client 10m\n    timeout server 10m\n    timeout check 60s\n\
         frontend users\n    bind 127.0.0.1:{port}\n    default_backend app\n\
         backend app\n{lines}"
    )
}

impl Node {
    /// Each server's state and weight, as in `READY 1`.
    pub(crate) fn servers(&self) -> BTreeMap<String, String> {
        self.haproxy.servers("app", |row| row[7].to_owned())
    }

    /// Each server's state and address, as in `READY 127.0.0.1:8080`.
    pub(crate) fn places(&self) -> BTreeMap<String, String> {
        self.haproxy.servers("app", |row| format!("{}:{}", row[4], row[18]))
    }

    pub(crate) fn is(&self, server: &str, state: &str) -> bool {
        self.servers().get(server).is_some_and(|found| found == state)
    }

    #[track_caller]
    pub(crate) fn wait_for(&self, server: &str, state: &str) {
        wait_until(&format!("{server} is {state} at {}", self.socket), PATIENCE, || self.is(server, state));
    }

    /// A request to s2 that is answered when it is let go.
    pub(crate) fn keep_busy(&self, s2: &Origin) {
        s2.set_delay(NEVER);
        let (port, before) = (self.port, s2.requests());
        thread::spawn(move || {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("HAProxy listens");
            let _ = stream.write_all(b"GET /s2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
            let _ = stream.read_to_string(&mut String::new());
        });
        wait_until("the request is with its server", PATIENCE, || s2.requests() > before);
    }

    /// Requests that s2 has now.
    pub(crate) fn sessions(&self) -> u32 {
        let stat = self.haproxy.ask("show stat -1 4 -1");
        let row = stat.lines().find(|line| line.starts_with("app,s2,")).expect("it has an s2");
        row.split(',').nth(4).expect("scur").parse().expect("a number")
    }
}

/// How `node` stands, as `status` says.
pub(crate) fn stands(agent: &Agent, node: usize) -> String {
    let status = agent.status().unwrap_or_default();
    status["haproxy"]["nodes"][node]["standing"].as_str().unwrap_or_default().to_owned()
}

pub(crate) const ABSENT: &str = "this haproxy does not answer; the others go on";
pub(crate) const BEHIND: &str = "this haproxy is brought in line with the others";

/// How many events have this message.
pub(crate) fn count(agent: &Agent, message: &str) -> usize {
    agent.events().iter().filter(|event| event["message"] == message).count()
}

/// How often one of them did not answer: on a machine that stands still, also without being killed.
pub(crate) fn absences(agent: &Agent) -> usize {
    count(agent, ABSENT)
}
