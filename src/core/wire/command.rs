//! Commands as values, and as the bytes that HAProxy reads.
//!
//! In: names and what is to be done. Out: one line for each command. Names are checked when a
//! [`Name`] is made, so that no command can carry another one inside.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::version::Ability;
use crate::core::plan::inventory::{AdminState, Process};
use crate::core::settings::spares::Keywords;
use crate::core::units::Weight;

/// A line longer than this is cut into several. HAProxy reads lines up to `tune.bufsize` (seen on 2.2 to 3.2), 16384 unless
/// set, and 4096 where memory is short: with it there is room for what a master's worker is called in each part.
const MOST_LINE_BYTES: usize = 2_500;

/// No keyword of a server is called that.
pub(super) const NO_KEYWORD: &str = "?";

/// A line of HAProxy's configuration is at most 2048 bytes, so no name can be longer.
const MOST_NAME_BYTES: usize = 2048;

/// The name of a backend or of a server: at least one of `A-Z a-z 0-9 _ : . -` and nothing else.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

impl Name {
    /// Checks `name`.
    ///
    /// # Errors
    /// If HAProxy could not have a backend or server of that name.
    pub fn new(name: &str) -> Result<Self, NameError> {
        if name.is_empty() {
            return Err(NameError::Empty);
        }
        if name.len() > MOST_NAME_BYTES {
            return Err(NameError::TooLong { bytes: name.len() });
        }
        match name.chars().find(|&c| !is_name_character(c)) {
            Some(found) => Err(NameError::Forbidden { name: name.to_owned(), found }),
            None => Ok(Self(name.into())),
        }
    }

    /// The name as HAProxy writes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What HAProxy allows in names (configuration manual 2.2; `invalid_char` in its source).
fn is_name_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | ':' | '.' | '-')
}

/// Why something cannot be the name of a backend or server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// There is nothing.
    #[error("a backend or server name is empty")]
    Empty,
    /// Longer than a line of HAProxy's configuration.
    #[error(
        "a backend or server name of {bytes} bytes is longer than the {MOST_NAME_BYTES} that HAProxy can have"
    )]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// A character that HAProxy allows in no name.
    #[error("`{}` in the name `{}`; HAProxy allows letters, digits and `_:.-`", found.escape_default(), name.escape_default())]
    Forbidden {
        /// The whole name.
        name: String,
        /// The first such character.
        found: char,
    },
}

/// The name of a stick-table: of a backend or frontend, or, in a section of peers, `mine/users`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableName(Arc<str>);

impl TableName {
    /// Checks `name`.
    ///
    /// # Errors
    /// If HAProxy could not have a table of that name.
    pub fn new(name: &str) -> Result<Self, NameError> {
        let (section, table) = name.split_once('/').map_or((None, name), |(a, b)| (Some(a), b));
        section.map_or(Ok(()), |section| Name::new(section).map(drop))?;
        Name::new(table).map(|_| Self(name.into()))
    }

    /// The name as HAProxy writes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A server of a backend, written `web/web1`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerName {
    /// The backend.
    pub backend: Name,
    /// The server in it.
    pub server: Name,
}

impl ServerName {
    /// Checks both names.
    ///
    /// # Errors
    /// If HAProxy could not have such a backend or server.
    pub fn new(backend: &str, server: &str) -> Result<Self, NameError> {
        Ok(Self { backend: Name::new(backend)?, server: Name::new(server)? })
    }
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.backend, self.server)
    }
}

