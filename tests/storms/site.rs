//! Sites by chance: HAProxys, what their configuration has, and the agent's settings.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use haproxy_autoscale::config::Config;
use haproxy_autoscale::core::plan::supply::{Candidate, Offer};
use haproxy_autoscale::core::settings::spares::{Keywords, Spares};
use haproxy_autoscale::core::settings::*;
use haproxy_autoscale::core::units::Ratio;
use proptest::prelude::*;

use super::haproxy::{Backend, NOWHERE, Server};

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
    /// `track` a server of the first backend.
    Elsewhere(usize),
    /// `disabled`, and at no address.
    Slot,
}

/// HAProxys, all with the same configuration.
#[derive(Clone)]
pub(crate) struct Site {
    pub(crate) nodes: usize,
    pub(crate) version: &'static str,
    pub(crate) checked: bool,
    pub(crate) backends: Vec<Part>,
    pub(crate) seed: u32,
    /// The load when the storm is over, in servers.
    pub(crate) load: f64,
}

/// One backend and its settings.
#[derive(Clone)]
pub(crate) struct Part {
    pub(crate) servers: Vec<(Kind, u16)>,
    pub(crate) settings: BackendSettings,
    /// What its pool has, a bit for each address.
    pub(crate) pool: u8,
    pub(crate) keywords: &'static str,
}

/// Addresses that a pool may have.
pub(crate) const POOL: usize = 5;

impl Site {
    /// What every HAProxy is configured with.
    pub(crate) fn configured(&self) -> Vec<Backend> {
        self.backends.iter().enumerate().map(|(n, part)| part.configured(n, self.checked)).collect()
    }

    /// Wherever anything may listen.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        let parts = self.backends.iter().enumerate();
        let declared =
            parts.clone().flat_map(|(n, part)| (0..part.servers.len()).map(move |at| declared(n, at)));
        declared.chain(parts.flat_map(|(n, _)| (0..POOL).map(move |at| pooled(n, at)))).collect()
    }
}

impl Part {
    fn configured(&self, n: usize, checked: bool) -> Backend {
        let server = |(at, &(kind, weight)): (usize, &(Kind, u16))| {
            let server = Server::new(format!("s{}", at + 1), declared(n, at), weight);
            let server = Server { checked, ..server };
            let tracking = |of: &str, at: usize| Server {
                checked: false,
                tracks: Some((of.to_owned(), format!("s{}", at + 1))),
                ..server.clone()
            };
            match kind {
                Kind::Ready => server,
                Kind::Disabled => server.disabled(),
                Kind::Backup => Server { backup: true, ..server },
                Kind::Tracking => tracking(&self.settings.name, 0),
                Kind::Elsewhere(at) => tracking("web", at),
                Kind::Slot => Server { address: NOWHERE.into(), ..server.disabled() },
            }
        };
        let servers = self.servers.iter().enumerate().map(server).collect();
        Backend { name: self.settings.name.clone(), servers, total_sessions: 0 }
    }
}

fn declared(backend: usize, at: usize) -> SocketAddr {
    ([10, 0, backend as u8, at as u8 + 1], 80).into()
}

fn pooled(backend: usize, at: usize) -> SocketAddr {
    ([10, 1, backend as u8, at as u8 + 1], 80).into()
}

/// It is for pools, whether it is in one now or not.
pub(crate) fn is_pooled(address: SocketAddr) -> bool {
    matches!(address.ip(), IpAddr::V4(ip) if ip.octets()[1] == 1)
}

/// What the pool of a backend offers.
pub(crate) fn offer(backend: usize, pool: u8, keywords: &str) -> Offer {
    let is_in = |at: &usize| pool & 1 << at != 0;
    let candidate = |at| Arc::new(Candidate { address: pooled(backend, at), name: None, warm_up: None });
    let candidates = (0..POOL).filter(is_in).map(candidate).collect();
    Offer { candidates, keywords: Keywords::new(keywords).expect("keywords") }
}

impl fmt::Debug for Site {
    /// On one line, without what is the same everywhere.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { nodes, version, checked, backends, seed, load } = self;
        write!(f, "{nodes} of {version} checked {checked} {backends:?} seed {seed} load {load}")
    }
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { servers, settings, pool, keywords } = self;
        let BackendSettings { name, policy, weights, ready, scale_up, hands_off, warm_up, spares, .. } =
            settings;
        let (step, ramp) = (scale_up.step, warm_up.ramp);
        let named = settings.servers.iter().map(|(name, server)| (name, server.always_up, server.capacity));
        let named: Vec<_> = named.collect();
        write!(
            f,
            "{name}: {servers:?} {policy:?} {weights:?} {ready:?} step {step} hands_off {hands_off:?} ramp {ramp:?} \
             named {named:?} {} {pool:#b} `{keywords}`",
            spares.name()
        )
    }
}

