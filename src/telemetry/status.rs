//! What the running agent knows, as one JSON value.
//!
//! `status` and everything else that looks at a running agent reads this same value. It is written down backend by
//! backend: a thousand of them at once take more memory than all that the agent knows.

use std::time::Duration;

use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::files::PoolTrouble;
use super::progress;
use super::words::{self, figures};
use crate::core::controller::{Health, Order, ServerView, View};
use crate::core::names::Names;
use crate::core::plan::inventory::{Process, Unread};
use crate::core::policy::fleet::Fleet;
use crate::core::settings::ReadyLimits;

/// What there is to know of the agent as a whole.
#[derive(Debug)]
pub struct Overview<'a> {
    /// Nothing is sent.
    pub dry_run: bool,
    /// Since its start.
    pub running: Duration,
    /// HAProxy answered last time.
    pub haproxy_answers: bool,
    /// Since when it does not, and why; null if it does.
    pub haproxy_absent: Value,
    /// The HAProxy process that answered last.
    pub process: Option<&'a Process>,
    /// How each HAProxy stands, and what lasts there.
    pub nodes: Value,
    /// The config that holds.
    pub config: Value,
    /// What became of the lines.
    pub lines: Value,
    /// Every backend.
    pub views: &'a [View],
    /// What is wrong with pools, by the names of their backends.
    pub pools: Vec<(&'a str, &'a PoolTrouble)>,
    /// The newest entries of the journal, oldest first.
    pub recent: &'a [Value],
    /// Their names.
    pub names: &'a Names,
}

/// The whole value, as text.
pub fn agent(overview: &Overview<'_>) -> String {
    let process = overview.process;
    let whole = Whole {
        version: env!("CARGO_PKG_VERSION"),
        pid: std::process::id(),
        dry_run: overview.dry_run,
        running_s: overview.running.as_secs(),
        haproxy: json!({
            "answers": overview.haproxy_answers,
            "absent": overview.haproxy_absent,
            "version": process.map(|process| process.version.as_str()),
            "pid": process.map(|process| process.pid),
            "nodes": overview.nodes,
        }),
        config: &overview.config,
        lines: &overview.lines,
        backends: Backends(overview),
        recent: overview.recent,
    };
    // Texts are the keys of all maps: nothing in it can fail.
    serde_json::to_string(&whole).unwrap_or_default()
}

#[derive(Serialize)]
struct Whole<'a> {
    version: &'static str,
    pid: u32,
    dry_run: bool,
    running_s: u64,
    haproxy: Value,
    config: &'a Value,
    lines: &'a Value,
    backends: Backends<'a>,
    recent: &'a [Value],
}

/// Each is a value only while it is written.
struct Backends<'a>(&'a Overview<'a>);

impl Serialize for Backends<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Overview { views, pools, names, .. } = self.0;
        let pool = |view: &View| {
            let name = names.of_backend(view.backend);
            pools.iter().find(|(backend, _)| *backend == &*name).map(|&(_, trouble)| trouble)
        };
        serializer.collect_seq(views.iter().map(|view| backend(view, pool(view), names)))
    }
}

/// A line for each backend that cannot be decided about.
pub fn troubles(views: &[View], names: &Names) -> Vec<String> {
    let trouble = |view: &View| {
        let reason = view.decision.as_ref().map(|(decision, _)| decision.reason());
        let reason = view.doubt.as_ref().or(reason).map(ToString::to_string);
        let reason = reason.as_deref().unwrap_or("no evaluation yet");
        format!("{}: {}: {reason}\n", names.of_backend(view.backend), health(view.health))
    };
    views.iter().filter(|view| view.health != Health::Good).map(trouble).collect()
}

