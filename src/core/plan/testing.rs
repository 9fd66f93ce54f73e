//! What the tests of this folder share: a small backend whose servers are easily changed.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::inventory::{AdminFlags, BackendState, Cookie, Inventory, OperationalState, Process, ServerState};
use super::ownership::{self, Claims};
use super::supply::{self, Candidate, Offer, Placement, Stock, Supplied};
use super::{planner, step::Plan};
use crate::core::names::{Names, ServerId};
use crate::core::policy::decision::{Decision, Reason};
use crate::core::policy::fleet::Fleet;
use crate::core::settings::schedule::Schedule;
use crate::core::settings::spares::{Keywords, Spares};
use crate::core::settings::{
    BackendSettings, HysteresisBand, LogSettings, ModelSettings, OutlierSettings, Policy, ReadyLimits,
    ScaleDown, ScaleUp, ServerSettings, Statistic, Target, Timer, WarmUp, WarmUpMethod, WarmUpTls, Weights,
    WindowSettings,
};
use crate::core::units::{Ratio, Weight};

/// All that a plan is made from.
#[derive(Clone, Debug)]
pub(in crate::core) struct Site {
    pub(in crate::core) names: Names,
    pub(in crate::core) backend: BackendState,
    pub(in crate::core) settings: BackendSettings,
    pub(in crate::core) claims: Claims,
    pub(in crate::core) quarantined: HashSet<ServerId>,
    pub(in crate::core) offer: Option<Offer>,
    pub(in crate::core) placed: HashMap<ServerId, Placement>,
    pub(in crate::core) refused: HashSet<SocketAddr>,
}

impl Site {
    /// A backend `web` with `servers` READY, healthy servers `s1`, `s2`, ... of weight 1; at least
    /// one has to serve, nothing is said about single servers.
    pub(in crate::core) fn new(servers: usize) -> Self {
        let names = Names::default();
        let id = names.backend("web").expect("the table is empty");
        let servers = (1..=servers).map(|n| {
            let id = names.server(id, &format!("s{n}")).expect("the table is as good as empty");
            server(id)
        });
        let backend = BackendState {
            id,
            algorithm: "roundrobin".to_owned(),
            dynamic: Some(true),
            mode: "http".to_owned(),
            cookie: Cookie::None,
            queued: 0,
            sessions: 0,
            total_sessions: 0,
            total_requests: None,
            servers: servers.collect(),
        };
        Self {
            names,
            backend,
            settings: settings(),
            claims: Claims::default(),
            quarantined: HashSet::new(),
            offer: None,
            placed: HashMap::new(),
            refused: HashSet::new(),
        }
    }

    /// The pool offers `addresses`, in this order.
    pub(in crate::core) fn offer(&mut self, addresses: &[&str]) {
        let candidate = |address: &&str| Candidate { address: at(address), name: None, warm_up: None };
        let candidates = addresses.iter().map(candidate).map(Arc::new).collect();
        self.offer = Some(Offer { candidates, keywords: Keywords::default() });
    }

    /// The backend with what the pool has to do with its servers, and how many slots are missing.
    pub(in crate::core) fn supplied(&self) -> Supplied {
        let stock = Stock {
            settings: &self.settings,
            offer: self.offer.as_ref(),
            placed: &self.placed,
            ours: &self.claims.ours,
            refused: &self.refused,
            can_add: true,
            names: &self.names,
        };
        supply::supplied(&self.backend, &stock)
    }

    /// The same site with the backend as `supplied`.
    pub(in crate::core) fn laid_out(&self) -> Self {
        Self { backend: self.supplied().state, ..self.clone() }
    }

    /// The agent has put `address` there.
    pub(in crate::core) fn place(&mut self, server: &str, address: &str, added: bool, serving: bool) {
        let placement = Placement { address: at(address), added, serving, pids: vec![Some(1)] };
        self.placed.insert(self.id(server), placement);
    }

    pub(in crate::core) fn id(&self, name: &str) -> ServerId {
        self.names.server(self.backend.id, name).expect("the table is as good as empty")
    }

    pub(in crate::core) fn server(&mut self, name: &str) -> &mut ServerState {
        let id = self.id(name);
        self.backend.servers.iter_mut().find(|server| server.id == id).expect("made by `new`")
    }

    /// Names the server in the config.
    pub(in crate::core) fn configure(&mut self, name: &str, change: impl FnOnce(&mut ServerSettings)) {
        let warm_up = self.settings.warm_up.clone();
        let mut server = ServerSettings { always_up: false, capacity: 1.0, warm_up };
        change(&mut server);
        self.settings.servers.insert(name.to_owned(), server);
    }

