//! Plans carried out on a real HAProxy, and on one that misbehaves.

mod support;

use std::collections::HashSet;
use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use haproxy_autoscale::config::Config;
use haproxy_autoscale::core::names::{Names, ServerId};
use haproxy_autoscale::core::plan::inventory::{AdminState, Inventory, ServerState};
use haproxy_autoscale::core::plan::outcome::{Changes, Outcome, Ramp};
use haproxy_autoscale::core::plan::ownership::Claims;
use haproxy_autoscale::core::plan::planner;
use haproxy_autoscale::core::plan::step::{Plan, Step};
use haproxy_autoscale::core::plan::weights;
use haproxy_autoscale::core::policy::decision::{Decision, Reason};
use haproxy_autoscale::core::settings::BackendSettings;
use haproxy_autoscale::haproxy::address::Address;
use haproxy_autoscale::haproxy::client::Client;
use haproxy_autoscale::haproxy::executor::{Executor, Patience};
use haproxy_autoscale::provider::haproxy_cfgs::HaproxyCfgs;
use support::{FakeHaproxy, Fault, Haproxy, NEVER, Origin, PATIENCE, ask, eventually, free_port, wait_until};
use tokio::sync::{mpsc, watch};

// --- What the tests are played on.

/// An executor on the backend `web` of some HAProxy, and what a controller would know.
struct Stage {
    names: Names,
    executor: Arc<Executor>,
    settings: BackendSettings,
    claims: Claims,
}

/// A plan that is being carried out.
struct Play {
    names: Names,
    outcomes: mpsc::Receiver<Outcome>,
    changes: watch::Sender<Changes>,
    seen: Vec<Outcome>,
    told: Vec<String>,
}

impl Stage {
    /// On the HAProxy behind `socket`. `keys` are those of `web` in the config file.
    fn new(socket: &Path, keys: &str) -> Self {
        Self::with(socket, keys, false)
    }

    fn dry_run(socket: &Path, keys: &str) -> Self {
        Self::with(socket, keys, true)
    }

    fn with(socket: &Path, keys: &str, dry_run: bool) -> Self {
        let keys = keys.lines().map(|line| format!("    {}\n", line.trim())).collect::<String>();
        let policy = if keys.contains("policy:") { "" } else { "    policy: threshold\n" };
        let text = format!("backends:\n  - name: web\n    target: {{ below: 1s }}\n{policy}{keys}");
        let config = Config::parse(&text, Path::new("test.yaml")).unwrap_or_else(|error| panic!("{error}"));
        let names = Names::default();
        let client = Client::new(Address::Unix(socket.to_owned()), PATIENCE);
        let patience = Patience {
            retry_for: NEVER,
            each_try: NEVER,
            poll: Duration::from_millis(20),
            when_stopping: PATIENCE,
            ..Patience::default()
        };
        let executor = Executor::new(client, names.clone(), dry_run).with_patience(patience);
        Self {
            names,
            executor: Arc::new(executor),
            settings: config.backends.into_iter().next().expect("one is configured"),
            claims: Claims::default(),
        }
    }

    /// What the configuration of `haproxy` says of the servers is known from now on.
    fn know(&self, haproxy: &Haproxy) {
        let config = format!("haproxy: {{ config: {} }}", haproxy.dir().join("haproxy.cfg").display());
        let config = Config::parse(&config, Path::new("test.yaml")).unwrap_or_else(|error| panic!("{error}"));
        let web = self.names.backend("web").expect("there is room");
        self.executor.know(web, HaproxyCfgs::new(&config).lines_of("web"));
    }

    fn id(&self, server: &str) -> ServerId {
        let web = self.names.backend("web").expect("there is room");
        self.names.server(web, server).expect("there is room")
    }

    async fn inventory(&self) -> Inventory {
        self.executor.inventory().await.unwrap_or_else(|error| panic!("{error:?}"))
    }

    async fn server(&self, name: &str) -> ServerState {
        let id = self.names.backend("web").expect("there is room");
        let inventory = self.inventory().await;
        let server = inventory.backend(id).and_then(|web| web.server(self.names.server(id, name)?));
        server.unwrap_or_else(|| panic!("no web/{name} in {inventory:?}")).clone()
    }

    /// The weights of all servers, in HAProxy's order.
    async fn weights(&self) -> Vec<u16> {
        let inventory = self.inventory().await;
        inventory.backends[0].servers.iter().map(|server| server.weight.value()).collect()
    }

    /// Has it reach `fake` with this patience, and wait for an hour for each answer.
    fn reach(&mut self, fake: &FakeHaproxy, patience: Patience) {
        let client = Client::new(Address::Unix(fake.socket()), NEVER);
        let executor = Executor::new(client, self.names.clone(), false).with_patience(patience);
        self.executor = Arc::new(executor);
    }

    async fn plan(&self, decision: &Decision) -> Plan {
        let inventory = self.inventory().await;
        let web = inventory.backend(self.names.backend("web").expect("there is room")).expect("it is there");
        planner::plan(decision, web, &self.settings, &self.claims, &HashSet::new(), &self.names)
            .unwrap_or_else(|reason| panic!("{reason:?} with {inventory:?}"))
    }

    fn start(&self, plan: Plan) -> Play {
        let (changes, changed) = watch::channel(Changes::default());
        let (outcomes_in, outcomes) = mpsc::channel(256);
        let executor = self.executor.clone();
        tokio::spawn(async move { executor.run(plan, changed, outcomes_in).await });
        Play { names: self.names.clone(), outcomes, changes, seen: Vec::new(), told: Vec::new() }
    }

    /// Carries out what `decision` asks for, to the end.
    async fn play(&self, decision: &Decision) -> Play {
        let plan = self.plan(decision).await;
        self.play_plan(plan).await
    }

    async fn play_plan(&self, plan: Plan) -> Play {
        let mut play = self.start(plan);
        play.end(PATIENCE).await;
        play
    }
}

impl Play {
    /// As the agent does at its end.
    fn stop(&self) {
        self.changes.send_replace(Changes::stop());
    }

    fn take_back(&self, servers: &[ServerId]) {
        self.changes.send_modify(|changes| changes.taken_back.extend(servers));
    }

    /// Waits for the next outcome. `None` after the last one.
    async fn next(&mut self, within: Duration) -> Option<&Outcome> {
        let next = tokio::time::timeout(within, self.outcomes.recv()).await;
        let outcome =
            next.unwrap_or_else(|_| panic!("nothing more for {within:?} after {:#?}", self.told))?;
        self.told.push(self.tell(&outcome));
        self.seen.push(outcome);
        self.seen.last()
    }

    /// Waits until an outcome reads `text`.
    async fn until(&mut self, text: &str) {
        while self.next(PATIENCE).await.is_some() {
            if self.told.last().is_some_and(|told| told == text) {
                return;
            }
        }
        panic!("no `{text}` in {:#?}", self.told);
    }

    /// Nothing comes for so long.
    async fn nothing_for(&mut self, still: Duration) {
        if let Ok(outcome) = tokio::time::timeout(still, self.outcomes.recv()).await {
            panic!("{:?} after {:#?}", outcome.map(|outcome| self.tell(&outcome)), self.told);
        }
    }

    /// The ramp of this server stands still, until [`Self::go_on`].
    fn hold_ramp(&self, server: ServerId) {
        self.changes.send_modify(|changes| drop(changes.ramps.insert(server, Ramp::Held)));
    }

    fn go_on(&self) {
        self.changes.send_modify(|changes| changes.ramps.clear());
    }

    /// Waits for the end of the plan.
    async fn end(&mut self, within: Duration) {
        let deadline = Instant::now() + within;
        while self.next(deadline.saturating_duration_since(Instant::now())).await.is_some() {}
        assert!(matches!(self.seen.last(), Some(Outcome::Finished { .. })), "{:#?}", self.told);
    }

    /// An outcome in words, without times.
    fn tell(&self, outcome: &Outcome) -> String {
        let name = |id: &ServerId| self.names.of_server(*id).to_string();
        match outcome {
            Outcome::StepDone { step, .. } => step.words(&self.names),
            Outcome::Moved { server, .. } => format!("{} moved", name(server)),
            Outcome::Failed { step, error, .. } => format!("failed: {}: {error}", step.words(&self.names)),
            Outcome::Outdated { .. } => "outdated".to_owned(),
            Outcome::Kept { by, .. } => {
                by.as_ref().map_or("kept no more".to_owned(), |by| format!("kept by {by}"))
            }
            Outcome::Dropped { server, .. } => format!("{} dropped", name(server)),
            Outcome::LeftBehind { error, .. } => format!("left behind: {error}"),
            Outcome::RampGivenUp { error, .. } => format!("ramp given up: {error}"),
            Outcome::Finished { called_off, .. } => {
                (if *called_off { "called off" } else { "finished" }).to_owned()
            }
        }
    }

