//! `haproxy-autoscale check` on a real HAProxy that has everything wrong that it looks for.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use support::{Agent, Haproxy, PATIENCE, wait_until};
use tempfile::TempDir;

mod support;

/// A backend for each thing that can be wrong.
const BACKENDS: &str = "\
global
    stats socket {dir}/operator.sock mode 600 level operator
    stats socket {dir}/user.sock mode 600 level user
backend good
    server s1 127.0.0.1:5 check maxconn 9
    server s2 127.0.0.1:2 check maxconn 9 disabled
backend static
    balance static-rr
    server s1 127.0.0.1:1 check maxconn 9
    server s2 127.0.0.1:2 check maxconn 9 disabled
backend hash
    balance source
    server s1 127.0.0.1:1 check maxconn 9
    server s2 127.0.0.1:2 check maxconn 9 disabled
backend bare
    server s1 127.0.0.1:1
    server s2 127.0.0.1:2 disabled
backend kinds
    balance leastconn
    cookie SRV insert
    server s1 127.0.0.1:1 check maxconn 9 agent-check agent-port 2 agent-inter 60s cookie a
    server s2 127.0.0.1:2 track s1
    server s3 127.0.0.1:3 backup
    server lost lost.invalid:80 init-addr none
    server-template t 3 127.0.0.1:9 disabled
    server-template d 2 app.invalid:80 init-addr none
backend alone
    server s1 127.0.0.1:1 backup
backend off
    disabled
    server s1 127.0.0.1:1 check maxconn 9
    server s2 127.0.0.1:2 check maxconn 9 disabled
";

/// What is told of the backend `kinds`.
const KINDS: &str = "mode http; balance leastconn, takes any weight; a cookie keeps clients on their servers; \
                     agent checks: s1; backup: s3; tracking: s2; by host name: lost; \
                     brought and taken by DNS, left alone unless named under `servers`: d1, d2; t1 to t3 look like a server-template";

/// A line as HAProxy 2.6 writes it.
const LINE: &str = "127.0.0.1:50536 [21/Nov/2026:09:31:50.191] fe_http good/s1 0/0/0/3/3 200 76 - - ---- 1/1/0/0/0 0/0 \"GET /x?a=1 HTTP/1.1\"\n";

/// A place to check in: a log, a config that is all right but for what a test makes of it.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { folder: tempfile::tempdir().unwrap() };
        fs::write(place.path("haproxy.log"), LINE).unwrap();
        place
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    /// What `check` finds with `config`, and its exit code.
    fn check(&self, config: &str) -> (Option<i32>, Vec<Value>) {
        let file = self.path("config.yaml");
        let text = config.replace("{place}", self.folder.path().to_str().unwrap());
        fs::write(&file, text).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_haproxy-autoscale"))
            .args(["check", "--output", "json", "--config", &file])
            .output()
            .unwrap();
        let findings = serde_json::from_slice(&output.stdout).unwrap_or_default();
        (output.status.code(), findings)
    }
}

fn config(socket: &Path, backend: &str) -> String {
    format!(
        "sources: [\"{{place}}/haproxy.log\"]\nstate_dir: \"{{place}}/state\"\nruntime_dir: \"{{place}}/run\"\n\
         haproxy: {{ sockets: [\"{}\"] }}\nbackends: [{{ {backend} }}]\n",
        socket.display()
    )
}

/// Holds the one finding about `about` whose text contains `found` against its grade, and, if it is no `ok`,
/// asks for a remedy.
#[track_caller]
fn check_found(findings: &[Value], grade: &str, about: &str, found: &str) {
    let text = |finding: &Value, key: &str| finding[key].as_str().unwrap_or_default().to_owned();
    let one = findings
        .iter()
        .find(|finding| text(finding, "about").starts_with(about) && text(finding, "found").contains(found));
    let Some(one) = one else { panic!("nothing about {about} says {found:?}: {findings:#?}") };
    assert_eq!(text(one, "grade"), grade, "{one}");
}

