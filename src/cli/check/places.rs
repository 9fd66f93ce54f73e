//! The directories the agent writes to.

use std::path::Path;

use super::Finding;
use crate::config::Config;
use crate::report::chain;
use crate::state_file::{StateDir, StateError};

pub(super) fn check(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !config.backends.is_empty() {
        findings.push(state_dir(&config.state_dir));
    }
    findings.push(runtime_dir(&config.runtime_dir));
    findings
}

fn state_dir(path: &Path) -> Finding {
    match StateDir::open(path) {
        Ok(_) => Finding::ok("state_dir", format!("`{}` can be written", path.display())),
        Err(error @ StateError::Taken(..)) => {
            Finding::warn("state_dir", chain(&error), "fine if it is the agent you mean")
        }
        Err(error) => Finding::fail(
            "state_dir",
            chain(&error),
            "run as a user who may write it; the systemd unit makes it",
        ),
    }
}

fn runtime_dir(path: &Path) -> Finding {
    let usable = std::fs::create_dir_all(path).and_then(|()| {
        let probe = path.join(".check");
        std::fs::write(&probe, "")?;
        std::fs::remove_file(&probe)
    });
    match usable {
        Ok(()) => Finding::ok("runtime_dir", format!("`{}` can be written", path.display())),
        Err(error) => Finding::warn(
            "runtime_dir",
            format!("`{}` cannot be written ({error}): `status` will not work", path.display()),
            "run as a user who may write it; the systemd unit makes it",
        ),
    }
}
