//! `report` beside `halog`, HAProxy's own log analyser, on the same file in the same run.
//!
//! `cargo bench --bench halog` writes an httplog of two million lines, the same each time, lets each command
//! read it in turn, and prints CPU seconds (user and system), seconds on the clock, and how many times as
//! fast as `halog -srv` it was: the median over all rounds, each against `halog` in its own round, so that
//! what else the machine does tells in both. Then the memory at its peak with two and with eight million lines,
//! and the instructions for a line, which depend on no other work at all, where there is `valgrind`.
//! `halog` comes with Debian's package haproxy; without it the rest is measured all the same.

#![allow(clippy::print_stdout, reason = "a bench prints its figures")]

use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;

const AGENT: &str = env!("CARGO_BIN_EXE_haproxy-autoscale");

const LINES: u64 = 2_000_000;

/// Requests a second in the log.
const RATE: u64 = 1_000;

/// So often each command has its turn.
const ROUNDS: usize = 9;

/// Lines for counting instructions; the difference between one and two times as many leaves out the start.
const COUNTED_LINES: usize = 20_000;

const BACKENDS: [(&str, u64); 4] = [("app", 12), ("api", 8), ("static_assets", 4), ("search-backend", 6)];
const FRONTENDS: [&str; 3] = ["https~", "http", "public_tls~"];

/// A command, whose last argument is the log unless it reads standard input.
struct Candidate {
    name: &'static str,
    command: &'static [&'static str],
    reads: Reads,
    log: Log,
    /// It has its turn in each round that is a multiple of this.
    every: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Reads {
    Stdin,
    File,
}

/// What stands before HAProxy's own text.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Log {
    /// `Nov 21 09:31:50 lb1 haproxy[20463]: `
    Traditional,
    /// `2026-11-21T09:31:50.191283+00:00 lb1 haproxy[20463]: `, as rsyslog writes since 2023 on Debian.
    Iso,
}

const HALOG: Candidate = Candidate {
    name: "halog -srv",
    command: &["halog", "-srv"],
    reads: Reads::Stdin,
    log: Log::Traditional,
    every: 1,
};

const REPORT: Candidate = Candidate {
    name: "report, 1 thread",
    command: &[AGENT, "report", "--threads", "1"],
    reads: Reads::File,
    log: Log::Traditional,
    every: 1,
};

/// The first one is what the others are compared with.
const CANDIDATES: [Candidate; 6] = [
    HALOG,
    Candidate { name: "halog -pct", command: &["halog", "-pct"], ..HALOG },
    REPORT,
    Candidate { name: "report, 2 threads", command: &[AGENT, "report", "--threads", "2"], ..REPORT },
    Candidate { name: "report, 1 thread, ISO dates", log: Log::Iso, ..REPORT },
    Candidate { name: "parse, 1 thread", command: &[AGENT, "parse", "--threads", "1"], every: 4, ..REPORT },
];

/// What a run cost, in seconds.
#[derive(Clone, Copy, Debug)]
struct Took {
    cpu: f64,
    clock: f64,
}

fn main() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let logs = [Log::Traditional, Log::Iso].map(|log| write_log(folder.path(), log));
    let path = |log: Log| &logs[usize::from(log == Log::Iso)];
    // Before anything that could use more.
    print_memory(path(Log::Traditional));
    let mut rounds = Vec::new();
    for round in 0..ROUNDS {
        let took = CANDIDATES.each_ref().map(|candidate| {
            (round % candidate.every == 0).then(|| candidate.run(path(candidate.log))).flatten()
        });
        rounds.push(took);
    }
    print_rounds(&rounds, path(Log::Traditional));
    print_instructions(path(Log::Traditional), folder.path());
}

impl Candidate {
    fn command(&self, log: &Path) -> Command {
        let mut command = Command::new(self.command[0]);
        command.args(&self.command[1..]).stdout(Stdio::null()).stderr(Stdio::null());
        match self.reads {
            Reads::Stdin => command.stdin(File::open(log).expect("just written")),
            Reads::File => command.arg(log),
        };
        command
    }

    /// `None` if there is no such command.
    fn run(&self, log: &Path) -> Option<Took> {
        let (before, begun) = (cpu_of_children(), Instant::now());
        let status = self.command(log).status().ok()?;
        assert!(status.success(), "{}: {status}", self.name);
        let cpu = cpu_of_children() - before;
        Some(Took { cpu: cpu.as_secs_f64(), clock: begun.elapsed().as_secs_f64() })
    }

    /// Instructions that it takes to read `log`; `None` without `valgrind`, or the command.
    fn instructions(&self, log: &Path) -> Option<u64> {
        let mut command = Command::new("valgrind");
        // Without caches and branches it only counts; the file that it writes is of no interest.
        command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).args(self.command);
        match self.reads {
            Reads::Stdin => command.stdin(File::open(log).expect("just written")),
            Reads::File => command.arg(log),
        };
        let told = String::from_utf8(command.stdout(Stdio::null()).output().ok()?.stderr).ok()?;
        told.lines().find_map(|line| line.split("Collected : ").nth(1))?.trim().parse().ok()
    }
}

