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

/// See the module's text.
pub(super) struct Progress {
    begun: Instant,
    shown: Option<Instant>,
    /// `None` if it is not known how much there is.
    total_bytes: Option<u64>,
    done_bytes: Arc<AtomicU64>,
    is_wanted: bool,
}

impl Progress {
    /// Of reading `files`, which begins now.
    pub(super) fn of(files: &[String]) -> Self {
        Self {
            begun: Instant::now(),
            shown: None,
            total_bytes: files.iter().map(|name| file_bytes(name)).sum(),
            done_bytes: Arc::default(),
            is_wanted: io::stderr().is_terminal(),
        }
    }

    /// The same if the result goes elsewhere: on a terminal it would be written over.
    pub(super) fn beside_result(mut self) -> Self {
        self.is_wanted &= !io::stdout().is_terminal();
        self
    }

    /// Where bytes are counted as they are read.
    pub(super) fn done_bytes(&self) -> &Arc<AtomicU64> {
        &self.done_bytes
    }

    /// Draws the bar where the last one was, now and then.
    pub(super) fn show(&mut self) {
        let took = self.begun.elapsed();
        let is_due = self.shown.map_or(took >= WORTH_SHOWING, |shown| shown.elapsed() >= PATIENCE);
        if self.is_wanted && is_due {
            self.shown = Some(Instant::now());
            let done_bytes = self.done_bytes.load(Ordering::Relaxed);
            // Nobody needs it so much that a broken terminal should end the work.
            let _ = write!(io::stderr(), "\r{}\x1b[K", picture(done_bytes, self.total_bytes, took));
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

fn picture(done_bytes: u64, total_bytes: Option<u64>, took: Duration) -> String {
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let rate = mib(done_bytes) / took.as_secs_f64();
    // A file may have grown since its size was asked for.
    let Some(total_bytes) = total_bytes.map(|total| total.max(done_bytes).max(1)) else {
        return format!("{:.0} MiB, {rate:.0} MiB/s", mib(done_bytes));
    };
    let signs = (WIDTH * done_bytes / total_bytes) as usize;
    let left = (total_bytes - done_bytes) as f64 / (done_bytes as f64 / took.as_secs_f64()).max(1.0);
    format!(
        "[{}{}] {:.0} of {:.0} MiB, {rate:.0} MiB/s, {left:.0} s left",
        "#".repeat(signs),
        " ".repeat(WIDTH as usize - signs),
        mib(done_bytes),
        mib(total_bytes),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_says_how_much_and_how_long() {
        let mib = 1 << 20;
        let took = Duration::from_secs(2);
        let expected = "[##########                    ] 200 of 600 MiB, 100 MiB/s, 4 s left";
        assert_eq!(picture(200 * mib, Some(600 * mib), took), expected);
        assert_eq!(picture(200 * mib, None, took), "200 MiB, 100 MiB/s");
        assert!(picture(7, Some(0), took).starts_with("[##############################]"));
    }
}
