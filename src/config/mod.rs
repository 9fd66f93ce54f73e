//! YAML to checked settings.
//!
//! In: the text of a config file. Out: a [`Config`] that cannot be wrong in itself, or a
//! [`ConfigError`] that names file, line, column and key of everything that is. What a file may
//! say is in `file.rs`, every default in `defaults.rs`, every range and rule between two keys in `check.rs` and
//! `backend.rs`. Whether HAProxy has the backends, or the log can be read, is left to others.
//!
//! A file is read twice: `document.rs` walks its YAML (no key twice, no more of it than a bound),
//! then serde reads the types. Where a key stands is looked up by a third walk, when it is to be named.

mod backend;
mod check;
mod defaults;
mod document;
mod duration;
mod error;
mod file;
mod lasting;
mod log_format;
mod model;
pub mod nearest;
mod nodes;
mod path;
mod percent;
mod schedule;
mod share;
mod spares;
mod translate;
mod value;
mod warm_up;
mod words;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use duration::{DurationError, parse_duration};
pub use error::{ConfigError, Mistake, Order, Position, Problem};
pub use lasting::{Keep, Lasting, ReloadBy, ReloadWhen, Reloading};
pub use log_format::{FormatError, LoadedFormat, LogFormat};
pub use nodes::NodeSettings;
pub use spares::{DefaultServer, PoolSettings, PoolSource};

use crate::core::settings::{BackendSettings, LogSettings};

/// Where the config is, unless another file is named.
pub const DEFAULT_PATH: &str = "/etc/haproxy-autoscale/config.yaml";

/// All settings of the agent. Keys, units, ranges: `config/haproxy-autoscale.yaml`.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where lines come from: paths of files or FIFOs, `-` for standard input. At least one.
    pub sources: Vec<String>,
    /// How a line of the log reads.
    pub log_format: LogFormat,
    /// Each HAProxy; at least one, and no two with the same socket or a file in common.
    pub nodes: Vec<NodeSettings>,
    /// For one command and its answer.
    pub socket_timeout: Duration,
    /// Where the journal and the state file are.
    pub state_dir: PathBuf,
    /// Where the agent's own socket is.
    pub runtime_dir: PathBuf,
    /// Where `/metrics` and `/healthz` are served; `None`: nowhere.
    pub metrics_listen: Option<SocketAddr>,
    /// The least important events that are logged.
    pub log_level: tracing::Level,
    /// One JSON object an event.
    pub log_json: bool,
    /// How often every backend is looked at.
    pub tick: Duration,
    /// A longer line is dropped whole and counted.
    pub max_line_bytes: usize,
    /// What is expected of the log, where a backend has nothing else.
    pub log: LogSettings,
    /// The backends that may be scaled, no name twice; empty: observe only.
    pub backends: Vec<BackendSettings>,
    /// Where the addresses of their spares come from, by the backends' names; none where HAProxy has them all.
    pub pools: BTreeMap<String, PoolSettings>,
}

impl Default for Config {
    /// What an empty file would say: Debian's log and socket, and no backend to touch.
    fn default() -> Self {
        defaults::config()
    }
}

