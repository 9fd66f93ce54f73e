//! A change, and what has to hold on the connection that it is made on.
//!
//! Between a reading and the change that follows from it HAProxy may have been reloaded, or an operator may have been
//! quicker. So the connection shows first which process it leads to, and how the servers stand; only if all of it
//! is as it was read is the change sent. What comes between the two lines of one connection is what is left open.

use super::command::{Command, Name};
use super::error::AnswerError;
use super::response::{self, Reply};
use super::servers_state;
use super::table::Rows;
use crate::core::names::Names;
use crate::core::plan::inventory::{AdminState, BackendState, Process, ServerState};
use crate::core::units::Weight;

/// A change that is made only where HAProxy is still as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guarded {
    command: Command,
    process: Option<Process>,
    servers: Vec<Expected>,
}

/// How a server was read.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Expected {
    server: Name,
    state: AdminState,
    weight: Weight,
}

/// HAProxy is not as it was read. The change was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Overtaken {
    /// Another process answers.
    #[error("HAProxy was restarted since it was read")]
    Restarted,
    /// A server is in another state.
    #[error("a server is in {} since it was read in {}", found.name(), expected.name())]
    Moved {
        /// As it is.
        found: AdminState,
        /// As it was read.
        expected: AdminState,
    },
    /// A server has another weight.
    #[error("the weight of a server is {found} since it was read as {expected}")]
    Reweighed {
        /// As it is.
        found: Weight,
        /// As it was read.
        expected: Weight,
    },
    /// A server is not there any more.
    #[error("a server is gone since it was read")]
    Gone,
}

impl Guarded {
    /// `command`, which follows from what `process` has shown of `backend`.
    pub fn new(command: Command, process: &Process, backend: &BackendState, names: &Names) -> Self {
        let expected = |server: &ServerState| {
            let name = Name::new(&names.of_server(server.id)).ok()?;
            Some(Expected { server: name, state: server.admin.forced(), weight: server.weight })
        };
        let is_meant = |expected: &Expected| command.servers().any(|name| name.server == expected.server);
        let servers = backend.servers.iter().filter_map(expected).filter(is_meant).collect();
        Self { command, process: Some(process.clone()), servers }
    }

    /// `command`, whatever HAProxy has; but never to an old worker.
    pub fn anyhow(command: Command) -> Self {
        Self { command, process: None, servers: Vec::new() }
    }

    /// The change.
    pub fn command(&self) -> &Command {
        &self.command
    }

    /// What is asked for before it.
    pub fn questions(&self) -> Vec<String> {
        let backend = self.command.servers().next().map(|name| &name.backend);
        let states = backend.filter(|_| !self.servers.is_empty());
        let states = states.map(|backend| format!("show servers state {backend}"));
        ["show info".to_owned()].into_iter().chain(states).collect()
    }

    /// Which process has given `answer` to [`Self::questions`], and whether HAProxy is as it was read.
    ///
    /// # Errors
    /// If it is no answer to them.
    pub fn check(&self, answer: &[u8]) -> Result<(Process, Result<(), Overtaken>), AnswerError> {
        let (process, rest) = response::split_info(answer)?;
        let is_another = |read: &Process| process.is_another_than(read);
        if self.process.as_ref().is_some_and(is_another) {
            return Ok((process, Err(Overtaken::Restarted)));
        }
        if self.servers.is_empty() {
            return Ok((process, Ok(())));
        }
        let rest = String::from_utf8_lossy(rest);
        if rest.is_empty() {
            return Err(AnswerError::Incomplete { received: answer.len() });
        }
        let Rows { rows, unread } = servers_state::rows(&rest)?;
        let is_meant = |name: &str| self.servers.iter().any(|expected| expected.server.as_str() == name);
        if let Some(row) = unread.into_iter().find(|row| is_meant(row.server)) {
            return Err(row.error);
        }
        let find = |expected: &Expected| rows.iter().find(|row| row.server == expected.server.as_str());
        let mut checked = self.servers.iter().map(|expected| match find(expected) {
            None => Err(Overtaken::Gone),
            Some(row) => self.compare(expected, row.admin.forced(), row.weight),
        });
        Ok((process, checked.find(Result::is_err).unwrap_or(Ok(()))))
    }

