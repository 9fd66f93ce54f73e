//! What is kept of a log line: whose request, how long, how it ended. The text ends here.

use std::time::Instant;

use crate::core::names::{BackendId, ServerId};
use crate::core::settings::Timer;

/// One request, small and `Copy`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// The backend it went to.
    pub backend: BackendId,
    /// The server that had it last; `None` if it never got one (it left a queue, or none was up).
    pub server: Option<ServerId>,
    /// When its last byte left, placed by the date in the line.
    pub end: Instant,
    /// The line's timers.
    pub timers: Timers,
    /// How it ended.
    pub class: Class,
    /// It ended by a timeout of HAProxy's (`s...`): its real latency would have been longer.
    pub timed_out: bool,
    /// Streams on the backend when the line was written, without this one; queued ones count.
    pub beconn: u32,
    /// Streams on the server when the line was written, without this one.
    pub srv_conn: u32,
}

/// The timers of a line, in milliseconds; those that did not happen are `None`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timers {
    /// [TR, Tw, Tc, Tr, Tt], -1 for "did not happen", never below.
    millis: [i32; 5],
}

impl Timers {
    /// From [TR, Tw, Tc, Tr, Tt] as HAProxy logs them; anything below 0 did not happen.
    pub fn new(millis: [i32; 5]) -> Self {
        Self { millis: millis.map(|ms| ms.max(-1)) }
    }

    /// `timer` in milliseconds; `None` if it did not happen.
    pub fn get(self, timer: Timer) -> Option<u32> {
        let at = match timer {
            Timer::TR => 0,
            Timer::Tw => 1,
            Timer::Tc => 2,
            Timer::Tr => 3,
            Timer::Tt => 4,
        };
        u32::try_from(self.millis[at]).ok()
    }

    /// Milliseconds since the request was received, TR left out: what a request that ended
    /// without an answer had waited at least.
    pub fn waited(self) -> u32 {
        let total = self.get(Timer::Tt).unwrap_or(0);
        total.saturating_sub(self.get(Timer::TR).unwrap_or(0))
    }
}

/// How a request ended, from its termination state and status (configuration manual 8.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// It was answered, and not with a 5xx.
    Success,
    /// The server's fault: refused, closed, timed out, invalid answer, or a 5xx of its own.
    Server,
    /// Nobody had room: it left a queue, or no server was up.
    Saturation,
    /// The client's doing.
    Client,
    /// HAProxy's or an administrator's doing.
    Proxy,
}
