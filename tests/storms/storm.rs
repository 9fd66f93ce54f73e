//! Sites and storms by chance.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use haproxy_autoscale::core::controller::Order;
use haproxy_autoscale::core::plan::inventory::AdminState;
use haproxy_autoscale::core::settings::*;
use haproxy_autoscale::core::units::Ratio;
use proptest::prelude::*;

use super::haproxy::Kind;

/// A backend and its settings.
#[derive(Clone)]
pub(crate) struct Site {
    pub(crate) servers: Vec<(Kind, u16)>,
    pub(crate) checked: bool,
    pub(crate) settings: BackendSettings,
    pub(crate) seed: u32,
    /// The load when the storm is over, in servers.
    pub(crate) load: f64,
}

impl fmt::Debug for Site {
    /// On one line, without what is the same everywhere.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { servers, checked, settings, seed, load } = self;
        let BackendSettings { policy, weights, ready, scale_up, hands_off, warm_up, .. } = settings;
        let (step, ramp) = (scale_up.step, warm_up.ramp);
        let named = settings.servers.iter().map(|(name, server)| (name, server.always_up, server.capacity));
        let named: Vec<_> = named.collect();
        write!(
            f,
            "{servers:?} checked {checked} {policy:?} {weights:?} {ready:?} step {step} hands_off {hands_off:?} \
             ramp {ramp:?} named {named:?} seed {seed} load {load}"
        )
    }
}

/// Something that happens.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    /// So much load, in servers.
    Load(f64),
    /// An operator sets a server's state, or its weight.
    State(usize, AdminState),
    Weight(usize, u16),
    /// An operator orders, for so many seconds.
    Order(Order, u64),
    Resume,
    /// HAProxy is reloaded, with a state file or without.
    Reload(bool),
    /// HAProxy is gone for so long and then another process, or just does not answer.
    Crash(u32),
    Hang(u32),
    /// So many commands are refused.
    Refuse(u32),
    /// A server stops, or runs again.
    Die(usize),
    Revive(usize),
    /// A server is slower than the others from now on, or no longer.
    Slow(usize, bool),
    /// The agent is killed, or stopped, and starts again after so long.
    Kill(u32),
    Stop(u32),
    /// The agent's config is other: fewest, most.
    Limits(u32, u32),
    /// And how long ramps are, in seconds.
    Ramp(u64),
}

/// What happens, each so many seconds after the one before.
pub(crate) type Storm = Vec<(u32, Event)>;

pub(crate) fn storm() -> impl Strategy<Value = Storm> {
    let soon = prop_oneof![4 => 0..3_u32, 3 => 3..15_u32, 1 => 15..90_u32];
    prop::collection::vec((soon, event()), 0..30)
}

fn event() -> impl Strategy<Value = Event> {
    let state = prop_oneof![Just(AdminState::Ready), Just(AdminState::Drain), Just(AdminState::Maint)];
    let order = prop_oneof![Just(Order::Pause), (1..7_u32).prop_map(Order::Pin)];
    let weight = prop_oneof![4 => Just(7_u16), 4 => Just(211_u16), 1 => Just(0_u16)];
    let server = || 0..8_usize;
    prop_oneof![
        6 => prop_oneof![Just(0.0), 0.5..8.0].prop_map(Event::Load),
        5 => (server(), state).prop_map(|(server, state)| Event::State(server, state)),
        3 => (server(), weight).prop_map(|(server, weight)| Event::Weight(server, weight)),
        2 => (order, 1..120_u64).prop_map(|(order, lasts)| Event::Order(order, lasts)),
        1 => Just(Event::Resume),
        2 => any::<bool>().prop_map(Event::Reload),
        1 => (1..40_u32).prop_map(Event::Crash),
        1 => (1..40_u32).prop_map(Event::Hang),
        2 => (1..6_u32).prop_map(Event::Refuse),
        2 => server().prop_map(Event::Die),
        2 => server().prop_map(Event::Revive),
        1 => (server(), any::<bool>()).prop_map(|(server, slow)| Event::Slow(server, slow)),
        1 => (1..10_u32).prop_map(Event::Kill),
        1 => (1..10_u32).prop_map(Event::Stop),
        2 => (1..4_u32, 0..4_u32).prop_map(|(min, more)| Event::Limits(min, min + more)),
        1 => prop_oneof![Just(0_u64), Just(10)].prop_map(Event::Ramp),
    ]
}

