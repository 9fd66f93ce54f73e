//! The task that keeps changes of one HAProxy: it looks at how the servers stand, writes that down where HAProxy finds it, and has
//! HAProxy reloaded where that takes one. The agent's loop never waits for it.
//!
//! With several HAProxys each has a task of its own. What is written for one that is away is what the others have, so that
//! it starts with that.

use std::borrow::Cow;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

use super::block::BlockError;
use super::difference::needs_reload;
use super::event::{Event, Refused};
use super::file::{self, Backup, FileError, Staged};
use super::program::ProgramError;
use super::reload::Reloader;
use super::render::{self, Blocks};
use super::slots::{self, SlotError};
use super::state::{self, StateError};
use super::template::TemplateError;
use super::turn::Turn;
use crate::config::{Keep, Lasting, ReloadBy, ReloadWhen, Reloading};
use crate::core::controller::BackendStanding;
use crate::haproxy::client::Client;
use crate::report::chain;

mod growing;
mod reloading;

/// Changes come in batches: what follows the first within this time is written with it.
const DEBOUNCE: Duration = Duration::from_millis(500);

/// Between two looks at the template, and whether a reload may be made now.
const LOOK: Duration = Duration::from_secs(1);

/// After what failed; doubled each time, up to the last.
const RETRY: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(300));

