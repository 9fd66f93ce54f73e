//! Logs of servers that do what servers do, for the tests: arrivals by chance, queues of their own.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use super::super::testing::{answered, start};
use super::{LoadEstimator, LoadFigures, Serving};
use crate::core::log::sample::{Sample, Timers};
use crate::core::names::{Names, ServerId};
use crate::core::settings::{Statistic, Target, Timer};
use crate::core::units::Percentile;
use crate::demo::random::Random;

/// How a server works on several requests.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Discipline {
    /// So many workers with one queue.
    Workers(usize),
    /// So many cores, shared equally by all requests.
    Shared(f64),
    /// As many at a time as come.
    Unlimited,
}

/// A pool of equal servers under steady load.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pool {
    pub(super) servers: usize,
    pub(super) discipline: Discipline,
    /// Seconds.
    pub(super) service: f64,
    pub(super) cv: f64,
    /// Requests a second, of all servers together.
    pub(super) rate: f64,
    pub(super) seconds: f64,
    pub(super) seed: u64,
}

/// One request, in seconds: when it came, and when it was answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub(super) server: usize,
    pub(super) came: f64,
    pub(super) answered: f64,
}

impl Pool {
    /// All requests, each to a server by chance, in the order in which they were answered.
    pub(super) fn runs(&self) -> Vec<Run> {
        let mut random = Random::new(self.seed);
        let mut came = vec![Vec::new(); self.servers];
        let mut now = 0.0;
        while now < self.seconds {
            now += random.until_next(self.rate).as_secs_f64();
            let server = (random.unit() * self.servers as f64).ceil() as usize - 1;
            let work = random.lognormal(Duration::from_secs_f64(self.service), self.cv).as_secs_f64();
            came[server].push((now, work));
        }
        let mut runs = Vec::new();
        for (server, came) in came.iter().enumerate() {
            let answered = match self.discipline {
                Discipline::Workers(workers) => queued(came, workers),
                Discipline::Shared(cores) => shared(came, cores),
                Discipline::Unlimited => came.iter().map(|(at, work)| at + work).collect(),
            };
            runs.extend(came.iter().zip(answered).map(|(&(came, _), answered)| Run {
                server,
                came,
                answered,
            }));
        }
        sorted(runs)
    }
}

/// In the order in which they were answered.
pub(super) fn sorted(mut runs: Vec<Run>) -> Vec<Run> {
    runs.sort_by(|a, b| a.answered.total_cmp(&b.answered));
    runs
}

/// When each is answered by the first worker that is free.
fn queued(came: &[(f64, f64)], workers: usize) -> Vec<f64> {
    // Microseconds, the soonest first.
    let mut free: BinaryHeap<Reverse<u64>> = (0..workers).map(|_| Reverse(0)).collect();
    let next = |(at, work): &(f64, f64)| {
        let Reverse(soonest) = free.pop().unwrap();
        let answered = at.max(soonest as f64 / 1e6) + work;
        free.push(Reverse((answered * 1e6) as u64));
        answered
    };
    came.iter().map(next).collect()
}

/// When each is answered by cores that all of them share.
fn shared(came: &[(f64, f64)], cores: f64) -> Vec<f64> {
    let mut answered = vec![0.0; came.len()];
    let mut present: Vec<(usize, f64)> = Vec::new();
    let mut now = 0.0;
    let mut next = 0;
    while next < came.len() || !present.is_empty() {
        let speed = (cores / present.len().max(1) as f64).min(1.0);
        let least = present.iter().map(|it| it.1).fold(f64::INFINITY, f64::min);
        let (ends, comes) = (now + least / speed, came.get(next).map_or(f64::INFINITY, |it| it.0));
        let then = ends.min(comes);
        present.iter_mut().for_each(|it| it.1 -= (then - now) * speed);
        now = then;
        if comes <= ends {
            present.push((next, came[next].1));
            next += 1;
        } else {
            present.retain(|&(at, left)| {
                let is_over = left <= least * 1e-9 + 1e-12;
                if is_over {
                    answered[at] = now;
                }
                !is_over
            });
        }
    }
    answered
}

