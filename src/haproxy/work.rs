//! What the lanes of one plan share: HAProxy and how long to try it, weights, the way to call off.
//!
//! Every change is followed by a reading: HAProxy's "yes" does not say that anything has changed
//! (seen on HAProxy 2.6.12, `set server ... state` on a tracking server).

use std::collections::HashMap;
use std::future::{Future, pending};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};

use super::error::RuntimeError;
use super::hands::Hands;
use crate::core::names::{Names, ServerId};
use crate::core::plan::inventory::{AdminState, BackendState};
use crate::core::plan::outcome::{CallOff, Outcome};
use crate::core::plan::step::{Plan, Purpose};
use crate::core::plan::weights::WeightList;
use crate::core::units::Weight;
use crate::core::wire::command::{Command, Name, NameError, ServerName};
use crate::report::chain;
use crate::warm_up::probe::WarmUpError;

/// How long HAProxy is tried, and how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// For so long one thing is tried before it has failed.
    pub retry_for: Duration,
    /// After the first failure; doubled after each.
    pub first_pause: Duration,
    /// The longest pause.
    pub longest_pause: Duration,
    /// Each try is cut off after this time, or by the client's own timeout before that.
    pub each_try: Duration,
    /// How often HAProxy is looked at while waiting for a server.
    pub poll: Duration,
}

impl Default for Patience {
    /// Half a minute of retries outlasts a reload, and a restart under systemd.
    fn default() -> Self {
        Self {
            retry_for: Duration::from_secs(30),
            first_pause: Duration::from_millis(200),
            longest_pause: Duration::from_secs(5),
            each_try: Duration::from_secs(30),
            poll: Duration::from_millis(200),
        }
    }
}

impl Patience {
    /// While the agent stops: all of it within 1.5 s, so that the agent can keep its 2 s.
    pub(super) const HURRY: Self = Self {
        retry_for: Duration::from_millis(1500),
        first_pause: Duration::from_millis(50),
        longest_pause: Duration::from_millis(200),
        each_try: Duration::from_millis(400),
        poll: Duration::from_millis(50),
    };
}

