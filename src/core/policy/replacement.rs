//! Servers that are DOWN: those that others stand in for, as the reason of a decision, and why nobody does.

use std::collections::BTreeMap;
use std::fmt::{Display, Formatter, Result};
use std::time::Duration;

use super::Span;

/// Servers in service that are DOWN by their checks, and as many that take their places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replacement {
    /// The names of those that are DOWN.
    pub servers: Vec<String>,
    /// The names of the others.
    pub stand_ins: Vec<String>,
}

impl Display for Replacement {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let (servers, stand_ins) = (Listed(&self.servers), Listed(&self.stand_ins));
        match self.servers.len() {
            1 => write!(f, "{servers} is DOWN by its check: {stand_ins} takes its place"),
            _ => write!(f, "{servers} are DOWN by their checks: {stand_ins} take their places"),
        }
    }
}

/// Servers in service that are DOWN, and that nobody takes the places of, all for the same reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreplaced {
    /// Their names.
    pub servers: Vec<String>,
    /// The reason.
    pub why: Vacancy,
}

impl Unreplaced {
    /// Of servers and their reasons: one for each reason.
    pub fn by_reason(vacancies: impl Iterator<Item = (String, Vacancy)>) -> impl Iterator<Item = Self> {
        let mut found: BTreeMap<String, Self> = BTreeMap::new();
        for (server, why) in vacancies {
            let same = || Self { servers: Vec::new(), why };
            found.entry(why.to_string()).or_insert_with(same).servers.push(server);
        }
        found.into_values()
    }
}

impl Display for Unreplaced {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let are = if self.servers.len() == 1 { "is" } else { "are" };
        write!(f, "{} {are} DOWN and not replaced: {}", Listed(&self.servers), self.why)
    }
}

/// Why nobody takes the place of a server in service that is DOWN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vacancy {
    /// It has not been seen UP since the agent, or HAProxy, was started: the first checks may not be over.
    Early {
        /// Not before so long.
        left: Duration,
    },
    /// It has taken the place of another one itself.
    StandIn,
    /// One that has taken the place of another one is DOWN too: it is not the servers that are ill.
    StandInsDown,
    /// At least as many spares were tried as servers had served before: it is not the servers that are ill.
    Spent {
        /// So many had served.
        served: usize,
        /// So many were tried.
        tried: usize,
    },
    /// It was replaced not long ago.
    Again {
        /// It is not again for so long.
        left: Duration,
    },
    /// Servers were taken away since, as there were enough without it.
    NotNeeded,
    /// An operator has paused the backend.
    Paused,
    /// An operator has pinned the backend to a number of servers: that number holds, not who they are.
    Pinned,
    /// HAProxy's socket changes nothing.
    ReadOnly,
    /// As many serve as `ready.max` allows.
    Full {
        /// So many.
        max: u32,
    },
    /// There is no spare, or none that may be started now.
    NoSpare,
    /// A move is under way that has to end first.
    Busy,
}

impl Display for Vacancy {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match *self {
            Self::Early { left } => {
                write!(f, "not seen UP since the agent or HAProxy was started; not for {}", Span(left))
            }
            Self::StandIn => f.write_str("started itself in place of a server that is DOWN"),
            Self::StandInsDown => f.write_str("a spare that was started for that is DOWN too"),
            Self::Spent { served, tried } => {
                write!(f, "{tried} {} already, for {served} that served", were_tried(tried))
            }
            Self::Again { left } => write!(f, "replaced not long ago; not again for {}", Span(left)),
            Self::NotNeeded => f.write_str("fewer servers have been enough since"),
            Self::Paused => f.write_str("the backend is paused"),
            Self::Pinned => f.write_str("under a pin only the number of serving servers counts"),
            Self::ReadOnly => f.write_str("HAProxy's socket lets nothing be changed: not `level admin`"),
            Self::Full { max } => write!(f, "{max} serve, which is `ready.max`"),
            Self::NoSpare => f.write_str("no spare can be started"),
            Self::Busy => f.write_str("the move under way has to end first"),
        }
    }
}

fn were_tried(spares: usize) -> &'static str {
    if spares == 1 { "spare was tried" } else { "spares were tried" }
}

/// `s1`, `s1 and s2`, `s1, s2 and s3`.
struct Listed<'a>(&'a [String]);

impl Display for Listed<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self.0 {
            [] => Ok(()),
            [one] => f.write_str(one),
            [rest @ .., last] => write!(f, "{} and {last}", rest.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(servers: &[&str], stand_ins: &[&str], expected: &str) {
        let named = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        let replacement = Replacement { servers: named(servers), stand_ins: named(stand_ins) };
        assert_eq!(replacement.to_string(), expected);
    }

    #[test]
    fn why_servers_are_not_replaced_is_told_of_all_of_them_at_once() {
        let unreplaced = |servers: &[&str], why| {
            let servers = servers.iter().map(|&name| name.to_owned()).collect();
            Unreplaced { servers, why }.to_string()
        };
        let left = Duration::from_secs(250);
        assert_eq!(
            unreplaced(&["s1"], Vacancy::Again { left }),
            "s1 is DOWN and not replaced: replaced not long ago; not again for 4 min 10 s"
        );
        assert_eq!(
            unreplaced(&["s1", "s2"], Vacancy::NoSpare),
            "s1 and s2 are DOWN and not replaced: no spare can be started"
        );
    }

    #[test]
    fn each_server_is_named() {
        check(&["s1"], &["s4"], "s1 is DOWN by its check: s4 takes its place");
        check(
            &["s1", "s2"],
            &["s4", "s5"],
            "s1 and s2 are DOWN by their checks: s4 and s5 take their places",
        );
        check(
            &["s1", "s2", "s3"],
            &["s4", "s5", "s6"],
            "s1, s2 and s3 are DOWN by their checks: s4, s5 and s6 take their places",
        );
    }
}
