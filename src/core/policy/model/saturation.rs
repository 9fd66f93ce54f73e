//! Servers that are at their limit, whatever their curve says.
//!
//! More comes than is answered while the streams grow, or HAProxy has to queue in front of servers
//! with a `maxconn`: then what a server can do is what it just does.

use std::time::{Duration, Instant};

use crate::core::estimate::load::{LoadFigures, Service};

/// The same servers for so long: those that have just come have not shown what they can do.
const SAME_SERVERS: Duration = Duration::from_secs(4);
/// Where the knee says that the servers can do more, it takes longer to believe that they cannot.
const AGAINST_THE_KNEE: Duration = Duration::from_secs(8);
/// Against it is: less than this share of the workers is busy.
const BUSY_AT_LEAST: f64 = 0.7;
/// Fewer requests answered a second are no evidence of a limit.
const LEAST_ANSWERED: f64 = 1.0;

/// More comes than is answered.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Saturation {
    since: Option<Instant>,
}

impl Saturation {
    /// Requests a second that one of `serving` servers' worth answers at its limit; `None`: none is seen.
    pub(super) fn observe(
        &mut self,
        load: &LoadFigures,
        serving: f64,
        same_for: Duration,
        now: Instant,
    ) -> Option<f64> {
        if serving <= 0.0 || same_for < SAME_SERVERS || !is_outrun(load) {
            self.since = None;
            return None;
        }
        let for_so_long = now.saturating_duration_since(*self.since.get_or_insert(now));
        let each = load.throughput.last_4 / serving;
        let contradicts =
            |service: Service| service.knee && each * service.time < BUSY_AT_LEAST * service.workers;
        let must_last = if load.service.is_some_and(contradicts) { AGAINST_THE_KNEE } else { Duration::ZERO };
        (for_so_long >= must_last).then_some(each)
    }
}

fn is_outrun(load: &LoadFigures) -> bool {
    let answered = load.throughput;
    answered.last_4 >= LEAST_ANSWERED
        && load.arrivals.last_4 > 1.25 * answered.last_4
        && answered.second_half <= 1.15 * answered.first_half
        && load.streams_grown > 4.0 * (f64::from(load.streams) + 4.0).sqrt()
}

/// Full servers are not quite full: a place is free between two requests.
const FULL: f64 = 0.95;
/// Servers that hang do not show what they can do: less than this of the curve's is not believed.
const LEAST_SHARE: f64 = 0.3;

/// The workers of a server: those of the curve, or fewer where it was full with fewer.
pub(super) fn workers(load: &LoadFigures, service: &Service) -> f64 {
    let full = load.saturated_workers.map_or(f64::INFINITY, |workers| workers / FULL);
    full.clamp(LEAST_SHARE * service.workers, service.workers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::policy::model::testing::steady;

    /// 300 come, 200 are answered.
    fn outrun() -> LoadFigures {
        let mut load = steady(300.0);
        load.throughput.last_4 = 200.0;
        (load.throughput.first_half, load.throughput.second_half) = (200.0, 200.0);
        (load.streams, load.streams_grown) = (480, 400.0);
        load
    }

    #[track_caller]
    fn check(change: impl Fn(&mut LoadFigures), same_s: u64, seconds: u64, expected: Option<f64>) {
        let mut load = outrun();
        change(&mut load);
        let (mut saturation, start) = (Saturation::default(), Instant::now());
        let mut found = None;
        for second in 0..=seconds {
            let now = start + Duration::from_secs(second);
            found = saturation.observe(&load, 2.0, Duration::from_secs(same_s), now);
        }
        assert_eq!(found, expected);
    }

    #[test]
    fn servers_are_at_their_limit_when_more_comes_than_they_answer() {
        check(|_| {}, 4, 0, Some(100.0));
        check(|_| {}, 3, 0, None);
        check(|load| load.arrivals.last_4 = 250.0, 4, 20, None);
        check(|load| load.throughput.second_half = 231.0, 4, 20, None);
        check(|load| load.streams_grown = 80.0, 4, 20, None);
        check(|load| load.throughput.last_4 = 0.0, 4, 20, None);
    }

    #[test]
    fn against_the_knee_it_takes_longer() {
        let half_used = |load: &mut LoadFigures| load.throughput.last_4 = 120.0;
        check(half_used, 4, 7, None);
        check(half_used, 4, 8, Some(60.0));
        let unknown = |load: &mut LoadFigures| (load.throughput.last_4, load.service) = (120.0, None);
        check(unknown, 4, 0, Some(60.0));
    }

    #[test]
    fn servers_that_were_full_have_no_more_workers_than_they_showed() {
        #[track_caller]
        fn check(seen: Option<f64>, expected: f64) {
            let load = LoadFigures { saturated_workers: seen, ..steady(100.0) };
            let service = load.service.expect("it is known");
            assert!((workers(&load, &service) - expected).abs() < 1e-9);
        }
        check(None, 8.0);
        check(Some(5.7), 6.0);
        check(Some(20.0), 8.0);
        check(Some(0.0), 2.4);
    }
}
