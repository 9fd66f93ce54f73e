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
    /// Of those that only finish what they have. After a failed reload some releases (2.2, 3.2 and
    /// newer) list the one that runs here.
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
    use std::fs;
    use std::path::Path;

    use super::*;

    /// What a master of each release answered to `command`: before it was reloaded, after that, and after it could not be.
    fn recorded(command: &str) -> Vec<(String, Vec<String>)> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/socket");
        let releases =
            fs::read_dir(folder).expect("the fixtures").map(|entry| entry.expect("a folder").path());
        let mut found = Vec::new();
        for release in releases.filter(|path| path.is_dir()) {
            let text = fs::read_to_string(release.join("master.txt")).expect("a transcript");
            let exchanges = text.strip_prefix("> ").expect("a command").split("\n> ");
            let exchanges = exchanges.map(|exchange| exchange.split_once('\n').unwrap_or((exchange, "")));
            let answers = exchanges.filter(|(line, _)| *line == command).map(|(_, answer)| answer.to_owned());
            found.push((release.display().to_string(), answers.collect()));
        }
        assert!(found.len() > 4, "{found:?}");
        found
    }

    #[test]
    fn workers_old_workers_and_failed_reloads_are_told_apart_on_each_release() {
        for (release, answers) in recorded("show proc; quit") {
            let seen: Vec<Processes> =
                answers.iter().map(|text| Processes::parse(text).expect("processes")).collect();
            let [before, reloaded, failed] = &seen[..] else { panic!("{release}: {seen:?}") };
            let counts = !release.contains("/2.2.");
            for (processes, failures) in [(before, 0), (reloaded, 0), (failed, 1)] {
                assert_eq!(processes.failed, counts.then_some(failures), "{release}: {processes:?}");
            }
            assert_eq!((before.workers.len(), reloaded.workers.len()), (1, 1), "{release}: {seen:?}");
            assert_ne!(before.workers, reloaded.workers, "{release}");
            // Some releases call the one that goes on an old one then.
            let going_on = [&failed.workers[..], &failed.old_workers].concat();
            assert_eq!(going_on, reloaded.workers, "{release}");
        }
        assert!(Processes::parse("Unknown command\n").is_err());
    }

    #[test]
    fn what_a_reload_is_answered_with_on_each_release() {
        for (release, answers) in recorded("reload") {
            let [good, bad] = &answers[..] else { panic!("{release}: {answers:?}") };
            let is_silent = release.contains("/2.2.") || release.contains("/2.6.");
            match Reloaded::parse(good) {
                Reloaded::Silent => assert!(is_silent, "{release}: {good}"),
                told => assert_eq!(told, Reloaded::Yes, "{release}: {good}"),
            }
            match Reloaded::parse(bad) {
                Reloaded::No(why) => assert!(why.contains("unknown keyword 'nonsense'"), "{release}: {why}"),
                told => assert!(is_silent && told == Reloaded::Silent, "{release}: {bad}"),
            }
        }
        assert_eq!(Reloaded::parse("Permission denied\n\n"), Reloaded::No("Permission denied".to_owned()));
    }

    #[test]
    fn an_old_worker_is_told_apart() {
        let text = "#<PID>          <type>          <reloads>       <uptime>        <version>      \n\
                    1752            master          2 [failed: 1]   0d00h00m01s     2.6.12-1+deb12u4\n\
                    # workers\n2266            worker          0               0d00h00m02s     2.6.12-1+deb12u4\n\
                    # old workers\n1755            worker          1               0d00h00m07s     2.6.12-1+deb12u4\n";
        let expected = Processes { failed: Some(1), workers: vec![2266], old_workers: vec![1755] };
        assert_eq!(Processes::parse(text), Ok(expected));
    }
}
