//! What is opened before the loop begins. What may fail comes before what has to be ended.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::{info, warn};

use super::ingest::{Delivery, Ingest, line_format};
use super::lasting::Lasting;
use super::nodes::NodeWatch;
use super::pools::Pools;
use super::repeats::Repeats;
use super::signals::Signals;
use super::{Agent, AgentError, Inbox, Options, RECENT, Reach, Settings, Summary, backend_names};
use crate::config::{Config, NodeSettings};
use crate::core::controller::{Controller, Memory};
use crate::core::log::format::LineFormat;
use crate::core::names::Names;
use crate::core::plan::inventory::Inventory;
use crate::core::plan::nodes::{Difference, Kept, NodeState};
use crate::haproxy::address::Endpoint;
use crate::haproxy::error::RuntimeError;
use crate::haproxy::executor::Executor;
use crate::input::{self, Reading, Source, Waker};
use crate::provider::haproxy_cfgs::HaproxyCfgs;
use crate::state_file::StateDir;
use crate::telemetry::files::{self, ConfigAccount};
use crate::telemetry::journal::{self, Journal};
use crate::telemetry::metrics::{Metrics, Observer};
use crate::telemetry::question::{self, Asker};
use crate::telemetry::socket::AgentSocket;
use crate::telemetry::{endpoint, words};

/// Deliveries on their way to the controller; when full, the reading thread waits.
const DELIVERIES: usize = 64;
/// Outcomes on their way back.
const OUTCOMES: usize = 256;
/// What was kept or reloaded, on its way to be told.
const LASTING_EVENTS: usize = 64;
/// Things that repeat are told once in this time.
const TELL_EVERY: Duration = Duration::from_secs(30);

impl Agent {
    pub(super) async fn start(options: Options) -> Result<Self, AgentError> {
        let Options { mut config, sources, dry_run, from_start, reload } = options;
        let backends = backend_names(&config);
        let now = Instant::now();
        let names = Names::default();
        let observes_only = config.backends.is_empty();
        let (pools, haproxy_cfgs) = (Pools::new(&config.pools), HaproxyCfgs::new(&config));
        let (state, memory) = if observes_only { (None, Memory::default()) } else { open_state(&config)? };
        let recent =
            state.as_ref().map(|state| journal::last_entries(state.path(), RECENT, words::is_notable));
        let signals = Signals::new().map_err(|e| AgentError::Start("signal handling", e))?;

        let mut tasks = JoinSet::new();
        let node_names = config.sockets();
        let (looks_in, looks) = mpsc::channel(1);
        let mut controller = Controller::new(names.clone(), config.backends.clone(), &memory, now);
        controller.expect_readings(config.tick, config.socket_timeout);
        let executor =
            if observes_only { None } else { open_executor(&config, &names, controller.kept(), dry_run)? };
        if let Some(executor) = executor.clone() {
            tasks.spawn(poll_haproxy(executor, config.tick, looks_in));
        }
        let (kept, lasting_events) = mpsc::channel(LASTING_EVENTS);
        let lasting = if observes_only { Vec::new() } else { Lasting::start(&config, dry_run, &kept)? };
        let (asker, questions) = question::channel();
        serve(&config, asker, &mut tasks).await?;

        // Last, since the thread may wait for room in the channel: nobody would empty it if the start failed.
        let (deliveries_in, deliveries) = mpsc::channel(DELIVERIES);
        let format = line_format(&config.log_format)?;
        let reading = read(&sources, from_start, (&format, config.max_line_bytes), &names, deliveries_in);
        let (reading, waker) = reading.map_err(|e| AgentError::Start("the reading thread", e))?;
        tasks.spawn(input::watch(paths(&sources), waker));

        let (outcomes_in, outcomes) = mpsc::channel(OUTCOMES);
        let sources = sources.iter().map(Source::to_string).collect::<Vec<_>>().join(", ");
        info!(version = env!("CARGO_PKG_VERSION"), dry_run, backends, sources, "started");
        config.backends.clear();
        let metrics = Metrics::default();
        metrics.set_dry_run(dry_run);
        let observer = config.metrics_listen.map(|_| Observer::default());
        lasting.iter().for_each(|lasting| metrics.begin_lasting(&config.nodes[lasting.node()].socket));
        let mut agent = Self {
            controller,
            names,
            settings: Settings { config, dry_run, reload, account: ConfigAccount::new(Timestamp::now()) },
            journal: state.as_ref().map(|state| Journal::new(state.path())),
            state,
            executor,
            lasting,
            pools,
            haproxy_cfgs,
            plans: JoinSet::new(),
            changes: HashMap::new(),
            inbox: Inbox { deliveries, looks, outcomes, signals, questions, lasting: lasting_events },
            outcomes: outcomes_in,
            reading: Some(reading),
            _tasks: tasks,
            metrics,
            observer,
            recent: recent.unwrap_or_default().into(),
            repeats: Repeats::new(TELL_EVERY),
            summary: Summary::default(),
            haproxy: Reach::Unknown,
            absent: None,
            nodes: NodeWatch::new(node_names, dry_run),
            started: now,
        };
        if agent.journal.is_some() {
            agent.keep_entry(files::started(dry_run, Timestamp::now()));
        }
        Ok(agent)
    }
}

