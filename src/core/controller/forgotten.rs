//! What a reload or restart of HAProxy has undone, and how it is brought back.
//!
//! HAProxy begins anew with what its configuration (or its state file) says: spares that served are in MAINT, and
//! servers that were taken away serve. Figures that were learned stay. What was lost comes back as any other move
//! does, by a plan: first those that are missing, then those that are too many.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use super::backend::Backend;
use crate::core::names::{Names, ServerId};
use crate::core::plan::inventory::{AdminState, BackendState};
use crate::core::plan::ownership::{self, Role};
use crate::core::policy::decision::{Decision, Reason};

/// Later than this what held before is no guide any more; the policy has seen enough by then.
const HOLDS_FOR: Duration = Duration::from_secs(60);

/// How it was before HAProxy forgot it.
#[derive(Debug)]
pub(super) struct Forgotten {
    served: HashSet<ServerId>,
    taken_away: HashSet<ServerId>,
    until: Option<Instant>,
}

impl Forgotten {
    /// As it was in `before`, the last reading of the process that has gone, in which `ours` were in MAINT or DRAIN by
    /// our doing.
    pub(super) fn of(before: &BackendState, ours: &HashSet<ServerId>) -> Self {
        let is_away =
            |id: &ServerId| before.server(*id).is_some_and(|server| server.state() != AdminState::Ready);
        Self {
            served: before.serving().map(|server| server.id).collect(),
            taken_away: ours.iter().copied().filter(is_away).collect(),
            until: None,
        }
    }
}

impl Backend {
    /// `decision`, or the move that brings back what HAProxy has forgotten: once each way.
    pub(super) fn bring_back(
        &mut self,
        decision: Decision,
        state: &BackendState,
        names: &Names,
        now: Instant,
    ) -> Decision {
        // A plan that is under way brings back its own servers by itself.
        if self.is_moving() {
            // What is called back from its drain now is not to go again.
            if let (Decision::ScaleUp { .. }, Some(forgotten)) = (&decision, &mut self.forgotten) {
                forgotten.taken_away.clear();
            }
            return decision;
        }
        let Some(mut forgotten) = self.forgotten.take() else { return decision };
        if now > *forgotten.until.get_or_insert(now + HOLDS_FOR) {
            return decision;
        }
        let passed_over = self.quarantine.all(now);
        let roles = ownership::roles(state, &self.settings, &self.claims, names);
        let (mut missing, mut back) = (0, Vec::new());
        for (server, role) in roles.filter(|(server, _)| !passed_over.contains(&server.id)) {
            missing += u32::from(role == Role::Spare && forgotten.served.contains(&server.id));
            if role == Role::Serving && forgotten.taken_away.contains(&server.id) {
                back.push(server.id);
            }
        }
        let too_many = u32::try_from(back.len()).unwrap_or(u32::MAX);
        match decision {
            Decision::ScaleUp { by, .. } if by >= missing => decision,
            _ if missing > 0 => {
                forgotten.served.clear();
                self.forgotten = Some(forgotten);
                Decision::ScaleUp { by: missing, reason: Reason::Forgotten { servers: missing } }
            }
            Decision::Hold(_) | Decision::Reweigh { .. } if too_many > 0 => {
                if !self.cooldown(now).is_zero() {
                    self.forgotten = Some(forgotten);
                    return decision;
                }
                let reason = Reason::Forgotten { servers: too_many };
                Decision::ScaleDown { by: too_many, prefer: back, reason }
            }
            _ => decision,
        }
    }
}
