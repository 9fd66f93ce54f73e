//! HAProxy's log by each way that is no file, from a real HAProxy to what the agent says it has read: every
//! request is counted, and nothing else.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::unistd::{Group, Uid};
use serde_json::Value;
use support::{Agent, Haproxy, PATIENCE, free_port, request, wait_until};
use tempfile::TempDir;

mod support;

/// Of each test.
const REQUESTS: usize = 400;

/// A folder that everybody may look into.
fn open_folder() -> TempDir {
    let folder = tempfile::Builder::new().prefix("so").tempdir().expect("a temporary folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("it is ours");
    folder
}

/// HAProxy that answers by itself on `port` and logs as `log` says; `before` comes before its frontend.
fn config(port: u16, before: &str, log: &str) -> String {
    format!(
        "{before}
frontend fe
    mode http
    timeout client 10m
    bind 127.0.0.1:{port}
    option httplog
    {log}
    http-request return status 200
"
    )
}

fn lines(agent: &Agent) -> Value {
    agent.status().map(|status| status["lines"].clone()).unwrap_or_default()
}

/// Waits for `count` requests, stops the agent, and holds what it says at its end against `count`.
#[track_caller]
fn check(agent: &mut Agent, count: usize) {
    let start = Instant::now();
    while lines(agent)["requests"] != count && start.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(20));
    }
    let (status, summary) = agent.stop();
    assert!(status.success());
    assert_eq!(summary["requests"], count, "{summary}");
    let number = |name: &str| summary[name].as_u64().unwrap_or(u64::MAX);
    assert_eq!((number("unparsed"), number("lost")), (0, 0), "{summary}");
    assert_eq!(number("lines"), number("requests") + number("messages"), "{summary}");
}

/// Lines that HAProxy has thrown away.
fn dropped(haproxy: &Haproxy) -> usize {
    let info = haproxy.ask("show info");
    let dropped = info.lines().find_map(|line| line.strip_prefix("DroppedLogs: ")).expect("it says so");
    dropped.parse().expect("a number")
}

/// HAProxy logs to `sources` as `log` says, and the agent counts `times` lines for each request.
#[track_caller]
fn check_way(sources: &[&str], before: &str, log: &str, times: usize) {
    let mut agent = Agent::start("", sources);
    let port = free_port();
    let Some(haproxy) = Haproxy::start(&config(port, before, log)) else { return };
    // HAProxy waits for no reader: what the queue of a unix socket, ten datagrams as a rule, has no room for it
    // throws away, and that of UDP a few hundred. So there are never more on their way.
    let is_unix = sources.iter().any(|source| source.starts_with("unix:"));
    let at_once = if is_unix { 8 } else { 50 };
    for first in (0..REQUESTS).step_by(at_once) {
        request(port, first..first + at_once);
        let so_far = (first + at_once) * times;
        wait_until("they are counted", PATIENCE, || lines(&agent)["requests"] == so_far);
    }
    assert_eq!(dropped(&haproxy), 0, "HAProxy threw lines away");
    check(&mut agent, REQUESTS * times);
}

#[test]
fn haproxy_logs_to_udp() {
    for format in ["", "format rfc5424", "format raw"] {
        let address = format!("127.0.0.1:{}", free_port());
        check_way(&[&format!("udp://{address}")], "", &format!("log {address} {format} local0"), 1);
    }
}

#[test]
fn haproxy_logs_to_udp_over_ipv6() {
    let port = free_port();
    check_way(&[&format!("udp://[::1]:{port}")], "", &format!("log ipv6@[::1]:{port} local0"), 1);
}

#[test]
fn haproxy_logs_to_a_unix_socket() {
    let folder = open_folder();
    let path = folder.path().join("log.sock");
    let path = path.display();
    check_way(&[&format!("unix://{path}")], "", &format!("log {path} len 4096 local0"), 1);
}

