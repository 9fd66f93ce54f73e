//! A [`Record`] in words: as a journal entry, and as a log event. The sentence is the same in both.

use std::time::Duration;

use jiff::civil::DateTime;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};
use tracing::{debug, info, warn};

use crate::core::controller::{BroughtBack, Change, Event, Operator, Order, Override, Record};
use crate::core::estimate::snapshot::Snapshot;
use crate::core::names::{Names, ServerId};
use crate::core::plan::outcome::{KeptBy, Outcome};
use crate::core::plan::step::Purpose;
use crate::core::policy::Span;
use crate::core::policy::decision::Decision;
use crate::core::settings::schedule::CivilTime;

/// The journal entry: what, from how many servers to how many, why, from which figures.
pub fn entry(record: &Record, names: &Names, time: Timestamp, dry_run: bool) -> Value {
    let mut entry = Map::new();
    entry.insert("time".into(), json!(time.to_string()));
    entry.insert("backend".into(), json!(&*names.of_backend(record.backend)));
    match &record.event {
        Event::Decided { decision, refused } => {
            let (from, to) = change(decision, record.serving);
            entry.insert("decision".into(), json!(decision.name()));
            entry.insert("from".into(), json!(from));
            entry.insert("to".into(), json!(to));
            entry.insert("reason".into(), json!(decision.reason().to_string()));
            entry.insert("rule".into(), json!(decision.reason().key()));
            if let Some(refused) = refused {
                entry.insert("refused".into(), json!(refused));
            }
        }
        Event::Outcome(outcome) => outcome_fields(outcome, names, &mut entry),
        Event::Ordered(what) => order_fields(what, Some(&what.by), true, &mut entry),
        Event::OrderEnded { what, by } => order_fields(what, by.as_ref(), false, &mut entry),
        Event::ChangedByOther { server, change, lasts } => {
            entry.insert("event".into(), json!("changed_by_other"));
            entry.insert("server".into(), json!(&*names.of_server(*server)));
            entry.insert("reason".into(), json!(left_alone(*change, *lasts)));
            entry.insert("for_s".into(), json!(lasts.as_secs()));
        }
        Event::HandsOffEnded { server } => {
            entry.insert("event".into(), json!("hands_off_ended"));
            entry.insert("server".into(), json!(&*names.of_server(*server)));
        }
        Event::WeightsBroughtBack(weights) => {
            entry.insert("event".into(), json!("weights_brought_back"));
            entry.insert("reason".into(), json!(brought_back(weights, names)));
        }
        Event::Checked { server, up } => {
            entry.insert("event".into(), json!(if *up { "up" } else { "down" }));
            entry.insert("server".into(), json!(&*names.of_server(*server)));
            entry.insert("reason".into(), json!(checked(*up, record.serving)));
        }
        Event::NotReplaced(unreplaced) => {
            entry.insert("event".into(), json!("not_replaced"));
            entry.insert("servers".into(), json!(unreplaced.servers));
            entry.insert("reason".into(), json!(unreplaced.to_string()));
        }
        Event::Restarted(process) => {
            entry.insert("event".into(), json!("haproxy_restarted"));
            entry.insert("pid".into(), json!(process.pid));
            entry.insert("version".into(), json!(process.version));
        }
    }
    entry.insert("next_move_s".into(), json!(record.next_move.map(|left| left.as_secs())));
    if let Some(snapshot) = &record.snapshot {
        entry.insert("figures".into(), figures(snapshot));
    }
    let is_pretended = matches!(record.event, Event::Decided { .. } | Event::Outcome(_));
    if dry_run && is_pretended {
        entry.insert("dry_run".into(), json!(true));
    }
    Value::Object(entry)
}

/// The figures of a snapshot; milliseconds, requests, requests a second.
pub fn figures(snapshot: &Snapshot) -> Value {
    let ms = |latency: Option<std::time::Duration>| latency.map(|latency| round(latency.as_secs_f64() * 1e3));
    json!({
        "latency_ms": ms(snapshot.latency),
        "p50_ms": ms(snapshot.p50),
        "p95_ms": ms(snapshot.p95),
        "p99_ms": ms(snapshot.p99),
        "mean_ms": ms(snapshot.mean),
        "queue_ms": ms(snapshot.queue_time),
        "samples": snapshot.samples,
        "rate": round(snapshot.rate),
        "concurrency": round(snapshot.concurrency),
        "failures": {
            "server": snapshot.tally.server,
            "saturation": snapshot.tally.saturation,
            "client": snapshot.tally.client,
            "proxy": snapshot.tally.proxy,
        },
    })
}

