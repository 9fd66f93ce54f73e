//! All that a policy may see of HAProxy, at one `now`.

use std::time::Duration;

/// HAProxy writes a line when a request ends, so a busy backend is never silent for longer unless the log is lost or
/// every server hangs; either way the figures are not of now.
pub(in crate::core) const SILENCE: Duration = Duration::from_secs(5);

/// HAProxy's counters are read a moment before or after the newest line: so many requests may be counted and not logged
/// while all is well.
pub(in crate::core) const UNSEEN_MARGIN: u64 = 5;

/// The servers of one backend, counted for what they are, and HAProxy's own counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Fleet {
    /// Servers that take traffic: READY, up, weight above 0.
    pub serving: u32,
    /// Servers that are ours and could be made to serve: draining ones, spares.
    pub startable: u32,
    /// Serving servers that may be taken away: not `always_up`, nobody else's.
    pub removable: u32,
    /// Sum of `maxconn` over the serving servers; `None` if one of them has none.
    pub maxconn: Option<u64>,
    /// Requests waiting in HAProxy for this backend, its servers' queues included.
    pub queued: u64,
    /// Sessions on the backend now.
    pub sessions: u64,
    /// Sessions that HAProxy has counted on this backend since its last log line reached us, without those that go on.
    pub unseen: u64,
}
