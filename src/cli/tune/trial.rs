//! Plays candidates on the requests of the log.

use std::time::Duration;

use super::proposal::{Proposed, Tried};
use crate::cli::Failure;
use crate::cli::replay::PoolArguments;
use crate::cli::replay::runs::{given, in_parallel, pool};
use crate::cli::simulate::setting::checked;
use crate::core::settings::{BackendSettings, Statistic, Target, Timer};
use crate::core::units::Percentile;
use crate::report::chain;
use crate::sim::replay::Track;
use crate::sim::replay::history::History;
use crate::sim::replay::play::{AS_IT_WAS, Pool, Who, actual, names, play};
use crate::sim::replay::workload::Workload;

/// What is learned first does not depend on it.
const ANY_TARGET: Duration = Duration::from_secs(1);

/// One backend's past, ready to be played.
pub(super) struct Trials<'a> {
    history: &'a History,
    pub(super) workload: Workload,
    pool: Pool,
    threads: usize,
}

/// A candidate: the key it is about, its value in words, and all that is set.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub(super) key: &'static str,
    pub(super) value: String,
    pub(super) settings: Proposed,
}

/// It, and what came of it.
#[derive(Clone, Debug)]
pub(super) struct Played {
    pub(super) candidate: Candidate,
    pub(super) track: Track,
}

impl<'a> Trials<'a> {
    pub(super) fn new(
        history: &'a History,
        arguments: &PoolArguments,
        threads: usize,
    ) -> Result<Self, Failure> {
        let workload = Workload::of(history, &target(Timer::Tr, ANY_TARGET), given(arguments))
            .map_err(|error| Failure::Failed(chain(&error)))?;
        Ok(Self { history, workload, pool: pool(arguments), threads })
    }

    /// Servers of the pool.
    pub(super) fn servers(&self) -> u32 {
        u32::try_from(names(&self.workload, &self.pool).len()).unwrap_or(u32::MAX)
    }

    /// What really came of it, by this target.
    pub(super) fn as_it_was(&self, settings: &Proposed) -> Tried {
        let track = actual(self.history, &self.workload, &target(settings.timer, settings.below));
        tried(AS_IT_WAS, format!("by {} ms", settings.below.as_millis()), &track, false)
    }

    /// Plays all of them, side by side.
    pub(super) fn play(&self, candidates: Vec<Candidate>) -> Result<Vec<Played>, Failure> {
        let settings: Result<Vec<BackendSettings>, Failure> =
            candidates.iter().map(|its| checked(&its.settings.backend(&self.workload.backend))).collect();
        let settings = settings?;
        let all: Vec<_> = candidates.iter().zip(&settings).collect();
        let tracks = in_parallel(&all, self.threads, |(candidate, settings)| {
            let who = Who::Agent(Box::new((*settings).clone()));
            play(&self.workload, &self.pool, &settings.target, &who, candidate.key, "")
        });
        let played = candidates.into_iter().zip(tracks);
        Ok(played.map(|(candidate, track)| Played { candidate, track }).collect())
    }
}

impl Played {
    pub(super) fn over(&self) -> f64 {
        self.track.summary.over_share()
    }

    pub(super) fn server_hours(&self) -> f64 {
        self.track.summary.server_hours()
    }

    pub(super) fn tried(&self, chosen: bool) -> Tried {
        tried(self.candidate.key, self.candidate.value.clone(), &self.track, chosen)
    }
}

fn tried(key: &'static str, value: String, track: &Track, chosen: bool) -> Tried {
    Tried {
        key,
        value,
        over: track.summary.over_share(),
        p95_ms: track.summary.p95_ms,
        server_hours: track.summary.server_hours(),
        moves: track.summary.moves,
        chosen,
    }
}

fn target(timer: Timer, below: Duration) -> Target {
    Target { timer, statistic: Statistic::Percentile(Percentile::P95), below }
}
