//! What the lanes of one plan share: HAProxy, the weights set so far, the way to change it.
//!
//! Every change is followed by a reading: HAProxy's "yes" does not say that anything has changed
//! (seen on HAProxy 2.6.12, `set server ... state` on a tracking server).

use std::collections::{HashMap, HashSet};
use std::future::pending;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Semaphore, SemaphorePermit, mpsc, watch};

mod reading;

use self::reading::Turns;
pub(super) use self::reading::{NodeReading, Number, Reading, is_new};

use super::attempt::{Patience, Retry, StepError, within};
use super::nodes::Nodes;
use crate::core::names::{Names, ServerId};
use crate::core::plan::inventory::{Inventory, Process};
use crate::core::plan::outcome::{CallOff, Changes, Outcome};
use crate::core::plan::step::{Lane, Plan, Purpose};
use crate::core::plan::weights::WeightList;
use crate::core::settings::server_lines::{ServerLines, ServerTraits};
use crate::core::units::Weight;
use crate::core::wire::command::{Command, Name, NameError, ServerName};
use crate::core::wire::guarded::Guarded;
use crate::report::chain;

/// So many lanes at once may be between a reading and the change that follows from it: more would only make the readings old.
const MOST_AT_ONCE: u32 = 32;

/// What the lanes of one plan share.
pub(super) struct Work {
    pub(super) all: Arc<Nodes>,
    pub(super) names: Names,
    pub(super) plan: Plan,
    pub(super) patience: Patience,
    /// What haproxy.cfg says of the servers.
    pub(super) lines: Arc<ServerLines>,
    /// The processes whose reading the plan was made from.
    pub(super) made_on: Vec<Process>,
    /// None of them is there any more.
    is_outdated: bool,
    backend: Name,
    outcomes: mpsc::Sender<Outcome>,
    changes: watch::Receiver<Changes>,
    /// Held from the reading a change is based on to the one that confirms it: by each lane for itself, wholly where
    /// the weights of all are put right.
    gate: Semaphore,
    turns: Turns,
    /// Servers that a lane has taken out of service or is about to, and has not brought back: a reading that another lane goes by
    /// may still show them serving.
    leaving: Mutex<HashSet<ServerId>>,
    /// Every weight this plan has tried to set, the latest last.
    tried: Mutex<HashMap<ServerId, Vec<Weight>>>,
    /// The processes that answered last.
    processes: Mutex<Vec<Process>>,
    ramps_given_up: AtomicBool,
}

impl Work {
    /// # Errors
    /// If the backend's name is none that HAProxy could have.
    pub(super) fn new(
        all: Arc<Nodes>,
        names: Names,
        plan: Plan,
        patience: Patience,
        changes: watch::Receiver<Changes>,
        outcomes: mpsc::Sender<Outcome>,
    ) -> Result<Self, NameError> {
        let (found, mut made_on) = (&plan.found, all.processes());
        if let Some(found) = found {
            made_on.retain(|process| found.pids.contains(&Some(process.pid)));
        }
        Ok(Self {
            backend: Name::new(&names.of_backend(plan.backend))?,
            is_outdated: made_on.is_empty() && found.is_some(),
            made_on,
            all,
            names,
            plan,
            patience,
            lines: Arc::default(),
            outcomes,
            changes,
            gate: Semaphore::new(MOST_AT_ONCE as usize),
            turns: Turns::default(),
            leaving: Mutex::default(),
            tried: Mutex::default(),
            processes: Mutex::default(),
            ramps_given_up: AtomicBool::new(false),
        })
    }

    /// Those of several HAProxys that have the server of `lane` otherwise than the plan goes by: they lag behind, or have refused.
    pub(super) fn unlike(&self, lane: &Lane) -> Vec<Process> {
        let latest = self.all.latest();
        let is_unlike = |inventory: &&Arc<Inventory>| {
            let found = inventory.backend(self.plan.backend).and_then(|backend| backend.server(lane.server));
            found.is_some_and(|server| server.state() != lane.from)
        };
        latest.iter().flatten().filter(is_unlike).map(|inventory| inventory.process.clone()).collect()
    }

    /// What haproxy.cfg says of `server`; `None`: that is not known.
    pub(super) fn traits_of(&self, server: ServerId) -> Option<ServerTraits> {
        self.lines.traits_of(&self.names.of_server(server))
    }

    /// HAProxy is not the one any more that the plan was made on.
    pub(super) fn is_outdated(&self) -> bool {
        self.is_outdated
    }

