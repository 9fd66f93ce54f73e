//! A server for HAProxy to send requests to.

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::{PATIENCE, free_port, wait_until};

/// Answers every HTTP request with `200` and closes; stops when dropped.
pub struct Origin {
    port: u16,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    delay_ms: AtomicU64,
    status: AtomicU64,
    requests: AtomicU64,
    /// So many requests, from the first on, wait no longer.
    let_go: Mutex<u64>,
    is_let_go: Condvar,
}

impl Origin {
    /// Listens on a loopback port that nobody else gets, also while nobody listens on it.
    pub fn start() -> Self {
        Self::start_on(free_port())
    }

    /// Listens on loopback port `port`.
    pub fn start_on(port: u16) -> Self {
        let mut listener = None;
        // A child that is just being forked still holds the socket of whoever listened here before.
        wait_until("the port is free", PATIENCE, || {
            listener = TcpListener::bind(("127.0.0.1", port)).ok();
            listener.is_some()
        });
        let listener = listener.expect("it is bound");
        let port = listener.local_addr().expect("it is bound").port();
        let shared = Arc::new(Shared::default());
        shared.status.store(200, Ordering::Relaxed);
        let theirs = shared.clone();
        let thread = thread::spawn(move || {
            for stream in listener.incoming() {
                if theirs.stop.load(Ordering::Relaxed) {
                    return;
                }
                let shared = theirs.clone();
                if let Ok(stream) = stream {
                    thread::spawn(move || answer(stream, &shared));
                }
            }
        });
        Self { port, shared, thread: Some(thread) }
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Every answer from now on takes so long.
    pub fn set_delay(&self, delay: Duration) {
        self.shared.delay_ms.store(delay.as_millis() as u64, Ordering::Relaxed);
    }

    /// Answers that wait are given at once, and all from now on: a request may still be on its way.
    pub fn let_go(&self) {
        self.let_first_go(u64::MAX);
    }

    /// The same, but of the answers that wait only those to the first `many` requests of all are given.
    pub fn let_first_go(&self, many: u64) {
        let mut let_go = self.shared.let_go.lock().unwrap_or_else(PoisonError::into_inner);
        *let_go = many.min(self.requests());
        self.set_delay(Duration::ZERO);
        self.shared.is_let_go.notify_all();
    }

    /// Every answer from now on has this status.
    pub fn set_status(&self, status: u16) {
        self.shared.status.store(status.into(), Ordering::Relaxed);
    }

    /// Requests received so far, health checks that send one included.
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::Relaxed)
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        // Wakes the accepting thread; if it cannot be reached, it has ended.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// Counts a request, and waits as long as its answer is to take.
    fn wait(&self) {
        let let_go = self.let_go.lock().unwrap_or_else(PoisonError::into_inner);
        let delay = Duration::from_millis(self.delay_ms.load(Ordering::Relaxed));
        let number = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        drop(self.is_let_go.wait_timeout_while(let_go, delay, |first| *first < number));
    }
}

/// Reads one request's head and answers it. Whatever goes wrong is the peer's doing.
fn answer(mut stream: TcpStream, shared: &Shared) {
    let Ok(reading) = stream.try_clone() else { return };
    let mut lines = BufReader::new(reading).lines();
    let mut seen = false;
    while let Some(Ok(line)) = lines.next() {
        if line.is_empty() {
            break;
        }
        seen = true;
    }
    if !seen {
        return;
    }
    shared.wait();
    let status = shared.status.load(Ordering::Relaxed);
    let head = format!("HTTP/1.1 {status} whatever\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n");
    let _ = stream.write_all(head.as_bytes());
    let _ = stream.shutdown(Shutdown::Write);
}
