//! Many files to one reader of lines, over all cores.
//!
//! A large file is split into parts at line ends; whoever has nothing to do takes the next part.
//! Pipes and compressed files have no parts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;

use memchr::memchr;

use super::Failure;
use super::log_file::{LogFile, plain_bytes};
use super::progress::{PATIENCE, Progress};

/// Long enough that opening a file costs nothing, short enough that all are done at about the same time.
const PART_BYTES: u64 = 32 * 1024 * 1024;

/// How much is read at once. With more of it, the counts no longer stay in the processor's caches.
const BLOCK_BYTES: usize = 256 * 1024;

/// What reads lines, in whichever order, and can be put together.
pub(super) trait Lines: Clone + Send + Sync {
    /// Takes all lines that end in `text`, and returns how many bytes they have.
    fn take(&mut self, text: &[u8]) -> usize;

    /// Counts a line that was too long to be kept.
    fn take_overlong(&mut self);

    /// Takes all that `other` has.
    fn add_all(&mut self, other: Self);
}

/// One piece of work.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Part {
    name: String,
    /// Lines that begin in it are its lines. To the end of the file if there is no end.
    begin: u64,
    end: Option<u64>,
}

/// Reads `files` into copies of `empty`, and puts those together.
pub(super) fn read<L: Lines>(files: &[String], threads: usize, empty: &L) -> Result<L, Failure> {
    let parts: Vec<Part> =
        files.iter().flat_map(|name| split(name, plain_bytes(name).filter(|_| threads > 1))).collect();
    let next = AtomicUsize::new(0);
    let mut progress = Progress::of(files);
    let done_bytes = Arc::clone(progress.done());
    thread::scope(|scope| {
        let (sender, readers) = mpsc::channel();
        for _ in 0..threads.min(parts.len()) {
            let (sender, parts, next, done_bytes) = (sender.clone(), &parts, &next, &done_bytes);
            scope.spawn(move || {
                // Nobody listens any more once another part has failed.
                let _ = sender.send(read_parts(parts, next, done_bytes, empty.clone()));
            });
        }
        drop(sender);
        let mut all = empty.clone();
        loop {
            match readers.recv_timeout(PATIENCE) {
                Ok(read) => all.add_all(read.inspect_err(|_| next.store(parts.len(), Ordering::Relaxed))?),
                Err(RecvTimeoutError::Timeout) => progress.show(),
                Err(RecvTimeoutError::Disconnected) => return Ok(all),
            }
        }
    })
}

/// Its parts; one if it cannot be split, or need not be.
fn split(name: &str, size: Option<u64>) -> Vec<Part> {
    let count = size.unwrap_or(0).div_ceil(PART_BYTES).max(1);
    let part = |number: u64| Part {
        name: name.to_owned(),
        begin: number * PART_BYTES,
        // What is written to the file meanwhile belongs to the last part.
        end: (number + 1 < count).then_some((number + 1) * PART_BYTES),
    };
    (0..count).map(part).collect()
}

/// Reads parts until there are no more.
fn read_parts<L: Lines>(
    parts: &[Part],
    next: &AtomicUsize,
    done_bytes: &Arc<AtomicU64>,
    mut reader: L,
) -> Result<L, Failure> {
    while let Some(part) = parts.get(next.fetch_add(1, Ordering::Relaxed)) {
        part.read(&mut reader, done_bytes)?;
    }
    Ok(reader)
}

impl Part {
    fn read(&self, reader: &mut impl Lines, done_bytes: &Arc<AtomicU64>) -> Result<(), Failure> {
        // One byte more at the start tells whether a line begins with the part or before it.
        let begin = self.begin.saturating_sub(1);
        let mut input = LogFile::open_at(&self.name, begin, done_bytes)?;
        let mut blocks = Blocks {
            block: vec![0; BLOCK_BYTES],
            kept: 0,
            position: begin,
            skips: self.begin > 0,
            end: self.end,
        };
        loop {
            let length = input.read(&mut blocks.block[blocks.kept..])?;
            if !blocks.take(length, reader) {
                return Ok(());
            }
        }
    }
}

/// Blocks to lines, without copying more than the half line at the end of each.
struct Blocks {
    block: Vec<u8>,
    /// Bytes at the start of the block that are the start of a line.
    kept: usize,
    /// Where in the file the block begins.
    position: u64,
    /// What comes before the next newline is no line of ours.
    skips: bool,
    /// Lines that begin here or later are not ours.
    end: Option<u64>,
}

