//! Blocks to records on many threads, printed in the order of the input.
//!
//! ```text
//!             .--> worker 0 --.
//!  reader ----+--> worker 1 --+----> writer
//!             '--> worker 2 --'
//! ```
//!
//! Reader and writer go around the workers in the same order, so a block's turn comes by itself. Each of the
//! channels has room for a few blocks only: whoever is slowest is waited for, and the memory stays
//! the same however long the log is.

use std::io::{self, ErrorKind, Write};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;

use super::{Block, Printer, Records, blocks};
use crate::cli::Failure;
use crate::cli::progress::{PATIENCE, Progress};

/// Blocks that may wait for a worker, and what was made of them for the writer.
const WAITING: usize = 2;

/// Who reads what we print.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reader {
    Here,
    /// As `| head` does when it has had enough.
    Gone,
}

/// Prints what `printer` makes of `files`, and returns how many lines were not understood.
pub(super) fn print(files: &[String], threads: usize, printer: &Printer) -> Result<u64, Failure> {
    let progress = Progress::of(files).beside_result();
    let done_bytes = Arc::clone(progress.done());
    thread::scope(|scope| {
        let (mut to_workers, mut from_workers) = (Vec::new(), Vec::new());
        for _ in 0..threads {
            let (blocks_in, blocks) = sync_channel(WAITING);
            let (records, records_out) = sync_channel(WAITING);
            to_workers.push(blocks_in);
            from_workers.push(records_out);
            let printer = printer.clone();
            scope.spawn(move || work(printer, &blocks, &records));
        }
        let reader = scope.spawn(move || {
            let mut workers = to_workers.iter().cycle();
            // Nobody takes a block once the writer has gone.
            let send = |block| workers.next().is_some_and(|worker| worker.send(block).is_ok());
            blocks::read(files, &done_bytes, send)
        });
        let failures = write(from_workers, progress)?;
        // It has no way to panic; if it did, that would be ours to tell.
        reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        Ok(failures)
    })
}

fn work(mut printer: Printer, blocks: &Receiver<Block<'_>>, records: &SyncSender<Records>) {
    for block in blocks {
        if records.send(printer.print(&block)).is_err() {
            return;
        }
    }
}

/// Writes records in turn until there are no more, or nobody reads them.
fn write(workers: Vec<Receiver<Records>>, mut progress: Progress) -> Result<u64, Failure> {
    let mut failures = 0;
    let mut workers = workers.iter().cycle();
    let Some(mut worker) = workers.next() else {
        return Ok(0);
    };
    loop {
        progress.show();
        match worker.recv_timeout(PATIENCE) {
            Ok(records) => {
                failures += records.failures;
                if write_out(&records.text)? == Reader::Gone {
                    return Ok(failures);
                }
                worker = workers.next().unwrap_or(worker);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(failures),
        }
    }
}

fn write_out(text: &[u8]) -> Result<Reader, Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text).and_then(|()| out.flush()) {
        Ok(()) => Ok(Reader::Here),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Reader::Gone),
        Err(error) => Err(Failure::Failed(format!("cannot write to standard output: {error}"))),
    }
}
