//! How much of what HAProxy counts the log tells of.
//!
//! In: a line for each request, placed by when it ended, and now and then HAProxy's own counters.
//! Out: a [`Share`]: so many requests were counted over a span, so many were understood. What
//! follows from it is left to others.
//!
//! Both are compared over the same span, which ends a moment ago, so that lines still on their way
//! are no missing ones. A line that comes later still is counted at its own time. A HAProxy that
//! counts anew (a reload, `clear counters all`) begins a new span.

use std::collections::VecDeque;
use std::ops::{Add, AddAssign};
use std::time::{Duration, Instant};

use crate::core::settings::LogSettings;

/// A log may be so late and is still whole.
const SETTLED: Duration = Duration::from_secs(2);

/// Counters are kept at this distance; what happens within it cannot be told apart.
const SLOT: Duration = Duration::from_secs(1);

/// With the window of the figures as the span, but: shorter, and the edges would be most of it;
/// longer, and a log that has come to an end would not be noticed in time.
const SPAN: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(60));

/// Over less, what ended while HAProxy was busy answering would be a good part of it.
const LEAST: Duration = Duration::from_secs(3);

/// Fewer requests than this prove nothing.
const ENOUGH: u64 = 20;

/// What may differ while all is well: a request that ended while HAProxy was being asked.
const SLACK: f64 = 2.0;

/// In a sample drawn by chance, so many standard deviations are chance.
const DEVIATIONS: f64 = 3.0;

/// More lines than this share of the requests are no accident.
const TOO_MANY: f64 = 1.1;

/// If less than this share of what is told ended well, the others are not logged.
const FEW_SUCCESSES: f64 = 0.2;

/// What a line tells of its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// That it was answered, and not with a 5xx.
    Success,
    /// Anything else.
    Other,
    /// What a line before it has told already.
    Repeat,
}

/// A backend's counters, since HAProxy started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counters {
    /// Requests that have come to it.
    pub begun: u64,
    /// Requests that are over; their lines are written.
    pub ended: u64,
}

/// What was found over one span.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share {
    /// How long.
    pub span: Duration,
    /// Requests that HAProxy counted.
    pub counted: u64,
    /// Those that had to be in the log: all of them, or the share that is logged.
    pub expected: u64,
    /// Lines of them that were understood, those that were taken for duplicates left out.
    pub understood: u64,
    /// Whether that is as it should be.
    pub verdict: Verdict,
    /// Every HAProxy whose lines come here was counted. Else lines of those that were not may stand for missing ones of
    /// the others: no line tells whose it is.
    pub is_whole: bool,
}

impl Share {
    /// What was understood, of what was expected.
    pub fn ratio(&self) -> f64 {
        self.understood as f64 / self.expected.max(1) as f64
    }
}

/// Whether a log can be gone by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Yes.
    Good,
    /// Too much of it is missing.
    TooFew {
        /// Nearly all there is tells of failures: those that ended well are not logged.
        only_failures: bool,
    },
    /// It tells of more requests than there were.
    TooMany,
}

/// Compares one backend's log with HAProxy's counters.
#[derive(Clone, Debug)]
pub struct Coverage {
    settings: LogSettings,
    span: Duration,
    /// Oldest first; the first one is where counting begins.
    slots: VecDeque<Slot>,
    /// Lines since the newest slot.
    open: Lines,
    found: Option<Share>,
    /// Lines that repeat another one are duplicates, and not requests that are alike.
    repeats_are_duplicates: bool,
    /// Every HAProxy whose lines come here is counted.
    is_whole: bool,
}

/// HAProxy's counters at one time, and the lines since the time before.
#[derive(Clone, Copy, Debug)]
struct Slot {
    at: Instant,
    counters: Counters,
    lines: Lines,
}

#[derive(Clone, Copy, Debug, Default)]
struct Lines {
    successes: u64,
    others: u64,
    repeats: u64,
}

impl Coverage {
    /// Has seen nothing yet. `window` is the span of the figures that rest on the log.
    pub fn new(settings: LogSettings, window: Duration) -> Self {
        let (shortest, longest) = SPAN;
        Self {
            settings,
            span: window.clamp(shortest, longest),
            slots: VecDeque::new(),
            open: Lines::default(),
            found: None,
            repeats_are_duplicates: true,
            is_whole: true,
        }
    }