#[test]
fn everything_that_is_wrong_is_found_and_what_is_right_is_not() {
    let Some(haproxy) = Haproxy::start(BACKENDS) else { return };
    let place = Place::new();
    // Before 2.6 HAProxy cannot be asked which hash algorithms take weights.
    let can_try = Haproxy::version().expect("it runs")[..2] >= [2, 6][..];
    let (admin, at) = (haproxy.socket(), |name: &str| haproxy.dir().join(name));
    let cases = [
        (admin.clone(), "name: god, target: { below: 1s }", 1, "fail", "backend god", "no such backend"),
        (admin.clone(), "name: off, target: { below: 1s }", 1, "fail", "backend off", "has it `disabled`"),
        (
            admin.clone(),
            "name: good, target: { below: 1s }, servers: { s9: {} }",
            1,
            "fail",
            "backend good",
            "no server `s9`",
        ),
        (at("operator.sock"), "name: good, target: { below: 1s }", 1, "fail", "socket", "level operator"),
        (at("user.sock"), "name: good, target: { below: 1s }", 1, "fail", "socket", "level user"),
        (at("none.sock"), "name: good, target: { below: 1s }", 1, "fail", "socket", "cannot connect"),
        (
            admin.clone(),
            "name: static, target: { below: 1s }, warm_up: { ramp: 10s }",
            1,
            "fail",
            "backend static",
            "`balance static-rr`",
        ),
        (
            admin.clone(),
            "name: static, target: { below: 1s }",
            0,
            "ok",
            "backend static",
            "`balance static-rr`",
        ),
        (
            admin.clone(),
            "name: good, target: { below: 1s }",
            0,
            "ok",
            "backend good",
            "mode http; balance roundrobin, takes any weight",
        ),
        (
            admin.clone(),
            "name: static, target: { below: 1s }",
            0,
            "ok",
            "backend static",
            "takes no weight at run time: READY, DRAIN and MAINT only",
        ),
        (admin.clone(), "name: kinds, target: { below: 1s }", 0, "ok", "backend kinds", KINDS),
        (
            admin.clone(),
            "name: good, target: { below: 1s }, ready: { schedule: [{ at: 00:00-24:00, max: 2 }] }",
            0,
            "ok",
            "backend good",
            ", 1 to 2 may serve (00:00-24:00)",
        ),
        (
            admin.clone(),
            "name: good, target: { below: 1s }, ready: { schedule: [{ at: 1999-12-31, min: 9 }] }",
            1,
            "fail",
            "backend good",
            "`ready.min` of `1999-12-31` is 9, but at most ",
        ),
        (
            admin.clone(),
            "name: hash, target: { below: 1s }, weights: by_capacity",
            i32::from(can_try),
            if can_try { "fail" } else { "warn" },
            "backend hash",
            "only with `hash-type consistent`",
        ),
        (
            admin.clone(),
            "name: bare, target: { below: 1s }",
            0,
            "warn",
            "backend bare",
            "no `maxconn` on s1, s2",
        ),
        (
            admin.clone(),
            "name: bare, target: { below: 1s }",
            0,
            "warn",
            "backend bare",
            "no health check on s1, s2",
        ),
        (admin.clone(), "name: alone, target: { below: 1s }", 1, "fail", "backend alone", "nothing to scale"),
        (
            admin.clone(),
            "name: good, target: { below: 1s }, ready: { min: 3 }",
            1,
            "fail",
            "backend good",
            "`ready.min` is 3",
        ),
        (
            admin.clone(),
            "name: good, target: { below: 1s }, window: { length: 31s }",
            0,
            "warn",
            "backend good",
            "`scale_up.cooldown` (30 s) is shorter than `window.length` (31 s)",
        ),
    ];
    for (socket, backend, code, grade, about, found) in cases {
        let (ended, findings) = place.check(&config(&socket, backend));
        check_found(&findings, grade, about, found);
        assert_eq!(ended, Some(code), "{backend}: {findings:#?}");
    }
    let (code, findings) = place.check(&config(&admin, "name: good, target: { below: 1s }"));
    let bad = findings.iter().filter(|finding| finding["grade"] != "ok" && finding["about"] != "user");
    // Nothing listens where its servers should be: once HAProxy has seen that, nobody serves.
    let bad: Vec<_> = bad.filter(|finding| finding["found"] != "no server serves now").collect();
    assert!(bad.is_empty() && code == Some(0), "{bad:#?}");
}

