//! A newcomer that HAProxy's own `slowstart` lets into its share.
//!
//! Which servers have it HAProxy does not say; but once its check has passed, or it has left MAINT, such a server is
//! starting, in DRAIN as well (`srv_op_state` 1, seen on 2.2 to 3.2). From then on:
//!
//! - READY of a newcomer begins it anew ([`Command::SlowStart`]): it is not spent on waiting and warm-up. That leads through
//!   MAINT, and is left out where that could close sessions (`on-marked-down shutdown-sessions`);
//! - no ramp of ours comes on top of it: the server gets its full weight before READY, and nothing is set after it;
//! - the lane lasts until HAProxy gives it all of that, so that it can be turned away before.

use std::time::Duration;

use tokio::time::Instant;

use super::Walker;
use crate::core::plan::inventory::{AdminState, ServerState};
use crate::core::plan::step::{Purpose, Step};
use crate::core::plan::weights::WeightList;
use crate::core::wire::command::Command;
use crate::haproxy::attempt::StepError;
use crate::haproxy::work::Reading;

/// HAProxy itself looks once a second at most; so many polls are about that.
const POLLS: u32 = 5;

impl<'a> Walker<'a> {
    /// Notes whether HAProxy slow-starts the server.
    pub(super) fn notice_slowstart(&mut self, reading: &Reading) {
        let mut servers = reading.nodes.iter().filter_map(|node| node.backend.server(self.server));
        self.slowstart |=
            self.work.plan.purpose == Purpose::Add && servers.any(ServerState::is_slow_starting);
    }

    /// What makes `server` READY with all of its slowstart before it; `None`: as ever. One that served a moment ago, as
    /// before a reload, has no need of it.
    pub(super) fn slow_start(
        &self,
        server: &ServerState,
        state: AdminState,
    ) -> Result<Option<Command>, StepError> {
        let is_cold = self.lane.steps.iter().any(|step| matches!(step, Step::WarmUp { .. }));
        if !self.slowstart || !is_cold || (server.state(), state) != (AdminState::Drain, AdminState::Ready) {
            return Ok(None);
        }
        if self.would_lose_sessions(server) {
            return Ok(None);
        }
        Ok(Some(Command::SlowStart { server: self.work.server_name(self.server)? }))
    }

    /// The way through MAINT closes what clients that stick to `server` have begun, or does as far as anybody knows. Clients with
    /// a cookie may come in that very moment.
    fn would_lose_sessions(&self, server: &ServerState) -> bool {
        match self.work.traits_of(self.server) {
            Some(traits) => traits.closes_own && (server.sessions > 0 || server.cookie.is_some()),
            None => server.sessions > 0,
        }
    }

    /// `step`, or where it sets a weight of a ramp that HAProxy makes, the last one of the lane, which sets all of it.
    pub(super) fn in_place_of(&self, step: &'a Step) -> &'a Step {
        let is_weights = |step: &&Step| matches!(step, Step::SetWeights(_));
        if !self.slowstart || !is_weights(&step) {
            return step;
        }
        self.lane.steps.iter().rfind(is_weights).unwrap_or(step)
    }

    /// The server, which HAProxy slow-starts, has got its weight of these.
    pub(super) fn has_full(&self, weights: &WeightList) -> bool {
        let full = weights.iter().find(|(server, _)| *server == self.server).map(|&(_, weight)| weight);
        self.slowstart && full.is_some() && self.work.last_weight(self.server) == full
    }

    /// Waits until HAProxy has let the server into all of its share, and nobody holds it back; where a ramp was planned,
    /// for as long as that at most: no other server can join such a plan.
    pub(super) async fn await_full_share(&mut self) -> Result<(), StepError> {
        let (start, within) = (Instant::now(), self.length_of_ramp());
        while self.look().await?.is_slow_starting() && within.is_none_or(|within| start.elapsed() < within) {
            self.sleep(self.work.patience.poll * POLLS).await;
        }
        self.work.let_go(self.server).await;
        Ok(())
    }

    fn length_of_ramp(&self) -> Option<Duration> {
        let pause = |step: &Step| if let Step::Pause(pause) = step { Some(*pause) } else { None };
        let sets_weights = self.lane.steps.iter().any(|step| matches!(step, Step::SetWeights(_)));
        sets_weights.then(|| self.lane.steps.iter().filter_map(pause).sum())
    }
}
