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
        /// Why it does not get them by itself, where that is wanted.
        but: Option<NotGrowing>,
    },
    /// Every slot is taken, and haproxy.cfg gets more.
    Growing {
        /// So many.
        count: usize,
        /// Their names: the first and the last.
        names: (String, String),
        /// How far that is.
        told: Growth,
    },
    /// HAProxy takes no server at run time, for this reason.
    Add(&'static str),
}

/// How far it is with slots that haproxy.cfg is to get.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Growth {
    /// On the way.
    #[default]
    UnderWay,
    /// On the way, and waits for this.
    Waits(String),
    /// It could not be done; it is tried again.
    Failed(String),
}

/// Why a backend gets no more slots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotGrowing {
    /// It has the most that are allowed.
    AtMost(u32),
    /// Nobody can write or reload its configuration.
    Cannot(String),
}

impl NoPlace {
    /// One snake_case word for each kind.
    pub(super) const fn key(&self) -> &'static str {
        match self {
            Self::Slot { but: Some(NotGrowing::AtMost(_)), .. } => "most_slots",
            Self::Slot { .. } => "no_slot",
            Self::Growing { told: Growth::Failed(_), .. } => "slots_not_added",
            Self::Growing { .. } => "slots_to_come",
            Self::Add(_) => "cannot_add",
        }
    }
}

impl fmt::Display for NoPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Slot { missing, line, but } => no_slot(f, *missing, line, but.as_ref()),
            Self::Growing { count, names: (first, last), told } => {
                let names =
                    if *count == 1 { format!("slot {first}") } else { format!("slots {first} to {last}") };
                write!(f, "more servers are needed, but every slot is taken; haproxy.cfg gets the {names}")?;
                match told {
                    Growth::UnderWay => Ok(()),
                    Growth::Waits(why) => write!(f, ": {why}"),
                    Growth::Failed(why) => write!(f, ", which has failed: {why}"),
                }
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

fn no_slot(f: &mut fmt::Formatter<'_>, missing: u32, line: &str, but: Option<&NotGrowing>) -> fmt::Result {
    let waiting = if missing == 1 { "1 more address waits" } else { "more addresses wait" };
    let many = if missing == 1 { String::new() } else { format!("{missing} ") };
    f.write_str("more servers are needed, but every slot is taken")?;
    if let Some(NotGrowing::AtMost(most)) = but {
        write!(f, ", and `grow` allows no more than {most}")?;
    }
    write!(
        f,
        "; {many}{waiting} for one: add `{line}` to the backend in haproxy.cfg, with what its other slots have, and \
         reload HAProxy"
    )?;
    match but {
        Some(NotGrowing::Cannot(why)) => write!(f, "; `grow` cannot do that, as {why}"),
        _ => Ok(()),
    }
}
