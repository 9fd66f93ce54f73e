//! What there is to tell of a source that is not a file: a socket, its senders, a connection, a child.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Something an operator should know about a socket, a connection or a child.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkEvent {
    /// A socket is bound: what is sent to it is read. The receive buffer in bytes, as the kernel counts.
    Listening {
        /// Of the socket; where there is one for all senders.
        receive_buffer: Option<usize>,
    },
    /// The socket cannot be had; tried again every second.
    CannotListen(io::ErrorKind),
    /// Another process receives at this path.
    InUse,
    /// What is at the path is not a socket, and is left alone.
    NotASocket,
    /// The socket is there, but not for this group.
    CannotGiveTo {
        /// The group's name.
        group: String,
        /// Why not.
        kind: io::ErrorKind,
    },
    /// The socket's path led elsewhere, or nowhere. It is made anew.
    PathLost,
    /// Lines were lost before they could be read: how many since last told, and altogether.
    Lost {
        /// Since last told.
        lines: u64,
        /// Since the start.
        total: u64,
    },
    /// So many senders are connected that more are turned away.
    TooManySenders {
        /// As many as there may be.
        limit: usize,
    },
    /// The first sender has connected, or the first one again.
    SenderCame(SocketAddr),
    /// No sender is connected any more.
    SendersGone,
    /// A sender said nothing for so long that its connection was closed.
    Idle {
        /// Whose.
        sender: SocketAddr,
        /// For how long.
        after: Duration,
    },
    /// The other side was reached; its process id, where it says so.
    Connected {
        /// Of HAProxy, or of the child.
        pid: u32,
    },
    /// HAProxy was reloaded or restarted: what its new process has is read.
    Reloaded {
        /// Of the new process.
        pid: u32,
    },
    /// The other side cannot be reached; tried again.
    Absent(io::ErrorKind),
    /// The other side said no, in these words.
    Refused(String),
    /// Lines may have been overwritten or removed before it was possible to read on.
    Gap,
    /// The program that reads for us cannot be started.
    CannotStart(io::ErrorKind),
    /// The child has ended: how, and its last words.
    Died(String),
}

impl LinkEvent {
    /// Lines are, or may be, lost or missing until something is done about it.
    pub fn is_trouble(&self) -> bool {
        match self {
            Self::Listening { .. } | Self::Connected { .. } | Self::Reloaded { .. } => false,
            Self::Idle { .. } | Self::SenderCame(_) => false,
            Self::CannotListen(_) | Self::InUse | Self::NotASocket | Self::CannotGiveTo { .. } => true,
            Self::PathLost | Self::Lost { .. } | Self::TooManySenders { .. } | Self::SendersGone => true,
            Self::Absent(_) | Self::Refused(_) | Self::Gap | Self::CannotStart(_) | Self::Died(_) => true,
        }
    }
}

impl fmt::Display for LinkEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listening { receive_buffer: None } => f.write_str("listening"),
            Self::Listening { receive_buffer: Some(bytes) } => {
                write!(f, "listening with a receive buffer of {} KiB", bytes >> 10)
            }
            Self::CannotListen(kind) => write!(f, "cannot listen: {kind}; trying again"),
            Self::InUse => f.write_str("another process receives there; waiting for it to end"),
            Self::NotASocket => {
                f.write_str("there is something at the path that is not a socket: left alone")
            }
            Self::CannotGiveTo { group, kind } => {
                write!(f, "socket cannot be given to group {group}: {kind}")
            }
            Self::PathLost => f.write_str("the socket's path does not lead to it any more; making it anew"),
            Self::Lost { lines, total } => {
                write!(f, "{lines} lines were lost before they were read, {total} in all")
            }
            Self::TooManySenders { limit } => write!(f, "more than {limit} senders: the rest is turned away"),
            Self::SenderCame(sender) => write!(f, "{sender} has connected"),
            Self::SendersGone => f.write_str("no sender is connected any more"),
            Self::Idle { sender, after } => {
                write!(f, "{sender} was silent for {} s: closed", after.as_secs())
            }
            Self::Connected { pid } => write!(f, "reading from process {pid}"),
            Self::Reloaded { pid } => write!(f, "haproxy was reloaded: reading from process {pid}"),
            Self::Absent(kind) => write!(f, "cannot be reached: {kind}; trying again"),
            Self::Refused(answer) => write!(f, "refused: {answer}"),
            Self::Gap => f.write_str("what was read last is not there any more: lines may be lost"),
            Self::CannotStart(kind) => write!(f, "journalctl cannot be started: {kind}; trying again"),
            Self::Died(how) => write!(f, "journalctl has ended ({how}); starting it again"),
        }
    }
}

/// How often something that goes on and on is told.
const TELL_EVERY: Duration = Duration::from_secs(30);

/// Lines lost, counted at once and told now and then.
#[derive(Debug, Default)]
pub(super) struct Losses {
    untold: u64,
    total: u64,
    told: Option<Instant>,
}

impl Losses {
    /// Counts `lines` more.
    pub(super) fn add(&mut self, lines: u64) {
        self.untold += lines;
        self.total += lines;
    }

    /// What to tell `now`, if it is time.
    pub(super) fn due(&mut self, now: Instant) -> Option<LinkEvent> {
        if self.untold == 0 || self.time_left(now).is_some_and(|left| !left.is_zero()) {
            return None;
        }
        self.told = Some(now);
        Some(LinkEvent::Lost { lines: std::mem::take(&mut self.untold), total: self.total })
    }

    /// How long until there is something to tell; `None` if there is not.
    pub(super) fn next_tell(&self, now: Instant) -> Option<Duration> {
        (self.untold > 0).then(|| self.time_left(now).unwrap_or_default())
    }

    fn time_left(&self, now: Instant) -> Option<Duration> {
        self.told.map(|told| (told + TELL_EVERY).saturating_duration_since(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_told_at_once_and_then_now_and_then() {
        let start = Instant::now();
        let mut losses = Losses::default();
        assert_eq!(losses.due(start), None);
        losses.add(3);
        assert_eq!(losses.next_tell(start), Some(Duration::ZERO));
        assert_eq!(losses.due(start), Some(LinkEvent::Lost { lines: 3, total: 3 }));
        losses.add(2);
        losses.add(5);
        assert_eq!(losses.due(start + Duration::from_secs(1)), None);
        assert_eq!(losses.next_tell(start + Duration::from_secs(1)), Some(Duration::from_secs(29)));
        let later = start + TELL_EVERY;
        assert_eq!(losses.due(later), Some(LinkEvent::Lost { lines: 7, total: 10 }));
        assert_eq!((losses.due(later), losses.next_tell(later)), (None, None));
    }
}
