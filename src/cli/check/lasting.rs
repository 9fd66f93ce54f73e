//! Whether changes can be kept as `haproxy.keep` wants it, and HAProxy be reloaded.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::unistd::{AccessFlags, Gid, Uid, eaccess};

use super::Finding;
use crate::config::{Config, Keep, NodeSettings, ReloadBy};
use crate::core::controller::BackendStanding;
use crate::haproxy::address::Endpoint;
use crate::haproxy::client::Client;
use crate::lasting::block::{self, BlockError};
use crate::lasting::declared::Declared;
use crate::lasting::reload::Reloader;
use crate::report::chain;

mod draft;
mod growing;

pub(super) async fn check(config: &Config) -> Vec<Finding> {
    let is_wanted = |node: &&NodeSettings| node.lasting.is_wanted();
    let mut findings = growing::check(config);
    if config.backends.is_empty() || !config.nodes.iter().any(|node| is_wanted(&node)) {
        return findings;
    }
    let standings = draft::standings(config).await;
    for (node, standing) in config.nodes.iter().zip(standings).filter(|(node, _)| is_wanted(node)) {
        findings.extend(check_node(config, node, standing.as_deref()).await);
        let about = format!("haproxy.keep {}{}", node.lasting.keep.name(), of(config, node));
        let standing = standing.as_deref().unwrap_or_default();
        findings.extend(growing::rehearse(&about, config, node, standing).await);
    }
    findings
}

/// Of which of several HAProxys.
fn of(config: &Config, node: &NodeSettings) -> String {
    if config.nodes.len() > 1 { format!(" of {}", node.socket) } else { String::new() }
}

async fn check_node(
    config: &Config,
    node: &NodeSettings,
    standing: Option<&[BackendStanding]>,
) -> Vec<Finding> {
    let lasting = &node.lasting;
    let about = format!("haproxy.keep {}{}", lasting.keep.name(), of(config, node));
    let text = match fs::read(&lasting.config) {
        Ok(text) => text,
        Err(error) => {
            let found = format!("cannot read `{}`: {error}", lasting.config.display());
            return vec![Finding::fail(&about, found, "name HAProxy's configuration as `haproxy.config`")];
        }
    };
    let mut findings = match lasting.keep {
        Keep::None => Vec::new(),
        Keep::StateFile => state_file(&about, config, &lasting.state_file, &Declared::read(&text)),
        Keep::Block => blocks(&about, config, &text),
        Keep::Template => vec![template(&about, &lasting.template)],
    };
    if matches!(lasting.keep, Keep::Block | Keep::Template) {
        findings.push(replaceable(&about, &lasting.config, Owner::Kept));
    }
    findings.extend(haproxy(&about, config, node, standing).await);
    findings
}

/// Whether HAProxy loads the state file, and this user can write it.
fn state_file(about: &str, config: &Config, path: &Path, declared: &Declared) -> Vec<Finding> {
    let mut findings = vec![replaceable(about, path, Owner::Any)];
    let file = path.display();
    if declared.state_file.as_deref() != Some(path) {
        let found = match &declared.state_file {
            Some(other) => format!("haproxy.cfg loads `{}`, and not `{file}`", other.display()),
            None => "haproxy.cfg names no state file".to_owned(),
        };
        let remedy = format!("`server-state-file {file}` in `global` of haproxy.cfg, and a reload");
        findings.push(Finding::fail(about, found, remedy));
    }
    for backend in &config.backends {
        let loads = declared.proxy(&backend.name).is_some_and(|proxy| proxy.loads_state);
        findings.push(if loads {
            Finding::ok(about, format!("backend {} loads the state file", backend.name))
        } else {
            let remedy = "`load-server-state-from-file global` in it or in its `defaults`, and a reload";
            Finding::fail(about, format!("backend {} does not load the state file", backend.name), remedy)
        });
    }
    findings
}

