//! The task that keeps changes: it looks at how the servers stand, writes that down where HAProxy finds it, and has HAProxy
//! reloaded where that takes one. The agent's loop never waits for it.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

use super::block::BlockError;
use super::declared::Declared;
use super::difference::needs_reload;
use super::event::{Event, Refused};
use super::file::{self, Backup, FileError, Staged};
use super::program::ProgramError;
use super::reload::{ReloadError, Reloader};
use super::render::{self, Blocks};
use super::state::{self, StateError};
use super::template::TemplateError;
use crate::config::{Keep, Lasting, ReloadBy, ReloadWhen, Reloading};
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
    Refused(PathBuf, Refused, #[source] ProgramError),
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
    events: mpsc::Sender<Event>,
    /// What is written down.
    kept: Option<Vec<BackendStanding>>,
    /// The template as it was when something was written last, or was to be.
    template: Option<Stamp>,
    retry: Option<(Instant, Duration)>,
    /// A reload is still to be made, by the agent or somebody else, for what has been in haproxy.cfg since then. Until
    /// it is, the backup is what HAProxy runs on.
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
    /// For the HAProxy that `client` asks. What happens is told to `events`.
    pub fn new(lasting: Lasting, client: Client, events: mpsc::Sender<Event>) -> Self {
        let reloader = Reloader::new(lasting.clone(), client.clone());
        Self {
            lasting,
            client,
            reloader,
            events,
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
                self.reload(sight.standing.as_deref().unwrap_or_default()).await;
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
            Keep::StateFile => self.keep_state(&standing).await,
            Keep::Block => self.write_blocks(&standing).await,
            Keep::Template => self.write_whole(&standing).await,
        };
        match written {
            Ok(()) => (self.kept, self.retry) = (Some(standing), None),
            Err(error) => {
                let pause = self.retry.map_or(RETRY.0, |(_, pause)| (pause * 2).min(RETRY.1));
                self.retry = Some((Instant::now() + pause, pause));
                let refused = match &error {
                    KeepError::Refused(_, refused, _) => Some(refused.clone()),
                    _ => None,
                };
                self.tell(Event::NotKept { error: chain(&error), refused, retry: pause }).await;
            }
        }
    }

    /// It cannot fail but at the agent's end.
    async fn tell(&self, event: Event) {
        let _ = self.events.send(event).await;
    }

    async fn tell_kept(&self, changed: bool, reload_needed: bool) {
        let keep = self.lasting.keep;
        let file = if keep == Keep::StateFile { &self.lasting.state_file } else { &self.lasting.config };
        self.tell(Event::Kept { keep, file: file.clone(), changed, reload_needed }).await;
    }

    async fn keep_state(&self, standing: &[BackendStanding]) -> Result<(), KeepError> {
        self.write_state(standing).await?;
        // A ramp is no change that is to last, though HAProxy's file has each of its steps.
        let settled = |standing: &[BackendStanding]| {
            let mut standing = standing.to_vec();
            let servers = standing.iter_mut().flat_map(|backend| &mut backend.servers);
            servers.for_each(|server| server.current_weight = server.initial_weight);
            standing
        };
        let changed = self.kept.as_deref().map(settled) != Some(settled(standing));
        self.tell_kept(changed, false).await;
        Ok(())
    }

    async fn write_state(&self, standing: &[BackendStanding]) -> Result<(), StateError> {
        state::write(&self.client, &self.lasting.state_file, standing).await
    }

    async fn write_blocks(&mut self, standing: &[BackendStanding]) -> Result<(), KeepError> {
        let config = &self.lasting.config;
        let old = file::read(config)?;
        let Blocks { text, without_line, wrong } = render::blocks(&old, standing, self.kept.as_deref());
        let wrong = wrong.map(|error| KeepError::Block(config.clone(), error));
        if self.told_missing != without_line {
            self.told_missing.clone_from(&without_line);
            self.tell(Event::NoLine(without_line)).await;
        }
        // Nothing to write is no news beside what is wrong.
        if wrong.is_none() || text != old {
            self.install(Some(old), text, standing).await?;
        }
        wrong.map_or(Ok(()), Err)
    }

    async fn write_whole(&mut self, standing: &[BackendStanding]) -> Result<(), KeepError> {
        let path = &self.lasting.template;
        let template = String::from_utf8(file::read(path)?).map_err(|_| KeepError::NoText(path.clone()))?;
        let old = self.lasting.config.exists().then(|| file::read(&self.lasting.config)).transpose()?;
        let text = render::whole(&template, old.as_deref(), standing)
            .map_err(|error| KeepError::Template(path.clone(), error))?;
        self.install(old, text, standing).await
    }

    /// Puts `text` in the place of haproxy.cfg, which is `old`, if HAProxy takes it.
    async fn install(
        &mut self,
        old: Option<Vec<u8>>,
        text: Vec<u8>,
        standing: &[BackendStanding],
    ) -> Result<(), KeepError> {
        if old.as_ref() == Some(&text) {
            self.tell_kept(false, false).await;
            return Ok(());
        }
        let needed = needs_reload(old.as_deref().unwrap_or_default(), &text, standing);
        self.replace(old, text).await?;
        self.tell_kept(true, needed).await;
        let Reloading { by, when, .. } = &self.lasting.reload;
        if needed || *when == ReloadWhen::Changed && *by != ReloadBy::None {
            self.due.get_or_insert_with(Instant::now);
        }
        Ok(())
    }

    /// The same, without asking whether that changes anything.
    async fn replace(&self, old: Option<Vec<u8>>, text: Vec<u8>) -> Result<(), KeepError> {
        let config = self.lasting.config.clone();
        let shown = String::from_utf8_lossy(&text).into_owned();
        let staged = blocking(move || Staged::write(&config, &text)).await?;
        if let Err(error) = self.reloader.check(staged.path()).await {
            let said = error.said().unwrap_or_default();
            let refused = Refused::read(said, &staged.path().to_string_lossy(), &shown);
            return Err(KeepError::Refused(self.lasting.config.clone(), refused, error));
        }
        let backup = if self.due.is_some() { Backup::AsItIs } else { Backup::Anew };
        let installed = blocking(move || match old {
            Some(old) => staged.install_over(&old, backup),
            None => staged.install(),
        });
        Ok(installed.await?)
    }

    /// Makes the reload that is due, unless it has to wait.
    async fn reload(&mut self, standing: &[BackendStanding]) {
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
        match self.may_lose(standing).await {
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
    }

    /// Whether this process was started with what a reload was to be made for. Its uptime is in whole seconds.
    fn is_done_by(&self, process: &Process) -> bool {
        self.due.is_some_and(|due| due.elapsed().as_secs() > process.uptime_s + 1)
    }

    /// After a reload that failed: the old process runs on, and gets its file back.
    async fn take_back(&mut self, error: &ReloadError) {
        let config = self.lasting.config.clone();
        let back = blocking(move || file::take_back(&config)).await;
        // What was changed since is not in that file; it is written once the reason may have gone.
        (self.kept, self.retry) = (None, Some((Instant::now() + RETRY.1, RETRY.1)));
        let (by, taken_back) = (self.lasting.reload.by, back.map_err(|error| chain(&error)));
        self.tell(Event::NotReloaded { by, error: chain(error), taken_back }).await;
    }

    /// A server that a reload would put back into service though somebody has taken it out. Writes the state file
    /// where HAProxy loads it: what is in there outlasts a reload.
    async fn may_lose(&self, standing: &[BackendStanding]) -> Result<Option<String>, KeepError> {
        let declared = Declared::read(&file::read(&self.lasting.config)?);
        let state_file = &self.lasting.state_file;
        if declared.proxies.iter().any(|proxy| declared.loads(&proxy.name, state_file)) {
            self.write_state(standing).await?;
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
    async fn attend_absence(&mut self, answers: bool) {
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

/// Runs what touches the disk where nobody waits for it.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, FileError> + Send + 'static,
) -> Result<T, FileError> {
    match spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
