//! A little world to watch the agent in: servers that get slow under load, clients that feel
//! it, and a real HAProxy between them.
//!
//! Nothing here decides anything and nothing here is mocked: requests travel over loopback
//! sockets. `haproxy-autoscale demo` shows it to people, the integration tests use the parts.
//! Servers and clients live in threads of their own, so that callers with and without a
//! runtime use them the same way; dropping a part ends it at once.

pub mod folder;
pub mod haproxy;
pub mod load;
pub mod process;
pub mod random;
pub mod request;
pub mod server;
