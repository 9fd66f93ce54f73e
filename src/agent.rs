//! The loop: the one `select!`, the one place where core and IO meet.
//!
//! One thread reads the log and hands over batches of samples; everything else happens here,
//! on one current-thread runtime. HAProxy is read once a tick; each reading is an evaluation.
//!
//! ```text
//!  reading thread ─ Delivery ▶ ┐
//!  poller ─── Inventory ─────▶ │ Controller ──▶ Execute ──▶ executor task ── Outcome ─┐
//!  signals ──────────────────▶ ┘      ▲                                               │
//!                                     └───────────────────────────────────────────────┘
//! ```

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::config::Config;
use crate::core::controller::{Action, Controller, Record};
use crate::core::log::sample::Sample;
use crate::core::names::{BackendId, Names};
use crate::core::plan::outcome::{Changes, Outcome};
use crate::core::plan::step::Plan;
use crate::haproxy::executor::Executor;
use crate::input::{Reading, Source};
use crate::lasting::event::Event as LastingEvent;
use crate::provider::haproxy_cfgs::HaproxyCfgs;
use crate::report::chain;
use crate::state_file::StateDir;
use crate::telemetry::files::ConfigAccount;
use crate::telemetry::journal::Journal;
use crate::telemetry::metrics::{Metrics, Observer};
use crate::telemetry::question::Question;
use crate::telemetry::status::Overview;
use crate::telemetry::{status, words};

mod error;
mod ingest;
mod lasting;
mod nodes;
mod orders;
mod pools;
mod reload;
mod repeats;
mod signals;
mod start;
mod stop;
mod summary;

pub use error::AgentError;
use ingest::Delivery;
use lasting::Lasting;
use nodes::NodeWatch;
use pools::Pools;
use repeats::Repeats;
use signals::{Signal, Signals};
use start::Look;
pub use summary::Summary;

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
    lasting: Vec<Lasting>,
    pools: Pools,
    haproxy_cfgs: HaproxyCfgs,
    plans: JoinSet<()>,
    changes: HashMap<BackendId, watch::Sender<Changes>>,
    inbox: Inbox,
    outcomes: mpsc::Sender<Outcome>,
    reading: Option<Reading>,
    /// Poller, endpoint, status socket, file events: they end with the agent.
    _tasks: JoinSet<()>,
    metrics: Metrics,
    /// Only where somebody may ask for it: its histograms take 1.5 KB a server.
    observer: Option<Observer>,
    recent: std::collections::VecDeque<Value>,
    repeats: Repeats,
    summary: Summary,
    haproxy: Reach,
    /// Since when HAProxy does not answer, and why.
    absent: Option<(Timestamp, String)>,
    nodes: NodeWatch,
    started: Instant,
}

/// Everything that can wake the loop.
struct Inbox {
    deliveries: mpsc::Receiver<Delivery>,
    looks: mpsc::Receiver<Look>,
    outcomes: mpsc::Receiver<Outcome>,
    signals: Signals,
    questions: mpsc::Receiver<Question>,
    lasting: mpsc::Receiver<(usize, LastingEvent)>,
}

/// What is needed of the options after the start.
struct Settings {
    /// As it was at the start, but for the backends: the controller has those.
    config: Config,
    dry_run: bool,
    reload: Box<dyn Fn() -> Result<Config, String>>,
    account: ConfigAccount,
}

/// Whether HAProxy answered last time; told when it changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    Unknown,
    Answers,
    Absent,
}