/// One line to HAProxy. Those that it has mean the same from HAProxy 2.2 on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// `show info`: which process answers.
    ShowInfo,
    /// `show info`, `show stat` and `show servers state` in one line, for
    /// [`reading::inventory`](super::reading::inventory).
    ShowInventory(Scope),
    /// `show servers state` of the server's backend and `show table`: what stick-tables know the server by, and which
    /// there are, for [`stick_tables::tables`](super::stick_tables::tables).
    ShowTables(ServerName),
    /// `show table ... data.server_id` of each of these: their entries for the server of this number, for
    /// [`stick_tables::holding`](super::stick_tables::holding).
    ShowEntries {
        /// As [`Command::ShowTables`] has shown them.
        tables: Vec<TableName>,
        /// `srv_id` of the server.
        number: u32,
    },
    /// `show cli level`: what this socket may do.
    ShowLevel,
    /// `show info`, `show cli level` and `help` in one line, for
    /// [`Capabilities::read`](super::version::Capabilities::read).
    ShowAbilities,
    /// `show env NAME`. The name has letters, digits and `_` only. Needs level operator.
    ShowVariable(String),
    /// `add server` without an address for each of these backends, which HAProxy refuses in any case, and
    /// `show cli level` to mark the end. How it refuses tells whether the backend's algorithm takes any weight, for
    /// [`Capabilities::learn`](super::version::Capabilities::learn). Made by [`Command::try_dynamic`] only, which
    /// keeps the line short enough.
    TryDynamic(Vec<Name>),
    /// `add server` with these keywords, and behind them what is none, so that HAProxy refuses it in any case: it reads one
    /// after the other, and names the first that it does not take (seen on HAProxy 2.6 to 3.2). `show cli level` marks the
    /// end. For [`trial::refused`](super::trial::refused). Made by [`Command::try_keywords`] only, which keeps the line short enough for
    /// HAProxy to see its end. Needs level admin.
    TryKeywords {
        /// One that the backend has, if it has any: HAProxy would refuse that name too.
        server: ServerName,
        /// What is tried.
        keywords: Keywords,
    },
    /// `set server ... state`. Needs level admin.
    SetState {
        /// Which server.
        server: ServerName,
        /// To what.
        state: AdminState,
    },
    /// `set server ... state drain` and `... health down`: the way out of MAINT for a server with a
    /// health check. Needs level admin.
    ///
    /// A server that leaves MAINT is up before any check was made, and in DRAIN it gets the clients that
    /// stick to it and those that `use-server` sends there. `health down` takes that back: it gets nobody
    /// until its check has passed as often as `rise` says (seen on HAProxy 2.2 to 3.4). For servers without a
    /// check that would be never: use [`Command::SetState`] for those.
    DrainUntilChecked {
        /// Which server.
        server: ServerName,
    },
    /// `set server ... state ready` and `set maxconn server ...` to what it is: the way out of DRAIN for
    /// a server with a `maxconn`. Needs level admin.
    ///
    /// While requests wait in the backend's queue HAProxy takes every server for full, and a server
    /// that leaves DRAIN is not looked at again: it gets nothing until the queue is empty, which is
    /// when it is not needed any more (seen on HAProxy 2.6 to 3.2; in 2.2 the next request goes to it and
    /// has it take from the queue, and a server that leaves MAINT takes at once). Setting its `maxconn`,
    /// even to the same number, has it take from the queue. Made by [`Command::out_of_drain`] only, which
    /// knows where that is deadly.
    ReadyFromDrain {
        /// Which server.
        server: ServerName,
        /// Its `maxconn` as it is.
        maxconn: u32,
    },
    /// `set server ... state maint` and `... state ready`: the way out of DRAIN for a newcomer with HAProxy's
    /// `slowstart`. Needs level admin.
    ///
    /// `slowstart` begins when the server comes up, in DRAIN too, where nobody has any use for it. READY begins it
    /// anew while it goes on in HAProxy 2.2 and 2.6, not in 3.2, and in none once it is over; leaving MAINT begins it
    /// anew in all of them (seen on HAProxy 2.2 to 3.2). A server that leaves MAINT takes from the queue at once.
    SlowStart {
        /// Which server.
        server: ServerName,
    },
    /// `set server ... addr ... port ...`, for a server in MAINT. Needs level admin.
    ///
    /// HAProxy answers with what it has changed. A check with an `addr` or a `port` of its own stays there
    /// (seen on HAProxy 2.2 to 3.2).
    SetAddress {
        /// Which server.
        server: ServerName,
        /// Where connections to it are to go. HAProxy takes a port of 99999 for 34463: a [`SocketAddr`] has none.
        address: SocketAddr,
    },
    /// `add server`, from HAProxy 2.6 on: it is in MAINT then, its checks are off, and nothing of the
    /// `default-server` line holds for it. Needs level admin.
    AddServer {
        /// The server that is to be.
        server: ServerName,
        /// Where it listens. HAProxy would take a name for it too, and never resolve it.
        address: SocketAddr,
        /// What stands behind the address.
        keywords: Keywords,
    },
    /// `enable health` and `enable agent`, of those that the server has. Needs level admin.
    EnableChecks {
        /// Which server.
        server: ServerName,
        /// It has a health check.
        health: bool,
        /// It has an agent check.
        agent: bool,
    },
    /// A change of a server that has an agent check, which would end a DRAIN or MAINT of ours: `disable agent` before
    /// it, or, where it takes the server back into service, `enable agent` after it. Needs level admin.
    WithAgent {
        /// It is on afterwards.
        on: bool,
        /// One that sets the state of one server.
        change: Box<Command>,
    },
    /// `wait ... srv-removable`, from HAProxy 3.0 on: answers when nothing holds on to the server, or when the
    /// time is over. Needs level admin.
    AwaitRemovable {
        /// A server in MAINT.
        server: ServerName,
        /// The longest.
        within: Duration,
    },
    /// `del server`, from HAProxy 2.6 on. Needs level admin.
    DeleteServer {
        /// A server in MAINT.
        server: ServerName,
    },
    /// `shutdown sessions server`: closes every connection to it. Needs level admin.
    ShutdownSessions {
        /// Which server.
        server: ServerName,
    },
    /// Weights of several servers. Made by [`Command::set_weights`] only, which keeps the
    /// line short enough. Needs level admin.
    SetWeights(WeightLine),
}

