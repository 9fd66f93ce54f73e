//! Places the end of a request in time, by the date in its line.
//!
//! In: the civil time at which a request ended on the HAProxy host, and the `Instant` its line arrived
//! here. Out: the `Instant` it ended. The date has no time zone and the host's clock may be
//! wrong, so the offset between the two clocks is learned: it is the smallest (arrival - end) of
//! the last minute or two, since no line arrives before its request ended. Lines that were held
//! back, replayed or read late then land in the past, where they belong, and not in the present.
//!
//! A clock that jumps ahead shows at once: its lines would be from the future. One that is set back (as
//! local time is each autumn) makes lines look late, all of them and all by the same: what was held back
//! comes faster than it was written, what is written now does not.

use std::time::{Duration, Instant};

/// A smallest offset is good for one to two of these: long enough to have seen a line that came
/// without delay, short enough to follow a clock that was set back.
const BUCKET: i64 = 60 * SECOND;

/// An end further in the future than this, by what is known, has to be confirmed: more than a
/// clock drifts between two lines, less than would blur a window.
const DOUBTFUL_JUMP: i64 = 2 * SECOND;

/// A line that is later than this says nothing of a clock that only drifts.
const LATE: i64 = 2 * SECOND;

/// Lines that are late by the same for so long, so many of them and none in between that is not late, show a
/// clock that was set back; of a quiet log a few will do after a minute.
const STEADY: [(i64, u32); 2] = [(5 * SECOND, 10), (60 * SECOND, 3)];

/// By the same, give or take this, or this share of the time since: lines that are written in batches vary.
const STEADY_WITHIN: (i64, i64) = (SECOND, 5);

/// So many lines in a row that agree are believed; one with a corrupt date is not.
const LINES_TO_CONFIRM: u32 = 3;

/// Offsets are in microseconds: the years 0 to 9999 fit in 64 bits many times.
const SECOND: i64 = 1_000_000;

/// The learned offset between the dates of one source and `Instant`s.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    /// What `Instant`s are counted from; the first one seen.
    base: Option<Instant>,
    /// The smallest offset since `current_since`, and of the bucket before. Both stay over silence.
    current: Option<i64>,
    previous: Option<i64>,
    current_since: i64,
    doubt: Option<Doubt>,
    late: Option<Late>,
}

/// Lines that are late, one after the other.
#[derive(Clone, Copy, Debug)]
struct Late {
    /// Of the first.
    offset: i64,
    since: i64,
    smallest: i64,
    lines: u32,
}

/// Lines that say the host's clock has jumped ahead.
#[derive(Clone, Copy, Debug)]
struct Doubt {
    offset: i64,
    lines: u32,
}

impl Clock {
    /// The `Instant` at which the civil time `end_ms` was, for a line that arrived at `arrived`.
    /// Never later than `arrived`, and equal to it while the date cannot be believed.
    pub fn place(&mut self, end_ms: i64, arrived: Instant) -> Instant {
        let now = self.micros(arrived);
        let offset = now - end_ms * 1000;
        if self.smallest().is_none_or(|known| offset < known - DOUBTFUL_JUMP) {
            if self.is_confirmed(offset) {
                self.start_from(offset, now);
            }
            return arrived;
        }
        self.doubt = None;
        if self.smallest().is_some_and(|known| offset > known + LATE) {
            if let Some(offset) = self.set_back_to(offset, now) {
                self.start_from(offset, now);
            }
        } else {
            self.late = None;
            self.learn(offset, now);
        }
        let lag = offset - self.smallest().unwrap_or(offset);
        let lag = Duration::from_micros(u64::try_from(lag).unwrap_or(0));
        // An `Instant` reaches back further than any date a line can have, at least on Linux.
        arrived.checked_sub(lag).unwrap_or(arrived)
    }

    /// Learns from a line known to have been written at `written`, such as the last one of a file.
    pub fn seed(&mut self, end_ms: i64, written: Instant) {
        let now = self.micros(written);
        self.start_from(now - end_ms * 1000, now);
    }

    fn smallest(&self) -> Option<i64> {
        self.current.into_iter().chain(self.previous).min()
    }

    fn learn(&mut self, offset: i64, now: i64) {
        if now - self.current_since >= BUCKET {
            self.previous = self.current.take().or(self.previous);
            self.current_since = now;
        }
        self.current = Some(self.current.map_or(offset, |current| current.min(offset)));
    }

