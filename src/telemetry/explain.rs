//! Why a backend is as it is, in words for a tired operator: what is, what the agent wants and why, what
//! limits it, and when it may move next.

use std::time::Duration;

use serde_json::{Value, json};

use super::status;
use super::words::{self, civil_words};
use crate::core::controller::{Order, ServerView, View};
use crate::core::estimate::snapshot::Snapshot;
use crate::core::names::Names;
use crate::core::plan::ownership::Role;
use crate::core::plan::step::Purpose;
use crate::core::policy::Span;
use crate::core::policy::decision::{Decision, Reason};
use crate::core::settings::{Policy, ReadyLimits};

/// What `status` says of the backend, and the same in sentences.
pub fn backend(view: &View, names: &Names) -> Value {
    let mut value = status::backend(view, names);
    let is = [servers(view, names), latency(view), load(view)].concat();
    value["explanation"] = json!({
        "is": is,
        "wants": wants(view),
        "limited_by": limits(view, names),
        "next_move": next_move(view),
    });
    value
}

/// Who serves, and who does not.
fn servers(view: &View, names: &Names) -> Vec<String> {
    if view.servers.is_empty() {
        return Vec::new();
    }
    let list = |wanted: &dyn Fn(&&ServerView) -> bool| {
        let found = view.servers.iter().filter(wanted);
        found.map(|server| names.of_server(server.state.id).to_string()).collect::<Vec<_>>().join(", ")
    };
    let serving = view.servers.iter().filter(|server| server.state.is_serving()).count();
    let mut text = format!("{serving} of {} servers serve", view.servers.len());
    let groups = [
        (":", list(&|server| server.state.is_serving())),
        ("; spare:", list(&|server| server.role == Role::Spare)),
        ("; draining:", list(&|server| server.role == Role::Draining)),
        ("; not ours:", list(&|server| server.role == Role::Foreign && !server.state.is_serving())),
    ];
    for (what, who) in groups.iter().filter(|(_, who)| !who.is_empty()) {
        text.push_str(&format!("{what} {who}"));
    }
    vec![text]
}

fn latency(view: &View) -> Vec<String> {
    let (target, window) = (view.target, Span(view.window.length));
    let (statistic, timer, below) = (target.statistic, target.timer.name(), Span(target.below));
    let now = match view.snapshot.latency {
        Some(latency) => format!("is {}", Span(latency)),
        None => "is not known".to_owned(),
    };
    let mut text = format!("{statistic} of {timer} over {window} {now}; the target is below {below}");
    if view.settings.policy == Policy::Threshold {
        let band = view.settings.band;
        let (lower, upper) = (Span(band.lower()), Span(band.upper()));
        text.push_str(&format!(" (more servers above {upper}, fewer below {lower})"));
    }
    vec![text]
}

fn load(view: &View) -> Vec<String> {
    let Snapshot { samples, rate, concurrency, tally, .. } = view.snapshot;
    let waiting = view.fleet.map_or(0, |fleet| fleet.queued);
    let mut text = format!(
        "{samples} requests, {rate:.1} a second, {concurrency:.1} at a time; {waiting} wait in HAProxy"
    );
    let failures = [
        ("on their servers", tally.server),
        ("for want of room", tally.saturation),
        ("by HAProxy's own answer", tally.proxy),
    ];
    for (how, failed) in failures.into_iter().filter(|&(_, failed)| failed > 0) {
        text.push_str(&format!("; {failed} failed {how}"));
    }
    vec![text]
}

fn wants(view: &View) -> Vec<String> {
    let Some((decision, _)) = &view.decision else {
        return vec!["nothing yet: no evaluation was made".to_owned()];
    };
    let by_itself = view.wish.as_ref().map(|wish| format!("by itself it would want {}", wanted(wish)));
    [wanted(decision)].into_iter().chain(by_itself).collect()
}

/// `2 more servers: p95 412 ms has been above 250 ms for 20 s`.
fn wanted(decision: &Decision) -> String {
    let servers = |by: u32| if by == 1 { "server" } else { "servers" };
    let what = match decision {
        Decision::Hold(_) => "no change".to_owned(),
        Decision::ScaleUp { by, .. } => format!("{by} more {}", servers(*by)),
        Decision::ScaleDown { by, .. } => format!("{by} {} fewer", servers(*by)),
        Decision::Reweigh { .. } => "other weights".to_owned(),
    };
    format!("{what}: {}", decision.reason())
}

/// Each thing that keeps it from moving, or will.
fn limits(view: &View, names: &Names) -> Vec<String> {
    let mut limits = Vec::new();
    limits.extend(
        view.overridden.as_ref().map(|order| format!("an operator's order: {}", words::begun(order))),
    );
    limits.extend(view.decision.as_ref().and_then(|(_, refused)| refused.clone()));
    limits.extend(under_way(view, names));
    if !view.cooldown.is_zero() {
        let left = Span(view.cooldown);
        limits.push(format!("cooling down for {left}: nothing is taken away, and only a burst adds"));
    }
    for server in &view.servers {
        let name = names.of_server(server.state.id);
        if let Some(left) = server.quarantine {
            limits.push(format!("{name} failed to start, and is passed over for {}", Span(left)));
        }
    }
    limits.push(may_serve(view));
    limits
}

fn under_way(view: &View, names: &Names) -> Option<String> {
    let who: Vec<String> = view.under_way.iter().map(|&server| names.of_server(server).to_string()).collect();
    let who = who.join(", ");
    Some(match view.moving? {
        Purpose::Add => format!("a move is being carried out: {who} to serve"),
        Purpose::Remove => format!("a move is being carried out: {who} to MAINT"),
        Purpose::Reweigh => "weights are being set".to_owned(),
    })
}

fn may_serve(view: &View) -> String {
    let limits = &view.limits;
    let mut text = format!("servers that may serve: {}", range(limits.now));
    if let Some(entry) = &limits.entry {
        text.push_str(&format!(" ({entry})"));
    }
    if let Some((time, next)) = &limits.next {
        text.push_str(&format!("; from {} on {}", civil_words(*time), range(*next)));
    }
    text
}

/// `2 to 12`, `at least 1`.
pub fn range(limits: ReadyLimits) -> String {
    match limits.max {
        Some(max) if max == limits.min => format!("exactly {max}"),
        Some(max) => format!("{} to {max}", limits.min),
        None => format!("at least {}", limits.min),
    }
}

fn next_move(view: &View) -> String {
    let paused = view.overridden.as_ref().is_some_and(|wanted| wanted.order == Order::Pause);
    let lasts = view.decision.as_ref().and_then(|(decision, _)| has_to_last(decision.reason()));
    match view.next_move {
        None => "when somebody resumes it".to_owned(),
        Some(left) if paused => format!("in {}, when the pause is over", Span(left)),
        _ if view.moving.is_some() => "when the move under way is over".to_owned(),
        Some(left) if !left.is_zero() => format!("in {}, when the cooldown is over", Span(left)),
        Some(_) => match lasts {
            Some(left) => format!("in {}, if it lasts", Span(left)),
            None => "as soon as the figures ask for it".to_owned(),
        },
    }
}

/// Until what is pending has lasted.
fn has_to_last(reason: &Reason) -> Option<Duration> {
    match reason {
        Reason::PendingUp { since, needed, .. } | Reason::PendingDown { since, needed, .. } => {
            Some(needed.saturating_sub(*since))
        }
        Reason::JustStarted { left } => Some(*left),
        _ => None,
    }
}
