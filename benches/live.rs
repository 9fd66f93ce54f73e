//! The live path: lines written to a file that is rotated meanwhile, to samples in the agent's windows.
//!
//! `cargo bench --bench live` writes at a steady million lines a second, and then as fast as it can,
//! and prints how many lines were written and read, how far the reader was behind at the end, and its CPU.

#![allow(clippy::print_stdout, reason = "a bench prints its figures")]

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use support::{Agent, FakeHaproxy, wait_until};

#[path = "../tests/support/mod.rs"]
mod support;

/// What is read in the end has to be everything; waiting longer than that is giving up.
const PATIENCE: Duration = Duration::from_secs(120);

/// Lines in one write, as a syslog daemon under load does it.
const BATCH: u64 = 1_000;

const TOTAL: u64 = 8_000_000;

/// Lines in a file before it is rotated.
const GENERATION: u64 = 1_000_000;

/// Rotated files that are kept.
const KEPT: u64 = 10;

/// Clock ticks a second in /proc/PID/stat (proc(5)); 100 on Linux.
const TICKS: f64 = 100.0;

fn main() {
    println!(
        "{:<26} {:>12} {:>12} {:>10} {:>10} {:>14}",
        "", "written/s", "read", "lost", "behind s", "M lines/s CPU"
    );
    measure("a million lines a second", Some(1_000_000));
    measure("as fast as it can", None);
}

fn measure(what: &str, rate: Option<u64>) {
    let fake = FakeHaproxy::start(&[("app", &["s1", "s2"])]);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let log = folder.path().join("haproxy.log");
    File::create(&log).expect("the folder is ours");
    let config = format!(
        "sources: [{}]\nhaproxy: {{ sockets: [{}] }}\nbackends: [{{ name: app, target: {{ below: 1s }} }}]\n",
        log.display(),
        fake.socket().display()
    );
    let agent = Agent::start(&config, &[]);
    let begun = Instant::now();
    write(&log, rate);
    let wrote = begun.elapsed();
    let lines = || agent.status().and_then(|status| status["lines"]["lines"].as_u64()).unwrap_or(0);
    wait_until("all lines are read", PATIENCE, || lines() >= TOTAL);
    let behind = begun.elapsed() - wrote;
    let read = lines();
    println!(
        "{what:<26} {:>12.0} {read:>12} {:>10} {:>10.2} {:>14.1}",
        TOTAL as f64 / wrote.as_secs_f64(),
        TOTAL - read.min(TOTAL),
        behind.as_secs_f64(),
        TOTAL as f64 / 1e6 / cpu_seconds(agent.pid()),
    );
    assert_eq!(read, TOTAL, "each line is read once");
}

/// Writes all lines, a file for each generation, as logrotate without `copytruncate` leaves them.
fn write(log: &Path, rate: Option<u64>) {
    let batch: String = (0..BATCH).map(line).collect();
    let mut file = File::options().append(true).open(log).expect("it is there");
    let begun = Instant::now();
    for written in (0..TOTAL).step_by(BATCH as usize) {
        if written > 0 && written.is_multiple_of(GENERATION) {
            rotate(log);
            file = File::create(log).expect("the folder is ours");
        }
        file.write_all(batch.as_bytes()).expect("the disk has room");
        if let Some(rate) = rate {
            let due = Duration::from_secs_f64((written + BATCH) as f64 / rate as f64);
            thread::sleep(due.saturating_sub(begun.elapsed()));
        }
    }
}

fn rotate(log: &Path) {
    let named = |number: u64| log.with_extension(format!("log.{number}"));
    for number in (1..KEPT).rev() {
        // Not all of them are there yet.
        let _ = fs::rename(named(number), named(number + 1));
    }
    fs::rename(log, named(1)).expect("it is there");
}

fn line(number: u64) -> String {
    let (server, ms, port) = (1 + number % 2, number % 300, 1024 + number % 60_000);
    format!(
        "Nov 21 09:31:50 lb1 haproxy[20463]: 10.1.2.3:{port} [21/Nov/2026:09:31:50.{:03}] https~ app/s{server} 0/0/1/{ms}/{ms} 200 1000 - - ---- \
         215/210/12/3/0 0/0 \"GET /catalogue/items/{number}?page=2&sort=price HTTP/1.1\"\n",
        number % 1000
    )
}

fn cpu_seconds(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // After the command's name in brackets: utime and stime are the 12th and 13th (proc(5)).
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields.skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() / TICKS
}
