//! [`Sample`](super::log::sample::Sample)s to [`Snapshot`](snapshot::Snapshot)s.

pub mod snapshot;
