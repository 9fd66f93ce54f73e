//! When HAProxy may be reloaded.

use std::fmt;
use std::time::{Duration, Instant};

/// What is known before a reload.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sight {
    /// Of the process that answers: less than this ago somebody has reloaded or started it.
    pub(super) uptime: Duration,
    /// Processes that finish what they have after a reload.
    pub(super) old_processes: usize,
    /// The last reload that we tried, whatever came of it.
    pub(super) tried: Option<Instant>,
}

/// Why a reload waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// The last one is not long enough ago.
    TooSoon(Duration),
    /// The last one is not over.
    UnderWay(usize),
}

impl Wait {
    /// For how long, if that is known.
    pub(super) const fn left(self) -> Option<Duration> {
        match self {
            Self::TooSoon(left) => Some(left),
            Self::UnderWay(_) => None,
        }
    }
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // How much is left would be wrong as soon as it is read.
            Self::TooSoon(_) => f.write_str("the last reload is too short ago for `min_interval`"),
            Self::UnderWay(processes) => write!(
                f,
                "the last reload is not over: {processes} old processes have sessions left; `hard-stop-after` ends them"
            ),
        }
    }
}

/// Whether HAProxy may be reloaded at `now`.
///
/// # Errors
/// Why not yet.
pub(super) fn may_reload(now: Instant, sight: Sight, min_interval: Duration) -> Result<(), Wait> {
    let since_try = sight.tried.map_or(Duration::MAX, |tried| now.saturating_duration_since(tried));
    let since = since_try.min(sight.uptime);
    if since < min_interval {
        return Err(Wait::TooSoon(min_interval - since));
    }
    if sight.old_processes > 0 {
        return Err(Wait::UnderWay(sight.old_processes));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(uptime_s: u64, old_processes: usize, tried_s: Option<u64>, expected: Result<(), Wait>) {
        let now = Instant::now() + Duration::from_secs(1000);
        let tried = tried_s.map(|ago| now - Duration::from_secs(ago));
        let sight = Sight { uptime: Duration::from_secs(uptime_s), old_processes, tried };
        assert_eq!(may_reload(now, sight, Duration::from_secs(30)), expected, "{sight:?}");
    }

    #[test]
    fn a_reload_waits_for_the_interval_whoever_made_the_last_and_for_its_end() {
        let soon = |left| Err(Wait::TooSoon(Duration::from_secs(left)));
        check(3600, 0, None, Ok(()));
        check(30, 0, Some(30), Ok(()));
        check(29, 0, None, soon(1));
        check(3600, 0, Some(0), soon(30));
        check(10, 0, Some(20), soon(20));
        check(5, 1, None, soon(25));
        check(3600, 2, Some(600), Err(Wait::UnderWay(2)));
    }
}
