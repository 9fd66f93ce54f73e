//! The reading side against real files, FIFOs, links, processes and logrotate: what was written is what
//! arrives, each line once, whatever happens to the file in between.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use haproxy_autoscale::input::{Options, Reading, Sink, Source, SourceEvent, Waker, start, watch};
use nix::errno::Errno;
use nix::sys::stat::Mode;
use nix::unistd::{Uid, mkfifo, seteuid};
use proptest::prelude::*;
use tempfile::TempDir;

/// Nothing here takes a second on an idle machine; two cores may be shared by many.
const DEADLINE: Duration = Duration::from_secs(5);

/// Short enough for a test not to wait for it.
const OFTEN: Duration = Duration::from_millis(5);

/// Longer than any test: only being woken counts.
const NEVER: Duration = Duration::from_secs(3600);

/// What has arrived, cut into lines.
#[derive(Debug, Default)]
struct Seen {
    lines: Vec<(usize, String)>,
    halves: BTreeMap<usize, Vec<u8>>,
    /// Half lines that were cut off.
    lost: Vec<String>,
    events: Vec<SourceEvent>,
    tails: Vec<(String, Instant)>,
    bytes: usize,
}

/// A sink that keeps everything, shared with the test.
#[derive(Clone, Default)]
struct Recorder(Arc<(Mutex<Seen>, Condvar)>);

impl Recorder {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `condition` holds for what has been seen.
    #[track_caller]
    fn wait_until(&self, what: impl Debug, condition: impl Fn(&Seen) -> bool) {
        let (since, mut seen) = (Instant::now(), self.seen());
        while !condition(&seen) {
            let left = DEADLINE.saturating_sub(since.elapsed());
            assert!(!left.is_zero(), "waited in vain for {what:?}, have {:?}", Brief(&seen));
            (seen, _) = self.0.1.wait_timeout(seen, left).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits until exactly these lines have been seen, in this order.
    #[track_caller]
    fn wait_for_lines(&self, lines: &[String]) {
        self.wait_until(format_args!("{} lines", lines.len()), |seen| seen.lines.len() >= lines.len());
        let seen: Vec<String> = self.seen().lines.iter().map(|(_, line)| line.clone()).collect();
        let first_wrong = seen.iter().zip(lines).find(|(seen, expected)| seen != expected);
        let missing: Vec<_> = lines.iter().filter(|line| !seen.contains(line)).collect();
        assert!(
            seen == lines,
            "seen, expected: {first_wrong:?}, missing {missing:?}, have {:?}",
            Brief(&self.seen())
        );
    }

    #[track_caller]
    fn wait_for_event(&self, event: SourceEvent) {
        self.wait_until(&event, |seen| seen.events.contains(&event));
    }
}

/// Not a hundred thousand lines in the message of a failed test.
struct Brief<'a>(&'a Seen);

impl Debug for Brief<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Seen { lines, halves, lost, events, .. } = self.0;
        let last = &lines[lines.len().saturating_sub(5)..];
        write!(
            f,
            "{} lines ending in {last:?}, halves {halves:?}, lost {lost:?}, events {events:?}",
            lines.len()
        )
    }
}

impl Sink for Recorder {
    fn bytes(&mut self, source: usize, bytes: &[u8], _: Instant) {
        assert!(!bytes.is_empty());
        let mut seen = self.seen();
        seen.bytes += bytes.len();
        let mut text = seen.halves.remove(&source).unwrap_or_default();
        text.extend_from_slice(bytes);
        for line in text.split_inclusive(|&byte| byte == b'\n') {
            match line.strip_suffix(b"\n") {
                Some(line) => seen.lines.push((source, String::from_utf8_lossy(line).into_owned())),
                None => drop(seen.halves.insert(source, line.to_vec())),
            }
        }
    }

    fn cut(&mut self, source: usize, _: Instant) {
        let mut seen = self.seen();
        if let Some(half) = seen.halves.remove(&source) {
            seen.lost.push(String::from_utf8_lossy(&half).into_owned());
        }
    }