    /// The whole story; `*` at the end of a line stands for anything.
    #[track_caller]
    fn check(&self, expected: &str) {
        let expected: Vec<&str> = expected.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let is_like = |told: &String, expected: &str| match expected.strip_suffix('*') {
            Some(beginning) => told.starts_with(beginning),
            None => told == expected,
        };
        let same = self.told.len() == expected.len()
            && self.told.iter().zip(&expected).all(|(told, expected)| is_like(told, expected));
        assert!(same, "expected {expected:#?}\nfound {:#?}", self.told);
    }

    /// How long the step took that is told as `text`.
    fn took(&self, text: &str) -> Duration {
        let at = self.told.iter().position(|told| told == text);
        match at.map(|at| &self.seen[at]) {
            Some(Outcome::StepDone { took, .. }) => *took,
            _ => panic!("no `{text}` in {:#?}", self.told),
        }
    }
}

fn up(by: u32) -> Decision {
    Decision::ScaleUp { by, reason: Reason::BelowMin { serving: 0, min: 1 } }
}

fn down(by: u32) -> Decision {
    Decision::ScaleDown { by, prefer: Vec::new(), reason: Reason::Idle { since: Duration::from_secs(300) } }
}

/// A HAProxy with a frontend on `port`, and `servers` in the backend `web`.
fn haproxy(port: u16, balance: &str, servers: &str) -> Option<Haproxy> {
    let servers = servers.lines().map(|line| format!("    {}\n", line.trim())).collect::<String>();
    Haproxy::start(&format!(
        "frontend users\n    bind 127.0.0.1:{port}\n    default_backend web\n\
         backend web\n    balance {balance}\n    use-server s2 if {{ path /s2 }}\n{servers}"
    ))
}

/// One request of a user; the status of its answer.
fn get(port: u16, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: users\r\nUser-Agent: user\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.split_whitespace().nth(1).unwrap_or("none").to_owned())
}

/// A request that takes its time, running while the test goes on.
fn get_meanwhile(port: u16, path: &'static str) -> JoinHandle<String> {
    thread::spawn(move || get(port, path).unwrap_or_else(|error| error.to_string()))
}

/// Users who send one request after the other until this is dropped.
struct Users {
    stop: Arc<AtomicBool>,
    failed: Arc<Mutex<Vec<String>>>,
    thread: Option<JoinHandle<()>>,
}

impl Users {
    fn of(port: u16) -> Self {
        let (stop, failed) = (Arc::<AtomicBool>::default(), Arc::<Mutex<Vec<String>>>::default());
        let (stopped, failures) = (stop.clone(), failed.clone());
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let answer = get(port, "/").unwrap_or_else(|error| error.to_string());
                if answer != "200" {
                    failures.lock().expect("nobody panics").push(answer);
                }
            }
        });
        Self { stop, failed, thread: Some(thread) }
    }

    /// Stops them. Not one request must have failed.
    fn stop(mut self) {
        self.halt();
        assert_eq!(*self.failed.lock().expect("nobody panics"), Vec::<String>::new());
    }

    fn halt(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Users {
    fn drop(&mut self) {
        self.halt();
    }
}

/// A server that remembers who has sent it requests, in order.
struct Witness {
    port: u16,
    agents: Arc<Mutex<Vec<String>>>,
}

impl Witness {
    /// Listens until the test process ends.
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port");
        let port = listener.local_addr().expect("it is bound").port();
        let agents = Arc::<Mutex<Vec<String>>>::default();
        let seen = agents.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let seen = seen.clone();
                thread::spawn(move || serve(stream, &seen));
            }
        });
        Self { port, agents }
    }

    fn agents(&self) -> Vec<String> {
        self.agents.lock().expect("nobody panics").clone()
    }
}

fn serve(stream: TcpStream, agents: &Mutex<Vec<String>>) {
    let Ok(mut answers) = stream.try_clone() else { return };
    for line in BufReader::new(stream).lines().map_while(Result::ok) {
        if let Some((_, agent)) = line.to_lowercase().split_once("user-agent: ") {
            agents.lock().expect("nobody panics").push(agent.to_owned());
        }
        if line.is_empty() && answers.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").is_err() {
            return;
        }
    }
}

// --- Scaling up.

#[tokio::test]
async fn a_spare_is_checked_and_warmed_up_before_its_first_user() {
    let (port, s1, s2) = (free_port(), Origin::start(), Witness::start());
    let servers = format!(
        "server s1 127.0.0.1:{}\nserver s2 127.0.0.1:{} check inter 100ms disabled",
        s1.port(),
        s2.port
    );
    let Some(haproxy) = haproxy(port, "roundrobin", &servers) else { return };
    let stage = Stage::new(&haproxy.socket(), "warm_up: { path: /warm, requests: 12, concurrency: 2 }");
    let users = Users::of(port);
    let play = stage.play(&up(1)).await;
    play.check(
        "set web/s2 DRAIN
         wait up to 120s until web/s2 is healthy
         warm up web/s2
         set web/s2 READY
         s2 moved
         finished",
    );
    wait_until("users come to s2", PATIENCE, || s2.agents().last().is_some_and(|agent| agent == "user"));
    users.stop();
    let agents = s2.agents();
    let warm_up = agents.iter().take_while(|agent| agent.ends_with("(warm-up)")).count();
    assert!(warm_up >= 12, "{agents:?}");
    assert!(agents[warm_up..].iter().all(|agent| agent == "user"), "{agents:?}");
    assert!(stage.server("s2").await.check_passed);
}

/// A key and a certificate that nobody has signed, as HAProxy's `crt` takes them; `None`, which is
/// told, if there is no `openssl` to make them.
#[allow(clippy::print_stderr, reason = "a test that skips says so where the test runner looks")]
fn self_signed(dir: &Path) -> Option<PathBuf> {
    let (key, certificate) = (dir.join("key"), dir.join("certificate"));
    let mut openssl = Command::new("openssl");
    openssl.args([
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "1",
        "-subj",
        "/CN=somebody.else",
    ]);
    openssl.arg("-keyout").arg(&key).arg("-out").arg(&certificate).stdin(Stdio::null()).stderr(Stdio::null());
    match openssl.status() {
        Ok(status) => assert!(status.success(), "openssl: {status}"),
        Err(error) => {
            assert!(env::var_os("CI").is_none(), "CI is set, but there is no openssl to test with: {error}");
            eprintln!("skipped: no openssl on the PATH");
            return None;
        }
    }
    let read = |path| fs::read_to_string(path).expect("openssl has written it");
    let both = dir.join("both.pem");
    fs::write(&both, read(certificate) + &read(key)).expect("the folder is ours");
    Some(both)
}

#[tokio::test]
async fn a_server_behind_tls_is_warmed_up_over_tls_by_its_name() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let Some(pem) = self_signed(dir.path()) else { return };
    // One HAProxy is both: `web` has its own frontend `tls` as a server.
    let tls = free_port();
    let config = format!(
        "frontend tls\n    bind 127.0.0.1:{tls} ssl crt {}\n    \
         http-request return status 421 unless {{ ssl_fc_sni shop.example }}\n    \
         http-request return status 400 unless {{ hdr(host) shop.example }}\n    \
         http-request return status 200\n\
         backend web\n    server s1 127.0.0.1:1\n    server s2 127.0.0.1:{tls} ssl verify none disabled",
        pem.display()
    );
    let Some(haproxy) = Haproxy::start(&config) else { return };
    // HAProxy 2.2 does not tell which servers are behind TLS.
    let tls = if Haproxy::version().expect("it runs")[..2] < [2, 4][..] { "on" } else { "auto" };
    let keys = |sni: &str| format!("warm_up: {{ path: /, host: shop.example, tls: {tls}{sni} }}");
    let stage = Stage::new(&haproxy.socket(), &keys(""));
    let play = stage.play(&up(1)).await;
    assert!(play.told.contains(&"s2 moved".to_owned()), "{:#?}", play.told);

    haproxy.ask("set server web/s2 state maint");
    let stage = Stage::new(&haproxy.socket(), &keys(", sni: other.example"));
    let play = stage.play(&up(1)).await;
    assert!(play.told.iter().any(|told| told.contains("status was 421")), "{:#?}", play.told);
}

#[tokio::test]
async fn a_spare_without_a_check_has_to_take_a_connection() {
    let (port, s1, s2_port) = (free_port(), Origin::start(), free_port());
    let servers = format!("server s1 127.0.0.1:{}\nserver s2 127.0.0.1:{s2_port} disabled", s1.port());
    let Some(haproxy) = haproxy(port, "roundrobin", &servers) else { return };
    let stage = Stage::new(&haproxy.socket(), "");
    let mut play = stage.start(stage.plan(&up(1)).await);
    play.nothing_for(Duration::from_millis(500)).await;
    assert_eq!(stage.server("s2").await.state(), AdminState::Maint, "nobody gets to it meanwhile");
    let late = Origin::start_on(s2_port);
    play.end(PATIENCE).await;
    assert!(stage.server("s2").await.is_serving());
    assert_eq!(late.requests(), 0, "no path, no request");
}

