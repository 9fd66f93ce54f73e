//! What was asked for and how servers work, learned from one backend's past: all that a replay is played with.
//!
//! In: a [`History`]. Out: a [`Workload`]: the arrivals, each with its cost, and a model of the servers. Made once; any
//! number of policies is played on it.

use std::sync::Arc;

use super::Learned;
use super::WorkersFrom;
use super::demand::{Costs, Stay, Stays, bias, is_in_turn};
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
/// How often the number of workers is looked at again in the light of what it makes of the costs.
const SECOND_LOOKS: usize = 2;
/// Further away than by this factor it is not the number of workers that is wrong.
const FARTHEST: f64 = 2.0;
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
        if !history.requests.iter().any(Past::is_answered) {
            return Err(WorkloadError::NoResponseTimes { backend: backend() });
        }
        let at_s = |past: &Past| (past.came_ms - begins_ms) as f64 / 1e3;
        let presences = presences(&history.requests, history.servers.len(), length_s, at_s);
        let lesson = learn(history, &presences, begins_ms, length_s, target);
        let stays = stays(history, at_s);
        let (workers, workers_from) = workers(lesson, given);
        let (workers, costs) = match workers_from {
            WorkersFrom::Log => look_again(&stays, workers),
            WorkersFrom::AtLeast | WorkersFrom::Given => (workers, costs(&stays, workers)),
        };
        let in_turn = is_in_turn(&costs);
        let mut cost_s = vec![None; history.requests.len()];
        for (stays, costs) in stays.iter().zip(&costs) {
            for (stay, cost) in stays.all.iter().zip(costs.each(in_turn)) {
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

/// The number of workers that makes a request in a crowd cost what one costs that is alone, as near to `workers`
/// as can be, and the costs with it.
fn look_again(stays: &[Stays], workers: u32) -> (u32, Vec<Costs>) {
    let learned = f64::from(workers);
    let distance = |bias: Option<f64>| bias.map_or(0.0, |bias| bias.ln().abs());
    let mut best = (workers, costs(stays, workers));
    let mut its_bias = bias(&best.1, learned);
    for _ in 0..SECOND_LOOKS {
        let Some(bias_now) = its_bias else { break };
        let other = (f64::from(best.0) / bias_now).clamp(learned / FARTHEST, learned * FARTHEST);
        let other = (other.round() as u32).max(LEAST_WORKERS);
        if other == best.0 {
            break;
        }
        let its_costs = costs(stays, other);
        let other_bias = bias(&its_costs, learned);
        if distance(other_bias) >= distance(its_bias) {
            break;
        }
        (best, its_bias) = ((other, its_costs), other_bias);
    }
    best
}

fn costs(stays: &[Stays], workers: u32) -> Vec<Costs> {
    stays.iter().map(|stays| stays.costs(workers)).collect()
}

/// The stays on each server.
fn stays(history: &History, at_s: impl Fn(&Past) -> f64) -> Vec<Stays> {
    let mut stays = vec![Vec::new(); history.servers.len()];
    for (request, past) in history.requests.iter().enumerate() {
        let Some((server, (after_s, for_s))) = past.server.zip(past.stay_s()) else { continue };
        let from_s = at_s(past) + after_s;
        stays[usize::from(server)].push(Stay { request, from_s, until_s: from_s + for_s });
    }
    stays.into_iter().map(Stays::new).collect()
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
        let has_answer = past.is_answered();
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
fn maxconn(history: &History, stays: &[Stays], at_s: impl Fn(&Past) -> f64) -> Option<u32> {
    let mut full: Vec<u32> = Vec::new();
    for Stays { all, .. } in stays {
        // By the whole stay, transfer included: the connection is kept so long.
        let end_s = |stay: &Stay| {
            let past = &history.requests[stay.request];
            at_s(past) + f64::from(past.timers.waited()) / 1e3
        };
        let mut ends: Vec<f64> = all.iter().map(end_s).collect();
        ends.sort_by(f64::total_cmp);
        let mut gone = 0;
        for (place, stay) in all.iter().enumerate() {
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
    /// After how long it was on its server, and how long until the answer's headers or until it was given up, both
    /// seconds, the latter above 0; `None` if it never was on one.
    pub(super) fn stay_s(&self) -> Option<(f64, f64)> {
        self.server?;
        // A format may lack Tc.
        self.timers.get(Timer::Tr).or(self.timers.get(Timer::Tc))?;
        let before_ms = [Timer::Tw, Timer::Tc].map(|timer| self.timers.get(timer).unwrap_or(0));
        let without_answer = || self.timers.waited().saturating_sub(before_ms.iter().sum());
        let took_ms = self.timers.get(Timer::Tr).unwrap_or_else(without_answer);
        // Milliseconds are rounded down.
        let for_s = (f64::from(took_ms) + 0.5) / 1e3;
        Some((before_ms.into_iter().map(f64::from).sum::<f64>() / 1e3, for_s))
    }

    /// It had an answer, so what it cost is known.
    fn is_answered(&self) -> bool {
        self.timers.get(Timer::Tr).is_some()
    }
}
