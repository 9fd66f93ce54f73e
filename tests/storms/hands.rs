//! Carries plans out on the model of HAProxy, a command at a time, as the real executor does on the real one:
//! each state change is checked against a reading, and whatever happens in between is noticed by the next one.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use haproxy_autoscale::core::names::ServerId;
use haproxy_autoscale::core::plan::inventory::AdminState;
use haproxy_autoscale::core::plan::outcome::{CallOff, Changes, Outcome};
use haproxy_autoscale::core::plan::step::{Lane, Plan, Purpose, Step};
use haproxy_autoscale::core::plan::weights::WeightList;
use haproxy_autoscale::core::units::Weight;

use super::book::Book;
use super::dice::Dice;
use super::haproxy::{Haproxy, PATIENCE};

/// While the agent stops.
const HURRY: Duration = Duration::from_millis(1500);

/// All that a command needs.
pub(crate) struct Scene<'a> {
    pub(crate) haproxy: &'a mut Haproxy,
    pub(crate) book: &'a mut Book,
    pub(crate) dice: &'a mut Dice,
    pub(crate) now: Instant,
}

/// One plan under way.
#[derive(Debug)]
pub(crate) struct Hands {
    plan: Plan,
    pub(crate) changes: Changes,
    walks: Vec<Walk>,
    phase: Phase,
    /// Every weight this plan has tried to set.
    tried: HashMap<ServerId, Vec<Weight>>,
    pid: Option<u32>,
    ramps_given_up: bool,
    /// Since when HAProxy has not answered.
    waits_since: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Preparing,
    Walking,
    Cleaning,
    Over,
}

#[derive(Clone, Debug)]
struct Walk {
    lane: Lane,
    place: usize,
    since: Option<Instant>,
    waits_since: Option<Instant>,
    state: AdminState,
    asked: Option<AdminState>,
    acted: bool,
    reset: bool,
    pid: Option<u32>,
    moved: bool,
    /// Steps back, and how far they were taken; what the lane has failed for, if it has.
    back: Option<Back>,
    over: bool,
}

#[derive(Clone, Debug)]
struct Back {
    steps: Vec<Step>,
    place: usize,
    failed: Option<(Step, String)>,
}

enum Taken {
    Done,
    Skipped,
    NotYet,
}

enum Trouble {
    /// HAProxy does not answer.
    Absent,
    /// Somebody else has changed the server.
    Foreign,
    /// HAProxy is another one than the one that the plan was made on.
    Outdated,
    /// HAProxy's no, or a check's.
    No(&'static str),
}

impl Walk {
    /// Planned when the HAProxy of this pid was read.
    fn new(lane: Lane, pid: u32) -> Self {
        Self {
            state: lane.from,
            lane,
            place: 0,
            since: None,
            waits_since: None,
            asked: None,
            acted: false,
            reset: false,
            pid: Some(pid),
            moved: false,
            back: None,
            over: false,
        }
    }
}

impl Hands {
    pub(crate) fn new(plan: Plan) -> Self {
        let made_on = made_on(&plan);
        let walks = plan.lanes.iter().map(|lane| Walk::new(lane.clone(), made_on)).collect();
        Self {
            plan,
            changes: Changes::default(),
            walks,
            phase: Phase::Preparing,
            tried: HashMap::new(),
            pid: None,
            ramps_given_up: false,
            waits_since: None,
        }
    }

    /// Each lane may go one step on.
    pub(crate) fn go_on(&mut self, scene: &mut Scene<'_>) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        match self.phase {
            Phase::Preparing => self.prepare(scene, &mut outcomes),
            Phase::Walking => self.walk_all(scene, &mut outcomes),
            Phase::Cleaning => self.clean_up(scene, &mut outcomes),
            Phase::Over => {}
        }
        outcomes
    }

    fn is_ended(&self) -> bool {
        let mut lanes = self.plan.lanes.iter().chain(&self.changes.added).peekable();
        let is_turned_round =
            lanes.peek().is_some() && lanes.all(|lane| self.changes.taken_back.contains(&lane.server));
        self.changes.stop || is_turned_round
    }

