//! What goes wrong in the world, and what health checks make of it.

use super::{Ending, Event, World, balance};
use crate::core::plan::inventory::AdminState;
use crate::sim::scenario::Trouble;

/// HAProxy notices a dead server after `fall 3` checks at `inter 2s`, its defaults (configuration manual 5.2).
const FALL_S: f64 = 6.0;
/// And one that is back after `rise 2`.
const RISE_S: f64 = 4.0;

impl World {
    /// Puts every incident of this moment into force, and no other.
    pub(super) fn turn(&mut self) {
        let now_s = self.now_s;
        self.slower = 1.0;
        let was_down: Vec<bool> = self.servers.iter().map(|server| server.down).collect();
        for server in &mut self.servers {
            (server.slow, server.down) = (1.0, false);
        }
        let troubles: Vec<Trouble> = self.scenario.troubles(now_s).collect();
        for trouble in troubles {
            match trouble {
                Trouble::Slower(by) => self.slower *= by,
                Trouble::SlowServer(server, by) => {
                    self.servers.get_mut(server).into_iter().for_each(|server| server.slow *= by);
                }
                Trouble::Down(server) => {
                    self.servers.get_mut(server).into_iter().for_each(|server| server.down = true);
                }
                Trouble::Mix { .. } | Trouble::LogLost => {}
            }
        }
        for (server, was_down) in was_down.into_iter().enumerate() {
            match (was_down, self.servers[server].down) {
                (false, true) => self.crash(server),
                (true, false) => self.agenda.enter(now_s + RISE_S, Event::Check(server)),
                _ => {}
            }
        }
    }

    fn crash(&mut self, server: usize) {
        self.servers[server].crash(self.now_s);
        self.agenda.enter(self.now_s + FALL_S, Event::Check(server));
        for request in self.requests.on(server) {
            self.end(request, Ending::Broken);
        }
    }

    /// In MAINT checks pause.
    pub(super) fn check(&mut self, server: usize) {
        if self.lines[server].admin.state() == AdminState::Maint {
            return;
        }
        let was_usable = self.lines[server].is_usable();
        self.lines[server].up = self.servers[server].accepts(self.now_s);
        if !was_usable && self.lines[server].is_usable() {
            balance::join(&mut self.lines[server]);
            self.fill(server);
        }
    }
}
