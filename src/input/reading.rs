//! The reading thread: whose turn it is, when to wait, when to stop.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::follow::Follow;
use super::journald::Journald;
use super::place::RingPlace;
use super::ring::Ring;
use super::stdin::Stdin;
use super::tcp::Tcp;
use super::turn::{Input, Rest, Turn, soonest};
use super::udp::Udp;
use super::unix::Unix;
use super::wake::Waker;
use super::{Sink, Source};
use crate::core::log::framing::DEFAULT_MOST_LINE_BYTES;

/// The smallest block: less would make the bytes that are read twice (see `file`) count.
const LEAST_BLOCK: usize = 4 << 10;

/// When reading is stopped, what is there already is read for so long: a busy log's last blocks, and
/// still a stop that nobody has to wait for.
const LAST_LOOK: Duration = Duration::from_millis(50);

/// How sources are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Files that are there are read from their start, not from their end.
    pub from_start: bool,
    /// How often files are looked at when nobody wakes the thread; at least a millisecond.
    pub poll: Duration,
    /// Bytes a read, at least 4 KiB.
    pub block: usize,
    /// Bytes of a line: of a longer one so much is handed over that it is still too long.
    pub longest_line: usize,
}

impl Default for Options {
    /// From the end; a look every 250 ms, which is what a missed event costs at most; blocks of 256 KiB,
    /// beyond which larger ones are not faster and fall out of the processor's cache.
    fn default() -> Self {
        Self {
            from_start: false,
            poll: Duration::from_millis(250),
            block: 256 << 10,
            longest_line: DEFAULT_MOST_LINE_BYTES,
        }
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
    /// Ends the thread and waits for it. What has been written already is handed to the sink before, as far
    /// as that takes no longer than 50 ms and what the sink takes for a call.
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
    let stopped = Arc::new(AtomicBool::new(false));
    let reader = Reader {
        inputs: sources.into_iter().map(|source| open(source, options)).collect(),
        sink: Box::new(sink),
        block: vec![0; options.block.max(LEAST_BLOCK)],
        stopped: stopped.clone(),
        waker: waker.clone(),
    };
    let thread = thread::Builder::new().name("reading".to_owned()).spawn(move || reader.run())?;
    Ok(Reading { thread: Some(thread), stopped, waker })
}

fn open(source: Source, options: Options) -> Box<dyn Input> {
    let poll = options.poll.max(Duration::from_millis(1));
    match source {
        Source::File(path) => Box::new(Followed { follow: Follow::new(path, options.from_start), poll }),
        Source::Stdin => Box::new(Stdin::new()),
        Source::Udp(address) => Box::new(Udp::new(address, options.longest_line)),
        Source::Tcp(place) => Box::new(Tcp::new(place, options.longest_line)),
        Source::Journald(unit) => Box::new(Journald::new(unit, options.from_start)),
        Source::Ring(place) => {
            let address = place.address.unwrap_or_else(RingPlace::usual_address);
            Box::new(Ring::new(place.name, address, options.from_start))
        }
        Source::Unix(place) => Box::new(Unix::new(place, options.longest_line)),
    }
}

/// A path that is followed, with a look at it every `poll`: files cannot be waited for.
struct Followed {
    follow: Follow,
    poll: Duration,
}

impl Input for Followed {
    fn turn(&mut self, turn: &mut Turn) -> Rest {
        self.follow.turn(turn)
    }

    fn wait_on<'a>(&'a self, fds: &mut Vec<PollFd<'a>>) {
        fds.extend(self.follow.fds().map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
    }

    fn next_look(&self, _now: Instant) -> Option<Duration> {
        Some(self.poll)
    }
}

impl Input for Stdin {
    fn turn(&mut self, turn: &mut Turn) -> Rest {
        Self::turn(self, turn)
    }

    fn wait_on<'a>(&'a self, fds: &mut Vec<PollFd<'a>>) {
        fds.extend(self.fd().map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
    }

    fn next_look(&self, _now: Instant) -> Option<Duration> {
        None
    }
}

struct Reader {
    inputs: Vec<Box<dyn Input>>,
    sink: Box<dyn Sink>,
    block: Vec<u8>,
    stopped: Arc<AtomicBool>,
    waker: Waker,
}

impl Reader {
    fn run(mut self) {
        let stopped = self.stopped.clone();
        while !self.is_stopped() {
            let Some(rest) = self.round(&stopped) else { return };
            match rest {
                Rest::More => {}
                Rest::Nothing => self.wait(),
                Rest::Ended => return,
            }
        }
        self.look_a_last_time();
    }

    /// What was written before the stop is read, as far as [`LAST_LOOK`] goes.
    fn look_a_last_time(&mut self) {
        let (until, go_on) = (Instant::now() + LAST_LOOK, AtomicBool::new(false));
        while self.round(&go_on) == Some(Rest::More) && Instant::now() < until {}
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// Gives every source its turn. `None` if the sink wants no more.
    fn round(&mut self, stopped: &AtomicBool) -> Option<Rest> {
        let (mut all_ended, mut any_more, mut any_touched) = (true, false, false);
        for (source, input) in self.inputs.iter_mut().enumerate() {
            let mut turn = Turn::new(source, &mut *self.sink, &mut self.block, stopped);
            let rest = input.turn(&mut turn);
            all_ended &= rest == Rest::Ended;
            any_more |= rest == Rest::More;
            any_touched |= turn.has_touched_sink();
            if turn.has_opened_file() {
                self.waker.files_changed();
            }
        }
        if any_touched && !self.is_stopped() && !self.sink.flush() {
            return None;
        }
        Some(match (all_ended, any_more) {
            (true, _) => Rest::Ended,
            (false, true) => Rest::More,
            (false, false) => Rest::Nothing,
        })
    }

    /// Until somebody wakes the thread, there is something to read, or an input wants to look.
    fn wait(&self) {
        let now = Instant::now();
        let mut fds = vec![PollFd::new(self.waker.as_fd(), PollFlags::POLLIN)];
        let mut look = None;
        for input in &self.inputs {
            input.wait_on(&mut fds);
            look = soonest(look, input.next_look(now));
        }
        wait_for(&mut fds, look);
        self.waker.silence();
    }
}

fn wait_for(fds: &mut [PollFd<'_>], look: Option<Duration>) {
    let timeout = look.map_or(PollTimeout::NONE, |look| {
        // Rounded up: a look a little too early would find nothing, and be taken again and again.
        let look = look.as_micros().div_ceil(1000);
        PollTimeout::try_from(look).unwrap_or(PollTimeout::MAX)
    });
    match poll(fds, timeout) {
        Ok(_) | Err(Errno::EINTR) => {}
        // No memory, or more sources than descriptors are allowed: go on, but not in a busy loop.
        Err(_) => thread::sleep(Duration::from_millis(50)),
    }
}
