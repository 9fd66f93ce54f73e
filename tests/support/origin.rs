//! A server for HAProxy to send requests to.

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

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
}

impl Origin {
    /// Listens on a loopback port the kernel picks.
    pub fn start() -> Self {
        Self::start_on(0)
    }

    /// Listens on loopback port `port`.
    pub fn start_on(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("a loopback port");
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
    shared.requests.fetch_add(1, Ordering::Relaxed);
    thread::sleep(Duration::from_millis(shared.delay_ms.load(Ordering::Relaxed)));
    let status = shared.status.load(Ordering::Relaxed);
    let head = format!("HTTP/1.1 {status} whatever\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n");
    let _ = stream.write_all(head.as_bytes());
    let _ = stream.shutdown(Shutdown::Write);
}
