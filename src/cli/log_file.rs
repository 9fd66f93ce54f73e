//! Old logs, for the commands that read them from start to end: files and standard input.

use std::fs::File;
use std::io::{self, ErrorKind, Read};

use super::Failure;
use crate::core::log::framing::{Frame, Framing};

/// How much is read at once: enough that the calls cost nothing, little enough for the cache.
pub(super) const BLOCK_BYTES: usize = 256 * 1024;

/// Standard input, by its usual name.
const STDIN: &str = "-";

/// A log that is being read.
pub(super) struct LogFile {
    name: String,
    input: Box<dyn Read + Send>,
    framing: Framing,
    block: Vec<u8>,
}

impl LogFile {
    /// Opens the file `name`, or standard input for `-`.
    pub(super) fn open(name: &str) -> Result<Self, Failure> {
        let input = open(name).map_err(|error| cannot_read(name, &error))?;
        Ok(Self { name: name.to_owned(), input, framing: Framing::default(), block: vec![0; BLOCK_BYTES] })
    }

    /// Reads what is there, at most a block, and gives its lines to `each`; `false` at the end.
    pub(super) fn read_block(&mut self, each: impl FnMut(Frame<'_>)) -> Result<bool, Failure> {
        let length = loop {
            match self.input.read(&mut self.block) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => break read.map_err(|error| cannot_read(&self.name, &error))?,
            }
        };
        if length == 0 {
            self.framing.finish(each);
        } else {
            self.framing.push(&self.block[..length], each);
        }
        Ok(length > 0)
    }
}

/// The bytes of `name`.
fn open(name: &str) -> io::Result<Box<dyn Read + Send>> {
    Ok(if name == STDIN { Box::new(io::stdin()) } else { Box::new(File::open(name)?) })
}

fn cannot_read(name: &str, error: &io::Error) -> Failure {
    Failure::Failed(format!("cannot read `{name}`: {error}"))
}
