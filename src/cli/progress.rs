//! How far it is, for a person who waits: on standard error, if that is a terminal.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// Between two pictures.
pub(super) const PATIENCE: Duration = Duration::from_millis(200);

/// Shorter work is done before anybody asks.
const WORTH_SHOWING: Duration = Duration::from_secs(1);

/// Signs of a full bar.
const WIDTH: u64 = 30;

/// What the work is counted in.
#[derive(Clone, Copy, Debug)]
pub(super) enum Unit {
    /// Shown as MiB.
    Bytes,
    /// Shown as they are.
    Runs,
}

/// See the module's text.
pub(super) struct Progress {
    begun: Instant,
    unit: Unit,
    /// `None` if it is not known how much there is.
    total: Option<u64>,
    is_shown: bool,
}

impl Progress {
    /// Of work that begins now.
    pub(super) fn new(unit: Unit, total: Option<u64>) -> Self {
        Self { begun: Instant::now(), unit, total, is_shown: false }
    }

    /// Draws the bar where the last one was.
    pub(super) fn show(&mut self, done: u64) {
        let took = self.begun.elapsed();
        if took >= WORTH_SHOWING && io::stderr().is_terminal() {
            self.is_shown = true;
            // Nobody needs it so much that a broken terminal should end the work.
            let _ = write!(io::stderr(), "\r{}\x1b[K", picture(self.unit, done, self.total, took));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_shown {
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
