//! Shares as they are written: `10%`.

use std::fmt;
use std::time::Duration;

/// A whole share of something, 0 % to 1000 %.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Percent(u32);

impl Percent {
    /// Ten times the whole; more is a slip of the finger.
    const MOST: u32 = 1000;

    /// That many percent.
    pub(super) const fn new(percent: u32) -> Self {
        Self(percent)
    }

    /// Reads a whole number with `%`; `None` if it is nothing of the kind.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_suffix('%')?;
        let all_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        let percent = all_digits.then(|| digits.parse().ok()).flatten()?;
        (percent <= Self::MOST).then_some(Self(percent))
    }

    /// As a part of 1.
    pub(super) fn fraction(self) -> f64 {
        f64::from(self.0) / 100.0
    }

    /// This share of `whole`.
    pub(super) fn of(self, whole: Duration) -> Duration {
        whole.saturating_mul(self.0) / 100
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, of_a_second_ms: Option<u64>) {
        let share = Percent::parse(text).map(|percent| percent.of(Duration::from_secs(1)));
        assert_eq!(share, of_a_second_ms.map(Duration::from_millis), "{text:?}");
    }

    #[test]
    fn a_percent_is_a_hundredth() {
        check("0%", Some(0));
        check("10%", Some(100));
        check("100%", Some(1000));
        check("1000%", Some(10_000));
    }

    #[test]
    fn anything_else_is_no_percent() {
        for text in ["", "%", "10", "10 %", "-1%", "+1%", "1.5%", "1001%", "99999999999%", "10%%"] {
            check(text, None);
        }
    }
}
