//! A HAProxy with its configuration in a folder, the agent, and what it tells.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::support::haproxy::{await_handover, standing};
use super::support::{self, Agent, Origin, PATIENCE, ask, free_port, wait_until};

/// How HAProxy is run.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum As {
    /// A master, its CLI and a worker.
    Master,
    /// One process in the background, and a pid file.
    Daemon,
}

/// HAProxy with its configuration in a folder, and its servers s1, s2 and s3.
pub(crate) struct Site {
    pub(crate) dir: TempDir,
    pub(crate) program: PathBuf,
    pub(crate) run: As,
    pub(crate) master: Option<Child>,
    pub(crate) port: u16,
    /// Where the agent serves its own.
    pub(crate) metrics: u16,
    pub(crate) servers: Vec<Origin>,
    /// More of the backend in the agent's config.
    pub(crate) keys: String,
}

impl Site {
    /// With s1 READY and two spares. `{dir}` in `global` and `defaults` stands for the folder.
    pub(crate) fn start(run: As, global: &str, defaults: &str) -> Option<Self> {
        let mut site = Self::stopped(run, global, defaults)?;
        site.launch();
        Some(site)
    }

    /// Not yet running.
    pub(crate) fn stopped(run: As, global: &str, defaults: &str) -> Option<Self> {
        let program = support::Haproxy::program()?;
        let dir = tempfile::Builder::new().prefix("hl").tempdir().expect("a temporary folder");
        let servers = (0..3).map(|_| Origin::start()).collect();
        let (master, port, metrics, keys) = (None, free_port(), free_port(), String::new());
        let site = Self { dir, program, run, master, port, metrics, servers, keys };
        fs::write(site.cfg(), site.text(global, defaults, &site.lines())).unwrap();
        Some(site)
    }

    /// With a master, s1, which always serves, and in the block what stands in `lines`. The other servers are the pool of
    /// these spares.
    pub(crate) fn with_pool(lines: &str, spares: &str, (global, defaults): (&str, &str)) -> Option<Self> {
        let mut site = Self::stopped(As::Master, global, defaults)?;
        let ports: Vec<u16> = site.servers.iter().map(Origin::port).collect();
        let block = format!(
            "    # BEGIN haproxy-autoscale app\n    server s1 127.0.0.1:{} weight 10\n{lines}    # END haproxy-autoscale app\n",
            ports[0]
        );
        fs::write(site.cfg(), site.text(global, defaults, &block)).unwrap();
        site.keys = format!(
            "    servers: {{ s1: {{ always_up: true }} }}\n    spares: {{ {spares}, pool: ['127.0.0.1:{}', '127.0.0.1:{}'] }}\n",
            ports[1], ports[2]
        );
        site.launch();
        Some(site)
    }

    /// Another one before the same servers, which it reaches at 127.0.0.2.
    pub(crate) fn twin(&self, run: As) -> Self {
        let dir = tempfile::Builder::new().prefix("hl").tempdir().expect("a temporary folder");
        let (program, port, keys) = (self.program.clone(), free_port(), self.keys.clone());
        let text = self
            .cfg_text()
            .replace(&format!("bind 127.0.0.1:{}", self.port), &format!("bind 127.0.0.1:{port}"));
        let text = text.replace(&self.dir.path().display().to_string(), &dir.path().display().to_string());
        let elsewhere = |text: String, server: &Origin| {
            text.replace(&format!("127.0.0.1:{}", server.port()), &format!("127.0.0.2:{}", server.port()))
        };
        let text = self.servers.iter().fold(text, elsewhere);
        fs::write(dir.path().join("haproxy.cfg"), text).unwrap();
        let mut site =
            Self { dir, program, run, master: None, port, metrics: self.metrics, servers: Vec::new(), keys };
        site.launch();
        site
    }

    pub(crate) fn text(&self, global: &str, defaults: &str, servers: &str) -> String {
        let text = format!(
            "global\n    stats socket {{dir}}/admin.sock mode 600 level admin expose-fd listeners\n{global}\
             defaults\n    mode http\n    timeout connect 60s\n    timeout client 10m\n    timeout server 10m\n\
             \x20   timeout check 60s\n{defaults}\
             frontend users\n    bind 127.0.0.1:{}\n    default_backend app\n\
             backend app\n    balance roundrobin\n{servers}",
            self.port
        );
        text.replace("{dir}", &self.dir.path().display().to_string())
    }

