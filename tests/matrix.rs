//! The whole agent on one HAProxy, whatever its version: a spare's life, and things that happen in the middle of it.
//!
//! `make matrix` runs it on every release that `.ci/haproxies` gets; `HAPROXY=program cargo test --test matrix` on one.

use std::io::{BufRead, BufReader, Write, copy};
use std::net::{Shutdown, SocketAddr};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use haproxy_autoscale::demo::load::{Load, Running};
use support::{Agent, Haproxy, NEVER, Origin, PATIENCE, free_port, wait_until};

mod support;

/// Where a spare is on its way when something happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// It has its address, or is added; still in MAINT.
    Provided,
    /// In DRAIN, and its health check does not pass.
    Check,
    /// In DRAIN, and its warm-up requests are not answered.
    WarmUp,
    /// READY with a part of its weight.
    Ramp,
    /// READY.
    Serving,
    /// In DRAIN, with a request that takes its time.
    Drain,
    /// In MAINT and to be deleted, with a request that takes its time.
    Deletion,
}

impl Step {
    fn goes_up(self) -> bool {
        !matches!(self, Self::Drain | Self::Deletion)
    }
}

/// What s2 is, when it does not serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spare {
    Declared,
    /// A slot without an address.
    Slot,
    /// Not there.
    Added,
}

impl Spare {
    fn steps(self) -> Vec<Step> {
        let all = [Step::Check, Step::WarmUp, Step::Ramp, Step::Serving, Step::Drain];
        let provided = (self != Self::Declared).then_some(Step::Provided);
        let deleted = (self == Self::Added).then_some(Step::Deletion);
        provided.into_iter().chain(all).chain(deleted).collect()
    }
}

/// Stands between the agent and HAProxy's socket, and holds back the commands that take s2 out of MAINT. They come to
/// nothing: the agent gives up waiting, and tries again.
struct Gate {
    is_open: AtomicBool,
    held: AtomicUsize,
}

impl Gate {
    /// At `gate.sock` beside `admin.sock`; its thread ends with the test.
    fn start(dir: &Path) -> Arc<Self> {
        let listener = UnixListener::bind(dir.join("gate.sock")).expect("the folder is ours");
        let gate = Arc::new(Self { is_open: AtomicBool::new(false), held: AtomicUsize::new(0) });
        let (theirs, socket) = (gate.clone(), dir.join("admin.sock"));
        thread::spawn(move || {
            for agent in listener.incoming().flatten() {
                let (gate, socket) = (theirs.clone(), socket.clone());
                // While HAProxy does not listen, or either side goes away, the connection ends.
                thread::spawn(move || UnixStream::connect(socket).and_then(|to| gate.pass_on(&agent, &to)));
            }
        });
        gate
    }

    fn pass_on(&self, mut agent: &UnixStream, mut haproxy: &UnixStream) -> std::io::Result<()> {
        let (mut answers, mut back) = (haproxy.try_clone()?, agent.try_clone()?);
        thread::spawn(move || {
            let _ = copy(&mut answers, &mut back);
            let _ = back.shutdown(Shutdown::Write);
        });
        for line in BufReader::new(&mut agent).lines() {
            let line = line?;
            let leaves_maint = line.contains("set server app/s2 state drain");
            if leaves_maint && !self.is_open.load(Ordering::SeqCst) {
                self.held.fetch_add(1, Ordering::SeqCst);
            } else {
                writeln!(haproxy, "{line}")?;
            }
        }
        haproxy.shutdown(Shutdown::Write)
    }
}

/// HAProxy with s1, which serves, and the spare s2; and the agent.
struct Site {
    haproxy: Haproxy,
    spare: Spare,
    port: u16,
    _s1: Origin,
    s2: Option<Origin>,
    s2_port: u16,
    agent: Option<Agent>,
    keys: String,
    /// The one that the agent asks.
    socket: &'static str,
    gate: Option<Arc<Gate>>,
}

impl Site {
    /// `None` if there is no HAProxy.
    fn start(step: Step, with_master: bool) -> Option<Self> {
        Self::start_with(step, with_master, "roundrobin", Spare::Declared)
    }

