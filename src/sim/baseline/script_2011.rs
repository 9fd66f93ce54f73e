//! The script of "Simple auto-scale with HAProxy" (alex.cloudware.it, October 2011): tails the HTTP log.
//!
//! The mean of the last 15 response times (Tr), once there are 16; the third time that it is above the
//! threshold, one server more. Lines with a timer of -1 are not understood. Five minutes after its timer
//! was last started, one server fewer; the first one stays.
//!
//! What starts the timer is told in two ways, and both are here. By its comments the script waits for
//! "inactivity": each request starts the timer, and once it has run out it rests until the next one; under
//! traffic no server is taken away. By its code each move starts the timer, even one that found no server
//! left, and no request does.
//!
//! The threshold is not told. The first one has a quarter of the promise, as the HPA here: at the promise
//! itself Tr does not show a queue in HAProxy. The second one has the promise, without which its timer would
//! never run out. Servers are picked in order, not by lot: they are alike.

use std::collections::VecDeque;

use super::pool::places;
use crate::core::log::sample::Sample;
use crate::core::settings::Timer;
use crate::sim::{Autoscaler, Order, Seen, ServerStage};

/// `NUM_REQ`.
const REQUESTS: usize = 15;
/// How often the mean has to be above the threshold; it may be below in between.
const HITS: u32 = 3;
/// The timer.
const TIMER_S: f64 = 300.0;

/// By what it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// Each request starts the timer.
    ByComments,
    /// Each move starts the timer.
    ByCode,
}

impl Reading {
    fn threshold_ms(self, promise_ms: u32) -> u32 {
        match self {
            Self::ByComments => promise_ms / 4,
            Self::ByCode => promise_ms,
        }
    }
}

/// See the module's text.
pub(super) struct Script2011 {
    name: String,
    threshold_ms: u32,
    reading: Reading,
    latest_ms: VecDeque<u32>,
    hits: u32,
    /// Since the last tick.
    wishes: usize,
    was_used: bool,
    /// When the timer runs out; `None`: it does not run.
    timer_s: Option<f64>,
}

impl Script2011 {
    pub(super) fn new(name: String, promise_ms: u32, reading: Reading) -> Self {
        Self {
            name,
            threshold_ms: reading.threshold_ms(promise_ms),
            reading,
            latest_ms: VecDeque::new(),
            hits: 0,
            wishes: 0,
            was_used: false,
            timer_s: None,
        }
    }

    /// The mean, rounded down as Python 2 divides.
    fn mean_with(&mut self, response_ms: u32) -> Option<u32> {
        self.latest_ms.push_back(response_ms);
        if self.latest_ms.len() <= REQUESTS {
            return None;
        }
        self.latest_ms.pop_front();
        let sum: u64 = self.latest_ms.iter().copied().map(u64::from).sum();
        // The mean of 32-bit numbers is one.
        Some((sum / REQUESTS as u64) as u32)
    }
}

impl Autoscaler for Script2011 {
    fn name(&self) -> &str {
        &self.name
    }

    fn record(&mut self, sample: &Sample) {
        let timers = [Timer::TR, Timer::Tw, Timer::Tc, Timer::Tr].map(|timer| sample.timers.get(timer));
        let [Some(_), Some(_), Some(_), Some(response_ms)] = timers else { return };
        self.was_used = true;
        if self.mean_with(response_ms).is_some_and(|mean_ms| mean_ms > self.threshold_ms) {
            self.hits += 1;
            self.wishes += usize::from(self.hits == HITS);
            self.hits %= HITS;
        }
    }

    fn tick(&mut self, seen: &Seen<'_>) -> Vec<Order> {
        let spare = places(seen, ServerStage::Off).chain(places(seen, ServerStage::Draining));
        let mut orders: Vec<Order> = spare.take(self.wishes).map(Order::Start).collect();
        let starts_timer = match self.reading {
            Reading::ByComments => self.was_used,
            Reading::ByCode => self.wishes > 0,
        };
        (self.wishes, self.was_used) = (0, false);
        if starts_timer {
            self.timer_s = Some(seen.now_s + TIMER_S);
        } else if self.timer_s.is_some_and(|timer_s| seen.now_s >= timer_s) {
            let stopped = places(seen, ServerStage::Serving).filter(|&place| place > 0).last();
            orders.extend(stopped.map(Order::Stop));
            let goes_on = self.reading == Reading::ByCode && stopped.is_some();
            self.timer_s = goes_on.then_some(seen.now_s + TIMER_S);
        }
        orders
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::baseline::testing::{World, orders, sample};

    fn script(reading: Reading) -> Script2011 {
        let promise_ms = if reading == Reading::ByCode { 500 } else { 2000 };
        Script2011::new("script-2011".to_owned(), promise_ms, reading)
    }

    fn read(script: &mut Script2011, count: usize, response_ms: i32) {
        (0..count).for_each(|_| script.record(&sample([0, 0, 0, response_ms, response_ms])));
    }

    #[test]
    fn the_third_slow_mean_of_fifteen_adds_one() {
        let mut script = script(Reading::ByComments);
        let mut world = World::new("on on off off");
        // No mean before the sixteenth.
        read(&mut script, 15, 501);
        assert_eq!(orders(&script.tick(&world.at(0.0).seen())), "");
        read(&mut script, 2, 501);
        assert_eq!(orders(&script.tick(&world.at(1.0).seen())), "");
        // 500.06 is 500, which is not above 500.
        read(&mut script, 14, 500);
        read(&mut script, 1, 501);
        let before = script.hits;
        read(&mut script, 1, 500);
        assert_eq!(script.hits, before);
        read(&mut script, 15, 900);
        assert!(!orders(&script.tick(&world.at(2.0).seen())).is_empty());
    }

    #[test]
    fn aborted_requests_are_not_understood() {
        let mut script = script(Reading::ByComments);
        (0..100).for_each(|_| script.record(&sample([0, 0, 0, -1, 30_000])));
        assert_eq!((script.latest_ms.len(), script.was_used), (0, false));
    }

    #[test]
    fn by_its_comments_it_goes_down_once_in_a_silence() {
        let mut script = script(Reading::ByComments);
        let mut world = World::new("on on on off");
        for second in 0..600 {
            read(&mut script, 1, 10);
            assert_eq!(orders(&script.tick(&world.at(f64::from(second)).seen())), "");
        }
        assert_eq!(orders(&script.tick(&world.at(898.0).seen())), "");
        assert_eq!(orders(&script.tick(&world.at(899.0).seen())), "-2");
        world.set("on on off off");
        assert_eq!(orders(&script.tick(&world.at(9999.0).seen())), "");
    }

    #[test]
    fn by_its_code_it_goes_down_after_each_move() {
        let mut script = script(Reading::ByCode);
        let mut world = World::new("on on off");
        read(&mut script, 18, 501);
        assert_eq!(orders(&script.tick(&world.at(10.0).seen())), "+2");
        world.set("on on on");
        read(&mut script, 1000, 10);
        assert_eq!(orders(&script.tick(&world.at(309.0).seen())), "");
        assert_eq!(orders(&script.tick(&world.at(310.0).seen())), "-2");
        world.set("on on off");
        assert_eq!(orders(&script.tick(&world.at(610.0).seen())), "-1");
        world.set("on off off");
        assert_eq!(orders(&script.tick(&world.at(910.0).seen())), "");
        assert_eq!(script.timer_s, None);
    }
}
