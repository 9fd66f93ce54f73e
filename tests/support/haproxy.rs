//! A real HAProxy in a folder of its own.

use std::collections::{BTreeMap, HashSet};
use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::{PATIENCE, ask, tail, wait_until};

/// What every configuration begins with; a `global` section that follows at once adds to it.
const GLOBAL: &str = "\
global
    stats socket {dir}/admin.sock mode 600 level admin expose-fd listeners
";

/// What comes next. Sections that follow may replace it.
const DEFAULTS: &str = "\
defaults
    mode http
    timeout connect 60s
    timeout client 10m
    timeout server 10m
    timeout queue 60s
    timeout check 60s
";

/// A running HAProxy; stopped when dropped. If the test fails, its output is printed.
pub struct Haproxy {
    dir: TempDir,
    binary: OsString,
    processes: Vec<Child>,
    /// The worker that answers, where there is a master.
    worker: Option<u32>,
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
        let mut haproxy = Self::prepare(config)?;
        haproxy.launch();
        Some(haproxy)
    }

    /// [`Self::start`] as systemd does it: a master that starts workers, asked at `{dir}/master.sock`.
    pub fn start_with_master(config: &str) -> Option<Self> {
        let mut haproxy = Self::prepare(config)?;
        haproxy.worker = Some(0);
        haproxy.launch();
        Some(haproxy)
    }

    fn prepare(config: &str) -> Option<Self> {
        let binary = find_binary()?;
        let dir = tempfile::Builder::new().prefix("hx").tempdir().expect("a temporary folder");
        let haproxy = Self { dir, binary, processes: Vec::new(), worker: None };
        haproxy.write_config(config);
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

    /// The program that is run; `None` if there is none.
    pub fn program() -> Option<PathBuf> {
        find_binary().map(PathBuf::from)
    }

    /// Whether HAProxy takes `config`; `None` if there is none.
    pub fn takes(config: &str) -> Option<bool> {
        let binary = find_binary()?;
        let dir = tempfile::tempdir().expect("a temporary folder");
        let haproxy = Self { dir, binary, processes: Vec::new(), worker: None };
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

    /// The process id of the newest process; with a master, of its newest worker.
    pub fn pid(&self) -> u32 {
        self.worker.unwrap_or_else(|| self.newest())
    }

    fn newest(&self) -> u32 {
        self.processes.last().expect("launched by start, and never emptied but in stop").id()
    }

    /// The answer to a Runtime API command.
    ///
    /// # Panics
    /// If HAProxy cannot be asked.
    pub fn ask(&self, command: &str) -> String {
        ask(&self.socket(), command).unwrap_or_else(|error| panic!("`{command}`: {error}"))
    }

    /// How each server of `backend` stands, as in `READY 1`: its state, and what is `told` of its row of `show servers
    /// state` (management manual 9.3).
    pub fn servers(&self, backend: &str, told: impl Fn(&[&str]) -> String) -> BTreeMap<String, String> {
        standing(&self.ask(&format!("show servers state {backend}")), backend, told)
    }

    /// Starts a new process that takes over the sockets; the old one ends when its sessions do.
    pub fn reload(&mut self) {
        match self.worker {
            None => self.launch(),
            Some(before) => {
                self.await_worker(before, true);
            }
        }
    }

    /// Has the master try a reload with a configuration that is none, and waits until it has failed.
    pub fn fail_to_reload(&mut self) {
        let config = self.dir().join("haproxy.cfg");
        let good = fs::read(&config).expect("written by start");
        let told = self.output().len();
        fs::write(&config, "this is no configuration\n").expect("the folder is ours");
        // Once: a second one, of a master that is only slow, would find the good configuration again.
        self.signal_master(Signal::SIGUSR2);
        wait_until("the reload has failed", PATIENCE, || {
            self.output()[told..].contains("unknown keyword 'this'") && self.master_has(self.pid())
        });
        fs::write(&config, good).expect("the folder is ours");
    }

    /// Has the master reload, and again after a while: one that has just started, itself or its worker, does not hear it.
    /// One that is only slow would reload twice.
    fn signal_until_heard(&self, signalled: &mut Option<Instant>) {
        if signalled.is_none_or(|at| at.elapsed() > PATIENCE / 5) {
            self.signal_master(Signal::SIGUSR2);
            *signalled = Some(Instant::now());
        }
    }

    fn signal_master(&self, signal: Signal) {
        let pid = i32::try_from(self.newest()).expect("a process id is small");
        signal::kill(Pid::from_raw(pid), signal).expect("it is our child");
    }

    /// Stops the process that answers, as a debugger would, until [`Self::go_on`].
    pub fn hang(&self) {
        self.signal_worker(Signal::SIGSTOP);
    }

    /// Ends [`Self::hang`].
    pub fn go_on(&self) {
        self.signal_worker(Signal::SIGCONT);
    }

    fn signal_worker(&self, signal: Signal) {
        let pid = i32::try_from(self.pid()).expect("a process id is small");
        signal::kill(Pid::from_raw(pid), signal).expect("it is ours");
    }

    /// Waits for another worker than `before`; with a `reload`, until the master has heard it.
    fn await_worker(&mut self, before: u32, reload: bool) {
        let (mut found, mut signalled) = (None, None);
        wait_until("another worker answers", PATIENCE, || {
            if reload {
                self.signal_until_heard(&mut signalled);
            }
            let info = ask(&self.socket(), "show info").unwrap_or_default();
            let pid = info.lines().find_map(|line| line.strip_prefix("Pid: ")?.parse().ok());
            found = pid.filter(|&pid| pid != before && info.contains("\nStopping: 0\n"));
            found.is_some_and(|worker| self.master_has(worker))
        });
        let found = found.expect("waited for");
        await_handover(&[before], found);
        self.worker = Some(found);
    }

    /// [`Self::reload`] with another configuration.
    pub fn reload_with(&mut self, config: &str) {
        self.write_config(config);
        self.reload();
    }

    /// Kills every process, as a crash would. The socket's file stays behind and refuses.
    pub fn kill(&mut self) {
        if self.worker.is_some() && !self.processes.is_empty() {
            // Its workers end with it.
            self.go_on();
            self.signal_master(Signal::SIGTERM);
            let master = self.newest();
            wait_until("the master has ended", PATIENCE, || self.has_ended(master));
        }
        for mut process in self.processes.drain(..) {
            // It may have ended by itself; then there is nothing to kill.
            let _ = process.kill();
            let _ = process.wait();
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

    /// The master, if there is one, answers, and that this is its worker. Before it can it starts itself anew, which
    /// resets connections (seen on HAProxy 2.6.12).
    fn master_has(&self, worker: u32) -> bool {
        let of_worker = |line: &str| line.split_whitespace().next() == Some(&worker.to_string());
        let asked = || ask(&self.master_socket(), "show proc;quit");
        self.worker.is_none() || asked().is_ok_and(|answer| answer.lines().any(of_worker))
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
        if self.worker.is_some() {
            command.arg("-W").arg("-S").arg(format!("{},level,admin", self.master_socket().display()));
        }
        if !self.processes.is_empty() {
            command.arg("-x").arg(self.socket()).arg("-sf");
            command.args(self.processes.iter().map(|process| process.id().to_string()));
        }
        let stderr = output.try_clone().expect("a file can be cloned");
        let child = command.stdin(Stdio::null()).stdout(output).stderr(stderr).spawn();
        self.processes.push(child.expect("the binary ran when it was looked for"));
        if self.worker.is_some() {
            return self.await_worker(0, false);
        }
        let pid = format!("\nPid: {}\n", self.pid());
        wait_until("HAProxy answers on its socket", PATIENCE, || {
            let newest = self.processes.last_mut().expect("pushed above");
            if let Ok(Some(status)) = newest.try_wait() {
                panic!("HAProxy did not start ({status}):\n{}", self.output());
            }
            ask(&self.socket(), "show info").is_ok_and(|info| info.contains(&pid))
        });
        let before: Vec<u32> = self.processes.iter().rev().skip(1).map(Child::id).collect();
        await_handover(&before, self.newest());
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

/// The lines of the `global` section that `config` begins with, if it does, and what follows. Some keywords, such
/// as `nbthread`, have to stand before all other sections.
fn split_global(config: &str) -> (&str, &str) {
    let Some(lines) = config.trim_start().strip_prefix("global\n") else { return ("", config) };
    let is_inside = |line: &&str| line.starts_with(char::is_whitespace);
    lines.split_at(lines.split_inclusive('\n').take_while(is_inside).map(str::len).sum())
}

/// [`Haproxy::servers`], of HAProxy's `answer`.
pub fn standing(answer: &str, backend: &str, told: impl Fn(&[&str]) -> String) -> BTreeMap<String, String> {
    let rows = answer.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let rows = rows.filter(|row| row.get(1) == Some(&backend));
    rows.map(|row| {
        let admin: u32 = row[6].parse().expect("a number");
        let state = match (admin & 0x23, admin & 0x18) {
            (0, 0) => "READY",
            (0, _) => "DRAIN",
            _ => "MAINT",
        };
        (row[3].to_owned(), format!("{state} {}", told(&row)))
    })
    .collect()
}

/// Waits until none of `before` accepts connections to a socket of `new`: till then, any of them may answer on it.
pub fn await_handover(before: &[u32], new: u32) {
    wait_until("the processes before it listen no more", PATIENCE, || {
        let listening = listening_unix_sockets();
        let ours = open_sockets(new);
        let shared = |inode: &String| listening.contains(inode) && ours.contains(inode);
        !before.iter().any(|&pid| open_sockets(pid).iter().any(shared))
    });
}

/// The inodes of the unix sockets that are listened on (proc(5): flags `__SO_ACCEPTCON`).
fn listening_unix_sockets() -> HashSet<String> {
    let table = fs::read_to_string("/proc/net/unix").expect("Linux has it");
    let listening = |line: &str| {
        let columns: Vec<&str> = line.split_ascii_whitespace().collect();
        (columns.get(3) == Some(&"00010000")).then(|| columns.get(6).copied().unwrap_or_default().to_owned())
    };
    table.lines().filter_map(listening).collect()
}

/// The inodes of the sockets that the process `pid` has open; none if it has ended.
fn open_sockets(pid: u32) -> Vec<String> {
    let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else { return Vec::new() };
    let targets = descriptors.flatten().filter_map(|descriptor| fs::read_link(descriptor.path()).ok());
    let inode =
        |target: PathBuf| Some(target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned());
    targets.filter_map(inode).collect()
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