/// How much of HAProxy a reading is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Every backend.
    All,
    /// One backend. Cheap where there are many, but where a frontend has the same name HAProxy
    /// shows that one's figures instead (seen on HAProxy 2.2 to 3.2), which the reader refuses with
    /// [`AnswerError::NoStat`](super::error::AnswerError::NoStat).
    Backend(Name),
}

/// Weights that fit into one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeightLine(Vec<(ServerName, Weight)>);

impl WeightLine {
    /// The weights, at least one.
    pub fn weights(&self) -> &[(ServerName, Weight)] {
        &self.0
    }
}

impl Command {
    /// READY for a server in DRAIN that may have a `maxconn`, on the HAProxy that is `process`.
    pub fn out_of_drain(server: ServerName, maxconn: Option<u32>, process: &Process) -> Self {
        let is_safe = Ability::SetMaxconn.is_in(process);
        match maxconn {
            Some(maxconn) if is_safe => Self::ReadyFromDrain { server, maxconn },
            _ => Self::SetState { server, state: AdminState::Ready },
        }
    }

    /// The weights in as few lines as possible, in the order given. HAProxy carries out the
    /// parts of a line one after the other and does not stop at one it refuses.
    pub fn set_weights(weights: impl IntoIterator<Item = (ServerName, Weight)>) -> Vec<Self> {
        let mut commands = Vec::new();
        let (mut line, mut line_bytes) = (Vec::new(), 0);
        for (server, weight) in weights {
            let bytes = weight_part(&server, weight).len() + "; ".len();
            if line_bytes + bytes > MOST_LINE_BYTES && !line.is_empty() {
                commands.push(Self::SetWeights(WeightLine(std::mem::take(&mut line))));
                line_bytes = 0;
            }
            line.push((server, weight));
            line_bytes += bytes;
        }
        if !line.is_empty() {
            commands.push(Self::SetWeights(WeightLine(line)));
        }
        commands
    }

    /// Tries of so many of `backends` as fit into one line.
    pub fn try_dynamic(backends: &[Name]) -> Self {
        let mut left = MOST_LINE_BYTES;
        let fits = |name: &&Name| {
            let part = try_part(name).len() + "; ".len();
            left.checked_sub(part).map(|rest| left = rest).is_some()
        };
        Self::TryDynamic(backends.iter().take_while(fits).cloned().collect())
    }

    /// A try of `keywords`; `None` if there are so many that HAProxy might not read what ends them.
    pub fn try_keywords(server: ServerName, keywords: &Keywords) -> Option<Self> {
        // It reads 64 words of a line, and takes no notice of more (seen on 2.6).
        const MOST_WORDS: usize = 50;
        let command = Self::TryKeywords { server, keywords: keywords.clone() };
        let is_short = keywords.words().count() <= MOST_WORDS && command.to_string().len() <= MOST_LINE_BYTES;
        is_short.then_some(command)
    }

    /// The entries of `tables` for the server of this `number`, in as few lines as possible.
    pub fn show_entries(tables: Vec<TableName>, number: u32) -> Vec<Self> {
        let bytes = |table: &TableName| table.0.len() + "show table  data.server_id eq 4294967295; ".len();
        let mut commands: Vec<Self> = Vec::new();
        let (mut line, mut line_bytes) = (Vec::new(), 0);
        for table in tables {
            if line_bytes + bytes(&table) > MOST_LINE_BYTES && !line.is_empty() {
                commands.push(Self::ShowEntries { tables: std::mem::take(&mut line), number });
                line_bytes = 0;
            }
            line_bytes += bytes(&table);
            line.push(table);
        }
        commands.extend((!line.is_empty()).then_some(Self::ShowEntries { tables: line, number }));
        commands
    }

