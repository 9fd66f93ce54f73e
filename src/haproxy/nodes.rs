//! All HAProxys that are to be alike: asked and changed side by side.
//!
//! In: commands for each. Out: what they answered, together. One that does not answer keeps nobody waiting:
//! when another has answered it gets [`GRACE`], and after that it is asked in the background only, until it
//! answers. What it has missed meanwhile it is told by [`Nodes::align`]. If none answers, that is an error.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

mod align;

use super::error::{Phase, RuntimeError};
use super::hands::Hands;
use crate::core::log::log_format::words::Variable;
use crate::core::names::{Names, ServerId};
use crate::core::plan::inventory::{AdminState, Inventory, Process};
use crate::core::plan::nodes::align::Correction;
use crate::core::plan::nodes::{self, Difference, Kept, NodeState};
use crate::core::settings::WarmUp;
use crate::core::wire::command::{Name, ServerName};
use crate::core::wire::guarded::Guarded;
use crate::core::wire::response::Refusal;
use crate::report::chain;
use crate::warm_up::probe::{WarmUpError, Warmth, Way};

/// Behind the first that answers the others have so long.
const GRACE: Duration = Duration::from_secs(1);

/// What was told so long ago at most is what a lane may meet that has read before.
const JUST: Duration = Duration::from_secs(5);

/// Several HAProxys, or one.
#[derive(Debug)]
pub(super) struct Nodes {
    nodes: Vec<Node>,
    standings: Mutex<nodes::Nodes>,
    /// Held while nodes are brought in line.
    aligning: tokio::sync::Mutex<()>,
    changing: Mutex<Changing>,
    /// What those that lagged behind were told last, and when.
    told: Mutex<Vec<(Instant, Correction)>>,
}

/// What is being changed.
#[derive(Debug, Default)]
struct Changing {
    under_way: usize,
    ended: Option<Instant>,
}

/// A change, until it has been made or was given up.
struct Change<'a>(&'a Mutex<Changing>);

impl<'a> Change<'a> {
    fn begin(changing: &'a Mutex<Changing>) -> Self {
        lock(changing).under_way += 1;
        Self(changing)
    }
}

impl Drop for Change<'_> {
    fn drop(&mut self) {
        let mut changing = lock(self.0);
        (changing.under_way, changing.ended) = (changing.under_way - 1, Some(Instant::now()));
    }
}

#[derive(Debug)]
struct Node {
    hands: Arc<Hands>,
    /// Asks one that does not answer, until it does.
    probe: Mutex<Option<JoinHandle<Result<Inventory, RuntimeError>>>>,
    /// What it answered last.
    latest: Mutex<Option<Arc<Inventory>>>,
    /// The process that was asked last for all it has.
    process: Mutex<Option<Process>>,
}

impl Node {
    fn end_probe(&self) {
        if let Some(probe) = lock(&self.probe).take() {
            probe.abort();
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.end_probe();
    }
}

impl Nodes {
    /// At least one.
    pub(super) fn new(hands: Vec<Hands>) -> Self {
        let standings = Mutex::new(nodes::Nodes::new(hands.len()));
        let node = |hands| Node {
            hands: Arc::new(hands),
            probe: Mutex::default(),
            latest: Mutex::default(),
            process: Mutex::default(),
        };
        Self {
            nodes: hands.into_iter().map(node).collect(),
            standings,
            aligning: tokio::sync::Mutex::default(),
            changing: Mutex::default(),
            told: Mutex::default(),
        }
    }

    /// There is more than one, whether it answers or not.
    pub(super) fn are_several(&self) -> bool {
        self.nodes.len() > 1
    }

    /// See [`nodes::Nodes::keep`].
    pub(super) fn keep(&self, kept: Vec<Kept>) {
        self.standings().keep(kept);
    }

    /// How each of them stands.
    pub(super) fn states(&self) -> Vec<NodeState> {
        self.standings().states()
    }

    /// What each of several has answered last.
    pub(super) fn latest(&self) -> Vec<Option<Arc<Inventory>>> {
        self.nodes.iter().map(|node| lock(&node.latest).clone()).collect()
    }

    /// One that lags behind is being told to have `server` in `state`, or has just been.
    pub(super) fn is_telling(&self, server: ServerId, state: AdminState) -> bool {
        let correction = Correction::State { server, to: state };
        lock(&self.told).iter().any(|(at, told)| at.elapsed() < JUST && *told == correction)
    }