/// Why a step was not done.
#[derive(Debug, thiserror::Error)]
pub(super) enum StepError {
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    #[error("HAProxy did not answer within {0:?}")]
    TooSlow(Duration),
    #[error("the HAProxy that answers is an old one that is stopping")]
    OldWorker,
    #[error("HAProxy was restarted in the middle of it")]
    Restarted,
    #[error("HAProxy has no such server any more")]
    Gone,
    #[error("changed by somebody else: it is in {} where {} was expected", found.name(), expected.name())]
    ChangedByOther { found: AdminState, expected: AdminState },
    #[error("changed by somebody else: its weight is {found} where {expected} was expected")]
    ReweighedByOther { found: Weight, expected: Weight },
    #[error("HAProxy said yes, but nothing has changed")]
    NoEffect,
    #[error("it would leave {rest} serving, and {least} have to")]
    TooFewLeft { rest: usize, least: u32 },
    #[error("its health check fails")]
    Down,
    #[error("its health check has not passed within {0:?}")]
    NotHealthy(Duration),
    #[error("it has taken no connection within {within:?}")]
    NotReached { within: Duration, source: std::io::Error },
    #[error("it is not warm")]
    NotWarm(#[from] WarmUpError),
    #[error("it cannot be named to HAProxy")]
    Name(#[from] NameError),
}

impl StepError {
    /// It may go by itself.
    fn is_transient(&self) -> bool {
        match self {
            Self::Runtime(error) => error.refusal().is_none(),
            Self::TooSlow(_) | Self::OldWorker | Self::Restarted => true,
            _ => false,
        }
    }

    /// The server is somebody else's business now.
    pub(super) fn is_foreign(&self) -> bool {
        matches!(self, Self::ChangedByOther { .. } | Self::Gone)
    }

    /// HAProxy answers, but not as wanted: the other steps can be tried.
    pub(super) fn is_answer(&self) -> bool {
        !self.is_transient()
    }
}

/// Tries again after failures that may go by themselves.
pub(super) struct Retry {
    patience: Patience,
    deadline: Instant,
    pause: Duration,
}

impl Retry {
    pub(super) fn new(patience: Patience) -> Self {
        Self { patience, deadline: Instant::now() + patience.retry_for, pause: patience.first_pause }
    }

    /// Waits before the next try, or gives `error` back if there is to be none.
    pub(super) async fn after(&mut self, error: StepError) -> Result<(), StepError> {
        if !error.is_transient() || Instant::now() + self.pause > self.deadline {
            return Err(error);
        }
        sleep(self.pause).await;
        self.pause = (self.pause * 2).min(self.patience.longest_pause);
        Ok(())
    }
}

/// One reading of the plan's backend.
pub(super) struct Reading {
    pub(super) pid: u32,
    pub(super) backend: BackendState,
}

/// What the lanes of one plan share.
pub(super) struct Work {
    pub(super) hands: Arc<Hands>,
    pub(super) names: Names,
    pub(super) plan: Plan,
    pub(super) patience: Patience,
    backend: Name,
    outcomes: mpsc::Sender<Outcome>,
    call_off: watch::Receiver<Option<CallOff>>,
    /// Held from the reading a change is based on to the one that confirms it.
    pub(super) gate: tokio::sync::Mutex<()>,
    /// Every weight this plan has tried to set, the latest last.
    tried: Mutex<HashMap<ServerId, Vec<Weight>>>,
    /// The HAProxy that answered last; 0 before the first answer.
    pid: AtomicU32,
    ramps_given_up: AtomicBool,
}

impl Work {
    /// # Errors
    /// If the backend's name is none that HAProxy could have.
    pub(super) fn new(
        hands: Arc<Hands>,
        names: Names,
        plan: Plan,
        patience: Patience,
        call_off: watch::Receiver<Option<CallOff>>,
        outcomes: mpsc::Sender<Outcome>,
    ) -> Result<Self, NameError> {
        Ok(Self {
            backend: Name::new(&names.of_backend(plan.backend))?,
            hands,
            names,
            plan,
            patience,
            outcomes,
            call_off,
            gate: tokio::sync::Mutex::default(),
            tried: Mutex::default(),
            pid: AtomicU32::new(0),
            ramps_given_up: AtomicBool::new(false),
        })
    }

    /// What HAProxy has now. A restart is noticed here first: temporary weights are lost by it,
    /// or kept by a state file, and no ramp can go on from that.
    pub(super) async fn read(&self, patience: Patience) -> Result<Reading, StepError> {
        let mut retry = Retry::new(patience);
        let inventory = loop {
            let asked = self.hands.backend(&self.backend, &self.names);
            match within(patience.each_try, asked).await {
                Ok(inventory) if inventory.process.stopping => retry.after(StepError::OldWorker).await?,
                Ok(inventory) => break inventory,
                Err(error) => retry.after(error).await?,
            }
        };
        let pid = inventory.process.pid;
        if !matches!(self.pid.swap(pid, Ordering::Relaxed), before if before == 0 || before == pid) {
            self.ramps_given_up.store(true, Ordering::Relaxed);
        }
        let backend = inventory.backends.into_iter().find(|backend| backend.id == self.plan.backend);
        Ok(Reading { pid, backend: backend.ok_or(StepError::Gone)? })
    }

    /// Sends one command line.
    pub(super) async fn change(&self, command: &Command, patience: Patience) -> Result<(), StepError> {
        within(patience.each_try, self.hands.change(command, &self.names)).await
    }

    /// Sets weights until HAProxy shows them.
    pub(super) async fn set_weights(
        &self,
        weights: &WeightList,
        patience: Patience,
    ) -> Result<(), StepError> {
        let _gate = self.gate.lock().await;
        for &(server, weight) in weights {
            self.tried().entry(server).or_default().push(weight);
        }
        let named = weights.iter().map(|&(id, weight)| Ok((self.server_name(id)?, weight)));
        let commands = Command::set_weights(named.collect::<Result<Vec<_>, NameError>>()?);
        let mut retry = Retry::new(patience);
        for command in &commands {
            while let Err(error) = self.change(command, patience).await {
                retry.after(error).await?;
            }
        }
        let reading = self.read(patience).await?;
        let has = |id, weight| reading.backend.server(id).is_none_or(|server| server.weight == weight);
        if weights.iter().all(|&(id, weight)| has(id, weight)) { Ok(()) } else { Err(StepError::NoEffect) }
    }

    /// Puts temporary weights right: those of `rightful` that HAProxy shows with a weight that
    /// this plan has set. True if there was anything to do.
    pub(super) async fn put_weights_right(
        &self,
        rightful: &WeightList,
        patience: Patience,
    ) -> Result<bool, StepError> {
        if self.tried().is_empty() {
            return Ok(false);
        }
        let reading = self.read(patience).await?;
        let is_ours = |&(id, weight): &(ServerId, Weight)| {
            let found = reading.backend.server(id).map(|server| server.weight);
            let tried = self.tried();
            found.is_some_and(|found| {
                found != weight && tried.get(&id).is_some_and(|all| all.contains(&found))
            })
        };
        let temporary: WeightList = rightful.iter().copied().filter(is_ours).collect();
        if temporary.is_empty() {
            return Ok(false);
        }
        self.set_weights(&temporary, patience).await.map(|()| true)
    }

    /// The weight of `server` that this plan has set last.
    pub(super) fn last_weight(&self, server: ServerId) -> Option<Weight> {
        self.tried().get(&server).and_then(|weights| weights.last().copied())
    }

    pub(super) fn server_name(&self, server: ServerId) -> Result<ServerName, NameError> {
        ServerName::new(self.backend.as_str(), &self.names.of_server(server))
    }

    /// No weight is set any more, and no time is spent between weights.
    pub(super) fn has_given_ramps_up(&self) -> bool {
        self.ramps_given_up.load(Ordering::Relaxed)
    }

    /// Adds servers without ramps from now on, and tells it.
    pub(super) async fn give_ramps_up(&self, error: &StepError) {
        self.ramps_given_up.store(true, Ordering::Relaxed);
        let (backend, error) = (self.plan.backend, chain(error));
        self.tell(Outcome::RampGivenUp { backend, server: None, error }).await;
    }

    /// Whether weights are only there for ramps, and so may fail.
    pub(super) fn weights_are_for_ramps(&self) -> bool {
        self.plan.purpose == Purpose::Add
    }

    /// Until the plan is called off.
    pub(super) async fn called_off(&self) -> CallOff {
        let mut call_off = self.call_off.clone();
        let how = call_off.wait_for(Option::is_some).await.ok().and_then(|how| *how);
        match how {
            Some(how) => how,
            // Whoever could have called it off has gone.
            None => pending().await,
        }
    }

    /// Until the agent stops.
    pub(super) async fn stopped(&self) {
        let mut call_off = self.call_off.clone();
        let stopped = call_off.wait_for(|how| *how == Some(CallOff::Stop)).await.is_ok();
        if !stopped {
            pending().await
        }
    }

    pub(super) fn is_called_off(&self) -> bool {
        self.call_off.borrow().is_some()
    }

    /// Reports `outcome`. While the agent stops nobody may be listening any more: then it is
    /// reported only if there is room.
    pub(super) async fn tell(&self, outcome: Outcome) {
        tokio::select! {
            biased;
            place = self.outcomes.reserve() => {
                // Without a receiver nobody wants to know.
                if let Ok(place) = place {
                    place.send(outcome);
                }
            }
            () = self.stopped() => {}
        }
    }

    /// A panic elsewhere cannot leave it half changed.
    fn tried(&self) -> MutexGuard<'_, HashMap<ServerId, Vec<Weight>>> {
        self.tried.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn within<T>(
    limit: Duration,
    asked: impl Future<Output = Result<T, RuntimeError>>,
) -> Result<T, StepError> {
    match timeout(limit, asked).await {
        Ok(answer) => answer.map_err(StepError::from),
        Err(_) => Err(StepError::TooSlow(limit)),
    }
}
