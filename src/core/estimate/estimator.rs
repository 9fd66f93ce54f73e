//! The estimates of one backend and of its servers.
//!
//! In: the backend's samples, each with the `now` at which its line was read. Out: snapshots. It
//! knows nothing of other backends, of HAProxy's counters or of what the figures are for.
//!
//! Memory, at most (measured in `benches/window.rs` and held by a test below): a server whose
//! slowest requests take 1 s costs 15 KiB, 4 s 22 KiB, 30 s 33 KiB; the backend's own window 28,
//! 41 and 61 KiB. A server without requests in the window costs nothing.

use std::collections::BTreeMap;
use std::time::Instant;

use super::figures::{Figures, Watch};
use super::latency::latency_of;
use super::snapshot::Snapshot;
use super::window::Window;
use crate::core::log::sample::Sample;
use crate::core::names::ServerId;
use crate::core::settings::{Target, WindowSettings};

pub use super::window::Recorded;

/// Decisions rest on the backend's window, so it is the finer one: of 30 s, at least 27.5 s are
/// covered at any time.
const BACKEND_SLOTS: usize = 12;

/// Servers are compared with each other; that bears coarser steps, and there are many of them.
const SERVER_SLOTS: usize = 6;

/// Turns the samples of one backend into snapshots of it and of its servers.
#[derive(Clone, Debug)]
pub struct Estimator {
    target: Target,
    settings: WindowSettings,
    started: Instant,
    backend: Figures,
    servers: BTreeMap<ServerId, Figures>,
    /// The newest slot of the servers' windows when idle ones were last looked for.
    swept: i64,
    /// An empty window that moves on with `now`: the beginning of every new server's.
    blank: Window,
    late: u64,
}

impl Estimator {
    /// Knows nothing yet. `started` is when watching began: before `settings.length` has passed
    /// since, figures say less than they seem to.
    pub fn new(target: Target, settings: WindowSettings, started: Instant) -> Self {
        let window = |slots| Window::new(settings.length, slots, started);
        Self {
            target,
            settings,
            started,
            backend: Figures::new(window(BACKEND_SLOTS), target.statistic),
            servers: BTreeMap::new(),
            swept: 0,
            blank: window(SERVER_SLOTS),
            late: 0,
        }
    }

    /// Counts one request of this backend (whatever `sample.backend` says), at its own `end`.
    pub fn record(&mut self, sample: &Sample, now: Instant) -> Recorded {
        let latency = latency_of(sample, &self.target);
        let recorded = self.backend.record(sample, latency.map(|it| it.ms), sample.beconn, now);
        if recorded == Recorded::TooLate {
            self.late += 1;
            return recorded;
        }
        if let Some(server) = sample.server {
            let (blank, statistic) = (&self.blank, self.target.statistic);
            let figures =
                self.servers.entry(server).or_insert_with(|| Figures::new(blank.clone(), statistic));
            let latency_ms = latency.filter(|it| it.server).map(|it| it.ms);
            // The server's window may begin half a slot later; then it is too late for the server only.
            figures.record(sample, latency_ms, sample.srv_conn, now);
        }
        recorded
    }

    /// The backend at `now`.
    pub fn snapshot(&mut self, now: Instant) -> Snapshot {
        self.forget_idle_servers(now);
        self.backend.snapshot(&self.watch(now))
    }

    /// One server at `now`; `None` if the window has no request of it.
    pub fn server(&mut self, server: ServerId, now: Instant) -> Option<Snapshot> {
        self.forget_idle_servers(now);
        let watch = self.watch(now);
        let figures = self.servers.get_mut(&server).filter(|figures| !figures.is_idle())?;
        Some(figures.snapshot(&watch))
    }

    /// The servers that had requests in the window at the last snapshot, and new ones since.
    pub fn servers(&self) -> impl Iterator<Item = ServerId> {
        self.servers.keys().copied()
    }

    /// How many samples were [`Recorded::TooLate`].
    pub fn late(&self) -> u64 {
        self.late
    }

    fn watch(&self, now: Instant) -> Watch {
        Watch { statistic: self.target.statistic, length: self.settings.length, started: self.started, now }
    }

    /// Costs nothing but once a slot.
    fn forget_idle_servers(&mut self, now: Instant) {
        self.blank.advance(now);
        if self.blank.newest() == self.swept {
            return;
        }
        self.swept = self.blank.newest();
        self.servers.retain(|_, figures| {
            figures.advance(now);
            !figures.is_idle()
        });
    }
}