/// The lines of `runs`, all timers but Tr being 0. Streams are counted as HAProxy does.
pub(super) fn lines(runs: &[Run], begin: Instant) -> Vec<Sample> {
    let ids = servers(runs.iter().map(|run| run.server + 1).max().unwrap_or(1));
    let mut came: Vec<f64> = runs.iter().map(|run| run.came).collect();
    came.sort_by(f64::total_cmp);
    let line = |(ended, run): (usize, &Run)| {
        let here = came.partition_point(|&came| came < run.answered) - (ended + 1).min(came.len());
        let ms = ((run.answered - run.came) * 1000.0).round() as i32;
        Sample {
            server: Some(ids[run.server]),
            beconn: here as u32,
            srv_conn: 0,
            timers: Timers::new([0, 0, 0, ms, ms]),
            ..answered(begin + Duration::from_secs_f64(run.answered), ms)
        }
    };
    runs.iter().enumerate().map(line).collect()
}

/// The first servers of a backend.
pub(super) fn servers(count: usize) -> Vec<ServerId> {
    let names = Names::default();
    // The table is new, and takes a hundred thousand names.
    let backend = names.backend("web").unwrap();
    (0..count).map(|n| names.server(backend, &format!("s{n}")).unwrap()).collect()
}

/// 95 % of Tr below 400 ms.
pub(super) fn target() -> Target {
    Target {
        timer: Timer::Tr,
        statistic: Statistic::Percentile(Percentile::P95),
        below: Duration::from_millis(400),
    }
}

/// An estimator that is given lines as time goes on.
pub(super) struct Stage {
    pub(super) begin: Instant,
    pub(super) estimator: LoadEstimator,
    /// Whole seconds that have passed.
    pub(super) second: u64,
}

impl Stage {
    pub(super) fn new() -> Self {
        let begin = start();
        Self { begin, estimator: LoadEstimator::new(target(), begin), second: 0 }
    }

    pub(super) fn at(&self, seconds: f64) -> Instant {
        self.begin + Duration::from_secs_f64(seconds)
    }

    /// One second more, in which `lines` were read. Which servers serve is told too.
    pub(super) fn tick(&mut self, lines: &[Sample], serving: &[Serving]) -> LoadFigures {
        self.second += 1;
        let now = self.at(self.second as f64);
        for line in lines {
            self.estimator.record(line, now);
        }
        if !serving.is_empty() {
            self.estimator.observe(serving, now);
        }
        self.estimator.figures(now)
    }

    /// Second by second until `runs` are over; the figures of the last one.
    pub(super) fn play(&mut self, runs: &[Run]) -> LoadFigures {
        self.play_all(runs, |_| &[], |_, _| {})
    }

    /// The same; `look` sees the figures of each second.
    pub(super) fn play_each(&mut self, runs: &[Run], look: impl FnMut(u64, &LoadFigures)) -> LoadFigures {
        self.play_all(runs, |_| &[], look)
    }

    /// The same; `serving` tells which servers serve in each second.
    pub(super) fn play_serving<'a>(
        &mut self,
        runs: &[Run],
        serving: impl Fn(u64) -> &'a [Serving],
    ) -> LoadFigures {
        self.play_all(runs, serving, |_, _| {})
    }

    fn play_all<'a>(
        &mut self,
        runs: &[Run],
        serving: impl Fn(u64) -> &'a [Serving],
        mut look: impl FnMut(u64, &LoadFigures),
    ) -> LoadFigures {
        let last = runs.iter().map(|run| run.came).fold(0.0, f64::max).floor() as u64;
        let lines = lines(runs, self.begin);
        let mut rest = &lines[..];
        let mut figures = LoadFigures::default();
        while self.second < last {
            let now = self.at(self.second as f64 + 1.0);
            let (come, later) = rest.split_at(rest.partition_point(|line| line.end <= now));
            rest = later;
            figures = self.tick(come, serving(self.second));
            look(self.second, &figures);
        }
        figures
    }
}
