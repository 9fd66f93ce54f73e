//! What the agent makes of a log that does not tell the truth, on a real HAProxy: lines that it does not
//! understand, lines that are missing, lines that come twice.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;

use haproxy_autoscale::demo::load::Load;
use serde_json::Value;
use support::{Agent, Haproxy, NEVER, Origin, PATIENCE, free_port, wait_until};

mod support;

/// HAProxy with a backend `app` behind the frontend `users`, and its log.
struct Site {
    haproxy: Haproxy,
    port: u16,
    config: String,
    _servers: Vec<Origin>,
}

impl Site {
    /// With `log` in its defaults, `backend` in its backend.
    fn start(log: &str, backend: &str) -> Option<Self> {
        let (port, servers) = (free_port(), [Origin::start(), Origin::start()]);
        let config = format!(
            "defaults\n    mode http\n    {log}\n    timeout connect 60s\n    timeout client 10m\n\
             \x20   timeout server 10m\nfrontend users\n    bind 127.0.0.1:{port}\n    default_backend app\n\
             backend app\n    {backend}\n    server s1 127.0.0.1:{}\n    server s2 127.0.0.1:{} disabled\n",
            servers[0].port(),
            servers[1].port()
        );
        let haproxy = Haproxy::start(&config)?;
        Some(Self { haproxy, port, config, _servers: servers.into() })
    }

    /// The agent's configuration.
    fn keys(&self, keys: &str) -> String {
        format!(
            "tick: 200ms\nhaproxy: {{ sockets: [{}] }}\nbackends:\n  - name: app\n    target: {{ below: 250ms }}\n\
             \x20   window: {{ length: 10s, min_samples: 10 }}\n    {keys}\n",
            self.haproxy.socket().display()
        )
    }

    /// The agent, which HAProxy logs to.
    fn agent(&self, keys: &str) -> Agent {
        Agent::start(
            &self.keys(keys),
            &[&format!("unix://{}?mode=600", self.haproxy.dir().join("log.sock").display())],
        )
    }

    fn load(&self, rate: f64) -> haproxy_autoscale::demo::load::Running {
        let load = Load::new(SocketAddr::from(([127, 0, 0, 1], self.port)), move |_| rate);
        load.start(NEVER).expect("the load runs")
    }
}

/// The end of a `defaults` section, a ring, and the beginning of the next.
const RING: &str = "timeout check 1s\nring requests\n    size 1048576\n    format raw\n    maxlen 4096\ndefaults\n    mode http\n    ";

const HTTPLOG: &str = "log {dir}/log.sock local0\n    option httplog";

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// The requests a second are those that HAProxy counts, however few of them are logged.
#[track_caller]
fn check_rate(agent: &Agent) {
    wait_until("the window is full, and the rates agree", PATIENCE, || {
        let app = agent.backend();
        let number = |value: &Value| value.as_f64().unwrap_or_default();
        let span_s = number(&app["coverage"]["span_s"]);
        let counted = number(&app["coverage"]["counted"]) / span_s;
        span_s > 9.0 && (0.7..1.4).contains(&(number(&app["figures"]["rate"]) / counted))
    });
}

