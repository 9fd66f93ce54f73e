//! Figures and pools for the tests of the model.

use std::time::{Duration, Instant};

use super::Model;
use crate::core::estimate::load::{Arrivals, Calm, Change, LoadFigures, Misses, Service, Throughput};
use crate::core::names::{Names, ServerId};
use crate::core::policy::decision::Decision;
use crate::core::policy::pool::{Member, Pool, Stage};
use crate::core::settings::{BackendSettings, Policy, ReadyLimits, Statistic, Target, Timer};
use crate::core::units::Percentile;

/// Calm requests of a lognormal service time with this mean and coefficient of variation, in classes
/// of latency as the estimator has them.
pub(super) fn calm(mean: f64, cv: f64, below: f64) -> Calm {
    let sigma = (1.0 + cv * cv).ln().sqrt();
    let mu = mean.ln() - sigma * sigma / 2.0;
    // The normal distribution's quantile by Tukey's lambda, right to a hundredth.
    let quantile = |p: f64| 4.91 * (p.powf(0.14) - (1.0 - p).powf(0.14));
    let (many, classes) = (1024, 63.0);
    let mut seen = vec![(0.0, 0.0); 64];
    for n in 0..many {
        let latency = (mu + sigma * quantile((f64::from(n) + 0.5) / f64::from(many))).exp();
        let class = if latency > below { classes } else { (latency / below * classes).min(classes - 1.0) };
        let (sum, share) = &mut seen[class as usize];
        (*sum, *share) = (*sum + latency / f64::from(many), *share + 1.0 / f64::from(many));
    }
    let floor = seen[63].1;
    let mean = |(sum, share): (f64, f64)| (sum / share, share);
    Calm { floor, latencies: seen.into_iter().filter(|class| class.1 > 0.0).map(mean).collect() }
}

/// The backend that the rule was made with: S = 80 ms, CV 1, 8 workers, target 400 ms for 95 %.
pub(super) fn settings() -> BackendSettings {
    let below = Duration::from_millis(400);
    let statistic = Statistic::Percentile(Percentile::P95);
    BackendSettings {
        target: Target { timer: Timer::Tr, statistic, below },
        policy: Policy::Model,
        ready: ReadyLimits { min: 1, max: None },
        ..crate::core::plan::testing::settings()
    }
}

/// What that backend shows at so many requests a second, for long and evenly.
pub(super) fn steady(arrivals: f64) -> LoadFigures {
    let requests = (arrivals * 15.0) as u64;
    let none = |seconds: f64| Change { slope: 0.0, sigma: (2.0 * arrivals / seconds).sqrt() / seconds };
    LoadFigures {
        service: Some(Service { time: 0.08, workers: 8.0, knee: true, cv: 1.0 }),
        arrivals: Arrivals {
            last_3: arrivals,
            last_4: arrivals,
            last_5: arrivals,
            last_10: arrivals,
            last_15: arrivals,
            last_30: arrivals,
            change_3: none(3.0),
            change_5: none(5.0),
            change_30: none(30.0),
            peak: None,
        },
        throughput: Throughput {
            last_4: arrivals,
            first_half: arrivals,
            second_half: arrivals,
            last_15: arrivals,
        },
        streams: (arrivals * 0.08) as u32,
        calm: calm(0.08, 1.0, 0.4),
        misses: Misses {
            last_15: (requests / 100, requests),
            minutes: vec![(requests / 25, requests * 4); 15],
        },
        lead: Duration::from_secs(5),
        silent_for: Some(Duration::ZERO),
        watched: Duration::from_secs(3600),
        ..LoadFigures::default()
    }
}

/// Servers around a model: what it decides is done.
#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) model: Model,
    pub(super) settings: BackendSettings,
    pub(super) pool: Pool,
    pub(super) load: LoadFigures,
    pub(super) now: Instant,
    /// From the order to the first request.
    pub(super) start_delay: Duration,
    /// From weight 0 to MAINT.
    pub(super) drained_after: Duration,
    /// When the servers that move get where they are going.
    moving: Vec<(Instant, ServerId)>,
    /// What was done, a line each: second, decision in short.
    pub(super) moves: Vec<(u64, String)>,
    started: Instant,
}

