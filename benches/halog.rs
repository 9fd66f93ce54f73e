//! `report` beside `halog`, HAProxy's own log analyser, on the same file in the same run.
//!
//! `cargo bench --bench halog` writes an httplog of two million lines, the same each time, lets each
//! command read it in turn, and prints CPU seconds (user and system, of the best run: what else the
//! machine did can only add), seconds on the clock, and how many times as fast as `halog -srv` each was. `halog`
//! comes with Debian's package haproxy; without it the rest is measured all the same.

#![allow(clippy::print_stdout, reason = "a bench prints its figures")]

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;

const LINES: u64 = 2_000_000;

/// Requests a second in the log.
const RATE: u64 = 1_000;

/// So often each command has its turn.
const ROUNDS: usize = 9;

const BACKENDS: [(&str, u64); 4] = [("app", 12), ("api", 8), ("static_assets", 4), ("search-backend", 6)];
const FRONTENDS: [&str; 3] = ["https~", "http", "public_tls~"];

/// What a run cost.
#[derive(Clone, Copy, Debug)]
struct Took {
    cpu: Duration,
    clock: Duration,
}

fn main() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let log = folder.path().join("haproxy.log");
    let bytes = write_log(&log);
    let agent = env!("CARGO_BIN_EXE_haproxy-autoscale");
    let commands: [(&str, Vec<&str>); 6] = [
        ("halog -srv", vec!["halog", "-srv"]),
        ("halog -pct", vec!["halog", "-q", "-pct"]),
        ("report --threads 1", vec![agent, "report", "--threads", "1", "-"]),
        ("report --threads 1 FILE", vec![agent, "report", "--threads", "1"]),
        ("report --threads 2 FILE", vec![agent, "report", "--threads", "2"]),
        ("parse", vec![agent, "parse", "-"]),
    ];
    let mut best: Vec<Option<Took>> = vec![None; commands.len()];
    for _ in 0..ROUNDS {
        for ((name, command), best) in commands.iter().zip(&mut best) {
            let Some(took) = run(command, &log, name.ends_with("FILE")) else { continue };
            let so_far = best.unwrap_or(took);
            *best = Some(Took { cpu: so_far.cpu.min(took.cpu), clock: so_far.clock.min(took.clock) });
        }
    }
    println!("{LINES} lines, {:.0} MB, best of {ROUNDS}", bytes as f64 / 1e6);
    println!("{:<26} {:>8} {:>10} {:>14} {:>10}", "", "CPU s", "clock s", "M lines/s CPU", "x halog");
    let halog = best[0];
    for ((name, _), took) in commands.iter().zip(best) {
        let Some(took) = took else {
            println!("{name:<26} is not installed");
            continue;
        };
        let (cpu, clock) = (took.cpu.as_secs_f64(), took.clock.as_secs_f64());
        let rate = LINES as f64 / 1e6 / cpu;
        let ratio = halog.map_or("-".into(), |halog| format!("{:.2}", halog.cpu.as_secs_f64() / cpu));
        println!("{name:<26} {cpu:>8.3} {clock:>10.3} {rate:>14.1} {ratio:>10}");
    }
}

/// `None` if there is no such command.
fn run(command: &[&str], log: &Path, by_name: bool) -> Option<Took> {
    let (before, begun) = (cpu_of_children(), Instant::now());
    let mut child = Command::new(command[0]);
    child.args(&command[1..]).stdin(File::open(log).expect("just written"));
    if by_name {
        child.arg(log);
    }
    child.stdout(Stdio::null()).stderr(Stdio::null());
    let status = child.status().ok()?;
    assert!(status.success(), "{command:?}: {status}");
    Some(Took { cpu: cpu_of_children() - before, clock: begun.elapsed() })
}

/// User and system time of all children that have ended.
fn cpu_of_children() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).expect("it is always there");
    let duration = |time: TimeVal| {
        Duration::from_micros(time.tv_sec().unsigned_abs() * 1_000_000 + time.tv_usec().unsigned_abs())
    };
    duration(usage.user_time()) + duration(usage.system_time())
}

/// Lines as rsyslog writes them: three in a hundred without an answer, a message now and then.
fn write_log(path: &Path) -> u64 {
    let mut out = BufWriter::new(File::create(path).expect("the folder is ours"));
    let mut random = Random(7);
    for number in 0..LINES {
        write_line(&mut out, number, &mut random).expect("the disk has room");
    }
    out.flush().expect("the disk has room");
    path.metadata().expect("just written").len()
}

fn write_line(out: &mut impl Write, number: u64, random: &mut Random) -> std::io::Result<()> {
    let (second, ms) = (9 * 3600 + number / RATE, number % RATE);
    let time = format!("{:02}:{:02}:{:02}", second / 3600 % 24, second / 60 % 60, second % 60);
    write!(out, "Nov 21 {time} lb1 haproxy[20463]: ")?;
    let (backend, servers) = BACKENDS[[0, 0, 0, 1, 1, 2, 3][random.below(7) as usize]];
    let server = random.below(servers);
    let kind = random.below(1000);
    if kind < 2 {
        let what = "DOWN, reason: Layer4 timeout, check duration: 2001ms. 7 active and 0 backup servers left";
        return writeln!(out, "Server {backend}/srv{server} is {what}.");
    }
    let (tr, tw, tc) =
        (random.latency(), if random.below(10) == 0 { random.below(200) } else { 0 }, random.below(3));
    let ta = tr + tw + tc + random.below(5);
    let name = if kind < 12 { "<NOSRV>".to_owned() } else { format!("srv{server}") };
    let (timers, status, state) = match kind {
        ..12 => (format!("0/-1/-1/-1/{ta}"), "503", "SC--"),
        12..22 => (format!("0/{tw}/{tc}/-1/{ta}"), "-1", "CH--"),
        22..32 => (format!("0/{tw}/{tc}/{tr}/{ta}"), "200", "CD--"),
        _ => {
            let status = ["200", "200", "200", "200", "200", "200", "304", "302", "404", "500"]
                [random.below(10) as usize];
            (format!("0/{tw}/{tc}/{tr}/{ta}"), status, "----")
        }
    };
    let captures =
        if random.below(10) < 3 { " {shop.example|Mozilla/5.0 (X11; Linux x86_64)} {nginx}" } else { "" };
    writeln!(
        out,
        "10.{}.{}.{}:{} [21/Nov/2026:{time}.{ms:03}] {} {backend}/{name} {timers} {status} {} - - {state} \
         {}/{}/{}/{}/0 0/0{captures} \"GET /catalogue/items/{}?page={} HTTP/1.1\"",
        random.below(256),
        random.below(256),
        random.below(256),
        1024 + random.below(64_000),
        FRONTENDS[random.below(3) as usize],
        100 + random.below(100_000),
        100 + random.below(2_000),
        100 + random.below(2_000),
        random.below(300),
        random.below(40),
        random.below(1_000_000),
        random.below(50),
    )
}

/// The same numbers in each run (xorshift, G. Marsaglia 2003).
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }

    /// Milliseconds, about 24 in the middle, with a long tail: the product of several numbers is like that.
    fn latency(&mut self) -> u64 {
        let mut latency = 24.0;
        for _ in 0..6 {
            latency *= 0.5 + self.below(1_250) as f64 / 1_000.0;
        }
        latency as u64
    }
}