#[test]
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn haproxy_as_its_own_user_may_write_to_the_socket_as_it_is_made() {
    let has_haproxy = matches!(Group::from_name("haproxy"), Ok(Some(_)));
    if !Uid::effective().is_root() || !has_haproxy {
        eprintln!("skipped: only root can run HAProxy as its user, and only where there is one");
        return;
    }
    let folder = open_folder();
    let path = folder.path().join("log.sock");
    let path = path.display();
    let before = "global\n    user haproxy\n    group haproxy\n";
    check_way(&[&format!("unix://{path}")], before, &format!("log {path} local0"), 1);
    // Where it is for HAProxy, the folder being its root.
    let before = format!("{before}    chroot {}\n", folder.path().display());
    check_way(&[&format!("unix://{path}")], &before, "log /log.sock local0", 1);
}

/// A ring that is sent to `port`.
fn ring(port: u16, framing: &str) -> String {
    format!(
        "ring requests
    size 1000000
    maxlen 4096
    format rfc3164
    timeout connect 60s
    timeout server 10m
    server agent 127.0.0.1:{port} {framing}
"
    )
}

#[test]
fn haproxy_logs_to_a_ring_that_is_sent_over_tcp() {
    for framing in ["log-proto octet-count", "log-proto legacy", ""] {
        let port = free_port();
        let source = format!("tcp://127.0.0.1:{port}");
        check_way(&[&source], &ring(port, framing), "log ring@requests local0", 1);
    }
}

#[test]
fn haproxy_logs_to_a_ring_that_is_read_over_its_runtime_api() {
    for format in ["raw", "rfc3164", "rfc5424", "timed"] {
        let folder = open_folder();
        let socket = folder.path().join("admin.sock");
        let before = format!(
            "global\n    stats socket {} mode 600 level operator\nring requests\n    size 1000000\n    \
             maxlen 4096\n    format {format}\n",
            socket.display()
        );
        let source = format!("ring:requests@{}", socket.display());
        check_way(&[&source], &before, &format!("log ring@requests format {format} local0"), 1);
    }
}

#[test]
fn a_ring_without_an_address_is_that_of_the_configured_haproxy() {
    let port = free_port();
    let before = "ring requests\n    size 1000000\n    format raw\n    maxlen 4096\n";
    let Some(haproxy) = Haproxy::start(&config(port, before, "log ring@requests format raw local0")) else {
        return;
    };
    let socket = format!("haproxy: {{ sockets: [{}] }}\n", haproxy.socket().display());
    let mut agent = Agent::start(&socket, &["--from-start", "ring:requests"]);
    request(port, 0..10);
    check(&mut agent, 10);
}

#[test]
fn several_ways_at_once_are_all_counted() {
    let (udp, tcp) = (free_port(), free_port());
    let folder = open_folder();
    let path = folder.path().join("log.sock");
    let path = path.display();
    let log = format!("log 127.0.0.1:{udp} local0\n    log {path} local0\n    log ring@requests local0");
    let sources =
        [format!("udp://127.0.0.1:{udp}"), format!("unix://{path}"), format!("tcp://127.0.0.1:{tcp}")];
    check_way(&sources.each_ref().map(String::as_str), &ring(tcp, "log-proto octet-count"), &log, 3);
}

/// A program in a folder of its own, to stand before others on the PATH.
fn program(name: &str, script: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join(name);
    fs::write(&path, script).expect("it is ours");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it is ours");
    folder
}

/// Prints what was recorded of the journal, behind the cursor that is asked for, and says at the end that
/// it goes down; `{most}` lines at a time.
const STAND_IN: &str = r#"#!/bin/sh
echo "$@" >> {folder}/calls
for argument; do
    case $argument in --after-cursor=*) cursor=${argument#--after-cursor=} ;; esac
done
awk -v cursor="$cursor" -v most={most} '
    behind || cursor == "" { print; if (++printed == most) { printf "{\"MESSAGE\":\"half of" ; exit 7 } }
    cursor != "" && index($0, cursor) { behind = 1 }
' {recorded} && exec sleep 1000
echo "No more journal files, going down." >&2
exit 7
"#;

fn recorded() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/journald/haproxy.jsonl")
}

