//! The files a path has led to, as far as they still have to be read.
//!
//! ```text
//!  push --> queue      oldest first; the front is read to its end
//!             | and a later one has bytes
//!             v
//!           late       still open: a writer may not have let go of it
//!             | quiet for a while
//!             v
//!           finished   only how far it was read
//! ```
//! The front of the queue stays the front while all later ones are empty, however long that is: their
//! writer still writes to it. There is no way back but by `push`, when a path leads to an old file again.

use std::collections::{HashSet, VecDeque};
use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use super::fifo::Fifo;
use super::file::{FileId, LogFile, Position};
use super::open::trouble_of;
use super::trouble::Trouble;
use super::turn::{Rest, Turn};

/// How long a file that was rotated away has to be quiet until nobody is expected to write to it any
/// more. logrotate tells writers to let go of it in the same run, well within this.
const GRACE: Duration = Duration::from_secs(5);

/// How many rotated files are watched for late lines at once: it bounds the open descriptors of a log that
/// is rotated many times a second.
const MOST_LATE: usize = 16;

/// How many positions of finished files are kept, for a path that leads back to one of them.
const MOST_FINISHED: usize = 64;

/// What a path can lead to.
pub(super) enum Open {
    File(LogFile),
    Fifo(Fifo),
}

impl Open {
    pub(super) fn id(&self) -> FileId {
        match self {
            Self::File(file) => file.id,
            Self::Fifo(fifo) => fifo.id,
        }
    }

    fn read(&mut self, turn: &mut Turn) -> io::Result<bool> {
        match self {
            Self::File(file) => file.read(turn),
            Self::Fifo(fifo) => fifo.read(turn),
        }
    }

    fn has_news(&self) -> bool {
        match self {
            Self::File(file) => file.has_news(),
            Self::Fifo(fifo) => fifo.has_news(),
        }
    }

    fn is_within_line(&self) -> bool {
        match self {
            Self::File(file) => file.position.is_within_line(),
            Self::Fifo(fifo) => fifo.is_within_line(),
        }
    }

    /// Not even its writer is expected to come back to it.
    fn is_abandoned(&self) -> bool {
        match self {
            Self::File(file) => file.is_deleted() && file.quiet_for() >= GRACE,
            Self::Fifo(fifo) => fifo.is_hung_up(),
        }
    }
}

/// What is still to be read.
#[derive(Default)]
pub(super) struct Backlog {
    /// The last is where the path led when last looked.
    queue: VecDeque<Open>,
    /// Oldest first, each with when it left the queue.
    late: VecDeque<(LogFile, Instant)>,
    finished: VecDeque<(FileId, Position)>,
    trouble: Trouble,
}

impl Backlog {
    /// What was pushed last.
    pub(super) fn newest(&self) -> Option<&Open> {
        self.queue.back()
    }

    /// All that it knows how far they have been read.
    pub(super) fn ids(&self) -> HashSet<FileId> {
        let queue = self.queue.iter().map(Open::id);
        let late = self.late.iter().map(|(file, _)| file.id);
        queue.chain(late).chain(self.finished.iter().map(|(id, _)| *id)).collect()
    }

    /// To wait on.
    pub(super) fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.queue.iter().filter_map(|open| match open {
            Open::File(_) => None,
            Open::Fifo(fifo) => fifo.fd(),
        })
    }

    /// To be read after all that are there. One that was here before is read on from where it was left.
    pub(super) fn push(&mut self, mut open: Open) {
        let id = open.id();
        if let Some(at) = self.queue.iter().position(|queued| queued.id() == id) {
            open = self.queue.remove(at).unwrap_or(open);
        } else if let Some(at) = self.late.iter().position(|(file, _)| file.id == id) {
            open = self.late.remove(at).map_or(open, |(file, _)| Open::File(file));
        } else if let Open::File(file) = &mut open
            && let Some(at) = self.finished.iter().position(|(finished, _)| *finished == id)
            && let Some((_, position)) = self.finished.remove(at)
        {
            file.position = position;
        }
        self.queue.push_back(open);
    }

    /// Reads the oldest first.
    pub(super) fn read(&mut self, turn: &mut Turn) -> Rest {
        loop {
            // Asked before reading: what a writer wrote before it went on to the next file is then read.
            let successor_has_news = self.queue.iter().skip(1).any(Open::has_news);
            let is_alone = self.queue.len() < 2;
            let Some(front) = self.queue.front_mut() else { return Rest::Nothing };
            let read = front.read(turn);
            if let Ok(false) = read {
                return Rest::More;
            }
            let trouble = read.err().map(|error| trouble_of(&error));
            if let Some(event) = self.trouble.note(trouble, Duration::ZERO, Instant::now()) {
                turn.event(event);
            }
            if is_alone || !(successor_has_news || front.is_abandoned()) {
                break;
            }
            self.leave_front(turn);
        }
        self.read_late(turn);
        Rest::Nothing
    }

    fn leave_front(&mut self, turn: &mut Turn) {
        if let Some(Open::File(mut file)) = self.queue.pop_front() {
            // The half line at its end is lost by the cut; so is its other half.
            file.position.pass_over_line();
            self.late.push_back((file, Instant::now()));
        }
        if self.late.len() > MOST_LATE
            && let Some((file, _)) = self.late.pop_front()
        {
            self.finish(file);
        }
        turn.cut();
    }

    /// Whole lines that were written to files after their successor was, between two lines of that.
    fn read_late(&mut self, turn: &mut Turn) {
        if self.queue.front().is_some_and(Open::is_within_line) {
            return;
        }
        for (mut file, left) in std::mem::take(&mut self.late) {
            let is_whole = file.read_whole_lines(turn).unwrap_or(false);
            if is_whole && (left.elapsed() < GRACE || file.quiet_for() < GRACE) {
                self.late.push_back((file, left));
            } else {
                self.finish(file);
            }
        }
    }

    fn finish(&mut self, file: LogFile) {
        self.finished.push_back((file.id, file.position));
        if self.finished.len() > MOST_FINISHED {
            self.finished.pop_front();
        }
    }
}
