//! What comes before the first state of a lane and after its last: an address for a slot, a server
//! that is added, and one that is deleted.
//!
//! A restart of HAProxy takes all of it away: slots have their placeholders again, servers that were
//! added are gone. So the lane remembers what it has provided, and does it again.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::Walker;
use crate::core::plan::inventory::{AdminState, ServerState};
use crate::core::plan::step::{Purpose, Step};
use crate::core::settings::spares::Keywords;
use crate::core::wire::ability::can_wait;
use crate::core::wire::command::Command;
use crate::core::wire::response::Refusal;
use crate::haproxy::attempt::{Retry, StepError};
use crate::haproxy::work::Reading;

/// So long one `wait` lasts: short beside the socket's own timeout, and the stop of the agent.
const WAIT: Duration = Duration::from_millis(1000);

impl Walker<'_> {
    /// Does `step`, a [`Step::SetAddress`] or [`Step::Add`], until HAProxy shows it.
    pub(super) async fn provide(&mut self, step: &Step) -> Result<(), StepError> {
        let mut retry = Retry::new(self.work.patience);
        loop {
            let reading = self.work.read(self.work.patience).await?;
            self.notice(&reading);
            let server = reading.backend.server(self.server);
            let command = match step {
                Step::SetAddress { address, .. } => self.address_command(server, *address)?,
                Step::Add { address, keywords, .. } => self.add_command(server, *address, keywords)?,
                _ => None,
            };
            let Some(command) = command else { break };
            self.acted = true;
            if let Err(error) = self.work.change(&command, self.work.patience).await {
                retry.after(error).await?;
            } else if !self.shows(&command).await? {
                retry.after(StepError::NoEffect).await?;
            }
        }
        self.provided = Some(step.clone());
        Ok(())
    }

    /// What is still to be done so that the slot has its address.
    fn address_command(
        &self,
        slot: Option<&ServerState>,
        address: SocketAddr,
    ) -> Result<Option<Command>, StepError> {
        let slot = slot.ok_or(StepError::Gone)?;
        if slot.is_at(address) {
            return Ok(None);
        }
        // A server that serves is never sent elsewhere.
        self.expect_maint(slot)?;
        Ok(Some(Command::SetAddress { server: self.work.server_name(self.server)?, address }))
    }

    /// What is still to be done so that the server is there, with its checks on.
    fn add_command(
        &self,
        server: Option<&ServerState>,
        address: SocketAddr,
        keywords: &Keywords,
    ) -> Result<Option<Command>, StepError> {
        let name = self.work.server_name(self.server)?;
        let Some(server) = server else {
            return Ok(Some(Command::AddServer { server: name, address, keywords: keywords.clone() }));
        };
        if !server.is_at(address) {
            return Err(StepError::Taken);
        }
        let (health, agent) = (keywords.has_check(), keywords.has_agent_check());
        if (server.checked || !health) && (self.agent_enabled || !agent) {
            return Ok(None);
        }
        self.expect_maint(server)?;
        Ok(Some(Command::EnableChecks { server: name, health, agent }))
    }

    fn expect_maint(&self, server: &ServerState) -> Result<(), StepError> {
        match server.state() {
            AdminState::Maint => Ok(()),
            found => Err(StepError::ChangedByOther { found, expected: AdminState::Maint }),
        }
    }

    /// Whether HAProxy shows what `command` was to bring about.
    async fn shows(&mut self, command: &Command) -> Result<bool, StepError> {
        let reading = self.work.read(self.work.patience).await?;
        self.notice(&reading);
        let server = reading.backend.server(self.server);
        Ok(match command {
            Command::SetAddress { address, .. } => server.is_some_and(|server| server.is_at(*address)),
            Command::AddServer { .. } => {
                self.agent_enabled = false;
                server.is_some()
            }
            Command::EnableChecks { health, agent, .. } => {
                self.agent_enabled = *agent;
                server.is_some_and(|server| server.checked || !health)
            }
            _ => true,
        })
    }

    /// The server was not there when the lane began.
    pub(super) fn adds(&self) -> bool {
        self.lane.steps.iter().any(|step| matches!(step, Step::Add { .. }))
    }

    /// The server is on its way out, and that it is gone is all that was wanted.
    pub(super) fn is_leaving(&self) -> bool {
        let is_deleted = self.lane.steps.iter().any(|step| matches!(step, Step::Remove { .. }));
        self.work.plan.purpose == Purpose::Remove && is_deleted
    }

    /// Deletes the server once nothing holds on to it.
    pub(super) async fn remove(&mut self, within: Duration) -> Result<(), StepError> {
        let (start, patience) = (Instant::now(), self.work.patience);
        let name = self.work.server_name(self.server)?;
        let mut retry = Retry::new(patience);
        loop {
            let reading = self.work.read(patience).await?;
            self.notice(&reading);
            let Some(server) = reading.backend.server(self.server) else { return Ok(()) };
            self.expect_maint(server)?;
            self.await_removable(&reading).await;
            let delete = Command::DeleteServer { server: name.clone() };
            match self.work.change(&delete, patience).await {
                Ok(()) => {
                    let is_there = self.work.read(patience).await?.backend.server(self.server).is_some();
                    return if is_there { Err(StepError::NoEffect) } else { Ok(()) };
                }
                Err(error) if error.refusal() == Some(&Refusal::InUse) && start.elapsed() < within => {
                    sleep(patience.poll).await;
                }
                Err(error) if error.refusal() == Some(&Refusal::NoSuchServer) => return Ok(()),
                Err(error) => retry.after(error).await?,
            }
        }
    }

    /// Where HAProxy can tell when that is; whatever it says, the deletion tells more.
    async fn await_removable(&self, reading: &Reading) {
        if !can_wait(&reading.process) {
            return;
        }
        if let Ok(server) = self.work.server_name(self.server) {
            let wait = Command::AwaitRemovable { server, within: WAIT };
            // A refusal, or an old HAProxy: the deletion is tried all the same.
            let _ = self.work.change(&wait, self.work.patience).await;
        }
    }
}
