//! The Runtime API of one process: words in, words out, as HAProxy says them.

use std::fmt::Write as _;
use std::net::SocketAddr;

use haproxy_autoscale::core::plan::inventory::AdminState;

use super::haproxy::{Haproxy, RUNNING, STOPPED, Server};

/// What a command is about, if it changes something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    State(AdminState),
    /// `health down`.
    UntilChecked,
    Weight(u16),
    Address(SocketAddr),
    Maxconn,
    Add(SocketAddr, Vec<String>),
    EnableCheck,
    Delete,
    ShutDown,
    /// `wait`: it changes nothing, and is asked as if.
    Wait,
}

/// Backend, server and change; `None` for what only shows something.
pub(crate) fn change(part: &str) -> Option<(String, String, Change)> {
    let words: Vec<&str> = part.split_whitespace().collect();
    let (name, change) = match words[..] {
        ["set", "server", name, "state", "ready"] => (name, Change::State(AdminState::Ready)),
        ["set", "server", name, "state", "drain"] => (name, Change::State(AdminState::Drain)),
        ["set", "server", name, "state", "maint"] => (name, Change::State(AdminState::Maint)),
        ["set", "server", name, "health", "down"] => (name, Change::UntilChecked),
        ["set", "server", name, "weight", weight] => (name, Change::Weight(weight.parse().ok()?)),
        ["set", "server", name, "addr", ip, "port", port] => {
            (name, Change::Address(SocketAddr::new(ip.parse().ok()?, port.parse().ok()?)))
        }
        ["set", "maxconn", "server", name, _] => (name, Change::Maxconn),
        ["add", "server", name, address, ref keywords @ ..] => {
            (name, Change::Add(address.parse().ok()?, keywords.iter().map(|&word| word.to_owned()).collect()))
        }
        ["enable", "health", name] => (name, Change::EnableCheck),
        ["del", "server", name] => (name, Change::Delete),
        ["shutdown", "sessions", "server", name] => (name, Change::ShutDown),
        ["wait", _, "srv-removable", name] => (name, Change::Wait),
        _ => return None,
    };
    let (backend, server) = name.split_once('/')?;
    Some((backend.to_owned(), server.to_owned(), change))
}