fn open_executor(
    config: &Config,
    names: &Names,
    kept: Vec<Kept>,
    dry_run: bool,
) -> Result<Option<Arc<Executor>>, AgentError> {
    let wrong = |error| AgentError::Socket(format!("{error}"));
    let endpoint =
        |node: &NodeSettings| Ok(node.socket.parse::<Endpoint>()?.with_master(node.lasting.master()));
    let endpoints = config.nodes.iter().map(endpoint).collect::<Result<_, _>>().map_err(wrong)?;
    let executor =
        Executor::reach(endpoints, config.socket_timeout, names.clone(), dry_run).map_err(wrong)?;
    executor.keep_alike(kept);
    Ok(Some(Arc::new(executor)))
}

/// Opens where the agent is asked: `metrics.listen`, which has to work, and its own socket,
/// without which it can run.
async fn serve(config: &Config, asker: Asker, tasks: &mut JoinSet<()>) -> Result<(), AgentError> {
    if let Some(address) = config.metrics_listen {
        let listener = endpoint::listen(address).await.map_err(|e| AgentError::Listen(address, e))?;
        tasks.spawn(endpoint::serve(listener, asker.clone()));
    }
    match AgentSocket::open(&config.runtime_dir).await {
        Ok(socket) => {
            tasks.spawn(socket.serve(asker));
        }
        Err(error) => {
            let runtime_dir = config.runtime_dir.display();
            warn!(%runtime_dir, %error, "no socket of its own: `status`, `pause` and the like will find no agent");
        }
    }
    Ok(())
}

/// Starts the reading thread.
fn read(
    sources: &[Source],
    from_start: bool,
    (format, longest_line): (&LineFormat, usize),
    names: &Names,
    out: mpsc::Sender<Delivery>,
) -> std::io::Result<(Reading, Waker)> {
    let waker = Waker::new()?;
    let sink = Ingest::new(sources, format, longest_line, names, out);
    let options = input::Options { from_start, longest_line, ..Default::default() };
    Ok((input::start(sources.to_vec(), options, sink, waker.clone())?, waker))
}

/// Those of `sources` that file events can tell of.
fn paths(sources: &[Source]) -> Vec<PathBuf> {
    let path = |source: &Source| match source {
        Source::File(path) => Some(path.clone()),
        _ => None,
    };
    sources.iter().filter_map(path).collect()
}

fn open_state(config: &Config) -> Result<(Option<StateDir>, Memory), AgentError> {
    let state = StateDir::open(&config.state_dir)?;
    let (memory, told) = state.load();
    if let Some(told) = told {
        warn!(error = told, "starting without what was remembered");
    }
    Ok((Some(state), memory))
}

/// One reading of HAProxy.
pub(super) struct Look {
    /// When it was asked.
    pub(super) asked: Instant,
    /// What it answered; if there are several, all of them together.
    pub(super) found: Result<Inventory, RuntimeError>,
    /// How each of them stands.
    pub(super) nodes: Vec<NodeState>,
    /// What each of several has answered last.
    pub(super) latest: Vec<Option<Arc<Inventory>>>,
    /// Servers that they do not have alike.
    pub(super) differences: Vec<Difference>,
}

/// Reads HAProxy once a tick, for ever; a tick that a slow answer made late is not made up for.
async fn poll_haproxy(executor: Arc<Executor>, tick: Duration, looks: mpsc::Sender<Look>) {
    let mut ticks = tokio::time::interval(tick);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let asked = Instant::now();
        let found = executor.inventory().await;
        let (nodes, latest, differences) = (executor.nodes(), executor.latest(), executor.differences());
        if looks.send(Look { asked, found, nodes, latest, differences }).await.is_err() {
            return;
        }
        let executor = executor.clone();
        tokio::spawn(async move { executor.align().await });
    }
}