    /// See [`nodes::Nodes::differences`].
    pub(super) fn differences(&self) -> Vec<Difference> {
        self.standings().differences().to_vec()
    }

    /// Whose the last inventory was.
    pub(super) fn processes(&self) -> Vec<Process> {
        self.nodes.iter().filter_map(|node| lock(&node.process).clone()).collect()
    }

    /// A variable of their environment, where all that answer have the same; `None`: one of them is still to be asked.
    pub(super) fn variable(&self, name: &str) -> Option<Variable> {
        let asked = self.asked();
        let told: Option<Vec<_>> =
            asked.into_iter().map(|node| self.nodes[node].hands.variable(name)).collect();
        let mut told = told?.into_iter();
        let first = told.next()?;
        Some(if told.all(|other| other == first) { first } else { Variable::Unknown })
    }

    /// What all of them have, as one; in a dry run, what they would have.
    ///
    /// # Errors
    /// If none answers: what the first of them said.
    pub(super) async fn inventory(&self, names: &Names) -> Result<Inventory, RuntimeError> {
        let since = Instant::now();
        let mut answers: Vec<Option<Result<Inventory, RuntimeError>>> = Vec::new();
        answers.resize_with(self.nodes.len(), || None);
        let asked = self.asked();
        for (node, answer) in answers.iter_mut().enumerate() {
            match asked.contains(&node) {
                // What it was asked while it was away is from before.
                true => self.nodes[node].end_probe(),
                false => *answer = self.probed(node, names).await,
            }
        }
        // What a node says that was away is from before.
        let all_now = answers.iter().all(Option::is_none);
        let ask = |node: usize| {
            let (hands, names) = (self.nodes[node].hands.clone(), names.clone());
            async move { hands.inventory(&names).await }
        };
        for (node, answer) in self.gather(&asked, ask).await {
            answers[node] = Some(answer);
        }
        self.take(answers, all_now && self.has_been_still(since))
    }

    /// No plan has changed anything since then.
    fn has_been_still(&self, since: Instant) -> bool {
        let Changing { under_way, ended } = *lock(&self.changing);
        under_way == 0 && ended.is_none_or(|ended| ended < since)
    }

    fn take(
        &self,
        answers: Vec<Option<Result<Inventory, RuntimeError>>>,
        settled: bool,
    ) -> Result<Inventory, RuntimeError> {
        let mut error = None;
        let mut told = Vec::new();
        for (node, answer) in self.nodes.iter().zip(answers) {
            told.push(match answer {
                // An old worker shows and does what nobody sees any more.
                Some(Ok(old)) if old.process.stopping && self.are_several() => {
                    Some(Err("the HAProxy that answers is an old one that is stopping".to_owned()))
                }
                Some(Ok(inventory)) => {
                    *lock(&node.process) = Some(inventory.process.clone());
                    if self.are_several() {
                        *lock(&node.latest) = Some(Arc::new(inventory.clone()));
                    }
                    Some(Ok(inventory))
                }
                Some(Err(why)) => {
                    let text = chain(&why);
                    error = error.or(Some(why));
                    Some(Err(text))
                }
                None => None,
            });
        }
        let merged = self.standings().take(told, settled, Instant::now().into_std());
        merged.ok_or_else(|| error.unwrap_or_else(|| self.none_answers()))
    }

    /// One backend, on each node that answers and has it.
    ///
    /// # Errors
    /// If none does: what the first of them said.
    pub(super) async fn backend(
        &self,
        backend: &Name,
        names: &Names,
    ) -> Result<Vec<(usize, Inventory)>, RuntimeError> {
        let asked = self.asked();
        let ask = |node: usize| {
            let (hands, backend, names) = (self.nodes[node].hands.clone(), backend.clone(), names.clone());
            async move { hands.backend(&backend, &names).await }
        };
        let answers = self.gather(&asked, ask).await;
        let mut found = Vec::new();
        let mut errors = Vec::new();
        for (node, answer) in answers {
            match answer {
                Ok(inventory) => found.push((node, inventory)),
                Err(error) => errors.push((node, error)),
            }
        }
        let goes_on = |(_, inventory): &(usize, Inventory)| !inventory.process.stopping;
        if self.are_several() && found.iter().any(goes_on) {
            found.retain(goes_on);
        }
        if found.is_empty() {
            return Err(errors.into_iter().next().map_or_else(|| self.none_answers(), |(_, error)| error));
        }
        let mut standings = self.standings();
        for (node, error) in &errors {
            if error.refusal() != Some(&Refusal::NoSuchBackend) {
                standings.failed(*node, chain(error));
            }
        }
        standings.judge(&found.iter().map(|(node, one)| (*node, &one.process)).collect::<Vec<_>>());
        Ok(found)
    }

