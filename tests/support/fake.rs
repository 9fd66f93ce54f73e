//! A stand-in for HAProxy's Runtime API, for faults that the real one will not make on demand.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use tempfile::TempDir;

mod supply;

/// What goes wrong with a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The command is read, and nothing ever comes.
    Hang,
    /// The command is carried out, but half the answer is sent and the rest never comes.
    HangMidway,
    /// The command is carried out, but the connection ends before the answer.
    CloseSilently,
    /// The command is carried out, but the connection ends in the middle of the answer.
    CloseMidway,
    /// An old worker answers, and nothing that it is told lasts.
    OldWorker,
    /// The command is not carried out; this is answered.
    Answer(Vec<u8>),
    /// The command is not carried out; the answer never ends.
    Endless,
    /// Before the command comes, the worker is another process than the one that has answered.
    Replaced,
    /// The master's worker does not run yet.
    Starting,
    /// The command is read, and carried out only when the peer has given up.
    Late,
}

/// A unix socket that answers like HAProxy 2.6, or another release, and keeps servers' states, weights and addresses,
/// and another that answers like the master of it.
pub struct FakeHaproxy {
    dir: TempDir,
    shared: Arc<Mutex<State>>,
    threads: Vec<JoinHandle<()>>,
}

/// What it keeps.
#[derive(Debug, Default)]
struct State {
    stop: bool,
    /// As in `2.6.12`, and the two numbers that it begins with.
    version: String,
    release: [u32; 2],
    pid: u32,
    uptime_s: u32,
    /// By its master, and how many of those have failed in a row.
    reloads: u32,
    failed_reloads: u32,
    config_is_bad: bool,
    fault: Option<(Fault, usize)>,
    /// What strikes at the next line with a command that begins so.
    aimed: Option<(String, Fault)>,
    commands: Vec<String>,
    replies: Vec<(String, String)>,
    backends: Vec<(String, Vec<FakeServer>)>,
}

/// One server. Fields are what HAProxy would show, but for `checks_needed` and `checks_left`.
#[derive(Clone, Debug)]
pub struct FakeServer {
    pub name: String,
    /// `srv_admin_state`.
    pub admin: u32,
    /// `srv_op_state`.
    pub operational: u32,
    pub weight: u16,
    pub initial_weight: u16,
    pub address: SocketAddr,
    /// A health check is configured and on; rise 2, fall 3.
    pub checked: bool,
    /// One is configured, and off, as after `add server`.
    pub check_is_off: bool,
    /// Readings after MAINT until the check is seen to have passed; `u32::MAX` for never.
    pub checks_needed: u32,
    /// How many of them are left.
    pub checks_left: u32,
    pub backup: bool,
    /// The server it tracks, or nothing.
    pub tracks: String,
    pub sessions: u32,
    pub queued: u32,
    pub maxconn: Option<u32>,
}

impl FakeHaproxy {
    /// Listens in a folder of its own, with backends and servers such as
    /// `&[("web", &["s1", "s2"])]`, all READY, without checks, weight 1.
    pub fn start(backends: &[(&str, &[&str])]) -> Self {
        Self::start_as("2.6.12", backends)
    }

