//! One process of HAProxy, as far as its Runtime API shows it: servers, weights, checks, sessions, and what a
//! reload leaves of them.

use std::collections::HashSet;
use std::net::SocketAddr;

use haproxy_autoscale::core::plan::inventory::AdminState;

/// `srv_op_state`.
pub(crate) const STOPPED: u8 = 0;
pub(crate) const RUNNING: u8 = 2;

/// Where slots are that have no address.
pub(crate) const NOWHERE: ([u8; 4], u16) = ([0, 0, 0, 0], 80);

/// One server of one process.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    /// What was set.
    pub(crate) forced: AdminState,
    /// What it has from the server that it tracks.
    pub(crate) inherited: AdminState,
    pub(crate) operational: u8,
    pub(crate) weight: u16,
    pub(crate) initial_weight: u16,
    pub(crate) checked: bool,
    pub(crate) passed: bool,
    /// `disabled` in the configuration.
    pub(crate) disabled: bool,
    pub(crate) backup: bool,
    /// Backend and server.
    pub(crate) tracks: Option<(String, String)>,
    /// By `add server`.
    pub(crate) added: bool,
    /// Seconds left of each.
    pub(crate) sessions: Vec<u32>,
}

impl Server {
    /// As the configuration has it.
    pub(crate) fn new(name: String, address: SocketAddr, weight: u16) -> Self {
        Self {
            name,
            address,
            forced: AdminState::Ready,
            inherited: AdminState::Ready,
            operational: RUNNING,
            weight,
            initial_weight: weight,
            checked: false,
            passed: false,
            disabled: false,
            backup: false,
            tracks: None,
            added: false,
            sessions: Vec::new(),
        }
    }

    pub(crate) fn disabled(self) -> Self {
        Self { disabled: true, forced: AdminState::Maint, operational: STOPPED, ..self }
    }

    pub(crate) fn state(&self) -> AdminState {
        match (self.forced, self.inherited) {
            (AdminState::Maint, _) | (_, AdminState::Maint) => AdminState::Maint,
            (AdminState::Drain, _) | (_, AdminState::Drain) => AdminState::Drain,
            _ => AdminState::Ready,
        }
    }

    /// `srv_admin_state`.
    pub(crate) fn flags(&self) -> u32 {
        let forced = match self.forced {
            AdminState::Ready => 0,
            AdminState::Drain => 0x08,
            AdminState::Maint => 0x01,
        };
        let inherited = match self.inherited {
            AdminState::Ready => 0,
            AdminState::Drain => 0x10,
            AdminState::Maint => 0x02,
        };
        forced | inherited | if self.disabled { 0x04 } else { 0 }
    }

    pub(crate) fn serves(&self) -> bool {
        self.state() == AdminState::Ready && self.operational == RUNNING && self.weight > 0 && !self.backup
    }

    /// `set server ... state`: out of MAINT it is up at once, before any check.
    pub(crate) fn set_state(&mut self, state: AdminState) {
        let before = self.state();
        self.forced = state;
        match (before, self.state()) {
            (_, AdminState::Maint) => (self.operational, self.passed) = (STOPPED, false),
            (AdminState::Maint, _) => self.operational = RUNNING,
            _ => {}
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Backend {
    pub(crate) name: String,
    pub(crate) servers: Vec<Server>,
    pub(crate) total_sessions: u64,
}

impl Backend {
    pub(crate) fn server(&self, name: &str) -> Option<&Server> {
        self.servers.iter().find(|server| server.name == name)
    }

    pub(crate) fn serving(&self) -> usize {
        self.servers.iter().filter(|server| server.serves()).count()
    }
}

/// One process.
#[derive(Clone, Debug)]
pub(crate) struct Haproxy {
    pub(crate) version: &'static str,
    pub(crate) pid: u32,
    /// In seconds of the storm.
    pub(crate) started: u32,
    pub(crate) now: u32,
    pub(crate) stopping: bool,
    pub(crate) configured: Vec<Backend>,
    pub(crate) backends: Vec<Backend>,
}

impl Haproxy {
    pub(crate) fn new(version: &'static str, configured: Vec<Backend>, pid: u32) -> Self {
        let backends = configured.clone();
        let mut new = Self { version, pid, started: 0, now: 60, stopping: false, configured, backends };
        new.track();
        new
    }

    /// The process that takes over, with what a state file keeps, or what the configuration says.
    pub(crate) fn next(&self, keeps: bool, pid: u32) -> Self {
        let mut next = Self { pid, started: self.now, backends: self.configured.clone(), ..self.clone() };
        next.stopping = false;
        for (old, new) in self.backends.iter().zip(&mut next.backends) {
            for server in new.servers.iter_mut().filter(|_| keeps) {
                let Some(old) = old.server(&server.name) else { continue };
                *server = Server { sessions: Vec::new(), passed: false, ..old.clone() };
            }
        }
        next.track();
        next
    }

    pub(crate) fn has_dynamic_servers(&self) -> bool {
        !self.version.starts_with("2.2")
    }

    pub(crate) fn backend(&self, name: &str) -> Option<&Backend> {
        self.backends.iter().find(|backend| backend.name == name)
    }

    pub(crate) fn server(&self, backend: &str, server: &str) -> Option<&Server> {
        self.backend(backend)?.server(server)
    }

    /// Changes a server, if it is there, and whatever tracks it.
    pub(crate) fn change(&mut self, backend: &str, server: &str, change: impl FnOnce(&mut Server)) {
        let found = self.backends.iter_mut().find(|one| one.name == backend);
        let found = found.and_then(|found| found.servers.iter_mut().find(|one| one.name == server));
        if let Some(found) = found {
            change(found);
        }
        self.track();
    }

    /// A second goes by: checks; sessions that end, or begin and last so long. Nobody listens at `dead`.
    pub(crate) fn second(&mut self, lasts: u32, dead: &HashSet<SocketAddr>) {
        self.now += 1;
        for server in self.backends.iter_mut().flat_map(|backend| &mut backend.servers) {
            let is_alive = !dead.contains(&server.address) && server.address != SocketAddr::from(NOWHERE);
            if server.state() != AdminState::Maint && server.checked {
                server.passed = is_alive;
                server.operational = if is_alive { RUNNING } else { STOPPED };
            }
            server.sessions.retain_mut(|left| {
                *left -= 1;
                *left > 0
            });
            if server.serves() && !self.stopping {
                server.sessions.push(lasts.max(1));
            }
        }
        self.track();
    }

    /// Servers that track another one do as that does.
    fn track(&mut self) {
        let roots = self.backends.clone();
        let root = |(backend, server): &(String, String)| {
            roots.iter().find(|one| one.name == *backend).and_then(|backend| backend.server(server))
        };
        for server in self.backends.iter_mut().flat_map(|backend| &mut backend.servers) {
            if let Some(root) = server.tracks.as_ref().and_then(root) {
                (server.inherited, server.operational) = (root.state(), root.operational);
            }
        }
    }
}
