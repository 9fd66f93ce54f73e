//! File types to finished settings: defaults, ranges, and the rules between two keys.
//!
//! This is the top of the file and what all of it needs; `backend.rs` has the backends. Problems are
//! collected, each with the place of the value it is about, so that one run tells all of them.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::Config;
use super::defaults;
use super::document::locate;
use super::duration::Written;
use super::error::{Mistake, Problem};
use super::file::{Backend, File, Haproxy, Metrics};
use super::path::KeyPath;
use super::percent::Percent;
use super::share::{SampleRate, Share};
use super::value::Value;
use crate::core::settings::LogSettings;

/// Shorter would keep an idle machine busy, longer would be felt.
const TICK: RangeInclusive<Duration> = Duration::from_millis(50)..=Duration::from_secs(10);

/// HAProxy may be busy for a while; after a minute it is as good as gone.
const SOCKET_TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(60);

/// HAProxy's default is lines of 1024 bytes, its longest ones have 65535.
const LINE_BYTES: RangeInclusive<usize> = 1024..=1 << 20;

/// More would scroll away, and to find the place of each takes a walk through the file.
const MOST_PROBLEMS: usize = 20;

/// The settings that `file`, read from `text`, asks for; or all that is wrong with them.
pub(super) fn check(file: File, text: &str) -> Result<Config, Vec<Problem>> {
    let mut checker = Checker { text, problems: Vec::new() };
    let config = checker.config(file);
    let mut problems = checker.problems;
    problems.sort_by_key(|problem| problem.at);
    if problems.is_empty() { Ok(config) } else { Err(problems) }
}

/// Collects what is wrong on the way through a file.
pub(super) struct Checker<'a> {
    /// To find the places of values in.
    pub(super) text: &'a str,
    /// So far.
    pub(super) problems: Vec<Problem>,
}

impl Checker<'_> {
    /// Notes `mistake`, made by the value at `at`, under the key `key`.
    pub(super) fn report(&mut self, at: &KeyPath, key: &KeyPath, mistake: Mistake) {
        if self.problems.len() < MOST_PROBLEMS {
            self.problems.push(Problem { at: locate(self.text, at), key: key.to_string(), mistake });
        }
    }

    /// Puts `value` into `slot` if it is in `range`; no value leaves the default there.
    pub(super) fn set_within<T: Shown + PartialOrd>(
        &mut self,
        slot: &mut T,
        at: KeyPath,
        value: Option<Value<T>>,
        range: RangeInclusive<T>,
    ) {
        let Some(Value(value)) = value else { return };
        if range.contains(&value) {
            *slot = value;
        } else {
            self.report(&at, &at, out_of_range(&value, &range));
        }
    }

    fn config(&mut self, file: File) -> Config {
        let top = KeyPath::default();
        let mut config = defaults::config();
        self.sources(&mut config.sources, file.sources, &top.key("sources"));
        self.haproxy(&mut config, file.haproxy.unwrap_or_default(), &top.key("haproxy"));
        self.metrics(&mut config, &file.metrics.unwrap_or_default(), &top.key("metrics"));
        config.log_format = file.log_format.unwrap_or(config.log_format);
        set(&mut config.state_dir, file.state_dir);
        set(&mut config.runtime_dir, file.runtime_dir);
        set(&mut config.log_level, file.log_level);
        set(&mut config.log_json, file.log_json);
        self.set_within(&mut config.tick, top.key("tick"), file.tick, TICK);
        let most_line_bytes = &mut config.max_line_bytes;
        self.set_within(most_line_bytes, top.key("max_line_bytes"), file.max_line_bytes, LINE_BYTES);
        config.log = log(config.log, file.coverage, file.sample_rate);
        self.backends(&mut config, file.backends.unwrap_or_default(), &top.key("backends"));
        config
    }

    fn sources(&mut self, slot: &mut Vec<String>, sources: Option<Vec<Value<String>>>, at: &KeyPath) {
        match sources {
            None => {}
            Some(sources) if sources.is_empty() => self.report(at, at, Mistake::EmptyList),
            Some(sources) => *slot = plain(sources),
        }
    }

    fn haproxy(&mut self, config: &mut Config, mut file: Haproxy, at: &KeyPath) {
        self.set_within(&mut config.socket_timeout, at.key("timeout"), file.timeout.take(), SOCKET_TIMEOUT);
        self.nodes(&mut config.nodes, file, at);
    }

    fn metrics(&mut self, config: &mut Config, file: &Metrics, at: &KeyPath) {
        config.metrics_listen = file.listen.as_ref().and_then(|Value(listen)| listen.0);
        let allowed = file.allow_remote.as_ref().is_some_and(|Value(allowed)| *allowed);
        if let Some(address) = config.metrics_listen
            && !address.ip().is_loopback()
            && !allowed
        {
            let at = at.key("listen");
            self.report(&at, &at, Mistake::NotLoopback { address: address.to_string() });
        }
    }

    fn backends(&mut self, config: &mut Config, files: Vec<Backend>, at: &KeyPath) {
        let mut first_with: HashMap<String, usize> = HashMap::new();
        for (index, file) in files.into_iter().enumerate() {
            let name = file.name.0.0.clone();
            let here = at.index(index);
            if let Some(first) = first_with.get(&name) {
                let first = at.index(*first).to_string();
                self.report(&here.key("name"), &here.key("name"), Mistake::RepeatedBackend { name, first });
            } else {
                first_with.insert(name, index);
            }
            if let Some((settings, pool)) = self.backend(file, config.log, &here) {
                config.pools.extend(pool.map(|pool| (settings.name.clone(), pool)));
                config.backends.push(settings);
            }
        }
    }
}

/// `default`, but for what is said.
pub(super) fn log(
    default: LogSettings,
    coverage: Option<Value<Share>>,
    sample_rate: Option<Value<SampleRate>>,
) -> LogSettings {
    LogSettings {
        coverage: coverage.map_or(default.coverage, |Value(Share(ratio))| ratio),
        sample_rate: sample_rate.map_or(default.sample_rate, |Value(SampleRate(ratio))| ratio),
    }
}

/// The mistake of `value` outside `range`.
pub(super) fn out_of_range<T: Shown>(value: &T, range: &RangeInclusive<T>) -> Mistake {
    let allowed = format!("{} to {}", range.start().shown(), range.end().shown());
    Mistake::OutOfRange { value: value.shown(), allowed }
}

/// Puts `value` into `slot`; no value leaves the default there.
pub(super) fn set<T>(slot: &mut T, value: Option<Value<T>>) {
    if let Some(Value(value)) = value {
        *slot = value;
    }
}

/// The bare values.
fn plain<T>(values: Vec<Value<T>>) -> Vec<T> {
    values.into_iter().map(|Value(value)| value).collect()
}

/// A value as it is written in a file.
pub(super) trait Shown {
    /// In words.
    fn shown(&self) -> String;
}

impl Shown for Duration {
    fn shown(&self) -> String {
        Written(*self).to_string()
    }
}

macro_rules! shown_by_display {
    ($($type:ty),+) => {
        $(impl Shown for $type {
            fn shown(&self) -> String {
                self.to_string()
            }
        })+
    };
}

shown_by_display!(u32, u64, usize, f64, Percent);
