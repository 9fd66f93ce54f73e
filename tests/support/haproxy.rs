//! A real HAProxy in a folder of its own.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::{ask, tail, wait_until};

/// More than a busy machine needs to start or stop a HAProxy.
const PATIENCE: Duration = Duration::from_secs(20);

/// What every configuration begins with; a `global` section that follows at once adds to it.
const GLOBAL: &str = "\
global
    stats socket {dir}/admin.sock mode 600 level admin expose-fd listeners
";

/// What comes next. Sections that follow may replace it.
const DEFAULTS: &str = "\
defaults
    mode http
    timeout connect 1s
    timeout client 10s
    timeout server 10s
    timeout queue 5s
";

/// A running HAProxy; stopped when dropped. If the test fails, its output is printed.
pub struct Haproxy {
    dir: TempDir,
    binary: OsString,
    processes: Vec<Child>,
    /// A master with a worker.
    is_master: bool,
}

impl Haproxy {
    /// Starts HAProxy with `config`, in which `{dir}` stands for the folder, and waits until
    /// its socket answers. The configuration need not have a `global` or `defaults` section:
    /// an admin socket, `mode http` and short timeouts are given.
    ///
    /// `None` if there is no HAProxy to run, which is told; the test should return then. The
    /// binary is the one on the PATH, or the one that the variable `HAPROXY` names.
    ///
    /// # Panics
    /// If HAProxy does not start, or if there is none though the variable `CI` is set.
    pub fn start(config: &str) -> Option<Self> {
        Self::start_as(config, false)
    }

    /// [`Self::start`] with a master before its worker, which listens on [`Self::master_socket`].
    pub fn start_master(config: &str) -> Option<Self> {
        Self::start_as(config, true)
    }

    fn start_as(config: &str, is_master: bool) -> Option<Self> {
        let binary = find_binary()?;
        let dir = tempfile::Builder::new().prefix("hx").tempdir().expect("a temporary folder");
        let mut haproxy = Self { dir, binary, processes: Vec::new(), is_master };
        haproxy.write_config(config);
        haproxy.launch();
        Some(haproxy)
    }

    /// Its version, such as `2.6.12`, as far as it has numbers; `None` if there is no HAProxy.
    pub fn version() -> Option<Vec<u32>> {
        let told =
            Command::new(find_binary()?).arg("-v").output().expect("it ran when it was looked for").stdout;
        let told = String::from_utf8_lossy(&told).into_owned();
        let version =
            told.split_once("version ")?.1.split(|c: char| c != '.' && !c.is_ascii_digit()).next()?;
        Some(version.split('.').map_while(|number| number.parse().ok()).collect())
    }

    /// Whether HAProxy takes `config`; `None` if there is none.
    pub fn takes(config: &str) -> Option<bool> {
        let binary = find_binary()?;
        let dir = tempfile::tempdir().expect("a temporary folder");
        let haproxy = Self { dir, binary, processes: Vec::new(), is_master: false };
        haproxy.write_config(config);
        let mut command = Command::new(&haproxy.binary);
        command.arg("-c").arg("-f").arg(haproxy.dir().join("haproxy.cfg"));
        let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
        Some(status.expect("the binary ran when it was looked for").success())
    }

    /// The folder that `{dir}` in the configuration stands for.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The Runtime API's unix socket, at level admin.
    pub fn socket(&self) -> PathBuf {
        self.dir().join("admin.sock")
    }

    /// The master's socket.
    pub fn master_socket(&self) -> PathBuf {
        self.dir().join("master.sock")
    }

    /// The process id of the newest process; of a master, that of its worker.
    pub fn pid(&self) -> u32 {
        if self.is_master {
            return worker(&self.socket()).expect("it answers");
        }
        self.processes.last().expect("launched by start, and never emptied but in stop").id()
    }

    /// The answer to a Runtime API command.
    ///
    /// # Panics
    /// If HAProxy cannot be asked.
    pub fn ask(&self, command: &str) -> String {
        ask(&self.socket(), command).unwrap_or_else(|error| panic!("`{command}`: {error}"))
    }

    /// Starts a new process that takes over the sockets; the old one ends when its sessions do.
    pub fn reload(&mut self) {
        if !self.is_master {
            return self.launch();
        }
        let (before, mut told) = (self.pid(), None::<Instant>);
        wait_until("another worker answers", PATIENCE, || {
            // A master that has just started, itself or its worker, does not hear it.
            if told.is_none_or(|told| told.elapsed() > Duration::from_secs(3)) {
                self.signal(Signal::SIGUSR2);
                told = Some(Instant::now());
            }
            worker(&self.socket()).is_some_and(|worker| worker != before) && self.master_listens()
        });
    }

