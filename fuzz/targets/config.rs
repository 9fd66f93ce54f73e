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
            let last = text.split('\n').count() + 1;
            assert!(!problems.is_empty());
            for at in problems.iter().filter_map(|problem| problem.at) {
                assert!((1..=last).contains(&at.line) && at.column >= 1, "{at:?}: {text}");
            }
        }
    }
});