    /// The same in the words of another release, such as `3.0.11`.
    pub fn start_as(version: &str, backends: &[(&str, &[&str])]) -> Self {
        let mut numbers = version.split('.').map(|number| number.parse().expect("a release"));
        let release = [(); 2].map(|()| numbers.next().expect("two numbers"));
        let dir = tempfile::Builder::new().prefix("hx").tempdir().expect("a temporary folder");
        let backends = backends
            .iter()
            .map(|(name, servers)| ((*name).to_owned(), servers.iter().map(|s| FakeServer::new(s)).collect()))
            .collect();
        let version = version.to_owned();
        let state = State { version, release, pid: 4711, uptime_s: 60, backends, ..State::default() };
        let shared = Arc::new(Mutex::new(state));
        let serves = |(name, is_master)| {
            let listener = UnixListener::bind(dir.path().join(name)).expect("the folder is ours");
            let theirs = shared.clone();
            thread::spawn(move || serve(&listener, is_master, &theirs))
        };
        let threads = [("admin.sock", false), ("master.sock", true)].map(serves).into();
        Self { dir, shared, threads }
    }

    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("admin.sock")
    }

    /// Where its master does.
    pub fn master_socket(&self) -> PathBuf {
        self.dir.path().join("master.sock")
    }

    /// What a reload would read from now on is refused.
    pub fn spoil_config(&self) {
        self.lock().config_is_bad = true;
    }

    /// The folder of the socket.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Every connection from now on gets `fault`.
    pub fn always(&self, fault: Fault) {
        self.fail_next(usize::MAX, fault);
    }

    /// The next `times` connections get `fault`, those after it are well; 0 heals.
    pub fn fail_next(&self, times: usize, fault: Fault) {
        self.lock().fault = (times > 0).then_some((fault, times));
    }

    /// The next line with a command that begins with `command` gets `fault`.
    pub fn fail_at(&self, command: &str, fault: Fault) {
        self.lock().aimed = Some((command.to_owned(), fault));
    }

    /// Whether what [`Self::fail_at`] was told has struck.
    pub fn has_struck(&self) -> bool {
        self.lock().aimed.is_none()
    }

    /// Another process id: a restart, as seen from outside.
    pub fn set_pid(&self, pid: u32) {
        self.lock().pid = pid;
    }

    /// A restart that gave it the same process id, as in a container.
    pub fn restart_in_place(&self) {
        self.lock().uptime_s = 0;
    }

    /// Every command that begins with `prefix` is answered `reply` from now on and not carried out: a
    /// refusal, or, if it is empty, a success that changed nothing.
    pub fn reply_to(&self, prefix: &str, reply: &str) {
        self.lock().replies.push((prefix.to_owned(), reply.to_owned()));
    }

    /// Nothing is answered as [`Self::reply_to`] says any more.
    pub fn reply_as_ever(&self) {
        self.lock().replies.clear();
    }

    /// Every command line received so far.
    pub fn commands(&self) -> Vec<String> {
        self.lock().commands.clone()
    }

    /// The server `backend/server` as it is now.
    ///
    /// # Panics
    /// If there is none.
    pub fn server(&self, name: &str) -> FakeServer {
        self.lock().find(name).unwrap_or_else(|refusal| panic!("{name}: {refusal}")).clone()
    }

    /// Whether there is the server `backend/server`.
    pub fn has(&self, name: &str) -> bool {
        self.lock().find(name).is_ok()
    }

    /// Changes the server `backend/server` behind everybody's back.
    ///
    /// # Panics
    /// If there is none.
    pub fn change(&self, name: &str, change: impl FnOnce(&mut FakeServer)) {
        change(self.lock().find(name).unwrap_or_else(|refusal| panic!("{name}: {refusal}")));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.shared)
    }
}

impl Drop for FakeHaproxy {
    fn drop(&mut self) {
        self.lock().stop = true;
        // Wakes the accepting threads; those that cannot be reached have ended.
        let _ = [self.socket(), self.master_socket()].map(UnixStream::connect);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl FakeServer {
    fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            admin: 0,
            operational: 2,
            weight: 1,
            initial_weight: 1,
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            checked: false,
            check_is_off: false,
            checks_needed: 1,
            checks_left: 0,
            backup: false,
            tracks: String::new(),
            sessions: 0,
            queued: 0,
            maxconn: None,
        }
    }

    fn is_maint(&self) -> bool {
        self.admin & 0x23 != 0
    }

    /// As `set server ... state` does; 0x04 (declared disabled) stays.
    fn set_state(&mut self, state: &str) -> Result<(), &'static str> {
        let was_maint = self.is_maint();
        let flags = match state {
            "ready" => 0,
            "drain" => 0x08,
            "maint" => 0x01,
            _ => return Err("'set server <srv> state' expects 'ready', 'drain' and 'maint'."),
        };
        self.admin = self.admin & !0x09 | flags;
        if self.is_maint() {
            self.operational = 0;
        } else if was_maint {
            self.operational = 2;
            self.checks_left = self.checks_needed;
        }
        Ok(())
    }

    fn health(&self) -> (u32, u32) {
        // Rise 2 and fall 3: at most 4, and 2 until a check has passed.
        match (self.checked, self.is_maint()) {
            _ if self.check_is_off => (0, 2),
            (true, true) => (0, 14),
            (false, true) => (0, 0),
            (false, false) => (2, 0),
            (true, false) => (if self.checks_left == 0 { 4 } else { 2 }, 6),
        }
    }
}

