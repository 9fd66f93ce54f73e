//! The last lines of each log: can they be read, are they understood, are they of our backends?

use std::collections::HashSet;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use super::{Finding, links};
use crate::config::Config;
use crate::core::log::reader::{Batch, Reader};
use crate::core::log::recent::Recent;
use crate::core::log::sample::Class;
use crate::core::names::Names;
use crate::core::policy::Span;
use crate::input::Source;

/// So much of a log's end is looked at: some 500 requests.
const TAIL: u64 = 128 << 10;
/// More than this share of lines not understood is a failure.
const UNPARSED_LIMIT: f64 = 0.1;
/// More than this share of requests told of again is no accident.
const REPEATS_LIMIT: f64 = 0.1;
/// Fewer requests that failed, and no other, may be an outage that is just over.
const LEAST_FAILURES: usize = 10;

pub(super) async fn check(source: &Source, config: &Config) -> Vec<Finding> {
    let about = format!("log {source}");
    let path = match source {
        Source::File(path) => path,
        Source::Stdin => {
            return vec![Finding::ok(&about, "is read as it comes; its lines cannot be looked at before")];
        }
        _ => return links::check(&about, source, config).await,
    };
    match tail(path) {
        Ok(Tail::Bytes { bytes, age }) => lines(&about, &bytes, Some(age), config),
        Ok(Tail::Fifo) => vec![Finding::ok(&about, "is a FIFO: its lines cannot be looked at before")],
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => vec![Finding::warn(
            &about,
            "does not exist (yet); the agent waits for it",
            "does HAProxy log to it? see `log` in haproxy.cfg and the syslog daemon's rules",
        )],
        Err(error) => vec![Finding::fail(
            &about,
            format!("cannot be read: {error}"),
            "let the agent's user read it; on Debian the log belongs to group adm",
        )],
    }
}

enum Tail {
    Bytes { bytes: Vec<u8>, age: Duration },
    Fifo,
}

fn tail(path: &Path) -> std::io::Result<Tail> {
    let metadata = std::fs::metadata(path)?;
    if std::os::unix::fs::FileTypeExt::is_fifo(&metadata.file_type()) {
        return Ok(Tail::Fifo);
    }
    let mut file = File::open(path)?;
    let start = metadata.len().saturating_sub(TAIL);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(TAIL).read_to_end(&mut bytes)?;
    if start > 0 {
        // The first line was cut by us.
        let first = bytes.iter().position(|&byte| byte == b'\n').map_or(bytes.len(), |at| at + 1);
        bytes.drain(..first);
    }
    let age = metadata.modified().ok().and_then(|time| SystemTime::now().duration_since(time).ok());
    Ok(Tail::Bytes { bytes, age: age.unwrap_or_default() })
}

/// What there is to say of the last lines of a log, written so long ago, if that is known.
pub(super) fn lines(about: &str, bytes: &[u8], age: Option<Duration>, config: &Config) -> Vec<Finding> {
    let names = Names::default();
    // One that cannot be read is told beside what haproxy.cfg leaves out.
    let Ok(loaded) = config.log_format.load() else { return Vec::new() };
    let mut reader = Reader::new(names.clone(), loaded.format).with_most_line_bytes(config.max_line_bytes);
    let mut batch = Batch::default();
    reader.remember_in(Recent::new());
    let now = Instant::now();
    reader.read(bytes, now, &mut batch);
    reader.finish(now, &mut batch);
    let counts = batch.counts;
    if counts.lines == 0 {
        let remedy = "send a request through HAProxy and look again";
        return vec![Finding::warn(about, "is empty: its format cannot be told yet", remedy)];
    }
    let mut findings = vec![understood(about, &batch, age)];
    findings.extend(told_again(about, &batch));
    findings.extend(only_failures(about, &batch));
    if counts.requests > 0 {
        let seen: HashSet<String> =
            batch.samples.iter().map(|sample| names.of_backend(sample.backend).to_string()).collect();
        let missing = config.backends.iter().filter(|backend| !seen.contains(&backend.name));
        findings.extend(missing.map(|backend| {
            Finding::warn(
                about,
                format!("none of its last {} requests was for backend {}", counts.requests, backend.name),
                "is this the log of the frontend that uses it? fine if it had no traffic",
            )
        }));
    }
    findings
}

/// Requests that have more than one line.
fn told_again(about: &str, batch: &Batch) -> Vec<Finding> {
    let (steps, requests) = (batch.counts.steps, batch.counts.requests);
    let mut findings = Vec::new();
    if steps > 0 {
        findings.push(Finding::warn(
            about,
            format!("{steps} of its last {requests} requests are steps on the way to an answer"),
            "`log-steps close` in haproxy.cfg, or none: only its end tells how a request went",
        ));
    }
    let repeats = batch.repeats.len() as u64;
    if repeats as f64 > REPEATS_LIMIT * requests as f64 {
        findings.push(Finding::warn(
            about,
            format!("{repeats} of its last {requests} requests are told of by a line before as well"),
            "two `log` lines in haproxy.cfg to the same place, `log-steps`, or a rule of the syslog daemon too many? \
             they are counted once",
        ));
    }
    findings
}

/// Nothing but failures.
fn only_failures(about: &str, batch: &Batch) -> Option<Finding> {
    let failed = batch.samples.iter().filter(|sample| sample.class != Class::Success).count();
    (failed >= LEAST_FAILURES && failed == batch.samples.len()).then(|| {
        Finding::warn(
            about,
            format!("all of its last {failed} requests to servers failed"),
            "does haproxy.cfg have `option dontlog-normal`? without what goes well nothing can be decided",
        )
    })
}

fn understood(about: &str, batch: &Batch, age: Option<Duration>) -> Finding {
    let counts = batch.counts;
    let written = age.map(|age| format!("; last written {} ago", Span(Duration::from_secs(age.as_secs()))));
    let written = written.unwrap_or_default();
    let found = format!(
        "last {} lines: {} requests, {} messages, {} not understood{written}",
        counts.lines, counts.requests, counts.messages, counts.unparsed,
    );
    let example = batch.first_unparsed.as_ref().map(|example| format!("{}: {}", example.error, example.text));
    let remedy = format!("the first: {}", example.unwrap_or_default());
    if counts.unparsed as f64 > UNPARSED_LIMIT * counts.lines as f64 {
        let remedy = format!(
            "{remedy}\n      use `option httplog`, `option httpslog` or `option tcplog`, or give `log_format`"
        );
        Finding::fail(about, found, remedy)
    } else if counts.requests == 0 {
        Finding::warn(
            about,
            found,
            "no request among them: does the frontend have `option httplog` and a `log` line?",
        )
    } else if counts.unparsed > 0 {
        Finding::warn(about, found, remedy)
    } else {
        Finding::ok(about, found)
    }
}
