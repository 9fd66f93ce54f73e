//! A small HTTP server of known capacity: a request waits its turn for one of a few workers,
//! takes a random service time and is answered. A client that leaves is worked for all the same.
//!
//! Up to `workers / mean` requests a second it is fast; beyond that its queue, and with it its
//! latency, grows for as long as the load lasts. That is all the application there is. Waiting
//! is done on timers, so a dozen of these cost next to no CPU; a timer that fires late makes that
//! answer late, but no worker slower.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, header::USER_AGENT};
use axum::serve::ListenerExt;
use tokio::sync::oneshot;

use super::random::Random;

/// How the agent introduces itself when it warms a server up; all other requests are users'.
pub const WARM_UP_AGENT: &str = "haproxy-autoscale/";

/// The header of a request that says itself how long it keeps a worker of a warm and healthy server,
/// in whole microseconds (at most an hour).
pub const TAKES: &str = "x-takes-us";

/// How long one request keeps a worker: lognormal.
#[derive(Clone, Copy, Debug)]
pub struct ServiceTime {
    /// The mean.
    pub mean: Duration,
    /// Standard deviation over mean; 0 is always the same time.
    pub cv: f64,
}

/// A server that has to fill its caches first, as the simulator's have to.
#[derive(Clone, Copy, Debug)]
pub struct ColdStart {
    /// After so many requests, whoever sent them, 1/e of what makes it slow is left; above 0.
    pub over: f64,
    /// The first one takes so many times as long; the later ones less and less.
    pub factor: f64,
}

impl ColdStart {
    /// How many times as long the request after `begun` others takes.
    fn factor_after(self, begun: u64) -> f64 {
        1.0 + (self.factor - 1.0) * (-(begun as f64) / self.over).exp()
    }
}

