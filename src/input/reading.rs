//! The reading thread: whose turn it is, when to wait, when to stop.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::follow::Follow;
use super::stdin::Stdin;
use super::turn::{Rest, Turn};
use super::wake::Waker;
use super::{Sink, Source};

/// The smallest block: less would make the bytes that are read twice (see `file`) count.
const LEAST_BLOCK: usize = 4 << 10;

/// How sources are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Files that are there are read from their start, not from their end.
    pub from_start: bool,
    /// How often files are looked at when nobody wakes the thread; at least a millisecond.
    pub poll: Duration,
    /// Bytes a read, at least 4 KiB.
    pub block: usize,
}

impl Default for Options {
    /// From the end; a look every 250 ms, which is what a missed event costs at most; blocks of 256 KiB,
    /// beyond which larger ones are not faster and fall out of the processor's cache.
    fn default() -> Self {
        Self { from_start: false, poll: Duration::from_millis(250), block: 256 << 10 }
    }
}

/// The thread that reads. Dropping it stops the reading as [`Reading::stop`] does.
#[derive(Debug)]
pub struct Reading {
    thread: Option<JoinHandle<()>>,
    stopped: Arc<AtomicBool>,
    waker: Waker,
}

impl Reading {
    /// Ends the thread and waits for it: at most as long as the sink takes for one call.
    ///
    /// # Panics
    /// If the sink has panicked.
    pub fn stop(mut self) {
        self.end_thread();
        self.join();
    }

    /// Waits until all sources have ended. Only standard input ever does.
    ///
    /// # Panics
    /// If the sink has panicked.
    pub fn wait(mut self) {
        self.join();
    }

    /// The thread has ended: all sources have, or the sink wanted no more.
    pub fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    fn end_thread(&self) {
        self.stopped.store(true, Ordering::Relaxed);
        self.waker.wake();
    }

    fn join(&mut self) {
        if let Some(Err(panic)) = self.thread.take().map(JoinHandle::join) {
            std::panic::resume_unwind(panic);
        }
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.end_thread();
        // A panic of the sink has been printed by the thread; a second one here would abort.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Starts reading `sources` into `sink`, on a thread of its own that `waker` wakes. Files are opened
/// before this returns: what is written to them from then on is read.
///
/// # Errors
/// If no thread can be started. What is wrong with a source is told to the sink, and waited for.
pub fn start(
    sources: Vec<Source>,
    options: Options,
    sink: impl Sink + 'static,
    waker: Waker,
) -> io::Result<Reading> {
    let open = |source| match source {
        Source::File(path) => Input::Follow(Box::new(Follow::new(path, options.from_start))),
        Source::Stdin => Input::Stdin(Stdin::new()),
    };
    let stopped = Arc::new(AtomicBool::new(false));
    let reader = Reader {
        inputs: sources.into_iter().map(open).collect(),
        sink: Box::new(sink),
        block: vec![0; options.block.max(LEAST_BLOCK)],
        poll: options.poll.max(Duration::from_millis(1)),
        stopped: stopped.clone(),
        waker: waker.clone(),
    };
    let thread = thread::Builder::new().name("reading".to_owned()).spawn(move || reader.run())?;
    Ok(Reading { thread: Some(thread), stopped, waker })
}

enum Input {
    Follow(Box<Follow>),
    Stdin(Stdin),
}

struct Reader {
    inputs: Vec<Input>,
    sink: Box<dyn Sink>,
    block: Vec<u8>,
    poll: Duration,
    stopped: Arc<AtomicBool>,
    waker: Waker,
}

impl Reader {
    fn run(mut self) {
        while !self.is_stopped() {
            let Some(rest) = self.round() else { return };
            match rest {
                Rest::More => {}
                Rest::Nothing => self.wait(),
                Rest::Ended => return,
            }
        }
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// Gives every source its turn. `None` if the sink wants no more.
    fn round(&mut self) -> Option<Rest> {
        let (mut all_ended, mut any_more, mut any_touched) = (true, false, false);
        for (source, input) in self.inputs.iter_mut().enumerate() {
            let mut turn = Turn::new(source, &mut *self.sink, &mut self.block, &self.stopped);
            let rest = match input {
                Input::Follow(follow) => follow.turn(&mut turn),
                Input::Stdin(stdin) => stdin.turn(&mut turn),
            };
            all_ended &= rest == Rest::Ended;
            any_more |= rest == Rest::More;
            any_touched |= turn.has_touched_sink();
            if turn.has_opened_file() {
                self.waker.files_changed();
            }
        }
        if any_touched && !self.stopped.load(Ordering::Relaxed) && !self.sink.flush() {
            return None;
        }
        Some(match (all_ended, any_more) {
            (true, _) => Rest::Ended,
            (false, true) => Rest::More,
            (false, false) => Rest::Nothing,
        })
    }

    /// Until somebody wakes the thread, a FIFO or standard input has something, or it is time to look
    /// at the files.
    fn wait(&self) {
        let mut fds = vec![self.waker.as_fd()];
        let mut timeout = PollTimeout::NONE;
        for input in &self.inputs {
            match input {
                Input::Follow(follow) => {
                    fds.extend(follow.fds());
                    timeout = PollTimeout::try_from(self.poll).unwrap_or(PollTimeout::MAX);
                }
                Input::Stdin(stdin) => fds.extend(stdin.fd()),
            }
        }
        wait_for(&fds, timeout);
        self.waker.silence();
    }
}

fn wait_for(fds: &[BorrowedFd], timeout: PollTimeout) {
    let mut fds: Vec<_> = fds.iter().map(|fd| PollFd::new(*fd, PollFlags::POLLIN)).collect();
    match poll(&mut fds, timeout) {
        Ok(_) | Err(Errno::EINTR) => {}
        // No memory, or more sources than descriptors are allowed: go on, but not in a busy loop.
        Err(_) => thread::sleep(Duration::from_millis(50)),
    }
}
