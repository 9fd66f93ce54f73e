//! Random numbers for service times and arrivals: seeded, so that two runs differ by the
//! machine alone. Not for anything secret.

use std::f64::consts::TAU;
use std::time::Duration;

/// A splitmix64 generator.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Equal seeds give equal numbers.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Evenly spread over 0 (excluded) to 1 (included).
    pub fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        // The upper 53 bits are what a double can hold; +1 keeps 0 out, for the logarithms below.
        ((z >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }

    /// The time to the next arrival of a Poisson process of `rate` a second; an hour if the
    /// rate is not above 0.
    pub fn until_next(&mut self, rate: f64) -> Duration {
        const LONG: f64 = 3600.0;
        if rate > 0.0 {
            Duration::from_secs_f64((-self.unit().ln() / rate).min(LONG))
        } else {
            Duration::from_secs_f64(LONG)
        }
    }

    /// Lognormal with this `mean` and coefficient of variation `cv`: what service times look
    /// like, never negative, sometimes long. At most an hour.
    pub fn lognormal(&mut self, mean: Duration, cv: f64) -> Duration {
        let variance = (1.0 + cv * cv).ln();
        let normal = (-2.0 * self.unit().ln()).sqrt() * (TAU * self.unit()).cos();
        let factor = (variance.sqrt() * normal - variance / 2.0).exp();
        Duration::from_secs_f64((mean.as_secs_f64() * factor).min(3600.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAWS: usize = 100_000;

    fn mean_and_cv(draw: impl FnMut(usize) -> f64) -> (f64, f64) {
        let all: Vec<f64> = (0..DRAWS).map(draw).collect();
        let mean = all.iter().sum::<f64>() / DRAWS as f64;
        let variance = all.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / DRAWS as f64;
        (mean, variance.sqrt() / mean)
    }

    #[track_caller]
    fn check(found: (f64, f64), wanted: (f64, f64)) {
        let near = |a: f64, b: f64| (a - b).abs() <= 0.03 * b;
        assert!(near(found.0, wanted.0) && near(found.1, wanted.1), "found {found:?}, wanted {wanted:?}");
    }

    #[test]
    fn service_times_have_the_mean_and_the_spread_asked_for() {
        let mut random = Random::new(1);
        check(mean_and_cv(|_| random.lognormal(Duration::from_millis(20), 0.5).as_secs_f64()), (0.02, 0.5));
        check(mean_and_cv(|_| random.lognormal(Duration::from_millis(20), 1.0).as_secs_f64()), (0.02, 1.0));
    }

    #[test]
    fn arrivals_come_at_the_rate_asked_for_and_without_a_beat() {
        let mut random = Random::new(2);
        check(mean_and_cv(|_| random.until_next(250.0).as_secs_f64()), (0.004, 1.0));
    }

    #[test]
    fn no_spread_is_no_spread() {
        let took = Random::new(3).lognormal(Duration::from_millis(20), 0.0);
        assert!(took.abs_diff(Duration::from_millis(20)) < Duration::from_micros(1), "{took:?}");
    }

    #[test]
    fn no_rate_is_a_long_wait() {
        for rate in [0.0, -1.0, f64::NAN, f64::MIN_POSITIVE] {
            assert_eq!(Random::new(4).until_next(rate), Duration::from_secs(3600));
        }
    }
}
