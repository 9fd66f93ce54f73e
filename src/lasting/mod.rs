//! Changes that last: what was changed at run time outlasts HAProxy's process.
//!
//! In: how the servers stand, as the controller sees it. Out: a state file, the server lines of a block in haproxy.cfg,
//! or all of it from a template; and where that takes one, a reload of HAProxy.
//!
//! ```text
//!  Controller::standing ─▶ keeper ─▶ state | block | template ─▶ haproxy -c ─▶ file ─▶ pace ─▶ reload
//! ```
//! `line`, `declared`, `added`, `block`, `template`, `render`, `difference`, `changes`, `slots` and `pace` touch nothing.

pub mod block;
pub mod changes;
pub mod declared;
pub mod event;
pub mod file;
pub mod keeper;
pub mod program;
pub mod reload;
pub mod state;
pub mod template;
pub mod turn;

pub(crate) mod render;
pub(crate) mod slots;

mod added;
mod difference;
mod line;
mod pace;
#[cfg(test)]
mod testing;
