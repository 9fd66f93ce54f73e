//! The way of one server through its lane of a plan.
//!
//! ```text
//!             steps up to the last Set            steps after it (the ramp)
//!  done       go on                               moved
//!  fails      undo, failed                        ramp given up, moved
//!  take back  undo                                moved
//!  turn away  undo, failed                        retreat, failed
//!  stop       left as it is                       moved
//!  the state was changed by somebody else: failed, and nothing is undone, anywhere in the lane
//! ```
//! A restart of HAProxy before the lane has done anything ends it: what is to be done is decided anew. After
//! that, what the lane has provided is provided again and its state set again, and the
//! lane goes on from there; unless HAProxy's configuration has it already where its last Set leads: it has moved.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

mod backups;
mod looking;
mod old_workers;
mod slowstart;
mod sticking;
mod supply;
mod waiting;

use self::waiting::Drain;
use super::attempt::{Retry, StepError};
use super::work::{Number, Reading, Work, is_new};
use crate::core::names::ServerId;
use crate::core::plan::inventory::{AdminState, Process, ServerState};
use crate::core::plan::outcome::{CallOff, KeptBy, Outcome};
use crate::core::plan::step::{Lane, Purpose, Step};
use crate::core::plan::weights::WeightList;
use crate::core::wire::command::{Command, ServerName};
use crate::report::chain;

/// Walks `lane` to its end, whatever that is, and reports it.
pub(super) async fn walk(work: Arc<Work>, lane: Lane) {
    let lane = backups::spare(&work, lane);
    let mut walker = Walker::new(&work, &lane);
    let end = tokio::select! {
        biased;
        how = work.called_off(lane.server) => End::CalledOff(how),
        end = walker.go() => end,
    };
    let (backend, server) = (work.plan.backend, lane.server);
    match end {
        End::Arrived => {}
        End::CalledOff(CallOff::TurnAway(why)) => {
            let step = lane.steps.last().cloned().unwrap_or(Step::Pause(Duration::ZERO));
            let back = if walker.moved { &lane.retreat } else { &lane.undo };
            walker.turned_away = true;
            let error = match walker.go_back(back).await {
                Ok(()) => why,
                Err((step, error)) => {
                    format!("{why}; and `{}` failed: {}", step.words(&work.names), chain(&error))
                }
            };
            work.tell(Outcome::Failed { backend, server: Some(server), step, error, by_other: false }).await;
            return;
        }
        End::CalledOff(_) if walker.moved => {}
        End::CalledOff(CallOff::Stop) => return,
        End::Failed(_, StepError::Outdated) => return work.tell_outdated(Some(server)).await,
        End::Failed(_, StepError::Dropped) => return work.tell_dropped(server).await,
        End::CalledOff(CallOff::TakeBack) => {
            match walker.undo().await {
                Ok(()) => {}
                Err((_, StepError::Dropped)) => work.tell_dropped(server).await,
                Err((step, error)) => {
                    let (by_other, step, error) = (error.is_foreign(), step.clone(), chain(&error));
                    work.tell(Outcome::Failed { backend, server: Some(server), step, error, by_other }).await;
                }
            }
            return;
        }
        End::Failed(step, error) => {
            let (by_other, mut text) = (error.is_foreign(), chain(&error));
            if !by_other && let Err((step, error)) = walker.undo().await {
                text = format!("{text}; and `{}` failed too: {}", step.words(&work.names), chain(&error));
            }
            let step = step.clone();
            work.tell(Outcome::Failed { backend, server: Some(server), step, error: text, by_other }).await;
            return;
        }
    }
    work.tell(Outcome::Moved { backend, server, purpose: work.plan.purpose }).await;
}

/// How `server`, which HAProxy calls `name`, gets to `state` from where it is.
pub(super) fn command(
    name: ServerName,
    server: &ServerState,
    state: AdminState,
    process: &Process,
) -> Command {
    let change = match (server.state(), state) {
        (AdminState::Maint, AdminState::Drain) if server.checked => {
            Command::DrainUntilChecked { server: name }
        }
        (AdminState::Drain, AdminState::Ready) => Command::out_of_drain(name, server.maxconn, process),
        _ => Command::SetState { server: name, state },
    };
    with_agent(change, server, state)
}

/// `change`, which brings `server` to `state`, with the switch of the agent check that would undo it, or has to be heard again.
fn with_agent(change: Command, server: &ServerState, state: AdminState) -> Command {
    let on = state == AdminState::Ready;
    match if on { server.agent_off } else { server.agent_checked } {
        true => Command::WithAgent { on, change: Box::new(change) },
        false => change,
    }
}

