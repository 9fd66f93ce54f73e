//! Files to blocks of whole lines, each with the number of its first one.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use memchr::{memchr_iter, memrchr};

use crate::cli::Failure;
use crate::cli::log_file::LogFile;
use crate::core::log::framing::DEFAULT_MOST_LINE_BYTES;

/// How much is read at once: enough that the calls and the threads' turns cost nothing.
const BLOCK_BYTES: usize = 256 * 1024;

/// Lines that were read at once; only the last one of a file may have no end.
#[derive(Debug)]
pub(super) struct Block<'a> {
    pub(super) file: &'a str,
    /// The number of its first line in the file, from 1.
    pub(super) first_line: u64,
    pub(super) text: Vec<u8>,
}

/// Reads `files` one after the other, and gives their blocks to `each` until it wants no more.
pub(super) fn read<'a>(
    files: &'a [String],
    done_bytes: &Arc<AtomicU64>,
    mut each: impl FnMut(Block<'a>) -> bool,
) -> Result<(), Failure> {
    for file in files {
        let mut log = LogFile::open(file, done_bytes)?;
        let (mut half, mut first_line) = (Vec::new(), 1);
        loop {
            let (text, is_end) = next(&mut log, &mut half)?;
            let lines = memchr_iter(b'\n', &text).count() as u64;
            if !text.is_empty() && !each(Block { file, first_line, text }) {
                return Ok(());
            }
            if is_end {
                break;
            }
            first_line += lines;
        }
    }
    Ok(())
}

/// The next whole lines, none if they have not come yet, and whether the log has ended. What is
/// left of the last one is put into `half`, where what was left before is taken from.
fn next(log: &mut LogFile, half: &mut Vec<u8>) -> Result<(Vec<u8>, bool), Failure> {
    let mut text = std::mem::take(half);
    let begin = text.len();
    text.resize(begin + BLOCK_BYTES, 0);
    let length = log.read(&mut text[begin..])?;
    text.truncate(begin + length);
    if length == 0 {
        return Ok((text, true));
    }
    let end = memrchr(b'\n', &text[begin..]).map_or(0, |newline| begin + newline + 1);
    *half = text.split_off(end);
    // Of a line that is too long it is enough to know that it is.
    half.truncate(DEFAULT_MOST_LINE_BYTES + 1);
    Ok((text, false))
}