/// A running server; dropping it closes its port and all its connections at once.
#[derive(Debug)]
pub struct SmallServer {
    addr: SocketAddr,
    app: Arc<App>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl SmallServer {
    /// Listens on a free port of 127.0.0.1, in a thread of its own: it works the same for a
    /// caller with and without a runtime.
    ///
    /// # Errors
    /// The port or the runtime cannot be had.
    pub fn start(workers: usize, service: ServiceTime, cold: Option<ColdStart>) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let addr = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let app = Arc::new(App {
            free_at: Mutex::new(vec![Instant::now(); workers.max(1)]),
            service,
            cold,
            random: Mutex::new(Random::new(u64::from(addr.port()))),
            counters: Counters::default(),
            status: AtomicU16::new(200),
            begun: AtomicU64::new(0),
            slow_percent: AtomicU64::new(100),
        });
        let serving = Arc::clone(&app);
        let (stop, stopped) = oneshot::channel();
        let thread = thread::Builder::new()
            .name(format!("small-{}", addr.port()))
            .spawn(move || runtime.block_on(serve(listener, serving, stopped)))?;
        Ok(Self { addr, app, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What it has seen so far.
    pub fn counters(&self) -> &Counters {
        &self.app.counters
    }

    /// From now on requests are answered with `status` instead of 200; they take as long as ever.
    pub fn set_status(&self, status: u16) {
        self.app.status.store(status, Relaxed);
    }

    /// As if it had begun so many requests since its start: 0 is a new process.
    pub fn set_begun(&self, requests: u64) {
        self.app.begun.store(requests, Relaxed);
    }

    /// From now on each request takes so many percent of its time.
    pub fn set_slow(&self, percent: u64) {
        self.app.slow_percent.store(percent, Relaxed);
    }
}

impl Drop for SmallServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What a server has seen.
#[derive(Debug, Default)]
pub struct Counters {
    users: AtomicU64,
    warm_ups: AtomicU64,
    checks: AtomicU64,
    in_flight: AtomicU64,
}

impl Counters {
    /// Requests received, but for health checks.
    pub fn requests(&self) -> u64 {
        self.users() + self.warm_ups()
    }

    /// Requests of users: all that are neither warm-up nor check.
    pub fn users(&self) -> u64 {
        self.users.load(Relaxed)
    }

    /// Requests of the agent's warm-up, told by their user agent.
    pub fn warm_ups(&self) -> u64 {
        self.warm_ups.load(Relaxed)
    }

    /// HAProxy's health checks: requests with OPTIONS, what `option httpchk` sends by default.
    pub fn checks(&self) -> u64 {
        self.checks.load(Relaxed)
    }

    /// Requests received and not yet answered, but for health checks.
    pub fn in_flight(&self) -> u64 {
        self.in_flight.load(Relaxed)
    }
}

#[derive(Debug)]
struct App {
    /// When each worker will have done what it has been given.
    free_at: Mutex<Vec<Instant>>,
    service: ServiceTime,
    cold: Option<ColdStart>,
    random: Mutex<Random>,
    counters: Counters,
    status: AtomicU16,
    begun: AtomicU64,
    slow_percent: AtomicU64,
}

impl App {
    /// Gives a request that has come at `now` to the worker that is free first; when it will be done.
    fn done_at(&self, now: Instant, takes: Option<Duration>) -> Instant {
        let service_time = self.service_time(takes);
        let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(worker) = free_at.iter_mut().min() else { return now };
        *worker = now.max(*worker) + service_time;
        *worker
    }

    /// How long the next request keeps its worker; `takes`: on a warm and healthy server.
    fn service_time(&self, takes: Option<Duration>) -> Duration {
        let begun = self.begun.fetch_add(1, Relaxed);
        let cold = self.cold.map_or(1.0, |cold| cold.factor_after(begun));
        let slow = self.slow_percent.load(Relaxed) as f64 / 100.0;
        takes.unwrap_or_else(|| self.draw()).mul_f64(cold * slow)
    }

    fn draw(&self) -> Duration {
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        random.lognormal(self.service.mean, self.service.cv)
    }
}

async fn serve(listener: TcpListener, app: Arc<App>, stopped: oneshot::Receiver<()>) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else {
        return; // the port is closed: every request is refused, and that is seen
    };
    // Without it an answer waits for the client's delayed acknowledgement, 40 ms.
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    let router = Router::new().fallback(answer).with_state(app);
    tokio::select! {
        _ = axum::serve(listener, router) => {}
        _ = stopped => {}
    }
}

async fn answer(
    State(app): State<Arc<App>>,
    method: Method,
    headers: HeaderMap,
) -> (StatusCode, &'static str) {
    let counters = &app.counters;
    let status =
        || StatusCode::from_u16(app.status.load(Relaxed)).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if method == Method::OPTIONS {
        counters.checks.fetch_add(1, Relaxed);
        return (status(), "");
    }
    let is_warm_up =
        headers.get(USER_AGENT).is_some_and(|agent| agent.as_bytes().starts_with(WARM_UP_AGENT.as_bytes()));
    if is_warm_up { &counters.warm_ups } else { &counters.users }.fetch_add(1, Relaxed);
    let takes = headers.get(TAKES).and_then(|takes| takes.to_str().ok()?.parse::<u32>().ok());
    let takes = takes.map(|micros| Duration::from_micros(micros.into()));
    let _in_flight = InFlight::new(&counters.in_flight);
    tokio::time::sleep_until(app.done_at(Instant::now(), takes).into()).await;
    (status(), "ok\n")
}

/// Counts down also when the client goes away and the request is dropped.
struct InFlight<'a>(&'a AtomicU64);

impl<'a> InFlight<'a> {
    fn new(count: &'a AtomicU64) -> Self {
        count.fetch_add(1, Relaxed);
        Self(count)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cold_server_gets_warm_request_by_request() {
        let cold = ColdStart { over: 10.0, factor: 5.0 };
        assert_eq!(cold.factor_after(0), 5.0);
        assert!((cold.factor_after(10) - (1.0 + 4.0 / std::f64::consts::E)).abs() < 1e-9);
        assert!(cold.factor_after(1000) - 1.0 < 1e-9);
    }
}