fn print_rounds(rounds: &[[Option<Took>; CANDIDATES.len()]], log: &Path) {
    let megabytes = log.metadata().expect("just written").len() as f64 / 1e6;
    println!("\n{LINES} lines, {megabytes:.0} MB, {ROUNDS} rounds; medians");
    println!(
        "{:<28} {:>8} {:>9} {:>11} {:>12} {:>10}",
        "", "CPU s", "M lines/s", "x halog CPU", "seconds", "x halog"
    );
    for (at, candidate) in CANDIDATES.iter().enumerate() {
        let took: Vec<Took> = rounds.iter().filter_map(|round| round[at]).collect();
        if took.is_empty() {
            println!("{:<28} is not installed", candidate.name);
            continue;
        }
        let ratio = |figure: fn(&Took) -> f64| {
            let pairs = rounds.iter().filter_map(|round| Some((round[0]?, round[at]?)));
            let ratios: Vec<f64> = pairs.map(|(halog, took)| figure(&halog) / figure(&took)).collect();
            if ratios.is_empty() { "-".to_owned() } else { format!("{:.2}", median(ratios)) }
        };
        let cpu = median(took.iter().map(|took| took.cpu).collect());
        println!(
            "{:<28} {cpu:>8.3} {:>9.1} {:>11} {:>12.3} {:>10}",
            candidate.name,
            LINES as f64 / 1e6 / cpu,
            ratio(|took| took.cpu),
            median(took.iter().map(|took| took.clock).collect()),
            ratio(|took| took.clock),
        );
    }
}

/// Memory does not grow with the log.
fn print_memory(log: &Path) {
    println!("{:<28} {:>8}", "report, memory at its peak", "MiB");
    for times in [1, 4] {
        let status = Command::new(AGENT)
            .args(["report", "--threads", "1"])
            .args(vec![log; times])
            .stdout(Stdio::null())
            .status();
        assert!(status.is_ok_and(|status| status.success()));
        // Of the largest child so far: each of them is at least as large as those before it.
        let kib = getrusage(UsageWho::RUSAGE_CHILDREN).expect("it is always there").max_rss();
        println!("{:<28} {:>8.1}", format!("{} lines", times as u64 * LINES), kib as f64 / 1024.0);
    }
}

fn print_instructions(log: &Path, folder: &Path) {
    let parts = [1, 2].map(|times| {
        let part = folder.join(format!("{times}.log"));
        let lines = BufReader::new(File::open(log).expect("just written")).lines();
        let text: Vec<String> =
            lines.take(times * COUNTED_LINES).collect::<Result<_, _>>().expect("it is ours");
        fs::write(&part, text.join("\n") + "\n").expect("the disk has room");
        part
    });
    let a_line = |candidate: &Candidate| {
        let [once, twice] = parts.each_ref().map(|part| candidate.instructions(part));
        Some((twice?.checked_sub(once?)?) as f64 / COUNTED_LINES as f64)
    };
    println!("\n{:<28} {:>8} {:>9}", "instructions for a line", "", "x halog");
    let halog = a_line(&HALOG);
    for candidate in CANDIDATES.iter().filter(|candidate| candidate.log == Log::Traditional) {
        let Some(instructions) = a_line(candidate) else {
            println!("{:<28} (needs valgrind)", candidate.name);
            continue;
        };
        let ratio = halog.map_or("-".to_owned(), |halog| format!("{:.2}", halog / instructions));
        println!("{:<28} {instructions:>8.0} {ratio:>9}", candidate.name);
    }
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
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
fn write_log(folder: &Path, log: Log) -> PathBuf {
    let path = folder.join(if log == Log::Iso { "iso.log" } else { "haproxy.log" });
    let mut out = BufWriter::new(File::create(&path).expect("the folder is ours"));
    let mut random = Random(7);
    for number in 0..LINES {
        write_line(&mut out, log, number, &mut random).expect("the disk has room");
    }
    out.flush().expect("the disk has room");
    path
}

fn write_line(out: &mut impl Write, log: Log, number: u64, random: &mut Random) -> std::io::Result<()> {
    let (second, ms) = (9 * 3600 + number / RATE, number % RATE);
    let time = format!("{:02}:{:02}:{:02}", second / 3600 % 24, second / 60 % 60, second % 60);
    match log {
        Log::Traditional => write!(out, "Nov 21 {time} lb1 haproxy[20463]: ")?,
        Log::Iso => {
            write!(out, "2026-11-21T{time}.{ms:03}{:03}+00:00 lb1 haproxy[20463]: ", number * 7 % 1000)?
        }
    }
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