/// To a tenth: more digits would be noise.
pub(super) fn round(figure: f64) -> f64 {
    (figure * 10.0).round() / 10.0
}

/// Servers before and after `decision`.
fn change(decision: &Decision, serving: u32) -> (u32, u32) {
    match decision {
        Decision::Hold(_) | Decision::Reweigh { .. } => (serving, serving),
        Decision::ScaleUp { by, .. } => (serving, serving + by),
        Decision::ScaleDown { by, .. } => (serving, serving.saturating_sub(*by)),
    }
}

fn order_fields(what: &Override, by: Option<&Operator>, begins: bool, entry: &mut Map<String, Value>) {
    let event = match (begins, what.order) {
        (true, Order::Pause) => "paused",
        (true, Order::Pin(_)) => "pinned",
        (false, Order::Pause) => "pause_ended",
        (false, Order::Pin(_)) => "pin_ended",
    };
    entry.insert("event".into(), json!(event));
    entry.insert("reason".into(), json!(if begins { begun(what) } else { ended(what, by) }));
    if let Order::Pin(to) = what.order {
        entry.insert("to".into(), json!(to));
    }
    let lasts = what.until.map(|until| until.saturating_duration_since(what.since).as_secs());
    entry.insert("for_s".into(), json!(lasts));
    if let Some(by) = by {
        entry.insert("by".into(), json!(by.name));
        entry.insert("uid".into(), json!(by.uid));
        entry.insert("pid".into(), json!(by.pid));
    }
}

/// `pinned to 6 for 2 h by root`.
pub fn begun(what: &Override) -> String {
    let lasts = what.until.map(|until| format!(" for {}", Span(until.saturating_duration_since(what.since))));
    format!("{}{} by {}", ordered(what.order), lasts.unwrap_or_default(), what.by.name)
}

/// `no longer pinned to 6: ended by root`.
fn ended(what: &Override, by: Option<&Operator>) -> String {
    let why = by.map_or("its time is over".to_owned(), |by| format!("ended by {}", by.name));
    format!("no longer {}: {why}", ordered(what.order))
}

/// `READY to MAINT, not by this agent: left alone for 30 min`.
fn left_alone(change: Option<Change>, lasts: Duration) -> String {
    let what = match change {
        Some(Change::State { from, to }) => format!("{} to {}", from.name(), to.name()),
        Some(Change::Weight { from, to } | Change::WeightAtRestart { from, to }) => {
            format!("weight {from} to {to}")
        }
        Some(Change::Address { from, to }) => format!("sent from {from} to {to}"),
        Some(Change::Unchecked) => "its health check switched off".to_owned(),
        None => "its state, in the middle of a move".to_owned(),
    };
    let by = match change {
        Some(Change::WeightAtRestart { .. }) => "by somebody, or by an old state file of HAProxy's",
        _ => "not by this agent",
    };
    format!("{what}, {by}: left alone for {}", Span(lasts))
}

/// `s1 from 100 to 10, s2 from 40 to 10: HAProxy's state file is from ...`.
fn brought_back(weights: &[BroughtBack], names: &Names) -> String {
    let change =
        |back: &BroughtBack| format!("{} from {} to {}", names.of_server(back.server), back.weight, back.own);
    let changes: Vec<String> = weights.iter().map(change).collect();
    format!(
        "{}: HAProxy's state file is from the middle of a ramp, or from while a slow server had less weight",
        changes.join(", ")
    )
}

/// `HAProxy's check fails: 2 servers serve without it`.
fn checked(up: bool, serving: u32) -> String {
    let says = if up { "passes again" } else { "fails" };
    let serving = match serving {
        1 => "1 server serves".to_owned(),
        n => format!("{n} servers serve"),
    };
    format!("HAProxy's check {says}: {serving}")
}

/// `Mon 2026-11-23 08:00`.
pub fn civil_words(time: CivilTime) -> String {
    let then =
        DateTime::constant(1970, 1, 1, 0, 0, 0, 0).checked_add(SignedDuration::from_secs(time.seconds()));
    then.map_or_else(|_| "never".to_owned(), |then| then.strftime("%a %Y-%m-%d %H:%M").to_string())
}

