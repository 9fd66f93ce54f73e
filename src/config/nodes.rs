//! `haproxy.sockets`: one HAProxy or several, and how the changes made to each outlast its process.
//!
//! What `haproxy:` itself says of that is for one alone. With several, `keep` and `start` stand with the HAProxy that they are
//! for, and no two of them are given the same file.

use std::fmt;

use serde::Deserialize;
use serde::de::{
    Deserializer, Error, MapAccess, Visitor,
    value::{MapAccessDeserializer, StrDeserializer},
};

use super::check::Checker;
use super::error::Mistake;
use super::file;
use super::lasting::{self, Keep, Keys, Lasting, ReloadBy};
use super::path::KeyPath;
use super::value::Value;

/// One HAProxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSettings {
    /// Its socket: a path or `HOST:PORT`, behind `master:` that of a master. By this it is told from the others.
    pub socket: String,
    /// How changes outlast its process.
    pub lasting: Lasting,
}

/// The one of an empty file: Debian's.
pub(super) fn default() -> NodeSettings {
    NodeSettings { socket: "/run/haproxy/admin.sock".to_owned(), lasting: lasting::default() }
}

/// One of `sockets:`, an address or a mapping.
#[derive(Debug)]
pub(super) struct Socket {
    address: String,
    keys: Keys,
}

impl<'de> Deserialize<'de> for Socket {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SocketVisitor;
        impl<'de> Visitor<'de> for SocketVisitor {
            type Value = Socket;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a path such as /run/haproxy/admin.sock, or {address: /run/haproxy/admin.sock, keep: block}")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Socket, E> {
                let Value(address) = Value::deserialize(StrDeserializer::new(text))?;
                Ok(Socket { address, keys: Keys::default() })
            }

            fn visit_map<A: MapAccess<'de>>(self, mapping: A) -> Result<Socket, A::Error> {
                let mut node: file::Node = Deserialize::deserialize(MapAccessDeserializer::new(mapping))?;
                Ok(Socket { address: std::mem::take(&mut node.address.0), keys: node.into() })
            }
        }
        deserializer.deserialize_any(SocketVisitor)
    }
}

impl Checker<'_> {
    /// What `haproxy:` says, at `at`.
    pub(super) fn nodes(&mut self, slot: &mut Vec<NodeSettings>, mut file: file::Haproxy, at: &KeyPath) {
        let sockets = file.sockets.take();
        let mut common = lasting::default();
        self.lasting(&mut common, file.into(), at);
        let list = at.key("sockets");
        let Some(sockets) = sockets else {
            self.startable(&common, &at.key("start"));
            slot.iter_mut().for_each(|node| node.lasting = common.clone());
            return;
        };
        let addresses: Vec<String> = sockets.iter().map(|socket| socket.address.clone()).collect();
        match sockets_mistake(&addresses) {
            Some(mistake) => return self.report(&list, &list, mistake),
            None if sockets.is_empty() => return self.report(&list, &list, Mistake::EmptyList),
            None => {}
        }
        if sockets.len() > 1 {
            self.refuse_for_all(&mut common, &addresses, at);
        }
        *slot = Vec::new();
        for (index, Socket { address, keys }) in sockets.into_iter().enumerate() {
            let (mut lasting, here) = (common.clone(), list.index(index));
            let of_start = if keys.start.is_some() { &here } else { at };
            let of_start = of_start.key("start");
            self.lasting(&mut lasting, keys, &here);
            self.startable(&lasting, &of_start);
            slot.push(NodeSettings { socket: address, lasting });
        }
        self.refuse_shared(slot, &list);
    }

    /// Some of several may be on other machines, whose files nobody can write here.
    fn refuse_for_all(&mut self, common: &mut Lasting, sockets: &[String], at: &KeyPath) {
        let keep = (common.keep != Keep::None).then(|| ("keep", common.keep.name()));
        let start = common.start.then_some(("start", "true"));
        for (key, value) in keep.into_iter().chain(start) {
            let at = at.key(key);
            self.report(
                &at,
                &at,
                Mistake::Value(format!(
                    "which of the {} HAProxys is `{key}: {value}` for?\n  say it with its socket: `sockets: [{{ address: {}, {key}: {value}, config: FILE }}, ...]`",
                    sockets.len(),
                    sockets[0]
                )),
            );
        }
        (common.keep, common.start) = (Keep::None, false);
    }

    /// What is written for one, or reloads one, is no other's.
    fn refuse_shared(&mut self, nodes: &[NodeSettings], list: &KeyPath) {
        for (index, node) in nodes.iter().enumerate() {
            for (key, value) in own(&node.lasting) {
                let is_same = |other: &&NodeSettings| own(&other.lasting).contains(&(key, value.clone()));
                let Some(other) = nodes[..index].iter().find(is_same) else { continue };
                let at = key.split('.').fold(list.index(index), |at, key| at.key(key));
                let mistake = format!(
                    "`{value}` is that of `{}` already\n  say here which is that of `{}`",
                    other.socket, node.socket
                );
                self.report(&at, &at, Mistake::Value(mistake));
            }
        }
    }

    /// `at` is where it is said.
    fn startable(&mut self, lasting: &Lasting, at: &KeyPath) {
        if lasting.start && !matches!(lasting.reload.by, ReloadBy::Systemd | ReloadBy::Binary) {
            let by = lasting.reload.by.name();
            let mistake =
                format!("HAProxy can be started by `reload.by: systemd` or `binary`, not by `{by}`");
            self.report(at, at, Mistake::Value(mistake));
        }
    }
}

