//! What the policy never does, whatever HAProxy and its clients come up with.

use std::time::{Duration, Instant};

use haproxy_autoscale::core::estimate::snapshot::Tally;
use haproxy_autoscale::core::policy::decision::Decision;
use haproxy_autoscale::core::policy::state::{Direction, Phase};
use proptest::prelude::*;

use super::stage::{Stage, defaults};

/// Servers HAProxy knows in all.
const SERVERS: u32 = 8;
const MIN: u32 = 2;
const MAX: u32 = 6;

/// What happens until the next evaluation.
#[derive(Clone, Debug)]
struct Weather {
    seconds: u64,
    latency_ms: Option<u64>,
    samples: u64,
    saturation: u64,
    failures: u64,
    rate: f64,
    newest_s: u64,
    counters: (u64, u64, u64),
    /// A server goes down or comes back by itself.
    health: i8,
    /// What becomes of a plan that is under way.
    fate: Fate,
}

#[derive(Clone, Copy, Debug)]
enum Fate {
    Goes,
    Applied,
    Failed,
}

fn weather() -> impl Strategy<Value = Weather> {
    let latency = prop_oneof![
        Just(None),
        (0u64..120).prop_map(Some),
        (0u64..2_000).prop_map(Some),
        (600u64..700).prop_map(Some)
    ];
    let few_or_many = prop_oneof![0u64..60, 50u64..5_000];
    let failed = prop_oneof![4 => Just(0u64), 1 => 0u64..300];
    let counters = (
        prop_oneof![Just(0u64), 0u64..20],
        prop_oneof![Just(0u64), 0u64..50],
        prop_oneof![Just(0u64), 0u64..20],
    );
    let fate = prop_oneof![3 => Just(Fate::Goes), 3 => Just(Fate::Applied), 1 => Just(Fate::Failed)];
    let health = prop_oneof![8 => Just(0i8), 1 => Just(-1i8), 1 => Just(1i8)];
    let newest = prop_oneof![3 => 0u64..3, 1 => 0u64..700];
    (0u64..40, latency, few_or_many, failed.clone(), failed, 0.0..500.0, newest, counters, health, fate)
        .prop_map(
            |(seconds, latency_ms, samples, saturation, failures, rate, newest_s, counters, health, fate)| {
                Weather {
                    seconds,
                    latency_ms,
                    samples: if latency_ms.is_none() { 0 } else { samples },
                    saturation,
                    failures,
                    rate,
                    newest_s,
                    counters,
                    health,
                    fate,
                }
            },
        )
}

/// The policy, and a HAProxy that does what it says.
struct World {
    stage: Stage,
    now: Instant,
    /// What the plan under way will do to the number of serving servers.
    plan: Option<(Direction, u32)>,
    /// When HAProxy last said yes, and to what.
    moved: Option<(Instant, Direction)>,
}

impl World {
    fn new() -> Self {
        let mut settings = defaults();
        (settings.ready.min, settings.ready.max) = (MIN, Some(MAX));
        (settings.scale_up.step, settings.scale_down.step) = (3, 3);
        settings.scale_down.stabilization_window = Duration::from_secs(60);
        Self { stage: Stage::new(settings), now: Instant::now(), plan: None, moved: None }
    }

    /// Until the next evaluation.
    fn turn(&mut self, weather: &Weather) {
        self.now += Duration::from_secs(weather.seconds);
        let seen = &mut self.stage.seen;
        seen.latency = weather.latency_ms.map(Duration::from_millis);
        (seen.samples, seen.rate) = (weather.samples, weather.rate);
        let (saturation, server) = (weather.saturation, weather.failures);
        seen.tally = Tally { success: weather.samples, saturation, server, ..Tally::default() };
        seen.newest = Some(Duration::from_secs(weather.newest_s));
        let fleet = &mut self.stage.fleet;
        (fleet.queued, fleet.sessions, fleet.unseen) = weather.counters;
        fleet.serving = fleet.serving.saturating_add_signed(weather.health.into()).min(SERVERS);
        match (weather.fate, self.plan) {
            (Fate::Goes, _) | (_, None) => {}
            (Fate::Failed, Some(_)) => {
                self.plan = None;
                self.stage.state = self.stage.state.clone().failed();
            }
            (Fate::Applied, Some((direction, by))) => {
                let serving = &mut self.stage.fleet.serving;
                *serving = match direction {
                    Direction::Up => (*serving + by).min(SERVERS),
                    Direction::Down => serving.saturating_sub(by),
                };
                self.plan = None;
                self.moved = Some((self.now, direction));
                self.stage.state =
                    self.stage.state.clone().applied(self.now, direction, &self.stage.settings);
            }
        }
        let fleet = &mut self.stage.fleet;
        (fleet.startable, fleet.removable) = (SERVERS - fleet.serving, fleet.serving);
    }

    /// One evaluation; a plan begins if it says so.
    fn decide(&mut self) -> Decision {
        let decision = self.stage.step(self.now);
        let (direction, by) = match decision {
            Decision::Hold(_) | Decision::Reweigh { .. } => return decision,
            Decision::ScaleUp { by, .. } => (Direction::Up, by),
            Decision::ScaleDown { by, .. } => (Direction::Down, by),
        };
        self.plan = Some((direction, by));
        self.stage.state = self.stage.state.clone().acting(direction);
        decision
    }

