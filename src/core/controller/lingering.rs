//! Connections that outlast their server's way to MAINT: websockets, `mode tcp`, slow downloads. They go on there, and
//! are closed only where the config says after how long.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::Action;
use super::backend::Backend;
use crate::core::names::ServerId;
use crate::core::plan::inventory::{AdminState, BackendState};
use crate::core::plan::planner;

/// Servers of ours in MAINT with sessions on them, and since when they have been seen so.
#[derive(Debug, Default)]
pub(super) struct Lingering(BTreeMap<ServerId, Instant>);

impl Lingering {
    /// When the sessions of `server` are closed, which is done `after` so long.
    pub(super) fn closes_in(
        &self,
        server: ServerId,
        after: Option<Duration>,
        now: Instant,
    ) -> Option<Duration> {
        let lasts = now.saturating_duration_since(*self.0.get(&server)?);
        Some(after?.saturating_sub(lasts))
    }
}

impl Backend {
    /// Notes which servers have sessions in MAINT.
    pub(super) fn note_lingering(&mut self, state: &BackendState, now: Instant) {
        let claims = &self.claims;
        let lingers = |id: ServerId| {
            let is_ours = claims.ours.contains(&id) && !claims.left_alone.contains(&id);
            // One that is not in MAINT everywhere may serve.
            let server = state.server(id).filter(|server| is_ours && server.alike);
            server.is_some_and(|server| server.state() == AdminState::Maint && server.sessions > 0)
        };
        self.lingering.0.retain(|&id, _| lingers(id));
        for server in state.servers.iter().filter(|server| lingers(server.id)) {
            self.lingering.0.entry(server.id).or_insert(now);
        }
    }

    /// Closes what has lingered for too long. True if a plan for it has begun.
    pub(super) fn close_lingering(
        &mut self,
        state: &BackendState,
        now: Instant,
        actions: &mut VecDeque<Action>,
    ) -> bool {
        let Some(after) = self.settings.scale_down.shutdown_sessions else { return false };
        let is_over = |since: &Instant| now.saturating_duration_since(*since) >= after;
        let over: Vec<ServerId> =
            self.lingering.0.iter().filter(|(_, since)| is_over(since)).map(|(&id, _)| id).collect();
        if over.is_empty() {
            return false;
        }
        self.lingering.0.retain(|id, _| !over.contains(id));
        self.begin(planner::shut_down(state, &self.settings, &over), None, now, actions);
        true
    }
}