/// What belongs to one HAProxy alone, with the keys that name it.
fn own(lasting: &Lasting) -> Vec<(&'static str, String)> {
    if !lasting.is_wanted() {
        return Vec::new();
    }
    let reload = &lasting.reload;
    let mut own = vec![("config", lasting.config.display().to_string())];
    if lasting.keep == Keep::StateFile {
        own.push(("state_file", lasting.state_file.display().to_string()));
    }
    own.extend(match reload.by {
        ReloadBy::None => None,
        ReloadBy::Systemd => Some(("reload.unit", reload.unit.clone())),
        ReloadBy::Master => Some(("reload.socket", reload.socket.display().to_string())),
        ReloadBy::Binary => Some(("reload.pid_file", reload.pid_file.display().to_string())),
    });
    own
}

/// `nodes` with these sockets instead (`--socket`). Where the file knows one of them, what it says of it holds; one that takes
/// the place of one alone has what that one has.
pub(super) fn with_sockets(
    nodes: &[NodeSettings],
    sockets: Vec<String>,
) -> Result<Vec<NodeSettings>, Mistake> {
    if let Some(mistake) = sockets_mistake(&sockets) {
        return Err(mistake);
    }
    let is_alone = (nodes.len(), sockets.len()) == (1, 1);
    if let [only] = nodes
        && only.lasting.is_wanted()
        && !is_alone
        && !sockets.contains(&only.socket)
    {
        return Err(Mistake::Value(format!(
            "the config file keeps changes to, or starts, `{}`, which is not among the {}\n  name it too, or leave `keep` and `start` out of the file",
            only.socket,
            sockets.len()
        )));
    }
    let known = |socket: &String| nodes.iter().find(|node| is_alone || node.socket == *socket);
    let lasting = |socket: &String| known(socket).map_or_else(lasting::default, |node| node.lasting.clone());
    Ok(sockets.into_iter().map(|socket| NodeSettings { lasting: lasting(&socket), socket }).collect())
}

/// What is wrong with these as sockets.
fn sockets_mistake(sockets: &[String]) -> Option<Mistake> {
    let twice = (1..sockets.len()).find(|&n| sockets[..n].contains(&sockets[n]));
    if let Some(n) = twice {
        return Some(Mistake::Value(format!("`{}` is in it twice", sockets[n])));
    }
    let wrong = sockets.iter().find(|socket| !is_socket(socket))?;
    Some(Mistake::Value(format!(
        "`{wrong}` is not a path such as /run/haproxy/admin.sock or an address such as 127.0.0.1:9999"
    )))
}

/// An absolute path, or a host and a port; with or without what HAProxy's own `stats socket` puts before them.
fn is_socket(socket: &str) -> bool {
    let socket = socket.strip_prefix("master:").unwrap_or(socket);
    let without = |prefixes: &[&str]| prefixes.iter().find_map(|prefix| socket.strip_prefix(prefix));
    if let Some(path) = without(&["unix://", "unix:", "unix@"]) {
        return path.starts_with('/');
    }
    let place = without(&["tcp://", "tcp:", "tcp@", "tcp4@", "tcp6@", "ipv4@", "ipv6@"]).unwrap_or(socket);
    let is_host = |host: &str| {
        !host.is_empty() && !host.contains(['/', '@', '*']) && !host.contains(char::is_whitespace)
    };
    let is_port = |port: &str| port.parse::<u16>().is_ok_and(|port| port > 0);
    socket.starts_with('/')
        || place.rsplit_once(':').is_some_and(|(host, port)| is_host(host) && is_port(port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_a_path_or_a_host_and_a_port() {
        for socket in
            ["/a", "unix@/a", "unix:///a", "localhost:1", "[::1]:9", "ipv4@127.0.0.1:65535", "ipv6@::1:9"]
        {
            assert!(is_socket(socket), "{socket}");
        }
        for text in [
            "",
            "a",
            "a/b",
            "unix@a",
            "localhost",
            "localhost:",
            "localhost:0",
            "x:65536",
            ":9",
            "*:9",
            "a b:9",
        ] {
            assert!(!is_socket(text), "{text}");
        }
    }
}