impl Blocks {
    /// Takes `length` more bytes in the block; `false` if there is nothing more to do.
    fn take(&mut self, length: usize, reader: &mut impl Lines) -> bool {
        let mut filled = self.kept + length;
        let is_end = length == 0;
        if is_end && filled > 0 && !self.skips {
            // There is room: a full block is never kept.
            self.block[filled] = b'\n';
            filled += 1;
        }
        let mut begin = 0;
        if self.skips {
            let newline = memchr(b'\n', &self.block[..filled]);
            self.skips = newline.is_none();
            begin = newline.map_or(filled, |newline| newline + 1);
        }
        if !self.is_ours(begin) {
            return false;
        }
        let last = self.last_newline(begin, filled);
        begin += reader.take(&self.block[begin..last.map_or(filled, |newline| newline + 1)]);
        let goes_on = !is_end && last.is_none() && self.is_ours(begin);
        self.keep(begin, filled, reader);
        goes_on
    }

    /// Whether a line that begins with byte `at` of the block is.
    fn is_ours(&self, at: usize) -> bool {
        self.end.is_none_or(|end| self.position + (at as u64) < end)
    }

    /// The newline of the last line that is ours, if it is there.
    fn last_newline(&self, begin: usize, filled: usize) -> Option<usize> {
        let last_byte = usize::try_from(self.end?.saturating_sub(self.position + 1)).ok()?;
        let from = last_byte.max(begin);
        memchr(b'\n', self.block.get(from..filled)?).map(|newline| from + newline)
    }

    /// Goes on with what follows byte `begin`.
    fn keep(&mut self, begin: usize, filled: usize, reader: &mut impl Lines) {
        self.block.copy_within(begin..filled, 0);
        self.position += begin as u64;
        self.kept = filled - begin;
        if self.kept == self.block.len() {
            reader.take_overlong();
            self.skips = true;
            self.position += self.kept as u64;
            self.kept = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::*;

    /// The lengths of lines.
    #[derive(Clone, Debug, Default, PartialEq)]
    struct Lengths {
        all: Vec<usize>,
        overlong: usize,
    }

    impl Lines for Lengths {
        fn take(&mut self, text: &[u8]) -> usize {
            let mut taken = 0;
            while let Some(length) = memchr(b'\n', &text[taken..]) {
                self.all.push(length);
                taken += length + 1;
            }
            taken
        }

        fn take_overlong(&mut self) {
            self.overlong += 1;
        }

        fn add_all(&mut self, other: Self) {
            self.all.extend(other.all);
            self.overlong += other.overlong;
        }
    }

    fn read_part(name: &str, begin: u64, end: Option<u64>) -> Lengths {
        let mut lengths = Lengths::default();
        let part = Part { name: name.to_owned(), begin, end };
        part.read(&mut lengths, &Arc::default()).expect("the file is ours");
        lengths
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(30))]

        #[test]
        fn each_line_is_in_one_part_wherever_the_file_is_cut(
            // Some lines are longer than a block.
            lengths in proptest::collection::vec(prop_oneof![0usize..300, 0usize..300, 50_000usize..300_000], 1..30),
            cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..6),
            ends_with_newline: bool,
        ) {
            let lines: Vec<String> = lengths.iter().map(|&length| "x".repeat(length)).collect();
            let mut text = lines.join("\n");
            if ends_with_newline {
                text.push('\n');
            }
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("a.log");
            fs::write(&path, &text).unwrap();
            let name = path.to_str().unwrap();
            let mut cuts: Vec<u64> = cuts.iter().map(|cut| cut.index(text.len()) as u64).collect();
            cuts.sort_unstable();
            cuts.dedup();
            let mut together = Lengths::default();
            let mut begin = 0;
            for cut in cuts {
                together.add_all(read_part(name, begin, Some(cut)));
                begin = cut;
            }
            together.add_all(read_part(name, begin, None));
            let whole = read_part(name, 0, None);
            prop_assert_eq!(&together, &whole);
            let is_short = |length: &&usize| **length < BLOCK_BYTES;
            let mut expected: Vec<usize> = lengths.iter().filter(is_short).copied().collect();
            // What follows the last newline is a line if there is something of it.
            if !ends_with_newline && lengths.last() == Some(&0) {
                expected.pop();
            }
            prop_assert_eq!(&whole.all, &expected);
            prop_assert_eq!(whole.overlong, lengths.len() - lengths.iter().filter(is_short).count());
        }
    }
}
