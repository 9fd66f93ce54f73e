//! What HAProxy says it has: processes, backends, servers, their states, weights and sessions.
//!
//! `core/wire` makes it from `show info`, `show stat` and `show servers state`; nothing here
//! is remembered, HAProxy is the memory.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::supply::Supply;
use crate::core::names::{BackendId, ServerId};
use crate::core::units::Weight;

/// One reading of HAProxy.
#[derive(Clone, Debug, PartialEq)]
pub struct Inventory {
    /// Which process answered.
    pub process: Process,
    /// Every backend with servers.
    pub backends: Vec<BackendState>,
    /// Backends that its configuration has `disabled`: HAProxy lists their servers, and serves nobody by them.
    pub disabled: Vec<BackendId>,
    /// The process of each HAProxy whose counters are in it; `None` for one that does not answer.
    pub counted: Vec<Option<u32>>,
    /// The socket, or one of them, shows all this and changes nothing: it is not of `level admin`.
    pub read_only: bool,
    /// The HAProxys that can be gone by. If there is none, all were restarted, one before another had got back what it had
    /// lost: what they have is not what it is to be, and that is being told them.
    pub in_line: Vec<usize>,
    /// What is left out, as it could not be read.
    pub unread: Vec<Unread>,
}

/// A server, or a backend as a whole, of which HAProxy shows what cannot be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread {
    /// Which backend.
    pub backend: BackendId,
    /// Which of its servers; `None`: all of it.
    pub server: Option<ServerId>,
    /// Where, and what was found there.
    pub why: String,
}

impl Inventory {
    /// The backend `id`, if HAProxy has it.
    pub fn backend(&self, id: BackendId) -> Option<&BackendState> {
        self.backends.iter().find(|backend| backend.id == id)
    }
}

impl Unread {
    /// `all`, each server told once.
    pub fn once(mut all: Vec<Self>) -> Vec<Self> {
        all.sort_by_key(|unread| (unread.backend, unread.server));
        all.dedup_by_key(|unread| (unread.backend, unread.server));
        all
    }
}

/// The HAProxy process that answered (`show info`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its version as it prints it, such as `2.6.12-1+deb12u4`.
    pub version: String,
    /// Its process id; another one means a restart or a reload.
    pub pid: u32,
    /// Seconds since it started.
    pub uptime_s: u64,
    /// When it started, in seconds of Unix time; `None` where HAProxy does not tell (2.2).
    pub started: Option<u64>,
    /// What it calls its machine (`node`).
    pub node: Option<String>,
    /// It is an old worker that only finishes what it has.
    pub stopping: bool,
}

impl Process {
    /// Another process than `before`, which answered earlier: HAProxy was reloaded or restarted. In a container
    /// both may have the same pid.
    pub fn is_another_than(&self, before: &Self) -> bool {
        let started_anew = self.started.zip(before.started).is_some_and(|(now, before)| now != before);
        self.pid != before.pid || self.uptime_s < before.uptime_s || started_anew
    }

    /// The same process as `other`, which was asked at the same time on another socket. A pid alone is also that of
    /// a process in another container.
    pub fn is_the_same_as(&self, other: &Self) -> bool {
        let is_same_start = match (self.started, other.started) {
            (Some(one), Some(other)) => one == other,
            // Both are cut to whole seconds, one a moment later.
            _ => self.uptime_s.abs_diff(other.uptime_s) <= 1,
        };
        let identity = |process: &Self| (process.pid, process.version.clone(), process.node.clone());
        self.node.is_some() && is_same_start && identity(self) == identity(other)
    }

    /// It runs for longer than `other`, which answered so long `ago`: in a reload both take connections for a moment, as
    /// they share the listening socket (`expose-fd listeners`), and this is the one that will go.
    pub fn is_older_than(&self, other: &Self, ago: Duration) -> bool {
        // Both uptimes are cut to whole seconds.
        self.pid != other.pid && self.uptime_s > other.uptime_s + ago.as_secs() + 1
    }

    /// The numbers its version begins with: `2.6.12-1+deb12u4` is `[2, 6, 12]`, `3.5-dev2` is `[3, 5, 0]`.
    /// `None` if it does not begin with two numbers.
    pub fn release(&self) -> Option<[u32; 3]> {
        let end = self.version.find(|c: char| c != '.' && !c.is_ascii_digit()).unwrap_or(self.version.len());
        let mut numbers = self.version[..end].split('.').map(str::parse);
        let (major, minor) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
        Some([major, minor, numbers.next().and_then(Result::ok).unwrap_or(0)])
    }
}

