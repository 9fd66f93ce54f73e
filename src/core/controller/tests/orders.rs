//! What an operator and a schedule have to say.

use super::*;
use crate::core::settings::ReadyLimits;
use crate::core::settings::schedule::{Days, Entry, Times};

fn kim() -> Operator {
    Operator { name: "kim".into(), uid: 1000, pid: Some(7) }
}

impl World {
    pub(super) fn order(&mut self, order: Order, lasts: Option<Duration>) {
        let until = lasts.map(|lasts| self.now + lasts);
        let wanted = Override { order, by: kim(), since: self.now, until };
        self.controller.handle_order(self.site.backend.id, wanted, self.now);
        self.collect();
    }

    pub(super) fn resume(&mut self) {
        self.controller.handle_resume(self.site.backend.id, kim(), self.now);
        self.collect();
    }

    fn view(&mut self) -> View {
        self.controller.view(self.site.backend.id, self.now).expect("it is configured")
    }

    #[track_caller]
    fn check_reason(&mut self, expected: &str) {
        let (decision, _) = self.view().decision.expect("it was evaluated");
        assert_eq!(decision.reason().to_string(), expected);
    }

    /// Seconds in which each plan is carried out at once.
    fn seconds_at_work(&mut self, count: usize, latency_ms: i32) {
        for _ in 0..count {
            self.second(latency_ms);
            while self.has_plan() {
                let plan = self.take_plan();
                self.succeed(&plan);
            }
        }
    }

    fn serving(&self) -> usize {
        self.site.backend.serving().count()
    }

    pub(super) fn told(&self, wanted: impl Fn(&Event) -> bool) -> usize {
        let is_told = |action: &&Action| matches!(action, Action::Record(record) if wanted(&record.event));
        self.done.iter().filter(is_told).count()
    }
}

#[test]
fn a_paused_backend_is_left_alone_however_slow_it_is_and_goes_on_when_it_is_resumed() {
    let mut world = World::new(1, 2);
    world.order(Order::Pause, None);
    world.seconds(60, SLOW_MS);
    assert!(!world.has_plan(), "{:?}", world.rules());
    world.check_reason("paused by kim");
    assert_eq!(world.view().next_move, None);
    let wish = world.view().wish.map(|wish| wish.to_string()).unwrap_or_default();
    assert!(wish.starts_with("scale up by 1: mean 2 s has been above"), "{wish}");
    world.resume();
    world.second(SLOW_MS);
    assert_eq!(world.take_plan().purpose, Purpose::Add, "it has been slow for long enough");
}

/// What an operator sees who looks before the next tick.
#[test]
fn an_order_is_shown_as_soon_as_it_is_given_and_no_longer_than_it_holds() {
    let mut world = World::new(1, 2);
    world.seconds(9, SLOW_MS);
    world.check_reason("just started, 1 s to go until the window is whole");
    world.order(Order::Pause, None);
    world.check_reason("paused by kim");
    assert_eq!(world.view().wish.map(|wish| wish.reason().key()), Some("just_started"));
    world.order(Order::Pin(2), None);
    world.check_reason("pinned to 2 by kim");
    assert_eq!(world.view().decision.map(|(decision, _)| decision.name()), Some("scale_up"));
    let plan = world.take_plan();
    world.resume();
    assert_eq!((world.view().wish, world.view().overridden), (None, None));
    world.check_reason("a move is being carried out");
    // Over after the latest reading of HAProxy, which is nothing to decide on any more.
    world.now += SECOND / 2;
    world.report(Outcome::Finished { backend: plan.backend, purpose: plan.purpose, called_off: true });
    world.order(Order::Pause, None);
    world.check_reason("paused by kim");
}

#[test]
fn what_the_policy_would_do_by_itself_names_the_pin_that_limits_it() {
    let mut world = World::new(2, 2);
    world.order(Order::Pin(2), None);
    world.seconds_at_work(60, SLOW_MS);
    let wish = world.view().wish.map(|wish| wish.to_string());
    let expected = "hold: too much load, but 2 servers serve, the most allowed (pinned to 2)";
    assert_eq!(wish.as_deref(), Some(expected));
    world.resume();
    let decision = world.view().decision.map(|(decision, _)| decision.to_string()).unwrap_or_default();
    assert!(decision.starts_with("scale up by 1: mean 2 s has been above"), "{decision}");
}

