//! `haproxy-autoscale parse` as a process: records over `fixtures/lines`, `--failed`, exit codes.

use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use serde_json::Value;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/lines");

/// What `lines.rs` says of a line beside its fields, and how `parse` calls it, if it does.
const OTHERWISE_NAMED: [(&str, Option<&str>); 3] =
    [("whose", None), ("class", None), ("text", Some("message"))];

fn parse(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_haproxy-autoscale"));
    command.arg("parse").args(arguments);
    command
}

fn stdout(command: &mut Command) -> String {
    let output = command.output().expect("it starts");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("UTF-8 whatever the input")
}

fn logs() -> Vec<PathBuf> {
    let paths = fs::read_dir(FOLDER).unwrap().map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|extension| extension == "log")).collect()
}

/// Each record says what the golden file beside the log says, null where that has nothing.
#[track_caller]
fn check_records(log: &Path) {
    let golden = fs::read_to_string(log.with_extension("expected.jsonl")).unwrap();
    let mut expected: Vec<Value> = golden.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    expected.pop(); // the counts
    let found = stdout(&mut parse(&[log.to_str().unwrap()]));
    let found: Vec<Value> = found.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(found.len(), expected.len(), "{}: one record a line", log.display());
    for (number, (found, expected)) in found.iter().zip(&expected).enumerate() {
        let place = format!("{}:{}", log.display(), number + 1);
        assert_eq!(found["line"], number + 1, "{place}");
        for (name, value) in expected.as_object().unwrap() {
            let name = match OTHERWISE_NAMED.iter().find(|(theirs, _)| *theirs == name.as_str()) {
                Some((_, None)) => continue,
                Some((_, Some(ours))) => *ours,
                None => name.as_str(),
            };
            assert_eq!(found[name], *value, "{place}: {name}");
        }
        for (name, value) in found.as_object().unwrap() {
            let is_ours = matches!(name.as_str(), "line" | "offset" | "text" | "message");
            assert!(
                is_ours || value.is_null() || expected.get(name) == Some(value),
                "{place}: {name} {value}"
            );
        }
    }
}

#[test]
fn every_field_of_every_line_is_printed() {
    for log in logs() {
        // A format of its own, which is tried below.
        if log.file_stem().is_some_and(|stem| stem != "custom") {
            check_records(&log);
        }
    }
}

#[test]
fn records_have_haproxys_names_in_the_order_of_the_line() {
    let httplog = "127.0.0.1:5 [21/Nov/2026:09:31:50.191] fe~ app/<NOSRV> 1/-1/-1/-1/10 503 7 - - SC-- 9/8/7/6/+5 4/3 \"<BADREQ>\"\n";
    let expected = r#"{"line":1,"kind":"request","format":"httplog","client_ip":"127.0.0.1","client_port":5,"accept_date":"21/Nov/2026:09:31:50.191","frontend":"fe","ssl":true,"backend":"app","server":"<NOSRV>","TR":1,"Tw":null,"Tc":null,"Tr":null,"Ta":10,"status":503,"bytes":7,"request_cookie":"-","response_cookie":"-","termination_state":"SC--","actconn":9,"feconn":8,"beconn":7,"srv_conn":6,"retries":5,"redispatched":true,"srv_queue":4,"backend_queue":3,"request_captures":null,"response_captures":null,"method":null,"path":null,"http_version":null}"#;
    assert_eq!(stdout(parse(&["-"]).write_stdin(httplog)), format!("{expected}\n"));
    let unparsed = stdout(parse(&["-"]).write_stdin("nonsense \u{ff}"));
    let expected = r#"{"line":1,"kind":"unparsed","format":null,"error":"line from byte 0 is neither a request nor a message of HAProxy's","offset":0,"text":"nonsense ÿ"}"#;
    assert_eq!(unparsed, format!("{expected}\n"));
    let not_utf8 = stdout(parse(&["-", "--output", "text"]).write_stdin(&b"a \xff"[..]));
    assert!(not_utf8.ends_with("text=\"a \u{fffd}\"\n"), "{not_utf8}");
}

