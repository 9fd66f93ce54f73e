//! Requests as they come: a Poisson process around a rate that changes.
//!
//! In: a scenario and a seed. Out: one [`Coming`] after the other. All that is random about a request is
//! drawn here, in the order of arrival: whoever decides, the same requests come.

use std::collections::VecDeque;
use std::sync::Arc;

use rand_distr::{Distribution, Exp1, StandardNormal, StandardUniform};
use rand_pcg::Pcg64;

use super::random::{self, lognormal};
use super::rate::Rate;
use super::scenario::{Noise, Scenario, Shape, Trouble};

/// The rate is level for so long, seconds: short against every shape, long against a request's cost here.
const STEP_S: f64 = 0.1;

/// A request before anything has happened to it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Coming {
    /// When HAProxy has read it, seconds.
    pub at_s: f64,
    /// How long sending it took, seconds; before `at_s`.
    pub sent_for_s: f64,
    /// How long a worker of a healthy, warm server needs for it, seconds.
    pub service_s: f64,
    /// From the answer's headers to its last byte, seconds.
    pub read_for_s: f64,
    /// Whatever server gets it answers with an error.
    pub fails: bool,
}

/// The requests of one run, in order.
#[derive(Debug)]
pub struct Arrivals {
    scenario: Scenario,
    mixes: bool,
    times: Times,
    random: Pcg64,
    /// Drawn, and not yet due.
    upcoming: VecDeque<Coming>,
}

impl Arrivals {
    /// The arrivals of `scenario`.
    pub fn new(scenario: &Scenario, seed: u64) -> Self {
        let is_mix = |trouble| matches!(trouble, Trouble::Mix { .. });
        Self {
            mixes: scenario.incidents.iter().any(|incident| is_mix(incident.what)),
            times: Times::new(scenario, seed),
            random: random::stream(seed, random::REQUESTS),
            upcoming: VecDeque::new(),
            scenario: scenario.clone(),
        }
    }

    /// When the next one comes; `None`: none will.
    pub fn peek(&mut self) -> Option<f64> {
        if self.upcoming.is_empty() {
            self.draw();
        }
        self.upcoming.front().map(|coming| coming.at_s)
    }

    /// How many come in the `within_s` after `now_s`, a second. Those up to `now_s` have been taken.
    pub fn rate_to_come(&mut self, now_s: f64, within_s: f64) -> f64 {
        let end = now_s + within_s;
        while self.upcoming.back().is_none_or(|last| last.at_s < end) {
            if !self.draw() {
                break;
            }
        }
        self.upcoming.partition_point(|coming| coming.at_s < end) as f64 / within_s
    }

    /// Draws one more request; false if there are none.
    fn draw(&mut self) -> bool {
        let coming = match &mut self.times {
            Times::Known { requests, next, end_s } => {
                let known = requests.get(*next).filter(|coming| coming.at_s < *end_s);
                *next += 1;
                known.copied()
            }
            times => times.next().map(|at_s| self.request(at_s)),
        };
        self.upcoming.extend(coming);
        coming.is_some()
    }

    fn request(&mut self, at_s: f64) -> Coming {
        let Scenario { clients, server, .. } = &self.scenario;
        let mut service_s = lognormal(&mut self.random, server.service_s, server.cv);
        let slow: f64 = StandardUniform.sample(&mut self.random);
        let sends: f64 = StandardUniform.sample(&mut self.random);
        let read_for_s = match slow {
            slow if slow < clients.slow_readers.share => {
                lognormal(&mut self.random, clients.slow_readers.mean_s, 1.0)
            }
            slow if slow < clients.slow_readers.share + clients.streams.share => {
                lognormal(&mut self.random, clients.streams.mean_s, 1.0)
            }
            _ => 0.0,
        };
        let sent_for_s = if sends < clients.slow_senders.share { clients.slow_senders.mean_s } else { 0.0 };
        if self.mixes {
            let chance: f64 = StandardUniform.sample(&mut self.random);
            for trouble in self.scenario.troubles(at_s) {
                if let Trouble::Mix { share, by } = trouble
                    && chance < share
                {
                    service_s *= by;
                }
            }
        }
        Coming { at_s, sent_for_s, service_s, read_for_s, fails: false }
    }
}

impl Iterator for Arrivals {
    type Item = Coming;

    fn next(&mut self) -> Option<Coming> {
        self.peek()?;
        self.upcoming.pop_front()
    }
}

/// When requests come.
#[derive(Debug)]
enum Times {
    Poisson(Box<Poisson>),
    Given {
        moments: Arc<[f64]>,
        next: usize,
        end_s: f64,
    },
    /// Nothing is left to chance.
    Known {
        requests: Arc<[Coming]>,
        next: usize,
        end_s: f64,
    },
}

impl Times {
    fn new(scenario: &Scenario, seed: u64) -> Self {
        let end_s = scenario.length_s;
        match &scenario.load.shape {
            Shape::Moments(moments) => Self::Given { moments: moments.clone(), next: 0, end_s },
            Shape::Requests(requests) => Self::Known { requests: requests.clone(), next: 0, end_s },
            shape => Self::Poisson(Box::new(Poisson::new(shape, scenario.load.noise, end_s, seed))),
        }
    }

    fn next(&mut self) -> Option<f64> {
        match self {
            Self::Poisson(poisson) => poisson.next(),
            Self::Given { moments, next, end_s } => {
                let at_s = *moments.get(*next).filter(|at_s| **at_s < *end_s)?;
                *next += 1;
                Some(at_s)
            }
            Self::Known { requests, next, .. } => requests.get(*next).map(|coming| coming.at_s),
        }
    }
}

