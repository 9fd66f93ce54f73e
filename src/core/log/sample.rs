//! What is kept of a log line: whose request, how long, how it ended. The text ends here.

use std::time::Instant;

use super::line::LogLine;
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

    /// Those of `line` as latencies. After a 101 the last one ends at the headers: how long a WebSocket
    /// stays open is no latency.
    pub fn of(line: &LogLine<'_>) -> Self {
        if line.status == Some(SWITCHING_PROTOCOLS) { line.timers.until_headers() } else { line.timers }
    }

    /// With the last timer ending where the answer's headers did.
    fn until_headers(self) -> Self {
        let [request, queue, connect, response, _] = self.millis;
        let total =
            [request, queue, connect, response].into_iter().map(|ms| ms.max(0)).fold(0, i32::saturating_add);
        Self { millis: [request, queue, connect, response, total] }
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

/// Whom the figures of a line belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner<'a> {
    /// A server.
    Server {
        /// Its backend.
        backend: &'a [u8],
        /// Its own name.
        server: &'a [u8],
    },
    /// A backend: none of its servers was up, or the request left its queue.
    Backend(&'a [u8]),
    /// The same, if there is such a backend. The name is also the frontend's: of a `listen`, then
    /// it is a backend, or of a frontend that chose none.
    BackendIfKnown(&'a [u8]),
    /// Nobody: HAProxy answered by itself, or the line was cut before it tells how it ended.
    Nobody,
}

impl<'a> Owner<'a> {
    /// Whom the figures of `line` belong to.
    ///
    /// HAProxy's own servers (`<STATS>`, `<CACHE>`, `<PROMEX>`, `<lua.x>`) log zeros for timers and
    /// are nobody. So are `<NOSRV>` lines, unless the backend had no room, and redirects by `server
    /// ... redir`, which name a server that was sent nothing (`LC`; seen on HAProxy 2.6.12).
    pub fn of(line: &LogLine<'a>) -> Self {
        let (backend, server) = (line.backend, line.server);
        // HAProxy's own requests (OCSP updates) come from a frontend in angle brackets.
        let is_haproxys_own = line.frontend.is_some_and(|frontend| frontend.starts_with(b"<"));
        let is_local = line.termination_state.is_some_and(|state| state.starts_with(b"L"));
        if is_haproxys_own || is_local || !has_outcome(line) {
            return Self::Nobody;
        }
        if backend == b"-" {
            return Self::Nobody;
        }
        if server.is_empty() {
            // The format does not name it: an answer of HAProxy's own cannot be told from a server's.
            let is_proxys = Class::of(line) == Class::Proxy;
            return if is_proxys { Self::Nobody } else { Self::Backend(backend) };
        }
        if !server.starts_with(b"<") {
            return Self::Server { backend, server };
        }
        if server != b"<NOSRV>" || Class::of(line) != Class::Saturation {
            return Self::Nobody;
        }
        match line.frontend {
            Some(frontend) if frontend != backend => Self::Backend(backend),
            _ => Self::BackendIfKnown(backend),
        }
    }
}

/// The backend that HAProxy answered `line` for by itself, if it did: denied, redirected, from its cache.
/// What a `listen` does so as a frontend is no backend's, and its counters do not have it (seen on
/// HAProxy 2.2, 2.6 and 3.2).
pub(super) fn answered_for<'a>(line: &LogLine<'a>) -> Option<&'a [u8]> {
    let is_backends = !line.server.starts_with(b"<") || line.frontend != Some(line.backend);
    let is_haproxys_own = line.frontend.is_some_and(|frontend| frontend.starts_with(b"<"));
    let is_answer = Owner::of(line) == Owner::Nobody && has_outcome(line);
    (is_answer && is_backends && !is_haproxys_own).then_some(line.backend)
}

/// A step of `log-steps` before the answer: nothing is wrong, and nothing has been said. With a format of
/// its own a line may just not say it.
pub(super) fn is_early_step(line: &LogLine<'_>) -> bool {
    let is_normal = line.termination_state.is_some_and(|state| state.starts_with(b"--"));
    is_normal
        && line.status.is_none()
        && line.timers.get(Timer::Tr).is_none()
        && !line.is_tcp()
        && !line.is_custom()
}

