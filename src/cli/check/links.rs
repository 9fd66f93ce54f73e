//! Sources that are no files: can the address be had, may HAProxy write there, does HAProxy or the journal
//! want to tell?
//!
//! Sockets are tried and let go of at once. A ring is read for a moment by the same code that reads it
//! live, and the journal's last lines by journalctl, so that their lines can be looked at as well.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::unistd::{AccessFlags, Group, access};

use super::Finding;
use super::logs::lines;
use crate::config::Config;
use crate::input::{
    LinkEvent, Options, RingPlace, Sink, SocketState, Source, SourceEvent, UnixPlace, Waker, probe_udp,
    socket_state, start,
};

/// Less than this of UDP is lost while the agent is busy for a moment: some 2,000 lines.
const LEAST_RECEIVE_BUFFER: usize = 2 << 20;

/// Fewer datagrams in the queue of a unix socket and HAProxy throws lines away at every breath of ours.
const LEAST_QUEUE: u32 = 128;

/// journalctl may have to look through gigabytes.
const JOURNAL_WITHIN: Duration = Duration::from_secs(10);

/// For the first answer of a ring, and of silence after its last line.
const RING_WITHIN: Duration = Duration::from_secs(3);
const RING_QUIET: Duration = Duration::from_millis(300);

pub(super) async fn check(about: &str, source: &Source, config: &Config) -> Vec<Finding> {
    match source {
        Source::File(_) | Source::Stdin => Vec::new(),
        Source::Udp(address) => udp(about, *address),
        Source::Tcp(place) => tcp(about, place.address),
        Source::Unix(place) => unix(about, place),
        Source::Journald(unit) => journald(about, unit, config).await,
        Source::Ring(place) => ring(about, place, config).await,
    }
}

fn udp(about: &str, address: SocketAddr) -> Vec<Finding> {
    let mut findings = vec![match probe_udp(address) {
        Ok(bytes) if bytes >= LEAST_RECEIVE_BUFFER => {
            Finding::ok(about, format!("can be received on; receive buffer of {} KiB", bytes >> 10))
        }
        Ok(bytes) => Finding::warn(
            about,
            format!(
                "can be received on, but with a receive buffer of {} KiB: bursts will be lost",
                bytes >> 10
            ),
            "sysctl -w net.core.rmem_max=33554432, and in /etc/sysctl.d for the next boot",
        ),
        Err(error) => cannot_bind(about, &error),
    }];
    findings.extend(open_to_others(about, address));
    findings
}

fn tcp(about: &str, address: SocketAddr) -> Vec<Finding> {
    let bound = TcpListener::bind(address);
    let mut findings = vec![match bound {
        Ok(_) => Finding::ok(about, "can be listened on"),
        Err(error) => cannot_bind(about, &error),
    }];
    findings.extend(open_to_others(about, address));
    findings
}

fn cannot_bind(about: &str, error: &io::Error) -> Finding {
    let found = format!("cannot be had: {error}");
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            Finding::warn(about, found, "fine if it is the agent you mean that has it")
        }
        io::ErrorKind::PermissionDenied => {
            Finding::fail(about, found, "ports below 1024 take a privilege: use a higher one, such as 5514")
        }
        io::ErrorKind::AddrNotAvailable => Finding::fail(
            about,
            found,
            "no interface of this machine has the address: `ip address` shows them",
        ),
        _ => Finding::fail(about, found, "is it an address of this machine?"),
    }
}

fn open_to_others(about: &str, address: SocketAddr) -> Option<Finding> {
    (!address.ip().is_loopback()).then(|| {
        Finding::warn(
            about,
            "can be reached from other machines: whoever sends there can make the agent move servers",
            "use 127.0.0.1 where HAProxy is on this machine; else let a firewall admit HAProxy only",
        )
    })
}

fn unix(about: &str, place: &UnixPlace) -> Vec<Finding> {
    let mut findings = vec![path(about, &place.path)];
    findings.extend(writers(about, place));
    findings.extend(way_there(about, place));
    let queue = std::fs::read_to_string("/proc/sys/net/unix/max_dgram_qlen").ok();
    if let Some(queue) =
        queue.and_then(|text| text.trim().parse::<u32>().ok()).filter(|&queue| queue < LEAST_QUEUE)
    {
        findings.push(Finding::warn(
            about,
            format!(
                "its queue has room for {queue} lines: HAProxy throws away what comes faster (DroppedLogs)"
            ),
            "sysctl -w net.unix.max_dgram_qlen=512, and in /etc/sysctl.d for the next boot",
        ));
    }
    findings
}

fn path(about: &str, path: &Path) -> Finding {
    match socket_state(path) {
        SocketState::Live => Finding::warn(
            about,
            "another process receives there",
            "fine if it is the agent you mean; else give it another path",
        ),
        SocketState::Other => Finding::fail(
            about,
            "there is something at the path that is not a socket",
            "move it away, or give the socket another path",
        ),
        SocketState::Absent | SocketState::Stale => {
            let folder = path.parent().unwrap_or(Path::new("/"));
            match access(folder, AccessFlags::W_OK | AccessFlags::X_OK) {
                Ok(()) => Finding::ok(about, "can be made"),
                Err(error) => Finding::fail(
                    about,
                    format!("cannot be made in `{}`: {}", folder.display(), io::Error::from(error)),
                    "make the folder, and let the agent's user write there",
                ),
            }
        }
    }
}

/// Whose group the socket will be.
fn group_of(place: &UnixPlace) -> Option<Group> {
    Group::from_name(place.group.as_deref().unwrap_or("haproxy")).ok().flatten()
}

