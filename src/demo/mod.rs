//! A little world to watch the agent in: servers that get slow under load, clients that feel
//! it, and a real HAProxy between them.
//!
//! Nothing here decides anything and nothing here is mocked: requests travel over loopback
//! sockets. `haproxy-autoscale demo` shows it to people, the integration tests use the parts.

pub mod random;
pub mod server;
