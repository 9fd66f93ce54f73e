//! What differs between HAProxy's versions, and what is done where something is missing.
//!
//! In: which process answers, and what `help` lists. Out: [`Capabilities`]. This is the only place
//! that looks at a version; the table is the one in `README.md`.

use std::collections::{BTreeSet, HashMap};

use super::command::Name;
use super::error::AnswerError;
use super::info;
use super::response::{Level, Refusal};
use crate::core::names::Names;
use crate::core::plan::inventory::{BackendState, Cookie, Inventory, Process};
use crate::core::settings::spares::Keywords;

/// HAProxy is driven from this release on; all that is not in [`TABLE`] is the same in all of them.
pub const OLDEST: [u32; 2] = [2, 2];

/// Something that not every HAProxy can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ability {
    /// `show servers state` has a column for TLS.
    TellTls,
    /// `set maxconn server` is safe while requests wait.
    SetMaxconn,
    /// `show info` says when the process started.
    TellStart,
    /// `add server` and `del server`, without `experimental-mode`. Refusing the former also tells whether a backend's
    /// algorithm takes weights.
    AddServer,
    /// The master's `reload` answers how it went.
    AnswerReload,
    /// `cookie` of a server that is added; and its value where HAProxy computes it.
    AddCookie,
    /// `wait`, for a server to be removable.
    Wait,
}

/// One [`Ability`].
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Which one.
    pub ability: Ability,
    /// In HAProxy's words.
    pub what: &'static str,
    /// The first release that has it.
    pub since: [u32; 3],
    /// Those of older branches that got it later.
    pub also: &'static [[u32; 3]],
    /// How `help` lists it; what `help` does not list is known by its release.
    help: Option<&'static str>,
    /// What is done without it.
    pub without: &'static str,
}

/// All that differs, in the order in which it came.
///
/// Seen on HAProxy 2.2.9, 2.6.12, 2.8.25, 3.0.11, 3.2.26 and 3.4.7. `add server` is in 2.4 and 2.5 too, as an
/// experiment that `help` does not list. Before 2.4.1, `set maxconn server` locks HAProxy up for good while
/// requests wait, and its watchdog kills it (seen on 2.2.9; its changelog of 2.4.1, "prevent deadlock when using
/// 'set maxconn server'"). The answer of `reload` and the older branches with `cookie` are from the changelogs.
pub const TABLE: [Row; 7] = [
    Row {
        ability: Ability::TellTls,
        what: "`srv_use_ssl` in `show servers state`",
        since: [2, 4, 0],
        also: &[],
        help: None,
        without: "warm-up speaks TLS only with `warm_up.tls: on`",
    },
    Row {
        ability: Ability::SetMaxconn,
        what: "`set maxconn server` while requests wait",
        since: [2, 4, 1],
        also: &[],
        help: None,
        without: "READY alone; the next request has the server take from the queue",
    },
    Row {
        ability: Ability::TellStart,
        what: "`Start_time_sec` in `show info`",
        since: [2, 6, 0],
        also: &[],
        help: None,
        without: "a restart is seen by pid and `Uptime_sec`",
    },
    Row {
        ability: Ability::AddServer,
        what: "`add server`, `del server`",
        since: [2, 6, 0],
        also: &[],
        help: Some("add server"),
        without: "declared servers and slots only; whether a hash algorithm takes weights is known once one was refused",
    },
    Row {
        ability: Ability::AnswerReload,
        what: "`reload` of the master answers",
        since: [2, 7, 0],
        also: &[],
        help: None,
        without: "`show proc` is read until it shows what became of it",
    },
    Row {
        ability: Ability::AddCookie,
        what: "`cookie` of a server that is added",
        since: [3, 0, 0],
        also: &[[2, 8, 8], [2, 6, 18]],
        help: None,
        without: "clients cannot be kept on servers that are added: use slots",
    },
    Row {
        ability: Ability::Wait,
        what: "`wait ... srv-removable`",
        since: [3, 0, 0],
        also: &[],
        help: Some("wait"),
        without: "asked again until HAProxy agrees",
    },
];

impl Ability {
    /// Its row of the [`TABLE`].
    pub fn row(self) -> &'static Row {
        // Each ability has one; a test holds the table to it.
        TABLE.iter().find(|row| row.ability == self).unwrap_or(&TABLE[0])
    }

    /// Whether the release of `process` has it. One whose version says nothing does not.
    pub fn is_in(self, process: &Process) -> bool {
        let Some(release) = process.release() else { return false };
        let row = self.row();
        let is_later = |also: &&[u32; 3]| also[..2] == release[..2] && release >= **also;
        release >= row.since || row.also.iter().find(is_later).is_some()
    }
}

