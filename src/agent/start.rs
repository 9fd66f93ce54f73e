//! What is opened before the loop begins.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::time::Interval;
use tracing::warn;

use super::AgentError;
use super::ingest::Ingest;
use crate::config::Config;
use crate::core::controller::Memory;
use crate::core::log::format::LineFormat;
use crate::core::log::reader::Batch;
use crate::core::names::Names;
use crate::core::plan::inventory::Inventory;
use crate::haproxy::error::RuntimeError;
use crate::haproxy::executor::Executor;
use crate::input::{self, Reading, Source, Waker};
use crate::state_file::StateDir;

/// Starts the reading thread.
pub(super) fn read(
    sources: &[Source],
    from_start: bool,
    names: &Names,
    format: &LineFormat,
    batches: mpsc::Sender<Batch>,
) -> std::io::Result<(Reading, Waker)> {
    let waker = Waker::new()?;
    let sink = Ingest::new(sources, names, format, batches);
    let options = input::Options { from_start, ..Default::default() };
    Ok((input::start(sources.to_vec(), options, sink, waker.clone())?, waker))
}

/// Those of `sources` that file events can tell of.
pub(super) fn paths(sources: &[Source]) -> Vec<PathBuf> {
    let path = |source: &Source| match source {
        Source::File(path) => Some(path.clone()),
        Source::Stdin => None,
    };
    sources.iter().filter_map(path).collect()
}

pub(super) fn open_state(config: &Config) -> Result<(Option<StateDir>, Memory), AgentError> {
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
    /// What it answered.
    pub(super) found: Result<Inventory, RuntimeError>,
}

/// Reads HAProxy once a tick, for ever; a tick that a slow answer made late is not made up for.
pub(super) async fn poll_haproxy(executor: Arc<Executor>, tick: Duration, looks: mpsc::Sender<Look>) {
    let mut ticks = tokio::time::interval(tick);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let asked = Instant::now();
        let found = executor.inventory().await;
        if looks.send(Look { asked, found }).await.is_err() {
            return;
        }
    }
}

/// The next tick of `interval`; never, if there is none.
pub(super) async fn observe_tick(interval: &mut Option<Interval>) {
    match interval {
        Some(interval) => drop(interval.tick().await),
        None => std::future::pending().await,
    }
}
