//! `haproxy-autoscale replay` as a process, on logs of which everything is known: those of a simulated HAProxy.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Instant;

use assert_cmd::Command;
use haproxy_autoscale::core::log::sample::{Class, Sample};
use haproxy_autoscale::core::settings::Timer;
use haproxy_autoscale::sim::baseline::Baseline;
use haproxy_autoscale::sim::driver::{self, Witness};
use haproxy_autoscale::sim::scenario::{Discipline, Scenario, Shape};
use serde_json::Value;

/// 21 November 2026, 09:30:00, by the clocks of the simulated HAProxy's machine.
const BEGINS_MS: i64 = (9 * 60 + 30) * 60_000;

/// Writes each line as `option httplog` has it.
#[derive(Default)]
struct Writer {
    lines: Vec<String>,
}

impl Witness for Writer {
    fn saw(&mut self, lines: &[Sample], began: Instant) {
        for sample in lines {
            self.lines.push(line(sample, began, self.lines.len()));
        }
    }
}

fn line(sample: &Sample, began: Instant, number: usize) -> String {
    let ms = |timer| sample.timers.get(timer).map_or(-1, i64::from);
    let end_ms = sample.end.saturating_duration_since(began).as_millis() as i64;
    let at_ms = BEGINS_MS + end_ms - ms(Timer::Tt);
    let (hour, minute, second) = (at_ms / 3_600_000, at_ms / 60_000 % 60, at_ms / 1000 % 60);
    let server = sample.server.map_or("<NOSRV>".to_owned(), |id| format!("s{}", id.index() + 1));
    let (status, state) = match sample.class {
        Class::Success | Class::Client | Class::Proxy => (200, "--"),
        Class::Saturation => (503, "sQ"),
        Class::Server if sample.timed_out => (504, "sH"),
        Class::Server => (500, "--"),
    };
    let mut text = format!(
        "10.0.0.1:{} [21/Nov/2026:{hour:02}:{minute:02}:{second:02}.{:03}] web app/{server} ",
        1024 + number % 60_000,
        at_ms % 1000
    );
    let timers = [Timer::TR, Timer::Tw, Timer::Tc, Timer::Tr, Timer::Tt].map(|timer| ms(timer).to_string());
    write!(
        text,
        "{} {status} 512 - - {state}-- 9/9/{}/{}/0 0/0 \"GET /{number} HTTP/1.1\"",
        timers.join("/"),
        sample.beconn,
        sample.srv_conn
    )
    .unwrap();
    text
}

/// Ten minutes: two servers of four that work on four requests each, 40 ms a request; a rush of two minutes that is
/// more than they can do.
fn rush(discipline: Discipline) -> Scenario {
    let shape = Shape::Lines(vec![(180.0, 100.0), (190.0, 230.0), (310.0, 230.0), (320.0, 100.0)]);
    let mut scenario = Scenario::standard("rush", "", 600.0, shape);
    (scenario.servers, scenario.serving_at_start, scenario.target_ms) = (4, 2, 200);
    (scenario.server.workers, scenario.server.service_s) = (4, 0.04);
    scenario.server.discipline = discipline;
    scenario.clients.slow_readers.share = 0.0;
    scenario
}

fn log_of(scenario: &Scenario, who: Baseline) -> Vec<String> {
    let mut writer = Writer::default();
    driver::compete(scenario, 1, &mut *who.autoscaler(scenario), &mut writer);
    writer.lines
}

fn rush_log() -> Vec<String> {
    log_of(&rush(Discipline::Fifo), Baseline::Fixed(2))
}

fn file(folder: &Path, name: &str, lines: &[String]) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, lines.join("\n") + "\n").expect("written");
    path
}

fn replay(arguments: &[&str], files: &[&Path]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_haproxy-autoscale"));
    command.arg("replay").args(arguments).args(files).output().expect("it starts")
}