/// `paused`, or `pinned to 6`.
pub fn ordered(order: Order) -> String {
    match order {
        Order::Pause => "paused".to_owned(),
        Order::Pin(to) => format!("pinned to {to}"),
    }
}

fn outcome_fields(outcome: &Outcome, names: &Names, entry: &mut Map<String, Value>) {
    let mut put = |key: &str, value: Value| {
        entry.insert(key.into(), value);
    };
    match outcome {
        Outcome::StepDone { step, took, .. } => {
            put("event", json!("step"));
            put("step", json!(step.words(names)));
            put("took_ms", json!(took.as_millis()));
        }
        Outcome::Moved { server, purpose, .. } => {
            put("event", json!(moved(*purpose)));
            put("server", json!(&*names.of_server(*server)));
        }
        Outcome::Failed { server, step, error, .. } => {
            put("event", json!("failed"));
            put("server", json!(server.map(|server| names.of_server(server).to_string())));
            put("step", json!(step.words(names)));
            put("error", json!(error));
        }
        Outcome::Outdated { server, .. } => {
            put("event", json!("outdated"));
            put("server", json!(server.map(|server| names.of_server(server).to_string())));
        }
        Outcome::Dropped { server, .. } => {
            put("event", json!("dropped"));
            put("server", json!(&*names.of_server(*server)));
            put("reason", json!(DROPPED));
        }
        Outcome::Kept { server, by, within, .. } => {
            put("event", json!(kept_name(by.as_ref())));
            put("server", json!(&*names.of_server(*server)));
            put("reason", json!(kept(by.as_ref(), *within)));
        }
        Outcome::LeftBehind { server, step, error, .. } => {
            put("event", json!("left_behind"));
            put("server", json!(&*names.of_server(*server)));
            put("step", json!(step.words(names)));
            put("error", json!(error));
        }
        Outcome::RampGivenUp { server, error, .. } => {
            put("event", json!("ramp_given_up"));
            put("server", json!(server.map(|server| names.of_server(server).to_string())));
            put("error", json!(error));
        }
        Outcome::Finished { purpose, called_off, .. } => {
            put("event", json!(if *called_off { "called_off" } else { "finished" }));
            put("purpose", json!(purpose.name()));
        }
    }
}

/// Why a server is not there any more.
const DROPPED: &str = "HAProxy was restarted with a configuration that lacks it";

fn kept_name(by: Option<&KeptBy>) -> &'static str {
    match by {
        Some(KeptBy::OldWorkers(_)) => "old_sessions",
        Some(KeptBy::OwnSessions) => "sessions_last",
        Some(KeptBy::Cookie(_) | KeptBy::Table(_)) | None => "clients_stick",
    }
}

/// `clients stick to it (cookie SRV); MAINT in 41 s at most`. A time without end is not told.
pub fn kept(by: Option<&KeptBy>, within: Duration) -> String {
    let what = match by {
        Some(by @ KeptBy::OwnSessions) => {
            let end = if within == Duration::MAX {
                String::new()
            } else {
                format!(", in {} at most", Span(within))
            };
            return format!("MAINT would close its sessions ({by}); MAINT once they have ended{end}");
        }
        Some(by @ KeptBy::OldWorkers(_)) => format!("an old HAProxy still has sessions on it ({by})"),
        Some(by) => format!("clients stick to it ({by})"),
        None => "no client sticks to it any more".to_owned(),
    };
    format!("{what}; MAINT in {} at most", Span(within))
}

fn moved(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Add => "serving",
        Purpose::Remove => "in_maint",
        Purpose::ShutDown => "sessions_closed",
        Purpose::Reweigh => "reweighed",
    }
}

/// An event that tells of something done, and in a dry run says that it was not.
macro_rules! done {
    ($level:ident, $dry_run:expr, { $($fields:tt)* }, $message:literal) => {
        if $dry_run {
            $level!($($fields)*, concat!("dry run: ", $message));
        } else {
            $level!($($fields)*, $message);
        }
    };
}
pub(crate) use done;

