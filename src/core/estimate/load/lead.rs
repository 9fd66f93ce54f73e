//! How long a server takes from being ordered to its first line.

use std::time::Duration;

use crate::core::names::ServerId;

/// Until one was seen.
const UNKNOWN_S: f64 = 5.0;

/// The newest one counts for so much.
const FOLLOW: f64 = 0.3;

/// What takes longer has failed, or was ordered in vain.
const MOST_MS: i64 = 15 * 60 * 1000;

/// A server that serves for so long without a line has no visitors: it was ready all the same.
const UNVISITED_MS: i64 = 5000;

/// Orders that wait for their server's first line.
#[derive(Clone, Debug, Default)]
pub(super) struct Lead {
    mean_s: Option<f64>,
    orders: Vec<Order>,
}

#[derive(Clone, Copy, Debug)]
struct Order {
    server: ServerId,
    at: i64,
    /// When it was first seen to serve.
    serving: Option<i64>,
    /// When the first of its requests has ended.
    visited: Option<i64>,
}

impl Lead {
    /// `server` was ordered at `at`, in milliseconds.
    pub(super) fn ordered(&mut self, server: ServerId, at: i64) {
        self.orders.retain(|order| order.server != server);
        self.orders.push(Order { server, at, serving: None, visited: None });
    }

    /// A request of `server` that came to it at `start` has ended at `end`. What it had before the
    /// order is left over from its last time. Lines come in any order until the next [`Self::observe`].
    pub(super) fn line(&mut self, server: ServerId, start: i64, end: i64) {
        let is_for = |order: &&mut Order| order.server == server && start >= order.at;
        if let Some(order) = self.orders.iter_mut().find(is_for) {
            order.visited = Some(order.visited.map_or(end, |first| first.min(end)));
        }
    }

    /// `serves` tells which servers serve at `now`.
    pub(super) fn observe(&mut self, serves: impl Fn(ServerId) -> bool, now: i64) {
        let mut at = 0;
        while let Some(order) = self.orders.get_mut(at) {
            if order.serving.is_none() && serves(order.server) {
                order.serving = Some(now);
            }
            let unvisited = order.serving.filter(|serving| now - serving > UNVISITED_MS);
            let (ordered, ready) = (order.at, order.visited.or(unvisited));
            if ready.is_none() && now - ordered <= MOST_MS {
                at += 1;
                continue;
            }
            self.orders.remove(at);
            if let Some(ready) = ready {
                self.follow(ready - ordered);
            }
        }
    }

    fn follow(&mut self, took_ms: i64) {
        let took_s = took_ms.clamp(0, MOST_MS) as f64 / 1000.0;
        let known = self.mean_s.unwrap_or(took_s);
        self.mean_s = Some(known + FOLLOW * (took_s - known));
    }

    /// What the next one will take.
    pub(super) fn mean(&self) -> Duration {
        Duration::from_secs_f64(self.mean_s.unwrap_or(UNKNOWN_S))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::names::Names;

    fn servers() -> (ServerId, ServerId) {
        let names = Names::default();
        let web = names.backend("web").unwrap();
        (names.server(web, "a").unwrap(), names.server(web, "b").unwrap())
    }

    #[test]
    fn the_lead_runs_from_the_order_to_the_first_request_after_it() {
        let (a, b) = servers();
        let mut lead = Lead::default();
        assert_eq!(lead.mean(), Duration::from_secs(5));
        lead.ordered(a, 1000);
        lead.line(b, 2000, 2100);
        lead.line(a, 900, 3000);
        lead.observe(|_| false, 4000);
        assert_eq!(lead.mean(), Duration::from_secs(5), "neither another's line nor an older one counts");
        lead.line(a, 9500, 9600);
        lead.line(a, 8000, 9000);
        lead.observe(|_| false, 10_000);
        assert_eq!(lead.mean(), Duration::from_secs(8));
        lead.ordered(b, 10_000);
        lead.line(b, 27_000, 28_000);
        lead.observe(|_| false, 28_000);
        assert_eq!(lead.mean(), Duration::from_secs(11));
    }

    #[test]
    fn a_server_without_visitors_was_ready_when_it_began_to_serve() {
        let (a, _) = servers();
        let mut lead = Lead::default();
        lead.ordered(a, 0);
        (1..=20).for_each(|second| lead.observe(|server| server == a && second >= 9, second * 1000));
        assert_eq!(lead.mean(), Duration::from_secs(9));
        assert!(lead.orders.is_empty());
    }

    #[test]
    fn an_order_that_comes_to_nothing_is_forgotten() {
        let (a, _) = servers();
        let mut lead = Lead::default();
        lead.ordered(a, 0);
        lead.observe(|_| false, MOST_MS + 1);
        assert!(lead.orders.is_empty());
        assert_eq!(lead.mean(), Duration::from_secs(5));
    }
}
