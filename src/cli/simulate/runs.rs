//! All runs, over threads: each scenario with each policy and each seed.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;

use super::columns::{Column, Decider};
use super::figures::Figures;
use crate::cli::Failure;
use crate::cli::progress::{PATIENCE, Progress};
use crate::sim::driver::{Nobody, compete, control};
use crate::sim::scenario::Scenario;
use crate::sim::score::Score;

/// What was played, and what came of it.
pub(super) struct Runs {
    pub(super) scenarios: Vec<Scenario>,
    pub(super) columns: Vec<Column>,
    pub(super) seeds: Vec<u64>,
    /// By scenario, then column, then seed.
    scores: Vec<Score>,
}

impl Runs {
    pub(super) fn play(
        scenarios: Vec<Scenario>,
        columns: Vec<Column>,
        seeds: Vec<u64>,
        threads: usize,
    ) -> Result<Self, Failure> {
        let mut jobs = Vec::new();
        for scenario in &scenarios {
            for column in &columns {
                let decider = column.decider(scenario)?;
                jobs.extend(seeds.iter().map(|&seed| Job { scenario, decider: decider.clone(), seed }));
            }
        }
        let scores = play_all(&jobs, threads);
        drop(jobs);
        Ok(Self { scenarios, columns, seeds, scores })
    }

    /// One for each seed.
    pub(super) fn of(&self, scenario: usize, column: usize) -> &[Score] {
        let count = self.seeds.len();
        let begin = (scenario * self.columns.len() + column) * count;
        &self.scores[begin..begin + count]
    }

    /// The means over all seeds.
    pub(super) fn figures(&self, scenario: usize, column: usize) -> Figures {
        let each: Vec<Figures> = self.of(scenario, column).iter().map(Figures::of).collect();
        Figures::mean(&each)
    }

    /// The means over all scenarios.
    pub(super) fn means(&self, column: usize) -> Figures {
        let each: Vec<Figures> =
            (0..self.scenarios.len()).map(|scenario| self.figures(scenario, column)).collect();
        Figures::mean(&each)
    }
}

struct Job<'a> {
    scenario: &'a Scenario,
    decider: Decider,
    seed: u64,
}

impl Job<'_> {
    fn play(&self) -> Score {
        match &self.decider {
            Decider::Baseline(baseline) => {
                compete(self.scenario, self.seed, &mut *baseline.autoscaler(self.scenario), &mut Nobody)
            }
            Decider::Agent(settings) => control(self.scenario, self.seed, (**settings).clone(), &mut Nobody),
        }
    }
}

/// In the order of `jobs`, whoever was ready first.
fn play_all(jobs: &[Job<'_>], threads: usize) -> Vec<Score> {
    let next = AtomicUsize::new(0);
    let mut progress = Progress::of_runs(jobs.len());
    let mut scores: Vec<Option<Score>> = jobs.iter().map(|_| None).collect();
    thread::scope(|scope| {
        let (sender, played) = mpsc::channel();
        for _ in 0..threads.min(jobs.len()) {
            let (sender, next) = (sender.clone(), &next);
            scope.spawn(move || {
                while let Some((place, job)) = take(jobs, next) {
                    // The receiver outlives all threads.
                    let _ = sender.send((place, job.play()));
                }
            });
        }
        drop(sender);
        loop {
            match played.recv_timeout(PATIENCE) {
                Ok((place, score)) => {
                    scores[place] = Some(score);
                    progress.done().fetch_add(1, Ordering::Relaxed);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            progress.show();
        }
    });
    scores.into_iter().flatten().collect()
}

fn take<'a>(jobs: &'a [Job<'a>], next: &AtomicUsize) -> Option<(usize, &'a Job<'a>)> {
    let place = next.fetch_add(1, Ordering::Relaxed);
    jobs.get(place).map(|job| (place, job))
}