    fn start_with(step: Step, with_master: bool, balance: &str, spare: Spare) -> Option<Self> {
        let (port, s1, s2) = (free_port(), Origin::start(), Origin::start());
        let address = format!("127.0.0.1:{}", s2.port());
        let disabled = if step.goes_up() { "disabled" } else { "" };
        let s2_line = match spare {
            Spare::Declared => format!("server s2 {address} maxconn 50 check inter 100ms {disabled}"),
            Spare::Slot => {
                "server-template s 2-2 127.0.0.1:1 maxconn 50 check inter 100ms disabled".to_owned()
            }
            Spare::Added => String::new(),
        };
        let to_s2 = if spare == Spare::Added { "" } else { "use-server s2 if { path /s2 }" };
        let config = format!(
            "global\n    log stdout format raw local0\n    stats socket {{dir}}/operator.sock level operator\n\
             defaults\n    log global\n    mode http\n    option httplog\n    timeout connect 60s\n\
             \x20   timeout client 10m\n    timeout server 10m\n    timeout check 60s\n\
             frontend users\n    bind 127.0.0.1:{port}\n    default_backend app\n\
             backend app\n    balance {balance}\n    {to_s2}\n    server s1 127.0.0.1:{} maxconn 50\n    {s2_line}\n",
            s1.port(),
        );
        let haproxy =
            if with_master { Haproxy::start_with_master(&config) } else { Haproxy::start(&config) }?;
        let keys = match step {
            Step::Drain if spare != Spare::Declared => {
                "scale_up: { cooldown: 0s }\nscale_down: { cooldown: 0s, drain_timeout: 10m }\n\
                 servers: { s1: { always_up: true } }"
            }
            Step::Deletion => {
                "scale_up: { cooldown: 0s }\nscale_down: { cooldown: 0s, drain_timeout: 1s }\n\
                 servers: { s1: { always_up: true } }"
            }
            Step::Drain => {
                "ready: { max: 1 }\nscale_down: { drain_timeout: 10m }\nservers: { s1: { always_up: true } }"
            }
            Step::Ramp => "ready: { min: 2 }\nwarm_up: { path: /warm, requests: 2, ramp: 15s }",
            _ => "ready: { min: 2 }\nwarm_up: { path: /warm, requests: 4, concurrency: 1, timeout: 10m }",
        };
        let spares = match spare {
            Spare::Declared => String::new(),
            Spare::Slot => format!("\nspares: {{ kind: slots, pool: ['{address}'] }}"),
            Spare::Added => format!(
                "\nspares: {{ kind: dynamic, pool: [{{ address: '{address}', name: s2 }}], \
                 default_server: check inter 100ms maxconn 50 }}"
            ),
        };
        let s2_port = s2.port();
        let gate = (step == Step::Provided).then(|| Gate::start(haproxy.dir()));
        Some(Self {
            haproxy,
            spare,
            port,
            _s1: s1,
            s2: Some(s2),
            s2_port,
            agent: None,
            keys: format!("{keys}{spares}"),
            socket: if gate.is_some() { "gate.sock" } else { "admin.sock" },
            gate,
        })
    }

    /// Starts an agent that goes on where the one before it was killed.
    fn start_agent(&mut self) {
        let left = self.agent.take().and_then(|agent| agent.into_dir().ok());
        let dir = left.unwrap_or_else(|| tempfile::Builder::new().prefix("ha").tempdir().expect("a folder"));
        let keys = self.keys.lines().map(|line| format!("    {line}\n")).collect::<String>();
        let config = format!(
            "tick: 100ms\nhaproxy: {{ sockets: [{}], timeout: 2s }}\nbackends:\n  - name: app\n\
             \x20   target: {{ below: 1s }}\n    policy: threshold\n    window: {{ length: 1s, min_samples: 10 }}\n{keys}",
            self.haproxy.dir().join(self.socket).display()
        );
        let log = self.haproxy.dir().join("output");
        let log = log.to_str().expect("a temporary path is text");
        self.agent = Some(Agent::start_in(dir, &config, &[log], Stdio::null()));
    }

    fn agent(&self) -> &Agent {
        self.agent.as_ref().expect("started by then")
    }

    /// The server's state and weight, as in `READY 1`.
    fn server(&self, name: &str) -> String {
        let found = self.haproxy.servers("app", |row| row[7].to_owned()).remove(name);
        found.unwrap_or_else(|| "absent".to_owned())
    }

    /// The server's state and port, as in `READY 8080`.
    fn address_of(&self, name: &str) -> String {
        self.haproxy.servers("app", |row| row[18].to_owned()).remove(name).unwrap_or_default()
    }

    fn wait_until_the_agent_is_done(&self) {
        wait_until("the agent is done", PATIENCE, || self.agent().is_still());
    }

    #[track_caller]
    fn wait_for(&self, server: &str, state: &str) {
        wait_until(&format!("{server} is {state}"), PATIENCE, || self.server(server) == state);
    }

    fn users(&self) -> Running {
        let load = Load::new(SocketAddr::from(([127, 0, 0, 1], self.port)), |_| 20.0).patience(PATIENCE);
        load.start(NEVER).expect("the load runs")
    }

