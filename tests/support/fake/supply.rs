//! Servers that are added, deleted and sent elsewhere, in the words of each release.

use std::net::{IpAddr, SocketAddr};

use super::{FakeServer, State};

/// Keywords of an added server that it knows, with a value behind them.
const VALUED: [&str; 5] = ["inter", "rise", "fall", "weight", "maxconn"];

impl State {
    /// The answer to one of these commands; `None` if it is none of them, or of a later release.
    pub(super) fn supply(&mut self, words: &[&str]) -> Option<String> {
        let answer = match *words {
            ["add", "server", ..] | ["del", "server", ..] if self.release < [2, 6] => return None,
            ["wait", ..] if self.release < [3, 0] => return None,
            ["add", "server", name, ref rest @ ..] => self.add(name, rest),
            ["del", "server", name] => self.delete(name),
            ["set", "server", name, "addr", ip, "port", port] => lined(self.send_elsewhere(name, ip, port)),
            ["enable", "health", name] => self.change(name, |server| {
                (server.checked, server.check_is_off) = (server.checked || server.check_is_off, false);
            }),
            ["set", "maxconn", "server", name, most] => {
                self.change(name, |server| server.maxconn = most.parse().ok().or(server.maxconn))
            }
            ["shutdown", "sessions", "server", name] => self.change(name, |server| server.sessions = 0),
            ["wait", _, "srv-removable", name] => match self.find(name).map(drop) {
                Ok(()) => "Done.\n".to_owned(),
                Err(_) if self.release < [3, 4] => "Failed.\n".to_owned(),
                Err(refusal) => format!("Failed. {refusal}\n"),
            },
            _ => return None,
        };
        Some(answer)
    }

    /// Of what `help` lists, the commands that not every release has; without what it says of them.
    pub(super) fn help(&self) -> String {
        let known = [
            ([2, 6], "  add server <bk>/<srv>\n"),
            ([2, 6], "  del server <bk>/<srv>\n"),
            ([3, 0], "  wait {-h|<delay_ms>} cond [args...]\n"),
        ];
        known.into_iter().filter(|(since, _)| self.release >= *since).map(|(_, line)| line).collect()
    }

    fn change(&mut self, name: &str, change: impl FnOnce(&mut FakeServer)) -> String {
        self.find(name).map(change).err().map(line).unwrap_or_default()
    }

    fn add(&mut self, name: &str, rest: &[&str]) -> String {
        let Some((backend, server)) = name.split_once('/') else { return line("Require 'backend/server'.") };
        let Some(at) = self.backends.iter().position(|(name, _)| name == backend) else {
            return self.bare("No such backend.");
        };
        let Some((address, keywords)) = rest.split_first() else {
            return line("'server' expects <name> and <addr>[:<port>] as arguments.");
        };
        let added = match added(server, address, keywords) {
            Ok(added) => added,
            Err(refusal) => return line(&refusal),
        };
        let servers = &mut self.backends[at].1;
        if servers.iter().any(|each| each.name == server) {
            return line("Already exists a server with the same name in backend.");
        }
        servers.push(added);
        line("New server registered.")
    }

    fn delete(&mut self, name: &str) -> String {
        let (is_maint, has_sessions) = match self.find(name) {
            Ok(server) => (server.is_maint(), server.sessions > 0),
            Err(refusal) => return self.bare(refusal),
        };
        let (backend, server) = name.split_once('/').expect("it was found");
        let tracks = |each: &FakeServer| each.tracks == name || each.tracks == server;
        if self.backends.iter().flat_map(|(_, servers)| servers).any(tracks) {
            let pointed_at = "This server cannot be removed at runtime due to other configuration elements pointing to it.";
            return self.bare(pointed_at);
        }
        if !is_maint {
            return self.bare("Only servers in maintenance mode can be deleted.");
        }
        if has_sessions {
            return self.bare("Server still has connections attached to it, cannot remove it.");
        }
        for (_, servers) in self.backends.iter_mut().filter(|(name, _)| name == backend) {
            servers.retain(|each| each.name != server);
        }
        self.bare("Server deleted.")
    }

    /// From 3.0 on what has not changed is not told, nor who did it where nothing was done.
    fn send_elsewhere(&mut self, name: &str, ip: &str, port: &str) -> Result<String, String> {
        let is_brief = self.release >= [3, 0];
        let by = " by 'stats socket command'";
        let server = self.find(name)?;
        let Ok(ip) = ip.parse::<IpAddr>() else {
            return Err(format!("Invalid addr '{ip}'{}", if is_brief { "" } else { by }));
        };
        let Ok(port) = port.parse() else { return Err(format!("Invalid port '{port}'.")) };
        let before = std::mem::replace(&mut server.address, SocketAddr::new(ip, port));
        let same = |what| if is_brief { None } else { Some(format!("no need to change the {what}")) };
        let place = match before.ip() {
            before if before == ip => same("addr"),
            before => Some(format!("IP changed from '{before}' to '{ip}'")),
        };
        let door = match before.port() {
            before if before == port => same("port"),
            before => Some(format!("port changed from '{before}' to '{port}'")),
        };
        let told: Vec<String> = place.into_iter().chain(door).collect();
        Ok(if told.is_empty() { "nothing changed".to_owned() } else { told.join(", ") + by })
    }

    /// An answer that has no line end of its own before 2.8.
    fn bare(&self, text: &str) -> String {
        if self.release < [2, 8] { text.to_owned() } else { line(text) }
    }
}

/// The server that these words make, in MAINT and with its check off.
fn added(name: &str, address: &str, keywords: &[&str]) -> Result<FakeServer, String> {
    let address = address.parse().map_err(|_| format!("invalid address: '{address}'"))?;
    let mut server = FakeServer { address, admin: 1, operational: 0, ..FakeServer::new(name) };
    let mut words = keywords.iter();
    while let Some(&word) = words.next() {
        let value = if VALUED.contains(&word) { words.next().and_then(|it| it.parse().ok()) } else { None };
        match (word, value) {
            ("check", _) => server.check_is_off = true,
            ("weight", Some(weight)) => (server.weight, server.initial_weight) = (weight, weight),
            ("maxconn", Some(most)) => server.maxconn = Some(most.into()),
            _ if VALUED.contains(&word) => {}
            _ => return Err(format!("unknown keyword '{word}'.")),
        }
    }
    Ok(server)
}

fn line(text: &str) -> String {
    format!("{text}\n")
}

fn lined(answer: Result<String, String>) -> String {
    answer.map_or_else(|refusal| line(&refusal), |told| line(&told))
}
