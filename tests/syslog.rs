//! HAProxy's log as it travels on a Debian host: through a real rsyslogd into a file that a real logrotate
//! rotates while requests come, through a pipe, or on over TCP, and then into the agent. Every request is counted.
//!
//! HAProxy does not wait for a log that is slow; what it had to throw away it counts itself, `DroppedLogs`.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use haproxy_autoscale::demo::load::Load;
use haproxy_autoscale::demo::server::{ServiceTime, SmallServer};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use serde_json::Value;
use support::{Agent, Haproxy, PATIENCE, free_port, wait_until};
use tempfile::TempDir;

mod support;

/// Requests a second.
const RATE: f64 = 150.0;

/// Where Debian has these programs, which is not on every user's PATH.
const FOLDERS: [&str; 3] = ["/usr/sbin", "/usr/bin", "/usr/local/sbin"];

/// The program `name`; if there is none the test is skipped, and says so.
///
/// # Panics
/// If there is none though the variable `CI` is set.
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn program(name: &str) -> Option<PathBuf> {
    let path = FOLDERS.iter().map(|folder| Path::new(folder).join(name)).find(|path| path.exists());
    if path.is_none() {
        assert!(std::env::var_os("CI").is_none(), "CI is set, but there is no {name} to test with");
        eprintln!("skipped: no {name} on this machine");
    }
    path
}

/// A running rsyslogd with a socket, files and a process id of its own.
struct Rsyslogd {
    dir: TempDir,
    process: Child,
}

impl Rsyslogd {
    /// Starts it with `config` after its input, in which `{dir}` stands for its folder.
    fn start(config: &str) -> Option<Self> {
        let program = program("rsyslogd")?;
        let dir = tempfile::Builder::new().prefix("rs").tempdir().expect("a temporary folder");
        let config = format!(
            "global(workDirectory=\"{{dir}}\")\n\
             module(load=\"imuxsock\" SysSock.Use=\"off\")\n\
             input(type=\"imuxsock\" Socket=\"{{dir}}/log.sock\")\n{config}"
        );
        let file = dir.path().join("rsyslog.conf");
        fs::write(&file, config.replace("{dir}", &dir.path().to_string_lossy())).expect("it is ours");
        let process = Command::new(program)
            .args(["-n", "-i"])
            .arg(dir.path().join("rsyslogd.pid"))
            .arg("-f")
            .arg(file)
            .stdin(Stdio::null())
            .spawn()
            .expect("it is there");
        let rsyslogd = Self { dir, process };
        wait_until("rsyslogd is up", PATIENCE, || {
            rsyslogd.socket().exists() && rsyslogd.path("rsyslogd.pid").exists()
        });
        Some(rsyslogd)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn socket(&self) -> PathBuf {
        self.path("log.sock")
    }

    /// SIGTERM, and its end.
    fn stop(&mut self) {
        let pid = i32::try_from(self.process.id()).expect("a process id is small");
        kill(Pid::from_raw(pid), Signal::SIGTERM).expect("it is our child");
        wait_until("rsyslogd has ended", PATIENCE, || {
            self.process.try_wait().expect("it is our child").is_some()
        });
    }
}

impl Drop for Rsyslogd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A snippet of `config/`, for a user who may be nobody special, with its files in `{dir}`.
fn snippet(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name);
    let text = fs::read_to_string(path).expect("it is part of the project").replace("/var/log", "{dir}");
    // Only root may give files away.
    if geteuid().is_root() { text } else { text.replace("fileOwner=\"root\" fileGroup=\"adm\"", "") }
}

/// HAProxy in front of a quick server, logging to rsyslogd.
struct Site {
    haproxy: Haproxy,
    frontend: SocketAddr,
    _server: SmallServer,
}

impl Site {
    fn start(rsyslogd: &Rsyslogd) -> Option<Self> {
        let service = ServiceTime { mean: Duration::from_millis(2), cv: 0.5 };
        let server = SmallServer::start(20, service, None).expect("a loopback port");
        let port = free_port();
        let haproxy = Haproxy::start(&format!(
            "global\n    log {} local0\ndefaults\n    log global\n    mode http\n    option httplog\n\
             \x20   timeout connect 60s\n    timeout client 10m\n    timeout server 10m\n\
             frontend users\n    bind 127.0.0.1:{port}\n    default_backend app\n\
             backend app\n    server s1 {}",
            rsyslogd.socket().display(),
            server.addr()
        ))?;
        Some(Self { haproxy, frontend: SocketAddr::from(([127, 0, 0, 1], port)), _server: server })
    }

