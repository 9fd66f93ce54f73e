//! What was asked for and how servers work, learned from one backend's past: all that a replay is played with.
//!
//! In: a [`History`]. Out: a [`Workload`]: the arrivals, each with its cost, and a model of the servers. Made once; any
//! number of policies is played on it.

use std::sync::Arc;

use super::Learned;
use super::WorkersFrom;
use super::demand::{Costs, Stay};
use super::history::{History, Past};
use super::learning::{Lesson, learn};
use super::presence::{Presence, counts, presences};
use crate::core::log::sample::Class;
use crate::core::settings::schedule::CivilTime;
use crate::core::settings::{Target, Timer};
use crate::sim::arrivals::Coming;

/// A longer time is no one log, seconds: a month and a day.
const LONGEST_S: f64 = 32.0 * 86_400.0;
/// Before anything is learned of servers: at least one request is worked on.
const LEAST_WORKERS: u32 = 1;
/// So large a share of requests that queued in HAProxy means that servers have a `maxconn`.
const QUEUED: f64 = 0.0005;
/// A shorter wait in HAProxy is none, seconds.
const LEAST_QUEUE_S: f64 = 2e-3;
/// Of the requests that waited, so many overtook others: the cores were shared.
const OVERTOOK: f64 = 0.1;
/// Where the log shows no timeout, seconds: HAProxy's documentation has such values in its examples.
const QUEUE_TIMEOUT_S: f64 = 30.0;
const SERVER_TIMEOUT_S: f64 = 60.0;

/// See the module's text.
#[derive(Clone, Debug)]
pub struct Workload {
    /// The backend's name.
    pub backend: String,
    /// The servers that had requests, by name.
    pub servers: Vec<String>,
    /// The second from which all times count, by the log's own dates.
    pub begins: CivilTime,
    /// From there to the end of the second of the last request, seconds.
    pub length_s: f64,
    /// What was found out.
    pub learned: Learned,
    /// Coefficient of variation of what requests cost.
    pub cv: f64,
    /// `timeout queue` and `timeout server`, as far as the log shows them, seconds.
    pub timeouts_s: (f64, f64),
    /// Each request, in order.
    pub comings: Arc<[Coming]>,
    /// When each server was active.
    pub presences: Vec<Presence>,
}

/// What an operator knows better.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Given {
    /// Requests a server works on side by side.
    pub workers: Option<u32>,
    /// `maxconn` of each server.
    pub maxconn: Option<u32>,
}

/// Why a past cannot be played again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WorkloadError {
    /// There is nothing to play.
    #[error("no request of backend `{backend}` went to a server")]
    NoRequests {
        /// Its name.
        backend: String,
    },
    /// Nobody knows what requests cost.
    #[error("the lines of backend `{backend}` have no Tr: what its requests cost is not known")]
    NoResponseTimes {
        /// Its name.
        backend: String,
    },
    /// The dates are too far apart.
    #[error("the lines of backend `{backend}` are of {days} days: take some of them with --from and --to")]
    TooLong {
        /// Its name.
        backend: String,
        /// From the first to the last.
        days: u64,
    },
}

impl Workload {
    /// Learns from `history` what it can.
    ///
    /// # Errors
    /// There is too little in it.
    pub fn of(history: &History, target: &Target, given: Given) -> Result<Self, WorkloadError> {
        let backend = || history.backend.clone();
        let (first, last) = match (history.requests.first(), history.requests.last()) {
            (Some(first), Some(last)) => (first.came_ms, last.came_ms),
            _ => return Err(WorkloadError::NoRequests { backend: backend() }),
        };
        let begins_ms = first.div_euclid(1000) * 1000;
        let length_s = ((last - begins_ms) as f64 / 1e3).floor() + 1.0;
        if length_s > LONGEST_S {
            let days = (length_s / 86_400.0).ceil() as u64;
            return Err(WorkloadError::TooLong { backend: backend(), days });
        }
        if !history.requests.iter().any(|past| past.stay_s().is_some()) {
            return Err(WorkloadError::NoResponseTimes { backend: backend() });
        }
        let at_s = |past: &Past| (past.came_ms - begins_ms) as f64 / 1e3;
        let presences = presences(&history.requests, history.servers.len(), length_s, at_s);
        let lesson = learn(history, &presences, begins_ms, length_s, target);
        let (workers, workers_from) = workers(lesson, given);
        let stays = stays(history, at_s);
        let costs: Vec<Costs> = stays.iter().map(|stays| Costs::of(stays, workers)).collect();
        let sum = |count: fn(&Costs) -> u64| costs.iter().map(count).sum::<u64>() as f64;
        let in_turn = sum(|costs| costs.overtook) <= OVERTOOK * sum(|costs| costs.waited);
        let mut cost_s = vec![None; history.requests.len()];
        for (stays, costs) in stays.iter().zip(&costs) {
            for (stay, cost) in stays.iter().zip(costs.each(in_turn)) {
                cost_s[stay.request] = Some(cost);
            }
        }
        let (service_s, cv) = moments(cost_s.iter().copied().flatten());
        let learned = Learned {
            requests: history.requests.len() as u64,
            workers,
            workers_from,
            service_s,
            in_turn,
            maxconn: given.maxconn.or_else(|| maxconn(history, &stays, at_s)),
        };
        Ok(Self {
            backend: backend(),
            servers: history.servers.clone(),
            begins: CivilTime::new(begins_ms.div_euclid(1000)),
            length_s,
            learned,
            cv,
            timeouts_s: timeouts(history),
            comings: comings(history, &cost_s, service_s, at_s),
            presences,
        })
    }