pub(crate) fn site() -> impl Strategy<Value = Site> {
    let kind = prop_oneof![
        4 => Just(Kind::Ready),
        5 => Just(Kind::Disabled),
        1 => Just(Kind::Backup),
        1 => Just(Kind::Tracking),
    ];
    let weight = prop_oneof![3 => Just(1_u16), 1 => Just(2), 1 => Just(100)];
    let others = prop::collection::vec((kind, weight), 1..7);
    let weights = prop_oneof![
        3 => Just(Weights::Keep),
        2 => Just(Weights::ByCapacity),
        1 => Just(Weights::ByLatency),
    ];
    let policy = prop_oneof![3 => Just(Policy::Threshold), 1 => Just(Policy::Model)];
    let ramp = prop_oneof![Just(0_u64), Just(10)];
    let limits = (1..3_u32, prop::option::of(0..4_u32), 1..3_u32);
    let named = prop::collection::vec(prop::option::of((any::<bool>(), 1..4_u32)), 8);
    let rest = (any::<bool>(), prop_oneof![Just(0_u64), Just(60), Just(300)], any::<u32>(), 0.5..3.0);
    (others, weights, policy, ramp, limits, named, rest).prop_map(
        |(others, weights, policy, ramp, (min, more, step), named, (checked, hands_off, seed, load))| {
            let mut settings = settings();
            (settings.weights, settings.policy) = (weights, policy);
            settings.warm_up.ramp = Duration::from_secs(ramp);
            settings.ready = ReadyLimits { min, max: more.map(|more| min + more) };
            (settings.scale_up.step, settings.scale_down.step) = (step, step);
            settings.hands_off = Duration::from_secs(hands_off);
            for (n, named) in named.into_iter().enumerate() {
                if let Some((always_up, capacity)) = named {
                    let (capacity, warm_up) = (capacity.into(), settings.warm_up.clone());
                    let server = ServerSettings { always_up: always_up && n == 0, capacity, warm_up };
                    settings.servers.insert(format!("s{}", n + 1), server);
                }
            }
            let servers = std::iter::once((Kind::Ready, 1)).chain(others).collect();
            Site { servers, checked, settings, seed, load }
        },
    )
}

/// Quick ones: a storm is short.
fn settings() -> BackendSettings {
    let (s, ms) = (Duration::from_secs, Duration::from_millis);
    BackendSettings {
        name: "web".to_owned(),
        target: Target { timer: Timer::Tt, statistic: Statistic::Mean, below: s(1) },
        policy: Policy::Threshold,
        model: ModelSettings {
            hold: Some(s(30)),
            hold_max: s(60),
            min_off: s(30),
            trial: s(5),
            ..ModelSettings::default()
        },
        window: WindowSettings { length: s(5), min_samples: 10 },
        log: LogSettings { coverage: Ratio::NONE, sample_rate: Ratio::ALL },
        band: HysteresisBand::new(ms(400), s(1)).unwrap(),
        ready: ReadyLimits { min: 1, max: None },
        schedule: schedule::Schedule::default(),
        scale_up: ScaleUp { stabilization_window: s(3), breaches: 0, cooldown: s(5), step: 1 },
        scale_down: ScaleDown {
            stabilization_window: s(10),
            idle_after: s(10),
            cooldown: s(10),
            step: 1,
            shutdown_sessions: None,
            drain_timeout: s(8),
            sticky_quiet: s(8),
        },
        warm_up: WarmUp {
            path: None,
            method: WarmUpMethod::Get,
            host: None,
            tls: WarmUpTls::Auto,
            sni: None,
            requests: 20,
            concurrency: 4,
            timeout: s(5),
            statuses: (200, 399),
            ramp: Duration::ZERO,
        },
        hands_off: s(300),
        outliers: OutlierSettings { drain_after: s(60), ..OutlierSettings::default() },
        weights: Weights::Keep,
        spares: spares::Spares::Declared,
        servers: BTreeMap::new(),
    }
}
