//! Many files to one book, over all cores.
//!
//! A large file is split into parts at line ends; whoever has nothing to do takes the next part.
//! Pipes and compressed files have no parts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;

use memchr::memchr;

use super::book::Book;
use crate::cli::Failure;
use crate::cli::log_file::{LogFile, plain_bytes};
use crate::cli::progress::{PATIENCE, Progress};

/// Long enough that opening a file costs nothing, short enough that all are done at about the same time.
const PART_BYTES: u64 = 32 * 1024 * 1024;

/// How much is read at once. With more of it, the counts no longer stay in the processor's caches.
const BLOCK_BYTES: usize = 256 * 1024;

/// One piece of work.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Part {
    name: String,
    /// Lines that begin in it are its lines. To the end of the file if there is no end.
    begin: u64,
    end: Option<u64>,
}

/// Reads `files` into copies of `empty`, and puts those together.
pub(super) fn read(files: &[String], threads: usize, empty: &Book) -> Result<Book, Failure> {
    let parts: Vec<Part> =
        files.iter().flat_map(|name| split(name, plain_bytes(name).filter(|_| threads > 1))).collect();
    let next = AtomicUsize::new(0);
    let mut progress = Progress::of(files);
    let done_bytes = Arc::clone(progress.done());
    thread::scope(|scope| {
        let (sender, books) = mpsc::channel();
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
            match books.recv_timeout(PATIENCE) {
                Ok(book) => all.add_all(&book.inspect_err(|_| next.store(parts.len(), Ordering::Relaxed))?),
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
fn read_parts(
    parts: &[Part],
    next: &AtomicUsize,
    done_bytes: &Arc<AtomicU64>,
    mut book: Book,
) -> Result<Book, Failure> {
    while let Some(part) = parts.get(next.fetch_add(1, Ordering::Relaxed)) {
        part.read(&mut book, done_bytes)?;
    }
    Ok(book)
}

impl Part {
    fn read(&self, book: &mut Book, done_bytes: &Arc<AtomicU64>) -> Result<(), Failure> {
        // One byte more at the start tells whether a line begins with the part or before it.
        let begin = self.begin.saturating_sub(1);
        let mut input = LogFile::open_at(&self.name, begin, done_bytes)?;
        let mut lines = Lines {
            block: vec![0; BLOCK_BYTES],
            kept: 0,
            position: begin,
            skips: self.begin > 0,
            end: self.end,
        };
        loop {
            let length = input.read(&mut lines.block[lines.kept..])?;
            if !lines.take(length, book) {
                return Ok(());
            }
        }
    }
}

/// Blocks to lines, without copying more than the half line at the end of each.
struct Lines {
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

impl Lines {
    /// Takes `length` more bytes in the block; `false` if there is nothing more to do.
    fn take(&mut self, length: usize, book: &mut Book) -> bool {
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
        begin += book.take(&self.block[begin..last.map_or(filled, |newline| newline + 1)]);
        let goes_on = !is_end && last.is_none() && self.is_ours(begin);
        self.keep(begin, filled, book);
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
    fn keep(&mut self, begin: usize, filled: usize, book: &mut Book) {
        self.block.copy_within(begin..filled, 0);
        self.position += begin as u64;
        self.kept = filled - begin;
        if self.kept == self.block.len() {
            book.take_overlong();
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

    use super::super::book::Range;
    use super::*;
    use crate::core::log::format::LineFormat;

    fn read_part(name: &str, begin: u64, end: Option<u64>) -> Book {
        let mut book = Book::new(LineFormat::Auto, Range::ALL);
        let part = Part { name: name.to_owned(), begin, end };
        part.read(&mut book, &Arc::default()).expect("the file is ours");
        book
    }

    /// How many lines were what, and what the server was called: one for each length of line.
    fn counted(book: &Book) -> (u64, u64, Vec<(String, u64)>) {
        let accounts = book.accounts();
        let mut requests: Vec<_> = accounts
            .map(|(names, account)| (String::from_utf8_lossy(names).into_owned(), account.requests()))
            .collect();
        requests.sort();
        (book.others.messages, book.others.unparsed, requests)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(30))]

        #[test]
        fn each_line_is_in_one_part_wherever_the_file_is_cut(
            // Some lines are longer than a block, and some than a line may be.
            lengths in proptest::collection::vec(prop_oneof![0usize..300, 0usize..300, 50_000usize..200_000], 1..30),
            cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..6),
            ends_with_newline: bool,
        ) {
            let line = |length: &usize| {
                let head = format!("1.2.3.4:50000 [21/Nov/2026:09:31:50.191] fe be/s{length} 0/0/0/1/1 200 7 - - ---- 1/1/0/0/0 0/0 \"GET /");
                if length.is_multiple_of(7) { "Proxy be stopped".to_owned() } else { head + &"x".repeat(*length) }
            };
            let mut text = lengths.iter().map(line).collect::<Vec<_>>().join("\n");
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
            let mut together = Book::new(LineFormat::Auto, Range::ALL);
            let mut begin = 0;
            for cut in cuts {
                together.add_all(&read_part(name, begin, Some(cut)));
                begin = cut;
            }
            together.add_all(&read_part(name, begin, None));
            let whole = counted(&read_part(name, 0, None));
            prop_assert_eq!(counted(&together), whole.clone());
            let lines = whole.0 + whole.1 + whole.2.iter().map(|(_, count)| count).sum::<u64>();
            prop_assert_eq!(lines, lengths.len() as u64);
        }
    }
}