    /// How many servers were active: from each second on so many, in order, beginning with 0.
    pub fn servers_active(&self) -> Vec<(f64, usize)> {
        counts(&self.presences, self.length_s)
    }
}

fn workers(lesson: Option<Lesson>, given: Given) -> (u32, WorkersFrom) {
    let rounded = |workers: f64| (workers.round() as u32).max(LEAST_WORKERS);
    match (given.workers, lesson) {
        (Some(workers), _) => (workers.max(LEAST_WORKERS), WorkersFrom::Given),
        (None, Some(Lesson { workers, knee: true })) => (rounded(workers), WorkersFrom::Log),
        (None, Some(Lesson { workers, knee: false })) => (rounded(workers.ceil()), WorkersFrom::AtLeast),
        (None, None) => (LEAST_WORKERS, WorkersFrom::AtLeast),
    }
}

/// The stays on each server, in the order they began.
fn stays(history: &History, at_s: impl Fn(&Past) -> f64) -> Vec<Vec<Stay>> {
    let mut stays = vec![Vec::new(); history.servers.len()];
    for (request, past) in history.requests.iter().enumerate() {
        let Some((server, (after_s, for_s))) = past.server.zip(past.stay_s()) else { continue };
        let from_s = at_s(past) + after_s;
        stays[usize::from(server)].push(Stay { request, from_s, until_s: from_s + for_s });
    }
    for stays in &mut stays {
        stays.sort_by(|a, b| a.from_s.total_cmp(&b.from_s).then(a.until_s.total_cmp(&b.until_s)));
    }
    stays
}

/// Each request with its cost. What is not known of one is that of the one before it; what went wrong with its
/// server is played again, all else begins anew.
fn comings(
    history: &History,
    cost_s: &[Option<f64>],
    mean_s: f64,
    at_s: impl Fn(&Past) -> f64,
) -> Arc<[Coming]> {
    let mut latest_s = mean_s;
    let coming = |(past, cost): (&Past, &Option<f64>)| {
        latest_s = cost.unwrap_or(latest_s);
        let has_answer = past.timers.get(Timer::Tr).is_some();
        let before_answer = past.seconds(Timer::Tw) + past.seconds(Timer::Tr);
        let total_s = f64::from(past.timers.waited()) / 1e3;
        Coming {
            at_s: at_s(past),
            sent_for_s: past.seconds(Timer::TR),
            service_s: latest_s,
            // Connecting takes no worker: it is counted with the transfer.
            read_for_s: if has_answer { (total_s - before_answer).max(0.0) } else { 0.0 },
            fails: has_answer && past.class == Class::Server,
        }
    };
    history.requests.iter().zip(cost_s).map(coming).collect()
}

/// Mean and coefficient of variation.
fn moments(costs: impl Iterator<Item = f64>) -> (f64, f64) {
    let (mut count, mut sum, mut squares) = (0.0, 0.0, 0.0);
    for cost in costs {
        count += 1.0;
        sum += cost;
        squares += cost * cost;
    }
    let mean: f64 = sum / f64::max(count, 1.0);
    let variance = (squares / f64::max(count, 1.0) - mean * mean).max(0.0);
    (mean, if mean > 0.0 { variance.sqrt() / mean } else { 0.0 })
}

/// How many a server had when one came to it out of HAProxy's queue: then it was full. `None`: hardly any queued.
fn maxconn(history: &History, stays: &[Vec<Stay>], at_s: impl Fn(&Past) -> f64) -> Option<u32> {
    let mut full: Vec<u32> = Vec::new();
    for stays in stays {
        // By the whole stay, transfer included: the connection is kept so long.
        let end_s = |stay: &Stay| {
            let past = &history.requests[stay.request];
            at_s(past) + f64::from(past.timers.waited()) / 1e3
        };
        let mut ends: Vec<f64> = stays.iter().map(end_s).collect();
        ends.sort_by(f64::total_cmp);
        let mut gone = 0;
        for (place, stay) in stays.iter().enumerate() {
            while ends.get(gone).is_some_and(|end_s| *end_s <= stay.from_s) {
                gone += 1;
            }
            if history.requests[stay.request].seconds(Timer::Tw) >= LEAST_QUEUE_S {
                full.push((place + 1).saturating_sub(gone) as u32);
            }
        }
    }
    if (full.len() as f64) < QUEUED * history.requests.len() as f64 || full.len() < 10 {
        return None;
    }
    let middle = full.len() / 2;
    Some((*full.select_nth_unstable(middle).1).max(1))
}

/// The shortest times after which HAProxy gave requests up, in its queue and on a server.
fn timeouts(history: &History) -> (f64, f64) {
    let given_up = |class: Class| {
        let its = history.requests.iter().filter(move |past| past.timed_out && past.class == class);
        its.map(|past| f64::from(past.timers.waited()) / 1e3).min_by(f64::total_cmp)
    };
    let queue_s = given_up(Class::Saturation).unwrap_or(QUEUE_TIMEOUT_S);
    (queue_s.max(1.0), given_up(Class::Server).unwrap_or(SERVER_TIMEOUT_S).max(1.0))
}

impl Past {
    /// After how long it was on its server, and how long until the answer's headers, both seconds, the latter above 0;
    /// `None` if there was no answer.
    pub(super) fn stay_s(&self) -> Option<(f64, f64)> {
        self.server?;
        let took_ms = self.timers.get(Timer::Tr)?;
        // Milliseconds are rounded down.
        let for_s = (f64::from(took_ms) + 0.5) / 1e3;
        Some((self.seconds(Timer::Tw) + self.seconds(Timer::Tc), for_s))
    }
}