    fn tail(&mut self, source: usize, tail: &[u8], written: Instant) {
        let mut seen = self.seen();
        assert!(seen.lines.iter().all(|line| line.0 != source), "the tail comes before the bytes");
        seen.tails.push((String::from_utf8_lossy(tail).into_owned(), written));
    }

    fn flush(&mut self) -> bool {
        self.0.1.notify_all();
        true
    }

    fn event(&mut self, _: usize, event: SourceEvent) {
        self.seen().events.push(event);
    }
}

/// A folder with a log that is read.
struct Desk {
    folder: TempDir,
    log: PathBuf,
    recorder: Recorder,
    waker: Waker,
    reading: Option<Reading>,
}

impl Desk {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("haproxy.log");
        let waker = Waker::new().unwrap();
        Self { folder, log, recorder: Recorder::default(), waker, reading: None }
    }

    /// A desk whose log is there, empty, and read often.
    fn with_log() -> Self {
        let desk = Self::new();
        append(&desk.log, "");
        desk.read(Options { poll: OFTEN, ..Options::default() })
    }

    fn read(mut self, options: Options) -> Self {
        let sources = vec![Source::File(self.log.clone())];
        self.reading = Some(start(sources, options, self.recorder.clone(), self.waker.clone()).unwrap());
        self
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

fn append(path: &Path, text: &str) {
    appending(path).write_all(text.as_bytes()).unwrap();
}

fn appending(path: &Path) -> File {
    OpenOptions::new().create(true).append(true).open(path).unwrap()
}

fn lines<const N: usize>(lines: [&str; N]) -> Vec<String> {
    lines.map(str::to_owned).to_vec()
}

fn often(from_start: bool) -> Options {
    Options { from_start, poll: OFTEN, ..Options::default() }
}

/// Runs the ignored test `name` of this binary in a process of its own.
fn child(name: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", name, "--ignored", "--nocapture", "--test-threads=1"]);
    command
}

// ---- where reading begins ----

#[test]
fn reading_begins_at_the_end_and_within_a_line_after_it() {
    let desk = Desk::new();
    append(&desk.log, "old\nhalf of a li");
    let desk = desk.read(often(false));
    append(&desk.log, "ne\nnew\n");
    desk.recorder.wait_for_lines(&lines(["new"]));
    assert!(desk.recorder.seen().tails[0].0.starts_with("old\nhalf of a li"));
}

#[test]
fn reading_from_the_start_has_every_line() {
    let desk = Desk::new();
    append(&desk.log, "one\ntw");
    let desk = desk.read(often(true));
    append(&desk.log, "o\nthree\n");
    desk.recorder.wait_for_lines(&lines(["one", "two", "three"]));
}

#[test]
fn the_tail_is_told_before_the_bytes_and_with_its_age() {
    let desk = Desk::new();
    append(&desk.log, &"x".repeat(100_000));
    append(&desk.log, "\nthe last\n");
    let written = SystemTime::now() - Duration::from_secs(600);
    appending(&desk.log).set_modified(written).unwrap();
    let desk = desk.read(often(false));
    desk.recorder.wait_until("the tail", |seen| !seen.tails.is_empty());
    let (tail, written) = desk.recorder.seen().tails[0].clone();
    assert_eq!(tail.len(), 64 << 10);
    assert!(tail.ends_with("x\nthe last\n"));
    let age = written.elapsed().as_secs();
    assert!((600..660).contains(&age), "{age} s");
}

#[test]
fn a_file_that_comes_late_is_read_from_its_start() {
    let desk = Desk::new().read(often(false));
    desk.recorder.wait_for_event(SourceEvent::Missing);
    append(&desk.log, "first\n");
    desk.recorder.wait_for_lines(&lines(["first"]));
    assert_eq!(desk.recorder.seen().events, [SourceEvent::Missing, SourceEvent::Readable]);
}

#[test]
fn bytes_that_are_no_text_arrive_as_they_are() {
    let desk = Desk::with_log();
    appending(&desk.log).write_all(b"\xff\xfe a\0b \xc3\n").unwrap();
    desk.recorder.wait_for_lines(&[String::from_utf8_lossy(b"\xff\xfe a\0b \xc3").into_owned()]);
}

// ---- rotation ----

#[test]
fn a_writer_that_has_not_reopened_yet_is_still_heard() {
    let desk = Desk::with_log();
    let mut writer = appending(&desk.log);
    writer.write_all(b"one\ntw").unwrap();
    fs::rename(&desk.log, desk.path("haproxy.log.1")).unwrap();
    append(&desk.log, "");
    desk.recorder.wait_for_event(SourceEvent::Rotated { missed: 0 });
    writer.write_all(b"o\n").unwrap();
    desk.recorder.wait_for_lines(&lines(["one", "two"]));
    append(&desk.log, "three\n");
    desk.recorder.wait_for_lines(&lines(["one", "two", "three"]));
    assert_eq!(desk.recorder.seen().lost, Vec::<String>::new());
}

#[test]
fn two_writers_may_let_go_of_the_old_file_at_different_times() {
    let desk = Desk::with_log();
    let mut late = appending(&desk.log);
    fs::rename(&desk.log, desk.path("haproxy.log.1")).unwrap();
    append(&desk.log, "new 1\nnew ");
    desk.recorder.wait_until("the new file", |seen| seen.halves.values().any(|half| half == b"new "));
    late.write_all(b"late 1\nlate ").unwrap();
    append(&desk.log, "2\n");
    desk.recorder.wait_for_lines(&lines(["new 1", "new 2", "late 1"]));
    late.write_all(b"2\n").unwrap();
    desk.recorder.wait_for_lines(&lines(["new 1", "new 2", "late 1", "late 2"]));
}

#[test]
fn generations_that_came_and_went_unseen_are_read_oldest_first() {
    let desk = Desk::new();
    append(&desk.log, "");
    append(&desk.path("haproxy.log.1"), "from before\n");
    let desk = desk.read(Options { poll: NEVER, ..Options::default() });
    append(&desk.log, "1\n");
    // As logrotate does it: each one moves up by one.
    for generation in 2..=4 {
        for number in (1..generation).rev() {
            let name = |number| desk.path(&format!("haproxy.log.{number}"));
            fs::rename(name(number), name(number + 1)).unwrap();
        }
        fs::rename(&desk.log, desk.path("haproxy.log.1")).unwrap();
        append(&desk.log, &format!("{generation}\n"));
    }
    append(&desk.path("haproxy.log.err"), "another log\n");
    fs::copy(desk.path("haproxy.log.3"), desk.path("haproxy.log.20261121")).unwrap();
    desk.waker.wake();
    desk.recorder.wait_for_lines(&lines(["1", "2", "3", "4"]));
    assert_eq!(desk.recorder.seen().events, [SourceEvent::Rotated { missed: 2 }]);
}

#[test]
fn a_generation_that_was_compressed_before_it_was_read_is_told() {
    let desk = Desk::new();
    append(&desk.log, "1\n");
    let desk = desk.read(Options { poll: NEVER, from_start: true, ..Options::default() });
    desk.recorder.wait_for_lines(&lines(["1"]));
    fs::rename(&desk.log, desk.path("haproxy.log.2")).unwrap();
    let compressed = desk.path("haproxy.log.1.gz");
    append(&compressed, "not really");
    // Later than the old file, even where times are coarse.
    appending(&compressed).set_modified(SystemTime::now() + Duration::from_secs(1)).unwrap();
    append(&desk.log, "3\n");
    desk.waker.wake();
    desk.recorder.wait_for_lines(&lines(["1", "3"]));
    assert_eq!(
        desk.recorder.seen().events,
        [SourceEvent::Unread(compressed), SourceEvent::Rotated { missed: 0 }]
    );
}

/// The writer goes on in the old file until it notices, as one that waits for a signal does.
#[test]
fn nothing_is_lost_or_doubled_while_another_thread_rotates() {
    const LINES: usize = 100_000;
    let desk = Desk::with_log();
    let (written, rotations) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            for rotation in 1..LINES / 1000 {
                while written.load(Ordering::Acquire) < rotation * 1000 {
                    thread::yield_now();
                }
                fs::rename(&desk.log, desk.path(&format!("haproxy.log.{}", 100_000 + rotation))).unwrap();
                drop(appending(&desk.log));
                rotations.store(rotation, Ordering::Release);
            }
        });
        let (mut writer, mut reopened) = (appending(&desk.log), 0);
        for line in 0..LINES {
            // No more than a thousand lines ahead of the rotation that is due.
            while rotations.load(Ordering::Acquire) + 1 < line / 1000 {
                thread::yield_now();
            }
            if rotations.load(Ordering::Acquire) > reopened {
                (writer, reopened) = (appending(&desk.log), rotations.load(Ordering::Acquire));
            }
            writer.write_all(format!("line {line}\n").as_bytes()).unwrap();
            written.store(line + 1, Ordering::Release);
        }
    });
    desk.recorder.wait_until("all lines", |seen| seen.lines.len() >= LINES);
    let seen = desk.recorder.seen();
    let distinct: BTreeSet<&str> = seen.lines.iter().map(|(_, line)| line.as_str()).collect();
    assert_eq!((seen.lines.len(), distinct.len()), (LINES, LINES), "{:?}", Brief(&seen));
    let out_of_order = seen.lines.iter().enumerate().find(|(n, (_, line))| *line != format!("line {n}"));
    assert_eq!(out_of_order, None);
}

