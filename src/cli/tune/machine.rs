//! A proposal for programs.

use serde_json::{Map, Value, json};

use super::proposal::{Proposal, Tried};

/// One object.
pub(super) fn json(proposal: &Proposal) -> String {
    let reasons: Map<String, Value> =
        proposal.reasons.iter().map(|(key, reason)| ((*key).to_owned(), json!(reason))).collect();
    let trials: Vec<Value> = proposal.trials.iter().map(trial).collect();
    let value = json!({
        "backend": proposal.backend,
        "config": { "backends": [proposal.settings.backend(&proposal.backend)] },
        "reasons": reasons,
        "trials": trials,
        "notes": proposal.notes,
    });
    format!("{value:#}\n")
}

fn trial(tried: &Tried) -> Value {
    json!({
        "key": tried.key,
        "value": tried.value,
        "over_target_percent": (tried.over * 1e6).round() / 1e4,
        "p95_ms": tried.p95_ms,
        "server_hours": (tried.server_hours * 1e4).round() / 1e4,
        "moves": tried.moves,
        "chosen": tried.chosen,
    })
}
