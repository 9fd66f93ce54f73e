//! UDP: HAProxy's `log ADDR:PORT`, or a syslog daemon that forwards.
//!
//! A datagram that the receive buffer has no room for is lost without a sound; the kernel counts those
//! (`SO_RXQ_OVFL`), and tells with the next datagram that does arrive.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags};

use super::bound::Bound;
use super::datagrams::{Datagrams, prepare};
use super::link::{LinkEvent, Losses};
use super::turn::{Input, Rest, Turn, soonest};

/// One UDP address.
pub(super) struct Udp {
    address: SocketAddr,
    bound: Bound<UdpSocket>,
    datagrams: Datagrams,
    losses: Losses,
}

impl Udp {
    /// Binds `address` at once, if it can be had.
    pub(super) fn new(address: SocketAddr, longest_line: usize) -> Self {
        let datagrams = Datagrams::new(longest_line);
        let mut udp = Self { address, bound: Bound::none(), datagrams, losses: Losses::default() };
        udp.bind();
        udp
    }

    fn bind(&mut self) {
        let address = self.address;
        let listen = || {
            let socket = UdpSocket::bind(address)?;
            let receive_buffer = Some(prepare(&socket)?);
            Ok((socket, vec![LinkEvent::Listening { receive_buffer }]))
        };
        let listen = || listen().map_err(|error: io::Error| LinkEvent::CannotListen(error.kind()));
        self.bound.bind(Instant::now(), listen);
    }
}

impl Input for Udp {
    fn turn(&mut self, turn: &mut Turn) -> Rest {
        self.bind();
        let rest = receive(&mut self.bound, &mut self.datagrams, &mut self.losses, turn);
        self.bound.tell(turn);
        rest
    }

    fn wait_on<'a>(&'a self, fds: &mut Vec<PollFd<'a>>) {
        fds.extend(self.bound.socket().map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN)));
    }

    fn next_look(&self, now: Instant) -> Option<Duration> {
        soonest(self.bound.next_try(now), self.losses.next_tell(now))
    }
}

/// Tries to receive at `address`, and lets go of it at once. Returns the size of the receive buffer that
/// would be had, in bytes as the kernel counts.
///
/// # Errors
/// If the address cannot be had.
pub fn probe(address: SocketAddr) -> io::Result<usize> {
    prepare(&UdpSocket::bind(address)?)
}

/// Receives until nothing is there or the turn is over, and counts what the kernel lost.
pub(super) fn receive<S: AsFd + std::os::fd::AsRawFd>(
    bound: &mut Bound<S>,
    datagrams: &mut Datagrams,
    losses: &mut Losses,
    turn: &mut Turn,
) -> Rest {
    let mut rest = Rest::Nothing;
    while let Some(socket) = bound.socket() {
        if turn.is_over() {
            rest = Rest::More;
            break;
        }
        match datagrams.receive(socket, turn) {
            Ok(received) => {
                losses.add(received.lost);
                turn.lost(received.lost);
                if received.datagrams == 0 {
                    break;
                }
            }
            Err(error) => {
                bound.lose(LinkEvent::CannotListen(error.kind()), Instant::now());
                datagrams.forget_drops();
            }
        }
    }
    if let Some(event) = losses.due(Instant::now()) {
        turn.event(event.into());
    }
    rest
}
