//! What comes with the agent in `config/` is taken by the programs it is for: HAProxy, rsyslog, systemd.
//!
//! Where CI is set these programs have to be there; elsewhere a test without its program says so and passes.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Where the programs of a system are, `sbin` included, which is not on every user's path.
const FOLDERS: [&str; 5] = ["/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/local/sbin"];

/// A command for `name`; `None`, said aloud, if it is not installed.
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn program(name: &str) -> Option<Command> {
    let path = FOLDERS.iter().map(|folder| Path::new(folder).join(name)).find(|path| path.exists());
    if path.is_none() {
        assert!(std::env::var_os("CI").is_none(), "{name} is not installed, and CI is set");
        eprintln!("skipped: {name} is not installed");
    }
    path.map(Command::new)
}

fn in_config(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name)
}

fn text_of(name: &str) -> String {
    fs::read_to_string(in_config(name)).unwrap()
}

/// Runs `command`, which has to succeed and have nothing to complain about but `quiet`.
#[track_caller]
fn check_clean(command: &mut Command, quiet: fn(&str) -> bool) -> Output {
    let output = command.output().unwrap();
    let said = [&output.stdout[..], &output.stderr[..]].concat();
    let said = String::from_utf8_lossy(&said);
    let complaints: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty() && !quiet(line)).collect();
    assert!(output.status.success() && complaints.is_empty(), "{command:?}: {}\n{said}", output.status);
    output
}

/// A child that is ended with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to end.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until `look` finds something, and says what was waited for if it never does.
#[track_caller]
fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn haproxy_takes_its_side() {
    let Some(mut haproxy) = program("haproxy") else { return };
    check_clean(haproxy.arg("-c").arg("-f").arg(in_config("haproxy.cfg")), |line| {
        line == "Configuration file is valid"
    });
}

#[test]
fn haproxy_starts_with_one_server_and_three_spares() {
    let Some(mut haproxy) = program("haproxy") else { return };
    let folder = TempDir::new().unwrap();
    let socket = folder.path().join("admin.sock");
    // As it stands, but for what belongs to the machine: its users, its socket, its port.
    let text = text_of("haproxy.cfg")
        .replace("    user  haproxy\n    group haproxy\n", "")
        .replace("mode 660 user haproxy group haproxy", "")
        .replace("/run/haproxy/admin.sock", socket.to_str().unwrap())
        .replace("bind :8080", &format!("bind {}/www.sock", folder.path().display()))
        // No server answers at these addresses; a check would only take the first one down.
        .replace("default-server check", "default-server");
    let file = folder.path().join("haproxy.cfg");
    fs::write(&file, text).unwrap();
    let _haproxy = Running(haproxy.arg("-db").arg("-f").arg(&file).stderr(Stdio::null()).spawn().unwrap());
    let mut connection = wait_for("HAProxy's socket", || UnixStream::connect(&socket).ok());
    connection.write_all(b"show servers state app\n").unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    // be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state ...
    let states: Vec<(&str, &str)> = answer
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>())
        .filter(|fields| fields.get(1) == Some(&"app"))
        .map(|fields| (fields[3], fields[6]))
        .collect();
    assert_eq!(states, [("s1", "0"), ("s2", "5"), ("s3", "5"), ("s4", "5")], "{answer}");
}

/// A configuration of rsyslog around the snippet `name`, in `folder`, whose lines come in by a socket there.
fn rsyslog_config(folder: &Path, name: &str, change: impl Fn(String) -> String) -> PathBuf {
    let snippet = folder.join(name);
    fs::write(&snippet, change(text_of(name))).unwrap();
    let file = folder.join("rsyslog.conf");
    let text = format!(
        "module(load=\"imuxsock\" SysSock.Use=\"off\")\n\
         input(type=\"imuxsock\" Socket=\"{0}/in\")\n\
         include(file=\"{1}\")\n",
        folder.display(),
        snippet.display(),
    );
    fs::write(&file, text).unwrap();
    file
}

#[track_caller]
fn check_rsyslog_takes(name: &str) {
    let Some(mut rsyslogd) = program("rsyslogd") else { return };
    let folder = TempDir::new().unwrap();
    let file = rsyslog_config(folder.path(), name, |text| text);
    let usual = |line: &str| line.contains("config validation run");
    check_clean(rsyslogd.arg("-N1").arg("-f").arg(file), usual);
}

#[test]
fn rsyslog_takes_both_snippets() {
    check_rsyslog_takes("rsyslog-file.conf");
    check_rsyslog_takes("rsyslog-omprog.conf");
}

/// Sends a line of HAProxy's and one of another program through rsyslog with the snippet `name`, changed by
/// `change`, and looks at what arrives in `written`.
#[track_caller]
fn check_rsyslog_writes(name: &str, written: &str, change: impl Fn(&Path, String) -> String) {
    let Some(mut rsyslogd) = program("rsyslogd") else { return };
    let folder = TempDir::new().unwrap();
    let file = rsyslog_config(folder.path(), name, |text| change(folder.path(), text));
    let pid_file = folder.path().join("pid");
    let _rsyslogd = Running(rsyslogd.arg("-n").arg("-i").arg(pid_file).arg("-f").arg(file).spawn().unwrap());
    let socket = UnixDatagram::unbound().unwrap();
    let input = folder.path().join("in");
    wait_for("rsyslog's socket", || socket.connect(&input).ok());
    socket.send(b"<134>Nov 21 10:00:00 haproxy-autoscale[7]: not for us").unwrap();
    socket
        .send(b"<134>Nov 21 10:00:00 haproxy[8]: 127.0.0.1:1 [21/Nov/2026:10:00:00.000] www app/s1 rest")
        .unwrap();
    let log = folder.path().join(written);
    let line = wait_for("the line", || fs::read_to_string(&log).ok().filter(|text| text.contains("app/s1")));
    assert_eq!(line.lines().count(), 1, "{line}");
    let (time, rest) = line.split_once(' ').unwrap();
    assert!(time.starts_with("20") && time.contains('T'), "{line}");
    assert!(
        rest.ends_with(" haproxy[8]: 127.0.0.1:1 [21/Nov/2026:10:00:00.000] www app/s1 rest\n"),
        "{line}"
    );
}

