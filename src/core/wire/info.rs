//! `show info` to [`Process`].
//!
//! In: lines of `Key: value`. Out: which process answered. The other lines are not looked at.

use super::error::AnswerError;
use crate::core::plan::inventory::Process;

/// Reads what `show info` shows.
///
/// # Errors
/// If `Version`, `Pid` or `Uptime_sec` is missing or is not what it should be. Without a line
/// `Stopping` (HAProxy before 1.9) the process is taken to go on.
pub fn process(text: &str) -> Result<Process, AnswerError> {
    let version = value(text, "Version").filter(|version| !version.is_empty());
    let version = version.ok_or(AnswerError::BadInfo { key: "Version", expected: "a version" })?;
    Ok(Process {
        version: version.to_owned(),
        pid: number(text, "Pid")?,
        uptime_s: number::<u32>(text, "Uptime_sec")?.into(),
        started: value(text, "Start_time_sec").and_then(|started| started.parse().ok()),
        node: value(text, "node").filter(|node| !node.is_empty()).map(str::to_owned),
        stopping: value(text, "Stopping").is_some_and(|stopping| stopping != "0"),
    })
}

/// How many processes HAProxy says it has (`Nbproc`, until 2.4: seen on 2.2.9); 1 where it does not say.
pub fn processes(text: &str) -> u32 {
    number(text, "Nbproc").unwrap_or(1)
}

/// The value of the first line with `key`.
fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':')).map(str::trim)
}

fn number<T: std::str::FromStr>(text: &str, key: &'static str) -> Result<T, AnswerError> {
    let number = value(text, key).and_then(|value| value.parse().ok());
    number.ok_or(AnswerError::BadInfo { key, expected: "a whole number" })
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: &str = "Name: HAProxy\nVersion: 2.6.12-1+deb12u4\nProcess_num: 1\nPid: 4711\n\
                        Uptime: 0d 0h01m00s\nUptime_sec: 60\nStopping: 0\nnode: vm\n";

    #[track_caller]
    fn check(text: &str, want: Result<Process, AnswerError>) {
        assert_eq!(process(text), want);
    }

    #[test]
    fn the_process_is_told() {
        let process = Process {
            version: "2.6.12-1+deb12u4".to_owned(),
            pid: 4711,
            uptime_s: 60,
            started: None,
            node: Some("vm".to_owned()),
            stopping: false,
        };
        let started = Process { started: Some(9), ..process.clone() };
        check(&format!("{INFO}Start_time_sec: 9\n"), Ok(started));
        check(INFO, Ok(process.clone()));
        check(&INFO.replace("Stopping: 0\n", ""), Ok(process.clone()));
        check(&INFO.replace("Stopping: 0", "Stopping: 1"), Ok(Process { stopping: true, ..process }));
    }

    #[test]
    fn several_processes_are_told() {
        assert_eq!(processes(&INFO.replace("Process_num", "Nbproc: 4\nProcess_num")), 4);
        assert_eq!(processes(INFO), 1, "HAProxy 2.5 and newer have one");
    }

    #[test]
    fn what_is_missing_or_garbled_is_named() {
        let number = |key| Err(AnswerError::BadInfo { key, expected: "a whole number" });
        check("", Err(AnswerError::BadInfo { key: "Version", expected: "a version" }));
        check(&INFO.replace("\nPid: 4711", ""), number("Pid"));
        check(&INFO.replace("4711", "-1"), number("Pid"));
        check(&INFO.replace("Uptime_sec: 60", "Uptime_sec: "), number("Uptime_sec"));
    }
}