impl Haproxy {
    /// Makes a change. What HAProxy answers; `Err` if that is no.
    pub(crate) fn make(
        &mut self,
        backend: &str,
        server: &str,
        change: Change,
    ) -> Result<String, &'static str> {
        let Some(found) = self.backend(backend) else { return Err("No such backend.") };
        let known = found.server(server).cloned();
        if let Change::Add(address, keywords) = change {
            return match known {
                _ if !self.has_dynamic_servers() => Err("Unknown command: 'add server'."),
                Some(_) => Err("Already exists a server with the same name in backend."),
                None => {
                    self.add(backend, server, address, &keywords);
                    Ok("New server registered.".to_owned())
                }
            };
        }
        let Some(known) = known else { return Err("No such server.") };
        let mut said = String::new();
        let change: Box<dyn FnOnce(&mut Server)> = match change {
            Change::State(state) => Box::new(move |server| server.set_state(state)),
            Change::UntilChecked => Box::new(|server| server.operational = STOPPED),
            Change::Weight(weight) => Box::new(move |server| server.weight = weight),
            Change::Address(address) => {
                said = format!("IP changed from '{}' to '{}'", known.address.ip(), address.ip());
                Box::new(move |server| server.address = address)
            }
            Change::EnableCheck => Box::new(|server| server.checked = true),
            Change::ShutDown => Box::new(|server| server.sessions.clear()),
            Change::Maxconn | Change::Add(..) => return Ok(String::new()),
            Change::Wait if known.sessions.is_empty() => return Ok("Done.".to_owned()),
            Change::Wait => return Ok("Wait delay expired.".to_owned()),
            Change::Delete if known.state() != AdminState::Maint => {
                return Err("Only servers in maintenance mode can be deleted.");
            }
            Change::Delete if !known.sessions.is_empty() => {
                return Err("Server still has connections attached to it, cannot remove it.");
            }
            Change::Delete => {
                self.backends.iter_mut().for_each(|one| {
                    one.servers.retain(|found| one.name != backend || found.name != server);
                });
                return Ok("Server deleted.".to_owned());
            }
        };
        self.change(backend, server, change);
        Ok(said)
    }

    /// In MAINT, with its checks off.
    fn add(&mut self, backend: &str, server: &str, address: SocketAddr, keywords: &[String]) {
        let weight = keywords.iter().skip_while(|word| *word != "weight").nth(1);
        let weight = weight.and_then(|weight| weight.parse().ok()).unwrap_or(1);
        let mut new = Server::new(server.to_owned(), address, weight);
        (new.added, new.forced, new.operational) = (true, AdminState::Maint, STOPPED);
        for one in self.backends.iter_mut().filter(|one| one.name == backend) {
            one.servers.push(new.clone());
        }
    }

    /// What a command shows that changes nothing.
    pub(crate) fn show(&self, part: &str) -> String {
        let words: Vec<&str> = part.split_whitespace().collect();
        match words[..] {
            ["show", "info"] => self.info(),
            ["show", "stat", only, _, _] => self.stat(only),
            ["show", "servers", "state"] => self.servers_state("-1"),
            ["show", "servers", "state", only] => self.servers_state(only),
            // There are none.
            ["show", "table"] => "\n".to_owned(),
            ["show", "cli", "level"] => "admin\n".to_owned(),
            ["help"] => {
                let add = if self.has_dynamic_servers() { "add server : add\n" } else { "" };
                let wait = if self.waits() { "wait : wait\n" } else { "" };
                format!("The following commands are valid at this level:\n{add}{wait}")
            }
            _ => panic!("what is `{part}`?"),
        }
    }

    fn waits(&self) -> bool {
        self.version.starts_with('3')
    }

    fn info(&self) -> String {
        let Self { version, pid, started, now, .. } = self;
        let (uptime, stopping) = (now - started, u8::from(self.stopping));
        let start = if self.has_dynamic_servers() {
            format!("Start_time_sec: {}\n", 1_000_000 + started)
        } else {
            String::new()
        };
        format!(
            "Name: HAProxy\nVersion: {version}\nPid: {pid}\nUptime_sec: {uptime}\nStopping: {stopping}\n{start}"
        )
    }

    fn stat(&self, only: &str) -> String {
        let mut text = "# pxname,svname,qcur,scur,slim,stot,status,bck,tracked,type,check_status,check_rise,\
                        check_fall,algo,\n"
            .to_owned();
        for backend in self.backends.iter().filter(|one| only == "-1" || only == one.name) {
            for server in &backend.servers {
                let tracked = server.tracks.as_ref().map(|(of, name)| format!("{of}/{name}"));
                let check = if server.checked { "L7OK,2,3" } else { ",," };
                writeln!(
                    text,
                    "{},{},0,{},,0,UP,{},{},2,{check},,",
                    backend.name,
                    server.name,
                    server.sessions.len(),
                    u8::from(server.backup),
                    tracked.unwrap_or_default(),
                )
                .expect("a String");
            }
            let sessions: usize = backend.servers.iter().map(|server| server.sessions.len()).sum();
            let (name, total) = (&backend.name, backend.total_sessions);
            writeln!(text, "{name},BACKEND,0,{sessions},200,{total},UP,0,,1,,,,roundrobin,")
                .expect("a String");
        }
        text
    }

    fn servers_state(&self, only: &str) -> String {
        let mut text = "1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight \
                        srv_iweight srv_time_since_last_change srv_check_status srv_check_result srv_check_health \
                        srv_check_state srv_agent_state bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord \
                        srv_use_ssl srv_check_port srv_check_addr srv_agent_addr srv_agent_port\n"
            .to_owned();
        for backend in self.backends.iter().filter(|one| only == "-1" || only == one.name) {
            for server in &backend.servers {
                let is_maint = server.state() == AdminState::Maint;
                // Rise 2 and fall 3: at most 4, and 2 until a check has passed.
                let (health, check) = match (server.checked, is_maint) {
                    (true, true) => (0, 14),
                    (false, _) => (if is_maint { 0 } else { 2 }, 0),
                    (true, false) if server.passed => (4, 6),
                    (true, false) => (if server.operational == RUNNING { 2 } else { 0 }, 6),
                };
                writeln!(
                    text,
                    "3 {} 1 {} {} {} {} {} {} 9 15 3 {health} {check} 0 0 0 - {} - 0 0 - - 0",
                    backend.name,
                    server.name,
                    server.address.ip(),
                    server.operational,
                    server.flags(),
                    server.weight,
                    server.initial_weight,
                    server.address.port(),
                )
                .expect("a String");
            }
        }
        text
    }
}