/// Tells the log. Moves and what became of them are `info`, what failed is `warn`; a hold is `warn`
/// where the backend cannot be decided about, `info` where it is kept from a move, else `debug`.
pub fn tell(record: &Record, names: &Names, dry_run: bool) {
    let backend = &*names.of_backend(record.backend);
    match &record.event {
        Event::Decided { decision, refused } => {
            tell_decision(backend, record, decision, refused.as_deref(), dry_run)
        }
        Event::Outcome(outcome) => tell_outcome(backend, outcome, names, dry_run),
        Event::Ordered(what) => {
            info!(backend, reason = begun(what), uid = what.by.uid, pid = what.by.pid, "operator's order");
        }
        Event::OrderEnded { what, by } => {
            let uid = by.as_ref().map(|by| by.uid);
            info!(backend, reason = ended(what, by.as_ref()), uid, "operator's order over");
        }
        Event::ChangedByOther { server, change, lasts } => {
            let (server, reason) = (&*names.of_server(*server), left_alone(*change, *lasts));
            warn!(backend, server, reason, "server changed by somebody else");
        }
        Event::HandsOffEnded { server } => {
            let server = &*names.of_server(*server);
            info!(
                backend,
                server, "server no longer left alone; what keeps it out of service is left as it is"
            );
        }
        Event::WeightsBroughtBack(weights) => {
            warn!(
                backend,
                reason = brought_back(weights, names),
                "weights of an old state file are put right"
            );
        }
        Event::Checked { server, up: true } => {
            info!(
                backend,
                server = &*names.of_server(*server),
                serving = record.serving,
                "server is UP again"
            );
        }
        Event::Checked { server, up: false } => {
            warn!(backend, server = &*names.of_server(*server), serving = record.serving, "server is DOWN");
        }
        Event::NotReplaced(unreplaced) => {
            warn!(backend, reason = unreplaced.to_string(), "not replaced");
        }
        Event::Restarted(process) => {
            info!(backend, pid = process.pid, version = process.version, "haproxy restarted or reloaded");
        }
    }
}

fn tell_outcome(backend: &str, outcome: &Outcome, names: &Names, dry_run: bool) {
    let name = |server: &ServerId| names.of_server(*server).to_string();
    match outcome {
        Outcome::StepDone { .. } => {}
        Outcome::Moved { server, purpose: Purpose::Add, .. } => {
            done!(info, dry_run, { backend, server = name(server) }, "server serves");
        }
        Outcome::Moved { server, purpose: Purpose::ShutDown, .. } => {
            done!(info, dry_run, { backend, server = name(server) }, "sessions that had not ended are closed");
        }
        Outcome::Moved { server, .. } => {
            done!(info, dry_run, { backend, server = name(server) }, "server is in MAINT");
        }
        Outcome::Failed { server, step, error, .. } => {
            let (server, step) = (server.as_ref().map(name), step.words(names));
            done!(warn, dry_run, { backend, server, step, error }, "step failed");
        }
        Outcome::Outdated { server, .. } => {
            let server = server.as_ref().map(name);
            info!(backend, server, "haproxy was restarted before the move began; it is decided on anew");
        }
        Outcome::Dropped { server, .. } => {
            info!(backend, server = name(server), reason = DROPPED, "server is gone");
        }
        Outcome::Kept { server, by, within, .. } => {
            info!(
                backend,
                server = name(server),
                reason = kept(by.as_ref(), *within),
                "server stays in DRAIN"
            );
        }
        Outcome::LeftBehind { server, step, error, .. } => {
            let (server, step) = (name(server), step.words(names));
            warn!(backend, server, step, error, "server left in MAINT; its deletion is tried again");
        }
        Outcome::RampGivenUp { server, error, by_other: true, .. } => {
            let server = server.as_ref().map(name);
            warn!(backend, server, error, "the weight ramp ends here: the weight is left as it is");
        }
        Outcome::RampGivenUp { error, .. } => {
            warn!(backend, error, "no weight ramp; the newcomer gets its full weight at once");
        }
        Outcome::Finished { purpose, called_off: true, .. } => {
            done!(info, dry_run, { backend, purpose = purpose.name() }, "plan called off");
        }
        Outcome::Finished { .. } => {}
    }
}

/// Holds that an operator should look into: the backend cannot be decided about.
const TROUBLE: [&str; 5] = ["unknown_backend", "disabled_backend", "blind", "uncovered", "too_many_lines"];
/// Holds that keep a backend from a move it needs, or may need soon.
const LIMITED: [&str; 11] = [
    "at_max",
    "no_spare",
    "no_slot",
    "most_slots",
    "slots_to_come",
    "slots_not_added",
    "cannot_add",
    "nothing_to_remove",
    "rest_too_few",
    "server_failures",
    "pin_limited",
];