/// What the agent sees.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sight {
    /// When it was looked.
    pub asked: Option<Instant>,
    /// HAProxy answered last time.
    pub answers: bool,
    /// And shows what is to last: it has what the others have.
    pub in_line: bool,
    /// Why none of several HAProxys may be reloaded now.
    pub wait: Option<String>,
    /// How its servers are to stand; `None` before any HAProxy was read.
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
    /// Slots would not be what they are meant to be.
    #[error("`{0}`")]
    Slots(PathBuf, #[source] SlotError),
    /// HAProxy does not take what came out.
    #[error("HAProxy refuses what would be the new configuration; `{0}` stays as it is")]
    Refused(PathBuf, Refused, #[source] ProgramError),
    /// The state file.
    #[error(transparent)]
    State(#[from] StateError),
}

impl KeepError {
    /// What HAProxy has refused, if it has.
    const fn refused(&self) -> Option<&Refused> {
        match self {
            Self::Refused(_, refused, _) => Some(refused),
            _ => None,
        }
    }
}

/// Keeps what was changed at run time of one HAProxy.
#[derive(Debug)]
pub struct Keeper {
    node: usize,
    lasting: Lasting,
    client: Client,
    reloader: Reloader,
    turn: Arc<Turn>,
    events: mpsc::Sender<(usize, Event)>,
    /// What is written down.
    kept: Option<Vec<BackendStanding>>,
    /// The state file is not all HAProxy's own: it was away, or had not what the others have.
    is_provisional: bool,
    /// The template as it was when something was written last, or was to be.
    template: Option<Stamp>,
    retry: Option<Pause>,
    /// Slots that HAProxy does not have yet could not be added, and are not before this is over.
    not_grown: Option<Pause>,
    /// A reload is still to be made, by the agent or somebody else, for what has been in haproxy.cfg since then. Until
    /// it is, the backup is what HAProxy runs on.
    due: Option<Instant>,
    absent_since: Option<Instant>,
    told_wait: Option<String>,
    told_missing: Vec<String>,
}

/// After something failed: until when, and how long all of it is.
#[derive(Clone, Copy, Debug)]
struct Pause {
    until: Instant,
    length: Duration,
}

impl Pause {
    /// Twice as long as the one `before`.
    fn after(before: Option<Self>) -> Self {
        Self::of(before.map_or(RETRY.0, |before| (before.length * 2).min(RETRY.1)))
    }

    fn of(length: Duration) -> Self {
        Self { until: Instant::now() + length, length }
    }

    fn is_over(self) -> bool {
        self.until <= Instant::now()
    }
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
    /// For the HAProxy that `client` asks, which is `node` to those who read `events`. It is reloaded when it has the `turn`.
    pub fn new(
        (node, lasting): (usize, Lasting),
        client: Client,
        turn: Arc<Turn>,
        events: mpsc::Sender<(usize, Event)>,
    ) -> Self {
        let reloader = Reloader::new(lasting.clone(), client.clone());
        Self {
            node,
            lasting,
            client,
            reloader,
            turn,
            events,
            kept: None,
            is_provisional: false,
            template: None,
            retry: None,
            not_grown: None,
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
            self.end_growth(&sight).await;
            if self.is_behind(&sight) && self.may_retry() {
                sleep(DEBOUNCE).await;
                let latest = sights.borrow_and_update().clone();
                self.keep(latest).await;
            }
            if sight.answers && self.due.is_some() {
                let latest = sights.borrow().clone();
                self.reload(&latest).await;
            }
            if let Ok(Err(_)) = timeout(LOOK, sights.changed()).await {
                let last = sights.borrow().clone();
                if self.is_behind(&last) {
                    self.keep(last).await;
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
        let is_final = sight.in_line && self.is_provisional;
        is_final || self.kept.as_deref() != self.wanted(sight).as_deref() || self.has_other_template()
    }

    fn has_other_template(&self) -> bool {
        self.lasting.keep == Keep::Template && self.template != Stamp::of(&self.lasting.template)
    }

    /// Another template may be right where the last one was wrong.
    fn may_retry(&self) -> bool {
        self.retry.is_none_or(Pause::is_over) || self.has_other_template()
    }

    /// Writes down how the servers stand, or tells why not and tries again later.
    async fn keep(&mut self, sight: Sight) {
        if self.has_other_template() {
            self.not_grown = None;
        }
        self.template = Stamp::of(&self.lasting.template);
        let Some(standing) = self.wanted(&sight).map(Cow::into_owned) else { return };
        let written = match self.write(&sight, &standing).await {
            Err(error) if slots::to_come(&standing).next().is_some() => {
                self.keep_without(&sight, &standing, error).await
            }
            written => written.map(|()| standing),
        };
        match written {
            Ok(standing) => (self.kept, self.retry) = (Some(standing), None),
            Err(error) => {
                let pause = Pause::after(self.retry);
                self.retry = Some(pause);
                let (error, refused) = (chain(&error), error.refused().cloned());
                self.tell(Event::NotKept { error, refused, retry: pause.length }).await;
            }
        }
    }

    async fn write(&mut self, sight: &Sight, standing: &[BackendStanding]) -> Result<(), KeepError> {
        match self.lasting.keep {
            Keep::None => Ok(()),
            Keep::StateFile => self.keep_state(sight, standing).await,
            Keep::Block => self.write_blocks(standing).await,
            Keep::Template => self.write_whole(standing).await,
        }
    }

    /// It cannot fail but at the agent's end.
    async fn tell(&self, event: Event) {
        let _ = self.events.send((self.node, event)).await;
    }

    async fn tell_kept(&self, changed: bool, reload_needed: bool) {
        let keep = self.lasting.keep;
        let file = if keep == Keep::StateFile { &self.lasting.state_file } else { &self.lasting.config };
        self.tell(Event::Kept { keep, file: file.clone(), changed, reload_needed }).await;
    }

    async fn keep_state(&mut self, sight: &Sight, standing: &[BackendStanding]) -> Result<(), KeepError> {
        let path = &self.lasting.state_file;
        self.is_provisional = !sight.in_line;
        match sight.answers {
            true if sight.in_line => state::write(&self.client, path, standing).await?,
            true => state::write_as_meant(&self.client, path, standing).await?,
            // What HAProxy had is not known but for that file.
            false if !state::put_right(path, standing).await? => return Ok(()),
            false => {}
        }
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
        slots::check(&text, standing)
            .map_err(|error| KeepError::Slots(self.lasting.config.clone(), error))?;
        let is_same = old.as_ref() == Some(&text);
        // Whoever wrote them down was ended before HAProxy had them.
        let is_awaited = self.due.is_none() && self.lacks_slots(standing).await;
        if is_same && !is_awaited {
            self.tell_kept(false, false).await;
            return Ok(());
        }
        let before = old.as_deref().unwrap_or_default();
        let needed = is_awaited || needs_reload(before, &text, standing);
        let new = slots::undeclared(before, standing);
        self.replace(old, text).await?;
        self.tell_kept(!is_same, needed).await;
        if !new.is_empty() {
            self.tell(Event::SlotsAdded(new)).await;
        }
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