    /// The direction of the last move if its cooldown is not over.
    fn cooling(&self) -> Option<Direction> {
        let (at, direction) = self.moved?;
        let cooldown = match direction {
            Direction::Up => self.stage.settings.scale_up.cooldown,
            Direction::Down => self.stage.settings.scale_down.cooldown,
        };
        (self.now < at + cooldown).then_some(direction)
    }
}

/// What must be true of any decision, seen from the world it was made in.
fn hold_the_promises(world: &World, plan: Option<Direction>, decision: &Decision) {
    let (fleet, seen, key) = (&world.stage.fleet, &world.stage.seen, decision.reason().key());
    let thin = seen.samples < world.stage.settings.window.min_samples;
    assert!(!decision.to_string().contains("NaN") && !decision.to_string().contains("inf"));
    match decision {
        Decision::Hold(_) => {}
        Decision::Reweigh { .. } => unreachable!("the threshold policy knows no weights"),
        Decision::ScaleDown { by, .. } => {
            assert!(*by >= 1 && fleet.serving - by >= MIN && *by <= fleet.removable);
            assert!(plan.is_none(), "a scale-down while a plan is under way");
            assert!(world.cooling().is_none(), "a scale-down within a cooldown");
            assert!(!thin || ["idle", "above_max"].contains(&key), "{key} from too few requests");
            assert!(key != "idle" || (seen.samples == 0 && fleet.sessions == 0), "idle under load");
        }
        Decision::ScaleUp { by, .. } => {
            assert!(*by >= 1 && fleet.serving + by <= MAX.max(MIN) && *by <= fleet.startable);
            assert!(plan != Some(Direction::Up), "a scale-up while one is under way");
            assert!(key == "below_min" || by <= &world.stage.settings.scale_up.step);
            let broken = match world.cooling().filter(|_| plan.is_none()) {
                Some(Direction::Up) => key == "below_min",
                Some(Direction::Down) => ["below_min", "burst", "saturation_burst"].contains(&key),
                None => true,
            };
            assert!(broken, "a scale-up within a cooldown, for {key}");
            assert!(!thin || !["breach", "burst"].contains(&key), "{key} from too few requests");
        }
    }
}

fn rank(decision: &Decision) -> i8 {
    match decision {
        Decision::ScaleDown { .. } => -1,
        Decision::Hold(_) | Decision::Reweigh { .. } => 0,
        Decision::ScaleUp { .. } => 1,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_promises_hold(story in proptest::collection::vec(weather(), 1..120)) {
        let mut world = World::new();
        for weather in &story {
            world.turn(weather);
            let plan = world.plan.map(|(direction, _)| direction);
            let decision = world.decide();
            hold_the_promises(&world, plan, &decision);
        }
    }

    #[test]
    fn the_same_story_is_decided_in_the_same_way(story in proptest::collection::vec(weather(), 1..60)) {
        let now = Instant::now();
        let decide = || {
            let mut world = World { now, ..World::new() };
            let decide = |weather| {
                world.turn(weather);
                world.decide()
            };
            story.iter().map(decide).collect::<Vec<_>>()
        };
        prop_assert_eq!(decide(), decide());
    }

    #[test]
    fn a_higher_latency_never_asks_for_fewer_servers(
        story in proptest::collection::vec(weather(), 1..60),
        (lower_ms, more_ms) in (0u64..800, 0u64..800),
    ) {
        let mut world = World::new();
        for weather in &story {
            world.turn(weather);
            world.decide();
        }
        let mut at = |latency_ms| {
            let state = world.stage.state.clone();
            world.stage.seen.latency = Some(Duration::from_millis(latency_ms));
            let decision = world.stage.step(world.now);
            world.stage.state = state;
            rank(&decision)
        };
        prop_assert!(at(lower_ms) <= at(lower_ms + more_ms));
    }

    #[test]
    fn breaches_shorter_than_the_stabilization_window_do_nothing(
        lengths in proptest::collection::vec((1u64..10, 251u64..5_000), 1..30),
    ) {
        let mut world = World::new();
        for (seconds, latency_ms) in lengths {
            for evaluation in 0..=seconds {
                let latency_ms = if evaluation < seconds { latency_ms } else { 180 };
                world.stage.seen.latency = Some(Duration::from_millis(latency_ms));
                prop_assert!(matches!(world.decide(), Decision::Hold(_)));
                world.now += Duration::from_secs(1);
            }
        }
    }

    #[test]
    fn idle_for_ever_ends_at_the_fewest_servers_whatever_was_before(
        story in proptest::collection::vec(weather(), 0..60),
    ) {
        let mut world = World::new();
        story.iter().for_each(|weather| {
            world.turn(weather);
            world.decide();
        });
        let mut nothing = Weather {
            seconds: 10,
            latency_ms: None,
            samples: 0,
            saturation: 0,
            failures: 0,
            rate: 0.0,
            newest_s: 0,
            counters: (0, 0, 0),
            health: 0,
            fate: Fate::Applied,
        };
        // Idle for 5 min, then at most 4 moves with a cooldown of 2 min each, and one before.
        for _ in 0..6 * (5 + 5 * 2 + 3) {
            nothing.newest_s += nothing.seconds;
            world.turn(&nothing);
            world.decide();
        }
        prop_assert_eq!(world.stage.fleet.serving, MIN);
        let phase = world.stage.state.phase(world.now);
        let settled = matches!(phase, Phase::Steady);
        prop_assert!(settled, "{:?}", phase);
    }
}
