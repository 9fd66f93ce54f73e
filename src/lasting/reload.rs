//! HAProxy is reloaded or started, and seen to be.
//!
//! Whatever way is configured: the configuration is checked by HAProxy itself before, and afterwards another process
//! has to answer on its socket. If none does, the old one runs on, and HAProxy's own words say why.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use tokio::time::sleep;

use super::pace::{self, Wait};
use super::program::{self, ProgramError};
use crate::config::{Lasting, ReloadBy};
use crate::core::plan::inventory::Process;
use crate::core::wire::master::{Processes, Reloaded};
use crate::haproxy::address::Address;
use crate::haproxy::client::Client;
use crate::haproxy::error::RuntimeError;

/// A configuration of some megabytes, with certificates and names to look up.
const CHECK_WITHIN: Duration = Duration::from_secs(60);

/// The new process reads the same again.
const RELOAD_WITHIN: Duration = Duration::from_secs(90);

/// From the end of a reload to an answer of the new process.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);

/// A master that answers has forked its new workers before (seen on 2.2); so much is for chance.
const SETTLED: Duration = Duration::from_secs(3);

/// Between two looks whether it is there.
const POLL: Duration = Duration::from_millis(100);

/// What HAProxy calls a configuration that it is shown and that is no file (seen on 2.2 to 3.2).
pub const NOWHERE: &str = "/dev/stdin";

/// Why HAProxy was not reloaded or started.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// HAProxy does not take the configuration.
    #[error("HAProxy refuses the configuration")]
    Refused(#[source] ProgramError),
    /// The program that reloads.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// HAProxy's socket, or its master's.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// The master says so.
    #[error("HAProxy's master could not reload: {0}")]
    Master(String),
    /// Nobody says anything, and nothing happens.
    #[error(
        "no new process answered within {0:?}; HAProxy's own log or `journalctl -u haproxy` may tell why"
    )]
    NoNewProcess(Duration),
    /// The pid file is of no use.
    #[error("`haproxy.reload.pid_file` `{file}`: {why}")]
    PidFile {
        /// It.
        file: String,
        /// What is wrong with it.
        why: String,
    },
}

/// Reloads one HAProxy.
#[derive(Debug)]
pub struct Reloader {
    lasting: Lasting,
    client: Client,
    master: Client,
    /// Processes that were there before reloads of ours, and may be there still.
    replaced: Vec<u32>,
    tried: Option<Instant>,
}

impl Reloader {
    /// Of the HAProxy that `client` asks.
    pub fn new(lasting: Lasting, client: Client) -> Self {
        let master = Client::new(Address::Unix(lasting.reload.socket.clone()), RELOAD_WITHIN);
        Self { lasting, client, master, replaced: Vec::new(), tried: None }
    }

    /// Whether HAProxy takes the configuration at `path`.
    ///
    /// # Errors
    /// It does not, or cannot be run.
    pub async fn check(&self, path: &Path) -> Result<(), ProgramError> {
        let arguments = ["-c".as_ref(), "-f".as_ref(), path.as_os_str()];
        program::run(&self.lasting.binary, &arguments, CHECK_WITHIN).await.map(drop)
    }

    /// The same for a configuration that is nowhere written.
    ///
    /// # Errors
    /// It does not, or cannot be run.
    pub async fn check_text(&self, text: Vec<u8>) -> Result<(), ProgramError> {
        let arguments = ["-c".as_ref(), "-f".as_ref(), NOWHERE.as_ref()];
        program::run_on(Some(text), &self.lasting.binary, &arguments, CHECK_WITHIN).await.map(drop)
    }

    /// How HAProxy would be reloaded, as far as that can be seen without doing it; `running` is the one that answers.
    ///
    /// # Errors
    /// It cannot be.
    pub async fn probe(&self, running: u32) -> Result<String, ReloadError> {
        let reload = &self.lasting.reload;
        match reload.by {
            ReloadBy::None => Ok("by nobody".to_owned()),
            ReloadBy::Systemd => {
                let arguments = ["is-active".as_ref(), reload.unit.as_ref()];
                let state = program::run(Path::new("systemctl"), &arguments, RELOAD_WITHIN).await?;
                Ok(format!("by systemd; the unit {} is {state}", reload.unit))
            }
            ReloadBy::Master => {
                self.master.processes().await?;
                Ok(format!("by the master, which answers at `{}`", reload.socket.display()))
            }
            ReloadBy::Binary => {
                self.pids_with(running)?;
                Ok(format!("by a new process beside {running}, which `{}` names", reload.pid_file.display()))
            }
        }
    }