/// Whether the journal's `entry` belongs among the last decisions that `status` shows: moves, what
/// became of them, and holds that are more than waiting.
pub fn is_notable(entry: &Value) -> bool {
    let text = |key: &str| entry[key].as_str().unwrap_or_default();
    let rule = text("rule");
    match text("decision") {
        "" => !matches!(text("event"), "finished" | "haproxy_kept"),
        "hold" => TROUBLE.contains(&rule) || LIMITED.contains(&rule) || !text("refused").is_empty(),
        _ => true,
    }
}

fn tell_decision(backend: &str, record: &Record, decision: &Decision, refused: Option<&str>, dry_run: bool) {
    let (from, to) = change(decision, record.serving);
    let snapshot = record.snapshot.as_ref();
    let p95_ms = snapshot.and_then(|snapshot| snapshot.p95).map(|p95| p95.as_millis() as u64);
    let samples = snapshot.map(|snapshot| snapshot.samples);
    let (name, reason) = (decision.name(), decision.reason().to_string());
    let rule = decision.reason().key();
    if let Some(refused) = refused {
        warn!(
            backend,
            decision = name,
            reason,
            p95_ms,
            samples,
            refused,
            "no plan for a move that is needed"
        );
    } else if TROUBLE.contains(&rule) {
        warn!(backend, decision = name, reason, "cannot be decided about");
    } else if matches!(decision, Decision::Hold(_)) && !LIMITED.contains(&rule) {
        debug!(backend, decision = name, reason, p95_ms, samples, "decided");
    } else {
        let dry_run = dry_run && !matches!(decision, Decision::Hold(_));
        done!(info, dry_run, { backend, decision = name, from, to, reason, p95_ms, samples }, "decided");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::policy::decision::Reason;
    use crate::core::policy::place::{Growth, NoPlace, NotGrowing};

    #[track_caller]
    fn check(notable: bool, entry: Value) {
        assert_eq!(is_notable(&entry), notable, "{entry}");
    }

    #[test]
    fn moves_and_what_stands_in_their_way_are_notable_and_waiting_is_not() {
        check(true, json!({"decision": "scale_up", "rule": "breach"}));
        check(true, json!({"decision": "hold", "rule": "no_spare"}));
        check(true, json!({"decision": "hold", "rule": "blind"}));
        check(true, json!({"event": "serving", "server": "s2"}));
        check(true, json!({"event": "failed"}));
        check(false, json!({"event": "finished"}));
        check(false, json!({"event": "haproxy_kept"}));
        check(true, json!({"event": "haproxy_reloaded"}));
        check(false, json!({"decision": "hold", "rule": "at_min"}));
        check(false, json!({"decision": "hold", "rule": "pending_up"}));
    }

    fn growing(told: Growth) -> Reason {
        Reason::NoPlace(NoPlace::Growing { count: 1, names: (String::new(), String::new()), told })
    }

    #[test]
    fn the_rules_that_are_told_are_rules_that_there_are() {
        let limited = [
            Reason::AtMax { serving: 2 },
            Reason::NoSpare,
            Reason::NoPlace(NoPlace::Slot { missing: 1, line: String::new(), but: None }),
            Reason::NoPlace(NoPlace::Slot {
                missing: 1,
                line: String::new(),
                but: Some(NotGrowing::AtMost(1)),
            }),
            growing(Growth::UnderWay),
            growing(Growth::Failed(String::new())),
            Reason::NoPlace(NoPlace::Add("")),
            Reason::NothingToRemove,
            Reason::ServerFailures { failed: 1, of: 2 },
        ];
        assert!(limited.iter().all(|reason| LIMITED.contains(&reason.key()) && reason.limited()));
        let span = std::time::Duration::from_secs(30);
        let trouble = [
            Reason::UnknownBackend,
            Reason::DisabledBackend,
            Reason::Blind { requests: 3 },
            Reason::Uncovered { understood: 3, expected: 9, span, only_failures: false, first: None },
            Reason::TooManyLines { lines: 9, expected: 3, span },
        ];
        assert!(trouble.iter().all(|reason| TROUBLE.contains(&reason.key())));
    }
}
