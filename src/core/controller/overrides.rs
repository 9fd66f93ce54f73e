//! An operator overrules the policy: a backend is paused, or pinned to a number of servers.
//!
//! ```text
//!            pause, pin                    resume, or its time is over
//!  none ------------------> overridden ----------------------------------> none
//!                             |    ^
//!                             '----'  pause, pin: the newer one holds
//! ```
//! A pause holds back everything but the rest of a plan that was under way when it began. A pin goes
//! above `ready.max`, for it is an operator who says so, but never below `ready.min`, which holds at
//! every moment; and as any other scale-down it waits for the cooldown.

use std::time::{Duration, Instant};

use super::backend::{Backend, Latest};
use super::memory::OverrideMemory;
use super::{Action, Event, Record, record};
use crate::core::names::{BackendId, Names};
use crate::core::plan::inventory::BackendState;
use crate::core::plan::step::Purpose;
use crate::core::policy::decision::{Decision, Reason};
use crate::core::policy::fleet::Fleet;
use crate::core::policy::order::{Ordered, What};

/// What an operator wants instead of what the policy decides.
#[derive(Clone, Debug, PartialEq)]
pub struct Override {
    /// What.
    pub order: Order,
    /// Who.
    pub by: Operator,
    /// When it was said.
    pub since: Instant,
    /// When it ends by itself; `None`: when somebody ends it.
    pub until: Option<Instant>,
}

/// What can be ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Order {
    /// No moves.
    Pause,
    /// So many serving servers, at least 1.
    Pin(u32),
}

/// Who gave an order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Operator {
    /// The user's name, or a number where there is no name.
    pub name: String,
    /// The user's number.
    pub uid: u32,
    /// The process; `None` where that is not known.
    pub pid: Option<i32>,
}

impl Override {
    /// As an agent before this one left it.
    pub(super) fn recall(kept: &OverrideMemory, now: Instant) -> Self {
        Self {
            order: kept.order,
            by: kept.by.clone(),
            since: now.checked_sub(kept.age).unwrap_or(now),
            until: kept.left.map(|left| now + left),
        }
    }

    /// To be kept.
    pub(super) fn memory(&self, now: Instant) -> OverrideMemory {
        OverrideMemory {
            order: self.order,
            by: Operator { pid: None, ..self.by.clone() },
            age: now.saturating_duration_since(self.since),
            left: self.left(now),
        }
    }

    /// What is left of it; `None`: it has no end of its own.
    pub fn left(&self, now: Instant) -> Option<Duration> {
        self.until.map(|until| until.saturating_duration_since(now))
    }

    /// Its time is over.
    fn is_over(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| until <= now)
    }
}

impl Backend {
    /// Takes an order in place of the one before it, which is returned.
    pub(super) fn take_order(
        &mut self,
        id: BackendId,
        wanted: Override,
        now: Instant,
    ) -> (Option<Override>, [Action; 2]) {
        let before = self.overridden.replace(wanted.clone());
        (before, [Action::Remember, self.tell_order(id, Event::Ordered(wanted), now)])
    }

    /// Ends the order there is; `by` whom, `None`: by its time. `None` if there is none.
    pub(super) fn end_order(
        &mut self,
        id: BackendId,
        by: Option<Operator>,
        now: Instant,
    ) -> Option<(Override, [Action; 2])> {
        let ended = self.overridden.take()?;
        let event = Event::OrderEnded { what: ended.clone(), by };
        Some((ended, [Action::Remember, self.tell_order(id, event, now)]))
    }

    /// The same, if its time is over.
    pub(super) fn end_order_in_time(&mut self, id: BackendId, now: Instant) -> Option<[Action; 2]> {
        self.overridden.as_ref().filter(|wanted| wanted.is_over(now))?;
        self.end_order(id, None, now).map(|(_, actions)| actions)
    }

    fn tell_order(&mut self, id: BackendId, event: Event, now: Instant) -> Action {
        self.told = None;
        let serving = self.latest.as_ref().map_or(0, |latest| latest.fleet.serving);
        record(Record { backend: id, event, snapshot: None, serving, next_move: self.next_move(now) })
    }

