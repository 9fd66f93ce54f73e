//! Follows a path by name: looks where it leads, and notices rotation, deletion, late creation, and links
//! that are pointed elsewhere. What it led to goes into a [`Backlog`], which is read.
//!
//! A file is not given up because its name is gone: lines come from what is open.

use std::fs;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::SourceEvent;
use super::backlog::{Backlog, Open};
use super::fifo::Fifo;
use super::file::{FileId, LogFile, Position};
use super::open::{open, trouble_of};
use super::siblings::{Opened, Siblings};
use super::trouble::{PASSING, Trouble};
use super::turn::{Rest, Turn};

/// What a sink is given to learn from before the first bytes: some 300 lines.
const TAIL: u64 = 64 << 10;

/// Where reading of the first file begins. Every later one is read from its start.
#[derive(Clone, Copy, Debug)]
enum Start {
    /// At its start: asked for, or the file came later than we.
    Beginning,
    /// Where it ended when we came, if it is still that file.
    EndOf(FileId, u64),
    /// At its end, whenever it can be opened: nothing could be found out about it when we came.
    End,
}

/// A path that is followed.
pub(super) struct Follow {
    path: PathBuf,
    /// The path without links, as of the newest file.
    real_path: PathBuf,
    siblings: Siblings,
    start: Start,
    tail_is_due: bool,
    backlog: Backlog,
    trouble: Trouble,
}

impl Follow {
    /// Opens what `path` leads to, if it can be; that is where reading begins, at its present end unless
    /// `from_start`.
    pub(super) fn new(path: PathBuf, from_start: bool) -> Self {
        let (exists, end) = match fs::metadata(&path) {
            Ok(metadata) => (true, Start::EndOf(FileId::of(&metadata), metadata.len())),
            Err(error) if trouble_of(&error) == SourceEvent::Missing => (false, Start::Beginning),
            Err(_) => (true, Start::End),
        };
        let mut follow = Self {
            real_path: path.clone(),
            path,
            siblings: Siblings::default(),
            start: if from_start { Start::Beginning } else { end },
            tail_is_due: exists,
            backlog: Backlog::default(),
            trouble: Trouble::default(),
        };
        follow.resolve_path();
        // Before the file is opened: whatever is rotated away afterwards may be one that was missed.
        follow.siblings.remember(&follow.real_path);
        if let Ok(found) = open(&follow.path) {
            follow.begin(found);
        }
        follow
    }

    /// What to wait on. Files cannot be waited for, they are read when the thread is woken.
    pub(super) fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.backlog.fds()
    }

    /// Looks where the path leads, then reads what is there.
    pub(super) fn turn(&mut self, turn: &mut Turn) -> Rest {
        let trouble = self.look(turn).err();
        let may_pass = trouble == Some(SourceEvent::Missing) && self.backlog.newest().is_some();
        let patience = if may_pass { PASSING } else { Duration::ZERO };
        if let Some(event) = self.trouble.note(trouble, patience, Instant::now()) {
            turn.event(event);
        }
        if self.tail_is_due && self.backlog.newest().is_some() {
            self.tell_tail(turn);
        }
        self.backlog.read(turn)
    }

    fn look(&mut self, turn: &mut Turn) -> Result<(), SourceEvent> {
        let metadata = match fs::metadata(&self.path) {
            Ok(metadata) => metadata,
            Err(error) => {
                let trouble = trouble_of(&error);
                if trouble == SourceEvent::Missing && self.may_have_missed() {
                    self.rotated(None, turn);
                }
                return Err(trouble);
            }
        };
        if self.backlog.newest().is_some_and(|newest| newest.id() == FileId::of(&metadata)) {
            return Ok(());
        }
        let found = open(&self.path)?;
        turn.reopened();
        if self.may_have_missed() && found.1.is_file() {
            self.rotated(Some(found), turn);
        } else if self.backlog.newest().is_none() {
            self.begin(found);
        } else {
            self.push(found, Position::default());
            turn.event(SourceEvent::Rotated { missed: 0 });
        }
        Ok(())
    }

    /// Notes the name of the newest file without links, and who is beside it if that is another place.
    fn resolve_path(&mut self) {
        if let Ok(real) = fs::canonicalize(&self.path)
            && real != self.real_path
        {
            self.siblings.remember(&real);
            self.real_path = real;
        }
    }

    /// There may have been files that nobody saw: after the last one that was seen, or since there was none.
    fn may_have_missed(&self) -> bool {
        match self.backlog.newest() {
            Some(newest) => matches!(newest, Open::File(_)),
            None => matches!(self.start, Start::Beginning) && !self.tail_is_due,
        }
    }

    /// The first file there is.
    fn begin(&mut self, found: Opened) {
        let position = match self.start {
            Start::EndOf(id, end) if id == FileId::of(&found.1) => Position::at(&found.0, end),
            Start::End => Position::at(&found.0, found.1.len()),
            Start::Beginning | Start::EndOf(..) => Ok(Position::default()),
        };
        // It has shrunk since, or its end cannot be read: then its beginning can do no harm.
        self.push(found, position.unwrap_or_default());
    }

    /// The path leads to another file than before, or to none. Whatever was there in between is read first.
    fn rotated(&mut self, newest: Option<Opened>, turn: &mut Turn) {
        let old = match self.backlog.newest() {
            Some(Open::File(old)) => Some(old),
            Some(Open::Fifo(_)) | None => None,
        };
        let at_first = usize::from(old.is_none());
        let (ours, path, log) = (self.backlog.ids(), &self.path, &self.real_path);
        let since = self.siblings.since(path, log, old, newest, |id| ours.contains(&id));
        for path in since.unread {
            turn.event(SourceEvent::Unread(path));
        }
        if since.generations.len() > at_first {
            turn.event(SourceEvent::Rotated { missed: since.generations.len() - 1 });
        }
        for generation in since.generations {
            self.push(generation, Position::default());
        }
    }

    fn push(&mut self, (file, metadata): Opened, position: Position) {
        let id = FileId::of(&metadata);
        self.backlog.push(if metadata.is_file() {
            Open::File(LogFile::new(file, id, position))
        } else {
            Open::Fifo(Fifo::new(self.path.clone(), file, id))
        });
        self.resolve_path();
    }

    fn tell_tail(&mut self, turn: &mut Turn) {
        self.tail_is_due = false;
        let Some(Open::File(LogFile { file, .. })) = self.backlog.newest() else { return };
        let Ok(metadata) = file.metadata() else { return };
        let from = metadata.len().saturating_sub(TAIL);
        let mut tail = vec![0; (metadata.len() - from) as usize];
        let Ok(length) = file.read_at(&mut tail, from) else { return };
        let now = Instant::now();
        let age = metadata.modified().ok().and_then(|written| written.elapsed().ok()).unwrap_or_default();
        if length > 0 {
            turn.tail(&tail[..length], now.checked_sub(age).unwrap_or(now));
        }
    }
}
