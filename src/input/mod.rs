//! Where bytes come from: files that are followed, FIFOs, standard input, sockets, the journal, a ring.
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
//!  place     where a source is that has no path: addresses and their settings
//!  bound     a socket that others send to, had as soon as it can be
//!  udp unix  datagrams, many at a system call (datagrams)
//!  tcp       connections of many senders; messages on them (messages)
//!  journald  journalctl as a child; when to try again what failed (backoff)
//!  ring      HAProxy's own, over its Runtime API
//!  link      what there is to tell of sockets and connections; lines lost
//!  archive   old logs, compressed or not: read to their end, by nobody's thread
//! ```

pub mod archive;
mod backlog;
mod backoff;
mod bound;
mod datagrams;
mod fifo;
mod file;
mod follow;
mod journald;
mod link;
mod messages;
mod open;
mod place;
mod reading;
mod ring;
mod siblings;
mod source;
mod stdin;
mod tcp;
mod trouble;
mod turn;
mod udp;
mod unix;
mod wake;

use std::time::Instant;

pub use link::LinkEvent;
pub use messages::Messages;
pub use place::{RingPlace, TcpFraming, TcpPlace, UnixPlace};
pub use reading::{Options, Reading, start};
#[cfg(feature = "fuzzing")]
pub use ring::read_ring;
pub use source::{Source, SourceError, SourceEvent};
pub use udp::probe as probe_udp;
pub use unix::{SocketState, state_of as socket_state};
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

    /// So many lines of the source were lost before they could be read. Told to operators as an event, now
    /// and then; this is to count, at once.
    fn lost(&mut self, _source: usize, _lines: u64) {}

    /// Every source has had its turn: hand over what you hold. False ends the reading.
    fn flush(&mut self) -> bool;

    /// Something an operator should know; told when it changes.
    fn event(&mut self, source: usize, event: SourceEvent);
}
