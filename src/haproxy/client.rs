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
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout_at};
use tracing::trace;

use super::address::{Address, Endpoint};
use super::capabilities::Known;
use super::dial::{Dial, Network, Stream};
use super::environment::Environment;
use super::error::{Phase, RuntimeError};
use crate::core::names::Names;
use crate::core::plan::inventory::{Inventory, Process};
use crate::core::wire::command::{Command, Name, Scope};
use crate::core::wire::error::AnswerError;
use crate::core::wire::guarded::{Guarded, Overtaken};
use crate::core::wire::response::{self, Level, Reply};
use crate::core::wire::{info, reading};

/// An inventory of 1,000 backends with 100 servers is about 40 MB; nothing HAProxy shows us
/// is longer.
const MOST_ANSWER_BYTES: usize = 64 << 20;

/// HAProxy serves 10 connections of its `stats socket` at a time unless `stats maxconn` says
/// otherwise, and lets others wait. The rest is left to operators and to monitoring.
const MOST_CONNECTIONS: usize = 4;

/// Asks one HAProxy. Clones share the limit on connections.
#[derive(Clone, Debug)]
pub struct Client {
    address: Address,
    is_master: bool,
    /// Where another socket is the master's.
    master: Option<Box<Client>>,
    timeout: Duration,
    connections: Arc<Semaphore>,
    /// So many sockets there are, this one with them.
    sockets: usize,
    dial: Arc<dyn Dial>,
    pub(super) known: Known,
    pub(super) environment: Environment,
}

impl Client {
    /// Asks the HAProxy at `endpoint`. A command may take `timeout` from connect to the answer's
    /// end; the wait for one of our own connections to become free comes before that.
    pub fn new(endpoint: impl Into<Endpoint>, timeout: Duration) -> Self {
        let Endpoint { address, is_master, master } = endpoint.into();
        Self {
            address,
            is_master,
            master: master.map(|address| Box::new(Self::new(address, timeout))),
            timeout,
            connections: Arc::new(Semaphore::new(MOST_CONNECTIONS)),
            dial: Arc::new(Network),
            sockets: 1,
            known: Known::default(),
            environment: Environment::default(),
        }
    }

    /// The same, as one of so many `sockets` that are all asked: each may be that of one of HAProxy's processes.
    #[must_use]
    pub fn one_of(self, sockets: usize) -> Self {
        Self { sockets, ..self }
    }

    /// The same, with connections by `dial`.
    #[must_use]
    pub fn through(self, dial: Arc<dyn Dial>) -> Self {
        Self { dial, ..self }
    }

    /// Who knows of old workers, if that is known.
    pub(crate) fn master(&self) -> Option<&Self> {
        if self.is_master { Some(self) } else { self.master.as_deref() }
    }

    /// Where HAProxy listens.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Sends `command` and reads the answer. A change is made whatever HAProxy has: see [`Client::change`].
    ///
    /// Dropping the future closes the connection; HAProxy may have carried out the command.
    ///
    /// # Errors
    /// If HAProxy refused (a part of) it, or cannot be asked, or does not answer in time. All
    /// but refusals and garbage may go by themselves: a reload refuses connections for a moment, and an old
    /// worker may still take one.
    pub async fn run(&self, command: &Command) -> Result<Reply, RuntimeError> {
        if command.is_change() {
            return self.change(&Guarded::anyhow(command.clone())).await;
        }
        let (_connection, start) = self.begin().await;
        let answer = self.exchange(&self.line(command.parts()), start + self.timeout).await;
        self.trace(command, start, &answer);
        response::show(command, answer?).map(Reply::Text).map_err(|error| self.garbage(error))
    }

    /// Makes a change where HAProxy is as it was read, and reads the answer.
    ///
    /// # Errors
    /// As [`Client::run`]; [`RuntimeError::Overtaken`] if HAProxy is not as it was read. Nothing was sent then, nor to
    /// an old worker.
    pub async fn change(&self, change: &Guarded) -> Result<Reply, RuntimeError> {
        let (_connection, start) = self.begin().await;
        let answer = self.change_within(change, start + self.timeout).await;
        self.trace(change.command(), start, &answer);
        let answer = answer?;
        change.read(&answer).map_err(|error| self.garbage(error))
    }

