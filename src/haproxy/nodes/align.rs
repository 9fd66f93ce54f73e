//! Tells one HAProxy that was away what it lacks.
//!
//! In: corrections, in their order, and the reading they follow from. Out: those it refuses. Whether the others have had
//! their effect, the next reading shows.

use std::collections::HashSet;

use tracing::{info, warn};

use crate::core::names::{Names, ServerId};
use crate::core::plan::inventory::{AdminState, Inventory, ServerState};
use crate::core::plan::nodes::align::Correction;
use crate::core::plan::supply;
use crate::core::wire::command::{Command, ServerName};
use crate::core::wire::guarded::Guarded;
use crate::core::wire::response::Refusal;
use crate::core::wire::version::keywords_for;
use crate::haproxy::error::RuntimeError;
use crate::haproxy::hands::Hands;
use crate::haproxy::lane;
use crate::report::chain;

/// Tells all of `corrections`; what is refused comes back, and nothing more is told about its server.
pub(super) async fn tell(
    hands: &Hands,
    latest: &Inventory,
    corrections: Vec<Correction>,
    names: &Names,
) -> Result<Vec<(Correction, String)>, RuntimeError> {
    let mut telling = Telling { hands, latest, names, added: Vec::new() };
    let (mut refused, mut passed_over) = (Vec::new(), HashSet::new());
    for correction in corrections {
        if passed_over.contains(&correction.server()) {
            continue;
        }
        if let Correction::Add { server, keywords, .. } = &correction
            && let Some((keyword, value)) = supply::no_number(keywords)
        {
            let error = format!(
                "HAProxy would take `{keyword} {value}` for another number; see `spares.default_server`"
            );
            warn!(node = %hands.address(), error, "not brought in line");
            passed_over.insert(*server);
            refused.push((correction, error));
            continue;
        }
        let Err(error) = telling.tell(&correction).await else { continue };
        if error.overtaken().is_some() {
            // What is still to be told follows from the next reading.
            break;
        }
        match error.refusal() {
            None => return Err(error),
            // It goes when its connections do; what is there already, or was lost to a restart just now, shows in the
            // next reading.
            Some(Refusal::InUse | Refusal::NameTaken | Refusal::NoSuchServer) => {}
            Some(_) => {
                warn!(error = chain(&error), "not brought in line");
                refused.push((correction.clone(), chain(&error)));
            }
        }
        passed_over.insert(correction.server());
    }
    Ok(refused)
}

/// What `command` puts right, as another would be told it.
pub(super) fn corrections(command: &Command, names: &Names) -> Vec<Correction> {
    let known = |server: &ServerName| {
        let backend = names.backend(server.backend.as_str())?;
        names.server(backend, server.server.as_str())
    };
    let correction = |name: &ServerName| {
        let server = known(name)?;
        Some(match command {
            Command::SetState { state, .. } => Correction::State { server, to: *state },
            Command::DrainUntilChecked { .. } => Correction::State { server, to: AdminState::Drain },
            Command::ReadyFromDrain { .. } => Correction::State { server, to: AdminState::Ready },
            Command::SetAddress { address, .. } => Correction::Address { server, address: *address },
            Command::AddServer { address, keywords, .. } => {
                Correction::Add { server, address: *address, keywords: keywords.clone() }
            }
            Command::DeleteServer { .. } => Correction::Delete { server },
            _ => return None,
        })
    };
    if let Command::SetWeights(line) = command {
        let weights = line.weights().iter();
        return weights
            .filter_map(|(name, to)| Some(Correction::Weight { server: known(name)?, to: *to }))
            .collect();
    }
    command.servers().filter_map(correction).collect()
}

struct Telling<'a> {
    hands: &'a Hands,
    latest: &'a Inventory,
    names: &'a Names,
    /// What it has got just now.
    added: Vec<ServerState>,
}

impl Telling<'_> {
    async fn tell(&mut self, correction: &Correction) -> Result<(), RuntimeError> {
        let backend = self.latest.backend(self.names.backend_of(correction.server()));
        for command in self.commands(correction) {
            let change = match backend {
                Some(backend) => Guarded::new(command, &self.latest.process, backend, self.names),
                None => Guarded::anyhow(command),
            };
            self.hands.change(&change, self.names).await?;
            if self.hands.are_real() {
                info!(node = %self.hands.address(), command = %change.command(), "brought in line");
            }
        }
        if let Correction::Add { server, address, keywords } = correction {
            self.added.push(supply::newcomer(*server, *address, keywords));
        }
        Ok(())
    }

    /// None for a server that it does not have.
    fn commands(&self, correction: &Correction) -> Vec<Command> {
        let id = correction.server();
        let found = self.added.iter().find(|added| added.id == id).or_else(|| self.found(id));
        let backend = self.names.of_backend(self.names.backend_of(id));
        // A name that HAProxy cannot have is none of a server that it has.
        let Ok(server) = ServerName::new(&backend, &self.names.of_server(id)) else { return Vec::new() };
        match (correction, found) {
            (Correction::Add { address, keywords, .. }, found) => {
                let (health, agent) = (keywords.has_check(), keywords.has_agent_check());
                let checks = Command::EnableChecks { server: server.clone(), health, agent };
                let of = self.latest.backend(self.names.backend_of(id));
                let keywords = of.map(|backend| {
                    keywords_for(&self.latest.process, backend, server.server.as_str(), keywords)
                });
                let Some(keywords) = keywords else { return Vec::new() };
                let add = Command::AddServer { server, address: *address, keywords };
                let is_absent = found.is_none();
                let both = [(add, is_absent), (checks, health || agent)];
                both.into_iter().filter(|(_, is_due)| *is_due).map(|(command, _)| command).collect()
            }
            (_, None) => Vec::new(),
            (Correction::Address { address, .. }, _) => {
                vec![Command::SetAddress { server, address: *address }]
            }
            (Correction::State { to, .. }, Some(found)) => {
                vec![lane::command(server, found, *to, &self.latest.process)]
            }
            (Correction::Weight { to, .. }, _) => Command::set_weights([(server, *to)]),
            (Correction::Delete { .. }, _) => vec![Command::DeleteServer { server }],
        }
    }

    fn found(&self, id: ServerId) -> Option<&ServerState> {
        self.latest.backend(self.names.backend_of(id))?.server(id)
    }
}
