//! Knows what arrives in the next 10 s: the fewest servers m with `m c >= A + sqrt(A)`, where A is the
//! mean number of busy workers then and c the workers of a server. What nobody can undercut for long.

use super::pool::resize;
use crate::core::log::sample::Sample;
use crate::sim::{Autoscaler, Order, Seen};

/// How far it sees, and how long it then keeps what it has.
const SIGHT_S: f64 = 10.0;

/// See the module's text.
pub(super) struct Clairvoyant {
    name: String,
    next_s: f64,
}

impl Clairvoyant {
    pub(super) fn new(name: String) -> Self {
        Self { name, next_s: 0.0 }
    }
}

impl Autoscaler for Clairvoyant {
    fn name(&self) -> &str {
        &self.name
    }

    fn record(&mut self, _: &Sample) {}

    fn tick(&mut self, seen: &Seen<'_>) -> Vec<Order> {
        if seen.now_s < self.next_s {
            return Vec::new();
        }
        self.next_s = seen.now_s + SIGHT_S;
        resize(seen, fewest(seen.coming * seen.service_time, seen.workers))
    }
}

/// The fewest servers with `workers` each for `busy` workers and a standard deviation more.
fn fewest(busy: f64, workers: f64) -> usize {
    // At least one server; a number beyond what fits becomes the largest one.
    (((busy + busy.max(0.0).sqrt()) / workers).ceil() as usize).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::baseline::testing::{World, orders};

    #[test]
    fn a_standard_deviation_more_than_the_busy_workers() {
        // 72 busy workers and 8.5 more on servers of 8.
        assert_eq!(fewest(900.0 * 0.08, 8.0), 11);
        assert_eq!(fewest(4.0, 2.0), 3);
        assert_eq!(fewest(0.0, 8.0), 1);
    }

    #[test]
    fn it_moves_every_ten_seconds() {
        let mut clairvoyant = Clairvoyant::new("clairvoyant".to_owned());
        let mut world = World::new("on off off off");
        (world.coming, world.service_time, world.workers) = (100.0, 0.08, 8.0);
        let ticks = [0.0, 5.0, 10.0].map(|now_s| orders(&clairvoyant.tick(&world.at(now_s).seen())));
        assert_eq!(ticks, ["+1", "", "+1"]);
    }
}