    async fn change_within(&self, change: &Guarded, deadline: Instant) -> Result<Vec<u8>, RuntimeError> {
        let questions = change.questions();
        let mut conversation = Conversation::open(self, deadline).await?;
        let many = questions.len();
        // A master keeps its connections open; HAProxy itself does when it is to show a prompt.
        let (prompt, worker) = if self.is_master { ("", "@1 ") } else { ("prompt; ", "") };
        conversation.say(format!("{prompt}{}\n", line(worker, questions)).as_bytes()).await?;
        let before = conversation.hear(|answer| is_whole(answer, many)).await?;
        let (process, stands) =
            change.check(&without_prompts(&before)).map_err(|error| self.garbage(error))?;
        self.must_go_on(&process)?;
        let overtaken = |by: Overtaken| {
            let (address, command) = (self.address.clone(), change.command().to_string());
            RuntimeError::Overtaken { address, command, by }
        };
        stands.map_err(overtaken)?;
        // The very process that has just answered.
        let worker = if self.is_master { format!("@!{} ", process.pid) } else { String::new() };
        let told = line(&worker, change.command().parts());
        conversation.say(format!("{told}; quit\n").as_bytes()).await?;
        let answer = conversation.hear(|_| false).await.map_err(|error| match error {
            RuntimeError::NoWorker { .. } => overtaken(Overtaken::Restarted),
            error => error,
        })?;
        // The prompt of the questions may come late.
        Ok(without_prompts(answer.strip_prefix(b"> ").unwrap_or(&answer)))
    }

    /// Waits for one of our own connections to become free; what a command takes counts from then on.
    async fn begin(&self) -> (Option<SemaphorePermit<'_>>, Instant) {
        // The semaphore is never closed; if it were, there would be no limit to keep.
        (self.connections.acquire().await.ok(), Instant::now())
    }

    fn trace(&self, command: &Command, start: Instant, answer: &Result<Vec<u8>, RuntimeError>) {
        let elapsed_ms = start.elapsed().as_millis() as u64;
        trace!(
            command = %command,
            elapsed_ms,
            answer_bytes = answer.as_ref().map_or(0, Vec::len),
            error = answer.as_ref().err().map(tracing::field::display),
            "asked haproxy"
        );
    }

    /// An old worker that answers once more knows and does nothing that lasts.
    fn must_go_on(&self, process: &Process) -> Result<(), RuntimeError> {
        if !self.known.is_old(process) {
            return Ok(());
        }
        Err(RuntimeError::OldWorker { address: self.address.clone(), pid: process.pid })
    }

    /// A process of which others have a part of the servers' states is not all of HAProxy. A master's `@1` is one of
    /// them, too.
    fn must_be_whole(&self) -> Result<(), RuntimeError> {
        let processes = self.capabilities().map_or(1, |known| known.processes);
        let reached = if self.is_master { 1 } else { self.sockets };
        if processes as usize <= reached {
            return Ok(());
        }
        Err(RuntimeError::ManyProcesses { address: self.address.clone(), processes })
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
        self.must_be_whole()?;
        self.ask_for_variables(&inventory.process).await;
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

    /// Whether the server at `address` takes a connection.
    ///
    /// # Errors
    /// If it does not.
    pub(super) async fn reach(&self, address: SocketAddr) -> io::Result<()> {
        let address = Address::Tcp { host: address.ip().to_string(), port: address.port() };
        self.dial.dial(&address).await.map(drop)
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
        let (_connection, start) = self.begin().await;
        let answer = self.exchange(format!("{line}\n").as_bytes(), start + self.timeout).await?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    /// What the worker `pid` of this master answers to `command`, which only shows; `None` if it has ended.
    pub(super) async fn ask_worker(&self, pid: u32, command: &str) -> Result<Option<String>, RuntimeError> {
        let (_connection, start) = self.begin().await;
        let mut conversation = Conversation::open(self, start + self.timeout).await?;
        conversation.say(format!("@!{pid} {command}; quit\n").as_bytes()).await?;
        // Nothing more comes then.
        let answer = conversation.hear(is_of_nobody).await?;
        if answer.starts_with(NO_SUCH_WORKER) {
            return Ok(None);
        }
        if is_of_nobody(&answer) {
            return Err(RuntimeError::NoWorker { address: self.address.clone() });
        }
        Ok(Some(String::from_utf8_lossy(&answer).into_owned()))
    }

    pub(super) async fn show(&self, command: &Command) -> Result<String, RuntimeError> {
        match self.run(command).await? {
            Reply::Text(text) => Ok(text),
            // A `show` is never answered like that.
            Reply::Done => Ok(String::new()),
        }
    }

    /// What `command`, which only shows, shows; not more than about `most` bytes of it.
    pub(super) async fn beginning(&self, command: &Command, most: usize) -> Result<String, RuntimeError> {
        let (_connection, start) = self.begin().await;
        let answer = async {
            let mut conversation = Conversation::open(self, start + self.timeout).await?;
            conversation.say(&self.line(command.parts())).await?;
            conversation.hear(|answer| answer.len() >= most).await
        };
        let answer = answer.await;
        self.trace(command, start, &answer);
        let answer = answer?;
        if answer.len() >= most {
            return Ok(String::from_utf8_lossy(&answer).into_owned());
        }
        response::show(command, answer).map_err(|error| self.garbage(error))
    }

    pub(super) fn garbage(&self, error: AnswerError) -> RuntimeError {
        RuntimeError::of_answer(error, &self.address)
    }

    /// A master does not close the connection behind its answer unless it is told to (seen on HAProxy 2.2 to 3.2).
    fn line(&self, parts: Vec<String>) -> Vec<u8> {
        let (worker, end) = if self.is_master { ("@1 ", "; quit") } else { ("", "") };
        format!("{}{end}\n", line(worker, parts)).into_bytes()
    }

    /// The bytes that came until the end of the connection.
    async fn exchange(&self, line: &[u8], deadline: Instant) -> Result<Vec<u8>, RuntimeError> {
        let mut conversation = Conversation::open(self, deadline).await?;
        conversation.say(line).await?;
        conversation.hear(|_| false).await
    }
}

/// A master hands each part on to its `worker` by itself. No `;` at the end: HAProxy up to 2.6 answers that with the
/// whole help.
fn line(worker: &str, parts: Vec<String>) -> String {
    parts.into_iter().map(|part| format!("{worker}{part}")).collect::<Vec<_>>().join("; ")
}

/// One connection.
struct Conversation<'a> {
    client: &'a Client,
    stream: Pin<Box<dyn Stream>>,
    deadline: Instant,
}

impl<'a> Conversation<'a> {
    async fn open(client: &'a Client, deadline: Instant) -> Result<Self, RuntimeError> {
        let stream = timeout_at(deadline, client.dial.dial(&client.address))
            .await
            .map_err(|_| timed_out(client, Phase::Connecting))?
            .map_err(|source| RuntimeError::CannotConnect { address: client.address.clone(), source })?;
        Ok(Self { client, stream, deadline })
    }

