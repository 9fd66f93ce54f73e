//! The whole agent on a real HAProxy, with servers of finite capacity and clients who wait.
//!
//! One server serves, three are declared `disabled`. A load comes that one cannot carry, and
//! goes again. From the clients' side: p95 comes back under the target, no request fails, and
//! afterwards the spares are in MAINT.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use haproxy_autoscale::demo::haproxy::Haproxy;
use haproxy_autoscale::demo::load::{Felt, Load};
use haproxy_autoscale::demo::server::{ServiceTime, SmallServer};
use nix::sys::stat::Mode;
use support::{Agent, wait_until};

mod support;

const TARGET: Duration = Duration::from_millis(250);
/// The load: low, high, low; requests a second. A server carries 100.
const LOW: f64 = 15.0;
const HIGH: f64 = 170.0;
/// When the high load begins and ends.
const RISE: Duration = Duration::from_secs(5);
const FALL: Duration = Duration::from_secs(21);
/// The high load's last seconds, by which the agent must have answered it.
const SETTLED: Duration = Duration::from_secs(16);
const END: Duration = Duration::from_secs(26);

fn four_servers() -> Vec<SmallServer> {
    let service = ServiceTime { mean: Duration::from_millis(20), cv: 0.5 };
    (0..4).map(|_| SmallServer::start(2, service, None).expect("a loopback port")).collect()
}

fn haproxy(servers: &[SmallServer]) -> Haproxy {
    let addresses: Vec<_> = servers.iter().map(SmallServer::addr).collect();
    Haproxy::start(&addresses, 1, 6).expect("HAProxy starts")
}

fn config(haproxy: &Haproxy, policy: &str) -> String {
    format!(
        "haproxy: {{ sockets: [{}] }}
backends:
  - name: app
    target: {{ timer: Tt, percentile: 95, below: 250ms }}
    policy: {policy}
    model: {{ hold: 3s, trial: 1s }}
    window: {{ length: 2s, min_samples: 20 }}
    scale_up: {{ stabilization_window: 1s, cooldown: 2s }}
    scale_down: {{ stabilization_window: 2s, idle_after: 3s, cooldown: 1s, drain_timeout: 5s }}
    warm_up: {{ path: /, requests: 10, concurrency: 2 }}
",
        haproxy.socket().display()
    )
}

fn serving(haproxy: &Haproxy) -> usize {
    haproxy.servers().expect("HAProxy answers").iter().filter(|server| server.is_serving()).count()
}

/// Plays the load and holds the agent to its promise.
fn hold_to_the_promise(agent: &mut Agent, haproxy: &Haproxy, servers: &[SmallServer]) {
    let rate = |at: Duration| if at >= RISE && at < FALL { HIGH } else { LOW };
    let measured = Load::new(haproxy.frontend(), rate).run(END).expect("the load runs");
    let between = |from: Duration, to: Duration| {
        let part: Vec<_> = measured.iter().filter(|m| m.start >= from && m.start < to).copied().collect();
        Felt::of(&part, TARGET)
    };
    let failed = measured.iter().filter(|measured| measured.is_failed()).count();
    assert_eq!(failed, 0, "no request may fail; {} were made", measured.len());
    let settled = between(SETTLED, FALL);
    assert!(settled.p95 <= TARGET, "p95 came back under the target: {settled:?}");
    let most = agent.journal().iter().filter_map(|entry| entry["to"].as_u64()).max();
    assert!(most >= Some(2), "one server cannot carry it: {most:?}");
    assert!(servers[1..].iter().any(|server| server.counters().warm_ups() >= 10), "spares were warmed up");
    wait_until("the spares are in MAINT again", Duration::from_secs(40), || serving(haproxy) == 1);
    wait_until("each move was reported", Duration::from_secs(10), || {
        let entries = agent.journal();
        let count = |event: &str| entries.iter().filter(|entry| entry["event"] == event).count();
        count("in_maint") == count("serving")
    });
    // A client has its answer before the line is written, and lines are not waited for at a stop.
    wait_until("the line of every request is read", Duration::from_secs(10), || {
        let read = agent.status().and_then(|status| status["lines"]["requests"].as_u64());
        read >= Some(measured.len() as u64)
    });
    let (status, summary) = agent.stop();
    assert!(status.success());
    let log = std::fs::read_to_string(haproxy.log()).unwrap();
    let logged = log.lines().filter(|line| line.contains(" HTTP/1.1\"")).count();
    assert_eq!(summary["requests"], logged, "every line of the log was read: {summary}");
    assert_eq!(logged, measured.len(), "every request was logged");
    assert_eq!(summary["unparsed"], 0, "{summary}");
    assert!(summary["moves"].as_u64() >= Some(2), "{summary}");
}