#[test]
fn a_backend_that_passes_on_no_requests_is_called_what_it_is() {
    // `mode log` is in HAProxy from 2.9 on.
    let text = "backend messages\n    mode log\n    server s1 udp@127.0.0.1:1\n    server s2 udp@127.0.0.1:2 disabled";
    if !Haproxy::takes(text).unwrap_or_default() {
        return;
    }
    let haproxy = Haproxy::start(text).expect("it was there a moment ago");
    let (code, findings) =
        Place::new().check(&config(&haproxy.socket(), "name: messages, target: { below: 1s }"));
    check_found(&findings, "fail", "backend messages", "mode log; ");
    assert_eq!(code, Some(1));
}

#[test]
fn haproxys_slowstart_is_told_where_its_configuration_is_known() {
    let place = Place::new();
    let text = "defaults\n    mode http\n    option httplog\n    default-server slowstart 30s\nfrontend users\n\
                backend app\n    server s1 127.0.0.1:1\n    server s2 127.0.0.1:2 slowstart 1m\n";
    fs::write(place.path("haproxy.cfg"), text).unwrap();
    let app = "name: app, target: { below: 1s }, warm_up: { ramp: 10s }";
    let config = config(Path::new("/nowhere/admin.sock"), app);
    let told = |found: &Value| found["found"].as_str().unwrap_or_default().contains("slowstart");
    assert!(!place.check(&config).1.iter().any(told), "nobody knows");
    for spares in [
        "",
        ", spares: { kind: dynamic, pool: [127.0.0.1:3], default_server: { haproxy_cfg: \"{place}/haproxy.cfg\" } }",
    ] {
        let config = config.replace("ramp: 10s }", &format!("ramp: 10s }}{spares}"));
        let (_, findings) =
            place.check(&format!("log_format: {{ haproxy_cfg: \"{{place}}/haproxy.cfg\" }}\n{config}"));
        let added = if spares.is_empty() { "" } else { ", those that are added" };
        let found = format!("slowstart: 1m for s2; 30s for s1{added}; `warm_up.ramp` is not for them");
        check_found(&findings, "ok", "backend app", &found);
    }
}

#[test]
fn a_log_format_that_only_haproxy_knows_is_told_with_its_line() {
    let place = Place::new();
    let told = "frontend told\n    mode http\n    option httplog\n    bind 127.0.0.1:1\n";
    let untold =
        "frontend users\n    bind 127.0.0.1:1\n.if streq(\"a\",\"b\")\n    log-format \"%b %Ta\"\n.endif\n";
    let text = format!("{told}{untold}");
    // Branches are from 2.4 on.
    if Haproxy::version().is_some_and(|version| version >= vec![2, 4]) {
        assert_eq!(Haproxy::takes(&text), Some(true));
    }
    fs::write(place.path("haproxy.cfg"), &text).unwrap();
    let config = config(Path::new("/nowhere/admin.sock"), "name: app, target: { below: 1s }");
    let check = |config: &str| {
        place.check(&format!("log_format: {{ haproxy_cfg: \"{{place}}/haproxy.cfg\" }}\n{config}")).1
    };
    let why = "haproxy.cfg: line 8: it holds or not as the `.if` in line 7 says, which only HAProxy knows (frontend users)";
    check_found(&check(&config), "warn", "log_format", why);
    fs::write(place.path("haproxy.cfg"), untold).unwrap();
    check_found(&check(&config), "fail", "log_format", "no log format that can be read");
}

