//! Whether clients stick to a server in DRAIN: HAProxy goes on sending it those that a cookie or a stick-table leads there,
//! and a client between two requests has no session.
//!
//! ```text
//!   the server is down        nobody does: HAProxy sends them elsewhere already
//!   it has a cookie           until no session has come to it for `quiet`: nobody can count them
//!   a stick-table has entries for it      until it has none
//! ```
//! On any of several HAProxys.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Walker;
use crate::core::plan::inventory::{OperationalState, ServerState};
use crate::core::plan::outcome::KeptBy;
use crate::haproxy::attempt::{StepError, within};

/// How often stick-tables are looked at: HAProxy goes through all their entries for it.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// What was seen of the clients of one server.
pub(super) struct Sticking {
    /// All sessions until now, and since when there were no more.
    came: Option<(u64, Instant)>,
    /// The table that had entries for it, if one had, and when that was.
    table: Option<(Option<Arc<str>>, Instant)>,
    start: Instant,
}

impl Sticking {
    pub(super) fn new(start: Instant) -> Self {
        Self { came: None, table: None, start }
    }

    /// What keeps clients on `server`, as it is now. If that is all that is waited for, nothing older is gone by.
    ///
    /// # Errors
    /// If HAProxy does not tell, but may yet.
    pub(super) async fn look(
        &mut self,
        walker: &Walker<'_>,
        server: &ServerState,
        quiet: Duration,
        is_last: bool,
    ) -> Result<Option<KeptBy>, StepError> {
        if server.operational == OperationalState::Stopped {
            return Ok(None);
        }
        if let Some(cookie) = server.cookie.clone().filter(|_| self.came_within(quiet, server)) {
            return Ok(Some(KeptBy::Cookie(cookie)));
        }
        // That there is no entry is asked again only before the server leaves.
        let is_good = |(table, at): &&(Option<Arc<str>>, Instant)| match table {
            Some(_) => at.elapsed() < LOOK_AGAIN,
            None => !is_last,
        };
        let table = match self.table.as_ref().filter(is_good) {
            Some((table, _)) => table.clone(),
            None => {
                let table = self.ask(walker).await?;
                self.table.insert((table, Instant::now())).0.clone()
            }
        };
        Ok(table.map(KeptBy::Table))
    }

    /// Whether a session has come to `server` within the last `quiet`.
    fn came_within(&mut self, quiet: Duration, server: &ServerState) -> bool {
        let total = server.total_sessions;
        let since = match self.came {
            None => self.start,
            Some((before, since)) if before == total => since,
            Some(_) => Instant::now(),
        };
        self.came = Some((total, since));
        since.elapsed() < quiet
    }

    async fn ask(&self, walker: &Walker<'_>) -> Result<Option<Arc<str>>, StepError> {
        let work = walker.work;
        let name = work.server_name(walker.server)?;
        within(work.patience.each_try, work.all.table_of(&name, &work.names)).await
    }
}