pub(crate) fn site() -> impl Strategy<Value = Site> {
    let version = prop_oneof![1 => Just("2.2.9"), 2 => Just("2.6.12"), 2 => Just("3.0.11")];
    let nodes = prop_oneof![5 => Just(1_usize), 3 => Just(2), 2 => Just(3)];
    let second = prop::option::weighted(0.3, part("side", true));
    (nodes, version, any::<bool>(), part("web", false), second, any::<u32>(), 0.5..3.0).prop_map(
        |(nodes, version, checked, first, second, seed, load)| {
            let mut backends: Vec<Part> = std::iter::once(first).chain(second).collect();
            let count = backends[0].servers.iter().filter(|(kind, _)| *kind != Kind::Slot).count();
            let targets: Vec<Kind> = backends[0].servers.iter().map(|(kind, _)| *kind).collect();
            for part in &mut backends {
                for (kind, _) in &mut part.servers {
                    if let Kind::Elsewhere(at) = kind {
                        *at %= count;
                        let can_be_tracked = matches!(targets[*at], Kind::Ready | Kind::Disabled);
                        *kind = if can_be_tracked { *kind } else { Kind::Disabled };
                    }
                }
            }
            Site { nodes, version, checked, backends, seed, load }
        },
    )
}

fn part(name: &'static str, is_second: bool) -> impl Strategy<Value = Part> {
    let kind = prop_oneof![
        4 => Just(Kind::Ready),
        5 => Just(Kind::Disabled),
        1 => Just(Kind::Backup),
        1 => Just(Kind::Tracking),
        2 => (0..8_usize).prop_map(move |at| if is_second { Kind::Elsewhere(at) } else { Kind::Disabled }),
    ];
    let weight = || prop_oneof![3 => Just(1_u16), 1 => Just(2), 1 => Just(100)];
    let others = prop::collection::vec((kind, weight()), 1..7);
    let slots = prop::collection::vec(weight(), 1..5);
    let keywords = prop_oneof![Just(""), Just("check"), Just("check weight 2")];
    let spares = (0..3_u8, slots, any::<u8>(), keywords);
    let weights = prop_oneof![
        3 => Just(Weights::Keep),
        2 => Just(Weights::ByCapacity),
        1 => Just(Weights::ByLatency),
    ];
    let policy = prop_oneof![3 => Just(Policy::Threshold), 1 => Just(Policy::Model)];
    let ramp = prop_oneof![Just(0_u64), Just(10)];
    let limits = (1..3_u32, prop::option::of(0..4_u32), 1..3_u32);
    let named = prop::collection::vec(prop::option::of((any::<bool>(), 1..4_u32)), 8);
    let hands_off = prop_oneof![Just(0_u64), Just(60), Just(300)];
    let rest = (hands_off, any::<bool>());
    (others, weights, policy, ramp, limits, named, spares, rest).prop_map(
        move |(others, weights, policy, ramp, (min, more, step), named, spares, (hands_off, shuts_down))| {
            let mut settings = settings(name);
            (settings.weights, settings.policy) = (weights, policy);
            settings.warm_up.ramp = Duration::from_secs(ramp);
            settings.ready = ReadyLimits { min, max: more.map(|more| min + more) };
            (settings.scale_up.step, settings.scale_down.step) = (step, step);
            settings.scale_down.shutdown_sessions = shuts_down.then_some(Duration::from_secs(5));
            settings.hands_off = Duration::from_secs(hands_off);
            let (kind, slots, pool, keywords) = spares;
            let mut servers: Vec<(Kind, u16)> = std::iter::once((Kind::Ready, 1)).chain(others).collect();
            let declared = servers.len();
            match kind {
                0 => {}
                1 => {
                    settings.spares = Spares::Slots { placeholder: None, grow: None };
                    servers.extend(slots.into_iter().map(|weight| (Kind::Slot, weight)));
                }
                _ => settings.spares = Spares::Dynamic,
            }
            for (n, named) in named.into_iter().enumerate().take(declared) {
                if let Some((always_up, capacity)) = named {
                    let (capacity, warm_up) = (capacity.into(), settings.warm_up.clone());
                    let server = ServerSettings { always_up: always_up && n == 0, capacity, warm_up };
                    settings.servers.insert(format!("s{}", n + 1), server);
                }
            }
            Part { servers, settings, pool, keywords }
        },
    )
}

/// Quick ones: a storm is short.
fn settings(name: &str) -> BackendSettings {
    let (s, ms) = (Duration::from_secs, Duration::from_millis);
    let config = Config::default().with_backend(name, Some(s(1)));
    let app = config.expect("a name and a target").backends.remove(0);
    BackendSettings {
        target: Target { statistic: Statistic::Mean, ..app.target },
        policy: Policy::Threshold,
        model: ModelSettings {
            hold: Some(s(30)),
            hold_max: s(240),
            min_off: s(30),
            trial: s(5),
            ..app.model
        },
        window: WindowSettings { length: s(5), min_samples: 10 },
        log: LogSettings { coverage: Ratio::NONE, ..app.log },
        band: HysteresisBand::new(ms(400), s(1)).unwrap(),
        scale_up: ScaleUp { stabilization_window: s(3), cooldown: s(5), ..app.scale_up },
        scale_down: ScaleDown {
            stabilization_window: s(10),
            idle_after: s(10),
            cooldown: s(10),
            drain_timeout: s(8),
            ..app.scale_down
        },
        hands_off: s(300),
        outliers: OutlierSettings { drain_after: s(60), ..app.outliers },
        ..app
    }
}
