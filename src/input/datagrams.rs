//! Datagrams, many at a system call. Each is one or more lines; none continues another.

use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd};

use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::sockopt::{RcvBuf, RcvBufForce, RxqOvfl};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, MultiHeaders, getsockopt, recvmmsg, setsockopt};

use super::turn::Turn;

/// Datagrams a system call. Beyond it the call itself does not count any more.
const BATCH: usize = 64;

/// Bytes kept of a datagram, where lines may not be longer. One of UDP has at most 65,507; HAProxy's longest
/// line is 65,535 (`log ... len`) and its header.
const LONGEST: usize = 68 << 10;

/// What is asked of the kernel: a second of 40,000 lines, for each takes some 800 bytes of it.
const RECEIVE_BUFFER: usize = 32 << 20;

/// Where datagrams go.
pub(super) struct Datagrams {
    /// One for each datagram of a batch. Pages that no datagram reaches are never there.
    slots: Vec<u8>,
    slot: usize,
    /// The lines of a batch.
    lines: Vec<u8>,
    /// The kernel's count of drops, as last heard; of the present socket.
    drops: u32,
}

/// What a batch came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Received {
    pub(super) datagrams: usize,
    /// Datagrams the kernel had no room for, since the batch before.
    pub(super) lost: u64,
}

impl Datagrams {
    /// A datagram with a line over `longest_line` bytes is cut, but not so short that it could be taken for
    /// whole.
    pub(super) fn new(longest_line: usize) -> Self {
        let slot = LONGEST.max(longest_line + 1);
        Self { slots: vec![0; BATCH * slot], slot, lines: Vec::new(), drops: 0 }
    }

    /// There is another socket now, whose drops count from zero.
    pub(super) fn forget_drops(&mut self) {
        self.drops = 0;
    }

    /// Receives what is there, up to a batch, and hands it over. Nothing there is no error.
    pub(super) fn receive(&mut self, socket: &impl AsRawFd, turn: &mut Turn) -> io::Result<Received> {
        self.lines.clear();
        // Made anew each time: the kernel writes into the headers how much room it used for its count of
        // drops, and would take that for all the room there is the next time.
        let mut headers: MultiHeaders<()> = MultiHeaders::preallocate(BATCH, Some(cmsg_space!(u32)));
        let mut slices: Vec<[IoSliceMut<'_>; 1]> =
            self.slots.chunks_exact_mut(self.slot).map(|slot| [IoSliceMut::new(slot)]).collect();
        let flags = MsgFlags::MSG_DONTWAIT;
        let received = match recvmmsg(socket.as_raw_fd(), &mut headers, slices.iter_mut(), flags, None) {
            Ok(received) => received,
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(Received::default()),
            Err(error) => return Err(error.into()),
        };
        let mut result = Received::default();
        let before = self.drops;
        for datagram in received {
            result.datagrams += 1;
            for message in datagram.cmsgs().into_iter().flatten() {
                if let ControlMessageOwned::RxqOvfl(drops) = message {
                    self.drops = drops;
                }
            }
            for part in datagram.iovs() {
                push_lines(part, &mut self.lines);
            }
        }
        // The kernel's counter has 32 bits, and begins anew after them.
        result.lost = u64::from(self.drops.wrapping_sub(before));
        turn.hand_over_copy(&self.lines);
        Ok(result)
    }
}

/// Adds what a datagram says to `lines`, with a newline at the end and nothing else there. An empty one
/// says nothing.
fn push_lines(datagram: &[u8], lines: &mut Vec<u8>) {
    // Some senders count the newline, or the zero of a C string, as part of their message.
    let end = datagram.iter().rposition(|byte| !matches!(byte, b'\n' | b'\r' | 0)).map_or(0, |last| last + 1);
    if end > 0 {
        lines.extend_from_slice(&datagram[..end]);
        lines.push(b'\n');
    }
}

/// Makes the most of `socket`: as large a receive buffer as the kernel allows, and a count of what did not
/// fit. Returns the buffer's size, as the kernel counts.
///
/// # Errors
/// If there is no count to be had: a loss that nobody hears of is worse than no socket.
pub(super) fn prepare(socket: &impl AsFd) -> io::Result<usize> {
    // Beyond net.core.rmem_max with CAP_NET_ADMIN only; without, up to that.
    if setsockopt(socket, RcvBufForce, &RECEIVE_BUFFER).is_err() {
        setsockopt(socket, RcvBuf, &RECEIVE_BUFFER)?;
    }
    setsockopt(socket, RxqOvfl, &1)?;
    Ok(getsockopt(socket, RcvBuf)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(datagrams: &[&str], expected: &str) {
        let mut lines = Vec::new();
        for datagram in datagrams {
            push_lines(datagram.as_bytes(), &mut lines);
        }
        assert_eq!(String::from_utf8_lossy(&lines), expected);
    }

    #[test]
    fn each_datagram_ends_its_last_line() {
        check(&["one", "two\n", "three\r\n", "four\0", "five\n\0"], "one\ntwo\nthree\nfour\nfive\n");
        check(&["one\ntwo", "three"], "one\ntwo\nthree\n");
        check(&["", "\n", "\0", " "], " \n");
    }
}
