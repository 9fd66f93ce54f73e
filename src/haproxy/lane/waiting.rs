//! What a lane waits for: a check, warm-up requests, the end of sessions; and how those that do not end are closed.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::Walker;
use crate::core::plan::inventory::ServerState;
use crate::core::settings::WarmUp;
use crate::core::wire::command::Command;
use crate::haproxy::attempt::{Retry, StepError};
use crate::haproxy::work::NodeReading;
use crate::warm_up::probe::WarmUpError;

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
            sleep(self.work.patience.poll).await;
        }
        self.unproven = false;
        Ok(())
    }

    /// Whether it is healthy; if not, why.
    async fn try_health(&mut self, within: Duration) -> Result<Result<(), StepError>, StepError> {
        let server = self.look().await?;
        Ok(match (server.checked, address(&server)) {
            _ if self.is_there() => Ok(()),
            (true, _) if server.check_passed => Ok(()),
            (true, _) => Err(StepError::NotHealthy(within)),
            (false, Some(address)) => {
                let reached = self.work.all.reach(address).await;
                reached.map_err(|source| StepError::NotReached { within, source })
            }
            // On a unix socket, or on the port its clients used: there is nothing to try.
            (false, None) => Ok(()),
        })
    }

    pub(super) async fn warm_up(&mut self, requests: &WarmUp) -> Result<(), StepError> {
        let server = self.look().await?;
        if requests.path.is_none() || self.is_there() {
            return Ok(());
        }
        let address = address(&server).ok_or(WarmUpError::NoAddress)?;
        self.work.all.warm_up(address, server.tls, requests).await?;
        Ok(())
    }

    pub(super) async fn await_drained(
        &mut self,
        at_least: Duration,
        within: Duration,
    ) -> Result<(), StepError> {
        let start = Instant::now();
        loop {
            let server = self.look().await?;
            let (is_empty, waited) = ((server.sessions, server.queued) == (0, 0), start.elapsed());
            if self.is_there() || (is_empty && waited >= at_least) || waited >= within {
                return Ok(());
            }
            sleep(self.work.patience.poll.min(within)).await;
        }
    }
}

/// Where connections to the server go.
fn address(server: &ServerState) -> Option<SocketAddr> {
    let ip = server.address.filter(|_| server.port != 0)?;
    Some(SocketAddr::new(ip, server.port))
}
