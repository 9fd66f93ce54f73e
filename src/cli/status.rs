//! `haproxy-autoscale status`: what the running agent knows and does.

use std::path::Path;

use serde_json::Value;

use super::output::{print, print_json, table};
use super::{Failure, Output, load_file, runtime};
use crate::telemetry::status::{ask, socket};

pub(super) fn run(config: Option<&Path>, output: Output) -> Result<(), Failure> {
    let config = load_file(config)?;
    let status = runtime()?.block_on(ask(&config.runtime_dir)).map_err(|error| {
        let socket = socket(&config.runtime_dir);
        Failure::Failed(format!(
            "no agent answers on `{}`: {error}\n  is it running, and with this `runtime_dir`? may you read it (user, group)?",
            socket.display()
        ))
    })?;
    match output {
        Output::Json => print_json(&status),
        Output::Text => print(&text(&status)),
    }
}

fn text(status: &Value) -> String {
    let mut text = head(status);
    for backend in list(&status["backends"]) {
        text.push_str(&backend_text(backend));
    }
    let recent = list(&status["recent"]);
    if !recent.is_empty() {
        text.push_str("\nlast decisions\n");
        text.push_str(&table(&recent.iter().map(recent_row).collect::<Vec<_>>()));
    }
    text
}

fn head(status: &Value) -> String {
    let haproxy = &status["haproxy"];
    let answers = match (haproxy["answers"].as_bool(), haproxy["version"].as_str()) {
        (Some(true), version) => format!("HAProxy {} answers", version.unwrap_or("?")),
        (_, Some(_)) => "HAProxy does not answer any more".to_owned(),
        (_, None) => "HAProxy has not answered yet".to_owned(),
    };
    let lines = &status["lines"];
    format!(
        "haproxy-autoscale {}{}, running for {} s; {answers}\nlines {}: requests {}, messages {}, not understood {}\n",
        word(&status["version"]),
        if status["dry_run"] == true { " (dry run)" } else { "" },
        word(&status["running_s"]),
        word(&lines["lines"]),
        word(&lines["requests"]),
        word(&lines["messages"]),
        word(&lines["unparsed"]),
    )
}

fn backend_text(backend: &Value) -> String {
    let figures = &backend["figures"];
    let mut text = format!(
        "\n{}: {} serving, {} spare, {}; {} req/s, p95 {} ms, queue {} ms, {} requests in the window\n",
        word(&backend["backend"]),
        word(&backend["serving"]),
        word(&backend["spare"]),
        word(&backend["health"]),
        word(&figures["rate"]),
        word(&figures["p95_ms"]),
        word(&figures["queue_ms"]),
        word(&figures["samples"]),
    );
    text.push_str(&format!("  {}: {}\n", word(&backend["decision"]), word(&backend["reason"])));
    if let Some(refused) = backend["refused"].as_str() {
        text.push_str(&format!("  but: {refused}\n"));
    }
    if let Some(cooldown) = backend["cooldown_s"].as_f64().filter(|&left| left > 0.0) {
        text.push_str(&format!("  cooldown: {cooldown} s left\n"));
    }
    if let Some(moving) = backend["moving"].as_str() {
        text.push_str(&format!("  under way: {moving}\n"));
    }
    let heading = ["  server", "state", "up", "weight", "sessions", "req/s", "p95 ms", "note"];
    let mut rows = vec![heading.map(String::from).to_vec()];
    rows.extend(list(&backend["servers"]).iter().map(server_row));
    text.push_str(&table(&rows));
    text
}

fn server_row(server: &Value) -> Vec<String> {
    let figures = &server["figures"];
    let note = match (server["quarantine_s"].as_u64(), server["state"].as_str(), server["ours"].as_bool()) {
        (Some(left), _, _) => format!("failed to start, passed over for {left} s"),
        (None, Some("MAINT" | "DRAIN"), Some(true)) => "by this agent".to_owned(),
        _ => String::new(),
    };
    vec![
        format!("  {}", word(&server["server"])),
        word(&server["state"]),
        if server["up"] == true { "yes".into() } else { "no".into() },
        word(&server["weight"]),
        word(&server["sessions"]),
        word(&figures["rate"]),
        word(&figures["p95_ms"]),
        note,
    ]
}

/// One line for an entry of the journal.
fn recent_row(entry: &Value) -> Vec<String> {
    let what = match entry["decision"].as_str() {
        Some(decision) => format!("{decision} {} -> {}", word(&entry["from"]), word(&entry["to"])),
        None => word(&entry["event"]),
    };
    let why = ["reason", "error", "server"].iter().find_map(|&key| entry[key].as_str()).unwrap_or_default();
    let time = word(&entry["time"]);
    vec![format!("  {}", time.get(..19).unwrap_or(&time)), word(&entry["backend"]), what, why.to_owned()]
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A value as a person reads it; `-` for what is not known.
fn word(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_not_known_is_a_dash_and_nothing_panics() {
        assert!(text(&Value::Null).contains("has not answered yet"));
        let text =
            text(&json!({"backends": [{"backend": "app", "servers": [{"server": "s1"}]}], "recent": [{}]}));
        assert!(text.contains("app: - serving"), "{text}");
    }
}
