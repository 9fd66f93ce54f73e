//! What the agent would write into haproxy.cfg now: made in memory, shown to HAProxy, and held against what is there.

use std::fs;
use std::path::Path;
use std::time::Instant;

use super::super::{Finding, spares};
use crate::config::{Config, Keep, Lasting};
use crate::core::controller::{Answer, BackendStanding, Controller, of_node};
use crate::core::names::Names;
use crate::core::plan::nodes::Standing;
use crate::haproxy::executor::Executor;
use crate::haproxy::words::words;
use crate::lasting::block::BlockError;
use crate::lasting::changes::changes;
use crate::lasting::event::Refused;
use crate::lasting::program::ProgramError;
use crate::lasting::reload::{NOWHERE, Reloader};
use crate::lasting::{render, slots};
use crate::report::chain;
use crate::state_file::StateDir;
use crate::telemetry::lasting::line_words;

/// So many lines that differ are shown.
const MOST_LINES: usize = 10;

pub(super) async fn check(
    about: &str,
    lasting: &Lasting,
    standing: Option<&[BackendStanding]>,
    reloader: &Reloader,
) -> Vec<Finding> {
    let path = &lasting.config;
    let Ok(old) = fs::read(path) else { return Vec::new() };
    let shown = match standing {
        Some(standing) if lasting.keep != Keep::None => made(lasting, &old, standing),
        _ => Ok(old.clone()),
    };
    let text = match shown {
        Ok(text) => text,
        Err(finding) => return vec![Finding { about: about.to_owned(), ..finding }],
    };
    let mut findings = Vec::new();
    if lasting.keep != Keep::None && text != old {
        let (old, new) = (String::from_utf8_lossy(&old), String::from_utf8_lossy(&text));
        let lines = changes(&old, &new, MOST_LINES).join("\n        ");
        findings
            .push(Finding::ok(about, format!("would be written to `{}`:\n        {lines}", path.display())));
    }
    findings.push(taken(about, path, reloader, text, &old).await);
    findings
}

/// Whether HAProxy takes what would be written with slots that it does not have yet. That it cannot be written without
/// them is told elsewhere.
pub(super) async fn with_slots(
    about: &str,
    lasting: &Lasting,
    old: &[u8],
    standing: &[BackendStanding],
    reloader: &Reloader,
) -> Option<Finding> {
    let finding = |found: String| {
        let remedy = "put that right: slots that run out cannot be added before";
        Finding::fail(about, found, remedy)
    };
    let text = made(lasting, old, standing).ok()?;
    match slots::check(&text, standing) {
        Ok(()) => Some(taken(about, &lasting.config, reloader, text, old).await),
        Err(error) => Some(finding(error.to_string())),
    }
}

/// How the servers of each HAProxy stand for an agent that starts now; `None` if none answers, or a pool cannot be read,
/// which is told elsewhere.
pub(super) async fn standings(config: &Config) -> Vec<Option<Vec<BackendStanding>>> {
    let nothing = config.nodes.iter().map(|_| None).collect();
    let (names, now) = (Names::default(), Instant::now());
    let (memory, _) = StateDir::peek(&config.state_dir);
    let haproxy = Executor::open(&config.sockets(), config.socket_timeout, names.clone(), true);
    let Ok(haproxy) = haproxy else { return nothing };
    let mut controller = Controller::new(names.clone(), config.backends.clone(), &memory, now);
    for settings in &config.backends {
        let (Some(id), Some(pool)) = (names.backend(&settings.name), config.pools.get(&settings.name)) else {
            continue;
        };
        let environment = |name: &str| haproxy.variable(name);
        let ask = async { drop(haproxy.inventory().await) };
        if let Ok(told) = spares::told(&settings.name, pool, &environment, ask).await {
            controller.handle_offer(id, told.offer);
        }
    }
    haproxy.keep_alike(controller.kept());
    let Ok(inventory) = haproxy.inventory().await else { return nothing };
    controller.handle_inventory(inventory, now, now);
    let Some(together) = controller.standing(now) else { return nothing };
    if config.nodes.len() == 1 {
        return vec![Some(together)];
    }
    let (states, latest) = (haproxy.nodes(), haproxy.latest());
    let answers = states.iter().zip(&latest).map(|(state, latest)| {
        let in_line = matches!(state.standing, Standing::InLine | Standing::Twin(_));
        latest.as_deref().map(|inventory| Answer { inventory, in_line })
    });
    answers.map(|answer| Some(of_node(&together, answer, &names))).collect()
}

/// The new text, or why there is none.
fn made(lasting: &Lasting, old: &[u8], standing: &[BackendStanding]) -> Result<Vec<u8>, Finding> {
    if lasting.keep == Keep::Block {
        // A block that is missing has been told.
        let blocks = render::blocks(old, standing, None);
        return match blocks.wrong {
            Some(error @ (BlockError::Inherits(_) | BlockError::Slots(_))) => {
                Err(Finding::fail("", error.to_string(), ""))
            }
            _ => Ok(blocks.text),
        };
    }
    let path = &lasting.template;
    // That it cannot be read has been told.
    let Ok(template) = fs::read_to_string(path) else { return Ok(old.to_vec()) };
    render::whole(&template, Some(old), standing).map_err(|error| {
        Finding::fail("", format!("`{}`: {error}", path.display()), "nothing is written until it is right")
    })
}

/// Whether HAProxy takes `text`, which is to replace `old`.
async fn taken(about: &str, config: &Path, reloader: &Reloader, text: Vec<u8>, old: &[u8]) -> Finding {
    let path = config.display();
    let is_same = text == old;
    let shown = String::from_utf8_lossy(&text).into_owned();
    // HAProxy would look for other files beside what it is shown.
    let is_beside = is_beside(&shown);
    let checked =
        if is_same || is_beside { reloader.check(config).await } else { reloader.check_text(text).await };
    match checked {
        Ok(()) if is_same => Finding::ok(about, format!("HAProxy takes `{path}` from this user")),
        Ok(()) if is_beside => {
            let found = format!(
                "HAProxy takes `{path}` as it is; with `default-path config` only a file can be tried"
            );
            Finding::ok(about, found)
        }
        Ok(()) => {
            Finding::ok(about, format!("HAProxy takes what would be written to `{path}` from this user"))
        }
        Err(error @ ProgramError::CannotRun(..)) => Finding::fail(
            about,
            chain(&error),
            "name HAProxy's program as `haproxy.binary`; nothing is written that it has not taken",
        ),
        Err(error) => {
            let name = if is_same || is_beside { config.to_string_lossy() } else { NOWHERE.into() };
            let found = match error.said() {
                Some(said) => refused_words(&Refused::read(said, &name, &shown)),
                None => chain(&error),
            };
            let remedy =
                "nothing is written that HAProxy refuses; this user has to be able to read all it names";
            Finding::fail(about, found, remedy)
        }
    }
}

fn refused_words(refused: &Refused) -> String {
    let mut lines = refused.words.clone();
    lines.extend(line_words(refused));
    format!("HAProxy refuses it:\n        {}", lines.join("\n        "))
}

/// Whether `text` says `default-path config` or `parent`: files have names that begin where it stands.
fn is_beside(text: &str) -> bool {
    text.lines().any(|line| {
        let words = words(line.as_bytes());
        let word = |at: usize| words.get(at).map(|word| word.text.as_str());
        word(0) == Some("default-path") && matches!(word(1), Some("config" | "parent"))
    })
}
