//! What must be so for every load, tried on random figures and in random worlds.

use std::time::Duration;

use proptest::prelude::*;

use super::testing::{World, calm, steady};
use super::*;
use crate::core::estimate::load::{Arrivals, Change, Misses, ServerLoad, Throughput};
use crate::core::policy::pool::Stage;
use crate::core::settings::{ReadyLimits, Target};

/// What a single evaluation sees.
#[derive(Clone, Debug)]
struct Case {
    world: World,
}

/// Rates around one level, each with a factor of its own.
fn arrivals() -> impl Strategy<Value = Arrivals> {
    let level = prop_oneof![0.0_f64..5.0, 0.0_f64..200.0, 0.0_f64..5000.0];
    let factors = prop::array::uniform6(0.5_f64..2.0);
    let slopes = prop::array::uniform3((-1.0_f64..1.0, 0.0_f64..0.2));
    let peak = prop::option::of(0.3_f64..3.0);
    (level, factors, slopes, peak).prop_map(|(level, factor, slopes, peak)| {
        let change = |n: usize| Change { slope: level * slopes[n].0, sigma: level * slopes[n].1 };
        Arrivals {
            last_3: level * factor[0],
            last_4: level * factor[1],
            last_5: level * factor[2],
            last_10: level * factor[3],
            last_15: level * factor[4],
            last_30: level * factor[5],
            change_3: change(0),
            change_5: change(1),
            change_30: change(2),
            peak: peak.map(|peak| peak * level),
        }
    })
}

/// Figures of a backend that is known, with or without a backlog, at its limit or not.
fn figures() -> impl Strategy<Value = LoadFigures> {
    let service = (0.001_f64..2.0, 0.3_f64..64.0, any::<bool>(), 0.0_f64..3.0);
    let service = service.prop_map(|(time, workers, knee, cv)| Service { time, workers, knee, cv });
    let backlog = prop_oneof![3 => Just(0.0), 1 => 0.0_f64..5000.0];
    let answered = (0.3_f64..1.2, 0.5_f64..2.0, 0.0_f64..3.0);
    let times = (0_u64..120, 0.0_f64..2.0, prop::option::of(0.1_f64..2.0));
    (arrivals(), service, backlog, answered, times, 0.02_f64..20.0).prop_map(
        |(arrivals, service, backlog, (share, half, grown), (lead, transfer, full), below)| {
            let answered = arrivals.last_4 * share;
            let streams = arrivals.last_4 * service.time + backlog;
            LoadFigures {
                service: Some(service),
                arrivals,
                throughput: Throughput {
                    last_4: answered,
                    first_half: answered,
                    second_half: answered * half,
                    last_15: answered,
                },
                backlog,
                streams: streams as u32,
                streams_grown: streams * grown,
                calm: calm(service.time, service.cv.max(0.05), below * service.time),
                misses: Misses::default(),
                lead: Duration::from_secs(lead),
                transfer,
                saturated_workers: full.map(|share| share * service.workers),
                ..steady(0.0)
            }
        },
    )
}

fn case() -> impl Strategy<Value = Case> {
    let servers = (1_u32..30, 0_u32..30, prop::option::of(2_u32..400));
    let target = (1_u64..2000, 50.0_f64..99.9);
    (figures(), servers, target).prop_map(|(load, (serving, spare, maxconn), (below_ms, percentile))| {
        let mut world = World::new(serving, serving + spare);
        world.pool.servers.iter_mut().for_each(|member| member.maxconn = maxconn);
        let percentile = crate::core::units::Percentile::new(percentile).expect("it is one");
        world.settings.target = Target {
            below: Duration::from_millis(below_ms),
            statistic: crate::core::settings::Statistic::Percentile(percentile),
            ..world.settings.target
        };
        // Long enough for servers at their limit to be believed.
        world.load = LoadFigures { service: load.service, ..steady(0.0) };
        world.ticks(5);
        world.load = load;
        Case { world }
    })
}

impl Case {
    /// What is decided at once, and the evaluation it comes from.
    fn decide(&self) -> (Decision, Evaluation) {
        let mut world = self.world.clone();
        let decision = world.tick();
        (decision, world.model.latest().expect("it has been asked").clone())
    }

    /// What is needed, whatever is allowed.
    fn need(&self) -> f64 {
        let (_, evaluation) = self.decide();
        evaluation.need_fast.max(evaluation.need_slow)
    }

    fn with(&self, change: impl FnOnce(&mut World)) -> Self {
        let mut case = self.clone();
        change(&mut case.world);
        case
    }