/// One backend as it is now.
pub fn backend(view: &View, pool: Option<&PoolTrouble>, names: &Names) -> Value {
    let (decision, refused) = match &view.decision {
        Some((decision, refused)) => (Some(decision), refused.as_deref()),
        None => (None, None),
    };
    json!({
        "backend": &*names.of_backend(view.backend),
        "target": {
            "timer": view.target.timer.name(),
            "statistic": view.target.statistic.to_string(),
            "below_ms": view.target.below.as_millis(),
            "window_s": view.window.length.as_secs(),
        },
        "health": health(view.health),
        "decision": decision.map(|decision| decision.name()),
        "reason": decision.map(|decision| decision.reason().to_string()),
        "refused": refused,
        "serving": known_fleet(view).map(|fleet| fleet.serving),
        "spare": known_fleet(view).map(|fleet| fleet.startable),
        "under_way": view.under_way.iter().map(|&server| names.of_server(server).to_string()).collect::<Vec<_>>(),
        "moving": view.moving.map(|purpose| purpose.name()),
        "cooldown_s": view.cooldown.as_secs_f64().ceil(),
        "next_move_s": view.next_move.map(|left| left.as_secs_f64().ceil()),
        "limits": limits(view),
        "override": order(view),
        "wish": view.wish.as_ref().map(|wish| wish.to_string()),
        "coverage": view.coverage.map(|found| json!({
            "ratio": round(found.ratio()),
            "understood": found.understood,
            "expected": found.expected,
            "counted": found.counted,
            "whole": found.is_whole,
            "span_s": round(found.span.as_secs_f64()),
        })),
        "doubt": view.doubt.as_ref().map(ToString::to_string),
        "figures": figures(&view.snapshot),
        "spares": view.settings.spares.name(),
        "pool_trouble": pool.map(PoolTrouble::value),
        "left_out": view.unread.iter().map(|unread| left_out(unread, names)).collect::<Vec<_>>(),
        "missing_slots": view.missing_slots,
        "slots_to_come": view.slots_to_come,
        "servers": view.servers.iter().map(|server| server_value(server, names)).collect::<Vec<_>>(),
    })
}

/// What could not be read, and why.
pub fn left_out(unread: &Unread, names: &Names) -> String {
    let what = unread.server.map_or("all of it".to_owned(), |server| names.of_server(server).to_string());
    format!("{what}: {}", unread.why)
}

/// What HAProxy has, if it says so.
pub fn known_fleet(view: &View) -> Option<Fleet> {
    view.fleet.filter(|_| !matches!(view.health, Health::HaproxyAbsent | Health::BackendAbsent))
}

/// Fewest and most serving servers, now and next; no most: as many as there are.
fn limits(view: &View) -> Value {
    let next = view.limits.next.map(
        |(time, limits)| json!({ "from": words::civil_words(time), "min": limits.min, "max": limits.max }),
    );
    let ReadyLimits { min, max } = view.limits.now;
    json!({ "min": min, "max": max, "schedule": view.limits.entry, "next": next })
}

/// What an operator has ordered; null if nothing.
pub fn order(view: &View) -> Value {
    let Some(wanted) = &view.overridden else { return Value::Null };
    json!({
        "order": words::ordered(wanted.order),
        "pinned_to": match wanted.order {
            Order::Pause => None,
            Order::Pin(to) => Some(to),
        },
        "by": wanted.by.name,
        "uid": wanted.by.uid,
        "left_s": view.order_left.map(|left| left.as_secs_f64().ceil()),
    })
}

fn server_value(server: &ServerView, names: &Names) -> Value {
    let state = &server.state;
    json!({
        "server": &*names.of_server(state.id),
        "address": state.socket().map(|address| address.to_string()),
        "there": !state.is_absent(),
        "state": state.state().name(),
        "up": state.is_up(),
        "serving": state.is_serving(),
        "weight": state.weight.value(),
        "sessions": state.sessions,
        "queued": state.queued,
        "check_passed": state.checked.then_some(state.check_passed),
        "role": server.role.name(),
        "alike": state.alike,
        "slowstart": state.slowstart,
        "throttle_percent": state.throttle,
        "left_alone_s": server.left_alone.map(|left| left.as_secs()),
        "stand_in": server.stand_in.map(|server| names.of_server(server).to_string()),
        "not_replaced": server.vacancy.map(|why| why.to_string()),
        "doing": progress::words(server),
        "weight_held_s": server.held.map(|held| held.as_secs()),
        "quarantine_s": server.quarantine.map(|left| left.as_secs()),
        "figures": server.snapshot.as_ref().map(figures),
    })
}

/// To a thousandth: more digits would be noise.
fn round(figure: f64) -> f64 {
    (figure * 1e3).round() / 1e3
}

/// One word for people and probes.
fn health(health: Health) -> &'static str {
    match health {
        Health::Good => "good",
        Health::HaproxyAbsent => "haproxy_absent",
        Health::BackendAbsent => "backend_absent",
        Health::ReadOnly => "read_only",
        Health::Blind => "blind",
        Health::Uncovered => "uncovered",
        Health::TooManyLines => "too_many_lines",
    }
}
