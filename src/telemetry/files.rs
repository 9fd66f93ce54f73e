//! What operators write while the agent runs, and whether it could be read: its config, and pools; and when it began.
//!
//! What was right before holds on; here is since when, why, and what to do about it, for `status`, `explain` and the
//! journal.

use jiff::Timestamp;
use serde_json::{Value, json};

/// The config that holds, and the newer one that does not.
#[derive(Debug)]
pub struct ConfigAccount {
    read: Timestamp,
    /// What differs from the start, and takes effect at a restart.
    waiting: Vec<&'static str>,
    refused: Option<(Timestamp, String)>,
}

impl ConfigAccount {
    /// Of the config that was read at `time`, at the start.
    pub fn new(time: Timestamp) -> Self {
        Self { read: time, waiting: Vec::new(), refused: None }
    }

    /// Another one holds since `time`, but for what is `waiting`. The journal entry.
    pub fn take(&mut self, waiting: Vec<&'static str>, time: Timestamp) -> Value {
        let reason = match &waiting[..] {
            [] => "all of it holds".to_owned(),
            waiting => format!("at a restart only: {}", waiting.join(", ")),
        };
        *self = Self { read: time, waiting, refused: None };
        json!({ "time": time.to_string(), "event": "config_reloaded", "reason": reason })
    }

    /// Another one was read at `time`, and does not hold. The journal entry.
    pub fn refuse(&mut self, error: &str, time: Timestamp) -> Value {
        self.refused = Some((time, error.to_owned()));
        json!({ "time": time.to_string(), "event": "config_refused", "error": error })
    }

    /// The newer one does not hold.
    pub fn is_refused(&self) -> bool {
        self.refused.is_some()
    }

    /// All of it.
    pub fn value(&self) -> Value {
        let refused =
            self.refused.as_ref().map(|(at, error)| json!({ "at": at.to_string(), "error": error }));
        json!({ "read_at": self.read.to_string(), "waiting": self.waiting, "refused": refused })
    }
}

/// Why what a pool offers is not what its file says.
#[derive(Clone, Debug)]
pub struct PoolTrouble {
    /// Since when.
    pub since: Timestamp,
    /// What is wrong, and where.
    pub error: String,
    /// What to do about it.
    pub remedy: &'static str,
    /// So many addresses hold from before.
    pub addresses: usize,
}

impl PoolTrouble {
    /// What holds meanwhile.
    pub fn meanwhile(&self) -> String {
        match self.addresses {
            0 => "until then it has no address to offer".to_owned(),
            1 => "until then the one address that it had holds".to_owned(),
            n => format!("until then the {n} addresses that it had hold"),
        }
    }

    /// All of it.
    pub fn value(&self) -> Value {
        json!({
            "since": self.since.to_string(),
            "error": self.error,
            "remedy": self.remedy,
            "meanwhile": self.meanwhile(),
        })
    }

    /// The journal entry.
    pub fn entry(&self, backend: &str, time: Timestamp) -> Value {
        let error = format!("{}; {}", self.error, self.meanwhile());
        json!({ "time": time.to_string(), "backend": backend, "event": "pool_not_read", "error": error })
    }
}

/// The journal entry of an agent that starts.
pub fn started(dry_run: bool, time: Timestamp) -> Value {
    let (version, pid) = (env!("CARGO_PKG_VERSION"), std::process::id());
    let reason =
        format!("haproxy-autoscale {version}, process {pid}{}", if dry_run { ", a dry run" } else { "" });
    json!({ "time": time.to_string(), "event": "agent_started", "version": version, "pid": pid, "reason": reason })
}

/// The journal entry of an agent that ends.
pub fn stopped(time: Timestamp) -> Value {
    json!({ "time": time.to_string(), "event": "agent_stopped", "reason": format!("process {}", std::process::id()) })
}

/// The journal entry of a pool that can be read again.
pub fn pool_read(backend: &str, addresses: usize, time: Timestamp) -> Value {
    let reason = format!("{addresses} addresses");
    json!({ "time": time.to_string(), "backend": backend, "event": "pool_read", "reason": reason })
}
