//! Carries a plan out in simulated time, and reports as the real executor does.
//!
//! In: a [`Plan`], the world, and a call every fifth of a second, which is how often the real one looks at
//! HAProxy. Out: [`Outcome`]s, the last of which is [`Outcome::Finished`]. Nobody else touches the
//! servers here, and HAProxy always answers: of what may go wrong there remain servers that do not get
//! healthy, and too few that would be left serving.

use std::time::Duration;

use super::world::World;
use crate::core::names::ServerId;
use crate::core::plan::inventory::AdminState;
use crate::core::plan::outcome::{CallOff, Changes, Outcome};
use crate::core::plan::step::{Lane, Plan, Purpose, Step};
use crate::core::settings::WarmUp;

/// Carries out one plan at a time.
#[derive(Debug, Default)]
pub struct Executor {
    underway: Option<Underway>,
}

#[derive(Debug)]
struct Underway {
    plan: Plan,
    walks: Vec<Walk>,
    is_prepared: bool,
    /// Weights were set.
    has_weighed: bool,
}

/// How far a lane has come.
#[derive(Debug)]
struct Walk {
    lane: Lane,
    place: usize,
    /// When the present step began, seconds.
    since_s: Option<f64>,
    /// When it will be over, where that is known.
    until_s: f64,
    /// A state was set.
    acted: bool,
    /// The last `Set` is done.
    moved: bool,
    over: bool,
}

/// What became of a step.
enum Taken {
    Done,
    NotYet,
    Failed(String),
}

impl Executor {
    /// Begins `plan`. The one before it has to be finished.
    pub fn begin(&mut self, plan: Plan) {
        let walks = plan.lanes.iter().cloned().map(Walk::new).collect();
        self.underway = Some(Underway { plan, walks, is_prepared: false, has_weighed: false });
    }

    /// Takes what has been changed about the plan since it began. It goes on with the next [`Executor::advance`].
    pub fn change(&mut self, changes: &Changes, world: &mut World) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        let Some(underway) = &mut self.underway else { return outcomes };
        let known = underway.walks.len() - underway.plan.lanes.len();
        underway.plan.least_serving = changes.least_serving.unwrap_or(underway.plan.least_serving);
        underway.walks.extend(changes.added.iter().skip(known).cloned().map(Walk::new));
        for place in 0..underway.walks.len() {
            if let Some(how) = changes.call_off(underway.walks[place].lane.server) {
                underway.call_off_lane(place, how, world, &mut outcomes);
            }
        }
        let is_taken_back = |walk: &Walk| changes.taken_back.contains(&walk.lane.server);
        let is_turned_round = !underway.walks.is_empty() && underway.walks.iter().all(is_taken_back);
        if changes.stop || is_turned_round {
            self.finish(true, world, &mut outcomes);
        }
        outcomes
    }

    /// Goes on as far as it can at this moment.
    pub fn advance(&mut self, world: &mut World) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        let Some(underway) = &mut self.underway else { return outcomes };
        if !underway.is_prepared {
            underway.is_prepared = true;
            for step in underway.plan.before.clone() {
                underway.weigh(&step, world);
                underway.tell_done(step, 0.0, &mut outcomes);
            }
        }
        for place in 0..underway.walks.len() {
            underway.walk(place, world, &mut outcomes);
        }
        if underway.walks.iter().all(|walk| walk.over) {
            self.finish(false, world, &mut outcomes);
        }
        outcomes
    }

    fn finish(&mut self, called_off: bool, world: &mut World, outcomes: &mut Vec<Outcome>) {
        if let Some(mut underway) = self.underway.take() {
            underway.finish(called_off, world, outcomes);
        }
    }
}

impl Walk {
    fn new(lane: Lane) -> Self {
        Self { lane, place: 0, since_s: None, until_s: 0.0, acted: false, moved: false, over: false }
    }

    fn last_set(&self) -> Option<usize> {
        self.lane.steps.iter().rposition(|step| matches!(step, Step::Set { .. }))
    }
}

