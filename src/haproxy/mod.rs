//! The Runtime API, with a socket.
//!
//! In: [`Command`](crate::core::wire::command::Command)s. Out: what HAProxy answered, or why
//! it did not. What commands and answers look like is left to [`core::wire`](crate::core::wire).

pub mod address;
pub mod client;
pub mod error;
