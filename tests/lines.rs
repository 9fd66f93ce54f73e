//! What the lines of a real HAProxy are read as: each `fixtures/lines/*.log` against the
//! `.expected.jsonl` beside it, one record a line and the counts at the end.
//!
//! `UPDATE_GOLDEN=1 cargo test --test lines` rewrites the expectations; review them like code.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use haproxy_autoscale::core::log::custom::CustomFormat;
use haproxy_autoscale::core::log::field::{Field, Value};
use haproxy_autoscale::core::log::format::{Line, LineFormat};
use haproxy_autoscale::core::log::line::LogLine;
use haproxy_autoscale::core::log::reader::{Batch, Reader};
use haproxy_autoscale::core::log::sample::{Class, Owner};
use haproxy_autoscale::core::names::Names;
use serde_json::{Map, json};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/lines");

/// The log-format of `custom.log`, as an operator would write the regex for it.
const CUSTOM: &str = r"at=(?P<date>\S+) fe=(?P<frontend>\S+) be=(?P<backend>\S+) srv=(?P<server>\S+) TR=(?P<TR>-?\d+) Tw=(?P<Tw>-?\d+) Tc=(?P<Tc>-?\d+) Tr=(?P<Tr>-?\d+) Ta=(?P<Ta>\+?\d+) st=(?P<status>-?\d+) end=(?P<termination_state>\S+) bc=(?P<beconn>\d+) sc=(?P<srv_conn>\d+) rc=(?P<retries>\+?\d+)";

fn format_of(log: &Path) -> LineFormat {
    match log.file_stem().and_then(|stem| stem.to_str()) {
        Some("custom") => LineFormat::Custom(Box::new(CustomFormat::new(CUSTOM).unwrap())),
        _ => LineFormat::Auto,
    }
}

fn logs() -> Vec<PathBuf> {
    let paths = fs::read_dir(FOLDER).unwrap().map(|entry| entry.unwrap().path());
    let mut logs: Vec<_> =
        paths.filter(|path| path.extension().is_some_and(|extension| extension == "log")).collect();
    logs.sort();
    logs
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.strip_suffix(b"\n").unwrap_or(text).split(|&byte| byte == b'\n')
}

fn json_of(value: Value<'_>) -> serde_json::Value {
    match value {
        Value::Text(text) => String::from_utf8_lossy(text).into(),
        Value::Number(number) => number.into(),
        Value::Flag(flag) => flag.into(),
    }
}

fn whose(line: &LogLine<'_>) -> String {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    match Owner::of(line) {
        Owner::Server { backend, server } => format!("{}/{}", text(backend), text(server)),
        Owner::Backend(backend) => text(backend),
        Owner::BackendIfKnown(backend) => format!("{} if known", text(backend)),
        Owner::Nobody => "nobody".to_owned(),
    }
}

/// One record: the fields that are there, then what the agent makes of them.
fn record(format: &mut LineFormat, line: &[u8]) -> serde_json::Value {
    let mut record = Map::new();
    match format.read(line) {
        Line::Request(request) => {
            record.insert("kind".to_owned(), "request".into());
            record.insert("format".to_owned(), request.format().name().into());
            for field in Field::ALL {
                if let Some(value) = request.value(field) {
                    record.insert(field.name().to_owned(), json_of(value));
                }
            }
            if request.partial {
                record.insert("partial".to_owned(), true.into());
            }
            if request.is_truncated() {
                record.insert("truncated".to_owned(), true.into());
            }
            record.insert("whose".to_owned(), whose(&request).into());
            record.insert("class".to_owned(), format!("{:?}", Class::of(&request)).into());
        }
        Line::Message(message) => {
            record.insert("kind".to_owned(), "message".into());
            for field in Field::ALL {
                if let Some(value) = message.value(field) {
                    record.insert(field.name().to_owned(), json_of(value));
                }
            }
            record.insert("text".to_owned(), json_of(Value::Text(message.text)));
        }
        Line::Unparsed(error) => {
            record.insert("kind".to_owned(), "unparsed".into());
            record.insert("error".to_owned(), error.to_string().into());
        }
    }
    record.into()
}

fn records(log: &Path) -> String {
    let text = fs::read(log).unwrap();
    let mut format = format_of(log);
    let mut records: Vec<_> = lines(&text).map(|line| record(&mut format, line).to_string()).collect();
    let mut batch = Batch::default();
    Reader::new(Names::default(), format).read(&text, Instant::now(), &mut batch);
    let counts = batch.counts;
    assert_eq!(counts.lines, counts.requests + counts.messages + counts.unparsed);
    let (samples, timed_out) =
        (batch.samples.len(), batch.samples.iter().filter(|sample| sample.timed_out).count());
    records.push(
        json!({"lines": counts.lines, "requests": counts.requests, "messages": counts.messages,
            "unparsed": counts.unparsed, "samples": samples, "timed_out": timed_out})
        .to_string(),
    );
    records.join("\n") + "\n"
}

#[test]
fn lines_of_a_real_haproxy_are_read_as_expected() {
    let logs = logs();
    assert!(!logs.is_empty(), "no logs in {FOLDER}");
    for log in logs {
        let expected_path = log.with_extension("expected.jsonl");
        let found = records(&log);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&expected_path, &found).unwrap();
        }
        let expected = fs::read_to_string(&expected_path).unwrap_or_default();
        for (number, (found, expected)) in found.lines().zip(expected.lines()).enumerate() {
            assert_eq!(found, expected, "{}:{}", log.display(), number + 1);
        }
        assert_eq!(found.lines().count(), expected.lines().count(), "{}", log.display());
    }
}

/// `envelopes.log` is the same four requests in each of HAProxy's eight log formats.
#[test]
fn a_request_is_the_same_behind_every_header() {
    let text = fs::read(Path::new(FOLDER).join("envelopes.log")).unwrap();
    let requests: Vec<_> = lines(&text)
        .filter_map(|line| match LineFormat::Auto.read(line) {
            Line::Request(request) => Some(request),
            Line::Message(_) => None,
            Line::Unparsed(error) => panic!("{error}: {}", String::from_utf8_lossy(line)),
        })
        .collect();
    let of_one_format = 4;
    assert_eq!(requests.len(), 8 * of_one_format);
    for same in requests.chunks(of_one_format) {
        assert_eq!(same, &requests[..of_one_format]);
    }
}

#[test]
fn a_log_read_byte_by_byte_gives_the_same_samples() {
    for log in logs() {
        let text = fs::read(&log).unwrap();
        let now = Instant::now();
        let (mut whole, mut bytewise) = (Batch::default(), Batch::default());
        Reader::new(Names::default(), format_of(&log)).read(&text, now, &mut whole);
        let mut reader = Reader::new(Names::default(), format_of(&log));
        for byte in text.chunks(1) {
            reader.read(byte, now, &mut bytewise);
        }
        assert_eq!(whole, bytewise, "{}", log.display());
    }
}