#[test]
fn a_pause_ends_by_itself_after_its_time_and_that_is_told() {
    let mut world = World::new(1, 2);
    world.order(Order::Pause, Some(40 * SECOND));
    world.seconds(39, SLOW_MS);
    world.check_reason("paused for another 1 s by kim");
    assert_eq!(world.view().next_move, Some(SECOND));
    assert!(!world.has_plan());
    world.second(SLOW_MS);
    assert!(world.has_plan(), "{:?}", world.rules());
    assert_eq!(world.told(|event| matches!(event, Event::OrderEnded { by: None, .. })), 1);
    assert_eq!(world.controller.memory(world.now).backends[0].overridden, None);
}

#[test]
fn a_pause_does_not_hide_that_the_log_is_blind() {
    let mut world = World::new(2, 0);
    world.seconds(15, FAST_MS);
    world.order(Order::Pause, None);
    for _ in 0..30 {
        world.site.backend.total_sessions += 50;
        world.second(-1);
    }
    world.check_reason("paused by kim");
    assert_eq!(world.view().health, Health::Blind);
}

#[test]
fn a_pause_ends_in_time_though_haproxy_is_gone() {
    let mut world = World::new(1, 1);
    world.order(Order::Pause, Some(10 * SECOND));
    world.now += 11 * SECOND;
    world.controller.handle_tick(world.now);
    world.collect();
    assert_eq!(world.told(|event| matches!(event, Event::OrderEnded { .. })), 1);
}

#[test]
fn a_pause_lets_the_plan_under_way_come_to_its_end() {
    let mut world = World::new(2, 1);
    world.seconds(330, FAST_MS);
    let plan = world.take_plan();
    assert_eq!(plan.purpose, Purpose::Remove);
    world.order(Order::Pause, None);
    world.seconds(60, SLOW_MS);
    assert!(!world.done.iter().any(|action| matches!(action, Action::Change(..))), "it is not called off");
    world.succeed(&plan);
    assert_eq!(world.serving(), 1);
    world.seconds(60, SLOW_MS);
    assert!(!world.has_plan());
}

#[test]
fn a_start_that_fails_in_a_pause_is_not_tried_with_another_server() {
    let mut world = World::new(1, 2);
    world.seconds(21, SLOW_MS);
    let plan = world.take_plan();
    world.order(Order::Pause, None);
    world.fail(&plan);
    world.seconds(5, FAST_MS);
    world.resume();
    world.seconds(5, FAST_MS);
    assert!(!world.has_plan(), "{:?}", world.rules());
}

#[test]
fn a_pause_leaves_alone_what_would_be_tidied_up() {
    let weights = [("s1".to_owned(), Weight::ONE)].into();
    let memory =
        BackendMemory { name: "web".into(), weights, ours: ["s2".to_owned()].into(), ..Default::default() };
    let mut world = World::with_memory(2, 0, &Memory { backends: vec![memory], ..Default::default() });
    drain(world.site.server("s2"));
    world.order(Order::Pause, None);
    world.seconds(60, FAST_MS);
    assert!(!world.has_plan());
    world.resume();
    world.second(FAST_MS);
    assert_eq!(world.take_plan().purpose, Purpose::Reweigh);
}

#[test]
fn a_pinned_backend_is_brought_to_its_servers_at_once_and_kept_there() {
    let mut world = World::new(1, 3);
    world.order(Order::Pin(3), None);
    world.second(FAST_MS);
    let plan = world.take_plan();
    assert_eq!((plan.purpose, plan.lanes.len()), (Purpose::Add, 2), "no figures are needed");
    world.check_reason("pinned to 3 by kim");
    world.second(FAST_MS);
    assert!(!world.has_plan());
    world.check_reason("pinned to 3 by kim; a move is being carried out");
    world.succeed(&plan);
    world.seconds_at_work(600, FAST_MS);
    assert_eq!(world.serving(), 3);
    world.seconds_at_work(60, SLOW_MS);
    assert_eq!(world.serving(), 3);
    flags(world.site.server("s1"), 0x01); // somebody takes one away
    world.second(SLOW_MS);
    assert_eq!(world.take_plan().lanes.len(), 1, "another one takes its place");
    world.check_reason("pinned to 3 by kim");
}

#[test]
fn a_pin_to_fewer_servers_takes_the_others_away_together_after_the_cooldown() {
    let mut world = World::new(4, 0);
    world.order(Order::Pin(2), Some(7200 * SECOND));
    world.second(SLOW_MS);
    let plan = world.take_plan();
    assert_eq!((plan.purpose, plan.lanes.len(), plan.least_serving), (Purpose::Remove, 2, 2));
    world.succeed(&plan);
    world.order(Order::Pin(1), Some(7200 * SECOND));
    world.second(SLOW_MS);
    world.check_reason("pinned to 1 for another 1 h 59 min by kim; cooling down for 1 min 59 s");
    assert!(!world.has_plan());
    world.seconds(120, SLOW_MS);
    assert_eq!(world.take_plan().lanes.len(), 1);
}

