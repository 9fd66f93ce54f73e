//! `ready.schedule:` of the file to the core's settings, and how its times are written.
//!
//! ```text
//! Mon-Fri 08:00-18:00     Sat,Sun     22:00-06:00     2026-12-24..2026-12-26     2026-11-27 06:00-24:00
//! ```

use jiff::civil::Date;
use serde::de::Error;

use super::backend::SERVERS;
use super::check::{Checker, Shown};
use super::error::{Mistake, Order};
use super::file::{Ready, ScheduleEntry};
use super::path::KeyPath;
use super::value::{FromText, OrAll, Value, shown};
use crate::core::settings::ReadyLimits;
use crate::core::settings::schedule::{A_DAY, Days, Entry, Minute, Schedule, Times};

/// From Monday.
const DAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

impl FromText for Times {
    const EXPECTED: &'static str =
        "a time such as `Mon-Fri 08:00-18:00`, `Sat,Sun` or `2026-12-24..2026-12-26`";

    fn from_text<E: Error>(text: &str) -> Result<Self, E> {
        read(text).map_err(|why| {
            E::custom(format_args!("`{}` is not {}: {why}", shown(text), <Self as FromText>::EXPECTED))
        })
    }
}

fn read(text: &str) -> Result<Times, String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let (on, span) = match words[..] {
        [one] if one.contains(':') => (None, Some(one)),
        [one] => (Some(one), None),
        [days, span] => (Some(days), Some(span)),
        _ => return Err("expected days, a span of the day, or both".to_owned()),
    };
    let days = on.map_or(Ok(Days::OfWeek([true; 7])), days)?;
    let (from, to) = span.map_or(Ok((0, A_DAY)), hours)?;
    Times::new(&words.join(" "), days, from, to)
        .ok_or_else(|| "it ends when it begins; a whole day is written without hours".to_owned())
}

fn days(text: &str) -> Result<Days, String> {
    if text.starts_with(|first: char| first.is_ascii_digit()) {
        let (first, last) = text.split_once("..").unwrap_or((text, text));
        return match (date(first)?, date(last)?) {
            (first, last) if first > last => Err("the last day is before the first".to_owned()),
            (first, last) => Ok(Days::Dates(first, last)),
        };
    }
    let mut days = [false; 7];
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (weekday(first)?, weekday(last)?);
        // `Fri-Mon` goes over the end of the week.
        (0..=(last + 7 - first) % 7).for_each(|more| days[(first + more) % 7] = true);
    }
    Ok(Days::OfWeek(days))
}

/// Its place in the week; three letters are enough.
fn weekday(text: &str) -> Result<usize, String> {
    let word = text.to_ascii_lowercase();
    let known = |day: &str| day == word || day[..3] == word;
    DAYS.iter().position(|day| known(day)).ok_or_else(|| format!("there is no day `{}`", shown(text)))
}

/// Days from the first of January 1970.
fn date(text: &str) -> Result<i64, String> {
    let date: Date = text.parse().map_err(|_| format!("there is no date `{}`", shown(text)))?;
    Ok(i64::from((date - Date::constant(1970, 1, 1)).get_days()))
}

fn hours(text: &str) -> Result<(Minute, Minute), String> {
    let (from, to) = text.split_once('-').ok_or("a span of the day has a beginning and an end")?;
    Ok((minute(from)?, minute(to)?))
}

fn minute(text: &str) -> Result<Minute, String> {
    let read = || {
        let (hour, minute) = text.split_once(':')?;
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let is_clock = (1..=2).contains(&hour.len()) && minute.len() == 2 && digits(hour) && digits(minute);
        let (hour, minute): (Minute, Minute) = (hour.parse().ok()?, minute.parse().ok()?);
        let time = hour * 60 + minute;
        (is_clock && minute < 60 && time <= A_DAY).then_some(time)
    };
    read().ok_or_else(|| format!("there is no time `{}`", shown(text)))
}

