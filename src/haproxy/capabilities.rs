//! Asks a HAProxy what it can do: once for each process.
//!
//! In: readings. Out: [`Capabilities`], and readings that show what was learned. Nothing is changed by
//! asking; what it means is left to [`core::wire::version`](crate::core::wire::version).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::client::Client;
use super::error::RuntimeError;
use crate::core::names::Names;
use crate::core::plan::inventory::{Inventory, Process};
use crate::core::settings::spares::Keywords;
use crate::core::wire::command::{Command, ServerName};
use crate::core::wire::response::Level;
use crate::core::wire::trial;
use crate::core::wire::version::Capabilities;
use crate::report::chain;

/// In a reload, an older process than the one that answered before may still answer for so long. After that it is not
/// taken for one that goes: the new one may have failed.
const OLD_ONES_ANSWER_FOR: Duration = Duration::from_secs(5);

/// What was learned of the process that answered last. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    capabilities: Arc<Mutex<Option<Arc<Capabilities>>>>,
    newest: Arc<Mutex<Option<(Process, Instant)>>>,
}

impl Known {
    /// Whether `process`, which answers, is about to end: it says so, or a newer one has answered already.
    pub(super) fn is_old(&self, process: &Process) -> bool {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let is_older = newest.as_ref().is_some_and(|(newest, at)| {
            at.elapsed() < OLD_ONES_ANSWER_FOR && process.is_older_than(newest, at.elapsed())
        });
        if !is_older && !process.stopping {
            *newest = Some((process.clone(), Instant::now()));
        }
        is_older || process.stopping
    }

    fn of(&self, inventory: &Inventory) -> Option<Arc<Capabilities>> {
        self.latest().filter(|known| !inventory.process.is_another_than(&known.process))
    }

    fn latest(&self) -> Option<Arc<Capabilities>> {
        self.capabilities.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, capabilities: Arc<Capabilities>) {
        *self.capabilities.lock().unwrap_or_else(PoisonError::into_inner) = Some(capabilities);
    }
}

impl Client {
    /// What the HAProxy that answered last can do; `None` before the first [`Client::inventory`].
    pub fn capabilities(&self) -> Option<Arc<Capabilities>> {
        self.known.latest()
    }

    /// Shows in `inventory` what the HAProxy that it is of can do, which is asked if it is another one than before.
    /// One that cannot be asked is asked again next time.
    pub(super) async fn show_capabilities(&self, inventory: &mut Inventory, names: &Names) {
        let known = self.known.of(inventory);
        let asked = known.is_none();
        let known = match known {
            Some(known) if known.to_be_tried(inventory, names).is_empty() => known,
            known => match self.ask_capabilities(known, inventory, names).await {
                Ok(capabilities) => {
                    let capabilities = Arc::new(capabilities);
                    self.known.set(capabilities.clone());
                    capabilities
                }
                Err(error) => {
                    debug!(address = %self.address(), error = chain(&error), "what this haproxy can do is not known yet");
                    return;
                }
            },
        };
        if asked {
            self.tell_of(&known);
        }
        known.show_in(inventory, names);
    }

    async fn ask_capabilities(
        &self,
        known: Option<Arc<Capabilities>>,
        inventory: &Inventory,
        names: &Names,
    ) -> Result<Capabilities, RuntimeError> {
        let mut capabilities = match known {
            Some(known) => Capabilities::clone(&known),
            None => {
                let text = self.show(&Command::ShowAbilities).await?;
                Capabilities::read(&text).map_err(|error| RuntimeError::of_answer(error, self.address()))?
            }
        };
        let backends = capabilities.to_be_tried(inventory, names);
        let mut rest = &backends[..];
        while !rest.is_empty() {
            let command = Command::try_dynamic(rest);
            // The last part only marks the end; at least one name fits into a line.
            let (tried, others) = rest.split_at(command.parts().len() - 1);
            capabilities.learn(tried, &self.show(&command).await?);
            rest = others;
        }
        Ok(capabilities)
    }

    /// What HAProxy says against adding a server like `server` with `keywords`. Nothing is added. `None` if it says nothing,
    /// or cannot be asked that.
    pub(crate) async fn refused(&self, server: ServerName, keywords: &Keywords) -> Option<String> {
        let answer = self.show(&Command::try_keywords(server, keywords)?).await;
        trial::refused(&answer.ok()?)
    }

    fn tell_of(&self, known: &Capabilities) {
        let (address, version, pid) = (self.address(), &known.process.version, known.process.pid);
        let lacks = known.missing().map(|row| row.what).collect::<Vec<_>>().join(", ");
        info!(%address, version, pid, level = %known.level, lacks, "what this haproxy can do is known");
        if known.level < Level::Admin {
            warn!(%address, level = %known.level, "servers cannot be changed: `stats socket` needs `level admin`");
        }
        if known.is_too_old() {
            warn!(%address, version, "older than any HAProxy that this agent was tried with");
        }
    }
}
