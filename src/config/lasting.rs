//! `haproxy.keep` and what belongs to it: what of the changes made at run time outlasts HAProxy's process.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::Error;

use super::check::{Checker, set};
use super::error::Mistake;
use super::file::{Haproxy, Node, Reload};
use super::path::KeyPath;
use super::value::{FromText, Value, unfit};

/// More often than this a HAProxy under load has its hands full with old workers; a day is as good as never.
const MIN_INTERVAL: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(24 * 3600);

/// How changes outlast HAProxy's process, and how HAProxy is reloaded and started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lasting {
    /// HAProxy's own configuration file.
    pub config: PathBuf,
    /// The program, by name or path.
    pub binary: PathBuf,
    /// Where changes are kept.
    pub keep: Keep,
    /// For [`Keep::StateFile`], and before each reload of ours.
    pub state_file: PathBuf,
    /// For [`Keep::Template`].
    pub template: PathBuf,
    /// How and when HAProxy is reloaded.
    pub reload: Reloading,
    /// Start HAProxy when it is not running.
    pub start: bool,
}

impl Lasting {
    /// The master's socket, where that is to reload HAProxy.
    pub fn master(&self) -> Option<&Path> {
        (self.reload.by == ReloadBy::Master).then_some(&self.reload.socket)
    }
}

/// Where changes are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Nowhere: a reload brings back what the configuration says.
    None,
    /// In a file that HAProxy loads when it starts.
    StateFile,
    /// In the server lines of a marked block of HAProxy's configuration.
    Block,
    /// In HAProxy's configuration, all of which is made from a template.
    Template,
}

impl Keep {
    /// The word for it in a config.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::StateFile => "state_file",
            Self::Block => "block",
            Self::Template => "template",
        }
    }
}

/// How and when HAProxy is reloaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reloading {
    /// By whom.
    pub by: ReloadBy,
    /// At what.
    pub when: ReloadWhen,
    /// For [`ReloadBy::Systemd`].
    pub unit: String,
    /// The master CLI, for [`ReloadBy::Master`].
    pub socket: PathBuf,
    /// Written by HAProxy, for [`ReloadBy::Binary`].
    pub pid_file: PathBuf,
    /// Between two reloads, ours or not.
    pub min_interval: Duration,
}

/// Who reloads HAProxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReloadBy {
    /// Nobody.
    None,
    /// `systemctl reload`.
    Systemd,
    /// HAProxy's master process.
    Master,
    /// A new process that takes over from the old one.
    Binary,
}

impl ReloadBy {
    /// The word for it in a config.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Systemd => "systemd",
            Self::Master => "master",
            Self::Binary => "binary",
        }
    }
}

/// What a reload is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReloadWhen {
    /// For what HAProxy cannot take at run time.
    Needed,
    /// For every change of its configuration file.
    Changed,
}

/// What holds where the file says nothing: nothing is kept, nothing is reloaded. Paths and names are Debian's.
pub(super) fn default() -> Lasting {
    Lasting {
        config: "/etc/haproxy/haproxy.cfg".into(),
        binary: "haproxy".into(),
        keep: Keep::None,
        state_file: "/var/lib/haproxy-autoscale/servers.state".into(),
        template: "/etc/haproxy/haproxy.cfg.template".into(),
        reload: Reloading {
            by: ReloadBy::None,
            when: ReloadWhen::Needed,
            unit: "haproxy".to_owned(),
            socket: "/run/haproxy-master.sock".into(),
            pid_file: "/run/haproxy.pid".into(),
            min_interval: Duration::from_secs(30),
        },
        start: false,
    }
}

impl Lasting {
    /// Whether there is anything to do at all.
    pub fn is_wanted(&self) -> bool {
        self.keep != Keep::None || self.start
    }

