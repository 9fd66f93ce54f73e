//! What lasts, in words: an [`Event`] as a log event and as a journal entry, and the last of each for `status`.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use tracing::{debug, error, info, warn};

use crate::config::{Keep, Lasting, ReloadBy};
use crate::core::policy::place::Growth;
use crate::lasting::event::{Event, Refused};

/// Where slots could not be added.
const REMEDY: &str = "the new lines are made after those of the other slots: put right what is told of them, or turn \
     `grow` off and add slots to haproxy.cfg by hand";

/// Tells the log. `node`: of which HAProxy, where there are several.
pub fn tell(event: &Event, node: Option<&str>) {
    match event {
        Event::Kept { changed: false, .. } => {}
        Event::Kept { keep: Keep::StateFile, file, .. } => {
            debug!(node, file = %file.display(), "state file written");
        }
        Event::Kept { file, reload_needed, .. } => {
            info!(node, file = %file.display(), reload_needed, "haproxy.cfg written");
        }
        Event::NotKept { error, refused, retry } => {
            let line = refused.as_ref().and_then(line_words);
            let retry_s = retry.as_secs();
            error!(node, error, line, retry_s, "changes not kept; a reload of HAProxy would lose them");
        }
        Event::NoLine(servers) if servers.is_empty() => {
            info!(node, "every server has its line in haproxy.cfg again")
        }
        Event::NoLine(servers) => {
            warn!(node, servers = servers.join(", "), "no line in the block of haproxy.cfg: not kept");
        }
        Event::SlotsAdded(slots) if slots.is_empty() => info!(node, "no more slots are to be added"),
        Event::SlotsAdded(slots) => {
            let slots = slots.join(", ");
            info!(node, slots, "slots added to haproxy.cfg; haproxy has them after a reload");
        }
        Event::SlotsNotAdded { slots, error, refused, retry } => {
            let line = refused.as_ref().and_then(line_words);
            let (slots, retry_s, remedy) = (slots.join(", "), retry.as_secs(), REMEDY);
            error!(node, slots, error, line, remedy, retry_s, "slots not added; haproxy goes on as it was");
        }
        Event::Owed { why, left } => {
            info!(node, reason = why, left_s = left.map(whole_seconds), "reload of haproxy waits");
        }
        Event::Reloaded { by: None, pid, .. } => {
            info!(node, pid, "haproxy was reloaded by somebody else meanwhile");
        }
        Event::Reloaded { by: Some(by), before, pid, took } => {
            let elapsed_ms = took.as_millis() as u64;
            info!(node, by = by.name(), before, pid, elapsed_ms, "haproxy reloaded");
        }
        Event::NotReloaded { by, error, taken_back } => {
            let (by, file_taken_back) = (by.name(), taken_back_words(taken_back));
            error!(node, by, error, file_taken_back, "haproxy not reloaded; the old process goes on");
        }
        Event::Started { by, process } => {
            let (by, pid, version) = (by.name(), process.pid, &process.version);
            info!(node, by, pid, version, "haproxy started");
        }
        Event::NotStarted { by, error } => error!(node, by = by.name(), error, "haproxy not started"),
    }
}

/// The journal entry; none for what was as it should be. `node`: of which HAProxy, where there are several.
pub fn entry(event: &Event, node: Option<&str>, time: Timestamp) -> Option<Value> {
    let (name, more) = match event {
        Event::Kept { changed: false, .. } => return None,
        Event::NoLine(servers) if servers.is_empty() => return None,
        Event::SlotsAdded(slots) if slots.is_empty() => return None,
        Event::SlotsAdded(slots) => {
            let reason = format!("haproxy.cfg has lines for {}", slots.join(", "));
            ("slots_added", json!({ "slots": slots, "reason": reason }))
        }
        Event::SlotsNotAdded { slots, error, refused, retry } => {
            let mut more =
                json!({ "slots": slots, "error": error, "remedy": REMEDY, "retry_s": retry.as_secs() });
            more["refused"] = json!(refused.as_ref().map(refused_value));
            ("slots_not_added", more)
        }
        Event::Kept { keep, file, reload_needed, .. } => {
            ("kept", json!({ "keep": keep.name(), "file": file, "reload_needed": reload_needed }))
        }
        Event::NotKept { error, refused, retry } => {
            let mut more = json!({ "error": error, "retry_s": retry.as_secs() });
            more["refused"] = json!(refused.as_ref().map(refused_value));
            ("not_kept", more)
        }
        Event::NoLine(servers) => {
            let reason = format!("no line in the block of haproxy.cfg for {}", servers.join(", "));
            ("not_kept", json!({ "reason": reason }))
        }
        Event::Owed { why, left } => {
            ("reload_waits", json!({ "reason": why, "left_s": left.map(whole_seconds) }))
        }
        Event::Reloaded { by, before, pid, took } => {
            let reason = reloaded_words(*by, *before, *pid);
            let took_ms = took.as_millis();
            let by = by.map(ReloadBy::name);
            (
                "reloaded",
                json!({ "by": by, "before": before, "pid": pid, "took_ms": took_ms, "reason": reason }),
            )
        }
        Event::NotReloaded { by, error, taken_back } => {
            let file_taken_back = taken_back_words(taken_back);
            ("reload_failed", json!({ "by": by.name(), "error": error, "file_taken_back": file_taken_back }))
        }
        Event::Started { by, process } => {
            let reason = format!("by {}: process {}, HAProxy {}", by.name(), process.pid, process.version);
            let (by, pid, version) = (by.name(), process.pid, &process.version);
            ("started", json!({ "by": by, "pid": pid, "version": version, "reason": reason }))
        }
        Event::NotStarted { by, error } => ("start_failed", json!({ "by": by.name(), "error": error })),
    };
    let mut entry = Map::new();
    entry.insert("time".into(), json!(time.to_string()));
    entry.insert("event".into(), json!(format!("haproxy_{name}")));
    entry.extend(node.map(|node| ("node".into(), json!(node))));
    if let Value::Object(more) = more {
        entry.extend(more);
    }
    Some(Value::Object(entry))
}

