//! `haproxy-autoscale tune` as a process, on logs of which everything is known: those of a simulated HAProxy.

use std::fs;
use std::path::Path;
use std::process::Output;

use assert_cmd::Command;
use haproxy_autoscale::config::Config;
use haproxy_autoscale::core::settings::{BackendSettings, Timer};
use haproxy_autoscale::sim::baseline::Baseline;
use haproxy_autoscale::sim::scenario::{Scenario, Shape};
use serde_json::Value;
use support::past::{file, log_of};

mod support;

/// Ten minutes: four servers that work on four requests each, 80 ms a request; a rush that takes three of them.
fn day() -> Scenario {
    let shape = Shape::Lines(vec![(150.0, 20.0), (200.0, 95.0), (350.0, 95.0), (400.0, 20.0)]);
    let mut scenario = Scenario::standard("day", "", 600.0, shape);
    (scenario.servers, scenario.serving_at_start, scenario.target_ms) = (4, 4, 400);
    (scenario.server.workers, scenario.server.service_s) = (4, 0.08);
    scenario.clients.slow_readers.share = 0.0;
    scenario
}

fn tune(arguments: &[&str], log: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_haproxy-autoscale"));
    command.arg("tune").args(arguments).arg(log).output().expect("it starts")
}

#[track_caller]
fn stdout(arguments: &[&str], log: &Path) -> String {
    let output = tune(arguments, log);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[track_caller]
fn json(arguments: &[&str], log: &Path) -> Value {
    serde_json::from_str(&stdout(&[&["--output", "json"], arguments].concat(), log)).expect("JSON")
}

/// The backend of a config file that says what was proposed.
#[track_caller]
fn config(yaml: &str) -> BackendSettings {
    let config = Config::parse(yaml, "tuned.yaml".as_ref()).expect("it is a good config");
    config.backends.into_iter().next().expect("a backend")
}

#[test]
fn a_target_and_bounds_are_proposed_with_what_they_would_have_cost() {
    let folder = tempfile::tempdir().unwrap();
    let log = file(folder.path(), "haproxy.log", &log_of(&day(), Baseline::Fixed(4)));
    let found = json(&["--workers", "4"], &log);
    let trials = found["trials"].as_array().expect("trials");
    let of = |key: &str| trials.iter().filter(|its| its["key"] == key).collect::<Vec<_>>();
    let targets = of("target.below");
    assert!(targets.len() >= 2, "{found:#}");
    for key in ["target.below", "ready.min"] {
        assert_eq!(of(key).iter().filter(|its| its["chosen"] == true).count(), 1, "{found:#}");
    }
    for trial in &targets {
        assert!(
            trial["server_hours"].as_f64() > Some(0.1) && trial["over_target_percent"].is_f64(),
            "{trial}"
        );
    }
    // Four servers were there all the time.
    let (was, chosen) = (of("as it was"), targets.iter().find(|its| its["chosen"] == true).expect("one"));
    assert!(chosen["server_hours"].as_f64() < was[0]["server_hours"].as_f64(), "{found:#}");

    let yaml = stdout(&["--workers", "4", "--output", "yaml"], &log);
    let proposed = config(&yaml);
    // 95 % of lognormal times of 80 ms and CV 1 take at most 223 ms.
    let below_ms = proposed.target.below.as_millis();
    assert!((300..=800).contains(&below_ms), "{below_ms} ms");
    assert_eq!((proposed.name.as_str(), proposed.target.timer), ("app", Timer::Tt));
    assert!(proposed.ready.min >= 2 && proposed.ready.max.is_none_or(|max| max >= 3), "{yaml}");
    let same = serde_json::to_string(&found["config"]).unwrap();
    assert_eq!(config(&same), proposed, "both forms say the same");

    let text = stdout(&["--workers", "4"], &log);
    assert!(
        text.contains(&yaml) && text.contains("when nobody waits, 95 % of the requests take at most"),
        "{text}"
    );
}

#[test]
fn a_given_target_is_kept_and_the_rest_is_proposed() {
    let folder = tempfile::tempdir().unwrap();
    let log = file(folder.path(), "haproxy.log", &log_of(&day(), Baseline::Fixed(4)));
    let arguments = ["--target", "350ms", "--output", "yaml"];
    let yaml = stdout(&arguments, &log);
    assert_eq!(yaml, stdout(&[&["--threads", "1"], &arguments[..]].concat(), &log), "the same on one thread");
    let proposed = config(&yaml);
    assert_eq!(proposed.target.below.as_millis(), 350);
}

#[test]
fn what_is_proposed_is_a_config_that_check_reads() {
    let folder = tempfile::tempdir().unwrap();
    let log = file(folder.path(), "haproxy.log", &log_of(&day(), Baseline::Fixed(4)));
    let path = folder.path().join("config.yaml");
    fs::write(&path, stdout(&["--target", "200ms", "--output", "yaml"], &log)).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_haproxy-autoscale"));
    let output = command.arg("check").arg("--config").arg(&path).arg(&log).output().expect("it starts");
    // There is no HAProxy here, and that is all that is wrong.
    assert_ne!(output.status.code(), Some(2), "{output:?}");
}

#[test]
fn without_a_request_that_can_be_played_it_is_told_why() {
    let folder = tempfile::tempdir().unwrap();
    let log = file(folder.path(), "haproxy.log", &["what is this?".to_owned()]);
    let output = tune(&[], &log);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("1 were not understood"), "{told}");
    assert_eq!(output.status.code(), Some(1));
}