    /// No server is at its limit.
    fn within_limits(&self) -> Self {
        self.with(|world| (world.load.streams_grown, world.load.saturated_workers) = (0.0, None))
    }

    /// Without the calm requests of which this is true.
    fn without_calm(&self, is: impl Fn(f64) -> bool) -> Self {
        self.with(|world| world.load.calm.latencies.retain(|(latency, _)| !is(*latency)))
    }

    /// Everything that is counted, so many times.
    fn times_load(&self, factor: f64) -> Self {
        self.with(|world| {
            let LoadFigures { arrivals, throughput, backlog, streams, streams_grown, .. } = &mut world.load;
            let Arrivals { last_3, last_4, last_5, last_10, last_15, last_30, .. } = arrivals;
            for rate in [last_3, last_4, last_5, last_10, last_15, last_30] {
                *rate *= factor;
            }
            arrivals.peak = arrivals.peak.map(|peak| peak * factor);
            for change in [&mut arrivals.change_3, &mut arrivals.change_5, &mut arrivals.change_30] {
                *change = Change { slope: change.slope * factor, sigma: change.sigma * factor };
            }
            let Throughput { last_4, first_half, second_half, last_15 } = throughput;
            for rate in [last_4, first_half, second_half, last_15, backlog, streams_grown] {
                *rate *= factor;
            }
            *streams = (f64::from(*streams) * factor) as u32;
        })
    }

    fn wants_more(&self) -> bool {
        let (_, evaluation) = self.decide();
        f64::from(evaluation.want) + evaluation.lost
            > f64::from(evaluation.serving + evaluation.starting) + 0.5
    }
}

/// As good as not less.
#[track_caller]
fn check_not_less(less: f64, more: f64) {
    assert!(more >= less * (1.0 - 1e-9) - 1e-9, "{more} is less than {less}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn more_arrivals_never_need_fewer_servers(case in case(), factor in 1.0_f64..4.0) {
        check_not_less(case.need(), case.times_load(factor).need());
        let (fewer, more) = (case.decide().1.want, case.times_load(factor).decide().1.want);
        prop_assert!(more >= fewer, "{more} wanted for more than what {fewer} were wanted for");
    }

    /// Whatever a few requests make of a server's workers.
    #[test]
    fn the_first_seconds_of_a_pool_that_is_in_time_are_no_ground_for_more_servers(
        case in case(),
        watched in 0_u64..60,
        workers in 0.3_f64..8.0,
    ) {
        let case = case.within_limits().with(|world| {
            (world.load.backlog, world.load.watched) = (0.0, Duration::from_secs(watched));
            world.load.service = world.load.service.map(|known| Service { knee: false, workers, ..known });
        });
        let (decision, _) = case.decide();
        prop_assert!(!matches!(decision, Decision::ScaleUp { .. }), "{decision}");
    }

    #[test]
    fn arrivals_that_are_not_answered_never_need_fewer_servers(case in case(), factor in 1.0_f64..4.0) {
        let more = case.with(|world| {
            let arrivals = &mut world.load.arrivals;
            for rate in [&mut arrivals.last_3, &mut arrivals.last_4, &mut arrivals.last_15] {
                *rate *= factor;
            }
        });
        check_not_less(case.need(), more.need());
    }

    /// As long as no calm request crosses the target: then they are late for another reason.
    #[test]
    fn dearer_requests_never_need_fewer_servers(case in case(), factor in 1.0_f64..4.0) {
        let below = case.world.settings.target.below.as_secs_f64();
        let crosses = |latency: f64| latency <= below && latency * factor > below;
        let case = case.within_limits().without_calm(crosses);
        let dearer = case.with(|world| {
            world.load.service.as_mut().expect("it is known").time *= factor;
            world.load.calm.latencies.iter_mut().for_each(|(latency, _)| *latency *= factor);
        });
        check_not_less(case.need(), dearer.need());
    }

    #[test]
    fn fewer_workers_never_need_fewer_servers(case in case(), share in 0.2_f64..1.0) {
        let case = case.within_limits();
        let fewer = case.with(|world| world.load.service.as_mut().expect("it is known").workers *= share);
        check_not_less(case.need(), fewer.need());
    }

    /// As long as no calm request lies between the two targets.
    #[test]
    fn a_higher_target_never_needs_more_servers(case in case(), factor in 1.0_f64..4.0) {
        let below = case.world.settings.target.below;
        let above = below.mul_f64(factor);
        let is_between = |latency: f64| latency > below.as_secs_f64() && latency <= above.as_secs_f64();
        let case = case.without_calm(is_between);
        let higher = case.with(|world| world.settings.target.below = above);
        check_not_less(higher.need(), case.need());
    }

    /// Servers that are at their limit show it by what they answer together: if one more of them
    /// answers nothing more, each can do less than was thought.
    #[test]
    fn one_more_server_never_makes_more_of_them_likelier(case in case()) {
        let case = case.within_limits();
        let pool = &case.world.pool;
        let (serving, all) = (pool.count(Stage::Serving) + 1, pool.servers.len() + 1);
        let maxconn = pool.servers[0].maxconn;
        let one_more = case.with(|world| {
            world.pool = World::new(serving, u32::try_from(all).expect("they are few")).pool;
            world.pool.servers.iter_mut().for_each(|member| member.maxconn = maxconn);
        });
        prop_assert!(case.wants_more() || !one_more.wants_more());
    }

    /// But for what is looked for in spans of seconds, which do not change with it: chance and rises.
    #[test]
    fn all_times_multiplied_need_the_same_servers(case in case(), factor in 0.2_f64..5.0) {
        let case = case.within_limits().with(|world| {
            world.load.backlog = 0.0;
            world.settings.model.forecast = false;
        });
        let slower = case.with(|world| {
            let load = &mut world.load;
            load.service.as_mut().expect("it is known").time *= factor;
            load.transfer *= factor;
            load.calm.latencies.iter_mut().for_each(|(latency, _)| *latency *= factor);
            load.arrivals.last_15 /= factor;
            load.arrivals.last_30 /= factor;
            world.settings.target.below = world.settings.target.below.mul_f64(factor);
        });
        let (one, other) = (case.decide().1.need_slow, slower.decide().1.need_slow);
        // A target is whole nanoseconds, and a hair may decide between two utilizations.
        prop_assert!((one - other).abs() <= 0.09 * one.max(other), "{one} and {other}");
    }

    /// Larger servers pool their workers: the same share of them may be busy, or more.
    #[test]
    fn load_and_workers_multiplied_need_as_many_servers_or_fewer(case in case(), factor in 1.0_f64..8.0) {
        let case = case.within_limits().with(|world| {
            world.pool.servers.iter_mut().for_each(|member| member.maxconn = None);
        });
        let larger = case.times_load(factor).with(|world| {
            world.load.service.as_mut().expect("it is known").workers *= factor;
        });
        let (one, other) = (case.decide().1, larger.decide().1);
        check_not_less(other.need_slow, one.need_slow);
        let utilization = |evaluation: &Evaluation| evaluation.carried.map(|carried| carried.utilization);
        if utilization(&one) == utilization(&other) {
            check_not_less(one.need_slow, other.need_slow);
        }
    }
}

