//! SIGHUP: the config is read anew.

use std::time::Instant;

use jiff::Timestamp;
use tracing::{error, info, warn};

use super::{Agent, backend_names, signals};
use crate::config::Config;
use crate::provider::haproxy_cfgs::HaproxyCfgs;

impl Agent {
    /// Takes new backends and pools, and tells what else has changed and needs a restart. A config that is wrong
    /// changes nothing.
    pub(super) fn reload(&mut self) {
        signals::notify_reloading();
        let entry = match (self.settings.reload)() {
            Ok(config) if self.executor.is_none() && !config.backends.is_empty() => {
                warn!("config not reloaded: this agent was started to observe; restart it to scale");
                let error = "this agent was started to observe; restart it to scale";
                self.settings.account.refuse(error, Timestamp::now())
            }
            Ok(config) => self.take_config(config),
            Err(error) => {
                error!(error, "config not reloaded; the old one stays");
                self.settings.account.refuse(&error, Timestamp::now())
            }
        };
        self.keep_entry(entry);
        signals::notify_ready();
    }

    fn take_config(&mut self, mut config: Config) -> serde_json::Value {
        let differing = self.settings.config.differing_keys(&config);
        let (waiting, backends) = (differing.join(", "), backend_names(&config));
        self.pools.reconfigure(&config.pools);
        self.haproxy_cfgs = HaproxyCfgs::new(&config);
        self.controller.reconfigure(std::mem::take(&mut config.backends), Instant::now());
        self.keep_alike();
        if waiting.is_empty() {
            info!(backends, "config reloaded");
        } else {
            warn!(backends, waiting, "config reloaded; what is waiting takes effect at a restart");
        }
        self.settings.account.take(differing, Timestamp::now())
    }
}
