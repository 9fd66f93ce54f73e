//! Why the agent cannot run.

use crate::config::FormatError;
use crate::state_file::StateError;

/// Why the agent cannot run.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The state directory.
    #[error(transparent)]
    State(#[from] StateError),
    /// An address of HAProxy's that makes no sense.
    #[error("`haproxy.sockets`: {0}")]
    Socket(String),
    /// The log format.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The metrics address.
    #[error("cannot listen on `metrics.listen` {0}")]
    Listen(std::net::SocketAddr, #[source] std::io::Error),
    /// The reading thread or signals.
    #[error("cannot start {0}")]
    Start(&'static str, #[source] std::io::Error),
}
