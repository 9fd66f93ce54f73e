//! One open log file: reads it on from a position, and notices when it was truncated behind our back.
//!
//! Each read begins a little before the position, so that the bytes already known come along: if they
//! are others than before, or gone, the file was truncated, even if it has grown past the position since.
//! One system call does it all, and leaves no moment in between.

use std::collections::VecDeque;
use std::fs::{File, Metadata};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::time::{Duration, SystemTime};

use memchr::{memchr, memrchr};
use nix::unistd::{Whence, lseek};

use super::SourceEvent;
use super::turn::Turn;

/// How many bytes before the position are compared at each read. The date and the client's port of a
/// log line are within as many.
pub(super) const KNOWN: usize = 64;

/// How many bytes at the start of a file are remembered, to know a copy of it. A log line is about as
/// long, and has its date.
pub(super) const HEAD: usize = 256;

/// How many truncations back that reaches. The copies made at earlier ones have an older date.
const MOST_HEADS: usize = 8;

/// Which file it is, whatever it is called. An inode number is given out again once a file is gone;
/// the time of birth, where the file system has it, tells the two apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct FileId {
    device: u64,
    inode: u64,
    born: Option<SystemTime>,
}

impl FileId {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino(), born: metadata.created().ok() }
    }
}

/// How far a file has been read; the default is its start.
#[derive(Clone, Debug, Default)]
pub(super) struct Position {
    /// All before it was handed over, or passed over.
    offset: u64,
    /// The last bytes before it, at most `KNOWN`.
    known: Vec<u8>,
    /// The line it is in is not ours: pass over the rest of it.
    passing_line: bool,
}

impl Position {
    /// At `offset` in `file`. If that is within a line, the rest of it will be passed over.
    ///
    /// # Errors
    /// If the file is shorter, or cannot be read.
    pub(super) fn at(file: &File, offset: u64) -> io::Result<Self> {
        let length = offset.min(KNOWN as u64);
        let mut known = vec![0; length as usize];
        file.read_exact_at(&mut known, offset - length)?;
        let mut position = Self { offset, known, passing_line: false };
        position.pass_over_line();
        Ok(position)
    }

    /// The byte before it does not end a line.
    pub(super) fn is_within_line(&self) -> bool {
        self.known.last().is_some_and(|&byte| byte != b'\n')
    }

    /// Passes over the rest of the line it is in, if it is in one.
    pub(super) fn pass_over_line(&mut self) {
        self.passing_line = self.is_within_line();
    }

    /// Moves on by `new` bytes, which are the last ones of `read`.
    fn advance(&mut self, new: usize, read: &[u8]) {
        self.offset += new as u64;
        self.known.clear();
        self.known.extend_from_slice(&read[read.len().saturating_sub(KNOWN)..]);
    }

    /// How many bytes at the start of `new` are not to be handed over: the rest of a line that is not
    /// ours, and zeros where a line would begin. A writer that does not append leaves those behind when
    /// its file is truncated: it goes on at its old offset, after a hole.
    fn pass_over(&mut self, new: &[u8]) -> usize {
        let mut passed = 0;
        if self.passing_line {
            let Some(end) = memchr(b'\n', new) else { return new.len() };
            passed = end + 1;
            self.passing_line = false;
        }
        if passed > 0 || self.known.last().is_none_or(|&byte| byte == b'\n' || byte == 0) {
            passed += new[passed..].iter().take_while(|&&byte| byte == 0).count();
        }
        passed
    }
}

/// One open log file.
pub(super) struct LogFile {
    pub(super) file: File,
    pub(super) id: FileId,
    pub(super) position: Position,
    /// Its first bytes, at most `HEAD`, as they were read last, and before that as they were before it was
    /// truncated.
    heads: VecDeque<Vec<u8>>,
}

impl LogFile {
    pub(super) fn new(file: File, id: FileId, position: Position) -> Self {
        let mut head = vec![0; position.offset.min(HEAD as u64) as usize];
        // Without a head, a copy will not be known as one: no reason not to read the file.
        let length = file.read_at(&mut head, 0).unwrap_or(0);
        head.truncate(length);
        Self { file, id, position, heads: VecDeque::from([head]) }
    }

