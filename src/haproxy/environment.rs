//! HAProxy's own environment, of which only that is asked for which its configuration gives to servers.
//!
//! In: names of variables that somebody wants to know. Out: what HAProxy says of them, once for each process.
//! Values may be secrets: none is logged or written down here.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::client::Client;
use crate::core::log::log_format::words::Variable;
use crate::core::plan::inventory::Process;
use crate::core::wire::command::Command;
use crate::core::wire::environment;

/// What one HAProxy has said. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Environment(Arc<Mutex<Asked>>);

#[derive(Default)]
struct Asked {
    wanted: BTreeSet<String>,
    /// What this process has said.
    told: HashMap<String, Variable>,
    process: Option<Process>,
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment").finish_non_exhaustive()
    }
}

impl Environment {
    /// A panic elsewhere cannot leave anything half changed.
    fn asked(&self) -> MutexGuard<'_, Asked> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is still to be asked of `process`.
    fn open(&self, process: &Process) -> Vec<String> {
        let mut asked = self.asked();
        if asked.process.as_ref().is_none_or(|known| process.is_another_than(known)) {
            asked.told.clear();
            asked.process = Some(process.clone());
        }
        asked.wanted.iter().filter(|name| !asked.told.contains_key(*name)).cloned().collect()
    }
}

impl Client {
    /// What HAProxy has said of the variable `name`; `None`: it is asked with the next inventory.
    pub(crate) fn variable(&self, name: &str) -> Option<Variable> {
        let mut asked = self.environment.asked();
        let told = asked.told.get(name).cloned();
        if told.is_none() {
            asked.wanted.insert(name.to_owned());
        }
        told
    }

    /// Asks `process`, which answers, for all that is wanted. One that cannot be asked is asked again next time.
    pub(crate) async fn ask_for_variables(&self, process: &Process) {
        for name in self.environment.open(process) {
            let found = match self.show(&Command::ShowVariable(name.clone())).await {
                Ok(text) => environment::variable(&name, &text),
                Err(error) if error.refusal().is_some() => Variable::Unknown,
                Err(_) => return,
            };
            self.environment.asked().told.insert(name, found);
        }
    }
}
