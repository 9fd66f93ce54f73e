//! What a random world is made of.

use haproxy_autoscale::core::settings::{BackendSettings, Policy, ReadyLimits};
use haproxy_autoscale::sim::driver;
use haproxy_autoscale::sim::scenario::{
    Balance, Discipline, Haproxy, Incident, Load, Noise, Scenario, ServerModel, Shape, Share, Trouble,
};
use proptest::prelude::*;

/// A world, and who decides in it.
#[derive(Clone, Debug)]
pub(super) struct Recipe {
    pub(super) scenario: Scenario,
    pub(super) settings: BackendSettings,
    pub(super) seed: u64,
}

/// How busy all servers together are, at most: above 1 the load is too much for them.
const BUSIEST: f64 = 1.2;

/// Any load, servers of any kind, and trouble.
pub(super) fn any_world(length_s: f64) -> impl Strategy<Value = Recipe> {
    (shape(length_s), servers(), limits(), haproxy(), incidents(length_s), any::<u64>(), 0.0_f64..0.2)
        .prop_map(move |(shape, (servers, start, server), limits, haproxy, incidents, seed, noise)| {
            let scenario = Scenario { incidents, haproxy, ..world(servers, start, server, length_s) };
            let busy = scenario.servers as f64 * f64::from(server.workers) / server.service_s;
            let load = Load { shape: times(shape, busy), noise: Noise { share: noise, over_s: 20.0 } };
            recipe(Scenario { load, ..scenario }, limits, seed)
        })
}

/// Equal servers and a level load of which `share` keeps all of them busy; nothing else happens.
pub(super) fn level_world(length_s: f64, share: std::ops::Range<f64>) -> impl Strategy<Value = Recipe> {
    (share, servers(), any::<u64>()).prop_map(move |(share, (servers, start, server), seed)| {
        let server = ServerModel { discipline: Discipline::Fifo, thrash: 0.0, ..server };
        let scenario = world(servers, start, server, length_s);
        let busy = servers as f64 * f64::from(server.workers) / server.service_s;
        let load = Load { shape: Shape::Constant(share * busy), noise: Noise { share: 0.0, over_s: 20.0 } };
        recipe(Scenario { load, ..scenario }, ReadyLimits { min: 1, max: None }, seed)
    })
}

/// With the settings that `simulate` has for it.
pub(super) fn recipe(scenario: Scenario, ready: ReadyLimits, seed: u64) -> Recipe {
    let mut settings = driver::settings(&scenario, Policy::Model).expect("a good target");
    settings.ready = ready;
    Recipe { scenario, settings, seed }
}

fn world(servers: usize, start: usize, server: ServerModel, length_s: f64) -> Scenario {
    let mut scenario = Scenario::standard("random", "", length_s, Shape::Constant(0.0));
    scenario.target_ms = (server.service_s * 5000.0).ceil() as u32;
    scenario.clients.slow_readers = Share { share: 0.02, mean_s: 2.0 };
    (scenario.haproxy.queue_timeout_s, scenario.haproxy.server_timeout_s) = (5.0, 10.0);
    Scenario { servers, serving_at_start: start.min(servers), server, ..scenario }
}

/// Any load, as a share of what keeps every worker busy.
fn shape(length_s: f64) -> impl Strategy<Value = Shape> {
    let share = || 0.0..BUSIEST;
    let points = prop::collection::vec((0.0..length_s, prop_oneof![3 => share(), 1 => Just(0.0)]), 1..6);
    (0..4, points, share(), share(), 20.0..length_s).prop_map(|(kind, mut points, one, other, period_s)| {
        let (low, high) = (one.min(other), one.max(other));
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        match kind {
            0 => Shape::Constant(high),
            1 => Shape::Square { low, high, period_s },
            2 => Shape::Wave { low, high, period_s },
            _ => Shape::Lines(points),
        }
    })
}

/// `shape` with all rates multiplied.
fn times(shape: Shape, by: f64) -> Shape {
    match shape {
        Shape::Constant(rate) => Shape::Constant(rate * by),
        Shape::Square { low, high, period_s } => Shape::Square { low: low * by, high: high * by, period_s },
        Shape::Wave { low, high, period_s } => Shape::Wave { low: low * by, high: high * by, period_s },
        Shape::Lines(points) => {
            Shape::Lines(points.into_iter().map(|(at_s, rate)| (at_s, rate * by)).collect())
        }
        other => other,
    }
}

/// So many, of them so many serving at the start, and what they are like: slow enough for few requests a second.
fn servers() -> impl Strategy<Value = (usize, usize, ServerModel)> {
    let discipline = prop_oneof![3 => Just(Discipline::Fifo), 1 => Just(Discipline::Shared)];
    let start = (prop_oneof![Just(0.0), 0.0_f64..40.0], 0.0_f64..4.0);
    (2_usize..9, 1_usize..9, 1_u32..7, 0.15_f64..0.6, 0.3_f64..1.5, discipline, start, 0.0_f64..0.2).prop_map(
        |(servers, serving, workers, service_s, cv, discipline, (start_delay_s, cold_extra), thrash)| {
            let server = ServerModel {
                workers,
                discipline,
                service_s,
                cv,
                thrash,
                start_delay_s,
                cold_extra,
                cold_over: 20.0,
                warm_up_requests: 10,
            };
            (servers, serving, server)
        },
    )
}

fn limits() -> impl Strategy<Value = ReadyLimits> {
    (1_u32..4, prop::option::of(0_u32..5))
        .prop_map(|(min, more)| ReadyLimits { min, max: more.map(|more| min + more) })
}

fn haproxy() -> impl Strategy<Value = Haproxy> {
    let balance = prop_oneof![Just(Balance::RoundRobin), Just(Balance::LeastConn)];
    (balance, prop::option::weighted(0.3, 2..30_u32), 2.0_f64..30.0).prop_map(
        |(balance, maxconn, drain_timeout_s)| Haproxy {
            balance,
            maxconn,
            queue_timeout_s: 5.0,
            server_timeout_s: 10.0,
            drain_timeout_s,
        },
    )
}

fn incidents(length_s: f64) -> impl Strategy<Value = Vec<Incident>> {
    let trouble = prop_oneof![
        (0..8_usize).prop_map(Trouble::Down),
        (1.0..6.0).prop_map(Trouble::Slower),
        (0..8_usize, 1.0..9.0).prop_map(|(server, by)| Trouble::SlowServer(server, by)),
        (0.0..0.3, 2.0..10.0).prop_map(|(share, by)| Trouble::Mix { share, by }),
        Just(Trouble::LogLost),
    ];
    let incident = (0.0..length_s, 1.0..120.0, trouble).prop_map(|(from_s, lasts_s, what)| Incident {
        from_s,
        until_s: from_s + lasts_s,
        what,
    });
    prop::collection::vec(incident, 0..4)
}
