//! Where addresses for spares come from.
//!
//! In: a backend's [`PoolSettings`]. Out: what its pool offers, each time that it has changed. Who
//! starts and stops what listens there is left to others; here are only those that are there:
//!
//! - a list in the config: [`PoolSource::List`]
//! - a file that others write: `pool_file.rs`
//! - what stands behind an address, in HAProxy's own configuration: `default_server.rs`
//!
//! What that says of all servers, and HAProxy does not show, is read in `haproxy_cfgs.rs`.

use std::cell::RefCell;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::{DefaultServer, PoolSettings, PoolSource};
use crate::core::log::log_format::words::{self, Variable};
use crate::core::plan::supply::{Candidate, Offer};
use crate::core::settings::spares::{Keywords, KeywordsError};

pub(crate) mod default_server;
pub mod haproxy_cfgs;
mod pool_file;

use default_server::Untold;

pub use default_server::UntoldError;
pub use pool_file::LineError;

/// Why a pool cannot be told; what it offered before still holds.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// A file cannot be read.
    #[error("cannot read `{0}`")]
    Read(PathBuf, #[source] io::Error),
    /// A line of the pool's file.
    #[error("{}:{line}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Its line, from 1.
        line: usize,
        /// What is wrong with it.
        source: LineError,
    },
    /// A file without a single address: more likely written badly than meant.
    #[error("no address in `{0}`")]
    NoAddress(PathBuf),
    /// A line of HAProxy's configuration.
    #[error("{}:{line}", path.display())]
    Untold {
        /// The file.
        path: PathBuf,
        /// Its line, from 1.
        line: usize,
        /// Why it is not known what it says.
        source: UntoldError,
    },
    /// No server can be added with what HAProxy's configuration says.
    #[error("the `default-server` of `backend {backend}` in `{}`", path.display())]
    Keywords {
        /// The file.
        path: PathBuf,
        /// The backend.
        backend: String,
        /// What no server can be added with.
        source: KeywordsError,
    },
    /// HAProxy's configuration has no such backend.
    #[error("no `backend {backend}` in `{}`, whose `default-server` was to be used", path.display())]
    NoBackend {
        /// The file.
        path: PathBuf,
        /// The backend.
        backend: String,
    },
}

impl ProviderError {
    /// What to do about it. It is looked at again as soon as its file has changed.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Read(_, error) if error.kind() == io::ErrorKind::NotFound => {
                "write it, or name the right one in the config"
            }
            Self::Read(..) => "let the agent's user read it",
            Self::Line { .. } => {
                "put the line right: an address, and perhaps a name, as in `10.0.0.4:80 web4`"
            }
            Self::NoAddress(_) => "write an address a line, as in `10.0.0.4:80`",
            Self::Untold { .. } | Self::Keywords { .. } => {
                "say in the config what HAProxy can be told: `spares: { default_server: KEYWORDS }`"
            }
            Self::NoBackend { .. } => "name the file that has it: `default_server: { haproxy_cfg: FILE }`",
        }
    }
}

/// The pool of one backend.
#[derive(Debug)]
pub struct Provider {
    backend: String,
    settings: PoolSettings,
    /// The files as they were read last.
    pool_seen: Option<Stamp>,
    haproxy_cfg_seen: Option<Stamp>,
    /// The variables that HAProxy's configuration names, as they were then; `None`: it was not known yet.
    variables: Vec<(String, Option<Variable>)>,
}

/// What HAProxy's own environment has; `None`: it has not been asked yet.
pub(crate) type Environment<'a> = &'a dyn Fn(&str) -> Option<Variable>;

/// What an offer was made of, and what of that cannot be used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// What is offered.
    pub offer: Offer,
    /// Keywords of `default-server` that HAProxy takes for servers of its configuration only.
    pub dropped: Vec<String>,
}

impl Provider {
    /// The pool of `backend`.
    pub fn new(backend: &str, settings: PoolSettings) -> Self {
        Self {
            backend: backend.to_owned(),
            settings,
            pool_seen: None,
            haproxy_cfg_seen: None,
            variables: Vec::new(),
        }
    }

    /// The backend's name.
    pub fn backend(&self) -> &str {
        &self.backend
    }

