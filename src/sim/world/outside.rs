//! The world from outside: what can be done to its servers, and what can be seen of it.

use std::time::{Duration, Instant};

use rand_distr::{Distribution, StandardUniform};

use super::balance::{self, Line};
use super::{Event, World};
use crate::core::names::{BackendId, Names, ServerId};
use crate::core::plan::inventory::{
    AdminState, BackendState, Cookie, Inventory, OperationalState, Process, ServerState,
};
use crate::core::units::Weight;
use crate::sim::ServerStage;

/// What can be done.
impl World {
    /// `set server ... state`. Leaving MAINT starts the server, and it is down until its first check.
    pub fn set_state(&mut self, server: usize, state: AdminState) {
        let before = self.lines[server].admin.state();
        if before == state {
            return;
        }
        self.lines[server].admin = self.lines[server].admin.with(state);
        self.totals.moves += u64::from(before == AdminState::Maint || state == AdminState::Maint);
        match (before, state) {
            (_, AdminState::Maint) => {
                self.servers[server].stop(self.now_s);
                (self.lines[server].up, self.lines[server].has_served) = (false, false);
            }
            (AdminState::Maint, _) => {
                let chance: f64 = StandardUniform.sample(&mut self.random);
                let ready_s = self.servers[server].start(self.now_s, 0.8 + 0.4 * chance);
                self.agenda.enter(ready_s, Event::Check(server));
                // READY out of MAINT is up at once, before any check (seen on HAProxy 2.6.12).
                self.lines[server].up = state == AdminState::Ready;
            }
            (AdminState::Drain, AdminState::Ready) => {
                self.totals.taken_back += u64::from(self.lines[server].has_served);
            }
            _ => {}
        }
        if state == AdminState::Ready {
            self.lines[server].has_served = true;
            balance::join(&mut self.lines[server]);
            self.fill(server);
        }
    }

    /// `set server ... weight`.
    pub fn set_weight(&mut self, server: usize, weight: Weight) {
        self.totals.weight_changes += u64::from(self.lines[server].weight != weight);
        self.lines[server].weight = weight;
        self.fill(server);
    }

    /// Sends warm-up requests to a server that has no others. How long they take, seconds; `None` if it refuses them.
    pub fn warm_up(&mut self, server: usize, requests: u32, side_by_side: u32) -> Option<f64> {
        let process = &mut self.servers[server];
        let accepts = process.accepts(self.now_s);
        accepts.then(|| process.warm_up(requests, side_by_side, self.slower, &mut self.random))
    }
}

/// What can be seen.
impl World {
    /// Seconds from the start.
    pub fn now_s(&self) -> f64 {
        self.now_s
    }

    /// When it began: second 0.
    pub fn began(&self) -> Instant {
        self.base
    }

    /// `now_s` as the core has it.
    pub fn now(&self) -> Instant {
        self.base + Duration::from_secs_f64(self.now_s)
    }

    /// The names of its one backend and its servers.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// Its one backend.
    pub fn backend(&self) -> BackendId {
        self.backend
    }

    /// The place of a server in the pool.
    pub fn place(&self, server: ServerId) -> Option<usize> {
        self.ids.iter().position(|id| *id == server)
    }

    /// READY, DRAIN or MAINT.
    pub fn state(&self, server: usize) -> AdminState {
        self.lines[server].admin.state()
    }

    /// Its check passes.
    pub fn is_up(&self, server: usize) -> bool {
        self.lines[server].up
    }

    /// Requests on the server by HAProxy's count.
    pub fn sessions(&self, server: usize) -> u32 {
        self.lines[server].served
    }

    /// Where the server stands.
    pub fn stage(&self, server: usize) -> ServerStage {
        let line = &self.lines[server];
        match line.admin.state() {
            AdminState::Maint => ServerStage::Off,
            AdminState::Drain if line.has_served => ServerStage::Draining,
            AdminState::Ready if line.up => ServerStage::Serving,
            AdminState::Drain | AdminState::Ready => ServerStage::Starting,
        }
    }

    /// Seconds of work that the workers of `server` have done.
    pub fn worked_s(&mut self, server: usize) -> f64 {
        self.servers[server].worked_s(self.now_s)
    }

    /// Requests in HAProxy's queue.
    pub fn queued(&self) -> u32 {
        u32::try_from(self.queue.len()).unwrap_or(u32::MAX)
    }

    /// The arrivals of the next `within_s`, a second.
    pub fn rate_to_come(&mut self, within_s: f64) -> f64 {
        self.arrivals.rate_to_come(self.now_s, within_s)
    }

    /// What the Runtime API would tell.
    pub fn inventory(&self) -> Inventory {
        let server = |(line, id): (&Line, &ServerId)| ServerState {
            id: *id,
            address: Some([127, 0, 0, 1].into()),
            port: 80,
            admin: line.admin,
            operational: if line.up { OperationalState::Running } else { OperationalState::Stopped },
            weight: line.weight,
            initial_weight: Weight::ONE,
            checked: true,
            check_passed: line.up,
            check_failed: !line.up,
            agent_checked: false,
            agent_off: false,
            by_name: false,
            of_dns: false,
            backup: false,
            tracks: None,
            needed_elsewhere: false,
            alike: true,
            everywhere: true,
            tls: Some(false),
            sessions: line.served,
            queued: 0,
            total_sessions: 0,
            cookie: None,
            maxconn: self.scenario.haproxy.maxconn,
            throttle: None,
            slowstart: false,
            supply: None,
        };
        let backend = BackendState {
            id: self.backend,
            dynamic: Some(true),
            mode: "http".to_owned(),
            cookie: Cookie::None,
            algorithm: self.scenario.haproxy.balance.name().to_owned(),
            queued: self.queued(),
            sessions: self.requests.len(),
            total_sessions: self.totals.came,
            total_requests: Some(self.totals.ended),
            servers: self.lines.iter().zip(&self.ids).map(server).collect(),
        };
        let process = Process {
            version: "simulated".to_owned(),
            pid: 1,
            uptime_s: self.now_s as u64,
            started: None,
            node: None,
            stopping: false,
        };
        Inventory {
            process,
            backends: vec![backend],
            counted: vec![Some(1)],
            disabled: Vec::new(),
            read_only: false,
            in_line: vec![0],
            unread: Vec::new(),
        }
    }
}