/// A stand-in for journalctl that ends after `most` lines, and where it notes how it was called.
fn stand_in(most: usize) -> (TempDir, PathBuf) {
    let calls = tempfile::tempdir().expect("a temporary folder");
    let script = STAND_IN
        .replace("{folder}", calls.path().to_str().expect("text"))
        .replace("{most}", &most.to_string())
        .replace("{recorded}", recorded().to_str().expect("text"));
    let programs = program("journalctl", &script);
    let file = calls.keep().join("calls");
    (programs, file)
}

#[test]
fn the_journal_is_read_on_behind_the_last_line_when_its_reader_ends() {
    let (programs, calls) = stand_in(12);
    let mut agent = Agent::start_with_programs(programs.path(), "", &["journald:haproxy"]);
    wait_until("it has been told that the reader ended", PATIENCE, || {
        agent.event("journalctl has ended (exit status: 7: No more journal files, going down.); starting it again").is_some()
    });
    let recorded = fs::read_to_string(recorded()).expect("it is there");
    let count = recorded.lines().count();
    check(&mut agent, count);
    let called = fs::read_to_string(&calls).expect("it was called");
    let called: Vec<&str> = called.lines().collect();
    assert!(called[0].contains("--unit=haproxy") && called[0].contains("--lines=0"), "{called:?}");
    let cursor = |line: usize| {
        let line: Value = serde_json::from_str(recorded.lines().nth(line).unwrap()).unwrap();
        format!("--after-cursor={}", line["__CURSOR"].as_str().unwrap())
    };
    assert!(called[1].ends_with(&cursor(11)) && called[2].ends_with(&cursor(23)), "{called:?}");
    assert_eq!(called.len(), 3, "{called:?}");
    fs::remove_dir_all(calls.parent().unwrap()).unwrap();
}

#[test]
fn a_journal_that_cannot_be_read_is_told_and_tried_again() {
    let script =
        "#!/bin/sh\necho 'No journal files were opened due to insufficient permissions.' >&2\nexit 1\n";
    let programs = program("journalctl", script);
    let mut agent = Agent::start_with_programs(programs.path(), "", &["journald:haproxy"]);
    let told = "journalctl has ended (exit status: 1: No journal files were opened due to insufficient permissions.); starting it again";
    wait_until("it is told", PATIENCE, || agent.event(told).is_some());
    // Put right, while it runs.
    fs::write(
        programs.path().join("journalctl"),
        format!("#!/bin/sh\ncat {}\nexec sleep 1000\n", recorded().display()),
    )
    .unwrap();
    check(&mut agent, 29);
}

#[test]
fn the_end_of_the_agent_is_the_end_of_its_journalctl() {
    let folder = tempfile::tempdir().unwrap();
    let script = format!(
        "#!/bin/sh\nsleep 1000 &\necho $$ $! > {0}/new && mv {0}/new {0}/pids\nwait\n",
        folder.path().display()
    );
    let programs = program("journalctl", &script);
    let mut agent = Agent::start_with_programs(programs.path(), "", &["journald:haproxy"]);
    wait_until("it has started", PATIENCE, || folder.path().join("pids").exists());
    let pids = fs::read_to_string(folder.path().join("pids")).unwrap();
    assert!(agent.stop().0.success());
    for pid in pids.split_whitespace() {
        wait_until("the child and its child have ended", PATIENCE, || has_ended(pid));
    }
}

/// There is no such process, or only what its parent has not asked after.
fn has_ended(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.is_empty() || stat.contains(") Z ")
}

/// A systemd-journald with files and sockets of its own, which takes root and a mount namespace.
struct Journald {
    folder: TempDir,
    process: Child,
}

