//! [`Snapshot`](super::estimate::snapshot::Snapshot)s to [`Decision`](decision::Decision)s.

pub mod decision;
pub mod fleet;
mod limits;
mod reading;
mod sentence;
mod stabilizer;
pub mod state;
pub mod threshold;

pub use sentence::Span;
