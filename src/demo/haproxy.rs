//! A real HAProxy between clients and [small servers](super::server): one frontend, one
//! backend `app` with the servers s1, s2, ..., of which only the first few serve at first.
//!
//! HAProxy writes no files. It runs in the foreground, logs to its standard output, and that is
//! a file in its folder. Its port is one that we have bound already and hand over as standard
//! input, `bind fd@0`: no port number is guessed, none can be taken in between (seen to work on
//! HAProxy 2.6.12).

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use thiserror::Error;

use super::folder::TempFolder;
use super::process::Process;

/// The name of the backend.
pub const BACKEND: &str = "app";

/// It is there within 50 ms; a machine busy with other things gets the rest.
const START_DEADLINE: Duration = Duration::from_secs(30);
/// For each read and write on the admin socket, which answers within a millisecond; the rest is for such a machine.
const SOCKET_TIMEOUT: Duration = Duration::from_secs(20);

/// A running HAProxy; dropping it kills it and removes its folder.
#[derive(Debug)]
pub struct Haproxy {
    // Dropped in this order: first the process, then the folder it writes to.
    process: Process,
    frontend: SocketAddr,
    folder: TempFolder,
}

impl Haproxy {
    /// Starts it in front of `servers`; all but the first `serving` are declared `disabled`.
    /// Each server gets at most `maxconn` requests at a time, the others wait in HAProxy, where
    /// a server that is added can take them over.
    ///
    /// # Errors
    /// It is not installed, cannot be started, or does not come up.
    pub fn start(servers: &[SocketAddr], serving: usize, maxconn: u32) -> Result<Self, HaproxyError> {
        let program = find().ok_or(HaproxyError::NotInstalled)?;
        let folder = TempFolder::create("haproxy-autoscale-demo").map_err(HaproxyError::Prepare)?;
        let config = config(folder.path(), servers, serving, maxconn);
        fs::write(folder.path().join("haproxy.cfg"), config).map_err(HaproxyError::Prepare)?;
        let (listener, frontend) = listen().map_err(HaproxyError::Prepare)?;
        let file = |name: &str| append(&folder.path().join(name)).map_err(HaproxyError::Prepare);
        let mut command = Command::new(program);
        command.arg("-db").arg("-f").arg(folder.path().join("haproxy.cfg"));
        command.stdin(OwnedFd::from(listener)).stdout(file("haproxy.log")?).stderr(file("haproxy.err")?);
        let process = Process::start(&mut command).map_err(HaproxyError::Start)?;
        let mut haproxy = Self { process, frontend, folder };
        haproxy.wait_until_up()?;
        Ok(haproxy)
    }

    /// Where clients connect.
    pub fn frontend(&self) -> SocketAddr {
        self.frontend
    }

