//! What a lane sees of HAProxy: whether it was restarted, and whether the server is still where the lane has left it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::Walker;
use crate::core::plan::inventory::{AdminState, Process, ServerState};
use crate::haproxy::attempt::StepError;
use crate::haproxy::work::{Reading, is_new};

impl Walker<'_> {
    /// What HAProxy has, with all that this lane has provided: again, if HAProxy was restarted.
    pub(super) async fn read(&mut self) -> Result<Arc<Reading>, StepError> {
        let reading = self.next_reading().await?;
        match self.provided.clone() {
            Some(step) if self.is_reset() => {
                self.provide(&step).await?;
                self.work.read(self.work.patience).await
            }
            _ => Ok(reading),
        }
    }

    /// What HAProxy has, in a reading that was begun after the last sleep.
    pub(super) async fn next_reading(&mut self) -> Result<Arc<Reading>, StepError> {
        let before = self.slept_from.take().unwrap_or_else(|| self.work.begun());
        let reading = self.work.read_after(before, self.work.patience).await?;
        self.notice(&reading);
        Ok(reading)
    }

    /// Waits before the next look at HAProxy: that may be one that another lane has taken meanwhile.
    pub(super) async fn sleep(&mut self, time: Duration) {
        self.slept_from = Some(self.work.begun());
        sleep(time).await;
    }

    /// Notes which HAProxy was restarted, or is back.
    pub(super) fn notice(&mut self, reading: &Reading) {
        let before = std::mem::replace(&mut self.processes, reading.processes());
        self.fresh.extend(self.processes.iter().filter(|process| is_new(process, &before)).cloned());
    }

    /// A HAProxy was restarted, or is back, and may have the server in any state.
    pub(super) fn is_reset(&self) -> bool {
        !self.fresh.is_empty()
    }

    fn is_fresh(&self, process: &Process) -> bool {
        self.fresh.iter().any(|fresh| !process.is_another_than(fresh))
    }

    /// What was not begun before HAProxy was restarted is not begun after it.
    pub(super) fn go_on_only_where_begun(&self) -> Result<(), StepError> {
        let all_are = self.is_reset() && self.processes.iter().all(|process| self.is_fresh(process));
        if all_are && !self.acted { Err(StepError::Outdated) } else { Ok(()) }
    }

    /// The server in `reading`, if nobody else has changed its state.
    pub(super) fn recognise<'r>(&mut self, reading: &'r Reading) -> Result<&'r ServerState, StepError> {
        self.notice(reading);
        self.go_on_only_where_begun()?;
        self.notice_slowstart(reading);
        let gone = || if self.is_reset() { StepError::Dropped } else { StepError::Gone };
        let server = reading.backend.server(self.server).ok_or_else(gone)?;
        let expected = self.state;
        for node in &reading.nodes {
            let is_fresh = self.is_fresh(&node.process);
            let gone = || if is_fresh { StepError::Dropped } else { StepError::Gone };
            let found = node.backend.server(self.server).ok_or_else(gone)?.state();
            let is_passing = self.passes_maint && found == AdminState::Maint;
            let is_known = [Some(expected), self.asked].contains(&Some(found)) || is_passing;
            if !is_known && !is_fresh {
                return Err(StepError::ChangedByOther { found, expected });
            }
        }
        Ok(server)
    }

    /// The server as it is now, in the state it should be in: set again if HAProxy was restarted.
    pub(super) async fn look(&mut self) -> Result<ServerState, StepError> {
        loop {
            let reading = self.read().await?;
            let server = self.recognise(&reading)?;
            if !self.is_reset() || reading.has(self.server, self.state) {
                self.fresh.clear();
                return Ok(server.clone());
            }
            self.set(self.state).await?;
            self.unproven = true;
        }
    }
}