impl Underway {
    /// Takes the steps of one lane until one has to wait.
    fn walk(&mut self, place: usize, world: &mut World, outcomes: &mut Vec<Outcome>) {
        while !self.walks[place].over {
            let walk = &self.walks[place];
            let Some(step) = walk.lane.steps.get(walk.place).cloned() else {
                self.tell_moved(place, outcomes);
                return;
            };
            let is_last_set = walk.last_set() == Some(walk.place);
            let since_s = *self.walks[place].since_s.get_or_insert(world.now_s());
            match self.take(place, &step, since_s, world) {
                Taken::NotYet => return,
                Taken::Done => {
                    let walk = &mut self.walks[place];
                    walk.moved |= is_last_set;
                    (walk.place, walk.since_s) = (walk.place + 1, None);
                    self.tell_done(step, world.now_s() - since_s, outcomes);
                }
                Taken::Failed(error) => {
                    self.undo(place, world, outcomes);
                    let (backend, server) = (self.plan.backend, Some(self.walks[place].lane.server));
                    outcomes.push(Outcome::Failed { backend, server, step, error, by_other: false });
                }
            }
        }
    }

    fn take(&mut self, place: usize, step: &Step, since_s: f64, world: &mut World) -> Taken {
        let now_s = world.now_s();
        let waited = |within: Duration| now_s - since_s >= within.as_secs_f64();
        let done_if = |is_done| if is_done { Taken::Done } else { Taken::NotYet };
        match step {
            Step::Set { server, state } => self.set(place, *server, *state, world),
            // Here every server has its address, and one that is not there is one in MAINT.
            Step::SetAddress { .. }
            | Step::Add { .. }
            | Step::Remove { .. }
            | Step::ShutdownSessions { .. } => Taken::Done,
            Step::SetWeights(_) => {
                self.weigh(step, world);
                Taken::Done
            }
            Step::AwaitHealthy { server, within } => match world.place(*server) {
                Some(server) if world.is_up(server) => Taken::Done,
                _ if waited(*within) => {
                    Taken::Failed(format!("its health check has not passed within {within:?}"))
                }
                _ => Taken::NotYet,
            },
            Step::WarmUp { server, requests } => self.warm_up(place, *server, requests, since_s, world),
            Step::AwaitDrained { server, at_least, within, .. } => {
                let is_empty = world.place(*server).is_none_or(|server| world.sessions(server) == 0);
                done_if(waited(*within) || (waited(*at_least) && is_empty))
            }
            Step::Pause(pause) => done_if(waited(*pause)),
        }
    }

    fn set(&mut self, place: usize, server: ServerId, state: AdminState, world: &mut World) -> Taken {
        let Some(at) = world.place(server) else {
            return Taken::Failed("HAProxy has no such server any more".to_owned());
        };
        if world.state(at) == state {
            return Taken::Done;
        }
        let inventory = world.inventory();
        let serving = || inventory.backends.iter().flat_map(|backend| backend.serving());
        let rest = serving().filter(|other| other.id != server).count();
        let least = self.plan.least_serving;
        if state != AdminState::Ready && serving().any(|other| other.id == server) && rest < least as usize {
            return Taken::Failed(format!("it would leave {rest} serving, and {least} have to"));
        }
        let is_new = state == AdminState::Ready && self.plan.purpose == Purpose::Add;
        if is_new && world.state(at) == AdminState::Drain && !world.is_up(at) {
            return Taken::Failed("its health check fails".to_owned());
        }
        world.set_state(at, state);
        self.walks[place].acted = true;
        Taken::Done
    }

    fn warm_up(
        &mut self,
        place: usize,
        server: ServerId,
        requests: &WarmUp,
        since_s: f64,
        world: &mut World,
    ) -> Taken {
        let now_s = world.now_s();
        let walk = &mut self.walks[place];
        if requests.path.is_none() {
            return Taken::Done;
        }
        // Only at its beginning: all its requests are drawn at once.
        if now_s <= since_s {
            let at = world.place(server);
            let Some(takes_s) = at.and_then(|at| world.warm_up(at, requests.requests, requests.concurrency))
            else {
                return Taken::Failed("warm-up requests failed: connection refused".to_owned());
            };
            walk.until_s = now_s + takes_s;
        }
        if now_s >= walk.until_s { Taken::Done } else { Taken::NotYet }
    }

    fn call_off_lane(&mut self, place: usize, how: CallOff, world: &mut World, outcomes: &mut Vec<Outcome>) {
        let walk = &self.walks[place];
        match how {
            _ if walk.over => {}
            _ if walk.moved => self.tell_moved(place, outcomes),
            // No ramp is simulated.
            CallOff::TakeBack | CallOff::TurnAway(_) => self.undo(place, world, outcomes),
            CallOff::Stop => {}
        }
    }

    /// Ends a lane by going back to where it began, unless nothing was done yet.
    fn undo(&mut self, place: usize, world: &mut World, outcomes: &mut Vec<Outcome>) {
        self.walks[place].over = true;
        if !self.walks[place].acted {
            return;
        }
        for step in self.walks[place].lane.undo.clone() {
            if let Step::Set { server, state } = step
                && let Some(at) = world.place(server)
            {
                world.set_state(at, state);
                self.tell_done(step, 0.0, outcomes);
            }
        }
    }

