//! What arrives, what serves, what is to be kept.

/// One closed loop.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// What it is called on the command line.
    pub name: String,
    /// One line about it.
    pub about: String,
    /// How long it lasts, seconds.
    pub length_s: f64,
    /// Servers of the pool.
    pub servers: usize,
    /// Of them serving at the start.
    pub serving_at_start: usize,
    /// The promise: so many milliseconds for 95 % of the requests, Tw + Tr.
    pub target_ms: u32,
}
