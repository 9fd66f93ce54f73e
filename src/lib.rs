//! Keeps as many HAProxy servers READY as the latency in HAProxy's own log asks for.
//!
//! The program is one road. A line of log text travels along it and becomes less text and
//! more meaning at each stop; modules are declared below in the order of the road.
//!
//! ```text
//!  input/            Chunk          bytes, from which source, and the Instant they arrived
//!  core/log/         &[u8] line     framing: chunks cut at newlines, a half line kept for later
//!                    Envelope<'a>   the syslog header taken off
//!                    LogLine<'a>    the fields, still borrowed from the chunk
//!                    Sample         whose request, how long, how it ended: small, Copy; text ends here
//!  core/estimate/    Snapshot       percentile, rate, failures, sample count and age, for one window
//!  core/policy/      Decision       Hold, ScaleUp, ScaleDown or Reweigh, each with its Reason
//!  core/plan/        Plan           ordered Steps from what HAProxy has to what we want
//!  core/wire/        Command        the bytes for one Step
//!  haproxy/          Outcome        what HAProxy answered
//!                    '--> agent.rs gives it back to core/controller.rs
//! ```

pub mod core;

pub mod config;

pub mod input;

pub mod haproxy;

pub mod provider;

pub mod warm_up;

pub mod lasting;

pub mod state_file;

pub mod telemetry;

pub mod agent;

pub mod report;

pub mod cli;

pub mod demo;

pub mod sim;