    /// Brings s2 to `step`, and holds it there.
    fn reach(&mut self, step: Step) {
        match step {
            Step::Check => self.s2 = None,
            Step::WarmUp => self.s2().set_delay(NEVER),
            Step::Drain | Step::Deletion if self.spare != Spare::Declared => {
                self.start_agent();
                self.agent().pin(2);
                self.wait_for("s2", "READY 1");
                self.wait_until_the_agent_is_done();
                self.keep_busy();
                self.agent().pin(1);
                return self.wait_for("s2", if step == Step::Drain { "DRAIN 1" } else { "MAINT 1" });
            }
            Step::Drain | Step::Deletion => self.keep_busy(),
            Step::Provided | Step::Ramp | Step::Serving => {}
        }
        self.start_agent();
        match step {
            Step::Provided => {
                let gate = self.gate.as_ref().expect("started with the site");
                wait_until("s2 is provided", PATIENCE, || gate.held.load(Ordering::SeqCst) > 0);
                assert_eq!(self.address_of("s2"), format!("MAINT {}", self.s2_port));
            }
            Step::Check | Step::Drain | Step::Deletion => self.wait_for("s2", "DRAIN 1"),
            Step::WarmUp => wait_until("warm-up has begun", PATIENCE, || self.s2().requests() > 0),
            // Whoever looks too late finds it through with it.
            Step::Ramp => wait_until("the ramp has begun", PATIENCE, || {
                let is_on = self.server("s2").starts_with("READY ") && self.server("s1") == "READY 100";
                is_on || self.agent().has_journaled("event", "serving")
            }),
            Step::Serving => self.wait_for("s2", "READY 1"),
        }
    }

    fn s2(&self) -> &Origin {
        self.s2.as_ref().expect("started with the site")
    }

    /// A request that takes its time; of two in a row at least one goes to s2.
    fn keep_busy(&self) {
        let (port, before) = (self.port, self.s2().requests());
        self.s2().set_delay(NEVER);
        for _ in 0..2 {
            thread::spawn(move || {
                std::net::TcpStream::connect(("127.0.0.1", port)).and_then(|mut stream| {
                    use std::io::{Read, Write};
                    stream.write_all(b"GET /s2 HTTP/1.0\r\n\r\n")?;
                    stream.read_to_end(&mut Vec::new())
                })
            });
        }
        wait_until("a request is with s2", PATIENCE, || self.s2().requests() > before);
        self.s2().set_delay(Duration::ZERO);
    }

    /// Lets go of what held s2, and waits until it is where it belongs.
    fn settle(&mut self, step: Step) {
        if let Some(gate) = &self.gate {
            gate.is_open.store(true, Ordering::SeqCst);
        }
        match (&self.s2, step) {
            (None, _) => self.s2 = Some(Origin::start_on(self.s2_port)),
            (Some(s2), _) => s2.let_go(),
        }
        let end = match (step, self.spare) {
            (Step::Drain | Step::Deletion, Spare::Added) => "absent",
            (Step::Drain | Step::Deletion, _) => "MAINT 1",
            _ => "READY 1",
        };
        self.wait_for("s2", end);
        self.wait_for("s1", "READY 1");
        self.wait_until_the_agent_is_done();
        assert_eq!(self.server("s2"), end, "there it stays");
    }
}

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Reload,
    MasterReload,
    FailedReload,
    Crash,
    AgentKilled,
    Hang,
}

impl Event {
    fn happen(self, site: &mut Site) {
        match self {
            Self::Reload | Self::MasterReload => site.haproxy.reload(),
            Self::FailedReload => site.haproxy.fail_to_reload(),
            Self::Crash => {
                site.haproxy.kill();
                site.haproxy.start_again();
            }
            Self::AgentKilled => site.start_agent(),
            Self::Hang => {
                let told = || {
                    let events = site.agent().events().into_iter();
                    events
                        .filter(|event| event["message"] == "haproxy does not answer; waiting for it")
                        .count()
                };
                let before = told();
                site.haproxy.hang();
                wait_until("the agent has waited for it in vain", PATIENCE, || told() > before);
                site.haproxy.go_on();
            }
        }
    }
}

/// `event` in the middle of each step of s2, each on a HAProxy of its own.
fn play(event: Event, spare: Spare) {
    let plays = spare.steps().into_iter().map(|step| {
        thread::Builder::new().name(format!("{event:?} in {step:?}")).spawn(move || {
            let with_master = matches!(event, Event::MasterReload | Event::FailedReload);
            let Some(mut site) = Site::start_with(step, with_master, "roundrobin", spare) else { return };
            site.reach(step);
            let users = site.users();
            wait_until("users come", PATIENCE, || !users.measured(5).is_empty());
            let asked = site.s2.as_ref().map_or(0, Origin::requests);
            event.happen(&mut site);
            if (event, step) == (Event::AgentKilled, Step::WarmUp) {
                let is_asked = || site.s2.as_ref().is_some_and(|s2| s2.requests() > asked);
                wait_until("it is warmed up anew", PATIENCE, || site.server("s2") == "DRAIN 1" && is_asked());
            }
            site.settle(step);
            let failed = users.measured(0).iter().filter(|request| request.is_failed()).count();
            assert!(failed == 0 || event == Event::Crash, "{failed} requests failed");
        })
    });
    for play in plays.collect::<Vec<_>>() {
        if let Err(panic) = play.expect("a thread can be had").join() {
            std::panic::resume_unwind(panic);
        }
    }
}