#[test]
fn rsyslog_writes_haproxys_lines_and_no_others_to_the_file() {
    check_rsyslog_writes("rsyslog-file.conf", "haproxy.log", |folder, text| {
        let own = text.replace("/var/log", folder.to_str().unwrap());
        // Only root may give files away.
        own.replace("fileOwner=\"root\" fileGroup=\"adm\"", "")
    });
}

#[test]
fn rsyslog_pipes_haproxys_lines_and_no_others_into_the_agent() {
    check_rsyslog_writes("rsyslog-omprog.conf", "input", |folder, text| {
        // In the agent's place, a program that writes down what it is given.
        let stand_in = folder.join("agent");
        fs::write(
            &stand_in,
            format!("while read -r line; do echo \"$line\" >> {}/input; done", folder.display()),
        )
        .unwrap();
        let agent = "/usr/bin/haproxy-autoscale --config /etc/haproxy-autoscale/config.yaml -";
        assert!(text.contains(agent));
        text.replace(agent, &format!("/bin/sh {}", stand_in.display()))
            .replace("/var/log", folder.to_str().unwrap())
    });
}

const UNIT: &str = "haproxy-autoscale.service";

/// The unit in a folder of its own, with `drop_ins`, and with a program in the agent's place: systemd
/// looks whether it is there.
fn unit_with(drop_ins: &[&str]) -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let unit = folder.path().join(UNIT);
    let text = text_of(UNIT);
    assert!(text.contains("ExecStart=/usr/bin/haproxy-autoscale "));
    fs::write(&unit, text.replace("/usr/bin/haproxy-autoscale", "/bin/true")).unwrap();
    let beside = folder.path().join(format!("{UNIT}.d"));
    fs::create_dir(&beside).unwrap();
    for drop_in in drop_ins {
        fs::copy(in_config(drop_in), beside.join(Path::new(drop_in).file_name().unwrap())).unwrap();
    }
    (folder, unit)
}

#[test]
fn systemd_takes_the_unit_alone_and_with_each_drop_in() {
    let drop_ins = [
        "systemd/cpu-figures.conf",
        "systemd/journal.conf",
        "systemd/log-socket.conf",
        "systemd/write-haproxy-cfg.conf",
    ];
    assert_eq!(fs::read_dir(in_config("systemd")).unwrap().count(), drop_ins.len());
    for drop_ins in [&[][..], &drop_ins[..1], &drop_ins[1..], &drop_ins] {
        let Some(mut analyze) = program("systemd-analyze") else { return };
        let (_folder, unit) = unit_with(drop_ins);
        check_clean(analyze.args(["verify", "--man=no"]).arg(unit), |_| false);
    }
}

#[test]
fn the_unit_exposes_little() {
    let Some(mut analyze) = program("systemd-analyze") else { return };
    let (_folder, unit) = unit_with(&[]);
    // In tenths; above it systemd-analyze fails.
    let output = check_clean(
        analyze.args(["security", "--offline=true", "--no-pager", "--threshold=15"]).arg(unit),
        |_| true,
    );
    assert!(String::from_utf8_lossy(&output.stdout).contains("Overall exposure level"));
}

#[test]
fn the_user_of_the_unit_is_made_with_its_groups() {
    let Some(mut sysusers) = program("systemd-sysusers") else { return };
    let root = TempDir::new().unwrap();
    fs::create_dir(root.path().join("etc")).unwrap();
    let root_argument = format!("--root={}", root.path().display());
    check_clean(sysusers.arg(root_argument).arg(in_config("haproxy-autoscale.sysusers")), |line| {
        line.starts_with("Creating ")
    });
    let users = fs::read_to_string(root.path().join("etc/passwd")).unwrap();
    assert!(
        users.contains("haproxy-autoscale:x:") && users.contains(":/var/lib/haproxy-autoscale:"),
        "{users}"
    );
    let groups = fs::read_to_string(root.path().join("etc/group")).unwrap();
    let unit = text_of(UNIT);
    let (_, listed) = unit.split_once("SupplementaryGroups=").unwrap();
    for group in listed.lines().next().unwrap().split(' ') {
        let member =
            |line: &str| line.starts_with(&format!("{group}:")) && line.ends_with(":haproxy-autoscale");
        assert!(groups.lines().any(member), "not in {group}:\n{groups}");
    }
}

#[test]
fn the_readme_installs_where_the_unit_looks() {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let unit = text_of("haproxy-autoscale.service");
    let program = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")?.split(' ').next()).unwrap();
    let folder = Path::new(program).parent().unwrap().display();
    assert!(readme.contains(&format!("target/release/haproxy-autoscale {folder}/")), "{program}");
    let user = unit.lines().find_map(|line| line.strip_prefix("User=")).unwrap();
    assert!(readme.contains(&format!("runuser -u {user} -- haproxy-autoscale check")));
    let groups = unit.lines().find_map(|line| line.strip_prefix("SupplementaryGroups=")).unwrap();
    assert!(readme.contains(&format!("--groups {} {user}", groups.replace(' ', ","))));
}
