//! [`Decision`](super::policy::decision::Decision) and inventory to [`Plan`](step::Plan).
//!
//! In comes what is to be done and what HAProxy says it has; out comes who may be touched
//! ([`ownership`]), in which steps ([`planner`]) and with which weights ([`weights`], [`ramp`]). Several HAProxys are one ([`nodes`]).
//! Carrying it out is left to `haproxy/executor.rs`, which answers with [`outcome`]s.

pub mod inventory;
pub mod nodes;
pub mod ownership;
pub mod slots;
pub mod supply;
pub mod trackers;

pub mod ramp;
pub mod shares;
pub mod weights;

pub mod step;

pub mod planner;

pub mod outcome;

#[cfg(test)]
mod properties;
#[cfg(test)]
pub(in crate::core) mod testing;