impl State {
    fn find(&mut self, name: &str) -> Result<&mut FakeServer, &'static str> {
        let (backend, server) = name.split_once('/').ok_or("Require 'backend/server'.")?;
        let servers = self.backends.iter_mut().find(|(name, _)| name == backend);
        let (_, servers) = servers.ok_or("No such backend.")?;
        servers.iter_mut().find(|each| each.name == server).ok_or("No such server.")
    }

    /// The answer to one command, without the empty line that ends it.
    fn obey(&mut self, command: &str) -> String {
        let known = self.replies.iter().find(|(prefix, _)| command.trim().starts_with(prefix.as_str()));
        match known {
            Some((_, reply)) if reply.is_empty() => return String::new(),
            Some((_, reply)) => return format!("{reply}\n"),
            None => {}
        }
        let words: Vec<&str> = command.split_whitespace().collect();
        if let Some(answer) = self.supply(&words) {
            return answer;
        }
        let done = match words[..] {
            ["show", "info"] => return self.info(),
            ["show", "stat", backend, _, _] if backend != "-1" && !self.has(backend) => Err("No such proxy."),
            ["show", "servers", "state", backend] if !self.has(backend) => Err("Can't find backend."),
            ["show", "stat", backend, _, _] => return self.stat(backend),
            ["show", "servers", "state", ref backend @ ..] => {
                return self.servers_state(backend.first().copied().unwrap_or("-1"));
            }
            ["help"] => return self.help(),
            ["show", "cli", "level"] => return "admin\n".to_owned(),
            ["set", "server", name, "state", state] => self.find(name).and_then(|s| s.set_state(state)),
            ["set", "server", name, "health", "down"] => self.find(name).map(|server| server.operational = 0),
            ["set", "server", name, "weight", weight] => self.find(name).and_then(|server| {
                let weight = weight.parse().ok().filter(|weight| *weight <= 256);
                server.weight = weight.ok_or("Absolute weight can only be between 0 and 256 inclusive.")?;
                Ok(())
            }),
            _ => return self.unknown(words.first().copied().unwrap_or_default()),
        };
        done.err().map(|refusal| format!("{refusal}\n")).unwrap_or_default()
    }

    /// The answer to a line.
    fn answer(&mut self, line: &str, fault: Option<&Fault>) -> Vec<u8> {
        self.commands.push(line.trim_end().to_owned());
        let idle = matches!(fault, Some(Fault::Hang | Fault::Answer(_) | Fault::Endless));
        let commands = if idle { "" } else { line };
        let mut text = String::new();
        for part in commands.split(';').map(str::trim).filter(|part| !part.is_empty() && *part != "quit") {
            text += &match (part, fault) {
                ("prompt", _) => String::new(),
                (_, Some(Fault::OldWorker)) => self.forget(part),
                _ => self.obey(part),
            };
            text.push('\n');
        }
        if line.starts_with("prompt;") {
            text.push_str("> ");
        }
        text.into_bytes()
    }

    /// The answer of the master to a line, and whether more may come.
    fn answer_as_master(&mut self, line: &str) -> (Vec<u8>, bool) {
        self.commands.push(line.trim_end().to_owned());
        let mut text = String::new();
        for part in line.split(';').map(str::trim) {
            let (prefix, command) = match part.split_once(' ') {
                Some((prefix, command)) if prefix.starts_with('@') => (prefix, command),
                _ => ("", part),
            };
            match (prefix, command) {
                ("", "quit") => return (text.into_bytes(), false),
                ("", "reload") => {
                    self.reload();
                    return (text.into_bytes(), false);
                }
                ("", "show proc") => text += &self.processes(),
                ("", _) => text += &self.unknown(command.split(' ').next().unwrap_or_default()),
                _ if prefix == "@1" || prefix == format!("@!{}", self.pid) => text += &self.obey(command),
                _ => {
                    writeln!(text, "Can't find the target PID matching the prefix '{prefix}'")
                        .expect("a String");
                    return (text.into_bytes(), false);
                }
            }
            text.push('\n');
        }
        (text.into_bytes(), true)
    }

    fn reload(&mut self) {
        self.reloads += 1;
        if self.config_is_bad {
            self.failed_reloads += 1;
        } else {
            (self.pid, self.uptime_s, self.failed_reloads) = (self.pid + 1, 0, 0);
        }
    }

    fn processes(&self) -> String {
        let Self { pid, reloads, failed_reloads: failed, version, .. } = self;
        let version = format!("{version}-fake");
        let counted = format!("{reloads} [failed: {failed}]");
        let row = |pid: &str, kind: &str, reloads: &str, uptime: &str, version: &str| {
            format!("{pid:<15} {kind:<15} {reloads:<15} {uptime:<15} {version:<15}\n")
        };
        [
            row("#<PID>", "<type>", "<reloads>", "<uptime>", "<version>"),
            row("4700", "master", &counted, "0d00h00m09s", &version),
            "# workers\n".to_owned(),
            row(&pid.to_string(), "worker", &failed.to_string(), "0d00h00m09s", &version),
            "# programs\n".to_owned(),
        ]
        .concat()
    }

    /// What an old worker answers, which does not change anything any more that lasts.
    fn forget(&mut self, command: &str) -> String {
        if command.trim().starts_with("set ") {
            return String::new();
        }
        self.obey(command).replace("Stopping: 0", "Stopping: 1")
    }

    fn info(&self) -> String {
        format!(
            "Name: HAProxy\nVersion: {}-fake\nPid: {}\nUptime_sec: {}\nStopping: 0\n",
            self.version, self.pid, self.uptime_s
        )
    }

    fn has(&self, backend: &str) -> bool {
        self.backends.iter().any(|(name, _)| name == backend)
    }

    /// Of the backend `only`, or of all for `-1`.
    fn stat(&self, only: &str) -> String {
        let mut text = "# pxname,svname,qcur,scur,slim,stot,status,bck,tracked,type,check_status,\
                        check_rise,check_fall,check_health,algo,\n"
            .to_owned();
        for (backend, servers) in self.backends.iter().filter(|(name, _)| only == "-1" || only == name) {
            for server in servers {
                let status = if server.is_maint() { "MAINT" } else { "UP" };
                let check = if server.checked { ["L7OK", "2", "3"] } else { ["", "", ""] };
                let limit = server.maxconn.map(|n| n.to_string()).unwrap_or_default();
                let health = if server.checked { server.health().0.to_string() } else { String::new() };
                let FakeServer { name, queued, sessions, tracks, .. } = server;
                let backup = u8::from(server.backup);
                let check = check.join(",");
                let row = format!(
                    "{backend},{name},{queued},{sessions},{limit},0,{status},{backup},{tracks},2,{check},{health},,"
                );
                text.push_str(&row);
                text.push('\n');
            }
            let sessions: u32 = servers.iter().map(|server| server.sessions).sum();
            writeln!(text, "{backend},BACKEND,0,{sessions},200,0,UP,0,,1,,,,,roundrobin,").expect("a String");
        }
        text
    }

    /// Of the backend `only`, or of all for `-1`.
    fn servers_state(&mut self, only: &str) -> String {
        let mut text = "1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight \
                        srv_iweight srv_time_since_last_change srv_check_status srv_check_result srv_check_health \
                        srv_check_state srv_agent_state bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord \
                        srv_use_ssl srv_check_port srv_check_addr srv_agent_addr srv_agent_port\n"
            .to_owned();
        let backends = (3..).zip(&mut self.backends).filter(|(_, (name, _))| only == "-1" || only == name);
        for (be_id, (backend, servers)) in backends {
            for (srv_id, server) in (1..).zip(servers) {
                let (health, check_state) = server.health();
                let FakeServer { name, operational, admin, weight, initial_weight, address, .. } = server;
                let (ip, port) = (address.ip(), address.port());
                writeln!(
                    text,
                    "{be_id} {backend} {srv_id} {name} {ip} {operational} {admin} {weight} {initial_weight} 9 15 \
                     3 {health} {check_state} 0 0 0 - {port} - 0 0 - - 0"
                )
                .expect("a String");
                if server.checked && server.checks_left > 0 && !server.is_maint() {
                    server.checks_left -= 1;
                    server.operational = if server.checks_left == 0 { 2 } else { server.operational };
                }
            }
        }
        text
    }

    /// In the words of its release; the commands that there are follow in the real ones.
    fn unknown(&self, word: &str) -> String {
        let better = "but maybe one of the following ones is a better match:";
        match self.release {
            [2, ..4] => "Unknown command. Please enter one of the following commands only :\n".to_owned(),
            [2, ..8] => format!("Unknown command, {better}\n"),
            _ => format!("Unknown command: '{word}', {better}\n"),
        }
    }

    /// The fault that was aimed at `line`.
    fn take_aimed(&mut self, line: &str) -> Option<Fault> {
        let is_hit = |command: &str| line.split(';').any(|part| part.trim().starts_with(command));
        self.aimed.take_if(|(command, _)| is_hit(command)).map(|(_, fault)| fault)
    }

    /// The fault for the connection that has just come.
    fn take_fault(&mut self) -> Option<Fault> {
        let (fault, times) = self.fault.take()?;
        if times > 1 {
            self.fault = Some((fault.clone(), times - 1));
        }
        Some(fault)
    }
}

