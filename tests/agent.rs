//! The agent as a process: start, stop, reload, what it refuses and what it tells.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Output};
use std::time::Duration;

use haproxy_autoscale::demo::haproxy::Haproxy;
use haproxy_autoscale::demo::server::{ServiceTime, SmallServer};
use nix::sys::signal::Signal;
use serde_json::Value;
use support::{Agent, FakeHaproxy, Fault, PATIENCE, free_port, wait_until};

mod support;

/// A line as HAProxy 2.6 writes it, of a backend nobody named.
const LINE: &str = "127.0.0.1:50536 [21/Nov/2026:09:31:50.191] fe_http other/a1 0/0/0/3/3 200 76 - - ---- 1/1/0/0/0 0/0 \"GET /x?a=1 HTTP/1.1\"\n";

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_haproxy-autoscale")).args(arguments).output().unwrap()
}

fn backend(socket: &str) -> String {
    format!("haproxy: {{ sockets: [{socket}] }}\nbackends:\n  - name: app\n    target: {{ below: 250ms }}\n")
}

fn pair() -> (Vec<SmallServer>, Haproxy) {
    let service = ServiceTime { mean: Duration::from_millis(2), cv: 0.0 };
    let servers: Vec<_> = (0..2).map(|_| SmallServer::start(2, service, None).unwrap()).collect();
    let addresses: Vec<_> = servers.iter().map(SmallServer::addr).collect();
    let haproxy = Haproxy::start(&addresses, 1, 6).expect("HAProxy starts");
    (servers, haproxy)
}

#[test]
fn without_a_backend_it_observes_counts_every_line_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("haproxy.log");
    let text = LINE.repeat(3) + "<133>haproxy[7]: Proxy fe started.\nGET /?password=geheim\n";
    fs::write(&log, [text.as_bytes(), b"\xff"].concat()).unwrap();
    let mut agent = Agent::start("", &["--from-start", log.to_str().unwrap()]);
    assert!(
        agent
            .event("observing only: name a backend in the config, or with --backend, to have it scaled")
            .is_some()
    );
    wait_until("all lines are read", PATIENCE, || {
        agent.status().is_some_and(|status| status["lines"]["lines"] == 5)
    });
    let (status, summary) = agent.stop();
    assert!(status.success());
    let field = |name: &str| summary[name].as_u64();
    assert_eq!(
        ["lines", "requests", "messages", "unparsed", "dropped", "decisions", "moves"].map(field),
        [5, 3, 1, 1, 0, 0, 0].map(Some),
        "the half line at the end is none yet: {summary}"
    );
    let told = agent.event("lines not understood").unwrap_or_default();
    assert_eq!((told["skipped"].as_u64(), told["source"].as_str()), (Some(1), log.to_str()), "{told}");
    assert!(told["first"].as_str().is_some_and(|first| first.contains("byte")), "{told}");
    assert!(!told.to_string().contains("geheim"), "what a line holds is nobody's business: {told}");
}

#[test]
fn of_several_sources_each_one_tells_what_it_did_not_understand() {
    let folder = tempfile::tempdir().unwrap();
    let logs = ["a.log", "b.log"].map(|name| folder.path().join(name));
    fs::write(&logs[0], "nonsense\n".to_owned() + LINE).unwrap();
    fs::write(&logs[1], LINE.to_owned() + "nonsense\nmore of it\n").unwrap();
    let paths = logs.each_ref().map(|path| path.to_str().unwrap());
    let mut agent = Agent::start("", &["--from-start", paths[0], paths[1]]);
    wait_until("all lines are read", PATIENCE, || {
        agent.status().is_some_and(|status| status["lines"]["lines"] == 5)
    });
    agent.stop();
    let told = agent.events().into_iter().filter(|event| event["message"] == "lines not understood");
    let mut told: Vec<_> = told.map(|event| (event["source"].clone(), event["skipped"].clone())).collect();
    told.sort_by_key(|(source, _)| source.to_string());
    assert_eq!(told, [(paths[0].into(), 1.into()), (paths[1].into(), 2.into())]);
}

#[test]
fn a_line_longer_than_max_line_bytes_is_not_understood_and_costs_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("haproxy.log");
    let long = LINE.replace("/x?a=1", &format!("/{}", "x".repeat(2000)));
    fs::write(&log, [LINE, &long, LINE].concat()).unwrap();
    let read = |config: &str| {
        let mut agent = Agent::start(config, &["--from-start", log.to_str().unwrap()]);
        wait_until("all lines are read", PATIENCE, || {
            agent.status().is_some_and(|status| status["lines"]["lines"] == 3)
        });
        agent.stop().1["requests"].clone()
    };
    assert_eq!(read("max_line_bytes: 1024\n"), 2);
    assert_eq!(read(""), 3);
}