    /// Whether every HAProxy whose lines come here is in the counters. Lines of one that is not may be as many as they
    /// like: too few there may still be, too many not.
    pub fn count_all(&mut self, is_whole: bool) {
        if std::mem::replace(&mut self.is_whole, is_whole) != is_whole {
            self.restart();
        }
    }

    /// Counts a line whose request ended at `end`.
    pub fn count(&mut self, told: Told, end: Instant) {
        let later = self.slots.iter().rev().take_while(|slot| end <= slot.at).count();
        let lines = match self.slots.len() - later {
            _ if later == 0 => &mut self.open,
            // Before counting began.
            0 => return,
            slot => &mut self.slots[slot].lines,
        };
        *lines += Lines::one(told);
    }

    /// Takes what HAProxy has counted by `now`.
    pub fn take_stock(&mut self, counters: Counters, now: Instant) {
        if let Some(newest) = self.slots.back() {
            if counters.begun < newest.counters.begun || counters.ended < newest.counters.ended {
                self.restart();
            } else if now.saturating_duration_since(newest.at) < SLOT {
                return;
            }
        }
        let lines = std::mem::take(&mut self.open);
        self.slots.push_back(Slot { at: now, counters, lines });
        self.forget_old(now);
        self.found = self.compare(now);
    }

    /// HAProxy counts anew.
    pub fn restart(&mut self) {
        self.slots.clear();
        self.open = Lines::default();
        self.found = None;
    }

    /// What the latest comparison found; `None` before there is enough to compare, or if nobody wants to know.
    pub fn found(&self) -> Option<Share> {
        self.found.filter(|_| self.settings.coverage.value() > 0.0)
    }

    /// Whether lines that repeat another one are to be left out: HAProxy has not counted so many
    /// requests, or nobody knows yet.
    pub fn drops_repeats(&self) -> bool {
        self.repeats_are_duplicates
    }

    fn forget_old(&mut self, now: Instant) {
        let kept = self.span + SETTLED + 2 * SLOT;
        let is_old = |slot: &Slot| now.saturating_duration_since(slot.at) > kept;
        // The one before the first that is young enough is where that one's lines begin.
        while self.slots.get(1).is_some_and(is_old) {
            self.slots.pop_front();
        }
    }

    fn compare(&mut self, now: Instant) -> Option<Share> {
        let settled = |slot: &Slot| now.saturating_duration_since(slot.at) >= SETTLED;
        let end = self.slots.iter().rposition(settled)?;
        let in_span = |slot: &Slot| self.slots[end].at.saturating_duration_since(slot.at) <= self.span;
        let begin = self.slots.iter().position(in_span).filter(|&begin| begin < end)?;
        let (first, last) = (self.slots[begin], self.slots[end]);
        let span = last.at.saturating_duration_since(first.at);
        if span < LEAST {
            return None;
        }
        let ended = last.counters.ended - first.counters.ended;
        // With logasap a line comes before the end.
        let most = ended.max(last.counters.begun - first.counters.begun);
        // Lines may be late by a few slots, all alike.
        let shifts = 0..self.slots.len() - end;
        let lines: Vec<Lines> = shifts.map(|by| self.lines(begin + by, end + by)).collect();
        if self.is_whole && most >= ENOUGH {
            let (most, slack) = self.expected(most);
            self.repeats_are_duplicates =
                lines.iter().all(|lines| lines.all() as f64 > TOO_MANY * most + slack);
        }
        self.judge(span, ended, most, &lines)
    }

    /// Holds the `lines` of a span, by each lateness, against how many requests ended in it, and how many
    /// there were at most.
    fn judge(&self, span: Duration, ended: u64, most: u64, lines: &[Lines]) -> Option<Share> {
        let understood = |lines: &Lines| lines.requests(self.repeats_are_duplicates);
        let fewest = lines.iter().map(understood).min()?;
        let best = lines.iter().max_by_key(|lines| understood(lines))?;
        let (expected, slack) = self.expected(ended);
        let (at_most, slack_above) = self.expected(most);
        let share = |counted, expected: f64, understood, verdict| {
            let (expected, is_whole) = (expected.round() as u64, self.is_whole);
            Some(Share { span, counted, expected, understood, verdict, is_whole })
        };
        if self.is_whole && most >= ENOUGH && fewest as f64 > TOO_MANY * at_most + slack_above {
            return share(most, at_most, fewest, Verdict::TooMany);
        }
        if ended < ENOUGH {
            return None;
        }
        let found = understood(best);
        if (found as f64) < self.settings.coverage.value() * expected - slack {
            let only_failures = found > 0 && (best.successes as f64) < FEW_SUCCESSES * found as f64;
            return share(ended, expected, found, Verdict::TooFew { only_failures });
        }
        let off = |lines: &u64| (*lines as f64 - expected).abs();
        let nearest = lines.iter().map(understood).min_by(|a, b| off(a).total_cmp(&off(b)))?;
        share(ended, expected, nearest, Verdict::Good)
    }

