//! What HAProxy has, read once for all lanes that ask at the same time.
//!
//! A plan may have hundreds of lanes, and each reading shows the whole backend. So the lanes take turns on the socket, and
//! whoever gets his turn behind a reading that was begun after he had asked takes that one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Work, lock};
use crate::core::names::ServerId;
use crate::core::plan::inventory::{AdminState, BackendState, Inventory, Process};
use crate::core::plan::nodes::merge::{self, Part};
use crate::haproxy::attempt::{Patience, Retry, StepError, within};

/// One reading of the plan's backend.
pub(in crate::haproxy) struct Reading {
    /// On all HAProxys together.
    pub(in crate::haproxy) backend: BackendState,
    /// On each that can be gone by and has it.
    pub(in crate::haproxy) nodes: Vec<NodeReading>,
}

/// What one of them has.
pub(in crate::haproxy) struct NodeReading {
    pub(in crate::haproxy) node: usize,
    pub(in crate::haproxy) process: Process,
    pub(in crate::haproxy) backend: BackendState,
}

/// `process` is none of those that answered `before`: it was restarted, or was away. Nothing is new where there was
/// nothing before.
pub(in crate::haproxy) fn is_new(process: &Process, before: &[Process]) -> bool {
    !before.is_empty() && before.iter().all(|before| process.is_another_than(before))
}

impl NodeReading {
    /// The server is in `state` there.
    pub(in crate::haproxy) fn has(&self, server: ServerId, state: AdminState) -> bool {
        self.backend.server(server).is_some_and(|server| server.state() == state)
    }
}

impl Reading {
    /// Whose reading it is.
    pub(in crate::haproxy) fn processes(&self) -> Vec<Process> {
        self.nodes.iter().map(|node| node.process.clone()).collect()
    }

    /// The server is in `state` on all of them.
    pub(in crate::haproxy) fn has(&self, server: ServerId, state: AdminState) -> bool {
        self.nodes.iter().all(|node| node.has(server, state))
    }
}

/// Which reading: they are counted as they are begun.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::haproxy) struct Number(u64);

/// Whose turn it is on the socket, and what was read last.
#[derive(Default)]
pub(super) struct Turns {
    begun: AtomicU64,
    turn: tokio::sync::Mutex<Option<Latest>>,
}

/// The reading that was made last, or why it could not be.
struct Latest {
    number: Number,
    reading: Result<Arc<Reading>, StepError>,
}

impl Turns {
    /// Until nobody else reads or changes anything.
    pub(super) async fn take(&self) -> impl Drop {
        self.turn.lock().await
    }
}

impl Work {
    /// The reading begun last.
    pub(in crate::haproxy) fn begun(&self) -> Number {
        Number(self.turns.begun.load(Ordering::Relaxed))
    }

    /// What HAProxy has now.
    pub(in crate::haproxy) async fn read(&self, patience: Patience) -> Result<Arc<Reading>, StepError> {
        self.read_after(self.begun(), patience).await
    }

    /// What HAProxy has, in any reading begun after that one.
    pub(in crate::haproxy) async fn read_after(
        &self,
        mut before: Number,
        patience: Patience,
    ) -> Result<Arc<Reading>, StepError> {
        let mut retry = Retry::new(patience);
        loop {
            match self.share(before, patience).await {
                Ok(reading) => return Ok(reading),
                Err(error) => retry.after(error).await?,
            }
            before = self.begun();
        }
    }

    async fn share(&self, before: Number, patience: Patience) -> Result<Arc<Reading>, StepError> {
        let mut turn = self.turns.turn.lock().await;
        if let Some(latest) = turn.as_ref().filter(|latest| latest.number > before) {
            return latest.reading.clone();
        }
        let number = Number(self.turns.begun.fetch_add(1, Ordering::Relaxed) + 1);
        let reading = self.ask(patience).await.map(Arc::new);
        turn.insert(Latest { number, reading }).reading.clone()
    }

    /// A restart is noticed here first: temporary weights are lost by it, or kept by a state file, and no ramp can go on
    /// from that.
    async fn ask(&self, patience: Patience) -> Result<Reading, StepError> {
        let found = within(patience.each_try, self.all.backend(&self.backend, &self.names)).await?;
        let reading = self.reading(found)?;
        let processes = reading.processes();
        let before = std::mem::replace(&mut *lock(&self.processes), processes.clone());
        let restarted = processes.iter().all(|process| is_new(process, &before));
        if restarted && self.weights_are_for_ramps() && !self.plan.before.is_empty() {
            self.give_ramps_up(&StepError::Restarted).await;
        }
        Ok(reading)
    }

    /// What all of them have together.
    fn reading(&self, found: Vec<(usize, Inventory)>) -> Result<Reading, StepError> {
        let (mut nodes, mut parts) = (Vec::new(), Vec::new());
        for (node, Inventory { process, backends, .. }) in found {
            let Some(backend) = backends.into_iter().find(|one| one.id == self.plan.backend) else {
                continue;
            };
            let part = self.all.part(node, backend.clone());
            if matches!(part, Part::Leading(_)) {
                nodes.push(NodeReading { node, process, backend });
            }
            parts.push(part);
        }
        let none = if parts.is_empty() { StepError::Gone } else { StepError::NoneInLine };
        Ok(Reading { backend: merge::backend(parts).ok_or(none)?, nodes })
    }
}