#[test]
fn standard_error_that_nobody_can_read_ends_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("haproxy.log");
    fs::write(&log, "nonsense\n".repeat(9)).unwrap();
    let config = folder.path().join("config.yaml");
    fs::write(&config, format!("runtime_dir: {}\nlog_level: trace\n", folder.path().display())).unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    for stderr in [std::process::Stdio::from(writer), full.into()] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_haproxy-autoscale"))
            .args(["--from-start", "--config", config.to_str().unwrap(), log.to_str().unwrap()])
            .stderr(stderr)
            .spawn()
            .unwrap();
        let status = || run(&["status", "--output", "json", "--config", config.to_str().unwrap()]);
        wait_until("it has read the log", PATIENCE, || {
            let status: Value = serde_json::from_slice(&status().stdout).unwrap_or_default();
            status["lines"]["lines"] == 9 && status["pid"] == child.id()
        });
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(child.id() as i32), Signal::SIGTERM).unwrap();
        assert!(child.wait().unwrap().success());
    }
}

#[test]
fn an_error_that_nobody_can_read_is_still_an_exit_code() {
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let ended =
        Command::new(env!("CARGO_BIN_EXE_haproxy-autoscale")).arg("staus").stderr(full).status().unwrap();
    assert_eq!(ended.code(), Some(2));
}

#[test]
fn a_word_that_is_no_file_is_not_taken_for_a_log() {
    let output = run(&["staus"]);
    assert_eq!(output.status.code(), Some(2));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("did you mean the subcommand `status`?"), "{told}");
}

#[test]
fn a_bad_config_is_refused_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("agent.yaml");
    fs::write(&file, "backends:\n  - name: app\n    target: { timr: Tt, below: 1s }\n").unwrap();
    let output = run(&["--config", file.to_str().unwrap(), "/tmp/none.log"]);
    assert_eq!(output.status.code(), Some(2));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("agent.yaml:3:15") && told.contains("did you mean `timer`?"), "{told}");
}

#[test]
fn a_second_agent_on_the_same_state_directory_is_refused() {
    let fake = FakeHaproxy::start(&[("app", &["s1", "s2"])]);
    let config = backend(fake.socket().to_str().unwrap());
    let agent = Agent::start(&config, &["/tmp/no-such-directory/haproxy.log"]);
    let output = run(&["--config", agent.config().to_str().unwrap(), "/tmp/no-such-directory/haproxy.log"]);
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("another agent is running") && told.contains(&agent.pid().to_string()), "{told}");
    let config = agent.config();
    let output = run(&["--log-json", "--config", config.to_str().unwrap(), "/tmp/no-such-directory/a.log"]);
    assert_eq!(output.status.code(), Some(1));
    for line in String::from_utf8_lossy(&output.stderr).lines() {
        let event: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(event["error"].as_str().is_some_and(|error| error.contains("another agent")), "{event}");
    }
}

