//! The systemd journal, by its own reader: `journalctl --follow` as a child whose lines are handed over.
//!
//! One JSON object a line, as `--output json` prints it; what is in it is left to `core/log`. The child has
//! a process group of its own and is started again if it ends, behind the last line that was handed over:
//! each line has its cursor in it.

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant, SystemTime};

use memchr::memmem;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags};
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

use super::backoff::Backoff;
use super::link::LinkEvent;
use super::turn::{Input, Rest, Turn};
use crate::core::log::framing::{Frame, Framing};

/// Pauses before a child is started again.
const PAUSES: Backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(30));

/// A child that ran for so long has not failed to start.
const RAN: Duration = Duration::from_secs(10);

/// From the end of its output to its own. It has nothing left to do by then.
const EXIT: Duration = Duration::from_secs(1);

/// So many starts behind a cursor that bring no line: the cursor may be the reason (seen on systemd 252: one
/// that it cannot read ends it).
const MOST_FRUITLESS: u32 = 5;

/// Bytes of a line. A message that is not text is printed as a list of numbers, five bytes for one.
const LONGEST_LINE: usize = 1 << 20;

/// So much is kept of what the child complains of.
const LAST_WORDS: usize = 500;

/// One unit's messages.
pub(super) struct Journald {
    unit: String,
    from_start: bool,
    reader: Option<Reader>,
    backoff: Backoff,
    framing: Framing,
    /// Of the last line that was handed over.
    cursor: Option<String>,
    /// Starts in a row that brought no line.
    fruitless: u32,
    begun: SystemTime,
    lines: Vec<u8>,
    told: Option<LinkEvent>,
}

/// A running `journalctl`; killed when dropped, and whatever it may have started.
struct Reader {
    child: Child,
    lines: ChildStdout,
    complaints: Option<ChildStderr>,
    last_words: Vec<u8>,
    started: Instant,
    is_reaped: bool,
}

impl Journald {
    /// Reads what `unit` logs from now on, or all there is of it.
    pub(super) fn new(unit: String, from_start: bool) -> Self {
        let mut journald = Self {
            unit,
            from_start,
            reader: None,
            backoff: PAUSES,
            framing: Framing::new(LONGEST_LINE),
            cursor: None,
            fruitless: 0,
            begun: SystemTime::now(),
            lines: Vec::new(),
            told: None,
        };
        // What is logged from now on is read; if it cannot be started, the first turn tells.
        journald.reader = Reader::start(&journald.arguments()).ok();
        journald
    }

    fn arguments(&self) -> Vec<String> {
        // `--all`: without it, long messages and those with control characters are left out.
        let always = ["--follow", "--output=json", "--all", "--output-fields=MESSAGE,SYSLOG_IDENTIFIER"];
        let mut arguments: Vec<String> = always.map(str::to_owned).into();
        arguments.push(format!("--unit={}", self.unit));
        match &self.cursor {
            Some(cursor) => arguments.extend(["--no-tail".to_owned(), format!("--after-cursor={cursor}")]),
            None if self.from_start => arguments.push("--no-tail".to_owned()),
            None if self.fruitless == 0 => arguments.push("--lines=0".to_owned()),
            // The one before has ended, and may have had lines to come.
            None => arguments.extend(["--no-tail".to_owned(), format!("--since=@{}", seconds(self.begun))]),
        }
        arguments
    }

    fn start(&mut self, turn: &mut Turn, now: Instant) {
        match Reader::start(&self.arguments()) {
            Ok(reader) => self.reader = Some(reader),
            Err(error) => {
                self.backoff.failed(now);
                self.tell(LinkEvent::CannotStart(error.kind()), turn);
            }
        }
    }

    /// Hands over the whole lines that are there. False once the child has nothing more to say.
    fn read(&mut self, turn: &mut Turn) -> io::Result<bool> {
        let Some(reader) = &mut self.reader else { return Ok(false) };
        reader.listen();
        let read = reader.lines.read(turn.block)?;
        self.lines.clear();
        let lines = &mut self.lines;
        self.framing.push(&turn.block[..read], |frame| {
            let (Frame::Line(line) | Frame::Overlong(line)) = frame;
            lines.extend_from_slice(line);
            lines.push(b'\n');
        });
        turn.hand_over_copy(lines);
        if let Some(cursor) = last_cursor(lines) {
            self.cursor = Some(cursor);
            (self.told, self.fruitless) = (None, 0);
        }
        Ok(read > 0)
    }

    fn end(&mut self, turn: &mut Turn, now: Instant) {
        // Its other half comes with the whole line, for that is behind the cursor.
        self.framing.discard_half_line();
        if let Some(mut reader) = self.reader.take() {
            if now.saturating_duration_since(reader.started) >= RAN {
                self.backoff.worked();
            }
            self.backoff.failed(now);
            self.tell(LinkEvent::Died(reader.end()), turn);
            self.fruitless += 1;
            if self.fruitless == MOST_FRUITLESS && self.cursor.take().is_some() {
                // From here on is better than nowhere.
                self.begun = SystemTime::now();
                turn.event(LinkEvent::Gap.into());
            }
        }
    }

    /// Tells what has not just been told.
    fn tell(&mut self, event: LinkEvent, turn: &mut Turn) {
        if self.told.as_ref() != Some(&event) {
            self.told = Some(event.clone());
            turn.event(event.into());
        }
    }
}