/// One backend.
#[derive(Clone, Debug, PartialEq)]
pub struct BackendState {
    /// Its id in [`Names`](crate::core::names::Names).
    pub id: BackendId,
    /// The `algo` column, such as `roundrobin`; `unknown` for random.
    pub algorithm: String,
    /// Its algorithm takes any weight, and servers that are added at run time; `None` where its name does not tell
    /// and nobody has tried.
    pub dynamic: Option<bool>,
    /// Its mode in HAProxy's words, such as `http` and `tcp`; `mode log` is shown as `syslog`.
    pub mode: String,
    /// Whether clients are kept on their servers by a cookie.
    pub cookie: Cookie,
    /// Requests waiting in the backend's own queue.
    pub queued: u32,
    /// Sessions on the backend now.
    pub sessions: u32,
    /// All sessions since the process started (`stot`).
    pub total_sessions: u64,
    /// All requests since then that are over (`req_tot`); `None` in TCP mode.
    pub total_requests: Option<u64>,
    /// Its servers in HAProxy's order.
    pub servers: Vec<ServerState>,
}

impl BackendState {
    /// Whether weights are ours to set and have any effect, as far as that is known: `first` takes no notice of them,
    /// agent checks set them, and whatever is not known to refuse them gets the benefit of the doubt.
    pub fn takes_weights(&self) -> bool {
        let is_free = !self.servers.iter().any(|server| server.has_agent() && !server.backup);
        self.dynamic != Some(false) && self.algorithm != "first" && is_free
    }

    /// The server `id`, if the backend has it.
    pub fn server(&self, id: ServerId) -> Option<&ServerState> {
        self.servers.iter().find(|server| server.id == id)
    }

    /// Servers that take traffic.
    pub fn serving(&self) -> impl Iterator<Item = &ServerState> {
        self.servers.iter().filter(|server| server.is_serving())
    }

    /// Those of them that do not track another one, and so do not go when that one goes.
    pub fn serving_by_themselves(&self) -> impl Iterator<Item = &ServerState> {
        self.serving().filter(|server| server.tracks.is_none())
    }
}

/// By what cookie clients are kept on the servers of a backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cookie {
    /// By none.
    #[default]
    None,
    /// By one, but no server has a value in it: what they are to have is not known.
    Unvalued,
    /// HAProxy computes each server's value (`cookie ... dynamic`).
    Computed,
    /// Servers have values of their own.
    Named,
}

impl Cookie {
    /// What the backend's `name` for it (empty: there is none) and its servers' `values` tell.
    pub fn of<'a>(name: &str, values: impl Iterator<Item = &'a str>) -> Self {
        // A computed value is 16 hexadecimal digits (seen on HAProxy 2.6 to 3.2).
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        let is_computed = |value: &str| value.len() == 16 && value.bytes().all(is_digit);
        let of_value = |value| if is_computed(value) { Self::Computed } else { Self::Named };
        if name.is_empty() {
            return Self::None;
        }
        values.filter(|value| !value.is_empty()).map(of_value).max().unwrap_or(Self::Unvalued)
    }
}

/// One server.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerState {
    /// Its id in [`Names`](crate::core::names::Names).
    pub id: ServerId,
    /// Where it is; `None` while unresolved, or a unix socket.
    pub address: Option<IpAddr>,
    /// 0 if it has none of its own.
    pub port: u16,
    /// The administrative flags.
    pub admin: AdminFlags,
    /// What health checks say.
    pub operational: OperationalState,
    /// The weight that was set (`srv_uweight`).
    pub weight: Weight,
    /// The weight of the configuration (`srv_iweight`).
    pub initial_weight: Weight,
    /// A health check is configured and enabled.
    pub checked: bool,
    /// The last finished check since checks (re)started passed.
    pub check_passed: bool,
    /// The last finished check failed, if there was one: with `init-state down` (HAProxy 3.1) a server may be DOWN
    /// before the first.
    pub check_failed: bool,
    /// An agent check is configured and enabled: it may change state and weight by itself.
    pub agent_checked: bool,
    /// An agent check is configured, and switched off.
    pub agent_off: bool,
    /// It is declared by a host name: with a `resolvers` section its address is DNS's.
    pub by_name: bool,
    /// DNS says which servers there are: by a record, or by the addresses of one name that several servers have. With
    /// `resolvers` they come and go by that.
    pub of_dns: bool,
    /// A `backup` server: it serves when all others are down. Never ours.
    pub backup: bool,
    /// The server whose state it has: acting on it has no effect. Never ours.
    pub tracks: Option<ServerId>,
    /// Another backend's servers track it, and are needed there; no reading tells, see [`trackers`](super::trackers).
    pub needed_elsewhere: bool,
    /// Every HAProxy that can be gone by has it, and in the same state. Else it is never ours.
    pub alike: bool,
    /// Every HAProxy that is in line has it, in whatever state.
    pub everywhere: bool,
    /// The server line has `ssl`; `None` where HAProxy does not tell (before 2.4).
    pub tls: Option<bool>,
    /// Sessions now.
    pub sessions: u32,
    /// Requests waiting for this server.
    pub queued: u32,
    /// All sessions since the process started (`stot`).
    pub total_sessions: u64,
    /// The cookie that keeps clients on it, if it has one.
    pub cookie: Option<Arc<str>>,
    /// `maxconn` of the server; `None` without one.
    pub maxconn: Option<u32>,
    /// What of its weight it gets, in percent, while it is READY and HAProxy's own `slowstart` goes on.
    pub throttle: Option<u8>,
    /// It has a `slowstart`. A reading tells only while that goes on; who remembers it knows for longer.
    pub slowstart: bool,
    /// What the backend's pool has to do with it; no reading tells, see [`supply`](super::supply).
    pub supply: Option<Supply>,
}

