//! HAProxy's own configuration, read for what HAProxy does not show of its servers.
//!
//! In: the files that the config names: `haproxy.config`, for each of several HAProxys, and wherever else one stands. Out: the
//! lines of a backend's servers, as they are in those files now. A file that cannot be read says nothing.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use super::{Stamp, default_server};
use crate::config::{Config, DefaultServer, LogFormat};
use crate::core::log::log_format::words::Variable;
use crate::core::settings::server_lines::{ServerLine, ServerLines, ServerTraits};
use crate::core::settings::spares::Keywords;

/// All of them.
#[derive(Debug)]
pub struct HaproxyCfgs {
    files: Vec<File>,
    /// What servers have that are added at run time, by backend.
    added: BTreeMap<String, DefaultServer>,
}

#[derive(Debug)]
struct File {
    path: PathBuf,
    /// As it was read last.
    seen: Option<Stamp>,
    lines: HashMap<String, Vec<ServerLine>>,
}

impl HaproxyCfgs {
    /// Those that `config` names.
    pub fn new(config: &Config) -> Self {
        let of_pools = config.pools.values().filter_map(|pool| match &pool.default_server {
            DefaultServer::HaproxyCfg(path) => Some(path),
            DefaultServer::Given(_) => None,
        });
        let of_log = match &config.log_format {
            LogFormat::HaproxyCfg(path) => Some(path),
            _ => None,
        };
        let all = config.nodes.iter().map(|node| &node.lasting.config).chain(of_log).chain(of_pools);
        let mut files: Vec<File> = Vec::new();
        for path in all {
            if files.iter().all(|file| file.path != *path) {
                files.push(File { path: path.clone(), seen: None, lines: HashMap::new() });
            }
        }
        let added = config.pools.iter().map(|(backend, pool)| (backend.clone(), pool.default_server.clone()));
        Self { files, added: added.collect() }
    }

    /// The servers of `backend`. Reads only files that have changed.
    pub fn lines_of(&mut self, backend: &str) -> ServerLines {
        self.files.iter_mut().for_each(File::look);
        let declared = self.files.iter().filter_map(|file| file.lines.get(backend)).flatten().cloned();
        ServerLines { declared: declared.collect(), added: self.traits_of_added(backend) }
    }

    /// The texts of those that can be read.
    pub(crate) fn texts(&self) -> impl Iterator<Item = String> {
        self.files.iter().filter_map(|file| text(&file.path))
    }

    /// Their paths.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|file| &*file.path)
    }

    /// What servers have that are added to `backend`, as far as that is known without asking HAProxy.
    pub(crate) fn keywords_of_added(&self, backend: &str) -> Option<Keywords> {
        match self.added.get(backend)? {
            DefaultServer::Given(keywords) => Some(keywords.clone()),
            DefaultServer::HaproxyCfg(path) => {
                let words =
                    default_server::keywords(&text(path)?, backend, &|_| Variable::Unknown).ok()??;
                Some(Keywords::lenient(&words).ok()?.0)
            }
        }
    }

    fn traits_of_added(&self, backend: &str) -> Option<ServerTraits> {
        let keywords = self.keywords_of_added(backend)?;
        Some(ServerTraits::of_words(&keywords.words().collect::<Vec<_>>()))
    }
}

impl File {
    fn look(&mut self) {
        let stamp = Stamp::of(&self.path);
        if stamp != self.seen || stamp.is_none() {
            self.seen = stamp;
            self.lines =
                text(&self.path).map_or_else(HashMap::new, |text| default_server::server_lines(&text));
        }
    }
}

fn text(path: &Path) -> Option<String> {
    Some(String::from_utf8_lossy(&fs::read(path).ok()?).into_owned())
}