impl Checker<'_> {
    /// Fewest and most serving servers, and when there are others.
    pub(super) fn ready(&mut self, file: Ready, at: &KeyPath) -> (ReadyLimits, Schedule) {
        let always = self.limits(super::defaults::READY, (file.min, file.max), at);
        let entries = file.schedule.unwrap_or_default().into_iter().enumerate().map(|(nth, file)| {
            let here = at.key("schedule").index(nth);
            self.entry(always, file, &here)
        });
        (always, Schedule { entries: entries.collect() })
    }

    fn entry(&mut self, always: ReadyLimits, file: ScheduleEntry, at: &KeyPath) -> Entry {
        if file.min.is_none() && file.max.is_none() {
            let mistake = Mistake::Value("it has neither `min` nor `max`: nothing would change".to_owned());
            self.report(at, at, mistake);
        }
        let Value(times) = file.at;
        Entry { at: times, limits: self.limits(always, (file.min, file.max), at) }
    }

    fn limits(
        &mut self,
        always: ReadyLimits,
        (min, max): (Option<Value<u32>>, Option<Value<OrAll>>),
        at: &KeyPath,
    ) -> ReadyLimits {
        let mut limits = always;
        let is_max_given = max.is_some();
        self.set_within(&mut limits.min, at.key("min"), min, SERVERS);
        if let Some(Value(OrAll(most))) = max {
            limits.max = most.map(|number| {
                let mut within = *SERVERS.end();
                self.set_within(&mut within, at.key("max"), Some(Value(number)), SERVERS);
                within
            });
        }
        if let Some(max) = limits.max.filter(|&max| max < limits.min) {
            let order = Order {
                first: "min",
                first_value: limits.min.shown(),
                relation: "above",
                second: if is_max_given { "max" } else { "ready.max" },
                second_value: max.shown(),
            };
            let there = if is_max_given { "max" } else { "min" };
            self.report(&at.key(there), at, Mistake::Order(Box::new(order)));
        }
        limits
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::settings::schedule::CivilTime;
    use proptest::prelude::*;

    /// Whether `text` holds at `time`, such as `2026-11-23T08:00`, a Monday.
    #[track_caller]
    fn check(text: &str, time: &str, expected: bool) {
        let limits = |min| ReadyLimits { min, max: None };
        let schedule = Schedule { entries: vec![Entry { at: read(text).unwrap(), limits: limits(2) }] };
        let time: jiff::civil::DateTime = time.parse().unwrap();
        let time = time.to_zoned(jiff::tz::TimeZone::UTC).unwrap().timestamp().as_second();
        let found = schedule.limits_at(limits(1), CivilTime::new(time)).1;
        assert_eq!(found.is_some(), expected, "{text} at {time}");
    }

    #[test]
    fn times_are_read_as_they_are_meant() {
        check("Mon-Fri 08:00-18:00", "2026-11-23T08:00", true);
        check("Mon-Fri 08:00-18:00", "2026-11-23T18:00", false);
        check("mon,WEDNESDAY 8:00-18:00", "2026-11-25T09:00", true);
        check("mon,WEDNESDAY 8:00-18:00", "2026-11-24T09:00", false);
        check("Fri-Mon", "2026-11-22T23:59", true);
        check("Fri-Mon", "2026-11-24T00:00", false);
        check("22:00-06:00", "2026-11-24T05:00", true);
        check("06:00-24:00", "2026-11-24T05:00", false);
        check("2026-11-27", "2026-11-27T00:00", true);
        check("2026-11-27", "2026-11-28T00:00", false);
        check("2026-12-24..2027-01-02  20:00-02:00", "2027-01-03T01:59", true);
        check("2026-12-24..2027-01-02 20:00-02:00", "2026-12-24T01:59", false);
    }

    #[track_caller]
    fn check_refused(text: &str, why: &str) {
        let told = read(text).unwrap_err();
        assert!(told.contains(why), "{text}: {told}");
    }

    #[test]
    fn what_is_no_time_is_told() {
        check_refused("", "expected days");
        check_refused("Mon 08:00 18:00", "expected days");
        check_refused("Mon-Fry", "no day `Fry`");
        check_refused("M 08:00-18:00", "no day `M`");
        check_refused("08:00", "a beginning and an end");
        check_refused("08:00-08:00", "ends when it begins");
        check_refused("24:00-08:00", "ends when it begins");
        check_refused("08:60-18:00", "no time `08:60`");
        check_refused("08:00-24:01", "no time `24:01`");
        check_refused("008:00-18:00", "no time `008:00`");
        check_refused("+8:00-18:00", "no time `+8:00`");
        check_refused("2026-02-30", "no date `2026-02-30`");
        check_refused("2026-12-26..2026-12-24", "before the first");
        check_refused("8-18", "no date `8-18`");
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[-MonTuFri0-9:., \u{e9}]*|\\PC*") {
            let _ = read(&text);
        }
    }
}
