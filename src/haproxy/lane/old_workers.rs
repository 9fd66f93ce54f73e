//! Whether old workers of HAProxy still have sessions on a server in DRAIN: see [`Client::held_by_old_workers`].
//!
//! [`Client::held_by_old_workers`]: crate::haproxy::client::Client

use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use super::Walker;
use crate::core::plan::outcome::KeptBy;
use crate::haproxy::attempt::{StepError, within};
use crate::haproxy::error::RuntimeError;
use crate::report::chain;

/// How often they are asked.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What old workers have said of one server.
#[derive(Default)]
pub(super) struct OldWorkers {
    /// The latest answer that was not "none".
    latest: Option<(KeptBy, Instant)>,
    /// That they cannot be asked has been told.
    warned: bool,
}

impl OldWorkers {
    /// Which of them have sessions on the server of `walker`.
    ///
    /// # Errors
    /// If that is not known, but may be yet.
    pub(super) async fn look(&mut self, walker: &Walker<'_>) -> Result<Option<KeptBy>, StepError> {
        if let Some((by, _)) = self.latest.as_ref().filter(|(_, at)| at.elapsed() < LOOK_AGAIN) {
            return Ok(Some(by.clone()));
        }
        let work = walker.work;
        let name = work.server_name(walker.server)?;
        match within(work.patience.each_try, work.all.held_by_old_workers(&name, &work.names)).await {
            Ok(pids) if pids.is_empty() => Ok(None),
            Ok(pids) => {
                let by = KeptBy::OldWorkers(pids);
                self.latest = Some((by.clone(), Instant::now()));
                Ok(Some(by))
            }
            Err(error) => {
                // One that has just ended is asked for once more, and then is known to have.
                let has_ended = matches!(&error, StepError::Runtime(why) if matches!(**why, RuntimeError::NoWorker { .. }));
                if !has_ended && !std::mem::replace(&mut self.warned, true) {
                    let error = chain(&error);
                    warn!(server = %name, error, "not known whether old haproxy processes have sessions on it");
                }
                Err(error)
            }
        }
    }
}
