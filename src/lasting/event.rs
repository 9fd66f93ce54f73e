//! What was kept, refused, reloaded and started, as plain data: the agent tells it and remembers the last of each.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::{Keep, ReloadBy};
use crate::core::plan::inventory::Process;

/// Something happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// What was changed at run time is written down in this file.
    Kept {
        /// In which way.
        keep: Keep,
        /// The state file, or haproxy.cfg.
        file: PathBuf,
        /// It says something else than before.
        changed: bool,
        /// HAProxy has to be reloaded for it.
        reload_needed: bool,
    },
    /// It is not; it is tried again.
    NotKept {
        /// Why.
        error: String,
        /// What HAProxy has refused, if it has.
        refused: Option<Refused>,
        /// When it is tried again.
        retry: Duration,
    },
    /// All servers without a line in their block: nothing of theirs is kept.
    NoLine(Vec<String>),
    /// Lines for these slots are in haproxy.cfg, and HAProxy gets them with a reload; none: no more are asked for.
    SlotsAdded(Vec<String>),
    /// HAProxy does not get these slots; all else is kept.
    SlotsNotAdded {
        /// With their backends.
        slots: Vec<String>,
        /// Why.
        error: String,
        /// What HAProxy has refused, if it has.
        refused: Option<Refused>,
        /// When it is tried again.
        retry: Duration,
    },
    /// A reload is owed, and waits.
    Owed {
        /// For what.
        why: String,
        /// It may happen after so long; `None`: that is not known.
        left: Option<Duration>,
    },
    /// HAProxy was reloaded.
    Reloaded {
        /// By whom; `None`: by somebody else.
        by: Option<ReloadBy>,
        /// The process before.
        before: Option<u32>,
        /// The process that answers now.
        pid: u32,
        /// Until it answered.
        took: Duration,
    },
    /// It was not; the old process goes on.
    NotReloaded {
        /// By whom.
        by: ReloadBy,
        /// Why, in HAProxy's or systemd's own words.
        error: String,
        /// Its file was put back; else why it could not be.
        taken_back: Result<(), String>,
    },
    /// HAProxy was started.
    Started {
        /// By whom.
        by: ReloadBy,
        /// The process that answers now.
        process: Process,
    },
    /// It was not.
    NotStarted {
        /// By whom.
        by: ReloadBy,
        /// Why.
        error: String,
    },
}

/// A configuration that HAProxy has refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// HAProxy's own words, without its notices.
    pub words: Vec<String>,
    /// The number of the line that they name first, and that line; nobody else has it any more.
    pub line: Option<(usize, String)>,
}

/// So many of HAProxy's alerts; each mistake causes more of them.
const MOST_WORDS: usize = 5;

impl Refused {
    /// What HAProxy `said` of `text`, which it was shown as `file`.
    pub fn read(said: &str, file: &str, text: &str) -> Self {
        let is_alert = |line: &&str| line.contains("[ALERT]");
        let alerts: Vec<&str> = said.lines().filter(is_alert).take(MOST_WORDS).collect();
        let lines = if alerts.is_empty() { said.lines().take(MOST_WORDS).collect() } else { alerts };
        let place = format!("[{file}:");
        let number = lines.iter().find_map(|line| {
            let (_, rest) = line.split_once(&place)?;
            rest.split_once(']')?.0.parse::<usize>().ok()
        });
        let line = number.and_then(|number| Some((number, text.lines().nth(number.checked_sub(1)?)?)));
        Self {
            words: lines.into_iter().map(str::to_owned).collect(),
            line: line.map(|(number, line)| (number, line.trim().to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn haproxys_own_words_are_told_with_the_line_that_they_name() {
        let said = "[NOTICE]   (7) : haproxy version is 2.6.12\n\
                    [ALERT]    (7) : config : parsing [/a.cfg.new:2] : unknown keyword 'bogus'\n\
                    [ALERT]    (7) : config : Fatal errors found in configuration.";
        let refused = Refused::read(said, "/a.cfg.new", "backend app\n    bogus x\n");
        assert_eq!(refused.line, Some((2, "bogus x".to_owned())));
        assert_eq!(refused.words.len(), 2);
        assert_eq!(Refused::read("no", "/a", "").words, ["no"]);
        assert_eq!(Refused::read("[ALERT] [/a:0] [/a:9]", "/a", "x").line, None);
    }
}
