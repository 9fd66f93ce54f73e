//! What a number of servers means for a pool: which are started, which are stopped.

use crate::sim::{Order, Seen, ServerStage};

/// Servers that are ordered: serving, or on their way to it.
pub(super) fn ordered(seen: &Seen<'_>) -> usize {
    places(seen, ServerStage::Serving).chain(places(seen, ServerStage::Starting)).count()
}

/// Servers that take requests.
pub(super) fn serving(seen: &Seen<'_>) -> usize {
    places(seen, ServerStage::Serving).count()
}

/// What is to be done so that `wanted` servers are ordered, as far as there are so many; at least one.
///
/// Taken back first: draining ones, which need no start. Stopped first: those that are not ready yet,
/// as Kubernetes does it, then the last of the pool.
pub(super) fn resize(seen: &Seen<'_>, wanted: usize) -> Vec<Order> {
    let (has, wanted) = (ordered(seen), wanted.max(1));
    if wanted >= has {
        let spare = places(seen, ServerStage::Draining).chain(places(seen, ServerStage::Off));
        return spare.take(wanted - has).map(Order::Start).collect();
    }
    let starting: Vec<usize> = places(seen, ServerStage::Starting).collect();
    let serving: Vec<usize> = places(seen, ServerStage::Serving).collect();
    let stopped = starting.into_iter().rev().chain(serving.into_iter().rev());
    stopped.take(has - wanted).map(Order::Stop).collect()
}

/// Servers of a stage, by their place in the pool.
pub(super) fn places(seen: &Seen<'_>, stage: ServerStage) -> impl Iterator<Item = usize> {
    let servers = seen.servers.iter().enumerate();
    servers.filter(move |(_, server)| server.stage == stage).map(|(place, _)| place)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::baseline::testing::{World, orders};

    #[track_caller]
    fn check(servers: &str, wanted: usize, expected: &str) {
        assert_eq!(orders(&resize(&World::new(servers).seen(), wanted)), expected, "{servers} to {wanted}");
    }

    #[test]
    fn draining_ones_come_back_first_and_starting_ones_go_first() {
        check("on on off off", 2, "");
        check("on off off off", 3, "+1 +2");
        check("on off drain off", 3, "+2 +1");
        check("on start off off", 3, "+2");
        check("on on on start", 2, "-3 -2");
        check("on on off off", 9, "+2 +3");
        check("on on on off", 0, "-2 -1");
        check("off off", 1, "+0");
    }
}
