//! FIFOs and standard input.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::process::Stdio;

use haproxy_autoscale::input::{Options, Source, SourceEvent, Waker, start};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::desk::{Desk, Recorder, child, lines, often};

#[test]
fn writers_of_a_fifo_come_and_go() {
    let desk = Desk::new();
    mkfifo(&desk.log, Mode::S_IRWXU).unwrap();
    let desk = desk.read(often(false));
    let mut expected = Vec::new();
    for writer in 0..200 {
        let text = format!("writer {writer}\nhalf of {writer}");
        OpenOptions::new().write(true).open(&desk.log).unwrap().write_all(text.as_bytes()).unwrap();
        expected.push(format!("writer {writer}"));
        if writer % 7 == 0 {
            desk.recorder.wait_until("the half line is cut", |seen| seen.lost.len() == writer + 1);
        } else {
            desk.recorder.wait_until("the line", |seen| {
                seen.lines.len() == writer + 1 && seen.lost.len() == writer + 1
            });
        }
    }
    desk.recorder.wait_for_lines(&expected);
    desk.recorder.wait_for_event(SourceEvent::WriterGone);
    OpenOptions::new().write(true).open(&desk.log).unwrap().write_all(b"back\n").unwrap();
    desk.recorder.wait_for_event(SourceEvent::WriterBack);
}

/// Two writers, one after the other, with no chance for the reader in between: their bytes are one stream.
#[test]
fn nothing_is_lost_when_a_writer_follows_at_once() {
    let desk = Desk::new();
    mkfifo(&desk.log, Mode::S_IRWXU).unwrap();
    let desk = desk.read(often(false));
    let expected: Vec<String> = (0..2000).map(|line| format!("line {line}")).collect();
    for line in &expected {
        OpenOptions::new()
            .write(true)
            .open(&desk.log)
            .unwrap()
            .write_all(format!("{line}\n").as_bytes())
            .unwrap();
    }
    desk.recorder.wait_for_lines(&expected);
}

#[test]
fn a_fifo_that_is_created_anew_is_opened_anew() {
    let desk = Desk::new();
    mkfifo(&desk.log, Mode::S_IRWXU).unwrap();
    let desk = desk.read(often(false));
    let mut old = OpenOptions::new().write(true).open(&desk.log).unwrap();
    fs::remove_file(&desk.log).unwrap();
    mkfifo(&desk.log, Mode::S_IRWXU).unwrap();
    let mut new = OpenOptions::new().write(true).open(&desk.log).unwrap();
    old.write_all(b"old\n").unwrap();
    desk.recorder.wait_for_lines(&lines(["old"]));
    new.write_all(b"new\n").unwrap();
    desk.recorder.wait_for_lines(&lines(["old", "new"]));
}

#[test]
fn standard_input_is_read_to_its_end_and_left_as_it_was() {
    let (reader, mut writer) = std::io::pipe().unwrap();
    let flags = || nix::fcntl::fcntl(&reader, nix::fcntl::FcntlArg::F_GETFL).unwrap();
    let before = flags();
    let mut child = child("pipes::standard_input");
    let child = child.stdin(reader.try_clone().unwrap()).stdout(Stdio::piped()).spawn().unwrap();
    writer.write_all(b"one\ntwo\nhalf").unwrap();
    drop(writer);
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("read [one, two], lost [half], told [Ended]"), "{text}");
    assert_eq!(flags(), before);
}

#[test]
#[ignore = "run by another test in a process of its own, with a pipe"]
fn standard_input() {
    let recorder = Recorder::default();
    let sources = vec![Source::Stdin];
    start(sources, Options::default(), recorder.clone(), Waker::new().unwrap()).unwrap().wait();
    let seen = recorder.seen();
    let lines: Vec<&str> = seen.lines.iter().map(|(_, line)| line.as_str()).collect();
    let report =
        format!("read [{}], lost [{}], told {:?}", lines.join(", "), seen.lost.join(", "), seen.events);
    std::io::stdout().write_all(report.as_bytes()).unwrap();
}