fn blocks(about: &str, config: &Config, text: &[u8]) -> Vec<Finding> {
    let declared = Declared::read(text);
    let mut findings = Vec::new();
    for backend in &config.backends {
        let name = &backend.name;
        let nothing = BackendStanding { backend: name.clone(), servers: Vec::new() };
        findings.push(match block::edit(text, &nothing, None) {
            Ok(_) => Finding::ok(about, format!("backend {name} has its block")),
            Err(error @ BlockError::Conditional { .. }) => Finding::fail(about, error.to_string(), ""),
            Err(error) => {
                let remedy = format!(
                    "put its server lines between `# BEGIN haproxy-autoscale {name}` and `# END haproxy-autoscale {name}`"
                );
                Finding::fail(about, error.to_string(), remedy)
            }
        });
        if declared.proxy(name).is_some_and(|proxy| proxy.has_template) {
            findings.push(Finding::warn(
                about,
                format!(
                    "backend {name} has a `server-template`, whose servers have no lines: they are not kept"
                ),
                "`keep: state_file`, or a `server` line for each",
            ));
        }
    }
    findings
}

fn template(about: &str, path: &Path) -> Finding {
    match fs::read_to_string(path) {
        Ok(_) => Finding::ok(about, format!("the template `{}` can be read", path.display())),
        Err(error) => Finding::fail(
            about,
            format!("cannot read the template `{}`: {error}", path.display()),
            "begin with a copy of haproxy.cfg, with `{{ servers }}` and their options for the server lines",
        ),
    }
}

/// Whether the new file has to belong to the same user.
#[derive(Clone, Copy, PartialEq)]
enum Owner {
    Kept,
    Any,
}

/// Whether this user can put another file into the place of the one at `path`.
fn replaceable(about: &str, path: &Path, owner: Owner) -> Finding {
    let target = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let folder = target.parent().unwrap_or(Path::new("/"));
    let remedy = "give the folder to the agent's user, and add it to ReadWritePaths= of its systemd unit";
    if let Err(errno) = eaccess(folder, AccessFlags::W_OK | AccessFlags::X_OK) {
        let why = std::io::Error::from(errno);
        return Finding::fail(about, format!("cannot write in `{}`: {why}", folder.display()), remedy);
    }
    let (user, group) = (Uid::effective(), Gid::effective());
    let is_own = |file: &fs::Metadata| (file.uid(), file.gid()) == (user.as_raw(), group.as_raw());
    let is_kept = user.is_root() || fs::metadata(&target).map_or(true, |file| is_own(&file));
    if owner == Owner::Kept && !is_kept {
        let found = format!("`{}` belongs to another user or group, which cannot be kept", target.display());
        return Finding::fail(about, found, format!("chown haproxy-autoscale: {}", target.display()));
    }
    Finding::ok(about, format!("`{}` can be written", target.display()))
}

/// What would be written, what HAProxy says to that, and whether it can be reloaded.
async fn haproxy(
    about: &str,
    config: &Config,
    node: &NodeSettings,
    standing: Option<&[BackendStanding]>,
) -> Vec<Finding> {
    let lasting = &node.lasting;
    let Ok(address) = node.socket.parse::<Endpoint>() else { return Vec::new() };
    let client = Client::new(address, config.socket_timeout);
    let reloader = Reloader::new(lasting.clone(), client.clone());
    let mut findings = match lasting.keep {
        Keep::StateFile => Vec::new(),
        _ => draft::check(about, lasting, standing, &reloader).await,
    };
    // That HAProxy does not answer is told elsewhere.
    if lasting.reload.by != ReloadBy::None
        && let Ok(process) = client.process().await
    {
        let about = format!("haproxy.reload {}{}", lasting.reload.by.name(), of(config, node));
        findings.push(match reloader.probe(process.pid).await {
            Ok(how) => Finding::ok(&about, how),
            Err(error) => Finding::fail(&about, chain(&error), ""),
        });
    }
    findings
}
