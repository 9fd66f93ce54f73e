//! `haproxy-autoscale simulate` as a process: what is listed, one short scenario, the same figures on any
//! number of threads, and what is told when something is wrong.

use std::fs;

use assert_cmd::Command;
use serde_json::Value;

fn simulate(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_haproxy-autoscale"));
    command.arg("simulate").args(arguments);
    command
}

#[track_caller]
fn stdout(arguments: &[&str]) -> String {
    let output = simulate(arguments).output().expect("it starts");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[track_caller]
fn json(arguments: &[&str]) -> Value {
    serde_json::from_str(&stdout(&[&["--output", "json"], arguments].concat())).expect("JSON")
}

/// Two minutes: 20 req/s, then 100.
fn arrivals(folder: &tempfile::TempDir) -> String {
    let path = folder.path().join("rush.csv");
    let rows: String = (0..12).map(|n| format!("{},{}\n", n * 10, if n < 6 { 200 } else { 1000 })).collect();
    fs::write(&path, format!("second,requests\n{rows}")).expect("written");
    path.to_str().expect("UTF-8").to_owned()
}

fn figure(value: &Value, name: &str) -> f64 {
    value["figures"][name].as_f64().unwrap_or_else(|| panic!("no {name} in {value}"))
}

#[test]
fn scenarios_and_policies_are_listed() {
    let text = stdout(&["--list"]);
    for name in ["diurnal", "flash5x-D30", "deploy+50%", "twitter", "model", "kpa-delay", "fixed-N"] {
        assert!(
            text.lines().any(|line| line.trim_start().starts_with(&format!("{name} "))),
            "{name}: {text}"
        );
    }
    let list = json(&["--list"]);
    assert_eq!(list["scenarios"].as_array().map(Vec::len), Some(34));
    assert!(
        list["policies"].as_array().unwrap().iter().all(|its| !its["about"].as_str().unwrap().is_empty())
    );
}

#[test]
fn a_logs_own_requests_are_played() {
    let folder = tempfile::tempdir().unwrap();
    let line = |n: u32| {
        let date = format!("21/Nov/2026:09:{:02}:{:02}.{:03}", n / 600, n / 10 % 60, n % 10 * 100);
        format!(
            "10.0.0.1:80 [{date}] fe app/s1 0/0/0/50/50 200 9 - - ---- 1/1/1/1/0 0/0 \"GET / HTTP/1.1\"\n"
        )
    };
    let log = folder.path().join("haproxy.log");
    fs::write(&log, (0..1200).map(line).collect::<String>()).unwrap();
    let log = log.to_str().unwrap();
    let played = json(&["--arrivals", log, "--servers", "4", "--policy", "all-on"]);
    let scenario = &played["scenarios"][0];
    assert_eq!((&scenario["scenario"], &scenario["length_s"]), (&"app".into(), &121.0.into()));
    assert_eq!(scenario["policies"][0]["runs"][0]["requests"], 1200);
}

#[test]
fn a_pool_of_ones_own_is_played_under_arrivals_from_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = arrivals(&folder);
    let pool =
        ["--arrivals", &file, "--servers", "4", "--workers", "4", "--service", "50ms", "--target", "300ms"];
    let played = json(&[&pool[..], &["--policy", "all-on,fixed-1,threshold"]].concat());
    let scenario = &played["scenarios"][0];
    assert_eq!(
        (&scenario["scenario"], &scenario["length_s"], &scenario["servers"], &scenario["target_ms"]),
        (&"rush".into(), &120.0.into(), &4.into(), &300.into())
    );
    let [all_on, one, threshold] = &scenario["policies"].as_array().unwrap()[..] else {
        panic!("{scenario}")
    };
    let requests = all_on["runs"][0]["requests"].as_f64().unwrap();
    assert!((6500.0..7900.0).contains(&requests), "{requests}");
    // 100 req/s of 50 ms are five busy workers: one server of four is not enough, four are more than enough.
    assert!(figure(one, "misses_percent") > 30.0 && figure(all_on, "misses_percent") < 5.0, "{played}");
    assert!(figure(one, "server_time") < figure(threshold, "server_time"), "{played}");
    let spans = all_on["runs"][0]["over_time"].as_array().unwrap();
    let answered: u64 = spans.iter().map(|span| span["requests"].as_u64().unwrap()).sum();
    assert_eq!(answered as f64, requests);
    let table = stdout(&[&pool[..], &["--policy", "all-on,fixed-1"]].concat());
    assert!(table.starts_with("rush: arrivals of ") && table.contains("each column 5 s"), "{table}");
}