/// MAINT, DRAIN, check, warm-up, READY, ramp, and back: DRAIN, MAINT.
#[test]
fn the_whole_life_of_a_spare() {
    let Some(mut site) = Site::start(Step::Ramp, false) else { return };
    site.keys =
        "warm_up: { path: /warm, requests: 2, ramp: 20s }\nscale_down: { drain_timeout: 20s, cooldown: 0s }\n\
                 scale_up: { cooldown: 0s }\nservers: { s1: { always_up: true } }"
            .to_owned();
    site.start_agent();
    let users = site.users();
    site.agent().pin(2);
    wait_until("s2 has a part of its weight", PATIENCE, || site.server("s1") == "READY 100");
    site.wait_for("s1", "READY 1");
    site.wait_for("s2", "READY 1");
    let s2 = site.s2.as_ref().expect("started with the site");
    let warm = s2.requests();
    wait_until("users come to s2", PATIENCE, || s2.requests() > warm);
    site.agent().pin(1);
    site.wait_for("s2", "MAINT 1");
    assert!(users.measured(0).iter().all(|request| !request.is_failed()), "no request failed");
    let known = site.agent().event("what this haproxy can do is known").expect("it was asked");
    assert_eq!((&known["level"], &known["pid"]), (&"admin".into(), &site.haproxy.pid().into()));
}

/// What HAProxy refuses is told; servers stay as they are, and the agent goes on.
#[test]
fn a_socket_that_may_only_read_is_told_and_nothing_is_changed() {
    let Some(mut site) = Site::start(Step::Serving, false) else { return };
    site.socket = "operator.sock";
    site.start_agent();
    wait_until("it is told", PATIENCE, || {
        site.agent().event("servers cannot be changed: `stats socket` needs `level admin`").is_some()
            && site
                .agent()
                .event("no plan for a move that is needed")
                .is_some_and(|event| event["refused"].to_string().contains("needs `level admin`"))
    });
    assert_eq!(site.server("s2"), "MAINT 1");
    assert_eq!(site.agent().status().unwrap_or_default()["haproxy"]["answers"], true);
}

#[test]
fn an_algorithm_without_weights_gets_its_servers_and_no_weights() {
    let Some(mut site) = Site::start_with(Step::Ramp, false, "uri", Spare::Declared) else { return };
    site.start_agent();
    site.wait_for("s2", "READY 1");
    wait_until("the move is over", PATIENCE, || {
        let app = site.agent().backend();
        app["serving"] == 2 && app["moving"].is_null()
    });
    let told = |message| site.agent().event(message).is_some();
    // Before 2.6 it cannot be tried but by a weight.
    assert_eq!(
        told("no weight ramp; the newcomer gets its full weight at once"),
        Haproxy::version().expect("it runs")[..2] < [2, 6][..]
    );
    assert_eq!(site.server("s1"), "READY 1");
}

#[test]
fn a_takeover_in_the_middle_of_each_step() {
    play(Event::Reload, Spare::Declared);
}

#[test]
fn a_reload_by_the_master_in_the_middle_of_each_step() {
    play(Event::MasterReload, Spare::Declared);
}

#[test]
fn a_failed_reload_in_the_middle_of_each_step() {
    play(Event::FailedReload, Spare::Declared);
}

#[test]
fn a_crash_in_the_middle_of_each_step() {
    play(Event::Crash, Spare::Declared);
}

#[test]
fn an_agent_killed_in_the_middle_of_each_step() {
    play(Event::AgentKilled, Spare::Declared);
}

#[test]
fn a_haproxy_that_hangs_in_the_middle_of_each_step() {
    play(Event::Hang, Spare::Declared);
}

/// Events that are played side by side.
const PAIRS: [[Event; 2]; 3] = [
    [Event::Reload, Event::Crash],
    [Event::AgentKilled, Event::Hang],
    [Event::MasterReload, Event::FailedReload],
];

fn play_pairs(spare: Spare) {
    for pair in PAIRS {
        thread::scope(|scope| pair.map(|event| scope.spawn(move || play(event, spare))).map(drop));
    }
}

#[test]
fn slots_in_the_middle_of_each_step() {
    play_pairs(Spare::Slot);
}

#[test]
fn added_servers_in_the_middle_of_each_step() {
    if Haproxy::version().is_some_and(|version| version[..2] >= [2, 6][..]) {
        play_pairs(Spare::Added);
    }
}