    /// Why HAProxy's configuration cannot get more slots by it; `None`: it can.
    pub const fn cannot_grow(&self) -> Option<&'static str> {
        match (self.keep, self.reload.by) {
            (Keep::None | Keep::StateFile, _) => Some("`haproxy.keep` is neither block nor template"),
            (_, ReloadBy::None) => Some("`haproxy.reload.by` is none"),
            (Keep::Block | Keep::Template, _) => None,
        }
    }
}

/// What a file says of it: in `haproxy:`, and in each of its `sockets`.
#[derive(Debug, Default)]
pub(super) struct Keys {
    pub(super) start: Option<Value<bool>>,
    keep: Option<Value<Keep>>,
    config: Option<Value<PathBuf>>,
    binary: Option<Value<PathBuf>>,
    state_file: Option<Value<PathBuf>>,
    template: Option<Value<PathBuf>>,
    reload: Option<Reload>,
}

impl From<Haproxy> for Keys {
    fn from(file: Haproxy) -> Self {
        let Haproxy { start, keep, config, binary, state_file, template, reload, .. } = file;
        Self { start, keep, config, binary, state_file, template, reload }
    }
}

impl From<Node> for Keys {
    fn from(file: Node) -> Self {
        let Node { start, keep, config, binary, state_file, template, reload, .. } = file;
        Self { start, keep, config, binary, state_file, template, reload }
    }
}

/// The name of a systemd unit; whatever could be read as an option is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unit(pub(super) String);

impl FromText for Unit {
    const EXPECTED: &'static str = "the name of a systemd unit, such as haproxy";

    fn from_text<E: Error>(text: &str) -> Result<Self, E> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b":_.\\@-".contains(&byte);
        let is_unit = !text.is_empty() && !text.starts_with('-') && text.bytes().all(allowed);
        if is_unit { Ok(Self(text.to_owned())) } else { Err(unfit::<Self, E>(text)) }
    }
}

impl Checker<'_> {
    /// What `keys` say of it, at `at`.
    pub(super) fn lasting(&mut self, slot: &mut Lasting, keys: Keys, at: &KeyPath) {
        set(&mut slot.keep, keys.keep);
        set(&mut slot.start, keys.start);
        self.absolute(&mut slot.config, keys.config, &at.key("config"));
        self.absolute(&mut slot.state_file, keys.state_file, &at.key("state_file"));
        self.absolute(&mut slot.template, keys.template, &at.key("template"));
        self.program(&mut slot.binary, keys.binary, &at.key("binary"));
        self.reload(&mut slot.reload, keys.reload.unwrap_or_default(), &at.key("reload"));
    }

    fn reload(&mut self, slot: &mut Reloading, file: Reload, at: &KeyPath) {
        set(&mut slot.by, file.by);
        set(&mut slot.when, file.when);
        slot.unit = file.unit.map_or_else(|| slot.unit.clone(), |Value(Unit(unit))| unit);
        self.absolute(&mut slot.socket, file.socket, &at.key("socket"));
        self.absolute(&mut slot.pid_file, file.pid_file, &at.key("pid_file"));
        self.set_within(&mut slot.min_interval, at.key("min_interval"), file.min_interval, MIN_INTERVAL);
    }

    /// What a relative path means would depend on where the agent is started.
    fn absolute(&mut self, slot: &mut PathBuf, path: Option<Value<PathBuf>>, at: &KeyPath) {
        let Some(Value(path)) = path else { return };
        if path.is_absolute() {
            *slot = path;
        } else {
            self.report(at, at, Mistake::Value(not_absolute(&path)));
        }
    }

    /// A bare name is looked for on the PATH.
    fn program(&mut self, slot: &mut PathBuf, path: Option<Value<PathBuf>>, at: &KeyPath) {
        let Some(Value(path)) = path else { return };
        let is_bare = path.components().count() == 1 && !path.to_string_lossy().contains('/');
        if path.is_absolute() || is_bare {
            *slot = path;
        } else {
            self.report(at, at, Mistake::Value(not_absolute(&path)));
        }
    }
}

fn not_absolute(path: &Path) -> String {
    format!("the path `{}` does not begin with `/`", path.display())
}