#[test]
fn only_what_was_not_understood_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("a.log");
    let good = fs::read_to_string(Path::new(FOLDER).join("httplog.log")).unwrap();
    fs::write(&log, format!("{good}1.2.3.4:5 [21/Nov/2026:09:31:50.191] fe be/s 0/0/x\n")).unwrap();
    let output = parse(&["--failed", log.to_str().unwrap()]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "something was not understood");
    let told = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines.len(), 3, "{told}");
    let place = format!("{}:{}: field Tc at byte 49 ", log.display(), good.lines().count() + 1);
    assert!(lines[0].starts_with(&place), "{told}");
    assert_eq!(lines[1].chars().nth(lines[2].find('^').unwrap()), Some('x'), "{told}");
    assert_eq!(stdout(&mut parse(&["--failed", &format!("{FOLDER}/httplog.log")])), "");
}

#[test]
fn a_regex_reads_a_format_of_somebodys_own() {
    let pattern = r"regex: be=(?P<backend>\S+) srv=(?P<server>\S+) .* Ta=(?P<Ta>\+?\d+) ";
    let found = stdout(&mut parse(&["--format", pattern, &format!("{FOLDER}/custom.log")]));
    let first = r#"{"line":1,"kind":"request","format":"custom","backend":"be_app","server":"a1","Ta":20}"#;
    assert_eq!(found.lines().next(), Some(first));
}

#[test]
fn threads_pipes_and_packing_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let [plain, packed] = ["a.log", "b.log"].map(|name| folder.path().join(name).display().to_string());
    // More than is read at once, with a line that is longer than that, and an end without a newline.
    let lines = fs::read_to_string(Path::new(FOLDER).join("httplog.log")).unwrap();
    let overlong = "x".repeat(700_000) + "\n";
    let text = [lines.repeat((1 << 20) / lines.len()), overlong, lines.trim_end().to_owned()].concat();
    fs::write(&plain, &text).unwrap();
    fs::write(&packed, zstd::encode_all(text.as_bytes(), 1).unwrap()).unwrap();
    let one = stdout(&mut parse(&["--threads", "1", &plain]));
    assert_eq!(one.lines().count(), text.lines().count());
    let numbers =
        one.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["line"].as_u64().unwrap());
    assert!(numbers.eq(1..=text.lines().count() as u64), "in order");
    assert!(one.contains("longer than 65536 bytes"), "the overlong line is told of");
    assert!(stdout(&mut parse(&["--threads", "3", &plain])) == one);
    assert!(stdout(&mut parse(&["--threads", "3", &packed])) == one);
    assert!(stdout(parse(&["-"]).write_stdin(text)) == one);
    let both = stdout(&mut parse(&["--threads", "3", &plain, &packed]));
    let (first, second) = both.split_at(both.len() / 2);
    assert_eq!(first.replace("a.log", "b.log"), second, "file by file, each from line 1");
}

#[test]
fn what_cannot_be_done_is_told_by_the_exit_code() {
    #[track_caller]
    fn check(arguments: &[&str], code: i32, told: &str) {
        let output = parse(arguments).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), error.contains(told)), (Some(code), true), "{error}");
    }
    check(&[], 2, "FILE");
    check(&["--format", "htplog", "-"], 2, "`htplog` is not one of: auto, httplog");
    check(&["--format", "regex:(?P<server>x)", "-"], 2, "no group named `backend`");
    check(&["/nowhere/haproxy.log"], 1, "cannot read `/nowhere/haproxy.log`");
    check(&["/"], 1, "cannot read `/`");
}

#[test]
fn several_files_are_told_apart() {
    let file = format!("{FOLDER}/messages.log");
    let found = stdout(&mut parse(&[&file, &file]));
    let records: Vec<Value> = found.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(records.iter().all(|record| record["file"] == file.as_str()));
    let half = records.len() / 2;
    assert_eq!((&records[half]["line"], &records[half - 1]["line"]), (&1.into(), &half.into()));
}