#[test]
fn threads_change_nothing_and_seeds_do() {
    let folder = tempfile::tempdir().unwrap();
    let file = arrivals(&folder);
    let with = |more: &[&str]| {
        let policies =
            ["--arrivals", &file, "--policy", "hpa,kpa,threshold,model", "--set", "window.length=20s"];
        stdout(&[&policies[..], &["--output", "json"], more].concat())
    };
    let one = with(&["--seeds", "2", "--threads", "1"]);
    assert_eq!(with(&["--seeds", "2", "--threads", "3"]), one);
    assert_ne!(with(&["--seeds", "2", "--seed", "7"]), one);
    let played: Value = serde_json::from_str(&one).unwrap();
    assert_eq!(played["seeds"], serde_json::json!([1, 2]));
    let policies = played["scenarios"][0]["policies"].as_array().unwrap();
    let names: Vec<&str> = policies.iter().map(|policy| policy["policy"].as_str().unwrap()).collect();
    assert_eq!(names, ["hpa", "kpa", "threshold", "model", "model*"]);
    assert_eq!(policies[4]["note"], "model* is model with window.length=20s");
    for policy in policies {
        let runs = policy["runs"].as_array().unwrap();
        let mean = runs.iter().map(|run| figure(run, "misses_percent")).sum::<f64>() / runs.len() as f64;
        assert!((mean - figure(policy, "misses_percent")).abs() < 0.001, "{policy}");
    }
}

#[test]
fn several_scenarios_make_a_table_with_means() {
    let short = ["small-pool", "low-rate", "--policy", "all-on,fixed-2", "--service", "20ms"];
    let text = stdout(&short);
    let first: Vec<&str> = text.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(first, ["misses", "scenario", "small-pool", "low-rate", "mean"], "{text}");
    let markdown = stdout(&[&short[..], &["--output", "markdown"]].concat());
    assert!(markdown.lines().any(|line| line.starts_with("| mean | ")), "{markdown}");
}

#[test]
fn what_is_wrong_is_told_with_what_to_do() {
    #[track_caller]
    fn check(arguments: &[&str], code: i32, told: &[&str]) {
        let output = simulate(arguments).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        let is_told = told.iter().all(|told| error.contains(told));
        assert_eq!((output.status.code(), is_told), (Some(code), true), "{error}");
    }
    check(&[], 2, &["nothing to play", "--list", "--all"]);
    check(&["flash5"], 2, &["there is no scenario `flash5`", "did you mean `flash5x`?", "simulate --list"]);
    check(&["steady", "--policy", "modle"], 2, &["there is no policy `modle`", "did you mean `model`?"]);
    check(&["steady", "--set", "model"], 2, &["expected KEY=VALUE"]);
    check(&["steady", "--set", "policy=model"], 2, &["chosen by --policy"]);
    check(&["steady", "--policy", "kpa", "--set", "model.hold=2m"], 2, &["add one of them to --policy"]);
    check(
        &["steady", "--set", "model.utilisation_max=60%"],
        2,
        &["--set: model", "unknown key `utilisation_max`", "did you mean `utilization_max`?"],
    );
    check(&["steady", "--set", "model.band=80%"], 2, &["--set: model.band: 80% is out of range"]);
    check(&["steady", "--servers", "2", "--serving", "3"], 2, &["--serving is more than the 2 servers"]);
    check(&["--arrivals", "/nowhere.csv"], 1, &["cannot read arrivals `/nowhere.csv`"]);
    check(&["steady", "--arrivals", "x.csv"], 2, &["cannot be used with"]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.csv");
    fs::write(&file, "when,requests\n1,2\n").unwrap();
    check(&["--arrivals", file.to_str().unwrap()], 1, &["neither `second` nor `minute`", "minute,requests"]);
    fs::write(&file, "neither\nnor\n").unwrap();
    let neither = file.to_str().unwrap();
    check(&["--arrivals", neither], 1, &["it is no CSV file with a header, and as a log it has no request"]);
    check(&["--arrivals", neither, "--peak", "5"], 2, &["--peak and --row are for arrivals in a CSV file"]);
}
