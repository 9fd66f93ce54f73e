//! Where bytes come from: files that are followed, FIFOs, standard input.
//!
//! In: [`Source`]s. Out: calls of a [`Sink`], made by one plain thread that waits in `poll()`, reads
//! large blocks and can be stopped at any time. Bytes are handed over as they are: lines, text and
//! meaning are left to `core/log`. The clock is read here, once for each block.
//!
//! ```text
//!  wake      linemux's file events -> one ring of the eventfd the thread waits on
//!  reading   the thread: whose turn it is, when to wait, when to stop
//!  turn      what a source may do when it is its turn
//!  follow    a path: where it leads, and that it leads elsewhere now
//!  siblings  files it led to in between, unseen
//!  backlog   the files it has led to, in the order in which they are read
//!  file fifo stdin   one open thing each, read to its end for now
//! ```

pub mod archive;
mod backlog;
mod fifo;
mod file;
mod follow;
mod open;
mod reading;
mod siblings;
mod source;
mod stdin;
mod trouble;
mod turn;
mod wake;

use std::time::Instant;

pub use reading::{Options, Reading, start};
pub use source::{Source, SourceError, SourceEvent};
pub use wake::{Waker, watch};

/// What is done with the bytes. All calls come from the reading thread; what they cost, reading costs.
///
/// The thread drops the sink when it ends, for whatever reason: a channel's sender in it is then closed.
/// It is not flushed when reading is stopped from outside, since whoever stops may no longer receive.
pub trait Sink: Send {
    /// `bytes`, never empty, of the source with this place in the list; read at `arrived`.
    fn bytes(&mut self, source: usize, bytes: &[u8], arrived: Instant);

    /// What follows does not continue the half line before it, if there is one.
    fn cut(&mut self, source: usize, arrived: Instant);

    /// The last bytes (at most 64 KiB, perhaps beginning within a line) of a file that was there when
    /// reading was started, and when it was last written. Comes before its first `bytes`, at most once,
    /// and is not itself read: it is to learn from.
    fn tail(&mut self, source: usize, tail: &[u8], written: Instant);

    /// Every source has had its turn: hand over what you hold. False ends the reading.
    fn flush(&mut self) -> bool;

    /// Something an operator should know; told when it changes.
    fn event(&mut self, source: usize, event: SourceEvent);
}