#[tokio::test]
async fn a_server_whose_warm_up_fails_is_not_enabled_and_the_other_one_is() {
    let (port, s1, s2, s3) = (free_port(), Origin::start(), Origin::start(), Origin::start());
    s2.set_status(500);
    let servers = format!(
        "server s1 127.0.0.1:{}\nserver s2 127.0.0.1:{} disabled\nserver s3 127.0.0.1:{} disabled",
        s1.port(),
        s2.port(),
        s3.port()
    );
    let Some(haproxy) = haproxy(port, "roundrobin", &servers) else { return };
    let stage = Stage::new(&haproxy.socket(), "warm_up: { path: /warm, requests: 4 }");
    let play = stage.play(&up(2)).await;
    assert_eq!(stage.server("s2").await.state(), AdminState::Maint);
    assert!(stage.server("s3").await.is_serving());
    let failed: Vec<_> = play.told.iter().filter(|told| told.starts_with("failed")).collect();
    assert!(
        failed.len() == 1 && failed[0].contains("warm up web/s2") && failed[0].contains("status was 500"),
        "{failed:?}"
    );
    assert!(play.told.contains(&"s3 moved".to_owned()) && !play.told.contains(&"s2 moved".to_owned()));
}

#[tokio::test]
async fn a_server_whose_check_fails_goes_back_to_maint() {
    let (port, s1) = (free_port(), Origin::start());
    let servers = format!(
        "server s1 127.0.0.1:{}\nserver s2 127.0.0.1:{} check inter 50ms disabled",
        s1.port(),
        free_port()
    );
    let Some(haproxy) = haproxy(port, "roundrobin", &servers) else { return };
    let stage = Stage::new(&haproxy.socket(), "");
    let mut plan = stage.plan(&up(1)).await;
    for step in &mut plan.lanes[0].steps {
        if let Step::AwaitHealthy { within, .. } = step {
            *within = Duration::from_millis(300);
        }
    }
    let play = stage.play_plan(plan).await;
    play.check(
        "set web/s2 DRAIN
         set web/s2 MAINT
         failed: wait up to 300ms until web/s2 is healthy: its health check has not passed within 300ms
         finished",
    );
    assert_eq!(stage.server("s2").await.state(), AdminState::Maint);
}

// --- Ramps and weights.

/// HAProxy closes what is silent for that long: nothing is left open from one step to the next.
#[tokio::test]
async fn steps_that_outlast_haproxys_timeout_for_its_socket_are_taken() {
    let (port, s1, s2) = (free_port(), Origin::start(), Origin::start());
    let config = format!(
        "global\n    stats timeout 500ms\nfrontend users\n    bind 127.0.0.1:{port}\n    default_backend web\n\
         backend web\n    server s1 127.0.0.1:{}\n    server s2 127.0.0.1:{} check inter 300ms disabled\n",
        s1.port(),
        s2.port()
    );
    let Some(haproxy) = Haproxy::start(&config) else { return };
    let stage = Stage::new(&haproxy.socket(), "warm_up: { ramp: 2s }");
    let play = stage.play(&up(1)).await;
    assert_eq!(play.told[play.told.len() - 3..], ["s2 moved", "set weights: web/s1 1, web/s2 1", "finished"]);
    assert_eq!(stage.weights().await, [1, 1]);
    let play = stage.play(&down(1)).await;
    assert_eq!(play.told.last().map(String::as_str), Some("finished"), "{:#?}", play.told);
}

#[tokio::test]
async fn a_ramp_goes_up_among_multiplied_weights_which_are_put_right_at_the_end() {
    let (port, s1, s2) = (free_port(), Origin::start(), Origin::start());
    let servers = format!(
        "server s1 127.0.0.1:{0} weight 2\nserver s2 127.0.0.1:{1} disabled\nserver s3 127.0.0.1:{0} backup",
        s1.port(),
        s2.port()
    );
    let Some(haproxy) = haproxy(port, "leastconn", &servers) else { return };
    let stage = Stage::new(&haproxy.socket(), "warm_up: { ramp: 1s }");
    let users = Users::of(port);
    let mut play = stage.start(stage.plan(&up(1)).await);
    play.hold_ramp(stage.id("s2"));
    play.until("set weights: web/s1 200, web/s2 100").await;
    assert_eq!(stage.weights().await[0], 200, "the ratio to all others stays");
    play.go_on();
    play.end(PATIENCE).await;
    let ramp: Vec<String> = (1..=10).map(|tenth| format!("set weights: web/s2 {}", tenth * 10)).collect();
    let seen: Vec<_> =
        play.told.iter().filter(|told| told.starts_with("set weights: web/s2")).cloned().collect();
    assert_eq!(seen, ramp);
    let (ready, first) = (play.told.iter().position(|told| told == "set web/s2 READY"), &ramp[0]);
    assert!(play.told.iter().position(|told| told == first) < ready, "{:#?}", play.told);
    assert_eq!(play.told[play.told.len() - 3..], ["s2 moved", "set weights: web/s1 2, web/s2 1", "finished"]);
    assert_eq!(stage.weights().await, [2, 1, 1]);
    users.stop();
}

#[tokio::test]
async fn a_static_algorithm_means_no_ramp_but_the_server_is_added() {
    let (port, s1, s2) = (free_port(), Origin::start(), Origin::start());
    let servers = format!("server s1 127.0.0.1:{}\nserver s2 127.0.0.1:{} disabled", s1.port(), s2.port());
    let Some(haproxy) = haproxy(port, "source", &servers) else { return };
    let stage = Stage::new(&haproxy.socket(), "warm_up: { ramp: 60s }");
    let play = stage.play(&up(1)).await;
    let steps = "wait up to 120s until web/s2 is healthy
         warm up web/s2
         set web/s2 READY
         s2 moved
         finished";
    // Before 2.6 a hash algorithm cannot be tried without a weight.
    if Haproxy::version().expect("it runs")[..2] < [2, 6][..] {
        play.check(&format!("ramp given up: HAProxy at *\n{steps}"));
        assert!(play.told[0].contains("static algorithm"), "{}", play.told[0]);
    } else {
        play.check(steps);
    }
    assert_eq!(stage.weights().await, [1, 1]);
}

#[tokio::test]
async fn stopping_in_mid_ramp_puts_weights_right_and_leaves_the_server_ready() {
    let (port, s1, s2) = (free_port(), Origin::start(), Origin::start());
    let servers = format!("server s1 127.0.0.1:{}\nserver s2 127.0.0.1:{} disabled", s1.port(), s2.port());
    let Some(haproxy) = haproxy(port, "roundrobin", &servers) else { return };
    let stage = Stage::new(&haproxy.socket(), "warm_up: { ramp: 10m }");
    let mut play = stage.start(stage.plan(&up(1)).await);
    play.until("set web/s2 READY").await;
    assert_eq!(stage.weights().await, [100, 10]);
    play.stop();
    play.end(PATIENCE).await;
    assert_eq!(
        play.told[play.told.len() - 3..],
        ["s2 moved", "set weights: web/s1 1, web/s2 1", "called off"]
    );
    assert_eq!(stage.weights().await, [1, 1]);
    assert!(stage.server("s2").await.is_serving());
}

#[tokio::test]
async fn a_ramp_stands_still_while_its_server_is_not_like_the_others() {
    let (port, s1, s2) = (free_port(), Origin::start(), Origin::start());
    let servers = format!("server s1 127.0.0.1:{}\nserver s2 127.0.0.1:{} disabled", s1.port(), s2.port());
    let Some(haproxy) = haproxy(port, "roundrobin", &servers) else { return };
    let stage = Stage::new(&haproxy.socket(), "warm_up: { ramp: 1s }");
    let mut play = stage.start(stage.plan(&up(1)).await);
    play.hold_ramp(stage.id("s2"));
    play.until("set web/s2 READY").await;
    // Five times the length of a step.
    play.nothing_for(Duration::from_millis(500)).await;
    assert_eq!(stage.weights().await, [100, 10]);
    play.go_on();
    play.until("s2 moved").await;
    play.end(PATIENCE).await;
    assert_eq!(stage.weights().await, [1, 1]);
}

#[tokio::test]
async fn a_newcomer_that_is_turned_away_is_drained_and_weights_are_put_right() {
    let (port, s1, s2) = (free_port(), Origin::start(), Origin::start());
    let servers = format!("server s1 127.0.0.1:{}\nserver s2 127.0.0.1:{} disabled", s1.port(), s2.port());
    let Some(haproxy) = haproxy(port, "roundrobin", &servers) else { return };
    let stage = Stage::new(&haproxy.socket(), "warm_up: { ramp: 10m }\nscale_down: { drain_timeout: 2s }");
    let mut play = stage.start(stage.plan(&up(1)).await);
    play.until("set web/s2 READY").await;
    let why = "12 of 20 requests to it failed".to_owned();
    play.changes.send_modify(|changes| drop(changes.ramps.insert(stage.id("s2"), Ramp::TurnedAway(why))));
    play.end(PATIENCE).await;
    let end = play.told.iter().position(|told| told == "set web/s2 READY").expect("it was READY");
    assert_eq!(
        play.told[end + 1..],
        [
            "set web/s2 DRAIN",
            "wait up to 2s until web/s2 has no sessions",
            "set web/s2 MAINT",
            "failed: set weights: web/s2 100: 12 of 20 requests to it failed",
            "set weights: web/s1 1, web/s2 1",
            "finished"
        ]
    );
    assert_eq!(stage.weights().await, [1, 1]);
}

