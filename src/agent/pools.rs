//! What the pools offer, told to the controller whenever it changes.

use std::collections::BTreeMap;

use tracing::{info, warn};

use super::Agent;
use crate::config::PoolSettings;
use crate::core::log::log_format::words::Variable;
use crate::provider::{Provider, Told};
use crate::report::chain;

/// One for each backend that has a pool.
pub(super) fn providers(pools: &BTreeMap<String, PoolSettings>) -> Vec<Provider> {
    pools.iter().map(|(backend, settings)| Provider::new(backend, settings.clone())).collect()
}

impl Agent {
    /// Looks at every pool. One that cannot be told goes on offering what it did.
    pub(super) fn look_at_pools(&mut self) {
        let executor = self.executor.clone();
        let environment =
            |name: &str| executor.as_ref().map_or(Some(Variable::Unknown), |haproxy| haproxy.variable(name));
        for provider in &mut self.providers {
            let backend = provider.backend();
            let Some(id) = self.names.backend(backend) else { continue };
            match provider.look(&environment) {
                Ok(None) => {}
                Ok(Some(Told { offer, dropped })) => {
                    let (addresses, keywords) = (offer.candidates.len(), offer.keywords.to_string());
                    if self.controller.handle_offer(id, offer) {
                        info!(backend = provider.backend(), addresses, keywords, "pool read");
                        if let Some(why) = self.controller.loses_clients(id) {
                            let remedy = "use `spares: { kind: slots }`";
                            warn!(
                                backend = provider.backend(),
                                why, remedy, "clients cannot be kept on servers that are added"
                            );
                        }
                    }
                    if !dropped.is_empty() {
                        let left_out = dropped.join(", ");
                        warn!(
                            backend = provider.backend(),
                            left_out, "default-server is for added servers only in part"
                        );
                    }
                }
                Err(error) => {
                    let error = chain(&error);
                    warn!(
                        backend = provider.backend(),
                        error, "pool not read; what it offered before still holds"
                    );
                }
            }
        }
    }
}
