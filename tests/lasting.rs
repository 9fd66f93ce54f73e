//! Changes that last: the whole agent on a real HAProxy that is reloaded, restarted and refuses.
//!
//! systemd cannot run here; a `systemctl` of ours stands in for it, which writes down how it was called.

use std::fs::{self, File, Permissions};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use haproxy_autoscale::demo::load::Load;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::{Agent, Origin, PATIENCE, ask, free_port, wait_until};
use tempfile::TempDir;

mod support;

/// How HAProxy is run.
#[derive(Clone, Copy, PartialEq)]
enum As {
    /// A master, its CLI and a worker.
    Master,
    /// One process in the background, and a pid file.
    Daemon,
}

/// HAProxy with its configuration in a folder, and its servers s1, s2 and s3.
struct Site {
    dir: TempDir,
    run: As,
    master: Option<Child>,
    port: u16,
    servers: Vec<Origin>,
}

impl Site {
    /// With s1 READY and two spares. `{dir}` in `global` and `defaults` stands for the folder.
    fn start(run: As, global: &str, defaults: &str) -> Option<Self> {
        let mut site = Self::stopped(run, global, defaults)?;
        site.launch();
        Some(site)
    }

    /// Not yet running.
    fn stopped(run: As, global: &str, defaults: &str) -> Option<Self> {
        support::Haproxy::version()?;
        let dir = tempfile::Builder::new().prefix("hl").tempdir().expect("a temporary folder");
        let servers = (0..3).map(|_| Origin::start()).collect();
        let site = Self { dir, run, master: None, port: free_port(), servers };
        fs::write(site.cfg(), site.text(global, defaults, &site.lines())).unwrap();
        Some(site)
    }

    fn text(&self, global: &str, defaults: &str, servers: &str) -> String {
        let text = format!(
            "global\n    stats socket {{dir}}/admin.sock mode 600 level admin expose-fd listeners\n{global}\
             defaults\n    mode http\n    timeout connect 60s\n    timeout client 10m\n    timeout server 10m\n{defaults}\
             frontend users\n    bind 127.0.0.1:{}\n    default_backend app\n\
             backend app\n    balance roundrobin\n{servers}",
            self.port
        );
        text.replace("{dir}", &self.dir.path().display().to_string())
    }

    fn lines(&self) -> String {
        let ports: Vec<u16> = self.servers.iter().map(Origin::port).collect();
        format!(
            "    # BEGIN haproxy-autoscale app\n    server s1 127.0.0.1:{} weight 10 # the first\n\
             \x20   server s2 127.0.0.1:{} weight 10 disabled\n    server s3 127.0.0.1:{} weight 10 disabled\n\
             \x20   # END haproxy-autoscale app\n",
            ports[0], ports[1], ports[2]
        )
    }

