//! What HAProxy answers: a change is done only if nothing but empty lines came, an answer that was cut is
//! never taken for a whole one, and an inventory names no server twice.
#![no_main]

use std::collections::HashSet;

use haproxy_autoscale::core::names::Names;
use haproxy_autoscale::core::plan::inventory::AdminState;
use haproxy_autoscale::core::units::Weight;
use haproxy_autoscale::core::wire::command::{Command, Name, Scope, ServerName};
use haproxy_autoscale::core::wire::response::{self, Level, Reply};
use haproxy_autoscale::core::wire::{info, reading, servers_state, stat};
use libfuzzer_sys::fuzz_target;

fn command(letter: u8) -> Option<Command> {
    let server = |name| ServerName::new("web", name).expect("a name");
    Some(match letter {
        b'i' => Command::ShowInfo,
        b'a' => Command::ShowInventory(Scope::All),
        b'b' => Command::ShowInventory(Scope::Backend(Name::new("web").expect("a name"))),
        b'l' => Command::ShowLevel,
        b's' => Command::SetState { server: server("s1"), state: AdminState::Drain },
        b'w' => {
            let weights = ["s1", "s2"].map(|name| (server(name), Weight::ZERO));
            Command::set_weights(weights).pop()?
        }
        _ => return None,
    })
}

fn read_inventory(text: &str, scope: &Scope) {
    let names = Names::default();
    let Ok(inventory) = reading::inventory(text, scope, &names) else { return };
    let mut seen = HashSet::new();
    for backend in &inventory.backends {
        assert!(seen.insert(names.of_backend(backend.id).to_string()), "a backend twice");
        let mut servers = HashSet::new();
        for server in &backend.servers {
            assert_eq!(names.backend_of(server.id), backend.id);
            assert!(servers.insert(server.id), "a server twice");
        }
    }
}

fuzz_target!(|input: &[u8]| {
    let [letter, answer @ ..] = input else { return };
    let Some(command) = command(*letter) else { return };
    let read = response::read(&command, answer);
    match &read {
        Ok(Reply::Done) => {
            assert!(command.is_change());
            assert!(answer.iter().all(|byte| b"\r\n".contains(byte)), "{}", answer.escape_ascii());
        }
        Ok(Reply::Text(text)) => {
            assert!(!command.is_change() && answer.ends_with(b"\n\n"));
            if let Command::ShowInventory(scope) = &command {
                read_inventory(text, scope);
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    if let Ok(text) = std::str::from_utf8(answer) {
        let _ = (info::process(text), Level::parse(text), stat::rows(text), servers_state::rows(text));
        if let Command::ShowInventory(scope) = &command {
            read_inventory(text, scope);
        }
    }
});
