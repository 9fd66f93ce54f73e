//! Clients that do not wait for each other: requests start when they start, however slow the
//! answers are, as the users of a site do. What they feel is measured from their side.
//!
//! Arrivals are given one by one, or a Poisson process whose rate is a function of time. A latency
//! counts from the moment the request was due, so a client that is late itself does not flatter the
//! server; how late it was is told as well.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::random::Random;
use super::request::request;

/// Longest step in which the rate is taken as constant; arrivals have no memory, so cutting a
/// wait short and drawing again changes nothing but the rate.
const STEP: Duration = Duration::from_millis(100);

/// Equal loads bring their requests at equal moments, so that two targets can be compared.
const SEED: u64 = 1;

/// A load still to be played.
pub struct Load {
    target: SocketAddr,
    arrivals: Box<dyn Iterator<Item = Arrival> + Send>,
    patience: Duration,
    most_in_flight: usize,
}

impl Load {
    /// Requests to `target`, `rate(t)` a second at the time `t` after the start.
    pub fn new(target: SocketAddr, rate: impl Fn(Duration) -> f64 + Send + 'static) -> Self {
        Self::of(target, Poisson { rate, random: Random::new(SEED), at: Duration::ZERO })
    }

    /// These requests to `target`, in the order of their moments.
    pub fn of(target: SocketAddr, arrivals: impl Iterator<Item = Arrival> + Send + 'static) -> Self {
        let arrivals = Box::new(arrivals);
        Self { target, arrivals, patience: Duration::from_secs(10), most_in_flight: 1000 }
    }

    /// How long a client waits for its answer before it gives up; 10 s unless said.
    #[must_use]
    pub fn patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// So many requests at a time, then newcomers find no connection and count as failed;
    /// 1000 unless said. It keeps the process within its file descriptors.
    #[must_use]
    pub fn most_in_flight(self, most_in_flight: usize) -> Self {
        Self { most_in_flight, ..self }
    }

    /// Plays it for `duration`, in a thread of its own; then the last answers are waited for,
    /// as long as a client has patience.
    ///
    /// # Errors
    /// The thread or its runtime cannot be had.
    pub fn start(self, duration: Duration) -> io::Result<Running> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let measured = Arc::new(Mutex::new(Vec::new()));
        let (stop, stopped) = oneshot::channel();
        let Self { target, arrivals, patience, most_in_flight } = self;
        let client = Client { target, patience, start: Instant::now(), measured: Arc::clone(&measured) };
        let thread = thread::Builder::new().name("load".to_owned()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = client.play(arrivals, duration, most_in_flight) => {}
                    _ = stopped => {}
                }
            });
        })?;
        Ok(Running { measured, stop: Some(stop), thread: Some(thread) })
    }

    /// Plays it for `duration` and returns all requests in the order of their ends; blocks.
    ///
    /// # Errors
    /// As [`Load::start`].
    pub fn run(self, duration: Duration) -> io::Result<Vec<Measured>> {
        Ok(self.start(duration)?.finish())
    }
}

impl fmt::Debug for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Load")
            .field("target", &self.target)
            .field("patience", &self.patience)
            .finish_non_exhaustive()
    }
}

/// A request to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// When it is due, after the start of the load.
    pub at: Duration,
    /// How long a worker of a warm and healthy [small server](super::server) needs for it; `None`: it
    /// draws that itself.
    pub takes: Option<Duration>,
}

/// A load being played; dropping it hangs up on all answers still to come.
#[derive(Debug)]
pub struct Running {
    measured: Arc<Mutex<Vec<Measured>>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    /// The requests that have ended so far, without the first `skip`, in the order of their ends.
    pub fn measured(&self, skip: usize) -> Vec<Measured> {
        let measured = self.measured.lock().unwrap_or_else(PoisonError::into_inner);
        measured.get(skip..).unwrap_or_default().to_vec()
    }

    /// Whether every request has ended and no other will start.
    pub fn is_over(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// All requests in the order of their ends; blocks until it is over.
    pub fn finish(mut self) -> Vec<Measured> {
        self.join();
        self.measured(0)
    }

    fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.stop.take());
        self.join();
    }
}

/// One request as its client saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measured {
    /// When it was due, after the start of the load.
    pub start: Duration,
    /// How much later than that its client began; part of its latency.
    pub late: Duration,
    /// How long its client waited, to the last byte or until it gave up.
    pub latency: Duration,
    /// How it ended.
    pub answer: Answer,
}

impl Measured {
    /// When it ended, after the start of the load.
    pub fn end(&self) -> Duration {
        self.start + self.latency
    }

    /// Anything but a whole answer with a status below 400.
    pub fn is_failed(&self) -> bool {
        !matches!(self.answer, Answer::Status(status) if status < 400)
    }
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A whole answer came.
    Status(u16),
    /// No connection, a broken one, or half an answer.
    Broken(io::ErrorKind),
    /// The client lost its patience.
    GaveUp,
    /// Too many were waiting already; it was never sent.
    TurnedAway,
}

