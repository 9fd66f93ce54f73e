//! What the agent tells: log, journal, metrics, status. All of it from the same values.

pub mod endpoint;
pub mod evaluation;
pub mod explain;
pub mod files;
pub mod journal;
pub mod lasting;
pub mod logging;
pub mod metrics;
pub mod progress;
pub mod question;
pub mod socket;
pub mod status;
pub mod words;
