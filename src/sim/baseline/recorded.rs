//! As many servers as somebody had, moment by moment: what really was, played again.

use super::pool::resize;
use crate::core::log::sample::Sample;
use crate::sim::{Autoscaler, Order, Seen};

/// Servers are ordered so long before they were there, seconds: from one tick to the next.
const AHEAD_S: f64 = 1.0;

/// See the module's text.
#[derive(Clone, Debug)]
pub struct Recorded {
    name: String,
    /// From this second on so many; in order.
    counts: Vec<(f64, usize)>,
    next: usize,
    wanted: usize,
}

impl Recorded {
    /// From each second on so many servers, in order.
    pub fn new(name: &str, counts: Vec<(f64, usize)>) -> Self {
        Self { name: name.to_owned(), counts, next: 0, wanted: 1 }
    }
}

impl Autoscaler for Recorded {
    fn name(&self) -> &str {
        &self.name
    }

    fn record(&mut self, _: &Sample) {}

    fn tick(&mut self, seen: &Seen<'_>) -> Vec<Order> {
        while let Some(&(_, count)) = self.counts.get(self.next).filter(|(from_s, count)| {
            let ahead_s = if *count > self.wanted { AHEAD_S } else { 0.0 };
            *from_s <= seen.now_s + ahead_s
        }) {
            (self.wanted, self.next) = (count, self.next + 1);
        }
        resize(seen, self.wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::baseline::testing::{World, orders};

    #[test]
    fn it_has_as_many_as_there_were_and_more_a_moment_before() {
        let mut recorded = Recorded::new("", vec![(0.0, 1), (10.0, 3), (20.0, 2)]);
        let world = World::new("on off off off");
        let at = |now_s| Seen { now_s, ..world.seen() };
        assert_eq!(orders(&recorded.tick(&at(8.0))), "");
        assert_eq!(orders(&recorded.tick(&at(9.0))), "+1 +2");
        let world = World::new("on on on off");
        let at = |now_s| Seen { now_s, ..world.seen() };
        assert_eq!(orders(&recorded.tick(&at(19.0))), "");
        assert_eq!(orders(&recorded.tick(&at(20.0))), "-2");
    }
}
