//! Closes the loop: the world, and who decides about it, second by second.
//!
//! A fifth of a second at a time the world goes on, lines are handed over and plans are carried on; once a
//! second whoever decides is asked.

use std::time::{Duration, Instant};

use super::executor::Executor;
use super::hands::Hands;
use super::scenario::{Scenario, Trouble};
use super::score::{PLAN_S, Score, Scorer};
use super::world::World;
use super::{Autoscaler, Seen, ServerSeen, ServerStage};
use crate::config::{Config, ConfigError};
use crate::core::controller::{Action, Controller, Memory, Record};
use crate::core::log::sample::Sample;
use crate::core::settings::schedule::CivilTime;
use crate::core::settings::{BackendSettings, Policy, Timer};

/// Steps a second.
const STEPS: u32 = 5;
/// One step, seconds.
const STEP_S: f64 = 0.2;
/// Longer than any timeout, so that each request ends.
const LAST_S: f64 = 86_400.0;

/// The timer that the target is on. The promise is about Tw + Tr, which no timer of the log is: without a queue in
/// HAProxy that is Tr; with one, Tt comes nearest.
pub fn target_timer(scenario: &Scenario) -> Timer {
    if scenario.haproxy.maxconn.is_some() { Timer::Tt } else { Timer::Tr }
}

/// Settings for the backend of `scenario`: the defaults, its target, and its warm-up.
///
/// # Errors
/// The scenario's target is none that the config takes.
pub fn settings(scenario: &Scenario, policy: Policy) -> Result<BackendSettings, ConfigError> {
    let target = Duration::from_millis(scenario.target_ms.into());
    let mut config = Config::default().with_backend("app", Some(target))?;
    // The one that was asked for.
    let mut settings = config.backends.remove(0);
    settings.policy = policy;
    settings.target.timer = target_timer(scenario);
    settings.warm_up.path = Some("/".to_owned());
    settings.warm_up.requests = scenario.server.warm_up_requests;
    settings.warm_up.concurrency = scenario.server.workers;
    settings.scale_down.drain_timeout = Duration::from_secs_f64(scenario.haproxy.drain_timeout_s);
    Ok(settings)
}

/// Looks on while a scenario is played. What it does not care for it need not have.
pub trait Witness {
    /// The controller told something at this second.
    fn told(&mut self, _now_s: f64, _record: &Record) {}

    /// Lines were written, those that are lost on the way among them; second 0 was at `_began`.
    fn saw(&mut self, _lines: &[Sample], _began: Instant) {}

    /// For `step_s` so many servers were paid for, and so many of them served.
    fn supplied(&mut self, _step_s: f64, _paid: usize, _serving: usize) {}
}

/// Looks at nothing.
#[derive(Clone, Copy, Debug)]
pub struct Nobody;

impl Witness for Nobody {}

/// Listens to what is told.
impl<F: FnMut(f64, &Record)> Witness for F {
    fn told(&mut self, now_s: f64, record: &Record) {
        self(now_s, record);
    }
}

/// Lets the real controller decide, under `settings` for the backend of `scenario`.
pub fn control(
    scenario: &Scenario,
    seed: u64,
    settings: BackendSettings,
    witness: &mut dyn Witness,
) -> Score {
    let mut stage = Stage::new(scenario, seed);
    let memory = Memory::default();
    let mut controlled = Controlled {
        controller: Controller::new(stage.world.names().clone(), vec![settings], &memory, stage.world.now()),
        executor: Executor::default(),
    };
    for second in 0..stage.seconds() {
        let now = stage.world.now();
        if let Some(begins) = scenario.begins {
            controlled.controller.handle_local_time(CivilTime::new(begins.seconds() + i64::from(second)));
        }
        controlled.controller.handle_inventory(stage.world.inventory(), now, now);
        controlled.controller.handle_tick(now);
        controlled.act(&mut stage.world, witness);
        for _ in 0..STEPS {
            let lines = stage.step(witness);
            controlled.controller.handle_samples(&lines, stage.world.now());
            controlled.go_on(&mut stage.world, witness);
        }
    }
    stage.finish(witness)
}

