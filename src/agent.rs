//! The loop: the one `select!`, the one place where core and IO meet.
//!
//! One thread reads the log and hands over batches of samples; everything else happens here,
//! on one current-thread runtime. HAProxy is read once a tick; each reading is an evaluation.
//!
//! ```text
//!  reading thread ── Batch ──▶ ┐
//!  poller ─── Inventory ─────▶ │ Controller ──▶ Execute ──▶ executor task ── Outcome ─┐
//!  signals ──────────────────▶ ┘      ▲                                               │
//!                                     └───────────────────────────────────────────────┘
//! ```

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Interval;
use tracing::{error, info, warn};

use crate::config::Config;
use crate::core::controller::{Action, Controller, Memory, Record};
use crate::core::log::reader::{Batch, LineCounts};
use crate::core::names::{BackendId, Names};
use crate::core::plan::outcome::{CallOff, Outcome};
use crate::core::plan::step::Plan;
use crate::haproxy::client::Client;
use crate::haproxy::executor::Executor;
use crate::input::{self, Reading, Source};
use crate::report::chain;
use crate::state_file::StateDir;
use crate::telemetry::journal::{self, Journal};
use crate::telemetry::metrics::{Metrics, Observer};
use crate::telemetry::status::Overview;
use crate::telemetry::{endpoint, status, words};

mod error;
mod ingest;
mod repeats;
mod signals;
mod start;
mod summary;

pub use error::AgentError;
pub(crate) use ingest::line_format;
use repeats::Repeats;
use signals::{Signal, Signals};
use start::{Look, observe_tick, open_state, paths, poll_haproxy, read};
pub use summary::Summary;

/// Batches on their way to the controller; when full, the reading thread waits.
const BATCHES: usize = 64;
/// Outcomes on their way back.
const OUTCOMES: usize = 256;
/// On SIGTERM, plans have so long to put temporary weights right.
const STOP_WITHIN: Duration = Duration::from_secs(2);
/// Things that repeat are told once in this time.
const TELL_EVERY: Duration = Duration::from_secs(30);
/// Decisions that `status` shows.
const RECENT: usize = 10;

/// How to run.
pub struct Options {
    /// Settings, with the command line's overrides in them.
    pub config: Config,
    /// Where lines come from.
    pub sources: Vec<Source>,
    /// Nothing is sent to HAProxy or its servers.
    pub dry_run: bool,
    /// Read the sources from their start.
    pub from_start: bool,
    /// Reads the settings anew (SIGHUP); an error is told and changes nothing.
    pub reload: Box<dyn Fn() -> Result<Config, String>>,
}

/// Runs until SIGTERM, SIGINT, or the end of all sources.
///
/// # Errors
/// If it cannot start. Once it runs, nothing but a signal ends it.
pub async fn run(options: Options) -> Result<Summary, AgentError> {
    let mut agent = Agent::start(options).await?;
    agent.watch().await;
    Ok(agent.stop().await)
}

struct Agent {
    controller: Controller,
    names: Names,
    settings: Settings,
    state: Option<StateDir>,
    journal: Option<Journal>,
    executor: Option<Arc<Executor>>,
    plans: JoinSet<()>,
    call_offs: HashMap<BackendId, watch::Sender<Option<CallOff>>>,
    inbox: Inbox,
    outcomes: mpsc::Sender<Outcome>,
    reading: Option<Reading>,
    /// Poller, endpoint, status socket, file events: they end with the agent.
    _tasks: JoinSet<()>,
    metrics: Arc<Metrics>,
    observer: Observer,
    shown: watch::Sender<Arc<Value>>,
    recent: std::collections::VecDeque<Value>,
    repeats: Repeats,
    summary: Summary,
    haproxy: Reach,
    started: Instant,
}

/// Everything that can wake the loop.
struct Inbox {
    batches: mpsc::Receiver<Batch>,
    looks: mpsc::Receiver<Look>,
    outcomes: mpsc::Receiver<Outcome>,
    signals: Signals,
    /// Only where nothing is scaled: no reading of HAProxy comes, and `status` is kept fresh all the same.
    observe: Option<Interval>,
}

/// What is needed of the options after the start.
struct Settings {
    dry_run: bool,
    reload: Box<dyn Fn() -> Result<Config, String>>,
}

/// Whether HAProxy answered last time; told when it changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    Unknown,
    Answers,
    Absent,
}