#[test]
fn sighup_takes_a_good_config_and_keeps_the_old_one_when_the_new_is_bad() {
    let fake = FakeHaproxy::start(&[("app", &["s1", "s2"]), ("api", &["s1", "s2"])]);
    let config = backend(fake.socket().to_str().unwrap());
    let agent = Agent::start(&config, &["/tmp/no-such-directory/haproxy.log"]);
    let names = || -> Vec<Value> {
        let status = agent.status().unwrap_or_default();
        let backends = status["backends"].as_array().cloned().unwrap_or_default();
        backends.iter().map(|backend| backend["backend"].clone()).collect()
    };
    wait_until("app is shown", PATIENCE, || names() == ["app"]);

    let good = fs::read_to_string(agent.config()).unwrap();
    fs::write(agent.config(), good.replace("below", "belw")).unwrap();
    agent.signal(Signal::SIGHUP);
    wait_until("the bad config is told", PATIENCE, || {
        let told = agent.event("config not reloaded; the old one stays");
        told.is_some_and(|event| event["error"].as_str().is_some_and(|error| error.contains("belw")))
    });
    assert_eq!(names(), ["app"]);
    let shown = || String::from_utf8_lossy(&agent.command(&["status"]).stdout).into_owned();
    let text = shown();
    let place = format!("{}:", agent.config().display());
    assert!(text.contains(" holds. Put it right and reload again:\n    ") && text.contains(&place), "{text}");
    assert!(text.contains("\n      did you mean `below`?\n"), "{text}");

    fs::write(agent.config(), good + "  - name: api\n    target: { below: 250ms }\n").unwrap();
    agent.signal(Signal::SIGHUP);
    wait_until("api is shown too", PATIENCE, || names().len() == 2);
    assert!(!shown().contains("REFUSED"));
    assert_eq!(agent.event("config reloaded").unwrap_or_default()["backends"], "app, api");

    let slower = fs::read_to_string(agent.config()).unwrap() + "tick: 2s\nlog_level: warn\n";
    fs::write(agent.config(), slower).unwrap();
    agent.signal(Signal::SIGHUP);
    wait_until("it is told what has to wait", PATIENCE, || {
        let told = agent.event("config reloaded; what is waiting takes effect at a restart");
        told.is_some_and(|event| event["waiting"] == "log_level, tick")
    });
    assert!(shown().contains(": waits for a restart: log_level, tick\n"), "{}", shown());
    let entries = agent.journal();
    let events = entries.iter().filter_map(|entry| entry["event"].as_str());
    let of_the_config: Vec<_> = events.filter(|event| event.starts_with("config")).collect();
    assert_eq!(of_the_config, ["config_refused", "config_reloaded", "config_reloaded"]);
}

#[test]
fn an_agent_that_was_started_to_observe_does_not_begin_to_scale() {
    let agent = Agent::start("", &["/tmp/no-such-directory/haproxy.log"]);
    let text = fs::read_to_string(agent.config()).unwrap();
    fs::write(agent.config(), text + &backend("/tmp/no-such-directory/admin.sock")).unwrap();
    agent.signal(Signal::SIGHUP);
    wait_until("it is told", PATIENCE, || {
        agent.event("config not reloaded: this agent was started to observe; restart it to scale").is_some()
    });
    assert_eq!(agent.status().unwrap_or_default()["backends"], serde_json::json!([]));
}

#[test]
fn a_start_that_fails_ends_however_much_there_is_to_read() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("haproxy.log");
    fs::write(&log, LINE.repeat(400_000)).unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let config = folder.path().join("config.yaml");
    let place = folder.path().display();
    let listen = taken.local_addr().unwrap();
    fs::write(&config, format!("runtime_dir: {place}\nmetrics: {{ listen: \"{listen}\" }}\n")).unwrap();
    let output = run(&["--from-start", "--config", config.to_str().unwrap(), log.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("metrics.listen") && told.contains(&listen.to_string()), "{told}");
}

#[test]
fn haproxy_absent_at_the_start_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("admin.sock");
    let agent = Agent::start(&backend(socket.to_str().unwrap()), &["/tmp/no-such-directory/haproxy.log"]);
    wait_until("its absence is told", PATIENCE, || {
        agent.event("haproxy does not answer; waiting for it").is_some()
    });
    let fake = FakeHaproxy::start(&[("app", &["s1", "s2"])]);
    std::os::unix::fs::symlink(fake.socket(), &socket).unwrap();
    wait_until("it answers", PATIENCE, || agent.event("haproxy answers").is_some());
}

#[test]
fn a_socket_that_hangs_stops_neither_the_log_nor_the_stop() {
    let fake = FakeHaproxy::start(&[("app", &["s1", "s2"])]);
    fake.always(Fault::Hang);
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("haproxy.log");
    fs::write(&log, LINE).unwrap();
    let config = backend(fake.socket().to_str().unwrap());
    let mut agent = Agent::start(&config, &["--from-start", log.to_str().unwrap()]);
    wait_until("the hanging socket is told", PATIENCE, || {
        agent.event("haproxy does not answer; waiting for it").is_some()
    });
    let (status, summary) = agent.stop();
    assert!(status.success());
    assert_eq!(summary["requests"], 1, "{summary}");
}