    fn prepare(&mut self, scene: &mut Scene<'_>, outcomes: &mut Vec<Outcome>) {
        let Some(Step::SetWeights(weights)) = self.plan.before.first().cloned() else {
            self.phase = Phase::Walking;
            return;
        };
        if self.is_ended() {
            self.phase = Phase::Cleaning;
            return;
        }
        let step = Step::SetWeights(weights.clone());
        let is_outdated = scene.haproxy.answers() && scene.haproxy.pid != made_on(&self.plan);
        match if is_outdated { Err(Trouble::Outdated) } else { self.set_weights(&weights, scene) } {
            Ok(()) => {
                self.tell_done(step, outcomes);
                self.phase = Phase::Walking;
            }
            Err(Trouble::Absent) if !is_too_long(&mut self.waits_since, scene.now, PATIENCE) => {}
            Err(Trouble::Outdated) => {
                outcomes.push(Outcome::Outdated { backend: self.plan.backend, server: None });
                self.phase = Phase::Cleaning;
            }
            Err(Trouble::No(why)) if self.plan.purpose == Purpose::Add => {
                self.give_ramps_up(why, outcomes);
                self.put_weights_right(scene).ok();
                self.phase = Phase::Walking;
            }
            Err(_) => {
                self.tell_failed(None, step, "weights", false, outcomes);
                self.phase = Phase::Cleaning;
            }
        }
    }

    fn walk_all(&mut self, scene: &mut Scene<'_>, outcomes: &mut Vec<Outcome>) {
        let known = self.walks.len() - self.plan.lanes.len();
        let made_on = made_on(&self.plan);
        self.walks.extend(self.changes.added.iter().skip(known).map(|lane| Walk::new(lane.clone(), made_on)));
        for place in 0..self.walks.len() {
            if !self.walks[place].over && scene.dice.chance(3, 4) {
                let mut walk = self.walks[place].clone();
                self.walk(&mut walk, scene, outcomes);
                self.walks[place] = walk;
            }
        }
        if self.walks.iter().all(|walk| walk.over) {
            self.phase = Phase::Cleaning;
        }
    }

    fn walk(&mut self, walk: &mut Walk, scene: &mut Scene<'_>, outcomes: &mut Vec<Outcome>) {
        let server = walk.lane.server;
        if walk.back.is_none()
            && let Some(how) = self.changes.call_off(server)
        {
            match how {
                CallOff::TurnAway(why) => {
                    let step = walk.lane.steps.last().cloned().expect("a lane has steps");
                    let steps = if walk.moved { &walk.lane.retreat } else { &walk.lane.undo };
                    walk.back = Some(Back { steps: steps.clone(), place: 0, failed: Some((step, why)) });
                }
                _ if walk.moved => return self.tell_moved(walk, outcomes),
                CallOff::Stop => {
                    walk.over = true;
                    return;
                }
                CallOff::TakeBack => {
                    walk.back = Some(Back { steps: walk.lane.undo.clone(), place: 0, failed: None });
                }
            }
        }
        if walk.back.is_some() {
            return self.walk_back(walk, scene, outcomes);
        }
        let Some(step) = walk.lane.steps.get(walk.place).cloned() else {
            return self.tell_moved(walk, outcomes);
        };
        let last_set = walk.lane.steps.iter().rposition(|step| matches!(step, Step::Set { .. }));
        match self.take(walk, &step, scene, outcomes) {
            Ok(Taken::NotYet) => {}
            Ok(taken) => {
                walk.moved |= last_set == Some(walk.place);
                (walk.place, walk.since) = (walk.place + 1, None);
                if let Taken::Done = taken {
                    self.tell_done(step, outcomes);
                }
            }
            Err(Trouble::Outdated) => {
                walk.over = true;
                outcomes.push(Outcome::Outdated { backend: self.plan.backend, server: Some(server) });
            }
            Err(Trouble::Foreign) => {
                walk.over = true;
                self.tell_failed(Some(server), step, "changed by somebody else", true, outcomes);
            }
            Err(trouble) => {
                let why = if let Trouble::No(why) = trouble { why } else { "does not answer" };
                if walk.moved {
                    let backend = self.plan.backend;
                    outcomes.push(Outcome::RampGivenUp { backend, server: Some(server), error: why.into() });
                    return self.tell_moved(walk, outcomes);
                }
                let steps = walk.lane.undo.clone();
                (walk.since, walk.waits_since) = (None, None);
                walk.back = Some(Back { steps, place: 0, failed: Some((step, why.to_owned())) });
            }
        }
    }

    fn walk_back(&mut self, walk: &mut Walk, scene: &mut Scene<'_>, outcomes: &mut Vec<Outcome>) {
        let Some(mut back) = walk.back.clone() else { return };
        let server = walk.lane.server;
        let step = back.steps.get(back.place).cloned().filter(|_| walk.acted && !self.changes.stop);
        let Some(step) = step else {
            walk.over = true;
            if let Some((step, why)) = back.failed {
                self.tell_failed(Some(server), step, &why, false, outcomes);
            }
            return;
        };
        match self.take(walk, &step, scene, outcomes) {
            Ok(Taken::NotYet) => {}
            Ok(_) => {
                back.place += 1;
                walk.since = None;
                walk.back = Some(back);
                self.tell_done(step, outcomes);
            }
            Err(trouble) => {
                walk.over = true;
                let by_other = back.failed.is_none() && matches!(trouble, Trouble::Foreign);
                let (step, why) = back.failed.unwrap_or((step, "cannot be undone".to_owned()));
                self.tell_failed(Some(server), step, &why, by_other, outcomes);
            }
        }
    }

