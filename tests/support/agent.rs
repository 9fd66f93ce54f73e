//! The agent as a child process, as an operator runs it.

use std::fmt::Display;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use super::{PATIENCE, tail, wait_until};

/// A running agent; killed when dropped. If the test fails, its log is printed.
pub struct Agent {
    child: Child,
    dir: TempDir,
}

impl Agent {
    /// Starts the agent with `config`, in which `{dir}` stands for a folder of its own (state,
    /// runtime), and `arguments`, and waits until it has started.
    pub fn start(config: &str, arguments: &[&str]) -> Self {
        Self::start_with(config, arguments, Stdio::null())
    }

    /// [`Agent::start`] with something on its standard input.
    pub fn start_with(config: &str, arguments: &[&str], stdin: Stdio) -> Self {
        let dir = tempfile::Builder::new().prefix("ha").tempdir().expect("a temporary folder");
        Self::start_in(dir, config, arguments, stdin)
    }

    /// [`Agent::start_with`] in a folder that an agent before it has left.
    pub fn start_in(dir: TempDir, config: &str, arguments: &[&str], stdin: Stdio) -> Self {
        let agent = Self::spawn_in(dir, config, arguments, stdin);
        wait_until("the agent has started", PATIENCE, || agent.event("started").is_some());
        agent
    }

    /// Starts it with a folder before all others on its PATH, and waits until it has started.
    pub fn start_with_programs(folder: &Path, config: &str, arguments: &[&str]) -> Self {
        let dir = tempfile::Builder::new().prefix("ha").tempdir().expect("a temporary folder");
        let path = std::env::var("PATH").unwrap_or_default();
        let path = format!("{}:{path}", folder.display());
        let agent = Self::spawn(dir, config, arguments, Stdio::null(), ("PATH", &path));
        wait_until("the agent has started", PATIENCE, || agent.event("started").is_some());
        agent
    }

    /// Starts it and does not wait.
    pub fn spawn_in(dir: TempDir, config: &str, arguments: &[&str], stdin: Stdio) -> Self {
        Self::spawn(dir, config, arguments, stdin, ("PATH", &std::env::var("PATH").unwrap_or_default()))
    }

    /// Starts it where the clocks show the time of `zone`, a value of TZ, and waits until it has started.
    pub fn start_in_zone(zone: &str, config: &str, arguments: &[&str]) -> Self {
        let dir = tempfile::Builder::new().prefix("ha").tempdir().expect("a temporary folder");
        let agent = Self::spawn(dir, config, arguments, Stdio::null(), ("TZ", zone));
        wait_until("the agent has started", PATIENCE, || agent.event("started").is_some());
        agent
    }

    fn spawn(
        dir: TempDir,
        config: &str,
        arguments: &[&str],
        stdin: Stdio,
        (variable, value): (&str, &str),
    ) -> Self {
        let file = dir.path().join("config.yaml");
        let own = format!("state_dir: {0}/state\nruntime_dir: {0}/run\n", dir.path().display());
        fs::write(dir.path().join("status.yaml"), &own).expect("the folder is ours");
        fs::write(&file, own + config).expect("the folder is ours");
        let log = File::create(dir.path().join("agent.log")).expect("the folder is ours");
        let child = Command::new(env!("CARGO_BIN_EXE_haproxy-autoscale"))
            .args(["--config", file.to_str().expect("a temporary path is text"), "--log-json"])
            .args(["--log-level", "debug"])
            .args(arguments)
            .env(variable, value)
            .stdin(stdin)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the binary was built for this test");
        Self { child, dir }
    }

    /// Its folder: `config.yaml`, `state/`, `run/`, `agent.log`.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Its config file.
    pub fn config(&self) -> PathBuf {
        self.dir.path().join("config.yaml")
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Every event it has logged so far.
    pub fn events(&self) -> Vec<Value> {
        let log = fs::read_to_string(self.dir.path().join("agent.log")).unwrap_or_default();
        log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// The newest event with this message.
    pub fn event(&self, message: &str) -> Option<Value> {
        self.events().into_iter().rev().find(|event| event["message"] == message)
    }

    /// The journal's entries so far.
    pub fn journal(&self) -> Vec<Value> {
        let journal = fs::read_to_string(self.dir.path().join("state/journal.jsonl")).unwrap_or_default();
        journal.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// What `status --output json` prints; asked again if it does not answer, as on a machine that stands still.
    pub fn status(&self) -> Option<Value> {
        let ask = |_| serde_json::from_slice(&self.command(&["status", "--output", "json"]).stdout).ok();
        (0..3).find_map(ask)
    }

    /// What `status` says of its first backend.
    pub fn backend(&self) -> Value {
        self.status().unwrap_or_default()["backends"][0].clone()
    }

    /// What `status` says of this server of its first backend.
    pub fn server(&self, name: &str) -> Value {
        let servers = self.backend()["servers"].as_array().cloned().unwrap_or_default();
        servers.into_iter().find(|each| each["server"] == name).unwrap_or_default()
    }

    /// Whether `status` shows its first backend, and no move of it under way.
    pub fn is_still(&self) -> bool {
        self.backend().get("moving").is_some_and(Value::is_null)
    }

    /// Whether an entry of the journal has this value.
    pub fn has_journaled(&self, key: &str, value: impl Into<Value>) -> bool {
        let value = value.into();
        self.journal().iter().any(|entry| entry[key] == value)
    }

    /// Whether an entry of the journal has these words in its text.
    pub fn journal_says(&self, key: &str, words: &str) -> bool {
        self.journal().iter().any(|entry| entry[key].as_str().is_some_and(|text| text.contains(words)))
    }

    /// Pins the backend `app` to so many servers.
    #[track_caller]
    pub fn pin(&self, servers: impl Display) {
        let told = self.command(&["pin", "app", &servers.to_string()]);
        assert!(told.status.success(), "{told:?}");
    }

    /// Stops it, as a debugger would, while `meanwhile` goes on.
    pub fn suspended<T>(&self, meanwhile: impl FnOnce() -> T) -> T {
        self.signal(Signal::SIGSTOP);
        let done = meanwhile();
        self.signal(Signal::SIGCONT);
        done
    }

    /// Runs a subcommand that asks this agent.
    pub fn command(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_haproxy-autoscale"))
            .args(arguments)
            .arg("--config")
            .arg(self.dir.path().join("status.yaml"))
            .output()
            .expect("the binary was built for this test")
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).expect("a process id is small");
        kill(Pid::from_raw(pid), signal).expect("it is our child");
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        wait_until("the agent has ended", PATIENCE, || {
            status = self.child.try_wait().expect("it is our child");
            status.is_some()
        });
        status.expect("waited for it")
    }

    /// SIGTERM; its exit status and the summary it told.
    pub fn stop(&mut self) -> (ExitStatus, Value) {
        self.signal(Signal::SIGTERM);
        let status = self.wait();
        (status, self.event("stopped").unwrap_or(Value::Null))
    }

    /// The folder, after the agent has ended.
    pub fn into_dir(mut self) -> io::Result<TempDir> {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let empty = tempfile::Builder::new().prefix("ha").tempdir()?;
        Ok(std::mem::replace(&mut self.dir, empty))
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = fs::read_to_string(self.dir.path().join("agent.log")).unwrap_or_default();
            eprintln!("--- the agent's log:\n{}---", tail(&log));
        }
    }
}