    /// What HAProxy carries out, one after the other.
    pub fn parts(&self) -> Vec<String> {
        match self {
            Self::ShowInfo => vec!["show info".to_owned()],
            Self::ShowLevel => vec!["show cli level".to_owned()],
            Self::ShowAbilities => ["show info", "show cli level", "help"].map(str::to_owned).to_vec(),
            Self::ShowVariable(name) => vec![format!("show env {name}")],
            Self::TryDynamic(backends) => {
                backends.iter().map(try_part).chain(["show cli level".to_owned()]).collect()
            }
            // A keyword without its value would take the first of them for it.
            Self::TryKeywords { server, keywords } => {
                let part = format!("add server {server} 127.0.0.1:1 {keywords} {NO_KEYWORD} {NO_KEYWORD}");
                vec![part, "show cli level".to_owned()]
            }
            // Types 2 and 4: backends and servers, no frontends and listeners.
            Self::ShowInventory(Scope::All) => {
                ["show info", "show stat -1 6 -1", "show servers state"].map(str::to_owned).to_vec()
            }
            Self::ShowInventory(Scope::Backend(backend)) => {
                let stat = format!("show stat {backend} 6 -1");
                vec!["show info".to_owned(), stat, format!("show servers state {backend}")]
            }
            Self::ShowTables(server) => {
                vec![format!("show servers state {}", server.backend), "show table".to_owned()]
            }
            Self::ShowEntries { tables, number } => {
                let part = |table: &TableName| format!("show table {} data.server_id eq {number}", table.0);
                tables.iter().map(part).collect()
            }
            Self::SetState { server, state } => vec![state_part(server, *state)],
            Self::DrainUntilChecked { server } => {
                vec![state_part(server, AdminState::Drain), format!("set server {server} health down")]
            }
            Self::ReadyFromDrain { server, maxconn } => {
                vec![state_part(server, AdminState::Ready), format!("set maxconn server {server} {maxconn}")]
            }
            Self::SlowStart { server } => {
                vec![state_part(server, AdminState::Maint), state_part(server, AdminState::Ready)]
            }
            Self::SetAddress { server, address } => {
                vec![format!("set server {server} addr {} port {}", address.ip(), address.port())]
            }
            Self::AddServer { server, address, keywords } => {
                vec![format!("add server {server} {address} {keywords}").trim_end().to_owned()]
            }
            Self::EnableChecks { server, health, agent } => {
                let both = [("enable health", health), ("enable agent", agent)];
                both.iter().filter(|(_, has)| **has).map(|(word, _)| format!("{word} {server}")).collect()
            }
            Self::WithAgent { on, change } => {
                let word = if *on { "enable" } else { "disable" };
                let mut parts = change.parts();
                let switch: Vec<_> = self.servers().map(|server| format!("{word} agent {server}")).collect();
                let place = if *on { parts.len() } else { 0 };
                parts.splice(place..place, switch);
                parts
            }
            Self::AwaitRemovable { server, within } => {
                vec![format!("wait {}ms srv-removable {server}", within.as_millis())]
            }
            Self::DeleteServer { server } => vec![format!("del server {server}")],
            Self::ShutdownSessions { server } => vec![format!("shutdown sessions server {server}")],
            Self::SetWeights(line) => {
                line.0.iter().map(|(server, weight)| weight_part(server, *weight)).collect()
            }
        }
    }

    /// The servers that a change is about, all of one backend; of what is no change, none.
    pub fn servers(&self) -> impl Iterator<Item = &ServerName> {
        let itself = if let Self::WithAgent { change, .. } = self { change } else { self };
        let (one, many) = match itself {
            Self::SetState { server, .. }
            | Self::DrainUntilChecked { server }
            | Self::ReadyFromDrain { server, .. }
            | Self::SlowStart { server }
            | Self::SetAddress { server, .. }
            | Self::AddServer { server, .. }
            | Self::EnableChecks { server, .. }
            | Self::AwaitRemovable { server, .. }
            | Self::DeleteServer { server }
            | Self::ShutdownSessions { server } => (Some(server), &[][..]),
            Self::SetWeights(line) => (None, line.weights()),
            Self::ShowInfo | Self::ShowInventory(_) | Self::ShowLevel => (None, &[][..]),
            Self::ShowAbilities | Self::ShowVariable(_) | Self::TryDynamic(_) => (None, &[][..]),
            Self::ShowTables(_) | Self::ShowEntries { .. } | Self::TryKeywords { .. } => (None, &[][..]),
            Self::WithAgent { .. } => (None, &[][..]),
        };
        one.into_iter().chain(many.iter().map(|(server, _)| server))
    }

