//! The config and the pools, in lines of `status`, where they could not be read.

use serde_json::Value;

use super::{indented, list, utc, word};

/// Which config holds; nothing where it is the newest, whole.
pub(super) fn config(config: &Value) -> String {
    let (read, refused) = (&config["read_at"], &config["refused"]);
    let mut text = String::new();
    if let Some(at) = refused["at"].as_str() {
        text.push_str(&format!(
            "config REFUSED at {}; the one of {} holds. Put it right and reload again:\n    {}\n",
            utc(at),
            utc(&word(read)),
            indented(&word(&refused["error"])),
        ));
    }
    let waiting: Vec<String> = list(&config["waiting"]).iter().map(word).collect();
    if !waiting.is_empty() {
        let waiting = waiting.join(", ");
        text.push_str(&format!("config of {}: waits for a restart: {waiting}\n", utc(&word(read))));
    }
    text
}

/// Why a pool does not offer what its file says; nothing where it does.
pub(super) fn pool(trouble: &Value) -> String {
    let Some(since) = trouble["since"].as_str() else { return String::new() };
    let (error, remedy, meanwhile) =
        (word(&trouble["error"]), word(&trouble["remedy"]), word(&trouble["meanwhile"]));
    format!("  pool NOT READ since {}: {error}\n    {remedy}; {meanwhile}\n", utc(since))
}