/// What the HAProxy that answers can do, and what our connection to it may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Which process it is about: another one is to be asked anew.
    pub process: Process,
    /// What the socket may do.
    pub level: Level,
    /// So many processes share the configuration (`nbproc`, up to HAProxy 2.4), each with servers of its own; else 1.
    pub processes: u32,
    abilities: BTreeSet<Ability>,
    /// Backends whose algorithm was tried: whether it takes any weight, and new servers; `None` if that did not tell.
    dynamic: HashMap<String, Option<bool>>,
}

impl Capabilities {
    /// Reads the answer to [`Command::ShowAbilities`](super::command::Command::ShowAbilities).
    ///
    /// # Errors
    /// If a part of it is not what it should be.
    pub fn read(text: &str) -> Result<Self, AnswerError> {
        let (info, rest) = text.split_once("\n\n").unwrap_or((text, ""));
        if let Some(refusal) = Refusal::known(info) {
            return Err(AnswerError::Refused { command: "show info".to_owned(), refusal });
        }
        let (process, processes) = (info::process(info)?, info::processes(info));
        let (level, help) = rest.trim_start().split_once('\n').unwrap_or((rest, ""));
        let level = Level::parse(level)?;
        let is_listed = |command: &str| help.lines().any(|line| line.trim_start().starts_with(command));
        let has = |row: &&Row| row.help.map_or_else(|| row.ability.is_in(&process), is_listed);
        let abilities = TABLE.iter().filter(has).map(|row| row.ability).collect();
        Ok(Self { process, level, processes, abilities, dynamic: HashMap::new() })
    }

    /// Whether HAProxy can do it.
    pub fn has(&self, ability: Ability) -> bool {
        self.abilities.contains(&ability)
    }

    /// What it lacks.
    pub fn missing(&self) -> impl Iterator<Item = &'static Row> {
        TABLE.iter().filter(|row| !self.has(row.ability))
    }

    /// It is older than any that we know.
    pub fn is_too_old(&self) -> bool {
        self.process.release().is_some_and(|[major, minor, _]| [major, minor] < OLDEST)
    }

    /// The backends of `inventory` of which only a try can tell whether they take any weight: the names of hash
    /// algorithms do not (seen on 2.6.12, `source` with and without `hash-type consistent`). None where
    /// HAProxy cannot be tried.
    pub fn to_be_tried(&self, inventory: &Inventory, names: &Names) -> Vec<Name> {
        if !self.has(Ability::AddServer) || self.level < Level::Admin {
            return Vec::new();
        }
        let untold = inventory.backends.iter().filter(|backend| backend.dynamic.is_none());
        let named = untold.filter_map(|backend| Name::new(&names.of_backend(backend.id)).ok());
        named.filter(|name| !self.dynamic.contains_key(name.as_str())).collect()
    }

    /// Takes the answer to [`Command::TryDynamic`](super::command::Command::TryDynamic) about the backends `tried`.
    pub fn learn(&mut self, tried: &[Name], answer: &str) {
        let mut told = answer.lines().filter(|line| !line.trim().is_empty()).map(is_dynamic);
        self.dynamic.extend(tried.iter().map(|name| (name.to_string(), told.next().flatten())));
    }

    /// Shows in `inventory` what was learned.
    pub fn show_in(&self, inventory: &mut Inventory, names: &Names) {
        inventory.read_only = self.level < Level::Admin;
        for backend in inventory.backends.iter_mut().filter(|backend| backend.dynamic.is_none()) {
            backend.dynamic = self.dynamic.get(&*names.of_backend(backend.id)).copied().flatten();
        }
    }
}

/// What `line` says as the answer to an `add server` without an address, which HAProxy refuses in any case: first
/// where the algorithm is static, and if not, because there is no address (seen on 2.6 to 3.2; the text of
/// 3.4 is from its source).
fn is_dynamic(line: &str) -> Option<bool> {
    const STATIC: [&str; 2] =
        ["Backend must use a dynamic load balancing", "Backend does not support dynamic servers"];
    let line = super::response::without_severity(line);
    if STATIC.iter().any(|text| line.starts_with(text)) {
        return Some(false);
    }
    line.starts_with("'server' expects <name> and <addr>").then_some(true)
}

/// Whether servers can be added to `backend` at run time.
///
/// # Errors
/// Why not.
pub fn can_add_servers(process: &Process, backend: &BackendState) -> Result<(), &'static str> {
    if !Ability::AddServer.is_in(process) {
        return Err("HAProxy before 2.6 adds no servers at run time");
    }
    if backend.dynamic == Some(false) {
        return Err("its `balance` takes no servers at run time");
    }
    Ok(())
}

/// How clients are kept on a server that is added to a backend with a cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeping {
    /// There is no cookie, or HAProxy computes the value, or the keywords say it.
    Nothing,
    /// Its name is its value.
    ByName,
    /// They are not: why.
    Lost(&'static str),
}