/// Lets `autoscaler` decide.
pub fn compete(
    scenario: &Scenario,
    seed: u64,
    autoscaler: &mut dyn Autoscaler,
    witness: &mut dyn Witness,
) -> Score {
    let mut stage = Stage::new(scenario, seed);
    let mut hands = Hands::new(scenario);
    let mut worked_s = vec![0.0; scenario.servers];
    for _ in 0..stage.seconds() {
        let servers = stage.servers_seen(&mut worked_s);
        let now_s = stage.world.now_s();
        let seen = Seen {
            now_s,
            servers: &servers,
            queued: stage.world.queued(),
            workers: scenario.mean_workers(),
            coming: stage.world.rate_to_come(PLAN_S),
            service_time: scenario.service_s(now_s),
        };
        for order in autoscaler.tick(&seen) {
            hands.obey(order, &mut stage.world);
        }
        for _ in 0..STEPS {
            stage.step(witness).iter().for_each(|line| autoscaler.record(line));
            hands.go_on(&mut stage.world);
        }
    }
    stage.finish(witness)
}

/// The world and the score of it.
struct Stage<'a> {
    scenario: &'a Scenario,
    world: World,
    scorer: Scorer,
    steps: u32,
}

impl<'a> Stage<'a> {
    fn new(scenario: &'a Scenario, seed: u64) -> Self {
        let base = Instant::now();
        let world = World::new(scenario, seed, base);
        Self { scenario, world, scorer: Scorer::new(scenario), steps: 0 }
    }

    fn seconds(&self) -> u32 {
        self.scenario.length_s.round() as u32
    }

    /// One step further. The lines that got through.
    fn step(&mut self, witness: &mut dyn Witness) -> Vec<Sample> {
        let now_s = self.world.now_s();
        if self.steps.is_multiple_of(STEPS * PLAN_S as u32) {
            let ahead_s = PLAN_S.min(self.scenario.length_s - now_s);
            let rate = self.world.rate_to_come(ahead_s);
            self.scorer.plan(rate, self.scenario.service_s(now_s));
        }
        let stages = (0..self.scenario.servers).map(|server| self.world.stage(server));
        let (paid, serving) = stages.fold((0, 0), |(paid, serving), stage| {
            (
                paid + usize::from(stage != ServerStage::Off),
                serving + usize::from(stage == ServerStage::Serving),
            )
        });
        self.scorer.supply(STEP_S, paid, serving);
        witness.supplied(STEP_S, paid, serving);
        self.steps += 1;
        self.world.run_until(f64::from(self.steps) * STEP_S);
        let news = self.world.take_news();
        news.answers.iter().for_each(|answer| self.scorer.count(answer));
        witness.saw(&news.samples, self.world.began());
        let is_lost = self.scenario.troubles(now_s).any(|trouble| trouble == Trouble::LogLost);
        if is_lost { Vec::new() } else { news.samples }
    }

    fn servers_seen(&mut self, worked_s: &mut [f64]) -> Vec<ServerSeen> {
        let seen = worked_s.iter_mut().enumerate().map(|(server, before_s)| {
            let workers = f64::from(self.scenario.server_at(server).workers);
            let worked_s = self.world.worked_s(server);
            let busy = (worked_s - std::mem::replace(before_s, worked_s)) / workers;
            ServerSeen { stage: self.world.stage(server), requests: self.world.sessions(server), busy }
        });
        seen.collect()
    }

    /// What is still under way goes on to its end, for whoever looks on; it is not in the score.
    fn finish(mut self, witness: &mut dyn Witness) -> Score {
        let totals = self.world.totals();
        self.world.run_until(self.world.now_s() + LAST_S);
        witness.saw(&self.world.take_news().samples, self.world.began());
        self.scorer.finish(totals)
    }
}

/// The real core, and what carries its plans out.
struct Controlled {
    controller: Controller,
    executor: Executor,
}

impl Controlled {
    /// Does what the controller wants done, until it wants nothing.
    fn act(&mut self, world: &mut World, witness: &mut dyn Witness) {
        while let Some(action) = self.controller.poll_action() {
            match action {
                Action::Remember => {}
                Action::Execute(plan) => {
                    self.executor.begin(plan);
                    self.go_on(world, witness);
                }
                Action::Change(_, changes) => {
                    for outcome in self.executor.change(&changes, world) {
                        self.controller.handle_outcome(&outcome, world.now());
                    }
                    self.go_on(world, witness);
                }
                Action::Record(record) => witness.told(world.now_s(), &record),
            }
        }
    }

    fn go_on(&mut self, world: &mut World, witness: &mut dyn Witness) {
        let outcomes = self.executor.advance(world);
        for outcome in &outcomes {
            self.controller.handle_outcome(outcome, world.now());
        }
        if !outcomes.is_empty() {
            self.act(world, witness);
        }
    }
}
