//! Numbers that cannot be out of range.

use std::fmt;

/// A server's weight in HAProxy's unit, 0 to 256 (configuration manual 5.2, `weight`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Weight(u16);

impl Weight {
    /// No new load-balanced traffic; persistent sessions go on.
    pub const ZERO: Self = Self(0);
    /// The smallest weight that takes load-balanced traffic.
    pub const ONE: Self = Self(1);
    /// The largest weight HAProxy takes.
    pub const MAX: Self = Self(256);

    /// `None` above 256.
    pub const fn new(weight: u16) -> Option<Self> {
        if weight <= Self::MAX.0 { Some(Self(weight)) } else { None }
    }

    /// The nearest weight: below 0 becomes 0, above 256 becomes 256, NaN becomes 0.
    pub fn saturating(weight: f64) -> Self {
        Self(weight.round().clamp(0.0, f64::from(Self::MAX.0)) as u16)
    }

    /// The plain number, 0 to 256.
    pub const fn value(self) -> u16 {
        self.0
    }
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A share of a whole, 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Ratio(f64);

impl Ratio {
    /// Nothing of it.
    pub const NONE: Self = Self(0.0);
    /// All of it.
    pub const ALL: Self = Self(1.0);

    /// So many percent, at most 100.
    pub const fn percent(percent: u8) -> Self {
        Self(if percent < 100 { percent as f64 / 100.0 } else { 1.0 })
    }

    /// `None` unless `0 <= ratio <= 1`.
    pub fn new(ratio: f64) -> Option<Self> {
        (0.0..=1.0).contains(&ratio).then_some(Self(ratio))
    }

    /// The plain number, 0 to 1.
    pub const fn value(self) -> f64 {
        self.0
    }
}

impl fmt::Display for Ratio {
    /// As a percentage with as many digits as it takes, at most two behind the point: `90%`, `33.3%`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", (self.0 * 1e4).round() / 1e2)
    }
}

/// A percentile above 0 and at most 100, such as 95 or 99.9.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Percentile(f64);

impl Percentile {
    /// All but the slowest twentieth.
    pub const P95: Self = Self(95.0);

    /// `None` unless `0 < percentile <= 100`.
    pub fn new(percentile: f64) -> Option<Self> {
        (percentile > 0.0 && percentile <= 100.0).then_some(Self(percentile))
    }

    /// The plain number, above 0 and at most 100.
    pub const fn value(self) -> f64 {
        self.0
    }
}

impl fmt::Display for Percentile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weight_is_never_out_of_range() {
        assert_eq!(Weight::new(256), Some(Weight::MAX));
        assert_eq!(Weight::new(257), None);
        assert_eq!(Weight::saturating(1e9), Weight::MAX);
        assert_eq!(Weight::saturating(-1.0), Weight::ZERO);
        assert_eq!(Weight::saturating(f64::NAN), Weight::ZERO);
    }

    #[test]
    fn percentile_is_never_out_of_range() {
        assert!(Percentile::new(0.0).is_none());
        assert!(Percentile::new(100.1).is_none());
        assert!(Percentile::new(f64::NAN).is_none());
        assert_eq!(Percentile::new(99.9).unwrap().to_string(), "p99.9");
    }
}