    /// Its Runtime API, level admin.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("admin.sock")
    }

    /// Its log, `option httplog`, bare lines.
    pub fn log(&self) -> PathBuf {
        self.folder.path().join("haproxy.log")
    }

    /// Its folder, which goes when it goes.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What it says about its servers, in the order of its configuration.
    ///
    /// # Errors
    /// The admin socket does not answer.
    pub fn servers(&self) -> io::Result<Vec<ServerSeen>> {
        Ok(servers_in(&self.ask("show stat")?))
    }

    /// Sends one command to the admin socket and returns all that comes back.
    ///
    /// # Errors
    /// The admin socket does not answer.
    pub fn ask(&self, command: &str) -> io::Result<String> {
        let mut stream = UnixStream::connect(self.socket())?;
        stream.set_read_timeout(Some(SOCKET_TIMEOUT))?;
        stream.set_write_timeout(Some(SOCKET_TIMEOUT))?;
        writeln!(stream, "{command}")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    fn wait_until_up(&mut self) -> Result<(), HaproxyError> {
        let start = Instant::now();
        while self.ask("show info").is_err() {
            if self.process.ended().is_some() || start.elapsed() > START_DEADLINE {
                let said = fs::read_to_string(self.folder.path().join("haproxy.err")).unwrap_or_default();
                return Err(HaproxyError::NotUp { said });
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

/// Where `haproxy` is: on PATH, or where Debian has it, which is not on every user's PATH.
pub fn find() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from));
    folders.map(|folder| folder.join("haproxy")).find(|program| program.is_file())
}

/// Why there is no HAProxy.
#[derive(Debug, Error)]
pub enum HaproxyError {
    /// No `haproxy` on PATH nor in the usual places.
    #[error("found no `haproxy` on PATH; on Debian: apt-get install haproxy")]
    NotInstalled,
    /// Its folder, its port or its configuration.
    #[error("cannot prepare a folder and a port for HAProxy")]
    Prepare(#[source] io::Error),
    /// The program does not start.
    #[error("cannot start HAProxy")]
    Start(#[source] io::Error),
    /// It ended, or its admin socket does not answer in time.
    #[error("HAProxy did not come up; it said: {}", said.trim())]
    NotUp {
        /// Its standard error.
        said: String,
    },
}

/// One server, as `show stat` has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerSeen {
    /// Such as `s1`.
    pub name: String,
    /// Such as `UP`, `UP 1/2`, `DRAIN`, `MAINT`, `DOWN`.
    pub status: String,
    /// The effective weight.
    pub weight: u32,
}

impl ServerSeen {
    /// Takes new requests.
    pub fn is_serving(&self) -> bool {
        self.status.starts_with("UP") && self.weight > 0
    }

    /// Has to run: it serves, is about to, or finishes what it has.
    pub fn is_needed(&self) -> bool {
        !self.status.starts_with("MAINT")
    }
}

/// The servers of [`BACKEND`] in the CSV that `show stat` answers (management manual 9.1).
fn servers_in(stat: &str) -> Vec<ServerSeen> {
    let mut lines = stat.lines();
    let header: Vec<&str> = lines.next().unwrap_or_default().trim_start_matches("# ").split(',').collect();
    let column = |name: &str| header.iter().position(|column| *column == name);
    let (Some(proxy), Some(server), Some(status), Some(weight)) =
        (column("pxname"), column("svname"), column("status"), column("weight"))
    else {
        return Vec::new();
    };
    let seen = lines.map(|line| line.split(',').collect::<Vec<_>>()).filter_map(|row| {
        let name = *row.get(server)?;
        (*row.get(proxy)? == BACKEND && name != "BACKEND").then_some(ServerSeen {
            name: name.to_owned(),
            status: (*row.get(status)?).to_owned(),
            weight: row.get(weight)?.parse().unwrap_or(0),
        })
    });
    seen.collect()
}

fn listen() -> io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let addr = listener.local_addr()?;
    Ok((listener, addr))
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

fn config(folder: &Path, servers: &[SocketAddr], serving: usize, maxconn: u32) -> String {
    let mut text = format!(
        "global
    log stdout format raw local0
    stats socket {folder}/admin.sock mode 600 level admin
    nbthread 1

defaults
    mode http
    log global
    option httplog
    option httpchk
    option abortonclose
    timeout connect 2s
    timeout client 30s
    timeout server 30s
    timeout queue 30s

frontend users
    bind fd@0
    default_backend {BACKEND}

backend {BACKEND}
    balance roundrobin
    default-server check inter 250ms fall 3 rise 2 weight 100 maxconn {maxconn}
",
        folder = folder.display(),
    );
    for (n, addr) in servers.iter().enumerate() {
        let disabled = if n < serving { "" } else { " disabled" };
        let _ = writeln!(text, "    server s{} {addr}{disabled}", n + 1);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_servers_serve_at_first() {
        let servers = [1, 2, 3].map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        let text = config(Path::new("/run/x"), &servers, 1, 4);
        let declared: Vec<&str> =
            text.lines().filter_map(|line| line.trim().strip_prefix("server ")).collect();
        assert_eq!(declared, ["s1 127.0.0.1:1", "s2 127.0.0.1:2 disabled", "s3 127.0.0.1:3 disabled"]);
    }

    #[test]
    fn servers_are_found_by_the_names_of_the_columns() {
        let stat = "# svname,pxname,weight,status,\nFRONTEND,users,,OPEN,\ns1,app,100,UP 1/2,\n\
                    s2,app,100,DRAIN,\ns3,app,100,MAINT,\ns4,app,0,UP,\nBACKEND,app,100,UP,\n\n";
        let seen = servers_in(stat);
        let of = |is: fn(&ServerSeen) -> bool| -> Vec<&str> {
            seen.iter().filter(|server| is(server)).map(|server| &*server.name).collect()
        };
        assert_eq!(of(ServerSeen::is_serving), ["s1"]);
        assert_eq!(of(ServerSeen::is_needed), ["s1", "s2", "s4"]);
        assert_eq!(servers_in("Unknown command"), []);
    }
}
