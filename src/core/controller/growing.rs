//! Slots that HAProxy's configuration is to get, as every one it has is taken.
//!
//! Here is only which ones: they stand among what [should last](super::standing), whoever keeps that writes them down and
//! has HAProxy reloaded, and tells how far that is. Names stay asked for until HAProxy has them.

use std::collections::HashSet;
use std::sync::Arc;

use super::Controller;
use super::backend::Backend;
use super::standing::{Origin, ServerStanding};
use crate::core::names::{Names, ServerId};
use crate::core::plan::inventory::{BackendState, ServerState};
use crate::core::plan::slots;
use crate::core::plan::supply::Supplied;
use crate::core::policy::decision::{Decision, Reason};
use crate::core::policy::fleet::Fleet;
use crate::core::policy::order::{Ordered, What};
use crate::core::policy::place::{Growth, NoPlace, NotGrowing};
use crate::core::settings::Policy;
use crate::core::settings::spares::Grow;

/// What those who write HAProxy's configuration say: how far it is with new slots, or why there can be none.
pub type Growable = Result<Growth, String>;

/// The slots that one backend is to get.
#[derive(Debug)]
pub(super) struct Growing {
    /// Nobody has said that it can get any, before somebody has.
    growable: Arc<Growable>,
    /// Names of slots that no HAProxy has yet.
    asked: Vec<String>,
    /// Slots that some of several HAProxys have already.
    somewhere: HashSet<ServerId>,
}

impl Default for Growing {
    fn default() -> Self {
        let nobody = "nobody writes HAProxy's configuration".to_owned();
        Self { growable: Arc::new(Err(nobody)), asked: Vec::new(), somewhere: HashSet::new() }
    }
}

impl Controller {
    /// Takes whether HAProxy's configuration can get more slots, and how far that is. Told before each tick.
    pub fn handle_growable(&mut self, growable: Growable) {
        let growable = Arc::new(growable);
        let growing = self.backends.values_mut().filter(|backend| backend.settings.spares.grow().is_some());
        growing.for_each(|backend| backend.growing.growable = growable.clone());
    }

    /// That not every HAProxy has `server` is because they get it one after the other.
    pub fn is_slot_to_come(&self, server: ServerId) -> bool {
        self.backends.values().any(|backend| backend.growing.somewhere.contains(&server))
    }
}

impl Backend {
    /// How it gets more slots, if that is wanted and can be.
    fn grow(&self) -> Option<Grow> {
        self.settings.spares.grow().filter(|_| self.growing.growable.is_ok())
    }

    /// Names of slots that not every HAProxy has, and all are to get.
    pub(super) fn slots_to_come(&self, state: &BackendState, names: &Names) -> Vec<String> {
        if self.grow().is_none() {
            return Vec::new();
        }
        let somewhere = slots::somewhere(state, self.settings.spares);
        let somewhere = somewhere.map(|slot| names.of_server(slot.id).to_string());
        somewhere.chain(self.growing.asked.iter().cloned()).collect()
    }

    /// Asks for more slots if `decision` says that servers are missing, and only for want of slots.
    pub(super) fn ask_for_slots(
        &mut self,
        decision: &Decision,
        supplied: &Supplied,
        fleet: &Fleet,
        names: &Names,
    ) {
        let state = &supplied.state;
        self.growing.somewhere.clear();
        let Some(grow) = self.grow() else { return self.growing.asked.clear() };
        let spares = self.settings.spares;
        self.growing.somewhere.extend(slots::somewhere(state, spares).map(|slot| slot.id));
        if !self.growing.asked.is_empty() {
            let there: HashSet<Arc<str>> =
                state.servers.iter().map(|server| names.of_server(server.id)).collect();
            self.growing.asked.retain(|name| !there.contains(name.as_str()));
        }
        let is_short = matches!(decision, Decision::Hold(reason) if is_no_spare(reason));
        // Without one to go by nobody knows what they are to be like.
        if !is_short || supplied.missing_slots == 0 || slots::model(state, spares).is_none() {
            return;
        }
        let to_come = count(self.slots_to_come(state, names).len());
        let short = self.shortage(decision, state, fleet).min(supplied.missing_slots);
        let wanted = match short.saturating_sub(to_come) {
            more if to_come > 0 => more,
            more => more.max(grow.by),
        };
        let there = count(slots::slots(state, spares).count() + self.growing.asked.len());
        let more = wanted.min(grow.to.map_or(u32::MAX, |to| to.saturating_sub(there)));
        let new = slots::next_names(state, spares, &self.growing.asked, more, names);
        self.growing.asked.extend(new);
    }