    pub(crate) fn lines(&self) -> String {
        let ports: Vec<u16> = self.servers.iter().map(Origin::port).collect();
        format!(
            "    # BEGIN haproxy-autoscale app\n    server s1 127.0.0.1:{} weight 10 # the first\n\
             \x20   server s2 127.0.0.1:{} weight 10 disabled\n    server s3 127.0.0.1:{} weight 10 disabled\n\
             \x20   # END haproxy-autoscale app\n",
            ports[0], ports[1], ports[2]
        )
    }

    pub(crate) fn template(&self, more: &str) {
        self.template_of(&format!("    {{{{ servers }}}}\n{more}"));
    }

    /// With these lines for the servers.
    pub(crate) fn template_of(&self, servers: &str) {
        let text = self.text("", "", servers);
        fs::write(self.path("haproxy.cfg.template"), text).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn cfg(&self) -> PathBuf {
        self.path("haproxy.cfg")
    }

    pub(crate) fn cfg_text(&self) -> String {
        fs::read_to_string(self.cfg()).unwrap()
    }

    pub(crate) fn launch(&mut self) {
        let output = File::options().create(true).append(true).open(self.path("output")).unwrap();
        let mut command = Command::new(&self.program);
        command.arg("-f").arg(self.cfg()).stdin(Stdio::null());
        command.stdout(output.try_clone().unwrap()).stderr(output);
        match self.run {
            As::Master => {
                command.args(["-W", "-S"]).arg(self.path("master.sock"));
                self.master = Some(command.spawn().unwrap());
            }
            As::Daemon => {
                let started = command.args(["-D", "-p"]).arg(self.path("haproxy.pid")).status().unwrap();
                assert!(started.success());
            }
        }
        wait_until("HAProxy answers", PATIENCE, || self.try_pid().is_some());
    }

    /// Ends HAProxy, whatever it is doing.
    pub(crate) fn end(&mut self) {
        let pids = fs::read_to_string(self.path("haproxy.pid")).unwrap_or_default();
        let pids: Vec<i32> = pids.split_whitespace().map(|pid| pid.parse().unwrap()).collect();
        if let Some(mut master) = self.master.take() {
            // It takes its workers with it.
            let _ = kill(Pid::from_raw(i32::try_from(master.id()).unwrap()), Signal::SIGTERM);
            let _ = master.wait();
        }
        for pid in pids {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }

    pub(crate) fn try_pid(&self) -> Option<u32> {
        let info = ask(&self.path("admin.sock"), "show info").ok()?;
        let stopping = info.lines().any(|line| line == "Stopping: 1");
        let pid = info.lines().find_map(|line| line.strip_prefix("Pid: "))?;
        (!stopping).then(|| pid.parse().ok())?
    }

    pub(crate) fn pid(&self) -> u32 {
        self.await_pid("HAProxy answers", |_| true)
    }

    /// The process that answers, once it is one of these.
    #[track_caller]
    fn await_pid(&self, what: &str, is_it: impl Fn(u32) -> bool) -> u32 {
        let mut found = None;
        wait_until(what, PATIENCE, || {
            found = self.try_pid().filter(|&pid| is_it(pid));
            found.is_some()
        });
        found.expect("waited for")
    }

    /// What the agent has told is the process that answers, as soon as the one before it does no more.
    #[track_caller]
    pub(crate) fn check_pid(&self, told: &serde_json::Value) {
        wait_until(&format!("process {told} answers"), PATIENCE, || {
            self.try_pid().is_some_and(|pid| *told == pid)
        });
    }

    pub(crate) fn ask(&self, command: &str) -> String {
        ask(&self.path("admin.sock"), command).unwrap()
    }

    /// Reloads it as somebody else would, and waits until nobody but the new worker can be reached.
    pub(crate) fn reload(&mut self) {
        let before = self.pid();
        assert!(self.run == As::Master);
        let _ = ask(&self.path("master.sock"), "reload");
        self.await_successor(before);
    }

    /// Waits until another process than `before` answers, and `before` can be reached no more; that other one.
    #[track_caller]
    pub(crate) fn await_successor(&self, before: u32) -> u32 {
        let new = self.await_pid("another process answers", |pid| pid != before);
        await_handover(&[before], new);
        new
    }

    /// Each server's admin state and weight, such as `s1 READY 10`, by name.
    pub(crate) fn servers(&self) -> Vec<String> {
        let servers = standing(&self.ask("show servers state app"), "app", |row| row[7].to_owned());
        servers.into_iter().map(|(name, stands)| format!("{name} {stands}")).collect()
    }

    #[track_caller]
    pub(crate) fn wait_for(&self, expected: [&str; 3]) {
        wait_until(&format!("{expected:?}"), PATIENCE, || self.servers() == expected);
    }

    /// The agent, with these lines in its `haproxy:`.
    pub(crate) fn agent(&self, keys: &str) -> Agent {
        let agent = Agent::start(&self.config(keys), &[self.log().as_str()]);
        wait_until("it knows HAProxy", PATIENCE, || {
            agent.status().is_some_and(|status| status["backends"][0]["serving"].is_number())
        });
        agent
    }

    pub(crate) fn log(&self) -> String {
        let log = self.path("requests.log");
        File::options().create(true).append(true).open(&log).unwrap();
        log.to_str().unwrap().to_owned()
    }

    pub(crate) fn config(&self, keys: &str) -> String {
        let (dir, program) = (self.dir.path().display(), self.program.display());
        let (metrics, more) = (self.metrics, &self.keys);
        format!(
            "tick: 100ms\nmetrics: {{ listen: 127.0.0.1:{metrics} }}\nhaproxy:\n  sockets: [{dir}/admin.sock]\n  config: {dir}/haproxy.cfg\n  state_file: {dir}/servers.state\n\
             \x20 binary: {program}\n  template: {dir}/haproxy.cfg.template\n{}\nbackends:\n  - name: app\n    target: {{ below: 250ms }}\n\
             \x20   coverage: 0%\n    policy: threshold\n    scale_up: {{ cooldown: 0s }}\n    scale_down: {{ cooldown: 0s, drain_timeout: 1s }}\n{more}",
            keys.replace("{dir}", &dir.to_string())
        )
    }
}

impl Drop for Site {
    #[expect(clippy::print_stderr, reason = "what a failed test left behind")]
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("--- haproxy.cfg:\n{}", fs::read_to_string(self.cfg()).unwrap_or_default());
            eprintln!(
                "--- HAProxy's output:\n{}",
                fs::read_to_string(self.path("output")).unwrap_or_default()
            );
        }
        self.end();
    }
}

