//! `haproxy-autoscale explain BACKEND`: why it is as it is, and when it may move next.

use serde_json::{Value, json};

use super::orders::OrderArguments;
use super::output::{print_fitted, print_json, table};
use super::status::recent_row;
use super::{Failure, Output, ask_agent, load_places};
use crate::telemetry::journal::last_entries;
use crate::telemetry::socket::Request;
use crate::telemetry::words::is_notable;

/// So many of the last moves, and of what stood in their way.
const MOST_MOVES: usize = 10;

pub(super) fn run(arguments: OrderArguments) -> Result<(), Failure> {
    let OrderArguments { backend, output, config } = arguments;
    let config = load_places(config.as_deref())?;
    let is_wanted = |entry: &Value| entry["backend"] == *backend && is_notable(entry);
    let journaled = last_entries(&config.state_dir, MOST_MOVES, is_wanted);
    let answer = match ask_agent(&config, &Request::Explain { backend: backend.clone() }) {
        Ok(mut answer) => {
            // The agent keeps the newest of all backends only; but this user may not be allowed to read the journal.
            if !journaled.is_empty() {
                answer["recent"] = json!(journaled);
            }
            answer
        }
        Err(Failure::Failed(error)) if !journaled.is_empty() => {
            json!({ "backend": backend, "error": error, "recent": journaled })
        }
        Err(failure) => return Err(failure),
    };
    match output.output {
        Output::Json => print_json(&answer),
        Output::Text => print_fitted(&text(&answer)),
    }
}

fn text(answer: &Value) -> String {
    let name = answer["backend"].as_str().unwrap_or("?");
    let mut text = match answer["error"].as_str() {
        Some(error) => format!("{name}: {error}\n  what follows is what an agent before has done\n"),
        None => format!("{name}{}\n", if answer["dry_run"] == true { " (dry run)" } else { "" }),
    };
    let explanation = &answer["explanation"];
    let parts = [
        ("what is", &explanation["is"]),
        ("what it wants", &explanation["wants"]),
        ("what limits it", &explanation["limited_by"]),
        ("when it may move next", &explanation["next_move"]),
    ];
    for (heading, part) in parts {
        let sentences = part.as_array().map_or(std::slice::from_ref(part), Vec::as_slice);
        let sentences: Vec<&str> = sentences.iter().filter_map(Value::as_str).collect();
        if !sentences.is_empty() {
            text.push_str(&format!("{heading}\n"));
            sentences.iter().for_each(|sentence| text.push_str(&format!("  {sentence}\n")));
        }
    }
    let recent = answer["recent"].as_array().map_or(&[][..], Vec::as_slice);
    if recent.is_empty() {
        text.push_str("no moves so far\n");
    } else {
        text.push_str("last moves (UTC)\n");
        text.push_str(&table(&recent.iter().map(recent_row).collect::<Vec<_>>()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_printed_and_nothing_panics() {
        assert_eq!(text(&Value::Null), "?\nno moves so far\n");
        let answer = json!({
            "backend": "app",
            "explanation": { "is": ["2 serve"], "wants": ["no change: it is fast"], "next_move": "now" },
            "recent": [{"time": "2026-11-21T09:31:50Z", "backend": "app", "decision": "scale_up", "from": 1, "to": 2}],
        });
        let text = text(&answer);
        let expected = "app\nwhat is\n  2 serve\nwhat it wants\n  no change: it is fast\nwhen it may move next\n  now\n\
                        last moves (UTC)\n  2026-11-21 09:31:50  app  scale_up 1 -> 2\n";
        assert_eq!(text, expected);
    }
}
