//! What is done when nothing else is: weights and drains that were left half done.

use std::collections::VecDeque;
use std::time::Instant;

use super::Action;
use super::backend::Backend;
use crate::core::names::Names;
use crate::core::plan::inventory::BackendState;
use crate::core::plan::step::{Plan, Purpose, Step};
use crate::core::plan::{planner, weights};
use crate::core::units::Weight;

impl Backend {
    /// After a crash in mid-ramp: the weights of before, of the servers that are still there.
    /// True if a plan for it has begun.
    pub(super) fn put_weights_back(
        &mut self,
        state: &BackendState,
        now: Instant,
        actions: &mut VecDeque<Action>,
    ) -> bool {
        if self.is_moving() {
            return false;
        }
        // None of ours is 0: whoever has set that wants it so.
        let is_ours = |server| state.server(server).is_some_and(|found| found.weight > Weight::ZERO);
        self.borrowed.retain(|&(server, _)| is_ours(server));
        self.claims.weights_owed = !self.borrowed.is_empty();
        if self.borrowed.is_empty() {
            return false;
        }
        let plan = Plan {
            backend: state.id,
            purpose: Purpose::Reweigh,
            least_serving: 0, // weights that served before
            found: None,
            before: vec![Step::SetWeights(self.borrowed.clone())],
            lanes: vec![],
            after: vec![],
        };
        self.begin(plan, None, now, actions);
        true
    }

    /// What is done when nothing else is: drains that an agent before this one left half done, servers that
    /// have no place any more, and weights that are not in proportion to the capacities.
    pub(super) fn tidy(
        &mut self,
        state: &BackendState,
        names: &Names,
        now: Instant,
        actions: &mut VecDeque<Action>,
    ) {
        if let Some(plan) = planner::finish_drains(state, &self.settings, &self.claims) {
            return self.begin(plan, None, now, actions);
        }
        if self.close_lingering(state, now, actions) {
            return;
        }
        if self.clear_away(state, names, now, actions) || self.weigh_by_latency(state, names, now, actions) {
            return;
        }
        let may_reweigh = self.shares.is_none() && !self.claims.hold_weights(state);
        let state = &self.claims.within_reach(state);
        if let Some(plan) = weights::reweigh(state, &self.settings, names).filter(|_| may_reweigh) {
            self.begin(plan, None, now, actions);
        }
    }
}
