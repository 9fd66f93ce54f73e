//! The figures of `report` against those that a test counts by itself, and against `halog`, HAProxy's own
//! log analyser, on the same lines.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

/// Several times as much as is read at once.
const LINES: u64 = 12_000;

/// Servers of one backend.
const SERVERS: u64 = 3;

const TIMERS: [&str; 5] = ["TR", "Tw", "Tc", "Tr", "Ta"];

/// A request as it goes into a line, and how it ended.
#[derive(Clone, Debug)]
struct Request {
    server: String,
    /// `None`: -1.
    timers: [Option<u32>; 5],
    status: Option<u16>,
    state: &'static str,
    class: &'static str,
}

/// The same in each run, with all that a server's lines have: latencies from nothing to minutes, waits of one
/// digit and of more, errors of either side.
fn requests() -> Vec<Request> {
    let mut random = 88_172_645_463_325_252_u64;
    let mut below = move |end: u64| {
        // xorshift (G. Marsaglia 2003)
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random % end) as u32
    };
    let request = |number: u64| {
        let server = format!("s{}", number % SERVERS);
        let wait = if below(10) == 0 { below(3_000) } else { 0 };
        let (tr, connect) = (below(10) / 9, below(4));
        let exponent = below(18);
        let answer = below(1 << exponent);
        let whole = tr + wait + connect + answer + below(20);
        let timers = [tr, wait, connect, answer, whole].map(Some);
        let answered = |status, state, class| Request {
            server: server.clone(),
            timers,
            status: Some(status),
            state,
            class,
        };
        let failed = |status, state, class| Request {
            timers: [Some(tr), Some(wait), Some(connect), None, Some(whole)],
            status,
            ..answered(200, state, class)
        };
        match below(100) {
            0 => failed(None, "CH--", "client"),
            1 => failed(Some(504), "sH--", "server"),
            2 => failed(Some(503), "SC--", "server"),
            3 => answered(200, "CD--", "client"),
            4 => answered(200, "SD--", "server"),
            5..10 => answered(503, "----", "server"),
            10..15 => answered(404, "----", "success"),
            15..20 => answered(304, "--VN", "success"),
            _ => answered(200, "----", "success"),
        }
    };
    (0..LINES).map(request).collect()
}

fn line(number: usize, request: &Request) -> String {
    let (minute, second, ms) = (number / 60_000 % 60, number / 1000 % 60, number % 1000);
    let millis = |timer: Option<u32>| timer.map_or("-1".to_owned(), |ms| ms.to_string());
    let timers = request.timers.map(millis).join("/");
    let status = request.status.map_or("-1".to_owned(), |status| status.to_string());
    format!(
        "Nov 21 09:{minute:02}:{second:02} lb haproxy[9]: 10.0.0.1:{} [21/Nov/2026:09:{minute:02}:{second:02}.{ms:03}] \
         fe~ be/{} {timers} {status} {number} - - {} 1/1/0/0/0 0/0 \"GET /{number} HTTP/1.1\"\n",
        1024 + number,
        request.server,
        request.state
    )
}

fn write_log(path: &Path, requests: &[Request]) {
    let text: String = requests.iter().enumerate().map(|(number, request)| line(number, request)).collect();
    fs::write(path, text).unwrap();
}

fn report(log: &Path) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_haproxy-autoscale"))
        .args(["report", "--output", "json", "--threads", "2"])
        .arg(log)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// `backend` and each of its servers, by name; the backend's name is empty.
fn figures(report: &Value) -> BTreeMap<String, &Value> {
    let backend = &report["backends"][0];
    let servers = backend["servers"].as_array().unwrap().iter();
    let named = servers.map(|server| (server["server"].as_str().unwrap().to_owned(), server));
    named.chain([(String::new(), backend)]).collect()
}

/// The smallest of `sorted` that so many thousandths do not exceed.
fn percentile(sorted: &[u32], permille: usize) -> u32 {
    sorted[(sorted.len() * permille).div_ceil(1000) - 1]
}

