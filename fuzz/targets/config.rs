//! Configs: one is read, the same each time, or refused with a place that is in it.
#![no_main]

use std::path::Path;

use haproxy_autoscale::config::{Config, ConfigError};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let path = Path::new("agent.yaml");
    match Config::parse(text, path) {
        Ok(config) => {
            let again = Config::parse(&format!("{text}\n# the end\n"), path);
            if let Ok(again) = again {
                assert_eq!(config, again, "{text}");
            }
        }
        Err(error) => {
            assert!(error.to_string().starts_with("agent.yaml"), "{error}");
            let ConfigError::Invalid { problems, .. } = error else { panic!("{error}") };
            // All that ends a line in YAML 1.1.
            let last = text.split(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']).count() + 1;
            assert!(!problems.is_empty());
            for at in problems.iter().filter_map(|problem| problem.at) {
                assert!((1..=last).contains(&at.line) && at.column >= 1, "{at:?}: {text}");
            }
        }
    }
});
