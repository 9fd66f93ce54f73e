//! A FIFO: read as long as there is a writer, and kept open for the next one.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::SourceEvent;
use super::file::FileId;
use super::open::open;
use super::trouble::{PASSING, Trouble};
use super::turn::{Turn, is_readable};

/// One FIFO.
pub(super) struct Fifo {
    pub(super) id: FileId,
    path: PathBuf,
    file: File,
    /// Its last writer has gone, and it was not possible to open it anew: there is nothing to wait for.
    /// Waiting for it all the same would be busy, since `poll()` reports the hang-up without end.
    hung_up: bool,
    written_by_nobody: bool,
    within_line: bool,
    trouble: Trouble,
}

impl Fifo {
    /// `file` is open without blocking.
    pub(super) fn new(path: PathBuf, file: File, id: FileId) -> Self {
        let trouble = Trouble::default();
        Self { id, path, file, hung_up: false, written_by_nobody: false, within_line: false, trouble }
    }

    /// To wait on.
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        (!self.hung_up).then(|| self.file.as_fd())
    }

    pub(super) fn has_news(&self) -> bool {
        !self.hung_up && is_readable(&self.file)
    }

    /// Nothing can come from it any more, unless it can be opened anew.
    pub(super) fn is_hung_up(&self) -> bool {
        self.hung_up
    }

    pub(super) fn is_within_line(&self) -> bool {
        self.within_line
    }

    /// Reads what is there (true), or until the turn is over (false).
    pub(super) fn read(&mut self, turn: &mut Turn) -> io::Result<bool> {
        while !turn.is_over() {
            if (self.hung_up && !self.open_anew()) || !is_readable(&self.file) {
                self.note_writer(turn);
                return Ok(true);
            }
            match self.file.read(turn.block) {
                Ok(0) => {
                    turn.cut();
                    (self.hung_up, self.written_by_nobody, self.within_line) = (true, true, false);
                }
                Ok(read) => {
                    (self.written_by_nobody, self.within_line) = (false, turn.block[read - 1] != b'\n');
                    self.note_writer(turn);
                    turn.hand_over(0, 0, read);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(error) => {
                    self.hung_up = true;
                    return Err(error);
                }
            }
        }
        Ok(false)
    }

    /// Opens the new one before the old one is closed: what a writer put into the FIFO in the meantime
    /// is lost only when nobody has it open.
    fn open_anew(&mut self) -> bool {
        if let Ok((file, metadata)) = open(&self.path)
            && FileId::of(&metadata) == self.id
        {
            self.file = file;
            self.hung_up = false;
        }
        !self.hung_up
    }

    fn note_writer(&mut self, turn: &mut Turn) {
        let trouble = self.written_by_nobody.then_some(SourceEvent::WriterGone);
        let patience = if trouble.is_some() { PASSING } else { Duration::ZERO };
        if let Some(event) = self.trouble.note(trouble, patience, Instant::now()) {
            turn.event(event);
        }
    }
}