/// How a lane ends.
enum End<'a> {
    Arrived,
    Failed(&'a Step, StepError),
    CalledOff(CallOff),
}

/// Whether there was anything to do.
enum Taken {
    Done,
    Skipped,
}

struct Walker<'a> {
    work: &'a Work,
    lane: &'a Lane,
    server: ServerId,
    /// The state HAProxy has confirmed last.
    state: AdminState,
    /// A state that was asked for and not confirmed yet.
    asked: Option<AdminState>,
    /// This lane has asked for a state.
    acted: bool,
    /// Processes that have not confirmed `state` yet: of a HAProxy that was restarted or away, or was known to have the server
    /// otherwise when the lane began.
    fresh: Vec<Process>,
    /// The processes that answered last.
    processes: Vec<Process>,
    /// Where the last `Set` leads.
    goal: Option<AdminState>,
    /// The last `Set` is done.
    moved: bool,
    /// It is not like the others, and counts for none of the fewest that serve.
    turned_away: bool,
    /// How long it may take to become healthy; `None`: the lane does not wait for it.
    healthy_within: Option<Duration>,
    /// How long its sessions are waited for; `None`: the lane does not wait for them.
    drain: Option<Drain>,
    /// It began anew after a restart, and has not been seen healthy since.
    unproven: bool,
    /// An address that was given, or a server that was added: a restart takes it away.
    provided: Option<Step>,
    /// No reading tells whether an agent check is on.
    agent_enabled: bool,
    /// HAProxy's own `slowstart` lets it into its share.
    slowstart: bool,
    /// It was sent through MAINT for that, and may be seen there.
    passes_maint: bool,
    /// The reading begun last when the lane began to wait; nothing was changed by it since.
    slept_from: Option<Number>,
}

impl<'a> Walker<'a> {
    fn new(work: &'a Work, lane: &'a Lane) -> Self {
        let goal = lane.steps.iter().rev().find_map(|step| match step {
            Step::Set { state, .. } => Some(*state),
            _ => None,
        });
        Self {
            work,
            lane,
            server: lane.server,
            state: lane.from,
            asked: None,
            acted: false,
            fresh: work.unlike(lane),
            processes: work.made_on.clone(),
            goal,
            moved: false,
            turned_away: false,
            healthy_within: None,
            drain: None,
            unproven: false,
            provided: None,
            agent_enabled: false,
            slowstart: false,
            passes_maint: false,
            slept_from: None,
        }
    }

