//! What of a replay is read and what is modelled, in whole sentences.

use super::history::History;
use super::play::Pool;
use super::{Replay, Track, WorkersFrom};

/// The sentences of `replay`, the most important first.
pub fn notes(replay: &Replay, history: &History, pool: &Pool) -> Vec<String> {
    let learned = &replay.learned;
    let mut notes = vec![
        "Read from the log: when each request came, what it cost its server, and which servers were active; \
         modelled: how latency would have been with other servers."
            .to_owned(),
        trust(&replay.actual, &replay.check),
    ];
    let order = if learned.in_turn { "in turn" } else { "sharing the cores" };
    let workers = match learned.workers_from {
        WorkersFrom::Log => "as the log shows",
        WorkersFrom::AtLeast => {
            "the least it can be, since no server was ever full; --workers says it better"
        }
        WorkersFrom::Given => "as given",
    };
    let start = pool.start_delay_s;
    let which = match pool.servers {
        None => " (those that had requests; --servers for more)",
        Some(_) => "",
    };
    notes.push(format!(
        "The model: {} servers{which}, each works on {} requests side by side ({workers}), {order}; a request costs {:.0} ms; \
         a server needs {start:.0} s to start.",
        replay.servers.len(),
        learned.workers,
        learned.service_s * 1e3,
    ));
    if let Some(maxconn) = learned.maxconn {
        notes.push(format!("HAProxy queues in front of servers that have {maxconn} connections."));
    }
    if history.repeats > 0 {
        notes.push(format!("{} lines told of a request again, and were counted once.", history.repeats));
    }
    if history.undated > 0 {
        notes.push(format!("{} requests had no date and were left out.", history.undated));
    }
    notes
}

/// So far the model may be off before it is only fair, and before it is no good, as a share of the 95th percentile.
const NEAR: f64 = 0.1;
const FAIR: f64 = 0.3;

/// How near the model comes to what was.
fn trust(actual: &Track, check: &Track) -> String {
    let ms = |ms: Option<f64>| ms.map_or("-".to_owned(), |ms| format!("{ms:.0} ms"));
    let (was, modelled) = (&actual.summary, &check.summary);
    let off =
        was.p95_ms.zip(modelled.p95_ms).map_or(1.0, |(was, modelled)| (modelled / was.max(1.0) - 1.0).abs());
    let verdict = match off {
        off if off <= NEAR => "it is near",
        off if off <= FAIR => "it is fair: take differences between policies, not single figures",
        _ => "it is off: do not rely on the latencies of the policies",
    };
    format!(
        "How far to trust the model: {verdict}. With the servers that were active it has p95 {} where the log says {}, \
         and {:.2} % over the target where the log says {:.2} %.",
        ms(modelled.p95_ms),
        ms(was.p95_ms),
        100.0 * modelled.over_share(),
        100.0 * was.over_share(),
    )
}
