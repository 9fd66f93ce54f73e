//! What the reading side hands over, kept for a test to look at.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use haproxy_autoscale::input::{Options, Reading, Sink, Source, SourceEvent, Waker, start};

use super::{PATIENCE, wait_until};

/// Reads sources and keeps what comes of them. Stops when dropped.
pub struct Received {
    kept: Kept,
    reading: Option<Reading>,
}

/// While it is closed, the reading thread waits at it as soon as it has read something.
#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    /// Closes it.
    pub fn close(&self) {
        self.set(true);
    }

    /// Opens it.
    pub fn open(&self) {
        self.set(false);
    }

    fn set(&self, closed: bool) {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) = closed;
        self.0.1.notify_all();
    }

    fn pass(&self) {
        let closed = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.0.1.wait_while(closed, |closed| *closed));
    }
}

#[derive(Clone, Default)]
struct Kept {
    seen: Arc<Mutex<Seen>>,
    gate: Gate,
}

#[derive(Default)]
struct Seen {
    text: Vec<u8>,
    events: Vec<SourceEvent>,
    lost: u64,
}

impl Received {
    /// Reads `sources`, as they are written on the command line, from their end.
    pub fn start(sources: &[&str]) -> Self {
        Self::start_with(sources, Options::default())
    }

    /// Reads `sources` as `options` say.
    pub fn start_with(sources: &[&str], options: Options) -> Self {
        Self::start_behind(&Gate::default(), sources, options)
    }

    /// [`Received::start_with`], as far as `gate` is open.
    pub fn start_behind(gate: &Gate, sources: &[&str], options: Options) -> Self {
        let source = |text: &&str| text.parse::<Source>().unwrap_or_else(|error| panic!("{text}: {error}"));
        let kept = Kept { gate: gate.clone(), ..Kept::default() };
        let waker = Waker::new().expect("a descriptor");
        let reading = start(sources.iter().map(source).collect(), options, kept.clone(), waker);
        Self { kept, reading: Some(reading.expect("a thread")) }
    }

    /// Every whole line so far, in order.
    pub fn lines(&self) -> Vec<String> {
        let seen = self.kept.seen();
        let text = String::from_utf8_lossy(&seen.text);
        let whole = text.rfind('\n').map_or("", |end| &text[..end + 1]);
        whole.lines().map(str::to_owned).collect()
    }

    /// Every event so far, as an operator sees it.
    pub fn events(&self) -> Vec<String> {
        self.kept.seen().events.iter().map(ToString::to_string).collect()
    }

    /// How many lines are said to be lost.
    pub fn lost(&self) -> u64 {
        self.kept.seen().lost
    }

    /// Waits until there are `count` lines, and returns them.
    #[track_caller]
    pub fn wait_for(&self, count: usize) -> Vec<String> {
        let mut have = 0;
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            have = self.kept.seen().text.iter().filter(|&&byte| byte == b'\n').count();
            if have >= count {
                return self.lines();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("{have} lines of {count}, events {:#?}, ending in {:?}", self.events(), self.lines().last());
    }

    /// Waits for an event that says `part`, and returns all of it.
    #[track_caller]
    pub fn wait_for_event(&self, part: &str) -> String {
        self.wait_for_events(part, 1)
    }

    /// Waits for the `count`th event that says `part`, and returns all of it.
    #[track_caller]
    pub fn wait_for_events(&self, part: &str, count: usize) -> String {
        let find = || self.events().into_iter().filter(|event| event.contains(part)).nth(count - 1);
        wait_until(&format!("`{part}` is told"), PATIENCE, || find().is_some());
        find().expect("waited for it")
    }

    /// Stops, whatever is waited for.
    pub fn stop(&mut self) {
        if let Some(reading) = self.reading.take() {
            reading.stop();
        }
    }
}

impl Kept {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink for Kept {
    fn bytes(&mut self, _source: usize, bytes: &[u8], _arrived: Instant) {
        self.gate.pass();
        self.seen().text.extend_from_slice(bytes);
    }

    fn cut(&mut self, _source: usize, _arrived: Instant) {}

    fn tail(&mut self, _source: usize, _tail: &[u8], _written: Instant) {}

    fn lost(&mut self, _source: usize, lines: u64) {
        self.seen().lost += lines;
    }

    fn flush(&mut self) -> bool {
        true
    }

    fn event(&mut self, _source: usize, event: SourceEvent) {
        self.seen().events.push(event);
    }
}