impl Agent {
    /// The loop. Ends at a signal, or when every source has ended and all it gave was counted.
    async fn watch(&mut self) {
        signals::notify_ready();
        loop {
            tokio::select! {
                delivery = self.inbox.deliveries.recv() => match delivery {
                    Some(delivery) => self.take_delivery(delivery),
                    None => return info!("every source has ended"),
                },
                Some(look) = self.inbox.looks.recv() => self.take_look(look),
                Some(question) = self.inbox.questions.recv() => self.answer(question),
                Some(event) = self.inbox.lasting.recv() => self.take_lasting(&event),
                () = self.repeats.due() => self.repeats.tell(Instant::now()),
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

    fn take_delivery(&mut self, Delivery { source, mut batch }: Delivery) {
        let now = Instant::now();
        self.summary.lines += batch.counts;
        self.metrics.count_lines(&batch.counts);
        let counted = self.controller.handle_batch(&mut batch, now);
        if let Some(observer) = &mut self.observer {
            let is_ours = |sample: &&Sample| self.controller.settings(sample.backend).is_some();
            for sample in batch.samples.iter().filter(is_ours) {
                observer.observe(sample, &self.metrics, &self.names);
            }
        }
        self.metrics.count_samples(counted);
        self.summary.duplicate += counted.duplicate;
        if counted.duplicate > 0 {
            self.repeats.note_duplicate(&source);
        }
        if let Some(example) = batch.first_unparsed {
            self.repeats.note_unparsed(source, batch.counts.unparsed, example.error);
        }
    }

    fn take_look(&mut self, Look { asked, found, nodes, latest, mut differences }: Look) {
        let now = Instant::now();
        differences.retain(|found| !self.controller.is_slot_to_come(found.server));
        self.nodes.take(nodes, latest, &self.names);
        let reach = match found {
            Ok(inventory) => {
                if self.haproxy != Reach::Answers {
                    // Of several, each one's is told with its node.
                    let process = Some(&inventory.process).filter(|_| self.settings.config.nodes.len() == 1);
                    let version = process.map(|process| process.version.as_str());
                    let (sockets, pid) = (self.nodes.answering(), process.map(|process| process.pid));
                    info!(sockets, version, pid, "haproxy answers");
                }
                self.nodes.compare(&differences, &self.names);
                self.repeats.note_unread(&inventory.unread, &self.names);
                self.controller.handle_inventory(inventory, asked, now);
                self.absent = None;
                Reach::Answers
            }
            Err(error) => {
                let error = chain(&error);
                if self.haproxy != Reach::Absent {
                    warn!(error, "haproxy does not answer; waiting for it");
                }
                let since = self.absent.take().map_or_else(Timestamp::now, |(since, _)| since);
                self.absent = Some((since, error));
                Reach::Absent
            }
        };
        self.haproxy = reach;
        self.metrics.set_haproxy_up(reach == Reach::Answers);
        self.metrics.show_nodes(self.nodes.states());
        self.controller.handle_local_time(orders::local_time());
        self.look_at_pools();
        self.tell_growth();
        self.controller.handle_tick(now);
        self.keep_alike();
        self.show_standing(asked);
    }

    /// What a plan puts somewhere is known to be ours before it is there: plans begin behind this.
    fn keep_alike(&self) {
        if let Some(executor) = self.executor.as_ref().filter(|_| self.settings.config.nodes.len() > 1) {
            executor.keep_alike(self.controller.kept());
        }
    }

    /// Does what the controller wants done, until it wants nothing.
    fn act(&mut self) {
        let actions: Vec<Action> = std::iter::from_fn(|| self.controller.poll_action()).collect();
        // Once, before any of it is done: a thousand backends may move at the same tick.
        if actions.contains(&Action::Remember) {
            self.remember();
        }
        for action in actions {
            match action {
                Action::Remember => {}
                Action::Execute(plan) => self.execute(plan),
                Action::Change(backend, changes) => self.change(backend, changes),
                Action::Record(record) => self.record(&record),
            }
        }
    }

    fn execute(&mut self, plan: Plan) {
        let Some(executor) = self.executor.clone() else { return };
        executor.know(plan.backend, self.haproxy_cfgs.lines_of(&self.names.of_backend(plan.backend)));
        let (changes, changed) = watch::channel(Changes::default());
        self.changes.insert(plan.backend, changes);
        let outcomes = self.outcomes.clone();
        while self.plans.try_join_next().is_some() {}
        self.plans.spawn(async move { executor.run(plan, changed, outcomes).await });
    }

    fn change(&self, backend: BackendId, changes: Changes) {
        if let Some(plan) = self.changes.get(&backend) {
            plan.send_replace(changes);
        }
    }

    fn record(&mut self, record: &Record) {
        words::tell(record, &self.names, self.settings.dry_run);
        self.metrics.count(record, &self.names);
        self.summary.count(record);
        self.keep_entry(words::entry(record, &self.names, Timestamp::now(), self.settings.dry_run));
    }

    /// In the journal, and for `status` if it is worth it.
    fn keep_entry(&mut self, entry: Value) {
        if let Some(journal) = &mut self.journal
            && let Err(error) = journal.append(&entry)
        {
            self.repeats.note_journal(&error);
        }
        if words::is_notable(&entry) {
            if self.recent.len() == RECENT {
                self.recent.pop_front();
            }
            self.recent.push_back(entry);
        }
    }

    /// In a dry run nothing is remembered: nothing was done.
    fn remember(&mut self) {
        let Some(state) = self.state.as_ref().filter(|_| !self.settings.dry_run) else { return };
        if let Err(error) = state.save(&self.controller.memory(Instant::now())) {
            self.repeats.note_state(&chain(&error));
        }
    }

    /// Who has gone away meanwhile needs no answer.
    fn answer(&mut self, question: Question) {
        let now = Instant::now();
        match question {
            Question::Health(to) => {
                drop(to.send(status::troubles(&self.controller.views(now), &self.names)));
            }
            Question::Request(request, by, to) => drop(to.send(self.request(&request, by))),
            Question::Metrics(to) => {
                let views = self.controller.views(now);
                self.metrics.show(&views, &self.names);
                self.metrics.show_files(self.settings.account.is_refused(), self.pools.troubles());
                drop(to.send(self.metrics.encode()));
            }
        }
    }

    fn status(&mut self, now: Instant) -> String {
        let views = &self.controller.views(now);
        status::agent(&Overview {
            dry_run: self.settings.dry_run,
            running: now.saturating_duration_since(self.started),
            haproxy_answers: self.haproxy == Reach::Answers,
            haproxy_absent: self
                .absent
                .as_ref()
                .map_or(Value::Null, |(since, error)| json!({ "since": since.to_string(), "error": error })),
            process: self.controller.process(),
            nodes: self.nodes_value(),
            config: self.settings.account.value(),
            lines: self.summary.lines_value(),
            views,
            pools: self.pools.troubles().filter_map(|(of, trouble)| Some((of, trouble?))).collect(),
            recent: self.recent.make_contiguous(),
            names: &self.names,
        })
    }
}

/// The backends that are scaled, as the log has them.
fn backend_names(config: &Config) -> String {
    config.backends.iter().map(|backend| backend.name.as_str()).collect::<Vec<_>>().join(", ")
}