/// A Poisson process whose rate is level within each step: exact, and needs no rejected draws.
#[derive(Debug)]
struct Poisson {
    rate: Rate,
    noise: Noise,
    /// The noise now, in standard deviations.
    wave: f64,
    end_s: f64,
    at_s: f64,
    steps: u64,
    per_second: f64,
    /// What is left of the exponential draw that leads to the next arrival: expected arrivals.
    left: f64,
    random: Pcg64,
}

impl Poisson {
    fn new(shape: &Shape, noise: Noise, end_s: f64, seed: u64) -> Self {
        let mut random = random::stream(seed, random::ARRIVALS);
        let rate = Rate::new(shape, end_s, &mut random::stream(seed, random::BURSTS));
        let (wave, left) = (StandardNormal.sample(&mut random), Exp1.sample(&mut random));
        let mut poisson =
            Self { rate, noise, wave, end_s, at_s: 0.0, steps: 0, per_second: 0.0, left, random };
        poisson.begin_step();
        poisson
    }

    /// Sets the rate of the step that begins at `at_s`.
    fn begin_step(&mut self) {
        self.steps += 1;
        let noisy = 1.0 + self.noise.share * self.wave;
        let per_second = self.rate.at(self.at_s + STEP_S / 2.0);
        self.per_second = (per_second * noisy).max(0.0);
        let kept = (-STEP_S / self.noise.over_s).exp();
        let fresh: f64 = StandardNormal.sample(&mut self.random);
        self.wave = self.wave * kept + fresh * (1.0 - kept * kept).sqrt();
    }

    fn next(&mut self) -> Option<f64> {
        while self.at_s < self.end_s {
            let step_end = self.steps as f64 * STEP_S;
            let expected = self.per_second * (step_end - self.at_s);
            if self.left < expected {
                self.at_s += self.left / self.per_second;
                self.left = Exp1.sample(&mut self.random);
                return (self.at_s < self.end_s).then_some(self.at_s);
            }
            self.left -= expected;
            self.at_s = step_end;
            self.begin_step();
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scenario(shape: Shape, share: f64) -> Scenario {
        let mut scenario = Scenario::standard("test", "", 1000.0, shape);
        scenario.load.noise.share = share;
        scenario
    }

    /// Mean and variance of the counts of whole seconds.
    fn counts(scenario: &Scenario) -> (f64, f64) {
        let mut counts = vec![0.0; scenario.length_s as usize];
        Arrivals::new(scenario, 1).for_each(|coming| counts[coming.at_s as usize] += 1.0);
        let mean = counts.iter().sum::<f64>() / counts.len() as f64;
        let variance = counts.iter().map(|count| (count - mean).powi(2)).sum::<f64>() / counts.len() as f64;
        (mean, variance)
    }

    #[test]
    fn counts_of_a_constant_rate_are_poisson() {
        let (mean, variance) = counts(&scenario(Shape::Constant(100.0), 0.0));
        assert!((mean - 100.0).abs() < 1.0 && (variance / mean - 1.0).abs() < 0.15, "{mean} {variance}");
    }

    #[test]
    fn noise_makes_counts_vary_more_and_not_the_mean() {
        let (mean, variance) = counts(&scenario(Shape::Constant(100.0), 0.3));
        let wanted = 100.0 + 30.0 * 30.0;
        assert!((mean - 100.0).abs() < 15.0 && (variance / wanted - 1.0).abs() < 0.5, "{mean} {variance}");
    }

    #[test]
    fn requests_come_in_order_and_the_same_for_a_seed() {
        let scenario = scenario(Shape::Wave { low: 0.0, high: 200.0, period_s: 100.0 }, 0.04);
        let all: Vec<Coming> = Arrivals::new(&scenario, 7).collect();
        assert!(all.is_sorted_by(|a, b| a.at_s <= b.at_s) && all.len() > 90_000);
        assert_eq!(all, Arrivals::new(&scenario, 7).collect::<Vec<_>>());
        assert_ne!(all, Arrivals::new(&scenario, 8).collect::<Vec<_>>());
    }

    #[test]
    fn looking_ahead_takes_nothing_away() {
        let scenario = scenario(Shape::Constant(50.0), 0.0);
        let all: Vec<Coming> = Arrivals::new(&scenario, 3).collect();
        let mut arrivals = Arrivals::new(&scenario, 3);
        let ahead = arrivals.rate_to_come(0.0, 10.0);
        assert_eq!(ahead * 10.0, all.iter().filter(|coming| coming.at_s < 10.0).count() as f64);
        assert_eq!(arrivals.collect::<Vec<_>>(), all);
    }

    #[test]
    fn given_moments_are_played_as_they_are() {
        let moments: std::sync::Arc<[f64]> = [0.5, 0.5, 7.25, 2000.0].into();
        let arrivals = Arrivals::new(&scenario(Shape::Moments(moments), 0.04), 1);
        assert_eq!(arrivals.map(|coming| coming.at_s).collect::<Vec<_>>(), [0.5, 0.5, 7.25]);
    }

    #[test]
    fn requests_are_as_their_clients_and_servers_make_them() {
        let all: Vec<Coming> = Arrivals::new(&scenario(Shape::Constant(500.0), 0.0), 5).collect();
        let mean = |value: &dyn Fn(&Coming) -> f64| all.iter().map(value).sum::<f64>() / all.len() as f64;
        let near = |found: f64, wanted: f64| assert!((found / wanted - 1.0).abs() < 0.05, "{found} {wanted}");
        near(mean(&|coming| coming.service_s), 0.08);
        near(mean(&|coming| coming.read_for_s), 0.02 * 4.0);
        near(mean(&|coming| coming.sent_for_s), 0.01 * 0.5);
    }
}
