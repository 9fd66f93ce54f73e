//! From the load to a number of servers.

use std::time::Duration;

use super::forecast::Forecast;
use crate::core::estimate::load::LoadFigures;

/// Requests that are taken off the last 3 s before they count as a level: what chance adds.
const CHANCE: f64 = 1.5;
/// So much of a server's `maxconn` may be held; for fewer servers, so much.
const SLOTS: f64 = 0.8;
const SLOTS_FOR_FEWER: f64 = 0.7;
/// A need that is over a whole number of servers by no more than this does not make one more.
const CREDIT: f64 = 0.05;
const CREDIT_FOR_FEWER: f64 = 0.02;
/// Those that remain may carry at least this share of the limit.
const LEAST_FOR_FEWER: f64 = 0.5;

/// What one server may carry.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Capacity {
    /// Seconds of a worker that a request costs.
    pub(super) service: f64,
    /// Its workers.
    pub(super) workers: f64,
    /// So many of them may be busy.
    pub(super) carries: f64,
    /// With more of them busy there is no time to lose.
    pub(super) panic: f64,
    /// With fewer of them busy on those that remain, one may go.
    pub(super) eases: f64,
    /// Connections it may hold.
    pub(super) slots: Option<f64>,
}

impl Capacity {
    /// `carries` before saturation; `limit`: requests a second that a server was seen to answer at most.
    pub(super) fn new(
        service: f64,
        workers: f64,
        carries: f64,
        limit: Option<f64>,
        band: f64,
        slots: Option<f64>,
    ) -> Self {
        let seen = limit.map(|limit| limit * service);
        let carries = seen.map_or(carries, |seen| (0.9 * seen).clamp(0.6 * carries, carries));
        let panic = seen.map_or(0.95 * workers, |seen| seen.min(0.95 * workers)).max(carries);
        let eases = (LEAST_FOR_FEWER * carries).max(carries - band * workers);
        Self { service, workers, carries, panic, eases, slots }
    }
}

/// Servers that are needed, as a number with a fraction.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Need {
    /// At once; 0 unless the servers there are would be full.
    pub(super) fast: f64,
    /// By the level of the last half minute, and where it goes.
    pub(super) slow: f64,
    /// For the connections that are held.
    pub(super) slots: f64,
    /// So many of the busy workers behind `fast` are for the backlog.
    pub(super) backlog: f64,
    /// `fast` is for what will come.
    pub(super) ahead: bool,
    /// With fewer than so many none may go.
    pub(super) fewer: f64,
}

impl Need {
    /// With `have` servers' worth, and a backlog that is to be gone in `drain`.
    pub(super) fn of(
        load: &LoadFigures,
        capacity: &Capacity,
        forecast: &Forecast,
        have: f64,
        drain: Duration,
    ) -> Self {
        let arrivals = &load.arrivals;
        let service = capacity.service;
        let now = (arrivals.last_3 - CHANCE * (arrivals.last_3 / 3.0).max(0.0).sqrt()).max(0.0) * service;
        let waiting = load.backlog.max(0.0) * service / drain.as_secs_f64().max(1.0);
        let coming = forecast.sudden.map_or(0.0, |rise| rise.arrivals * service);
        let busy = (now + waiting).max(coming);
        let is_panic = busy / capacity.panic > have;
        let fast = if is_panic { busy / capacity.carries } else { 0.0 };
        let level = arrivals.last_15.max(arrivals.last_30);
        let slow = arrivals.last_15.max(arrivals.last_30 + forecast.slow) * service / capacity.carries;
        let held = arrivals.last_15 * (service + load.transfer);
        let slots = |share: f64| capacity.slots.map_or(0.0, |slots| held / (share * slots));
        Self {
            fast,
            slow,
            slots: slots(SLOTS),
            backlog: if is_panic { waiting } else { 0.0 },
            ahead: is_panic && coming > now + waiting,
            fewer: (level * service / capacity.eases).max(slots(SLOTS_FOR_FEWER)),
        }
    }

    /// Servers that are needed.
    pub(super) fn servers(&self) -> f64 {
        self.fast.max(self.slow).max(self.slots)
    }

    /// The same, less what does not make one more.
    pub(super) fn without_credit(&self) -> f64 {
        (self.servers() - CREDIT).max(0.0)
    }

    /// The same as a whole number.
    pub(super) fn wish(&self) -> u32 {
        whole(self.servers() - CREDIT)
    }

    /// With so many, none may go.
    pub(super) fn wish_for_fewer(&self) -> u32 {
        whole(self.fewer - CREDIT_FOR_FEWER)
    }

    /// The arrivals a second at which `servers` are not enough any more, and below which they are
    /// too many.
    pub(super) fn limits(capacity: &Capacity, servers: f64) -> (f64, f64) {
        let above = (servers + CREDIT).max(0.0) * capacity.carries / capacity.service;
        let below = (servers - 1.0 + CREDIT_FOR_FEWER).max(0.0) * capacity.eases / capacity.service;
        (above, below)
    }
}

/// The next whole number; 0 for what is below, and for what is no number.
fn whole(servers: f64) -> u32 {
    servers.ceil().clamp(0.0, f64::from(u32::MAX)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::policy::model::testing::steady;

    fn capacity(limit: Option<f64>) -> Capacity {
        Capacity::new(0.08, 8.0, 6.4, limit, 0.06, None)
    }

    #[track_caller]
    fn check(load: &LoadFigures, capacity: &Capacity, have: u32, wish: u32, for_fewer: u32) {
        let need = Need::of(load, capacity, &Forecast::default(), f64::from(have), Duration::from_secs(10));
        assert_eq!((need.wish(), need.wish_for_fewer()), (wish, for_fewer), "{need:?}");
    }

    #[test]
    fn between_the_limits_for_more_and_for_fewer_nothing_changes() {
        check(&steady(400.0), &capacity(None), 5, 5, 6); // 32 busy workers: 5.0 servers at 6.4, 5.4 at 5.92
        check(&steady(404.0), &capacity(None), 5, 5, 6);
        check(&steady(405.0), &capacity(None), 5, 6, 6);
        check(&steady(370.0), &capacity(None), 5, 5, 5);
    }

    #[test]
    fn a_backlog_counts_only_when_the_servers_there_are_would_be_full() {
        let load = LoadFigures { backlog: 400.0, ..steady(400.0) };
        check(&load, &capacity(None), 5, 5, 6);
        check(&load, &capacity(None), 4, 6, 6);
    }

    #[test]
    fn servers_at_their_limit_carry_what_they_show_within_reason() {
        let carries = |limit| capacity(Some(limit)).carries;
        assert!((carries(60.0) - 0.9 * 60.0 * 0.08).abs() < 1e-9);
        assert!((carries(200.0) - 6.4).abs() < 1e-9);
        assert!((carries(10.0) - 0.6 * 6.4).abs() < 1e-9);
        assert!(capacity(Some(0.0)).panic > 0.0, "what is divided by");
    }

    #[test]
    fn places_are_a_resource_of_their_own() {
        let load = LoadFigures { transfer: 3.92, ..steady(100.0) };
        let capacity = Capacity { slots: Some(50.0), ..capacity(None) };
        check(&load, &capacity, 2, 10, 12); // 400 held: 40 of 50 on each, 35 before one may go
    }

    #[test]
    fn no_figure_makes_a_number_that_is_none() {
        assert_eq!((whole(f64::NAN), whole(f64::INFINITY), whole(-3.0)), (0, u32::MAX, 0));
    }
}
