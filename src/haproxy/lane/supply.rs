//! What comes before the first state of a lane and after its last: an address for a slot, a server
//! that is added, and one that is deleted.
//!
//! A restart of HAProxy takes all of it away: slots have their placeholders again, servers that were
//! added are gone. So the lane remembers what it has provided, and does it again.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::{Taken, Walker};
use crate::core::plan::inventory::{AdminState, ServerState};
use crate::core::plan::step::{Purpose, Step};
use crate::core::plan::supply;
use crate::core::settings::spares::Keywords;
use crate::core::wire::command::Command;
use crate::core::wire::response::Refusal;
use crate::core::wire::version::{Ability, keywords_for};
use crate::haproxy::attempt::{Retry, StepError};
use crate::haproxy::work::Reading;

/// So long one `wait` lasts: short beside the socket's own timeout, and the stop of the agent.
const WAIT: Duration = Duration::from_millis(1000);

/// Sessions that go on for so long in MAINT may go on for hours: nothing else waits for them.
const LINGERS: Duration = Duration::from_millis(1000);

impl Walker<'_> {
    /// Does `step`, a [`Step::SetAddress`] or [`Step::Add`], until HAProxy shows it.
    pub(super) async fn provide(&mut self, step: &Step) -> Result<(), StepError> {
        let mut retry = Retry::new(self.work.patience);
        loop {
            let reading = self.work.read(self.work.patience).await?;
            self.notice(&reading);
            self.go_on_only_where_begun()?;
            let mut commands = Vec::new();
            for node in &reading.nodes {
                let server = node.backend.server(self.server);
                let command = match step {
                    Step::SetAddress { address, .. } => self.address_command(server, *address)?,
                    Step::Add { address, keywords, .. } => {
                        let name = self.work.server_name(self.server)?;
                        let keywords =
                            keywords_for(&node.process, &node.backend, name.server.as_str(), keywords);
                        self.add_command(server, *address, &keywords)?
                    }
                    _ => None,
                };
                commands.extend(command.map(|command| (node.node, command)));
            }
            if commands.is_empty() {
                self.expect_as_asked(&reading, step)?;
                break;
            }
            self.acted = true;
            if let Err(error) = self.work.change(&reading, commands.clone(), self.work.patience).await {
                match error.refusal() {
                    // Whoever brings this node in line was quicker: what stands there now is seen at the next look.
                    Some(Refusal::NameTaken) => retry.until_shown(error).await?,
                    _ => retry.after(error).await?,
                }
            } else if !self.show(&commands).await? {
                // A slot may have its address only a moment after HAProxy has said yes (seen on 3.2.26).
                retry.until_shown(StepError::NoEffect).await?;
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

    /// A server that was added is what it was to be: HAProxy takes nearly any word for a number.
    fn expect_as_asked(&self, reading: &Reading, step: &Step) -> Result<(), StepError> {
        let Step::Add { keywords, .. } = step else { return Ok(()) };
        let servers = reading.nodes.iter().filter_map(|node| node.backend.server(self.server));
        let deviation = servers.filter_map(|server| supply::deviation(server, keywords)).next();
        deviation.map_or(Ok(()), |deviation| Err(StepError::NotAsAsked(deviation)))
    }

    fn expect_maint(&self, server: &ServerState) -> Result<(), StepError> {
        match server.state() {
            AdminState::Maint => Ok(()),
            found => Err(StepError::ChangedByOther { found, expected: AdminState::Maint }),
        }
    }

    /// Whether each HAProxy shows what its command was to bring about.
    async fn show(&mut self, commands: &[(usize, Command)]) -> Result<bool, StepError> {
        let reading = self.work.read(self.work.patience).await?;
        self.notice(&reading);
        // One that does not answer any more is brought in line when it is back.
        let node = |number: usize| reading.nodes.iter().find(|node| node.node == number);
        let shown: Vec<_> =
            commands.iter().filter_map(|(number, command)| Some((node(*number)?, command))).collect();
        Ok(shown.into_iter().all(|(node, command)| self.shows(node.backend.server(self.server), command)))
    }

    fn shows(&mut self, server: Option<&ServerState>, command: &Command) -> bool {
        match command {
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
        }
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

    /// Deletes the server once nothing holds on to it; not if sessions have outlasted its drain.
    pub(super) async fn remove(&mut self, within: Duration) -> Result<Taken, StepError> {
        let (start, patience) = (Instant::now(), self.work.patience);
        let mut retry = Retry::new(patience);
        loop {
            let reading = self.next_reading().await?;
            self.go_on_only_where_begun()?;
            let deletions = self.deletions(&reading)?;
            if deletions.is_empty() {
                return Ok(Taken::Done);
            }
            if reading.backend.server(self.server).is_some_and(|server| server.sessions > 0) {
                if start.elapsed() >= LINGERS {
                    return Ok(Taken::Skipped);
                }
                self.sleep(patience.poll).await;
                continue;
            }
            self.await_removable(&reading).await;
            match self.work.change(&reading, deletions, patience).await {
                Ok(()) => {
                    let after = self.work.read(patience).await?;
                    let is_there = after.nodes.iter().any(|node| node.backend.server(self.server).is_some());
                    return if is_there { Err(StepError::NoEffect) } else { Ok(Taken::Done) };
                }
                Err(error) if error.refusal() == Some(&Refusal::InUse) && start.elapsed() < within => {
                    self.sleep(patience.poll).await;
                }
                Err(error) if error.refusal() == Some(&Refusal::NoSuchServer) => {
                    if reading.nodes.len() == 1 || start.elapsed() >= within {
                        return Ok(Taken::Done);
                    }
                    self.sleep(patience.poll).await;
                }
                Err(error) => retry.after(error).await?,
            }
        }
    }

    /// On each HAProxy that has the server.
    fn deletions(&self, reading: &Reading) -> Result<Vec<(usize, Command)>, StepError> {
        let mut deletions = Vec::new();
        for node in &reading.nodes {
            if let Some(server) = node.backend.server(self.server) {
                self.expect_maint(server)?;
                let server = self.work.server_name(self.server)?;
                deletions.push((node.node, Command::DeleteServer { server }));
            }
        }
        Ok(deletions)
    }

    /// Where HAProxy can tell when that is; whatever it says, the deletion tells more.
    async fn await_removable(&self, reading: &Reading) {
        let Ok(server) = self.work.server_name(self.server) else { return };
        let can = reading.nodes.iter().filter(|node| Ability::Wait.is_in(&node.process));
        let wait = Command::AwaitRemovable { server, within: WAIT };
        let waits: Vec<_> = can.map(|node| (node.node, wait.clone())).collect();
        if !waits.is_empty() {
            // A refusal: the deletion is tried all the same.
            let _ = self.work.change(reading, waits, self.work.patience).await;
        }
    }
}