impl Journald {
    #[expect(clippy::print_stderr, reason = "a skipped test says so")]
    fn start() -> Option<Self> {
        const PROGRAM: &str = "/lib/systemd/systemd-journald";
        if !Uid::effective().is_root() || !Path::new(PROGRAM).exists() {
            eprintln!("skipped: it takes root and {PROGRAM}");
            return None;
        }
        let folder = open_folder();
        for name in ["run/systemd/journal", "run/log/journal", "var"] {
            fs::create_dir_all(folder.path().join(name)).expect("it is ours");
        }
        // Were there a journal of the machine's own, it would be written to.
        let script = format!(
            "cd {} && mount --bind run /run && if [ -d /var/log/journal ]; then mount --bind var /var/log/journal; fi \
             && exec {PROGRAM}",
            folder.path().display()
        );
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", &script]).stdin(Stdio::null()).stderr(Stdio::null());
        let mut journald = Self { process: command.spawn().ok()?, folder };
        let start = Instant::now();
        while !journald.socket().exists() && start.elapsed() < PATIENCE {
            if journald.process.try_wait().is_ok_and(|ended| ended.is_some()) {
                eprintln!("skipped: no mount namespace for a systemd-journald");
                return None;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Some(journald)
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("run/systemd/journal/dev-log")
    }
}

impl Drop for Journald {
    fn drop(&mut self) {
        // It became journald by `exec`, and its namespace ends with it.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// HAProxy that logs to a journal of its own, and a `journalctl` that reads that one.
struct Site {
    programs: TempDir,
    port: u16,
    haproxy: Haproxy,
    _journald: Journald,
}

impl Site {
    fn start() -> Option<Self> {
        let journald = Journald::start()?;
        // HAProxy is no unit here, so it is told by its name.
        let script = format!(
            "#!/bin/sh\nfor argument; do\n  shift\n  case $argument in --unit=*) argument=--identifier=${{argument#--unit=}} ;; esac\n  \
             set -- \"$@\" \"$argument\"\ndone\nexec /usr/bin/journalctl --directory={}/run/log/journal \"$@\"\n",
            journald.folder.path().display()
        );
        let programs = program("journalctl", &script);
        let port = free_port();
        let log = format!("log {} local0", journald.socket().display());
        let haproxy = Haproxy::start(&config(port, "", &log))?;
        let site = Self { programs, port, haproxy, _journald: journald };
        // So that there is a journal to follow.
        request(port, 0..10);
        wait_until("the journal has its first lines", PATIENCE, || {
            let read = site.journalctl(&["--unit=haproxy", "--output=cat"]).output();
            read.is_ok_and(|read| String::from_utf8_lossy(&read.stdout).contains("GET /n"))
        });
        Some(site)
    }

    fn journalctl(&self, arguments: &[&str]) -> Command {
        let mut journalctl = Command::new(self.programs.path().join("journalctl"));
        journalctl.args(arguments);
        journalctl
    }
}

#[test]
fn haproxy_logs_to_a_real_journald() {
    let Some(site) = Site::start() else { return };
    let arguments = ["--from-start", "journald:haproxy"];
    let mut agent = Agent::start_with_programs(site.programs.path(), "", &arguments);
    request(site.port, 10..REQUESTS);
    check(&mut agent, REQUESTS - dropped(&site.haproxy));
}

#[test]
fn a_real_journals_json_in_a_file_is_read_while_it_grows_and_afterwards() {
    let Some(site) = Site::start() else { return };
    let folder = open_folder();
    let path = folder.path().join("journal.jsonl");
    let file = File::create(&path).expect("it is ours");
    let json = ["--unit=haproxy", "--output=json", "--all", "--lines=all", "--follow"];
    let mut writing = site.journalctl(&json).stdout(file).spawn().expect("it is there");
    let path = path.to_str().expect("a temporary path is text");
    let mut agent = Agent::start("", &["--from-start", path]);
    request(site.port, 10..REQUESTS);
    let count = REQUESTS - dropped(&site.haproxy);
    check(&mut agent, count);
    writing.kill().and_then(|()| writing.wait()).expect("it is our child");
    let report = Command::new(env!("CARGO_BIN_EXE_haproxy-autoscale"))
        .args(["report", "--output", "json", path])
        .output()
        .expect("it was built for this test");
    let report: Value = serde_json::from_slice(&report.stdout).expect("JSON");
    assert_eq!((&report["requests"], &report["unparsed"]), (&count.into(), &0.into()), "{report}");
}
