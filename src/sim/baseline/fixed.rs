//! The same number of servers, whatever happens: the bound for misses, and the cost of not scaling.

use super::pool::resize;
use crate::core::log::sample::Sample;
use crate::sim::{Autoscaler, Order, Seen};

/// See the module's text.
pub(super) struct Fixed {
    name: String,
    servers: usize,
}

impl Fixed {
    pub(super) fn new(name: String, servers: usize) -> Self {
        Self { name, servers }
    }
}

impl Autoscaler for Fixed {
    fn name(&self) -> &str {
        &self.name
    }

    fn record(&mut self, _: &Sample) {}

    fn tick(&mut self, seen: &Seen<'_>) -> Vec<Order> {
        resize(seen, self.servers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::baseline::testing::{World, orders};

    #[test]
    fn it_keeps_its_number() {
        let mut fixed = Fixed::new("fixed-3".to_owned(), 3);
        let mut world = World::new("on off off off off");
        assert_eq!(orders(&fixed.tick(&world.seen())), "+1 +2");
        world.set("on on on off off");
        assert_eq!(orders(&fixed.tick(&world.seen())), "");
        world.set("on on on on off");
        assert_eq!(orders(&fixed.tick(&world.seen())), "-3");
    }
}
