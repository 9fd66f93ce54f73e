//! What HAProxy's master CLI says (management manual 9.4).
//!
//! In: the answers to `show proc` and `reload`. Out: which processes there are, and whether a reload worked.

use super::error::{AnswerError, excerpt};

/// The answer to `show proc`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Processes {
    /// Reloads in a row that failed; HAProxy 2.2 does not count them.
    pub failed: Option<u32>,
    /// Process ids of the workers.
    pub workers: Vec<u32>,
    /// Of those that only finish what they have. After a failed reload HAProxy 3.5 lists the one that runs here.
    pub old_workers: Vec<u32>,
}

impl Processes {
    /// Reads the answer.
    ///
    /// # Errors
    /// If it is none.
    pub fn parse(text: &str) -> Result<Self, AnswerError> {
        let mut lines = text.lines();
        if !lines.any(|line| line.starts_with("#<PID>")) {
            let expected = "the heading `#<PID>` of a master's `show proc`";
            return Err(AnswerError::NoSection { expected, found: excerpt(text) });
        }
        let mut found = Self::default();
        let mut section = "master";
        for line in lines {
            let mut fields = line.split_ascii_whitespace();
            match (line.strip_prefix("# "), fields.next().map(str::parse::<u32>), fields.next()) {
                (Some(name), _, _) => section = name.trim(),
                (None, Some(Ok(_)), Some("master")) => found.failed = failed(line),
                (None, Some(Ok(pid)), Some("worker")) if section == "workers" => found.workers.push(pid),
                (None, Some(Ok(pid)), Some("worker")) => found.old_workers.push(pid),
                _ => {}
            }
        }
        Ok(found)
    }
}

/// The 2 in `[failed: 2]`.
fn failed(line: &str) -> Option<u32> {
    line.split_once("[failed: ")?.1.split_once(']')?.0.parse().ok()
}

/// The answer to `reload`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reloaded {
    /// HAProxy 2.7 and newer tell.
    Yes,
    /// It failed, with what HAProxy has to say about it.
    No(String),
    /// HAProxy up to 2.6 closes the connection without a word.
    Silent,
}

impl Reloaded {
    /// Reads the answer.
    pub fn parse(text: &str) -> Self {
        let mut lines = text.lines();
        match lines.next().map(str::trim) {
            Some("Success=1") => Self::Yes,
            None | Some("") => Self::Silent,
            Some(first) => {
                let rest: Vec<&str> = lines.filter(|line| !matches!(line.trim(), "" | "--")).collect();
                Self::No(if first == "Success=0" { rest.join("\n") } else { text.trim().to_owned() })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As HAProxy 2.6.12 and 2.8.25 write it.
    const HEADING: &str = "#<PID>          <type>          <reloads>       <uptime>        <version>      \n";

    #[test]
    fn workers_old_workers_and_failed_reloads_are_told_apart() {
        let text = format!(
            "{HEADING}1752            master          2 [failed: 1]   0d00h00m01s     2.6.12-1+deb12u4\n\
             # workers\n2266            worker          0               0d00h00m02s     2.6.12-1+deb12u4\n\
             # old workers\n1755            worker          1               0d00h00m07s     2.6.12-1+deb12u4\n\
             # programs\n\n"
        );
        let expected = Processes { failed: Some(1), workers: vec![2266], old_workers: vec![1755] };
        assert_eq!(Processes::parse(&text), Ok(expected));
    }

    #[test]
    fn haproxy_2_2_has_a_column_more_and_counts_no_failures() {
        let text = "#<PID>          <type>          <relative PID>  <reloads>       <uptime>        <version>      \n\
                    2378            master          0               0               0d00h00m02s     2.2.9-2+deb11u6\n\
                    # workers\n2381            worker          1               0               0d00h00m02s     2.2.9-2+deb11u6\n";
        let expected = Processes { failed: None, workers: vec![2381], old_workers: vec![] };
        assert_eq!(Processes::parse(text), Ok(expected));
        assert!(Processes::parse("Unknown command\n").is_err());
    }

    #[test]
    fn what_a_reload_is_answered_with() {
        assert_eq!(Reloaded::parse("Success=1\n--\n[NOTICE] (1) : Loading success.\n\n"), Reloaded::Yes);
        assert_eq!(Reloaded::parse(""), Reloaded::Silent);
        let refused = "Success=0\n--\n[ALERT]    (2816) : config : Fatal errors found in configuration.\n\n";
        let words = "[ALERT]    (2816) : config : Fatal errors found in configuration.".to_owned();
        assert_eq!(Reloaded::parse(refused), Reloaded::No(words));
        assert_eq!(Reloaded::parse("Permission denied\n\n"), Reloaded::No("Permission denied".to_owned()));
    }
}