    fn start_from(&mut self, offset: i64, now: i64) {
        *self = Self { base: self.base, current: Some(offset), current_since: now, ..Self::default() };
    }

    /// Counts a line that is late. The new offset, once enough of them have shown that it is the clock.
    fn set_back_to(&mut self, offset: i64, now: i64) -> Option<i64> {
        let (least, share) = STEADY_WITHIN;
        let differs = |late: &Late| (offset - late.offset).abs() > least.max((now - late.since) / share);
        let from_here = Late { offset, since: now, smallest: offset, lines: 1 };
        let late = match self.late {
            // What it began with was something else.
            Some(late) if differs(&late) && now - late.since > BUCKET => from_here,
            Some(late) => Late { smallest: late.smallest.min(offset), lines: late.lines + 1, ..late },
            None => from_here,
        };
        self.late = Some(late);
        let is_steady = STEADY.iter().any(|&(long, lines)| now - late.since >= long && late.lines >= lines);
        (is_steady && !differs(&late)).then_some(late.smallest)
    }

    /// Whether enough lines in a row agree on an offset, this one included; a line that
    /// disagrees starts the count anew.
    fn is_confirmed(&mut self, offset: i64) -> bool {
        let agreeing = self.doubt.filter(|doubt| (offset - doubt.offset).abs() <= DOUBTFUL_JUMP);
        let lines = agreeing.map_or(1, |doubt| doubt.lines + 1);
        self.doubt = Some(Doubt { offset, lines });
        lines >= LINES_TO_CONFIRM
    }

