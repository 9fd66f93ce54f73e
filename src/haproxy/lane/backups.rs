//! A start that closes sessions of backup servers: where its line has `on-marked-up shutdown-backup-sessions`, HAProxy does so as
//! soon as the server leaves MAINT, before any check has passed (seen on HAProxy 2.2 to 3.2).

use crate::core::plan::inventory::AdminState;
use crate::core::plan::step::{Lane, Step};
use crate::haproxy::work::Work;

/// Where `lane` would do that, a connection and the warm-up show in MAINT that the server is there: one that is dead closes
/// nothing.
pub(super) fn spare(work: &Work, mut lane: Lane) -> Lane {
    let begins = |steps: &[Step]| {
        matches!(steps, [Step::Set { state: AdminState::Drain, .. }, Step::AwaitHealthy { .. }])
    };
    let at = lane.steps.windows(2).position(begins).filter(|_| lane.from == AdminState::Maint);
    let closes = work.traits_of(lane.server).is_some_and(|traits| traits.closes_backups);
    if let Some(at) = at.filter(|_| closes) {
        let is_warm_up = |step: &Step| matches!(step, Step::WarmUp { .. });
        let warm_up = lane.steps.iter().position(is_warm_up).map(|at| lane.steps.remove(at));
        let first = [lane.steps[at + 1].clone()].into_iter().chain(warm_up);
        lane.steps.splice(at..at, first);
    }
    lane
}