    /// Of so many requests so many have to be in the log, give or take this.
    fn expected(&self, requests: u64) -> (f64, f64) {
        let rate = self.settings.sample_rate.value();
        let expected = requests as f64 * rate;
        (expected, SLACK + DEVIATIONS * (expected * (1.0 - rate)).sqrt())
    }

    /// Those behind `begin`, up to `end`.
    fn lines(&self, begin: usize, end: usize) -> Lines {
        self.slots.range(begin + 1..=end).fold(Lines::default(), |sum, slot| sum + slot.lines)
    }
}

impl Lines {
    fn one(told: Told) -> Self {
        let mut lines = Self::default();
        match told {
            Told::Success => lines.successes = 1,
            Told::Other => lines.others = 1,
            Told::Repeat => lines.repeats = 1,
        }
        lines
    }

    fn all(self) -> u64 {
        self.successes + self.others + self.repeats
    }

    /// Requests, if repetitions are duplicates or not.
    fn requests(self, repeats_are_duplicates: bool) -> u64 {
        if repeats_are_duplicates { self.successes + self.others } else { self.all() }
    }
}

impl Add for Lines {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            successes: self.successes + other.successes,
            others: self.others + other.others,
            repeats: self.repeats + other.repeats,
        }
    }
}

impl AddAssign for Lines {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::start;
    use super::*;
    use crate::core::units::Ratio;

    const WINDOW: Duration = Duration::from_secs(30);

    /// A backend's traffic, and its log.
    struct World {
        coverage: Coverage,
        now: Instant,
        counters: Counters,
    }

    impl World {
        fn new(sample_rate: f64) -> Self {
            let settings = LogSettings {
                coverage: Ratio::new(0.9).unwrap(),
                sample_rate: Ratio::new(sample_rate).unwrap(),
            };
            let counters = Counters { begun: 1_000_000, ended: 999_990 };
            Self { coverage: Coverage::new(settings, WINDOW), now: start(), counters }
        }

        /// So many seconds, each with requests of which some are told of `late`.
        fn seconds(&mut self, seconds: u64, requests: u64, told: &[(u64, Told)], late: Duration) {
            for _ in 0..seconds {
                self.now += Duration::from_secs(1);
                self.counters.begun += requests;
                self.counters.ended += requests;
                for &(count, told) in told {
                    (0..count).for_each(|_| self.coverage.count(told, self.now + late));
                }
                self.coverage.take_stock(self.counters, self.now);
            }
        }

        fn verdict(&self) -> Option<Verdict> {
            self.coverage.found().map(|found| found.verdict)
        }

        #[track_caller]
        fn check(&self, verdict: Option<Verdict>, understood_percent: u64) {
            let found = self.coverage.found();
            assert_eq!(self.verdict(), verdict, "{found:?}");
            let percent = found.map_or(0, |found| (found.ratio() * 100.0).round() as u64);
            assert_eq!(percent, understood_percent, "{found:?}");
        }
    }

    const AT_ONCE: Duration = Duration::ZERO;
    const TOO_FEW: Verdict = Verdict::TooFew { only_failures: false };

    #[test]
    fn a_log_that_breaks_is_found_within_seconds_and_is_good_again_a_span_after_it_is() {
        let mut world = World::new(1.0);
        world.seconds(60, 10, &[(10, Told::Success)], AT_ONCE);
        world.check(Some(Verdict::Good), 100);
        world.seconds(6, 10, &[], AT_ONCE);
        world.check(Some(TOO_FEW), 87);
        world.seconds(30, 10, &[], AT_ONCE);
        world.check(Some(TOO_FEW), 0);
        world.seconds(30, 10, &[(10, Told::Success)], AT_ONCE);
        world.check(Some(Verdict::Good), 100);
    }