    fn take(
        &mut self,
        walk: &mut Walk,
        step: &Step,
        scene: &mut Scene<'_>,
        outcomes: &mut Vec<Outcome>,
    ) -> Result<Taken, Trouble> {
        if let Step::SetWeights(_) | Step::Pause(_) = step
            && self.ramps_given_up
        {
            return Ok(Taken::Skipped);
        }
        let since = *walk.since.get_or_insert(scene.now);
        let now = scene.now;
        let waited = |within: Duration| now - since >= within;
        if let Step::Pause(pause) = step {
            let is_over = waited(*pause) && !self.changes.is_held(walk.lane.server);
            return Ok(if is_over { Taken::Done } else { Taken::NotYet });
        }
        if !scene.haproxy.answers() {
            let is_over = is_too_long(&mut walk.waits_since, scene.now, PATIENCE);
            return if is_over { Err(Trouble::Absent) } else { Ok(Taken::NotYet) };
        }
        walk.waits_since = None;
        self.notice(walk, scene, outcomes);
        if let Step::Set { state, .. } = step {
            return self.set(walk, *state, scene);
        }
        self.recognise(walk, scene)?;
        let server = scene.haproxy.server(walk.lane.server);
        if walk.reset && server.state() != walk.state {
            return self.set(walk, walk.state, scene).map(|_| Taken::NotYet);
        }
        walk.reset = false;
        let is_healthy = if server.checked { server.check_passed } else { scene.haproxy.is_alive(server.id) };
        match step {
            Step::AwaitHealthy { .. } if is_healthy => Ok(Taken::Done),
            Step::AwaitHealthy { within, .. } if waited(*within) => Err(Trouble::No("not healthy")),
            Step::AwaitHealthy { .. } => Ok(Taken::NotYet),
            Step::AwaitDrained { at_least, within, .. } => {
                let is_over = (server.sessions == 0 && waited(*at_least)) || waited(*within.max(at_least));
                Ok(if is_over { Taken::Done } else { Taken::NotYet })
            }
            Step::SetWeights(weights) => {
                let last = self.tried.get(&server.id).and_then(|tried| tried.last().copied());
                if last.is_some_and(|last| last != server.weight) {
                    return Err(Trouble::No("reweighed by somebody else"));
                }
                match self.set_weights(weights, scene) {
                    Ok(()) => Ok(Taken::Done),
                    Err(Trouble::No(why)) => {
                        self.give_ramps_up(why, outcomes);
                        Ok(Taken::Skipped)
                    }
                    Err(trouble) => Err(trouble),
                }
            }
            _ => Ok(Taken::Done),
        }
    }

    /// A restart of HAProxy is noticed by a reading.
    fn notice(&mut self, walk: &mut Walk, scene: &mut Scene<'_>, outcomes: &mut Vec<Outcome>) {
        let pid = scene.haproxy.pid;
        walk.reset |= walk.pid.replace(pid).is_some_and(|before| before != pid);
        let restarted = self.pid.replace(pid).is_some_and(|before| before != pid);
        if restarted && self.plan.purpose == Purpose::Add && !self.plan.before.is_empty() {
            self.give_ramps_up("restarted", outcomes);
        }
    }

    fn recognise(&self, walk: &Walk, scene: &Scene<'_>) -> Result<(), Trouble> {
        let found = scene.haproxy.server(walk.lane.server).state();
        if walk.reset && !walk.acted {
            return Err(Trouble::Outdated);
        }
        let is_known = found == walk.state || walk.asked == Some(found) || walk.reset;
        if is_known { Ok(()) } else { Err(Trouble::Foreign) }
    }

    fn set(&mut self, walk: &mut Walk, state: AdminState, scene: &mut Scene<'_>) -> Result<Taken, Trouble> {
        self.recognise(walk, scene)?;
        let server = scene.haproxy.server(walk.lane.server).clone();
        if server.state() != state {
            let others = scene.haproxy.state.serving_by_themselves();
            let rest = others.filter(|other| other.id != server.id).count();
            let least = self.changes.least_serving.unwrap_or(self.plan.least_serving) as usize;
            if state != AdminState::Ready && server.is_serving() && rest < least {
                return Err(Trouble::No("too few left"));
            }
            let is_new = state == AdminState::Ready && self.plan.purpose == Purpose::Add;
            if is_new && server.state() == AdminState::Drain && server.checked && !server.is_up() {
                return Err(Trouble::No("its check fails"));
            }
            (walk.asked, walk.acted) = (Some(state), true);
            if scene.haproxy.refuses > 0 {
                scene.haproxy.refuses -= 1;
                return Err(Trouble::No("refused"));
            }
            scene.book.our_state(scene.haproxy, server.id, state, scene.now);
            if scene.dice.chance(1, 6) {
                // The answer got lost.
                return Ok(Taken::NotYet);
            }
        }
        (walk.state, walk.asked, walk.reset) = (state, None, false);
        Ok(Taken::Done)
    }

