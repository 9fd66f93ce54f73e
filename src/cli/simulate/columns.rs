//! Who decides: the columns of the table, by name.

use super::setting::{Setting, settings};
use crate::cli::{Failure, usage};
use crate::config::nearest::nearest;
use crate::core::settings::BackendSettings;
use crate::sim::baseline::Baseline;
use crate::sim::scenario::Scenario;

/// The agent's own policies, and what they do in a line. The first one is what `--set` is about.
pub(in crate::cli) const POLICIES: [(&str, &str); 2] = [
    ("model", "the agent: busy workers, learned from the log"),
    ("threshold", "the agent: a hysteresis band around the target"),
];

/// What is compared unless it is said: what the comparison in `benches/simulate.md` has.
const USUAL: [&str; 8] = ["all-on", "script-2011", "lxc", "hpa", "kpa", "kpa-delay", "threshold", "model"];

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Column {
    /// At its head.
    pub(super) name: String,
    who: Who,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Who {
    Baseline(Baseline),
    Agent { policy: &'static str, sets: Vec<Setting> },
}

/// Whoever decides in one scenario.
#[derive(Clone, Debug)]
pub(super) enum Decider {
    /// Somebody to compare with.
    Baseline(Baseline),
    /// The agent.
    Agent(Box<BackendSettings>),
}

impl Column {
    /// Those named, or the usual ones; and one for `sets`, if there are any.
    pub(super) fn all(names: &[String], sets: &[Setting]) -> Result<Vec<Self>, Failure> {
        let usual = || USUAL.map(String::from).to_vec();
        let names = if names.is_empty() { usual() } else { names.to_vec() };
        let mut columns: Vec<Self> = Vec::new();
        for name in &names {
            let column = Self::named(name)?;
            if !columns.contains(&column) {
                columns.push(column);
            }
        }
        if !sets.is_empty() {
            let is_there = |policy: &&str| names.iter().any(|name| name == policy);
            let Some(policy) = POLICIES.map(|(policy, _)| policy).into_iter().find(is_there) else {
                return Err(usage("--set is about model or threshold: add one of them to --policy"));
            };
            columns
                .push(Self { name: format!("{policy}*"), who: Who::Agent { policy, sets: sets.to_vec() } });
        }
        Ok(columns)
    }

    fn named(name: &str) -> Result<Self, Failure> {
        let agents = POLICIES.into_iter().find(|(policy, _)| *policy == name);
        let agents = agents.map(|(policy, _)| Who::Agent { policy, sets: Vec::new() });
        let who = agents.or_else(|| Baseline::named(name).map(Who::Baseline));
        who.map(|who| Self { name: name.to_owned(), who }).ok_or_else(|| usage(unknown(name)))
    }

    /// What its star stands for.
    pub(super) fn note(&self) -> Option<String> {
        match &self.who {
            Who::Agent { policy, sets } if !sets.is_empty() => {
                let sets: Vec<String> = sets.iter().map(Setting::text).collect();
                Some(format!("{} is {policy} with {}", self.name, sets.join(", ")))
            }
            _ => None,
        }
    }

    pub(super) fn decider(&self, scenario: &Scenario) -> Result<Decider, Failure> {
        Ok(match &self.who {
            Who::Baseline(baseline) => Decider::Baseline(*baseline),
            Who::Agent { policy, sets } => Decider::Agent(Box::new(settings(policy, sets, scenario)?)),
        })
    }
}

/// That there is no such policy.
pub(in crate::cli) fn unknown(name: &str) -> String {
    let agents = POLICIES.map(|(policy, _)| policy.to_owned());
    let known: Vec<String> = agents.into_iter().chain(Baseline::NAMED.map(Baseline::name)).collect();
    super::list::unknown("policy", name, nearest(name, &known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(names: &str, sets: &[&str], expected: &str) {
        let names: Vec<String> = names.split_whitespace().map(str::to_owned).collect();
        let sets: Vec<Setting> = sets.iter().map(|text| Setting::parse(text).unwrap()).collect();
        let columns = Column::all(&names, &sets).map(|columns| columns.into_iter().map(|column| column.name));
        let found = match columns {
            Ok(names) => names.collect::<Vec<_>>().join(" "),
            Err(Failure::Usage(error)) => error,
            Err(error) => panic!("{error:?}"),
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn columns_are_those_named_and_one_for_other_settings() {
        check("", &[], "all-on script-2011 lxc hpa kpa kpa-delay threshold model");
        check("kpa model fixed-4 kpa", &[], "kpa model fixed-4");
        check("kpa model", &["model.hold=2m"], "kpa model model*");
        check("threshold", &["window.length=1m"], "threshold threshold*");
        check("kpa", &["model.hold=2m"], "--set is about model or threshold: add one of them to --policy");
    }
}
