//! Lines that come late, or a second time, do not move the present: after a rotation, a stop of syslog, a
//! sleep of the machine; and a clock that is set back is not taken for lines that come late.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use support::{Agent, FakeHaproxy, PATIENCE, wait_until};
use tempfile::TempDir;

mod support;

/// Between two lines of the traffic.
const EVERY: Duration = Duration::from_millis(50);

/// An agent on a log that is written by hand.
struct Site {
    _fake: FakeHaproxy,
    folder: TempDir,
    agent: Agent,
    port: u16,
}

impl Site {
    /// On a log in which there is something already.
    fn start() -> Self {
        let fake = FakeHaproxy::start(&[("app", &["s1", "s2"])]);
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("haproxy.log");
        fs::write(&log, line(1, SignedDuration::ZERO, 20)).unwrap();
        let config = format!(
            "haproxy: {{ sockets: [{}] }}\ntick: 100ms\nbackends:\n  - name: app\n    target: {{ below: 250ms }}\n\
             \x20   window: {{ length: 5m, min_samples: 10 }}\n",
            fake.socket().display()
        );
        let agent = Agent::start(&config, &[log.to_str().unwrap()]);
        Self { _fake: fake, folder, agent, port: 1 }
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("haproxy.log")
    }

    /// So many requests that took `ms`, by a clock that is `ahead`, as they come.
    fn traffic(&mut self, count: usize, ahead: SignedDuration, ms: u32) {
        for _ in 0..count {
            self.port += 1;
            append(&self.log(), &line(self.port, ahead, ms));
            thread::sleep(EVERY);
        }
    }

    /// So many requests of an hour ago that took long, all at once.
    fn old(&mut self, count: u16) -> String {
        let hour = SignedDuration::from_hours(-1);
        let begun = self.port;
        self.port += count;
        (begun..self.port)
            .map(|port| line(port, hour + SignedDuration::from_millis(i64::from(port) * 20), 5000))
            .collect()
    }

    #[track_caller]
    fn wait_for_lines(&self, count: u64) {
        wait_until(&format!("{count} lines are read"), PATIENCE, || {
            self.agent.status().unwrap_or_default()["lines"]["lines"].as_u64() >= Some(count)
        });
    }

    /// Of so many requests all were fast.
    #[track_caller]
    fn check(&self, samples: u64) {
        let figures = self.agent.backend()["figures"].clone();
        assert_eq!(figures["samples"], samples, "{figures}");
        assert!(figures["p99_ms"].as_f64().is_some_and(|ms| ms < 100.0), "{figures}");
    }
}

/// A request that took `ms` and ends now, by a clock that is `ahead`.
fn line(port: u16, ahead: SignedDuration, ms: u32) -> String {
    let begun = Timestamp::now() + ahead - SignedDuration::from_millis(ms.into());
    let date = begun.to_zoned(TimeZone::UTC).strftime("%d/%b/%Y:%H:%M:%S%.3f").to_string();
    format!(
        "127.0.0.1:{port} [{date}] fe app/s1 0/0/0/{ms}/{ms} 200 76 - - ---- 1/1/0/0/0 0/0 \"GET /{port} HTTP/1.1\"\n"
    )
}

fn append(log: &Path, text: &str) {
    File::options().create(true).append(true).open(log).unwrap().write_all(text.as_bytes()).unwrap();
}

#[test]
fn lines_that_syslog_held_back_are_of_the_past() {
    let mut site = Site::start();
    site.traffic(20, SignedDuration::ZERO, 20);
    let old = site.old(500);
    append(&site.log(), &old);
    site.traffic(20, SignedDuration::ZERO, 20);
    site.wait_for_lines(540);
    site.check(40);
}

#[test]
fn a_file_that_is_read_again_after_a_rotation_is_of_the_past() {
    let mut site = Site::start();
    site.traffic(20, SignedDuration::ZERO, 20);
    // Another file in its place, with what was in it, and older lines still.
    let again = site.old(500) + &fs::read_to_string(site.log()).unwrap();
    let other = site.folder.path().join("other");
    fs::write(&other, again).unwrap();
    fs::rename(&other, site.log()).unwrap();
    site.wait_for_lines(541);
    site.traffic(20, SignedDuration::ZERO, 20);
    site.wait_for_lines(561);
    let lines = site.agent.status().unwrap_or_default()["lines"].clone();
    assert_eq!(lines["duplicate"], 20, "{lines}");
    // The one that was there before the start was not read then.
    site.check(41);
}

#[test]
fn a_first_line_after_a_long_silence_is_placed_by_when_the_file_was_written() {
    let mut site = Site::start();
    let old = site.old(500);
    append(&site.log(), &old);
    site.traffic(20, SignedDuration::ZERO, 20);
    site.wait_for_lines(520);
    site.check(20);
}

#[test]
fn a_clock_that_is_set_back_is_believed_within_seconds() {
    let mut site = Site::start();
    site.traffic(20, SignedDuration::ZERO, 20);
    // As local time is each autumn; the machine does not sleep meanwhile. These lines take eight seconds at least.
    let (mut lines, hour) = (20, SignedDuration::from_hours(-1));
    while site.agent.backend()["figures"]["samples"].as_u64() <= Some(20) {
        assert!(lines < 180, "it is not believed");
        site.traffic(10, hour, 20);
        lines += 10;
        site.wait_for_lines(lines);
    }
}

#[test]
fn a_clock_that_jumps_ahead_as_after_a_sleep_is_believed_at_once() {
    let mut site = Site::start();
    site.traffic(20, SignedDuration::ZERO, 20);
    site.traffic(20, SignedDuration::from_hours(3), 20);
    site.wait_for_lines(40);
    site.check(40);
}