    /// Whether HAProxy, which is the process that answers, may be reloaded now.
    pub(super) async fn may_reload(
        &mut self,
        now: Instant,
    ) -> Result<(Process, Result<(), Wait>), ReloadError> {
        let process = self.client.process().await?;
        self.replaced.retain(|&pid| pid != process.pid && is_alive(pid));
        let old_processes = match self.lasting.reload.by {
            ReloadBy::Master => {
                let processes = self.master.processes().await?;
                processes.old_workers.iter().filter(|&&pid| pid != process.pid).count()
            }
            _ => self.replaced.len(),
        };
        let sight =
            pace::Sight { uptime: Duration::from_secs(process.uptime_s), old_processes, tried: self.tried };
        Ok((process, pace::may_reload(now, sight, self.lasting.reload.min_interval)))
    }

    /// Reloads HAProxy, which is `before`; the process that answers then.
    pub(super) async fn reload(&mut self, before: &Process) -> Result<Process, ReloadError> {
        self.tried = Some(Instant::now());
        self.check(&self.lasting.config).await.map_err(ReloadError::Refused)?;
        match self.lasting.reload.by {
            ReloadBy::None => {}
            ReloadBy::Systemd => self.systemctl("reload").await?,
            ReloadBy::Master => self.by_master().await?,
            ReloadBy::Binary => self.by_binary(before.pid).await?,
        }
        let after = self.await_process(Some(before.pid)).await?;
        self.replaced.push(before.pid);
        Ok(after)
    }

    /// Starts HAProxy, if it is not running; the process that answers then. `None`: it runs, or was tried not long ago.
    pub(super) async fn start(&mut self) -> Result<Option<Process>, ReloadError> {
        let is_soon = self.tried.is_some_and(|tried| tried.elapsed() < self.lasting.reload.min_interval);
        if is_soon || !matches!(self.client.process().await, Err(RuntimeError::CannotConnect { .. })) {
            return Ok(None);
        }
        self.tried = Some(Instant::now());
        if self.lasting.reload.by == ReloadBy::Systemd {
            self.systemctl("start").await?;
        } else {
            if let Some(pid) = self.pids().unwrap_or_default().into_iter().find(|&pid| is_alive(pid)) {
                return Err(self.pid_file(format!("process {pid} runs, but its socket cannot be reached")));
            }
            self.check(&self.lasting.config).await.map_err(ReloadError::Refused)?;
            self.run_haproxy(&[]).await?;
        }
        self.await_process(None).await.map(Some)
    }

    async fn systemctl(&self, verb: &str) -> Result<(), ProgramError> {
        let arguments = ["--no-ask-password".as_ref(), verb.as_ref(), self.lasting.reload.unit.as_ref()];
        program::run(Path::new("systemctl"), &arguments, RELOAD_WITHIN).await.map(drop)
    }

    /// The master's `reload`; HAProxy 2.7 and newer tell how it went.
    async fn by_master(&self) -> Result<(), ReloadError> {
        let before = self.master.processes().await?;
        match Reloaded::parse(&self.master.tell("reload").await?) {
            Reloaded::Yes => Ok(()),
            Reloaded::No(why) => Err(ReloadError::Master(why)),
            Reloaded::Silent => self.await_worker(&before).await,
        }
    }

    /// Until the master has a new worker, or counts one more reload that failed. HAProxy 2.2 counts none: there it has
    /// failed if the master answers again, and goes on to do so with its old workers.
    async fn await_worker(&self, before: &Processes) -> Result<(), ReloadError> {
        let deadline = Instant::now() + RELOAD_WITHIN;
        let mut answers_since = None;
        while Instant::now() < deadline {
            // While it begins anew it does not answer.
            if let Ok(now) = self.master.processes().await {
                if now.workers.iter().any(|pid| !before.workers.contains(pid)) {
                    return Ok(());
                }
                let goes_on = answers_since.get_or_insert_with(Instant::now).elapsed() > SETTLED;
                if now.failed > before.failed || now.failed.is_none() && goes_on {
                    let why = "it does not say why on this release; its own log does";
                    return Err(ReloadError::Master(why.to_owned()));
                }
            }
            sleep(POLL).await;
        }
        Err(ReloadError::NoNewProcess(RELOAD_WITHIN))
    }

