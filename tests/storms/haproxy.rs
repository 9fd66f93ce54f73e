//! A HAProxy with one backend, as far as a plan can tell: states, weights, checks, sessions, reloads.

use std::time::Duration;

use haproxy_autoscale::core::names::{Names, ServerId};
use haproxy_autoscale::core::plan::inventory::{
    AdminFlags, AdminState, BackendState, Inventory, OperationalState, Process, ServerState,
};
use haproxy_autoscale::core::units::Weight;

/// What the configuration says about a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// In service.
    Ready,
    /// `disabled`: a spare.
    Disabled,
    /// `backup`.
    Backup,
    /// `track` the first server.
    Tracking,
}

#[derive(Debug)]
pub(crate) struct Haproxy {
    pub(crate) state: BackendState,
    /// As the configuration has them.
    configured: Vec<ServerState>,
    /// The servers themselves run.
    pub(crate) alive: Vec<bool>,
    /// Seconds left of each session, by server.
    sessions: Vec<Vec<u32>>,
    pub(crate) pid: u32,
    /// Seconds until it answers again.
    pub(crate) away: u32,
    /// So many commands are refused.
    pub(crate) refuses: u32,
}

impl Haproxy {
    pub(crate) fn new(names: &Names, kinds: &[(Kind, u16)], checked: bool) -> Self {
        let id = names.backend("web").unwrap();
        let server = |(n, &(kind, weight)): (usize, &(Kind, u16))| {
            let id = names.server(id, &format!("s{}", n + 1)).unwrap();
            server(id, kind, Weight::saturating(weight.into()), checked)
        };
        let servers: Vec<ServerState> = kinds.iter().enumerate().map(server).collect();
        let count = servers.len();
        Self {
            configured: servers.clone(),
            state: BackendState {
                id,
                algorithm: "roundrobin".to_owned(),
                dynamic: Some(true),
                tcp: false,
                cookie: false,
                queued: 0,
                sessions: 0,
                total_sessions: 0,
                total_requests: None,
                servers,
            },
            alive: vec![true; count],
            sessions: vec![Vec::new(); count],
            pid: 1,
            away: 0,
            refuses: 0,
        }
    }

    pub(crate) fn answers(&self) -> bool {
        self.away == 0
    }

    pub(crate) fn server(&self, id: ServerId) -> &ServerState {
        self.state.server(id).expect("servers neither come nor go here")
    }

    pub(crate) fn serving(&self) -> usize {
        self.state.serving().count()
    }

    pub(crate) fn is_alive(&self, id: ServerId) -> bool {
        self.alive[self.place(id)]
    }

    pub(crate) fn place(&self, id: ServerId) -> usize {
        self.state.servers.iter().position(|server| server.id == id).expect("as in `server`")
    }

    pub(crate) fn inventory(&self) -> Inventory {
        let process = Process {
            version: "2.6.12".to_owned(),
            pid: self.pid,
            uptime_s: u64::from(self.pid),
            started: None,
            stopping: false,
        };
        Inventory { process, backends: vec![self.state.clone()], counted: vec![Some(self.pid)] }
    }

    /// `set server ... state`. READY out of MAINT means UP at once, before any check.
    pub(crate) fn set_state(&mut self, id: ServerId, state: AdminState) {
        let place = self.place(id);
        let server = &mut self.state.servers[place];
        let before = server.state();
        server.admin = server.admin.with(state);
        match (before, server.state()) {
            (_, AdminState::Maint) => {
                (server.operational, server.check_passed) = (OperationalState::Stopped, false);
            }
            (AdminState::Maint, _) => server.operational = OperationalState::Running,
            _ => {}
        }
        self.let_track();
    }

    pub(crate) fn set_weight(&mut self, id: ServerId, weight: Weight) {
        let place = self.place(id);
        self.state.servers[place].weight = weight;
    }

    /// Another process takes over, with the states of a state file, or with those of the configuration.
    pub(crate) fn reload(&mut self, keeps: bool) {
        self.pid += 1;
        self.state.total_sessions = 0;
        for (server, configured) in self.state.servers.iter_mut().zip(&self.configured) {
            if !keeps {
                *server = configured.clone();
            }
            server.check_passed = false;
        }
        self.sessions.iter_mut().for_each(Vec::clear);
        self.let_track();
        self.count_sessions();
    }

    /// A second goes by: checks, and sessions that end or begin, `lasts` seconds each.
    pub(crate) fn second(&mut self, lasts: u32) {
        if self.away > 0 {
            self.away -= 1;
            return;
        }
        for (server, &alive) in self.state.servers.iter_mut().zip(&self.alive) {
            if server.state() != AdminState::Maint && server.checked {
                server.check_passed = alive;
                server.operational =
                    if alive { OperationalState::Running } else { OperationalState::Stopped };
            }
        }
        self.let_track();
        for (server, sessions) in self.state.servers.iter().zip(&mut self.sessions) {
            sessions.retain_mut(|left| {
                *left -= 1;
                *left > 0
            });
            if server.is_serving() {
                sessions.push(lasts.max(1));
            }
        }
        self.count_sessions();
    }

    fn count_sessions(&mut self) {
        for (server, sessions) in self.state.servers.iter_mut().zip(&self.sessions) {
            server.sessions = sessions.len() as u32;
        }
        self.state.sessions = self.state.servers.iter().map(|server| server.sessions).sum();
    }

    /// Tracking servers do as the first one does.
    fn let_track(&mut self) {
        let tracked = self.state.servers[0].clone();
        for server in self.state.servers.iter_mut().filter(|server| server.tracks.is_some()) {
            let inherited = match tracked.state() {
                AdminState::Ready => 0,
                AdminState::Drain => 0x10,
                AdminState::Maint => 0x02,
            };
            server.admin = AdminFlags(server.admin.0 & !0x12 | inherited);
            server.operational = tracked.operational;
        }
    }
}

fn server(id: ServerId, kind: Kind, weight: Weight, checked: bool) -> ServerState {
    let disabled = kind == Kind::Disabled;
    ServerState {
        id,
        address: Some([127, 0, 0, 1].into()),
        port: 8080,
        admin: AdminFlags(if disabled { 0x05 } else { 0 }),
        operational: if disabled { OperationalState::Stopped } else { OperationalState::Running },
        weight,
        initial_weight: weight,
        checked: checked && kind != Kind::Tracking,
        check_passed: false,
        agent_checked: false,
        agent_off: false,
        by_name: false,
        backup: kind == Kind::Backup,
        tracks: (kind == Kind::Tracking).then_some(id),
        needed_elsewhere: false,
        alike: true,
        tls: Some(false),
        sessions: 0,
        queued: 0,
        maxconn: None,
        supply: None,
    }
}

/// Longer than HAProxy is tried for one thing.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
