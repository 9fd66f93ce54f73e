//! The pool of a backend, and whether HAProxy has a place for what is in it.

use std::collections::{HashMap, HashSet};

use super::Finding;
use crate::config::PoolSettings;
use crate::core::controller::BackendMemory;
use crate::core::log::log_format::words::Variable;
use crate::core::names::{Names, ServerId};
use crate::core::plan::inventory::{BackendState, Inventory, Process, ServerState};
use crate::core::plan::slots;
use crate::core::plan::supply::{self, Candidate, Offer, Placement, Stock, Supplied};
use crate::core::settings::BackendSettings;
use crate::core::settings::spares::Spares;
use crate::core::wire::command::ServerName;
use crate::core::wire::version::{Keeping, can_add_servers, keeping};
use crate::haproxy::client::Client;
use crate::provider::{Provider, ProviderError, Told};
use crate::report::chain;

/// What a pool offers on the HAProxy whose `environment` that is: once it has been asked, if it has to be.
pub(super) async fn told(
    backend: &str,
    pool: &PoolSettings,
    environment: &dyn Fn(&str) -> Option<Variable>,
    ask: impl Future<Output = ()>,
) -> Result<Told, ProviderError> {
    let mut provider = Provider::new(backend, pool.clone());
    let mut told = provider.look(environment)?;
    if told.is_none() {
        ask.await;
        told = provider.look(environment)?;
    }
    Ok(told.unwrap_or_default())
}

/// What the pool offers, and what there is to say about that.
pub(super) fn pool(about: &str, told: Option<Result<Told, ProviderError>>) -> (Option<Offer>, Vec<Finding>) {
    let Some(told) = told else { return (None, Vec::new()) };
    match told {
        Ok(Told { offer, dropped }) => {
            let mut findings = Vec::new();
            if !dropped.is_empty() {
                findings.push(Finding::warn(
                    about,
                    format!(
                        "HAProxy takes no {} for servers that are added: they are without",
                        dropped.join(", ")
                    ),
                    "see whether they can be; if not, use `spares: { kind: slots }`",
                ));
            }
            (Some(offer), findings)
        }
        Err(error) => {
            let remedy = format!(
                "{}; an agent that starts now has no spares until then, one that runs keeps what it had",
                error.remedy()
            );
            (None, vec![Finding::fail(about, chain(&error), remedy)])
        }
    }
}

/// What the HAProxy of `client` says against adding servers with what the offer gives them.
pub(super) async fn refused(
    about: &str,
    settings: &BackendSettings,
    offer: &Offer,
    client: &Client,
    inventory: &Inventory,
    names: &Names,
) -> Option<Finding> {
    let state = inventory.backend(names.backend(&settings.name)?)?;
    let can_be_asked = settings.spares == Spares::Dynamic && !inventory.read_only;
    can_add_servers(&inventory.process, state).ok().filter(|()| can_be_asked)?;
    let known = state.servers.first().map(|server| names.of_server(server.id));
    let server = ServerName::new(&settings.name, known.as_deref().unwrap_or("try")).ok()?;
    let why = client.refused(server, &offer.keywords).await?;
    Some(Finding::fail(
        about,
        format!("HAProxy adds no server with `{}`: {why}", offer.keywords),
        "leave that out of `spares.default_server`, where it may be said without HAProxy's own lines; or use `spares: { kind: slots }`",
    ))
}

/// All that the spares of one backend depend on.
pub(super) struct Supply<'a> {
    pub(super) settings: &'a BackendSettings,
    pub(super) offer: Option<&'a Offer>,
    pub(super) process: &'a Process,
    pub(super) remembered: Option<&'a BackendMemory>,
    pub(super) ours: &'a HashSet<ServerId>,
    pub(super) names: &'a Names,
}

