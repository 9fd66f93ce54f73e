//! Syslog over TCP: HAProxy's `ring` section with a `server` line, or a syslog daemon that forwards.
//!
//! Each sender has a connection and a half message of its own, so that one that stalls or sends garbage
//! disturbs no other. What is handed over is whole lines.

use std::io::{self, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::KeepAlive;

use super::bound::Bound;
use super::link::LinkEvent;
use super::messages::Messages;
use super::place::TcpPlace;
use super::trouble::PASSING;
use super::turn::{Input, Rest, Turn, soonest};

/// Connections at once. Each may hold a half message as long as a line may be.
const MOST_SENDERS: usize = 256;

/// A sender that says nothing for so long is closed. HAProxy connects again as soon as it has something
/// to say, and keeps it until then.
const IDLE: Duration = Duration::from_secs(3600);

/// Bytes read from a sender before the next one gets its turn.
const SHARE: usize = 64 << 10;

/// How often it is told that senders are turned away.
const TELL_EVERY: Duration = Duration::from_secs(30);

/// One TCP address and all who send to it.
pub(super) struct Tcp {
    place: TcpPlace,
    longest_line: usize,
    bound: Bound<TcpListener>,
    senders: Vec<Sender>,
    lines: Vec<u8>,
    turned_away: Option<Instant>,
    /// Since when nobody is connected, if that is not told yet and somebody was.
    alone_since: Option<Instant>,
    told_alone: bool,
}

struct Sender {
    stream: TcpStream,
    address: SocketAddr,
    messages: Messages,
    heard: Instant,
}

impl Tcp {
    /// Listens at once, if the address can be had.
    pub(super) fn new(place: TcpPlace, longest_line: usize) -> Self {
        let mut tcp = Self {
            place,
            longest_line,
            bound: Bound::none(),
            senders: Vec::new(),
            lines: Vec::new(),
            turned_away: None,
            alone_since: None,
            told_alone: true,
        };
        tcp.bind(Instant::now());
        tcp
    }

    fn bind(&mut self, now: Instant) {
        let address = self.place.address;
        let listen = || {
            let listener = TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            Ok((listener, vec![LinkEvent::Listening { receive_buffer: None }]))
        };
        self.bound.bind(now, || listen().map_err(|error: io::Error| LinkEvent::CannotListen(error.kind())));
    }

    /// Takes in those who have connected.
    fn accept(&mut self, turn: &mut Turn, now: Instant) {
        while let Some(listener) = self.bound.socket()
            && !turn.is_over()
        {
            match listener.accept() {
                Ok((stream, address)) if self.senders.len() < MOST_SENDERS => {
                    // Without either it would block the thread, or stay for ever.
                    if stream.set_nonblocking(true).is_ok() && setsockopt(&stream, KeepAlive, &true).is_ok() {
                        let messages = Messages::new(self.place.framing, self.longest_line);
                        self.senders.push(Sender { stream, address, messages, heard: now });
                    }
                }
                Ok(_) => self.tell_full(turn, now),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if is_of_the_sender(&error) => {}
                // No descriptors or no memory: those who wait will be taken in later.
                Err(error) => return self.bound.lose(LinkEvent::CannotListen(error.kind()), now),
            }
        }
    }

    fn tell_full(&mut self, turn: &mut Turn, now: Instant) {
        if self.turned_away.is_none_or(|told| now.saturating_duration_since(told) >= TELL_EVERY) {
            self.turned_away = Some(now);
            turn.event(LinkEvent::TooManySenders { limit: MOST_SENDERS }.into());
        }
    }

    /// Which senders have something, or have gone.
    fn ready(&self) -> Vec<usize> {
        let mut fds: Vec<_> =
            self.senders.iter().map(|sender| PollFd::new(sender.stream.as_fd(), PollFlags::POLLIN)).collect();
        if poll(&mut fds, PollTimeout::ZERO).is_err() {
            return Vec::new();
        }
        let is_ready = |fd: &PollFd<'_>| fd.any().unwrap_or(true);
        fds.iter().enumerate().filter(|(_, fd)| is_ready(fd)).map(|(at, _)| at).collect()
    }

    /// Reads a share from everybody who has something. True if somebody may have more.
    fn read(&mut self, turn: &mut Turn, now: Instant) -> bool {
        let mut any_more = false;
        // From the last, so that removing one leaves the places of those to come.
        for at in self.ready().into_iter().rev() {
            if turn.is_over() {
                return true;
            }
            let sender = &mut self.senders[at];
            self.lines.clear();
            let rest = sender.read(turn, &mut self.lines, now);
            turn.hand_over_copy(&self.lines);
            any_more |= rest == Rest::More;
            if rest == Rest::Ended {
                self.senders.swap_remove(at);
            }
        }
        any_more
    }

    fn close_idle(&mut self, turn: &mut Turn, now: Instant) {
        self.senders.retain_mut(|sender| {
            let is_idle = now.saturating_duration_since(sender.heard) >= IDLE;
            if is_idle {
                self.lines.clear();
                sender.messages.finish(&mut self.lines);
                turn.hand_over_copy(&self.lines);
                turn.event(LinkEvent::Idle { sender: sender.address, after: IDLE }.into());
            }
            !is_idle
        });
    }

    /// Tells that somebody is there at last, or that nobody has been for a while.
    fn tell_presence(&mut self, turn: &mut Turn, now: Instant) {
        if let Some(sender) = self.senders.first() {
            if std::mem::take(&mut self.told_alone) {
                turn.event(LinkEvent::SenderCame(sender.address).into());
            }
            self.alone_since = None;
        } else if !self.told_alone {
            let since = *self.alone_since.get_or_insert(now);
            if now.saturating_duration_since(since) >= PASSING {
                self.told_alone = true;
                turn.event(LinkEvent::SendersGone.into());
            }
        }
    }
}

impl Input for Tcp {
    fn turn(&mut self, turn: &mut Turn) -> Rest {
        let now = Instant::now();
        self.bind(now);
        self.accept(turn, now);
        let any_more = self.read(turn, now);
        self.close_idle(turn, now);
        self.tell_presence(turn, now);
        self.bound.tell(turn);
        if any_more || turn.is_over() { Rest::More } else { Rest::Nothing }
    }

    fn wait_on<'a>(&'a self, fds: &mut Vec<PollFd<'a>>) {
        let listener = self.bound.socket().map(AsFd::as_fd);
        let senders = self.senders.iter().map(|sender| sender.stream.as_fd());
        fds.extend(listener.into_iter().chain(senders).map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
    }

    fn next_look(&self, now: Instant) -> Option<Duration> {
        let left = |since: Instant, limit: Duration| (since + limit).saturating_duration_since(now);
        let idle = self.senders.iter().map(|sender| left(sender.heard, IDLE)).min();
        let alone = self.alone_since.filter(|_| !self.told_alone).map(|since| left(since, PASSING));
        soonest(idle, soonest(alone, self.bound.next_try(now)))
    }
}

impl Sender {
    /// Reads what is there, up to a share, and adds the messages that end in it to `lines`.
    fn read(&mut self, turn: &mut Turn, lines: &mut Vec<u8>, now: Instant) -> Rest {
        let mut left = SHARE;
        while left > 0 {
            let most = turn.block.len().min(left);
            match self.stream.read(&mut turn.block[..most]) {
                Ok(0) => {
                    self.messages.finish(lines);
                    return Rest::Ended;
                }
                Ok(read) => {
                    self.messages.push(&turn.block[..read], lines);
                    self.heard = now;
                    left -= read;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Rest::Nothing,
                // Reset: what it said before counts.
                Err(_) => {
                    self.messages.finish(lines);
                    return Rest::Ended;
                }
            }
        }
        Rest::More
    }
}

/// It has gone again before it was taken in (accept(2), "Error handling").
fn is_of_the_sender(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::Interrupted
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::NetworkDown
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::TimedOut
    )
}
