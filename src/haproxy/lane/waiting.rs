//! What a lane waits for: a check, warm-up requests, the end of sessions; and how those that do not end are closed.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Walker;
use super::old_workers::OldWorkers;
use super::sticking::Sticking;
use crate::core::plan::inventory::{AdminState, ServerState};
use crate::core::plan::outcome::KeptBy;
use crate::core::settings::WarmUp;
use crate::core::wire::command::Command;
use crate::haproxy::attempt::{Retry, StepError};
use crate::haproxy::work::NodeReading;
use crate::warm_up::probe::{Failure, WarmUpError, Way};

/// How long a server stays in DRAIN; see [`Step::AwaitDrained`](crate::core::plan::step::Step::AwaitDrained).
#[derive(Clone, Copy)]
pub(super) struct Drain {
    pub(super) at_least: Duration,
    pub(super) quiet: Duration,
    pub(super) within: Duration,
    pub(super) closed_after: Option<Duration>,
}

impl Walker<'_> {
    /// Closes the sessions of a server that is still in MAINT.
    pub(super) async fn shut_down(&mut self) -> Result<(), StepError> {
        let mut retry = Retry::new(self.work.patience);
        let name = self.work.server_name(self.server)?;
        loop {
            let reading = self.read().await?;
            self.recognise(&reading)?;
            let nodes = reading.nodes.iter().filter(|node| node.backend.server(self.server).is_some());
            let close = |node: &NodeReading| (node.node, Command::ShutdownSessions { server: name.clone() });
            match self.work.change(&reading, nodes.map(close).collect(), self.work.patience).await {
                Ok(()) => return Ok(()),
                Err(error) => retry.after(error).await?,
            }
        }
    }

    pub(super) async fn await_healthy(&mut self, within: Duration) -> Result<(), StepError> {
        let start = Instant::now();
        while let Err(error) = self.try_health(within).await? {
            if start.elapsed() >= within {
                return Err(error);
            }
            self.sleep(self.work.patience.poll).await;
        }
        self.unproven = false;
        Ok(())
    }

    /// Whether it is healthy; if not, why.
    async fn try_health(&mut self, within: Duration) -> Result<Result<(), StepError>, StepError> {
        let server = self.look().await?;
        // In MAINT it pauses.
        let is_being_checked = server.checked && server.state() != AdminState::Maint;
        Ok(match (is_being_checked, address(&server)) {
            _ if self.is_there() => Ok(()),
            (true, _) if server.check_passed => Ok(()),
            (true, _) => Err(StepError::NotHealthy(within)),
            (false, Some(address)) => {
                let reached = self.work.all.reach(address).await;
                reached.map_err(|source| StepError::NotReached { within, source: Arc::new(source) })
            }
            (false, None) if server.checked => Ok(()),
            (false, None) => {
                let source = io::Error::other("it has neither a check nor an address with a port");
                Err(StepError::NotReached { within, source: Arc::new(source) })
            }
        })
    }

    pub(super) async fn warm_up(&mut self, requests: &WarmUp) -> Result<(), StepError> {
        let server = self.look().await?;
        if requests.path.is_none() || self.is_there() {
            return Ok(());
        }
        let address = address(&server).ok_or(WarmUpError::NoAddress)?;
        let traits = self.work.traits_of(self.server);
        let way = Way { tls: server.tls, proxy: traits.and_then(|traits| traits.proxy) };
        match self.work.all.warm_up(address, way, requests).await {
            Err(WarmUpError::Failing { failed, sent, last: Failure::Broken(last) }) if traits.is_none() => {
                let last = Failure::BrokenOrWithoutProxy(last);
                Err(WarmUpError::Failing { failed, sent, last }.into())
            }
            warmth => warmth.map(drop).map_err(StepError::from),
        }
    }

    pub(super) async fn await_drained(&mut self, drain: Drain) -> Result<(), StepError> {
        let start = Instant::now();
        let (mut sticking, mut old_workers, mut told) = (Sticking::new(start), OldWorkers::default(), None);
        loop {
            let server = self.look().await?;
            let waited = start.elapsed();
            if self.is_there() {
                return Ok(());
            }
            if waited >= drain.within {
                let Some(left) = self.outlasts(&server, waited, drain) else { return Ok(()) };
                if told.replace(KeptBy::OwnSessions) != Some(KeptBy::OwnSessions) {
                    self.tell_kept(told.clone(), left).await;
                }
                self.sleep(self.work.patience.poll.min(left)).await;
                continue;
            }
            let left = drain.within - waited;
            let is_empty = (server.sessions, server.queued) == (0, 0);
            let may_leave = is_empty && waited >= drain.at_least;
            let kept = match sticking.look(self, &server, drain.quiet, may_leave).await {
                Ok(None) if may_leave => old_workers.look(self).await,
                kept => kept,
            };
            match kept {
                Ok(None) if may_leave => return Ok(()),
                Ok(by) if by != told => {
                    told = by;
                    self.tell_kept(told.clone(), left).await;
                }
                // Not known: it is asked again.
                Ok(_) | Err(_) => {}
            }
            self.sleep(self.work.patience.poll.min(left)).await;
        }
    }

    /// For how long `server` stays in DRAIN at most, behind its deadline, as MAINT would close its sessions; `None`: not at all.
    fn outlasts(&self, server: &ServerState, waited: Duration, drain: Drain) -> Option<Duration> {
        let closes = self.work.traits_of(self.server).is_some_and(|traits| traits.closes_own);
        let end = drain.closed_after.map_or(Duration::MAX, |after| drain.within.saturating_add(after));
        let left = end.checked_sub(waited).filter(|left| !left.is_zero());
        left.filter(|_| closes && server.sessions > 0)
    }
}

/// Where connections to the server go.
fn address(server: &ServerState) -> Option<SocketAddr> {
    let ip = server.address.filter(|_| server.port != 0)?;
    Some(SocketAddr::new(ip, server.port))
}