impl Config {
    /// Reads and checks the file at `path`.
    ///
    /// # Errors
    /// The file cannot be read, or something in it is wrong.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::parse(&document::read(path)?, path)
    }

    /// Checks `text`; `path` is only what errors call it.
    ///
    /// # Errors
    /// Something in it is wrong. YAML, keys and types are reported up to the first mistake,
    /// ranges and rules between keys all at once.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let invalid = |problems| ConfigError::Invalid { path: path.to_owned(), problems };
        document::walk(text).map_err(|problem| invalid(vec![problem]))?;
        let file =
            serde_yaml::from_str(text).map_err(|error| invalid(vec![Problem::from_yaml(&error, text)]))?;
        check::check(file, text).map_err(invalid)
    }

    /// Where the agent of a file with mistakes is found: its `state_dir` and `runtime_dir`, beside defaults. `None` if
    /// not even they can be read.
    pub fn places(path: &Path) -> Option<Self> {
        let text = document::read(path).ok()?;
        document::walk(&text).ok()?;
        let file::Places { state_dir, runtime_dir } = serde_yaml::from_str(&text).ok()?;
        let mut config = Self::default();
        config.state_dir = state_dir.unwrap_or(config.state_dir);
        config.runtime_dir = runtime_dir.unwrap_or(config.runtime_dir);
        Some(config)
    }

    /// The keys, by their paths, whose values differ in `other`; `backends` aside.
    pub fn differing_keys(&self, other: &Self) -> Vec<&'static str> {
        let differs = [
            ("sources", self.sources != other.sources),
            ("log_format", self.log_format != other.log_format),
            ("haproxy.sockets", self.sockets() != other.sockets()),
            ("haproxy.timeout", self.socket_timeout != other.socket_timeout),
            ("haproxy.keep and what belongs to it", self.lasting().ne(other.lasting())),
            ("state_dir", self.state_dir != other.state_dir),
            ("runtime_dir", self.runtime_dir != other.runtime_dir),
            ("metrics.listen", self.metrics_listen != other.metrics_listen),
            ("log_level", self.log_level != other.log_level),
            ("log_json", self.log_json != other.log_json),
            ("tick", self.tick != other.tick),
            ("coverage", self.log.coverage != other.log.coverage),
            ("sample_rate", self.log.sample_rate != other.log.sample_rate),
            ("max_line_bytes", self.max_line_bytes != other.max_line_bytes),
        ];
        differs.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key).collect()
    }

    /// With these instead of the file's; no change if there are none.
    #[must_use]
    pub fn with_sources(mut self, sources: Vec<String>) -> Self {
        if !sources.is_empty() {
            self.sources = sources;
        }
        self
    }

    /// With these instead of the file's (`--socket`); no change if there are none.
    ///
    /// # Errors
    /// One that is there twice, or is no address; or the one whose changes are to last is not among several.
    pub fn with_sockets(mut self, sockets: Vec<String>) -> Result<Self, ConfigError> {
        if !sockets.is_empty() {
            let nodes = nodes::with_sockets(&self.nodes, sockets);
            self.nodes = nodes.map_err(|mistake| ConfigError::Option { option: "--socket", mistake })?;
        }
        Ok(self)
    }

    fn lasting(&self) -> impl Iterator<Item = &Lasting> {
        self.nodes.iter().map(|node| &node.lasting)
    }

    /// The socket of each HAProxy.
    pub fn sockets(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.socket.clone()).collect()
    }

    /// With `name` as the only backend (`--backend`): as the file has it, or with the defaults
    /// and p95 of Tt below `target`.
    ///
    /// # Errors
    /// The file has no such backend, and there is no `target`; or `name` is no name.
    pub fn with_backend(mut self, name: &str, target: Option<Duration>) -> Result<Self, ConfigError> {
        self.backends.retain(|backend| backend.name == name);
        if !self.backends.is_empty() {
            return match target {
                Some(target) => self.with_target(target),
                None => Ok(self),
            };
        }
        let no_target = || Mistake::NoTarget { backend: name.to_owned() };
        let option = |option| move |mistake| ConfigError::Option { option, mistake };
        let target = target.ok_or_else(no_target).map_err(option("--backend"))?;
        let name = backend::name(name).map_err(option("--backend"))?;
        self.backends.push(backend::with_defaults(name, target, self.log).map_err(option("--target"))?);
        Ok(self)
    }

    /// With `below` as the target of every backend (`--target`); the band moves in proportion.
    ///
    /// # Errors
    /// It is out of range.
    pub fn with_target(mut self, below: Duration) -> Result<Self, ConfigError> {
        for backend in &mut self.backends {
            backend::set_target(backend, below)
                .map_err(|mistake| ConfigError::Option { option: "--target", mistake })?;
        }
        Ok(self)
    }
}
