//! First requests to a server before its first users.
//!
//! A server that has just been started answers its first requests slowly: code is compiled,
//! caches are empty, connections to databases are not there yet. [`probe`] sends it requests of
//! ours until [`settling`] finds that it does not get any faster, so that no user has to wait.

pub mod probe;
mod relay;
pub mod settling;