#[track_caller]
fn stdout(arguments: &[&str], files: &[&Path]) -> String {
    let output = replay(arguments, files);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// The decisions and the summary.
#[track_caller]
fn json(arguments: &[&str], files: &[&Path]) -> (Vec<Value>, Value) {
    let text = stdout(&[&["--output", "json"], arguments].concat(), files);
    let mut lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let summary = lines.pop().expect("a summary")["summary"].take();
    (lines, summary)
}

#[track_caller]
fn near(found: &Value, expected: f64, share: f64) {
    let number = found.as_f64().unwrap_or_else(|| panic!("no number: {found}"));
    assert!((number - expected).abs() <= share * expected, "{number} and not {expected}");
}

/// What a log of known servers gives back: workers, cost, time of servers, and latencies as they were.
#[track_caller]
fn check_gives_back(discipline: Discipline) {
    let folder = tempfile::tempdir().unwrap();
    let lines = log_of(&rush(discipline), Baseline::Fixed(2));
    let log = file(folder.path(), "haproxy.log", &lines);
    let (_, summary) = json(&["--target", "200ms", "--servers", "4", "--policy", "fixed-4"], &[&log]);
    let learned = &summary["learned"];
    assert_eq!(learned["requests"], lines.len(), "{learned}");
    assert_eq!(learned["workers_from"], "log", "{learned}");
    assert_eq!(learned["in_turn"], discipline == Discipline::Fifo, "{learned}");
    near(&learned["workers"], 4.0, 0.0);
    near(&learned["service_ms"], 40.0, 0.05);
    let (was, modelled) = (&summary["policies"]["as it was"], &summary["policies"]["the same, modelled"]);
    near(&was["server_seconds"], 1200.0, 0.01);
    assert_eq!((&was["moves"], &was["most_servers"]), (&0.into(), &2.into()));
    assert!(was["over_target_s"].as_f64() > Some(60.0), "a rush that is too much: {was}");
    for figure in ["p50_ms", "p95_ms", "p99_ms", "over_target_percent", "over_target_s"] {
        near(&modelled[figure], was[figure].as_f64().unwrap(), 0.06);
    }
    let all_on = &summary["policies"]["fixed-4"];
    assert_eq!(all_on["over_target_s"], 0.0, "with four there would have been no queue: {all_on}");
}

#[test]
fn a_log_gives_back_the_servers_that_wrote_it() {
    check_gives_back(Discipline::Fifo);
}

#[test]
fn servers_that_share_their_cores_are_told_apart() {
    check_gives_back(Discipline::Shared);
}

#[test]
fn files_in_any_order_packed_or_not_are_one_log() {
    let folder = tempfile::tempdir().unwrap();
    let lines = rush_log();
    let whole = file(folder.path(), "whole.log", &lines);
    let parts: Vec<&[String]> = lines.chunks(lines.len() / 3 + 1).collect();
    let newest = file(folder.path(), "haproxy.log", parts[2]);
    let text = |part: &[String]| part.join("\n") + "\n";
    let middle = folder.path().join("haproxy.log.1.gz");
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(text(parts[1]).as_bytes()).unwrap();
    fs::write(&middle, packed.finish().unwrap()).unwrap();
    let oldest = folder.path().join("haproxy.log.2.zst");
    fs::write(&oldest, zstd::encode_all(text(parts[0]).as_bytes(), 1).unwrap()).unwrap();
    let of = |threads: &str, files: &[&Path]| {
        stdout(&["--target", "200ms", "--servers", "4", "--threads", threads], files)
    };
    let expected = of("1", &[&whole]);
    assert_eq!(of("3", &[&newest, &oldest, &middle]), expected);
    assert_eq!(of("1", &[&middle, &newest, &oldest]), expected);
    assert!(expected.contains("decisions of model"), "{expected}");
}

#[test]
fn lines_that_are_there_twice_count_once() {
    let folder = tempfile::tempdir().unwrap();
    let lines = rush_log();
    let log = file(folder.path(), "haproxy.log", &lines);
    let (_, once) = json(&["--target", "200ms", "--policy", "all-on"], &[&log]);
    let (_, twice) = json(&["--target", "200ms", "--policy", "all-on"], &[&log, &log]);
    assert_eq!(once["policies"], twice["policies"]);
    assert!(twice["notes"].to_string().contains("were counted once"), "{}", twice["notes"]);
}

#[test]
fn each_decision_is_told_with_its_time_and_reason() {
    let folder = tempfile::tempdir().unwrap();
    let log = file(folder.path(), "haproxy.log", &rush_log());
    let arguments =
        ["--target", "200ms", "--servers", "4", "--policy", "model", "--set", "model.utilization_max=50%"];
    let (decisions, summary) = json(&arguments, &[&log]);
    let ups: Vec<&Value> = decisions
        .iter()
        .filter(|its| its["policy"] == "model" && its["decision"] == "scale_up" && its["were"] == 2)
        .collect();
    let in_the_rush = |its: &&Value| {
        ("2026-11-21T09:33:00".."2026-11-21T09:35:10").contains(&its["time"].as_str().unwrap())
    };
    assert!(ups.iter().any(|its| in_the_rush(&its)), "{decisions:#?}");
    assert!(
        decisions.iter().all(|its| !its["reason"].as_str().unwrap().is_empty() && its["figures"].is_object())
    );
    let policies = &summary["policies"];
    let over = |name: &str| policies[name]["over_target_s"].as_f64().unwrap();
    assert!(over("model") < over("as it was") / 2.0, "{policies}");
    let time = |name: &str| policies[name]["server_seconds"].as_f64().unwrap();
    assert!(time("model*") > time("model"), "more servers for less use of each: {policies}");
}

#[test]
fn the_config_file_decides_and_schedules_go_by_the_dates_in_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let log = file(folder.path(), "haproxy.log", &rush_log());
    let config = folder.path().join("config.yaml");
    let text = "backends:\n  - name: app\n    target: { percentile: 95, below: 200ms }\n    \
                ready: { min: 1, schedule: [{ at: 09:37-09:50, min: 4 }] }\n  - name: other\n    target: { below: 1s }\n";
    fs::write(&config, text).unwrap();
    let arguments = ["--config", config.to_str().unwrap(), "--policy", "threshold", "--servers", "4"];
    let (decisions, summary) = json(&arguments, &[&log]);
    assert_eq!(summary["target"], "p95 of Tt below 200 ms");
    let by_schedule = |its: &&Value| its["reason"].as_str().unwrap().contains("09:37-09:50");
    let first = decisions.iter().find(by_schedule).unwrap_or_else(|| panic!("{decisions:#?}"));
    assert!(first["time"].as_str().unwrap().starts_with("2026-11-21T09:37:0"), "{first}");
}

