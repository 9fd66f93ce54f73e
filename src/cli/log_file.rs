//! Old logs, for the commands that read them from start to end: files, compressed or not, and standard input.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Failure;
use crate::input::archive::{Packing, unpack};

/// Standard input, by its usual name.
const STDIN: &str = "-";

/// A log that is being read.
pub(super) struct LogFile {
    name: String,
    input: Box<dyn Read + Send>,
}

impl LogFile {
    /// Opens the file `name`, or standard input for `-`. What is read of it, packed or not, is added to
    /// `done_bytes`.
    pub(super) fn open(name: &str, done_bytes: &Arc<AtomicU64>) -> Result<Self, Failure> {
        Self::open_at(name, 0, done_bytes)
    }

    /// Opens `name` and goes to byte `begin`, which only files can that have [`plain_bytes`].
    pub(super) fn open_at(name: &str, begin: u64, done_bytes: &Arc<AtomicU64>) -> Result<Self, Failure> {
        let input = input(name, begin, done_bytes).map_err(|error| cannot_read(name, &error))?;
        Ok(Self { name: name.to_owned(), input })
    }

    /// The next bytes; 0 at the end.
    pub(super) fn read(&mut self, block: &mut [u8]) -> Result<usize, Failure> {
        loop {
            match self.input.read(block) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => return read.map_err(|error| cannot_read(&self.name, &error)),
            }
        }
    }
}

/// The size of `name` as it lies there, if it is a file.
pub(super) fn file_bytes(name: &str) -> Option<u64> {
    let found = fs::metadata(name).ok().filter(|_| name != STDIN)?;
    found.is_file().then_some(found.len())
}

/// The size of `name` if it is a file whose bytes are its lines, so that it can be read in parts.
pub(super) fn plain_bytes(name: &str) -> Option<u64> {
    let bytes = file_bytes(name)?;
    let mut head = [0; 4];
    let length = File::open(name).ok()?.read(&mut head).ok()?;
    (Packing::of(&head[..length]) == Packing::Plain).then_some(bytes)
}

/// The text of `name` from byte `begin` on.
fn input(name: &str, begin: u64, done_bytes: &Arc<AtomicU64>) -> io::Result<Box<dyn Read + Send>> {
    let done_bytes = Arc::clone(done_bytes);
    if name == STDIN {
        return Ok(Box::new(unpack(Counted { input: io::stdin(), done_bytes })?));
    }
    let mut file = File::open(name)?;
    if begin > 0 {
        file.seek(SeekFrom::Start(begin))?;
        return Ok(Box::new(Counted { input: file, done_bytes }));
    }
    Ok(Box::new(unpack(Counted { input: file, done_bytes })?))
}

/// Counts what is read.
struct Counted<R> {
    input: R,
    done_bytes: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, block: &mut [u8]) -> io::Result<usize> {
        let length = self.input.read(block)?;
        self.done_bytes.fetch_add(length as u64, Ordering::Relaxed);
        Ok(length)
    }
}

fn cannot_read(name: &str, error: &io::Error) -> Failure {
    Failure::Failed(format!("cannot read `{name}`: {error}"))
}
