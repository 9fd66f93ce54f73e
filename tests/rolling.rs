//! The whole agent under a load that never stops: it moves servers all the time, and HAProxy is reloaded every few
//! seconds. No request fails, there are always servers enough, and nothing grows.
//!
//! `SOAK_SECONDS` says for how long. HAProxy is set up so that a mistake of the agent's is a failed request: nothing
//! is tried twice (`retries 0`), and a server that goes to MAINT too early takes its requests with it
//! (`on-marked-down shutdown-sessions`).

#![allow(clippy::print_stderr, reason = "its figures are told where the test runner looks")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use haproxy_autoscale::demo::load::{Arrival, Load, Measured};
use haproxy_autoscale::demo::server::{ServiceTime, SmallServer};
use serde_json::Value;
use support::{Agent, Haproxy, PATIENCE, ask, free_port, wait_until};

/// How long the load lasts where `SOAK_SECONDS` does not say.
const SECONDS: u64 = 45;
/// Servers moved, in ten minutes and in proportion.
const MOVES_IN_TEN_MINUTES: u64 = 1000;
/// On a machine that is too slow for so many moves the load is repeated, so often at most.
const MOST_LOADS: usize = 10;
/// HAProxy is reloaded so often.
const RELOAD_EVERY: Duration = Duration::from_secs(5);
/// Requests a second, and how long a server works on one. Each tenth is still there when its server is drained.
const RATE: u32 = 60;
const SHORT: Duration = Duration::from_millis(20);
const LONG: Duration = Duration::from_millis(600);

/// The weights in HAProxy's configuration. The first three servers serve when it starts.
const WEIGHTS: [u16; 6] = [10, 20, 30, 10, 20, 30];
/// Never fewer than this may serve.
const FEWEST: usize = 2;
/// So many are to serve, one after the other.
const PINS: [u64; 6] = [6, 2, 5, 3, 6, 2];
/// After each so many pins the next one comes while servers are still being moved.
const IN_HASTE: usize = 5;

/// A leak of a kilobyte for each of a thousand moves would show; what the allocator keeps does not.
const MOST_GROWTH_KB: u64 = 1024;

#[test]
fn no_request_fails_and_nothing_grows_while_servers_are_moved_and_haproxy_is_reloaded() {
    let Some(mut site) = Site::start() else { return };
    let length = Duration::from_secs(seconds());
    let without = site.reload_without_an_agent(length / 10);
    let mut agent = site.agent();
    let watch = Watch::start(site.haproxy.socket());
    let mut drive = Drive::new(&agent);
    let (mut measured, mut quarter) = (Vec::new(), None);
    let moved = || count(&agent.journal(), "serving") + count(&agent.journal(), "in_maint");
    for _ in 0..MOST_LOADS {
        let load = site.load().start(length).expect("the load runs");
        while !load.is_over() {
            drive.step(&mut site.haproxy);
            if quarter.is_none() && drive.start.elapsed() > length / 4 {
                quarter = Some(drive.held_when_calm());
            }
            thread::sleep(Duration::from_millis(20));
        }
        measured.extend(load.finish());
        if moved() * 600 >= MOVES_IN_TEN_MINUTES * length.as_secs() {
            break;
        }
    }
    drive.pin(WEIGHTS.len() as u64);
    let end = drive.held_when_calm();
    let quarter = quarter.expect("the load lasted longer");
    let (with, weights, lasted) = (drive.reloads, site.weights(), drive.start.elapsed());
    let seen = watch.stop();
    let (status, summary) = agent.stop();
    let journal = agent.journal();
    let moved = count(&journal, "serving") + count(&journal, "in_maint");
    eprintln!(
        "{} s: {} requests, {} failed; {moved} servers moved, {} steps failed; {without} reloads without the agent, \
         {with} with it; {} looks, {} serving at least; {} then {} descriptors, {} then {} kB",
        lasted.as_secs(),
        measured.len(),
        measured.iter().filter(|request| request.is_failed()).count(),
        count(&journal, "failed"),
        seen.looks,
        seen.fewest,
        quarter.descriptors,
        end.descriptors,
        quarter.kilobytes,
        end.kilobytes,
    );
    site.none_failed(&measured);
    assert!(seen.looks > length.as_secs() && seen.fewest >= FEWEST, "never too few: {seen:#?}");
    assert!(moved * 600 >= MOVES_IN_TEN_MINUTES * length.as_secs(), "{moved} moves in {lasted:?}");
    assert!(end.descriptors <= quarter.descriptors + 2, "{quarter:?}, then {end:?}");
    assert!(end.kilobytes <= quarter.kilobytes + MOST_GROWTH_KB, "{quarter:?}, then {end:?}");
    assert!(status.success(), "{status}");
    assert_eq!(summary["requests"], measured.len(), "each was read in the log once: {summary}");
    assert_eq!(weights, site.weights(), "its end changes nothing");
    let wanted = (1..).zip(WEIGHTS).map(|(n, weight)| (format!("s{n}"), weight)).collect();
    assert_eq!(weights, wanted, "all of them serve with their own weights");
}

