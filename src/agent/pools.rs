//! What the pools offer, told to the controller whenever it changes.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;
use tracing::{info, warn};

use super::Agent;
use crate::config::PoolSettings;
use crate::core::log::log_format::words::Variable;
use crate::provider::{Provider, Told};
use crate::report::chain;
use crate::telemetry::files::{self, PoolTrouble};

/// One for each backend that has a pool.
#[derive(Debug, Default)]
pub(super) struct Pools(Vec<Pool>);

#[derive(Debug)]
struct Pool {
    provider: Provider,
    /// So many addresses it offered when it could be read last.
    addresses: usize,
    trouble: Option<PoolTrouble>,
}

impl Pools {
    pub(super) fn new(settings: &BTreeMap<String, PoolSettings>) -> Self {
        let mut pools = Self::default();
        pools.reconfigure(settings);
        pools
    }

    /// Takes other settings, and reads all of it anew. What is still wrong then has been so since before.
    pub(super) fn reconfigure(&mut self, settings: &BTreeMap<String, PoolSettings>) {
        let mut old = std::mem::take(&mut self.0);
        let pool = |(backend, settings): (&String, &PoolSettings)| {
            let before = old.iter_mut().find(|pool| pool.provider.backend() == backend);
            Pool {
                provider: Provider::new(backend, settings.clone()),
                addresses: before.as_ref().map_or(0, |before| before.addresses),
                trouble: before.and_then(|before| before.trouble.take()),
            }
        };
        self.0 = settings.iter().map(pool).collect();
    }

    /// Each backend with what is wrong with its pool.
    pub(super) fn troubles(&self) -> impl Iterator<Item = (&str, Option<&PoolTrouble>)> {
        self.0.iter().map(|pool| (pool.provider.backend(), pool.trouble.as_ref()))
    }

    /// What is wrong with the pool of `backend`.
    pub(super) fn trouble(&self, backend: &str) -> Option<&PoolTrouble> {
        self.troubles().find(|(of, _)| *of == backend)?.1
    }
}

impl Agent {
    /// Looks at every pool. One that cannot be told goes on offering what it did.
    pub(super) fn look_at_pools(&mut self) {
        let mut news: Vec<Value> = Vec::new();
        let executor = self.executor.clone();
        let environment =
            |name: &str| executor.as_ref().map_or(Some(Variable::Unknown), |haproxy| haproxy.variable(name));
        for pool in &mut self.pools.0 {
            let Some(id) = self.names.backend(pool.provider.backend()) else { continue };
            match pool.provider.look(&environment) {
                Ok(None) => {}
                Ok(Some(Told { offer, dropped })) => {
                    let (backend, keywords) = (pool.provider.backend(), offer.keywords.to_string());
                    pool.addresses = offer.candidates.len();
                    let addresses = pool.addresses;
                    let was_wrong = pool.trouble.take().is_some();
                    if self.controller.handle_offer(id, offer) || was_wrong {
                        info!(backend, addresses, keywords, "pool read");
                        if let Some(why) = self.controller.loses_clients(id) {
                            let remedy = "use `spares: { kind: slots }`";
                            warn!(backend, why, remedy, "clients cannot be kept on servers that are added");
                        }
                    }
                    if was_wrong {
                        news.push(files::pool_read(backend, addresses, Timestamp::now()));
                    }
                    if !dropped.is_empty() {
                        let left_out = dropped.join(", ");
                        warn!(backend, left_out, "default-server is for added servers only in part");
                    }
                }
                Err(wrong) => {
                    let (now, backend) = (Timestamp::now(), pool.provider.backend());
                    let (error, remedy, addresses) = (chain(&wrong), wrong.remedy(), pool.addresses);
                    warn!(
                        backend,
                        error, remedy, addresses, "pool not read; what it offered before still holds"
                    );
                    let since = pool.trouble.as_ref().map_or(now, |before| before.since);
                    let trouble = PoolTrouble { since, error, remedy, addresses };
                    news.push(trouble.entry(backend, now));
                    pool.trouble = Some(trouble);
                }
            }
        }
        news.into_iter().for_each(|entry| self.keep_entry(entry));
    }
}
