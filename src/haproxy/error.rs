//! What can go wrong between a command and its answer.

use std::fmt;
use std::io;
use std::time::Duration;

use super::address::Address;
use crate::core::wire::error::AnswerError;
use crate::core::wire::guarded::Overtaken;
use crate::core::wire::response::Refusal;

/// Why HAProxy did not do, or did not say, what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// Nobody answers there, or we may not ask. Nothing was sent.
    #[error("cannot connect to `{address}`{}", remedy(source))]
    CannotConnect {
        /// Where.
        address: Address,
        /// What the system says.
        source: io::Error,
    },
    /// The deadline passed. Unless it passed while connecting, HAProxy may have carried out
    /// the command all the same.
    #[error("`{address}` did not answer within {after:?}: timed out while {during}")]
    TimedOut {
        /// Where.
        address: Address,
        /// What we were doing.
        during: Phase,
        /// How long all of it may take.
        after: Duration,
    },
    /// A master's socket was named as if it were a `stats socket`.
    #[error("`{address}` is the socket of a HAProxy master; write `master:{address}`")]
    Master {
        /// Where.
        address: Address,
    },
    /// A master's worker is gone, or the next one does not run yet. Nothing was carried out that lasts.
    #[error("the HAProxy master at `{address}` has no worker that can be asked")]
    NoWorker {
        /// Where.
        address: Address,
    },
    /// The connection broke. HAProxy may have carried out the command all the same.
    #[error("the connection to `{address}` broke while {during}")]
    Broken {
        /// Where.
        address: Address,
        /// What we were doing.
        during: Phase,
        /// What the system says.
        source: io::Error,
    },
    /// The connection was closed before the answer was complete. HAProxy may have carried out
    /// the command all the same.
    #[error("`{address}` closed the connection after {received} bytes, in the middle of its answer")]
    ClosedMidway {
        /// Where.
        address: Address,
        /// What came.
        received: usize,
    },
    /// The answer is longer than HAProxy's answers can be.
    #[error("the answer of `{address}` is longer than {limit} bytes")]
    TooLong {
        /// Where.
        address: Address,
        /// More was not read.
        limit: usize,
    },
    /// The answer does not say what it should.
    #[error("`{address}` did not answer as HAProxy does; is it a HAProxy `stats socket`?")]
    Garbage {
        /// Where.
        address: Address,
        /// What was expected.
        source: AnswerError,
    },
    /// The process that answered is an old worker, which only finishes what it has: what it was told it forgets at
    /// its end, and a change has to be made again.
    #[error("the HAProxy that answered at `{address}` is an old one that is stopping (pid {pid})")]
    OldWorker {
        /// Where.
        address: Address,
        /// Its process id.
        pid: u32,
    },
    /// HAProxy consists of several processes (`nbproc`), and nobody can say which of them a socket reaches.
    #[error(
        "HAProxy at `{address}` has {processes} processes (`nbproc`), each with servers of its own, and not all of \
         them can be reached: use `nbthread` instead, or give each a socket (`stats socket PATH level admin process N`) \
         and name them all in `haproxy.sockets`"
    )]
    ManyProcesses {
        /// Where.
        address: Address,
        /// How many.
        processes: u32,
    },
    /// HAProxy is not as it was read, and so the change was not sent.
    #[error("HAProxy at `{address}` was not told to `{command}`")]
    Overtaken {
        /// Where.
        address: Address,
        /// The change.
        command: String,
        /// What has come before it.
        #[source]
        by: Overtaken,
    },
    /// HAProxy's "no".
    #[error("HAProxy at `{address}` refused `{command}`")]
    Refused {
        /// Where.
        address: Address,
        /// The refused part of the command line.
        command: String,
        /// Its reason.
        #[source]
        refusal: Refusal,
    },
}

impl RuntimeError {
    /// What `error` means if `address` gave that answer.
    pub(super) fn of_answer(error: AnswerError, address: &Address) -> Self {
        let address = address.clone();
        match error {
            AnswerError::Refused { command, refusal } => Self::Refused { address, command, refusal },
            AnswerError::Incomplete { received } => Self::ClosedMidway { address, received },
            source => Self::Garbage { address, source },
        }
    }

    /// HAProxy's "no", if that is what it is.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused { refusal, .. } => Some(refusal),
            _ => None,
        }
    }

    /// What was quicker than the change, if that is why it was not sent.
    pub fn overtaken(&self) -> Option<Overtaken> {
        match self {
            Self::Overtaken { by, .. } => Some(*by),
            _ => None,
        }
    }
}

/// How far a command has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Connecting.
    Connecting,
    /// Sending the command.
    Sending,
    /// Waiting for the answer's end.
    Reading,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connecting => "connecting",
            Self::Sending => "sending the command",
            Self::Reading => "reading the answer",
        })
    }
}

/// What an operator can do about it.
fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "; the agent's user must be in the group of HAProxy's `stats socket` line, on Debian `haproxy`"
        }
        io::ErrorKind::NotFound => "; is there a `stats socket` line with this path, and is HAProxy running?",
        io::ErrorKind::ConnectionRefused => "; is HAProxy running?",
        _ => "",
    }
}