/// What `status` tells of what lasts.
pub(crate) fn kept(agent: &Agent) -> serde_json::Value {
    agent.status().unwrap()["haproxy"]["nodes"][0]["lasting"].clone()
}

pub(crate) fn status_text(agent: &Agent) -> String {
    String::from_utf8(agent.command(&["status"]).stdout).unwrap()
}

pub(crate) fn metrics(site: &Site) -> String {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", site.metrics)).unwrap();
    write!(stream, "GET /metrics HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// A metric of the site's HAProxy, with `more` labels; without a `value`, as far as that.
pub(crate) fn of_node(site: &Site, name: &str, more: &str, value: &str) -> String {
    let (dir, end) = (site.dir.path().display(), if value.is_empty() { "" } else { "\n" });
    format!("haproxy_autoscale_{name}{{node=\"{dir}/admin.sock\"{more}}} {value}{end}")
}

#[track_caller]
pub(crate) fn told(agent: &Agent, message: &str) -> serde_json::Value {
    wait_until(&format!("the agent tells `{message}`"), PATIENCE, || agent.event(message).is_some());
    agent.event(message).unwrap()
}

pub(crate) const MASTER: &str = "  reload: { by: master, socket: {dir}/master.sock, min_interval: 1s }\n";
pub(crate) const BINARY: &str = "  reload: { by: binary, pid_file: {dir}/haproxy.pid, min_interval: 1s }\n";

pub(crate) const LOADED: (&str, &str) =
    ("    server-state-file {dir}/servers.state\n", "    load-server-state-from-file global\n");

pub(crate) const SLOTS: &str =
    "    server slot1 127.0.0.1:1 weight 10 disabled\n    server slot2 127.0.0.1:1 weight 10 disabled\n";

/// What `check` finds of what lasts with this `config` of an agent.
pub(crate) fn findings(site: &Site, config: &str) -> Vec<serde_json::Value> {
    let file = site.path("agent.yaml");
    let dir = site.dir.path().display();
    let own = format!("state_dir: {dir}/state\nruntime_dir: {dir}/run\n");
    fs::write(&file, own + config).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_haproxy-autoscale"));
    let output = command.args(["check", "--output", "json", "--config"]).arg(file).arg(site.log());
    let mut findings: Vec<serde_json::Value> =
        serde_json::from_slice(&output.output().unwrap().stdout).unwrap();
    findings.retain(|one| one["about"].as_str().unwrap().starts_with("haproxy."));
    findings
}
