//! What real HAProxies answered on their socket, and what the reader makes of it.
//!
//! `fixtures/socket/<version>/<scene>.txt` was recorded by `fixtures/socket/record.py`; the
//! `.expected` beside it says what it means. `UPDATE_GOLDEN=1` writes those anew.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, fs};

use haproxy_autoscale::core::names::Names;
use haproxy_autoscale::core::plan::inventory::{
    AdminState, BackendState, Inventory, OperationalState, ServerState,
};
use haproxy_autoscale::core::settings::spares::Keywords;
use haproxy_autoscale::core::units::Weight;
use haproxy_autoscale::core::wire::command::{Command, Name, Scope, ServerName};
use haproxy_autoscale::core::wire::error::AnswerError;
use haproxy_autoscale::core::wire::reading;
use haproxy_autoscale::core::wire::response::{self, Reply};
use proptest::prelude::*;

fn transcripts() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/socket");
    let entries = |folder: &Path| fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let versions = entries(&folder).filter(|path| path.is_dir());
    let files = versions.flat_map(|version| entries(&version).collect::<Vec<_>>());
    // What masters say is read elsewhere: `src/lasting/master.rs`.
    let is_ours =
        |path: &PathBuf| path.extension().is_some_and(|ext| ext == "txt") && !path.ends_with("master.txt");
    let mut found: Vec<_> = files.filter(is_ours).collect();
    assert!(!found.is_empty(), "no transcripts below {}", folder.display());
    found.sort();
    found
}

/// The exchanges of a transcript: a command line, and what it was answered.
fn exchanges(text: &str) -> Vec<(String, String)> {
    let mut exchanges: Vec<(String, String)> = Vec::new();
    for line in text.split_inclusive('\n') {
        match (line.strip_prefix("> "), exchanges.last_mut()) {
            (Some(command), _) => exchanges.push((command.trim_end().to_owned(), String::new())),
            (None, Some((_, answer))) => answer.push_str(line),
            (None, None) => panic!("a transcript begins with a command, not with {line:?}"),
        }
    }
    exchanges
}