impl Agent {
    async fn start(options: Options) -> Result<Self, AgentError> {
        let Options { config, sources, dry_run, from_start, reload } = options;
        let now = Instant::now();
        let names = Names::default();
        let observes_only = config.backends.is_empty();
        let (state, memory) = if observes_only { (None, Memory::default()) } else { open_state(&config)? };
        let journal = state.as_ref().map(|state| Journal::new(state.path()));
        let signals = Signals::new().map_err(|e| AgentError::Start("signal handling", e))?;

        let (batches_in, batches) = mpsc::channel(BATCHES);
        let reading = read(&sources, from_start, &names, &line_format(&config.log_format)?, batches_in);
        let (reading, waker) = reading.map_err(|e| AgentError::Start("the reading thread", e))?;
        let mut tasks = JoinSet::new();
        tasks.spawn(input::watch(paths(&sources), waker));
        let (looks_in, looks) = mpsc::channel(1);
        let executor = match config.sockets.first() {
            Some(address) if !observes_only => {
                let address = address.parse().map_err(|e| AgentError::Socket(format!("{e}")))?;
                let client = Client::new(address, config.socket_timeout);
                let executor = Arc::new(Executor::new(client.clone(), names.clone(), dry_run));
                tasks.spawn(poll_haproxy(executor.clone(), config.tick, looks_in));
                Some(executor)
            }
            _ => None,
        };

        let observe = observes_only.then(|| tokio::time::interval(config.tick));

        let metrics = Arc::new(Metrics::default());
        let (shown, status) = watch::channel(Arc::new(Value::Null));
        if let Some(address) = config.metrics_listen {
            let listener = endpoint::listen(address).await.map_err(|e| AgentError::Listen(address, e))?;
            tasks.spawn(endpoint::serve(listener, metrics.clone(), status.clone()));
        }
        match status::listen(&config.runtime_dir) {
            Ok(listener) => {
                tasks.spawn(status::serve(listener, status));
            }
            Err(error) => warn!(directory = %config.runtime_dir.display(), %error, "no status socket"),
        }

        let (outcomes_in, outcomes) = mpsc::channel(OUTCOMES);
        let recent = state.as_ref().map(|state| journal::last_entries(state.path(), RECENT));
        Ok(Self {
            controller: Controller::new(names.clone(), config.backends, &memory, now),
            names,
            settings: Settings { dry_run, reload },
            state,
            journal,
            executor,
            plans: JoinSet::new(),
            call_offs: HashMap::new(),
            inbox: Inbox { batches, looks, outcomes, signals, observe },
            outcomes: outcomes_in,
            reading: Some(reading),
            _tasks: tasks,
            metrics,
            observer: Observer::default(),
            shown,
            recent: recent.unwrap_or_default().into(),
            repeats: Repeats::new(TELL_EVERY),
            summary: Summary::default(),
            haproxy: Reach::Unknown,
            started: now,
        })
    }

    /// The loop. Ends at a signal, or when every source has ended and all it gave was counted.
    async fn watch(&mut self) {
        info!(version = env!("CARGO_PKG_VERSION"), dry_run = self.settings.dry_run, "started");
        signals::notify_ready();
        loop {
            tokio::select! {
                batch = self.inbox.batches.recv() => match batch {
                    Some(batch) => self.take_batch(batch),
                    None => return info!("every source has ended"),
                },
                Some(look) = self.inbox.looks.recv() => self.take_look(look),
                () = observe_tick(&mut self.inbox.observe) => self.show(Instant::now()),
                Some(outcome) = self.inbox.outcomes.recv() => {
                    self.controller.handle_outcome(&outcome, Instant::now());
                }
                signal = self.inbox.signals.next() => match signal {
                    Signal::Stop(name) => return info!(signal = name, "stopping"),
                    Signal::Reload => self.reload(),
                    Signal::Watchdog => signals::notify_alive(),
                },
            }
            self.act();
        }
    }

    fn take_batch(&mut self, batch: Batch) {
        let now = Instant::now();
        self.summary.lines += batch.counts;
        self.metrics.count_lines(&batch.counts);
        for sample in &batch.samples {
            if self.controller.settings(sample.backend).is_some() {
                self.observer.observe(sample, &self.metrics, &self.names);
            }
        }
        self.controller.handle_samples(&batch.samples, now);
        if let Some(example) = batch.first_unparsed {
            self.repeats.note_unparsed(batch.counts.unparsed, example);
        }
        self.repeats.tell(now);
    }

    fn take_look(&mut self, Look { asked, found }: Look) {
        let now = Instant::now();
        let reach = match found {
            Ok(inventory) => {
                if self.haproxy != Reach::Answers {
                    let process = &inventory.process;
                    info!(version = process.version, pid = process.pid, "haproxy answers");
                }
                self.controller.handle_inventory(inventory, asked, now);
                Reach::Answers
            }
            Err(error) => {
                if self.haproxy != Reach::Absent {
                    warn!(error = chain(&error), "haproxy does not answer; waiting for it");
                }
                Reach::Absent
            }
        };
        self.haproxy = reach;
        self.metrics.set_haproxy_up(reach == Reach::Answers);
        self.controller.handle_tick(now);
        self.show(now);
        self.repeats.tell(now);
    }