/// The last of each of one HAProxy, for `status`.
#[derive(Debug)]
pub struct Account {
    keep: Keep,
    reload_by: ReloadBy,
    file: String,
    kept: Option<Timestamp>,
    written: Option<Timestamp>,
    not_kept: Option<Value>,
    without_line: Vec<String>,
    slots_not_added: Option<Value>,
    owed: Option<Value>,
    reload: Option<Value>,
    start: Option<Value>,
}

impl Account {
    /// Of what `lasting` wants, before anything has happened.
    pub fn new(lasting: &Lasting) -> Self {
        let file = if lasting.keep == Keep::StateFile { &lasting.state_file } else { &lasting.config };
        Self {
            keep: lasting.keep,
            reload_by: lasting.reload.by,
            file: file.display().to_string(),
            kept: None,
            written: None,
            not_kept: None,
            without_line: Vec::new(),
            slots_not_added: None,
            owed: None,
            reload: None,
            start: None,
        }
    }

    /// Takes what happened at `time`.
    pub fn note(&mut self, event: &Event, time: Timestamp) {
        let at = time.to_string();
        match event {
            Event::Kept { changed, .. } => {
                (self.kept, self.not_kept) = (Some(time), None);
                if *changed {
                    self.written = Some(time);
                }
            }
            Event::NotKept { error, refused, .. } => {
                let since = self.not_kept.as_ref().map_or(json!(at), |before| before["since"].clone());
                let refused = refused.as_ref().map(refused_value);
                self.not_kept = Some(json!({ "since": since, "error": error, "refused": refused }));
            }
            Event::NoLine(servers) => self.without_line.clone_from(servers),
            Event::SlotsAdded(_) => self.slots_not_added = None,
            Event::SlotsNotAdded { slots, error, refused, .. } => {
                let since = self.slots_not_added.as_ref().map_or(json!(at), |before| before["since"].clone());
                let refused = refused.as_ref().map(refused_value);
                self.slots_not_added =
                    Some(json!({ "since": since, "slots": slots, "error": error, "refused": refused }));
            }
            Event::Owed { why, left } => {
                let since = self.owed.as_ref().map_or(json!(at), |before| before["since"].clone());
                let from = left.and_then(|left| time.checked_add(left).ok()).map(|from| from.to_string());
                self.owed = Some(json!({ "since": since, "why": why, "from": from }));
            }
            Event::Reloaded { by, before, pid, .. } => {
                self.owed = None;
                let by = by.map_or("somebody else", ReloadBy::name);
                self.reload = Some(
                    json!({ "at": at, "by": by, "done": true, "before": before, "pid": pid, "error": null }),
                );
            }
            Event::NotReloaded { by, error, taken_back } => {
                self.owed = None;
                let back = taken_back_words(taken_back);
                let by = by.name();
                self.reload = Some(
                    json!({ "at": at, "by": by, "done": false, "error": error, "file_taken_back": back }),
                );
            }
            Event::Started { by, process } => {
                self.start = Some(
                    json!({ "at": at, "by": by.name(), "done": true, "pid": process.pid, "error": null }),
                );
            }
            Event::NotStarted { by, error } => {
                self.start = Some(json!({ "at": at, "by": by.name(), "done": false, "error": error }));
            }
        }
    }