impl World {
    /// `serving` of `all` servers serve.
    pub(super) fn new(serving: u32, all: u32) -> Self {
        let names = Names::default();
        let web = names.backend("web").expect("the table is empty");
        let member = |n: u32| Member {
            server: names.server(web, &format!("s{n}")).expect("the table is nearly empty"),
            stage: if n < serving { Stage::Serving } else { Stage::Spare },
            share: 1.0,
            sessions: 0,
            maxconn: None,
            removable: true,
        };
        let now = Instant::now();
        Self {
            model: Model::default(),
            settings: settings(),
            pool: Pool { servers: (0..all).map(member).collect(), takes_weights: true, ..Pool::default() },
            load: steady(100.0),
            now,
            start_delay: Duration::from_secs(5),
            drained_after: Duration::from_secs(25),
            moving: Vec::new(),
            moves: Vec::new(),
            started: now,
        }
    }

    /// The pool as the next tick will show it.
    pub(super) fn seen(&self) -> Pool {
        let mut world = self.clone();
        world.arrive(self.now + Duration::from_secs(1));
        world.pool
    }

    /// One second: servers arrive, the model decides, and what it decides begins.
    pub(super) fn tick(&mut self) -> Decision {
        self.now += Duration::from_secs(1);
        self.arrive(self.now);
        let decision = self.model.decide(self.now, &self.load, &self.pool, &self.settings);
        self.apply(&decision);
        decision
    }

    /// Servers that are where they were going.
    fn arrive(&mut self, now: Instant) {
        let pool = &mut self.pool;
        self.moving.retain(|&(at, id)| {
            let is_there = at <= now;
            for member in pool.servers.iter_mut().filter(|member| is_there && member.server == id) {
                member.stage = if member.stage == Stage::Starting { Stage::Serving } else { Stage::Spare };
            }
            !is_there
        });
    }

    /// So many seconds; the last decision.
    pub(super) fn ticks(&mut self, seconds: u32) -> Decision {
        (1..seconds).for_each(|_| drop(self.tick()));
        self.tick()
    }

    fn apply(&mut self, decision: &Decision) {
        let (before, second) = (self.pool.count(Stage::Serving), (self.now - self.started).as_secs());
        match decision {
            Decision::Hold(_) => {}
            Decision::ScaleUp { by, .. } => {
                for _ in 0..*by {
                    self.start_one();
                }
                self.moves.push((second, format!("{before} +{by}")));
            }
            Decision::ScaleDown { by, prefer, .. } => {
                let at = self.now + self.drained_after;
                for id in prefer.iter().take(*by as usize) {
                    let member = self.pool.servers.iter_mut().find(|member| member.server == *id);
                    member.expect("only servers of the pool are preferred").stage = Stage::Parked;
                    self.moving.push((at, *id));
                }
                self.moves.push((second, format!("{before} -{by}")));
            }
            Decision::Reweigh { shares, .. } => {
                for (id, share) in shares {
                    for member in self.pool.servers.iter_mut().filter(|member| member.server == *id) {
                        member.share = *share;
                    }
                }
                self.moves.push((second, "weights".to_owned()));
            }
        }
    }

    fn start_one(&mut self) {
        let stage_of = |pool: &Pool, stage| pool.servers.iter().position(|member| member.stage == stage);
        let parked = stage_of(&self.pool, Stage::Parked);
        let Some(place) = parked.or_else(|| stage_of(&self.pool, Stage::Spare)) else {
            panic!("more servers were ordered than there are")
        };
        let member = &mut self.pool.servers[place];
        self.moving.retain(|(_, id)| *id != member.server);
        member.stage = if parked.is_some() { Stage::Serving } else { Stage::Starting };
        member.share = 1.0;
        if parked.is_none() {
            self.moving.push((self.now + self.start_delay, member.server));
        }
    }
}