#[test]
fn a_pin_above_the_ceiling_holds_and_one_below_the_floor_does_not() {
    let mut world = World::new(2, 2);
    world.site.settings.ready = ReadyLimits { min: 2, max: Some(3) };
    world.controller.reconfigure(vec![world.site.settings.clone()], world.now);
    world.order(Order::Pin(4), None);
    world.seconds_at_work(10, FAST_MS);
    assert_eq!(world.serving(), 4);
    world.order(Order::Pin(1), None);
    world.seconds_at_work(200, FAST_MS);
    world.check_reason("pinned to 1 by kim, but 2 is the fewest allowed");
    assert_eq!(world.serving(), 2);
    world.resume();
    world.seconds_at_work(60, FAST_MS);
    assert_eq!(world.view().limits.now, ReadyLimits { min: 2, max: Some(3) });
}

#[test]
fn a_pin_to_more_servers_than_there_are_says_what_is_missing() {
    let mut world = World::new(1, 1);
    world.order(Order::Pin(5), None);
    world.seconds_at_work(3, FAST_MS);
    assert_eq!(world.serving(), 2);
    world.check_reason("pinned to 5 by kim; more servers are needed, but none is left to add");
    assert!(world.rules().contains(&"pin_limited"), "{:?}", world.rules());
}

#[test]
fn a_pin_takes_back_as_many_of_a_drain_as_it_wants() {
    let mut world = World::new(5, 0);
    world.order(Order::Pin(2), None);
    world.second(FAST_MS);
    let plan = world.take_plan();
    for lane in &plan.lanes {
        apply(&mut world.site.backend, &lane.steps[0]);
    }
    world.order(Order::Pin(3), None);
    world.second(FAST_MS);
    let taken_back = world.done.iter().rev().find_map(|action| match action {
        Action::Change(_, changes) => Some(changes.taken_back.len()),
        _ => None,
    });
    assert_eq!(taken_back, Some(1), "{:#?}", world.done);
}

#[test]
fn orders_survive_a_restart_of_the_agent_with_the_time_that_is_left() {
    let mut world = World::new(1, 3);
    world.order(Order::Pin(3), Some(60 * SECOND));
    assert_eq!(world.done[0], Action::Remember, "it is remembered at once");
    world.seconds(20, FAST_MS);
    let memory = world.controller.memory(world.now);
    let mut world = World::with_memory(1, 3, &memory);
    world.second(FAST_MS);
    world.check_reason("pinned to 3 for another 39 s by kim");
    world.seconds_at_work(38, FAST_MS);
    assert_eq!(world.serving(), 3);
    assert_eq!(world.told(|event| matches!(event, Event::OrderEnded { .. })), 0);
    world.second(FAST_MS);
    assert_eq!(world.told(|event| matches!(event, Event::OrderEnded { by: None, .. })), 1);
}

/// Hours from a Monday's midnight.
fn hour(hour: i64) -> CivilTime {
    CivilTime::new((4 * 24 + hour) * 3600)
}

fn scheduled(serving: usize, spares: usize, min: u32, max: Option<u32>) -> World {
    let mut world = World::new(serving, spares);
    let at = Times::new("08:00-18:00", Days::OfWeek([true; 7]), 8 * 60, 18 * 60).expect("a span");
    world.site.settings.schedule.entries.push(Entry { at, limits: ReadyLimits { min, max } });
    world.controller.reconfigure(vec![world.site.settings.clone()], world.now);
    world
}

#[test]
fn a_floor_that_rises_adds_servers_at_once_and_names_the_schedule() {
    let mut world = scheduled(1, 3, 3, None);
    world.controller.handle_local_time(hour(7));
    world.seconds(30, FAST_MS);
    assert!(!world.has_plan());
    let next = world.view().limits.next;
    assert_eq!(next, Some((hour(8), ReadyLimits { min: 3, max: None })));
    world.controller.handle_local_time(hour(8));
    world.second(FAST_MS);
    let plan = world.take_plan();
    assert_eq!(plan.lanes.len(), 2);
    world.check_reason("1 server serving, 3 is the fewest allowed (08:00-18:00)");
    assert_eq!(world.view().limits.entry.as_deref(), Some("08:00-18:00"));
    world.succeed(&plan);
    world.seconds_at_work(900, FAST_MS);
    assert_eq!(world.serving(), 3, "and they stay");
    world.check_reason("fast enough with 3 servers, the fewest allowed (08:00-18:00)");
    world.controller.handle_local_time(hour(18));
    world.seconds_at_work(900, FAST_MS);
    assert_eq!(world.serving(), 1);
}