    async fn say(&mut self, line: &[u8]) -> Result<(), RuntimeError> {
        timeout_at(self.deadline, self.stream.write_all(line))
            .await
            .map_err(|_| timed_out(self.client, Phase::Sending))?
            .map_err(|source| self.broken(Phase::Sending, source))
    }

    /// What comes until it `is_whole`, or until the end of the connection.
    async fn hear(&mut self, is_whole: impl Fn(&[u8]) -> bool) -> Result<Vec<u8>, RuntimeError> {
        let (mut answer, address) = (Vec::new(), &self.client.address);
        while !is_whole(&answer) {
            let received = timeout_at(self.deadline, self.stream.read_buf(&mut answer)).await;
            let Ok(received) = received else {
                let master = is_of_master(&answer).then(|| RuntimeError::Master { address: address.clone() });
                return Err(master.unwrap_or_else(|| timed_out(self.client, Phase::Reading)));
            };
            let received = received.map_err(|source| self.broken(Phase::Reading, source))?;
            if self.client.is_master && is_of_nobody(&answer) {
                return Err(RuntimeError::NoWorker { address: address.clone() });
            }
            if received == 0 {
                break;
            }
            if answer.len() > MOST_ANSWER_BYTES {
                return Err(RuntimeError::TooLong { address: address.clone(), limit: MOST_ANSWER_BYTES });
            }
        }
        Ok(answer)
    }

    fn broken(&self, during: Phase, source: io::Error) -> RuntimeError {
        RuntimeError::Broken { address: self.client.address.clone(), during, source }
    }
}

fn timed_out(client: &Client, during: Phase) -> RuntimeError {
    RuntimeError::TimedOut { address: client.address.clone(), during, after: client.timeout }
}

/// What HAProxy writes where it waits for the next command, or before the next part of a line (up to 3.0).
const PROMPT: &[u8] = b"\n> ";

/// So many `show` commands have been answered: each answer ends with an empty line. The last one's may have come
/// without its prompt, never with half of it.
fn is_whole(answer: &[u8], many: usize) -> bool {
    !answer.ends_with(b"\n>")
        && without_prompts(answer).windows(2).filter(|pair| pair == b"\n\n").count() >= many
}

/// `answer` as it would be without a prompt: HAProxy puts an empty line before the first one.
fn without_prompts(answer: &[u8]) -> Vec<u8> {
    let mut rest = answer;
    let mut text = Vec::with_capacity(answer.len());
    while let Some(&first) = rest.first() {
        let is_prompt = rest.starts_with(PROMPT);
        text.push(first);
        rest = &rest[if is_prompt { PROMPT.len() } else { 1 }..];
    }
    text
}

/// A master knows none of our commands without its worker's prefix, and then waits for another.
fn is_of_master(answer: &[u8]) -> bool {
    answer.starts_with(b"Unknown command")
}

/// A master has no such worker: not any more, or, as seen on HAProxy 3.4, not yet. From 2.8 on it forgets the rest of
/// the line then, `quit` too, and leaves the connection open (seen on 2.8 to 3.4; 2.2 and 2.6 close it). Or the worker
/// ends while it is asked (seen on 2.2 to 3.4).
fn is_of_nobody(answer: &[u8]) -> bool {
    answer.starts_with(NO_SUCH_WORKER) || answer.starts_with(b"Can't connect to the target CLI")
}

const NO_SUCH_WORKER: &[u8] = b"Can't find the target PID";