fn writers(about: &str, place: &UnixPlace) -> Option<Finding> {
    let mode = place.mode;
    match (&place.group, group_of(place)) {
        (Some(name), None) => Some(Finding::fail(
            about,
            format!("there is no group {name}"),
            "name the group that HAProxy runs as: `group` in haproxy.cfg",
        )),
        _ if mode & 0o002 != 0 => Some(Finding::warn(
            about,
            "everybody on this machine may write there, and make the agent move servers",
            "without ?mode=, HAProxy's group may and nobody else",
        )),
        (None, None) => Some(Finding::warn(
            about,
            "there is no group haproxy: only the agent's own user and group may write",
            "append ?group= with the group that HAProxy runs as",
        )),
        _ => None,
    }
}

/// The folder that the group cannot enter, if there is one.
fn way_there(about: &str, place: &UnixPlace) -> Option<Finding> {
    let group = group_of(place);
    let is_closed = |folder: &&Path| {
        std::fs::metadata(folder).is_ok_and(|metadata| {
            let mode = metadata.permissions().mode();
            let is_groups = group.as_ref().is_some_and(|group| group.gid.as_raw() == metadata.gid());
            mode & 0o001 == 0 && !(is_groups && mode & 0o010 != 0)
        })
    };
    let closed = place.path.ancestors().skip(1).find(is_closed)?;
    let found = format!("HAProxy's user may not get through `{}`, unless it is root", closed.display());
    Some(Finding::warn(about, found, "chmod o+x it, or take a folder such as /run/haproxy"))
}

async fn journald(about: &str, unit: &str, config: &Config) -> Vec<Finding> {
    let mut command = tokio::process::Command::new("journalctl");
    command.args(["--output=json", "--all", "--output-fields=MESSAGE", "--lines=500", "--quiet"]);
    command.arg(format!("--unit={unit}")).stdin(Stdio::null()).kill_on_drop(true);
    let output = match tokio::time::timeout(JOURNAL_WITHIN, command.output()).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) => {
            let found = format!("journalctl cannot be started: {error}");
            return vec![Finding::fail(
                about,
                found,
                "is systemd's journal on this machine? else log to a file",
            )];
        }
        Err(_) => {
            let found = format!("journalctl has not answered within {} s", JOURNAL_WITHIN.as_secs());
            return vec![Finding::warn(about, found, "try it by hand: journalctl -n 5 -u, and the unit")];
        }
    };
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let found = format!("journalctl failed ({}): {}", output.status, said.trim());
        return vec![Finding::fail(about, found, "put the agent's user into the group systemd-journal")];
    }
    if output.stdout.is_empty() {
        let remedy = "is that HAProxy's unit? may the agent's user read the journal (group systemd-journal)?";
        return vec![Finding::warn(about, "has no lines", remedy)];
    }
    lines(about, &output.stdout, None, config)
}

async fn ring(about: &str, place: &RingPlace, config: &Config) -> Vec<Finding> {
    let heard = Heard::default();
    let options = Options { from_start: true, ..Options::default() };
    let reading = Waker::new()
        .and_then(|waker| start(vec![Source::Ring(place.clone())], options, heard.clone(), waker));
    let reading = match reading {
        Ok(reading) => reading,
        Err(error) => return vec![Finding::fail(about, format!("cannot be read: {error}"), "try again")],
    };
    let deadline = Instant::now() + RING_WITHIN;
    while Instant::now() < deadline && !heard.has_ended() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    reading.stop();
    let heard = heard.0.lock().unwrap_or_else(PoisonError::into_inner);
    match &heard.event {
        Some(LinkEvent::Connected { .. }) if heard.bytes.is_empty() => vec![Finding::warn(
            about,
            "is empty: its format cannot be told yet",
            "send a request through HAProxy and look again",
        )],
        Some(LinkEvent::Connected { .. }) => lines(about, &heard.bytes, None, config),
        Some(LinkEvent::Refused(answer)) => vec![Finding::fail(
            about,
            format!("HAProxy refused: {answer}"),
            "it takes a `ring` section of that name in haproxy.cfg and a stats socket with `level operator`",
        )],
        Some(event) => {
            vec![Finding::warn(about, event.to_string(), "does HAProxy run? the agent waits for it")]
        }
        None => vec![Finding::warn(about, "has not answered", "does HAProxy hang? the agent waits for it")],
    }
}

/// What a ring has said so far.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<HeardSoFar>>);

#[derive(Default)]
struct HeardSoFar {
    bytes: Vec<u8>,
    event: Option<LinkEvent>,
    last: Option<Instant>,
}

impl Heard {
    /// It has said what it is, and all its lines.
    fn has_ended(&self) -> bool {
        let heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_quiet = heard.last.is_some_and(|last| last.elapsed() >= RING_QUIET);
        heard.event.is_some() && is_quiet
    }

    fn note(&self, note: impl FnOnce(&mut HeardSoFar)) {
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        heard.last = Some(Instant::now());
        note(&mut heard);
    }
}

impl Sink for Heard {
    fn bytes(&mut self, _source: usize, bytes: &[u8], _arrived: Instant) {
        self.note(|heard| heard.bytes.extend_from_slice(bytes));
    }

    fn cut(&mut self, _source: usize, _arrived: Instant) {}

    fn tail(&mut self, _source: usize, _tail: &[u8], _written: Instant) {}

    fn flush(&mut self) -> bool {
        true
    }

    fn event(&mut self, _source: usize, event: SourceEvent) {
        if let SourceEvent::Link(event) = event {
            self.note(|heard| heard.event = Some(event));
        }
    }
}