    /// Requests until there were so many, and `meanwhile` is over; how many were logged.
    fn requests(&self, fewest: usize, meanwhile: impl FnOnce() + Send) -> u64 {
        let dropped_before = self.dropped();
        let measured = thread::scope(|scope| {
            let meanwhile = scope.spawn(meanwhile);
            let mut measured = Vec::new();
            while measured.len() < fewest || !meanwhile.is_finished() {
                let load = Load::new(self.frontend, |_| RATE).patience(PATIENCE);
                measured.extend(load.run(Duration::from_millis(200)).expect("the load runs"));
            }
            measured
        });
        // An answer comes before its line.
        wait_until("HAProxy is done with all requests", PATIENCE, || {
            let stat = self.haproxy.ask("show stat users 1 -1");
            stat.lines().any(|row| row.starts_with("users,FRONTEND,,,0,"))
        });
        assert!(measured.iter().all(|request| !request.is_failed()), "every request is answered");
        measured.len() as u64 - (self.dropped() - dropped_before)
    }

    /// Lines that HAProxy has thrown away, since its start.
    fn dropped(&self) -> u64 {
        let info = self.haproxy.ask("show info");
        let dropped = info.lines().find_map(|line| line.strip_prefix("DroppedLogs: "));
        dropped.and_then(|dropped| dropped.parse().ok()).expect("it counts them")
    }
}

/// The real logrotate, on the log of one rsyslogd.
struct Logrotate<'a> {
    program: PathBuf,
    rsyslogd: &'a Rsyslogd,
}

impl<'a> Logrotate<'a> {
    /// `how` are directives beside those of Debian's package of HAProxy.
    fn new(rsyslogd: &'a Rsyslogd, how: &str) -> Option<Self> {
        let program = program("logrotate")?;
        let config = format!(
            "{0}/haproxy.log {{\n    daily\n    rotate 7\n    missingok\n    notifempty\n{how}\n}}\n",
            rsyslogd.dir.path().display()
        );
        fs::write(rsyslogd.path("logrotate.conf"), config).expect("it is ours");
        Some(Self { program, rsyslogd })
    }

    /// Rotates, whatever the time is, once there are lines to rotate.
    fn run(&self) {
        let log = self.rsyslogd.path("haproxy.log");
        wait_until("there are lines to rotate", PATIENCE, || {
            fs::metadata(&log).is_ok_and(|metadata| metadata.len() > 4096)
        });
        let output = Command::new(&self.program)
            .arg("--force")
            .arg("--state")
            .arg(self.rsyslogd.path("logrotate.state"))
            .arg(self.rsyslogd.path("logrotate.conf"))
            .output()
            .expect("it is there");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

/// Rename and create, as Debian rotates HAProxy's log.
const CREATE: &str = "    compress\n    delaycompress\n    create\n    postrotate\n        \
                      kill -HUP $(cat {dir}/rsyslogd.pid)\n    endscript";

#[track_caller]
fn wait_for_requests(agent: &Agent, requests: u64) {
    wait_until(&format!("{requests} requests are counted"), PATIENCE, || {
        agent.status().is_some_and(|status| status["lines"]["requests"].as_u64() >= Some(requests))
    });
}

/// HAProxy, rsyslogd with `config`, whose lines begin with `date`, logrotate, the agent: each request is
/// counted once.
#[track_caller]
fn check_rotated(config: &str, date: fn(char) -> bool) {
    let Some(rsyslogd) = Rsyslogd::start(config) else { return };
    let how = CREATE.replace("{dir}", &rsyslogd.dir.path().to_string_lossy());
    let Some(logrotate) = Logrotate::new(&rsyslogd, &how) else { return };
    let Some(site) = Site::start(&rsyslogd) else { return };
    let log = rsyslogd.path("haproxy.log");
    let mut agent = Agent::start("", &[log.to_str().expect("a temporary path is text")]);
    let logged = site.requests(700, || {
        (0..4).for_each(|_| logrotate.run());
        wait_until("the new file has a line", PATIENCE, || {
            fs::metadata(&log).is_ok_and(|metadata| metadata.len() > 0)
        });
    });
    wait_for_requests(&agent, logged);
    let (_, summary) = agent.stop();
    assert_eq!(summary["requests"], logged, "{summary}");
    assert_eq!(summary["unparsed"], 0, "{summary}");
    assert!(rsyslogd.path("haproxy.log.3.gz").exists(), "it was rotated");
    let text = fs::read_to_string(log).expect("it is there again");
    assert!(text.starts_with(date), "{text}");
    check_report(&rsyslogd, logged);
}

/// All files that logrotate has left, compressed and not, tell of as many requests.
#[track_caller]
fn check_report(rsyslogd: &Rsyslogd, logged: u64) {
    let files = fs::read_dir(rsyslogd.dir.path())
        .expect("it is ours")
        .map(|entry| entry.expect("it is there").path());
    let is_log = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with("haproxy.log"))
    };
    let report = Command::new(env!("CARGO_BIN_EXE_haproxy-autoscale"))
        .args(["report", "--output", "json"])
        .args(files.filter(is_log))
        .output()
        .expect("it was built for this test");
    let report: Value = serde_json::from_slice(&report.stdout).expect("JSON");
    assert_eq!((&report["requests"], &report["unparsed"]), (&logged.into(), &0.into()), "{report}");
}

