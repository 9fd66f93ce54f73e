//! The live path: from each source to samples in the agent's windows, written by this process.
//!
//! `cargo bench --bench live` writes lines to a file that is rotated meanwhile, at a steady million a second
//! and then as fast as it can; to a pipe on standard input, over TCP, and as datagrams over a Unix socket
//! and UDP, one line each as HAProxy sends them. It prints how many lines a second were written, how many of them
//! never arrived, how far the agent was behind at the end, its CPU, and its memory before and after.

#![allow(clippy::print_stdout, reason = "a bench prints its figures")]

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::net::{TcpStream, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use support::{Agent, FakeHaproxy, free_port};

#[path = "../tests/support/mod.rs"]
mod support;

/// Lines in one write, as a syslog daemon under load does it.
const BATCH: u64 = 1_000;

/// Lines in a file before it is rotated.
const GENERATION: u64 = 1_000_000;

/// Rotated files that are kept.
const KEPT: u64 = 10;

/// Clock ticks a second in /proc/PID/stat (proc(5)); 100 on Linux.
const TICKS: f64 = 100.0;

/// After so long without a new line nothing more will come.
const SILENCE: Duration = Duration::from_secs(2);

/// Lines that are written before memory is looked at: then windows and names are there.
const WARM_UP: u64 = 200_000;

fn main() {
    let heading = ("lines/s", "lines", "lost", "behind s", "CPU s/M", "MiB before", "after");
    let (rate, lines, lost, behind, cpu, before, after) = heading;
    println!(
        "{:<28} {rate:>9} {lines:>9} {lost:>7} {behind:>8} {cpu:>8} {before:>10} {after:>6}",
        "written to"
    );
    file("a file, a million a second", 8_000_000, Pace::of(1_000_000));
    file("a file, as fast as it goes", 8_000_000, Pace::FREE);
    standard_input("standard input", 4_000_000);
    tcp("TCP, octet-counted", 4_000_000);
    unix("a Unix socket", 1_000_000);
    udp("UDP, as fast as it goes", 1_000_000, Pace::FREE);
    udp("UDP, 200,000 a second", 1_000_000, Pace::of(200_000));
}

/// How fast to write.
#[derive(Clone, Copy)]
struct Pace(Option<u64>);

impl Pace {
    const FREE: Self = Self(None);

    const fn of(lines_a_second: u64) -> Self {
        Self(Some(lines_a_second))
    }

    /// Waits until `written` lines are due.
    fn keep(self, begun: Instant, written: u64) {
        if let Some(rate) = self.0 {
            let due = Duration::from_secs_f64(written as f64 / rate as f64);
            thread::sleep(due.saturating_sub(begun.elapsed()));
        }
    }
}

/// An agent that reads one source.
struct Reader {
    agent: Agent,
    _haproxy: FakeHaproxy,
}

impl Reader {
    fn start(source: &str, stdin: Stdio) -> Self {
        let haproxy = FakeHaproxy::start(&[("app", &["s1", "s2"])]);
        let config = format!(
            "sources: [\"{source}\"]\nhaproxy: {{ sockets: [{}] }}\nbackends: [{{ name: app, target: {{ below: 1s }} }}]\n",
            haproxy.socket().display()
        );
        Self { agent: Agent::start_with(&config, &[], stdin), _haproxy: haproxy }
    }

    fn lines(&self) -> u64 {
        self.agent.status().and_then(|status| status["lines"]["lines"].as_u64()).unwrap_or(0)
    }

    /// Waits until so many lines were read, or no more come; returns how many were.
    fn wait_for(&self, lines: u64) -> u64 {
        let (mut read, mut since) = (self.lines(), Instant::now());
        while read < lines && since.elapsed() < SILENCE {
            // Asking takes a process of its own.
            thread::sleep(Duration::from_millis(50));
            let now = self.lines();
            if now != read {
                (read, since) = (now, Instant::now());
            }
        }
        read
    }

    /// Lets `write` write lines (how many, and the number of the first), and prints how that went.
    fn measure(&self, what: &str, lines: u64, mut write: impl FnMut(u64, u64)) {
        write(WARM_UP, 0);
        let warm = self.wait_for(WARM_UP);
        let (rss, cpu, begun) = (self.rss_mib(), self.cpu_seconds(), Instant::now());
        write(lines, WARM_UP);
        let wrote = begun.elapsed();
        let read = self.wait_for(warm + lines) - warm;
        // If some were lost, there was nothing to wait for at the end.
        let behind =
            begun.elapsed().saturating_sub(wrote + if read < lines { SILENCE } else { Duration::ZERO });
        println!(
            "{what:<28} {:>9.0} {lines:>9} {:>7} {:>8.2} {:>8.2} {rss:>10.1} {:>6.1}",
            lines as f64 / wrote.as_secs_f64(),
            lines.saturating_sub(read),
            behind.as_secs_f64(),
            (self.cpu_seconds() - cpu) * 1e6 / read.max(1) as f64,
            self.rss_mib(),
        );
        assert!(read <= lines, "each line is read once");
    }

    fn cpu_seconds(&self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.agent.pid())).unwrap_or_default();
        // After the command's name in brackets: utime and stime are the 12th and 13th (proc(5)).
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        fields.skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() / TICKS
    }

    fn rss_mib(&self) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.agent.pid())).unwrap_or_default();
        let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        kib.and_then(|kib| kib.split_whitespace().next()?.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
    }
}

