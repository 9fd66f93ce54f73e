//! Weights that are set only for a while, in ramps and where servers get less than their share: what is to be put back,
//! and what a restart of HAProxy brings back of them.
//!
//! A state file that was written meanwhile (`show servers state`, by whoever reloads HAProxy) brings them back at each
//! restart from then on. So what was set on which server is remembered until somebody else weighs it, or it is gone.
//!
//! ```text
//!  after a restart the servers that have had such weights show
//!    their own weights, or the configured ones               nothing
//!    such weights, all of them; two are not their own,
//!    one is more than that                                   put right: only multiplied weights look so
//!    such weights, but not so                                left alone, and told: they may be somebody's
//! ```

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::time::Instant;

use super::backend::Backend;
use super::hands_off::Change;
use super::{Action, Event, Record, record};
use crate::core::names::{BackendId, Names, ServerId};
use crate::core::plan::inventory::BackendState;
use crate::core::plan::shares::Shares;
use crate::core::plan::step::{Plan, Step};
use crate::core::plan::weights::WeightList;
use crate::core::units::Weight;

/// So many of a server are remembered: ramps set ten.
const MOST: usize = 16;

/// Of one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Temporary {
    /// What it has by right.
    pub own: Weight,
    /// What it had for a while, the latest last.
    pub set: Vec<Weight>,
}

/// A weight that HAProxy's restart has brought back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BroughtBack {
    /// Of which server.
    pub server: ServerId,
    /// What it had for a while.
    pub weight: Weight,
    /// What it has by right.
    pub own: Weight,
}

/// What servers of a backend have had for a while.
#[derive(Debug, Default)]
pub(super) struct TemporaryWeights {
    known: HashMap<ServerId, Temporary>,
    /// HAProxy was restarted, and nobody has looked at its weights yet.
    restarted: bool,
}

impl TemporaryWeights {
    /// What HAProxy has now may be from its state file.
    pub(super) fn restart(&mut self) {
        self.restarted = true;
    }

    /// Somebody else has set the weight of `server`.
    pub(super) fn forget(&mut self, server: ServerId) {
        self.known.remove(&server);
    }

    /// What an agent before this one has set.
    pub(super) fn recall(&mut self, memory: &BTreeMap<String, Temporary>, id: BackendId, names: &Names) {
        let known = memory.iter().filter_map(|(name, known)| Some((names.server(id, name)?, known.clone())));
        self.known = known.collect();
    }

    /// For the next agent, by the servers' names.
    pub(super) fn memory(&self, names: &Names) -> BTreeMap<String, Temporary> {
        let named = |(&id, known): (&ServerId, &Temporary)| (names.of_server(id).to_string(), known.clone());
        self.known.iter().map(named).collect()
    }

    /// Forgets servers that are gone.
    fn keep_those_in(&mut self, state: &BackendState) {
        if self.known.len() > state.servers.len() {
            let there: HashSet<ServerId> = state.servers.iter().map(|server| server.id).collect();
            self.known.retain(|server, _| there.contains(server));
        }
    }

    /// These are `set` until the servers have their `own` weights again.
    fn note(&mut self, own: &WeightList, set: &WeightList) {
        for &(server, own) in own {
            self.known.entry(server).or_insert(Temporary { own, set: Vec::new() }).own = own;
        }
        for (server, weight) in set {
            let Some(known) = self.known.get_mut(server) else { continue };
            known.set.retain(|before| before != weight);
            known.set.push(*weight);
            let too_many = known.set.len().saturating_sub(MOST);
            known.set.drain(..too_many);
        }
    }

    /// These are to stay.
    fn settle(&mut self, weights: &WeightList) {
        for (server, weight) in weights {
            if let Some(known) = self.known.get_mut(server) {
                known.own = *weight;
            }
        }
    }

    /// Those that are back in `state`.
    fn back_in(&self, state: &BackendState) -> Vec<BroughtBack> {
        let back = state.servers.iter().filter_map(|server| {
            let (id, weight, known) = (server.id, server.weight, self.known.get(&server.id)?);
            let is_right = weight == known.own || weight == server.initial_weight;
            let is_back = known.set.contains(&weight) && !is_right;
            is_back.then_some(BroughtBack { server: id, weight, own: known.own })
        });
        back.collect()
    }

