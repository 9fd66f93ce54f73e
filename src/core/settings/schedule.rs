//! Floors and ceilings by the time of day, of the week, or of a date.
//!
//! In: what the clocks on the wall say, as [`CivilTime`]. Out: the [`ReadyLimits`] in force. Nothing here knows
//! a time zone: a day on which the clocks are changed has an hour twice, or lacks one, as people have it.

use super::ReadyLimits;

/// What the clocks on the wall say: seconds from the midnight that began 1970, without a time zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CivilTime(i64);

/// A minute within a day, 0 to [`A_DAY`].
pub type Minute = u16;

/// Minutes of a day; as an end, midnight.
pub const A_DAY: Minute = 24 * 60;

/// Between the beginnings and ends of dates every week is like the other: what changes, does within so many days.
const A_WEEK: i64 = 8;

impl CivilTime {
    /// `seconds` from the midnight that began 1970.
    pub const fn new(seconds: i64) -> Self {
        Self(seconds)
    }

    /// Seconds from the midnight that began 1970.
    pub const fn seconds(self) -> i64 {
        self.0
    }

    fn at(day: i64, minute: Minute) -> Self {
        Self(day * 86_400 + i64::from(minute) * 60)
    }

    /// Days from the first of January 1970.
    const fn day(self) -> i64 {
        self.0.div_euclid(86_400)
    }

    fn minute(self) -> Minute {
        (self.0.rem_euclid(86_400) / 60) as Minute
    }
}

/// Limits for certain times; at all others those of `ready` itself hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schedule {
    /// Where several hold at a time, the last one wins.
    pub entries: Vec<Entry>,
}

/// Limits, and when they hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When.
    pub at: Times,
    /// Both of them; one that the file does not give is that of `ready` itself.
    pub limits: ReadyLimits,
}

/// A span of the day on certain days. One that ends before it begins goes on over midnight, and
/// belongs to the day on which it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Times {
    words: String,
    days: Days,
    from: Minute,
    to: Minute,
}

/// On which days.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Days {
    /// Of the week, from Monday.
    OfWeek([bool; 7]),
    /// From the first to the last, both included, in days from the first of January 1970.
    Dates(i64, i64),
}

impl Days {
    /// The first of January 1970 was a Thursday.
    fn has(&self, day: i64) -> bool {
        match self {
            Self::OfWeek(days) => days[(day + 3).rem_euclid(7) as usize],
            Self::Dates(first, last) => (*first..=*last).contains(&day),
        }
    }
}

impl Times {
    /// `days` from minute `from` to before minute `to`, which are not the same and at most [`A_DAY`]; else `None`.
    /// `words` is how it was written.
    pub fn new(words: &str, days: Days, from: Minute, to: Minute) -> Option<Self> {
        let is_span = from != to && from < A_DAY && (1..=A_DAY).contains(&to);
        is_span.then(|| Self { words: words.to_owned(), days, from, to })
    }

    /// As it was written.
    pub fn words(&self) -> &str {
        &self.words
    }

    fn has(&self, time: CivilTime) -> bool {
        let (day, minute) = (time.day(), time.minute());
        if self.from < self.to {
            self.days.has(day) && (self.from..self.to).contains(&minute)
        } else {
            (self.days.has(day) && minute >= self.from) || (self.days.has(day - 1) && minute < self.to)
        }
    }
}

impl Schedule {
    /// The limits at `time`, and the entry they are from; `None`: they are those of `ready` itself, `always`.
    pub fn limits_at(&self, always: ReadyLimits, time: CivilTime) -> (ReadyLimits, Option<&Entry>) {
        let entry = self.entries.iter().rev().find(|entry| entry.at.has(time));
        (entry.map_or(always, |entry| entry.limits), entry)
    }

