//! How many requests a server works on side by side: the agent's own estimator, shown the whole log.

use std::time::{Duration, Instant};

use super::history::{History, Past};
use super::presence::Presence;
use crate::core::estimate::load::{LoadEstimator, Service, Serving};
use crate::core::log::sample::Sample;
use crate::core::names::{BackendId, Names, ServerId};
use crate::core::settings::Target;

/// What the estimator made of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Lesson {
    /// Requests that a server works on side by side.
    pub(super) workers: f64,
    /// The log shows it; else it is the least it can be.
    pub(super) knee: bool,
}

/// The ids by which the core knows a backend and its servers.
pub(super) struct Ids {
    backend: BackendId,
    servers: Vec<ServerId>,
    began: Instant,
    begins_ms: i64,
}

impl Ids {
    /// For one backend's past, which begins at these civil milliseconds.
    pub(super) fn new(servers: usize, begins_ms: i64) -> Self {
        let names = Names::default();
        // An empty table has room for a backend and 65,536 servers, which is all that a history has.
        let backend = names.backend("").expect("a table with room");
        let server = |place: usize| names.server(backend, &place.to_string()).expect("a table with room");
        Self { backend, servers: (0..servers).map(server).collect(), began: Instant::now(), begins_ms }
    }

    /// `past` as the core sees a line. None of its counts of streams is known.
    pub(super) fn sample(&self, past: &Past) -> Sample {
        let end_ms = past.came_ms - self.begins_ms + i64::from(past.timers.waited());
        Sample {
            backend: self.backend,
            server: past.server.and_then(|place| self.servers.get(usize::from(place)).copied()),
            end: self.began + Duration::from_millis(u64::try_from(end_ms).unwrap_or(0)),
            timers: past.timers,
            class: past.class,
            timed_out: past.timed_out,
            beconn: 0,
            srv_conn: 0,
        }
    }

    fn at(&self, second: u64) -> Instant {
        self.began + Duration::from_secs(second)
    }
}

/// Shows all of `history` to the estimator, second by second, and takes the middle of what it believed after each.
/// `None` if it never learned anything.
pub(super) fn learn(
    history: &History,
    presences: &[Presence],
    begins_ms: i64,
    length_s: f64,
    target: &Target,
) -> Option<Lesson> {
    let ids = Ids::new(history.servers.len(), begins_ms);
    let mut estimator = LoadEstimator::new(*target, ids.began);
    let mut by_end: Vec<(i64, u32)> = history
        .requests
        .iter()
        .enumerate()
        // There are no more than four thousand million.
        .map(|(place, past)| (past.came_ms + i64::from(past.timers.waited()), place as u32))
        .collect();
    by_end.sort_unstable();
    let mut active = Active::new(presences);
    let (mut next, mut believed) = (0, Vec::new());
    for second in 1..=length_s as u64 {
        let until_ms = begins_ms + second as i64 * 1000;
        let now = ids.at(second);
        let first = next;
        while let Some(&(_, place)) = by_end.get(next).filter(|(end_ms, _)| *end_ms < until_ms) {
            estimator.record(&ids.sample(&history.requests[place as usize]), now);
            next += 1;
        }
        estimator.observe(&active.at(second as f64, &ids), now);
        let service = estimator.figures(now).service;
        // A second without a request teaches nothing.
        believed.extend(service.filter(|_| next > first));
    }
    middle(&believed)
}

/// The median of those who have seen the knee; without any, the highest of the least.
fn middle(believed: &[Service]) -> Option<Lesson> {
    let mut seen: Vec<f64> = believed.iter().filter(|its| its.knee).map(|its| its.workers).collect();
    if seen.is_empty() {
        let workers = believed.iter().map(|its| its.workers).max_by(f64::total_cmp)?;
        return Some(Lesson { workers, knee: false });
    }
    let place = seen.len() / 2;
    Some(Lesson { workers: *seen.select_nth_unstable_by(place, f64::total_cmp).1, knee: true })
}

/// Which servers are active, as time goes on.
struct Active<'a> {
    /// In the order they begin.
    presences: &'a [Presence],
    next: usize,
    now: Vec<Presence>,
}

impl<'a> Active<'a> {
    fn new(presences: &'a [Presence]) -> Self {
        Self { presences, next: 0, now: Vec::new() }
    }

    fn at(&mut self, now_s: f64, ids: &Ids) -> Vec<Serving> {
        self.now.retain(|presence| presence.until_s > now_s);
        while let Some(presence) = self.presences.get(self.next).filter(|its| its.from_s <= now_s) {
            self.now.push(*presence);
            self.next += 1;
        }
        self.now.iter().map(|presence| Serving { server: ids.servers[presence.server], share: 1.0 }).collect()
    }
}