    /// What is offered now; `None` if nothing has changed since the last call, or HAProxy has to be asked first for a
    /// variable that its configuration names. Reads small files, and only those that have changed.
    ///
    /// # Errors
    /// A file cannot be read, or makes no sense; each error once, until the file changes again.
    pub(crate) fn look(&mut self, environment: Environment<'_>) -> Result<Option<Told>, ProviderError> {
        let pool = match &self.settings.source {
            PoolSource::List(_) => Some(Stamp::default()),
            PoolSource::File(path) => Stamp::of(path),
        };
        let haproxy_cfg = match &self.settings.default_server {
            DefaultServer::Given(_) => Some(Stamp::default()),
            DefaultServer::HaproxyCfg(path) => Stamp::of(path),
        };
        let seen = (
            self.pool_seen.replace(pool.unwrap_or_default()),
            self.haproxy_cfg_seen.replace(haproxy_cfg.unwrap_or_default()),
        );
        let is_as_it_was = |(name, was): &(String, Option<Variable>)| environment(name) == *was;
        if seen == (self.pool_seen, self.haproxy_cfg_seen) && self.variables.iter().all(is_as_it_was) {
            return Ok(None);
        }
        let asked = RefCell::new(Vec::new());
        let told = self.read(&|name| {
            let found = environment(name);
            asked.borrow_mut().push((name.to_owned(), found.clone()));
            // Goes on, to find all that has to be asked: what comes out is not told.
            found.unwrap_or(Variable::Unset)
        });
        self.variables = asked.into_inner();
        if self.variables.iter().any(|(_, found)| found.is_none()) { Ok(None) } else { told.map(Some) }
    }

    fn read(&self, environment: words::Environment<'_>) -> Result<Told, ProviderError> {
        let candidates = match &self.settings.source {
            PoolSource::List(candidates) => candidates.clone(),
            PoolSource::File(path) => pool(path)?,
        };
        let (keywords, dropped) = match &self.settings.default_server {
            DefaultServer::Given(keywords) => (keywords.clone(), Vec::new()),
            DefaultServer::HaproxyCfg(path) => self.keywords(path, environment)?,
        };
        let candidates = candidates.into_iter().map(Arc::new).collect();
        Ok(Told { offer: Offer { candidates, keywords }, dropped })
    }

    fn keywords(
        &self,
        path: &Path,
        environment: words::Environment<'_>,
    ) -> Result<(Keywords, Vec<String>), ProviderError> {
        let (path, backend) = (path.to_owned(), self.backend.clone());
        match default_server::keywords(&text(&path)?, &backend, environment) {
            Ok(Some(words)) => {
                Keywords::lenient(&words).map_err(|source| ProviderError::Keywords { path, backend, source })
            }
            Ok(None) => Err(ProviderError::NoBackend { path, backend }),
            Err(Untold { line, why }) => Err(ProviderError::Untold { path, line, source: why }),
        }
    }
}

fn pool(path: &Path) -> Result<Vec<Candidate>, ProviderError> {
    let candidates = pool_file::read(&text(path)?).map_err(|(line, source)| ProviderError::Line {
        path: path.to_owned(),
        line,
        source,
    })?;
    if candidates.is_empty() { Err(ProviderError::NoAddress(path.to_owned())) } else { Ok(candidates) }
}

