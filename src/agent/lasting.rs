//! The task that makes changes last: it is told how the servers stand, and is waited for at the end.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tracing::{info, warn};

use super::{Agent, AgentError, Reach};
use crate::config::Config;
use crate::haproxy::address::Endpoint;
use crate::haproxy::client::Client;
use crate::lasting::event::Event;
use crate::lasting::keeper::{Keeper, Sight};
use crate::telemetry::lasting::{self, Account};

/// At the end it may take so long to write down the last change.
const END_WITHIN: Duration = Duration::from_secs(2);

/// The running task.
pub(super) struct Lasting {
    sights: watch::Sender<Sight>,
    task: JoinHandle<()>,
    account: Account,
}

impl Lasting {
    /// Starts it if the config wants it. In a dry run nothing was done that could be kept.
    pub(super) fn start(
        config: &Config,
        dry_run: bool,
        events: mpsc::Sender<Event>,
    ) -> Result<Option<Self>, AgentError> {
        let Some(address) = config.sockets.first().filter(|_| config.lasting.is_wanted()) else {
            return Ok(None);
        };
        if dry_run {
            info!("dry run: nothing is kept in HAProxy's configuration or state file");
            return Ok(None);
        }
        let address: Endpoint = address.parse().map_err(|error| AgentError::Socket(format!("{error}")))?;
        let keeper = Keeper::new(config.lasting.clone(), Client::new(address, config.socket_timeout), events);
        let (sights, seen) = watch::channel(Sight::default());
        let account = Account::new(&config.lasting);
        Ok(Some(Self { sights, task: tokio::spawn(keeper.run(seen)), account }))
    }

    /// What it has done, for `status`.
    pub(super) fn value(&self) -> Value {
        self.account.value()
    }

    /// Lets it write down what it has been told last.
    pub(super) async fn end(self) {
        drop(self.sights);
        let mut task = self.task;
        if timeout(END_WITHIN, &mut task).await.is_err() {
            task.abort();
            warn!("the last changes were not kept in time; they are at the next start");
        }
    }
}

impl Agent {
    /// Tells what was kept, reloaded or started.
    pub(super) fn take_lasting(&mut self, event: &Event) {
        let now = Timestamp::now();
        lasting::tell(event);
        self.metrics.count_lasting(event, now.as_millisecond() as f64 / 1e3);
        if let Some(lasting) = &mut self.lasting {
            lasting.account.note(event, now);
        }
        if let Some(entry) = lasting::entry(event, now) {
            self.keep_entry(entry);
        }
    }

    /// Tells the task how the servers stand now.
    pub(super) fn show_standing(&self) {
        let Some(lasting) = &self.lasting else { return };
        let answers = self.haproxy == Reach::Answers;
        let standing = self.controller.standing(Instant::now());
        lasting.sights.send_if_modified(|sight| {
            let new = Sight { answers, standing };
            let differs = *sight != new;
            *sight = new;
            differs
        });
    }
}