    fn set_weights(&mut self, weights: &WeightList, scene: &mut Scene<'_>) -> Result<(), Trouble> {
        if !scene.haproxy.answers() {
            return Err(Trouble::Absent);
        }
        for &(id, weight) in weights {
            let found = scene.haproxy.server(id).weight;
            let is_known = self.plan.found.as_ref().and_then(|made| made.weight(id)) == Some(found);
            let is_ours = self.tried.get(&id).is_some_and(|tried| tried.contains(&found));
            if found != weight && !is_known && !is_ours {
                return Err(Trouble::No("reweighed by somebody else"));
            }
        }
        for &(server, weight) in weights {
            self.tried.entry(server).or_default().push(weight);
        }
        self.pid = Some(scene.haproxy.pid);
        let is_refused = scene.haproxy.refuses > 0;
        let done = if is_refused { weights.len() / 2 } else { weights.len() };
        scene.haproxy.refuses -= u32::from(is_refused);
        scene.book.our_weights(scene.haproxy, &weights[..done], scene.now);
        if is_refused { Err(Trouble::No("refused")) } else { Ok(()) }
    }

    fn put_weights_right(&mut self, scene: &mut Scene<'_>) -> Result<(), Trouble> {
        let Some(Step::SetWeights(rightful)) = self.plan.after.first().cloned() else { return Ok(()) };
        if self.tried.is_empty() {
            return Ok(());
        }
        if !scene.haproxy.answers() {
            return Err(Trouble::Absent);
        }
        let is_ours = |&&(id, weight): &&(ServerId, Weight)| {
            let found = scene.haproxy.server(id).weight;
            found != weight && self.tried.get(&id).is_some_and(|tried| tried.contains(&found))
        };
        let temporary: WeightList = rightful.iter().filter(is_ours).copied().collect();
        if temporary.is_empty() { Ok(()) } else { self.set_weights(&temporary, scene) }
    }

    fn clean_up(&mut self, scene: &mut Scene<'_>, outcomes: &mut Vec<Outcome>) {
        let patience = if self.changes.stop { HURRY } else { PATIENCE };
        match self.put_weights_right(scene) {
            Ok(()) => {}
            Err(Trouble::Absent) if !is_too_long(&mut self.waits_since, scene.now, patience) => return,
            Err(_) => {
                let step = self.plan.after[0].clone();
                self.tell_failed(None, step, "weights", false, outcomes);
            }
        }
        self.phase = Phase::Over;
        let (backend, purpose, called_off) = (self.plan.backend, self.plan.purpose, self.is_ended());
        outcomes.push(Outcome::Finished { backend, purpose, called_off });
    }

    fn give_ramps_up(&mut self, why: &str, outcomes: &mut Vec<Outcome>) {
        if !std::mem::replace(&mut self.ramps_given_up, true) {
            let backend = self.plan.backend;
            outcomes.push(Outcome::RampGivenUp { backend, server: None, error: why.to_owned() });
        }
    }

    fn tell_done(&self, step: Step, outcomes: &mut Vec<Outcome>) {
        outcomes.push(Outcome::StepDone { backend: self.plan.backend, step, took: Duration::ZERO });
    }

    fn tell_moved(&self, walk: &mut Walk, outcomes: &mut Vec<Outcome>) {
        walk.over = true;
        let (backend, purpose) = (self.plan.backend, self.plan.purpose);
        outcomes.push(Outcome::Moved { backend, server: walk.lane.server, purpose });
    }

    fn tell_failed(
        &self,
        server: Option<ServerId>,
        step: Step,
        error: &str,
        by_other: bool,
        outcomes: &mut Vec<Outcome>,
    ) {
        let (backend, error) = (self.plan.backend, error.to_owned());
        outcomes.push(Outcome::Failed { backend, server, step, error, by_other });
    }
}

/// The HAProxy that was read when the plan was made.
fn made_on(plan: &Plan) -> u32 {
    plan.found.as_ref().and_then(|found| found.pids[0]).expect("a plan is made from a reading")
}

fn is_too_long(since: &mut Option<Instant>, now: Instant, patience: Duration) -> bool {
    let is_over = now - *since.get_or_insert(now) >= patience;
    if is_over {
        *since = None;
    }
    is_over
}