impl ServerState {
    /// READY, DRAIN or MAINT.
    pub fn state(&self) -> AdminState {
        self.admin.state()
    }

    /// Where connections to it go; `None` without an address.
    pub fn socket(&self) -> Option<SocketAddr> {
        self.address.map(|ip| SocketAddr::new(ip, self.port))
    }

    /// Connections to it go to `address`.
    pub fn is_at(&self, address: SocketAddr) -> bool {
        self.socket() == Some(address)
    }

    /// A check tells whether it has started, or a connection to it does. Nothing does on a unix socket, or where clients are
    /// sent to the port they came to.
    pub fn start_can_be_proved(&self) -> bool {
        self.checked || self.address.is_some() && self.port != 0
    }

    /// HAProxy does not have it yet.
    pub fn is_absent(&self) -> bool {
        matches!(self.supply, Some(Supply::Absent(..)))
    }

    /// It came from a pool that has its address no longer.
    pub fn is_retired(&self) -> bool {
        self.supply.as_ref().is_some_and(Supply::is_retired)
    }

    /// Takes new traffic, on every HAProxy: READY, operationally up, weight above 0, no backup.
    pub fn is_serving(&self) -> bool {
        let is_in_service = self.state() == AdminState::Ready && self.is_up() && self.weight > Weight::ZERO;
        is_in_service && !self.backup && self.alike
    }

    /// HAProxy's `slowstart` goes on: in DRAIN too, from the check that passes or the end of MAINT on, where nothing
    /// is throttled yet (seen on HAProxy 2.2 to 3.2).
    pub fn is_slow_starting(&self) -> bool {
        self.operational == OperationalState::Starting
    }

    /// It has an agent check: its weight is what that says, ratios of it and all.
    pub fn has_agent(&self) -> bool {
        self.agent_checked || self.agent_off
    }

    /// Health checks do not object.
    pub fn is_up(&self) -> bool {
        matches!(self.operational, OperationalState::Running | OperationalState::Starting)
    }
}

/// The `srv_admin_state` bits of `show servers state` (management manual 9.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdminFlags(pub u32);

impl AdminFlags {
    /// Forced maintenance, inherited maintenance, maintenance by DNS.
    const MAINT: u32 = 0x01 | 0x02 | 0x20;
    /// Maintenance inherited from a tracked server, or by DNS: not ours to end.
    const FOREIGN_MAINT: u32 = 0x02 | 0x20;
    /// Declared `disabled` in the configuration; it tells history only.
    const DISABLED: u32 = 0x04;
    /// Forced drain, inherited drain.
    const DRAIN: u32 = 0x08 | 0x10;
    /// Drain inherited from a tracked server: not ours to end.
    const FOREIGN_DRAIN: u32 = 0x10;

    /// READY, DRAIN or MAINT.
    pub fn state(self) -> AdminState {
        if self.0 & Self::MAINT != 0 {
            AdminState::Maint
        } else if self.0 & Self::DRAIN != 0 {
            AdminState::Drain
        } else {
            AdminState::Ready
        }
    }

    /// What somebody or something has set: without what is inherited, and what DNS says.
    pub fn forced(self) -> AdminState {
        const FORCED: u32 = 0x01 | 0x08;
        Self(self.0 & FORCED).state()
    }

