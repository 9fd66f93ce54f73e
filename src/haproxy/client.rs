//! One command, one connection, one deadline.
//!
//! In: a [`Command`]. Out: its [`Reply`], or a [`RuntimeError`]. HAProxy closes the connection
//! behind its answer, and that end is the only mark of completeness that holds for all its versions
//! (management manual 9.3); it is also what keeps us from talking to an old worker on a
//! connection kept over a reload.
//!
//! Several commands whose effects belong together go in one line (weights, inventories). Answers
//! that must be told apart get a connection each: splitting on empty lines is unsafe before
//! HAProxy 3.0, which leaves them out behind some refusals.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::trace;

use super::address::{Address, Endpoint};
use super::capabilities::Known;
use super::error::{Phase, RuntimeError};
use crate::core::names::Names;
use crate::core::plan::inventory::{Inventory, Process};
use crate::core::wire::command::{Command, Name, Scope};
use crate::core::wire::error::AnswerError;
use crate::core::wire::response::{self, Level, Reply};
use crate::core::wire::{info, reading};

/// An inventory of 1,000 backends with 100 servers is about 40 MB; nothing HAProxy shows us
/// is longer.
const MOST_ANSWER_BYTES: usize = 64 << 20;

/// HAProxy serves 10 connections of its `stats socket` at a time unless `stats maxconn` says
/// otherwise, and lets others wait. The rest is left to operators and to monitoring.
const MOST_CONNECTIONS: usize = 4;

/// While the socket's backlog is full, a non-blocking connect fails at once with EAGAIN.
const BACKLOG_PAUSE: Duration = Duration::from_millis(20);

/// Asks one HAProxy. Clones share the limit on connections.
#[derive(Clone, Debug)]
pub struct Client {
    address: Address,
    is_master: bool,
    timeout: Duration,
    connections: Arc<Semaphore>,
    pub(super) known: Known,
}

trait Stream: AsyncRead + AsyncWrite + Send {}
impl<T: AsyncRead + AsyncWrite + Send> Stream for T {}

impl Client {
    /// Asks the HAProxy at `endpoint`. A command may take `timeout` from connect to the answer's
    /// end; the wait for one of our own connections to become free comes before that.
    pub fn new(endpoint: impl Into<Endpoint>, timeout: Duration) -> Self {
        let Endpoint { address, is_master } = endpoint.into();
        Self {
            address,
            is_master,
            timeout,
            connections: Arc::new(Semaphore::new(MOST_CONNECTIONS)),
            known: Known::default(),
        }
    }

    /// Where HAProxy listens.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Sends `command` and reads the answer.
    ///
    /// Dropping the future closes the connection; HAProxy may have carried out the command.
    ///
    /// # Errors
    /// If HAProxy refused (a part of) it, or cannot be asked, or does not answer in time. All
    /// but refusals and garbage may go by themselves: a reload refuses connections for a moment, and an old
    /// worker may still take one.
    pub async fn run(&self, command: &Command) -> Result<Reply, RuntimeError> {
        // The semaphore is never closed; if it were, there would be no limit to keep.
        let _connection = self.connections.acquire().await.ok();
        let start = Instant::now();
        let answer = self.exchange(&self.line(command), start + self.timeout).await;
        let elapsed_ms = start.elapsed().as_millis() as u64;
        trace!(
            command = %command,
            elapsed_ms,
            answer_bytes = answer.as_ref().map_or(0, Vec::len),
            error = answer.as_ref().err().map(tracing::field::display),
            "asked haproxy"
        );
        let answer = answer?;
        if !command.is_change() {
            let text = response::show(command, answer).map_err(|error| self.garbage(error))?;
            return Ok(Reply::Text(text));
        }
        let (process, answer) = response::split_change(&answer).map_err(|error| self.garbage(error))?;
        self.must_go_on(&process)?;
        response::read(command, answer).map_err(|error| self.garbage(error))
    }

    /// An old worker that answers once more knows and does nothing that lasts.
    fn must_go_on(&self, process: &Process) -> Result<(), RuntimeError> {
        if !self.known.is_old(process) {
            return Ok(());
        }
        Err(RuntimeError::OldWorker { address: self.address.clone(), pid: process.pid })
    }

    /// Everything HAProxy has. Process and tables come from the same connection, so from the
    /// same process; a process that was not asked before is asked what it can do.
    ///
    /// # Errors
    /// As [`Client::run`].
    pub async fn inventory(&self, names: &Names) -> Result<Inventory, RuntimeError> {
        let scope = Scope::All;
        let text = self.show(&Command::ShowInventory(scope.clone())).await?;
        let mut inventory = reading::inventory(&text, &scope, names).map_err(|error| self.garbage(error))?;
        self.must_go_on(&inventory.process)?;
        self.show_capabilities(&mut inventory, names).await;
        Ok(inventory)
    }

