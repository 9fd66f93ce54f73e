//! The Runtime API's language, without a socket.
