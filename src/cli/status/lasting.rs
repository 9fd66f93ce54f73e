//! What lasts, in lines of `status`.

use serde_json::Value;

use super::{indented, list, utc, word};

/// Of each of `nodes`, by name if there are several; nothing where nothing is to last.
pub(super) fn text(nodes: &[Value]) -> String {
    let of =
        |node: &Value| if nodes.len() > 1 { format!(" of {}", word(&node["socket"])) } else { String::new() };
    nodes.iter().map(|node| node_text(&node["lasting"], &of(node))).collect()
}

fn node_text(lasting: &Value, of: &str) -> String {
    let mut text = String::new();
    if !lasting["file"].is_null() {
        let (keep, file) = (word(&lasting["keep"]), word(&lasting["file"]));
        text.push_str(&match (lasting["written_at"].as_str(), lasting["kept_at"].as_str()) {
            (None, None) => format!("changes{of}: not kept yet (keep: {keep}, in {file})\n"),
            (None, Some(_)) => {
                format!("changes{of}: kept in {file} (keep: {keep}), which was as it should be\n")
            }
            (Some(at), _) => format!("changes{of}: kept in {file} (keep: {keep}), written {}\n", utc(at)),
        });
    } else if !of.is_empty() && lasting["start"].is_object() {
        text.push_str(&format!("process{of}:\n"));
    }
    text.push_str(&not_kept(&lasting["not_kept"]));
    let without_line: Vec<String> = list(&lasting["without_line"]).iter().map(word).collect();
    if !without_line.is_empty() {
        text.push_str(&format!("  not kept, without a line in their block: {}\n", without_line.join(", ")));
    }
    text.push_str(&slots_not_added(&lasting["slots_not_added"]));
    let reload = &lasting["reload"];
    text.push_str(&owed(&reload["owed"]));
    text.push_str(&done("HAProxy reloaded", "HAProxy not reloaded", &reload["last"]));
    text.push_str(&done("HAProxy started", "HAProxy not started", &lasting["start"]));
    text
}

fn not_kept(trouble: &Value) -> String {
    let Some(since) = trouble["since"].as_str() else { return String::new() };
    format!("  NOT KEPT since {}: {}", utc(since), why(trouble))
}

fn slots_not_added(trouble: &Value) -> String {
    let Some(since) = trouble["since"].as_str() else { return String::new() };
    let slots: Vec<String> = list(&trouble["slots"]).iter().map(word).collect();
    format!("  SLOTS NOT ADDED since {} ({}): {}", utc(since), slots.join(", "), why(trouble))
}

/// HAProxy's own words where it has refused something.
fn why(trouble: &Value) -> String {
    let refused = &trouble["refused"];
    let words = list(&refused["words"]);
    if words.is_empty() {
        return format!("{}\n", indented(&word(&trouble["error"])));
    }
    let mut text = "HAProxy refuses what would be written:\n".to_owned();
    words.iter().for_each(|line| text.push_str(&format!("    {}\n", word(line))));
    if refused["line"].is_u64() {
        text.push_str(&format!("    line {} is: {}\n", word(&refused["line"]), word(&refused["text"])));
    }
    text
}

fn owed(owed: &Value) -> String {
    let Some(since) = owed["since"].as_str() else { return String::new() };
    let from = owed["from"].as_str().map(|from| format!("; not before {}", utc(from)));
    format!("  a reload is owed since {}: {}{}\n", utc(since), word(&owed["why"]), from.unwrap_or_default())
}

/// The last reload or start; nothing if there was none.
fn done(yes: &str, no: &str, last: &Value) -> String {
    let Some(at) = last["at"].as_str() else { return String::new() };
    let by = word(&last["by"]);
    match last["done"].as_bool() {
        Some(true) => format!("  {yes} {} by {by}: process {}\n", utc(at), word(&last["pid"])),
        _ => format!("  {no} {} by {by}: {}\n", utc(at), indented(&word(&last["error"]))),
    }
}