/// Figures without a promise to make sense.
fn nonsense() -> impl Strategy<Value = LoadFigures> {
    let extreme = || prop_oneof![Just(0.0), Just(1e-12), Just(1.0), Just(1e12), 0.0_f64..1000.0];
    let service = prop::option::of((1e-6_f64..1e6, 1e-3_f64..1e6, any::<bool>(), 0.0_f64..3.0));
    let rates = prop::array::uniform12(extreme());
    let counts = (any::<u32>(), prop::array::uniform4((0_u64..1000, 0_u64..1000)), 0_u64..100_000);
    let silent = prop::option::of(0_u64..600);
    (service, rates, counts, silent, -1e9_f64..1e9).prop_map(
        |(service, rates, (streams, counts, lead), silent, slope)| {
            let change = Change { slope, sigma: rates[0] };
            LoadFigures {
                service: service.map(|(time, workers, knee, cv)| Service { time, workers, knee, cv }),
                arrivals: Arrivals {
                    last_3: rates[0],
                    last_4: rates[1],
                    last_5: rates[2],
                    last_10: rates[3],
                    last_15: rates[4],
                    last_30: rates[5],
                    change_3: change,
                    change_5: change,
                    change_30: change,
                    peak: Some(rates[6]),
                },
                throughput: Throughput {
                    last_4: rates[7],
                    first_half: rates[7],
                    second_half: rates[8],
                    last_15: rates[9],
                },
                backlog: rates[10],
                streams,
                streams_grown: rates[11],
                misses: Misses { last_15: counts[0], minutes: counts.to_vec() },
                lead: Duration::from_secs(lead),
                transfer: rates[11],
                saturated_workers: Some(rates[3]),
                silent_for: silent.map(Duration::from_secs),
                ..steady(0.0)
            }
        },
    )
}

