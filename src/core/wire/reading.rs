//! The answer to [`Command::ShowInventory`] to an [`Inventory`].
//!
//! In: `show info`, `show stat` and `show servers state`, one after the other from the same
//! connection and so from the same process. Out: the inventory. The sections are told apart by
//! their headings, not by counting empty lines, as a quoted field may hold one.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::command::{Command, Scope};
use super::error::{AnswerError, excerpt};
use super::info;
use super::response::Refusal;
use super::servers_state::{self, StateRow};
use super::stat::{self, StatRow};
use super::table::UnreadRow;
use crate::core::names::{BackendId, Names};
use crate::core::plan::inventory::{BackendState, Cookie, Inventory, OperationalState, ServerState, Unread};

/// What HAProxy's name for a backend's own row is.
const BACKEND: &str = "BACKEND";

/// Reads `text`, the answer to `Command::ShowInventory(scope)`. Names that are new get an id.
///
/// A server or backend that came between two of the sections is left out; the next reading has it. So is one whose row says
/// what cannot be.
///
/// # Errors
/// If HAProxy refused a part, or a section is not what it should be.
pub fn inventory(text: &str, scope: &Scope, names: &Names) -> Result<Inventory, AnswerError> {
    let (info, rest) = text.split_once("\n\n").unwrap_or((text, ""));
    refused(info, scope, 0)?;
    let process = info::process(info)?;
    let rest = rest.trim_start();
    refused(rest, scope, 1)?;
    let (stat, rest) = stat::rows(rest)?;
    let mut unread = unread(&stat.unread, names)?;
    let stat = stat.rows;
    let rest = rest.trim_start();
    refused(rest, scope, 2)?;
    let states = servers_state::rows(rest)?;
    unread.extend(self::unread(&states.unread, names)?);
    let states = states.rows;
    check_names(&states)?;
    let with_servers: HashSet<&str> = states.iter().map(|state| state.backend).collect();
    let is_empty = |row: &&StatRow<'_>| row.server == BACKEND && !with_servers.contains(row.backend);
    // Each once, whatever HAProxy shows.
    let mut listed = HashSet::new();
    let empty = stat.iter().filter(is_empty).map(|row| row.backend);
    let empty: Vec<&str> = empty.filter(|name| listed.insert(*name)).collect();
    let stat: HashMap<_, _> = stat.into_iter().map(|row| ((row.backend, row.server), row)).collect();
    if let Scope::Backend(name) = scope
        && !stat.contains_key(&(name.as_str(), BACKEND))
    {
        return Err(AnswerError::NoStat { backend: name.to_string() });
    }
    let mut backends = backends(&states, &stat, names)?;
    // Servers may be added to those that have none.
    for name in empty {
        let Some(figures) = stat.get(&(name, BACKEND)) else { continue };
        backends.push(backend(name, figures, Vec::new(), names)?);
    }
    let disabled = disabled(&states, &stat, names)?;
    let counted = vec![Some(process.pid)];
    Ok(Inventory {
        process,
        backends,
        disabled,
        counted,
        read_only: false,
        in_line: vec![0],
        unread: Unread::once(unread),
    })
}

/// What is left out for the sake of `rows`.
fn unread(rows: &[UnreadRow<'_>], names: &Names) -> Result<Vec<Unread>, AnswerError> {
    let named = |row: &UnreadRow<'_>| {
        let backend = names.backend(row.backend)?;
        let server = match row.server {
            BACKEND => None,
            server => Some(names.server(backend, server)?),
        };
        Some(Unread { backend, server, why: row.error.to_string() })
    };
    rows.iter().map(|row| named(row).ok_or(AnswerError::TooManyNames)).collect()
}

/// Where a refusal stands in the place of a section: the answer to the line's part of that number.
fn refused(section: &str, scope: &Scope, part: usize) -> Result<(), AnswerError> {
    let Some(refusal) = Refusal::known(section) else { return Ok(()) };
    let command = Command::ShowInventory(scope.clone()).parts().swap_remove(part);
    Err(AnswerError::Refused { command, refusal })
}

type Stat<'a> = HashMap<(&'a str, &'a str), StatRow<'a>>;