    fn template(&self, more: &str) {
        let text = self.text("", "", &format!("    {{{{ servers }}}}\n{more}"));
        fs::write(self.path("haproxy.cfg.template"), text).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn cfg(&self) -> PathBuf {
        self.path("haproxy.cfg")
    }

    fn cfg_text(&self) -> String {
        fs::read_to_string(self.cfg()).unwrap()
    }

    fn launch(&mut self) {
        let output = File::options().create(true).append(true).open(self.path("output")).unwrap();
        let mut command = Command::new("haproxy");
        command.arg("-f").arg(self.cfg()).stdin(Stdio::null());
        command.stdout(output.try_clone().unwrap()).stderr(output);
        match self.run {
            As::Master => {
                command.args(["-W", "-S"]).arg(self.path("master.sock"));
                self.master = Some(command.spawn().unwrap());
            }
            As::Daemon => {
                let started = command.args(["-D", "-p"]).arg(self.path("haproxy.pid")).status().unwrap();
                assert!(started.success());
            }
        }
        wait_until("HAProxy answers", PATIENCE, || self.try_pid().is_some());
    }

    /// Ends HAProxy, whatever it is doing.
    fn end(&mut self) {
        let pids = fs::read_to_string(self.path("haproxy.pid")).unwrap_or_default();
        let pids: Vec<i32> = pids.split_whitespace().map(|pid| pid.parse().unwrap()).collect();
        if let Some(mut master) = self.master.take() {
            // It takes its workers with it.
            let _ = kill(Pid::from_raw(i32::try_from(master.id()).unwrap()), Signal::SIGTERM);
            let _ = master.wait();
        }
        for pid in pids {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }

    fn try_pid(&self) -> Option<u32> {
        let info = ask(&self.path("admin.sock"), "show info").ok()?;
        let stopping = info.lines().any(|line| line == "Stopping: 1");
        let pid = info.lines().find_map(|line| line.strip_prefix("Pid: "))?;
        (!stopping).then(|| pid.parse().ok())?
    }

    fn pid(&self) -> u32 {
        wait_until("HAProxy answers", PATIENCE, || self.try_pid().is_some());
        self.try_pid().expect("it has just answered")
    }

    /// What the agent has told is the process that answers, as soon as the one before it does no more.
    #[track_caller]
    fn check_pid(&self, told: &serde_json::Value) {
        wait_until(&format!("process {told} answers"), PATIENCE, || {
            self.try_pid().is_some_and(|pid| *told == pid)
        });
    }

    fn ask(&self, command: &str) -> String {
        ask(&self.path("admin.sock"), command).unwrap()
    }

    /// Reloads it as somebody else would.
    fn reload(&mut self) {
        let before = self.pid();
        assert!(self.run == As::Master);
        let _ = ask(&self.path("master.sock"), "reload");
        wait_until("another worker answers", PATIENCE, || self.try_pid().is_some_and(|pid| pid != before));
    }

    /// Each server's admin state and weight, such as `s1 READY 10`.
    fn servers(&self) -> Vec<String> {
        let answer = self.ask("show servers state app");
        let rows = answer.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        let rows = rows.filter(|row| row.get(1) == Some(&"app"));
        rows.map(|row| {
            let admin: u32 = row[6].parse().unwrap();
            let state = if admin & 0x23 != 0 {
                "MAINT"
            } else if admin & 0x18 != 0 {
                "DRAIN"
            } else {
                "READY"
            };
            format!("{} {state} {}", row[3], row[7])
        })
        .collect()
    }

    #[track_caller]
    fn wait_for(&self, expected: [&str; 3]) {
        wait_until(&format!("{expected:?}"), PATIENCE, || self.servers() == expected);
    }

    /// The agent, with these lines in its `haproxy:`.
    fn agent(&self, keys: &str) -> Agent {
        let agent = Agent::start(&self.config(keys), &[self.log().as_str()]);
        wait_until("it knows HAProxy", PATIENCE, || {
            agent.status().is_some_and(|status| status["backends"][0]["serving"].is_number())
        });
        agent
    }

    fn log(&self) -> String {
        let log = self.path("requests.log");
        File::options().create(true).append(true).open(&log).unwrap();
        log.to_str().unwrap().to_owned()
    }

    fn config(&self, keys: &str) -> String {
        let dir = self.dir.path().display();
        format!(
            "tick: 100ms\nhaproxy:\n  sockets: [{dir}/admin.sock]\n  config: {dir}/haproxy.cfg\n  state_file: {dir}/servers.state\n\
             \x20 template: {dir}/haproxy.cfg.template\n{}\nbackends:\n  - name: app\n    target: {{ below: 250ms }}\n\
             \x20   coverage: 0%\n    policy: threshold\n    scale_up: {{ cooldown: 0s }}\n    scale_down: {{ cooldown: 0s, drain_timeout: 1s }}\n",
            keys.replace("{dir}", &dir.to_string())
        )
    }
}

impl Drop for Site {
    #[expect(clippy::print_stderr, reason = "what a failed test left behind")]
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("--- haproxy.cfg:\n{}", fs::read_to_string(self.cfg()).unwrap_or_default());
            eprintln!(
                "--- HAProxy's output:\n{}",
                fs::read_to_string(self.path("output")).unwrap_or_default()
            );
        }
        self.end();
    }
}

