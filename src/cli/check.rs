//! `haproxy-autoscale check`: is this going to work?
//!
//! Looks at the config, the directories, HAProxy's socket, each configured backend, and the last
//! lines of each log, and tells what will not work (`FAIL`), what will work less well than it
//! could (`warn`), each with its remedy. Nothing is changed.

use std::collections::HashMap;
use std::path::Path;

use serde_json::{Value, json};

use super::output::{is_terminal, print_fitted, print_json};
use super::{ConfigArguments, Failure, Output, runtime, sources};
use crate::config::Config;
use crate::core::policy::Span;
use crate::core::settings::BackendSettings;

mod backends;
mod capabilities;
mod coverage;
mod lasting;
mod links;
mod logs;
mod nodes;
mod omissions;
mod places;
mod schedule;
mod server_lines;
mod spares;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grade {
    /// As it should be.
    Ok,
    /// Works, but less well than it could.
    Warn,
    /// Does not work.
    Fail,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    grade: Grade,
    /// What was looked at: `config`, `socket`, `backend app`, `log /var/log/haproxy.log`.
    about: String,
    /// What was found.
    found: String,
    /// What to do about it; empty if nothing.
    remedy: String,
}

impl Finding {
    fn ok(about: &str, found: impl Into<String>) -> Self {
        Self { grade: Grade::Ok, about: about.into(), found: found.into(), remedy: String::new() }
    }

    fn warn(about: &str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { grade: Grade::Warn, about: about.into(), found: found.into(), remedy: remedy.into() }
    }

    fn fail(about: &str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { grade: Grade::Fail, about: about.into(), found: found.into(), remedy: remedy.into() }
    }
}

pub(super) fn run(arguments: &ConfigArguments, output: Output) -> Result<(), Failure> {
    let config = arguments.load()?;
    let sources = sources(&config)?;
    let mut findings = vec![about_config(&config, arguments.file())];
    runtime()?.block_on(async {
        findings.extend(places::check(&config).await);
        findings.extend(backends::check(&config).await);
        findings.extend(config.backends.iter().flat_map(cooldowns));
        findings.extend(config.backends.iter().filter_map(schedule::check));
        findings.extend(server_lines::check(&config));
        findings.extend(lasting::check(&config).await);
        for source in &sources {
            findings.extend(logs::check(source, &config).await);
        }
        findings.extend(omissions::check(&config));
        findings.extend(coverage::check(&sources, &config).await);
    });
    put_together(&mut findings);
    match output {
        Output::Json => print_json(&as_json(&findings))?,
        Output::Text => print_fitted(&as_text(&findings, is_terminal()))?,
    }
    if findings.iter().any(|finding| finding.grade == Grade::Fail) { Err(Failure::Told) } else { Ok(()) }
}

/// All about one thing stands together, where it was named first.
fn put_together(findings: &mut [Finding]) {
    let mut order: HashMap<String, usize> = HashMap::new();
    for finding in findings.iter() {
        let next = order.len();
        order.entry(finding.about.clone()).or_insert(next);
    }
    findings.sort_by_key(|finding| order.get(&finding.about).copied());
}

fn about_config(config: &Config, file: Option<&Path>) -> Finding {
    let file = file.map_or("no config file".into(), |file| format!("`{}`", file.display()));
    let names: Vec<&str> = config.backends.iter().map(|backend| backend.name.as_str()).collect();
    if names.is_empty() {
        return Finding::warn(
            "config",
            format!("{file}: no backend is named: the agent will only observe"),
            "name one under `backends`, or with --backend",
        );
    }
    Finding::ok("config", format!("{file}: scales {}", names.join(", ")))
}

/// Requests from before a move are still in the window when a short cooldown is over.
fn cooldowns(backend: &BackendSettings) -> Vec<Finding> {
    let (about, length) = (format!("backend {}", backend.name), backend.window.length);
    let cooldowns = [("scale_up", backend.scale_up.cooldown), ("scale_down", backend.scale_down.cooldown)];
    let tell = |(key, cooldown)| {
        let (cooldown, length) = (Span(cooldown), Span(length));
        Finding::warn(
            &about,
            format!("`{key}.cooldown` ({cooldown}) is shorter than `window.length` ({length})"),
            "requests from before a move may cause the next; let the cooldown last as long as the window",
        )
    };
    cooldowns.into_iter().filter(|&(_, cooldown)| cooldown < length).map(tell).collect()
}

fn as_text(findings: &[Finding], colour: bool) -> String {
    let mut text = String::new();
    for finding in findings {
        let (word, code) = match finding.grade {
            Grade::Ok => ("ok  ", "32"),
            Grade::Warn => ("warn", "33"),
            Grade::Fail => ("FAIL", "31"),
        };
        let word = if colour { format!("\x1b[{code}m{word}\x1b[0m") } else { word.to_owned() };
        text.push_str(&format!("{word}  {}: {}\n", finding.about, finding.found));
        if !finding.remedy.is_empty() {
            text.push_str(&format!("      -> {}\n", finding.remedy));
        }
    }
    let count = |grade| findings.iter().filter(|finding| finding.grade == grade).count();
    let named = |grade, word| match count(grade) {
        1 => format!("1 {word}"),
        n => format!("{n} {word}s"),
    };
    let (warnings, failures) = (named(Grade::Warn, "warning"), named(Grade::Fail, "failure"));
    text.push_str(&format!("{} ok, {warnings}, {failures}\n", count(Grade::Ok)));
    text
}

fn as_json(findings: &[Finding]) -> Value {
    let one = |finding: &Finding| {
        let grade = match finding.grade {
            Grade::Ok => "ok",
            Grade::Warn => "warn",
            Grade::Fail => "fail",
        };
        json!({ "grade": grade, "about": finding.about, "found": finding.found, "remedy": finding.remedy })
    };
    Value::Array(findings.iter().map(one).collect())
}
