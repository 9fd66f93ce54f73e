//! The Runtime API's language, without a socket.
//!
//! In: [`Command`](command::Command)s. Out: their bytes, and what HAProxy's answer to each of
//! them means: a [`Reply`](response::Reply), a [`Refusal`](response::Refusal), or the
//! [`Inventory`](super::plan::inventory::Inventory) that `show info`, `show stat` and
//! `show servers state` make together. Sockets and deadlines are left to `haproxy/client.rs`.
//!
//! The Runtime API has no error codes and no framing but the end of the connection (management
//! manual 9.3); what an answer means depends on the command, so the two are read together.

pub mod command;
pub(crate) mod environment;
pub mod error;
pub mod guarded;
pub mod info;
pub mod master;
pub mod old_worker;
pub mod reading;
pub mod response;
pub mod servers_state;
pub mod stat;
pub mod stick_tables;
pub mod table;
pub mod version;
