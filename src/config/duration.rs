//! Durations as they are written: `500ms`, `30s`, `5m`, `2h`.

use std::fmt;
use std::time::Duration;

/// No duration is longer; a year cannot overflow any clock.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// What is wrong with a duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// A number alone.
    #[error("has no unit, such as `ms` or `s`")]
    NoUnit,
    /// A unit that is none of ours.
    #[error("has none of the units `ms`, `s`, `m`, `h`")]
    UnknownUnit,
    /// No whole number before the unit.
    #[error("is not a whole number with a unit, such as `250ms` or `30s`")]
    NotWhole,
    /// More than a year.
    #[error("is longer than a year")]
    TooLong,
}

/// Reads a whole number with one of the units `ms`, `s`, `m`, `h`; at most a year. A bare `0` is zero.
///
/// # Errors
/// It is nothing of the kind.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    let digits_end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(digits_end);
    if digits.is_empty() {
        return Err(DurationError::NotWhole);
    }
    let unit_ms: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "" if digits.bytes().all(|digit| digit == b'0') => 1,
        "" => return Err(DurationError::NoUnit),
        unit if unit.bytes().all(|byte| byte.is_ascii_alphabetic()) => {
            return Err(DurationError::UnknownUnit);
        }
        _ => return Err(DurationError::NotWhole),
    };
    // Digits alone cannot fail to parse but by overflow.
    let number: u64 = digits.parse().map_err(|_| DurationError::TooLong)?;
    let duration = Duration::from_millis(number.checked_mul(unit_ms).ok_or(DurationError::TooLong)?);
    if duration > LONGEST { Err(DurationError::TooLong) } else { Ok(duration) }
}

/// Prints a duration as it is written in a config: in the largest unit that divides it.
pub(super) struct Written(pub(super) Duration);

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0.as_millis();
        let (unit_ms, unit) = match ms {
            0 => (1_000, "s"),
            _ if ms.is_multiple_of(3_600_000) => (3_600_000, "h"),
            _ if ms.is_multiple_of(60_000) => (60_000, "m"),
            _ if ms.is_multiple_of(1_000) => (1_000, "s"),
            _ => (1, "ms"),
        };
        write!(f, "{}{unit}", ms / unit_ms)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<u64, DurationError>) {
        assert_eq!(parse_duration(text), expected.map(Duration::from_millis), "{text:?}");
    }

    #[test]
    fn units_are_milliseconds_seconds_minutes_hours() {
        check("500ms", Ok(500));
        check("30s", Ok(30_000));
        check("5m", Ok(300_000));
        check("2h", Ok(7_200_000));
        check("0s", Ok(0));
        check("0", Ok(0));
        check("8760h", Ok(31_536_000_000));
    }

    #[test]
    fn anything_else_is_refused_for_what_it_is() {
        check("", Err(DurationError::NotWhole));
        check("s", Err(DurationError::NotWhole));
        check("-1s", Err(DurationError::NotWhole));
        check("1.5s", Err(DurationError::NotWhole));
        check("1m30s", Err(DurationError::NotWhole));
        check(" 1s", Err(DurationError::NotWhole));
        check("1 s", Err(DurationError::NotWhole));
        check("250", Err(DurationError::NoUnit));
        check("2d", Err(DurationError::UnknownUnit));
        check("1S", Err(DurationError::UnknownUnit));
        check("8761h", Err(DurationError::TooLong));
        check("99999999999999999999s", Err(DurationError::TooLong));
        check("18446744073709551615h", Err(DurationError::TooLong));
    }

    proptest! {
        #[test]
        fn a_written_duration_is_read_back(ms in 0..=LONGEST.as_millis() as u64) {
            let duration = Duration::from_millis(ms);
            prop_assert_eq!(parse_duration(&Written(duration).to_string()), Ok(duration));
        }

        #[test]
        fn no_text_panics(text in "\\PC*") {
            let _ = parse_duration(&text);
        }
    }
}
