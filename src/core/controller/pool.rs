//! A backend's servers as `policy: model` sees them.

use std::collections::HashSet;
use std::time::Instant;

use super::backend::Backend;
use crate::core::names::{Names, ServerId};
use crate::core::plan::inventory::{BackendState, ServerState};
use crate::core::plan::ownership::{self, Role};
use crate::core::plan::step::Purpose;
use crate::core::policy::fleet::Fleet;
use crate::core::policy::pool::{Member, Pool, Stage};

impl Backend {
    /// What the policy may count on, and use. A server that is being started or taken away is so
    /// from the moment that was decided, whatever HAProxy still says; one in HAProxy's `slowstart` is being started.
    pub(super) fn pool(&self, state: &BackendState, fleet: &Fleet, names: &Names, now: Instant) -> Pool {
        let quarantined = self.quarantine.all(now);
        let moving = self.moving.as_ref().map(|moving| (moving.plan.purpose, moving.under_way().collect()));
        let roles = ownership::roles(state, &self.settings, &self.claims, names);
        // One that is alone gets all there is, whatever its weight.
        let others_serve = state.serving().any(|server| server.throttle.is_none());
        let members = roles.filter_map(|(server, role)| {
            let stage = stage(server, role, &moving, &quarantined)?;
            let is_throttled = stage == Stage::Serving && server.throttle.is_some() && others_serve;
            let stage = if is_throttled { Stage::Starting } else { stage };
            Some(Member {
                server: server.id,
                stage,
                share: self.shares.as_ref().map_or(1.0, |shares| shares.of(server.id)),
                sessions: server.sessions,
                maxconn: server.maxconn,
                removable: role == Role::Serving,
            })
        });
        Pool {
            servers: members.collect(),
            takes_weights: state.takes_weights()
                && (self.shares.is_some() || !self.claims.hold_weights(state))
                && self.tidy_from.is_none_or(|from| now >= from),
            unseen: fleet.unseen,
            queued: fleet.queued,
        }
    }
}

fn stage(
    server: &ServerState,
    role: Role,
    moving: &Option<(Purpose, HashSet<ServerId>)>,
    quarantined: &HashSet<ServerId>,
) -> Option<Stage> {
    match moving {
        Some((Purpose::Add, under_way)) if under_way.contains(&server.id) => {
            return Some(if server.is_serving() { Stage::Serving } else { Stage::Starting });
        }
        Some((Purpose::Remove, under_way)) if under_way.contains(&server.id) => {
            return (!server.is_retired()).then_some(Stage::Parked);
        }
        _ => {}
    }
    match role {
        Role::Serving | Role::Kept => server.is_serving().then_some(Stage::Serving),
        Role::Draining | Role::Spare if quarantined.contains(&server.id) => None,
        // Nobody takes it away: an operator may have it in DRAIN for long.
        Role::Draining | Role::Spare => Some(Stage::Spare),
        Role::Vacant | Role::Retired | Role::Foreign => None,
    }
}