    pub(in crate::core) fn fleet(&self) -> Fleet {
        ownership::fleet(&self.backend, &self.settings, &self.claims, &self.quarantined, &self.names)
    }

    pub(in crate::core) fn plan(&self, decision: &Decision) -> Result<Plan, Reason> {
        planner::plan(decision, &self.backend, &self.settings, &self.claims, &self.quarantined, &self.names)
    }
}

/// An address with a port.
pub(in crate::core) fn at(address: &str) -> SocketAddr {
    address.parse().expect("an address with a port")
}

/// A slot without an address.
pub(in crate::core) fn slot(server: &mut ServerState) {
    declared_disabled(server);
    move_to(server, "127.0.0.1:1");
}

/// Connections to the server go to `address`.
pub(in crate::core) fn move_to(server: &mut ServerState, address: &str) {
    let address = at(address);
    (server.address, server.port) = (Some(address.ip()), address.port());
}

pub(in crate::core) fn up(by: u32) -> Decision {
    Decision::ScaleUp { by, reason: Reason::BelowMin { serving: 0, min: 1 } }
}

pub(in crate::core) fn down(by: u32) -> Decision {
    Decision::ScaleDown { by, prefer: Vec::new(), reason: Reason::Idle { since: Duration::from_secs(300) } }
}

pub(in crate::core) fn ready(server: &mut ServerState) {
    flags(server, 0);
}

pub(in crate::core) fn drain(server: &mut ServerState) {
    flags(server, 0x08);
}

pub(in crate::core) fn maint(server: &mut ServerState) {
    flags(server, 0x01);
}

pub(in crate::core) fn declared_disabled(server: &mut ServerState) {
    flags(server, 0x05);
}

/// Sets `srv_admin_state`, and the operational state that HAProxy shows with it.
pub(in crate::core) fn flags(server: &mut ServerState, flags: u32) {
    server.admin = AdminFlags(flags);
    let maint = flags & 0x23 != 0;
    server.operational = if maint { OperationalState::Stopped } else { OperationalState::Running };
}

/// One as [`Site::new`] has it.
pub(in crate::core) fn server(id: ServerId) -> ServerState {
    ServerState {
        id,
        address: Some([127, 0, 0, 1].into()),
        port: 8080,
        admin: AdminFlags(0),
        operational: OperationalState::Running,
        weight: Weight::ONE,
        initial_weight: Weight::ONE,
        checked: false,
        check_passed: false,
        check_failed: false,
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
        sessions: 0,
        queued: 0,
        total_sessions: 0,
        cookie: None,
        maxconn: None,
        throttle: None,
        slowstart: false,
        supply: None,
    }
}

/// One of many like it.
pub(in crate::core) fn process(pid: u32, uptime_s: u64) -> Process {
    Process { version: "2.6.12".to_owned(), pid, uptime_s, started: None, node: None, stopping: false }
}

/// What it shows, being the only one.
pub(in crate::core) fn inventory(process: Process, backends: Vec<BackendState>) -> Inventory {
    Inventory {
        counted: vec![Some(process.pid)],
        process,
        backends,
        disabled: Vec::new(),
        read_only: false,
        in_line: vec![0],
        unread: Vec::new(),
    }
}

pub(in crate::core) fn settings() -> BackendSettings {
    let seconds = Duration::from_secs;
    BackendSettings {
        name: "web".to_owned(),
        target: Target { timer: Timer::Tt, statistic: Statistic::Mean, below: seconds(1) },
        policy: Policy::Threshold,
        model: ModelSettings::default(),
        window: WindowSettings { length: seconds(30), min_samples: 50 },
        log: LogSettings { coverage: Ratio::percent(90), sample_rate: Ratio::ALL },
        band: HysteresisBand::new(Duration::from_millis(400), seconds(1)).expect("lower is below upper"),
        ready: ReadyLimits { min: 1, max: None },
        schedule: Schedule::default(),
        scale_up: ScaleUp { stabilization_window: seconds(10), breaches: 0, cooldown: seconds(30), step: 1 },
        scale_down: ScaleDown {
            stabilization_window: seconds(300),
            idle_after: seconds(300),
            cooldown: seconds(120),
            step: 1,
            drain_timeout: seconds(60),
            sticky_quiet: seconds(300),
            shutdown_sessions: None,
        },
        warm_up: WarmUp {
            path: None,
            method: WarmUpMethod::Get,
            host: None,
            tls: WarmUpTls::Auto,
            sni: None,
            requests: 20,
            concurrency: 4,
            timeout: seconds(5),
            statuses: (200, 399),
            ramp: Duration::ZERO,
        },
        hands_off: seconds(600),
        outliers: OutlierSettings::default(),
        weights: Weights::Keep,
        spares: Spares::Declared,
        servers: BTreeMap::new(),
    }
}
