//! The Runtime API, with a socket.
//!
//! In: [`Command`](crate::core::wire::command::Command)s. Out: what HAProxy answered, or why
//! it did not. Plans are walked by the [`executor`]. What commands and answers look like is left to [`core::wire`](crate::core::wire).

pub mod address;
pub mod client;
pub mod dial;
pub mod error;

pub mod executor;

mod attempt;
mod capabilities;
mod dry_run;
mod environment;
mod hands;
mod lane;
mod nodes;
mod old_workers;
mod stickiness;
mod work;

pub(crate) mod words;
