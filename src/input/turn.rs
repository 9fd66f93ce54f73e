//! One source's turn at the thread: what it may read into, whom it tells, and how much is fair.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{Sink, SourceEvent};

/// What a source reads before the next one gets its turn. It takes a few milliseconds to parse: small
/// beside the 50 ms within which the agent reacts, large enough for the cost of a turn not to count.
const FAIR_SHARE: usize = 1 << 20;

/// What a turn came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// The source may have more at once.
    More,
    /// Everything there is has been read for now.
    Nothing,
    /// Nothing will ever come again.
    Ended,
}

/// One source, as the reading thread knows it.
pub(super) trait Input: Send {
    /// Reads what is there, until the turn is over.
    fn turn(&mut self, turn: &mut Turn) -> Rest;

    /// Adds what to wait on until there is more.
    fn wait_on<'a>(&'a self, fds: &mut Vec<PollFd<'a>>);

    /// How long from `now` until it wants a turn, even if nothing that it waits on has something; `None`:
    /// however long.
    fn next_look(&self, now: Instant) -> Option<Duration>;
}

/// The sooner of two looks.
pub(super) fn soonest(one: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    one.into_iter().chain(other).min()
}

/// One source's turn.
pub(super) struct Turn<'a> {
    /// What is read goes in here first.
    pub(super) block: &'a mut [u8],
    source: usize,
    sink: &'a mut dyn Sink,
    stopped: &'a AtomicBool,
    left: usize,
    touched: bool,
    reopened: bool,
}

impl<'a> Turn<'a> {
    pub(super) fn new(
        source: usize,
        sink: &'a mut dyn Sink,
        block: &'a mut [u8],
        stopped: &'a AtomicBool,
    ) -> Self {
        Self { block, source, sink, stopped, left: FAIR_SHARE, touched: false, reopened: false }
    }

    /// The source has had its share, or reading was stopped. Asked before every block.
    pub(super) fn is_over(&self) -> bool {
        self.left == 0 || self.stopped.load(Ordering::Relaxed)
    }

    /// Hands `from..to` of the block to the sink; `read_from..to` is what counts as read.
    pub(super) fn hand_over(&mut self, read_from: usize, from: usize, to: usize) {
        self.left = self.left.saturating_sub(to - read_from);
        if from < to {
            self.touched = true;
            self.sink.bytes(self.source, &self.block[from..to], Instant::now());
        }
    }

    /// Hands `bytes` to the sink that are not in the block.
    pub(super) fn hand_over_copy(&mut self, bytes: &[u8]) {
        self.left = self.left.saturating_sub(bytes.len());
        if !bytes.is_empty() {
            self.touched = true;
            self.sink.bytes(self.source, bytes, Instant::now());
        }
    }

    /// So many lines were lost before they could be read.
    pub(super) fn lost(&mut self, lines: u64) {
        if lines > 0 {
            self.touched = true;
            self.sink.lost(self.source, lines);
        }
    }

    pub(super) fn cut(&mut self) {
        self.touched = true;
        self.sink.cut(self.source, Instant::now());
    }

    pub(super) fn tail(&mut self, tail: &[u8], written: Instant) {
        self.touched = true;
        self.sink.tail(self.source, tail, written);
    }

    pub(super) fn event(&mut self, event: SourceEvent) {
        self.touched = true;
        self.sink.event(self.source, event);
    }

    /// The source opened another file than before.
    pub(super) fn reopened(&mut self) {
        self.reopened = true;
    }

    pub(super) fn has_touched_sink(&self) -> bool {
        self.touched
    }

    pub(super) fn has_opened_file(&self) -> bool {
        self.reopened
    }
}

/// A read would not block: there are bytes, or the other side has gone. An error is left to that read.
pub(super) fn is_readable(fd: impl AsFd) -> bool {
    let mut fds = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}
