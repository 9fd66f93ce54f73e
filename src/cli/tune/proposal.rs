//! What is proposed, as plain data, and as lines of the config file.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::core::settings::Timer;

/// All that is proposed for one backend, and why.
#[derive(Clone, Debug)]
pub(super) struct Proposal {
    pub(super) backend: String,
    pub(super) settings: Proposed,
    /// Each with the key it is about.
    pub(super) reasons: Vec<(&'static str, String)>,
    pub(super) trials: Vec<Tried>,
    /// What is modelled, and what to beware of.
    pub(super) notes: Vec<String>,
}

/// The values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Proposed {
    pub(super) timer: Timer,
    pub(super) below: Duration,
    pub(super) min: u32,
    /// `None`: as many as there are.
    pub(super) max: Option<u32>,
    /// `None`: the default.
    pub(super) window: Option<Window>,
    /// Percent; `None`: the default.
    pub(super) utilization_max: Option<u32>,
}

/// `window`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) length: Duration,
    pub(super) min_samples: u64,
}

/// What came of one candidate.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tried {
    /// The key it is about.
    pub(super) key: &'static str,
    /// What it was set to.
    pub(super) value: String,
    /// Requests over its target as a share.
    pub(super) over: f64,
    pub(super) p95_ms: Option<f64>,
    pub(super) server_hours: f64,
    pub(super) moves: u64,
    /// It is the one that is proposed.
    pub(super) chosen: bool,
}

impl Proposed {
    /// As a backend of the config file.
    pub(super) fn backend(&self, name: &str) -> Map<String, Value> {
        let mut ready = Map::new();
        ready.insert("min".to_owned(), json!(self.min));
        if let Some(max) = self.max {
            ready.insert("max".to_owned(), json!(max));
        }
        let below = format!("{}ms", self.below.as_millis());
        let mut backend = Map::new();
        backend.insert("name".to_owned(), json!(name));
        let target = json!({ "timer": self.timer.name(), "percentile": 95, "below": below });
        backend.insert("target".to_owned(), target);
        backend.insert("ready".to_owned(), ready.into());
        if let Some(window) = self.window {
            let length = format!("{}s", window.length.as_secs());
            backend
                .insert("window".to_owned(), json!({ "length": length, "min_samples": window.min_samples }));
        }
        if let Some(percent) = self.utilization_max {
            backend.insert("model".to_owned(), json!({ "utilization_max": format!("{percent}%") }));
        }
        backend
    }
}

impl Proposal {
    /// A config file, with a comment that says where it is from.
    pub(super) fn yaml(&self) -> String {
        let mut yaml = String::from("# Proposed by `haproxy-autoscale tune`.\nbackends:\n");
        for (place, (key, value)) in self.settings.backend(&self.backend).iter().enumerate() {
            let begin = if place == 0 { "  - " } else { "    " };
            let _ = writeln!(yaml, "{begin}{key}: {}", written(value));
        }
        yaml
    }
}

/// A name in quotes, whatever it is: `no` and `12` are names, too. In a mapping, what is plain stays so.
fn written(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let pair = |(key, value): (&String, &Value)| {
                let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                format!("{key}: {text}")
            };
            format!("{{ {} }}", map.iter().map(pair).collect::<Vec<_>>().join(", "))
        }
        // What is JSON is YAML, too.
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[track_caller]
    fn check(name: &str, settings: Proposed, expected: &str) {
        let proposal = Proposal {
            backend: name.to_owned(),
            settings,
            reasons: Vec::new(),
            trials: Vec::new(),
            notes: Vec::new(),
        };
        let yaml = proposal.yaml();
        assert_eq!(yaml, format!("# Proposed by `haproxy-autoscale tune`.\nbackends:\n{expected}"));
        let config = Config::parse(&yaml, "tuned.yaml".as_ref()).expect("it is a good config");
        let backend = &config.backends[0];
        assert_eq!((backend.name.as_str(), backend.ready.min), (name, settings.min));
        assert_eq!((backend.ready.max, backend.target.below), (settings.max, settings.below));
    }

    #[test]
    fn a_proposal_is_a_config_file() {
        let plain = Proposed {
            timer: Timer::Tt,
            below: Duration::from_millis(250),
            min: 2,
            max: None,
            window: None,
            utilization_max: None,
        };
        check(
            "app",
            plain,
            "  - name: \"app\"\n    target: { timer: Tt, percentile: 95, below: 250ms }\n    ready: { min: 2 }\n",
        );
        let window = Window { length: Duration::from_secs(120), min_samples: 20 };
        let full = Proposed {
            max: Some(6),
            window: Some(window),
            utilization_max: Some(60),
            timer: Timer::Tr,
            ..plain
        };
        check(
            "no",
            full,
            "  - name: \"no\"\n    target: { timer: Tr, percentile: 95, below: 250ms }\n    ready: { min: 2, max: 6 }\n    \
             window: { length: 120s, min_samples: 20 }\n    model: { utilization_max: 60% }\n",
        );
    }
}