    /// Until a lane may go by a reading.
    pub(super) async fn enter(&self) -> Option<SemaphorePermit<'_>> {
        // The semaphore is never closed.
        self.gate.acquire().await.ok()
    }

    /// Notes that `server` is to be taken out of service, if enough others serve then, whatever other lanes do meanwhile.
    pub(super) fn take_out(&self, server: ServerId, reading: &Reading, least: u32) -> Result<(), StepError> {
        let (mut leaving, mut serves) = (lock(&self.leaving), false);
        // Where a HAProxy is not like the others, the server may serve on that one alone.
        for backend in reading.nodes.iter().map(|node| &node.backend).chain([&reading.backend]) {
            let (mine, others): (Vec<_>, Vec<_>) =
                backend.serving_by_themselves().partition(|serving| serving.id == server);
            if mine.is_empty() {
                continue;
            }
            let rest = others.iter().filter(|other| !leaving.contains(&other.id)).count();
            if rest < least as usize {
                return Err(StepError::TooFewLeft { rest, least });
            }
            serves = true;
        }
        if serves {
            leaving.insert(server);
        }
        Ok(())
    }

    /// HAProxy has shown `server` READY.
    pub(super) fn brought_back(&self, server: ServerId) {
        lock(&self.leaving).remove(&server);
    }

    /// Sends one command line to each of these, unless it is not as it was read any more.
    pub(super) async fn change(
        &self,
        reading: &Reading,
        commands: Vec<(usize, Command)>,
        patience: Patience,
    ) -> Result<(), StepError> {
        let read = |node: usize| reading.nodes.iter().find(|read| read.node == node);
        let guarded = |(node, command)| {
            let NodeReading { process, backend, .. } = read(node)?;
            Some((node, Guarded::new(command, process, backend, &self.names)))
        };
        let changes = commands.into_iter().filter_map(guarded).collect();
        let _turn = self.turns.take().await;
        within(patience.each_try, self.all.change(changes, &self.names)).await
    }

    /// Sets weights until HAProxy shows them; but nothing on a process that is none of `since`, if any are named.
    pub(super) async fn set_weights(
        &self,
        weights: &WeightList,
        since: &[Process],
        patience: Patience,
    ) -> Result<(), StepError> {
        let named = weights.iter().map(|&(id, weight)| Ok((self.server_name(id)?, weight)));
        let named = named.collect::<Result<Vec<_>, NameError>>()?;
        let mut retry = Retry::new(patience);
        loop {
            let reading = self.read(patience).await?;
            let before = reading.processes();
            if before.iter().any(|process| is_new(process, since)) {
                return Err(StepError::Outdated);
            }
            let is_so = |node: &NodeReading| {
                let has = |id, weight| node.backend.server(id).is_none_or(|server| server.weight == weight);
                weights.iter().all(|&(id, weight)| has(id, weight))
            };
            if reading.nodes.iter().all(is_so) {
                return Ok(());
            }
            self.check_weights(weights, &reading)?;
            for &(server, weight) in weights {
                self.tried().entry(server).or_default().push(weight);
            }
            if let Err(error) = self.send_weights(weights, &named, &reading, patience).await {
                retry.after(error).await?;
                continue;
            }
            let reading = self.read(patience).await?;
            if reading.nodes.iter().all(is_so) {
                return Ok(());
            }
            // The process that took them has gone, and the weights with it.
            let restarted = reading.processes().iter().any(|process| is_new(process, &before));
            retry.after(if restarted { StepError::Restarted } else { StepError::NoEffect }).await?;
        }
    }

    /// A weight that is neither the one that the plan was made for nor one of its own is somebody else's.
    fn check_weights(&self, weights: &WeightList, reading: &Reading) -> Result<(), StepError> {
        for &(id, weight) in weights {
            let expected = self.plan.found.as_ref().and_then(|found| found.weight(id));
            let Some((expected, server)) = expected.zip(reading.backend.server(id)) else { continue };
            let found = server.weight;
            let is_ours = || self.tried().get(&id).is_some_and(|tried| tried.contains(&found));
            if ![expected, weight].contains(&found) && !is_ours() {
                return Err(StepError::ReweighedByOther { found, expected });
            }
        }
        Ok(())
    }

    /// One line after the other, to each HAProxy: those that lack a server are not told of its weight.
    async fn send_weights(
        &self,
        weights: &WeightList,
        named: &[(ServerName, Weight)],
        reading: &Reading,
        patience: Patience,
    ) -> Result<(), StepError> {
        let mut lines: Vec<Vec<(usize, Command)>> = Vec::new();
        for node in &reading.nodes {
            let has = |id: ServerId| node.backend.server(id).is_some();
            let theirs = weights.iter().zip(named).filter(|((id, _), _)| has(*id));
            let theirs = Command::set_weights(theirs.map(|(_, named)| named.clone()));
            lines.resize_with(lines.len().max(theirs.len()), Vec::new);
            for (line, command) in lines.iter_mut().zip(theirs) {
                line.push((node.node, command));
            }
        }
        for line in lines {
            self.change(reading, line, patience).await?;
        }
        Ok(())
    }

    /// Puts temporary weights right: those of `rightful` that HAProxy shows with a weight that
    /// this plan has set. True if there was anything to do.
    pub(super) async fn put_weights_right(
        &self,
        rightful: &WeightList,
        patience: Patience,
    ) -> Result<bool, StepError> {
        if self.tried().is_empty() {
            return Ok(false);
        }
        let reading = self.read(patience).await?;
        let is_ours = |&(id, weight): &(ServerId, Weight)| {
            let tried = self.tried();
            let is_left = |found| found != weight && tried.get(&id).is_some_and(|all| all.contains(&found));
            let found = reading.nodes.iter().filter_map(|node| node.backend.server(id));
            found.map(|server| server.weight).any(is_left)
        };
        let temporary: WeightList = rightful.iter().copied().filter(is_ours).collect();
        if temporary.is_empty() {
            return Ok(false);
        }
        // The semaphore is never closed.
        let _alone = self.gate.acquire_many(MOST_AT_ONCE).await.ok();
        self.set_weights(&temporary, &[], patience).await.map(|()| true)
    }

    /// The weight of `server` that this plan has set last.
    pub(super) fn last_weight(&self, server: ServerId) -> Option<Weight> {
        self.tried().get(&server).and_then(|weights| weights.last().copied())
    }

    pub(super) fn server_name(&self, server: ServerId) -> Result<ServerName, NameError> {
        ServerName::new(self.backend.as_str(), &self.names.of_server(server))
    }

    /// No weight is set any more, and no time is spent between weights.
    pub(super) fn has_given_ramps_up(&self) -> bool {
        self.ramps_given_up.load(Ordering::Relaxed)
    }

    /// Adds servers without ramps from now on, and tells it once.
    pub(super) async fn give_ramps_up(&self, error: &StepError) {
        if self.ramps_given_up.swap(true, Ordering::Relaxed) {
            return;
        }
        let (backend, error) = (self.plan.backend, chain(error));
        self.tell(Outcome::RampGivenUp { backend, server: None, error, by_other: false }).await;
    }

    /// Whether weights are only there for ramps, and so may fail.
    pub(super) fn weights_are_for_ramps(&self) -> bool {
        self.plan.purpose == Purpose::Add
    }

    /// Until the lane of `server` is called off.
    pub(super) async fn called_off(&self, server: ServerId) -> CallOff {
        let mut changes = self.changes.clone();
        let changed = changes.wait_for(|changes| changes.call_off(server).is_some()).await;
        let how = changed.ok().and_then(|changes| changes.call_off(server));
        match how {
            Some(how) => how,
            // Whoever could have called it off has gone.
            None => pending().await,
        }
    }

    /// Until the weight of `server` may go on rising.
    pub(super) async fn let_go(&self, server: ServerId) {
        let mut changes = self.changes.clone();
        if changes.wait_for(|changes| !changes.is_held(server)).await.is_err() {
            pending().await
        }
    }

    /// Until there is nothing left to do.
    pub(super) async fn ended(&self) {
        let mut changes = self.changes.clone();
        if changes.wait_for(|changes| self.is_ended_by(changes)).await.is_err() {
            pending().await
        }
    }

    /// Until the agent stops.
    pub(super) async fn stopped(&self) {
        let mut changes = self.changes.clone();
        if changes.wait_for(|changes| changes.stop).await.is_err() {
            pending().await
        }
    }

    /// Until a lane after the first `known` ones is added.
    pub(super) async fn widened(&self, known: usize) -> Vec<Lane> {
        let mut changes = self.changes.clone();
        let changed = changes.wait_for(|changes| changes.added.len() > known).await;
        let more = changed.ok().map(|changes| changes.added[known..].to_vec());
        match more {
            Some(more) => more,
            None => pending().await,
        }
    }

    /// No step leaves fewer serving.
    pub(super) fn least_serving(&self) -> u32 {
        self.changes.borrow().least_serving.unwrap_or(self.plan.least_serving)
    }

    pub(super) fn is_called_off(&self) -> bool {
        self.is_ended_by(&self.changes.borrow())
    }

    fn is_ended_by(&self, changes: &Changes) -> bool {
        let mut lanes = self.plan.lanes.iter().chain(&changes.added).peekable();
        let is_turned_round =
            lanes.peek().is_some() && lanes.all(|lane| changes.taken_back.contains(&lane.server));
        changes.stop || is_turned_round
    }

    /// HAProxy was restarted with a configuration that lacks `server`.
    pub(super) async fn tell_dropped(&self, server: ServerId) {
        let (backend, purpose) = (self.plan.backend, self.plan.purpose);
        self.tell(Outcome::Dropped { backend, server, purpose }).await;
    }

    /// Reports `outcome`. While the agent stops nobody may be listening any more: then it is
    /// reported only if there is room.
    pub(super) async fn tell(&self, outcome: Outcome) {
        tokio::select! {
            biased;
            place = self.outcomes.reserve() => {
                // Without a receiver nobody wants to know.
                if let Ok(place) = place {
                    place.send(outcome);
                }
            }
            () = self.stopped() => {}
        }
    }

    fn tried(&self) -> MutexGuard<'_, HashMap<ServerId, Vec<Weight>>> {
        lock(&self.tried)
    }
}

/// A panic elsewhere cannot leave it half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