    /// It sends a server through MAINT, for HAProxy's `slowstart`.
    pub fn slow_starts(&self) -> bool {
        match self {
            Self::WithAgent { change, .. } => change.slow_starts(),
            _ => matches!(self, Self::SlowStart { .. }),
        }
    }

    /// It changes something, and any text in the answer that is no [`success`](Self::success) is a refusal.
    pub fn is_change(&self) -> bool {
        match self {
            Self::ShowInfo | Self::ShowInventory(_) | Self::ShowLevel => false,
            Self::ShowAbilities | Self::ShowVariable(_) | Self::TryDynamic(_) => false,
            Self::ShowTables(_) | Self::ShowEntries { .. } | Self::TryKeywords { .. } => false,
            Self::SetState { .. } | Self::DrainUntilChecked { .. } | Self::ReadyFromDrain { .. } => true,
            Self::SlowStart { .. } | Self::SetAddress { .. } | Self::AddServer { .. } => true,
            Self::EnableChecks { .. } => true,
            Self::AwaitRemovable { .. } | Self::DeleteServer { .. } | Self::SetWeights(_) => true,
            Self::ShutdownSessions { .. } | Self::WithAgent { .. } => true,
        }
    }

    /// Texts one of which HAProxy answers with when it has done it; none where it says nothing then (seen on
    /// HAProxy 2.2 to 3.2).
    pub const fn success(&self) -> &'static [&'static str] {
        match self {
            Self::SetAddress { .. } => &[" changed from '", "no need to change the ", "nothing changed"],
            Self::AddServer { .. } => &["New server registered."],
            Self::DeleteServer { .. } => &["Server deleted."],
            Self::AwaitRemovable { .. } => &["Done."],
            _ => &[],
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.parts().join("; "))
    }
}

fn state_part(server: &ServerName, state: AdminState) -> String {
    let state = match state {
        AdminState::Ready => "ready",
        AdminState::Drain => "drain",
        AdminState::Maint => "maint",
    };
    format!("set server {server} state {state}")
}

/// No server has to have that name: without an address HAProxy refuses before it looks.
fn try_part(backend: &Name) -> String {
    format!("add server {backend}/try")
}

