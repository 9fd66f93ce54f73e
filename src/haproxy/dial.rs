//! How connections come about.
//!
//! In: an address. Out: a [`Stream`]. The operating system makes them; whoever plays HAProxy and its servers
//! makes them himself, and all that is above stays as it is: clock, commands, plans.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::sleep;

use super::address::Address;

/// While the socket's backlog is full, a non-blocking connect fails at once with EAGAIN.
const BACKLOG_PAUSE: Duration = Duration::from_millis(20);

/// Bytes both ways.
pub trait Stream: AsyncRead + AsyncWrite + Send {}
impl<T: AsyncRead + AsyncWrite + Send> Stream for T {}

/// A connection on its way.
pub type Dialled<'a> = Pin<Box<dyn Future<Output = io::Result<Pin<Box<dyn Stream>>>> + Send + 'a>>;

/// Makes connections: to HAProxy's sockets, and to servers, to see whether they take one.
pub trait Dial: fmt::Debug + Send + Sync {
    /// Connects to `address`.
    fn dial<'a>(&'a self, address: &'a Address) -> Dialled<'a>;
}

/// The operating system.
#[derive(Clone, Copy, Debug)]
pub(super) struct Network;

impl Dial for Network {
    fn dial<'a>(&'a self, address: &'a Address) -> Dialled<'a> {
        Box::pin(connect(address))
    }
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
