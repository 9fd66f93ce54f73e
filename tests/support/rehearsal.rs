//! A scenario of the simulator's on a real HAProxy, and what the simulator says of the same.
//!
//! The same requests come at the same moments and need a worker for the same time; servers, queues,
//! `balance`, start delays and cold starts are those of the scenario; the agent and the simulated
//! controller have one config. What is left to differ is what the simulator is to be trusted about.

#![allow(dead_code, unreachable_pub, reason = "tests and a bench use a part of it each")]

use std::net::SocketAddr;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use haproxy_autoscale::config::Config;
use haproxy_autoscale::core::settings::Policy;
use haproxy_autoscale::demo::haproxy::{Haproxy, ServerSeen};
use haproxy_autoscale::demo::load::{Arrival, Felt, Load, Measured};
use haproxy_autoscale::demo::random::Random;
use haproxy_autoscale::demo::server::{ColdStart, ServiceTime, SmallServer};
use haproxy_autoscale::demo::verdict::Meter;
use haproxy_autoscale::sim::arrivals::Arrivals;
use haproxy_autoscale::sim::baseline::Baseline;
use haproxy_autoscale::sim::driver;
use haproxy_autoscale::sim::scenario::{Clients, Scenario, Shape, Share, Trouble};

use super::support::Agent;

/// How often HAProxy is looked at: the simulated world has a step of 0.2 s.
const LOOK: Duration = Duration::from_millis(100);
/// From the first good check of a server to its being up: `rise 2` at `inter 250ms`, of which the
/// first comes at any time within one.
const RISE_S: f64 = 0.375;
/// Nobody gives up before HAProxy does.
const PATIENCE: Duration = Duration::from_secs(90);
/// A client that began so much later than it was due was held up by the machine.
const LATE: Duration = Duration::from_millis(20);
/// A run in which more of them were late tells of the machine and not of the policy.
const MOST_LATE: f64 = 0.01;

/// Who decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decider {
    /// Nobody: every server serves, always.
    AllOn,
    /// The agent.
    Agent(Policy),
}

impl Decider {
    /// Those of the table.
    pub const ALL: [Self; 3] = [Self::Agent(Policy::Model), Self::Agent(Policy::Threshold), Self::AllOn];

    /// As the table has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::AllOn => "all on",
            Self::Agent(Policy::Model) => "model",
            Self::Agent(Policy::Threshold) => "threshold",
        }
    }

    /// The scenario as it is at the start under this decider.
    fn stage(self, scenario: &Scenario) -> Scenario {
        let serving_at_start = match self {
            Self::AllOn => scenario.servers,
            Self::Agent(_) => scenario.serving_at_start,
        };
        Scenario { serving_at_start, ..scenario.clone() }
    }
}

/// What came of a run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    pub requests: f64,
    /// Of the requests, %: over the target, or failed.
    pub misses: f64,
    /// READY, starting or draining, added up over the servers.
    pub server_seconds: f64,
    /// Servers started or stopped.
    pub moves: f64,
    pub p95_ms: f64,
}

/// Small servers for a short play: 5 of 4 workers, 80 ms (CV 1), that need 3 s to start and are cold.
pub fn scenario(name: &str, length_s: f64, shape: Shape) -> Scenario {
    let nobody = Share { share: 0.0, mean_s: 1.0 };
    let mut scenario = Scenario::standard(name, "", length_s, shape);
    scenario.servers = 5;
    scenario.clients = Clients { slow_readers: nobody, slow_senders: nobody, streams: nobody };
    // As `demo::haproxy` configures it.
    scenario.haproxy.maxconn = Some(8);
    scenario.haproxy.queue_timeout_s = 30.0;
    scenario.server.workers = 4;
    scenario.server.start_delay_s = 3.0;
    scenario.server.cold_over = 20.0;
    scenario.server.warm_up_requests = 40;
    scenario
}

