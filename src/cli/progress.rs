//! How far it is, for a person who waits: on standard error, if that is a terminal.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::log_file::file_bytes;

/// Between two pictures.
pub(super) const PATIENCE: Duration = Duration::from_millis(200);

/// Shorter work is done before anybody asks.
const WORTH_SHOWING: Duration = Duration::from_secs(1);

/// Signs of a full bar.
const WIDTH: u64 = 30;

/// What the work is counted in.
#[derive(Clone, Copy, Debug)]
enum Unit {
    /// Shown as MiB.
    Bytes,
    /// Shown as they are.
    Runs,
}

/// See the module's text.
pub(super) struct Progress {
    begun: Instant,
    shown: Option<Instant>,
    unit: Unit,
    /// `None` if it is not known how much there is.
    total: Option<u64>,
    done: Arc<AtomicU64>,
    is_wanted: bool,
}

impl Progress {
    /// Of reading `files`, which begins now.
    pub(super) fn of(files: &[String]) -> Self {
        Self::new(Unit::Bytes, files.iter().map(|name| file_bytes(name)).sum())
    }

    /// Of so many runs, which begin now.
    pub(super) fn of_runs(runs: usize) -> Self {
        Self::new(Unit::Runs, Some(runs as u64))
    }

    fn new(unit: Unit, total: Option<u64>) -> Self {
        let (begun, is_wanted) = (Instant::now(), io::stderr().is_terminal());
        Self { begun, shown: None, unit, total, done: Arc::default(), is_wanted }
    }

    /// The same if the result goes elsewhere: on a terminal it would be written over.
    pub(super) fn beside_result(mut self) -> Self {
        self.is_wanted &= !io::stdout().is_terminal();
        self
    }

    /// Where it is counted how much is done.
    pub(super) fn done(&self) -> &Arc<AtomicU64> {
        &self.done
    }

    /// Draws the bar where the last one was, now and then.
    pub(super) fn show(&mut self) {
        let took = self.begun.elapsed();
        let is_due = self.shown.map_or(took >= WORTH_SHOWING, |shown| shown.elapsed() >= PATIENCE);
        if self.is_wanted && is_due {
            self.shown = Some(Instant::now());
            let done = self.done.load(Ordering::Relaxed);
            // Nobody needs it so much that a broken terminal should end the work.
            let _ = write!(io::stderr(), "\r{}\x1b[K", picture(self.unit, done, self.total, took));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown.is_some() {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

fn picture(unit: Unit, done: u64, total: Option<u64>, took: Duration) -> String {
    let rate = done as f64 / took.as_secs_f64();
    let speed = match unit {
        Unit::Bytes => format!(", {:.0} MiB/s", mib(rate)),
        Unit::Runs => String::new(),
    };
    let shown = |amount: u64| match unit {
        Unit::Bytes => format!("{:.0}", mib(amount as f64)),
        Unit::Runs => amount.to_string(),
    };
    let name = match unit {
        Unit::Bytes => "MiB",
        Unit::Runs => "runs",
    };
    // A file may have grown since its size was asked for.
    let Some(total) = total.map(|total| total.max(done).max(1)) else {
        return format!("{} {name}{speed}", shown(done));
    };
    let signs = (WIDTH * done / total) as usize;
    let left = match done {
        0 => String::new(),
        _ => format!(", {:.0} s left", (total - done) as f64 / rate),
    };
    format!(
        "[{}{}] {} of {} {name}{speed}{left}",
        "#".repeat(signs),
        " ".repeat(WIDTH as usize - signs),
        shown(done),
        shown(total),
    )
}

fn mib(bytes: f64) -> f64 {
    bytes / f64::from(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(unit: Unit, done: u64, total: Option<u64>, expected: &str) {
        assert_eq!(picture(unit, done, total, Duration::from_secs(2)), expected);
    }

    #[test]
    fn the_bar_says_how_much_and_how_long() {
        let mib = 1 << 20;
        let bar = "[##########                    ] ";
        check(Unit::Bytes, 200 * mib, Some(600 * mib), &format!("{bar}200 of 600 MiB, 100 MiB/s, 4 s left"));
        check(Unit::Bytes, 200 * mib, None, "200 MiB, 100 MiB/s");
        check(Unit::Runs, 4, Some(12), &format!("{bar}4 of 12 runs, 4 s left"));
        check(Unit::Runs, 0, Some(12), &format!("[{}] 0 of 12 runs", " ".repeat(30)));
        let full = format!("[{}]", "#".repeat(30));
        check(Unit::Bytes, 7, Some(0), &format!("{full} 0 of 0 MiB, 0 MiB/s, 0 s left"));
    }
}