#[test]
fn every_request_is_counted_in_a_file_of_iso_dates_that_is_rotated() {
    check_rotated(&snippet("rsyslog-file.conf"), |first| first.is_ascii_digit());
}

#[test]
fn every_request_is_counted_in_a_file_of_traditional_dates_that_is_rotated() {
    // What Debian 12 has for all files that do not say otherwise.
    let traditional = "module(load=\"builtin:omfile\" template=\"RSYSLOG_TraditionalFileFormat\")\n";
    check_rotated(&format!("{traditional}{}", snippet("rsyslog-file.conf")), |first| {
        first.is_ascii_uppercase()
    });
}

#[test]
fn every_request_is_counted_that_rsyslogd_sends_on() {
    let forms = [
        ("octet-counted", "RSYSLOG_SyslogProtocol23Format"),
        ("traditional", "RSYSLOG_TraditionalForwardFormat"),
    ];
    for (framing, template) in forms {
        let port = free_port();
        let mut agent = Agent::start("", &[&format!("tcp://127.0.0.1:{port}")]);
        let action = format!(
            "action(type=\"omfwd\" target=\"127.0.0.1\" port=\"{port}\" protocol=\"tcp\" \
             TCP_Framing=\"{framing}\" template=\"{template}\")\n"
        );
        let Some(rsyslogd) = Rsyslogd::start(&action) else { return };
        let Some(site) = Site::start(&rsyslogd) else { return };
        let logged = site.requests(300, || {});
        wait_for_requests(&agent, logged);
        let (_, summary) = agent.stop();
        assert_eq!((&summary["requests"], &summary["unparsed"]), (&logged.into(), &0.into()), "{summary}");
    }
}

#[test]
fn copytruncate_costs_no_request_but_those_of_its_moment() {
    let Some(rsyslogd) = Rsyslogd::start(&snippet("rsyslog-file.conf")) else { return };
    let Some(logrotate) = Logrotate::new(&rsyslogd, "    copytruncate") else { return };
    let Some(site) = Site::start(&rsyslogd) else { return };
    let log = rsyslogd.path("haproxy.log");
    let mut agent = Agent::start("", &[log.to_str().expect("a temporary path is text")]);
    let mut counted = 0;
    for _ in 0..3 {
        counted += site.requests(150, || {});
        wait_for_requests(&agent, counted);
        logrotate.run();
    }
    // A line that comes between logrotate's copy and its cut is lost, and so is one that was not read before.
    let around_cuts = site.requests(150, || (0..3).for_each(|_| logrotate.run()));
    counted += site.requests(450, || {});
    wait_for_requests(&agent, counted);
    let (_, summary) = agent.stop();
    let found = summary["requests"].as_u64().expect("a number");
    assert!((counted..=counted + around_cuts).contains(&found), "{counted}, {around_cuts}: {summary}");
    assert!(rsyslogd.path("haproxy.log.6").exists(), "it was rotated");
}

#[test]
fn every_request_is_counted_that_comes_through_a_pipe() {
    let dir = tempfile::Builder::new().prefix("ha").tempdir().expect("a temporary folder");
    let config = dir.path().join("config.yaml");
    let own = format!("log_json: true\nstate_dir: {0}/state\nruntime_dir: {0}/run\n", dir.path().display());
    fs::write(&config, own).expect("it is ours");
    let config = config.to_str().expect("a temporary path is text");
    let agent = env!("CARGO_BIN_EXE_haproxy-autoscale");
    let installed = "/usr/bin/haproxy-autoscale --config /etc/haproxy-autoscale/config.yaml -";
    let snippet = snippet("rsyslog-omprog.conf");
    assert!(snippet.contains(installed), "{snippet}");
    let snippet = snippet.replace(installed, &format!("{agent} --config {config} -"));
    let Some(mut rsyslogd) = Rsyslogd::start(&snippet) else { return };
    let Some(site) = Site::start(&rsyslogd) else { return };
    let status = || -> Option<Value> {
        let asked =
            Command::new(agent).args(["status", "--output", "json", "--config", config]).output().ok()?;
        serde_json::from_slice(&asked.stdout).ok()
    };
    let logged = site.requests(450, || {});
    wait_until("every request is counted", PATIENCE, || {
        status().is_some_and(|status| status["lines"]["requests"].as_u64() >= Some(logged))
    });
    rsyslogd.stop();
    let told = fs::read_to_string(rsyslogd.path("haproxy-autoscale.log")).expect("it was told where");
    let mut events = told.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let summary = events.rfind(|event| event["message"] == "stopped").unwrap_or_default();
    assert_eq!(summary["requests"], logged, "{told}");
    assert_eq!(summary["unparsed"], 0, "{told}");
}