fn recorded(path: &Path) -> Vec<(String, String)> {
    exchanges(&fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

/// The command that a line of a transcript is; `None` for one that the agent never sends.
fn command(line: &str) -> Option<Command> {
    let parts: Vec<Vec<&str>> = line.split("; ").map(|part| part.split(' ').collect()).collect();
    let name = |text: &str| {
        let (backend, server) = text.split_once('/')?;
        ServerName::new(backend, server).ok()
    };
    let state = |text: &str| match text {
        "ready" => Some(AdminState::Ready),
        "drain" => Some(AdminState::Drain),
        "maint" => Some(AdminState::Maint),
        _ => None,
    };
    let found = match &parts.iter().map(Vec::as_slice).collect::<Vec<_>>()[..] {
        [["show", "cli", "level"]] => Command::ShowLevel,
        [["show", "info"], ["show", "stat", "-1", ..], _] => Command::ShowInventory(Scope::All),
        [["show", "info"], ["show", "stat", backend, ..], _] => {
            Command::ShowInventory(Scope::Backend(Name::new(backend).ok()?))
        }
        [["set", "server", server, "state", to]] => {
            Command::SetState { server: name(server)?, state: state(to)? }
        }
        [["set", "server", server, "state", "drain"], [.., "health", "down"]] => {
            Command::DrainUntilChecked { server: name(server)? }
        }
        [["set", "server", server, "state", "ready"], ["set", "maxconn", "server", _, maxconn]] => {
            Command::ReadyFromDrain { server: name(server)?, maxconn: maxconn.parse().ok()? }
        }
        [["set", "server", server, "addr", address, "port", port]] => {
            let address = SocketAddr::new(address.parse().ok()?, port.parse().ok()?);
            Command::SetAddress { server: name(server)?, address }
        }
        [["add", "server", server, address, keywords @ ..]] => Command::AddServer {
            server: name(server)?,
            address: address.parse().ok()?,
            keywords: Keywords::new(&keywords.join(" ")).ok()?,
        },
        [["enable", "health", server]] => {
            Command::EnableChecks { server: name(server)?, health: true, agent: false }
        }
        [["wait", within, "srv-removable", server]] => {
            let within = Duration::from_millis(within.strip_suffix("ms")?.parse().ok()?);
            Command::AwaitRemovable { server: name(server)?, within }
        }
        [["del", "server", server]] => Command::DeleteServer { server: name(server)? },
        [["shutdown", "sessions", "server", server]] => Command::ShutdownSessions { server: name(server)? },
        weights => {
            let weight = |part: &&[&str]| {
                let [_, _, server, "weight", weight] = part else { return None };
                Some((name(server)?, Weight::new(weight.parse().ok()?)?))
            };
            let weights: Option<Vec<_>> = weights.iter().map(weight).collect();
            Command::set_weights(weights?).pop()?
        }
    };
    assert_eq!(found.to_string(), line, "the agent would send another line");
    Some(found)
}

/// What the reader makes of an answer, for people.
fn meaning(command: &Command, answer: &[u8]) -> String {
    let names = Names::default();
    let reply = match response::read(command, answer) {
        Ok(reply) => reply,
        Err(error) => return format!("{}\n", chain(&error)),
    };
    match (command, reply) {
        (_, Reply::Done) => "done\n".to_owned(),
        (Command::ShowInventory(scope), Reply::Text(text)) => {
            match reading::inventory(&text, scope, &names) {
                Ok(inventory) => show_inventory(&inventory, &names),
                Err(error) => format!("{}\n", chain(&error)),
            }
        }
        (_, Reply::Text(text)) => match response::Level::parse(&text) {
            Ok(level) => format!("level {}\n", level.name()),
            Err(error) => format!("{}\n", chain(&error)),
        },
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn show_inventory(inventory: &Inventory, names: &Names) -> String {
    let mut text = String::new();
    let process = &inventory.process;
    let stopping = if process.stopping { ", stopping" } else { "" };
    let (version, pid, uptime_s) = (&process.version, process.pid, process.uptime_s);
    writeln!(text, "HAProxy {version}, pid {pid}, up for {uptime_s} s{stopping}").unwrap();
    for unread in &inventory.unread {
        writeln!(text, "left out: {}", unread.why).unwrap();
    }
    for backend in &inventory.backends {
        let BackendState { algorithm, queued, sessions, total_sessions, .. } = backend;
        let name = names.of_backend(backend.id);
        let figures = format!("{sessions} sessions, {queued} queued, {total_sessions} in all");
        writeln!(text, "backend {name}: balance {algorithm}, {figures}").unwrap();
        for server in &backend.servers {
            writeln!(text, "    {}: {}", names.of_server(server.id), show_server(server)).unwrap();
        }
    }
    text
}

fn show_server(server: &ServerState) -> String {
    let operational = match server.operational {
        OperationalState::Stopped => "stopped",
        OperationalState::Starting => "starting",
        OperationalState::Running => "running",
        OperationalState::Stopping => "stopping",
    };
    let mut words = vec![
        server.state().name().to_owned(),
        operational.to_owned(),
        match (server.checked, server.check_passed) {
            (false, _) => "no check".to_owned(),
            (true, false) => "check not passed".to_owned(),
            (true, true) => "check passed".to_owned(),
        },
        format!("weight {} of {}", server.weight, server.initial_weight),
        server.address.map_or("no address".to_owned(), |address| address.to_string()),
        format!("port {}", server.port),
        format!("{} sessions", server.sessions),
        format!("{} queued", server.queued),
        server.maxconn.map_or("no maxconn".to_owned(), |maxconn| format!("maxconn {maxconn}")),
        match server.tls {
            None => "tls unknown",
            Some(true) => "tls",
            Some(false) => "no tls",
        }
        .to_owned(),
    ];
    let told = [
        (server.admin.is_declared_disabled(), "declared disabled"),
        (server.admin.is_foreign_maint(), "maintenance by others"),
        (server.backup, "backup"),
        (server.tracks.is_some(), "tracking"),
        (server.is_serving(), "serving"),
    ];
    words.extend(told.into_iter().filter(|(is, _)| *is).map(|(_, word)| word.to_owned()));
    words.join(", ")
}

#[test]
fn every_transcript_means_what_is_expected() {
    let update = env::var_os("UPDATE_GOLDEN").is_some();
    for path in transcripts() {
        let mut found = String::new();
        for (line, answer) in recorded(&path) {
            let meaning = match command(&line) {
                Some(command) => meaning(&command, answer.as_bytes()),
                None => "not a command of the agent\n".to_owned(),
            };
            write!(found, "> {line}\n{meaning}").unwrap();
        }
        let golden = path.with_extension("expected");
        if update {
            fs::write(&golden, &found).unwrap();
        }
        let expected = fs::read_to_string(&golden).unwrap_or_default();
        assert!(found == expected, "{}: expected\n{expected}\nfound\n{found}", path.display());
    }
}

#[test]
fn an_answer_cut_short_anywhere_is_never_taken_for_whole() {
    for path in transcripts() {
        for (line, answer) in recorded(&path) {
            let Some(command) = command(&line) else { continue };
            if !matches!(command, Command::ShowInventory(_)) {
                continue;
            }
            let step = answer.len() / 500 + 1;
            for end in (0..answer.len()).step_by(step).chain(answer.len().saturating_sub(300)..answer.len()) {
                let read = read(&command, &answer.as_bytes()[..end]);
                assert!(read.is_err(), "{}: {line}: its first {end} bytes gave {read:?}", path.display());
            }
        }
    }
}

fn read(command: &Command, answer: &[u8]) -> Result<Option<Inventory>, AnswerError> {
    match (command, response::read(command, answer)?) {
        (Command::ShowInventory(scope), Reply::Text(text)) => {
            reading::inventory(&text, scope, &Names::default()).map(Some)
        }
        _ => Ok(None),
    }
}

proptest! {
    #[test]
    fn no_change_to_an_answer_makes_the_reader_panic(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), 0..40_usize, prop::collection::vec(any::<u8>(), 0..5)), 1..4),
    ) {
        let exchanges: Vec<_> = transcripts().iter().flat_map(|path| recorded(path)).collect();
        let (line, answer) = which.get(&exchanges);
        let mut answer = answer.clone().into_bytes();
        for (at, removed, inserted) in changes {
            let at = at.index(answer.len() + 1);
            let end = (at + removed).min(answer.len());
            answer.splice(at..end, inserted);
        }
        // Once as it is, which is mostly incomplete, and once so that all of it is read.
        if let Some(command) = command(line) {
            let _ = read(&command, &answer);
            let _ = read(&Command::ShowInventory(Scope::All), &[&answer[..], b"\n\n"].concat());
        }
    }
}