    /// Nothing may be begun.
    pub(super) fn is_paused(&self) -> bool {
        self.overridden.as_ref().is_some_and(|wanted| wanted.order == Order::Pause)
    }

    /// The number of servers it is pinned to, whatever the limits.
    pub(super) fn pin(&self) -> Option<u32> {
        match self.overridden.as_ref()?.order {
            Order::Pause => None,
            Order::Pin(to) => Some(to),
        }
    }

    /// `decision`, or what an operator wants instead of it.
    pub(super) fn overrule(
        &mut self,
        decision: Decision,
        state: &BackendState,
        fleet: &Fleet,
        now: Instant,
    ) -> Decision {
        self.wish = None;
        let Some(wanted) = &self.overridden else { return self.limits.named(decision) };
        let (left, by) = (wanted.left(now), wanted.by.name.clone());
        let decided = match wanted.order {
            Order::Pause => Decision::Hold(Reason::Ordered(Ordered { what: What::Paused, left, by })),
            Order::Pin(asked) => {
                let to = self.limits.scheduled.min.max(asked);
                let pin = Ordered { what: What::Pinned { asked, to, but: None }, left, by };
                self.towards(to, pin, state, fleet, now)
            }
        };
        // So many servers are wanted; with which weights is still the policy's.
        let is_weighed = matches!(decision, Decision::Reweigh { .. }) && self.pin().is_some();
        if is_weighed && matches!(decided, Decision::Hold(_)) {
            return decision;
        }
        self.wish = Some(match self.pin() {
            Some(to) => self.limits.named_by_pin(decision, to.max(self.limits.scheduled.min)),
            None => decision,
        });
        decided
    }

    /// What the latest evaluation comes to with the orders of now, for whoever looks before there is another one.
    pub(super) fn reconsider(&mut self, state: &BackendState, names: &Names, now: Instant) {
        let Some(latest) = self.latest.take() else { return };
        let by_itself = self.wish.take().unwrap_or(latest.decision);
        let supplied = self.supplied(state, names, now);
        let fleet = self.fleet(&supplied.state, names, now);
        let decision = self.overrule(by_itself, &supplied.state, &fleet, now);
        let decision = self.place_explained(decision, &supplied, names);
        self.latest = Some(Latest { decision, refused: None, fleet });
    }

    /// The move that brings `to` servers to serve, counting those on their way.
    fn towards(&self, to: u32, pin: Ordered, state: &BackendState, fleet: &Fleet, now: Instant) -> Decision {
        let (starting, leaving) = self.on_their_way(state);
        let will_serve = (fleet.serving + starting).saturating_sub(leaving);
        let cooldown = self.cooldown(now);
        let held = |but: Reason| Decision::Hold(Reason::Ordered(pin.clone().but(but)));
        let reason = || Reason::Ordered(pin.clone());
        if will_serve < to {
            match (to - will_serve).min(fleet.startable) {
                0 if self.is_moving() => held(Reason::Acting),
                0 => held(Reason::NoSpare),
                by => Decision::ScaleUp { by, reason: reason() },
            }
        } else if self.is_moving() {
            held(Reason::Acting)
        } else if will_serve == to {
            Decision::Hold(reason())
        } else if !cooldown.is_zero() {
            held(Reason::CoolingDown { left: cooldown })
        } else {
            match (will_serve - to).min(fleet.removable) {
                0 => held(Reason::NothingToRemove),
                by => Decision::ScaleDown { by, prefer: Vec::new(), reason: reason() },
            }
        }
    }

    /// Servers of the plan under way that do not serve yet, and those that serve still.
    pub(super) fn on_their_way(&self, state: &BackendState) -> (u32, u32) {
        let Some(moving) = &self.moving else { return (0, 0) };
        let serves = |id| state.server(id).is_some_and(|server| server.is_serving());
        let (serving, not): (Vec<_>, Vec<_>) = moving.under_way().partition(|&id| serves(id));
        let count = |servers: Vec<_>| u32::try_from(servers.len()).unwrap_or(u32::MAX);
        match moving.plan.purpose {
            Purpose::Add => (count(not), 0),
            Purpose::Remove => (0, count(serving)),
            Purpose::ShutDown | Purpose::Reweigh => (0, 0),
        }
    }
}
