//! What is done about a server again and again is done later each time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::core::names::ServerId;

/// How long nothing is done about it the first time; doubled each time after.
pub(super) const FIRST: Duration = Duration::from_secs(5 * 60);
const LONGEST: Duration = Duration::from_secs(6 * 3600);
/// After so long without trouble the next one is the first again.
const FORGOTTEN: Duration = Duration::from_secs(24 * 3600);

/// Of which servers something was done, how often, and until when nothing is done again.
#[derive(Debug, Default)]
pub(super) struct BackOff(BTreeMap<ServerId, Term>);

#[derive(Debug)]
struct Term {
    times: u32,
    until: Instant,
}

impl BackOff {
    /// Something was done about `server`: for how long nothing is done again.
    pub(super) fn begin(&mut self, server: ServerId, now: Instant) -> Duration {
        self.0.retain(|_, term| term.until + FORGOTTEN > now);
        let times = self.0.get(&server).map_or(0, |term| term.times);
        let lasts = FIRST.saturating_mul(2_u32.saturating_pow(times)).min(LONGEST);
        self.0.insert(server, Term { times: times + 1, until: now + lasts });
        lasts
    }

    /// Nothing is done about `server` for so long; `None`: something may be.
    pub(super) fn left(&self, server: ServerId, now: Instant) -> Option<Duration> {
        let term = self.0.get(&server).filter(|term| term.until > now)?;
        Some(term.until - now)
    }

    /// For so many servers that is so.
    pub(super) fn count(&self, now: Instant) -> usize {
        self.0.values().filter(|term| term.until > now).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::names::Names;

    #[test]
    fn it_takes_longer_each_time() {
        let names = Names::default();
        let backend = names.backend("web").expect("there is room");
        let server = names.server(backend, "s1").expect("there is room");
        let (mut back_off, mut now) = (BackOff::default(), Instant::now());
        let mut minutes = Vec::new();
        for _ in 0..9 {
            let lasts = back_off.begin(server, now);
            assert_eq!((back_off.left(server, now), back_off.count(now)), (Some(lasts), 1));
            minutes.push(lasts.as_secs() / 60);
            now += lasts;
            assert_eq!((back_off.left(server, now), back_off.count(now)), (None, 0));
        }
        assert_eq!(minutes, [5, 10, 20, 40, 80, 160, 320, 360, 360]);
        now += FORGOTTEN;
        assert_eq!(back_off.begin(server, now), FIRST);
    }
}
