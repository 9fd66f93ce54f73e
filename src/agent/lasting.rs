//! The tasks that make changes last, one for each HAProxy that wants it: they are told how the servers stand, and are waited for
//! at the end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout_at;
use tracing::{info, warn};

use super::{Agent, AgentError};
use crate::config::{Config, NodeSettings};
use crate::core::controller::of_node;
use crate::core::policy::place::Growth;
use crate::haproxy::address::Endpoint;
use crate::haproxy::client::Client;
use crate::lasting::event::Event;
use crate::lasting::keeper::{Keeper, Sight};
use crate::lasting::turn::Turn;
use crate::telemetry::lasting::{self, Account};

/// At the end it may take so long to write down the last change.
const END_WITHIN: Duration = Duration::from_secs(2);

/// The running task of one HAProxy.
pub(super) struct Lasting {
    node: usize,
    sights: watch::Sender<Sight>,
    task: JoinHandle<()>,
    account: Account,
}

impl Lasting {
    /// Starts those that the config wants. In a dry run nothing was done that could be kept.
    pub(super) fn start(
        config: &Config,
        dry_run: bool,
        events: &mpsc::Sender<(usize, Event)>,
    ) -> Result<Vec<Self>, AgentError> {
        let wanted = config.nodes.iter().enumerate().filter(|(_, node)| node.lasting.is_wanted());
        if dry_run && wanted.clone().next().is_some() {
            info!("dry run: nothing is kept in HAProxy's configuration or state file");
            return Ok(Vec::new());
        }
        let turn = Arc::new(Turn::default());
        let start = |(node, settings): (usize, &NodeSettings)| {
            let address: Endpoint =
                settings.socket.parse().map_err(|error| AgentError::Socket(format!("{error}")))?;
            let client = Client::new(address, config.socket_timeout);
            let lasting = settings.lasting.clone();
            let account = Account::new(&lasting);
            let keeper = Keeper::new((node, lasting), client, turn.clone(), events.clone());
            let (sights, seen) = watch::channel(Sight::default());
            Ok(Self { node, sights, task: tokio::spawn(keeper.run(seen)), account })
        };
        wanted.map(start).collect()
    }

    /// Lets them write down what they have been told last.
    pub(super) async fn end(all: Vec<Self>) {
        let (sights, tasks): (Vec<_>, Vec<_>) = all.into_iter().map(|one| (one.sights, one.task)).unzip();
        drop(sights);
        let deadline = tokio::time::Instant::now() + END_WITHIN;
        for mut task in tasks {
            if timeout_at(deadline, &mut task).await.is_err() {
                task.abort();
                warn!("the last changes were not kept in time; they are at the next start");
            }
        }
    }

    /// Whose it is, by its place in the config.
    pub(super) const fn node(&self) -> usize {
        self.node
    }
}

impl Agent {
    /// Tells what was kept, reloaded or started.
    pub(super) fn take_lasting(&mut self, (node, event): &(usize, Event)) {
        let now = Timestamp::now();
        let socket = &self.settings.config.nodes[*node].socket;
        let named = (self.settings.config.nodes.len() > 1).then_some(socket.as_str());
        lasting::tell(event, named);
        self.metrics.count_lasting(event, socket, now.as_millisecond() as f64 / 1e3);
        if let Some(lasting) = self.lasting.iter_mut().find(|lasting| lasting.node == *node) {
            lasting.account.note(event, now);
        }
        if let Some(entry) = lasting::entry(event, named, now) {
            self.keep_entry(entry);
        }
    }

    /// Tells the controller whether HAProxy's configuration can get more slots, and how far that is.
    pub(super) fn tell_growth(&mut self) {
        let nodes = &self.settings.config.nodes;
        let of = |node: usize| match nodes.len() {
            1 => String::new(),
            _ => format!("`{}`: ", nodes[node].socket),
        };
        // Slots that one of them lacks are used on none.
        let cannot =
            (0..).zip(nodes).find_map(|(node, settings)| Some((node, settings.lasting.cannot_grow()?)));
        let growable = match cannot {
            Some((node, why)) => Err(format!("{}{why}", of(node))),
            None if self.settings.dry_run => Ok(Growth::Waits("nothing is written in a dry run".to_owned())),
            None => Ok(furthest_back(self.lasting.iter().map(|one| (of(one.node), one.account.growth())))),
        };
        self.controller.handle_growable(growable);
    }

    /// Tells the tasks how the servers stand now; HAProxy was asked at `asked`.
    pub(super) fn show_standing(&self, asked: Instant) {
        if self.lasting.is_empty() {
            return;
        }
        let (together, wait) = (self.controller.standing(Instant::now()), self.nodes.wait());
        for lasting in &self.lasting {
            let (answers, in_line) = self.nodes.reach(lasting.node);
            let standing = match &together {
                Some(together) if self.settings.config.nodes.len() > 1 => {
                    Some(of_node(together, self.nodes.answer(lasting.node), &self.names))
                }
                alone => alone.clone(),
            };
            let new = Sight { asked: Some(asked), answers, in_line, wait: wait.clone(), standing };
            lasting.sights.send_if_modified(|sight| {
                // That time has passed is no news.
                sight.asked = new.asked;
                let differs = *sight != new;
                *sight = new;
                differs
            });
        }
    }

    /// How each HAProxy stands, for `status`.
    pub(super) fn nodes_value(&self) -> Value {
        let mut nodes = self.nodes.value(&self.names);
        for (node, value) in nodes.as_array_mut().into_iter().flatten().enumerate() {
            let lasting = self.lasting.iter().find(|lasting| lasting.node == node);
            value["lasting"] = lasting.map_or(Value::Null, |lasting| lasting.account.value());
        }
        nodes
    }
}

/// Of all HAProxys, each with its name, how far it is with the one that nobody else waits for.
fn furthest_back(all: impl Iterator<Item = (String, Growth)>) -> Growth {
    let rank = |growth: &Growth| match growth {
        Growth::UnderWay => 0,
        Growth::Waits(_) => 1,
        Growth::Failed(_) => 2,
    };
    match all.max_by_key(|(_, growth)| rank(growth)) {
        Some((of, Growth::Waits(why))) => Growth::Waits(of + &why),
        Some((of, Growth::Failed(why))) => Growth::Failed(of + &why),
        Some((_, Growth::UnderWay)) | None => Growth::UnderWay,
    }
}