    /// What the change would overwrite is compared: weights by weights, all else by the state.
    fn compare(&self, read: &Expected, state: AdminState, weight: Weight) -> Result<(), Overtaken> {
        match self.command {
            Command::SetWeights(_) if weight != read.weight => {
                Err(Overtaken::Reweighed { found: weight, expected: read.weight })
            }
            Command::SetWeights(_) => Ok(()),
            _ if state != read.state => Err(Overtaken::Moved { found: state, expected: read.state }),
            _ => Ok(()),
        }
    }

    /// Reads the answer to the change itself.
    ///
    /// # Errors
    /// If HAProxy refused (a part of) it, or the answer stops before its end.
    pub fn read(&self, answer: &[u8]) -> Result<Reply, AnswerError> {
        response::read(&self.command, answer)
    }
}

#[cfg(test)]
mod tests {
    use super::super::command::ServerName;
    use super::*;
    use crate::core::plan::testing::{self, Site};

    const HEADING: &str = "1\n# be_id be_name srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight \
                           srv_check_health srv_check_state srv_port srv_use_ssl\n";

    /// s1 was read in DRAIN, with weight 1; now its row says `admin` and `weight`.
    #[track_caller]
    fn check(
        command: impl Fn(ServerName) -> Command,
        pid: u32,
        admin: u32,
        weight: u16,
        want: Result<(), Overtaken>,
    ) {
        let mut site = Site::new(2);
        testing::drain(site.server("s1"));
        let command = command(ServerName::new("web", "s1").unwrap());
        let change = Guarded::new(command, &testing::process(8, 9), &site.backend, &site.names);
        assert_eq!(change.questions(), ["show info", "show servers state web"]);
        let info = format!("Version: 2.6.12\nPid: {pid}\nUptime_sec: 9\nStopping: 0\n\n");
        let rows = format!("3 web s1 ::1 2 {admin} {weight} 1 2 0 80 0\n3 web s2 ::1 2 1 77 1 2 0 80 0\n\n");
        let found = change.check(format!("{info}{HEADING}{rows}").as_bytes());
        assert_eq!(found, Ok((testing::process(pid, 9), want)));
    }

    fn ready(server: ServerName) -> Command {
        Command::SetState { server, state: AdminState::Ready }
    }

    fn weigh(server: ServerName) -> Command {
        Command::set_weights([(server, Weight::MAX)]).remove(0)
    }

    #[test]
    fn a_change_is_made_where_haproxy_is_as_it_was_read() {
        check(ready, 8, 0x08, 1, Ok(()));
        check(weigh, 8, 0x08, 1, Ok(()));
        check(ready, 8, 0x0C, 1, Ok(()));
    }

    #[test]
    fn what_somebody_else_was_quicker_with_is_not_overwritten() {
        let moved = Overtaken::Moved { found: AdminState::Maint, expected: AdminState::Drain };
        check(ready, 8, 0x01, 1, Err(moved));
        let weight = Weight::saturating(7.0);
        check(weigh, 8, 0x08, 7, Err(Overtaken::Reweighed { found: weight, expected: Weight::ONE }));
        check(ready, 8, 0x08, 7, Ok(()));
        check(weigh, 8, 0x01, 1, Ok(()));
    }

    #[test]
    fn another_process_is_told_nothing() {
        check(ready, 9, 0x08, 1, Err(Overtaken::Restarted));
    }

    #[test]
    fn half_an_answer_is_none() {
        let site = Site::new(1);
        let change = Guarded::new(
            ready(ServerName::new("web", "s1").unwrap()),
            &testing::process(8, 9),
            &site.backend,
            &site.names,
        );
        let info = "Version: 2.6.12\nPid: 8\nUptime_sec: 9\nStopping: 0\n\n";
        for answer in ["", "Version", info] {
            assert!(
                matches!(change.check(answer.as_bytes()), Err(AnswerError::Incomplete { .. })),
                "{answer}"
            );
        }
        let refused = change.check(b"Permission denied\n\n");
        assert!(matches!(refused, Err(AnswerError::Refused { .. })));
    }
}
