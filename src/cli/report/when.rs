//! Civil times, as HAProxy's dates are: without a zone.

use jiff::civil::DateTime;

use crate::core::log::date::Date;

/// What may be left out at the end of a time, and what stands for it.
const LEFT_OUT: [&str; 3] = ["", ":00", "T00:00:00"];

/// `2026-11-21`, `2026-11-21T09:31` (or with a blank), `2026-11-21T09:31:50.191`, or as HAProxy writes it,
/// `21/Nov/2026:09:31:50.191`: civil milliseconds from 1970.
pub(in crate::cli) fn parse(text: &str) -> Result<i64, String> {
    let read = |end: &&str| Date::from_any(format!("{text}{end}").as_bytes()).map(|date| date.millis);
    let has_form = text.contains(['-', '/']);
    LEFT_OUT.iter().find_map(read).filter(|_| has_form).ok_or_else(|| {
        "expected a date such as 2026-11-21, 2026-11-21T09:31 or 21/Nov/2026:09:31:50, in HAProxy's time"
            .to_owned()
    })
}

/// `2026-11-21T09:31:50`.
pub(in crate::cli) fn written(second: i64) -> String {
    let time = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);
    // Four digits of a year, which is what lines have, are in its range.
    let time = time.checked_add(jiff::SignedDuration::from_secs(second)).unwrap_or(time);
    time.strftime("%Y-%m-%dT%H:%M:%S").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_as_it_is_written() {
        for text in ["2026-11-21T09:31:50", "2026-11-21 09:31:50.999", "21/Nov/2026:09:31:50"] {
            assert_eq!(written(parse(text).unwrap().div_euclid(1000)), "2026-11-21T09:31:50", "{text}");
        }
        assert_eq!(written(parse("2026-11-21T09:31").unwrap() / 1000), "2026-11-21T09:31:00");
        assert_eq!(written(parse("2026-11-21").unwrap() / 1000), "2026-11-21T00:00:00");
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in ["", "yesterday", "09:31", "2026-13-01", "1700000000", "2026-11-21T25:00"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