/// Whether the line tells how the request ended. One that was cut does if there was an answer, or a
/// connection in TCP.
fn has_outcome(line: &LogLine<'_>) -> bool {
    let answered = if line.is_tcp() { Timer::Tc } else { Timer::Tr };
    (line.termination_state.is_some() && !is_early_step(line))
        || line.status.is_some()
        || (line.is_custom() && !line.is_truncated())
        || line.timers.get(answered).is_some()
}

impl Class {
    /// How `line` ended, by its termination state (configuration manual 8.5) and status.
    pub fn of(line: &LogLine<'_>) -> Self {
        let (by, phase) = state_letters(line);
        match (by, phase) {
            // The server's own 5xx ends as normally as any other answer.
            (b'-', _) if line.status.is_some_and(|status| status >= 500) => Self::Server,
            (b'-', _) => Self::Success,
            // A connection that was idle to its end: for TCP and tunnels that is how they end.
            (b's', b'D') if is_tunnel(line) => Self::Success,
            (b'C' | b'c' | b'S' | b's', b'Q') => Self::Saturation,
            (b'S' | b's', _) if line.server == b"<NOSRV>" => Self::Saturation,
            (b'S' | b's' | b'D', _) => Self::Server,
            (b'C' | b'c', _) => Self::Client,
            // An answer HAProxy could not understand. With a Tr it was denied by a rule.
            (b'P', b'H') if line.status == Some(502) && line.timers.get(Timer::Tr).is_none() => Self::Server,
            _ => Self::Proxy,
        }
    }
}

/// Who ended it and in which phase; dashes if the line does not tell.
fn state_letters(line: &LogLine<'_>) -> (u8, u8) {
    match line.termination_state {
        Some(&[by, phase, ..]) => (by, phase),
        _ => (b'-', b'-'),
    }
}

/// A TCP session, or what a WebSocket became after 101: its length is the client's affair.
fn is_tunnel(line: &LogLine<'_>) -> bool {
    line.is_tcp() || line.status == Some(SWITCHING_PROTOCOLS)
}

const SWITCHING_PROTOCOLS: u16 = 101;

/// Whether `line`, which ended as `class`, was ended by a timeout of HAProxy's.
pub fn has_timed_out(line: &LogLine<'_>, class: Class) -> bool {
    state_letters(line).0 == b's' && class != Class::Success
}

