//! How it went.

/// Figures of one run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Score {
    /// Requests that count.
    pub requests: u64,
    /// Of them above the target, or failed.
    pub misses: u64,
    /// Of them failed: 5xx.
    pub failed: u64,
    /// Server-seconds paid for: starting, serving, draining.
    pub server_seconds: f64,
    /// The least that would have done, for somebody who knows each 10 s in advance.
    pub clairvoyant_seconds: f64,
    /// Servers started or stopped.
    pub moves: u64,
    /// Weights changed.
    pub weight_changes: u64,
    /// The longest run of 5-s windows with more than 5 % misses, seconds.
    pub worst_stretch_s: f64,
    /// 95th and 99th percentile of Tw + Tr, milliseconds.
    pub p95_ms: f64,
    /// See `p95_ms`.
    pub p99_ms: f64,
    /// Mean servers missing against the clairvoyant curve, as a share of it.
    pub shortage: f64,
    /// Mean servers too many against the clairvoyant curve, as a share of it.
    pub excess: f64,
}