    /// Nobody else would have set all weights in `state`, those that are `back` among them.
    fn are_ours(&self, back: &[BroughtBack], state: &BackendState) -> bool {
        let had = |server| self.known.get(server).map(|known| &known.set);
        let were_set =
            state.servers.iter().all(|server| had(&server.id).is_none_or(|set| set.contains(&server.weight)));
        were_set && back.len() > 1 && back.iter().any(|back| back.weight > back.own)
    }
}

impl Backend {
    /// The weights that temporary ones stand in for.
    pub(super) fn to_put_back(&self) -> &[(ServerId, Weight)] {
        self.shares.as_ref().map_or(&self.borrowed, Shares::base)
    }

    /// A plan is going to borrow these. What is still to be put back from before stays so.
    pub(super) fn owe(&mut self, more: WeightList) {
        self.borrowed.retain(|(server, _)| more.iter().all(|(other, _)| other != server));
        self.claims.weights_owed = !self.borrowed.is_empty();
        self.borrowed.extend(more);
    }

    /// A plan has set its weights, and these are now as they should be.
    pub(super) fn repay(&mut self, plan: &Plan) {
        let last = if plan.after.is_empty() { &plan.before } else { &plan.after };
        let repaid = weights_of(last);
        self.borrowed.retain(|(server, _)| repaid.iter().all(|(other, _)| other != server));
    }

    /// Remembers which of the weights that `plan` is going to set are to stay, and which are not.
    pub(super) fn note_weights(&mut self, plan: &Plan) {
        let in_lanes = plan.lanes.iter().flat_map(|lane| weights_of(&lane.steps));
        let set: WeightList = weights_of(&plan.before).into_iter().chain(in_lanes).collect();
        let own =
            self.shares.as_ref().map_or_else(|| weights_of(&plan.after), |shares| shares.base().to_vec());
        if own.is_empty() || set == own {
            self.temporary.settle(&set);
        } else if !set.is_empty() {
            self.temporary.note(&own, &set);
        }
    }

    /// HAProxy may have been restarted with a state file from the middle of a ramp: such weights are owed. True if there is something to
    /// remember about it. No plan is under way.
    pub(super) fn look_for_temporary_weights(
        &mut self,
        id: BackendId,
        state: &BackendState,
        now: Instant,
        actions: &mut VecDeque<Action>,
    ) -> bool {
        self.temporary.keep_those_in(state);
        if !std::mem::take(&mut self.temporary.restarted) {
            return false;
        }
        self.shares.take_if(|shares| !shares.are_in_force(state));
        let mut back = self.temporary.back_in(state);
        let are_ours = self.temporary.are_ours(&back, state);
        back.retain(|back| self.to_put_back().iter().all(|(owed, _)| *owed != back.server));
        if back.is_empty() || !state.takes_weights() {
            return false;
        }
        if are_ours {
            self.owe(back.iter().map(|back| (back.server, back.own)).collect());
            self.claims.weights_owed = true;
            let serving = self.latest.as_ref().map_or(0, |latest| latest.fleet.serving);
            let (event, next_move) = (Event::WeightsBroughtBack(back), self.next_move(now));
            actions.push_back(record(Record { backend: id, event, snapshot: None, serving, next_move }));
        } else {
            for BroughtBack { server, weight, own } in back {
                self.temporary.forget(server);
                let change = Change::WeightAtRestart { from: own, to: weight };
                self.leave_alone(id, server, Some(change), now, actions);
            }
        }
        true
    }
}

/// All that these steps set, in their order.
pub(super) fn weights_of(steps: &[Step]) -> WeightList {
    let weights = steps.iter().filter_map(|step| match step {
        Step::SetWeights(weights) => Some(weights.clone()),
        _ => None,
    });
    weights.flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_weights_of_a_server_are_remembered_the_latest_of_them() {
        let names = Names::default();
        let web = names.backend("web").expect("there is room");
        let server = names.server(web, "s1").expect("there is room");
        let mut weights = TemporaryWeights::default();
        for value in 1..=256 {
            weights.note(&vec![(server, Weight::ONE)], &vec![(server, Weight::saturating(f64::from(value)))]);
        }
        let latest: Vec<u16> = weights.known[&server].set.iter().map(|weight| weight.value()).collect();
        assert_eq!(latest, (241..=256).collect::<Vec<u16>>());
    }
}