/// The one config for both, but for where HAProxy is. The timings are short, as the play is.
fn config(scenario: &Scenario, policy: Policy) -> String {
    let policy = match policy {
        Policy::Model => "model",
        Policy::Threshold => "threshold",
    };
    format!(
        "backends:
  - name: app
    target: {{ timer: Tt, percentile: 95, below: {below}ms }}
    policy: {policy}
    model: {{ hold: 12s, trial: 3s }}
    window: {{ length: 10s, min_samples: 20 }}
    scale_up: {{ stabilization_window: 3s, cooldown: 5s }}
    scale_down: {{ stabilization_window: 15s, cooldown: 5s, drain_timeout: 20s }}
    warm_up: {{ path: /, requests: {requests}, concurrency: {concurrency} }}
",
        below = scenario.target_ms,
        requests = scenario.server.warm_up_requests,
        concurrency = scenario.server.workers,
    )
}

/// What the simulator says.
///
/// # Panics
/// If the scenario makes a bad config.
pub fn simulated(scenario: &Scenario, decider: Decider, seed: u64) -> Figures {
    let stage = decider.stage(scenario);
    let score = match decider {
        Decider::AllOn => {
            driver::compete(&stage, seed, &mut *Baseline::AllOn.autoscaler(&stage), &mut driver::Nobody)
        }
        Decider::Agent(policy) => {
            let config = Config::parse(&config(scenario, policy), Path::new("rehearsal"));
            let settings = config.expect("a good config").backends.remove(0);
            driver::control(&stage, seed, settings, &mut driver::Nobody)
        }
    };
    Figures {
        requests: score.requests as f64,
        misses: score.miss_share() * 100.0,
        server_seconds: score.server_seconds,
        moves: score.moves as f64,
        p95_ms: score.p95_ms,
    }
}

/// What really happens. `Err` where the machine held the clients up: such a run tells nothing.
///
/// # Errors
/// With how many clients were late.
///
/// # Panics
/// If something of it does not start, or HAProxy goes away.
pub fn real(scenario: &Scenario, decider: Decider, seed: u64) -> Result<Figures, String> {
    let scenario = decider.stage(scenario);
    let mut stage = Stage::set_up(&scenario, seed);
    let log = stage.haproxy.log();
    let socket = format!("haproxy: {{ sockets: [{}] }}\n", stage.haproxy.socket().display());
    let agent = match decider {
        Decider::AllOn => None,
        Decider::Agent(policy) => {
            let config = socket + &config(&scenario, policy);
            Some(Agent::start(&config, &[log.to_str().expect("a temporary path is text")]))
        }
    };
    let measured = stage.play();
    drop(agent);
    let late = measured.iter().filter(|measured| measured.late > LATE).count();
    if late as f64 > MOST_LATE * measured.len() as f64 {
        return Err(format!("{late} of {} clients began more than {LATE:?} late", measured.len()));
    }
    Ok(stage.figures(&measured))
}

/// Servers and HAProxy, and the books about them.
struct Stage {
    scenario: Scenario,
    seed: u64,
    haproxy: Haproxy,
    servers: Vec<Process>,
    random: Random,
    meter: Meter,
    moves: u32,
}

/// A small server as the process that an operator starts and stops with its MAINT.
struct Process {
    server: SmallServer,
    runs: bool,
    /// When it has started, seconds.
    ready_at_s: f64,
}