/// One second or so in a random world: what is seen, and what befalls a server.
#[derive(Clone, Debug)]
struct Event {
    load: LoadFigures,
    after_ms: u64,
    befalls: Option<(usize, Stage)>,
    server: (Option<f64>, Option<f64>, (u64, u64), u32),
    counters: (u64, u64),
}

fn event() -> impl Strategy<Value = Event> {
    let load = prop_oneof![2 => figures(), 1 => nonsense()];
    let stage =
        prop_oneof![Just(Stage::Serving), Just(Stage::Starting), Just(Stage::Parked), Just(Stage::Spare)];
    let befalls = prop::option::weighted(0.1, (0_usize..8, stage));
    let server = (
        prop::option::of(0.0_f64..10.0),
        prop::option::of(0.0_f64..10.0),
        (0_u64..50, 0_u64..100),
        0_u32..500,
    );
    let after = prop_oneof![Just(1000), 0_u64..400_000];
    let counters = (0_u64..12, 0_u64..3);
    (load, after, befalls, server, counters).prop_map(|(load, after_ms, befalls, server, counters)| Event {
        load,
        after_ms,
        befalls,
        server,
        counters,
    })
}

/// What must be so of every decision, whatever was seen.
fn hold_the_promises(world: &World, pool: &Pool, decision: &Decision) {
    let evaluation = world.model.latest().expect("it has been asked");
    let text = format!("{decision} {evaluation:?}");
    assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
    let key = decision.reason().key();
    let count = |stage| pool.count(stage);
    let (serving, starting) = (count(Stage::Serving), count(Stage::Starting));
    let ready = world.settings.ready;
    let most = ready.max.unwrap_or(u32::MAX).max(ready.min);
    match decision {
        Decision::Hold(_) => {}
        Decision::ScaleUp { by, .. } => {
            assert!(*by >= 1 && *by <= count(Stage::Parked) + count(Stage::Spare), "{text}");
            assert!(key == "below_min" || serving + starting + by <= most, "{text}");
        }
        Decision::ScaleDown { by, prefer, .. } => {
            assert!(*by >= 1 && serving - by >= ready.min.max(1), "{text}");
            assert_eq!(count(Stage::Parked) + starting, 0, "one move away at a time: {text}");
            assert!(prefer.is_empty() || prefer.len() >= *by as usize, "{text}");
            if key != "above_max" {
                assert!(world.load.service.is_some() && world.load.backlog <= 0.0, "{text}");
                let silent = world.load.silent_for.unwrap_or_default() > Duration::from_secs(5);
                assert!(!silent || world.load.streams == 0 || world.pool.unseen == 0, "{text}");
            }
        }
        Decision::Reweigh { shares, .. } => {
            assert!(pool.takes_weights && shares.len() == serving as usize, "{text}");
            assert!(shares.iter().all(|(_, share)| (0.0..=1.0).contains(share)), "{text}");
            assert!(shares.iter().any(|(_, share)| *share == 1.0), "{text}");
        }
    }
    assert!(evaluation.want <= most && evaluation.want >= ready.min.min(pool.servers.len() as u32), "{text}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn the_promises_are_kept_whatever_happens(
        events in prop::collection::vec(event(), 1..60), min in 1_u32..4, max in prop::option::of(0_u32..5),
    ) {
        let mut world = World::new(3, 8);
        world.settings.ready = ReadyLimits { min, max: max.map(|more| min + more) };
        let mut twin = world.model.clone();
        for event in events {
            world.now += Duration::from_millis(event.after_ms);
            if let Some((n, stage)) = event.befalls {
                world.pool.servers[n].stage = stage;
            }
            let (recent, slowness, failed, streams) = event.server;
            let members = world.pool.servers.iter().enumerate();
            let servers = members.map(|(n, member)| match n {
                0 => ServerLoad { server: member.server, recent, slowness, failed, streams },
                _ => ServerLoad { server: member.server, recent: Some(0.1), slowness: Some(1.0), failed: (0, 60), streams: 3 },
            });
            world.load = LoadFigures { servers: servers.collect(), ..event.load };
            (world.pool.unseen, world.pool.queued) = event.counters;
            let pool = world.seen();
            let decision = world.tick();
            hold_the_promises(&world, &pool, &decision);
            prop_assert_eq!(&twin.decide(world.now, &world.load, &pool, &world.settings), &decision, "the same again");
        }
    }

}

