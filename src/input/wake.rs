//! Wakes the reading thread: by hand, and by the file events that linemux gathers.
//!
//! linemux is only ever taken for a bell. It watches a directory only while a file is missing, goes blind
//! when a file is deleted that we hold open or a link is pointed elsewhere, and hands out half lines as
//! whole ones (all seen in its version 0.3). So the thread reads the bytes, looks at the files every 250 ms
//! in any case, and whenever it opens another file the watches are made anew. linemux's channel has no
//! bound: it is drained all the time, many events into one ring.

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use linemux::MuxedEvents;
use nix::sys::eventfd::{EfdFlags, EventFd};
use tokio::sync::Notify;
use tokio::task::unconstrained;

/// After a ring, how long events gather before the next: a busy log makes an event for each write, and
/// the thread need not run for each. Small beside the 50 ms within which the agent reacts.
const GATHER: Duration = Duration::from_millis(5);

/// The most events taken at once before others get their turn on the runtime.
const MOST_AT_ONCE: usize = 4096;

/// The bell between the reading thread and the rest; clones ring the same. One for each reading.
#[derive(Clone, Debug)]
pub struct Waker(Arc<Bell>);

#[derive(Debug)]
struct Bell {
    eventfd: EventFd,
    files_changed: Notify,
}

impl Waker {
    /// A new bell.
    ///
    /// # Errors
    /// If there are no more file descriptors.
    pub fn new() -> io::Result<Self> {
        let eventfd = EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?;
        Ok(Self(Arc::new(Bell { eventfd, files_changed: Notify::new() })))
    }

    /// Has the thread look at all sources now.
    pub fn wake(&self) {
        // Can only fail when it has been rung 2^64 - 2 times unheard, and then it rings already.
        let _ = self.0.eventfd.write(1);
    }

    /// Makes it silent until it is rung again.
    pub(super) fn silence(&self) {
        // Fails if nobody rang.
        let _ = self.0.eventfd.read();
    }

    /// Tells `watch` that a path leads to another file.
    pub(super) fn files_changed(&self) {
        self.0.files_changed.notify_one();
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.eventfd.as_fd()
    }
}

/// Rings `waker` when something happens to the files at `paths`. Never returns; spawn it as a task of
/// its own and abort it once the reading is stopped. The runtime needs a timer.
///
/// What cannot be watched is told once, and left to the look every 250 ms. When not even a thread can be
/// started, notify (beneath linemux) panics: then the task is gone, and that look remains.
pub async fn watch(paths: Vec<PathBuf>, waker: Waker) {
    let mut told = HashSet::new();
    loop {
        match MuxedEvents::new() {
            Ok(mut events) => {
                for path in &paths {
                    if let Err(error) = add(&mut events, path).await
                        && told.insert(path.as_path())
                    {
                        tracing::warn!(source = %path.display(), %error, "no file events, looking at the file at intervals");
                    }
                }
                // Something may have happened before the watches were there.
                waker.wake();
                tokio::select! {
                    () = ring(events, &waker) => {}
                    () = waker.0.files_changed.notified() => continue,
                }
            }
            Err(error) if told.insert(Path::new("")) => {
                tracing::warn!(%error, "no file events, looking at all files at intervals");
            }
            Err(_) => {}
        }
        waker.0.files_changed.notified().await;
    }
}

/// Adds `path` unless it is a FIFO, which the thread waits for by itself.
async fn add(events: &mut MuxedEvents, path: &Path) -> io::Result<()> {
    if std::fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_fifo()) {
        return Ok(());
    }
    events.add_file(path).await.map(drop)
}

/// Turns events into rings until there are none to be had.
async fn ring(mut events: MuxedEvents, waker: &Waker) {
    while let Some(mut is_news) = next(&mut events).await {
        let mut taken = 1;
        while taken < MOST_AT_ONCE {
            tokio::select! {
                biased;
                event = unconstrained(next(&mut events)) => is_news |= event.unwrap_or(false),
                () = std::future::ready(()) => break,
            }
            taken += 1;
        }
        if is_news {
            waker.wake();
        }
        // Were there so many, more are waiting: take them at once.
        tokio::time::sleep(if taken < MOST_AT_ONCE { GATHER } else { Duration::ZERO }).await;
    }
}

/// Waits for an event. Says whether it may mean something to read: linemux leaves no paths in events of
/// other files in the directory. An event that could not be read may have been any. `None`: no watches.
async fn next(events: &mut MuxedEvents) -> Option<bool> {
    match events.next_event().await {
        Ok(Some(event)) => Some(event.need_rescan() || !event.paths.is_empty() && !event.kind.is_access()),
        Ok(None) => None,
        Err(_) => Some(true),
    }
}
