//! One connection to the Runtime API, without ever waiting for it: connect, ask, and take the answer in
//! line by line.
//!
//! Every question begins with `show info`, so that each answer says whose it is: its process may be
//! another one after a reload. Seen on HAProxy 2.6.12: the answer to it ends with an empty line; the ring's
//! lines follow at once.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::sockopt::{KeepAlive, SocketError, TcpKeepCount, TcpKeepIdle, TcpKeepInterval};
use nix::sys::socket::{
    SockFlag, SockType, SockaddrLike, SockaddrStorage, UnixAddr, connect, getsockopt, setsockopt, socket,
};

use crate::core::log::framing::{Frame, Framing};
use crate::haproxy::address::Address;

/// From the first step to the end of `show info`.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// How often it is looked whether a name has been looked up.
const LOOK_UP_POLL: Duration = Duration::from_millis(10);

/// A peer that is gone without a word is noticed after this, in seconds: silence, then probes.
const KEEP_ALIVE: (u32, u32, u32) = (10, 5, 3);

/// Which process answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) pid: u32,
    pub(super) uptime: Duration,
    /// When it said so.
    pub(super) at: Instant,
}

impl Process {
    /// It can be the process that `before` was: in a container, a new one may have the same id.
    pub(super) fn continues(&self, before: &Self) -> bool {
        self.pid == before.pid && self.uptime >= before.uptime
    }
}

/// One connection.
pub(super) struct Conversation {
    question: String,
    stage: Stage,
    begun: Instant,
    answer: Answer,
}

enum Stage {
    LookingUp(Receiver<io::Result<SocketAddr>>),
    Connecting(OwnedFd),
    Listening(File),
    Ended,
}

/// What is said on a connection: a `show info`, and behind it lines.
#[derive(Debug, Default)]
pub(super) struct Answer {
    framing: Framing,
    info: Info,
    /// Whose it is, once `show info` has ended.
    pub(super) process: Option<Process>,
}

/// What has been seen of `show info`.
#[derive(Debug, Default)]
struct Info {
    pid: Option<u32>,
    uptime: Option<Duration>,
}

/// How a step of a conversation ended.
#[derive(Debug)]
pub(super) enum Heard {
    /// Something; there may be more at once.
    More,
    /// Nothing for now.
    Nothing,
    /// The other side has ended it.
    End,
    /// It broke, or never began.
    Failed(io::ErrorKind),
}

impl Conversation {
    /// Asks `question` at `address`, behind a `show info`.
    pub(super) fn begin(address: &Address, question: &str, now: Instant) -> io::Result<Self> {
        let stage = match address {
            Address::Unix(path) => Stage::Connecting(open(&UnixAddr::new(path)?)?),
            Address::Tcp { host, port } => match host.parse() {
                Ok(ip) => Stage::Connecting(open_tcp(SocketAddr::new(ip, *port))?),
                Err(_) => Stage::LookingUp(look_up(host.clone(), *port)),
            },
        };
        let question = format!("{question}\n");
        Ok(Self { question, stage, begun: now, answer: Answer::default() })
    }

    /// Takes the next step, and gives each line that is behind `show info` to `each`.
    pub(super) fn step(
        &mut self,
        block: &mut [u8],
        now: Instant,
        each: impl FnMut(&Process, &[u8]),
    ) -> Heard {
        let heard = self.try_step(block, now, each).unwrap_or_else(|error| match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Heard::Nothing,
            kind => Heard::Failed(kind),
        });
        let is_late = self.process().is_none() && self.time_left(now).is_zero();
        let heard = if is_late { Heard::Failed(io::ErrorKind::TimedOut) } else { heard };
        if matches!(heard, Heard::End | Heard::Failed(_)) {
            self.stage = Stage::Ended;
        }
        heard
    }

    fn try_step(
        &mut self,
        block: &mut [u8],
        now: Instant,
        each: impl FnMut(&Process, &[u8]),
    ) -> io::Result<Heard> {
        match &mut self.stage {
            Stage::LookingUp(answer) => match answer.try_recv() {
                Ok(address) => self.stage = Stage::Connecting(open_tcp(address?)?),
                Err(TryRecvError::Empty) => return Ok(Heard::Nothing),
                Err(TryRecvError::Disconnected) => return Ok(Heard::Failed(io::ErrorKind::NotFound)),
            },
            Stage::Connecting(socket) => {
                if !is_connected(socket)? {
                    return Ok(Heard::Nothing);
                }
                let mut stream = File::from(socket.try_clone()?);
                // A question is far shorter than the buffer of a new socket.
                stream.write_all(self.question.as_bytes())?;
                self.stage = Stage::Listening(stream);
            }
            Stage::Listening(stream) => {
                let read = stream.read(block)?;
                self.answer.take(&block[..read], now, each);
                return Ok(if read == 0 { Heard::End } else { Heard::More });
            }
            Stage::Ended => return Ok(Heard::End),
        }
        Ok(Heard::More)
    }

    /// Who answers, as soon as it has said so.
    pub(super) fn process(&self) -> Option<Process> {
        self.answer.process
    }

    /// To wait on, and for what.
    pub(super) fn fd(&self) -> Option<PollFd<'_>> {
        match &self.stage {
            Stage::LookingUp(_) | Stage::Ended => None,
            Stage::Connecting(socket) => Some(PollFd::new(socket.as_fd(), PollFlags::POLLOUT)),
            Stage::Listening(stream) => Some(PollFd::new(stream.as_fd(), PollFlags::POLLIN)),
        }
    }

    /// How long until it wants another step though nothing came; `None` if it can wait for ever.
    pub(super) fn next_look(&self, now: Instant) -> Option<Duration> {
        match self.stage {
            Stage::LookingUp(_) => Some(LOOK_UP_POLL),
            _ if self.process().is_none() => Some(self.time_left(now)),
            _ => None,
        }
    }

    fn time_left(&self, now: Instant) -> Duration {
        (self.begun + ANSWER_WITHIN).saturating_duration_since(now)
    }
}

