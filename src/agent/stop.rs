//! The end: what is under way is stopped, what was read is counted, and all of it is told.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use tracing::{info, warn};

use super::lasting::Lasting;
use super::{Agent, Summary, signals};
use crate::core::controller::Action;
use crate::core::log::reader::LineCounts;
use crate::core::plan::outcome::Changes;
use crate::telemetry::files;

/// Plans have so long to put temporary weights right.
const STOP_WITHIN: Duration = Duration::from_secs(2);

impl Agent {
    /// Temporary weights are put right; READY, DRAIN and MAINT stay as they are.
    pub(super) async fn stop(mut self) -> Summary {
        signals::notify_stopping();
        self.stop_plans().await;
        self.stop_reading().await;
        // What is begun now would never be carried out.
        while let Some(action) = self.controller.poll_action() {
            if let Action::Record(record) = action {
                self.record(&record);
            }
        }
        self.remember();
        Lasting::end(std::mem::take(&mut self.lasting)).await;
        while let Ok(event) = self.inbox.lasting.try_recv() {
            self.take_lasting(&event);
        }
        if self.journal.is_some() {
            self.keep_entry(files::stopped(Timestamp::now()));
        }
        self.repeats.tell_now();
        let Summary { lines, duplicate, decisions, moves } = self.summary;
        let LineCounts { lines, requests, messages, unparsed, dropped, lost, .. } = lines;
        let dry_run = self.settings.dry_run.then_some(true);
        info!(
            lines,
            requests, messages, unparsed, dropped, lost, duplicate, decisions, moves, dry_run, "stopped"
        );
        self.summary
    }

    async fn stop_plans(&mut self) {
        let deadline = tokio::time::Instant::now() + STOP_WITHIN;
        for plan in self.changes.values() {
            plan.send_replace(Changes::stop());
        }
        self.join_plans(deadline).await;
        self.controller.handle_stop(Instant::now());
        self.act();
        self.join_plans(deadline).await;
    }

    async fn join_plans(&mut self, deadline: tokio::time::Instant) {
        loop {
            tokio::select! {
                biased;
                Some(outcome) = self.inbox.outcomes.recv() => {
                    self.controller.handle_outcome(&outcome, Instant::now());
                }
                // Its last outcome is there before it ends.
                ended = self.plans.join_next() => if ended.is_none() { break },
                () = tokio::time::sleep_until(deadline) => {
                    warn!("a plan did not stop in time; its temporary weights are put right at the next start");
                    break;
                }
            }
        }
        while let Ok(outcome) = self.inbox.outcomes.try_recv() {
            self.controller.handle_outcome(&outcome, Instant::now());
        }
    }

    /// Ends the reading thread, which may be waiting for room, and counts what it has read.
    async fn stop_reading(&mut self) {
        let Some(reading) = self.reading.take() else { return };
        let stopping = tokio::task::spawn_blocking(move || reading.stop());
        while let Some(delivery) = self.inbox.deliveries.recv().await {
            self.take_delivery(delivery);
        }
        // It cannot fail but by a panic, which has been told.
        let _ = stopping.await;
    }
}