    /// How many servers are missing; at least one is.
    fn shortage(&self, decision: &Decision, state: &BackendState, fleet: &Fleet) -> u32 {
        let (starting, leaving) = self.on_their_way(state);
        let will_serve = (fleet.serving + starting).saturating_sub(leaving);
        let wanted = match (decision.reason(), self.mind.evaluation()) {
            (Reason::Ordered(Ordered { what: What::Pinned { to, .. }, .. }), _) => *to,
            (_, Some(evaluation)) => evaluation.want,
            (_, None) if self.settings.policy == Policy::Threshold => {
                will_serve.saturating_add(self.settings.scale_up.step).min(self.most())
            }
            (_, None) => 0,
        };
        wanted.max(self.settings.ready.min).saturating_sub(will_serve).max(1)
    }

    fn most(&self) -> u32 {
        self.settings.ready.max.unwrap_or(u32::MAX)
    }

    /// Why a server is missing where every slot is taken.
    pub(super) fn no_slot(&self, supplied: &Supplied, names: &Names) -> NoPlace {
        let (state, spares) = (&supplied.state, self.settings.spares);
        let to_come = self.slots_to_come(state, names);
        if let (Ok(told), Some(first), Some(last)) =
            (&*self.growing.growable, to_come.first(), to_come.last())
        {
            let names = (first.clone(), last.clone());
            return NoPlace::Growing { count: to_come.len(), names, told: told.clone() };
        }
        let missing = supplied.missing_slots;
        let but = spares.grow().and_then(|grow| match &*self.growing.growable {
            Err(why) => Some(NotGrowing::Cannot(why.clone())),
            Ok(_) if slots::model(state, spares).is_none() => {
                Some(NotGrowing::Cannot("there is no slot to go by".to_owned()))
            }
            Ok(_) => grow.to.map(NotGrowing::AtMost),
        });
        NoPlace::Slot { missing, line: slots::line(state, spares, missing, names), but }
    }

    /// Lets `standing` tell of the slots that are to come.
    pub(super) fn stand_with_slots_to_come(
        &self,
        standing: &mut Vec<ServerStanding>,
        state: &BackendState,
        names: &Names,
    ) {
        let (spares, to_come) = (self.settings.spares, self.slots_to_come(state, names));
        let Some(model) = slots::model(state, spares).filter(|_| !to_come.is_empty()) else { return };
        let like = names.of_server(model.id).to_string();
        for name in to_come {
            let origin = Origin::SlotToCome { like: like.clone() };
            match standing.iter_mut().find(|server| server.server == name) {
                Some(server) => server.origin = origin,
                None => standing.push(empty_slot(name, origin, model, slots::placeholder(state, spares))),
            }
        }
    }
}

fn empty_slot(
    server: String,
    origin: Origin,
    model: &ServerState,
    placeholder: std::net::SocketAddr,
) -> ServerStanding {
    ServerStanding {
        server,
        disabled: Some(true),
        weight: Some(model.initial_weight),
        current_weight: model.initial_weight,
        initial_weight: model.initial_weight,
        is_out: true,
        address: Some(placeholder.ip()),
        port: placeholder.port(),
        origin,
    }
}

/// Servers are wanted, and none is left to add.
fn is_no_spare(reason: &Reason) -> bool {
    match reason {
        Reason::NoSpare => true,
        Reason::Ordered(Ordered { what: What::Pinned { but: Some(but), .. }, .. }) => is_no_spare(but),
        _ => false,
    }
}

fn count(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
