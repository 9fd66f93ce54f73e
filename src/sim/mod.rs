//! Servers and arrivals as a model, driving `core/` through simulated time.
//!
//! In: a [`scenario::Scenario`], a seed, and who decides. Out: a [`score::Score`]. Time is seconds from the scenario's
//! start; the same scenario, seed and autoscaler give the same figures.
//!
//! ```text
//!  arrivals.rs ─▶ world.rs (HAProxy and its servers) ─ Sample ─▶ driver.rs: Controller ─ Plan ─▶ executor.rs ─┐
//!                     ▲                                  └─────▶ baseline/*: Autoscaler ─ Order ─▶ hands.rs ──┤
//!                     └───────────────────────────────────────────────────────────────────────────────────────┘
//! ```

use crate::core::log::sample::Sample;

pub mod arrivals;
pub mod baseline;
pub mod driver;
pub mod executor;
mod hands;
mod random;
mod rate;
pub mod replay;
pub mod scenario;
pub mod scenarios;
pub mod score;
pub mod traces;
pub mod world;

/// Somebody who decides by other means than the core: a baseline to compare with.
pub trait Autoscaler {
    /// As the table has it.
    fn name(&self) -> &str;

    /// A request has ended, and its line is in the log.
    fn record(&mut self, sample: &Sample);

    /// Called once a second of simulated time. What is ordered is done as far as it can be.
    fn tick(&mut self, seen: &Seen<'_>) -> Vec<Order>;
}

/// What a baseline may see at one second.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// Seconds since the scenario's start.
    pub now_s: f64,
    /// All servers of the pool, in order.
    pub servers: &'a [ServerSeen],
    /// Requests waiting in HAProxy's queue.
    pub queued: u32,
    /// The true number of workers of a healthy server: for those that have to be told.
    pub workers: f64,
    /// The arrivals of the next 10 s, a second: for the clairvoyant.
    pub coming: f64,
    /// The mean service time of a healthy server now, seconds: for the clairvoyant.
    pub service_time: f64,
}

/// One server as a baseline sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ServerSeen {
    /// Where it stands.
    pub stage: ServerStage,
    /// Requests on it, waiting ones too.
    pub requests: u32,
    /// The share of the last second that its workers were busy, 0 to 1: what CPU would show.
    pub busy: f64,
}

/// Where a simulated server stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerStage {
    /// Not running; costs nothing.
    Off,
    /// Ordered, not yet ready; costs.
    Starting,
    /// Takes requests; costs.
    Serving,
    /// Takes no new requests, has some left; costs.
    Draining,
}

/// What a baseline wants done with a server, by its place in the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Off or draining: to serve (after the start delay, where it was off).
    Start(usize),
    /// To take no more requests, and to be off once it is empty.
    Stop(usize),
}