    /// How `found` counts that `node` has.
    pub(super) fn part<T>(&self, node: usize, found: T) -> nodes::merge::Part<T> {
        self.standings().part(node, found)
    }

    /// The stick-table that keeps clients on `server`, on any node that answers and has it.
    ///
    /// # Errors
    /// If none was found, but one of them did not tell.
    pub(super) async fn table_of(
        &self,
        server: &ServerName,
        names: &Names,
    ) -> Result<Option<Arc<str>>, RuntimeError> {
        let ask = |node: usize| {
            let (hands, server, names) = (self.nodes[node].hands.clone(), server.clone(), names.clone());
            async move { hands.table_of(&server, &names).await }
        };
        let mut found = Ok(None);
        for (_, answer) in self.gather(&self.asked(), ask).await {
            match answer {
                Ok(Some(table)) => return Ok(Some(table)),
                // One that has no such server, or knows no such question, keeps nobody on it.
                Err(error) if error.refusal().is_some() => {}
                Ok(None) => {}
                Err(error) => found = Err(error),
            }
        }
        found
    }

    /// The old workers with sessions on `server`, of any node that answers and has a master that is known.
    ///
    /// # Errors
    /// If none was found, but one of them did not tell.
    pub(super) async fn held_by_old_workers(
        &self,
        server: &ServerName,
        names: &Names,
    ) -> Result<Vec<u32>, RuntimeError> {
        let ask = |node: usize| {
            let (hands, server, names) = (self.nodes[node].hands.clone(), server.clone(), names.clone());
            async move { hands.held_by_old_workers(&server, &names).await }
        };
        let (mut workers, mut untold) = (Vec::new(), None);
        for (_, answer) in self.gather(&self.asked(), ask).await {
            match answer {
                Ok(pids) => workers.extend(pids),
                Err(error) => untold = untold.or(Some(error)),
            }
        }
        untold.filter(|_| workers.is_empty()).map_or(Ok(workers), Err)
    }

    /// Changes states or weights: each node as it needs it.
    ///
    /// # Errors
    /// If one refuses, or is not as it was read, or if none answers. One that does not answer while others do is
    /// passed over.
    pub(super) async fn change(
        &self,
        changes: Vec<(usize, Guarded)>,
        names: &Names,
    ) -> Result<(), RuntimeError> {
        let _change = Change::begin(&self.changing);
        let asked: Vec<usize> = changes.iter().map(|(node, _)| *node).collect();
        let made: Vec<Correction> =
            changes.iter().flat_map(|(_, change)| align::corrections(change.command(), names)).collect();
        let mut changes: std::collections::HashMap<usize, Guarded> = changes.into_iter().collect();
        let ask = |node: usize| {
            let (hands, names) = (self.nodes[node].hands.clone(), names.clone());
            let change = changes.remove(&node);
            async move {
                match change {
                    Some(change) => hands.change(&change, &names).await,
                    None => Ok(()),
                }
            }
        };
        let answers = self.gather(&asked, ask).await;
        let someone = answers.iter().any(|(_, answer)| answer.is_ok());
        for change in made.iter().filter(|_| someone && self.are_several()) {
            self.standings().made(names.backend_of(change.server()), change);
        }
        let mut first = None;
        for (node, answer) in answers {
            match answer {
                Ok(()) => {}
                Err(error) if error.refusal().is_some() || error.overtaken().is_some() => return Err(error),
                Err(error) if someone => self.standings().failed(node, chain(&error)),
                Err(error) => first = first.or(Some(error)),
            }
        }
        first.map_or(Ok(()), Err)
    }