#[test]
fn a_maint_is_somebody_elses_unless_the_agent_remembers_it() {
    let Some(haproxy) = Haproxy::start(BACKENDS) else { return };
    haproxy.ask("set server good/s1 state maint");
    let place = Place::new();
    let text = config(&haproxy.socket(), "name: good, target: { below: 1s }");
    check_found(&place.check(&text).1, "warn", "backend good", "in MAINT, not ours, and left alone: s1");
    fs::create_dir(place.path("state")).unwrap();
    fs::write(place.path("state/state.json"), r#"{"backends": {"good": {"ours": ["s1"]}}}"#).unwrap();
    check_found(&place.check(&text).1, "ok", "backend good", "0 serving, 2 spare");
}

#[test]
fn logs_are_read_as_the_agent_would_read_them() {
    let place = Place::new();
    let observe = |log: &str| place.check(&format!("sources: [\"{log}\"]\nruntime_dir: \"{{place}}/run\"\n"));
    let write = |text: &str| fs::write(place.path("haproxy.log"), text).unwrap();
    let log = place.path("haproxy.log");
    check_found(&observe(&log).1, "ok", "log", "last 1 lines: 1 requests");
    write(&"no log of HAProxy's\n".repeat(9));
    check_found(&observe(&log).1, "fail", "log", "9 not understood");
    write(&(LINE.repeat(20) + "nonsense\n"));
    check_found(&observe(&log).1, "warn", "log", "1 not understood");
    write("<133>haproxy[7]: Proxy fe started.\n");
    check_found(&observe(&log).1, "warn", "log", "0 requests, 1 messages");
    write("");
    check_found(&observe(&log).1, "warn", "log", "is empty");
    check_found(&observe(&place.path("none.log")).1, "warn", "log", "does not exist");
    check_found(&observe(place.folder.path().to_str().unwrap()).1, "fail", "log", "cannot be read");
    check_found(&observe("-").1, "ok", "log", "as it comes");
}

#[test]
fn check_makes_nothing_and_changes_nothing() {
    let place = Place::new();
    let text = config(Path::new("/nowhere/admin.sock"), "name: app, target: { below: 1s }");
    check_found(&place.check(&text).1, "ok", "state_dir", "will be made");
    assert!(!Path::new(&place.path("state")).exists() && !Path::new(&place.path("run")).exists());
    fs::write(place.path("state"), "").unwrap();
    check_found(&place.check(&text).1, "fail", "state_dir", "it is no directory");
    fs::remove_file(place.path("state")).unwrap();
    fs::create_dir(place.path("state")).unwrap();
    check_found(&place.check(&text).1, "ok", "state_dir", "can be written");
    assert_eq!(fs::read_dir(place.path("state")).unwrap().count(), 0);
}

#[test]
fn a_running_agent_is_found_by_its_lock_and_its_socket() {
    let place = Place::new();
    let text =
        "haproxy: { sockets: [/nowhere/admin.sock] }\nbackends: [{ name: app, target: { below: 1s } }]\n";
    let agent = Agent::start(text, &["/nowhere/haproxy.log"]);
    wait_until("it answers", PATIENCE, || agent.status().is_some());
    let text = fs::read_to_string(agent.config()).unwrap();
    let (_, findings) = place.check(&text);
    check_found(&findings, "ok", "state_dir", &format!("the running agent (process {})", agent.pid()));
    let another = text.replace("/run\n", "/another\n");
    assert_ne!(another, text);
    let (_, of_another) = place.check(&another);
    check_found(&of_another, "warn", "state_dir", &format!("(process {})", agent.pid()));
    check_found(&findings, "ok", "runtime_dir", &format!("(process {})", agent.pid()));
}

#[test]
fn what_this_user_may_not_use_is_found() {
    if nix::unistd::Uid::effective().is_root() {
        // Root may use everything; the finding about that is all there is to see.
        let known = nix::unistd::User::from_name("haproxy-autoscale").is_ok_and(|user| user.is_some());
        let place = Place::new();
        let (_, findings) = place.check("sources: [-]\nruntime_dir: \"{place}/run\"\n");
        assert_eq!(findings.iter().any(|finding| finding["about"] == "user"), known, "{findings:#?}");
        return;
    }
    let place = Place::new();
    let shut = |name: &str, mode| {
        fs::set_permissions(place.path(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    fs::create_dir(place.path("state")).unwrap();
    shut("state", 0o500);
    shut("haproxy.log", 0o000);
    let text = config(Path::new("/nowhere/admin.sock"), "name: app, target: { below: 1s }");
    let (_, findings) = place.check(&text);
    check_found(&findings, "fail", "state_dir", "cannot be written");
    check_found(&findings, "fail", "log", "cannot be read");
    shut("state", 0o700);
}