    /// When the limits change next after `time`; `None` if they never do.
    pub fn next_change(&self, always: ReadyLimits, time: CivilTime) -> Option<CivilTime> {
        let now = self.limits_at(always, time).0;
        let mut starts = vec![time.day()];
        let mut minutes = vec![0];
        for Entry { at, .. } in &self.entries {
            minutes.extend([at.from, at.to]);
            if let Days::Dates(first, last) = at.days {
                starts.extend([first, last + 1]);
            }
        }
        let days = starts.iter().flat_map(|start| start - 1..=start + A_WEEK);
        let mut turns: Vec<CivilTime> =
            days.flat_map(|day| minutes.iter().map(move |&minute| CivilTime::at(day, minute))).collect();
        turns.retain(|&turn| turn > time);
        turns.sort_unstable();
        turns.into_iter().find(|&turn| self.limits_at(always, turn).0 != now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WORKDAYS: Days = Days::OfWeek([true, true, true, true, true, false, false]);
    const ALWAYS: ReadyLimits = ReadyLimits { min: 1, max: None };

    fn limits(min: u32) -> ReadyLimits {
        ReadyLimits { min, max: Some(min + 8) }
    }

    fn entry(days: Days, from: Minute, to: Minute, min: u32) -> Entry {
        Entry { at: Times::new("", days, from, to).expect("a span"), limits: limits(min) }
    }

    fn schedule(entries: &[Entry]) -> Schedule {
        Schedule { entries: entries.to_vec() }
    }

    /// Day 0 is Monday, the fifth of January 1970.
    fn at(day: i64, hour: u16, minute: u16) -> CivilTime {
        CivilTime::at(4 + day, hour * 60 + minute)
    }

    #[track_caller]
    fn check(schedule: &Schedule, time: CivilTime, min: u32) {
        assert_eq!(schedule.limits_at(ALWAYS, time).0.min, min);
    }

    #[test]
    fn a_span_begins_with_its_first_minute_and_ends_before_its_last() {
        let office = schedule(&[entry(WORKDAYS, 8 * 60, 18 * 60, 4)]);
        check(&office, at(0, 7, 59), 1);
        check(&office, at(0, 8, 0), 4);
        check(&office, at(4, 17, 59), 4);
        check(&office, at(4, 18, 0), 1);
        check(&office, at(5, 12, 0), 1);
        check(&office, at(-7, 12, 0), 4);
    }

    #[test]
    fn a_night_belongs_to_the_day_on_which_it_begins() {
        let nights = schedule(&[entry(WORKDAYS, 22 * 60, 6 * 60, 4)]);
        check(&nights, at(0, 5, 59), 1); // the night from Sunday
        check(&nights, at(0, 22, 0), 4);
        check(&nights, at(5, 5, 59), 4); // the night from Friday
        check(&nights, at(5, 6, 0), 1);
        check(&nights, at(5, 23, 0), 1);
    }

    #[test]
    fn of_several_entries_the_last_one_wins() {
        let both = schedule(&[entry(WORKDAYS, 0, A_DAY, 4), entry(Days::Dates(5, 6), 0, A_DAY, 2)]);
        check(&both, at(0, 12, 0), 4);
        check(&both, at(1, 12, 0), 2);
        check(&both, at(3, 0, 0), 4);
        assert_eq!(both.next_change(ALWAYS, at(0, 12, 0)), Some(at(1, 0, 0)));
        assert_eq!(both.next_change(ALWAYS, at(1, 0, 0)), Some(at(3, 0, 0)));
    }

    #[test]
    fn dates_far_ahead_are_the_next_change_and_dates_gone_by_are_none() {
        let sale = schedule(&[entry(Days::Dates(1000, 1002), 8 * 60, 20 * 60, 9)]);
        assert_eq!(sale.next_change(ALWAYS, at(0, 0, 0)), Some(CivilTime::at(1000, 8 * 60)));
        assert_eq!(
            sale.next_change(ALWAYS, CivilTime::at(1002, 12 * 60)),
            Some(CivilTime::at(1002, 20 * 60))
        );
        assert_eq!(sale.next_change(ALWAYS, CivilTime::at(1002, 20 * 60)), None);
        assert_eq!(Schedule::default().next_change(ALWAYS, at(0, 0, 0)), None);
    }

    #[test]
    fn a_span_of_nothing_is_none() {
        assert_eq!(Times::new("", WORKDAYS, 60, 60), None);
        assert_eq!(Times::new("", WORKDAYS, A_DAY, 60), None);
        assert_eq!(Times::new("", WORKDAYS, 60, A_DAY + 1), None);
    }

    fn days() -> impl Strategy<Value = Days> {
        let dates = (0..20i64, 0..15i64).prop_map(|(first, more)| Days::Dates(first, first + more));
        prop_oneof![any::<[bool; 7]>().prop_map(Days::OfWeek), dates]
    }

    fn entries() -> impl Strategy<Value = Vec<Entry>> {
        let entry =
            (days(), 0..24u16, 1..=24u16, 1..4u32).prop_filter_map("a span", |(days, from, to, min)| {
                let at = Times::new("", days, from * 60, to * 60)?;
                Some(Entry { at, limits: limits(min) })
            });
        prop::collection::vec(entry, 0..5)
    }

    proptest! {
        /// Each hour of two weeks is decided by the entries alone, taken one by one.
        #[test]
        fn the_last_entry_that_holds_decides(entries in entries(), hour in 0..400i64) {
            let time = CivilTime::new(hour * 3600);
            let mut expected = ALWAYS;
            for entry in &entries {
                // A span is the hours that follow its beginning, on whatever day they are.
                let length = (i64::from(entry.at.to) - i64::from(entry.at.from)).rem_euclid(1440);
                let length = if length == 0 { 1440 } else { length };
                let since = |day: i64| hour * 60 - (day * 1440 + i64::from(entry.at.from));
                let today = hour.div_euclid(24);
                let holds = [today, today - 1].iter().any(|&day| entry.at.days.has(day) && (0..length).contains(&since(day)));
                if holds {
                    expected = entry.limits;
                }
            }
            prop_assert_eq!(schedule(&entries).limits_at(ALWAYS, time).0, expected);
        }

        /// Until the next change nothing changes, and then it does.
        #[test]
        fn the_next_change_is_the_next(entries in entries(), minute in 0..20_000i64) {
            let schedule = schedule(&entries);
            let time = CivilTime::new(minute * 60);
            let now = schedule.limits_at(ALWAYS, time).0;
            let next = schedule.next_change(ALWAYS, time);
            let horizon = next.unwrap_or(CivilTime::at(40, 0));
            let mut between = (time.0..horizon.0).step_by(60).map(CivilTime::new);
            prop_assert!(between.all(|time| schedule.limits_at(ALWAYS, time).0 == now));
            if let Some(next) = next {
                prop_assert_ne!(schedule.limits_at(ALWAYS, next).0, now);
            }
        }
    }
}
