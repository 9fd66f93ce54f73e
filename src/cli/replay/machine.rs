//! A replay for programs: one object a line; every decision, then the figures.

use serde_json::{Map, Value, json};

use super::text::target;
use crate::cli::report::when::written;
use crate::sim::replay::history::Others;
use crate::sim::replay::{Decision, Learned, Replay, Summary, Track, WorkersFrom};

/// All lines.
pub(super) fn lines(replay: &Replay, others: &Others) -> String {
    let mut all: Vec<(f64, Value)> = Vec::new();
    for track in &replay.policies {
        all.extend(track.decisions.iter().map(|its| (its.at_s, decision(replay, track, its))));
    }
    // In order of time; of one moment, in the order of the policies.
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    let decisions: String = all.iter().map(|(_, value)| format!("{value}\n")).collect();
    format!("{decisions}{}\n", json!({ "summary": summary(replay, others) }))
}

fn decision(replay: &Replay, track: &Track, decision: &Decision) -> Value {
    let mut value = json!({
        "time": written(replay.civil(decision.at_s).seconds()),
        "backend": replay.backend,
        "policy": track.name,
        "decision": decision.decision,
        "from": decision.from,
        "to": decision.to,
        "were": replay.servers_were(decision.at_s),
        "reason": decision.reason,
        "rule": decision.rule,
        "next_move_s": decision.next_move_s,
        "figures": { "latency_ms": decision.latency_ms.map(tenths), "rate": decision.rate.map(tenths) },
    });
    if let Some(refused) = &decision.refused {
        value["refused"] = refused.as_str().into();
    }
    value
}

fn summary(replay: &Replay, others: &Others) -> Value {
    let policies: Map<String, Value> =
        replay.tracks().map(|track| (track.name.clone(), figures(&track.summary))).collect();
    json!({
        "backend": replay.backend,
        "from": written(replay.begins.seconds()),
        "to": written(replay.civil(replay.length_s - 1.0).seconds()),
        "target": target(&replay.target),
        "servers": replay.servers,
        "lines": { "all": others.lines, "messages": others.messages, "unparsed": others.unparsed },
        "learned": learned(&replay.learned),
        "notes": replay.notes,
        "policies": policies,
    })
}

fn learned(learned: &Learned) -> Value {
    json!({
        "requests": learned.requests,
        "workers": learned.workers,
        "workers_from": match learned.workers_from {
            WorkersFrom::Log => "log",
            WorkersFrom::AtLeast => "at_least",
            WorkersFrom::Given => "given",
        },
        "service_ms": tenths(learned.service_s * 1e3),
        "in_turn": learned.in_turn,
        "maxconn": learned.maxconn,
    })
}

fn figures(summary: &Summary) -> Value {
    json!({
        "requests": summary.requests,
        "over_target": summary.over,
        "over_target_percent": (summary.over_share() * 1e6).round() / 1e4,
        "over_target_s": summary.over_s,
        "failed": summary.failed,
        "p50_ms": summary.p50_ms,
        "p95_ms": summary.p95_ms,
        "p99_ms": summary.p99_ms,
        "server_seconds": summary.server_s.round(),
        "moves": summary.moves,
        "most_servers": summary.most_servers,
    })
}

fn tenths(figure: f64) -> f64 {
    (figure * 10.0).round() / 10.0
}
