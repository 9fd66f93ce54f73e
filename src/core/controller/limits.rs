//! The fewest and most serving servers of the moment: the file's, a schedule's, or an operator's.

use std::collections::VecDeque;
use std::sync::Arc;

use super::Action;
use super::backend::Backend;
use crate::core::names::BackendId;
use crate::core::policy::decision::{Decision, Reason};
use crate::core::settings::ReadyLimits;
use crate::core::settings::schedule::CivilTime;

/// Where the limits of the moment come from. They themselves are the settings' `ready`, which all others read.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    /// As the file has them.
    always: ReadyLimits,
    /// As the schedule has them now.
    pub(super) scheduled: ReadyLimits,
    /// The entry of the schedule that holds now, in its own words.
    pub(super) entry: Option<String>,
}

/// The limits of the moment, for those who show them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitsView {
    /// But for a pin.
    pub now: ReadyLimits,
    /// The entry of the schedule they are from; `None`: they are those of `ready` itself.
    pub entry: Option<String>,
    /// When there will be others.
    pub next: Option<(CivilTime, ReadyLimits)>,
}

impl Limits {
    pub(super) fn new(always: ReadyLimits) -> Self {
        Self { always, scheduled: always, entry: None }
    }

    /// `decision`, with the entry of the schedule whose limit is its reason.
    pub(super) fn named(&self, decision: Decision) -> Decision {
        match &self.entry {
            Some(at) => named(decision, self.always, self.scheduled, at),
            None => decision,
        }
    }

    /// The same of a pin to so many servers, which are fewest and most to the policy.
    pub(super) fn named_by_pin(&self, decision: Decision, to: u32) -> Decision {
        let pinned = ReadyLimits { min: to, max: Some(to) };
        named(decision, self.scheduled, pinned, &format!("pinned to {to}"))
    }
}

/// `decision`, with what has put `limits` in the place of those `before`, if one of them is its reason.
fn named(mut decision: Decision, before: ReadyLimits, limits: ReadyLimits, by: &str) -> Decision {
    let (Decision::Hold(reason)
    | Decision::ScaleUp { reason, .. }
    | Decision::ScaleDown { reason, .. }
    | Decision::Reweigh { reason, .. }) = &mut decision;
    let is_by_these = match reason {
        Reason::BelowMin { .. } | Reason::AtMin { .. } => before.min != limits.min,
        Reason::AboveMax { .. } | Reason::AtMax { .. } => before.max != limits.max,
        _ => false,
    };
    if is_by_these {
        *reason = Reason::Scheduled { reason: Box::new(reason.clone()), at: by.to_owned() };
    }
    decision
}

impl Backend {
    /// Puts the limits of the moment into force, for the plan under way as well. `local` is what the clocks on the wall
    /// say, if anybody has said it.
    pub(super) fn settle_limits(
        &mut self,
        id: BackendId,
        local: Option<CivilTime>,
        actions: &mut VecDeque<Action>,
    ) {
        let always = self.limits.always;
        let found = local.map(|local| self.settings.schedule.limits_at(always, local));
        let (scheduled, entry) = found.unwrap_or((always, None));
        let entry = entry.map(|entry| entry.at.words());
        if self.limits.entry.as_deref() != entry {
            self.limits.entry = entry.map(str::to_owned);
        }
        self.limits.scheduled = scheduled;
        let pin = self.pin().map(|pin| pin.max(scheduled.min));
        let ready = pin.map_or(scheduled, |pin| ReadyLimits { min: pin, max: Some(pin) });
        if self.settings.ready != ready {
            Arc::make_mut(&mut self.settings).ready = ready;
        }
        self.tell_limits(id, actions);
    }

    /// The limits of the moment, and the next ones.
    pub(super) fn limits_view(&self, local: Option<CivilTime>) -> LimitsView {
        let Limits { always, scheduled, ref entry } = self.limits;
        let schedule = &self.settings.schedule;
        let next = local.and_then(|local| schedule.next_change(always, local));
        let next = next.map(|time| (time, schedule.limits_at(always, time).0));
        LimitsView { now: scheduled, entry: entry.clone(), next }
    }
}
