//! What is decided on, by whom, and under which settings: the config file and the options put together.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::ReplayArguments;
use crate::cli::log_format::line_format;
use crate::cli::simulate::columns::{POLICIES, unknown};
use crate::cli::simulate::setting::{Setting, checked};
use crate::cli::{Failure, config_file, usage};
use crate::config::Config;
use crate::core::log::format::LineFormat;
use crate::core::settings::{BackendSettings, Target, Timer};
use crate::report::chain;
use crate::sim::baseline::Baseline;
use crate::sim::replay::history::{History, Others};
use crate::sim::replay::play::Who;

/// What is compared unless it is said.
const USUAL: [&str; 3] = ["model", "threshold", "all-on"];
/// Of the config file's keys those that are about the log of a live HAProxy.
const NOT_REPLAYED: [&str; 2] = ["coverage", "sample_rate"];

/// See the module's text.
pub(super) struct Site<'a> {
    arguments: &'a ReplayArguments,
    /// How lines are read.
    pub(super) format: LineFormat,
    /// The backends of the config file, as it has them.
    backends: Vec<Map<String, Value>>,
}

/// One column of the table.
#[derive(Clone, Debug)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) about: String,
    pub(super) who: Who,
    pub(super) target: Target,
}

impl<'a> Site<'a> {
    /// Of `arguments`, and of the config file they name or which is there.
    pub(super) fn of(arguments: &'a ReplayArguments) -> Result<Self, Failure> {
        let file = config_file(arguments.config.as_deref());
        let config = file.map(|file| Config::load(file).map_err(usage)).transpose()?;
        let format = match (&arguments.format, &config) {
            (Some(format), _) => line_format(format)?,
            (None, Some(config)) => {
                config.log_format.load().map(|loaded| loaded.format).map_err(|error| usage(chain(&error)))?
            }
            (None, None) => LineFormat::Auto,
        };
        let backends = file.map(backends).transpose()?.unwrap_or_default();
        let site = Self { arguments, format, backends };
        for name in site.policies() {
            who(&name, || Ok(None))?;
        }
        Ok(site)
    }

    /// The backends that are replayed: the one asked for, else those of the config file, else the busiest.
    pub(super) fn choose<'h>(
        &self,
        histories: &'h [History],
        others: &Others,
    ) -> Result<Vec<&'h History>, Failure> {
        let Some(busiest) = histories.first() else { return Err(nothing(self.arguments, others)) };
        let named = |backend: &Map<String, Value>| {
            histories.iter().find(|history| backend.get("name") == Some(&json!(history.backend)))
        };
        let configured: Vec<&History> = match self.arguments.backend {
            Some(_) => vec![busiest],
            None => self.backends.iter().filter_map(named).collect(),
        };
        if configured.is_empty() && !self.backends.is_empty() {
            let found: Vec<_> =
                histories.iter().take(5).map(|history| format!("`{}`", history.backend)).collect();
            return Err(Failure::Failed(format!(
                "no request of a backend of the config file; the log has {}\n  name one with --backend",
                found.join(", ")
            )));
        }
        Ok(if configured.is_empty() { vec![busiest] } else { configured })
    }

    fn policies(&self) -> Vec<String> {
        match &self.arguments.policy[..] {
            [] => USUAL.map(String::from).to_vec(),
            named => named.to_vec(),
        }
    }

    /// Who decides for `history`: those named, or the usual ones; and one for `--set`.
    pub(super) fn columns(&self, history: &History) -> Result<Vec<Column>, Failure> {
        let usual = self.settings(history, None, &[])?;
        let mut columns: Vec<Column> = Vec::new();
        for name in self.policies() {
            if columns.iter().any(|column| column.name == name) {
                continue;
            }
            let settings = |policy: &str| self.settings(history, Some(policy), &[]);
            let (about, who) = who(&name, || settings(&name).map(Some))?;
            columns.push(Column { name, about, who, target: usual.target });
        }
        let sets = &self.arguments.set;
        if !sets.is_empty() {
            let is_there = |policy: &&str| columns.iter().any(|column| column.name == *policy);
            let Some(policy) = POLICIES.map(|(policy, _)| policy).into_iter().find(is_there) else {
                return Err(usage("--set is about model or threshold: add one of them to --policy"));
            };
            let settings = self.settings(history, Some(policy), sets)?;
            let texts: Vec<String> = sets.iter().map(Setting::text).collect();
            columns.push(Column {
                name: format!("{policy}*"),
                about: format!("{policy} with {}", texts.join(", ")),
                who: Who::Agent(Box::new(settings)),
                target: usual.target,
            });
        }
        Ok(columns)
    }

    /// The backend's settings as the config file has them, with what the options change.
    fn settings(
        &self,
        history: &History,
        policy: Option<&str>,
        sets: &[Setting],
    ) -> Result<BackendSettings, Failure> {
        let name = json!(history.backend);
        let known = self.backends.iter().find(|backend| backend.get("name") == Some(&name));
        let mut backend = known.cloned().unwrap_or_default();
        backend.insert("name".to_owned(), name);
        if let Some(policy) = policy {
            backend.insert("policy".to_owned(), policy.into());
        }
        if let Some(below) = self.arguments.target {
            let target = backend.entry("target").or_insert_with(|| json!({}));
            target["below"] = format!("{}ms", below.as_millis()).into();
        }
        if !backend.contains_key("target") {
            return Err(no_target(history));
        }
        for key in NOT_REPLAYED {
            backend.remove(key);
        }
        for set in sets {
            set.put(&mut backend)?;
        }
        checked(&backend)
    }
}

