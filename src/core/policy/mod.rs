//! [`Snapshot`](super::estimate::snapshot::Snapshot)s to [`Decision`](decision::Decision)s.

pub mod decision;
pub mod fleet;
