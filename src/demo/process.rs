//! A child process that does not outlive us.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A running child; dropping it kills it and waits for its end.
#[derive(Debug)]
pub struct Process(Child);

impl Process {
    /// Starts `command` in a process group of its own: on Ctrl-C the terminal signals us alone,
    /// and we end our children in the right order.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(command: &mut Command) -> io::Result<Self> {
        command.process_group(0).spawn().map(Self)
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// How it ended; `None` while it runs.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().ok().flatten()
    }

    /// Asks it to end (SIGTERM) and waits up to `grace` for it: `None` if it then still runs.
    pub fn terminate(&mut self, grace: Duration) -> Option<ExitStatus> {
        self.signal(Signal::SIGTERM);
        let start = Instant::now();
        loop {
            let ended = self.ended();
            if ended.is_some() || start.elapsed() >= grace {
                return ended;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Sends `signal`, unless it has ended.
    pub fn signal(&mut self, signal: Signal) {
        // Until its end has been waited for, the id is its own and nobody else's.
        if self.ended().is_none()
            && let Ok(id) = i32::try_from(self.id())
        {
            let _ = kill(Pid::from_raw(id), signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper() -> Process {
        Process::start(Command::new("sleep").arg("3600")).unwrap()
    }

    fn runs(id: u32) -> bool {
        kill(Pid::from_raw(i32::try_from(id).unwrap()), None).is_ok()
    }

    #[test]
    fn a_dropped_process_has_ended() {
        let process = sleeper();
        let id = process.id();
        assert!(runs(id));
        drop(process);
        assert!(!runs(id));
    }

    #[test]
    fn a_process_ends_when_asked() {
        let mut process = sleeper();
        assert_eq!(process.ended(), None);
        let ended = process.terminate(Duration::from_secs(10)).expect("sleep ends on SIGTERM");
        assert!(!ended.success());
        process.signal(Signal::SIGTERM); // and a second one goes to nobody
    }
}