#[test]
fn errors_of_servers_happen_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut lines = rush_log();
    let good = lines.iter().filter(|line| line.contains(" 200 512 ")).count();
    for line in lines.iter_mut().step_by(10) {
        *line = line.replace(" 200 512 ", " 500 512 ");
    }
    let log = file(folder.path(), "haproxy.log", &lines);
    let (_, summary) = json(&["--target", "200ms", "--policy", "all-on"], &[&log]);
    for name in ["as it was", "the same, modelled", "all-on"] {
        near(&summary["policies"][name]["failed"], good as f64 / 10.0, 0.01);
    }
}

/// What is told when it cannot be done, and the exit code.
#[track_caller]
fn check_refused(arguments: &[&str], lines: &[&str], code: i32, expected: &str) {
    let folder = tempfile::tempdir().unwrap();
    let lines: Vec<String> = lines.iter().map(|&line| line.to_owned()).collect();
    let log = file(folder.path(), "haproxy.log", &lines);
    let output = replay(arguments, &[&log]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains(expected), "wanted: {expected}\nfound: {told}");
    assert_eq!((output.status.code(), output.stdout.len()), (Some(code), 0), "{told}");
}

#[test]
fn what_cannot_be_replayed_is_told() {
    let good = "1.2.3.4:5 [21/Nov/2026:09:31:50.191] web app/s1 0/0/0/93/93 200 7 - - ---- 1/1/0/0/0 0/0 \"GET / HTTP/1.1\"";
    let tcp = "1.2.3.4:5 [21/Nov/2026:09:31:50.191] web app/s1 0/0/93 7 -- 1/1/0/0/0 0/0";
    let target = ["--target", "200ms"];
    check_refused(&target, &["what is this?"], 1, "1 lines were not understood");
    check_refused(&target, &["Server app/s1 is UP."], 1, "no request that went to a server in 1 lines");
    check_refused(&target, &[tcp], 1, "sessions in TCP mode, which have no Tr");
    check_refused(&[], &[good], 2, "95 % of its requests took at most 93 ms");
    check_refused(&["--target", "200ms", "--backend", "none"], &[good], 1, "no request of backend `none`");
    check_refused(&["--target", "200ms", "--policy", "modle"], &[good], 2, "did you mean `model`?");
    check_refused(&["--target", "200ms", "--set", "model.hlod=2m"], &[good], 2, "hlod");
    check_refused(&["--target", "200ms", "--from", "2027-01-01"], &[good], 1, "1 came before --from");
    let old = good.replace("/2026:", "/2006:");
    check_refused(&target, &[good, &old], 1, "take some of them with --from and --to");
    let missing = replay(&target, &[Path::new("/nowhere/haproxy.log")]);
    assert_eq!(missing.status.code(), Some(1));
}