#[tokio::test]
async fn a_weight_that_somebody_else_has_set_is_left_alone() {
    let (port, s1, s2) = (free_port(), Origin::start(), Origin::start());
    let servers = format!("server s1 127.0.0.1:{}\nserver s2 127.0.0.1:{} disabled", s1.port(), s2.port());
    let Some(haproxy) = haproxy(port, "roundrobin", &servers) else { return };
    let stage = Stage::new(&haproxy.socket(), "warm_up: { ramp: 10s }");
    let mut play = stage.start(stage.plan(&up(1)).await);
    play.until("set web/s2 READY").await;
    haproxy.ask("set server web/s2 weight 77");
    play.end(PATIENCE).await;
    assert!(
        play.told.iter().any(|told| told.starts_with("ramp given up: changed by somebody else")),
        "{:#?}",
        play.told
    );
    assert!(play.told.contains(&"s2 moved".to_owned()), "it serves all the same");
    let by_other = |seen: &Outcome| matches!(seen, Outcome::RampGivenUp { by_other: true, .. });
    assert!(play.seen.iter().any(by_other), "{:#?}", play.seen);
    assert_eq!(stage.weights().await, [1, 77]);
}

#[tokio::test]
async fn weights_follow_capacities() {
    let (port, s1) = (free_port(), Origin::start());
    let servers = format!("server s1 127.0.0.1:{0}\nserver s2 127.0.0.1:{0}", s1.port());
    let Some(haproxy) = haproxy(port, "roundrobin", &servers) else { return };
    let stage = Stage::new(&haproxy.socket(), "weights: by_capacity\nservers: { s1: { capacity: 3 } }");
    let inventory = stage.inventory().await;
    let plan = weights::reweigh(&inventory.backends[0], &stage.settings, &stage.names).expect("a plan");
    stage.play_plan(plan).await.check("set weights: web/s1 255, web/s2 85\n finished");
    let inventory = stage.inventory().await;
    assert_eq!(weights::reweigh(&inventory.backends[0], &stage.settings, &stage.names), None);
}

// --- A newcomer that HAProxy itself lets into its share.

/// s1 serves; s2 is a spare with a `slowstart` of this length, and a ramp of ten minutes.
fn slow_starting(length: &str) -> Option<(Haproxy, Stage, [Origin; 2])> {
    let (port, s1, s2) = (free_port(), Origin::start(), Origin::start());
    let servers = format!(
        "server s1 127.0.0.1:{}\nserver s2 127.0.0.1:{} check inter 100ms slowstart {length} disabled",
        s1.port(),
        s2.port()
    );
    let haproxy = haproxy(port, "roundrobin", &servers)?;
    let stage = Stage::new(
        &haproxy.socket(),
        "warm_up: { path: /, requests: 1, timeout: 10m, ramp: 10m }\nscale_down: { drain_timeout: 2s }",
    );
    Some((haproxy, stage, [s1, s2]))
}

#[tokio::test]
async fn where_haproxy_slow_starts_a_newcomer_nothing_else_does() {
    // Its beginning in one that lasts, its end in one that is soon over.
    let Some((_haproxy, stage, _origins)) = slow_starting("1h") else { return };
    let mut play = stage.start(stage.plan(&up(1)).await);
    play.until("set web/s2 READY").await;
    let begun = stage.server("s2").await;
    assert!(
        begun.is_serving() && begun.slowstart && begun.throttle.is_some_and(|percent| percent < 90),
        "{begun:?}"
    );
    assert_eq!(stage.weights().await, [100, 100], "a ramp of ten minutes begins at a tenth");
    drop(play);
    let Some((_haproxy, stage, _origins)) = slow_starting("4s") else { return };
    let mut play = stage.start(stage.plan(&up(1)).await);
    play.end(PATIENCE).await;
    let full = stage.server("s2").await;
    assert!(
        full.is_serving() && full.throttle.is_none(),
        "it was on its way until HAProxy was through: {full:?}"
    );
    play.check(
        "set weights: web/s1 100, web/s2 100
         set web/s2 DRAIN
         wait up to 120s until web/s2 is healthy
         warm up web/s2
         set web/s2 READY
         s2 moved
         set weights: web/s1 1, web/s2 1
         finished",
    );
}

#[tokio::test]
async fn a_warm_up_that_outlasts_haproxys_slowstart_does_not_use_it_up() {
    let Some((_haproxy, stage, [_s1, s2])) = slow_starting("20s") else { return };
    s2.set_delay(NEVER);
    let mut play = stage.start(stage.plan(&up(1)).await);
    play.until("wait up to 120s until web/s2 is healthy").await;
    eventually("its slowstart is over, in DRAIN", PATIENCE, async || !stage.server("s2").await.slowstart)
        .await;
    s2.let_go();
    play.until("set web/s2 READY").await;
    let begun = stage.server("s2").await;
    assert!(
        begun.is_serving() && begun.throttle.is_some_and(|percent| percent < 90),
        "it begins with READY: {begun:?}"
    );
    play.until("s2 moved").await;
    assert_eq!(stage.server("s2").await.throttle, None);
    play.end(PATIENCE).await;
}

#[tokio::test]
async fn a_newcomer_can_be_turned_away_in_the_middle_of_haproxys_slowstart() {
    let Some((_haproxy, stage, _origins)) = slow_starting("1h") else { return };
    let mut play = stage.start(stage.plan(&up(1)).await);
    play.until("set web/s2 READY").await;
    let why = "12 of 20 requests to it failed".to_owned();
    play.changes.send_modify(|changes| drop(changes.ramps.insert(stage.id("s2"), Ramp::TurnedAway(why))));
    play.end(PATIENCE).await;
    let end = play.told.iter().position(|told| told == "set web/s2 READY").expect("it was READY");
    assert_eq!(play.told[end + 1], "set web/s2 DRAIN");
    assert_eq!(play.told[end + 3], "set web/s2 MAINT");
    assert_eq!(stage.weights().await, [1, 1]);
}

#[tokio::test]
async fn a_reload_in_the_middle_of_haproxys_slowstart_is_made_good() {
    let Some((mut haproxy, stage, _origins)) = slow_starting("1h") else { return };
    let mut play = stage.start(stage.plan(&up(1)).await);
    play.until("set web/s2 READY").await;
    haproxy.reload();
    let serves = async || stage.server("s2").await.throttle.is_some();
    eventually("it serves again, in its slowstart", PATIENCE, serves).await;
    play.stop();
    play.end(PATIENCE).await;
    assert!(stage.server("s2").await.is_serving());
    assert_eq!(stage.weights().await, [1, 1]);
}

#[tokio::test]
async fn a_newcomer_that_is_held_is_watched_beyond_haproxys_slowstart() {
    let Some((_haproxy, stage, _origins)) = slow_starting("1s") else { return };
    let mut play = stage.start(stage.plan(&up(1)).await);
    play.hold_ramp(stage.id("s2"));
    play.until("set web/s2 READY").await;
    eventually("its slowstart is over", PATIENCE, async || !stage.server("s2").await.slowstart).await;
    play.nothing_for(Duration::from_millis(500)).await;
    play.go_on();
    play.until("s2 moved").await;
    play.end(PATIENCE).await;
}

// --- Scaling down.

/// Two servers; a request to `/s2` is answered when s2 lets it go.
fn two_servers() -> Option<(Haproxy, u16, [Origin; 2])> {
    let (port, s1, s2) = (free_port(), Origin::start(), Origin::start());
    s2.set_delay(NEVER);
    let servers = format!("server s1 127.0.0.1:{}\nserver s2 127.0.0.1:{}", s1.port(), s2.port());
    Some((haproxy(port, "roundrobin", &servers)?, port, [s1, s2]))
}

/// `s1` is always up, so that it is `s2` that goes.
const S2_GOES: &str = "servers: { s1: { always_up: true } }";

fn wait_for_session(haproxy: &Haproxy) {
    wait_until("s2 has a session", PATIENCE, || {
        let stat = haproxy.ask("show stat web 4 -1");
        stat.lines().any(|row| row.starts_with("web,s2,0,0,1,"))
    });
}

/// A request to s2, and a plan that has put s2 into DRAIN since.
async fn drain_with_a_request(haproxy: &Haproxy, port: u16, stage: &Stage) -> (JoinHandle<String>, Play) {
    let request = get_meanwhile(port, "/s2");
    wait_for_session(haproxy);
    let mut play = stage.start(stage.plan(&down(1)).await);
    play.until("set web/s2 DRAIN").await;
    (request, play)
}