/// HAProxy shows the servers of a backend one after the other, and does not start if two have one name (seen
/// on 2.6.12). Anything else is an answer that was damaged.
fn check_names(states: &[StateRow<'_>]) -> Result<(), AnswerError> {
    let (mut backends, mut servers) = (HashSet::new(), HashSet::new());
    let mut before = None;
    for (row, state) in (1..).zip(states) {
        let is_next = before.replace(state.backend) == Some(state.backend);
        let is_new =
            (is_next || backends.insert(state.backend)) && servers.insert((state.backend, state.server));
        if !is_new {
            return Err(AnswerError::BadField {
                table: servers_state::TABLE,
                row,
                column: "srv_name",
                expected: "a server that is named once, beside those of its backend",
                found: excerpt(&format!("{}/{}", state.backend, state.server)),
            });
        }
    }
    Ok(())
}

fn backends(
    states: &[StateRow<'_>],
    stat: &Stat<'_>,
    names: &Names,
) -> Result<Vec<BackendState>, AnswerError> {
    let mut backends = Vec::new();
    for rows in states.chunk_by(|a, b| a.backend == b.backend) {
        let name = rows[0].backend;
        let Some(figures) = stat.get(&(name, BACKEND)) else { continue };
        let id = names.backend(name).ok_or(AnswerError::TooManyNames)?;
        let hosts = counted_hosts(rows);
        let servers = rows.iter().filter_map(|state| Some((state, stat.get(&(name, state.server))?)));
        let of_backend = Cookie::of(figures.cookie, servers.clone().map(|(_, figures)| figures.cookie));
        // Without a value in it a server has no clients that are its own.
        let cookie = Some(figures.cookie).filter(|name| !name.is_empty()).map(Arc::<str>::from);
        let servers = servers.map(|(state, figures)| {
            let cookie = cookie.clone().filter(|_| !figures.cookie.is_empty());
            let is_shared = state.host.is_some_and(|host| hosts.get(host).is_some_and(|&count| count > 1));
            let of_dns = is_shared || state.by_record;
            Ok(ServerState { cookie, of_dns, ..server(state, figures, id, names)? })
        });
        let found = backend(name, figures, servers.collect::<Result<_, _>>()?, names)?;
        backends.push(BackendState { cookie: of_backend, ..found });
    }
    Ok(backends)
}

/// Backends of which HAProxy shows servers and no figures (seen on HAProxy 2.2 to 3.4).
fn disabled(states: &[StateRow<'_>], stat: &Stat<'_>, names: &Names) -> Result<Vec<BackendId>, AnswerError> {
    let first = states.chunk_by(|a, b| a.backend == b.backend).map(|rows| rows[0].backend);
    let disabled = first.filter(|name| !stat.contains_key(&(*name, BACKEND)));
    disabled.map(|name| names.backend(name).ok_or(AnswerError::TooManyNames)).collect()
}

/// How many of a backend's servers have each host name.
fn counted_hosts<'a>(servers: &[StateRow<'a>]) -> HashMap<&'a str, usize> {
    let mut hosts = HashMap::new();
    for host in servers.iter().filter_map(|server| server.host) {
        *hosts.entry(host).or_default() += 1;
    }
    hosts
}

fn backend(
    name: &str,
    figures: &StatRow<'_>,
    servers: Vec<ServerState>,
    names: &Names,
) -> Result<BackendState, AnswerError> {
    Ok(BackendState {
        id: names.backend(name).ok_or(AnswerError::TooManyNames)?,
        algorithm: figures.algorithm.to_owned(),
        dynamic: stat::is_dynamic(figures.algorithm),
        mode: figures.mode.to_owned(),
        cookie: Cookie::None,
        queued: figures.queued,
        sessions: figures.sessions,
        total_sessions: figures.total_sessions,
        total_requests: figures.total_requests,
        servers,
    })
}

fn server(
    state: &StateRow<'_>,
    figures: &StatRow<'_>,
    backend: BackendId,
    names: &Names,
) -> Result<ServerState, AnswerError> {
    let known = |(backend, server)| names.server(names.backend(backend)?, server);
    let tracks =
        figures.tracked.map(|tracked| known(tracked).ok_or(AnswerError::TooManyNames)).transpose()?;
    Ok(ServerState {
        id: names.server(backend, state.server).ok_or(AnswerError::TooManyNames)?,
        address: state.address,
        port: state.port,
        admin: state.admin,
        operational: state.operational,
        weight: state.weight,
        initial_weight: state.initial_weight,
        checked: state.checked,
        check_passed: check_passed(state, figures),
        check_failed: figures.last_check == Some(false),
        agent_checked: state.agent_checked,
        by_name: state.host.is_some(),
        of_dns: state.by_record,
        agent_off: state.agent_off,
        backup: figures.backup,
        tracks,
        needed_elsewhere: false,
        alike: true,
        everywhere: true,
        tls: state.tls,
        sessions: figures.sessions,
        queued: figures.queued,
        total_sessions: figures.total_sessions,
        cookie: None,
        maxconn: figures.limit,
        throttle: figures.throttle,
        slowstart: state.operational == OperationalState::Starting,
        supply: None,
    })
}

