//! How long fewer servers must have been enough before one is taken away.
//!
//! `hold` doubles when a server is needed again soon after it was taken away, so that a load which
//! comes and goes cannot make servers come and go with it for long.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::core::settings::ModelSettings;

const LEAST_HOLD: Duration = Duration::from_secs(60);
const MOST_HOLD: Duration = Duration::from_secs(15 * 60);
/// So long without a mistake, and `hold` is halved.
const FORGIVEN: Duration = Duration::from_secs(30 * 60);

/// `hold`, and what was needed within it.
#[derive(Clone, Debug, Default)]
pub(super) struct Patience {
    /// 0 until it was doubled.
    hold: Duration,
    /// It was last doubled or halved.
    turned: Option<Instant>,
    added: Option<Instant>,
    /// The move away that has already been counted as a mistake.
    regretted: Option<Instant>,
    /// The newest last, each with fewer servers than the one before: there are never more of them
    /// than servers, and the first within a span tells the most that was needed in it.
    needs: VecDeque<Needed>,
    /// Since when `needs` has no gap.
    since: Option<Instant>,
}

/// What was needed at one time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Needed {
    at: Instant,
    /// So many servers.
    pub(super) servers: u32,
    /// At so many requests a second,
    pub(super) arrivals: f64,
    /// which kept so many workers busy.
    pub(super) busy: f64,
}

/// `hold` as it is without mistakes.
pub(super) fn base(settings: &ModelSettings, lead: Duration) -> Duration {
    settings.hold.unwrap_or_else(|| (LEAST_HOLD + lead.saturating_mul(6)).min(MOST_HOLD))
}

impl Patience {
    /// How long fewer servers must have been enough.
    pub(super) fn hold(&self, base: Duration) -> Duration {
        self.hold.max(base)
    }

    /// At `now` so many servers were needed.
    pub(super) fn observe(&mut self, servers: u32, arrivals: f64, busy: f64, base: Duration, now: Instant) {
        if self.hold > base && self.turned.is_some_and(|at| now.saturating_duration_since(at) >= FORGIVEN) {
            (self.hold, self.turned) = (self.hold / 2, Some(now));
        }
        self.since.get_or_insert(now);
        // What a later need tops is never the highest again.
        while self.needs.back().is_some_and(|needed| needed.servers <= servers) {
            self.needs.pop_back();
        }
        self.needs.push_back(Needed { at: now, servers, arrivals, busy });
    }

    /// Nobody knows what is needed at `now`: what was needed last is taken to be so still.
    pub(super) fn keep(&mut self, now: Instant) {
        if let Some(latest) = self.needs.back_mut() {
            latest.at = now;
        }
    }

    /// Servers were ordered; `taken`: when one was last taken away.
    pub(super) fn record_added(
        &mut self,
        taken: Option<Instant>,
        settings: &ModelSettings,
        lead: Duration,
        now: Instant,
    ) {
        self.added = Some(now);
        let too_soon = settings.min_off.max(LEAST_HOLD + lead.saturating_mul(12));
        let mistake = taken.filter(|&taken| now.saturating_duration_since(taken) < too_soon);
        if mistake.is_some() && mistake != self.regretted {
            let base = base(settings, lead);
            self.hold = self.hold(base).saturating_mul(2).min(settings.hold_max.max(base));
            (self.regretted, self.turned) = (mistake, Some(now));
        }
    }

    /// The most that was needed within `hold`, and for how long no more was; `None` while less than
    /// `hold` is known.
    pub(super) fn highest(&self, base: Duration, now: Instant) -> Option<(Needed, Duration)> {
        let hold = self.hold(base);
        let since = self.since.filter(|since| now.saturating_duration_since(*since) >= hold)?;
        let is_within = |needed: &Needed| now.saturating_duration_since(needed.at) <= hold;
        let place = self.needs.iter().position(is_within)?;
        let from = place.checked_sub(1).map_or(since, |before| self.needs[before].at);
        Some((self.needs[place], now.saturating_duration_since(from)))
    }