#[tokio::test]
async fn a_server_is_drained_of_its_last_session_before_maint() {
    let Some((haproxy, port, [_s1, s2])) = two_servers() else { return };
    let stage = Stage::new(&haproxy.socket(), S2_GOES);
    let (request, mut play) = drain_with_a_request(&haproxy, port, &stage).await;
    wait_until("the request is with its server", PATIENCE, || s2.requests() > 0);
    s2.set_delay(Duration::ZERO);
    let users = Users::of(port);
    // Many looks at its sessions.
    play.nothing_for(Duration::from_millis(200)).await;
    s2.let_go();
    play.end(PATIENCE).await;
    play.check(
        "set web/s2 DRAIN
         wait up to 60s until web/s2 has no sessions
         set web/s2 MAINT
         s2 moved
         finished",
    );
    assert_eq!(request.join().expect("it does not panic"), "200", "it was not cut off");
    assert_eq!(stage.server("s2").await.state(), AdminState::Maint);
    users.stop();
}

#[tokio::test]
async fn a_drain_ends_at_its_deadline() {
    let Some((haproxy, port, [_s1, s2])) = two_servers() else { return };
    let stage = Stage::new(
        &haproxy.socket(),
        "servers: { s1: { always_up: true } }\nscale_down: { drain_timeout: 200ms }",
    );
    let request = get_meanwhile(port, "/s2");
    wait_for_session(&haproxy);
    let play = stage.play(&down(1)).await;
    assert_eq!(stage.server("s2").await.state(), AdminState::Maint);
    assert!(!request.is_finished(), "the deadline came first: {:#?}", play.told);
    s2.let_go();
    assert_eq!(request.join().expect("it does not panic"), "200", "MAINT cuts no session off");
}

// --- What server lines say and HAProxy does not show.

/// The same two servers with `options` on their lines, which the executor knows. `s2` may be `disabled`.
fn two_servers_with(options: &str, s2_is: &str) -> Option<(Haproxy, u16, [Origin; 2])> {
    let (port, s1, s2) = (free_port(), Origin::start(), Origin::start());
    let servers = format!(
        "default-server {options}\nserver s1 127.0.0.1:{}\nserver s2 127.0.0.1:{} {s2_is}",
        s1.port(),
        s2.port()
    );
    Some((haproxy(port, "roundrobin", &servers)?, port, [s1, s2]))
}

const CLOSED_BY_MAINT: &str = "on-marked-down shutdown-sessions";

#[tokio::test]
async fn a_server_whose_sessions_maint_would_close_stays_in_drain_until_they_have_ended() {
    let Some((haproxy, port, [_s1, s2])) = two_servers_with(CLOSED_BY_MAINT, "") else { return };
    s2.set_delay(NEVER);
    let stage = Stage::new(
        &haproxy.socket(),
        "servers: { s1: { always_up: true } }\nscale_down: { drain_timeout: 200ms }",
    );
    stage.know(&haproxy);
    let (request, mut play) = drain_with_a_request(&haproxy, port, &stage).await;
    wait_until("the request is with its server", PATIENCE, || s2.requests() > 0);
    play.until("kept by on-marked-down shutdown-sessions").await;
    play.nothing_for(Duration::from_millis(500)).await;
    assert_eq!(stage.server("s2").await.state(), AdminState::Drain);
    s2.let_go();
    play.end(PATIENCE).await;
    assert_eq!(request.join().expect("it does not panic"), "200", "it was not cut off");
    assert_eq!(stage.server("s2").await.state(), AdminState::Maint);
}

#[tokio::test]
async fn a_server_whose_sessions_may_be_closed_goes_to_maint_when_their_time_is_over() {
    let Some((haproxy, port, [_s1, s2])) = two_servers_with(CLOSED_BY_MAINT, "") else { return };
    s2.set_delay(NEVER);
    let stage = Stage::new(
        &haproxy.socket(),
        "servers: { s1: { always_up: true } }\nscale_down: { drain_timeout: 200ms, shutdown_sessions: 1s }",
    );
    stage.know(&haproxy);
    let request = get_meanwhile(port, "/s2");
    wait_for_session(&haproxy);
    let play = stage.play(&down(1)).await;
    assert!(play.told.iter().any(|told| told.starts_with("kept by on-marked-down")), "{:#?}", play.told);
    assert_eq!(stage.server("s2").await.state(), AdminState::Maint);
    assert_ne!(request.join().expect("it does not panic"), "200", "MAINT has closed it");
}

#[tokio::test]
async fn haproxys_slowstart_is_not_begun_anew_where_that_would_close_a_session() {
    for is_known in [true, false] {
        let options = format!("{CLOSED_BY_MAINT} check inter 100ms slowstart 10s");
        let Some((haproxy, port, [_s1, s2])) = two_servers_with(&options, "disabled") else { return };
        s2.set_delay(NEVER);
        let stage =
            Stage::new(&haproxy.socket(), "warm_up: { path: /, requests: 1, concurrency: 1, timeout: 10m }");
        if is_known {
            stage.know(&haproxy);
        }
        let mut play = stage.start(stage.plan(&up(1)).await);
        eventually("its warm-up request is there", PATIENCE, async || s2.requests() == 1).await;
        // One that is sent there whatever weights say, as those are that stick to it.
        let request = get_meanwhile(port, "/s2");
        wait_until("the request is with its server", PATIENCE, || s2.requests() == 2);
        s2.let_first_go(1);
        play.until("set web/s2 READY").await;
        s2.let_go();
        assert_eq!(request.join().expect("it does not panic"), "200", "it was not cut off");
    }
}

#[tokio::test]
async fn a_dead_spare_closes_no_session_of_a_backup_server() {
    let (port, dead, s2_port, backup) = (free_port(), free_port(), free_port(), Origin::start());
    backup.set_delay(NEVER);
    let servers = format!(
        "default-server check inter 100ms on-marked-up shutdown-backup-sessions\n\
         server s1 127.0.0.1:{dead}\nserver s2 127.0.0.1:{s2_port} disabled\nserver bk 127.0.0.1:{} backup",
        backup.port()
    );
    let Some(haproxy) = haproxy(port, "roundrobin", &servers) else { return };
    let stage = Stage::new(&haproxy.socket(), "warm_up: { path: /, requests: 1 }");
    stage.know(&haproxy);
    eventually("s1 is DOWN", PATIENCE, async || !stage.server("s1").await.is_up()).await;
    let request = get_meanwhile(port, "/");
    wait_until("the request is with the backup server", PATIENCE, || backup.requests() == 1);
    let mut play = stage.start(stage.plan(&up(1)).await);
    play.nothing_for(Duration::from_millis(500)).await;
    assert_eq!(stage.server("s2").await.state(), AdminState::Maint);
    backup.let_go();
    assert_eq!(request.join().expect("it does not panic"), "200", "it was not cut off");
    let _s2 = Origin::start_on(s2_port);
    play.end(PATIENCE).await;
    play.check(
        "wait up to 120s until web/s2 is healthy
         warm up web/s2
         set web/s2 DRAIN
         wait up to 120s until web/s2 is healthy
         set web/s2 READY
         s2 moved
         finished",
    );
}

#[tokio::test]
async fn a_server_that_expects_the_proxy_protocol_is_warmed_up_by_it() {
    for option in ["send-proxy", "send-proxy-v2"] {
        let (port, proxied, s1, s2) = (free_port(), free_port(), Origin::start(), Origin::start());
        let servers = format!(
            "default-server check inter 100ms\nserver s1 127.0.0.1:{}\n\
             server s2 127.0.0.1:{proxied} {option} disabled\n\
             listen proxied\n bind 127.0.0.1:{proxied} accept-proxy\n server s 127.0.0.1:{}",
            s1.port(),
            s2.port()
        );
        let Some(haproxy) = haproxy(port, "roundrobin", &servers) else { return };
        let stage = Stage::new(&haproxy.socket(), "warm_up: { path: /, requests: 1 }");
        let play = stage.play(&up(1)).await;
        let why = "let the agent read HAProxy's configuration: `haproxy.config`)";
        assert!(play.told.iter().any(|told| told.ends_with(why)), "{option}: {:#?}", play.told);
        stage.know(&haproxy);
        let play = stage.play(&up(1)).await;
        assert!(stage.server("s2").await.is_serving(), "{option}: {:#?}", play.told);
        assert!(s2.requests() > 0, "its requests have got there");
    }
}

#[tokio::test]
async fn a_drain_that_is_taken_back_leaves_the_server_ready() {
    let Some((haproxy, port, [_s1, s2])) = two_servers() else { return };
    let stage = Stage::new(&haproxy.socket(), S2_GOES);
    let (request, mut play) = drain_with_a_request(&haproxy, port, &stage).await;
    play.take_back(&[stage.id("s2")]);
    play.end(PATIENCE).await;
    play.check("set web/s2 DRAIN\n set web/s2 READY\n called off");
    assert!(stage.server("s2").await.is_serving());
    s2.let_go();
    assert_eq!(request.join().expect("it does not panic"), "200");
}