proptest! {
    // Hours of seconds each.
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Loads that come and go: each server that is needed again soon after it went was a mistake, and
    /// mistakes make for patience.
    #[test]
    fn a_load_that_comes_and_goes_does_not_take_servers_with_it(
        low in 20.0_f64..400.0, high in 1.2_f64..8.0, on_s in 5_u64..400, off_s in 5_u64..400, start_delay in 0_u64..30,
    ) {
        const HOURS: u64 = 3;
        let mut world = World::new(2, 16);
        world.start_delay = Duration::from_secs(start_delay);
        let loads = [low, low * high].map(|level| LoadFigures { lead: world.start_delay, ..steady(level) });
        let (mut away, mut mistakes) = (None, 0);
        for second in 0..HOURS * 3600 {
            let is_high = second % (on_s + off_s) < on_s;
            world.load.clone_from(&loads[usize::from(is_high)]);
            match world.tick() {
                Decision::ScaleDown { .. } => away = Some(second),
                Decision::ScaleUp { .. } => {
                    let is_mistake = |away: u64| second - away < world.settings.model.min_off.as_secs();
                    mistakes += u32::from(away.take().is_some_and(is_mistake));
                }
                _ => {}
            }
        }
        let base = patience::base(&world.settings.model, world.load.lead).as_secs_f64();
        let doublings = (world.settings.model.hold_max.as_secs_f64().max(base) / base).log2();
        let most = doublings.ceil() as u32 + 1 + (HOURS * 2) as u32;
        prop_assert!(mistakes <= most, "{mistakes} mistakes, at most {most}: {:?}", world.moves);
    }

}

proptest! {
    // Minutes of seconds each.
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// No server goes before the time is over, nor if the rest would be over the line.
    #[test]
    fn servers_go_only_when_the_rest_carries_what_came_of_late(
        loads in prop::collection::vec((10.0_f64..1000.0, 20_u64..200), 3..12),
    ) {
        let mut world = World::new(4, 16);
        let mut added: Option<u64> = None;
        let mut levels: Vec<f64> = Vec::new();
        for (arrivals, seconds) in loads {
            world.load = steady(arrivals);
            for _ in 0..seconds {
                levels.push(arrivals);
                let second = levels.len() as u64;
                match world.tick() {
                    Decision::ScaleUp { .. } => added = Some(second),
                    Decision::ScaleDown { by, .. } => {
                        let evaluation = world.model.latest().expect("it has been asked");
                        let hold = evaluation.hold.as_secs();
                        prop_assert!(added.is_none_or(|added| second - added >= 90), "{:?}", world.moves);
                        let highest = levels.iter().rev().take(hold as usize).copied().fold(0.0, f64::max);
                        let carried = evaluation.carried.expect("it is known");
                        let left = f64::from(evaluation.serving - by);
                        let utilization = highest * 0.08 / (left * carried.workers);
                        let line = carried.carries / carried.workers - 0.06;
                        prop_assert!(utilization <= line * (1.0 + 0.021 / left), "{utilization} over {line}");
                    }
                    _ => {}
                }
            }
        }
    }

    #[test]
    fn a_backend_without_requests_ends_at_its_fewest(serving in 1_u32..16, min in 1_u32..6, drain in 0_u64..100) {
        let mut world = World::new(serving.max(min), 16);
        world.settings.ready.min = min;
        world.drained_after = Duration::from_secs(20 + drain);
        world.load = steady(0.0);
        let steps = f64::from(serving).log2().ceil() as u32 + 1;
        world.ticks(90 + steps * (25 + 1 + drain as u32) + 2);
        prop_assert_eq!(world.pool.count(Stage::Serving), min);
    }

    #[test]
    fn a_pause_of_the_log_changes_nothing(arrivals in 10.0_f64..1000.0, before in 10_u32..300, pause in 6_u32..900) {
        let mut world = World::new(4, 16);
        world.load = steady(arrivals);
        world.ticks(before);
        let lines = world.load.clone();
        let moves = world.moves.len();
        for second in 1..=pause {
            let silent_for = Some(Duration::from_secs(u64::from(second)));
            // Before it counts as silence, the estimator has the figures of the time before.
            world.load = LoadFigures { silent_for, streams: lines.streams.max(1), ..lines.clone() };
            if second > 5 {
                world.load.arrivals = Arrivals::default();
            }
            world.pool.unseen = 1000;
            let decision = world.tick();
            prop_assert!(second <= 5 || matches!(decision, Decision::Hold(_)), "{decision}");
        }
        let extra: Vec<_> = world.moves[moves..].iter().filter(|(at, _)| *at > u64::from(before) + 5).collect();
        prop_assert!(extra.is_empty(), "{extra:?}");
    }
}
