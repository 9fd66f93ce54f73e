//! Standard input, read to its end.
//!
//! The descriptor is shared with whoever started us, often a shell, so it is never made non-blocking:
//! `poll()` says when a read will not block. Two readers of one standard input would break that.

use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;

use super::SourceEvent;
use super::turn::{Rest, Turn, is_readable};

/// Standard input; `ended` once it has.
pub(super) struct Stdin {
    stdin: std::io::Stdin,
    ended: bool,
}

impl Stdin {
    pub(super) fn new() -> Self {
        Self { stdin: std::io::stdin(), ended: false }
    }

    /// To wait on; `None` once it has ended.
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        (!self.ended).then(|| self.stdin.as_fd())
    }

    /// Reads what is there.
    pub(super) fn turn(&mut self, turn: &mut Turn) -> Rest {
        while !self.ended && is_readable(&self.stdin) {
            if turn.is_over() {
                return Rest::More;
            }
            match nix::unistd::read(&self.stdin, turn.block) {
                Ok(0) => self.end(turn),
                Ok(read) => turn.hand_over(0, 0, read),
                Err(Errno::EINTR) => {}
                // Somebody else made it non-blocking, and took what was there.
                Err(Errno::EAGAIN) => break,
                Err(error) => {
                    turn.event(SourceEvent::Unreadable(std::io::Error::from(error).kind()));
                    self.end(turn);
                }
            }
        }
        if self.ended { Rest::Ended } else { Rest::Nothing }
    }

    fn end(&mut self, turn: &mut Turn) {
        self.ended = true;
        turn.cut();
        turn.event(SourceEvent::Ended);
    }
}
