//! [`Snapshot`](super::estimate::snapshot::Snapshot)s to [`Decision`](decision::Decision)s.

pub mod decision;
pub mod fleet;
mod limits;
mod load;
pub mod model;
pub mod order;
pub mod place;
pub mod pool;
mod reading;
mod reason;
mod sentence;
mod stabilizer;
pub mod state;
pub mod threshold;

pub use sentence::{Part, Span};
