//! A folder with a log that is read, and what has arrived.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use haproxy_autoscale::input::{Options, Reading, Sink, Source, SourceEvent, Waker, start};
use tempfile::TempDir;

/// Nothing here takes a second on an idle machine; two cores may be shared by many.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// Short enough for a test not to wait for it.
pub(crate) const OFTEN: Duration = Duration::from_millis(5);

/// Longer than any test: only being woken counts.
pub(crate) const NEVER: Duration = Duration::from_secs(3600);

/// What has arrived, cut into lines.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) lines: Vec<(usize, String)>,
    pub(crate) halves: BTreeMap<usize, Vec<u8>>,
    /// Half lines that were cut off.
    pub(crate) lost: Vec<String>,
    pub(crate) events: Vec<SourceEvent>,
    pub(crate) tails: Vec<(String, Instant)>,
    pub(crate) bytes: usize,
}

/// A sink that keeps everything, shared with the test.
#[derive(Clone, Default)]
pub(crate) struct Recorder(Arc<(Mutex<Seen>, Condvar)>);

impl Recorder {
    pub(crate) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `condition` holds for what has been seen.
    #[track_caller]
    pub(crate) fn wait_until(&self, what: impl Debug, condition: impl Fn(&Seen) -> bool) {
        let (since, mut seen) = (Instant::now(), self.seen());
        while !condition(&seen) {
            let left = DEADLINE.saturating_sub(since.elapsed());
            assert!(!left.is_zero(), "waited in vain for {what:?}, have {:?}", Brief(&seen));
            (seen, _) = self.0.1.wait_timeout(seen, left).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits until exactly these lines have been seen, in this order.
    #[track_caller]
    pub(crate) fn wait_for_lines(&self, lines: &[String]) {
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
    pub(crate) fn wait_for_event(&self, event: SourceEvent) {
        self.wait_until(&event, |seen| seen.events.contains(&event));
    }
}

/// Not a hundred thousand lines in the message of a failed test.
pub(crate) struct Brief<'a>(pub(crate) &'a Seen);

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
pub(crate) struct Desk {
    pub(crate) folder: TempDir,
    pub(crate) log: PathBuf,
    pub(crate) recorder: Recorder,
    pub(crate) waker: Waker,
    pub(crate) reading: Option<Reading>,
}

impl Desk {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("haproxy.log");
        let waker = Waker::new().unwrap();
        Self { folder, log, recorder: Recorder::default(), waker, reading: None }
    }

    /// A desk whose log is there, empty, and read often.
    pub(crate) fn with_log() -> Self {
        let desk = Self::new();
        append(&desk.log, "");
        desk.read(Options { poll: OFTEN, ..Options::default() })
    }

    pub(crate) fn read(mut self, options: Options) -> Self {
        let sources = vec![Source::File(self.log.clone())];
        self.reading = Some(start(sources, options, self.recorder.clone(), self.waker.clone()).unwrap());
        self
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

pub(crate) fn append(path: &Path, text: &str) {
    appending(path).write_all(text.as_bytes()).unwrap();
}

pub(crate) fn appending(path: &Path) -> File {
    OpenOptions::new().create(true).append(true).open(path).unwrap()
}

pub(crate) fn lines<const N: usize>(lines: [&str; N]) -> Vec<String> {
    lines.map(str::to_owned).to_vec()
}

pub(crate) fn often(from_start: bool) -> Options {
    Options { from_start, poll: OFTEN, ..Options::default() }
}

/// Runs the ignored test `name` of this binary in a process of its own.
pub(crate) fn child(name: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", name, "--ignored", "--nocapture", "--test-threads=1"]);
    command
}

/// For what no condition variable tells.
#[track_caller]
pub(crate) fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let since = Instant::now();
    while !condition() {
        assert!(since.elapsed() < DEADLINE, "waited in vain until {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Points `link` to `target`, in one step as careful administrators do.
pub(crate) fn point(link: &Path, target: &Path) {
    let new = link.with_extension("new");
    symlink(target, &new).unwrap();
    fs::rename(new, link).unwrap();
}