    /// Does what the controller wants done, until it wants nothing.
    fn act(&mut self) {
        while let Some(action) = self.controller.poll_action() {
            match action {
                Action::Remember => self.remember(),
                Action::Execute(plan) => self.execute(plan),
                Action::CallOff(backend, how) => self.call_off(backend, how),
                Action::Record(record) => self.record(&record),
            }
        }
    }

    fn execute(&mut self, plan: Plan) {
        let Some(executor) = self.executor.clone() else { return };
        let (call_off, called_off) = watch::channel(None);
        self.call_offs.insert(plan.backend, call_off);
        let outcomes = self.outcomes.clone();
        while self.plans.try_join_next().is_some() {}
        self.plans.spawn(async move { executor.run(plan, called_off, outcomes).await });
    }

    fn call_off(&self, backend: BackendId, how: CallOff) {
        if let Some(plan) = self.call_offs.get(&backend) {
            // Nobody listens: the plan is over already.
            let _ = plan.send(Some(how));
        }
    }

    fn record(&mut self, record: &Record) {
        words::tell(record, &self.names);
        self.metrics.count(record, &self.names);
        self.summary.count(record);
        let entry = words::entry(record, &self.names, Timestamp::now(), self.settings.dry_run);
        if let Some(journal) = &mut self.journal
            && let Err(error) = journal.append(&entry)
        {
            self.repeats.note_journal(&error);
        }
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(entry);
    }

    /// In a dry run nothing is remembered: nothing was done.
    fn remember(&mut self) {
        let Some(state) = self.state.as_ref().filter(|_| !self.settings.dry_run) else { return };
        if let Err(error) = state.save(&self.controller.memory(Instant::now())) {
            self.repeats.note_state(&chain(&error));
        }
    }

    fn show(&mut self, now: Instant) {
        let views = self.controller.views(now);
        for view in &views {
            if let Some(settings) = self.controller.settings(view.backend) {
                self.metrics.show(view, settings.target.timer, &self.names);
            }
        }
        let value = status::agent(&Overview {
            dry_run: self.settings.dry_run,
            running: now.saturating_duration_since(self.started),
            haproxy_answers: self.haproxy == Reach::Answers,
            process: self.controller.process(),
            lines: self.summary.lines_value(),
            views: &views,
            recent: self.recent.make_contiguous(),
            names: &self.names,
        });
        self.shown.send_replace(Arc::new(value));
    }

    fn reload(&mut self) {
        signals::notify_reloading();
        match (self.settings.reload)() {
            Ok(config) => {
                self.controller.reconfigure(config.backends, Instant::now());
                info!("config reloaded; sources, sockets and directories take effect at a restart");
            }
            Err(error) => error!(error, "config not reloaded; the old one stays"),
        }
        signals::notify_ready();
    }

    /// Temporary weights are put right; READY, DRAIN and MAINT stay as they are.
    async fn stop(mut self) -> Summary {
        signals::notify_stopping();
        for plan in self.call_offs.values() {
            let _ = plan.send(Some(CallOff::Stop));
        }
        let deadline = tokio::time::Instant::now() + STOP_WITHIN;
        let finished = async { while self.plans.join_next().await.is_some() {} };
        if tokio::time::timeout_at(deadline, finished).await.is_err() {
            warn!("a plan did not stop in time; its temporary weights are put right at the next start");
        }
        // First what the plans reported, then what was read before the thread stopped.
        while let Ok(outcome) = self.inbox.outcomes.try_recv() {
            self.controller.handle_outcome(&outcome, Instant::now());
        }
        if let Some(reading) = self.reading.take() {
            let stopping = tokio::task::spawn_blocking(move || reading.stop());
            while let Some(batch) = self.inbox.batches.recv().await {
                self.take_batch(batch);
            }
            let _ = stopping.await;
        }
        self.act_without_plans();
        self.remember();
        self.repeats.tell_now();
        let Summary { lines, decisions, moves } = self.summary;
        let LineCounts { lines, requests, messages, unparsed, dropped } = lines;
        info!(lines, requests, messages, unparsed, dropped, decisions, moves, "stopped");
        self.summary
    }

    fn act_without_plans(&mut self) {
        while let Some(action) = self.controller.poll_action() {
            if let Action::Record(record) = action {
                self.record(&record);
            }
        }
    }
}
