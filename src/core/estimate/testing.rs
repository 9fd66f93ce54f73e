//! Samples for the tests of this stage.

use std::time::Instant;

use crate::core::log::sample::{Class, Sample, Timers};
use crate::core::names::Names;

/// When the tests' time begins; they only ever add to it.
#[expect(clippy::disallowed_methods, reason = "an Instant can be had from the clock only, and any will do")]
pub(super) fn start() -> Instant {
    Instant::now()
}

/// A request of `web/s1` that was answered after `ms`, all of it Tr.
pub(super) fn answered(end: Instant, ms: i32) -> Sample {
    let names = Names::default();
    // The table is new, and takes two names.
    let backend = names.backend("web").unwrap();
    Sample {
        backend,
        server: names.server(backend, "s1"),
        end,
        timers: Timers::new([0, 0, 0, ms, ms]),
        class: Class::Success,
        timed_out: false,
        beconn: 0,
        srv_conn: 0,
    }
}
