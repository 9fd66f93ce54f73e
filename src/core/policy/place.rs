//! Why what the pool offers cannot be brought in: HAProxy has no place for it.

use std::fmt;

/// Why there is no place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoPlace {
    /// Every slot is taken.
    Slot {
        /// So many addresses wait for one.
        missing: u32,
        /// What gives the backend so many, in haproxy.cfg.
        line: String,
    },
    /// HAProxy takes no server at run time, for this reason.
    Add(&'static str),
}

impl NoPlace {
    /// One snake_case word for each kind.
    pub(super) const fn key(&self) -> &'static str {
        match self {
            Self::Slot { .. } => "no_slot",
            Self::Add(_) => "cannot_add",
        }
    }
}

impl fmt::Display for NoPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Slot { missing, line } => {
                let waiting = if *missing == 1 { "1 more address waits" } else { "more addresses wait" };
                let many = if *missing == 1 { String::new() } else { format!("{missing} ") };
                write!(
                    f,
                    "more servers are needed, but every slot is taken; {many}{waiting} for one: add `{line}` to the \
                     backend in haproxy.cfg, with what its other slots have, and reload HAProxy"
                )
            }
            Self::Add(why) => {
                write!(
                    f,
                    "more servers are needed, but {why}: declare slots, and say `spares: {{ kind: slots }}`"
                )
            }
        }
    }
}