#[test]
fn a_load_too_much_for_one_server_is_answered_from_the_log_file() {
    let servers = four_servers();
    let haproxy = haproxy(&servers);
    let log = haproxy.log();
    let mut agent = Agent::start(&config(&haproxy, "model"), &[log.to_str().unwrap()]);
    hold_to_the_promise(&mut agent, &haproxy, &servers);
}

#[test]
fn a_load_too_much_for_one_server_is_answered_from_standard_input() {
    let servers = four_servers();
    let haproxy = haproxy(&servers);
    let mut tail = follow(&haproxy.log()).stdout(Stdio::piped()).spawn().unwrap();
    let mut agent = Agent::start_with(&config(&haproxy, "model"), &["-"], tail.stdout.take().unwrap().into());
    hold_to_the_promise(&mut agent, &haproxy, &servers);
    tail.kill().unwrap();
    tail.wait().unwrap();
}

#[test]
fn a_load_too_much_for_one_server_is_answered_from_a_fifo() {
    let servers = four_servers();
    let haproxy = haproxy(&servers);
    let fifo = haproxy.folder().join("log.fifo");
    nix::unistd::mkfifo(&fifo, Mode::S_IRWXU).unwrap();
    let mut agent = Agent::start(&config(&haproxy, "threshold"), &[fifo.to_str().unwrap()]);
    let writer = std::fs::File::options().write(true).open(&fifo).unwrap();
    let mut tail = follow(&haproxy.log()).stdout(writer).spawn().unwrap();
    hold_to_the_promise(&mut agent, &haproxy, &servers);
    tail.kill().unwrap();
    tail.wait().unwrap();
}

fn follow(log: &Path) -> Command {
    let mut tail = Command::new("tail");
    tail.args(["-n", "+1", "-F"]).arg(log).stderr(Stdio::null());
    tail
}

#[test]
fn a_dry_run_decides_and_touches_nothing() {
    let servers = four_servers();
    let haproxy = haproxy(&servers);
    let log = haproxy.log();
    let mut agent = Agent::start(&config(&haproxy, "threshold"), &["--dry-run", log.to_str().unwrap()]);
    let load = Load::new(haproxy.frontend(), |_| HIGH).start(Duration::from_secs(12)).unwrap();
    wait_until("it decides to scale up", Duration::from_secs(12), || {
        agent.journal().iter().any(|entry| entry["decision"] == "scale_up" && entry["dry_run"] == true)
    });
    drop(load.finish());
    assert_eq!(serving(&haproxy), 1);
    assert!(servers.iter().all(|server| server.counters().warm_ups() == 0), "no warm-up request was sent");
    let (status, _) = agent.stop();
    assert!(status.success());
    assert!(!agent.dir().join("state/state.json").exists(), "nothing was done, so nothing is remembered");
}

#[test]
fn sigterm_in_a_move_ends_the_agent_within_two_seconds() {
    let servers = four_servers();
    let haproxy = haproxy(&servers);
    let log = haproxy.log();
    let config = config(&haproxy, "threshold").replace("concurrency: 2", "concurrency: 2, ramp: 60s");
    let mut agent = Agent::start(&config, &[log.to_str().unwrap()]);
    let load = Load::new(haproxy.frontend(), |_| HIGH).start(Duration::from_secs(15)).unwrap();
    wait_until("the newcomer's ramp is under way", Duration::from_secs(15), || serving(&haproxy) == 2);
    let asked = Instant::now();
    let (status, _) = agent.stop();
    assert!(status.success());
    assert!(asked.elapsed() < Duration::from_secs(3), "took {:?}", asked.elapsed());
    let weights: Vec<_> = haproxy.servers().unwrap().iter().map(|server| server.weight).collect();
    assert!(
        weights.windows(2).all(|pair| pair[0] == pair[1]),
        "temporary weights were put right: {weights:?}"
    );
    assert_eq!(serving(&haproxy), 2, "READY stays as it is");
    drop(load.finish());
}
