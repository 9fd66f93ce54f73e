//! `--set KEY=VALUE`: a key of a backend in the config, as the config file has it.

use serde_json::{Map, Value, json};

use crate::cli::{Failure, usage};
use crate::config::{Config, ConfigError};
use crate::core::settings::BackendSettings;
use crate::sim::driver::target_timer;
use crate::sim::scenario::Scenario;

/// What the backend of every scenario is called.
pub(super) const BACKEND: &str = "app";

/// Keys that are not settings of a policy.
const NOT_SET: [&str; 2] = ["name", "policy"];

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Setting {
    keys: Vec<String>,
    value: String,
}

impl Setting {
    pub(in crate::cli) fn parse(text: &str) -> Result<Self, String> {
        let Some((keys, value)) = text.split_once('=') else {
            return Err("expected KEY=VALUE, such as model.utilization_max=60%".to_owned());
        };
        let keys: Vec<String> = keys.trim().split('.').map(str::to_owned).collect();
        if keys.iter().any(String::is_empty) {
            return Err("expected keys with dots between them, such as model.utilization_max".to_owned());
        }
        if NOT_SET.contains(&keys[0].as_str()) {
            return Err(format!("`{}` is not to be set here; policies are chosen by --policy", keys[0]));
        }
        Ok(Self { keys, value: value.trim().to_owned() })
    }

    /// As it was given.
    pub(in crate::cli) fn text(&self) -> String {
        format!("{}={}", self.keys.join("."), self.value)
    }

    /// Puts the value into `backend` where its keys lead.
    pub(in crate::cli) fn put(&self, backend: &mut Map<String, Value>) -> Result<(), Failure> {
        let Some((last, before)) = self.keys.split_last() else { return Ok(()) };
        let mut at = backend;
        for key in before {
            let next = at.entry(key.as_str()).or_insert_with(|| json!({}));
            at = next
                .as_object_mut()
                .ok_or_else(|| usage(format!("--set {}: `{key}` has a value already", self.text())))?;
        }
        at.insert(last.clone(), Value::from(self.value.as_str()));
        Ok(())
    }
}

/// The agent's settings for `scenario`: the config's defaults, the promise, and `sets`.
pub(super) fn settings(
    policy: &str,
    sets: &[Setting],
    scenario: &Scenario,
) -> Result<BackendSettings, Failure> {
    let mut backend = Map::new();
    backend.insert("name".to_owned(), BACKEND.into());
    backend.insert("policy".to_owned(), policy.into());
    let below = format!("{}ms", scenario.target_ms);
    let timer = target_timer(scenario).name();
    let drain_timeout = format!("{:.0}ms", 1e3 * scenario.haproxy.drain_timeout_s);
    backend.insert("target".to_owned(), json!({ "timer": timer, "percentile": "95", "below": below }));
    backend.insert("scale_down".to_owned(), json!({ "drain_timeout": drain_timeout }));
    backend.insert("warm_up".to_owned(), warm_up(scenario));
    for set in sets {
        set.put(&mut backend)?;
    }
    checked(&backend)
}

/// The settings of `backend`, a backend of the config file with what `--set` has put into it.
pub(in crate::cli) fn checked(backend: &Map<String, Value>) -> Result<BackendSettings, Failure> {
    // What is JSON is YAML too.
    let text = json!({ "backends": [backend] }).to_string();
    let config = Config::parse(&text, "--set".as_ref()).map_err(|error| told(&error))?;
    config.backends.into_iter().next().ok_or_else(|| usage("--set leaves no backend"))
}

/// Requests before the first user's, as many at once as the server has workers.
fn warm_up(scenario: &Scenario) -> Value {
    let server = &scenario.server;
    json!({
        "path": "/",
        "requests": server.warm_up_requests.to_string(),
        "concurrency": server.workers.to_string(),
    })
}

/// Without places in a text that nobody wrote.
fn told(error: &ConfigError) -> Failure {
    let ConfigError::Invalid { problems, .. } = error else { return usage(error) };
    let line = |problem: &crate::config::Problem| {
        let key = problem.key.strip_prefix("backends[0]").unwrap_or(&problem.key).trim_start_matches('.');
        let between = if key.is_empty() { "" } else { ": " };
        format!("--set: {key}{between}{}", problem.mistake)
    };
    usage(problems.iter().map(line).collect::<Vec<_>>().join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_a_key_with_dots_and_a_value() {
        let setting = Setting::parse("model.hold=2m").unwrap();
        assert_eq!(setting.keys, ["model", "hold"]);
        assert_eq!(setting.text(), "model.hold=2m");
        for text in ["", "model", "=2", "model.=2", ".hold=2", "policy=model", "name=x"] {
            assert!(Setting::parse(text).is_err(), "{text}");
        }
    }
}
