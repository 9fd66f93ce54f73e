//! A reload that is due is made when it may be, and HAProxy is started when it is away.

use std::time::{Duration, Instant};

use super::{KeepError, Keeper, Pause, RETRY, Sight, blocking};
use crate::config::ReloadBy;
use crate::core::controller::BackendStanding;
use crate::core::plan::inventory::Process;
use crate::lasting::declared::Declared;
use crate::lasting::event::Event;
use crate::lasting::reload::ReloadError;
use crate::lasting::turn::Taken;
use crate::lasting::{file, slots, state};
use crate::report::chain;

/// HAProxy is started when it has been away for so long: a restart by somebody else takes less.
const ABSENT: Duration = Duration::from_secs(3);

impl Keeper {
    /// Makes the reload that is due, unless it has to wait.
    pub(super) async fn reload(&mut self, sight: &Sight) {
        let by = self.lasting.reload.by;
        let before = match self.reloader.may_reload(Instant::now()).await {
            Ok((process, _)) if self.is_done_by(&process) => {
                (self.due, self.told_wait) = (None, None);
                let pid = process.pid;
                return self
                    .tell(Event::Reloaded { by: None, before: None, pid, took: Duration::ZERO })
                    .await;
            }
            Ok(_) if by == ReloadBy::None => {
                let why = "haproxy.cfg asks for a reload of HAProxy, and `haproxy.reload.by` is none";
                return self.wait(why.to_owned(), None).await;
            }
            Ok((process, Ok(()))) => process,
            Ok((_, Err(wait))) => return self.wait(wait.to_string(), wait.left()).await,
            Err(error) => return self.wait(chain(&error), None).await,
        };
        let turn = self.turn.clone();
        let turn = match turn.take(sight.asked) {
            Ok(turn) => turn,
            Err(Taken::Now) => return self.wait("another HAProxy is being reloaded".to_owned(), None).await,
            Err(Taken::Lately) => return,
        };
        if let Some(why) = &sight.wait {
            return self.wait(why.clone(), None).await;
        }
        match self.may_lose(sight.standing.as_deref().unwrap_or_default()).await {
            Ok(None) => {}
            Ok(Some(server)) => {
                let why = format!(
                    "`{server}` is in MAINT or DRAIN, and haproxy.cfg does not say so: a reload would put it back into service"
                );
                return self.wait(why, None).await;
            }
            Err(error) => return self.wait(chain(&error), None).await,
        }
        (self.due, self.told_wait) = (None, None);
        let start = Instant::now();
        match self.reloader.reload(&before).await {
            Ok(Process { pid, .. }) => {
                let before = Some(before.pid);
                self.tell(Event::Reloaded { by: Some(by), before, pid, took: start.elapsed() }).await;
            }
            Err(error) => self.take_back(&error).await,
        }
        turn.end();
    }

    /// Whether this process was started with what a reload was to be made for. Its uptime is in whole seconds.
    fn is_done_by(&self, process: &Process) -> bool {
        self.due.is_some_and(|due| due.elapsed().as_secs() > process.uptime_s + 1)
    }

    /// After a reload that failed: the old process runs on, and gets its file back.
    async fn take_back(&mut self, error: &ReloadError) {
        let config = self.lasting.config.clone();
        let back = blocking(move || file::take_back(&config)).await;
        let (by, taken_back) = (self.lasting.reload.by, back.map_err(|error| chain(&error)));
        self.tell(Event::NotReloaded { by, error: chain(error), taken_back }).await;
        // What was changed since is not in that file; it is written once the reason may have gone.
        let kept = self.kept.take().unwrap_or_default();
        let pause = Pause::of(RETRY.1);
        if slots::to_come(&kept).next().is_some() {
            self.hold_growth(&kept, pause, chain(error), None).await;
        } else {
            self.retry = Some(pause);
        }
    }

    /// A server that a reload would put back into service though somebody has taken it out. Writes the state file
    /// where HAProxy loads it: what is in there outlasts a reload.
    async fn may_lose(&self, standing: &[BackendStanding]) -> Result<Option<String>, KeepError> {
        let declared = Declared::read(&file::read(&self.lasting.config)?);
        let state_file = &self.lasting.state_file;
        if declared.proxies.iter().any(|proxy| declared.loads(&proxy.name, state_file)) {
            state::write(&self.client, state_file, standing).await?;
        }
        let out = state::out_of_service(&self.client).await?;
        let is_lost = |(backend, server): &(String, String)| {
            !declared.loads(backend, state_file)
                && declared.server(backend, server).is_some_and(|server| !server.disabled)
        };
        Ok(out.into_iter().find(is_lost).map(|(backend, server)| format!("{backend}/{server}")))
    }

    /// Tells why a reload waits, when that has changed.
    async fn wait(&mut self, why: String, left: Option<Duration>) {
        // The number of old processes changes all the time.
        let kind = why.split(char::is_numeric).next().unwrap_or_default().to_owned();
        if self.told_wait.as_ref() != Some(&kind) {
            self.told_wait = Some(kind);
            self.tell(Event::Owed { why, left }).await;
        }
    }

    /// Starts HAProxy once it has been away for a while.
    pub(super) async fn attend_absence(&mut self, answers: bool) {
        if answers || !self.lasting.start {
            self.absent_since = None;
            return;
        }
        if self.absent_since.get_or_insert_with(Instant::now).elapsed() < ABSENT {
            return;
        }
        let by = self.lasting.reload.by;
        match self.reloader.start().await {
            Ok(None) => {}
            Ok(Some(process)) => self.tell(Event::Started { by, process }).await,
            Err(error) => self.tell(Event::NotStarted { by, error: chain(&error) }).await,
        }
    }
}