impl Input for Journald {
    fn turn(&mut self, turn: &mut Turn) -> Rest {
        let now = Instant::now();
        if self.reader.is_none() && self.backoff.is_due(now) {
            self.start(turn, now);
        }
        while self.reader.is_some() {
            if turn.is_over() {
                return Rest::More;
            }
            match self.read(turn) {
                Ok(true) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Ok(false) | Err(_) => self.end(turn, now),
            }
        }
        Rest::Nothing
    }

    fn wait_on<'a>(&'a self, fds: &mut Vec<PollFd<'a>>) {
        if let Some(reader) = &self.reader {
            fds.push(PollFd::new(reader.lines.as_fd(), PollFlags::POLLIN));
            let complaints = reader.complaints.as_ref().map(AsFd::as_fd);
            fds.extend(complaints.map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
        }
    }

    fn next_look(&self, now: Instant) -> Option<Duration> {
        self.reader.is_none().then(|| self.backoff.time_left(now))
    }
}

impl Reader {
    fn start(arguments: &[String]) -> io::Result<Self> {
        let mut child = Command::new("journalctl")
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A signal from the terminal is for us; we end it.
            .process_group(0)
            .spawn()?;
        match (child.stdout.take(), child.stderr.take()) {
            (Some(lines), Some(complaints)) => {
                let (last_words, started) = (Vec::new(), Instant::now());
                let complaints = Some(complaints);
                let reader = Self { child, lines, complaints, last_words, started, is_reaped: false };
                do_not_block(&reader.lines)?;
                reader.complaints.as_ref().map_or(Ok(()), do_not_block)?;
                Ok(reader)
            }
            // Asked for above, so they are there.
            _ => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// Keeps the last of what it complains of.
    fn listen(&mut self) {
        let Some(complaints) = &mut self.complaints else { return };
        let mut words = [0; LAST_WORDS];
        loop {
            match complaints.read(&mut words) {
                Ok(0) => return self.complaints = None,
                Ok(read) => {
                    self.last_words.extend_from_slice(&words[..read]);
                    let surplus = self.last_words.len().saturating_sub(LAST_WORDS);
                    self.last_words.drain(..surplus);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }

    /// Its output has ended. Returns how it ended itself, and what it said last.
    fn end(&mut self) -> String {
        self.listen();
        self.await_exit();
        let status = self.reap().map_or_else(|| "unknown how".to_owned(), |status| status.to_string());
        let words = String::from_utf8_lossy(&self.last_words);
        match words.lines().rev().find(|line| !line.trim().is_empty()) {
            Some(last) => format!("{status}: {}", last.trim()),
            None => status,
        }
    }

    /// Gives a child that is ending the moment it needs, so that it is known how it ended.
    fn await_exit(&self) {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        let until = Instant::now() + EXIT;
        while Instant::now() < until
            && matches!(waitid(Id::Pid(self.pid()), flags), Ok(WaitStatus::StillAlive))
        {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Kills what is left of the group, and takes note of the child's end. Until then the child's id, which
    /// is the group's, is nobody else's.
    fn reap(&mut self) -> Option<ExitStatus> {
        if std::mem::replace(&mut self.is_reaped, true) {
            return None;
        }
        // There may be nobody left to kill.
        let _ = killpg(self.pid(), Signal::SIGKILL);
        self.child.wait().ok()
    }

    fn pid(&self) -> Pid {
        // Process ids are positive, and at most 2^22.
        Pid::from_raw(self.child.id().cast_signed())
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.reap();
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn do_not_block(fd: &impl AsFd) -> io::Result<()> {
    let flags = OFlag::from_bits_truncate(fcntl(fd, FcntlArg::F_GETFL)?);
    fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}

/// The cursor in the last of `lines`. Quotes within a message are escaped, so it cannot have one of its own.
fn last_cursor(lines: &[u8]) -> Option<String> {
    const KEY: &[u8] = b"\"__CURSOR\"";
    let after = &lines[memmem::rfind(lines, KEY)? + KEY.len()..];
    // Older versions print blanks around the colon.
    let value = after.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start().strip_prefix(b"\"")?;
    let end = value.iter().position(|&byte| byte == b'"')?;
    let cursor = str::from_utf8(&value[..end]).ok()?;
    let is_cursor = cursor.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"=;-".contains(&byte));
    is_cursor.then(|| cursor.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(lines: &str, cursor: Option<&str>) {
        assert_eq!(last_cursor(lines.as_bytes()).as_deref(), cursor, "{lines}");
    }

    #[test]
    fn the_cursor_is_that_of_the_last_line() {
        check("{\"__CURSOR\":\"s=a;i=1\",\"MESSAGE\":\"x\"}\n", Some("s=a;i=1"));
        check("{\"__CURSOR\" : \"s=a;i=1\"}\n{\"__CURSOR\" : \"s=a;i=2\"}\n", Some("s=a;i=2"));
        check("{\"__CURSOR\":\"s=1\",\"MESSAGE\":\"\\\"__CURSOR\\\":\\\"s=2\\\"\"}\n", Some("s=1"));
        check("{\"MESSAGE\":\"x\"}\n", None);
        check("{\"__CURSOR\":\"--output=cat\n\"}", None);
        check("{\"__CURSOR\":", None);
        check("", None);
    }
}