impl Stage {
    fn set_up(scenario: &Scenario, seed: u64) -> Self {
        let model = scenario.server;
        let service = ServiceTime { mean: Duration::from_secs_f64(model.service_s), cv: model.cv };
        let cold = ColdStart { over: model.cold_over, factor: 1.0 + model.cold_extra };
        let process = |n: usize| {
            let server = SmallServer::start(model.workers as usize, service, Some(cold));
            Process::new(server.expect("a loopback port"), n < scenario.serving_at_start)
        };
        let servers: Vec<Process> = (0..scenario.servers).map(process).collect();
        let addresses: Vec<SocketAddr> = servers.iter().map(|process| process.server.addr()).collect();
        let maxconn = scenario.haproxy.maxconn.unwrap_or(0);
        let haproxy = Haproxy::start(&addresses, scenario.serving_at_start, maxconn);
        Self {
            scenario: scenario.clone(),
            seed,
            haproxy: haproxy.expect("HAProxy starts"),
            servers,
            random: Random::new(seed),
            meter: Meter::new(Instant::now()),
            moves: 0,
        }
    }

    /// Plays the scenario's requests, and does to the servers what happens to them.
    fn play(&mut self) -> Vec<Measured> {
        let seconds = Duration::from_secs_f64;
        let arrivals = Arrivals::new(&self.scenario, self.seed);
        let arrivals = arrivals
            .map(move |coming| Arrival { at: seconds(coming.at_s), takes: Some(seconds(coming.service_s)) });
        let length = seconds(self.scenario.length_s);
        let load = Load::of(self.haproxy.frontend(), arrivals).patience(PATIENCE);
        let start = Instant::now();
        self.meter = Meter::new(start);
        let clients = load.start(length).expect("the load starts");
        while start.elapsed() < length {
            self.look(start);
            thread::sleep(LOOK);
        }
        clients.finish()
    }

    fn look(&mut self, start: Instant) {
        let seen = self.haproxy.servers().expect("HAProxy answers");
        let now_s = start.elapsed().as_secs_f64();
        self.meter.add(Instant::now(), &seen);
        for (place, seen) in seen.iter().enumerate() {
            self.follow(place, seen, now_s);
        }
    }

    /// Brings one server to where HAProxy and the incidents want it.
    fn follow(&mut self, place: usize, seen: &ServerSeen, now_s: f64) {
        let process = &mut self.servers[place];
        if seen.is_needed() != process.runs {
            self.moves += 1;
            let stretch = 0.8 + 0.4 * self.random.unit();
            let delay_s = self.scenario.server.start_delay_s * stretch - RISE_S;
            process.switch(seen.is_needed(), now_s + delay_s);
        }
        process.go_on(now_s);
        let slow = self.scenario.troubles(now_s).fold(1.0, |slow, trouble| match trouble {
            Trouble::Slower(by) => slow * by,
            Trouble::SlowServer(which, by) if which == place => slow * by,
            _ => slow,
        });
        process.server.set_slow((slow * 100.0) as u64);
    }

    /// As the simulator counts: what had its answer before the end.
    fn figures(&self, measured: &[Measured]) -> Figures {
        let length = Duration::from_secs_f64(self.scenario.length_s);
        let ended: Vec<Measured> =
            measured.iter().filter(|measured| measured.end() <= length).copied().collect();
        let felt = Felt::of(&ended, Duration::from_millis(self.scenario.target_ms.into()));
        Figures {
            requests: felt.requests as f64,
            misses: felt.over as f64 / felt.requests.max(1) as f64 * 100.0,
            server_seconds: self.meter.total().as_secs_f64(),
            moves: f64::from(self.moves),
            p95_ms: felt.p95.as_secs_f64() * 1e3,
        }
    }
}

impl Process {
    /// One that has been running for long, or none at all.
    fn new(server: SmallServer, runs: bool) -> Self {
        server.set_begun(if runs { u64::from(u32::MAX) } else { 0 });
        server.set_status(if runs { 200 } else { 503 });
        Self { server, runs, ready_at_s: 0.0 }
    }

    fn switch(&mut self, runs: bool, ready_at_s: f64) {
        (self.runs, self.ready_at_s) = (runs, ready_at_s);
        self.server.set_status(503);
        self.server.set_begun(0);
    }

    fn go_on(&mut self, now_s: f64) {
        if self.runs && now_s >= self.ready_at_s {
            self.server.set_status(200);
        }
    }
}