#[test]
fn logrotate_with_create_loses_nothing() {
    let desk = Desk::with_log();
    let mut expected = Vec::new();
    for round in 0..5 {
        for line in 0..100 {
            expected.push(format!("round {round} line {line}"));
            append(&desk.log, &format!("round {round} line {line}\n"));
        }
        logrotate(&desk, "create 0640\ncompress\ndelaycompress");
    }
    desk.recorder.wait_for_lines(&expected);
    assert!(desk.path("haproxy.log.2.gz").exists(), "logrotate did what it was told");
}

#[test]
fn logrotate_with_dateext_loses_nothing() {
    let desk = Desk::with_log();
    append(&desk.log, "one\n");
    logrotate(&desk, "create\ndateext\ndateformat -%Y%m%d-%s");
    append(&desk.log, "two\n");
    desk.recorder.wait_for_lines(&lines(["one", "two"]));
}

#[test]
fn logrotate_with_copytruncate_loses_nothing_that_was_read_and_doubles_nothing() {
    let desk = Desk::with_log();
    let mut expected = Vec::new();
    let mut writer = appending(&desk.log);
    for round in 0..5 {
        for line in 0..100 {
            expected.push(format!("round {round} line {line}"));
            writeln!(writer, "round {round} line {line}").unwrap();
        }
        // What is written between the copy and the truncation is lost to everybody.
        desk.recorder.wait_for_lines(&expected);
        logrotate(&desk, "copytruncate");
    }
    // And after all the copies a rotation by name, which looks for what it may have missed.
    logrotate(&desk, "create");
    append(&desk.log, "the end\n");
    expected.push("the end".to_owned());
    desk.recorder.wait_for_lines(&expected);
}

