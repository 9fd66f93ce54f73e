//! Old logs, for the commands that read them from start to end: files, compressed or not, and standard input.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};

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
    /// Opens the file `name`, or standard input for `-`.
    pub(super) fn open(name: &str) -> Result<Self, Failure> {
        Self::open_at(name, 0)
    }

    /// Opens `name` and goes to byte `begin`, which only files can that have [`Self::plain_bytes`].
    pub(super) fn open_at(name: &str, begin: u64) -> Result<Self, Failure> {
        let input = input(name, begin).map_err(|error| cannot_read(name, &error))?;
        Ok(Self { name: name.to_owned(), input })
    }

    /// The size of `name` if it is a file whose bytes are its lines, so that it can be read in parts.
    pub(super) fn plain_bytes(name: &str) -> Option<u64> {
        let mut file = File::open(name).ok().filter(|_| name != STDIN)?;
        let found = file.metadata().ok().filter(std::fs::Metadata::is_file)?;
        let mut head = [0; 4];
        let length = file.read(&mut head).ok()?;
        (Packing::of(&head[..length]) == Packing::Plain).then_some(found.len())
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

/// The text of `name` from byte `begin` on.
fn input(name: &str, begin: u64) -> io::Result<Box<dyn Read + Send>> {
    if name == STDIN {
        return Ok(Box::new(unpack(io::stdin())?));
    }
    let mut file = File::open(name)?;
    if begin > 0 {
        file.seek(SeekFrom::Start(begin))?;
        return Ok(Box::new(file));
    }
    Ok(Box::new(unpack(file)?))
}

fn cannot_read(name: &str, error: &io::Error) -> Failure {
    Failure::Failed(format!("cannot read `{name}`: {error}"))
}