/// How clients are kept on a server that is added to `backend` with `keywords`.
pub fn keeping(process: &Process, backend: &BackendState, keywords: &Keywords) -> Keeping {
    let can = Ability::AddCookie.is_in(process);
    match backend.cookie {
        Cookie::None => Keeping::Nothing,
        _ if !can => Keeping::Lost("this HAProxy gives them no value in its cookie"),
        _ if keywords.value("cookie").is_some() => Keeping::Nothing,
        Cookie::Computed => Keeping::Nothing,
        Cookie::Named => Keeping::ByName,
        Cookie::Unvalued => Keeping::Lost("no server has a value in its cookie"),
    }
}

/// `keywords` for the server `name`, added to `backend`: with a value of its own in the backend's cookie, where the
/// other servers have one.
pub fn keywords_for(process: &Process, backend: &BackendState, name: &str, keywords: &Keywords) -> Keywords {
    match keeping(process, backend, keywords) {
        Keeping::ByName => keywords.with("cookie", name),
        Keeping::Nothing | Keeping::Lost(_) => keywords.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(version: &str, help: &str) -> String {
        format!(
            "Name: HAProxy\nVersion: {version}\nPid: 7\nUptime_sec: 1\nStopping: 0\n\nadmin\n\n\
             The following commands are valid at this level:\n{help}\n"
        )
    }

    #[track_caller]
    fn check(version: &str, help: &str, missing: &[Ability]) {
        let found = Capabilities::read(&text(version, help)).unwrap();
        let found: Vec<_> = found.missing().map(|row| row.ability).collect();
        assert_eq!(found, missing, "{version}");
    }

    #[test]
    fn a_version_has_what_came_with_it_or_what_help_lists() {
        use Ability::*;
        let (add, wait) = ("  add server <bk>/<srv>  : create\n", "  wait {-h|<delay_ms>} cond : wait\n");
        check(
            "2.2.9-2+deb11u6",
            "",
            &[TellTls, SetMaxconn, TellStart, AddServer, AnswerReload, AddCookie, Wait],
        );
        check("2.4.0", "", &[SetMaxconn, TellStart, AddServer, AnswerReload, AddCookie, Wait]);
        check("2.6.12-1+deb12u4", add, &[AnswerReload, AddCookie, Wait]);
        check("2.6.18", add, &[AnswerReload, Wait]);
        check("2.8.7", add, &[AddCookie, Wait]);
        check("2.8.25", add, &[Wait]);
        check("3.0.11", &format!("{add}{wait}"), &[]);
        check("3.2.26", &format!("{add}{wait}"), &[]);
        check("what?", add, &[TellTls, SetMaxconn, TellStart, AnswerReload, AddCookie, Wait]);
    }

    #[test]
    fn the_table_has_each_ability_once_and_in_order() {
        let abilities: BTreeSet<_> = TABLE.iter().map(|row| row.ability).collect();
        assert_eq!(abilities.len(), TABLE.len());
        assert!(TABLE.is_sorted_by_key(|row| row.since));
        assert!(TABLE.iter().all(|row| row.ability.row().what == row.what));
    }

    #[test]
    fn the_readme_has_the_table() {
        let release = |[major, minor, patch]: [u32; 3]| match patch {
            0 => format!("{major}.{minor}"),
            _ => format!("{major}.{minor}.{patch}"),
        };
        let since = |row: &Row| {
            [row.since].iter().chain(row.also).map(|&at| release(at)).collect::<Vec<_>>().join(", ")
        };
        let row = |row: &Row| format!("| {} | {} | {} |\n", row.what, since(row), row.without);
        let table: String = TABLE.iter().map(row).collect();
        let readme = include_str!("../../../README.md");
        assert!(readme.contains(&format!("|---|---|---|\n{table}\n")), "README.md should have:\n{table}");
    }

    #[test]
    fn a_socket_that_may_not_ask_is_told() {
        let refused = Capabilities::read("Permission denied\n\n");
        assert!(matches!(refused, Err(AnswerError::Refused { refusal: Refusal::PermissionDenied, .. })));
        assert!(Capabilities::read("").is_err());
        let older = Capabilities::read(&text("1.8.30", "")).unwrap();
        assert!(older.is_too_old() && !Capabilities::read(&text("2.2.0", "")).unwrap().is_too_old());
    }

    #[test]
    fn a_refused_try_tells_whether_any_weight_is_taken() {
        let tried = ["a", "b", "c", "d", "e"].map(|name| Name::new(name).unwrap());
        let mut known = Capabilities::read(&text("2.6.12", "  add server")).unwrap();
        known.learn(
            &tried,
            "'server' expects <name> and <addr>[:<port>] as arguments.\n\n\
             Backend must use a dynamic load balancing to support dynamic servers.\nNo such backend.\n\
             [3]: Backend does not support dynamic servers : backend 'd' uses a non dynamic load balancing method.\n\n\
             Permission denied\n\nadmin\n\n",
        );
        let found: Vec<_> = tried.iter().map(|name| known.dynamic[name.as_str()]).collect();
        assert_eq!(found, [Some(true), Some(false), None, Some(false), None]);
    }
}
