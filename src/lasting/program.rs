//! Other programs: HAProxy itself, systemctl. No shell, nothing on their standard input but a configuration, a deadline, and no more of
//! their output than is told.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::time::timeout;

/// So much is read of what a program says; what comes then finds nobody to read it.
const MOST_OUTPUT: u64 = 16 * 1024;

/// From a program's end to that of its output, which a child of its own may keep open.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Why a program did not do what it was run for.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// There is none, or it may not be run.
    #[error("cannot run `{0}`")]
    CannotRun(String, #[source] io::Error),
    /// It was ended at its deadline.
    #[error("`{0}` was not done within {1:?} and was ended")]
    TimedOut(String, Duration),
    /// It says no.
    #[error("`{program}` failed ({status}): {said}")]
    Failed {
        /// It.
        program: String,
        /// How it ended.
        status: ExitStatus,
        /// What it said, both outputs.
        said: String,
    },
}

impl ProgramError {
    /// What the program said, if it was one that says no.
    pub fn said(&self) -> Option<&str> {
        match self {
            Self::Failed { said, .. } => Some(said),
            Self::CannotRun(..) | Self::TimedOut(..) => None,
        }
    }
}

/// Runs `program`; what it said, if it succeeded.
///
/// # Errors
/// It cannot be run, is not done `within`, or fails.
pub(super) async fn run(
    program: &Path,
    arguments: &[&OsStr],
    within: Duration,
) -> Result<String, ProgramError> {
    run_on(None, program, arguments, within).await
}

/// The same, with `input` on its standard input.
pub(super) async fn run_on(
    input: Option<Vec<u8>>,
    program: &Path,
    arguments: &[&OsStr],
    within: Duration,
) -> Result<String, ProgramError> {
    let name = || {
        let words = [program.as_os_str()].into_iter().chain(arguments.iter().copied());
        words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
    };
    let mut command = Command::new(program);
    let stdin = if input.is_some() { Stdio::piped() } else { Stdio::null() };
    command.args(arguments).stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
    // systemd's ear is for the agent alone.
    command.env_remove("NOTIFY_SOCKET");
    // A group of its own, to be ended with all that it may have started.
    command.process_group(0);
    let mut child = command.spawn().map_err(|source| ProgramError::CannotRun(name(), source))?;
    let group = child.id().and_then(|pid| i32::try_from(pid).ok()).map(Pid::from_raw);
    if let (Some(input), Some(mut stdin)) = (input, child.stdin.take()) {
        // Who does not read it to its end has his reasons, and says them.
        tokio::spawn(async move { stdin.write_all(&input).await });
    }
    let stdout = tokio::spawn(read(child.stdout.take()));
    let stderr = tokio::spawn(read(child.stderr.take()));
    let Ok(status) = timeout(within, child.wait()).await else {
        // It may have ended this moment; then there is nothing to end.
        let _ = group.map(|group| killpg(group, Signal::SIGKILL));
        return Err(ProgramError::TimedOut(name(), within));
    };
    let status = status.map_err(|source| ProgramError::CannotRun(name(), source))?;
    let mut said = String::new();
    for output in [stderr, stdout] {
        if let Ok(Ok(text)) = timeout(LAST_WORDS, output).await {
            said.push_str(&text);
        }
    }
    let said = said.trim().to_owned();
    if status.success() { Ok(said) } else { Err(ProgramError::Failed { program: name(), status, said }) }
}

async fn read(output: Option<impl AsyncRead + Unpin>) -> String {
    let mut bytes = Vec::new();
    if let Some(output) = output {
        // What was read before an error is all there is.
        let _ = output.take(MOST_OUTPUT).read_to_end(&mut bytes).await;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn sh(script: &str, within: Duration) -> Result<String, ProgramError> {
        run(Path::new("sh"), &["-c".as_ref(), script.as_ref()], within).await
    }

    const LONG: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn what_a_program_says_is_told_and_no_more_of_it_than_is_read() {
        assert_eq!(sh("echo yes; echo but >&2", LONG).await.unwrap(), "but\nyes");
        let failed = sh("echo no >&2; exit 3", LONG).await.unwrap_err();
        assert!(
            matches!(&failed, ProgramError::Failed { said, status, .. } if said == "no" && status.code() == Some(3))
        );
        // It ends by SIGPIPE when nobody reads on.
        let endless =
            sh("while :; do echo xxxxxxxxxxxxxxxxxxxxxxxx || exit 1; done", LONG).await.unwrap_err();
        assert!(matches!(&endless, ProgramError::Failed { said, .. } if said.len() <= MOST_OUTPUT as usize));
        let cat = run_on(Some(b"in".to_vec()), Path::new("cat"), &[], LONG).await;
        assert_eq!(cat.unwrap(), "in");
        let absent = run(Path::new("/nonexistent/haproxy"), &[], LONG).await.unwrap_err();
        assert_eq!(absent.to_string(), "cannot run `/nonexistent/haproxy`");
    }

    #[tokio::test]
    async fn a_program_that_hangs_is_ended_with_its_children() {
        let folder = tempfile::tempdir().unwrap();
        let pid = folder.path().join("pid");
        let script = format!("sleep 1000 & echo $! > {}; wait", pid.display());
        let hung = sh(&script, Duration::from_millis(500)).await.unwrap_err();
        assert!(matches!(hung, ProgramError::TimedOut(..)), "{hung}");
        let child: i32 = std::fs::read_to_string(&pid).unwrap().trim().parse().unwrap();
        let is_gone = || {
            let state = std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
            state.is_empty() || state.contains(") Z ")
        };
        while !is_gone() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
