//! Plays a [`Workload`] once for each policy, in the closed loop of the simulator, and reads the one that was.

use super::Track;
use super::history::History;
use super::learning::Ids;
use super::recorder::{Grid, Recorder};
use super::workload::Workload;
use crate::core::settings::{BackendSettings, Target};
use crate::sim::baseline::{Baseline, Recorded};
use crate::sim::driver::{compete, control};
use crate::sim::scenario::{Balance, Clients, Discipline, Haproxy, Load, Noise, PoolNames, Scenario};
use crate::sim::scenario::{ServerModel, Shape, Share};

/// As the table has what was.
pub const AS_IT_WAS: &str = "as it was";
/// The same servers, modelled.
pub const MODELLED: &str = "the same, modelled";

/// What is not in any log, and has to be said or assumed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pool {
    /// Servers; `None`: as many as the log has.
    pub servers: Option<usize>,
    /// From the order to start a server until it is healthy, give or take 20 %, seconds.
    pub start_delay_s: f64,
    /// So many times as long takes the first request of a server that was started, at least 1; it fades over 60.
    pub cold_start: f64,
    /// `balance`.
    pub balance: Balance,
    /// What is random (start delays) begins with this.
    pub seed: u64,
}

impl Default for Pool {
    fn default() -> Self {
        Self { servers: None, start_delay_s: 5.0, cold_start: 1.0, balance: Balance::RoundRobin, seed: 1 }
    }
}

/// Who decides.
#[derive(Clone, Debug)]
pub enum Who {
    /// As many servers at any time as there were.
    AsItWas,
    /// Somebody to compare with.
    Baseline(Baseline),
    /// The agent.
    Agent(Box<BackendSettings>),
}

/// What was, read from the log: nothing in it is modelled.
pub fn actual(history: &History, workload: &Workload, target: &Target) -> Track {
    let mut recorder = Recorder::new(Grid::new(workload.length_s), *target);
    let begins_ms = workload.begins.seconds() * 1000;
    let ids = Ids::new(history.servers.len(), begins_ms);
    for past in &history.requests {
        recorder.count((past.came_ms - begins_ms) as f64 / 1e3, &ids.sample(past));
    }
    let active = workload.servers_active();
    let ends = active.iter().skip(1).map(|(at_s, _)| *at_s).chain([workload.length_s]);
    for (&(from_s, count), until_s) in active.iter().zip(ends) {
        supply(&mut recorder, from_s, until_s, count);
    }
    let moves = active.windows(2).map(|pair| pair[0].1.abs_diff(pair[1].1) as u64).sum();
    recorder.finish(AS_IT_WAS, "read from the log: servers are active while they have requests", moves)
}

/// In steps that are short against every point.
fn supply(recorder: &mut Recorder, from_s: f64, until_s: f64, count: usize) {
    const STEP_S: f64 = 1.0;
    let mut at_s = from_s;
    while at_s < until_s {
        // To the next whole second, so that a step lies within one point.
        let next_s = ((at_s / STEP_S).floor() + 1.0) * STEP_S;
        let step_s = next_s.min(until_s) - at_s;
        recorder.supply(step_s, count, count);
        at_s += step_s;
    }
}

/// What would have been, as far as the model goes.
pub fn play(workload: &Workload, pool: &Pool, target: &Target, who: &Who, name: &str, about: &str) -> Track {
    let mut recorder = Recorder::new(Grid::new(workload.length_s), *target);
    let scenario = scenario(workload, pool, target, matches!(who, Who::AsItWas));
    let seed = pool.seed;
    let score = match who {
        Who::AsItWas => {
            let mut recorded = Recorded::new(name, workload.servers_active());
            compete(&scenario, seed, &mut recorded, &mut recorder)
        }
        Who::Baseline(baseline) => {
            compete(&scenario, seed, &mut *baseline.autoscaler(&scenario), &mut recorder)
        }
        Who::Agent(settings) => {
            let mut settings = (**settings).clone();
            settings.name.clone_from(&workload.backend);
            control(&scenario, seed, settings, &mut recorder)
        }
    };
    recorder.finish(name, about, score.moves)
}

/// The names of the servers of `pool`: those of the log, and such as are made up for more.
pub fn names(workload: &Workload, pool: &Pool) -> Vec<String> {
    let wanted = pool.servers.unwrap_or(workload.servers.len()).max(1);
    let more = (1..).map(|number| format!("more{number}"));
    workload.servers.iter().cloned().chain(more).take(wanted).collect()
}

fn scenario(workload: &Workload, pool: &Pool, target: &Target, as_it_was: bool) -> Scenario {
    let names = if as_it_was { workload.servers.clone() } else { names(workload, pool) };
    let at_start = workload.servers_active().first().map_or(1, |(_, count)| *count);
    let none = Share { share: 0.0, mean_s: 0.0 };
    let (queue_timeout_s, server_timeout_s) = workload.timeouts_s;
    let learned = &workload.learned;
    Scenario {
        name: workload.backend.clone(),
        about: String::new(),
        length_s: workload.length_s,
        servers: names.len(),
        serving_at_start: at_start.min(names.len()),
        target_ms: u32::try_from(target.below.as_millis()).unwrap_or(u32::MAX),
        load: Load {
            shape: Shape::Requests(workload.comings.clone()),
            noise: Noise { share: 0.0, over_s: 1.0 },
        },
        clients: Clients { slow_readers: none, slow_senders: none, streams: none },
        haproxy: Haproxy {
            balance: pool.balance,
            maxconn: learned.maxconn,
            queue_timeout_s,
            server_timeout_s,
            drain_timeout_s: 60.0,
        },
        server: ServerModel {
            workers: learned.workers,
            discipline: if learned.in_turn { Discipline::Fifo } else { Discipline::Shared },
            service_s: learned.service_s,
            cv: workload.cv,
            thrash: 0.0,
            start_delay_s: if as_it_was { 0.0 } else { pool.start_delay_s },
            cold_extra: if as_it_was { 0.0 } else { pool.cold_start - 1.0 },
            cold_over: 60.0,
            warm_up_requests: 0,
        },
        sizes: Vec::new(),
        incidents: Vec::new(),
        names: PoolNames { backend: workload.backend.clone(), servers: names },
        begins: Some(workload.begins),
    }
}