/// The backends in the file, which is a good one.
fn backends(file: &Path) -> Result<Vec<Map<String, Value>>, Failure> {
    let unreadable =
        |error: String| Failure::Failed(format!("cannot read config `{}`: {error}", file.display()));
    let text = fs::read_to_string(file).map_err(|error| unreadable(error.to_string()))?;
    let value: Value = serde_yaml::from_str(&text).map_err(|error| unreadable(error.to_string()))?;
    let backends = value["backends"].as_array().into_iter().flatten();
    Ok(backends.filter_map(|backend| backend.as_object().cloned()).collect())
}

/// What the policy of this name is, and who decides by it.
fn who(
    name: &str,
    settings: impl FnOnce() -> Result<Option<BackendSettings>, Failure>,
) -> Result<(String, Who), Failure> {
    if let Some((_, about)) = POLICIES.into_iter().find(|(policy, _)| *policy == name) {
        // Without settings it is only asked whether there is such a policy.
        let who = settings()?.map_or(Who::AsItWas, |settings| Who::Agent(Box::new(settings)));
        return Ok((about.to_owned(), who));
    }
    let baseline = Baseline::named(name).ok_or_else(|| usage(unknown(name)))?;
    Ok((baseline.about(), Who::Baseline(baseline)))
}

/// Nothing to replay, and why.
fn nothing(arguments: &ReplayArguments, others: &Others) -> Failure {
    let of = arguments.backend.as_ref().map(|backend| format!(" of backend `{backend}`")).unwrap_or_default();
    let mut why = format!("no request{of} that went to a server in {} lines", others.lines);
    if let Some(first) = &others.first_unparsed {
        why += &format!(
            "\n  {} lines were not understood, one of them: {}\n  {}",
            others.unparsed, first.error, first.text
        );
        why += "\n  `parse --failed` shows all of them; --format names the format";
    }
    if others.sessions > 0 {
        why += &format!("\n  {} were sessions in TCP mode, which have no Tr", others.sessions);
    }
    if others.outside > 0 {
        why += &format!("\n  {} came before --from or after --to", others.outside);
    }
    Failure::Failed(why)
}

/// No target, and one that would be about right.
fn no_target(history: &History) -> Failure {
    let mut all: Vec<u32> = history.requests.iter().filter_map(|past| past.timers.get(Timer::Tt)).collect();
    all.sort_unstable();
    let p95 = all.get(all.len() * 95 / 100).copied().unwrap_or(0);
    usage(format!(
        "no target for backend `{}`: give --target, such as --target 250ms, or a config file that names it\n  \
         95 % of its requests took at most {p95} ms in this log",
        history.backend
    ))
}