#[tokio::test]
async fn stopping_in_mid_drain_leaves_the_server_in_drain_and_the_next_start_ends_it() {
    let Some((haproxy, port, [_s1, s2])) = two_servers() else { return };
    let mut stage = Stage::new(&haproxy.socket(), S2_GOES);
    let (request, mut play) = drain_with_a_request(&haproxy, port, &stage).await;
    play.stop();
    play.end(PATIENCE).await;
    play.check("set web/s2 DRAIN\n called off");
    assert_eq!(stage.server("s2").await.state(), AdminState::Drain);

    s2.let_go();
    stage.claims.ours.insert(stage.id("s2"));
    let inventory = stage.inventory().await;
    let plan =
        planner::finish_drains(&inventory.backends[0], &stage.settings, &stage.claims).expect("a plan");
    stage.play_plan(plan).await;
    assert_eq!(stage.server("s2").await.state(), AdminState::Maint);
    assert_eq!(request.join().expect("it does not panic"), "200");
}

#[tokio::test]
async fn a_server_that_somebody_else_moves_is_left_to_them() {
    for theirs in ["ready", "maint"] {
        let Some((haproxy, port, [_s1, s2])) = two_servers() else { return };
        let stage = Stage::new(&haproxy.socket(), S2_GOES);
        let request = get_meanwhile(port, "/s2");
        wait_for_session(&haproxy);
        let mut play = stage.start(stage.plan(&down(1)).await);
        play.until("set web/s2 DRAIN").await;
        haproxy.ask(&format!("set server web/s2 state {theirs}"));
        play.end(PATIENCE).await;
        let state = theirs.to_uppercase();
        play.check(&format!(
            "set web/s2 DRAIN
             failed: wait up to 60s until web/s2 has no sessions: changed by somebody else: it is in {state} where DRAIN was expected
             finished"
        ));
        assert_eq!(stage.server("s2").await.state().name(), state);
        s2.let_go();
        assert_eq!(request.join().expect("it does not panic"), "200");
    }
}

// --- Servers that come back while requests wait.

/// `s1` takes one request at a time, `s2` three; what they have no room for waits in HAProxy's queue.
fn small_servers(s2_is: &str) -> Option<(Haproxy, u16, [Origin; 2])> {
    let (port, s1, s2) = (free_port(), Origin::start(), Origin::start());
    let haproxy = Haproxy::start(&format!(
        "defaults\n    mode http\n    timeout connect 60s\n    timeout client 10m\n    timeout server 10m\n\
         frontend users\n    bind 127.0.0.1:{port}\n    default_backend web\n\
         backend web\n    balance roundrobin\n    use-server s2 if {{ path /s2 }}\n\
         \x20   server s1 127.0.0.1:{} maxconn 1\n    server s2 127.0.0.1:{} maxconn 3 {s2_is}",
        s1.port(),
        s2.port()
    ))?;
    Some((haproxy, port, [s1, s2]))
}

/// So many requests wait in the queue of the backend.
fn queued(haproxy: &Haproxy) -> usize {
    let stat = haproxy.ask("show stat web 2 -1");
    let row = stat.lines().find_map(|row| row.strip_prefix("web,BACKEND,")).unwrap_or_default();
    row.split(',').next().and_then(|queued| queued.parse().ok()).unwrap_or(0)
}

/// `many` more requests, of which all wait in the queue.
fn wait_in_the_queue(haproxy: &Haproxy, port: u16, many: usize) -> Vec<JoinHandle<String>> {
    let before = queued(haproxy);
    let requests = (0..many).map(|_| get_meanwhile(port, "/")).collect();
    wait_until("they wait in the queue", PATIENCE, || queued(haproxy) == before + many);
    requests
}

/// `s1` has a request that it never answers: what comes now waits for another server.
fn keep_s1_busy(haproxy: &Haproxy, port: u16, s1: &Origin) {
    s1.set_delay(NEVER);
    get_meanwhile(port, "/");
    wait_until("s1 is busy", PATIENCE, || {
        haproxy.ask("show stat web 4 -1").lines().any(|row| row.starts_with("web,s1,0,0,1,"))
    });
}

/// A server in DRAIN made READY does not take what waits by itself, but newcomers go to it and bring it about.
fn needs_newcomers(haproxy: &Haproxy) -> bool {
    haproxy.ask("show info").contains("\nVersion: 2.2.")
}

/// All requests that have waited are answered now.
#[track_caller]
fn check_taken(haproxy: &Haproxy, port: u16, mut requests: Vec<JoinHandle<String>>) {
    if needs_newcomers(haproxy) {
        requests.push(get_meanwhile(port, "/"));
    }
    check_answered(requests);
}

#[track_caller]
fn check_answered(requests: Vec<JoinHandle<String>>) {
    wait_until("all that waited are answered", PATIENCE, || requests.iter().all(JoinHandle::is_finished));
    for request in requests {
        assert_eq!(request.join().expect("it does not panic"), "200");
    }
}

#[tokio::test]
async fn a_server_brought_back_from_drain_takes_what_waits() {
    let Some((haproxy, port, [s1, _s2])) = small_servers("disabled") else { return };
    let mut stage = Stage::new(&haproxy.socket(), "");
    keep_s1_busy(&haproxy, port, &s1);
    haproxy.ask("set server web/s2 state drain");
    let waiting = wait_in_the_queue(&haproxy, port, 8);
    let s2 = stage.server("s2").await.id;
    stage.claims.ours.insert(s2);
    stage.play(&up(1)).await.check("set web/s2 READY\n s2 moved\n finished");
    check_taken(&haproxy, port, waiting);
}

#[tokio::test]
async fn a_spare_takes_what_waits() {
    let Some((haproxy, port, [s1, _s2])) = small_servers("disabled check inter 100ms") else { return };
    let stage = Stage::new(&haproxy.socket(), "");
    keep_s1_busy(&haproxy, port, &s1);
    let waiting = wait_in_the_queue(&haproxy, port, 8);
    stage.play(&up(1)).await;
    check_taken(&haproxy, port, waiting);
}

#[tokio::test]
async fn a_drain_that_is_taken_back_takes_what_waits() {
    let Some((haproxy, port, [s1, s2])) = small_servers("") else { return };
    let stage = Stage::new(&haproxy.socket(), S2_GOES);
    // Its session keeps the drain going, and never ends: it is not that which has s2 look at the queue.
    s2.set_delay(NEVER);
    get_meanwhile(port, "/s2");
    wait_for_session(&haproxy);
    s2.set_delay(Duration::ZERO);
    let mut play = stage.start(stage.plan(&down(1)).await);
    play.until("set web/s2 DRAIN").await;
    keep_s1_busy(&haproxy, port, &s1);
    let waiting = wait_in_the_queue(&haproxy, port, 8);
    play.take_back(&[stage.id("s2")]);
    play.end(PATIENCE).await;
    play.check("set web/s2 DRAIN\n set web/s2 READY\n called off");
    check_taken(&haproxy, port, waiting);
}

/// Why `Command::ReadyFromDrain` is there. When this fails, HAProxy has become better.
#[test]
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn ready_alone_does_not_bring_a_server_back_from_drain_while_requests_wait() {
    let Some((haproxy, port, [s1, s2])) = small_servers("disabled") else { return };
    if needs_newcomers(&haproxy) {
        eprintln!("skipped: HAProxy 2.2 is well, and `set maxconn server` would kill it");
        return;
    }
    keep_s1_busy(&haproxy, port, &s1);
    haproxy.ask("set server web/s2 state drain");
    let mut waiting = wait_in_the_queue(&haproxy, port, 2);
    haproxy.ask("set server web/s2 state ready");
    // s2 is up, idle, and has room for three; even so, newcomers wait.
    waiting.extend(wait_in_the_queue(&haproxy, port, 3));
    assert_eq!(s2.requests(), 0);
    haproxy.ask("set maxconn server web/s2 3");
    check_answered(waiting);
}

// --- A HAProxy that is restarted, or misbehaves.

#[tokio::test]
async fn a_drain_goes_on_over_a_reload() {
    let Some((mut haproxy, port, [_s1, s2])) = two_servers() else { return };
    let stage = Stage::new(&haproxy.socket(), S2_GOES);
    let (request, mut play) = drain_with_a_request(&haproxy, port, &stage).await;
    haproxy.reload();
    play.end(PATIENCE).await;
    play.check(
        "set web/s2 DRAIN
         wait up to 60s until web/s2 has no sessions
         set web/s2 MAINT
         s2 moved
         finished",
    );
    assert_eq!(stage.server("s2").await.state(), AdminState::Maint);
    s2.let_go();
    assert_eq!(request.join().expect("it does not panic"), "200");
}

