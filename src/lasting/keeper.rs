//! The task that keeps changes: it looks at how the servers stand, writes that down where HAProxy finds it, and has HAProxy
//! reloaded where that takes one. The agent's loop never waits for it.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};
use tracing::{debug, error, info, warn};

use super::block::{self, BlockError};
use super::declared::Declared;
use super::difference::needs_reload;
use super::file::{self, Backup, FileError, Staged};
use super::program::ProgramError;
use super::reload::{ReloadError, Reloader};
use super::state::{self, StateError};
use super::template::{self, TemplateError};
use crate::config::{Keep, Lasting, ReloadBy, ReloadWhen};
use crate::core::controller::BackendStanding;
use crate::core::plan::inventory::Process;
use crate::haproxy::client::Client;
use crate::report::chain;

/// Changes come in batches: what follows the first within this time is written with it.
const DEBOUNCE: Duration = Duration::from_millis(500);

/// Between two looks at the template, and whether a reload may be made now.
const LOOK: Duration = Duration::from_secs(1);

/// After what failed; doubled each time, up to the last.
const RETRY: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(300));

/// HAProxy is started when it has been away for so long: a restart by somebody else takes less.
const ABSENT: Duration = Duration::from_secs(3);

/// What the agent sees.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sight {
    /// HAProxy answered last time.
    pub answers: bool,
    /// How its servers stand; `None` before it was read.
    pub standing: Option<Vec<BackendStanding>>,
}