    /// Microseconds from the base; before it they are negative.
    fn micros(&mut self, at: Instant) -> i64 {
        let base = *self.base.get_or_insert(at);
        let (after, before) = (at.saturating_duration_since(base), base.saturating_duration_since(at));
        let micros = |duration: Duration| i64::try_from(duration.as_micros()).unwrap_or(i64::MAX / 4);
        micros(after) - micros(before)
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test is the caller that brings `now`")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Some civil time.
    const END: i64 = 1_795_253_510_191;

    /// Lines as (arrives after, ends after, expected lag), all in milliseconds from a common start.
    #[track_caller]
    fn check(clock: &mut Clock, start: Instant, lines: &[(u64, i64, u64)]) {
        for &(arrives, ends, expected_lag) in lines {
            let arrived = start + Duration::from_millis(arrives);
            let lag = arrived - clock.place(END + ends, arrived);
            assert_eq!(lag.as_millis(), u128::from(expected_lag), "line at {arrives} ms");
        }
    }

    /// A clock that has learned, from lines that came 10 ms after their end.
    fn learned(start: Instant) -> Clock {
        let mut clock = Clock::default();
        check(&mut clock, start, &[(10, 0, 0), (20, 10, 0), (30, 20, 0)]);
        clock
    }

    #[test]
    fn a_line_that_was_held_back_lands_in_the_past() {
        let start = Instant::now();
        check(&mut learned(start), start, &[(5_000, 4_990, 0), (9_000, 5_990, 3_000), (9_000, 8_000, 990)]);
    }

    #[test]
    fn a_seed_places_the_first_line_read() {
        let start = Instant::now();
        let mut clock = Clock::default();
        clock.seed(END, start + Duration::from_millis(5));
        check(&mut clock, start, &[(3_600_005, 0, 3_600_000), (3_600_010, 3_600_000, 5)]);
    }

    #[test]
    fn a_corrupt_date_blinds_nobody() {
        let start = Instant::now();
        let year = 31_536_000_000;
        let lines =
            [(1_000, year, 0), (1_010, 1_000, 0), (1_020, year, 0), (1_030, year, 0), (1_040, 1_030, 0)];
        check(&mut learned(start), start, &lines);
        check(
            &mut Clock::default(),
            start,
            &[(0, year, 0), (10, 0, 0), (20, 10, 0), (30, 20, 0), (40, 20, 10)],
        );
    }

    #[test]
    fn a_clock_that_jumped_ahead_is_believed_after_three_lines() {
        let start = Instant::now();
        let hour = 3_600_000;
        let lines = [(1_010, hour + 1_000, 0), (1_020, hour + 1_010, 0), (1_030, hour + 1_020, 0)];
        let mut clock = learned(start);
        check(&mut clock, start, &lines);
        check(&mut clock, start, &[(2_010, hour + 1_500, 500), (2_020, hour + 2_010, 0)]);
    }

    #[test]
    fn a_clock_that_was_set_back_is_believed_after_five_seconds() {
        let start = Instant::now();
        let hour = 3_600_000;
        let mut clock = learned(start);
        for at in (1_000..=5_500).step_by(500) {
            check(&mut clock, start, &[(at + 10, at as i64 - hour, 3_600_000)]);
        }
        check(
            &mut clock,
            start,
            &[(6_015, 6_000 - hour, 5), (6_510, 6_500 - hour, 0), (7_010, 6_000 - hour, 1000)],
        );
    }

    #[test]
    fn a_clock_that_was_set_back_is_believed_after_a_minute_of_few_lines() {
        let start = Instant::now();
        let hour = 3_600_000;
        let mut clock = learned(start);
        check(&mut clock, start, &[(30_010, 30_000 - hour, 3_600_000), (61_010, 61_000 - hour, 3_600_000)]);
        check(&mut clock, start, &[(92_010, 92_000 - hour, 0), (122_010, 122_000 - hour, 0)]);
    }

    #[test]
    fn a_clock_that_was_set_back_is_seen_through_a_log_that_is_written_in_batches() {
        let start = Instant::now();
        let hour = 3_600_000;
        let mut clock = learned(start);
        let mut lags = Vec::new();
        for batch in 1..=4 {
            let arrived = start + Duration::from_millis(10_000 * batch);
            lags = (1..=100i64)
                .map(|n| {
                    let ends = 10_000 * (batch as i64 - 1) + 100 * n - hour;
                    (arrived - clock.place(END + ends, arrived)).as_millis()
                })
                .collect();
        }
        assert_eq!((lags[0], lags[99]), (9_900, 0));
    }

    #[test]
    fn lines_that_were_held_back_are_no_clock_that_was_set_back() {
        let start = Instant::now();
        // Five minutes of lines, four times as fast as they were written.
        let mut clock = learned(start);
        for n in 0..300 {
            let (ends, arrives) = (1_000 * n, 300_000 + 250 * n);
            check(&mut clock, start, &[(arrives as u64, ends, (arrives - ends - 10) as u64)]);
        }
        // Lines of now among them.
        let mut clock = learned(start);
        for n in 0..100 {
            let now = 1_000 + 200 * n;
            let lines = [(now as u64, now - 60_000, 59_990), (now as u64, now - 10, 0)];
            check(&mut clock, start, &lines[..if n % 10 == 9 { 2 } else { 1 }]);
        }
    }

    #[test]
    fn lines_replayed_after_a_silence_land_in_the_past() {
        let start = Instant::now();
        let lines = [(3_600_010, 100, 3_599_900), (3_600_020, 200, 3_599_810), (3_600_030, 3_600_020, 0)];
        check(&mut learned(start), start, &lines);
    }

    proptest! {
        #[test]
        fn nothing_is_placed_after_its_arrival(
            seed in proptest::option::of((any::<u32>(), -1_000_000i64..1_000_000)),
            lines in proptest::collection::vec((0u64..200_000, prop_oneof![
                -5_000i64..5_000,
                Just(-62_167_219_200_000 - END), // the year 0
                Just(253_402_300_799_999 - END), // the year 9999
            ]), 0..100),
        ) {
            let start = Instant::now() + Duration::from_secs(1_000);
            let mut clock = Clock::default();
            if let Some((written, end)) = seed {
                clock.seed(END + end, start + Duration::from_micros(written.into()));
            }
            let mut arrived = start;
            for (after, ends) in lines {
                arrived += Duration::from_millis(after);
                prop_assert!(clock.place(END + ends, arrived) <= arrived);
            }
        }

        #[test]
        fn lines_that_come_at_once_keep_their_distances(
            delays in proptest::collection::vec(0i64..1_000, 10..100),
        ) {
            let start = Instant::now();
            let mut clock = learned(start);
            for (number, delay) in delays.iter().enumerate() {
                let end = 1_000 + 100 * number as i64;
                let arrived = start + Duration::from_millis((end + 10 + delay) as u64);
                let expected = start + Duration::from_millis((end + 10) as u64);
                prop_assert_eq!(clock.place(END + end, arrived), expected);
            }
        }
    }
}