impl Supply<'_> {
    /// What HAProxy has, and what the pool has to do with it.
    pub(super) fn of(&self, state: &BackendState) -> Supplied {
        let placed = self.remembered.into_iter().flat_map(|memory| &memory.placed);
        let placed: HashMap<ServerId, Placement> =
            placed.filter_map(|(name, at)| Some((self.names.server(state.id, name)?, at.clone()))).collect();
        let stock = Stock {
            settings: self.settings,
            offer: self.offer,
            placed: &placed,
            ours: self.ours,
            refused: &HashSet::new(),
            can_add: can_add_servers(self.process, state).is_ok(),
            names: self.names,
        };
        supply::supplied(state, &stock)
    }

    /// Whether there is a place for each address.
    pub(super) fn check(&self, about: &str, state: &BackendState, supplied: &Supplied) -> Vec<Finding> {
        let mut findings = self.places(about, state, supplied);
        findings.extend(self.taken(about, supplied));
        findings
    }

    /// Addresses that no server gets, as HAProxy has a server there already, or one of that name.
    fn taken(&self, about: &str, supplied: &Supplied) -> Option<Finding> {
        let adds = self.settings.spares == Spares::Dynamic;
        let others = || supplied.state.servers.iter().filter(|server| server.supply.is_none());
        let name = |server: &ServerState| self.names.of_server(server.id);
        let why = |candidate: &Candidate| {
            let wanted = candidate.server_name();
            if let Some(there) = others().find(|server| server.is_at(candidate.address)) {
                return Some(format!("{} is there already", name(there)));
            }
            let is_namesake = others().any(|server| adds && *name(server) == *wanted);
            is_namesake.then(|| format!("another server is called {wanted}"))
        };
        let candidates = self.offer.iter().flat_map(|offer| &offer.candidates);
        let taken = candidates.filter_map(|it| Some(format!("{} ({})", it.address, why(it)?)));
        let taken = taken.collect::<Vec<_>>().join(", ");
        let found = format!("of its pool never used: {taken}");
        let remedy =
            "take it out of the pool, where the server is that of haproxy.cfg; else give it another name";
        (!taken.is_empty()).then(|| Finding::warn(about, found, remedy))
    }

    fn places(&self, about: &str, state: &BackendState, supplied: &Supplied) -> Vec<Finding> {
        let addresses = match self.offer.map_or(0, |offer| offer.candidates.len()) {
            1 => "1 address".to_owned(),
            many => format!("{many} addresses"),
        };
        match self.settings.spares {
            Spares::Declared => Vec::new(),
            Spares::Slots { .. } => {
                let slots = supplied.state.servers.iter().filter(|server| server.supply.is_some()).count();
                let found = match slots {
                    1 => format!("{addresses} in its pool, 1 slot"),
                    many => format!("{addresses} in its pool, {many} slots"),
                };
                let missing = supplied.missing_slots;
                let line = || slots::line(&supplied.state, self.settings.spares, missing, self.names);
                vec![match (slots, missing) {
                    (0, _) => Finding::fail(
                        about,
                        format!("{found}: nothing can be brought in"),
                        format!(
                            "add `{}` to it in haproxy.cfg; if it has slots, name their `placeholder`",
                            line()
                        ),
                    ),
                    (_, 0) => Finding::ok(about, found),
                    // Whether that can be is told with `haproxy.keep`.
                    _ if self.settings.spares.grow().is_some() => Finding::ok(
                        about,
                        format!("{found}: no slot for {missing} of them before `grow` adds some"),
                    ),
                    _ => Finding::warn(
                        about,
                        format!("{found}: no slot for {missing} of them"),
                        format!("add `{}` to it in haproxy.cfg, with what its other slots have", line()),
                    ),
                }]
            }
            Spares::Dynamic => {
                let found = format!("{addresses} in its pool, each added when it is needed");
                let mut findings = vec![match can_add_servers(self.process, state) {
                    Ok(()) => Finding::ok(about, found),
                    Err(why) => Finding::fail(
                        about,
                        format!("{why}: nothing can be brought in"),
                        "declare slots in haproxy.cfg, and say `spares: { kind: slots }`; where it is the `balance`, \
                         roundrobin, leastconn, random and hashes with `hash-type consistent` take them",
                    ),
                }];
                let lost = self.offer.map(|offer| keeping(self.process, state, &offer.keywords));
                if let Some(Keeping::Lost(why)) = lost {
                    findings.push(Finding::warn(
                        about,
                        format!("clients cannot be kept on servers that are added: {why}"),
                        "use `spares: { kind: slots }`; their lines in haproxy.cfg have a `cookie` each",
                    ));
                }
                if self.offer.is_some_and(|offer| !offer.keywords.has_check()) {
                    findings.push(Finding::warn(
                        about,
                        "added servers have no health check: a start is proved by a TCP connect only",
                        "say `default_server: check`, as HAProxy's own `default-server` does not hold for them",
                    ));
                }
                findings
            }
        }
    }
}
