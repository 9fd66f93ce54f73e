//! What the running agent costs, measured from outside on a real HAProxy.
//!
//! Memory and CPU at 1 and at 1,000 backends, also while all of them move at once, start-up, and the reaction from a log line to a command on the
//! socket.
//!
//! `cargo bench --bench agent` prints a table. HAProxy must be installed.

#![allow(clippy::print_stdout, reason = "a bench prints its figures")]

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::{FakeHaproxy, Haproxy, Origin, wait_until};

#[path = "../tests/support/mod.rs"]
mod support;

const PATIENCE: Duration = Duration::from_secs(60);
/// Servers of each backend.
const SERVERS: usize = 10;
/// Requests to each server in the log: enough for every window to have its histograms.
const REQUESTS: usize = 40;
/// READY servers of each backend at least when all of them have moved; one is READY before.
const READY: usize = 4;
/// How long CPU is watched.
const WATCH: Duration = Duration::from_secs(10);
/// Clock ticks a second in /proc/PID/stat (proc(5)); 100 on Linux.
const TICKS: f64 = 100.0;

fn main() {
    for backends in [1, 1000] {
        size(backends);
    }
    start_up();
    reaction();
}

fn row(what: &str, figure: &str) {
    println!("{what:<48} {figure:>10}");
}

/// Memory and CPU with so many backends of ten servers, each server with requests in its window.
fn size(backends: usize) {
    let origin = Origin::start();
    let Some(haproxy) = Haproxy::start(&haproxy_config(backends, origin.port())) else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let log = folder.path().join("haproxy.log");
    File::create(&log).expect("the folder is ours");
    let config = |min| agent_config(&haproxy.dir().join("admin.sock"), backends, min);
    let agent = Agent::start(folder.path(), &config(1), &log);
    let idle = agent.cpu_over(WATCH);
    let (took, cpu) = move_all(&agent, &config(READY), backends);
    append(&log, &lines(backends));
    let expected = (backends * SERVERS * REQUESTS) as u64;
    wait_until("all lines are read", PATIENCE, || agent.lines() == Some(expected));
    let busy = agent.cpu_over(WATCH);
    let what = format!("{backends} x {SERVERS} servers");
    row(&format!("{what}: memory (RSS)"), &format!("{:.1} MiB", agent.mib("VmRSS:")));
    row(&format!("{what}: CPU, no traffic"), &format!("{:.2} %", idle * 100.0));
    row(&format!("{what}: CPU, windows full"), &format!("{:.2} %", busy * 100.0));
    let moved = backends * (READY - 1);
    row(&format!("{what}: {moved} moved at once"), &format!("{:.1} s", took.as_secs_f64()));
    row(&format!("{what}: CPU for it"), &format!("{cpu:.2} s"));
    row(&format!("{what}: memory at its peak (VmHWM)"), &format!("{:.1} MiB", agent.mib("VmHWM:")));
}

/// All backends need more servers in the same tick. How long it takes until they have them, and the CPU seconds.
fn move_all(agent: &Agent, config: &str, backends: usize) -> (Duration, f64) {
    let (before, begun) = (agent.cpu_seconds(), Instant::now());
    agent.reload(config);
    wait_until("all have moved", 5 * PATIENCE, || {
        let status = agent.status().unwrap_or_default();
        let all = status["backends"].as_array().map_or(&[][..], Vec::as_slice);
        all.len() == backends && all.iter().all(|backend| backend["serving"].as_u64() >= Some(READY as u64))
    });
    (begun.elapsed(), agent.cpu_seconds() - before)
}

fn haproxy_config(backends: usize, port: u16) -> String {
    let mut text = String::new();
    for b in 0..backends {
        let _ = writeln!(text, "backend b{b}\n    balance roundrobin");
        for s in 0..SERVERS {
            let disabled = if s == 0 { "" } else { " disabled" };
            let _ = writeln!(text, "    server s{s} 127.0.0.1:{port} maxconn 50{disabled}");
        }
    }
    text
}

fn agent_config(socket: &Path, backends: usize, min: usize) -> String {
    let mut text = format!("haproxy: {{ sockets: [{}] }}\nbackends:\n", socket.display());
    for b in 0..backends {
        let _ = writeln!(text, "  - name: b{b}\n    target: {{ below: 2s }}\n    window: {{ length: 10m }}");
        let _ = writeln!(text, "    ready: {{ min: {min} }}");
    }
    text
}

/// Latencies between 5 ms and 1 s, on every server of every backend.
fn lines(backends: usize) -> String {
    let mut text = String::new();
    for n in 0..REQUESTS {
        for b in 0..backends {
            for s in 0..SERVERS {
                let ms = 5 + (n * 7919 + s * 104_729 + b * 31) % 995;
                let _ = writeln!(text, "{}", line(&format!("b{b}/s{s}"), ms));
            }
        }
    }
    text
}

/// A request that took `ms` and ended in the last millisecond of a second.
fn line(server: &str, ms: usize) -> String {
    let began = 999 - ms % 1000;
    format!(
        "127.0.0.1:50536 [21/Nov/2026:09:31:50.{began:03}] fe {server} 0/0/0/{ms}/{ms} 200 76 - - ---- 1/1/0/0/0 0/0 \
         \"GET / HTTP/1.1\""
    )
}