/// A file that is rotated as logrotate does it without `copytruncate`. Not one line may be lost.
fn file(what: &str, lines: u64, pace: Pace) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let log = folder.path().join("haproxy.log");
    File::create(&log).expect("the folder is ours");
    let reader = Reader::start(&log.display().to_string(), Stdio::null());
    let batch: String = (0..BATCH).map(line).collect();
    reader.measure(what, lines, |lines, _| {
        let mut file = File::options().append(true).open(&log).expect("it is there");
        let begun = Instant::now();
        for written in (0..lines).step_by(BATCH as usize) {
            if written > 0 && written.is_multiple_of(GENERATION) {
                rotate(&log);
                file = File::create(&log).expect("the folder is ours");
            }
            file.write_all(batch.as_bytes()).expect("the disk has room");
            pace.keep(begun, written + BATCH);
        }
    });
    let expected = WARM_UP + lines;
    assert_eq!(reader.lines(), expected, "each line of the file is read once");
}

fn rotate(log: &Path) {
    let named = |number: u64| log.with_extension(format!("log.{number}"));
    for number in (1..KEPT).rev() {
        // Not all of them are there yet.
        let _ = fs::rename(named(number), named(number + 1));
    }
    fs::rename(log, named(1)).expect("it is there");
}

fn standard_input(what: &str, lines: u64) {
    let (read_end, mut pipe) = std::io::pipe().expect("a pipe");
    let reader = Reader::start("-", Stdio::from(read_end));
    let batch: String = (0..BATCH).map(line).collect();
    reader.measure(what, lines, |lines, _| {
        (0..lines / BATCH).for_each(|_| pipe.write_all(batch.as_bytes()).expect("it reads"));
    });
}

fn tcp(what: &str, lines: u64) {
    let port = free_port();
    let reader = Reader::start(&format!("tcp://127.0.0.1:{port}"), Stdio::null());
    let connection = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    let mut connection = BufWriter::with_capacity(64 * 1024, connection);
    let message = |number| {
        let line = line(number);
        format!("{} {}", line.trim_end().len(), line.trim_end())
    };
    let batch: String = (0..BATCH).map(message).collect();
    reader.measure(what, lines, |lines, _| {
        (0..lines / BATCH).for_each(|_| connection.write_all(batch.as_bytes()).expect("it reads"));
        connection.flush().expect("it reads");
    });
}

fn unix(what: &str, lines: u64) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("log.sock");
    let reader = Reader::start(&format!("unix://{}", path.display()), Stdio::null());
    let socket = UnixDatagram::unbound().expect("a socket");
    socket.connect(&path).expect("it is there");
    let datagrams: Vec<String> = (0..BATCH).map(line).collect();
    // Waits when there is no room, which HAProxy does not.
    reader.measure(what, lines, |lines, _| {
        for line in datagrams.iter().cycle().take(lines as usize) {
            socket.send(line.as_bytes()).expect("it receives");
        }
    });
}

fn udp(what: &str, lines: u64, pace: Pace) {
    let address = format!("127.0.0.1:{}", free_port());
    let reader = Reader::start(&format!("udp://{address}"), Stdio::null());
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.connect(&address).expect("an address");
    let datagrams: Vec<String> = (0..BATCH).map(line).collect();
    reader.measure(what, lines, |lines, first| {
        let pace = if first == 0 { Pace::of(100_000) } else { pace };
        let begun = Instant::now();
        for written in 0..lines / BATCH {
            for line in &datagrams {
                socket.send(line.as_bytes()).expect("it receives");
            }
            pace.keep(begun, (written + 1) * BATCH);
        }
    });
}

fn line(number: u64) -> String {
    let (server, ms, port) = (1 + number % 2, number % 300, 1024 + number % 60_000);
    format!(
        "Nov 21 09:31:50 lb1 haproxy[20463]: 10.1.2.3:{port} [21/Nov/2026:09:31:50.{:03}] https~ app/s{server} 0/0/1/{ms}/{ms} 200 1000 - - ---- \
         215/210/12/3/0 0/0 \"GET /catalogue/items/{number}?page=2&sort=price HTTP/1.1\"\n",
        number % 1000
    )
}
