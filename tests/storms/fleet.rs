//! All HAProxys of a site, and what befalls them.

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use haproxy_autoscale::core::plan::inventory::AdminState;

use super::book::{Book, Command, Key};
use super::cli;
use super::dice::Dice;
use super::haproxy::{Haproxy, Server};

/// So many seconds after a reload or an absence a node may be told what it has missed.
const CATCHES_UP: u32 = 150;

/// What a connection gets.
pub(crate) enum Answer {
    Text(String),
    /// It hangs.
    NotYet,
    Broken,
}

/// Why a node does not answer, and for how many seconds still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Away {
    No,
    /// It takes no connections from us, and serves.
    Unreachable(u32),
    /// It is gone, and comes back as another process.
    Down(u32),
    /// It takes them, and does nothing at all.
    Hangs(u32),
}

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) haproxy: Haproxy,
    /// The one before it, that finishes what it has.
    old: Option<(Haproxy, u32)>,
    pub(crate) away: Away,
    /// So many commands are refused, or carried out without an answer.
    pub(crate) refuses: u32,
    pub(crate) loses: u32,
    /// It has refused something that others have done, perhaps.
    pub(crate) has_refused: bool,
    /// When it was last seen to be away, or restarted.
    behind: Option<u32>,
}

#[derive(Debug)]
pub(crate) struct Fleet {
    pub(crate) nodes: Vec<Node>,
    pub(crate) book: Book,
    pub(crate) dice: Dice,
    /// Where nobody listens.
    pub(crate) dead: HashSet<SocketAddr>,
    start: Instant,
    seconds: u32,
    /// Changes that we have made or tried.
    pub(crate) changes: u64,
    /// What has happened, if anybody wants to know.
    pub(crate) log: Option<Vec<String>>,
}

impl Fleet {
    pub(crate) fn new(haproxys: Vec<Haproxy>, book: Book, dice: Dice, start: Instant) -> Self {
        let node = |haproxy| Node {
            haproxy,
            old: None,
            away: Away::No,
            refuses: 0,
            loses: 0,
            has_refused: false,
            behind: Some(0),
        };
        Self {
            nodes: haproxys.into_iter().map(node).collect(),
            book,
            dice,
            dead: HashSet::new(),
            start,
            seconds: 0,
            changes: 0,
            log: std::env::var_os("TRACE").map(|_| Vec::new()),
        }
    }

    pub(crate) fn now() -> Instant {
        tokio::time::Instant::now().into_std()
    }

    pub(crate) fn tell(&mut self, what: impl FnOnce() -> String) {
        if let Some(log) = &mut self.log {
            let at = Self::now().duration_since(self.start).as_secs_f64();
            log.push(format!("{at:>8.3} {}", what()));
        }
    }

    pub(crate) fn is_alive(&self, address: SocketAddr) -> bool {
        !self.dead.contains(&address)
    }

    pub(crate) fn all_answer(&self) -> bool {
        self.nodes.iter().all(|node| node.away == Away::No)
    }