impl Answer {
    /// Takes in `bytes`, and gives each line that is behind `show info` to `each`.
    pub(super) fn take(&mut self, bytes: &[u8], now: Instant, mut each: impl FnMut(&Process, &[u8])) {
        let Self { framing, info, process } = self;
        framing.push(bytes, |frame| {
            let (Frame::Line(line) | Frame::Overlong(line)) = frame;
            if let Some(process) = process {
                // Empty lines end answers; no line of a log is empty.
                if !line.is_empty() {
                    each(process, line);
                }
            } else {
                *process = info.take(line, now);
            }
        });
    }
}

impl Info {
    /// Takes in a line of `show info`. Returns whose it is at its end.
    fn take(&mut self, line: &[u8], at: Instant) -> Option<Process> {
        if line.is_empty() {
            // The first answer may be empty, and is not this one.
            let process = Process { pid: self.pid?, uptime: self.uptime?, at };
            return Some(process);
        }
        let number = |name: &str| -> Option<u32> {
            let value = str::from_utf8(line).ok()?.strip_prefix(name)?;
            value.trim().parse().ok()
        };
        self.pid = self.pid.or_else(|| number("Pid:"));
        self.uptime =
            self.uptime.or_else(|| number("Uptime_sec:").map(|seconds| Duration::from_secs(seconds.into())));
        None
    }
}

/// Looks a name up on a thread of its own, for that can neither be waited for nor be stopped.
fn look_up(host: String, port: u16) -> Receiver<io::Result<SocketAddr>> {
    let (out, answer) = channel();
    let look_up = move || {
        let first = (host.as_str(), port)
            .to_socket_addrs()
            .and_then(|mut addresses| addresses.next().ok_or_else(|| io::ErrorKind::NotFound.into()));
        // Nobody may want to know any more.
        let _ = out.send(first);
    };
    // If it cannot be started, the sender is gone, and that is noticed.
    let _ = thread::Builder::new().name("look-up".to_owned()).spawn(look_up);
    answer
}

fn open_tcp(address: SocketAddr) -> io::Result<OwnedFd> {
    let socket = open(&SockaddrStorage::from(address))?;
    setsockopt(&socket, KeepAlive, &true)?;
    setsockopt(&socket, TcpKeepIdle, &KEEP_ALIVE.0)?;
    setsockopt(&socket, TcpKeepInterval, &KEEP_ALIVE.1)?;
    setsockopt(&socket, TcpKeepCount, &KEEP_ALIVE.2)?;
    Ok(socket)
}

/// Begins to connect.
fn open(address: &impl SockaddrLike) -> io::Result<OwnedFd> {
    let family = address.family().ok_or(io::ErrorKind::Unsupported)?;
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let socket = socket(family, SockType::Stream, flags, None)?;
    match connect(socket.as_raw_fd(), address) {
        Ok(()) | Err(Errno::EINPROGRESS) => Ok(socket),
        // The backlog of a unix socket is full (unix(7)): as good as refused, for now.
        Err(Errno::EAGAIN) => Err(io::ErrorKind::ConnectionRefused.into()),
        Err(error) => Err(error.into()),
    }
}

/// Whether it is connected by now.
fn is_connected(socket: &OwnedFd) -> io::Result<bool> {
    let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)];
    if poll(&mut fds, PollTimeout::ZERO)? == 0 {
        return Ok(false);
    }
    match getsockopt(socket, SocketError)? {
        0 => Ok(true),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}