    fn weigh(&mut self, step: &Step, world: &mut World) {
        if let Step::SetWeights(weights) = step {
            self.has_weighed = true;
            for (server, weight) in weights {
                if let Some(server) = world.place(*server) {
                    world.set_weight(server, *weight);
                }
            }
        }
    }

    fn finish(&mut self, called_off: bool, world: &mut World, outcomes: &mut Vec<Outcome>) {
        if self.has_weighed {
            for step in self.plan.after.clone() {
                self.weigh(&step, world);
                self.tell_done(step, 0.0, outcomes);
            }
        }
        let (backend, purpose) = (self.plan.backend, self.plan.purpose);
        outcomes.push(Outcome::Finished { backend, purpose, called_off });
    }

    fn tell_done(&self, step: Step, took_s: f64, outcomes: &mut Vec<Outcome>) {
        let (backend, took) = (self.plan.backend, Duration::from_secs_f64(took_s));
        outcomes.push(Outcome::StepDone { backend, step, took });
    }

    fn tell_moved(&mut self, place: usize, outcomes: &mut Vec<Outcome>) {
        self.walks[place].over = true;
        let (backend, purpose) = (self.plan.backend, self.plan.purpose);
        outcomes.push(Outcome::Moved { backend, server: self.walks[place].lane.server, purpose });
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::time::Instant;

    use super::*;
    use crate::core::plan::ownership::Claims;
    use crate::core::plan::planner;
    use crate::core::policy::decision::{Decision, Reason};
    use crate::core::settings::Policy;
    use crate::sim::driver;
    use crate::sim::scenario::{Incident, Scenario, Shape, Trouble};

    /// Two of four servers serve, 20 requests a second come.
    fn scenario() -> Scenario {
        let scenario = Scenario::standard("test", "", 1000.0, Shape::Constant(20.0));
        Scenario { servers: 4, serving_at_start: 2, ..scenario }
    }

    struct Scene {
        world: World,
        executor: Executor,
        told: Vec<String>,
    }

    impl Scene {
        fn new(scenario: &Scenario) -> Self {
            let world = World::new(scenario, 1, Instant::now());
            Self { world, executor: Executor::default(), told: Vec::new() }
        }

        fn plan(&mut self, scenario: &Scenario, by: i32) -> Plan {
            let settings = driver::settings(scenario, Policy::Threshold).expect("a good target");
            let inventory = self.world.inventory();
            let why = Reason::NoInventory;
            let decision = match by {
                1.. => Decision::ScaleUp { by: by.unsigned_abs(), reason: why },
                _ => Decision::ScaleDown { by: by.unsigned_abs(), prefer: Vec::new(), reason: why },
            };
            let (claims, none) = (Claims { ours: self.ours(), ..Claims::default() }, HashSet::new());
            planner::plan(&decision, &inventory.backends[0], &settings, &claims, &none, self.world.names())
                .expect("there is something to do")
        }

        fn ours(&self) -> HashSet<ServerId> {
            self.world.inventory().backends[0].servers.iter().map(|server| server.id).collect()
        }

        fn begin(&mut self, scenario: &Scenario, by: i32) {
            let plan = self.plan(scenario, by);
            self.executor.begin(plan);
        }

        fn run_for(&mut self, seconds: f64) {
            let end_s = self.world.now_s() + seconds;
            while self.world.now_s() < end_s {
                let outcomes = self.executor.advance(&mut self.world);
                self.tell(&outcomes);
                self.world.run_until(self.world.now_s() + 0.2);
            }
        }

        fn change(&mut self, changes: &Changes) {
            let outcomes = self.executor.change(changes, &mut self.world);
            self.tell(&outcomes);
        }

        fn tell(&mut self, outcomes: &[Outcome]) {
            let names = self.world.names();
            let word = |outcome: &Outcome| match outcome {
                Outcome::StepDone { step, .. } => step.words(names),
                Outcome::Moved { server, .. } => format!("{} moved", names.of_server(*server)),
                Outcome::Failed { error, .. } => format!("failed: {error}"),
                Outcome::Finished { called_off: true, .. } => "called off".to_owned(),
                other => format!("{other:?}").split(' ').next().unwrap_or_default().to_lowercase(),
            };
            let told: Vec<String> = outcomes.iter().map(word).collect();
            self.told.extend(told);
        }

        fn states(&self) -> String {
            let letter = |server| self.world.state(server).name().chars().next().unwrap_or('?');
            (0..4).map(letter).collect()
        }

        #[track_caller]
        fn check(&self, states: &str, told: &[&str]) {
            assert_eq!(self.states(), states);
            assert_eq!(self.told, told);
        }
    }

    const STARTED: [&str; 6] = [
        "set app/s3 DRAIN",
        "wait up to 120s until app/s3 is healthy",
        "warm up app/s3",
        "set app/s3 READY",
        "s3 moved",
        "finished",
    ];

    #[test]
    fn a_spare_serves_after_its_start_delay_and_its_warm_up() {
        let scenario = scenario();
        let mut scene = Scene::new(&scenario);
        scene.begin(&scenario, 1);
        scene.run_for(3.8);
        scene.check("RRDM", &STARTED[..1]);
        // 4 to 6 s of delay; 100 requests of 80 ms, 8 at a time and cold at first, take 2 s.
        scene.run_for(2.6);
        scene.check("RRDM", &STARTED[..2]);
        scene.run_for(4.0);
        scene.check("RRRM", &STARTED);
    }

    #[test]
    fn what_is_taken_back_is_undone_and_what_is_added_joins() {
        let scenario = scenario();
        let mut scene = Scene::new(&scenario);
        let both = scene.plan(&scenario, 2);
        let (first, second) = (both.lanes[0].clone(), both.lanes[1].clone());
        scene.executor.begin(Plan { lanes: vec![first.clone()], ..both });
        scene.run_for(1.0);
        let mut changes = Changes { added: vec![second], ..Changes::default() };
        scene.change(&changes);
        scene.run_for(1.0);
        assert_eq!(scene.states(), "RRDD");
        changes.taken_back.insert(first.server);
        scene.change(&changes);
        assert_eq!(scene.states(), "RRMD");
        scene.run_for(20.0);
        scene.check(
            "RRMR",
            &[
                "set app/s3 DRAIN",
                "set app/s4 DRAIN",
                "set app/s3 MAINT",
                "wait up to 120s until app/s4 is healthy",
                "warm up app/s4",
                "set app/s4 READY",
                "s4 moved",
                "finished",
            ],
        );
    }

    #[test]
    fn a_plan_is_over_once_all_of_it_is_taken_back() {
        let scenario = scenario();
        let mut scene = Scene::new(&scenario);
        scene.begin(&scenario, 1);
        scene.run_for(1.0);
        let changes = Changes { taken_back: scene.ours().into_iter().collect(), ..Changes::default() };
        scene.change(&changes);
        scene.check("RRMM", &["set app/s3 DRAIN", "set app/s3 MAINT", "called off"]);
    }

    #[test]
    fn a_server_that_does_not_get_healthy_goes_back() {
        let down = Incident { from_s: 0.0, until_s: f64::INFINITY, what: Trouble::Down(2) };
        let scenario = Scenario { incidents: vec![down], ..scenario() };
        let mut scene = Scene::new(&scenario);
        scene.world.run_until(1.0);
        scene.begin(&scenario, 1);
        scene.run_for(121.0);
        scene.check(
            "RRMM",
            &[
                "set app/s3 DRAIN",
                "set app/s3 MAINT",
                "failed: its health check has not passed within 120s",
                "finished",
            ],
        );
    }

    #[test]
    fn a_drain_waits_for_its_requests_but_not_for_ever() {
        let mut scenario = scenario();
        scenario.clients.streams.share = 1.0;
        scenario.clients.slow_readers.share = 0.0;
        let mut scene = Scene::new(&scenario);
        scene.world.run_until(10.0);
        scene.begin(&scenario, -1);
        scene.run_for(59.0);
        scene.check("RDMM", &["set app/s2 DRAIN"]);
        assert!(scene.world.sessions(1) > 0);
        scene.run_for(2.0);
        assert_eq!((scene.states().as_str(), scene.told.len()), ("RMMM", 5));
    }

    #[test]
    fn the_last_one_is_not_taken_away_even_if_the_plan_says_so() {
        let mut scenario = scenario();
        let mut scene = Scene::new(&scenario);
        let plan = scene.plan(&scenario, -1);
        scenario.incidents.push(Incident { from_s: 0.0, until_s: f64::INFINITY, what: Trouble::Down(0) });
        let mut scene = Scene::new(&scenario);
        scene.world.run_until(10.0);
        scene.executor.begin(plan);
        scene.run_for(1.0);
        scene.check("RRMM", &["failed: it would leave 0 serving, and 1 have to", "finished"]);
    }
}
