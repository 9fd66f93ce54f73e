//! Walks a plan: one command, one reading that confirms it, one [`Outcome`] a step.
//!
//! In: a [`Plan`], and a way to call it off. Out: outcomes, the last of which is
//! [`Outcome::Finished`]. Lanes go side by side and do not depend on each other; each state change
//! is checked against a fresh reading, so that never fewer serve than the plan allows. What becomes
//! of a lane is in `lane.rs`, of a HAProxy that does not answer in `attempt.rs`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tracing::error;

use super::address::{AddressError, Endpoint};
pub use super::attempt::Patience;
use super::attempt::StepError;
use super::client::Client;
use super::dry_run::DryRun;
use super::error::RuntimeError;
use super::hands::Hands;
use super::lane;
use super::nodes::Nodes;
use super::work::Work;
use crate::core::log::log_format::words::Variable;
use crate::core::names::{BackendId, Names, ServerId};
use crate::core::plan::inventory::Inventory;
use crate::core::plan::nodes::{Difference, Kept, NodeState};
use crate::core::plan::outcome::{Changes, Outcome};
use crate::core::plan::step::{Plan, Step};
use crate::core::plan::weights::WeightList;
use crate::core::settings::server_lines::ServerLines;
use crate::report::chain;

/// Carries out plans on a HAProxy or on several that are to be alike, or pretends to.
#[derive(Debug)]
pub struct Executor {
    nodes: Arc<Nodes>,
    names: Names,
    patience: Patience,
    lines: Mutex<HashMap<BackendId, Arc<ServerLines>>>,
}

impl Executor {
    /// Carries plans out through `client`. In a dry run nothing is sent that changes anything, and
    /// nothing to servers; steps take no time, and [`Executor::inventory`] shows what would be.
    pub fn new(client: Client, names: Names, dry_run: bool) -> Self {
        Self::of_nodes(vec![client], names, dry_run)
    }

    /// The same with several HAProxys, at least one.
    pub fn of_nodes(clients: Vec<Client>, names: Names, dry_run: bool) -> Self {
        let hands = |client| match dry_run {
            true => Hands::Pretending(Box::new(DryRun::new(client))),
            false => Hands::Real(client),
        };
        let nodes = Nodes::new(clients.into_iter().map(hands).collect());
        Self { nodes: Arc::new(nodes), names, patience: Patience::default(), lines: Mutex::default() }
    }

    /// The same, with the sockets as the config has them. Each command may take `timeout`.
    ///
    /// # Errors
    /// If one of them is no address, or there is none.
    pub fn open(
        sockets: &[String],
        timeout: Duration,
        names: Names,
        dry_run: bool,
    ) -> Result<Self, AddressError> {
        let endpoints: Vec<Endpoint> =
            sockets.iter().map(|socket| socket.parse()).collect::<Result<_, _>>()?;
        Self::reach(endpoints, timeout, names, dry_run)
    }

    /// The same, of what the sockets stand for.
    ///
    /// # Errors
    /// If there is none.
    pub fn reach(
        endpoints: Vec<Endpoint>,
        timeout: Duration,
        names: Names,
        dry_run: bool,
    ) -> Result<Self, AddressError> {
        let sockets = endpoints.len();
        if sockets == 0 {
            return Err(AddressError::Unknown { text: String::new() });
        }
        let client = |endpoint| Client::new(endpoint, timeout).one_of(sockets);
        Ok(Self::of_nodes(endpoints.into_iter().map(client).collect(), names, dry_run))
    }

    /// These backends are kept alike on all HAProxys.
    pub fn keep_alike(&self, kept: Vec<Kept>) {
        self.nodes.keep(kept);
    }

    /// A variable of HAProxy's own environment; `None`: it is asked with the next inventory.
    pub(crate) fn variable(&self, name: &str) -> Option<Variable> {
        self.nodes.variable(name)
    }

    /// How each HAProxy stands, in the order in which they were given.
    pub fn nodes(&self) -> Vec<NodeState> {
        self.nodes.states()
    }

    /// What each of several HAProxys has answered last.
    pub fn latest(&self) -> Vec<Option<Arc<Inventory>>> {
        self.nodes.latest()
    }

    /// Servers that are to be alike on all of them, and are not.
    pub fn differences(&self) -> Vec<Difference> {
        self.nodes.differences()
    }

    /// Tells HAProxys that were away what the others have been told meanwhile.
    pub async fn align(&self) {
        self.nodes.align(&self.names).await;
    }

    /// With another patience than the default.
    #[must_use]
    pub fn with_patience(mut self, patience: Patience) -> Self {
        self.patience = patience;
        self
    }