    #[test]
    fn lines_that_come_late_are_no_missing_ones_even_where_a_burst_begins() {
        for late in [0, 300, 1000, 1900] {
            let mut world = World::new(1.0);
            let late = Duration::from_millis(late);
            world.seconds(60, 10, &[(10, Told::Success)], late);
            for _ in 0..10 {
                world.seconds(1, 1000, &[(1000, Told::Success)], late);
                assert_eq!(world.verdict(), Some(Verdict::Good), "{late:?}: {:?}", world.coverage.found());
            }
            for _ in 0..40 {
                world.seconds(1, 10, &[(10, Told::Success)], late);
                assert_eq!(world.verdict(), Some(Verdict::Good), "{late:?}: {:?}", world.coverage.found());
            }
        }
    }

    #[test]
    fn lines_that_come_much_later_are_counted_where_they_belong() {
        let mut world = World::new(1.0);
        world.seconds(60, 10, &[(10, Told::Success)], AT_ONCE);
        let stopped = world.now;
        world.seconds(12, 10, &[], AT_ONCE);
        world.check(Some(TOO_FEW), 67);
        for n in 0..120 {
            world.coverage.count(Told::Success, stopped + Duration::from_millis(100 * n + 1));
        }
        world.seconds(1, 10, &[(10, Told::Success)], AT_ONCE);
        world.check(Some(Verdict::Good), 100);
        // And those of long ago nowhere.
        (0..10_000).for_each(|_| world.coverage.count(Told::Success, stopped - Duration::from_secs(300)));
        world.seconds(1, 10, &[(10, Told::Success)], AT_ONCE);
        world.check(Some(Verdict::Good), 100);
    }

    #[test]
    fn requests_that_are_still_running_are_not_missing_and_not_too_many() {
        let mut world = World::new(1.0);
        world.counters.begun += 500;
        world.seconds(40, 10, &[(10, Told::Success)], AT_ONCE);
        world.check(Some(Verdict::Good), 100);
        // They end all at once.
        world.counters.ended += 510;
        world.seconds(1, 10, &[(520, Told::Success)], AT_ONCE);
        for _ in 0..40 {
            world.seconds(1, 10, &[(10, Told::Success)], AT_ONCE);
            assert_eq!(world.verdict(), Some(Verdict::Good), "{:?}", world.coverage.found());
        }
    }

    #[test]
    fn few_requests_prove_nothing() {
        let mut world = World::new(1.0);
        world.seconds(19, 1, &[], AT_ONCE);
        assert_eq!(world.verdict(), None);
        world.seconds(5, 1, &[], AT_ONCE);
        world.check(Some(TOO_FEW), 0);
    }

    #[test]
    fn a_log_without_what_went_well_is_known_by_what_is_in_it() {
        let mut world = World::new(1.0);
        world.seconds(40, 100, &[(1, Told::Success), (9, Told::Other)], AT_ONCE);
        world.check(Some(Verdict::TooFew { only_failures: true }), 10);
    }

    #[test]
    fn lines_that_repeat_others_are_duplicates_if_there_were_no_such_requests() {
        let mut world = World::new(1.0);
        world.seconds(40, 100, &[(100, Told::Success), (100, Told::Repeat)], AT_ONCE);
        world.check(Some(Verdict::Good), 100);
        assert!(world.coverage.drops_repeats());
        // Requests that are all alike.
        let mut world = World::new(1.0);
        world.seconds(40, 200, &[(100, Told::Success), (100, Told::Repeat)], AT_ONCE);
        world.check(Some(Verdict::Good), 100);
        assert!(!world.coverage.drops_repeats());
        // Duplicates that could not be known as such.
        let mut world = World::new(1.0);
        world.seconds(40, 100, &[(200, Told::Success)], AT_ONCE);
        world.check(Some(Verdict::TooMany), 200);
    }

    #[test]
    fn where_one_of_several_is_not_counted_too_few_are_still_too_few_and_many_are_not_too_many() {
        let mut world = World::new(1.0);
        world.seconds(40, 100, &[(200, Told::Success)], AT_ONCE);
        world.check(Some(Verdict::TooMany), 200);
        // Half of the lines are those of one that does not answer any more.
        world.coverage.count_all(false);
        assert_eq!(world.verdict(), None);
        world.seconds(40, 100, &[(200, Told::Success)], AT_ONCE);
        assert_eq!(world.verdict(), Some(Verdict::Good));
        assert!(world.coverage.drops_repeats());
        world.seconds(40, 100, &[(50, Told::Success)], AT_ONCE);
        world.check(Some(TOO_FEW), 50);
        // It is back, and is counted.
        world.coverage.count_all(true);
        world.seconds(40, 200, &[(200, Told::Success)], AT_ONCE);
        world.check(Some(Verdict::Good), 100);
    }

