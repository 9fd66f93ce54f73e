//! Other programs: HAProxy itself, systemctl. No shell, nothing on their standard input, a deadline, and no more of
//! their output than is told.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt};
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

/// Runs `program`; what it said, if it succeeded.
///
/// # Errors
/// It cannot be run, is not done `within`, or fails.
pub(super) async fn run(
    program: &Path,
    arguments: &[&OsStr],
    within: Duration,
) -> Result<String, ProgramError> {
    let name = || {
        let words = [program.as_os_str()].into_iter().chain(arguments.iter().copied());
        words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
    };
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // A group of its own, to be ended with all that it may have started.
    command.process_group(0).kill_on_drop(true);
    let mut child = command.spawn().map_err(|source| ProgramError::CannotRun(name(), source))?;
    let group = child.id().and_then(|pid| i32::try_from(pid).ok()).map(Pid::from_raw);
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
