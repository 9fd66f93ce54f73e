//! Servers, HAProxy, clients and perhaps an agent, as one thing that starts and ends together.

use std::fs::{self, File};
use std::io;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use thiserror::Error;

use super::haproxy::{Haproxy, HaproxyError};
use super::load::{Load, Running};
use super::process::Process;
use super::scenario::{self, agent_config};
use super::server::SmallServer;

/// It is there within 100 ms; a machine busy with other things gets the rest.
const AGENT_DEADLINE: Duration = Duration::from_secs(10);
/// The agent needs 2 s at most to put temporary weights right.
const AGENT_GRACE: Duration = Duration::from_secs(4);

/// Servers behind a HAProxy of their own.
#[derive(Debug)]
pub struct World {
    // Dropped in this order: the agent while its HAProxy still answers, servers last.
    agent: Option<Process>,
    haproxy: Haproxy,
    servers: Vec<SmallServer>,
}

impl World {
    /// `servers` small servers behind HAProxy, of which one serves.
    ///
    /// # Errors
    /// Something of it does not start.
    pub fn start(servers: usize) -> Result<Self, WorldError> {
        // The one that serves at the start has been running for long.
        let cold = |n: usize| (n > 0).then_some(scenario::COLD);
        let server = |n| SmallServer::start(scenario::WORKERS, scenario::SERVICE, cold(n));
        let servers = (0..servers).map(server).collect::<io::Result<Vec<_>>>().map_err(WorldError::Server)?;
        let addrs: Vec<SocketAddr> = servers.iter().map(SmallServer::addr).collect();
        let haproxy = Haproxy::start(&addrs, 1, scenario::MAXCONN)?;
        Ok(Self { agent: None, haproxy, servers })
    }

    /// Starts this very program as an agent on its HAProxy, and waits until it answers.
    ///
    /// # Errors
    /// It does not start, or ends at once.
    pub fn start_agent(&mut self) -> Result<(), WorldError> {
        let (config, log) = (self.file("agent.yaml"), self.file("agent.log"));
        fs::write(&config, agent_config(self.haproxy.folder())).map_err(WorldError::Agent)?;
        let mut command = Command::new(std::env::current_exe().map_err(WorldError::Agent)?);
        command.arg("--config").arg(config).stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(File::create(log).map_err(WorldError::Agent)?);
        let mut agent = Process::start(&mut command).map_err(WorldError::Agent)?;
        let start = Instant::now();
        while UnixStream::connect(self.file("run/agent.sock")).is_err() {
            if agent.ended().is_some() || start.elapsed() > AGENT_DEADLINE {
                return Err(WorldError::AgentGone { said: self.agent_said() });
            }
            thread::sleep(Duration::from_millis(10));
        }
        self.agent = Some(agent);
        Ok(())
    }

    /// Plays the load of the [scenario] on it.
    ///
    /// # Errors
    /// The thread of the clients does not start.
    pub fn play(&self) -> Result<Running, WorldError> {
        let load = Load::new(self.haproxy.frontend(), scenario::rate);
        let load = load.patience(scenario::PATIENCE).most_in_flight(scenario::MOST_IN_FLIGHT);
        load.start(scenario::LENGTH).map_err(WorldError::Load)
    }

    /// Its HAProxy.
    pub fn haproxy(&self) -> &Haproxy {
        &self.haproxy
    }

    /// Its agent's decisions.
    pub fn journal(&self) -> PathBuf {
        self.file("state/journal.jsonl")
    }

    /// Warm-up requests that its servers have seen.
    pub fn warm_ups(&self) -> u64 {
        self.servers.iter().map(|server| server.counters().warm_ups()).sum()
    }

    /// An agent that should run and does not any more is an error.
    ///
    /// # Errors
    /// With what it said last.
    pub fn check(&mut self) -> Result<(), WorldError> {
        match self.agent.as_mut().and_then(Process::ended) {
            Some(_) => Err(WorldError::AgentGone { said: self.agent_said() }),
            None => Ok(()),
        }
    }

    /// Asks the agent to stop, as a service manager does; whether it did so in good order.
    pub fn stop_agent(&mut self) -> bool {
        let stopped = self.agent.take().map(|mut agent| agent.terminate(AGENT_GRACE));
        stopped.is_none_or(|status| status.is_some_and(|status| status.success()))
    }

    fn agent_said(&self) -> String {
        let log = fs::read_to_string(self.file("agent.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(10)..].join("\n")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.haproxy.folder().join(name)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop_agent();
    }
}

/// Why there is no world.
#[derive(Debug, Error)]
pub enum WorldError {
    /// A small server.
    #[error("cannot start a small server")]
    Server(#[source] io::Error),
    /// Its HAProxy.
    #[error(transparent)]
    Haproxy(#[from] HaproxyError),
    /// Its clients.
    #[error("cannot start the load")]
    Load(#[source] io::Error),
    /// The agent cannot be started.
    #[error("cannot start the agent")]
    Agent(#[source] io::Error),
    /// The agent has ended, or never answered.
    #[error("the agent is gone; its last words:\n{said}")]
    AgentGone {
        /// The end of its log.
        said: String,
    },
}