#[track_caller]
fn logrotate(desk: &Desk, directives: &str) {
    let config = desk.path("logrotate.conf");
    let text = format!("\"{}\" {{\nrotate 9\nmissingok\n{directives}\n}}\n", desk.log.display());
    fs::write(&config, text).unwrap();
    // logrotate refuses configurations that others may write to, and folders that they may.
    fs::set_permissions(&config, PermissionsExt::from_mode(0o600)).unwrap();
    let state = desk.path("logrotate.status");
    let output =
        Command::new("/usr/sbin/logrotate").arg("-f").arg("-s").arg(state).arg(&config).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

// ---- truncation ----

#[test]
fn a_truncated_file_is_read_from_its_new_start() {
    let desk = Desk::with_log();
    let mut writer = appending(&desk.log);
    writer.write_all(b"one\nhalf").unwrap();
    desk.recorder.wait_until("the half line", |seen| !seen.halves.is_empty());
    writer.set_len(0).unwrap();
    writer.write_all(b"two\n").unwrap();
    desk.recorder.wait_for_lines(&lines(["one", "two"]));
    assert_eq!(desk.recorder.seen().lost, ["half"]);
    assert_eq!(desk.recorder.seen().events, [SourceEvent::Truncated]);
}

#[test]
fn a_file_that_was_truncated_and_has_grown_past_the_old_end_is_noticed() {
    for instead in ["2\n", "other\n", "longer than before\n", "2\n3\n4\n5\n"] {
        let desk = Desk::new();
        append(&desk.log, "first\n");
        let desk = desk.read(Options { poll: NEVER, from_start: true, ..Options::default() });
        desk.recorder.wait_for_lines(&lines(["first"]));
        let writer = appending(&desk.log);
        writer.set_len(0).unwrap();
        (&writer).write_all(instead.as_bytes()).unwrap();
        desk.waker.wake();
        let expected: Vec<String> = ["first"].into_iter().chain(instead.lines()).map(str::to_owned).collect();
        desk.recorder.wait_for_lines(&expected);
    }
}

#[test]
fn a_writer_that_does_not_append_leaves_a_hole_that_is_passed_over() {
    for seen_empty in [false, true] {
        let desk = Desk::new();
        append(&desk.log, "");
        let desk = desk.read(Options { poll: NEVER, ..Options::default() });
        let mut writer = OpenOptions::new().write(true).open(&desk.log).unwrap();
        writer.write_all(format!("{}\n", "x".repeat(1 << 20)).as_bytes()).unwrap();
        desk.waker.wake();
        desk.recorder.wait_until("the first line", |seen| seen.lines.len() == 1);
        writer.set_len(0).unwrap();
        if seen_empty {
            desk.waker.wake();
            desk.recorder.wait_for_event(SourceEvent::Truncated);
        }
        writer.write_all(b"two\n").unwrap();
        desk.waker.wake();
        desk.recorder.wait_until("the second line", |seen| seen.lines.len() == 2);
        assert_eq!(desk.recorder.seen().lines[1].1, "two");
    }
}

// ---- where a path leads ----

#[test]
fn a_deleted_file_is_read_to_its_end_and_its_successor_from_its_start() {
    let desk = Desk::with_log();
    let mut writer = appending(&desk.log);
    fs::remove_file(&desk.log).unwrap();
    writer.write_all(b"one\n").unwrap();
    desk.recorder.wait_for_event(SourceEvent::Missing);
    writer.write_all(b"two\n").unwrap();
    append(&desk.log, "three\n");
    desk.recorder.wait_for_lines(&lines(["one", "two", "three"]));
    let told = [SourceEvent::Missing, SourceEvent::Rotated { missed: 0 }, SourceEvent::Readable];
    assert_eq!(desk.recorder.seen().events, told);
}

#[test]
fn a_link_that_is_pointed_elsewhere_and_back_is_followed() {
    let desk = Desk::new();
    let (a, b) = (desk.path("a"), desk.path("b"));
    append(&a, "from before\n");
    point(&desk.log, &a);
    let desk = desk.read(often(false));
    append(&a, "a1\n");
    append(&b, "b1\n");
    point(&desk.log, &b);
    desk.recorder.wait_for_lines(&lines(["a1", "b1"]));
    append(&b, "b2\n");
    append(&a, "a2\n");
    desk.recorder.wait_until("both", |seen| seen.lines.len() == 4);
    point(&desk.log, &a);
    append(&a, "a3\n");
    desk.recorder.wait_until("a3", |seen| seen.lines.len() == 5);
    let seen: BTreeSet<String> = desk.recorder.seen().lines.iter().map(|(_, line)| line.clone()).collect();
    assert_eq!(
        seen,
        BTreeSet::from(["a1", "a2", "a3", "b1", "b2"].map(str::to_owned)),
        "nothing is read twice"
    );
}

/// Points `link` to `target`, in one step as careful administrators do.
fn point(link: &Path, target: &Path) {
    let new = link.with_extension("new");
    symlink(target, &new).unwrap();
    fs::rename(new, link).unwrap();
}

#[test]
fn what_cannot_be_read_is_told_once_and_read_when_it_can() {
    let desk = Desk::new();
    fs::create_dir(&desk.log).unwrap();
    let desk = desk.read(often(false));
    desk.recorder.wait_for_event(SourceEvent::NotAFile);
    fs::remove_dir(&desk.log).unwrap();
    symlink(&desk.log, &desk.log).unwrap();
    desk.recorder.wait_for_event(SourceEvent::Unreadable(std::io::Error::from(Errno::ELOOP).kind()));
    append(&desk.path("target"), "one\n");
    point(&desk.log, &desk.path("target"));
    desk.recorder.wait_for_lines(&lines(["one"]));
    desk.recorder.wait_for_event(SourceEvent::Readable);
    let mut events = desk.recorder.seen().events.clone();
    events.retain(|event| *event != SourceEvent::Missing);
    events.dedup();
    assert_eq!(events.len(), 3, "{events:?}");
}

#[test]
fn permission_that_is_granted_later_loses_nothing_since_the_start() {
    let output = child("as_nobody").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
#[ignore = "run by another test in a process of its own: it gives up root"]
fn as_nobody() {
    let desk = Desk::new();
    append(&desk.log, "from before\n");
    let permit = |mode| fs::set_permissions(&desk.log, PermissionsExt::from_mode(mode)).unwrap();
    permit(0);
    fs::set_permissions(desk.folder.path(), PermissionsExt::from_mode(0o777)).unwrap();
    let mut writer = OpenOptions::new().append(true).open(&desk.log).ok();
    if Uid::effective().is_root() {
        std::os::unix::fs::chown(&desk.log, Some(65534), None).unwrap();
        seteuid(Uid::from_raw(65534)).unwrap();
    }
    let desk = desk.read(often(false));
    desk.recorder.wait_for_event(SourceEvent::Unreadable(std::io::ErrorKind::PermissionDenied));
    let permit = |mode| fs::set_permissions(&desk.log, PermissionsExt::from_mode(mode)).unwrap();
    match &mut writer {
        Some(writer) => writer.write_all(b"one\n").unwrap(),
        None => {
            permit(0o200);
            append(&desk.log, "one\n");
        }
    }
    permit(0o600);
    desk.recorder.wait_for_lines(&lines(["one"]));
    desk.recorder.wait_for_event(SourceEvent::Readable);
}

#[test]
fn a_file_may_be_replaced_by_a_fifo_and_back() {
    let desk = Desk::with_log();
    append(&desk.log, "one\n");
    fs::rename(&desk.log, desk.path("haproxy.log.1")).unwrap();
    mkfifo(&desk.log, Mode::S_IRWXU).unwrap();
    // Opening waits for the reader, which has come then.
    OpenOptions::new().write(true).open(&desk.log).unwrap().write_all(b"two\n").unwrap();
    desk.recorder.wait_for_lines(&lines(["one", "two"]));
    fs::remove_file(&desk.log).unwrap();
    append(&desk.log, "three\n");
    desk.recorder.wait_for_lines(&lines(["one", "two", "three"]));
}

// ---- FIFOs and standard input ----

#[test]
fn writers_of_a_fifo_come_and_go() {
    let desk = Desk::new();
    mkfifo(&desk.log, Mode::S_IRWXU).unwrap();
    let desk = desk.read(often(false));
    let mut expected = Vec::new();
    for writer in 0..200 {
        let text = format!("writer {writer}\nhalf of {writer}");
        OpenOptions::new().write(true).open(&desk.log).unwrap().write_all(text.as_bytes()).unwrap();
        expected.push(format!("writer {writer}"));
        if writer % 7 == 0 {
            desk.recorder.wait_until("the half line is cut", |seen| seen.lost.len() == writer + 1);
        } else {
            desk.recorder.wait_until("the line", |seen| {
                seen.lines.len() == writer + 1 && seen.lost.len() == writer + 1
            });
        }
    }
    desk.recorder.wait_for_lines(&expected);
    desk.recorder.wait_for_event(SourceEvent::WriterGone);
    OpenOptions::new().write(true).open(&desk.log).unwrap().write_all(b"back\n").unwrap();
    desk.recorder.wait_for_event(SourceEvent::WriterBack);
}

/// Two writers, one after the other, with no chance for the reader in between: their bytes are one stream.
#[test]
fn nothing_is_lost_when_a_writer_follows_at_once() {
    let desk = Desk::new();
    mkfifo(&desk.log, Mode::S_IRWXU).unwrap();
    let desk = desk.read(often(false));
    let expected: Vec<String> = (0..2000).map(|line| format!("line {line}")).collect();
    for line in &expected {
        OpenOptions::new()
            .write(true)
            .open(&desk.log)
            .unwrap()
            .write_all(format!("{line}\n").as_bytes())
            .unwrap();
    }
    desk.recorder.wait_for_lines(&expected);
}

#[test]
fn a_fifo_that_is_created_anew_is_opened_anew() {
    let desk = Desk::new();
    for line in ["one", "two"] {
        let _ = fs::remove_file(&desk.log);
        mkfifo(&desk.log, Mode::S_IRWXU).unwrap();
        if line == "two" {
            break;
        }
    }
    let desk = desk.read(often(false));
    let mut old = OpenOptions::new().write(true).open(&desk.log).unwrap();
    fs::remove_file(&desk.log).unwrap();
    mkfifo(&desk.log, Mode::S_IRWXU).unwrap();
    let mut new = OpenOptions::new().write(true).open(&desk.log).unwrap();
    old.write_all(b"old\n").unwrap();
    desk.recorder.wait_for_lines(&lines(["old"]));
    new.write_all(b"new\n").unwrap();
    desk.recorder.wait_for_lines(&lines(["old", "new"]));
}

#[test]
fn standard_input_is_read_to_its_end_and_left_as_it_was() {
    let (reader, mut writer) = std::io::pipe().unwrap();
    let flags = || nix::fcntl::fcntl(&reader, nix::fcntl::FcntlArg::F_GETFL).unwrap();
    let before = flags();
    let mut child = child("standard_input");
    let child = child.stdin(reader.try_clone().unwrap()).stdout(Stdio::piped()).spawn().unwrap();
    writer.write_all(b"one\ntwo\nhalf").unwrap();
    drop(writer);
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("read [one, two], lost [half], told [Ended]"), "{text}");
    assert_eq!(flags(), before);
}

#[test]
#[ignore = "run by another test in a process of its own, with a pipe"]
fn standard_input() {
    let recorder = Recorder::default();
    let sources = vec![Source::Stdin];
    start(sources, Options::default(), recorder.clone(), Waker::new().unwrap()).unwrap().wait();
    let seen = recorder.seen();
    let lines: Vec<&str> = seen.lines.iter().map(|(_, line)| line.as_str()).collect();
    let report =
        format!("read [{}], lost [{}], told {:?}", lines.join(", "), seen.lost.join(", "), seen.events);
    std::io::stdout().write_all(report.as_bytes()).unwrap();
}

// ---- the thread ----

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
    // It takes microseconds; the bound is for a machine that is busy with others.
    assert!(before.elapsed() < Duration::from_millis(500), "took {:?}", before.elapsed());
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

/// For what no condition variable tells.
#[track_caller]
fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let since = Instant::now();
    while !condition() {
        assert!(since.elapsed() < DEADLINE, "waited in vain until {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn waiting_costs_no_processor_time() {
    let output = child("idle").output().unwrap();
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

// ---- waking ----

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

// ---- a model ----

/// What can happen to a log that is a link or not, with one writer who reopens it in time.
#[derive(Clone, Copy, Debug)]
enum Deed {
    Write(u8),
    /// The line is finished by the next one to write.
    WriteHalf,
    /// As logrotate with `create`: all move up by one, and there is a new file.
    Rotate,
    /// As logrotate with `nocreate`: there is no new file until the writer makes one.
    RotateAway,
    /// The writer opens the log anew, having finished its line.
    Reopen,
    Copytruncate,
    Delete,
    /// To a new file, which the writer opens at once.
    Repoint,
    Wake,
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        6 => (1..20_u8).prop_map(Deed::Write),
        3 => Just(Deed::WriteHalf),
        2 => Just(Deed::Rotate),
        2 => Just(Deed::RotateAway),
        3 => Just(Deed::Reopen),
        1 => Just(Deed::Copytruncate),
        1 => Just(Deed::Delete),
        1 => Just(Deed::Repoint),
        1 => Just(Deed::Wake),
    ]
}

/// The writer, and all the lines it has written.
struct Model {
    desk: Desk,
    real: PathBuf,
    is_link: bool,
    writer: File,
    within_line: bool,
    written: Vec<String>,
    links: usize,
}

impl Model {
    fn new(is_link: bool) -> Self {
        let desk = Desk::new();
        let real = if is_link { desk.path("target 0") } else { desk.log.clone() };
        let writer = appending(&real);
        if is_link {
            point(&desk.log, &real);
        }
        let desk = desk.read(Options { poll: Duration::from_millis(1), ..Options::default() });
        Self { desk, real, is_link, writer, within_line: false, written: Vec::new(), links: 0 }
    }

    fn write_half(&mut self) {
        if !self.within_line {
            write!(self.writer, "line {} ", self.written.len()).unwrap();
            self.within_line = true;
        }
    }

    fn finish_line(&mut self) {
        if self.within_line {
            self.writer.write_all(b"ends\n").unwrap();
            self.written.push(format!("line {} ends", self.written.len()));
            self.within_line = false;
        }
    }

    fn write(&mut self, lines: u8) {
        for _ in 0..lines {
            self.write_half();
            self.finish_line();
        }
    }

    fn reopen(&mut self) {
        self.finish_line();
        self.writer = appending(&self.real);
    }

    /// Before what nobody could recover from: all there is has been read.
    fn wait(&mut self) {
        self.finish_line();
        self.desk.recorder.wait_for_lines(&self.written);
    }

    /// Moves the rotated files up by one; returns the name that is free then.
    fn make_room(&self) -> PathBuf {
        let name = |number: usize| PathBuf::from(format!("{}.{number}", self.real.display()));
        let last = (1..).take_while(|&number| name(number).exists()).last().unwrap_or(0);
        for number in (1..=last).rev() {
            fs::rename(name(number), name(number + 1)).unwrap();
        }
        name(1)
    }

    /// Gone already if it was rotated away or deleted before.
    fn rotate(&self) {
        let _ = fs::rename(&self.real, self.make_room());
    }

    fn act(&mut self, deed: Deed) {
        match deed {
            Deed::Write(lines) => self.write(lines),
            Deed::WriteHalf => self.write_half(),
            Deed::Rotate => {
                self.rotate();
                drop(appending(&self.real));
            }
            Deed::RotateAway => self.rotate(),
            Deed::Reopen => self.reopen(),
            Deed::Copytruncate => {
                self.reopen();
                self.wait();
                fs::copy(&self.real, self.make_room()).unwrap();
                self.writer.set_len(0).unwrap();
            }
            Deed::Delete => {
                // Nobody could read it if it were gone before it was seen.
                self.reopen();
                self.write(1);
                self.wait();
                fs::remove_file(&self.real).unwrap();
            }
            Deed::Repoint if self.is_link => {
                self.wait();
                self.links += 1;
                self.real = self.desk.path(&format!("target {}", self.links));
                self.reopen();
                point(&self.desk.log, &self.real);
                // Nobody could find it if it were rotated away before it was seen: its name was never known.
                self.write(1);
                self.wait();
            }
            Deed::Repoint => {}
            Deed::Wake => self.desk.waker.wake(),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_line_arrives_once_and_in_order(
        is_link: bool,
        deeds in prop::collection::vec(deed(), 1..40),
    ) {
        let mut model = Model::new(is_link);
        for deed in deeds {
            model.act(deed);
        }
        model.reopen();
        model.write(1);
        model.wait();
        prop_assert_eq!(&model.desk.recorder.seen().lost, &Vec::<String>::new());
    }
}
