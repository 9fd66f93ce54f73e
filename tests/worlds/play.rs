//! Plays a world with the real controller, and keeps what can be seen of it second by second.

use std::time::Instant;

use haproxy_autoscale::core::controller::{Action, Controller, Event, Memory, Operator, Order, Override};
use haproxy_autoscale::core::log::sample::Sample;
use haproxy_autoscale::core::plan::inventory::AdminState;
use haproxy_autoscale::core::policy::decision::Decision;
use haproxy_autoscale::core::policy::model::Evaluation;
use haproxy_autoscale::sim::ServerStage;
use haproxy_autoscale::sim::executor::Executor;
use haproxy_autoscale::sim::scenario::Trouble;
use haproxy_autoscale::sim::world::World;

use super::recipe::Recipe;

/// Between two looks of the executor, of which a second has five.
const STEPS: u32 = 5;

/// One second.
#[derive(Clone, Debug)]
pub(super) struct Second {
    /// From the start.
    pub(super) at: u32,
    /// Servers before anything was decided,
    pub(super) before: Servers,
    /// and after what was decided has begun.
    pub(super) after: Servers,
    /// The sentence of the moment.
    pub(super) says: String,
    /// The move that began, if one did.
    pub(super) begun: Option<Decision>,
    /// What the model made of its figures.
    pub(super) evaluation: Option<Evaluation>,
}

/// Servers as HAProxy has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Servers {
    /// READY, up, weight above 0.
    pub(super) serving: u32,
    /// Ordered, and not there yet.
    pub(super) starting: u32,
    /// By place: takes requests, or soon will.
    pub(super) takes: Vec<bool>,
}

/// Tells what happens to the lines of one fifth of a second on their way to the controller.
pub(super) type Meddle<'a> = dyn FnMut(u32, &mut Vec<Sample>) + 'a;

/// Every second of `recipe`.
pub(super) fn play(recipe: &Recipe) -> Vec<Second> {
    play_with(recipe, &mut |_, _| {}, Hands::Free)
}

/// Whether what is decided is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hands {
    /// It is.
    Free,
    /// An operator has paused the backend.
    Tied,
}

/// The same with lines that are not all as they were written.
pub(super) fn play_with(recipe: &Recipe, meddle: &mut Meddle<'_>, hands: Hands) -> Vec<Second> {
    let mut stage = Stage::new(recipe, hands);
    (0..recipe.scenario.length_s as u32).map(|at| stage.second(at, meddle)).collect()
}

struct Stage<'a> {
    recipe: &'a Recipe,
    world: World,
    controller: Controller,
    executor: Executor,
    /// The latest move that was told of.
    begun: Option<Decision>,
}

impl<'a> Stage<'a> {
    fn new(recipe: &'a Recipe, hands: Hands) -> Self {
        let world = World::new(&recipe.scenario, recipe.seed, Instant::now());
        let settings = vec![recipe.settings.clone()];
        let now = world.now();
        let mut controller = Controller::new(world.names().clone(), settings, &Memory::default(), now);
        if hands == Hands::Tied {
            let pause = Override { order: Order::Pause, by: Operator::default(), since: now, until: None };
            controller.handle_order(world.backend(), pause, now);
        }
        Self { recipe, world, controller, executor: Executor::default(), begun: None }
    }

    fn second(&mut self, at: u32, meddle: &mut Meddle<'_>) -> Second {
        let now = self.world.now();
        self.controller.handle_inventory(self.world.inventory(), now, now);
        let before = servers(&self.world);
        self.controller.handle_tick(now);
        self.act();
        let view = self.controller.view(self.world.backend(), now).expect("it is configured");
        let second = Second {
            at,
            before,
            after: servers(&self.world),
            says: view.decision.map(|(decision, _)| decision.to_string()).unwrap_or_default(),
            begun: self.begun.take(),
            evaluation: view.evaluation,
        };
        for step in 1..=STEPS {
            self.world.run_until(f64::from(at) + f64::from(step) / f64::from(STEPS));
            let mut lines = self.world.take_news().samples;
            let now_s = self.world.now_s();
            if self.recipe.scenario.troubles(now_s).any(|trouble| trouble == Trouble::LogLost) {
                lines.clear();
            }
            meddle(at, &mut lines);
            self.controller.handle_samples(&lines, self.world.now());
            self.go_on();
        }
        second
    }

    fn act(&mut self) {
        while let Some(action) = self.controller.poll_action() {
            match action {
                Action::Execute(plan) => {
                    self.executor.begin(plan);
                    self.go_on();
                }
                Action::Change(_, changes) => {
                    for outcome in self.executor.change(&changes, &mut self.world) {
                        self.controller.handle_outcome(&outcome, self.world.now());
                    }
                    self.go_on();
                }
                Action::Record(record) => {
                    if let Event::Decided { decision, refused: None } = record.event {
                        let is_move = !matches!(decision, Decision::Hold(_));
                        self.begun = is_move.then_some(decision).or(self.begun.take());
                    }
                }
                Action::Remember => {}
            }
        }
    }

    fn go_on(&mut self) {
        let outcomes = self.executor.advance(&mut self.world);
        for outcome in &outcomes {
            self.controller.handle_outcome(outcome, self.world.now());
        }
        if !outcomes.is_empty() {
            self.act();
        }
    }
}

fn servers(world: &World) -> Servers {
    let mut servers = Servers::default();
    let inventory = world.inventory();
    for (place, server) in inventory.backends[0].servers.iter().enumerate() {
        // READY and down is a server that fails, and none that starts.
        let is_starting = world.stage(place) == ServerStage::Starting && server.state() == AdminState::Drain;
        servers.serving += u32::from(server.is_serving());
        servers.starting += u32::from(is_starting);
        servers.takes.push(server.is_serving() || is_starting);
    }
    servers
}