fn order(agent: &Agent, arguments: &[&str]) {
    let output = agent.command(arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[track_caller]
fn told(agent: &Agent, message: &str) -> serde_json::Value {
    wait_until(&format!("the agent tells `{message}`"), PATIENCE, || agent.event(message).is_some());
    agent.event(message).unwrap()
}

const MASTER: &str = "  reload: { by: master, socket: {dir}/master.sock, min_interval: 1s }\n";
const BINARY: &str = "  reload: { by: binary, pid_file: {dir}/haproxy.pid, min_interval: 1s }\n";

const LOADED: (&str, &str) =
    ("    server-state-file {dir}/servers.state\n", "    load-server-state-from-file global\n");

/// What the agent and an operator have changed is there after a reload and after a restart, without the agent.
#[track_caller]
fn check_lasts(keep: &str, (global, defaults): (&str, &str), is_kept: impl Fn(&Site) -> bool) {
    let Some(mut site) = Site::start(As::Master, global, defaults) else { return };
    site.template("");
    let mut agent = site.agent(&format!("  keep: {keep}\n"));
    order(&agent, &["pin", "app", "2"]);
    site.wait_for(["s1 READY 10", "s2 READY 10", "s3 MAINT 10"]);
    site.ask("set server app/s2 weight 70");
    wait_until("it is written down", PATIENCE, || is_kept(&site));
    agent.stop();
    let expected = ["s1 READY 10", "s2 READY 70", "s3 MAINT 10"];
    site.wait_for(expected);
    site.reload();
    assert_eq!(site.servers(), expected, "after a reload");
    site.end();
    site.launch();
    assert_eq!(site.servers(), expected, "after a restart");
}

#[test]
fn a_state_file_keeps_changes() {
    check_lasts("state_file", LOADED, |site| {
        let text = fs::read_to_string(site.path("servers.state")).unwrap_or_default();
        text.lines().any(|line| line.contains(" s2 127.0.0.1 2 4 70 "))
    });
}

#[test]
fn a_block_keeps_changes_and_all_else_in_the_file_stays() {
    check_lasts("block", ("    # as it was \n", "\t\n"), |site| {
        let text = site.cfg_text();
        let is_there =
            text.contains(&format!("    server s2 127.0.0.1:{} weight 70\n", site.servers[1].port()));
        assert!(text.contains("    # as it was \n") && text.contains(" weight 10 # the first\n"), "{text}");
        is_there
    });
}

#[test]
fn a_template_keeps_changes() {
    check_lasts("template", ("", ""), |site| {
        site.cfg_text().contains(&format!("    server s2 127.0.0.1:{} weight 70\n", site.servers[1].port()))
    });
}

#[test]
fn a_server_taken_away_stays_away() {
    let Some(mut site) = Site::start(As::Master, "", "") else { return };
    let agent = site.agent("  keep: block\n");
    order(&agent, &["pin", "app", "3"]);
    site.wait_for(["s1 READY 10", "s2 READY 10", "s3 READY 10"]);
    wait_until("both are written down", PATIENCE, || !site.cfg_text().contains("disabled"));
    order(&agent, &["pin", "app", "2"]);
    wait_until("one is in MAINT and written down", PATIENCE, || site.cfg_text().contains("disabled"));
    drop(agent);
    let before = site.servers();
    site.reload();
    assert_eq!(site.servers(), before);
}

#[test]
fn what_somebody_else_has_taken_out_is_not_made_ours_and_holds_a_reload_back() {
    let Some(site) = Site::start(As::Master, "", "") else { return };
    site.template("");
    site.ask("set server app/s1 state maint");
    site.ask("set server app/s2 state ready");
    let agent = site.agent(&format!("  keep: template\n{MASTER}"));
    wait_until("it is written", PATIENCE, || agent.event("haproxy.cfg written").is_some());
    let line = format!("    server s1 127.0.0.1:{} weight 10\n", site.servers[0].port());
    assert!(site.cfg_text().contains(&line), "{}", site.cfg_text());
    let pid = site.pid();
    site.template("    http-response set-header x y\n");
    let wait = told(&agent, "reload of haproxy waits");
    assert!(wait["reason"].as_str().unwrap().starts_with("`app/s1` is in MAINT or DRAIN"), "{wait}");
    assert_eq!(site.pid(), pid);
    site.ask("set server app/s1 state ready");
    told(&agent, "haproxy reloaded");
    assert_eq!(site.servers()[..2], ["s1 READY 10", "s2 READY 10"]);
}

#[test]
fn a_template_that_haproxy_refuses_is_told_and_changes_nothing() {
    let Some(site) = Site::start(As::Master, "", "") else { return };
    let (before, pid) = (site.cfg_text(), site.pid());
    site.template("    bogus keyword\n");
    let agent = site.agent(&format!("  keep: template\n{MASTER}"));
    let refused = told(&agent, "changes not kept; a reload of HAProxy would lose them");
    let error = refused["error"].as_str().unwrap();
    assert!(error.contains("unknown keyword 'bogus' in 'backend' section"), "{error}");
    assert_eq!((site.cfg_text(), site.pid()), (before.clone(), pid));
    let mut names: Vec<_> = fs::read_dir(site.dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.retain(|name| name.to_string_lossy().starts_with("haproxy.cfg."));
    assert_eq!(names, ["haproxy.cfg.template"], "nothing is left behind");
    site.template("    http-response set-header x y\n");
    let reloaded = told(&agent, "haproxy reloaded");
    assert_eq!(reloaded["before"], pid);
    site.check_pid(&reloaded["pid"]);
    assert_eq!(fs::read_to_string(site.path("haproxy.cfg.bak")).unwrap(), before);
}

/// Two reloads under load, and no request fails.
#[track_caller]
fn check_reload_under_load(run: As, reload: &str) {
    let Some(site) = Site::start(run, "", "") else { return };
    site.template("");
    let agent = site.agent(&format!("  keep: template\n{reload}"));
    let load = Load::new(SocketAddr::from(([127, 0, 0, 1], site.port)), |_| 150.0).patience(PATIENCE);
    let load = load.start(Duration::from_secs(12)).unwrap();
    for round in 1..=2 {
        let before = site.pid();
        site.template(&format!("    http-response set-header x-round {round}\n"));
        wait_until("HAProxy is reloaded", PATIENCE, || site.try_pid().is_some_and(|pid| pid != before));
    }
    let requests = load.finish();
    let failed: Vec<_> = requests.iter().filter(|request| request.is_failed()).collect();
    assert!(requests.len() > 500 && failed.is_empty(), "{} of {}: {failed:?}", failed.len(), requests.len());
    wait_until("both are told", PATIENCE, || {
        agent.events().iter().filter(|event| event["message"] == "haproxy reloaded").count() == 2
    });
}

#[test]
fn the_master_reloads_and_no_request_fails() {
    check_reload_under_load(As::Master, MASTER);
}

#[test]
fn a_new_process_takes_over_and_no_request_fails() {
    check_reload_under_load(As::Daemon, BINARY);
}

/// A configuration that HAProxy takes, and cannot start with: somebody listens on that port.
#[track_caller]
fn check_failed_reload(run: As, reload: &str) {
    let Some(site) = Site::start(run, "", "") else { return };
    site.template("");
    let agent = site.agent(&format!("  keep: template\n{reload}"));
    told(&agent, "haproxy.cfg written");
    let (before, pid) = (site.cfg_text(), site.pid());
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    site.template(&format!(
        "frontend more\n    bind {}\n    default_backend app\n",
        taken.local_addr().unwrap()
    ));
    let failed = told(&agent, "haproxy not reloaded; the old process goes on");
    assert_eq!(failed["file_taken_back"], "yes", "{failed}");
    if run == As::Daemon {
        assert!(failed["error"].as_str().unwrap().contains("cannot bind socket"), "{failed}");
    }
    assert_eq!((site.cfg_text(), site.pid()), (before, pid));
    assert_eq!(status(site.port), "200");
    // What is right again is taken at once.
    site.template("    http-response set-header x y\n");
    told(&agent, "haproxy reloaded");
    assert!(site.cfg_text().contains("x y"));
}

/// Of an answer.
fn status(port: u16) -> String {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(stream, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer.split(' ').nth(1).unwrap_or_default().to_owned()
}

#[test]
fn a_reload_by_the_master_that_fails_leaves_the_old_process_and_its_file() {
    check_failed_reload(As::Master, MASTER);
}

#[test]
fn a_reload_by_the_binary_that_fails_leaves_the_old_process_and_its_file() {
    check_failed_reload(As::Daemon, BINARY);
}

#[test]
fn a_reload_too_soon_after_another_waits() {
    let Some(site) = Site::start(As::Master, "", "") else { return };
    site.template("");
    let agent = site.agent(&format!("  keep: template\n{}", MASTER.replace("1s", "1h")));
    let pid = site.pid();
    site.template("    http-response set-header x y\n");
    let wait = told(&agent, "reload of haproxy waits");
    assert!(wait["reason"].as_str().unwrap().starts_with("the last reload is too short ago"), "{wait}");
    assert!(site.cfg_text().contains("x y"));
    assert_eq!(site.pid(), pid);
}

/// A folder with a `systemctl` that writes down its arguments and does `what`.
fn systemctl(site: &Site, what: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("systemctl");
    let script = format!("#!/bin/sh\necho \"$@\" >> {}\n{what}\n", site.path("calls").display());
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    folder
}

const SYSTEMD: &str = "  reload: { by: systemd, unit: haproxy, min_interval: 1s }\n";

#[test]
fn systemd_is_asked_to_reload_and_its_refusal_is_told() {
    let Some(site) = Site::start(As::Master, "", "") else { return };
    site.template("");
    let master = site.master.as_ref().unwrap().id();
    let refuses = site.path("refuses");
    let what = format!(
        "test -e {} && {{ echo 'Job for haproxy.service failed.' >&2; exit 1; }}\nkill -USR2 {master}",
        refuses.display()
    );
    let programs = systemctl(&site, &what);
    let keys = format!("  keep: template\n{SYSTEMD}");
    let agent = Agent::start_with_programs(programs.path(), &site.config(&keys), &[&site.log()]);
    told(&agent, "haproxy.cfg written");
    let before = site.pid();
    site.template("    http-response set-header x y\n");
    let reloaded = told(&agent, "haproxy reloaded");
    assert_eq!(reloaded["before"], before);
    site.check_pid(&reloaded["pid"]);
    assert_eq!(fs::read_to_string(site.path("calls")).unwrap(), "--no-ask-password reload haproxy\n");
    fs::write(&refuses, "").unwrap();
    let (pid, text) = (site.pid(), site.cfg_text());
    site.template("    http-response set-header x z\n");
    let failed = told(&agent, "haproxy not reloaded; the old process goes on");
    assert!(failed["error"].as_str().unwrap().contains("Job for haproxy.service failed."), "{failed}");
    assert_eq!((site.pid(), site.cfg_text()), (pid, text));
}

#[test]
fn haproxy_is_started_where_that_is_wanted() {
    let Some(mut site) = Site::stopped(As::Daemon, "", "") else { return };
    let keys = format!("  start: true\n{BINARY}");
    let agent = Agent::start(&site.config(&keys), &[&site.log()]);
    let started = told(&agent, "haproxy started");
    site.check_pid(&started["pid"]);
    // And again after a crash.
    site.end();
    wait_until("it is started again", PATIENCE, || site.try_pid().is_some());
    drop(agent);
}

#[test]
fn systemd_is_asked_to_start_it() {
    let Some(mut site) = Site::stopped(As::Daemon, "", "") else { return };
    let start = format!("haproxy -D -f {} -p {}", site.cfg().display(), site.path("haproxy.pid").display());
    let programs = systemctl(&site, &start);
    let keys = format!("  start: true\n{SYSTEMD}");
    let agent = Agent::start_with_programs(programs.path(), &site.config(&keys), &[&site.log()]);
    told(&agent, "haproxy started");
    assert_eq!(fs::read_to_string(site.path("calls")).unwrap(), "--no-ask-password start haproxy\n");
    site.end();
}

/// What `check` finds about `haproxy.keep`, as `grade: found`.
fn checked(site: &Site, keys: &str) -> Vec<String> {
    let config = site.path("agent.yaml");
    let dir = site.dir.path().display();
    let own = format!("state_dir: {dir}/state\nruntime_dir: {dir}/run\n");
    fs::write(&config, own + &site.config(keys)).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_haproxy-autoscale"));
    let output = command.args(["check", "--output", "json", "--config"]).arg(config).arg(site.log());
    let findings: Vec<serde_json::Value> = serde_json::from_slice(&output.output().unwrap().stdout).unwrap();
    let findings = findings.iter().filter(|one| one["about"].as_str().unwrap().starts_with("haproxy."));
    let words =
        findings.map(|one| format!("{}: {}", one["grade"].as_str().unwrap(), one["found"].as_str().unwrap()));
    words.map(|words| words.replace(&dir.to_string(), "{dir}")).collect()
}

#[test]
fn check_tells_whether_changes_can_be_kept() {
    let Some(site) = Site::start(As::Master, "", "") else { return };
    assert_eq!(checked(&site, ""), [""; 0]);
    assert_eq!(
        checked(&site, "  keep: state_file\n"),
        [
            "ok: `{dir}/servers.state` can be written",
            "fail: haproxy.cfg names no state file",
            "fail: backend app does not load the state file",
        ]
    );
    assert_eq!(
        checked(&site, &format!("  keep: block\n{MASTER}")),
        [
            "ok: backend app has its block",
            "ok: `{dir}/haproxy.cfg` can be written",
            "ok: HAProxy takes `{dir}/haproxy.cfg` from this user",
            "ok: by the master, which answers at `{dir}/master.sock`",
        ]
    );
    fs::write(site.cfg(), site.cfg_text().replace("# BEGIN", "# NO")).unwrap();
    let block = checked(&site, &format!("  keep: block\n{BINARY}"));
    assert_eq!(
        block[0],
        "fail: there is no line `# BEGIN haproxy-autoscale app` before the servers of the backend"
    );
    assert_eq!(
        block[3],
        "fail: `haproxy.reload.pid_file` `{dir}/haproxy.pid`: No such file or directory (os error 2)"
    );
    let template = checked(&site, "  keep: template\n");
    assert!(
        template[0].starts_with("fail: cannot read the template `{dir}/haproxy.cfg.template`"),
        "{template:?}"
    );
}

#[test]
fn nothing_is_written_or_reloaded_unless_it_is_asked_for() {
    let Some(site) = Site::start(As::Master, "", "") else { return };
    site.template("    http-response set-header x y\n");
    let (before, pid) = (site.cfg_text(), site.pid());
    let mut agent = site.agent("");
    order(&agent, &["pin", "app", "2"]);
    site.wait_for(["s1 READY 10", "s2 READY 10", "s3 MAINT 10"]);
    agent.stop();
    assert_eq!((site.cfg_text(), site.pid()), (before, pid));
    assert!(!site.path("servers.state").exists());
}