#[tokio::test]
async fn a_server_that_a_reload_has_removed_is_nobody_elses_doing() {
    let Some((mut haproxy, port, [s1, s2])) = two_servers() else { return };
    let stage = Stage::new(&haproxy.socket(), S2_GOES);
    let (request, mut play) = drain_with_a_request(&haproxy, port, &stage).await;
    haproxy.reload_with(&format!(
        "frontend users\n    bind 127.0.0.1:{port}\n    default_backend web\n\
         backend web\n    server s1 127.0.0.1:{}\n",
        s1.port()
    ));
    play.end(PATIENCE).await;
    play.check("set web/s2 DRAIN\n s2 dropped\n finished");
    s2.let_go();
    assert_eq!(request.join().expect("it does not panic"), "200", "the old process has answered it");
}

#[tokio::test]
async fn a_newcomer_that_serves_after_a_reload_is_left_serving() {
    let (port, s1, s2) = (free_port(), Origin::start(), Origin::start());
    // Its check does not pass, nor does it fail.
    s2.set_delay(NEVER);
    let servers = format!(
        "option httpchk\ntimeout check 10m\nserver s1 127.0.0.1:{}\nserver s2 127.0.0.1:{} check",
        s1.port(),
        s2.port()
    );
    for keys in ["ready: { min: 2 }", "ready: { min: 1 }"] {
        let Some(mut haproxy) = haproxy(port, "roundrobin", &servers) else { return };
        haproxy.ask("set server web/s2 state maint");
        let keys = format!("{keys}\nservers: {{ s2: {{ always_up: false }} }}");
        let stage = Stage::new(&haproxy.socket(), &keys);
        let mut play = stage.start(stage.plan(&up(1)).await);
        // Its check is waited for when HAProxy is reloaded, and READY is what the configuration says.
        play.until("set web/s2 DRAIN").await;
        haproxy.reload();
        play.end(PATIENCE).await;
        assert!(play.told.contains(&"s2 moved".to_owned()), "{:#?}", play.told);
        let sets = play.told.iter().filter(|told| told.starts_with("set web/s2")).count();
        assert_eq!(sets, 1, "{:#?}", play.told);
        assert!(stage.server("s2").await.is_serving());
    }
}

#[tokio::test]
async fn a_plan_that_was_made_on_another_haproxy_is_not_begun() {
    let (port, s1, s2) = (free_port(), Origin::start(), Origin::start());
    let servers =
        format!("server s1 127.0.0.1:{}\nserver s2 127.0.0.1:{} check inter 1s", s1.port(), s2.port());
    let Some(mut haproxy) = haproxy(port, "roundrobin", &servers) else { return };
    haproxy.ask("set server web/s2 state maint");
    let stage = Stage::new(&haproxy.socket(), "servers: { s2: { always_up: false } }");
    let plan = stage.plan(&up(1)).await;
    haproxy.reload();
    let play = stage.play_plan(plan).await;
    play.check("outdated\nfinished");
    assert!(stage.server("s2").await.is_serving());
}

#[tokio::test]
async fn a_restart_in_mid_ramp_ends_the_ramp_and_keeps_the_server() {
    let (port, s1, s2) = (free_port(), Origin::start(), Origin::start());
    let servers = format!("server s1 127.0.0.1:{}\nserver s2 127.0.0.1:{} disabled", s1.port(), s2.port());
    let Some(mut haproxy) = haproxy(port, "roundrobin", &servers) else { return };
    let stage = Stage::new(&haproxy.socket(), "warm_up: { ramp: 20s }");
    let mut play = stage.start(stage.plan(&up(1)).await);
    play.until("set web/s2 READY").await;
    haproxy.kill();
    haproxy.start_again();
    play.end(PATIENCE).await;
    assert!(play.told.contains(&"s2 moved".to_owned()), "{:#?}", play.told);
    let given_up: Vec<_> = play.told.iter().filter(|told| told.starts_with("ramp given up")).collect();
    assert_eq!(given_up, ["ramp given up: HAProxy was restarted in the middle of it"]);
    assert_eq!(stage.weights().await, [1, 1], "no weight of the ramp is left");
    assert!(stage.server("s2").await.is_serving());
}

#[tokio::test]
async fn answers_that_get_lost_do_no_harm() {
    let answers = [Fault::CloseSilently, Fault::CloseMidway, Fault::Answer(b"what?\n".to_vec())];
    for fault in answers.into_iter().chain([Fault::OldWorker]) {
        let fake = FakeHaproxy::start(&[("web", &["s1", "s2"])]);
        let stage = Stage::new(&fake.socket(), S2_GOES);
        let plan = stage.plan(&down(1)).await;
        fake.fail_next(3, fault.clone());
        stage.play_plan(plan).await.check(
            "set web/s2 DRAIN
             wait up to 60s until web/s2 has no sessions
             set web/s2 MAINT
             s2 moved
             finished",
        );
        assert_eq!(fake.server("web/s2").admin, 1, "{fault:?}");
    }
}

#[tokio::test]
async fn servers_that_start_together_are_read_together() {
    let names: Vec<String> = (0..40).map(|n| format!("s{n}")).collect();
    let servers: Vec<&str> = names.iter().map(String::as_str).collect();
    let fake = FakeHaproxy::start(&[("web", &servers)]);
    for name in &names[1..] {
        fake.change(&format!("web/{name}"), |server| {
            (server.admin, server.operational, server.checked) = (5, 0, true);
        });
    }
    let stage = Stage::new(&fake.socket(), "warm_up: { ramp: 0s }");
    let play = stage.play(&up(39)).await;
    assert_eq!(play.told.iter().filter(|told| told.ends_with(" moved")).count(), 39, "{:#?}", play.told);
    assert!(names[1..].iter().all(|name| fake.server(&format!("web/{name}")).admin == 4));
    // By itself each of them would be read five times: before and after DRAIN, for its check, before and after READY.
    let readings = fake.commands().iter().filter(|line| line.contains("show stat")).count();
    assert!(readings < 2 * 39, "{readings} readings");
}

#[tokio::test]
async fn servers_that_go_together_leave_enough() {
    let names: Vec<String> = (0..40).map(|n| format!("s{n}")).collect();
    let servers: Vec<&str> = names.iter().map(String::as_str).collect();
    let fake = FakeHaproxy::start(&[("web", &servers)]);
    let stage = Stage::new(&fake.socket(), "ready: { min: 10 }");
    let plan = stage.plan(&down(30)).await;
    // The plan was made when all of them served.
    for name in &names[..5] {
        fake.change(&format!("web/{name}"), |server| server.operational = 0);
    }
    let play = stage.play_plan(plan).await;
    let is_left = |name: &&String| {
        let server = fake.server(&format!("web/{name}"));
        (server.admin, server.operational) == (0, 2)
    };
    assert_eq!(names.iter().filter(is_left).count(), 10, "{:#?}", play.told);
}

#[tokio::test]
async fn a_change_that_went_to_an_old_worker_is_made_again() {
    let fake = FakeHaproxy::start(&[("web", &["s1", "s2"])]);
    fake.change("web/s2", |server| (server.admin, server.operational, server.checked) = (5, 0, true));
    let stage = Stage::new(&fake.socket(), "warm_up: { ramp: 1s }");
    let plan = stage.plan(&up(1)).await;
    // The first that is sent is the weights around the ramp.
    fake.fail_next(1, Fault::OldWorker);
    let play = stage.play_plan(plan).await;
    assert!(!play.told.iter().any(|told| told.contains("given up")), "{:#?}", play.told);
    assert!(play.told.contains(&"s2 moved".to_owned()));
    assert_eq!((fake.server("web/s1").weight, fake.server("web/s2").admin), (1, 4));
}

#[tokio::test]
async fn a_restart_that_gave_haproxy_the_same_pid_is_noticed() {
    let fake = FakeHaproxy::start(&[("web", &["s1", "s2"])]);
    fake.change("web/s2", |server| server.sessions = 1);
    let stage = Stage::new(&fake.socket(), S2_GOES);
    let mut play = stage.start(stage.plan(&down(1)).await);
    play.until("set web/s2 DRAIN").await;
    fake.restart_in_place();
    fake.change("web/s2", |server| server.admin = 0);
    eventually("it drains again", PATIENCE, async || fake.server("web/s2").admin == 8).await;
    fake.change("web/s2", |server| server.sessions = 0);
    play.end(PATIENCE).await;
    assert!(play.told.contains(&"s2 moved".to_owned()), "{:#?}", play.told);
}

#[tokio::test]
async fn a_refusal_is_final() {
    let fake = FakeHaproxy::start(&[("web", &["s1", "s2"])]);
    let stage = Stage::new(&fake.socket(), S2_GOES);
    let plan = stage.plan(&down(1)).await;
    fake.always(Fault::Answer(b"Permission denied\n\n".to_vec()));
    let play = stage.play_plan(plan).await;
    play.check("failed: set web/s2 DRAIN: *\n finished");
    assert!(play.told[0].contains("permission denied"), "{:#?}", play.told);
}

#[tokio::test]
async fn a_haproxy_that_is_gone_is_given_up_after_a_while() {
    let fake = FakeHaproxy::start(&[("web", &["s1", "s2"])]);
    let mut stage = Stage::new(&fake.socket(), S2_GOES);
    let plan = stage.plan(&down(1)).await;
    stage.reach(&fake, Patience { retry_for: Duration::from_millis(500), ..Patience::default() });
    drop(fake);
    stage.play_plan(plan).await.check("failed: set web/s2 DRAIN: cannot connect*\n finished");
}

