//! Connections to the HAProxys of a fleet, and to its servers: in memory, with the time that they take.
//!
//! A line is carried out when its answer is read, after a while; the second one of a connection at once, as HAProxy
//! would within microseconds.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use haproxy_autoscale::haproxy::address::Address;
use haproxy_autoscale::haproxy::dial::{Dial, Dialled, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::fleet::{Answer, Fleet};

/// How often one that hangs is looked at.
const AGAIN: Duration = Duration::from_millis(500);

/// Shared by its connections and by whoever makes the storm.
#[derive(Clone, Debug)]
pub(crate) struct Shared(Arc<Mutex<Fleet>>);

impl Shared {
    pub(crate) fn new(fleet: Fleet) -> Self {
        Self(Arc::new(Mutex::new(fleet)))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Fleet> {
        self.0.lock().expect("nobody panics with it")
    }
}

impl Dial for Shared {
    fn dial<'a>(&'a self, address: &'a Address) -> Dialled<'a> {
        Box::pin(async move {
            let stream: Pin<Box<dyn Stream>> = match address {
                Address::Unix(path) => {
                    let node =
                        path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
                    let node = node.expect("it is called by its number");
                    let (pid, lasts) = self.lock().connect(node)?;
                    Box::pin(Connection::new(self.clone(), node, pid, lasts))
                }
                Address::Tcp { host, port } => {
                    let address = format!("{host}:{port}").parse().expect("an IPv4 address");
                    if !self.lock().is_alive(address) {
                        return Err(io::ErrorKind::ConnectionRefused.into());
                    }
                    Box::pin(tokio::io::empty())
                }
            };
            Ok(stream)
        })
    }
}

struct Connection {
    fleet: Shared,
    node: usize,
    /// Whose it is.
    pid: u32,
    /// So long the first answer takes.
    lasts: Duration,
    input: Vec<u8>,
    /// A line that is not answered yet.
    line: Option<(String, Pin<Box<Sleep>>)>,
    output: Vec<u8>,
    is_first: bool,
    is_over: bool,
}

impl Connection {
    fn new(fleet: Shared, node: usize, pid: u32, lasts: Duration) -> Self {
        let (input, output) = (Vec::new(), Vec::new());
        Self { fleet, node, pid, lasts, input, line: None, output, is_first: true, is_over: false }
    }

    fn answer(&mut self, line: &str) -> io::Result<bool> {
        let goes_on = line.starts_with("prompt;");
        let fleet = &mut self.fleet.lock();
        let mut text = String::new();
        for part in line.split(';').map(str::trim) {
            if part == "prompt" {
                continue;
            }
            if part == "quit" {
                self.is_over = true;
                break;
            }
            match fleet.obey(self.node, self.pid, part) {
                Answer::Text(answer) => text += &format!("{answer}\n"),
                Answer::NotYet => return Ok(false),
                Answer::Broken => return Err(io::ErrorKind::ConnectionReset.into()),
            }
        }
        text += if goes_on { "> " } else { "" };
        self.is_over |= !goes_on;
        self.output.extend(text.into_bytes());
        Ok(true)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.input.extend(bytes);
        if self.input.ends_with(b"\n") {
            let line = String::from_utf8(std::mem::take(&mut self.input)).expect("it is text");
            let is_first = std::mem::replace(&mut self.is_first, false);
            let is_wait = line.starts_with("wait ") && !is_first;
            if is_first || is_wait || !self.answer(&line)? {
                let lasts = if is_wait { Duration::from_millis(990) } else { self.lasts };
                self.line = Some((line, Box::pin(sleep(lasts))));
            }
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while let Some((line, lasts)) = &mut self.line {
            ready!(lasts.as_mut().poll(context));
            let line = line.clone();
            if self.answer(&line)? {
                self.line = None;
            } else {
                self.line = Some((line, Box::pin(sleep(AGAIN))));
            }
        }
        if self.output.is_empty() && !self.is_over {
            // Nothing was said that could be answered, and nobody will.
            return Poll::Pending;
        }
        let many = into.remaining().min(self.output.len());
        let rest = self.output.split_off(many);
        into.put_slice(&self.output);
        self.output = rest;
        Poll::Ready(Ok(()))
    }
}
