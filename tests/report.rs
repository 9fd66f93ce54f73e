//! `haproxy-autoscale report` as a process: its sums against `parse`, its forms, ranges, exit codes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use serde_json::Value;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/lines");

fn agent(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_haproxy-autoscale"));
    command.args(arguments);
    command
}

fn stdout(command: &mut Command) -> String {
    let output = command.output().expect("it starts");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn json(arguments: &[&str]) -> Value {
    let text = stdout(agent(&["report", "--output", "json"]).args(arguments));
    serde_json::from_str(&text).expect("JSON")
}

fn logs() -> Vec<PathBuf> {
    let paths = fs::read_dir(FOLDER).unwrap().map(|entry| entry.unwrap().path());
    let mut logs: Vec<_> =
        paths.filter(|path| path.extension().is_some_and(|extension| extension == "log")).collect();
    logs.sort();
    logs
}

/// By backend and server: requests, and how many had which first digit of a status.
type Sums = BTreeMap<(String, String), (u64, BTreeMap<String, u64>)>;

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn sums_of_parse(log: &Path) -> (Sums, u64, u64) {
    let (mut sums, mut messages, mut unparsed) = (Sums::new(), 0, 0);
    for line in stdout(&mut agent(&["parse", log.to_str().unwrap()])).lines() {
        let record: Value = serde_json::from_str(line).unwrap();
        match record["kind"].as_str().unwrap() {
            "request" => {
                let sum = sums.entry((text(&record["backend"]), text(&record["server"]))).or_default();
                sum.0 += 1;
                let status = record["status"].as_u64();
                let class = status.map_or("none".to_owned(), |status| format!("{}xx", status / 100));
                *sum.1.entry(class).or_default() += 1;
            }
            "message" => messages += 1,
            _ => unparsed += 1,
        }
    }
    (sums, messages, unparsed)
}

fn sums_of_report(report: &Value) -> Sums {
    let mut sums = Sums::new();
    for backend in report["backends"].as_array().unwrap() {
        for server in backend["servers"].as_array().unwrap() {
            let statuses = serde_json::from_value(server["statuses"].clone()).unwrap();
            let names = (text(&backend["backend"]), text(&server["server"]));
            sums.insert(names, (server["requests"].as_u64().unwrap(), statuses));
        }
    }
    sums
}

#[test]
fn the_sums_are_those_of_parse() {
    for log in logs() {
        let (sums, messages, unparsed) = sums_of_parse(&log);
        let report = json(&[log.to_str().unwrap()]);
        assert_eq!(sums_of_report(&report), sums, "{}", log.display());
        assert_eq!((&report["messages"], &report["unparsed"]), (&messages.into(), &unparsed.into()));
        let requests: u64 = sums.values().map(|(requests, _)| requests).sum();
        assert_eq!(report["requests"], requests);
    }
}

/// A log of `count` lines for server `s1` of `be`, a second between them; the latency of line n is n ms.
fn made_up(count: u32) -> String {
    let line = |n: u32| {
        let (minute, second) = (n / 60, n % 60);
        format!(
            "Nov 21 09:{minute:02}:{second:02} lb haproxy[9]: 10.0.0.1:50000 [21/Nov/2026:09:{minute:02}:{second:02}.500] \
             fe be/s1 0/1/2/{n}/{n} 200 7 - - ---- 1/1/0/0/0 0/0 \"GET / HTTP/1.1\"\n"
        )
    };
    (1..=count).map(line).collect()
}

#[test]
fn percentiles_rate_and_concurrency_are_what_they_say() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("a.log");
    fs::write(&log, made_up(1000)).unwrap();
    let report = json(&[log.to_str().unwrap()]);
    assert_eq!(
        (&report["from"], &report["to"]),
        (&"2026-11-21T09:00:01".into(), &"2026-11-21T09:16:40".into())
    );
    let backend = &report["backends"][0];
    let ta = &backend["timers"]["Ta"];
    let expected = serde_json::json!({"count": 1000, "mean": 500.5, "p50": 500, "p90": 900, "p95": 950, "p99": 990, "p999": 999, "max": 1000});
    assert_eq!(*ta, expected);
    assert_eq!(backend["timers"]["Tw"]["p50"], 1);
    assert_eq!(
        (&backend["rate"], &backend["concurrency"], &backend["queue"]),
        (&1.0.into(), &0.5.into(), &0.001.into())
    );
    let cells = report["over_time"]["cells"].as_array().unwrap();
    assert_eq!(cells.iter().map(|cell| cell["requests"].as_u64().unwrap()).sum::<u64>(), 1000);
    assert_eq!(report["over_time"]["seconds"], 16);
}