    #[test]
    fn a_haproxy_that_counts_anew_is_compared_anew() {
        let mut world = World::new(1.0);
        world.seconds(40, 100, &[(50, Told::Success)], AT_ONCE);
        world.check(Some(TOO_FEW), 50);
        world.counters = Counters { begun: 7, ended: 3 };
        world.seconds(1, 100, &[(100, Told::Success)], AT_ONCE);
        assert_eq!(world.verdict(), None);
        world.seconds(5, 100, &[(100, Told::Success)], AT_ONCE);
        world.check(Some(Verdict::Good), 100);
    }

    #[test]
    fn what_is_not_to_be_compared_is_not() {
        let mut world = World::new(1.0);
        world.coverage.settings.coverage = Ratio::NONE;
        world.seconds(40, 100, &[], AT_ONCE);
        assert_eq!(world.verdict(), None);
    }

    proptest! {
        #[test]
        fn a_whole_log_is_always_good(
            rates in proptest::collection::vec((0u64..300, 0u64..300), 1..100),
            late in 0u64..1000,
        ) {
            // Requests end some time after they began, their lines come a little later.
            let mut world = World::new(1.0);
            world.counters.ended = world.counters.begun;
            for (begun, ended) in rates {
                let running = world.counters.begun + begun - world.counters.ended;
                let ended = ended.min(running);
                world.now += Duration::from_secs(1);
                world.counters.begun += begun;
                world.counters.ended += ended;
                let end = world.now + Duration::from_millis(late);
                (0..ended).for_each(|_| world.coverage.count(Told::Success, end));
                world.coverage.take_stock(world.counters, world.now);
                let found = world.coverage.found();
                prop_assert!(found.is_none_or(|found| found.verdict == Verdict::Good), "{:?}", found);
            }
        }

        #[test]
        fn a_sample_drawn_by_chance_is_as_good_as_a_whole_log(
            rate in prop_oneof![Just(0.01), Just(0.1), Just(0.333), Just(0.5)],
            chances in proptest::collection::vec(0.0f64..1.0, 4000),
        ) {
            let mut world = World::new(rate);
            for second in chances.chunks(100) {
                let logged = second.iter().filter(|&&chance| chance < rate).count() as u64;
                world.seconds(1, 100, &[(logged, Told::Success)], AT_ONCE);
                // Four deviations of several thousand looks are possible; more than a few in a hundred are not.
            }
            let found = world.coverage.found().unwrap();
            let expected = found.expected as f64;
            let chance = 4.5 * (expected * (1.0 - rate)).sqrt() + 3.0;
            prop_assert!((found.understood as f64 - expected).abs() <= chance.max(0.15 * expected), "{:?}", found);
        }

        #[test]
        fn a_log_with_a_third_missing_is_never_good_for_long(
            requests in 10u64..500,
            late in 0u64..2000,
            seconds in 40u64..100,
        ) {
            let mut world = World::new(1.0);
            let told = requests * 2 / 3;
            world.seconds(seconds, requests, &[(told, Told::Success)], Duration::from_millis(late));
            prop_assert_eq!(world.verdict(), Some(TOO_FEW));
        }

        #[test]
        fn memory_is_bounded_and_nothing_panics(
            steps in proptest::collection::vec((0u64..5000, any::<u32>(), any::<u32>(), -100_000i64..100_000), 0..300),
        ) {
            let mut world = World::new(0.5);
            let far = world.now + Duration::from_secs(1000);
            world.now = far;
            for (millis, begun, ended, end) in steps {
                world.now += Duration::from_millis(millis);
                let at = world.now + Duration::from_secs(200) - Duration::from_millis((100_000 - end) as u64);
                world.coverage.count(Told::Repeat, at);
                world.coverage.take_stock(Counters { begun: begun.into(), ended: ended.into() }, world.now);
                prop_assert!(world.coverage.slots.len() <= 40);
            }
        }
    }
}
