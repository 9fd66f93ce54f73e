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
use crate::core::plan::outcome::{CallOff, Outcome};
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

    /// More lanes for the plan under way; nothing if there is none.
    pub fn widen(&mut self, lanes: Vec<Lane>) {
        if let Some(underway) = &mut self.underway {
            underway.walks.extend(lanes.into_iter().map(Walk::new));
        }
    }

    /// Calls the plan off: what has been done of lanes that have not moved yet is undone, unless the agent stops.
    pub fn call_off(&mut self, how: CallOff, world: &mut World) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        if let Some(mut underway) = self.underway.take() {
            for place in 0..underway.walks.len() {
                underway.call_off_lane(place, how, world, &mut outcomes);
            }
            underway.finish(true, world, &mut outcomes);
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
        if underway.walks.iter().all(|walk| walk.over)
            && let Some(mut underway) = self.underway.take()
        {
            underway.finish(false, world, &mut outcomes);
        }
        outcomes
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
                    outcomes.push(Outcome::Failed { backend, server, step, error });
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
            Step::AwaitDrained { server, within } => {
                let is_empty = world.place(*server).is_none_or(|server| world.sessions(server) == 0);
                done_if(is_empty || waited(*within))
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
            CallOff::TakeBack => self.undo(place, world, outcomes),
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