impl Sample {
    /// What is kept of `line`, once it is known whose it is and when it ended.
    ///
    /// With logasap the counters include the request itself, which here they do not.
    pub fn new(line: &LogLine<'_>, backend: BackendId, server: Option<ServerId>, end: Instant) -> Self {
        let class = Class::of(line);
        let others = |count: Option<u32>| count.unwrap_or(0).saturating_sub(u32::from(line.partial));
        Self {
            backend,
            server,
            end,
            timers: Timers::of(line),
            class,
            timed_out: has_timed_out(line, class),
            beconn: others(line.counters.beconn),
            srv_conn: others(line.counters.srv_conn),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::log::format::{Line, LineFormat};

    const TIMED_OUT: bool = true;
    const IN_TIME: bool = false;

    /// A request or session as `names timers and the rest`, whose it is and how it ended.
    #[track_caller]
    fn check(text: &str, whose: &str, class: Class, timed_out: bool) {
        let text = format!("127.0.0.1:5 [21/Nov/2026:09:31:50.191] fe {text}");
        let Line::Request(line) = LineFormat::Auto.read(text.as_bytes()) else {
            panic!("no request: {text}")
        };
        let name = |bytes| std::str::from_utf8(bytes).unwrap();
        let owner = match Owner::of(&line) {
            Owner::Server { backend, server } => format!("{}/{}", name(backend), name(server)),
            Owner::Backend(backend) => name(backend).to_owned(),
            Owner::BackendIfKnown(backend) => format!("{}?", name(backend)),
            Owner::Nobody => "nobody".to_owned(),
        };
        assert_eq!((owner.as_str(), Class::of(&line)), (whose, class), "{text}");
        assert_eq!(sample(&line).timed_out, timed_out, "{text}");
    }

    #[expect(clippy::disallowed_methods, reason = "a test is the caller that brings `now`")]
    fn sample(line: &LogLine<'_>) -> Sample {
        let backend = crate::core::names::Names::default().backend("be").unwrap();
        Sample::new(line, backend, None, Instant::now())
    }

    /// Lines seen on HAProxy 2.6.12 are in `fixtures/lines`; these are those of other versions.
    #[test]
    fn how_a_request_ended_is_told_by_state_and_status() {
        check("be/s 0/0/0/-1/306 500 0 - - KC-- 1/1/0/0/0 0/0", "be/s", Class::Proxy, IN_TIME);
        check("be/s 0/0/0/-1/312 500 0 - - DC-- 1/1/0/0/0 0/0", "be/s", Class::Server, IN_TIME);
        check("be/s 0/0/0/7/8 502 0 - - PH-- 1/1/0/0/0 0/0", "be/s", Class::Proxy, IN_TIME);
        check("be/s 0/0/0/7/8 403 0 - - PH-- 1/1/0/0/0 0/0", "be/s", Class::Proxy, IN_TIME);
        check("be/s 0/0/0/-1/8 500 0 - - IH-- 1/1/0/0/0 0/0", "be/s", Class::Proxy, IN_TIME);
        check("be/<NOSRV> 0/9/-1/-1/9 -1 0 - - CQ-- 2/2/1/0/0 0/1", "be", Class::Saturation, IN_TIME);
        check("be/<NOSRV> 0/9/-1/-1/9 503 0 - - sQ-- 2/2/1/0/0 0/1", "be", Class::Saturation, TIMED_OUT);
        check("be/<NOSRV> 0/-1/-1/-1/9 503 0 - - PC-- 2/2/1/0/0 0/1", "nobody", Class::Proxy, IN_TIME);
        check("fe/<NOSRV> 0/-1/-1/-1/9 503 0 - - SC-- 2/2/1/0/0 0/1", "fe?", Class::Saturation, IN_TIME);
        check("be/s 0/0/0/7/9000 101 0 - - sD-- 1/1/0/0/0 0/0", "be/s", Class::Success, IN_TIME);
        check("be/s 0/0/0/7/9000 200 0 - - sD-- 1/1/0/0/0 0/0", "be/s", Class::Server, TIMED_OUT);
        check("be/s 0/0/9000 0 sD 1/1/0/0/0 0/0", "be/s", Class::Success, IN_TIME);
        check("be/s 9/-1/9 0 sC 1/1/0/0/0 0/0", "be/s", Class::Server, TIMED_OUT);
    }

    #[test]
    fn a_line_cut_before_it_tells_how_it_ended_is_nobodys() {
        check("be/s 0/0/0/-1/306 5", "nobody", Class::Success, IN_TIME);
        check("be/s 0/0/0/-1/306 504 ", "be/s", Class::Server, IN_TIME);
        check("be/s 0/0/0/300/306 2", "be/s", Class::Success, IN_TIME);
        check("be/s 0/-1/306 5", "nobody", Class::Success, IN_TIME);
        check("be/s 0/0/306 5", "be/s", Class::Success, IN_TIME);
    }

    #[track_caller]
    fn sample_of(text: &str) -> Sample {
        let Line::Request(line) = LineFormat::Auto.read(text.as_bytes()) else {
            panic!("no request: {text}")
        };
        sample(&line)
    }

    #[test]
    fn a_partial_line_does_not_count_itself() {
        let sample = sample_of(
            "1.2.3.4:5 [21/Nov/2026:09:31:50.191] fe be/s 0/0/0/9/+9 200 +7 - - ---- 4/4/3/1/0 0/0",
        );
        assert_eq!((sample.beconn, sample.srv_conn), (2, 0));
    }

    #[test]
    fn the_length_of_a_websocket_is_no_latency() {
        let sample = sample_of(
            "1.2.3.4:5 [21/Nov/2026:09:31:50.191] fe be/s 1/2/-1/9/90000 101 7 - - ---- 1/1/0/0/0 0/0",
        );
        assert_eq!(sample.timers.get(Timer::Tt), Some(12));
    }
}
