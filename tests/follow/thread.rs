//! The thread: whose turn it is, what wakes it, what stops it.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use haproxy_autoscale::input::{Options, Reading, Sink, Source, SourceEvent, start, watch};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::desk::{DEADLINE, Desk, NEVER, append, appending, child, lines, often, wait_until};

#[test]
fn several_sources_are_read_side_by_side() {
    let desk = Desk::new();
    mkfifo(&desk.path("fifo"), Mode::S_IRWXU).unwrap();
    let sources = ["a", "b", "fifo"].map(|name| Source::File(desk.path(name))).to_vec();
    let _reading = start(sources, often(false), desk.recorder.clone(), desk.waker.clone()).unwrap();
    append(&desk.path("a"), "a");
    append(&desk.path("b"), "b\n");
    OpenOptions::new().write(true).open(desk.path("fifo")).unwrap().write_all(b"fifo\n").unwrap();
    append(&desk.path("a"), "a\n");
    desk.recorder.wait_until("all three", |seen| seen.lines.len() == 3);
    let seen: BTreeSet<_> = desk.recorder.seen().lines.iter().cloned().collect();
    let expected = [(0, "aa"), (1, "b"), (2, "fifo")].map(|(source, line)| (source, line.to_owned()));
    assert_eq!(seen, BTreeSet::from(expected));
}

#[test]
fn a_huge_file_does_not_keep_others_waiting() {
    let desk = Desk::new();
    append(&desk.path("huge"), &"a line of a huge file\n".repeat(1 << 20));
    append(&desk.path("small"), "small\n");
    let sources = ["huge", "small"].map(|name| Source::File(desk.path(name))).to_vec();
    let options = Options { from_start: true, ..Options::default() };
    let _reading = start(sources, options, desk.recorder.clone(), desk.waker.clone()).unwrap();
    desk.recorder.wait_until("all", |seen| seen.lines.len() == (1 << 20) + 1);
    let before = desk.recorder.seen().lines.iter().position(|(source, _)| *source == 1);
    assert!(before.is_some_and(|lines| lines < 100_000), "{before:?} lines of the huge file came first");
}

/// A sink that takes whatever comes, and stops when told.
struct Endless {
    wants_more: bool,
    bytes: Arc<AtomicUsize>,
}

impl Sink for Endless {
    fn bytes(&mut self, _: usize, bytes: &[u8], _: Instant) {
        self.bytes.fetch_add(bytes.len(), Ordering::Relaxed);
    }
    fn cut(&mut self, _: usize, _: Instant) {}
    fn tail(&mut self, _: usize, _: &[u8], _: Instant) {}
    fn flush(&mut self) -> bool {
        self.wants_more
    }
    fn event(&mut self, _: usize, _: SourceEvent) {}
}

#[test]
fn reading_stops_at_once_while_it_waits() {
    let desk = Desk::new();
    append(&desk.log, "");
    mkfifo(&desk.path("fifo"), Mode::S_IRWXU).unwrap();
    let sources = vec![Source::File(desk.log.clone()), Source::File(desk.path("fifo"))];
    let options = Options { poll: NEVER, ..Options::default() };
    let reading = start(sources, options, desk.recorder.clone(), desk.waker.clone()).unwrap();
    stop_at_once(reading);
}

#[test]
fn reading_stops_at_once_in_the_middle_of_a_huge_file() {
    let desk = Desk::new();
    // A terabyte to read, though nearly all of it is zeros that are not even on the disk.
    append(&desk.log, "x");
    appending(&desk.log).set_len(1 << 40).unwrap();
    let bytes = Arc::new(AtomicUsize::new(0));
    let sink = Endless { wants_more: true, bytes: bytes.clone() };
    let options = Options { from_start: true, ..Options::default() };
    let reading = start(vec![Source::File(desk.log.clone())], options, sink, desk.waker.clone()).unwrap();
    wait_until("the reading is under way", || bytes.load(Ordering::Relaxed) > 0);
    stop_at_once(reading);
}

#[track_caller]
fn stop_at_once(reading: Reading) {
    let before = Instant::now();
    reading.stop();
    // It takes microseconds; the bound is for a machine that is busy with others. The hour and the terabyte take longer.
    assert!(before.elapsed() < DEADLINE, "took {:?}", before.elapsed());
}

#[test]
fn reading_ends_when_the_sink_wants_no_more() {
    let desk = Desk::new();
    append(&desk.log, "one\n");
    let bytes = Arc::new(AtomicUsize::new(0));
    let sink = Endless { wants_more: false, bytes: bytes.clone() };
    let reading = start(vec![Source::File(desk.log.clone())], often(true), sink, desk.waker.clone()).unwrap();
    wait_until("the thread has ended", || reading.has_ended());
    assert_eq!(bytes.load(Ordering::Relaxed), 4);
    assert_eq!(Arc::strong_count(&bytes), 1, "the sink is dropped");
}

#[test]
fn waiting_costs_no_processor_time() {
    let output = child("thread::idle").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
#[ignore = "run by another test in a process of its own, whose time is measured"]
fn idle() {
    let desk = Desk::new();
    append(&desk.log, "");
    mkfifo(&desk.path("fifo"), Mode::S_IRWXU).unwrap();
    let sources = ["haproxy.log", "missing", "fifo"].map(|name| Source::File(desk.path(name))).to_vec();
    let _reading = start(sources, Options::default(), desk.recorder.clone(), desk.waker.clone()).unwrap();
    drop(OpenOptions::new().write(true).open(desk.path("fifo")).unwrap());
    let before = ticks_used();
    // Told after a second in which nobody wrote: the second that is measured.
    desk.recorder.wait_for_event(SourceEvent::WriterGone);
    let used = ticks_used() - before;
    assert!(used <= 2, "{used} ticks");
}

/// Processor time of this process, in ticks of 10 ms: the fields 14 and 15 of proc_pid_stat(5), counted
/// after the name in parentheses.
fn ticks_used() -> u64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let (_, after_name) = stat.rsplit_once(')').unwrap();
    after_name.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum()
}

