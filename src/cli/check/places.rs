//! The directories the agent writes to, as this user may use them. Nothing is made or changed in them:
//! what root makes, the agent's own user could not use.

use std::path::Path;

use nix::unistd::{AccessFlags, Uid, User, eaccess};

use super::Finding;
use crate::config::Config;
use crate::state_file::{StateDir, StateError};
use crate::telemetry::socket::{Request, ask};

/// What the unit and the packages call the agent's user.
const AGENT_USER: &str = "haproxy-autoscale";

pub(super) async fn check(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(user());
    let running = ask(&config.runtime_dir, &Request::Status).await.ok();
    let running = running.and_then(|status| status["pid"].as_u64());
    if !config.backends.is_empty() {
        findings.push(state_dir(&config.state_dir, running));
    }
    findings.push(runtime_dir(&config.runtime_dir, running));
    findings
}

/// Root may do everything, so that what follows says nothing about the agent's own user.
fn user() -> Option<Finding> {
    let has_own = User::from_name(AGENT_USER).is_ok_and(|user| user.is_some());
    (Uid::effective().is_root() && has_own).then(|| {
        Finding::warn(
            "user",
            format!("looked at as root; whether {AGENT_USER} may read and write all of it is not told"),
            format!("as that user: `runuser -u {AGENT_USER} -- haproxy-autoscale check`"),
        )
    })
}

/// `running`: the agent that answers in the runtime directory.
fn state_dir(path: &Path, running: Option<u64>) -> Finding {
    let about = "state_dir";
    match access(path) {
        Access::Writable => match StateDir::probe(path) {
            Ok(()) => Finding::ok(about, format!("`{}` can be written", path.display())),
            Err(StateError::Taken(_, Some(pid))) if running == Some(u64::from(pid)) => Finding::ok(
                about,
                format!("`{}` is that of the running agent (process {pid})", path.display()),
            ),
            Err(StateError::Taken(_, pid)) => {
                let who = pid.map(|pid| format!(" (process {pid})")).unwrap_or_default();
                let found = format!("an agent is running on `{}`{who}", path.display());
                Finding::warn(about, found, "a second one needs a `state_dir` of its own")
            }
            Err(error) => Finding::fail(about, crate::report::chain(&error), OWNER),
        },
        Access::Missing { can_be_made: true } => {
            Finding::ok(about, format!("`{}` will be made", path.display()))
        }
        Access::Missing { can_be_made: false } => Finding::warn(about, cannot_be_made(path), MADE_BY_UNIT),
        Access::Refused(why) => {
            Finding::fail(about, format!("`{}` cannot be written: {why}", path.display()), OWNER)
        }
    }
}

fn runtime_dir(path: &Path, running: Option<u64>) -> Finding {
    let about = "runtime_dir";
    match access(path) {
        Access::Writable => match running {
            Some(pid) => {
                Finding::ok(about, format!("an agent answers in `{}` (process {pid})", path.display()))
            }
            None => Finding::ok(about, format!("`{}` can be written", path.display())),
        },
        Access::Missing { can_be_made: true } => {
            Finding::ok(about, format!("`{}` will be made", path.display()))
        }
        Access::Missing { can_be_made: false } => Finding::warn(about, cannot_be_made(path), MADE_BY_UNIT),
        Access::Refused(why) => {
            let found = format!("`{}` cannot be written: {why}; `status` will find no agent", path.display());
            Finding::warn(about, found, OWNER)
        }
    }
}

const OWNER: &str = "let it belong to the agent's user, or check as that user";
const MADE_BY_UNIT: &str = "the systemd unit makes it; without that, make it for the agent's user";

fn cannot_be_made(path: &Path) -> String {
    format!("`{}` does not exist, and this user cannot make it", path.display())
}

/// What this user may do with a directory.
enum Access {
    Writable,
    Missing { can_be_made: bool },
    Refused(String),
}

fn access(path: &Path) -> Access {
    let may_write = |path: &Path| eaccess(path, AccessFlags::W_OK | AccessFlags::X_OK);
    match std::fs::metadata(path) {
        Ok(metadata) if !metadata.is_dir() => Access::Refused("it is no directory".into()),
        Ok(_) => match may_write(path) {
            Ok(()) => Access::Writable,
            Err(errno) => Access::Refused(std::io::Error::from(errno).to_string()),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let above = path.ancestors().skip(1).find(|above| above.exists());
            Access::Missing { can_be_made: above.is_some_and(|above| may_write(above).is_ok()) }
        }
        Err(error) => Access::Refused(error.to_string()),
    }
}