    /// Whether a file with this head may be a copy of it, whenever that was made.
    pub(super) fn begins_or_began_with(&self, head: &[u8]) -> bool {
        let mut unread = [0; HEAD];
        let length = self.file.read_at(&mut unread, 0).unwrap_or(0);
        unread[..length].starts_with(head) || self.heads.iter().any(|old| old.starts_with(head))
    }

    /// Reads to the end there is for now (true), or until the turn is over (false).
    pub(super) fn read(&mut self, turn: &mut Turn) -> io::Result<bool> {
        while !turn.is_over() {
            match self.read_block(turn)? {
                Some(new) if new.is_empty() => return Ok(true),
                Some(new) => self.take(new.start, new.end, turn),
                None => {
                    turn.cut();
                    turn.event(SourceEvent::Truncated);
                }
            }
        }
        Ok(false)
    }

    /// Reads what is there of whole lines, one block at most: a half line would be continued by another
    /// file. False if the file was truncated: then it is somebody else's by now.
    pub(super) fn read_whole_lines(&mut self, turn: &mut Turn) -> io::Result<bool> {
        let Some(new) = self.read_block(turn)? else { return Ok(false) };
        if let Some(last) = memrchr(b'\n', &turn.block[new.clone()]) {
            self.take(new.start, new.start + last + 1, turn);
        }
        Ok(true)
    }

    /// There is something to read, as far as can be seen from outside.
    pub(super) fn has_news(&self) -> bool {
        self.file.metadata().is_ok_and(|metadata| metadata.len() != self.position.offset)
    }

    /// For how long nobody has written to it; zero if that cannot be told.
    pub(super) fn quiet_for(&self) -> Duration {
        let written = self.file.metadata().and_then(|metadata| metadata.modified());
        written.ok().and_then(|written| written.elapsed().ok()).unwrap_or_default()
    }

    /// It has no name any more.
    pub(super) fn is_deleted(&self) -> bool {
        self.file.metadata().is_ok_and(|metadata| metadata.nlink() == 0)
    }

    /// Reads a block. Returns where in it the bytes after the position are. `None` if the known bytes were
    /// not there: then the file was truncated, and the position is at its new start.
    fn read_block(&mut self, turn: &mut Turn) -> io::Result<Option<Range<usize>>> {
        let known = self.position.known.len();
        let from = self.position.offset - known as u64;
        let read = loop {
            match self.file.read_at(turn.block, from) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        if !turn.block[..read].starts_with(&self.position.known) {
            self.restart(&turn.block[..read.min(known)]);
            return Ok(None);
        }
        Ok(Some(known..read))
    }

    /// Goes back to the start of a file that was truncated, `instead` being where the known bytes were.
    /// If those are zeros, the start is a hole and all that is new comes after the position.
    fn restart(&mut self, instead: &[u8]) {
        let behind_hole = instead.len() == self.position.known.len() && instead.iter().all(|&byte| byte == 0);
        let offset = if behind_hole { self.position.offset } else { 0 };
        self.position = Position { offset, ..Position::default() };
    }

    /// Hands over `from..to` of the block, which is what comes after the position, and moves on.
    fn take(&mut self, from: usize, to: usize, turn: &mut Turn) {
        self.remember_head(from, &turn.block[..to]);
        let passed = self.position.pass_over(&turn.block[from..to]);
        self.position.advance(to - from, &turn.block[..to]);
        if from + passed == to && turn.block[to - 1] == 0 {
            self.leap_over_hole();
        }
        turn.hand_over(from, from + passed, to);
    }

    fn remember_head(&mut self, from: usize, read: &[u8]) {
        if self.position.offset == 0 {
            self.heads.push_back(Vec::new());
        }
        if self.heads.len() > MOST_HEADS {
            self.heads.pop_front();
        }
        if let Some(head) = self.heads.back_mut().filter(|head| head.len() as u64 == self.position.offset) {
            let missing = HEAD - head.len().min(HEAD);
            head.extend(read[from..].iter().take(missing));
        }
    }

    /// A hole can be as long as the file ever was: no need to read all its zeros.
    fn leap_over_hole(&mut self) {
        let offset = self.position.offset;
        let data = i64::try_from(offset).ok().and_then(|at| lseek(&self.file, at, Whence::SeekData).ok());
        if let Some(data) = data.and_then(|at| u64::try_from(at).ok()).filter(|&data| data > offset) {
            self.position = Position { offset: data, ..Position::default() };
        }
    }
}