/// Nothing but file events wakes the reader here.
#[tokio::test]
async fn file_events_wake_the_reader() {
    let desk = Desk::new();
    append(&desk.log, "");
    let desk = desk.read(Options { poll: NEVER, ..Options::default() });
    let task = tokio::spawn(watch(vec![desk.log.clone()], desk.waker.clone()));
    let recorder = desk.recorder.clone();
    let (log, old) = (desk.log.clone(), desk.path("haproxy.log.1"));
    let story = tokio::task::spawn_blocking(move || {
        append(&log, "one\n");
        recorder.wait_for_lines(&lines(["one"]));
        append(&log, "two\n");
        recorder.wait_for_lines(&lines(["one", "two"]));
        fs::rename(&log, &old).unwrap();
        append(&log, "three\n");
        recorder.wait_for_lines(&lines(["one", "two", "three"]));
        append(&log, "four\n");
        recorder.wait_for_lines(&lines(["one", "two", "three", "four"]));
        fs::remove_file(&log).unwrap();
        append(&log, "five\n");
        recorder.wait_for_lines(&lines(["one", "two", "three", "four", "five"]));
        append(&log, "six\n");
        recorder.wait_until("six", |seen| seen.lines.len() == 6);
    });
    story.await.unwrap();
    task.abort();
}

#[tokio::test]
async fn what_cannot_be_watched_does_not_keep_others_from_it() {
    let desk = Desk::new();
    append(&desk.log, "");
    let desk = desk.read(Options { poll: NEVER, ..Options::default() });
    let paths = vec![desk.path("no folder/x.log"), desk.folder.path().to_owned(), desk.log.clone()];
    let task = tokio::spawn(watch(paths, desk.waker.clone()));
    let recorder = desk.recorder.clone();
    let log = desk.log.clone();
    let story = tokio::task::spawn_blocking(move || {
        append(&log, "one\n");
        recorder.wait_for_lines(&lines(["one"]));
        append(&log, "two\n");
        recorder.wait_for_lines(&lines(["one", "two"]));
    });
    story.await.unwrap();
    task.abort();
}

/// `cargo test --release --test follow speed -- --ignored --nocapture`: what reading alone costs, with a
/// sink that only counts, from a file that grows and is rotated every 64 MiB, woken by its events.
#[tokio::test]
#[ignore = "a measurement"]
async fn speed() {
    let desk = Desk::new();
    append(&desk.log, "");
    let bytes = Arc::new(AtomicUsize::new(0));
    let sink = Endless { wants_more: true, bytes: bytes.clone() };
    let sources = vec![Source::File(desk.log.clone())];
    let _reading = start(sources, Options::default(), sink, desk.waker.clone()).unwrap();
    let task = tokio::spawn(watch(vec![desk.log.clone()], desk.waker.clone()));
    tokio::task::spawn_blocking(move || measure(&desk, &bytes)).await.unwrap();
    task.abort();
}

/// As above, of a gigabyte that is there already.
#[test]
#[ignore = "a measurement"]
fn speed_from_the_start() {
    let desk = Desk::new();
    let chunk = format!("{}\n", "x".repeat(199)).repeat(5000);
    for _ in 0..1000 {
        append(&desk.log, &chunk);
    }
    let bytes = Arc::new(AtomicUsize::new(0));
    let sink = Endless { wants_more: true, bytes: bytes.clone() };
    let began = Instant::now();
    let _reading =
        start(vec![Source::File(desk.log.clone())], often(true), sink, desk.waker.clone()).unwrap();
    wait_until("all is read", || bytes.load(Ordering::Relaxed) == 1000 * chunk.len());
    let rate = (1000 * chunk.len()) as f64 / began.elapsed().as_secs_f64() / 1e6;
    std::io::stdout().write_all(format!("read at {rate:.0} MB/s\n").as_bytes()).unwrap();
}

fn measure(desk: &Desk, read: &AtomicUsize) {
    let mut chunk = format!("{}\n", "x".repeat(199)).repeat(320).into_bytes();
    let (chunks, all) = (32 << 10, chunk.len() * (32 << 10));
    let name = |rotation: usize| desk.path(&format!("haproxy.log.{}", 100_000 + rotation));
    let (began, mut writer, mut deleted) = (Instant::now(), appending(&desk.log), 0);
    for number in 1..=chunks {
        // No two files may begin alike, or one is taken for a copy of the other.
        chunk[..8].copy_from_slice(format!("{number:08}").as_bytes());
        writer.write_all(&chunk).unwrap();
        if number % 1024 == 0 {
            fs::rename(&desk.log, name(number / 1024)).unwrap();
            writer = appending(&desk.log);
        }
        // What has been read need not fill the disk.
        if read.load(Ordering::Relaxed) > (deleted + 2) * 1024 * chunk.len() {
            deleted += 1;
            fs::remove_file(name(deleted)).unwrap();
        }
    }
    let written = began.elapsed();
    wait_until("all is read", || read.load(Ordering::Relaxed) == all);
    let both = began.elapsed();
    let rate = |time: Duration| all as f64 / time.as_secs_f64() / 1e6;
    let behind = (both - written).as_millis();
    let report =
        format!("written at {:.0} MB/s, read at {:.0} MB/s, {behind} ms behind\n", rate(written), rate(both));
    std::io::stdout().write_all(report.as_bytes()).unwrap();
}
