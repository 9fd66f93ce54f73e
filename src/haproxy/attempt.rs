//! One step, tried until it is done or has failed for good.
//!
//! A HAProxy that is reloaded, restarted or busy refuses connections for a moment, or lets them
//! hang; that goes by itself. Its "no" does not, nor does somebody else's hand on the server.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::error::RuntimeError;
use crate::core::plan::inventory::AdminState;
use crate::core::units::Weight;
use crate::core::wire::command::NameError;
use crate::core::wire::guarded::Overtaken;
use crate::core::wire::response::Refusal;
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
    /// While the agent stops, for so long in all.
    pub when_stopping: Duration,
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
            // So that the agent can keep its 2 s.
            when_stopping: Duration::from_millis(1500),
        }
    }
}

impl Patience {
    /// While the agent stops.
    pub(super) fn hurried(self) -> Self {
        Self {
            retry_for: self.when_stopping,
            first_pause: Duration::from_millis(50),
            longest_pause: Duration::from_millis(200),
            each_try: Duration::from_millis(400),
            poll: Duration::from_millis(50),
            ..self
        }
    }
}

/// Why a step was not done.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum StepError {
    #[error(transparent)]
    Runtime(Arc<RuntimeError>),
    #[error("HAProxy did not answer within {0:?}")]
    TooSlow(Duration),
    #[error("HAProxy was restarted in the middle of it")]
    Restarted,
    #[error("of those that answer no HAProxy is in line")]
    NoneInLine,
    #[error("HAProxy was restarted before anything was done")]
    Outdated,
    #[error("HAProxy was restarted, and the server serves again")]
    ServesAgain,
    #[error("HAProxy has no such server any more")]
    Gone,
    #[error("HAProxy was restarted without the server")]
    Dropped,
    #[error("changed by somebody else: it is in {} where {} was expected", found.name(), expected.name())]
    ChangedByOther { found: AdminState, expected: AdminState },
    #[error("changed by somebody else: its weight is {found} where {expected} was expected")]
    ReweighedByOther { found: Weight, expected: Weight },
    #[error("HAProxy said yes, but nothing has changed")]
    NoEffect,
    #[error("it would leave {rest} serving, and {least} have to")]
    TooFewLeft { rest: usize, least: u32 },
    #[error("a server of that name is there already, with another address")]
    Taken,
    #[error("HAProxy has added it, but {0}; see `spares.default_server`")]
    NotAsAsked(String),
    #[error("its health check fails")]
    Down,
    #[error("its health check has not passed within {0:?}")]
    NotHealthy(Duration),
    #[error("it has taken no connection within {within:?}")]
    NotReached { within: Duration, source: Arc<std::io::Error> },
    #[error("it is not warm")]
    NotWarm(#[from] WarmUpError),
    #[error("it cannot be named to HAProxy")]
    Name(#[from] NameError),
}

impl From<RuntimeError> for StepError {
    fn from(error: RuntimeError) -> Self {
        match error.overtaken() {
            None => Self::Runtime(Arc::new(error)),
            Some(Overtaken::Restarted) => Self::Restarted,
            Some(Overtaken::Moved { found, expected }) => Self::ChangedByOther { found, expected },
            Some(Overtaken::Reweighed { found, expected }) => Self::ReweighedByOther { found, expected },
            Some(Overtaken::Gone) => Self::Gone,
        }
    }
}

impl StepError {
    /// It may go by itself.
    fn is_transient(&self) -> bool {
        match self {
            Self::Runtime(error) => error.refusal().is_none(),
            Self::TooSlow(_) | Self::Restarted | Self::NoneInLine => true,
            _ => false,
        }
    }

    /// HAProxy's "no", if that is what it is.
    pub(super) fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Runtime(error) => error.refusal(),
            _ => None,
        }
    }

    /// The server is somebody else's business now.
    pub(super) fn is_foreign(&self) -> bool {
        matches!(self, Self::ChangedByOther { .. } | Self::Gone | Self::Taken)
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
        if error.is_transient() { self.until_shown(error).await } else { Err(error) }
    }

    /// The same for an `error` that only time can tell from what is still to come.
    pub(super) async fn until_shown(&mut self, error: StepError) -> Result<(), StepError> {
        if Instant::now() + self.pause > self.deadline {
            return Err(error);
        }
        sleep(self.pause).await;
        self.pause = (self.pause * 2).min(self.patience.longest_pause);
        Ok(())
    }
}

/// What was `asked`, or that it took too long.
pub(super) async fn within<T>(
    limit: Duration,
    asked: impl Future<Output = Result<T, RuntimeError>>,
) -> Result<T, StepError> {
    match timeout(limit, asked).await {
        Ok(answer) => answer.map_err(StepError::from),
        Err(_) => Err(StepError::TooSlow(limit)),
    }
}
