//! What `haproxy-autoscale check` says of sources that are no files: what will not work is found before it
//! is started.

use std::fs;
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use support::{Haproxy, PATIENCE, free_port, request, wait_until};

mod support;

/// What `check` finds about `source`, each as `grade: found`; `programs` come first on its PATH.
fn findings(programs: Option<&Path>, source: &str) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.yaml");
    fs::write(&config, format!("runtime_dir: {}/run\n", folder.path().display())).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_haproxy-autoscale"));
    command.args(["check", "--output", "json", "--config"]).arg(&config).arg(source);
    if let Some(programs) = programs {
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}", programs.display()));
    }
    let output = command.output().unwrap();
    let all: Vec<Value> = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    let of_source =
        |finding: &&Value| finding["about"].as_str().is_some_and(|about| about.starts_with("log "));
    let text = |finding: &Value| {
        let remedy = finding["remedy"].as_str().unwrap_or_default();
        assert_eq!(finding["grade"] == "ok", remedy.is_empty(), "what is not ok has a remedy: {finding}");
        format!("{}: {}", finding["grade"].as_str().unwrap(), finding["found"].as_str().unwrap())
    };
    all.iter().filter(of_source).map(text).collect()
}

#[track_caller]
fn check(source: &str, expected: &str) {
    check_with(None, source, expected);
}

#[track_caller]
fn check_with(programs: Option<&Path>, source: &str, expected: &str) {
    let found = findings(programs, source);
    assert!(found.iter().any(|finding| finding.starts_with(expected)), "{source}: {expected}: {found:#?}");
}

#[test]
fn an_address_is_tried() {
    let port = free_port();
    check(&format!("tcp://127.0.0.1:{port}"), "ok: can be listened on");
    check(&format!("tcp://0.0.0.0:{port}"), "warn: can be reached from other machines");
    check(&format!("udp://[::]:{port}"), "warn: can be reached from other machines");
    check("udp://192.0.2.1:5514", "fail: cannot be had: ");
    check("tcp://192.0.2.1:5514", "fail: cannot be had: ");
    let free = findings(None, &format!("udp://127.0.0.1:{port}"));
    assert!(free.len() == 1 && free[0].contains("can be received on"), "{free:?}");
    let _taken = UdpSocket::bind(("127.0.0.1", port)).unwrap();
    check(&format!("udp://127.0.0.1:{port}"), "warn: cannot be had: Address already in use");
}

#[test]
fn a_socket_that_cannot_be_made_or_written_to_is_found() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let at = |name: &str| format!("unix://{}", folder.path().join(name).display());
    check(&at("log.sock"), "ok: can be made");
    check(
        &at("log.sock"),
        &format!("warn: HAProxy's user may not get through `{}`", folder.path().display()),
    );
    check(&at("none/log.sock"), "fail: cannot be made in");
    check(&at("log.sock?mode=666"), "warn: everybody on this machine may write there");
    check(&at("log.sock?group=no-such-group"), "fail: there is no group no-such-group");
    let stale = folder.path().join("stale.sock");
    drop(UnixDatagram::bind(&stale).unwrap());
    check(&at("stale.sock"), "ok: can be made");
    let _live = UnixDatagram::bind(folder.path().join("live.sock")).unwrap();
    check(&at("live.sock"), "warn: another process receives there");
    fs::write(folder.path().join("file"), "").unwrap();
    check(&at("file"), "fail: there is something at the path that is not a socket");
    assert!(stale.exists() && !folder.path().join("log.sock").exists(), "check changes nothing");
}

#[test]
fn the_journals_last_lines_are_looked_at() {
    let programs = tempfile::tempdir().unwrap();
    let journalctl = programs.path().join("journalctl");
    let recorded = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/journald/haproxy.jsonl");
    let check = |script: &str, expected: &str| {
        fs::write(&journalctl, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&journalctl, fs::Permissions::from_mode(0o755)).unwrap();
        check_with(Some(programs.path()), "journald:haproxy", expected);
    };
    let cat = format!("cat {}", recorded.display());
    check(&cat, "ok: last 29 lines: 29 requests, 0 messages, 0 not understood");
    check("true", "warn: has no lines");
    check("echo no >&2; exit 1", "fail: journalctl failed (exit status: 1): no");
}

#[test]
fn a_rings_lines_are_looked_at() {
    let port = free_port();
    let Some(haproxy) = Haproxy::start(&format!(
        "global
    stats socket {{dir}}/user.sock mode 600 level user
ring requests
    size 100000
    format raw
    maxlen 1200
frontend fe
    mode http
    bind 127.0.0.1:{port}
    option httplog
    log ring@requests format raw local0
    http-request return status 200
"
    )) else {
        return;
    };
    let ring = |socket: &str| format!("ring:requests@{}", haproxy.dir().join(socket).display());
    check(&ring("admin.sock"), "warn: is empty: its format cannot be told yet");
    request(port, 0..7);
    // An answer comes before its line.
    wait_until("all are logged", PATIENCE, || {
        haproxy.ask("show events requests").matches("GET /n").count() == 7
    });
    check(&ring("admin.sock"), "ok: last 7 lines: 7 requests, 0 messages, 0 not understood");
    check(&ring("user.sock"), "fail: HAProxy refused: Permission denied");
    check(&ring("admin.sock").replace("requests", "others"), "fail: HAProxy refused: No such event sink");
    check(&ring("none.sock"), "warn: cannot be reached: entity not found; trying again");
}