/// How long the load lasts.
fn seconds() -> u64 {
    std::env::var("SOAK_SECONDS").map_or(SECONDS, |text| text.parse().expect("SOAK_SECONDS is a number"))
}

fn count(journal: &[Value], event: &str) -> u64 {
    journal.iter().filter(|entry| entry["event"] == event).count() as u64
}

/// A master with its worker, and six servers.
struct Site {
    haproxy: Haproxy,
    port: u16,
    _servers: Vec<SmallServer>,
}

impl Site {
    fn start() -> Option<Self> {
        let (port, service) = (free_port(), ServiceTime { mean: SHORT, cv: 0.0 });
        let servers: Vec<_> =
            WEIGHTS.iter().map(|_| SmallServer::start(64, service, None).expect("a loopback port")).collect();
        let lines = (1..).zip(&servers).zip(WEIGHTS).map(|((n, server), weight)| {
            let disabled = if n > 3 { " disabled" } else { "" };
            format!("    server s{n} {} weight {weight}{disabled}\n", server.addr())
        });
        let haproxy = Haproxy::start_with_master(&format!(
            "global\n    log stdout format raw local0\n\
             ring requests\n    size 1048576\n    format raw\n    maxlen 4096\n\
             defaults\n    log global\n    log ring@requests format raw local0\n    mode http\n    option httplog\n\
             \x20   retries 0\n    timeout connect 60s\n    timeout client 10m\n    timeout server 10m\n\
             frontend users\n    bind 127.0.0.1:{port}\n    default_backend app\n\
             backend app\n    balance roundrobin\n    timeout check 60s\n\
             \x20   default-server check inter 250ms on-marked-down shutdown-sessions\n{}",
            lines.collect::<String>()
        ))?;
        Some(Self { haproxy, port, _servers: servers })
    }

    fn agent(&self) -> Agent {
        let config = format!(
            "tick: 100ms\nhaproxy: {{ sockets: [{}] }}\nbackends:\n  - name: app\n    target: {{ below: 2s }}\n\
             \x20   window: {{ length: 5s, min_samples: 10 }}\n    ready: {{ min: {FEWEST} }}\n\
             \x20   model: {{ trial: 0s }}\n    scale_up: {{ cooldown: 0s }}\n\
             \x20   scale_down: {{ cooldown: 0s, drain_timeout: 10m }}\n\
             \x20   warm_up: {{ path: /, requests: 3, ramp: 400ms }}\n",
            self.haproxy.socket().display()
        );
        let agent = Agent::start(&config, &["ring:requests"]);
        wait_until("it knows HAProxy", PATIENCE, || backend(&agent)["serving"] == 3);
        agent
    }

    /// Short requests at a steady rate, each tenth a long one.
    fn load(&self) -> Load {
        let arrivals = (0..).map(|n: u32| Arrival {
            at: Duration::from_secs(1) * n / RATE,
            takes: Some(if n % 10 == 9 { LONG } else { SHORT }),
        });
        Load::of(SocketAddr::from(([127, 0, 0, 1], self.port)), arrivals).patience(PATIENCE)
    }

    /// Reloads lose nothing by themselves: one after the other under the load, without an agent.
    fn reload_without_an_agent(&mut self, length: Duration) -> u64 {
        let (mut measured, mut reloads) = (Vec::new(), 0);
        // On a slow machine one takes longer than all of the load.
        while reloads < 2 {
            let load = self.load().start(length).expect("the load runs");
            while !load.is_over() {
                let before = self.haproxy.pid();
                self.haproxy.reload();
                reloads += 1;
                // One after the other, as with the agent.
                wait_until("the worker before has ended", PATIENCE, || {
                    !fs::exists(format!("/proc/{before}")).unwrap()
                });
            }
            measured.extend(load.finish());
        }
        self.none_failed(&measured);
        assert!(!measured.is_empty());
        reloads
    }

    #[track_caller]
    fn none_failed(&self, measured: &[Measured]) {
        let failed: Vec<_> = measured.iter().filter(|request| request.is_failed()).take(20).collect();
        let log = self.haproxy.output();
        let told: Vec<_> =
            log.lines().filter(|line| line.contains("HTTP/1.1") && !line.contains(" 200 ")).collect();
        assert!(failed.is_empty(), "{failed:#?}\nby HAProxy's log: {told:#?}");
    }

    /// The weights of the servers that serve.
    fn weights(&self) -> BTreeMap<String, u16> {
        serving(&self.haproxy.ask("show servers state app")).expect("a whole answer")
    }
}

