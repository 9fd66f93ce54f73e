//! Servers in READY that HAProxy's checks call DOWN: told when it begins and when it ends.
//!
//! What is made of it is decided elsewhere: they do not serve, so others are started in their place if they are needed.

use std::collections::{HashSet, VecDeque};
use std::time::Instant;

use super::backend::Backend;
use super::{Action, Event, Record, record};
use crate::core::names::{BackendId, ServerId};
use crate::core::plan::inventory::{AdminState, BackendState, ServerState};

/// Those that are DOWN.
#[derive(Debug, Default)]
pub(super) struct Checks(HashSet<ServerId>);

impl Checks {
    /// What has changed, with whether the server is up now. One that was taken out of service meanwhile is neither.
    fn look(&mut self, state: &BackendState) -> Vec<(ServerId, bool)> {
        let is_ready = |server: &&ServerState| server.state() == AdminState::Ready && !server.is_absent();
        let found = state.servers.iter().filter(is_ready);
        let is_news = |server: &&ServerState| server.is_up() == self.0.contains(&server.id);
        let news = found.filter(is_news).map(|server| (server.id, server.is_up())).collect();
        let is_down = |server: &&ServerState| is_ready(server) && !server.is_up();
        self.0 = state.servers.iter().filter(is_down).map(|server| server.id).collect();
        news
    }
}

impl Backend {
    /// Tells which servers have gone DOWN or come UP.
    pub(super) fn look_at_checks(
        &mut self,
        id: BackendId,
        state: &BackendState,
        now: Instant,
        actions: &mut VecDeque<Action>,
    ) {
        for (server, up) in self.checks.look(state) {
            let serving = u32::try_from(state.serving().count()).unwrap_or(u32::MAX);
            let event = Event::Checked { server, up };
            let next_move = self.next_move(now);
            actions.push_back(record(Record { backend: id, event, snapshot: None, serving, next_move }));
        }
    }
}
