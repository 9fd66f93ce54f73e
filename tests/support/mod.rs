//! What tests outside the crate share: a real HAProxy, a fake one, a small origin server, and
//! waiting for a condition instead of sleeping.
//!
//! Each test binary takes this module in by `mod support;` and uses its own part of it.

#![allow(dead_code, unused_imports, unreachable_pub, reason = "no test binary uses all of it")]
#![allow(clippy::print_stderr, reason = "a test that skips or fails says so where the test runner looks")]

pub mod agent;
pub mod fake;
pub mod haproxy;
pub mod origin;
pub mod past;
pub mod received;
pub mod reference;
pub mod short_way;

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::ops::Range;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

pub use agent::Agent;
pub use fake::{FakeHaproxy, Fault};
pub use haproxy::Haproxy;
pub use origin::Origin;
pub use received::Received;

/// More than a machine needs for anything that is waited for, however slow it is and busy with others.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Longer than any test: an answer that does not come, a load that does not end by itself.
pub const NEVER: Duration = Duration::from_secs(3600);

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(5);

/// Waits until `condition` holds.
///
/// # Panics
/// After `within`, naming `what` it was waiting for.
#[track_caller]
pub fn wait_until(what: &str, within: Duration, mut condition: impl FnMut() -> bool) {
    let comes = comes_true(within, &mut condition);
    assert!(comes, "waited {within:?} in vain until {what}");
}

/// Whether `condition` holds at some time `within` so long.
pub fn comes_true(within: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while !condition() {
        if start.elapsed() >= within {
            return false;
        }
        thread::sleep(POLL);
    }
    true
}

/// [`wait_until`] for conditions that are asked for in async code.
///
/// # Panics
/// After `within`, naming `what` it was waiting for.
pub async fn eventually(what: &str, within: Duration, mut condition: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !condition().await {
        assert!(start.elapsed() < within, "waited {within:?} in vain until {what}");
        tokio::time::sleep(POLL).await;
    }
}

/// A loopback port nobody listens on, by TCP or UDP. It lies below the ports that the kernel gives to
/// outgoing connections, and no two calls of one process get the same.
pub fn free_port() -> u16 {
    static GIVEN: Mutex<Option<HashSet<u16>>> = Mutex::new(None);
    let mut given = GIVEN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let given = given.get_or_insert_default();
    let taken = ports_in_use();
    for _ in 0..10_000 {
        let port = 10_000 + (RandomState::new().hash_one(given.len()) % 22_000) as u16;
        if !taken.contains(&port) && given.insert(port) {
            return port;
        }
    }
    panic!("no free loopback port below 32000");
}

/// Whoever binds a port to see whether that is possible may leave it bound for a moment: in a child that another thread has
/// just forked.
fn ports_in_use() -> HashSet<u16> {
    let tables =
        ["tcp", "tcp6", "udp", "udp6"].map(|table| std::fs::read_to_string(format!("/proc/net/{table}")));
    // A machine without IPv6 lacks two of them.
    let tables = tables.into_iter().flatten().collect::<String>();
    let local =
        |line: &str| u16::from_str_radix(line.split_ascii_whitespace().nth(1)?.rsplit_once(':')?.1, 16).ok();
    tables.lines().filter_map(local).collect()
}

/// The last lines of a log: a test that runs for long leaves more than anybody reads.
pub fn tail(log: &str) -> &str {
    const MOST: usize = 3000;
    let from = log.rmatch_indices('\n').nth(MOST).map_or(0, |(at, _)| at + 1);
    &log[from..]
}

/// What the Runtime API at `socket` answers to `command`, to the end; `Err` if it cannot be asked.
pub fn ask(socket: &Path, command: &str) -> std::io::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(format!("{command}\n").as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Asks the HAProxy at `port` for `/n<number>` of each number, on a connection each.
///
/// # Panics
/// If one of them is not answered with 200.
pub fn request(port: u16, numbers: Range<usize>) {
    for number in numbers {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("HAProxy listens");
        let head = format!("GET /n{number} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).expect("HAProxy reads");
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        assert!(answer.starts_with("HTTP/1.1 200"), "request {number}: {answer:?}");
    }
}