/// The last check that finished since checks began again passed.
///
/// HAProxy (seen on 2.2 to 3.2) keeps the status and the result of the last check through MAINT; what tells
/// is the health. Leaving MAINT sets it to `rise` (the status reads `DRAIN 1/3` or `UP 1/3`), the
/// first passed check to `rise + fall - 1`, and a failed one takes 1 away. With `fall 1` the two
/// are equal, and only the operational state tells: [`Command::DrainUntilChecked`] makes it
/// `Stopped` until `rise` checks have passed. A server that was never checked has the status `INI`.
fn check_passed(state: &StateRow<'_>, figures: &StatRow<'_>) -> bool {
    let up = matches!(state.operational, OperationalState::Starting | OperationalState::Running);
    let full = figures.full_health.is_some_and(|full| state.health >= full);
    state.checked && !state.paused && up && full && figures.last_check == Some(true)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::core::wire::command::Name;

    const INFO: &str = "Version: 2.6.12\nPid: 4711\nUptime_sec: 60\nStopping: 0\n\n";
    const STAT: &str = "# pxname,svname,qcur,scur,slim,stot,status,bck,tracked,type,check_status,check_rise,check_fall,algo,\n";
    const STATE: &str = "1\n# be_id be_name srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight \
                         srv_check_health srv_check_state srv_port srv_use_ssl\n";

    /// An answer with these rows.
    fn answer(stat: &[&str], state: &[&str]) -> String {
        let lines = |rows: &[&str]| rows.iter().map(|row| format!("{row}\n")).collect::<String>();
        format!("{INFO}{STAT}{}\n{STATE}{}\n", lines(stat), lines(state))
    }

    fn read(text: &str) -> Result<Inventory, AnswerError> {
        inventory(text, &Scope::All, &Names::default())
    }

    /// Whether the check of the only server has passed.
    #[track_caller]
    fn check(want: bool, stat: &str, state: &str) {
        let text =
            answer(&[&format!("web,s1,0,0,,0,?,0,,2,{stat},"), "web,BACKEND,0,0,,0,UP,0,,1,,,,,"], &[state]);
        assert_eq!(read(&text).unwrap().backends[0].servers[0].check_passed, want, "{stat}; {state}");
    }

    #[test]
    fn a_check_has_passed_if_the_health_is_full_since_maint() {
        // `rise 2 fall 3`; health, check state.
        let server = |op, health, check| format!("3 web s1 ::1 {op} 8 1 1 {health} {check} 80 0");
        check(true, "L7OK,2,3,", &server(2, 4, 6));
        check(true, "L7OK,2,3,", &server(1, 4, 6));
        check(true, "* L7OK,2,3,", &server(2, 4, 7));
        // Just left MAINT: the status is from before.
        check(false, "L7OK,2,3,", &server(2, 2, 6));
        check(false, "* L7OK,2,3,", &server(2, 2, 7));
        // Failed once, or down.
        check(false, "L4CON,2,3,", &server(2, 3, 6));
        check(false, "L4CON,2,3,", &server(0, 0, 6));
        // `health down` was set, and one check has passed since.
        check(false, "L7OK,2,3,", &server(0, 1, 6));
        // In MAINT; without a check; with one that is disabled.
        check(false, ",,,", &server(0, 0, 14));
        check(false, ",,,", &server(2, 2, 0));
        check(false, ",,,", &server(2, 4, 2));
    }

    #[test]
    fn with_fall_1_the_operational_state_tells() {
        let server = |op| format!("3 web s1 ::1 {op} 8 1 1 1 6 80 0");
        check(false, "INI,1,1,", &server(2));
        check(false, "L7OK,1,1,", &server(3));
        check(true, "L7OK,1,1,", &server(2));
        check(false, "* L4CON,1,1,", &server(2));
    }

    #[test]
    fn a_backend_without_servers_is_one_too() {
        let web = "web,BACKEND,0,0,,0,UP,0,,1,,,,roundrobin,";
        let inventory = read(&answer(
            &[web, "api,BACKEND,0,0,,0,UP,0,,1,,,,roundrobin,"],
            &["4 api s1 ::1 2 0 1 1 2 0 80 0"],
        ));
        let servers: Vec<_> =
            inventory.unwrap().backends.iter().map(|backend| backend.servers.len()).collect();
        assert_eq!(servers, [0, 0], "api/s1 has no figures");
    }

    #[test]
    fn rows_that_the_other_table_lacks_are_left_out() {
        let web = "web,BACKEND,0,0,,0,UP,0,,1,,,,roundrobin,";
        let s1 = "3 web s1 ::1 2 0 1 1 2 0 80 0";
        let both = answer(&["web,s1,0,0,,0,UP,0,,2,,,,,", "web,s2,0,0,,0,UP,0,,2,,,,,", web], &[s1]);
        assert_eq!(read(&both).unwrap().backends[0].servers.len(), 1);
        let only_state = answer(&[web], &[s1, "4 api s1 ::1 2 0 1 1 2 0 80 0"]);
        let inventory = read(&only_state).unwrap();
        assert_eq!(inventory.backends.len(), 1);
        assert_eq!(inventory.backends[0].servers, []);
    }

    #[test]
    fn what_cannot_be_read_is_left_out_and_named() {
        let web = "web,BACKEND,0,0,,0,UP,0,,1,,,,roundrobin,";
        let stat = |server: &str| format!("web,{server},0,0,,0,UP,0,,2,,,,,");
        let state = |server: &str, weight: &str| format!("3 web {server} ::1 2 0 {weight} 1 2 0 80 0");
        let text = answer(
            &[&stat("s1"), &stat("s2").replace(",UP,0,", ",UP,x,"), &stat("s3"), web],
            &[&state("s1", "1"), &state("s2", "1"), &state("s3", "-1")],
        );
        let names = Names::default();
        let found = inventory(&text, &Scope::All, &names).unwrap();
        let servers: Vec<_> =
            found.backends[0].servers.iter().map(|server| names.of_server(server.id)).collect();
        assert_eq!(servers.iter().map(|name| &**name).collect::<Vec<_>>(), ["s1"]);
        let told = |unread: &Unread| format!("{}: {}", names.of_server(unread.server.unwrap()), unread.why);
        assert_eq!(
            found.unread.iter().map(told).collect::<Vec<_>>(),
            [
                "s2: `bck` in row 2 of `show stat` is not a whole number: `x`",
                "s3: `srv_uweight` in row 3 of `show servers state` is not a weight from 0 to 256: `-1`",
            ]
        );
        let found =
            read(&answer(&[&stat("s1"), &web.replace("BACKEND,0", "BACKEND,x")], &[&state("s1", "1")]));
        let found = found.unwrap();
        assert_eq!((found.backends.len(), found.unread[0].server), (0, None));
    }

    #[test]
    fn a_refused_part_is_told() {
        let scope = Scope::Backend(Name::new("web").unwrap());
        let part = |text: &str| match inventory(text, &scope, &Names::default()) {
            Err(AnswerError::Refused { command, refusal }) => (command, refusal),
            other => panic!("{other:?}"),
        };
        let no_proxy = format!("{INFO}No such proxy.\n\nCan't find backend.\n\n");
        assert_eq!(part(&no_proxy), ("show stat web 6 -1".to_owned(), Refusal::NoSuchBackend));
        let no_backend = format!("{INFO}{STAT}\nCan't find backend.\n\n");
        assert_eq!(part(&no_backend), ("show servers state web".to_owned(), Refusal::NoSuchBackend));
        assert_eq!(part("Permission denied\n\n"), ("show info".to_owned(), Refusal::PermissionDenied));
    }

    #[test]
    fn a_server_that_is_named_twice_is_noticed() {
        let figures = ["web,BACKEND,0,0,,0,UP,0,,1,,,,roundrobin,", "web,s1,0,0,,0,UP,0,,2,,,,,"];
        let row = |name: &str| format!("3 {name} ::1 2 0 1 1 2 0 80 0");
        let rows = |names: &[&str]| names.iter().map(|name| row(name)).collect::<Vec<_>>();
        for names in [&["web s1", "web s1"][..], &["web s1", "db s1", "web s2"]] {
            let rows = rows(names);
            let text = answer(&figures, &rows.iter().map(String::as_str).collect::<Vec<_>>());
            match read(&text) {
                Err(AnswerError::BadField { row, .. }) => assert_eq!(row, names.len()),
                other => panic!("{other:?}: {names:?}"),
            }
        }
        let text = answer(&figures, &[&row("web s1"), &row("db s1")]);
        assert!(read(&text).is_ok());
    }

    #[test]
    fn a_frontend_shown_in_the_place_of_its_backend_is_noticed() {
        let scope = Scope::Backend(Name::new("web").unwrap());
        let text = answer(&[], &["3 web s1 ::1 2 0 1 1 2 0 80 0"]);
        let want = AnswerError::NoStat { backend: "web".to_owned() };
        assert_eq!(inventory(&text, &scope, &Names::default()), Err(want));
    }

    proptest! {
        #[test]
        fn any_text_gets_an_answer(text in "(\\PC|[#,\"\n 0-9]){0,300}") {
            let _ = read(&text);
            let _ = read(&format!("{INFO}{text}"));
            let _ = read(&format!("{INFO}{STAT}{text}"));
            let _ = read(&format!("{INFO}{STAT}\n{STATE}{text}"));
        }
    }
}