#[test]
fn only_the_time_asked_for_counts() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("a.log");
    fs::write(&log, made_up(600)).unwrap();
    let range = ["--from", "2026-11-21T09:02", "--to", "21/Nov/2026:09:03:00"];
    let report = json(&[&range[..], &[log.to_str().unwrap()]].concat());
    assert_eq!((&report["requests"], &report["outside"]), (&60.into(), &540.into()));
    assert_eq!(report["backends"][0]["timers"]["Ta"]["max"], 179);
}

#[test]
fn threads_and_pipes_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("a.log");
    // More than is read at once; the last line has no end.
    let mut long = fs::read_to_string(Path::new(FOLDER).join("rsyslog-traditional.log")).unwrap();
    long.push_str(&fs::read_to_string(Path::new(FOLDER).join("httplog.log")).unwrap());
    let long = long.repeat((1 << 20) / long.len() + 1);
    fs::write(&log, long.trim_end()).unwrap();
    let one = json(&["--threads", "1", log.to_str().unwrap()]);
    assert_eq!(json(&["--threads", "3", log.to_str().unwrap()]), one);
    let piped = stdout(agent(&["report", "--output", "json", "-"]).write_stdin(long.trim_end()));
    assert_eq!(serde_json::from_str::<Value>(&piped).unwrap(), one);
    let lines = long.lines().count() as u64;
    let counted = ["requests", "messages", "unparsed"].map(|name| one[name].as_u64().unwrap());
    assert_eq!(counted.iter().sum::<u64>(), lines);
}

#[test]
fn compressed_logs_are_read_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let (plain, packed) = (folder.path().join("a.log"), folder.path().join("a.log.1"));
    fs::write(&plain, made_up(500)).unwrap();
    // The name does not tell, the first bytes do.
    fs::write(&packed, zstd::encode_all(made_up(500).as_bytes(), 1).unwrap()).unwrap();
    let both = json(&[plain.to_str().unwrap(), packed.to_str().unwrap()]);
    assert_eq!(
        (&both["requests"], &both["backends"][0]["timers"]["Ta"]["count"]),
        (&1000.into(), &1000.into())
    );
}

#[test]
fn a_table_is_for_people_and_csv_for_spreadsheets() {
    let text = stdout(agent(&["report", "-", "--backend", "be"]).write_stdin(made_up(100)));
    assert!(
        text.starts_with("2026-11-21T09:00:01 to 2026-11-21T09:01:40\n100 requests, 0 messages, 0 lines"),
        "{text}"
    );
    let s1: Vec<&str> =
        text.lines().find(|line| line.starts_with("  s1")).unwrap().split_whitespace().collect();
    assert_eq!(s1[..3], ["s1", "100", "1.00"]);
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    assert!(text.contains("Ta over time, each column 2 s from 2026-11-21T09:00:00"), "{text}");
    let csv = stdout(agent(&["report", "-", "--output", "csv"]).write_stdin(made_up(100)));
    let rows: Vec<Vec<&str>> = csv.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(rows.len(), 3, "{csv}");
    assert!(rows.iter().all(|row| row.len() == rows[0].len()), "{csv}");
    let at = |name| rows[0].iter().position(|&found| found == name).unwrap();
    assert_eq!((rows[2][1], rows[2][at("Ta_p99")], rows[2][at("2xx")]), ("s1", "99", "100"));
}

#[test]
fn what_cannot_be_done_is_told_by_the_exit_code() {
    #[track_caller]
    fn check(arguments: &[&str], code: i32, told: &str) {
        let output = agent(&["report"]).args(arguments).write_stdin("").output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), error.contains(told)), (Some(code), true), "{error}");
    }
    check(&[], 2, "FILE");
    check(&["--from", "yesterday", "-"], 2, "expected a date such as");
    check(&["--from", "2026-11-21", "--to", "2026-11-20", "-"], 2, "--from is not before --to");
    check(&["--threads", "0", "-"], 2, "--threads");
    check(&["/nowhere/haproxy.log"], 1, "cannot read `/nowhere/haproxy.log`");
    check(&["--backend", "app", "-"], 1, "no request of backend `app`");
    check(&["-"], 0, "");
}