    /// The flags after `set server ... state`: forced MAINT and DRAIN exclude each other, the
    /// others stay (seen on HAProxy 2.6.12).
    #[must_use]
    pub fn with(self, state: AdminState) -> Self {
        const FORCED_MAINT: u32 = 0x01;
        const FORCED_DRAIN: u32 = 0x08;
        let forced = match state {
            AdminState::Ready => 0,
            AdminState::Drain => FORCED_DRAIN,
            AdminState::Maint => FORCED_MAINT,
        };
        Self(self.0 & !(FORCED_MAINT | FORCED_DRAIN) | forced)
    }

    /// HAProxy's configuration declares the server `disabled`.
    pub fn is_declared_disabled(self) -> bool {
        self.0 & Self::DISABLED != 0
    }

    /// In maintenance for a reason that `set server state` cannot end.
    pub fn is_foreign_maint(self) -> bool {
        self.0 & Self::FOREIGN_MAINT != 0
    }

    /// Draining for a reason that `set server state` cannot end.
    pub fn is_foreign_drain(self) -> bool {
        self.0 & Self::FOREIGN_DRAIN != 0
    }
}

/// The administrative states, spelled as HAProxy does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AdminState {
    /// Takes traffic if it is up.
    Ready,
    /// Takes persistent traffic only; checks go on.
    Drain,
    /// Takes none; checks pause.
    Maint,
}

impl AdminState {
    /// `READY`, `DRAIN` or `MAINT`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ready => "READY",
            Self::Drain => "DRAIN",
            Self::Maint => "MAINT",
        }
    }
}

/// What health checks say (`srv_op_state`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperationalState {
    /// 0: down.
    Stopped,
    /// 1: up, in HAProxy's slowstart.
    Starting,
    /// 2: up.
    Running,
    /// 3: up, but takes no new traffic (`NOLB`).
    Stopping,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::plan::testing;

    #[track_caller]
    fn check(version: &str, expected: Option<[u32; 3]>) {
        let process = Process { version: version.to_owned(), ..testing::process(1, 0) };
        assert_eq!(process.release(), expected, "{version}");
    }

    #[test]
    fn another_process_is_known_by_pid_by_start_and_by_uptime() {
        let process = |pid, uptime_s, started| Process { started, ..testing::process(pid, uptime_s) };
        let before = process(8, 60, Some(1_000));
        assert!(!process(8, 61, Some(1_000)).is_another_than(&before));
        assert!(process(9, 61, Some(1_000)).is_another_than(&before));
        assert!(process(8, 59, Some(1_000)).is_another_than(&before));
        assert!(process(8, 70, Some(1_200)).is_another_than(&before), "in a container, after a while");
        assert!(!process(8, 70, None).is_another_than(&before));
    }

    #[test]
    fn a_process_is_the_same_on_two_sockets_if_all_that_it_is_known_by_is_the_same() {
        let process = |node: Option<&str>, pid, uptime_s, started| Process {
            started,
            node: node.map(str::to_owned),
            ..testing::process(pid, uptime_s)
        };
        let one = process(Some("vm"), 8, 60, Some(1_000));
        assert!(one.is_the_same_as(&process(Some("vm"), 8, 61, Some(1_000))));
        assert!(!one.is_the_same_as(&process(Some("other"), 8, 60, Some(1_000))), "another machine");
        assert!(!one.is_the_same_as(&process(Some("vm"), 8, 60, Some(1_001))), "another container");
        assert!(!one.is_the_same_as(&process(Some("vm"), 9, 60, Some(1_000))), "nbproc");
        let one = process(Some("vm"), 8, 60, None);
        assert!(one.is_the_same_as(&process(Some("vm"), 8, 61, None)));
        assert!(!one.is_the_same_as(&process(Some("vm"), 8, 62, None)));
        let one = process(None, 8, 60, Some(1_000));
        assert!(!one.is_the_same_as(&one), "nobody knows");
    }

    #[test]
    fn the_one_that_runs_for_longer_is_the_older_one() {
        let process = testing::process;
        let second = Duration::from_secs(1);
        assert!(process(8, 300).is_older_than(&process(9, 0), second));
        assert!(!process(9, 1).is_older_than(&process(8, 300), second));
        assert!(!process(8, 301).is_older_than(&process(8, 300), second));
        assert!(!process(8, 300).is_older_than(&process(9, 100), 200 * second), "another one since then");
    }

    #[test]
    fn a_release_is_the_numbers_a_version_begins_with() {
        check("2.6.12-1+deb12u4", Some([2, 6, 12]));
        check("2.8.25-5cf5d0683", Some([2, 8, 25]));
        check("3.5-dev2", Some([3, 5, 0]));
        check("3.4.0", Some([3, 4, 0]));
        check("3.4.99999999999", Some([3, 4, 0]));
        check("2", None);
        check("", None);
        check("dev", None);
    }
}