    /// Tells those that lag behind what they have missed. What is to be told follows from the latest
    /// reading; if it is told already, nothing is done.
    pub(super) async fn align(&self, names: &Names) {
        let Ok(_aligning) = self.aligning.try_lock() else { return };
        let todo = self.standings().corrections();
        let mut told = JoinSet::new();
        lock(&self.told).retain(|(at, _)| at.elapsed() < JUST);
        for (n, corrections) in todo {
            lock(&self.told)
                .extend(corrections.iter().map(|correction| (Instant::now(), correction.clone())));
            let (hands, names) = (self.nodes[n].hands.clone(), names.clone());
            let Some(latest) = lock(&self.nodes[n].latest).clone() else { continue };
            told.spawn(async move { (n, align::tell(&hands, &latest, corrections, &names).await) });
        }
        while let Some(ended) = told.join_next().await {
            let Ok((node, ended)) = ended else { continue };
            match ended {
                Ok(refused) => {
                    for (correction, error) in refused {
                        self.standings().refused(node, correction, error, Instant::now().into_std());
                    }
                }
                Err(error) => self.standings().failed(node, chain(&error)),
            }
        }
    }

    /// Whether a server takes a connection.
    pub(super) async fn reach(&self, address: SocketAddr) -> io::Result<()> {
        self.nodes[0].hands.reach(address).await
    }

    /// Sends warm-up requests.
    pub(super) async fn warm_up(
        &self,
        address: SocketAddr,
        way: Way,
        requests: &WarmUp,
    ) -> Result<Warmth, WarmUpError> {
        self.nodes[0].hands.warm_up(address, way, requests).await
    }

    /// Waits between two weights of a ramp.
    pub(super) async fn pause(&self, pause: Duration) {
        self.nodes[0].hands.pause(pause).await;
    }

    /// Who is asked: those that answered last time, or all if none did.
    fn asked(&self) -> Vec<usize> {
        let answering = self.standings().answering();
        if answering.is_empty() { (0..self.nodes.len()).collect() } else { answering }
    }

    /// What a node that does not answer has said meanwhile, if it has.
    async fn probed(&self, node: usize, names: &Names) -> Option<Result<Inventory, RuntimeError>> {
        let ended = {
            let mut probe = lock(&self.nodes[node].probe);
            match probe.take() {
                Some(running) if !running.is_finished() => {
                    *probe = Some(running);
                    None
                }
                ended => {
                    let (hands, names) = (self.nodes[node].hands.clone(), names.clone());
                    *probe = Some(tokio::spawn(async move { hands.inventory(&names).await }));
                    ended
                }
            }
        };
        ended?.await.ok()
    }

    /// What each of `asked` answers. Behind the first that does, the others have [`GRACE`].
    async fn gather<T, F>(
        &self,
        asked: &[usize],
        mut ask: impl FnMut(usize) -> F,
    ) -> Vec<(usize, Result<T, RuntimeError>)>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, RuntimeError>> + Send + 'static,
    {
        if let &[alone] = asked {
            return vec![(alone, ask(alone).await)];
        }
        let mut open = JoinSet::new();
        for &node in asked {
            let answer = ask(node);
            open.spawn(async move { (node, answer.await) });
        }
        let (mut answers, mut until) = (Vec::new(), None);
        loop {
            let ended = match until {
                None => open.join_next().await,
                Some(until) => tokio::select! {
                    ended = open.join_next() => ended,
                    () = sleep_until(until) => None,
                },
            };
            let Some(ended) = ended else { break };
            if let Ok((node, answer)) = ended {
                until = until.or_else(|| answer.is_ok().then(|| Instant::now() + GRACE));
                answers.push((node, answer));
            }
        }
        for &node in asked {
            if !answers.iter().any(|(answered, _)| *answered == node) {
                let address = self.nodes[node].hands.address().clone();
                answers.push((
                    node,
                    Err(RuntimeError::TimedOut { address, during: Phase::Reading, after: GRACE }),
                ));
            }
        }
        answers.sort_by_key(|(node, _)| *node);
        answers
    }

    /// Nobody was asked, or somebody broke down.
    fn none_answers(&self) -> RuntimeError {
        let address = self.nodes[0].hands.address().clone();
        RuntimeError::TimedOut { address, during: Phase::Reading, after: GRACE }
    }

    fn standings(&self) -> MutexGuard<'_, nodes::Nodes> {
        lock(&self.standings)
    }
}

/// A panic elsewhere cannot leave anything half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