fn weight_part(server: &ServerName, weight: Weight) -> String {
    format!("set server {server} weight {weight}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::core::plan::testing;

    fn web1() -> ServerName {
        ServerName::new("web", "web1").unwrap()
    }

    #[track_caller]
    fn check(command: &Command, line: &str) {
        assert_eq!(command.to_string(), line);
    }

    #[test]
    fn commands_are_lines_that_haproxy_knows() {
        let set = |state| Command::SetState { server: web1(), state };
        check(&set(AdminState::Ready), "set server web/web1 state ready");
        check(&set(AdminState::Drain), "set server web/web1 state drain");
        check(&set(AdminState::Maint), "set server web/web1 state maint");
        check(
            &Command::DrainUntilChecked { server: web1() },
            "set server web/web1 state drain; set server web/web1 health down",
        );
        check(
            &Command::ReadyFromDrain { server: web1(), maxconn: 50 },
            "set server web/web1 state ready; set maxconn server web/web1 50",
        );
        check(
            &Command::SlowStart { server: web1() },
            "set server web/web1 state maint; set server web/web1 state ready",
        );
        let with_agent = |on, state| Command::WithAgent { on, change: Box::new(set(state)) };
        check(
            &with_agent(false, AdminState::Drain),
            "disable agent web/web1; set server web/web1 state drain",
        );
        check(&with_agent(true, AdminState::Ready), "set server web/web1 state ready; enable agent web/web1");
        let address = "[::1]:8080".parse().unwrap();
        check(&Command::SetAddress { server: web1(), address }, "set server web/web1 addr ::1 port 8080");
        let add = |keywords| Command::AddServer { server: web1(), address, keywords };
        check(&add(Keywords::default()), "add server web/web1 [::1]:8080");
        check(
            &add(Keywords::new("check inter 2s").unwrap()),
            "add server web/web1 [::1]:8080 check inter 2s",
        );
        let checks = |health, agent| Command::EnableChecks { server: web1(), health, agent };
        check(&checks(true, false), "enable health web/web1");
        check(&checks(true, true), "enable health web/web1; enable agent web/web1");
        let within = Duration::from_secs(1);
        check(&Command::AwaitRemovable { server: web1(), within }, "wait 1000ms srv-removable web/web1");
        check(&Command::DeleteServer { server: web1() }, "del server web/web1");
        check(&Command::ShowInfo, "show info");
        check(&Command::ShowLevel, "show cli level");
        check(&Command::ShowVariable("W".to_owned()), "show env W");
        check(&Command::ShowAbilities, "show info; show cli level; help");
        let backends = ["web", "api"].map(|name| Name::new(name).unwrap());
        let tries = "add server web/try; add server api/try; show cli level";
        check(&Command::try_dynamic(&backends), tries);
        check(&Command::ShowInventory(Scope::All), "show info; show stat -1 6 -1; show servers state");
        check(
            &Command::ShowInventory(Scope::Backend(Name::new("web").unwrap())),
            "show info; show stat web 6 -1; show servers state web",
        );
    }

    #[test]
    fn maxconn_is_set_only_where_that_does_not_kill_haproxy() {
        let line = |version: &str, maxconn| {
            let process = Process { version: version.to_owned(), ..testing::process(1, 0) };
            Command::out_of_drain(web1(), maxconn, &process).to_string()
        };
        let (plain, both) = (
            "set server web/web1 state ready",
            "set server web/web1 state ready; set maxconn server web/web1 50",
        );
        for version in ["2.2.9-2+deb11u6", "2.3.21", "2.4.0", "2.4-dev19", "what?"] {
            assert_eq!(line(version, Some(50)), plain, "{version}");
        }
        for version in ["2.4.1", "2.6.12-1+deb12u4", "3.2.26-1", "3.5-dev1"] {
            assert_eq!(line(version, Some(50)), both, "{version}");
            assert_eq!(line(version, None), plain, "{version}");
        }
    }

    #[test]
    fn weights_share_a_line() {
        let weight = |n| Weight::new(n).unwrap();
        let commands = Command::set_weights([(web1(), weight(0)), (web1(), weight(256))]);
        assert_eq!(commands.len(), 1);
        check(&commands[0], "set server web/web1 weight 0; set server web/web1 weight 256");
        assert_eq!(Command::set_weights([]), []);
    }

    #[test]
    fn names_that_haproxy_cannot_have_are_refused() {
        for name in ["web", "a", "Web_1:2.3-4", "-"] {
            assert_eq!(Name::new(name).unwrap().as_str(), name);
        }
        assert_eq!(Name::new(""), Err(NameError::Empty));
        assert_eq!(Name::new(&"x".repeat(2049)), Err(NameError::TooLong { bytes: 2049 }));
        for found in [';', '\\', ' ', '\n', '\r', '\t', '/', '#', '<', '\0', 'ä'] {
            let name = format!("web{found}1");
            assert_eq!(Name::new(&name), Err(NameError::Forbidden { name, found }));
        }
    }

    #[test]
    fn a_refused_name_is_told_without_its_control_characters() {
        let error = Name::new("a\n;b").unwrap_err().to_string();
        assert_eq!(error, r"`\n` in the name `a\n;b`; HAProxy allows letters, digits and `_:.-`");
    }

    proptest! {
        #[test]
        fn no_name_smuggles_in_a_second_command(backend in ".{0,8}", server in "\\PC{0,8}|[;\\\\ \n\ra-z]{0,8}") {
            if let Ok(server) = ServerName::new(&backend, &server) {
                let line = Command::SetState { server, state: AdminState::Ready }.to_string();
                prop_assert!(!line.contains([';', '\\', '\n', '\r']));
                prop_assert_eq!(line.split_whitespace().count(), 5);
            }
        }

        #[test]
        fn every_weight_is_sent_once_and_in_order_in_lines_that_fit(lengths in prop::collection::vec(1..400_usize, 0..200)) {
            let weights: Vec<_> = lengths
                .iter()
                .enumerate()
                .map(|(n, &length)| {
                    (ServerName::new("web", &"s".repeat(length)).unwrap(), Weight::new(n as u16 % 257).unwrap())
                })
                .collect();
            let commands = Command::set_weights(weights.clone());
            let mut sent = Vec::new();
            for command in &commands {
                prop_assert!(command.to_string().len() <= MOST_LINE_BYTES);
                let Command::SetWeights(line) = command else { panic!("{command}") };
                sent.extend_from_slice(line.weights());
            }
            prop_assert_eq!(sent, weights);
        }
    }
}