    /// Of the servers of `backend` haproxy.cfg says this, for all plans that begin from now on.
    pub fn know(&self, backend: BackendId, lines: ServerLines) {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).insert(backend, Arc::new(lines));
    }

    fn lines_of(&self, backend: BackendId) -> Arc<ServerLines> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.get(&backend).cloned().unwrap_or_default()
    }

    /// What HAProxy has; in a dry run, what it would have.
    ///
    /// # Errors
    /// As [`Client::inventory`].
    pub async fn inventory(&self) -> Result<Inventory, RuntimeError> {
        self.nodes.inventory(&self.names).await
    }

    /// Carries out `plan` until its end, or until it is called off. Reports to `outcomes`, which
    /// has to be read meanwhile. One plan a backend at a time.
    ///
    /// Called off with [`Changes::stop`] it ends within 2 s, even if HAProxy does not answer.
    pub async fn run(&self, plan: Plan, changes: watch::Receiver<Changes>, outcomes: mpsc::Sender<Outcome>) {
        let (nodes, names) = (self.nodes.clone(), self.names.clone());
        let finished = Outcome::Finished { backend: plan.backend, purpose: plan.purpose, called_off: false };
        let lines = self.lines_of(plan.backend);
        match Work::new(nodes, names, plan, self.patience, changes, outcomes.clone()) {
            Ok(mut work) => {
                work.lines = lines;
                Arc::new(work).run().await;
            }
            // The plan was made from a reading, and HAProxy has no such names.
            Err(error) => {
                error!(error = chain(&error), "plan not carried out");
                // Nobody listens: the agent has ended.
                let _ = outcomes.send(finished).await;
            }
        }
    }
}

impl Work {
    async fn run(self: Arc<Self>) {
        if self.prepare().await {
            self.clone().walk().await;
        }
        let called_off = self.is_called_off();
        self.clean_up().await;
        let (backend, purpose) = (self.plan.backend, self.plan.purpose);
        self.tell(Outcome::Finished { backend, purpose, called_off }).await;
    }

    /// All lanes side by side, and those that are added meanwhile.
    async fn walk(self: Arc<Self>) {
        let mut lanes = JoinSet::new();
        let (mut waiting, mut added) = (self.plan.lanes.clone(), 0);
        loop {
            for lane in waiting.drain(..) {
                lanes.spawn(lane::walk(self.clone(), lane));
            }
            tokio::select! {
                biased;
                more = self.widened(added) => {
                    added += more.len();
                    waiting = more;
                }
                ended = lanes.join_next() => match ended {
                    Some(Ok(())) => {}
                    Some(Err(error)) => error!(error = chain(&error), "a lane has broken down"),
                    None => return,
                },
            }
        }
    }

    /// Does what comes before the lanes. True if they can be walked.
    async fn prepare(&self) -> bool {
        if self.is_outdated() {
            self.tell_outdated(None).await;
            return false;
        }
        for (step, weights) in weight_steps(&self.plan.before) {
            let start = Instant::now();
            let set = tokio::select! {
                biased;
                () = self.ended() => return false,
                set = self.set_weights(weights, &self.made_on, self.patience) => set,
            };
            match set {
                Ok(()) => self.tell_done(step, start).await,
                Err(StepError::Outdated) => {
                    self.tell_outdated(None).await;
                    return false;
                }
                Err(error) if error.is_answer() && self.weights_are_for_ramps() => {
                    self.give_ramps_up(&error).await;
                    // Some of them may have been set.
                    self.clean_up().await;
                    return true;
                }
                Err(error) => {
                    self.tell_failed(step, &error).await;
                    return false;
                }
            }
        }
        true
    }

    /// Does what comes after the lanes: patiently, until the agent stops, and then in a hurry.
    pub(super) async fn clean_up(&self) {
        for (step, weights) in weight_steps(&self.plan.after) {
            let start = Instant::now();
            let patiently = self.put_weights_right(weights, self.patience);
            let put_right = tokio::select! {
                biased;
                () = self.stopped() => self.put_weights_right_in_a_hurry(weights).await,
                put_right = patiently => put_right,
            };
            match put_right {
                Ok(true) => self.tell_done(step, start).await,
                Ok(false) => {}
                Err(error) => self.tell_failed(step, &error).await,
            }
        }
    }

    async fn put_weights_right_in_a_hurry(&self, weights: &WeightList) -> Result<bool, StepError> {
        let limit = self.patience.when_stopping;
        let put_right = self.put_weights_right(weights, self.patience.hurried());
        timeout(limit, put_right).await.unwrap_or(Err(StepError::TooSlow(limit)))
    }

    async fn tell_done(&self, step: &Step, start: Instant) {
        let (backend, step, took) = (self.plan.backend, step.clone(), start.elapsed());
        self.tell(Outcome::StepDone { backend, step, took }).await;
    }

    pub(super) async fn tell_outdated(&self, server: Option<ServerId>) {
        self.tell(Outcome::Outdated { backend: self.plan.backend, server }).await;
    }

    async fn tell_failed(&self, step: &Step, error: &StepError) {
        let (backend, step, error) = (self.plan.backend, step.clone(), chain(error));
        self.tell(Outcome::Failed { backend, server: None, step, error, by_other: false }).await;
    }
}

/// Around the lanes nothing but weights is set; states belong to lanes.
fn weight_steps(steps: &[Step]) -> impl Iterator<Item = (&Step, &WeightList)> {
    steps.iter().filter_map(|step| match step {
        Step::SetWeights(weights) => Some((step, weights)),
        _ => None,
    })
}