/// Why something was not kept.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// A block.
    #[error("`{0}`")]
    Block(PathBuf, #[source] BlockError),
    /// The template.
    #[error("`{0}`")]
    Template(PathBuf, #[source] TemplateError),
    /// Not text.
    #[error("`{0}` is no UTF-8 text")]
    NoText(PathBuf),
    /// HAProxy does not take what came out.
    #[error("HAProxy refuses what would be the new configuration; `{0}` stays as it is")]
    Refused(PathBuf, #[source] ProgramError),
    /// The state file.
    #[error(transparent)]
    State(#[from] StateError),
}

/// Keeps what was changed at run time.
#[derive(Debug)]
pub struct Keeper {
    lasting: Lasting,
    client: Client,
    reloader: Reloader,
    /// What is written down.
    kept: Option<Vec<BackendStanding>>,
    /// The template as it was when something was written last, or was to be.
    template: Option<Stamp>,
    retry: Option<(Instant, Duration)>,
    /// A reload is still to be made, for what has been in haproxy.cfg since then. Until it is, the backup is what
    /// HAProxy runs on.
    due: Option<Instant>,
    absent_since: Option<Instant>,
    told_wait: Option<String>,
    told_missing: Vec<String>,
}

/// Another one: another file, or another text in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    bytes: u64,
    changed: (i64, i64),
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let of = |file: Metadata| Self {
            inode: file.ino(),
            bytes: file.len(),
            changed: (file.mtime(), file.mtime_nsec()),
        };
        path.metadata().ok().map(of)
    }
}

impl Keeper {
    /// For the HAProxy that `client` asks.
    pub fn new(lasting: Lasting, client: Client) -> Self {
        let reloader = Reloader::new(lasting.clone(), client.clone());
        Self {
            lasting,
            client,
            reloader,
            kept: None,
            template: None,
            retry: None,
            due: None,
            absent_since: None,
            told_wait: None,
            told_missing: Vec::new(),
        }
    }

    /// Runs until the sender of `sights` is gone; what is not kept by then is.
    pub async fn run(mut self, mut sights: watch::Receiver<Sight>) {
        loop {
            let sight = sights.borrow_and_update().clone();
            self.attend_absence(sight.answers).await;
            if sight.answers && self.is_behind(&sight) && self.may_retry() {
                sleep(DEBOUNCE).await;
                let latest = sights.borrow_and_update().clone();
                self.keep(latest.standing.unwrap_or_default()).await;
            }
            if sight.answers && self.due.is_some() {
                self.reload().await;
            }
            if let Ok(Err(_)) = timeout(LOOK, sights.changed()).await {
                let last = sights.borrow().clone();
                if self.is_behind(&last) {
                    self.keep(last.standing.unwrap_or_default()).await;
                }
                return;
            }
        }
    }

    /// Whether something is not written down.
    fn is_behind(&self, sight: &Sight) -> bool {
        if self.lasting.keep == Keep::None || sight.standing.is_none() {
            return false;
        }
        self.kept != sight.standing || self.has_other_template()
    }

    fn has_other_template(&self) -> bool {
        self.lasting.keep == Keep::Template && self.template != Stamp::of(&self.lasting.template)
    }

    /// Another template may be right where the last one was wrong.
    fn may_retry(&self) -> bool {
        self.retry.is_none_or(|(at, _)| at <= Instant::now()) || self.has_other_template()
    }

    /// Writes `standing` down, or tells why not and tries again later.
    async fn keep(&mut self, standing: Vec<BackendStanding>) {
        self.template = Stamp::of(&self.lasting.template);
        let written = match self.lasting.keep {
            Keep::None => Ok(()),
            Keep::StateFile => self.write_state().await,
            Keep::Block => self.write_blocks(&standing).await,
            Keep::Template => self.write_whole(&standing).await,
        };
        match written {
            Ok(()) => (self.kept, self.retry) = (Some(standing), None),
            Err(error) => {
                let pause = self.retry.map_or(RETRY.0, |(_, pause)| (pause * 2).min(RETRY.1));
                self.retry = Some((Instant::now() + pause, pause));
                let retry_s = pause.as_secs();
                error!(
                    error = chain(&error),
                    retry_s, "changes not kept; a reload of HAProxy would lose them"
                );
            }
        }
    }

    async fn write_state(&self) -> Result<(), KeepError> {
        state::write(&self.client, &self.lasting.state_file).await?;
        debug!(file = %self.lasting.state_file.display(), "state file written");
        Ok(())
    }

    async fn write_blocks(&mut self, standing: &[BackendStanding]) -> Result<(), KeepError> {
        let config = &self.lasting.config;
        let old = file::read(config)?;
        let (mut text, mut missing, mut wrong) = (old.clone(), Vec::new(), None);
        for backend in standing {
            let kept = self.kept.iter().flatten().find(|kept| kept.backend == backend.backend);
            match block::edit(&text, backend, kept) {
                Ok(edited) => {
                    text = edited.text;
                    let name = |server| format!("{}/{server}", backend.backend);
                    missing.extend(edited.without_line.into_iter().map(name));
                }
                // The others are kept all the same.
                Err(error) => wrong = Some(KeepError::Block(config.clone(), error)),
            }
        }
        if !missing.is_empty() && self.told_missing != missing {
            warn!(servers = missing.join(", "), "no line in the block of haproxy.cfg: not kept");
            self.told_missing = missing;
        }
        self.install(Some(old), text, standing).await?;
        wrong.map_or(Ok(()), Err)
    }

    async fn write_whole(&mut self, standing: &[BackendStanding]) -> Result<(), KeepError> {
        let path = &self.lasting.template;
        let template = String::from_utf8(file::read(path)?).map_err(|_| KeepError::NoText(path.clone()))?;
        let old = self.lasting.config.exists().then(|| file::read(&self.lasting.config)).transpose()?;
        let present = Declared::read(old.as_deref().unwrap_or_default());
        let text = template::render(&template, standing, &present)
            .map_err(|error| KeepError::Template(path.clone(), error))?;
        self.install(old, text.into_bytes(), standing).await
    }

    /// Puts `text` in the place of haproxy.cfg, which is `old`, if HAProxy takes it.
    async fn install(
        &mut self,
        old: Option<Vec<u8>>,
        text: Vec<u8>,
        standing: &[BackendStanding],
    ) -> Result<(), KeepError> {
        if old.as_ref() == Some(&text) {
            return Ok(());
        }
        let config = self.lasting.config.clone();
        let needed = needs_reload(old.as_deref().unwrap_or_default(), &text, standing);
        let staged = blocking(move || Staged::write(&config, &text)).await?;
        let refused = |error| KeepError::Refused(self.lasting.config.clone(), error);
        self.reloader.check(staged.path()).await.map_err(refused)?;
        let backup = if self.due.is_some() { Backup::AsItIs } else { Backup::Anew };
        blocking(move || match old {
            Some(old) => staged.install_over(&old, backup),
            None => staged.install(),
        })
        .await?;
        info!(file = %self.lasting.config.display(), reload_needed = needed, "haproxy.cfg written");
        let wanted = needed || self.lasting.reload.when == ReloadWhen::Changed;
        if wanted && self.lasting.reload.by != ReloadBy::None {
            self.due.get_or_insert_with(Instant::now);
        } else if needed {
            warn!("haproxy.cfg asks for a reload of HAProxy, and `haproxy.reload.by` is none");
        }
        Ok(())
    }

    /// Makes the reload that is due, unless it has to wait.
    async fn reload(&mut self) {
        let before = match self.reloader.may_reload(Instant::now()).await {
            Ok(Ok(process)) if self.is_done_by(&process) => {
                (self.due, self.told_wait) = (None, None);
                return info!(pid = process.pid, "haproxy was reloaded by somebody else meanwhile");
            }
            Ok(Ok(process)) => process,
            Ok(Err(wait)) => return self.tell_wait(wait.to_string()),
            Err(error) => return self.tell_wait(chain(&error)),
        };
        match self.may_lose().await {
            Ok(None) => {}
            Ok(Some(server)) => {
                return self.tell_wait(format!(
                    "`{server}` is in MAINT or DRAIN, and haproxy.cfg does not say so: a reload would put it back into service"
                ));
            }
            Err(error) => return self.tell_wait(chain(&error)),
        }
        (self.due, self.told_wait) = (None, None);
        let start = Instant::now();
        match self.reloader.reload(&before).await {
            Ok(after) => {
                let elapsed_ms = start.elapsed().as_millis() as u64;
                info!(
                    by = self.lasting.reload.by.name(),
                    before = before.pid,
                    pid = after.pid,
                    elapsed_ms,
                    "haproxy reloaded"
                );
            }
            Err(error) => self.take_back(&error).await,
        }
    }

    /// Whether this process was started with what a reload was to be made for. Its uptime is in whole seconds.
    fn is_done_by(&self, process: &Process) -> bool {
        self.due.is_some_and(|due| due.elapsed().as_secs() > process.uptime_s + 1)
    }

    /// After a reload that failed: the old process runs on, and gets its file back.
    async fn take_back(&mut self, error: &ReloadError) {
        let config = self.lasting.config.clone();
        let back = blocking(move || file::take_back(&config)).await;
        let back = back.map_or_else(|error| chain(&error), |()| "yes".to_owned());
        // What was changed since is not in that file; it is written once the reason may have gone.
        (self.kept, self.retry) = (None, Some((Instant::now() + RETRY.1, RETRY.1)));
        error!(error = chain(error), file_taken_back = back, "haproxy not reloaded; the old process goes on");
    }

    /// A server that a reload would put back into service though somebody has taken it out. Writes the state file
    /// where HAProxy loads it: what is in there outlasts a reload.
    async fn may_lose(&self) -> Result<Option<String>, KeepError> {
        let declared = Declared::read(&file::read(&self.lasting.config)?);
        let state_file = &self.lasting.state_file;
        if declared.proxies.iter().any(|proxy| declared.loads(&proxy.name, state_file)) {
            self.write_state().await?;
        }
        let out = state::out_of_service(&self.client).await?;
        let is_lost = |(backend, server): &(String, String)| {
            !declared.loads(backend, state_file)
                && declared.server(backend, server).is_some_and(|server| !server.disabled)
        };
        Ok(out.into_iter().find(is_lost).map(|(backend, server)| format!("{backend}/{server}")))
    }

    /// Tells why a reload waits, when that has changed.
    fn tell_wait(&mut self, why: String) {
        // The seconds that are left change all the time.
        let kind = why.split(char::is_numeric).next().unwrap_or_default().to_owned();
        if self.told_wait.as_ref() != Some(&kind) {
            info!(reason = why, "reload of haproxy waits");
            self.told_wait = Some(kind);
        }
    }

    /// Starts HAProxy once it has been away for a while.
    async fn attend_absence(&mut self, answers: bool) {
        if answers || !self.lasting.start {
            self.absent_since = None;
            return;
        }
        if self.absent_since.get_or_insert_with(Instant::now).elapsed() < ABSENT {
            return;
        }
        match self.reloader.start().await {
            Ok(None) => {}
            Ok(Some(process)) => info!(pid = process.pid, version = process.version, "haproxy started"),
            Err(error) => error!(error = chain(&error), "haproxy not started"),
        }
    }
}

/// Runs what touches the disk where nobody waits for it.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, FileError> + Send + 'static,
) -> Result<T, FileError> {
    match spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