fn text(path: &Path) -> Result<String, ProviderError> {
    let bytes = fs::read(path).map_err(|error| ProviderError::Read(path.to_owned(), error))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// By what a change of a file is noticed: another file, other bytes, or who may read it. When it was modified can be set
/// to anything (`cp -p`, `rsync -t`), and does not tell of the last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    changed: (i64, i64),
    bytes: u64,
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let file = fs::metadata(path).ok()?;
        Some(Self { inode: file.ino(), changed: (file.ctime(), file.ctime_nsec()), bytes: file.len() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOWHERE: Environment<'_> = &|_| Some(Variable::Unset);

    fn provider(pool: &Path, haproxy_cfg: Option<&Path>) -> Provider {
        let default_server = match haproxy_cfg {
            Some(path) => DefaultServer::HaproxyCfg(path.to_owned()),
            None => DefaultServer::Given(Keywords::default()),
        };
        Provider::new("app", PoolSettings { source: PoolSource::File(pool.to_owned()), default_server })
    }

    #[track_caller]
    fn addresses(provider: &mut Provider) -> Option<Vec<String>> {
        let told = provider.look(NOWHERE).unwrap()?;
        Some(told.offer.candidates.iter().map(|candidate| candidate.address.to_string()).collect())
    }

    #[test]
    fn a_file_is_told_when_it_has_changed_and_only_then() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("app.pool");
        let mut provider = provider(&file, None);
        assert!(matches!(provider.look(NOWHERE), Err(ProviderError::Read(..))));
        assert_eq!(addresses(&mut provider), None, "an error is told once");
        fs::write(&file, "10.0.0.4:80\n").unwrap();
        assert_eq!(addresses(&mut provider), Some(vec!["10.0.0.4:80".to_owned()]));
        assert_eq!(addresses(&mut provider), None);
        fs::write(&file, "10.0.0.4:80\n10.0.0.5:80\n").unwrap();
        assert_eq!(addresses(&mut provider).map(|all| all.len()), Some(2));
        fs::write(&file, "# nothing\n").unwrap();
        assert!(matches!(provider.look(NOWHERE), Err(ProviderError::NoAddress(_))));
    }

    #[test]
    fn a_change_is_noticed_whatever_the_file_says_of_its_age() {
        let folder = tempfile::tempdir().unwrap();
        let (file, copy) = (folder.path().join("app.pool"), folder.path().join("app.pool.new"));
        let write = |file: &Path, text: &str| {
            fs::write(file, text).unwrap();
            fs::File::options().write(true).open(file).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
        };
        let mut provider = provider(&file, None);
        write(&file, "10.0.0.4:80\n");
        assert_eq!(addresses(&mut provider), Some(vec!["10.0.0.4:80".to_owned()]));
        write(&copy, "10.0.0.5:80\n");
        fs::rename(&copy, &file).unwrap();
        assert_eq!(addresses(&mut provider), Some(vec!["10.0.0.5:80".to_owned()]));
    }

    #[test]
    fn haproxys_own_configuration_tells_what_stands_behind_an_address() {
        let folder = tempfile::tempdir().unwrap();
        let (file, haproxy_cfg) = (folder.path().join("app.pool"), folder.path().join("haproxy.cfg"));
        fs::write(&file, "10.0.0.4:80\n").unwrap();
        fs::write(&haproxy_cfg, "backend app\n default-server check inter 2s init-addr none\n").unwrap();
        let told = provider(&file, Some(&haproxy_cfg)).look(NOWHERE).unwrap().unwrap();
        assert_eq!(told.offer.keywords.to_string(), "check inter 2s");
        assert_eq!(told.dropped, ["init-addr none"]);
        fs::write(&haproxy_cfg, "backend other\n").unwrap();
        assert!(matches!(
            provider(&file, Some(&haproxy_cfg)).look(NOWHERE),
            Err(ProviderError::NoBackend { .. })
        ));
    }

    #[test]
    fn a_variable_is_asked_for_before_anything_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let (file, haproxy_cfg) = (folder.path().join("app.pool"), folder.path().join("haproxy.cfg"));
        fs::write(&file, "10.0.0.4:80\n").unwrap();
        fs::write(&haproxy_cfg, "backend app\n default-server maxconn \"${LIMIT-7}\"\n").unwrap();
        let mut provider = provider(&file, Some(&haproxy_cfg));
        let mut keywords = |found: Option<Variable>| {
            let told = provider.look(&|name| if name == "LIMIT" { found.clone() } else { None });
            told.map(|told| told.map(|told| told.offer.keywords.to_string()))
        };
        assert_eq!(keywords(None).unwrap(), None);
        assert_eq!(keywords(Some(Variable::Unset)).unwrap().unwrap(), "maxconn 7");
        assert_eq!(keywords(Some(Variable::Unset)).unwrap(), None);
        // HAProxy was started anew with another one.
        assert_eq!(keywords(Some(Variable::Is("9".to_owned()))).unwrap().unwrap(), "maxconn 9");
        assert!(matches!(keywords(Some(Variable::Unknown)), Err(ProviderError::Untold { line: 2, .. })));
        assert_eq!(keywords(Some(Variable::Unknown)).unwrap(), None, "an error is told once");
    }
}