    /// A new process, which takes the listening sockets over and tells the old ones to finish.
    async fn by_binary(&self, running: u32) -> Result<(), ReloadError> {
        let pids = self.pids_with(running)?;
        let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
        let mut arguments: Vec<&OsStr> = Vec::new();
        if let Address::Unix(socket) = self.client.address() {
            arguments.extend(["-x".as_ref(), socket.as_os_str()]);
        }
        arguments.push("-sf".as_ref());
        arguments.extend(pids.iter().map(OsStr::new));
        self.run_haproxy(&arguments).await
    }

    async fn run_haproxy(&self, more: &[&OsStr]) -> Result<(), ReloadError> {
        let Lasting { config, binary, reload, .. } = &self.lasting;
        let mut arguments = vec![OsStr::new("-D"), "-f".as_ref(), config.as_os_str()];
        arguments.extend(["-p".as_ref(), reload.pid_file.as_os_str()]);
        arguments.extend(more);
        program::run(binary, &arguments, RELOAD_WITHIN).await?;
        Ok(())
    }

    /// What the pid file says, if that is about the process that answers.
    fn pids_with(&self, running: u32) -> Result<Vec<u32>, ReloadError> {
        let pids = self.pids()?;
        if pids.contains(&running) {
            return Ok(pids);
        }
        Err(self.pid_file(format!(
            "does not name process {running}, which answers; with a master process, `by: master` reloads"
        )))
    }

    /// What the pid file says, as far as it still runs.
    fn pids(&self) -> Result<Vec<u32>, ReloadError> {
        let text = fs::read_to_string(&self.lasting.reload.pid_file);
        let text = text.map_err(|error| self.pid_file(error.to_string()))?;
        let pids: Result<Vec<u32>, _> = text.split_ascii_whitespace().map(str::parse).collect();
        let pids =
            pids.map_err(|_| self.pid_file("there is something else than process ids in it".to_owned()))?;
        Ok(pids.into_iter().filter(|&pid| is_alive(pid)).collect())
    }

    fn pid_file(&self, why: String) -> ReloadError {
        ReloadError::PidFile { file: self.lasting.reload.pid_file.display().to_string(), why }
    }

    /// The process that answers, once it is not `before` and no old one.
    async fn await_process(&self, before: Option<u32>) -> Result<Process, ReloadError> {
        let deadline = Instant::now() + ANSWER_WITHIN;
        while Instant::now() < deadline {
            match self.client.process().await {
                Ok(process) if Some(process.pid) != before && !process.stopping => return Ok(process),
                _ => sleep(POLL).await,
            }
        }
        Err(ReloadError::NoNewProcess(ANSWER_WITHIN))
    }
}

/// Whether there is such a process, whoever's.
fn is_alive(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().filter(|&pid| pid > 0);
    pid.is_some_and(|pid| kill(Pid::from_raw(pid), None) != Err(Errno::ESRCH))
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::os::unix::net::UnixListener;
    use std::path::PathBuf;
    use std::thread;

    use super::*;
    use crate::config::Config;

    /// Answers one connection.
    fn answer(listener: &UnixListener, text: &str) {
        let (mut stream, _) = listener.accept().expect("somebody comes");
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line).expect("it asks");
        stream.write_all(text.as_bytes()).expect("it listens");
    }

    fn processes(worker: u32) -> String {
        format!(
            "#<PID> <type> <reloads> <uptime> <version>\n1 master 0 [failed: 0] 0d00h00m01s 2.6.12\n\
             # workers\n{worker} worker 0 0d00h00m01s 2.6.12\n# old workers\n\n"
        )
    }

    /// A master up to HAProxy 2.6: `reload` ends all connections, and for a moment there are none to be had.
    fn master(socket: PathBuf) {
        let listener = UnixListener::bind(&socket).expect("the folder is ours");
        thread::spawn(move || {
            answer(&listener, &processes(7));
            answer(&listener, "");
            drop(listener);
            thread::sleep(3 * POLL);
            fs::remove_file(&socket).expect("nobody else does");
            let listener = UnixListener::bind(&socket).expect("the folder is ours");
            answer(&listener, &processes(7));
            answer(&listener, &processes(8));
        });
    }

    #[tokio::test]
    async fn a_master_that_refuses_connections_while_it_begins_anew_is_asked_again() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let socket = dir.path().join("master.sock");
        master(socket.clone());
        let text = format!("haproxy: {{ reload: {{ by: master, socket: {} }} }}", socket.display());
        let config = Config::parse(&text, Path::new("test.yaml")).unwrap_or_else(|error| panic!("{error}"));
        let client = Client::new(Address::Unix(socket), RELOAD_WITHIN);
        let reloader = Reloader::new(config.nodes[0].lasting.clone(), client);
        assert!(reloader.by_master().await.is_ok());
    }
}