#[tokio::test]
async fn a_socket_that_hangs_does_not_keep_the_agent_from_stopping() {
    let fake = FakeHaproxy::start(&[("web", &["s1", "s2"])]);
    fake.change("web/s2", |server| server.admin = 5);
    let mut stage = Stage::new(&fake.socket(), "warm_up: { ramp: 10m }");
    // Whatever else it waits for it does so for an hour.
    stage.reach(&fake, Patience { retry_for: NEVER, each_try: NEVER, ..Patience::default() });
    let mut play = stage.start(stage.plan(&up(1)).await);
    play.until("set weights: web/s1 100, web/s2 100").await;
    fake.always(Fault::Hang);
    let asked = fake.commands().len();
    eventually("HAProxy is asked in vain", PATIENCE, async || fake.commands().len() > asked).await;
    play.stop();
    play.end(PATIENCE).await;
    let end = &play.told[play.told.len() - 2..];
    assert!(
        end[0].starts_with("failed: set weights: web/s1 1, web/s2 1") && end[1] == "called off",
        "{end:#?}"
    );
}

#[tokio::test]
async fn weights_are_put_right_on_stopping_as_soon_as_the_socket_answers_again() {
    let fake = FakeHaproxy::start(&[("web", &["s1", "s2"])]);
    fake.change("web/s2", |server| server.admin = 5);
    let stage = Stage::new(&fake.socket(), "warm_up: { ramp: 10m }");
    let mut play = stage.start(stage.plan(&up(1)).await);
    play.until("set weights: web/s1 100, web/s2 100").await;
    fake.fail_next(2, Fault::Hang);
    play.stop();
    play.end(PATIENCE).await;
    assert_eq!((fake.server("web/s1").weight, fake.server("web/s2").weight), (1, 1));
}

#[tokio::test]
async fn a_plan_that_nobody_listens_to_stops_too() {
    let fake = FakeHaproxy::start(&[("web", &["s1", "s2"])]);
    fake.change("web/s2", |server| server.sessions = 1);
    let stage = Stage::new(&fake.socket(), S2_GOES);
    let plan = stage.plan(&down(1)).await;
    let (changes, changed) = watch::channel(Changes::default());
    let (outcomes_in, _outcomes) = mpsc::channel(1);
    let executor = stage.executor.clone();
    let run = tokio::spawn(async move { executor.run(plan, changed, outcomes_in).await });
    eventually("the drain has begun", PATIENCE, async || fake.server("web/s2").admin == 8).await;
    changes.send_replace(Changes::stop());
    tokio::time::timeout(PATIENCE, run).await.expect("it stops in time").expect("it does not panic");
}

#[tokio::test]
async fn no_server_goes_if_another_has_gone_down_since() {
    let fake = FakeHaproxy::start(&[("web", &["s1", "s2"])]);
    let stage = Stage::new(&fake.socket(), S2_GOES);
    let plan = stage.plan(&down(1)).await;
    fake.change("web/s1", |server| server.operational = 0);
    stage
        .play_plan(plan)
        .await
        .check("failed: set web/s2 DRAIN: it would leave 0 serving, and 1 have to\n finished");
    assert_eq!(fake.server("web/s2").admin, 0);
}

#[tokio::test]
async fn no_server_goes_if_more_have_to_serve_than_when_the_plan_was_made() {
    let fake = FakeHaproxy::start(&[("web", &["s1", "s2", "s3"])]);
    fake.change("web/s2", |server| server.sessions = 1);
    fake.change("web/s3", |server| server.sessions = 2);
    let stage = Stage::new(&fake.socket(), S2_GOES);
    let mut play = stage.start(stage.plan(&down(1)).await);
    play.until("set web/s2 DRAIN").await;
    play.changes.send_modify(|changes| changes.least_serving = Some(2));
    let more = stage.plan(&down(1)).await.lanes;
    play.changes.send_modify(|changes| changes.added.extend(more));
    play.until("failed: set web/s3 DRAIN: it would leave 1 serving, and 2 have to").await;
    fake.change("web/s2", |server| server.sessions = 0);
    play.end(PATIENCE).await;
    assert_eq!(fake.server("web/s3").admin, 0);
}

#[tokio::test]
async fn a_server_moved_since_the_plan_was_made_is_left_alone() {
    let fake = FakeHaproxy::start(&[("web", &["s1", "s2"])]);
    let stage = Stage::new(&fake.socket(), S2_GOES);
    let plan = stage.plan(&down(1)).await;
    fake.change("web/s2", |server| server.admin = 8);
    stage.play_plan(plan).await.check("failed: set web/s2 DRAIN: changed by somebody else: *\n finished");
    assert_eq!(fake.server("web/s2").admin, 8);
}

// --- The dry run.

#[tokio::test]
async fn a_dry_run_sends_nothing_and_shows_what_would_be() {
    let fake = FakeHaproxy::start(&[("web", &["s1", "s2", "s3"])]);
    fake.change("web/s3", |server| (server.admin, server.operational, server.checked) = (5, 0, true));
    fake.change("web/s2", |server| server.sessions = 7);
    let keys = "servers: { s1: { always_up: true } }\nwarm_up: { path: /, ramp: 1h }";
    let mut stage = Stage::dry_run(&fake.socket(), keys);
    let play = stage.play(&up(1)).await;
    assert_eq!(play.told[play.told.len() - 3], "s3 moved", "{:#?}", play.told);
    assert!(stage.server("s3").await.is_serving(), "as it would be");
    assert_eq!(stage.weights().await, [1, 1, 1]);

    // It goes on from there: s3 has the least to lose, then s2.
    stage.play(&down(1)).await;
    assert_eq!(stage.server("s3").await.state(), AdminState::Maint);
    stage.claims.ours.insert(stage.server("s3").await.id);
    stage.play(&down(1)).await;
    assert_eq!(stage.server("s2").await.state(), AdminState::Maint);

    // A restart ends all pretence.
    fake.set_pid(4712);
    assert!(stage.server("s2").await.is_serving());
    assert_eq!(stage.server("s3").await.state(), AdminState::Maint, "as it really is");

    // So does what somebody does for real, for that server.
    stage.play(&down(1)).await;
    assert_eq!(stage.server("s2").await.state(), AdminState::Maint);
    let sent = fake.commands();
    assert!(sent.iter().all(|command| command.starts_with("show ")), "{sent:#?}");
    ask(&fake.socket(), "set server web/s2 state drain").expect("it answers");
    assert_eq!(stage.server("s2").await.state(), AdminState::Drain);
}

#[tokio::test]
async fn servers_join_a_drain_under_way_and_leave_it_one_by_one() {
    let fake = FakeHaproxy::start(&[("web", &["s1", "s2", "s3"])]);
    for server in ["web/s2", "web/s3"] {
        fake.change(server, |server| server.sessions = 1);
    }
    let stage = Stage::new(&fake.socket(), S2_GOES);
    let mut play = stage.start(stage.plan(&down(1)).await);
    play.until("set web/s3 DRAIN").await;
    let more = stage.plan(&down(1)).await.lanes;
    play.changes.send_modify(|changes| changes.added.extend(more));
    play.until("set web/s2 DRAIN").await;
    play.take_back(&[stage.id("s3")]);
    play.until("set web/s3 READY").await;
    fake.change("web/s2", |server| server.sessions = 0);
    play.end(PATIENCE).await;
    play.check(
        "set web/s3 DRAIN
         set web/s2 DRAIN
         set web/s3 READY
         wait up to 60s until web/s2 has no sessions
         set web/s2 MAINT
         s2 moved
         finished",
    );
}

#[tokio::test]
async fn an_empty_server_stays_in_drain_for_the_trial() {
    let fake = FakeHaproxy::start(&[("web", &["s1", "s2"])]);
    let stage = Stage::new(&fake.socket(), &format!("{S2_GOES}\npolicy: model\nmodel: {{ trial: 1s }}"));
    let play = stage.play(&down(1)).await;
    let trial = "wait 1s at least, up to 60s until web/s2 has no sessions";
    play.check(&format!("set web/s2 DRAIN\n{trial}\nset web/s2 MAINT\ns2 moved\nfinished"));
    assert!(play.took(trial) >= Duration::from_secs(1));
}

#[tokio::test]
async fn the_deadline_of_a_drain_comes_before_the_end_of_its_trial() {
    let Some((haproxy, _, _servers)) = two_servers() else { return };
    let keys = "policy: model\nmodel: { trial: 1h }\nscale_down: { drain_timeout: 300ms }";
    let stage = Stage::new(&haproxy.socket(), &format!("{S2_GOES}\n{keys}"));
    let play = stage.play(&down(1)).await;
    play.check(
        "set web/s2 DRAIN
         wait 300ms at least, up to 300ms until web/s2 has no sessions
         set web/s2 MAINT
         s2 moved
         finished",
    );
}