/// From the start of the process until it says that it is ready.
fn start_up() {
    let took = median(|| {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let notify = folder.path().join("notify");
        let heard = UnixDatagram::bind(&notify).expect("the folder is ours");
        heard.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let begun = Instant::now();
        let log = folder.path().join("none.log");
        let mut child = command(&log).env("NOTIFY_SOCKET", &notify).spawn().expect("built");
        let mut text = [0; 256];
        let length = heard.recv(&mut text).expect("it says that it is ready");
        let took = begun.elapsed();
        assert!(text[..length].starts_with(b"READY=1"), "the first word is READY");
        child.kill().expect("our child");
        child.wait().expect("our child");
        took
    });
    row("start to ready, median of 9", &took);
}

/// From the write of the line that proves the breach to its command on the socket; ticks of 50 ms
/// and no stabilization window, so that little of it is the policy's own delay.
fn reaction() {
    row("line to command, tick 50 ms, median of 9", &median(one_reaction));
}

fn one_reaction() -> Duration {
    let fake = FakeHaproxy::start(&[("app", &["s1", "s2"])]);
    fake.change("app/s2", |server| server.admin = 0x05);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let log = folder.path().join("haproxy.log");
    File::create(&log).expect("the folder is ours");
    let config = format!(
        "tick: 50ms\nhaproxy: {{ sockets: [{}] }}\nbackends:\n  - name: app\n    target: {{ below: 250ms }}\n    policy: threshold\n    \
         window: {{ length: 2s, min_samples: 20 }}\n    scale_up: {{ stabilization_window: 0s }}\n",
        fake.socket().display()
    );
    let agent = Agent::start(folder.path(), &config, &log);
    wait_until("a whole window was observed", PATIENCE, || {
        agent.reason().is_some_and(|why| !why.contains("start"))
    });
    // Lines that are alike would be taken for one request that is logged twice.
    let slow: String = (0..19).map(|n| line("app/s1", 900 + n) + "\n").collect();
    append(&log, &slow);
    wait_until("all but one are read", PATIENCE, || agent.lines() == Some(19));
    append(&log, &(line("app/s1", 950) + "\n"));
    let begun = Instant::now();
    wait_until("the command is on the socket", PATIENCE, || {
        fake.commands().iter().any(|command| command.contains("set server app/s2"))
    });
    begun.elapsed()
}

fn median(mut measure: impl FnMut() -> Duration) -> String {
    let mut took: Vec<Duration> = (0..9).map(|_| measure()).collect();
    took.sort();
    format!("{:.0} ms", took[4].as_secs_f64() * 1e3)
}

fn append(log: &Path, text: &str) {
    let mut file = File::options().append(true).open(log).expect("it is there");
    file.write_all(text.as_bytes()).expect("the disk has room");
}

fn command(log: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_haproxy-autoscale"));
    command.arg(log).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// The agent as a child, asked through its status socket and /proc.
struct Agent {
    child: Child,
    socket: PathBuf,
    /// Its config, and the keys in it that are not what a figure is about.
    file: PathBuf,
    own: String,
}

impl Agent {
    fn start(folder: &Path, config: &str, log: &Path) -> Self {
        let file = folder.join("config.yaml");
        let own = format!("state_dir: {0}/state\nruntime_dir: {0}/run\n", folder.display());
        fs::write(&file, own.clone() + config).expect("the folder is ours");
        let child = command(log).arg("--config").arg(&file).spawn().expect("built");
        let agent = Self { child, socket: folder.join("run/agent.sock"), file, own };
        wait_until("HAProxy answers it", PATIENCE, || {
            agent.status().is_some_and(|status| status["haproxy"]["answers"] == true)
        });
        agent
    }

    fn status(&self) -> Option<serde_json::Value> {
        let mut text = String::new();
        let mut stream = UnixStream::connect(&self.socket).ok()?;
        stream.shutdown(std::net::Shutdown::Write).ok()?;
        stream.read_to_string(&mut text).ok()?;
        serde_json::from_str(&text).ok()
    }

    fn lines(&self) -> Option<u64> {
        self.status()?["lines"]["lines"].as_u64()
    }

    fn reason(&self) -> Option<String> {
        Some(self.status()?["backends"][0]["reason"].as_str()?.to_owned())
    }

    fn reload(&self, config: &str) {
        fs::write(&self.file, self.own.clone() + config).expect("the folder is ours");
        let pid = i32::try_from(self.child.id()).expect("a process id");
        kill(Pid::from_raw(pid), Signal::SIGHUP).expect("our child");
    }

    /// This line of /proc/PID/status, which is in kB (proc(5)).
    fn mib(&self, key: &str) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let kib = status.lines().find_map(|line| line.strip_prefix(key)?.trim().strip_suffix(" kB"));
        kib.and_then(|kib| kib.parse::<f64>().ok()).expect("Linux tells it") / 1024.0
    }

    /// Share of one core used over `watch`.
    fn cpu_over(&self, watch: Duration) -> f64 {
        let (before, begun) = (self.cpu_seconds(), Instant::now());
        thread::sleep(watch);
        (self.cpu_seconds() - before) / begun.elapsed().as_secs_f64()
    }

    fn cpu_seconds(&self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
        // After the command's name in brackets: utime and stime are the 12th and 13th (proc(5)).
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        fields.skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() / TICKS
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
