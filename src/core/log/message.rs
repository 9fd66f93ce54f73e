//! Lines of HAProxy's that are no requests: what became of servers and proxies, and the like.
//!
//! Their beginnings were collected from every `send_log` in the sources of HAProxy 3.5-dev5, and
//! from runs of 2.6.12. A known beginning makes the line a message; anything else has to be
//! told to the operator, for it may be a log format that the agent was not told of.

/// How messages begin.
const BEGINNINGS: [&[u8]; 36] = [
    b"Server ",
    b"Backup Server ",
    b"Health check for ",
    b"backend ",
    b"Backend ",
    b"frontend ",
    b"Frontend ",
    b"listener ",
    b"Proxy ",
    b"proxy ",
    b"Connect from ",
    b"Connect to ",
    b"Connect() failed ",
    b"Cannot bind ",
    b"Cannot set ",
    b"Stopping ",
    b"Stopped ",
    b"Pausing ",
    b"Paused ",
    b"Resuming ",
    b"Resumed ",
    b"Enabling ",
    b"Port ",
    b"SIGHUP",
    b"SPOE: ",
    b"DNS : ",
    b"acme: ",
    b"stick table: ",
    b"preconnect ",
    b"<OCSP-UPDATE> ",
    b"Blocking cacheable cookie ",
    b"Internal error: ",
    b"Scheduling a soft-stop ",
    b"Grace period expired",
    b"soft-stop running ",
    b"Some tasks resisted ",
];

/// What HAProxy's master and start-up write to the terminal, and journald then keeps.
const LEVELS: [&[u8]; 5] = [b"[NOTICE]", b"[WARNING]", b"[ALERT]", b"[EMERG]", b"[DIAG]"];

/// rsyslog's and journald's own: equal lines folded into one.
const REPEATED: [&[u8]; 2] = [b"message repeated ", b"last message repeated "];

/// Whether `body`, a line without its syslog header, is a message and no request.
pub(super) fn is_message(body: &[u8]) -> bool {
    let all = BEGINNINGS.iter().chain(&LEVELS).chain(&REPEATED);
    all.into_iter().any(|beginning| body.starts_with(beginning))
}
