//! The agent's own socket: `agent.sock` in the runtime directory.
//!
//! A client connects, writes one [`Request`] as a line of JSON or nothing at all (which asks for the
//! status), and gets one JSON value to its end. Who may connect may order: the file's mode, 660, and
//! that of the directory decide. Who it was, the kernel says (`SO_PEERCRED`, unix(7)).

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::unistd::{Uid, User};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

use super::question::{ANSWER_WITHIN, Asker};
use crate::core::controller::Operator;

/// The socket's name in the runtime directory.
const SOCKET: &str = "agent.sock";

/// A request is shorter: a word, a name, two numbers.
const MOST_BYTES: u64 = 4096;

/// What the kernel calls users that this user namespace knows nothing of, as under systemd's `PrivateUsers=`
/// all but root and the agent's own (user_namespaces(7)).
const UNKNOWN_UID: u32 = 65534;

/// What a client may want.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// All there is to know: [`status::agent`](super::status::agent).
    Status,
    /// Why one backend is as it is: [`explain::backend`](super::explain::backend).
    Explain {
        /// Its name.
        backend: String,
    },
    /// No moves.
    Pause {
        /// The backend's name.
        backend: String,
        /// It ends by itself after so many seconds.
        for_s: Option<u64>,
    },
    /// So many serving servers.
    Pin {
        /// The backend's name.
        backend: String,
        /// At least 1.
        to: u32,
        /// It ends by itself after so many seconds.
        for_s: Option<u64>,
    },
    /// The policy decides again.
    Resume {
        /// The backend's name.
        backend: String,
    },
}

/// The socket an agent is asked on; its file goes with it.
#[derive(Debug)]
pub struct AgentSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl AgentSocket {
    /// Opens the socket in `runtime_dir`, in place of one that a crash left behind. Group members may use it too.
    ///
    /// # Errors
    /// If another agent answers there; or what the file system says.
    pub async fn open(runtime_dir: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(runtime_dir)?;
        let path = socket(runtime_dir);
        if UnixStream::connect(&path).await.is_ok() {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, "another agent answers there"));
        }
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&path)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o660))?;
        Ok(Self { listener, path })
    }

    /// Answers everyone who connects, until the agent ends.
    pub async fn serve(self, asker: Asker) {
        loop {
            // Out of descriptors, for instance: not worth ending the agent for.
            let Ok((stream, _)) = self.listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            tokio::spawn(converse(stream, asker.clone()));
        }
    }
}

impl Drop for AgentSocket {
    fn drop(&mut self) {
        // The directory may be gone already, with all that was in it.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// One request, one answer. A client that is silent or has gone away takes nothing with it.
async fn converse(mut stream: UnixStream, asker: Asker) {
    let mut line = String::new();
    let reading = async { BufReader::new((&mut stream).take(MOST_BYTES)).read_line(&mut line).await };
    let Ok(Ok(_)) = timeout(ANSWER_WITHIN, reading).await else { return };
    let request = match line.trim() {
        "" => Ok(Request::Status),
        text => serde_json::from_str(text),
    };
    let answer = match request {
        // Who looks changes nothing, and need not be known.
        Ok(Request::Status) => asker.request(Request::Status, Operator::default()).await,
        Ok(request) => asker.request(request, operator(&stream).await).await,
        Err(error) => Some(json!({ "error": format!("not a request: {error}") }).to_string()),
    };
    let Some(answer) = answer else { return };
    let _ = timeout(ANSWER_WITHIN, stream.write_all(answer.as_bytes())).await;
}

/// Who is at the other end. Names are looked up beside the loop: they may be somewhere on the network.
async fn operator(stream: &UnixStream) -> Operator {
    let Ok(peer) = stream.peer_cred() else {
        return Operator { name: "somebody".to_owned(), ..Operator::default() };
    };
    let uid = peer.uid();
    if uid == UNKNOWN_UID {
        return Operator { name: "another user".to_owned(), uid, pid: peer.pid() };
    }
    let known = tokio::task::spawn_blocking(move || User::from_uid(Uid::from_raw(uid))).await;
    let name = known.ok().and_then(Result::ok).flatten().map(|user| user.name);
    Operator { name: name.unwrap_or_else(|| format!("uid {uid}")), uid, pid: peer.pid() }
}

/// What the agent that runs on `runtime_dir` answers.
///
/// # Errors
/// If none runs there, or it does not answer in time with a JSON value.
pub async fn ask(runtime_dir: &Path, request: &Request) -> io::Result<Value> {
    let mut text = Vec::new();
    let asked = async {
        let mut stream = UnixStream::connect(socket(runtime_dir)).await?;
        stream.write_all(format!("{}\n", serde_json::to_string(request)?).as_bytes()).await?;
        stream.read_to_end(&mut text).await?;
        serde_json::from_slice(&text).map_err(io::Error::from)
    };
    timeout(ANSWER_WITHIN, asked).await?
}

/// Where the agent of `runtime_dir` is asked.
pub fn socket(runtime_dir: &Path) -> PathBuf {
    runtime_dir.join(SOCKET)
}