#[track_caller]
fn check(figures: &Value, requests: &[&Request]) {
    let count = |is: &dyn Fn(&Request) -> bool| requests.iter().filter(|request| is(request)).count();
    assert_eq!(figures["requests"], requests.len());
    for class in ["success", "server", "saturation", "client", "proxy"] {
        assert_eq!(figures["ended"][class], count(&|request| request.class == class), "{class}");
    }
    for (name, digit) in [("2xx", 2), ("3xx", 3), ("4xx", 4), ("5xx", 5)] {
        let expected = count(&|request| request.status.is_some_and(|status| status / 100 == digit));
        assert_eq!(figures["statuses"][name], expected, "{name}");
    }
    for (at, name) in TIMERS.iter().enumerate() {
        let mut sorted: Vec<u32> = requests.iter().filter_map(|request| request.timers[at]).collect();
        sorted.sort_unstable();
        let timer = &figures["timers"][*name];
        assert_eq!(timer["count"], sorted.len(), "{name}");
        assert_eq!(timer["max"], *sorted.last().unwrap(), "{name}");
        let mean = sorted.iter().copied().map(f64::from).sum::<f64>() / sorted.len() as f64;
        assert!((timer["mean"].as_f64().unwrap() - mean).abs() < 0.001, "{name}: {timer}, {mean}");
        for (percent, permille) in [("p50", 500), ("p90", 900), ("p95", 950), ("p99", 990), ("p999", 999)] {
            let expected = percentile(&sorted, permille);
            let found = timer[percent].as_u64().unwrap().abs_diff(expected.into()) as f64;
            // Exact below four seconds, three digits above.
            let allowed = if expected < 4096 { 0.0 } else { 0.001 * f64::from(expected) };
            assert!(found <= allowed, "{name} {percent}: {timer}, {expected}");
        }
    }
}

#[test]
fn figures_are_those_of_a_plain_count() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("a.log");
    let requests = requests();
    write_log(&log, &requests);
    let report = report(&log);
    for (server, figures) in figures(&report) {
        let its = |request: &&Request| server.is_empty() || request.server == server;
        check(figures, &requests.iter().filter(its).collect::<Vec<_>>());
    }
}

/// What `halog` prints about the log; `None` where it is not installed, and this is not the CI.
#[expect(clippy::print_stderr, reason = "a test that skips says so")]
fn halog(option: &str, log: &Path) -> Option<String> {
    let mut command = Command::new("halog");
    command.arg(option).stdin(fs::File::open(log).unwrap()).stderr(Stdio::null());
    match command.output() {
        Ok(output) => Some(String::from_utf8(output.stdout).unwrap()),
        Err(_) if std::env::var_os("CI").is_none() => {
            eprintln!("skipped: halog is not installed (Debian: haproxy)");
            None
        }
        Err(error) => panic!("halog does not start: {error}"),
    }
}

#[test]
fn halog_counts_the_same_for_each_server() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("a.log");
    write_log(&log, &requests());
    let Some(told) = halog("-srv", &log) else { return };
    let report = report(&log);
    let figures = figures(&report);
    let rows: Vec<Vec<&str>> = told.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(
        rows[0],
        "#srv_name 1xx 2xx 3xx 4xx 5xx other tot_req req_ok pct_ok avg_ct avg_rt"
            .split(' ')
            .collect::<Vec<_>>()
    );
    assert_eq!(rows.len() as u64, 1 + SERVERS);
    for row in &rows[1..] {
        let its = figures[row[0].strip_prefix("be/").unwrap()];
        let status = |name: &str| its["statuses"][name].as_u64().unwrap_or(0).to_string();
        let statuses = ["1xx", "2xx", "3xx", "4xx", "5xx", "none"].map(status);
        assert_eq!(row[1..7], statuses, "{row:?}");
        assert_eq!(row[7], its["requests"].to_string(), "{row:?}");
        // Whole milliseconds, rounded down.
        let mean = |timer: &str| (its["timers"][timer]["mean"].as_f64().unwrap() as u64).to_string();
        assert_eq!(row[10..], [mean("Tc"), mean("Tr")], "{row:?}");
    }
}

#[test]
fn halog_finds_the_same_percentiles() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("a.log");
    // It counts those that were answered, and does not tell servers apart. With a multiple of a thousand there is
    // one rank only that may be called the p999.
    let is_answered = |request: &Request| request.timers[3].is_some_and(|ms| ms < 4096);
    let mut requests: Vec<Request> = requests().into_iter().filter(is_answered).collect();
    requests.truncate(requests.len() / 1000 * 1000);
    write_log(&log, &requests);
    let Some(told) = halog("-pct", &log) else { return };
    let report = report(&log);
    let backend = &report["backends"][0];
    for (percent, name) in
        [("50.0", "p50"), ("90.0", "p90"), ("95.0", "p95"), ("99.0", "p99"), ("99.9", "p999")]
    {
        // Percent, requests, TR, Tc, Tr, and the time that the data took.
        let row = told.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        let row = row.into_iter().find(|row| row[0] == percent).unwrap();
        let found = ["TR", "Tc", "Tr"].map(|timer| backend["timers"][timer][name].to_string());
        assert_eq!(row[2..5], found, "{row:?}");
    }
}
