//! A way to a server that expects a header of the PROXY protocol before anything else.
//!
//! Requests go to a port of this machine, and from there, behind the header, to the server. The header says what that of
//! HAProxy's own checks says: that nobody's connection is passed on, so that no client's address is to be told.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::{AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::core::settings::server_lines::ProxyHeader;

/// `PROXY UNKNOWN` (PROXY protocol, 2.1).
const V1: &[u8] = b"PROXY UNKNOWN\r\n";

/// The signature, `LOCAL`, no family, and no more bytes (PROXY protocol, 2.2).
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00";

/// Open until it is dropped.
#[derive(Debug)]
pub(super) struct Relay {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Relay {
    /// To the server at `server`.
    ///
    /// # Errors
    /// If there is no port for it.
    pub(super) async fn open(server: SocketAddr, header: ProxyHeader) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        Ok(Self { address, task: tokio::spawn(serve(listener, server, header)) })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, server: SocketAddr, header: ProxyHeader) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        connections.spawn(pass_on(client, server, header));
        while connections.try_join_next().is_some() {}
    }
}

/// What goes wrong, whoever sends requests sees: his connection is closed.
async fn pass_on(mut client: TcpStream, server: SocketAddr, header: ProxyHeader) -> io::Result<()> {
    let mut server = TcpStream::connect(server).await?;
    let header = match header {
        ProxyHeader::V1 => V1,
        ProxyHeader::V2 => V2,
    };
    server.write_all(header).await?;
    copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}