    /// As [`Client::inventory`], with one backend only; cheap where there are many.
    ///
    /// # Errors
    /// As [`Client::run`]; [`NoSuchBackend`](response::Refusal::NoSuchBackend) if HAProxy has none.
    pub async fn backend_inventory(&self, backend: &Name, names: &Names) -> Result<Inventory, RuntimeError> {
        let scope = Scope::Backend(backend.clone());
        let text = self.show(&Command::ShowInventory(scope.clone())).await?;
        match reading::inventory(&text, &scope, names) {
            // A frontend has the same name; its figures were shown instead.
            Err(AnswerError::NoStat { .. }) => {
                let mut inventory = self.inventory(names).await?;
                inventory.backends.retain(|found| *names.of_backend(found.id) == *backend.as_str());
                Ok(inventory)
            }
            Err(error) => Err(self.garbage(error)),
            Ok(inventory) => self.must_go_on(&inventory.process).map(|()| inventory),
        }
    }

    /// Which process answers.
    ///
    /// # Errors
    /// As [`Client::run`].
    pub async fn process(&self) -> Result<Process, RuntimeError> {
        let text = self.show(&Command::ShowInfo).await?;
        info::process(&text).map_err(|error| self.garbage(error))
    }

    /// What this socket may do; less than [`Level::Admin`] is not enough to change anything.
    ///
    /// # Errors
    /// As [`Client::run`].
    pub async fn socket_level(&self) -> Result<Level, RuntimeError> {
        let text = self.show(&Command::ShowLevel).await?;
        Level::parse(&text).map_err(|error| self.garbage(error))
    }

    /// Sends `line` as it is and takes whatever comes: for the master CLI, whose answers have no rules of ours.
    ///
    /// # Errors
    /// If it cannot be asked, or does not answer in time.
    pub(crate) async fn tell(&self, line: &str) -> Result<String, RuntimeError> {
        // As in `run`.
        let _connection = self.connections.acquire().await.ok();
        let answer = self.exchange(format!("{line}\n").as_bytes(), Instant::now() + self.timeout).await?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    pub(super) async fn show(&self, command: &Command) -> Result<String, RuntimeError> {
        match self.run(command).await? {
            Reply::Text(text) => Ok(text),
            // A `show` is never answered like that.
            Reply::Done => Ok(String::new()),
        }
    }

    fn garbage(&self, error: AnswerError) -> RuntimeError {
        RuntimeError::of_answer(error, &self.address)
    }

    /// A master hands on what has its worker's prefix, each part by itself, and does not close the connection
    /// behind its answer unless it is told to (seen on HAProxy 2.2 to 3.2).
    fn line(&self, command: &Command) -> Vec<u8> {
        if !self.is_master {
            return command.to_bytes();
        }
        let before = command.is_change().then(|| Command::ShowInfo.to_string());
        let parts = before.into_iter().chain(command.parts()).map(|part| format!("@1 {part}; "));
        format!("{}quit\n", parts.collect::<String>()).into_bytes()
    }

    /// The bytes that came until the end of the connection.
    async fn exchange(&self, line: &[u8], deadline: Instant) -> Result<Vec<u8>, RuntimeError> {
        let timed_out =
            |during| RuntimeError::TimedOut { address: self.address.clone(), during, after: self.timeout };
        let master = || RuntimeError::Master { address: self.address.clone() };
        let broken = |during, source| RuntimeError::Broken { address: self.address.clone(), during, source };

        let mut stream = timeout_at(deadline, connect(&self.address))
            .await
            .map_err(|_| timed_out(Phase::Connecting))?
            .map_err(|source| RuntimeError::CannotConnect { address: self.address.clone(), source })?;
        timeout_at(deadline, stream.write_all(line))
            .await
            .map_err(|_| timed_out(Phase::Sending))?
            .map_err(|source| broken(Phase::Sending, source))?;
        let mut answer = Vec::new();
        // One byte more than allowed is enough to know.
        let mut limited = stream.take(MOST_ANSWER_BYTES as u64 + 1);
        timeout_at(deadline, limited.read_to_end(&mut answer))
            .await
            .map_err(|_| if is_of_master(&answer) { master() } else { timed_out(Phase::Reading) })?
            .map_err(|source| broken(Phase::Reading, source))?;
        if answer.len() > MOST_ANSWER_BYTES {
            return Err(RuntimeError::TooLong { address: self.address.clone(), limit: MOST_ANSWER_BYTES });
        }
        Ok(answer)
    }
}

/// A master knows none of our commands without its worker's prefix, and then waits for another.
fn is_of_master(answer: &[u8]) -> bool {
    answer.starts_with(b"Unknown command")
}

async fn connect(address: &Address) -> io::Result<Pin<Box<dyn Stream>>> {
    match address {
        Address::Tcp { host, port } => Ok(Box::pin(TcpStream::connect((host.as_str(), *port)).await?)),
        Address::Unix(path) => loop {
            match UnixStream::connect(path).await {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => sleep(BACKLOG_PAUSE).await,
                connected => return Ok(Box::pin(connected?)),
            }
        },
    }
}