#[test]
fn a_socket_that_answers_badly_is_told_with_its_reason_and_asked_again() {
    let fake = FakeHaproxy::start(&[("app", &["s1", "s2"])]);
    let config = backend(fake.socket().to_str().unwrap()) + "tick: 50ms\n";
    let agent = Agent::start(&config, &["/tmp/no-such-directory/haproxy.log"]);
    let told = |message: &str| -> Vec<Value> {
        agent.events().into_iter().filter(|event| event["message"] == message).collect()
    };
    let faults = [
        (Fault::CloseSilently, "closed the connection after 0 bytes"),
        (Fault::CloseMidway, "in the middle of its answer"),
        (Fault::Answer(b"HTTP/1.0 400 Bad request\r\n\r\n".to_vec()), "after 28 bytes"),
        (Fault::Answer(vec![0xff, 0, 0x80, b'\n']), "admin.sock"),
    ];
    // On a machine that stands still it may be slow as well.
    let absences = || told("haproxy does not answer; waiting for it");
    let answers = || told("haproxy answers").len() > absences().len();
    for (fault, reason) in faults {
        wait_until("it answers", PATIENCE, answers);
        let before = absences().len();
        fake.fail_next(1, fault);
        wait_until(&format!("`{reason}` is told"), PATIENCE, || {
            absences()[before..].iter().any(|event| event["error"].to_string().contains(reason))
        });
    }
    wait_until("it answers again", PATIENCE, answers);
}

#[test]
fn systemd_is_told_of_start_life_reload_and_stop() {
    let folder = tempfile::tempdir().unwrap();
    let notify = folder.path().join("notify");
    let heard = UnixDatagram::bind(&notify).unwrap();
    heard.set_read_timeout(Some(PATIENCE)).unwrap();
    let log = folder.path().join("haproxy.log");
    let mut child = Command::new(env!("CARGO_BIN_EXE_haproxy-autoscale"))
        .arg(&log)
        .env("NOTIFY_SOCKET", &notify)
        .env("WATCHDOG_USEC", "200000")
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let hear = |word: &str| {
        let mut text = [0; 4096];
        loop {
            let length = heard.recv(&mut text).unwrap_or_else(|error| panic!("waiting for {word}: {error}"));
            if String::from_utf8_lossy(&text[..length]).lines().any(|line| line == word) {
                return;
            }
        }
    };
    let signal =
        |signal| nix::sys::signal::kill(nix::unistd::Pid::from_raw(child.id() as i32), signal).unwrap();
    hear("READY=1");
    hear("WATCHDOG=1");
    hear("WATCHDOG=1");
    signal(Signal::SIGHUP);
    hear("RELOADING=1");
    hear("READY=1");
    signal(Signal::SIGTERM);
    hear("STOPPING=1");
    assert!(child.wait().unwrap().success());
}

#[test]
fn metrics_and_health_are_served() {
    let (_servers, haproxy) = pair();
    let port = free_port();
    let config =
        backend(haproxy.socket().to_str().unwrap()) + &format!("metrics: {{ listen: 127.0.0.1:{port} }}\n");
    let log = haproxy.log();
    let agent = Agent::start(&config, &[log.to_str().unwrap()]);
    wait_until("it is healthy", PATIENCE, || get(port, "/healthz").starts_with("HTTP/1.1 200"));
    for _ in 0..3 {
        assert!(get(haproxy.frontend().port(), "/").starts_with("HTTP/1.1 200"));
    }
    let counted = "haproxy_autoscale_latency_seconds_count{backend=\"app\",server=\"s1\",timer=\"Tt\"} 3\n";
    for series in [
        counted,
        "haproxy_autoscale_haproxy_up 1\n",
        "haproxy_autoscale_servers{backend=\"app\",state=\"serving\"} 1\n",
    ] {
        wait_until(&format!("`{series}` is served"), PATIENCE, || get(port, "/metrics").contains(series));
    }
    drop(haproxy);
    wait_until("it tells that HAProxy is gone", PATIENCE, || {
        let page = get(port, "/healthz");
        page.starts_with("HTTP/1.1 503") && page.contains("app: haproxy_absent")
    });
    drop(agent);
}

fn get(port: u16, path: &str) -> String {
    let mut page = String::new();
    if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) {
        let _ = write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let _ = stream.read_to_string(&mut page);
    }
    page
}

