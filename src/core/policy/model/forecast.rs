//! What will come by the time that a server ordered now can serve.

use std::time::Duration;

use crate::core::estimate::load::{Arrivals, Change};

/// From one evaluation to the order, and a little to spare.
const MARGIN_S: f64 = 3.0;
/// A rise is never taken for more than this many times of what comes already,
const MOST_SUDDEN: f64 = 1.5;
/// and a slow one not for more than this.
const MOST_SLOW: f64 = 0.5;
/// What has been there within the hour is expected again; more than this of it is not.
const OVER_PEAK: f64 = 1.1;

/// What is expected.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Forecast {
    /// A sudden rise.
    pub sudden: Option<Rise>,
    /// By so many requests a second more than over the last 30 s, from a slow rise.
    pub slow: f64,
    /// That is so long from now: a server ordered now serves by then.
    pub within: Duration,
}

/// A sudden rise of the arrivals.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rise {
    /// Requests a second, more each second.
    pub slope: f64,
    /// Requests a second expected.
    pub arrivals: f64,
}

impl Forecast {
    /// For a server that takes `lead` from its order to its first line.
    pub(super) fn of(arrivals: &Arrivals, lead: Duration) -> Self {
        let horizon = lead.as_secs_f64() + MARGIN_S;
        let sudden = |level: f64, change: Change, sigmas: f64, age: f64| {
            let rise = (change.slope * (horizon + age)).min(MOST_SUDDEN * level);
            (change.slope > sigmas * change.sigma && change.slope > 0.0)
                .then(|| Rise { slope: change.slope, arrivals: known(level, level + rise, arrivals.peak) })
        };
        let rises = [
            sudden(arrivals.last_5, arrivals.change_5, 4.0, 2.5),
            sudden(arrivals.last_3, arrivals.change_3, 5.0, 1.5),
        ];
        let change = arrivals.change_30;
        let slow = match change.slope > 2.5 * change.sigma && change.slope > 0.0 {
            true => (change.slope * (horizon + 15.0)).min(MOST_SLOW * arrivals.last_30),
            false => 0.0,
        };
        let within = Duration::try_from_secs_f64(horizon).unwrap_or(lead);
        Self {
            within,
            slow,
            sudden: rises.into_iter().flatten().max_by(|a, b| a.arrivals.total_cmp(&b.arrivals)),
        }
    }
}

/// `expected`, but as long as there are fewer than at the last hour's peak, hardly more than then.
fn known(level: f64, expected: f64, peak: Option<f64>) -> f64 {
    match peak.map(|peak| OVER_PEAK * peak).filter(|most| level < *most) {
        Some(most) => expected.min(most),
        None => expected,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::policy::model::testing::steady;

    /// 100 requests a second, a rise by `slope` over the last 5 s, and `peak` within the last hour.
    #[track_caller]
    fn check(slope: f64, peak: Option<f64>, lead_s: u64, expected: Option<f64>) {
        let change = Change { slope, sigma: 2.0 };
        let arrivals = Arrivals { change_5: change, peak, ..steady(100.0).arrivals };
        let found = Forecast::of(&arrivals, Duration::from_secs(lead_s)).sudden;
        assert_eq!(found.map(|rise| rise.arrivals), expected);
    }

    #[test]
    fn a_rise_is_followed_to_when_a_server_can_be_there() {
        check(8.0, None, 5, None); // 4 sigma
        check(9.0, None, 5, Some(100.0 + 9.0 * 10.5));
        check(9.0, None, 0, Some(100.0 + 9.0 * 5.5));
        check(60.0, None, 5, Some(250.0)); // never more than half as much again on top of it all
        check(-60.0, None, 5, None);
    }

    #[test]
    fn what_is_far_above_the_last_hour_is_not_believed_until_it_is_there() {
        check(9.0, Some(150.0), 5, Some(165.0));
        check(9.0, Some(80.0), 5, Some(194.5));
    }

    #[test]
    fn a_slow_rise_adds_half_of_what_comes_at_most() {
        #[track_caller]
        fn check(slope: f64, lead_s: u64, expected: f64) {
            let change_30 = Change { slope, sigma: 0.2 };
            let arrivals = Arrivals { change_30, ..steady(100.0).arrivals };
            assert_eq!(Forecast::of(&arrivals, Duration::from_secs(lead_s)).slow, expected);
        }
        check(0.5, 5, 0.0); // 2.5 sigma
        check(0.6, 5, 0.6 * 23.0);
        check(0.6, 120, 50.0);
    }
}
