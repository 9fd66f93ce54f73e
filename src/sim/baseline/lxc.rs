//! HAProxyScaleLXC: counts slow and fast requests by their whole time, and starts or stops a container.
//!
//! More than 1000 ms (the line's last timer) counted 400 times: one more. Less than 500 ms counted 50
//! times: one fewer, down to those it began with. The counts belong to no window, and a fast request
//! takes nothing off the slow ones. A move takes 10 s of `sleep`, in which lines pile up unread; they
//! are what it decides by next. After a stop it takes the next container's number one too low: the start
//! that follows is of one that runs already, and changes nothing but its count
//! (`haproxy_scale_lxccnt.py` of mehuljn/HAProxyScaleLXC).
//!
//! Kinder than the original: there a container is stopped before HAProxy is told, and what it was
//! answering is lost.

use std::collections::VecDeque;

use super::pool::ordered;
use crate::core::log::sample::Sample;
use crate::core::settings::Timer;
use crate::sim::{Autoscaler, Order, Seen, ServerStage};

/// Longer is slow.
const SLOW_MS: u32 = 1000;
/// Slow ones until it starts a container.
const SLOW_COUNT: u32 = 400;
/// Shorter is fast.
const FAST_MS: u32 = 500;
/// Fast ones until it stops a container.
const FAST_COUNT: u32 = 50;
/// Two sleeps of 5 s in either direction.
const MOVE_S: f64 = 10.0;

/// See the module's text.
pub(super) struct Lxc {
    name: String,
    /// Whole times of lines that were not read yet.
    lines: VecDeque<u32>,
    slow: u32,
    fast: u32,
    /// Containers there are, next one's number, and how few are kept; `None` before it began.
    counts: Option<Counts>,
    asleep_until_s: f64,
}

#[derive(Clone, Copy, Debug)]
struct Counts {
    current: usize,
    /// From 1.
    next: usize,
    stable: usize,
}

impl Lxc {
    pub(super) fn new(name: String) -> Self {
        Self { name, lines: VecDeque::new(), slow: 0, fast: 0, counts: None, asleep_until_s: 0.0 }
    }

    /// Reads lines until one makes it move.
    fn read(&mut self, counts: &mut Counts, most: usize) -> Option<Order> {
        while let Some(whole_ms) = self.lines.pop_front() {
            self.slow += u32::from(whole_ms > SLOW_MS);
            if self.slow >= SLOW_COUNT && counts.current < most {
                self.slow = 0;
                let started = counts.next;
                counts.current += 1;
                counts.next = counts.current + 1;
                return Some(Order::Start(started - 1));
            }
            if whole_ms < FAST_MS && counts.current > counts.stable {
                self.fast += 1;
                if self.fast >= FAST_COUNT {
                    self.fast = 0;
                    let stopped = counts.current;
                    counts.next = counts.current - 1;
                    counts.current -= 1;
                    return Some(Order::Stop(stopped - 1));
                }
            }
        }
        None
    }
}

impl Autoscaler for Lxc {
    fn name(&self) -> &str {
        &self.name
    }

    fn record(&mut self, sample: &Sample) {
        self.lines.extend(sample.timers.get(Timer::Tt));
    }

    fn tick(&mut self, seen: &Seen<'_>) -> Vec<Order> {
        if seen.now_s < self.asleep_until_s {
            return Vec::new();
        }
        let has = ordered(seen);
        let mut counts = self.counts.unwrap_or(Counts { current: has, next: has + 1, stable: has });
        let order = self.read(&mut counts, seen.servers.len());
        self.counts = Some(counts);
        if order.is_some() {
            self.asleep_until_s = seen.now_s + MOVE_S;
        }
        order.filter(|&order| is_possible(order, seen)).into_iter().collect()
    }
}

/// A container that runs is not started, one that does not run is not stopped.
fn is_possible(order: Order, seen: &Seen<'_>) -> bool {
    let runs = |place: usize| {
        seen.servers
            .get(place)
            .map(|server| matches!(server.stage, ServerStage::Serving | ServerStage::Starting))
    };
    match order {
        Order::Start(place) => runs(place) == Some(false),
        Order::Stop(place) => runs(place) == Some(true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::baseline::testing::{World, orders, sample};

    fn read(lxc: &mut Lxc, count: usize, whole_ms: i32) {
        (0..count).for_each(|_| lxc.record(&sample([0, 0, 0, whole_ms, whole_ms])));
    }

    #[test]
    fn slow_requests_add_and_fast_ones_take_away() {
        let mut lxc = Lxc::new("lxc".to_owned());
        let mut world = World::new("on on off off");
        assert_eq!(orders(&lxc.tick(&world.at(0.0).seen())), "");
        read(&mut lxc, 399, 1001);
        read(&mut lxc, 500, 100);
        assert_eq!(orders(&lxc.tick(&world.at(1.0).seen())), "");
        // However many fast ones came between.
        read(&mut lxc, 1, 1001);
        assert_eq!(orders(&lxc.tick(&world.at(2.0).seen())), "+2");
        world.set("on on on off");
        read(&mut lxc, 49, 499);
        read(&mut lxc, 1, 500);
        assert_eq!(orders(&lxc.tick(&world.at(12.0).seen())), "");
        read(&mut lxc, 1, 499);
        assert_eq!(orders(&lxc.tick(&world.at(13.0).seen())), "-2");
    }

    #[test]
    fn it_sleeps_for_ten_seconds_and_reads_old_lines_then() {
        let mut lxc = Lxc::new("lxc".to_owned());
        let mut world = World::new("on off off");
        assert_eq!(orders(&lxc.tick(&world.at(0.0).seen())), "");
        read(&mut lxc, 800, 1001);
        assert_eq!(orders(&lxc.tick(&world.at(1.0).seen())), "+1");
        world.set("on on off");
        assert_eq!(orders(&lxc.tick(&world.at(10.0).seen())), "");
        assert_eq!(orders(&lxc.tick(&world.at(11.0).seen())), "+2");
    }

    #[test]
    fn after_a_stop_it_starts_one_that_runs() {
        let mut lxc = Lxc::new("lxc".to_owned());
        let mut world = World::new("on off off off");
        assert_eq!(orders(&lxc.tick(&world.at(0.0).seen())), "");
        let mut then = |now_s, servers: &str, count, whole_ms| {
            world.set(servers);
            read(&mut lxc, count, whole_ms);
            orders(&lxc.tick(&world.at(now_s).seen()))
        };
        assert_eq!(then(1.0, "on off off off", 400, 1001), "+1");
        assert_eq!(then(11.0, "on on off off", 400, 1001), "+2");
        assert_eq!(then(21.0, "on on on off", 50, 100), "-2");
        // It has two and believes that the second is free.
        assert_eq!(then(31.0, "on on off off", 400, 1001), "");
        assert_eq!(then(41.0, "on on off off", 400, 1001), "+3");
    }

    #[test]
    fn a_request_without_a_whole_time_is_nobodys() {
        let mut lxc = Lxc::new("lxc".to_owned());
        lxc.record(&sample([-1, -1, -1, -1, -1]));
        assert!(lxc.lines.is_empty());
    }
}
