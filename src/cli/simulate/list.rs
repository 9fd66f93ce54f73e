//! `--list`: the scenarios and policies there are.

use serde_json::{Value, json};

use super::columns::POLICIES;
use crate::cli::Failure;
use crate::cli::output::table;
use crate::report::chain;
use crate::sim::baseline::Baseline;
use crate::sim::scenario::Scenario;
use crate::sim::scenarios;

/// For people.
pub(super) fn text() -> Result<String, Failure> {
    let scenarios: Vec<_> = rows()?.into_iter().map(|(name, about)| vec![name, about]).collect();
    let policies: Vec<_> = policies().into_iter().map(|(name, about)| vec![name, about]).collect();
    Ok(format!("scenarios\n{}\npolicies\n{}", indented(&table(&scenarios)), indented(&table(&policies))))
}

/// For programs.
pub(super) fn json() -> Result<Value, Failure> {
    let objects = |rows: Vec<(String, String)>| {
        rows.into_iter().map(|(name, about)| json!({ "name": name, "about": about })).collect::<Value>()
    };
    Ok(json!({ "scenarios": objects(rows()?), "policies": objects(policies()) }))
}

fn rows() -> Result<Vec<(String, String)>, Failure> {
    Ok(known()?.into_iter().map(|scenario| (scenario.name, scenario.about)).collect())
}

/// All scenarios that are built in.
pub(super) fn known() -> Result<Vec<Scenario>, Failure> {
    scenarios::all().map_err(|error| Failure::Failed(chain(&error)))
}

fn policies() -> Vec<(String, String)> {
    let agents = POLICIES.map(|(name, about)| (name.to_owned(), about.to_owned()));
    let baselines = Baseline::NAMED.map(|baseline| (baseline.name(), baseline.about()));
    let fixed = ("fixed-N".to_owned(), "N servers, always".to_owned());
    agents.into_iter().chain(baselines).chain([fixed]).collect()
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}

/// That there is no such thing, and what may have been meant.
pub(super) fn unknown(kind: &str, name: &str, near: Option<&str>) -> String {
    let hint = near.map(|near| format!("\n  did you mean `{near}`?")).unwrap_or_default();
    format!("there is no {kind} `{name}`{hint}\n  `simulate --list` shows what there is")
}
