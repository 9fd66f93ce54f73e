//! A unix datagram socket of our own, for HAProxy's `log /path` line.
//!
//! HAProxy opens the path anew for each line, by its own user and within its chroot, if it has one: its
//! user must be able to write to the socket. A sender never waits: what does not fit into the queue
//! (`net.unix.max_dgram_qlen` datagrams) is counted by HAProxy as `DroppedLogs` and by nobody else.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags};
use nix::unistd::Group;

use super::bound::Bound;
use super::datagrams::{Datagrams, prepare};
use super::link::{LinkEvent, Losses};
use super::place::UnixPlace;
use super::turn::{Input, Rest, Turn, soonest};
use super::udp::receive;

/// The group that HAProxy's packages make for it.
const HAPROXY: &str = "haproxy";

/// How often it is looked whether the path still leads to our socket.
const LOOK: Duration = Duration::from_secs(1);

/// One socket of our own.
pub(super) struct Unix {
    place: UnixPlace,
    bound: Bound<Socket>,
    datagrams: Datagrams,
    losses: Losses,
    looked: Instant,
}

impl Unix {
    /// Makes the socket at once, if it can be made.
    pub(super) fn new(place: UnixPlace, longest_line: usize) -> Self {
        let (datagrams, losses) = (Datagrams::new(longest_line), Losses::default());
        let mut unix = Self { place, bound: Bound::none(), datagrams, losses, looked: Instant::now() };
        unix.bound.bind(unix.looked, || Socket::make(&unix.place));
        unix
    }

    fn look(&mut self, now: Instant) {
        if now.saturating_duration_since(self.looked) >= LOOK {
            self.looked = now;
            if self.bound.socket().is_some_and(|socket| !socket.is_at_its_path()) {
                self.bound.lose(LinkEvent::PathLost, now);
                self.datagrams.forget_drops();
            }
        }
        self.bound.bind(now, || Socket::make(&self.place));
    }
}

impl Input for Unix {
    fn turn(&mut self, turn: &mut Turn) -> Rest {
        // Before the look: what was sent to a socket that has lost its path is read.
        let rest = receive(&mut self.bound, &mut self.datagrams, &mut self.losses, turn);
        self.look(Instant::now());
        self.bound.tell(turn);
        rest
    }

    fn wait_on<'a>(&'a self, fds: &mut Vec<PollFd<'a>>) {
        fds.extend(self.bound.socket().map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN)));
    }

    fn next_look(&self, now: Instant) -> Option<Duration> {
        let look = (self.looked + LOOK).saturating_duration_since(now);
        soonest(Some(look), soonest(self.bound.next_try(now), self.losses.next_tell(now)))
    }
}

/// The socket, and which one it is; its path is removed with it.
struct Socket {
    socket: UnixDatagram,
    path: PathBuf,
    id: (u64, u64),
}

impl Socket {
    fn make(place: &UnixPlace) -> Result<(Self, Vec<LinkEvent>), LinkEvent> {
        make_way(&place.path)?;
        let cannot_listen = |error: io::Error| LinkEvent::CannotListen(error.kind());
        let socket = UnixDatagram::bind(&place.path).map_err(cannot_listen)?;
        let metadata = fs::symlink_metadata(&place.path).map_err(cannot_listen)?;
        let id = (metadata.dev(), metadata.ino());
        // From here on its path goes with it, also if what follows fails.
        let made = Self { socket, path: place.path.clone(), id };
        // Until its mode is set, the process's umask keeps others from it.
        let mut events: Vec<LinkEvent> = give_to_group(place).err().into_iter().collect();
        fs::set_permissions(&place.path, fs::Permissions::from_mode(place.mode)).map_err(cannot_listen)?;
        let receive_buffer = Some(prepare(&made.socket).map_err(cannot_listen)?);
        events.push(LinkEvent::Listening { receive_buffer });
        Ok((made, events))
    }

    fn is_at_its_path(&self) -> bool {
        fs::symlink_metadata(&self.path).is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == self.id)
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl std::os::fd::AsRawFd for Socket {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.socket.as_raw_fd()
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.is_at_its_path() {
            // If it cannot be removed, the next one takes it for the stale socket that it is.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Removes a socket that nobody receives from any more. Anything else that is at `path` stays.
fn make_way(path: &Path) -> Result<(), LinkEvent> {
    match state_of(path) {
        SocketState::Absent => Ok(()),
        SocketState::Stale => fs::remove_file(path).map_err(|error| LinkEvent::CannotListen(error.kind())),
        SocketState::Live => Err(LinkEvent::InUse),
        SocketState::Other => Err(LinkEvent::NotASocket),
    }
}

/// What is at a path where a socket is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketState {
    /// Nothing.
    Absent,
    /// A socket that nobody receives from: left by a process that was killed.
    Stale,
    /// A socket that a process receives from, or that cannot be told from one.
    Live,
    /// Something else.
    Other,
}

/// What is at `path`. A live socket is connected to and nothing is sent.
pub fn state_of(path: &Path) -> SocketState {
    let Ok(metadata) = fs::symlink_metadata(path) else { return SocketState::Absent };
    if !metadata.file_type().is_socket() {
        return SocketState::Other;
    }
    let connected = UnixDatagram::unbound().and_then(|socket| socket.connect(path));
    match connected {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => SocketState::Stale,
        Err(error) if error.kind() == io::ErrorKind::NotFound => SocketState::Absent,
        _ => SocketState::Live,
    }
}

/// Gives the socket to the group that was asked for, or to HAProxy's, if there is one and we may.
fn give_to_group(place: &UnixPlace) -> Result<(), LinkEvent> {
    let name = place.group.as_deref().unwrap_or(HAPROXY);
    let group = Group::from_name(name).map_err(io::Error::from);
    let is_already = |gid: u32| fs::symlink_metadata(&place.path).is_ok_and(|metadata| metadata.gid() == gid);
    let given = match group {
        // As in /run/haproxy of Debian, whose files take its group.
        Ok(Some(group)) if is_already(group.gid.as_raw()) => Ok(()),
        Ok(Some(group)) => chown(&place.path, None, Some(group.gid.as_raw())),
        Ok(None) if place.group.is_none() => return Ok(()),
        Ok(None) => Err(io::ErrorKind::NotFound.into()),
        Err(error) => Err(error),
    };
    given.map_err(|error| LinkEvent::CannotGiveTo { group: name.to_owned(), kind: error.kind() })
}