    async fn go(&mut self) -> End<'a> {
        let last_set = self.lane.steps.iter().rposition(|step| matches!(step, Step::Set { .. }));
        for (place, step) in self.lane.steps.iter().enumerate() {
            // A restart has brought it there.
            if self.moved && Some(place) <= last_set {
                continue;
            }
            let step = self.in_place_of(step);
            let (start, before) = (Instant::now(), self.moved);
            match self.take(step).await {
                Ok(taken) => {
                    let was_taken = self.moved == before && matches!(taken, Taken::Done);
                    self.moved |= Some(place) == last_set;
                    if was_taken {
                        self.tell_done(step, start.elapsed()).await;
                    }
                }
                Err(StepError::Gone | StepError::Dropped) if self.is_leaving() => {
                    self.moved = true;
                    return End::Arrived;
                }
                Err(error) if self.moved && matches!(step, Step::Remove { .. }) => {
                    self.tell_left_behind(step, &error).await;
                    return End::Arrived;
                }
                Err(error @ StepError::Dropped) => return End::Failed(step, error),
                Err(error) if self.moved && !error.is_foreign() => {
                    self.tell_ramp_given_up(&error).await;
                    return End::Arrived;
                }
                Err(error) => return End::Failed(step, error),
            }
        }
        self.see_in().await
    }

    /// A newcomer that HAProxy slow-starts is on its way until that is over.
    async fn see_in(&mut self) -> End<'a> {
        // One that is brought back while it is warm has no way of retreat, and needs none.
        if !self.slowstart || self.lane.retreat.is_empty() {
            return End::Arrived;
        }
        match (self.await_full_share().await, self.lane.steps.last()) {
            (Err(error), Some(last)) if error.is_foreign() => return End::Failed(last, error),
            (Err(error), _) => self.tell_ramp_given_up(&error).await,
            (Ok(()), _) => {}
        }
        End::Arrived
    }

    /// Goes back to where the lane began.
    async fn undo(&mut self) -> Result<(), (&'a Step, StepError)> {
        self.go_back(&self.lane.undo).await
    }

    /// Takes `steps`, unless nothing was done yet. Ends at once if the agent stops.
    async fn go_back(&mut self, steps: &'a [Step]) -> Result<(), (&'a Step, StepError)> {
        if !self.acted {
            return Ok(());
        }
        let undoes = !self.moved;
        // What serves since a restart is not cut off; it is drained by the next plan.
        self.goal = self.goal.filter(|goal| undoes && *goal == AdminState::Ready);
        for step in steps {
            let start = Instant::now();
            let taken = tokio::select! {
                biased;
                () = self.work.stopped() => return Ok(()),
                taken = self.take(step) => match taken {
                    // It was to be added, and is not there: so it was where the lane began.
                    Err(StepError::Gone | StepError::Dropped) if self.adds() => return Ok(()),
                    taken => taken.map_err(|error| (step, error))?,
                },
            };
            if undoes && self.moved {
                return Ok(());
            }
            if matches!(taken, Taken::Done) {
                self.tell_done(step, start.elapsed()).await;
            }
        }
        Ok(())
    }

    async fn take(&mut self, step: &Step) -> Result<Taken, StepError> {
        match step {
            Step::SetAddress { .. } | Step::Add { .. } => self.provide(step).await?,
            Step::ShutdownSessions { .. } => self.shut_down().await?,
            Step::Remove { within, .. } => return self.remove(*within).await,
            Step::Set { state, .. } => {
                if let Some(within) =
                    self.healthy_within.filter(|_| self.unproven && *state == AdminState::Ready)
                {
                    self.await_healthy(within).await?;
                }
                while let Err(error) = self.set(*state).await {
                    let (StepError::ServesAgain, Some(drain)) = (&error, self.drain) else {
                        return Err(error);
                    };
                    self.await_drained(drain).await?;
                }
            }
            Step::AwaitHealthy { within, .. } => {
                self.healthy_within = Some(*within);
                self.await_healthy(*within).await?;
            }
            Step::WarmUp { requests, .. } => self.warm_up(requests).await?,
            &Step::AwaitDrained { at_least, quiet, within, closed_after, .. } => {
                let drain = Drain { at_least, quiet, within, closed_after };
                self.drain = Some(drain);
                self.await_drained(drain).await?;
            }
            Step::SetWeights(_) | Step::Pause(_) if self.work.has_given_ramps_up() => {
                return Ok(Taken::Skipped);
            }
            Step::SetWeights(weights) if self.has_full(weights) => return Ok(Taken::Skipped),
            Step::Pause(_) if self.slowstart => return Ok(Taken::Skipped),
            Step::SetWeights(weights) => return self.set_weights(weights).await,
            Step::Pause(pause) => {
                self.work.all.pause(*pause).await;
                self.work.let_go(self.server).await;
            }
        }
        Ok(Taken::Done)
    }

    /// Sets the server's state, once it is sure that nobody else has and that enough go on serving.
    async fn set(&mut self, state: AdminState) -> Result<(), StepError> {
        let (work, patience) = (self.work, self.work.patience);
        let _entered = work.enter().await;
        let mut retry = Retry::new(patience);
        loop {
            let reading = self.read().await?;
            let server = self.recognise(&reading)?;
            if reading.has(self.server, state) {
                break;
            }
            if self.has_arrived(&reading) {
                return Ok(());
            }
            let serves = reading.nodes.iter().any(|node| node.has(self.server, AdminState::Ready));
            if self.is_reset() && serves && state == AdminState::Maint && self.drain.is_some() {
                return Err(StepError::ServesAgain);
            }
            self.check(&reading, server, state)?;
            let commands = self.commands(&reading, state)?;
            self.passes_maint |= commands.iter().any(|(_, command)| command.slow_starts());
            let had_acted = std::mem::replace(&mut self.acted, true);
            self.asked = Some(state);
            if let Err(error) = work.change(&reading, commands, patience).await {
                // Nothing was sent; where there are several, perhaps to the others.
                self.acted = had_acted || reading.nodes.len() > 1 || !matches!(error, StepError::Restarted);
                match error {
                    // Whoever brings this HAProxy in line was quicker.
                    StepError::ChangedByOther { found, .. } if work.all.is_telling(self.server, found) => {
                        retry.until_shown(error).await?;
                    }
                    error => retry.after(error).await?,
                }
                continue;
            }
            let confirmed = work.read(patience).await?;
            let before = reading.processes();
            let restarted = confirmed.processes().iter().any(|process| is_new(process, &before));
            let is_there = confirmed.backend.server(self.server).is_some();
            if !is_there && !restarted {
                return Err(StepError::Gone);
            }
            if is_there && confirmed.has(self.server, state) {
                self.processes = confirmed.processes();
                break;
            }
            retry.after(if restarted { StepError::Restarted } else { StepError::NoEffect }).await?;
        }
        (self.state, self.asked, self.passes_maint) = (state, None, false);
        self.fresh.clear();
        if state == AdminState::Ready {
            work.brought_back(self.server);
        }
        Ok(())
    }

    /// Whether HAProxy, restarted, has the server where the lane leads; noted if so.
    fn has_arrived(&mut self, reading: &Reading) -> bool {
        let is_there = |goal: &AdminState| self.is_reset() && reading.has(self.server, *goal);
        let Some(goal) = self.goal.filter(is_there) else { return false };
        (self.state, self.asked, self.moved) = (goal, None, true);
        self.fresh.clear();
        true
    }

    /// Nothing is left to wait for: the lane is not on its way back.
    fn is_there(&self) -> bool {
        self.moved && self.goal.is_some()
    }

    /// How it gets there, on each HAProxy where it is not there yet.
    fn commands(&self, reading: &Reading, state: AdminState) -> Result<Vec<(usize, Command)>, StepError> {
        let mut commands = Vec::new();
        for node in &reading.nodes {
            let Some(server) = node.backend.server(self.server) else { continue };
            if server.state() != state {
                let command = match self.slow_start(server, state)? {
                    Some(slow) => with_agent(slow, server, state),
                    None => command(self.work.server_name(self.server)?, server, state, &node.process),
                };
                commands.push((node.node, command));
            }
        }
        Ok(commands)
    }

    /// Whether the server may be put into `state` now, whatever held when the plan was made.
    fn check(&self, reading: &Reading, server: &ServerState, state: AdminState) -> Result<(), StepError> {
        let least = self.work.least_serving();
        let least = if self.turned_away { least.min(1) } else { least };
        if state != AdminState::Ready {
            self.work.take_out(self.server, reading, least)?;
        }
        // A server that is taken back into service is left to its check; a new one must be healthy.
        let is_new = state == AdminState::Ready && self.work.plan.purpose == Purpose::Add;
        if is_new && server.state() == AdminState::Drain && server.checked && !server.is_up() {
            return Err(StepError::Down);
        }
        Ok(())
    }

    async fn set_weights(&mut self, weights: &WeightList) -> Result<Taken, StepError> {
        let server = self.look().await?;
        if self.work.has_given_ramps_up() {
            return Ok(Taken::Skipped);
        }
        if let Some(expected) = self.work.last_weight(self.server)
            && server.weight != expected
        {
            return Err(StepError::ReweighedByOther { found: server.weight, expected });
        }
        let entered = self.work.enter().await;
        let set = self.work.set_weights(weights, &[], self.work.patience).await;
        drop(entered);
        match set {
            Ok(()) => {
                if self.work.has_given_ramps_up() {
                    // HAProxy was restarted at this very moment, and has lost the other weights.
                    self.work.clean_up().await;
                }
                Ok(Taken::Done)
            }
            Err(StepError::Gone) => {
                self.next_reading().await?;
                Err(if self.is_reset() { StepError::Restarted } else { StepError::Gone })
            }
            Err(error) if error.is_answer() && self.work.weights_are_for_ramps() => {
                self.work.give_ramps_up(&error).await;
                Ok(Taken::Skipped)
            }
            Err(error) => Err(error),
        }
    }

    async fn tell_done(&self, step: &Step, took: Duration) {
        let (backend, step) = (self.work.plan.backend, step.clone());
        self.work.tell(Outcome::StepDone { backend, step, took }).await;
    }

    async fn tell_kept(&self, by: Option<KeptBy>, within: Duration) {
        let (backend, server) = (self.work.plan.backend, self.server);
        self.work.tell(Outcome::Kept { backend, server, by, within }).await;
    }

    async fn tell_left_behind(&self, step: &Step, error: &StepError) {
        let (backend, server) = (self.work.plan.backend, self.server);
        let (step, error) = (step.clone(), chain(error));
        self.work.tell(Outcome::LeftBehind { backend, server, step, error }).await;
    }

    async fn tell_ramp_given_up(&self, error: &StepError) {
        let by_other = matches!(error, StepError::ReweighedByOther { .. });
        let (backend, server, error) = (self.work.plan.backend, Some(self.server), chain(error));
        self.work.tell(Outcome::RampGivenUp { backend, server, error, by_other }).await;
    }
}