    /// How long until servers may be taken away again after some were added.
    pub(super) fn after_adding(&self, base: Duration, now: Instant) -> Duration {
        self.added.map_or(Duration::ZERO, |added| base.saturating_sub(now.saturating_duration_since(added)))
    }

    /// How long until no more than `servers` were needed for the whole of `hold`.
    pub(super) fn until(&self, servers: u32, base: Duration, now: Instant) -> Duration {
        let hold = self.hold(base);
        let last = self.needs.iter().rev().find(|needed| needed.servers > servers).map(|needed| needed.at);
        let from = last.or(self.since).unwrap_or(now);
        hold.saturating_sub(now.saturating_duration_since(from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAD: Duration = Duration::from_secs(5);

    fn settings() -> ModelSettings {
        ModelSettings { moves_per_hour: u32::MAX, ..ModelSettings::default() }
    }

    #[test]
    fn hold_follows_the_lead_within_limits() {
        #[track_caller]
        fn check(lead_s: u64, expected_s: u64) {
            let found = base(&settings(), Duration::from_secs(lead_s));
            assert_eq!(found, Duration::from_secs(expected_s));
        }
        check(0, 60);
        check(5, 90);
        check(60, 420);
        check(600, 900);
        let fixed = ModelSettings { hold: Some(Duration::from_secs(7)), ..settings() };
        assert_eq!(base(&fixed, LEAD), Duration::from_secs(7));
    }

    #[test]
    fn a_mistake_doubles_hold_once_and_half_an_hour_without_one_halves_it() {
        let (settings, start) = (settings(), Instant::now());
        let at = |second: u64| start + Duration::from_secs(second);
        let mut patience = Patience::default();
        let hold = |patience: &Patience| patience.hold(base(&settings, LEAD)).as_secs();
        let observe = |patience: &mut Patience, second: u64| {
            patience.observe(3, 0.0, 0.0, base(&settings, LEAD), at(second));
        };
        patience.record_added(None, &settings, LEAD, at(10));
        assert_eq!(hold(&patience), 90, "nothing was taken away");
        patience.record_added(Some(at(20)), &settings, LEAD, at(319));
        patience.record_added(Some(at(20)), &settings, LEAD, at(319));
        assert_eq!(hold(&patience), 180);
        patience.record_added(Some(at(400)), &settings, LEAD, at(700));
        assert_eq!(hold(&patience), 180, "it was gone for long enough");
        for second in [800, 1000, 1200] {
            patience.record_added(Some(at(second)), &settings, LEAD, at(second + 10));
        }
        assert_eq!(hold(&patience), 600, "the longest allowed");
        observe(&mut patience, 1210 + 1799);
        assert_eq!(hold(&patience), 600);
        observe(&mut patience, 1210 + 1800);
        assert_eq!(hold(&patience), 300);
        (0..10).for_each(|n| observe(&mut patience, 5000 + 1800 * n));
        assert_eq!(hold(&patience), 90);
    }

    #[test]
    fn the_highest_need_within_hold_counts() {
        let (base, start) = (Duration::from_secs(60), Instant::now());
        let at = |second: u64| start + Duration::from_secs(second);
        let mut patience = Patience::default();
        for second in 0..=200 {
            let needed = match second {
                0..50 => 9,
                50..100 => 4,
                100 => 7,
                _ => 3,
            };
            patience.observe(needed, 10.0 * f64::from(needed), 0.0, base, at(second));
            let highest =
                patience.highest(base, at(second)).map(|(needed, since)| (needed.servers, since.as_secs()));
            match second {
                59 => assert_eq!(highest, None, "not known for long enough"),
                60 => assert_eq!(highest, Some((9, 60))),
                100 => assert_eq!(highest, Some((9, 100))),
                109 => assert_eq!(highest, Some((9, 109))),
                110 => assert_eq!(highest, Some((7, 61))),
                160 => assert_eq!(highest, Some((7, 111))),
                161 => assert_eq!(highest, Some((3, 61))),
                _ => {}
            }
        }
        assert_eq!(patience.until(3, base, at(130)), Duration::from_secs(30));
        assert_eq!(patience.until(7, base, at(130)), Duration::ZERO);
    }
}
