//! [`Sample`](super::log::sample::Sample)s to [`Snapshot`](snapshot::Snapshot)s.
//!
//! Each backend has one [`Estimator`](estimator::Estimator). It is given every sample and `now`,
//! and answers with what a policy may see. Decisions are left to [`policy`](super::policy).

pub mod coverage;
pub mod estimator;
mod figures;
mod latencies;
pub mod latency;
pub mod load;
pub mod snapshot;
mod tally;
#[cfg(test)]
mod testing;
mod window;
