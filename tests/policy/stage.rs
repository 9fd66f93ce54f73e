//! A backend as a policy sees it, moved about by scripts and by chance.

use std::time::{Duration, Instant};

use haproxy_autoscale::config::Config;
use haproxy_autoscale::core::estimate::snapshot::{Snapshot, Tally};
use haproxy_autoscale::core::policy::decision::Decision;
use haproxy_autoscale::core::policy::fleet::Fleet;
use haproxy_autoscale::core::policy::state::{Direction, State};
use haproxy_autoscale::core::policy::threshold::step;
use haproxy_autoscale::core::settings::*;

/// The defaults, for a target of 250 ms, with the band.
pub(crate) fn defaults() -> BackendSettings {
    let config = Config::default().with_backend("app", Some(Duration::from_millis(250)));
    let app = config.expect("a name and a target").backends.remove(0);
    BackendSettings { policy: Policy::Threshold, ..app }
}

/// What is not changed stays as it was.
pub(crate) struct Stage {
    pub(crate) settings: BackendSettings,
    pub(crate) state: State,
    pub(crate) seen: Snapshot,
    pub(crate) fleet: Fleet,
}

impl Stage {
    /// 3 servers of which 2 may go, 2 spares, 100 requests a second, watched for an hour.
    pub(crate) fn new(settings: BackendSettings) -> Self {
        let seen = Snapshot {
            samples: 3000,
            rate: 100.0,
            tally: Tally { success: 3000, ..Tally::default() },
            newest: Some(Duration::ZERO),
            observed: settings.window.length,
            watched: Duration::from_secs(3600),
            ..Snapshot::default()
        };
        let fleet = Fleet { serving: 3, startable: 2, removable: 2, sessions: 10, ..Fleet::default() };
        Self { settings, state: State::default(), seen, fleet }
    }

    /// One evaluation.
    pub(crate) fn step(&mut self, now: Instant) -> Decision {
        let (state, decision) = step(self.state.clone(), now, &self.seen, &self.fleet, &self.settings);
        self.state = state;
        decision
    }

    /// One change, such as `p95 400ms`, `serving 2`, `saturation 20/400` or `applied up`.
    pub(crate) fn apply(&mut self, now: Instant, change: &str) {
        let (what, value) = change.split_once(' ').unwrap_or((change, ""));
        let number = || value.parse::<u64>().unwrap_or_else(|_| panic!("no number in {change:?}"));
        let direction = if value == "up" { Direction::Up } else { Direction::Down };
        match what {
            "p95" => self.set_latency(duration(value)),
            "samples" => self.set_samples(number()),
            "none" => (self.seen.latency, self.seen.samples, self.seen.tally) = (None, 0, Tally::default()),
            "newest" => self.seen.newest = Some(duration(value)),
            "never" => self.seen.newest = None,
            "watched" => {
                self.seen.watched = duration(value);
                self.seen.observed = self.seen.watched.min(self.settings.window.length);
            }
            "rate" => self.seen.rate = number() as f64,
            "concurrency" => self.seen.concurrency = number() as f64,
            "saturation" => {
                let (saturation, success) = share(value);
                self.seen.tally = Tally { saturation, success, ..Tally::default() };
            }
            "failures" => {
                let (server, success) = share(value);
                self.seen.tally = Tally { server, success, ..Tally::default() };
            }
            "serving" => self.fleet.serving = number() as u32,
            "spares" => self.fleet.startable = number() as u32,
            "removable" => self.fleet.removable = number() as u32,
            "maxconn" => self.fleet.maxconn = Some(number()),
            "queued" => self.fleet.queued = number(),
            "sessions" => self.fleet.sessions = number(),
            "unseen" => self.fleet.unseen = number(),
            "acting" => self.state = self.state.clone().acting(direction),
            "applied" => self.state = self.state.clone().applied(now, direction, &self.settings),
            "failed" => self.state = self.state.clone().failed(),
            _ => panic!("nobody knows the change {change:?}"),
        }
    }

    fn set_latency(&mut self, latency: Duration) {
        self.seen.latency = Some(latency);
        self.seen.newest = Some(Duration::ZERO);
        if self.seen.samples == 0 {
            self.set_samples(3000);
        }
    }

    fn set_samples(&mut self, samples: u64) {
        self.seen.samples = samples;
        self.seen.tally = Tally { success: samples, ..Tally::default() };
    }
}

/// `20/400` as 20 of these and 380 others.
fn share(text: &str) -> (u64, u64) {
    let (part, whole) = text.split_once('/').unwrap_or_else(|| panic!("{text:?} is no share"));
    let (part, whole): (u64, u64) = (part.parse().unwrap(), whole.parse().unwrap());
    (part, whole - part)
}

/// `400ms`, `30s`, `5m`.
pub(crate) fn duration(text: &str) -> Duration {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits.parse().unwrap_or_else(|_| panic!("{text:?} is no duration"));
    match &text[digits.len()..] {
        "ms" => Duration::from_millis(number),
        "s" => Duration::from_secs(number),
        "m" => Duration::from_secs(number * 60),
        unit => panic!("{unit:?} is no unit"),
    }
}
