//! Changes that last: the whole agent on a real HAProxy that is reloaded, restarted and refuses.
//!
//! A real systemd is process 1 of namespaces of its own, where that can be; everywhere a `systemctl` of ours stands in for
//! it, which writes down how it was called, and refuses in systemd's words.

use std::fs::{self, File, Permissions};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use haproxy_autoscale::demo::load::Load;
use site::{As, BINARY, LOADED, MASTER, SLOTS, Site, findings, kept, metrics, of_node, status_text, told};
use support::{Agent, PATIENCE, wait_until};
use tempfile::TempDir;

#[path = "../support/mod.rs"]
mod support;

mod growing;
mod old_state;
mod several;
mod site;

/// What the agent and an operator have changed is there after a reload and after a restart, without the agent.
#[track_caller]
fn check_lasts(keep: &str, (global, defaults): (&str, &str), is_kept: impl Fn(&Site) -> bool) {
    let Some(mut site) = Site::start(As::Master, global, defaults) else { return };
    site.template("");
    let mut agent = site.agent(&format!("  keep: {keep}\n"));
    agent.pin(2);
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

/// HAProxy takes no weight from a state file that was written with another one in its configuration.
#[test]
fn a_weight_that_is_configured_anew_outweighs_the_one_that_was_kept() {
    let Some(mut site) = Site::start(As::Master, LOADED.0, LOADED.1) else { return };
    let agent = site.agent("  keep: state_file\n");
    agent.pin(2);
    site.wait_for(["s1 READY 10", "s2 READY 10", "s3 MAINT 10"]);
    site.ask("set server app/s1 weight 70");
    let keeps = |site: &Site, weights: &str| {
        let text = fs::read_to_string(site.path("servers.state")).unwrap_or_default();
        text.lines().any(|line| line.contains(&format!(" s1 127.0.0.1 2 0 {weights} ")))
    };
    wait_until("it is written down", PATIENCE, || keeps(&site, "70 10"));
    fs::write(site.cfg(), site.cfg_text().replacen("weight 10", "weight 20", 1)).unwrap();
    site.reload();
    site.wait_for(["s1 READY 20", "s2 READY 10", "s3 MAINT 10"]);
    wait_until("that is what is kept", PATIENCE, || keeps(&site, "20 20"));
    assert_eq!(site.servers()[0], "s1 READY 20");
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
fn a_block_without_its_end_is_never_told_as_kept() {
    let Some(site) = Site::start(As::Master, "", "") else { return };
    let text = site.cfg_text().replace("# END haproxy-autoscale app", "# away");
    fs::write(site.path("haproxy.cfg"), text).unwrap();
    let agent = site.agent("  keep: block\n");
    told(&agent, "changes not kept; a reload of HAProxy would lose them");
    let shown = kept(&agent);
    assert!(shown["kept_at"].is_null() && !shown["not_kept"].is_null(), "{shown}");
    let told_metrics = metrics(&site);
    assert!(told_metrics.contains(&of_node(&site, "changes_kept_time_seconds", "", "0.0")), "{told_metrics}");
}

#[test]
fn a_weight_from_a_variable_stays_one_in_a_block_until_somebody_changes_it() {
    let Some(mut site) = Site::stopped(As::Master, "    setenv W 10\n", "") else { return };
    let text = site.cfg_text().replace(" weight 10", " weight \"${W}\"");
    fs::write(site.path("haproxy.cfg"), &text).unwrap();
    site.launch();
    let agent = site.agent("  keep: block\n");
    agent.pin(2);
    let serves = format!("    server s2 127.0.0.1:{} weight \"${{W}}\"\n", site.servers[1].port());
    wait_until("it is kept", PATIENCE, || site.cfg_text().contains(&serves));
    assert_eq!(site.cfg_text().matches(" weight \"${W}\"").count(), 3, "{}", site.cfg_text());
}

#[test]
fn a_block_of_which_only_haproxy_knows_what_holds_is_left_as_it_is() {
    let Some(site) = Site::start(As::Master, "", "") else { return };
    let end = "    # END haproxy-autoscale app";
    let branch = "    .if defined(OTHER)\n    server s4 127.0.0.1:9 disabled\n    .endif\n";
    let text = site.cfg_text().replace(end, &format!("{branch}{end}"));
    fs::write(site.path("haproxy.cfg"), &text).unwrap();
    let line = text.lines().position(|line| line.contains(".if")).unwrap() + 1;
    let agent = site.agent("  keep: block\n");
    let error = told(&agent, "changes not kept; a reload of HAProxy would lose them");
    let place = format!("line {line}: `.if` within the block of `app`");
    assert!(error["error"].as_str().is_some_and(|error| error.contains(&place)), "{error}");
    assert_eq!(site.cfg_text(), text);
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
    agent.pin(3);
    site.wait_for(["s1 READY 10", "s2 READY 10", "s3 READY 10"]);
    wait_until("both are written down", PATIENCE, || !site.cfg_text().contains("disabled"));
    agent.pin(2);
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
    let shown = kept(&agent);
    let refused = &shown["not_kept"]["refused"];
    assert_eq!(refused["text"], "bogus keyword", "{shown}");
    assert!(refused["words"][0].as_str().unwrap().contains("unknown keyword 'bogus'"), "{shown}");
    assert!(agent.has_journaled("event", "haproxy_not_kept"));
    let text = status_text(&agent);
    assert!(text.contains("NOT KEPT since ") && text.contains(" is: bogus keyword\n"), "{text}");
    let told_metrics = metrics(&site);
    assert!(told_metrics.contains(&of_node(&site, "changes_not_kept", "", "1")), "{told_metrics}");
    assert!(
        told_metrics.contains(&of_node(&site, "changes_total", ",result=\"refused\"", "")),
        "{told_metrics}"
    );
    assert_eq!((site.cfg_text(), site.pid()), (before.clone(), pid));
    // While it is tried again, what is tried is there.
    wait_until("nothing is left behind", PATIENCE, || {
        let names = fs::read_dir(site.dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let names = names.filter(|name| name.to_string_lossy().starts_with("haproxy.cfg."));
        names.eq(["haproxy.cfg.template"])
    });
    site.template("    http-response set-header x y\n");
    let reloaded = told(&agent, "haproxy reloaded");
    assert_eq!(reloaded["before"], pid);
    site.check_pid(&reloaded["pid"]);
    assert_eq!(fs::read_to_string(site.path("haproxy.cfg.bak")).unwrap(), before);
    let shown = kept(&agent);
    assert_eq!(shown["not_kept"], serde_json::Value::Null, "{shown}");
    let last = &shown["reload"]["last"];
    assert_eq!((&last["by"], &last["done"]), (&"master".into(), &true.into()), "{shown}");
    assert_eq!(last["before"], pid, "{shown}");
    site.check_pid(&last["pid"]);
    assert!(agent.has_journaled("event", "haproxy_kept") && agent.has_journaled("event", "haproxy_reloaded"));
    let text = status_text(&agent);
    assert!(text.contains("(keep: template), written ") && text.contains("HAProxy reloaded "), "{text}");
    let reloads = of_node(&site, "haproxy_reloads_total", ",by=\"master\",result=\"done\"", "1");
    assert!(metrics(&site).contains(&reloads), "{}", metrics(&site));
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
        site.await_successor(before);
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
    let shown = kept(&agent);
    assert_eq!(
        (&shown["reload"]["last"]["done"], &shown["reload"]["last"]["error"]),
        (&false.into(), &failed["error"]),
        "{shown}"
    );
    assert!(agent.has_journaled("event", "haproxy_reload_failed"));
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
    let shown = kept(&agent);
    let owed = &shown["reload"]["owed"];
    assert!(owed["from"].is_string() && owed["since"].as_str() < owed["from"].as_str(), "{shown}");
    assert!(status_text(&agent).contains("  a reload is owed since "), "{}", status_text(&agent));
    assert!(metrics(&site).contains(&of_node(&site, "haproxy_reload_owed", "", "1")));
    assert!(agent.has_journaled("event", "haproxy_reload_waits"));
}

#[test]
fn a_reload_that_nobody_makes_is_owed_until_somebody_has() {
    let Some(mut site) = Site::start(As::Master, "", "") else { return };
    site.template("");
    let agent = site.agent("  keep: template\n");
    site.template("    http-response set-header x y\n");
    let wait = told(&agent, "reload of haproxy waits");
    assert!(wait["reason"].as_str().unwrap().ends_with("`haproxy.reload.by` is none"), "{wait}");
    wait_until("that is seen", PATIENCE, || kept(&agent)["reload"]["owed"]["since"].is_string());
    // HAProxy's uptime has whole seconds only.
    wait_until("it runs for longer than the file is there", PATIENCE, || {
        site.cfg().metadata().unwrap().modified().unwrap().elapsed().unwrap() > Duration::from_secs(3)
    });
    site.reload();
    told(&agent, "haproxy was reloaded by somebody else meanwhile");
    wait_until("none is owed", PATIENCE, || kept(&agent)["reload"]["owed"].is_null());
    assert_eq!(kept(&agent)["reload"]["last"]["by"], "somebody else");
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
    let what =
        format!("test -e {} && {{ echo '{REFUSAL}' >&2; exit 1; }}\nkill -USR2 {master}", refuses.display());
    let programs = systemctl(&site, &what);
    let keys = format!("  keep: template\n{SYSTEMD}");
    let agent = Agent::start_with_programs(programs.path(), &site.config(&keys), &[&site.log()]);
    check_reload(&site, &agent);
    assert_eq!(fs::read_to_string(site.path("calls")).unwrap(), "--no-ask-password reload haproxy\n");
    fs::write(&refuses, "").unwrap();
    check_refusal(&site, &agent);
}

/// A template that is another one reloads HAProxy once the first is written.
#[track_caller]
fn check_reload(site: &Site, agent: &Agent) {
    told(agent, "haproxy.cfg written");
    let before = site.pid();
    site.template("    http-response set-header x y\n");
    let reloaded = told(agent, "haproxy reloaded");
    assert_eq!(reloaded["before"], before);
    site.await_successor(before);
    site.check_pid(&reloaded["pid"]);
}

/// A reload that systemd refuses is told in its words, and leaves everything as it was; the process that goes on.
#[track_caller]
fn check_refusal(site: &Site, agent: &Agent) -> u32 {
    let (pid, text) = (site.pid(), site.cfg_text());
    site.template("    http-response set-header x z\n");
    let failed = told(agent, "haproxy not reloaded; the old process goes on");
    assert!(failed["error"].as_str().unwrap().contains(REFUSAL), "{failed}");
    assert_eq!((site.pid(), site.cfg_text()), (pid, text));
    pid
}

/// What `systemctl reload` says when the unit's ExecReload fails; its exit status is 1 (seen on systemd 252).
const REFUSAL: &str = "Job for haproxy.service failed.\n\
    See \"systemctl status haproxy.service\" and \"journalctl -xeu haproxy.service\" for details.";

/// Becomes a systemd with the unit `$2`, whose processes are all in the cgroup `$1`.
const BOOT: &str = r#"set -e
mount --make-rprivate /
mount -t proc proc /proc
mount -t tmpfs tmpfs /run
mkdir /run/cgroup
mount -t cgroup2 none /run/cgroup
mkdir "/run/cgroup/$1"
echo 0 > "/run/cgroup/$1/cgroup.procs"
umount /run/cgroup
exec unshare --cgroup sh -c 'set -e
umount -R /sys/fs/cgroup
mount -t cgroup2 none /sys/fs/cgroup
mount -t tmpfs tmpfs /etc/systemd/system
cp "$0" /etc/systemd/system/
PATH=$PATH:/lib/systemd:/usr/lib/systemd
exec env -i container=other "PATH=$PATH" systemd --system "--unit=${0##*/}" --log-target=console --show-status=no
' "$2"
"#;

/// systemd's cgroups are there when it has gone, and cannot be removed before.
const SWEEP: &str = r#"mount --make-rprivate / && mount -t cgroup2 none "$1" &&
{ test ! -e "$1/$2" || find "$1/$2" -depth -type d -exec rmdir {} \;; test ! -e "$1/$2"; }"#;

/// Ends with all that it has started.
struct Systemd(Child);

impl Drop for Systemd {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn a_real_systemd_starts_and_reloads_haproxy() {
    let Some(program) = support::Haproxy::program() else { return };
    let folder = tempfile::tempdir().unwrap();
    let said = folder.path().join("said");
    let unit = format!(
        "[Unit]\nDefaultDependencies=no\n[Service]\nType=oneshot\nTimeoutStartSec=infinity\n\
         Environment=UNDER_SYSTEMD=1 HAPROXY={} \"PATH={}\"\nWorkingDirectory={}\n\
         StandardOutput=append:{said}\nStandardError=append:{said}\n\
         ExecStart={} --ignored --exact under_systemd --nocapture\n",
        program.display(),
        std::env::var("PATH").unwrap(),
        std::env::current_dir().unwrap().display(),
        std::env::current_exe().unwrap().display(),
        said = said.display(),
    );
    let unit_file = folder.path().join("lasting-test.service");
    fs::write(&unit_file, unit).unwrap();
    let cgroup = format!("lasting-{}", std::process::id());
    let boot_log = File::create(folder.path().join("boot")).unwrap();
    let mut systemd = Command::new("unshare");
    systemd.args([
        "--pid",
        "--mount",
        "--net",
        "--uts",
        "--ipc",
        "--fork",
        "--kill-child",
        "sh",
        "-c",
        BOOT,
        "sh",
    ]);
    systemd.arg(&cgroup).arg(&unit_file).stdin(Stdio::null());
    systemd.stdout(boot_log.try_clone().unwrap()).stderr(boot_log);
    let mut systemd = Systemd(systemd.spawn().unwrap());
    let text = || fs::read_to_string(&said).unwrap_or_default();
    // Where it cannot run it ends, or hangs.
    let begins_until = Instant::now() + PATIENCE;
    let is_running = || text().contains("running 1 test");
    while !is_running() && Instant::now() < begins_until && matches!(systemd.0.try_wait(), Ok(None)) {
        thread::sleep(Duration::from_millis(20));
    }
    if is_running() {
        wait_until("the test has ended", 6 * PATIENCE, || text().contains("test result: "));
    }
    drop(systemd);
    let mount = folder.path().join("cgroup");
    fs::create_dir(&mount).unwrap();
    let sweep = || {
        let mut sweep = Command::new("unshare");
        sweep.args(["--mount", "sh", "-c", SWEEP, "sh"]).arg(&mount).arg(&cgroup).output().unwrap()
    };
    if !is_running() {
        let _ = sweep();
        let why = fs::read_to_string(folder.path().join("boot")).unwrap();
        return eprintln!("skipped: no systemd of our own can be run here: {why}");
    }
    wait_until("its cgroups are gone", PATIENCE, || sweep().status.success());
    assert!(text().contains("test result: ok. 1 passed"), "{}", text());
}

#[test]
#[ignore = "run by the test above, under a systemd of its own"]
fn under_systemd() {
    if std::env::var_os("UNDER_SYSTEMD").is_none() {
        return;
    }
    let site = Site::stopped(As::Daemon, "", "").unwrap();
    site.template("");
    let (program, cfg, refuses) = (site.program.display(), site.cfg(), site.path("refuses"));
    // As Debian's own, where HAProxy was built to speak with systemd.
    let built = Command::new(&site.program).arg("-vv").output().unwrap().stdout;
    let speaks = !String::from_utf8_lossy(&built).contains("-SYSTEMD");
    let (kind, flag) = if speaks { ("notify", "-Ws") } else { ("simple", "-W") };
    let unit = format!(
        "[Unit]\nDefaultDependencies=no\n[Service]\nType={kind}\nExecStart={program} {flag} -f {cfg} -p {pid}\n\
         ExecReload=/bin/sh -c 'test ! -e {refuses}'\nExecReload={program} -f {cfg} -c -q\n\
         ExecReload=/bin/kill -USR2 $MAINPID\nKillMode=mixed\nSuccessExitStatus=143\n",
        cfg = cfg.display(),
        pid = site.path("haproxy.pid").display(),
        refuses = refuses.display(),
    );
    fs::write("/etc/systemd/system/haproxy.service", unit).unwrap();
    let systemctl = |verb: &str| {
        assert!(Command::new("systemctl").args([verb, "haproxy"]).status().unwrap().success(), "{verb}");
    };
    assert!(Command::new("systemctl").arg("daemon-reload").status().unwrap().success());
    let agent =
        Agent::start(&site.config(&format!("  keep: template\n  start: true\n{SYSTEMD}")), &[&site.log()]);
    let started = told(&agent, "haproxy started");
    site.check_pid(&started["pid"]);
    check_reload(&site, &agent);
    fs::write(&refuses, "").unwrap();
    let pid = check_refusal(&site, &agent);
    // Stopped by somebody, it is started again.
    systemctl("stop");
    wait_until("it is started again", PATIENCE, || site.try_pid().is_some_and(|other| other != pid));
    assert_eq!(
        checked(&site, &format!("  keep: template\n{SYSTEMD}")).pop().unwrap(),
        "ok: by systemd; the unit haproxy is active"
    );
}

#[test]
fn haproxy_is_started_where_that_is_wanted() {
    let Some(mut site) = Site::stopped(As::Daemon, "", "") else { return };
    let keys = format!("  start: true\n{BINARY}");
    let agent = Agent::start(&site.config(&keys), &[&site.log()]);
    let started = told(&agent, "haproxy started");
    site.check_pid(&started["pid"]);
    site.check_pid(&kept(&agent)["start"]["pid"]);
    assert!(agent.has_journaled("event", "haproxy_started"));
    // And again after a crash.
    site.end();
    wait_until("it is started again", PATIENCE, || site.try_pid().is_some());
    drop(agent);
}

#[test]
fn systemd_is_asked_to_start_it() {
    let Some(mut site) = Site::stopped(As::Daemon, "", "") else { return };
    let program = site.program.display();
    let start = format!("{program} -D -f {} -p {}", site.cfg().display(), site.path("haproxy.pid").display());
    let programs = systemctl(&site, &start);
    let keys = format!("  start: true\n{SYSTEMD}");
    let agent = Agent::start_with_programs(programs.path(), &site.config(&keys), &[&site.log()]);
    told(&agent, "haproxy started");
    assert_eq!(fs::read_to_string(site.path("calls")).unwrap(), "--no-ask-password start haproxy\n");
    site.end();
}

/// What `check` finds about `haproxy.keep`, as `grade: found`.
fn checked(site: &Site, keys: &str) -> Vec<String> {
    let findings = findings(site, &site.config(keys));
    let words = findings
        .iter()
        .map(|one| format!("{}: {}", one["grade"].as_str().unwrap(), one["found"].as_str().unwrap()));
    words.map(|words| words.replace(&site.dir.path().display().to_string(), "{dir}")).collect()
}

#[test]
fn check_tells_whether_changes_can_be_kept() {
    let Some(mut site) = Site::start(As::Master, "", "") else { return };
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
    site.ask("set server app/s1 weight 30");
    let (before, port) = (site.cfg_text(), site.servers[0].port());
    let number = 1 + before.lines().position(|line| line.contains("server s1")).unwrap();
    assert_eq!(
        checked(&site, "  keep: block\n")[2..],
        [
            format!(
                "ok: would be written to `{{dir}}/haproxy.cfg`:\n        {number} - server s1 127.0.0.1:{port} weight 10 # the first\n        \
                 {number} + server s1 127.0.0.1:{port} weight 30 # the first"
            ),
            "ok: HAProxy takes what would be written to `{dir}/haproxy.cfg` from this user".to_owned(),
        ]
    );
    site.template("    bogus keyword\n");
    let refused = checked(&site, "  keep: template\n").pop().unwrap();
    assert!(refused.starts_with("fail: HAProxy refuses it:\n        [ALERT]"), "{refused}");
    assert!(refused.ends_with(": bogus keyword"), "{refused}");
    let program = std::mem::replace(&mut site.program, "/nonexistent/haproxy".into());
    let absent = checked(&site, "  keep: block\n").pop().unwrap();
    site.program = program;
    assert!(absent.starts_with("fail: cannot run `/nonexistent/haproxy"), "{absent}");
    assert_eq!(site.cfg_text(), before);
    fs::remove_file(site.path("haproxy.cfg.template")).unwrap();
    let names = fs::read_dir(site.dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let left: Vec<_> = names.filter(|name| name.to_string_lossy().starts_with("haproxy.cfg.")).collect();
    assert_eq!(left, [""; 0], "nothing is left behind");
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

/// Whether haproxy.cfg has this line, `{0}` and `{1}` in it being the ports of the pool.
fn has_line(site: &Site, line: &str) -> bool {
    let ports = |line: &str| {
        let line = line.replace("{0}", &site.servers[1].port().to_string());
        line.replace("{1}", &site.servers[2].port().to_string())
    };
    site.cfg_text().contains(&format!("    {}\n", ports(line)))
}

#[test]
fn a_slot_keeps_its_address_in_the_block() {
    let Some(mut site) = Site::with_pool(SLOTS, "kind: slots", ("", "")) else { return };
    let mut agent = site.agent("  keep: block\n");
    agent.pin(2);
    site.wait_for(["s1 READY 10", "slot1 READY 10", "slot2 MAINT 10"]);
    let filled = "server slot1 127.0.0.1:{0} weight 10";
    wait_until("it is written down", PATIENCE, || has_line(&site, filled));
    agent.stop();
    site.reload();
    assert_eq!(site.servers(), ["s1 READY 10", "slot1 READY 10", "slot2 MAINT 10"]);
    let agent = Agent::start_in(
        agent.into_dir().unwrap(),
        &site.config("  keep: block\n"),
        &[&site.log()],
        Stdio::null(),
    );
    wait_until("it is known", PATIENCE, || {
        agent.status().is_some_and(|status| status["backends"][0]["serving"] == 2)
    });
    agent.pin(3);
    site.wait_for(["s1 READY 10", "slot1 READY 10", "slot2 READY 10"]);
    wait_until("both have theirs", PATIENCE, || {
        has_line(&site, filled) && has_line(&site, &filled.replace("slot1", "slot2").replace("{0}", "{1}"))
    });
    agent.pin(1);
    site.wait_for(["s1 READY 10", "slot1 MAINT 10", "slot2 MAINT 10"]);
    wait_until("it keeps it in MAINT", PATIENCE, || has_line(&site, &format!("{filled} disabled")));
}

#[test]
fn a_state_file_brings_no_slot_back_to_a_wrong_address() {
    let Some(mut site) = Site::with_pool(SLOTS, "kind: slots", LOADED) else { return };
    let keys = "  keep: state_file\n";
    let mut agent = site.agent(keys);
    agent.pin(2);
    site.ask("set server app/s1 weight 30");
    site.wait_for(["s1 READY 30", "slot1 READY 10", "slot2 MAINT 10"]);
    wait_until("it is written down", PATIENCE, || {
        let text = fs::read_to_string(site.path("servers.state")).unwrap_or_default();
        text.lines().any(|line| line.contains(" s1 127.0.0.1 2 0 30 "))
    });
    agent.stop();
    site.reload();
    site.wait_for(["s1 READY 30", "slot1 MAINT 10", "slot2 MAINT 10"]);
    let _agent =
        Agent::start_in(agent.into_dir().unwrap(), &site.config(keys), &[&site.log()], Stdio::null());
    site.wait_for(["s1 READY 30", "slot1 READY 10", "slot2 MAINT 10"]);
}

/// A server that was added is there after a reload without the agent, is the agent's still, and can be deleted.
#[track_caller]
fn check_added_lasts(keep: &str) {
    if support::Haproxy::version().is_none_or(|version| version < vec![2, 6]) {
        return;
    }
    let spares = "kind: dynamic, default_server: weight 7 maxconn 50";
    let Some(mut site) = Site::with_pool("", spares, ("", "")) else { return };
    site.template("");
    let keys = format!("  keep: {keep}\n{MASTER}");
    let mut agent = site.agent(&keys);
    agent.pin(2);
    let name = format!("dyn-127.0.0.1-{}", site.servers[1].port());
    let there = [format!("{name} READY 7"), "s1 READY 10".to_owned()];
    wait_until("it is added", PATIENCE, || site.servers() == there);
    let line = format!("server {name} 127.0.0.1:{{0}} weight 7 maxconn 50 # added by haproxy-autoscale");
    wait_until("it is written down", PATIENCE, || has_line(&site, &line));
    agent.stop();
    // Nothing of that takes a reload, but for the first text of a template.
    let reloads = agent.events().iter().filter(|event| event["message"] == "haproxy reloaded").count();
    assert_eq!(reloads, 0);
    site.reload();
    assert_eq!(site.servers(), there, "after a reload");
    let agent =
        Agent::start_in(agent.into_dir().unwrap(), &site.config(&keys), &[&site.log()], Stdio::null());
    wait_until("it is known", PATIENCE, || {
        agent.status().is_some_and(|status| status["backends"][0]["serving"] == 2)
    });
    assert_eq!(site.servers(), there, "it is not added again");
    agent.pin(1);
    wait_until("it is deleted", PATIENCE, || site.servers() == ["s1 READY 10"]);
    wait_until("its line is gone", PATIENCE, || !site.cfg_text().contains(&name));
    assert!(agent.events().iter().all(|event| event["message"] != "haproxy reloaded"));
}

#[test]
fn a_server_that_was_added_lasts_in_a_block() {
    check_added_lasts("block");
}

#[test]
fn a_server_that_was_added_lasts_in_a_template() {
    check_added_lasts("template");
}

#[test]
fn a_server_that_a_reload_would_change_is_not_written_down_and_that_is_told() {
    let defaults = "    default-server maxconn 9\n";
    let spares = "kind: dynamic, default_server: weight 7";
    if support::Haproxy::version().is_none_or(|version| version < vec![2, 6]) {
        return;
    }
    let Some(site) = Site::with_pool("", spares, ("", defaults)) else { return };
    let agent = site.agent("  keep: block\n");
    agent.pin(2);
    let refused = told(&agent, "changes not kept; a reload of HAProxy would lose them");
    assert!(refused["error"].as_str().unwrap().contains("would give their lines `maxconn`"), "{refused}");
    assert!(!site.cfg_text().contains("dyn-"));
}

#[test]
fn nothing_is_written_or_reloaded_unless_it_is_asked_for() {
    let Some(site) = Site::start(As::Master, "", "") else { return };
    site.template("    http-response set-header x y\n");
    let (before, pid) = (site.cfg_text(), site.pid());
    let mut agent = site.agent("");
    agent.pin(2);
    site.wait_for(["s1 READY 10", "s2 READY 10", "s3 MAINT 10"]);
    agent.stop();
    assert_eq!((site.cfg_text(), site.pid()), (before, pid));
    assert!(!site.path("servers.state").exists());
}