#[test]
fn status_shows_servers_figures_and_decisions() {
    let (_servers, haproxy) = pair();
    let log = haproxy.log();
    let agent = Agent::start(&backend(haproxy.socket().to_str().unwrap()), &[log.to_str().unwrap()]);
    assert!(get(haproxy.frontend().port(), "/").starts_with("HTTP/1.1 200"));
    wait_until("the request is in the window, and the servers are known", PATIENCE, || {
        let app = &agent.status().unwrap_or_default()["backends"][0];
        app["figures"]["samples"] == 1 && app["serving"] == 1
    });
    let shown = run(&["status", "--config", agent.config().to_str().unwrap()]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    for part in ["app: 1 serving, 1 spare", "s1", "READY", "s2", "MAINT", "HAProxy 2."] {
        assert!(shown.contains(part), "{part} in:\n{shown}");
    }
}

#[test]
fn the_status_socket_is_not_taken_from_an_agent_that_answers_and_goes_with_it() {
    use std::os::unix::fs::PermissionsExt;
    let mut first = Agent::start("", &["/tmp/no-such-directory/haproxy.log"]);
    let socket = first.dir().join("run/agent.sock");
    wait_until("it answers", PATIENCE, || first.status().is_some_and(|status| status["pid"] == first.pid()));
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o660);
    // The folder's `status.yaml` names the runtime directory and no backend.
    let told = first.dir().join("second.log");
    let mut second = Command::new(env!("CARGO_BIN_EXE_haproxy-autoscale"))
        .args(["--config", first.dir().join("status.yaml").to_str().unwrap(), "/tmp/no-such-directory/a.log"])
        .stderr(fs::File::create(&told).unwrap())
        .spawn()
        .unwrap();
    wait_until("the second one tells", PATIENCE, || {
        fs::read_to_string(&told).is_ok_and(|told| told.contains("another agent answers there"))
    });
    second.kill().unwrap();
    second.wait().unwrap();
    assert_eq!(first.status().unwrap_or_default()["pid"], first.pid());
    first.stop();
    assert!(!socket.exists());
}

#[test]
fn status_without_an_agent_says_where_it_looked() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.yaml");
    fs::write(&file, format!("runtime_dir: {}\n", folder.path().display())).unwrap();
    let output = run(&["status", "--config", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("agent.sock"));
}

#[test]
fn a_mistake_in_the_config_hides_no_running_agent() {
    let agent = Agent::start("", &["/tmp/no-such-directory/haproxy.log"]);
    let text = fs::read_to_string(agent.config()).unwrap();
    fs::write(agent.config(), format!("{text}nonsense: 1\n")).unwrap();
    let output = run(&["status", "--config", agent.config().to_str().unwrap()]);
    let (shown, told) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && shown.contains(&format!("process {},", agent.pid())), "{output:?}");
    assert!(told.starts_with("warning: ") && told.contains("unknown key `nonsense`"), "{told}");
}

#[test]
fn check_finds_what_will_not_work() {
    let (_servers, haproxy) = pair();
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("haproxy.log");
    fs::write(&log, "this is\nno log\nof HAProxy's\n").unwrap();
    let config = folder.path().join("config.yaml");
    let place = folder.path().display();
    let text = format!("state_dir: {place}/state\nruntime_dir: {place}/run\n")
        + &backend(haproxy.socket().to_str().unwrap());
    fs::write(&config, text.clone() + "    servers: { s3: { always_up: true } }\n").unwrap();
    let check = |log: &str| {
        let output = run(&["check", "--output", "json", "--config", config.to_str().unwrap(), log]);
        let findings: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap_or_default();
        (output.status.code(), findings)
    };
    let (code, findings) = check(log.to_str().unwrap());
    let failed = |about: &str, found: &str| {
        findings.iter().any(|finding| {
            finding["grade"] == "fail"
                && finding["about"].as_str().is_some_and(|text| text.contains(about))
                && finding["found"].as_str().is_some_and(|text| text.contains(found))
        })
    };
    assert_eq!(code, Some(1));
    assert!(failed("log", "3 not understood"), "{findings:#?}");
    assert!(failed("backend app", "no server `s3`"), "{findings:#?}");

    fs::write(&config, text).unwrap();
    assert!(get(haproxy.frontend().port(), "/").starts_with("HTTP/1.1 200"));
    let own = haproxy.log();
    let (code, findings) = check(own.to_str().unwrap());
    assert_eq!(code, Some(0), "{findings:#?}");
}

#[test]
fn what_was_written_before_the_stop_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("haproxy.log");
    fs::write(&log, "").unwrap();
    let mut agent = Agent::start("", &[log.to_str().unwrap()]);
    fs::write(&log, LINE.repeat(500)).unwrap();
    let (status, summary) = agent.stop();
    assert!(status.success());
    assert_eq!(summary["requests"], 500, "{summary}");
}