#[test]
fn a_ceiling_that_falls_takes_servers_away_in_the_usual_steps() {
    let mut world = scheduled(4, 0, 1, Some(2));
    world.controller.handle_local_time(hour(12));
    world.seconds(10, FAST_MS);
    let plan = world.take_plan();
    assert_eq!((plan.purpose, plan.lanes.len()), (Purpose::Remove, 1));
    world.check_reason("4 servers serving, 2 is the most allowed (08:00-18:00)");
    world.succeed(&plan);
    world.seconds(119, FAST_MS);
    assert!(!world.has_plan(), "cooling down");
    world.seconds_at_work(600, SLOW_MS);
    assert_eq!(world.serving(), 2);
}

#[test]
fn the_floor_of_a_schedule_holds_for_a_pin_too() {
    let mut world = scheduled(1, 3, 3, None);
    world.order(Order::Pin(2), None);
    world.seconds_at_work(5, FAST_MS);
    assert_eq!(world.serving(), 2);
    world.controller.handle_local_time(hour(8));
    world.seconds_at_work(5, FAST_MS);
    assert_eq!(world.serving(), 3);
    world.check_reason("pinned to 2 by kim, but 3 is the fewest allowed");
}

#[test]
fn a_limit_that_is_no_schedules_does_not_name_it() {
    let mut world = scheduled(1, 0, 1, Some(3));
    world.controller.handle_local_time(hour(12));
    world.seconds(600, FAST_MS);
    world.check_reason("fast enough with 1 server, the fewest allowed");
}

#[derive(Clone, Debug)]
enum Chance {
    Nothing,
    Order(Order, u64),
    Resume,
    Succeed,
    Fail,
    Hour(i64),
}

fn chance() -> impl Strategy<Value = Chance> {
    prop_oneof![
        20 => Just(Chance::Nothing),
        2 => (1..7u32, 1..60u64).prop_map(|(to, lasts)| Chance::Order(Order::Pin(to), lasts)),
        1 => (1..60u64).prop_map(|lasts| Chance::Order(Order::Pause, lasts)),
        1 => Just(Chance::Resume),
        4 => Just(Chance::Succeed),
        1 => Just(Chance::Fail),
        1 => (0..48i64).prop_map(Chance::Hour),
    ]
}

fn changes_more_than_its_floor(before: &Changes, now: &Changes) -> bool {
    let floor = now.least_serving;
    Changes { least_serving: floor, ..before.clone() } != *now
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..Default::default() })]

    /// Whatever is ordered, and whenever: a paused backend gets no new plan and no change of the one under
    /// way but its floor, and the floor of the moment is never left by a plan.
    #[test]
    fn pauses_hold_and_floors_hold(
        chances in prop::collection::vec((chance(), prop_oneof![Just(-1), 0..3000i32]), 50..300),
    ) {
        let mut world = scheduled(3, 4, 3, Some(5));
        world.site.settings.ready.min = 2;
        world.site.settings.scale_down.stabilization_window = 10 * SECOND;
        world.site.settings.scale_down.cooldown = 5 * SECOND;
        world.controller.reconfigure(vec![world.site.settings.clone()], world.now);
        let mut running: Option<Plan> = None;
        let mut changed = Changes::default();
        for (chance, latency) in chances {
            world.done.clear();
            match chance {
                Chance::Nothing => {}
                Chance::Order(order, lasts) => world.order(order, Some(Duration::from_secs(lasts))),
                Chance::Resume => world.resume(),
                Chance::Succeed => if let Some(plan) = running.take() { world.succeed(&plan) },
                Chance::Fail => if let Some(plan) = running.take() { world.fail(&plan) },
                Chance::Hour(of_day) => world.controller.handle_local_time(hour(of_day)),
            }
            world.second(latency);
            let view = world.view();
            if view.overridden.is_some_and(|wanted| wanted.order == Order::Pause) {
                let began = world.done.iter().any(|action| match action {
                    Action::Change(_, now) => changes_more_than_its_floor(&changed, now),
                    other => matches!(other, Action::Execute(_)),
                });
                prop_assert!(!began, "{:#?}", world.done);
            }
            for action in &world.done {
                match action {
                    Action::Execute(_) => changed = Changes::default(),
                    Action::Change(_, now) => changed = now.clone(),
                    _ => {}
                }
            }
            if world.has_plan() {
                prop_assert!(running.is_none(), "a second plan");
                let plan = world.take_plan();
                if plan.purpose == Purpose::Remove {
                    prop_assert!(world.serving() - plan.lanes.len() >= view.limits.now.min as usize);
                }
                running = Some(plan);
            }
            prop_assert!(world.serving() >= 2);
        }
    }
}