    /// Sends a signal to the newest process; of a master, to the master.
    pub fn signal(&self, signal: Signal) {
        let process = self.processes.last().expect("launched by start, and never emptied but in stop");
        let pid = i32::try_from(process.id()).expect("a process id is small");
        kill(Pid::from_raw(pid), signal).expect("it is our child");
    }

    /// [`Self::reload`] with another configuration.
    pub fn reload_with(&mut self, config: &str) {
        self.write_config(config);
        self.reload();
    }

    /// Kills every process, as a crash would. The socket's file stays behind and refuses.
    pub fn kill(&mut self) {
        // It ends with its master, but after a moment.
        let worker =
            worker(&self.socket()).filter(|_| self.is_master).and_then(|pid| i32::try_from(pid).ok());
        for mut process in self.processes.drain(..) {
            // It may have ended by itself; then there is nothing to kill.
            let _ = process.kill();
            let _ = process.wait();
        }
        if let Some(worker) = worker {
            let _ = kill(Pid::from_raw(worker), Signal::SIGKILL);
        }
    }

    /// Starts again after [`Self::kill`].
    pub fn start_again(&mut self) {
        self.launch();
    }

    /// Whether the process `pid`, one of ours, has ended.
    pub fn has_ended(&mut self, pid: u32) -> bool {
        let process = self.processes.iter_mut().find(|process| process.id() == pid);
        process.is_none_or(|process| matches!(process.try_wait(), Ok(Some(_))))
    }

    /// What HAProxy has printed so far.
    pub fn output(&self) -> String {
        fs::read_to_string(self.dir().join("output")).unwrap_or_default()
    }

    /// A master begins to after its worker does.
    fn master_listens(&self) -> bool {
        !self.is_master || UnixStream::connect(self.master_socket()).is_ok()
    }

    fn write_config(&self, config: &str) {
        let (global, sections) = split_global(config);
        let text = format!("{GLOBAL}{global}{DEFAULTS}{sections}\n");
        let text = text.replace("{dir}", &self.dir().to_string_lossy());
        fs::write(self.dir().join("haproxy.cfg"), text).expect("the folder is ours");
    }

    fn launch(&mut self) {
        let output = File::options().create(true).append(true).open(self.dir().join("output"));
        let output = output.expect("the folder is ours");
        let mut command = Command::new(&self.binary);
        command.arg("-db").arg("-f").arg(self.dir().join("haproxy.cfg"));
        if self.is_master {
            command.arg("-W").arg("-S").arg(format!("{},level,admin", self.master_socket().display()));
        } else if !self.processes.is_empty() {
            command.arg("-x").arg(self.socket()).arg("-sf");
            command.args(self.processes.iter().map(|process| process.id().to_string()));
        }
        let stderr = output.try_clone().expect("a file can be cloned");
        let child = command.stdin(Stdio::null()).stdout(output).stderr(stderr).spawn();
        self.processes.push(child.expect("the binary ran when it was looked for"));
        let pid = if self.is_master { "\nPid: ".to_owned() } else { format!("\nPid: {}\n", self.pid()) };
        wait_until("HAProxy answers on its socket", PATIENCE, || {
            let newest = self.processes.last_mut().expect("pushed above");
            if let Ok(Some(status)) = newest.try_wait() {
                panic!("HAProxy did not start ({status}):\n{}", self.output());
            }
            ask(&self.socket(), "show info").is_ok_and(|info| info.contains(&pid)) && self.master_listens()
        });
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            eprintln!("--- HAProxy's output:\n{}---", tail(&self.output()));
        }
    }
}

/// Who answers at `socket`.
fn worker(socket: &Path) -> Option<u32> {
    let info = ask(socket, "show info").ok()?;
    info.lines().find_map(|line| line.strip_prefix("Pid: "))?.parse().ok()
}

/// The lines of the `global` section that `config` begins with, if it does, and what follows. Some keywords, such
/// as `nbthread`, have to stand before all other sections.
fn split_global(config: &str) -> (&str, &str) {
    let Some(lines) = config.trim_start().strip_prefix("global\n") else { return ("", config) };
    let is_inside = |line: &&str| line.starts_with(char::is_whitespace);
    lines.split_at(lines.split_inclusive('\n').take_while(is_inside).map(str::len).sum())
}

/// The HAProxy to run; tells if there is none.
fn find_binary() -> Option<OsString> {
    let binary = env::var_os("HAPROXY").unwrap_or_else(|| "haproxy".into());
    let runs = Command::new(&binary).arg("-v").stdout(Stdio::null()).status();
    if runs.is_ok_and(|status| status.success()) {
        return Some(binary);
    }
    assert!(env::var_os("CI").is_none(), "CI is set, but there is no haproxy to test with");
    eprintln!("skipped: no haproxy on the PATH");
    None
}
