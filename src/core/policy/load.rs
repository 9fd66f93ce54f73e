//! A load, as reasons tell it.

/// A load in busy workers: what comes, times what one request costs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Load {
    /// Requests a second.
    pub arrivals: f64,
    /// A request keeps a worker busy for so long, seconds.
    pub service: f64,
    /// Workers of a server.
    pub workers: f64,
    /// So many of them may be busy.
    pub carries: f64,
}

impl Load {
    /// Workers that are busy with it.
    pub fn busy(&self) -> f64 {
        self.arrivals * self.service
    }
}

/// What [`RestTooFew`](super::decision::Reason::RestTooFew) counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadUnit {
    /// Requests a second, against those at which the servers were last too slow.
    RequestsPerSecond,
    /// Requests side by side, against the servers' `maxconn`.
    Connections,
}