    /// How far it is with slots that are to come.
    pub fn growth(&self) -> Growth {
        let failed = self.slots_not_added.as_ref().or(self.not_kept.as_ref());
        match (failed, &self.owed) {
            (Some(failed), _) => Growth::Failed(failure_words(failed)),
            (None, Some(owed)) => Growth::Waits(format!("the reload waits: {}", text(&owed["why"]))),
            (None, None) => Growth::UnderWay,
        }
    }

    /// All of it.
    pub fn value(&self) -> Value {
        json!({
            "keep": self.keep.name(),
            "file": (self.keep != Keep::None).then_some(&self.file),
            "kept_at": self.kept.map(|at| at.to_string()),
            "written_at": self.written.map(|at| at.to_string()),
            "not_kept": self.not_kept,
            "without_line": self.without_line,
            "slots_not_added": self.slots_not_added,
            "reload": { "by": self.reload_by.name(), "owed": self.owed, "last": self.reload },
            "start": self.start,
        })
    }
}

/// `line 13: bogus x`, if HAProxy has named one.
pub fn line_words(refused: &Refused) -> Option<String> {
    refused.line.as_ref().map(|(number, line)| format!("line {number}: {line}"))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// What HAProxy has said first and of which line, or else why it was.
fn failure_words(failed: &Value) -> String {
    let refused = &failed["refused"];
    match (refused["words"][0].as_str(), refused["line"].as_u64()) {
        (Some(words), Some(line)) => {
            format!("HAProxy says {words}; line {line} is: {}", text(&refused["text"]))
        }
        (Some(words), None) => format!("HAProxy says {words}"),
        (None, _) => text(&failed["error"]).to_owned(),
    }
}

fn refused_value(refused: &Refused) -> Value {
    json!({
        "words": refused.words,
        "line": refused.line.as_ref().map(|(number, _)| number),
        "text": refused.line.as_ref().map(|(_, text)| text),
    })
}

fn reloaded_words(by: Option<ReloadBy>, before: Option<u32>, pid: u32) -> String {
    let by = by.map_or("somebody else", ReloadBy::name);
    let before = before.map_or(String::new(), |before| format!("process {before}, then "));
    format!("by {by}: {before}process {pid}")
}

fn taken_back_words(taken_back: &Result<(), String>) -> &str {
    taken_back.as_ref().map_or_else(String::as_str, |()| "yes")
}

/// Up to the next one: a reload may not happen before.
fn whole_seconds(left: Duration) -> u64 {
    left.as_secs_f64().ceil() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn status_tells_the_last_of_each() {
        let mut lasting = Config::default().nodes.remove(0).lasting;
        (lasting.keep, lasting.reload.by) = (Keep::Block, ReloadBy::Master);
        let mut account = Account::new(&lasting);
        let mut at = 0;
        let mut note = |event: &Event| {
            at += 60;
            account.note(event, Timestamp::from_second(at).unwrap());
            account.value()
        };
        let kept = |changed| Event::Kept {
            keep: Keep::Block,
            file: "/etc/haproxy/haproxy.cfg".into(),
            changed,
            reload_needed: false,
        };
        note(&kept(true));
        let value = note(&kept(false));
        assert_eq!(
            (&value["written_at"], &value["kept_at"]),
            (&json!("1970-01-01T00:01:00Z"), &json!("1970-01-01T00:02:00Z"))
        );
        let refused = Refused { words: vec!["no".to_owned()], line: Some((7, "bogus".to_owned())) };
        let not_kept =
            Event::NotKept { error: "e".to_owned(), refused: Some(refused), retry: Duration::ZERO };
        note(&not_kept);
        let value = note(&not_kept);
        assert_eq!(value["not_kept"]["since"], "1970-01-01T00:03:00Z");
        assert_eq!(value["not_kept"]["refused"]["text"], "bogus");
        assert_eq!(note(&kept(false))["not_kept"], Value::Null);
        let owed = Event::Owed { why: "w".to_owned(), left: Some(Duration::from_secs(30)) };
        assert_eq!(note(&owed)["reload"]["owed"]["from"], "1970-01-01T00:06:30Z");
        let error = "HAProxy's words".to_owned();
        let failed = Event::NotReloaded { by: ReloadBy::Master, error, taken_back: Ok(()) };
        let value = note(&failed);
        assert_eq!(value["reload"]["owed"], Value::Null);
        assert_eq!(value["reload"]["last"]["error"], "HAProxy's words");
        assert_eq!(entry(&kept(false), None, Timestamp::UNIX_EPOCH), None);
        let entry = entry(&failed, Some("/run/a.sock"), Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(
            (&entry["event"], &entry["node"]),
            (&json!("haproxy_reload_failed"), &json!("/run/a.sock"))
        );
    }
}
