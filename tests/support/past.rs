//! Logs of which everything is known: those of a simulated HAProxy.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use haproxy_autoscale::core::log::sample::{Class, Sample};
use haproxy_autoscale::core::settings::Timer;
use haproxy_autoscale::sim::baseline::Baseline;
use haproxy_autoscale::sim::driver::{self, Witness};
use haproxy_autoscale::sim::scenario::Scenario;

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

/// The lines of `scenario` with `who` deciding.
pub fn log_of(scenario: &Scenario, who: Baseline) -> Vec<String> {
    let mut writer = Writer::default();
    driver::compete(scenario, 1, &mut *who.autoscaler(scenario), &mut writer);
    writer.lines
}

/// `lines` as a file.
pub fn file(folder: &Path, name: &str, lines: &[String]) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, lines.join("\n") + "\n").expect("written");
    path
}