/// What is served at `path` of the metrics' port.
fn get(port: u16, path: &str) -> String {
    let mut answer = String::new();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Of the requests that HAProxy has counted such a share is in the log; on a busy machine not at the first look.
#[track_caller]
fn wait_for_ratio(agent: &Agent, ratio: Range<f64>) {
    wait_until(&format!("the log is good, and a share of {ratio:?}"), PATIENCE, || {
        let app = agent.backend();
        app["health"] == "good" && app["coverage"]["ratio"].as_f64().is_some_and(|it| ratio.contains(&it))
    });
}

#[track_caller]
fn wait_for_health(agent: &Agent, health: &str) -> Value {
    let mut app_now = Value::Null;
    wait_until(&format!("the health is {health}"), PATIENCE, || {
        app_now = agent.backend();
        app_now["health"] == health && (health != "good" || !app_now["coverage"].is_null())
    });
    app_now
}

#[test]
fn a_log_that_is_not_understood_freezes_decisions_until_it_is_again() {
    let Some(mut site) =
        Site::start(&format!("{RING}log ring@requests format raw local0\n    option httplog"), "")
    else {
        return;
    };
    let metrics = free_port();
    let keys = format!("ready: {{ min: 1 }}\nmetrics: {{ listen: \"127.0.0.1:{metrics}\" }}");
    let agent = Agent::start(&site.keys(&keys), &["ring:requests"]);
    let _load = site.load(50.0);
    wait_for_ratio(&agent, 0.97..1.1);
    let httplog = site.config.clone();
    let other = httplog.replace("option httplog", "log-format \"secret=%r %b/%s %TR/%Tw/%Tc/%Tr/%Ta\"");
    site.haproxy.reload_with(&other);
    let frozen = wait_for_health(&agent, "uncovered");
    let doubt = text(&frozen["doubt"]);
    assert!(
        doubt.contains("requests of the last") && doubt.contains("; the first that was not: "),
        "{doubt}"
    );
    assert!(doubt.contains("at byte") || doubt.contains("from byte"), "{doubt}");
    assert!(!agent.journal().is_empty());
    wait_until("it is journaled", PATIENCE, || {
        agent.journal().iter().any(|entry| entry["rule"] == "uncovered" && entry["decision"] == "hold")
    });
    assert!(
        !format!("{:?}{:?}", agent.journal(), agent.events()).contains("secret="),
        "what a line holds is kept"
    );
    assert_eq!(text(&agent.backend()["decision"]), "hold");
    wait_until("it is not healthy", PATIENCE, || get(metrics, "/healthz").contains("app: uncovered: "));
    wait_until("the share is low", PATIENCE, || {
        let page = get(metrics, "/metrics");
        let line = page.lines().find(|line| line.contains("coverage_ratio{backend=\"app\"}"));
        let ratio = line.and_then(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
        ratio.is_some_and(|ratio| ratio < 0.9)
    });
    site.haproxy.reload_with(&httplog);
    wait_for_health(&agent, "good");
}

#[test]
fn a_log_that_comes_twice_is_counted_once() {
    let twice =
        "log ring@requests format raw local0\n    log ring@requests format raw local1\n    option httplog";
    let Some(site) = Site::start(&format!("{RING}{twice}"), "") else { return };
    let agent = Agent::start(&site.keys(""), &["ring:requests"]);
    wait_until("it is connected", PATIENCE, || {
        agent.events().iter().any(|event| text(&event["message"]).contains("reading from process"))
    });
    let load = site.load(50.0);
    wait_for_ratio(&agent, 0.97..1.1);
    check_rate(&agent);
    wait_until("there are many", PATIENCE, || load.measured(300).len() > 1);
    let requests = load.measured(0).len() as u64;
    drop(load);
    wait_until("each line is there twice, and half of them are duplicates", PATIENCE, || {
        let lines = agent.status().unwrap_or_default()["lines"].clone();
        let (Some(read), Some(duplicate)) = (lines["requests"].as_u64(), lines["duplicate"].as_u64()) else {
            return false;
        };
        // Of the last of them, one may have come.
        duplicate > requests * 95 / 100 && read.abs_diff(2 * duplicate) <= 1
    });
    let warned =
        agent.events().iter().filter(|event| text(&event["message"]).contains("logged twice")).count();
    assert_eq!(warned, 1);
}

#[test]
fn a_log_that_comes_twice_by_different_ways_is_counted_once() {
    let twice = "log {dir}/log.sock local0\n    log ring@requests format raw local0\n    option httplog";
    let Some(site) = Site::start(&format!("{RING}{twice}"), "") else { return };
    let config = site.keys("");
    let unix = format!("unix://{}?mode=600", site.haproxy.dir().join("log.sock").display());
    let agent = Agent::start(&config, &[&unix, "ring:requests"]);
    let _load = site.load(50.0);
    wait_for_ratio(&agent, 0.97..1.1);
    wait_until("each comes twice", PATIENCE, || {
        agent.status().unwrap_or_default()["lines"]["duplicate"].as_u64() > Some(50)
    });
}

#[test]
fn a_sampled_log_is_whole_where_the_config_says_so() {
    let Some(site) = Site::start("log {dir}/log.sock sample 1:5 local0\n    option httplog", "") else {
        return;
    };
    let agent = site.agent("sample_rate: 1:5");
    let _load = site.load(100.0);
    wait_for_ratio(&agent, 0.8..1.2);
    check_rate(&agent);
    wait_for_health(&agent, "good");
}

#[test]
fn a_sampled_log_that_nobody_said_is_one_is_told() {
    let Some(site) = Site::start("log {dir}/log.sock sample 1:5 local0\n    option httplog", "") else {
        return;
    };
    let agent = site.agent("");
    let _load = site.load(100.0);
    let doubt = text(&wait_for_health(&agent, "uncovered")["doubt"]);
    assert!(doubt.starts_with("only ") && doubt.contains("sampled"), "{doubt}");
}

#[test]
fn a_log_without_what_went_well_is_known_as_such() {
    let normal = format!("{HTTPLOG}\n    option dontlog-normal");
    let Some(site) = Site::start(&normal, "http-request deny if { rand(100) lt 8 }") else { return };
    let agent = site.agent("");
    let _load = site.load(100.0);
    let mut doubt = String::new();
    wait_until("it is known", PATIENCE, || {
        doubt = text(&agent.backend()["doubt"]);
        doubt.contains("dontlog-normal")
    });
    assert!(doubt.starts_with("only ") && doubt.contains("requests of the last"), "{doubt}");
    // Who asks `check` then is told what the agent has found.
    check(&agent.config(), "fail", "backend app", "dontlog-normal");
}

/// `check` with the config at `path` finds something `about` that reads like `found`, if not at once: on a busy
/// machine there are too few requests to hold against each other.
#[track_caller]
fn check(path: &Path, grade: &str, about: &str, found: &str) {
    let mut findings: Vec<Value> = Vec::new();
    for _ in 0..10 {
        let mut command = Command::new(env!("CARGO_BIN_EXE_haproxy-autoscale"));
        let output = command.args(["check", "--output", "json", "--config"]).arg(path).output().unwrap();
        findings = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let is_it = |finding: &&Value| {
            text(&finding["about"]).starts_with(about) && text(&finding["found"]).contains(found)
        };
        if let Some(finding) = findings.iter().find(is_it) {
            assert_eq!(text(&finding["grade"]), grade, "{finding}");
            assert_eq!(grade == "ok", text(&finding["remedy"]).is_empty(), "{finding}");
            return;
        }
    }
    panic!("nothing about {about} says {found:?}: {findings:#?}");
}

/// A config that reads HAProxy's standard output and its configuration.
fn config_of_output(site: &Site) -> PathBuf {
    let dir = site.haproxy.dir();
    let path = dir.join("agent.yaml");
    let text = format!(
        "sources: [{0}/output]\nlog_format: {{ haproxy_cfg: {0}/haproxy.cfg }}\nstate_dir: {0}/state\n\
         runtime_dir: {0}/run\n{1}",
        dir.display(),
        site.keys("")
    );
    fs::write(&path, text).unwrap();
    path
}

const STDOUT: &str = "log stdout format raw local0\n    option httplog";

#[test]
fn check_holds_the_log_against_haproxys_counters() {
    let Some(site) = Site::start(STDOUT, "") else { return };
    let config = config_of_output(&site);
    let _load = site.load(50.0);
    wait_until("there is a log", PATIENCE, || site.haproxy.output().lines().count() > 30);
    check(&config, "ok", "backend app", "are understood in the log");
}

#[test]
fn check_finds_the_lines_of_haproxys_configuration_that_leave_requests_out() {
    let log = "log stdout format raw sample 1:5 local0\n    option httplog\n    option dontlog-normal";
    let Some(site) = Site::start(log, "http-request set-log-level silent if { rand(2) eq 1 }") else {
        return;
    };
    let config = config_of_output(&site);
    let _load = site.load(50.0);
    check(&config, "warn", "haproxy_cfg", "`sample 1:5` logs a share");
    check(&config, "warn", "haproxy_cfg", "`set-log-level silent` leaves");
    check(&config, "warn", "haproxy_cfg", "`option dontlog-normal` logs only");
    check(&config, "fail", "backend app", "none of HAProxy's");
}

#[test]
fn check_finds_lines_that_come_twice() {
    let twice = "log stdout format raw local0\n    log stdout format raw local1\n    option httplog";
    let Some(site) = Site::start(twice, "") else { return };
    let config = config_of_output(&site);
    let _load = site.load(50.0);
    wait_until("there is a log", PATIENCE, || site.haproxy.output().lines().count() > 30);
    check(&config, "warn", "log ", "are told of by a line before as well");
    check(&config, "ok", "backend app", "are understood in the log");
}