fn no_worker(prefix: &str) -> String {
    format!("Can't find the target PID matching the prefix '{prefix}'\n")
}

fn lock(shared: &Mutex<State>) -> MutexGuard<'_, State> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(listener: &UnixListener, is_master: bool, shared: &Arc<Mutex<State>>) {
    for stream in listener.incoming() {
        if lock(shared).stop {
            return;
        }
        let shared = shared.clone();
        if let Ok(stream) = stream {
            thread::spawn(move || converse(stream, is_master, &shared));
        }
    }
}

/// One connection: one line, its answer, the end; or, with a `prompt` or a master, lines until `quit`. Whatever goes
/// wrong is the peer's doing. A fault strikes at the first line that changes something, or at the only one.
fn converse(mut stream: UnixStream, is_master: bool, shared: &Mutex<State>) {
    let Ok(reading) = stream.try_clone() else { return };
    let mut reading = BufReader::new(reading);
    let mut fault = lock(shared).take_fault();
    loop {
        let mut line = String::new();
        if !matches!(reading.read_line(&mut line), Ok(1..)) {
            return;
        }
        let goes_on = if is_master { !line.contains("quit") } else { line.starts_with("prompt;") };
        let is_harmless = goes_on && !matches!(fault, Some(Fault::Hang | Fault::Answer(_) | Fault::Endless));
        let now = if is_harmless && fault != Some(Fault::OldWorker) { None } else { fault.take() };
        let now = lock(shared).take_aimed(&line).or(now);
        if now == Some(Fault::Late) && wait_for_end(&mut reading).is_err() {
            return;
        }
        let mut state = lock(shared);
        state.pid += u32::from(now == Some(Fault::Replaced));
        let (answer, goes_on) = match (is_master, &now) {
            // From 2.8 on it goes on then.
            (true, Some(Fault::Starting)) => (no_worker("@1").into_bytes(), true),
            (true, Some(Fault::Replaced)) => (state.answer_as_master(&line).0, true),
            (true, _) => state.answer_as_master(&line),
            (false, fault) => (state.answer(&line, fault.as_ref()), goes_on),
        };
        drop(state);
        if strike(&mut stream, &mut reading, &answer, now).is_err() || !goes_on {
            return;
        }
    }
}

/// Sends `answer`, as far as `fault` lets it.
fn strike(
    stream: &mut UnixStream,
    reading: &mut BufReader<UnixStream>,
    answer: &[u8],
    fault: Option<Fault>,
) -> std::io::Result<()> {
    let half = &answer[..answer.len() / 2];
    match fault {
        None | Some(Fault::OldWorker | Fault::Replaced | Fault::Starting | Fault::Late) => {
            stream.write_all(answer)
        }
        Some(Fault::CloseMidway) => stream.write_all(half),
        Some(Fault::CloseSilently) => Ok(()),
        Some(Fault::Answer(text)) => {
            stream.write_all(&text)?;
            Err(std::io::ErrorKind::ConnectionAborted.into())
        }
        Some(Fault::Endless) => {
            while stream.write_all(&[b'x'; 1 << 16]).is_ok() {}
            Ok(())
        }
        Some(Fault::Hang) => wait_for_end(reading),
        Some(Fault::HangMidway) => stream.write_all(half).and_then(|()| wait_for_end(reading)),
    }
}

/// Until the peer gives up.
fn wait_for_end(reading: &mut BufReader<UnixStream>) -> std::io::Result<()> {
    reading.read_to_end(&mut Vec::new()).map(drop)
}
