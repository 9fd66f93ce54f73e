//! One HTTP request on a connection of its own, and whether all of the answer came.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::server::TAKES;

/// No answer here is longer than a few hundred bytes; one that is goes on for somebody else.
const MOST_ANSWER_BYTES: usize = 16 * 1024;

/// Asks `target` for `/` and returns the status. `takes` is what a small server is told to take for it.
///
/// A connection is never used again: a pool would blame the server for connections that
/// were closed while idle, and `Connection: close` makes the end of the answer plain.
///
/// # Errors
/// Nobody listens, the connection breaks, or what comes back is not a whole HTTP answer.
pub async fn request(target: SocketAddr, takes: Option<Duration>) -> io::Result<u16> {
    let mut stream = TcpStream::connect(target).await?;
    stream.set_nodelay(true)?;
    let takes = takes.map(|takes| format!("{TAKES}: {}\r\n", takes.as_micros())).unwrap_or_default();
    let head =
        format!("GET / HTTP/1.1\r\nHost: {target}\r\nUser-Agent: demo\r\nConnection: close\r\n{takes}\r\n");
    stream.write_all(head.as_bytes()).await?;
    let mut answer = Vec::with_capacity(512);
    while stream.read_buf(&mut answer).await? > 0 {
        if answer.len() > MOST_ANSWER_BYTES {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
    whole_status(&answer).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

/// The status of `answer`, if it is whole: its head, and as many bytes as the head promises.
fn whole_status(answer: &[u8]) -> Option<u16> {
    let text = std::str::from_utf8(answer).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut lines = head.lines();
    let status = lines.next()?.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    let promised = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let is_whole = promised.is_none_or(|(_, length)| length.trim().parse() == Ok(body.len()));
    is_whole.then_some(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(answer: &str, status: Option<u16>) {
        assert_eq!(whole_status(answer.as_bytes()), status, "{answer:?}");
    }

    #[test]
    fn a_whole_answer_has_a_status() {
        check("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok\n", Some(200));
        check("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", Some(503));
        check("HTTP/1.0 504 Gateway Time-out\r\n\r\n<html>", Some(504));
    }

    #[test]
    fn half_an_answer_has_none() {
        check("", None);
        check("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n", None);
        check("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok", None);
        check("HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\nok", None);
        check("HTTP/1.1\r\n\r\n", None);
        check("SSH-2.0-x\r\n\r\n", None);
    }
}
