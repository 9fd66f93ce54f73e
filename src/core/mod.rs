//! Decides; touches nothing.
//!
//! In comes bytes, what HAProxy says it has, and `now`; out come decisions and plans, as
//! values. The core knows no tokio, no sockets, no files, no environment, no `tracing`, no
//! serde and no clock: time is an argument. That is what lets yesterday's log run through
//! the code that is live today. The lint below and `tests/architecture.rs` see to it.
//!
//! A stage may name the stages before it, never one after it; `controller` alone sees them all.

// A test may take one `Instant` to add `Duration`s to.
#![cfg_attr(not(test), deny(clippy::disallowed_methods))]

pub mod names;
pub mod settings;
pub mod units;

pub mod log;

pub mod estimate;

pub mod policy;

pub mod plan;

pub mod wire;

pub mod controller;