/// What some requests felt like, taken together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Felt {
    /// All of them.
    pub requests: usize,
    /// Those that failed.
    pub failed: usize,
    /// Those that took longer than the target, or failed.
    pub over: usize,
    /// Half of them waited at most so long; zero without requests.
    pub p50: Duration,
    /// 95 % of them waited at most so long; zero without requests.
    pub p95: Duration,
    /// The longest wait; zero without requests.
    pub longest: Duration,
}

impl Felt {
    /// Of `requests`, which were promised to take at most `target`.
    pub fn of(requests: &[Measured], target: Duration) -> Self {
        let mut latencies: Vec<Duration> = requests.iter().map(|request| request.latency).collect();
        latencies.sort_unstable();
        let percentile = |percent: usize| {
            let rank = (latencies.len() * percent).div_ceil(100);
            latencies.get(rank.saturating_sub(1)).copied().unwrap_or_default()
        };
        Self {
            requests: requests.len(),
            failed: requests.iter().filter(|request| request.is_failed()).count(),
            over: requests.iter().filter(|request| request.is_failed() || request.latency > target).count(),
            p50: percentile(50),
            p95: percentile(95),
            longest: percentile(100),
        }
    }
}

/// A Poisson process. Where the rate is 0 for an hour it ends.
struct Poisson<R> {
    rate: R,
    random: Random,
    at: Duration,
}

impl<R: Fn(Duration) -> f64> Iterator for Poisson<R> {
    type Item = Arrival;

    fn next(&mut self) -> Option<Arrival> {
        const STEPS_AN_HOUR: u32 = 36_000;
        for _ in 0..STEPS_AN_HOUR {
            let wait = self.random.until_next((self.rate)(self.at));
            self.at += wait.min(STEP);
            if wait <= STEP {
                return Some(Arrival { at: self.at, takes: None });
            }
        }
        None
    }
}

#[derive(Clone)]
struct Client {
    target: SocketAddr,
    patience: Duration,
    start: Instant,
    measured: Arc<Mutex<Vec<Measured>>>,
}

impl Client {
    async fn play(&self, arrivals: impl Iterator<Item = Arrival>, duration: Duration, most_in_flight: usize) {
        let mut in_flight = JoinSet::new();
        for arrival in arrivals.take_while(|arrival| arrival.at < duration) {
            tokio::time::sleep_until((self.start + arrival.at).into()).await;
            while in_flight.try_join_next().is_some() {}
            if in_flight.len() < most_in_flight {
                in_flight.spawn(self.clone().send(arrival));
            } else {
                self.note(arrival, Duration::ZERO, Answer::TurnedAway);
            }
        }
        tokio::time::sleep_until((self.start + duration).into()).await;
        in_flight.join_all().await;
    }

    async fn send(self, arrival: Arrival) {
        let late = self.start.elapsed().saturating_sub(arrival.at);
        let answer = match tokio::time::timeout(self.patience, request(self.target, arrival.takes)).await {
            Ok(Ok(status)) => Answer::Status(status),
            Ok(Err(error)) => Answer::Broken(error.kind()),
            Err(_) => Answer::GaveUp,
        };
        self.note(arrival, late, answer);
    }

    fn note(&self, arrival: Arrival, late: Duration, answer: Answer) {
        let latency = match answer {
            Answer::TurnedAway => Duration::ZERO,
            _ => self.start.elapsed().saturating_sub(arrival.at),
        };
        let mut measured = self.measured.lock().unwrap_or_else(PoisonError::into_inner);
        measured.push(Measured { start: arrival.at, late, latency, answer });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(latency_ms: u64, answer: Answer) -> Measured {
        Measured {
            start: Duration::ZERO,
            late: Duration::ZERO,
            latency: Duration::from_millis(latency_ms),
            answer,
        }
    }

    #[test]
    fn nobody_felt_nothing() {
        assert_eq!(Felt::of(&[], Duration::ZERO), Felt::default());
    }

    #[test]
    fn what_failed_is_over_target_however_fast() {
        let target = Duration::from_millis(100);
        let requests = [
            measured(100, Answer::Status(200)),
            measured(101, Answer::Status(200)),
            measured(1, Answer::Status(503)),
            measured(2, Answer::Broken(io::ErrorKind::ConnectionRefused)),
            measured(3000, Answer::GaveUp),
        ];
        let felt = Felt::of(&requests, target);
        assert_eq!((felt.requests, felt.failed, felt.over), (5, 3, 4));
        assert_eq!(
            (felt.p50, felt.p95, felt.longest),
            (target, Duration::from_secs(3), Duration::from_secs(3))
        );
    }

    #[test]
    fn a_percentile_is_one_of_the_latencies() {
        let requests: Vec<Measured> = (1..=100).map(|ms| measured(ms, Answer::Status(200))).collect();
        let felt = Felt::of(&requests, Duration::ZERO);
        assert_eq!((felt.p50, felt.p95), (Duration::from_millis(50), Duration::from_millis(95)));
    }
}
