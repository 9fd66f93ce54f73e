//! `haproxy-autoscale demo` as a person runs it, up to a Ctrl-C: does it show something, and is
//! everything gone afterwards? The whole minute is `make demo`.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use haproxy_autoscale::demo::haproxy;
use haproxy_autoscale::demo::scenario::TIMINGS;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

mod support;

/// The demo, with all its temporary files in `folder`.
fn start(folder: &Path) -> Option<Child> {
    if haproxy::find().is_none() {
        assert!(std::env::var_os("CI").is_none(), "CI needs a haproxy");
        let _ = writeln!(std::io::stderr(), "skipped: no haproxy on this machine");
        return None;
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_haproxy-autoscale"));
    command
        .arg("demo")
        .env("TMPDIR", folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    Some(command.spawn().expect("the binary was built for this test"))
}

/// Reads lines up to the first that `is_wanted`.
#[track_caller]
fn read_until(out: &mut impl BufRead, is_wanted: impl Fn(&str) -> bool) -> String {
    let mut read = String::new();
    loop {
        let before = read.len();
        let more = out.read_line(&mut read).expect("what it prints is text");
        assert!(more > 0, "the demo ended after:\n{read}");
        if is_wanted(&read[before..]) {
            return read;
        }
    }
}

/// Processes that name `folder` in their command line.
fn processes_of(folder: &Path) -> Vec<String> {
    let processes = fs::read_dir("/proc").expect("this is Linux").flatten();
    let lines = processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    lines.filter(|line| line.contains(&*folder.to_string_lossy())).collect()
}

#[test]
fn a_demo_that_is_interrupted_leaves_nothing_behind() {
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let folder = tempfile::tempdir().unwrap();
        let Some(mut demo) = start(folder.path()) else { return };
        let mut out = BufReader::new(demo.stdout.take().unwrap());
        let shown = read_until(&mut out, |line| line.starts_with("  1 s"));
        assert!(shown.contains(TIMINGS) && shown.contains("#..."), "{shown}");
        // Two HAProxys and the agent.
        support::wait_until("there are three", support::PATIENCE, || processes_of(folder.path()).len() == 3);
        kill(Pid::from_raw(i32::try_from(demo.id()).unwrap()), signal).unwrap();
        let mut rest = String::new();
        out.read_to_string(&mut rest).unwrap();
        assert_eq!(demo.wait().unwrap().code(), Some(1));
        assert!(rest.ends_with("stopped; nothing is left behind\n"), "{rest}");
        assert_eq!(processes_of(folder.path()), Vec::<String>::new());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}

#[test]
fn a_reader_that_goes_away_ends_the_demo_without_a_word() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mut demo) = start(folder.path()) else { return };
    let mut out = BufReader::new(demo.stdout.take().unwrap());
    read_until(&mut out, |line| line.starts_with("  1 s"));
    drop(out);
    support::wait_until("the demo to end", support::PATIENCE, || demo.try_wait().unwrap().is_some());
    let mut said = String::new();
    demo.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(said, "");
    assert_eq!(processes_of(folder.path()), Vec::<String>::new());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}