    /// A connection to a node: the process that takes it, and how long that takes to answer.
    pub(crate) fn connect(&mut self, node: usize) -> io::Result<(u32, Duration)> {
        let lasts = [1, 1, 1, 1, 20, 300, 900][self.dice.roll(7) as usize];
        let is_old = self.dice.chance(1, 4);
        let node = &self.nodes[node];
        if let Away::Unreachable(_) | Away::Down(_) = node.away {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let old = node.old.as_ref().filter(|(_, left)| is_old && *left > 3);
        let pid = old.map_or(node.haproxy.pid, |(old, _)| old.pid);
        Ok((pid, Duration::from_millis(lasts)))
    }

    /// A part of a line, said on a connection to the process of that pid.
    pub(crate) fn obey(&mut self, node: usize, pid: u32, part: &str) -> Answer {
        let now = Self::now();
        let Node { haproxy, old, away, .. } = &self.nodes[node];
        match away {
            Away::No => {}
            // Packets are lost, whatever it was about to say.
            Away::Unreachable(_) | Away::Hangs(_) => return Answer::NotYet,
            Away::Down(_) => return Answer::Broken,
        }
        let change = cli::change(part);
        if haproxy.pid != pid {
            let Some((old, _)) = old.as_ref().filter(|(old, _)| old.pid == pid) else {
                return Answer::Broken;
            };
            let Some((backend, server, change)) = change else { return Answer::Text(old.show(part)) };
            self.book.broken.push(format!("{backend}/{server} {change:?}: to an old worker"));
            return Answer::Text(String::new());
        }
        let Some((backend, server, change)) = change else { return Answer::Text(haproxy.show(part)) };
        if change == cli::Change::Wait {
            let said = self.nodes[node].haproxy.make(&backend, &server, change);
            return Answer::Text(said.map_or_else(|no| format!("{no}\n"), |said| format!("{said}\n")));
        }
        self.tell(|| format!("node {node}: {part}"));
        self.changes += 1;
        let key = (backend, server);
        let (follows, lags) = (self.follows(node, &key, &change), self.lags(node));
        let catches_up = lags && (follows || change == cli::Change::State(AdminState::Drain));
        let command = Command { node, key: &key, change: &change, follows, catches_up, lags, now };
        if self.nodes[node].refuses > 0 {
            self.nodes[node].refuses -= 1;
            self.nodes[node].has_refused = true;
            self.book.note_refused(&key, now);
            self.book.one_has_refused |= self.nodes.len() > 1;
            return Answer::Text("Not today.\n".to_owned());
        }
        let haproxy = &mut self.nodes[node].haproxy;
        self.book.ours(&command, haproxy);
        let before = haproxy.clone();
        let said = haproxy.make(&key.0, &key.1, change.clone());
        self.book.after(&command, &before, haproxy);
        if self.nodes[node].loses > 0 {
            self.nodes[node].loses -= 1;
            return Answer::Broken;
        }
        Answer::Text(match said {
            Ok(said) if said.is_empty() => said,
            Ok(said) => format!("{said}\n"),
            Err(no) => {
                self.tell(|| format!("  {no}"));
                format!("{no}\n")
            }
        })
    }

    /// Whether another node is so already.
    fn follows(&self, n: usize, key: &Key, change: &cli::Change) -> bool {
        let others = self.nodes.iter().enumerate().filter(|(other, _)| *other != n);
        let mut theirs = others.filter_map(|(_, node)| node.haproxy.server(&key.0, &key.1));
        theirs.any(|server| match change {
            cli::Change::State(state) => server.forced == *state,
            cli::Change::Weight(weight) => server.weight == *weight,
            cli::Change::Address(address) => server.address == *address,
            _ => false,
        })
    }

    /// It may lack what the others have, and be brought there.
    fn lags(&self, n: usize) -> bool {
        let is_new = |at: u32| self.seconds - at < CATCHES_UP;
        let Node { behind, has_refused, .. } = &self.nodes[n];
        self.nodes.len() > 1 && (*has_refused || behind.is_some_and(is_new))
    }

    /// An agent that has just started does not know of any node what it lacks.
    pub(crate) fn agent_starts(&mut self) {
        self.book.restart(Self::now());
        let now = Some(self.seconds);
        self.nodes.iter_mut().for_each(|node| node.behind = now);
    }

    /// A second goes by.
    pub(crate) fn second(&mut self) {
        self.seconds += 1;
        let now = Self::now();
        for n in 0..self.nodes.len() {
            let lasts = self.dice.roll(8);
            let node = &mut self.nodes[n];
            self.book.note_serving(n, &node.haproxy, now);
            if node.away != Away::No {
                node.behind = Some(self.seconds);
            }
            node.away = match node.away {
                Away::Unreachable(left) if left > 1 => Away::Unreachable(left - 1),
                Away::Down(left) if left > 1 => Away::Down(left - 1),
                Away::Hangs(left) if left > 1 => Away::Hangs(left - 1),
                _ => Away::No,
            };
            node.haproxy.second(lasts, &self.dead);
            if let Some((old, left)) = &mut node.old {
                old.second(lasts, &self.dead);
                *left -= 1;
            }
            node.old.take_if(|(_, left)| *left == 0);
        }
    }

    /// Another process takes over, with what a state file keeps, or what the configuration says.
    pub(crate) fn reload(&mut self, n: usize, keeps: bool) {
        let node = &mut self.nodes[n];
        if node.away != Away::No {
            return;
        }
        if keeps {
            self.book.note_kept(&node.haproxy);
        }
        self.book.forget_unseen();
        let next = node.haproxy.next(keeps, node.haproxy.pid + 1);
        let mut old = std::mem::replace(&mut node.haproxy, next);
        old.stopping = true;
        (node.old, node.behind) = (Some((old, 5)), Some(self.seconds));
    }

    /// An operator has seen that it is not as the others. True: so it is done.
    pub(crate) fn reload_by_hand(&mut self, n: usize) -> bool {
        self.tell(|| format!("EVENT node {n} is reloaded"));
        self.reload(n, false);
        true
    }

    /// What node `n` has otherwise than the first, and how that has it.
    pub(crate) fn unlike(&self, n: usize) -> Vec<(Key, AdminState, u16)> {
        let theirs = |key: &Key| self.nodes[n].haproxy.server(&key.0, &key.1);
        let first = self.nodes[0].haproxy.backends.iter();
        let all = first.flat_map(|backend| backend.servers.iter().map(move |server| (backend, server)));
        all.map(|(backend, server)| {
            ((backend.name.clone(), server.name.clone()), server.forced, server.weight)
        })
        .filter(|(key, state, weight)| {
            theirs(key).is_none_or(|found| (found.forced, found.weight) != (*state, *weight))
        })
        .collect()
    }

    /// It is gone for so many seconds, and then another process, perhaps with the same pid.
    pub(crate) fn crash(&mut self, n: usize, lasts: u32) {
        let same_pid = self.dice.chance(1, 3);
        let node = &mut self.nodes[n];
        let is_told = same_pid && node.haproxy.has_dynamic_servers();
        let pid = node.haproxy.pid + u32::from(!is_told);
        node.haproxy.now += 1;
        self.book.forget_unseen();
        (node.haproxy, node.old) = (node.haproxy.next(false, pid), None);
        (node.away, node.behind) = (Away::Down(lasts), Some(self.seconds));
    }

    /// An operator changes a server on one node; not where it is bound, nor where it is not.
    pub(crate) fn operate(&mut self, n: usize, key: &Key, change: impl FnOnce(&mut Server)) {
        let now = Self::now();
        let node = &mut self.nodes[n];
        if node.away != Away::No {
            return;
        }
        self.book.note_serving(n, &node.haproxy, now);
        if node.haproxy.server(&key.0, &key.1).is_some_and(|server| server.tracks.is_none()) {
            let stand =
                |haproxy: &Haproxy| haproxy.server(&key.0, &key.1).map(|found| (found.forced, found.weight));
            let before = stand(&node.haproxy);
            node.haproxy.change(&key.0, &key.1, change);
            let has_changed = stand(&node.haproxy) != before;
            let server = node.haproxy.server(&key.0, &key.1).expect("it is there");
            self.book.their_change(key, server, has_changed, now);
        }
    }
}