/// The servers that are READY and up, with weights above 0; `None` for an answer that was cut off.
fn serving(answer: &str) -> Option<BTreeMap<String, u16>> {
    let rows = answer.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let rows: Vec<_> = rows.filter(|row| row.get(1) == Some(&"app")).collect();
    let is_whole = rows.len() == WEIGHTS.len() && rows.iter().all(|row| row.len() > 7);
    let servers = rows.iter().filter_map(|row| {
        let weight = row[7].parse().ok()?;
        // In the state that is ordered, 4 is no more than that it was `disabled` at first.
        let serves = row[5] == "2" && matches!(row[6], "0" | "4") && weight > 0;
        serves.then(|| (row[3].to_owned(), weight))
    });
    is_whole.then(|| servers.collect())
}

/// What the agent says of the backend, on its own socket.
fn backend(agent: &Agent) -> Value {
    let say = || -> std::io::Result<Value> {
        let mut stream = UnixStream::connect(agent.dir().join("run/agent.sock"))?;
        stream.write_all(b"\"status\"\n")?;
        stream.shutdown(Shutdown::Write)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(serde_json::from_slice::<Value>(&answer)?["backends"][0].clone())
    };
    say().unwrap_or_default()
}

/// Pins the backend to one number of servers after the other, and reloads HAProxy, whatever is under way.
struct Drive<'a> {
    agent: &'a Agent,
    start: Instant,
    reloads: u32,
    pins: usize,
    /// So many there were at the last reload.
    pins_at_reload: usize,
    pinned_to: u64,
    pinned_at: Instant,
}

impl<'a> Drive<'a> {
    fn new(agent: &'a Agent) -> Self {
        let now = Instant::now();
        let mut drive =
            Self { agent, start: now, reloads: 0, pins: 0, pins_at_reload: 0, pinned_to: 0, pinned_at: now };
        drive.pin(PINS[0]);
        drive
    }

    fn step(&mut self, haproxy: &mut Haproxy) {
        // A machine on which nothing is reached between two reloads would never get anywhere.
        let is_due = self.start.elapsed() > RELOAD_EVERY * (self.reloads + 1);
        if is_due && self.pins > self.pins_at_reload {
            haproxy.reload();
            self.reloads += 1;
            self.pins_at_reload = self.pins;
        }
        let seen = backend(self.agent);
        let in_haste = self.pins % IN_HASTE == 1 && !seen["moving"].is_null();
        if in_haste || self.is_done(&seen) {
            self.pins += 1;
            self.pin(PINS[self.pins % PINS.len()]);
        }
        assert!(self.pinned_at.elapsed() < PATIENCE, "stuck on the way to {}: {seen:#}", self.pinned_to);
    }

    fn pin(&mut self, to: u64) {
        self.agent.pin(to);
        (self.pinned_to, self.pinned_at) = (to, Instant::now());
    }

    fn is_done(&self, seen: &Value) -> bool {
        seen["serving"] == self.pinned_to && seen["moving"].is_null()
    }

    /// What the agent holds while it moves nothing.
    fn held_when_calm(&self) -> Held {
        wait_until("it is done", PATIENCE, || self.is_done(&backend(self.agent)));
        // The least of a second: a command to HAProxy may be under way.
        let look = |_| {
            thread::sleep(Duration::from_millis(20));
            Held::by(self.agent.pid())
        };
        let held: Vec<Held> = (0..50).map(look).collect();
        Held {
            descriptors: held.iter().map(|held| held.descriptors).min().unwrap_or(0),
            kilobytes: held.iter().map(|held| held.kilobytes).min().unwrap_or(0),
        }
    }
}

/// What a process holds of the machine.
#[derive(Debug)]
struct Held {
    descriptors: usize,
    /// Resident memory.
    kilobytes: u64,
}

impl Held {
    fn by(pid: u32) -> Self {
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs").count();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux tells it");
        let kilobytes = line.trim().trim_end_matches(" kB").parse().expect("a number");
        Self { descriptors, kilobytes }
    }
}

/// Looks all the time how many servers serve, in whichever process of HAProxy answers.
struct Watch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Seen>,
}

#[derive(Debug)]
struct Seen {
    looks: u64,
    fewest: usize,
    /// The first of HAProxy's answers that told of too few.
    too_few: Option<String>,
}

impl Watch {
    fn start(socket: PathBuf) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = thread::spawn(move || {
            let mut seen = Seen { looks: 0, fewest: WEIGHTS.len(), too_few: None };
            while !stopped.load(Ordering::Relaxed) {
                let answer = ask(&socket, "show servers state app").unwrap_or_default();
                if let Some(serving) = serving(&answer) {
                    seen.looks += 1;
                    seen.fewest = seen.fewest.min(serving.len());
                    if serving.len() < FEWEST {
                        seen.too_few.get_or_insert(answer);
                    }
                }
                thread::sleep(Duration::from_millis(20));
            }
            seen
        });
        Self { stop, thread }
    }

    fn stop(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("it does not panic")
    }
}
