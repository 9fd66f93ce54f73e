//! The agent without its log, its files and its command line: controller, executor, and the loop between them.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use haproxy_autoscale::core::controller::{Controller, Memory};
use haproxy_autoscale::core::names::{BackendId, Names};
use haproxy_autoscale::core::plan::inventory::Inventory;
use haproxy_autoscale::core::plan::outcome::{Changes, Outcome};
use haproxy_autoscale::core::plan::step::Plan;
use haproxy_autoscale::core::settings::BackendSettings;
use haproxy_autoscale::haproxy::address::Address;
use haproxy_autoscale::haproxy::client::Client;
use haproxy_autoscale::haproxy::executor::{Executor, Patience};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use super::socket::Shared;

const TICK: Duration = Duration::from_secs(1);

/// What a command may take.
const SOCKET_TIMEOUT: Duration = Duration::from_secs(2);

/// One reading of all HAProxys.
#[derive(Debug)]
pub(crate) struct Look {
    pub(crate) asked: Instant,
    pub(crate) found: Option<Inventory>,
}

#[derive(Debug)]
pub(crate) struct Agent {
    pub(crate) controller: Controller,
    executor: Arc<Executor>,
    nodes: usize,
    pub(crate) plans: JoinSet<()>,
    changes: HashMap<BackendId, watch::Sender<Changes>>,
    /// Plans under way, and when the last one of a backend has ended.
    pub(crate) moving: HashMap<BackendId, u32>,
    pub(crate) settled: HashMap<BackendId, Instant>,
    pub(crate) looks: mpsc::Receiver<Look>,
    pub(crate) outcomes: mpsc::Receiver<Outcome>,
    outcomes_in: mpsc::Sender<Outcome>,
    /// The poller ends with the agent.
    _tasks: JoinSet<()>,
}

impl Agent {
    pub(crate) fn start(
        fleet: &Shared,
        names: &Names,
        settings: Vec<BackendSettings>,
        memory: &Memory,
        now: Instant,
    ) -> Self {
        let nodes = fleet.lock().nodes.len();
        let client = |node: usize| {
            let address = Address::Unix(PathBuf::from(format!("/{node}")));
            Client::new(address, SOCKET_TIMEOUT).through(Arc::new(fleet.clone()))
        };
        let patience = Patience { poll: Duration::from_millis(500), ..Patience::default() };
        let executor = Executor::of_nodes((0..nodes).map(client).collect(), names.clone(), false);
        let executor = Arc::new(executor.with_patience(patience));
        let controller = Controller::new(names.clone(), settings, memory, now);
        executor.keep_alike(controller.kept());
        let (looks_in, looks) = mpsc::channel(1);
        let (outcomes_in, outcomes) = mpsc::channel(256);
        let mut tasks = JoinSet::new();
        tasks.spawn(poll(executor.clone(), looks_in));
        Self {
            controller,
            executor,
            nodes,
            plans: JoinSet::new(),
            changes: HashMap::new(),
            moving: HashMap::new(),
            settled: HashMap::new(),
            looks,
            outcomes,
            outcomes_in,
            _tasks: tasks,
        }
    }

    /// False if there is a plan for that backend already.
    pub(crate) fn execute(&mut self, plan: Plan) -> bool {
        let (changes, changed) = watch::channel(Changes::default());
        self.changes.insert(plan.backend, changes);
        let under_way = self.moving.entry(plan.backend).or_default();
        *under_way += 1;
        let is_alone = *under_way == 1;
        let (executor, outcomes) = (self.executor.clone(), self.outcomes_in.clone());
        while self.plans.try_join_next().is_some() {}
        self.plans.spawn(async move { executor.run(plan, changed, outcomes).await });
        is_alone
    }

    pub(crate) fn change(&self, backend: BackendId, changes: Changes) {
        if let Some(plan) = self.changes.get(&backend) {
            plan.send_replace(changes);
        }
    }

    pub(crate) fn finished(&mut self, backend: BackendId, now: Instant) {
        self.moving.remove(&backend);
        self.settled.insert(backend, now);
    }

    pub(crate) fn is_moving(&self, backend: BackendId) -> bool {
        self.moving.contains_key(&backend)
    }

    pub(crate) fn keep_alike(&self) {
        if self.nodes > 1 {
            self.executor.keep_alike(self.controller.kept());
        }
    }

    /// All plans are to end.
    pub(crate) fn stop_plans(&self) {
        for plan in self.changes.values() {
            plan.send_replace(Changes::stop());
        }
    }

    /// What its nodes say of each other, for whoever looks for the reason.
    pub(crate) fn nodes(&self) -> String {
        format!("{:?}\n{:?}", self.executor.nodes(), self.executor.differences())
    }
}

/// Reads HAProxy once a tick, and brings those in line that lag behind.
async fn poll(executor: Arc<Executor>, looks: mpsc::Sender<Look>) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut aligning = JoinSet::new();
    loop {
        ticks.tick().await;
        let asked = tokio::time::Instant::now().into_std();
        let found = executor.inventory().await.ok();
        if looks.send(Look { asked, found }).await.is_err() {
            return;
        }
        while aligning.try_join_next().is_some() {}
        let executor = executor.clone();
        aligning.spawn(async move { executor.align().await });
    }
}
