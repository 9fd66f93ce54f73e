//! What the running agent knows, as one JSON value, and the socket it is asked on.
//!
//! `status` and everything else that looks at a running agent reads this same value. The socket
//! is `agent.sock` in the runtime directory: a client connects, and gets the value to its end.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

use super::question::{ANSWER_WITHIN, Asker};
use super::words::figures;
use crate::core::controller::{Health, ServerView, View};
use crate::core::names::Names;
use crate::core::plan::inventory::Process;

/// The socket's name in the runtime directory.
const SOCKET: &str = "agent.sock";

/// What there is to know of the agent as a whole.
#[derive(Debug)]
pub struct Overview<'a> {
    /// Nothing is sent.
    pub dry_run: bool,
    /// Since its start.
    pub running: Duration,
    /// HAProxy answered last time.
    pub haproxy_answers: bool,
    /// The HAProxy process that answered last.
    pub process: Option<&'a Process>,
    /// What became of the lines.
    pub lines: Value,
    /// Every backend.
    pub views: &'a [View],
    /// The newest entries of the journal, oldest first.
    pub recent: &'a [Value],
    /// Their names.
    pub names: &'a Names,
}

/// The whole value.
pub fn agent(overview: &Overview<'_>) -> Value {
    let process = overview.process;
    let backends = overview.views.iter().map(|view| backend(view, overview.names));
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "dry_run": overview.dry_run,
        "running_s": overview.running.as_secs(),
        "haproxy": {
            "answers": overview.haproxy_answers,
            "version": process.map(|process| process.version.as_str()),
            "pid": process.map(|process| process.pid),
        },
        "lines": overview.lines,
        "backends": backends.collect::<Vec<_>>(),
        "recent": overview.recent,
    })
}

/// One backend as it is now.
fn backend(view: &View, names: &Names) -> Value {
    let (decision, refused) = match &view.decision {
        Some((decision, refused)) => (Some(decision), refused.as_deref()),
        None => (None, None),
    };
    json!({
        "backend": &*names.of_backend(view.backend),
        "target": {
            "timer": view.target.timer.name(),
            "statistic": view.target.statistic.to_string(),
            "below_ms": view.target.below.as_millis(),
            "window_s": view.window.length.as_secs(),
        },
        "health": health(view.health),
        "decision": decision.map(|decision| decision.name()),
        "reason": decision.map(|decision| decision.reason().to_string()),
        "refused": refused,
        "serving": view.fleet.map(|fleet| fleet.serving),
        "spare": view.fleet.map(|fleet| fleet.startable),
        "moving": view.moving.map(|purpose| purpose.name()),
        "cooldown_s": view.cooldown.as_secs_f64().ceil(),
        "coverage": view.coverage.map(|found| json!({
            "ratio": round(found.ratio()),
            "understood": found.understood,
            "expected": found.expected,
            "counted": found.counted,
            "span_s": round(found.span.as_secs_f64()),
        })),
        "doubt": view.doubt.as_ref().map(ToString::to_string),
        "figures": figures(&view.snapshot),
        "servers": view.servers.iter().map(|server| server_value(server, names)).collect::<Vec<_>>(),
    })
}

fn server_value(server: &ServerView, names: &Names) -> Value {
    let state = &server.state;
    json!({
        "server": &*names.of_server(state.id),
        "state": state.state().name(),
        "up": state.is_up(),
        "serving": state.is_serving(),
        "weight": state.weight.value(),
        "sessions": state.sessions,
        "queued": state.queued,
        "role": server.role.name(),
        "quarantine_s": server.quarantine.map(|left| left.as_secs()),
        "figures": server.snapshot.as_ref().map(figures),
    })
}

/// To a thousandth: more digits would be noise.
fn round(figure: f64) -> f64 {
    (figure * 1e3).round() / 1e3
}

/// One word for people and probes.
fn health(health: Health) -> &'static str {
    match health {
        Health::Good => "good",
        Health::HaproxyAbsent => "haproxy_absent",
        Health::BackendAbsent => "backend_absent",
        Health::Blind => "blind",
        Health::Uncovered => "uncovered",
        Health::TooManyLines => "too_many_lines",
    }
}

/// The socket an agent is asked on; its file goes with it.
#[derive(Debug)]
pub struct StatusSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl StatusSocket {
    /// Opens the socket in `runtime_dir`, in place of one that a crash left behind. Group members may ask too.
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
            let Ok((mut stream, _)) = self.listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let asker = asker.clone();
            tokio::spawn(async move {
                let Some(status) = asker.status().await else { return };
                // A client that went away takes nothing with it.
                let _ = timeout(ANSWER_WITHIN, stream.write_all(status.to_string().as_bytes())).await;
            });
        }
    }
}

impl Drop for StatusSocket {
    fn drop(&mut self) {
        // The directory may be gone already, with all that was in it.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Asks the agent that runs on `runtime_dir`.
///
/// # Errors
/// If none runs there, or it does not answer in time with a JSON value.
pub async fn ask(runtime_dir: &Path) -> io::Result<Value> {
    let mut text = Vec::new();
    let read = async {
        UnixStream::connect(socket(runtime_dir)).await?.read_to_end(&mut text).await?;
        serde_json::from_slice(&text).map_err(io::Error::from)
    };
    timeout(ANSWER_WITHIN, read).await?
}

/// Where the agent of `runtime_dir` is asked.
pub fn socket(runtime_dir: &Path) -> PathBuf {
    runtime_dir.join(SOCKET)
}
