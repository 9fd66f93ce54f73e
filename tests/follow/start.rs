//! Where reading begins, and what a path leads to.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::{Duration, SystemTime};

use haproxy_autoscale::input::SourceEvent;
use nix::errno::Errno;
use nix::sys::stat::Mode;
use nix::unistd::{Uid, mkfifo, seteuid};

use crate::desk::{Desk, append, appending, child, lines, often, point};

#[test]
fn reading_begins_at_the_end_and_within_a_line_after_it() {
    let desk = Desk::new();
    append(&desk.log, "old\nhalf of a li");
    let desk = desk.read(often(false));
    append(&desk.log, "ne\nnew\n");
    desk.recorder.wait_for_lines(&lines(["new"]));
    assert!(desk.recorder.seen().tails[0].0.starts_with("old\nhalf of a li"));
}

#[test]
fn reading_from_the_start_has_every_line() {
    let desk = Desk::new();
    append(&desk.log, "one\ntw");
    let desk = desk.read(often(true));
    append(&desk.log, "o\nthree\n");
    desk.recorder.wait_for_lines(&lines(["one", "two", "three"]));
}

#[test]
fn the_tail_is_told_before_the_bytes_and_with_its_age() {
    let desk = Desk::new();
    append(&desk.log, &"x".repeat(100_000));
    append(&desk.log, "\nthe last\n");
    let written = SystemTime::now() - Duration::from_secs(600);
    appending(&desk.log).set_modified(written).unwrap();
    let desk = desk.read(often(false));
    desk.recorder.wait_until("the tail", |seen| !seen.tails.is_empty());
    let (tail, written) = desk.recorder.seen().tails[0].clone();
    assert_eq!(tail.len(), 64 << 10);
    assert!(tail.ends_with("x\nthe last\n"));
    let age = written.elapsed().as_secs();
    assert!((600..660).contains(&age), "{age} s");
}

#[test]
fn a_file_that_comes_late_is_read_from_its_start() {
    let desk = Desk::new().read(often(false));
    desk.recorder.wait_for_event(SourceEvent::Missing);
    append(&desk.log, "first\n");
    desk.recorder.wait_for_lines(&lines(["first"]));
    assert_eq!(desk.recorder.seen().events, [SourceEvent::Missing, SourceEvent::Readable]);
}

#[test]
fn bytes_that_are_no_text_arrive_as_they_are() {
    let desk = Desk::with_log();
    appending(&desk.log).write_all(b"\xff\xfe a\0b \xc3\n").unwrap();
    desk.recorder.wait_for_lines(&[String::from_utf8_lossy(b"\xff\xfe a\0b \xc3").into_owned()]);
}

#[test]
fn a_deleted_file_is_read_to_its_end_and_its_successor_from_its_start() {
    let desk = Desk::with_log();
    let mut writer = appending(&desk.log);
    fs::remove_file(&desk.log).unwrap();
    writer.write_all(b"one\n").unwrap();
    desk.recorder.wait_for_event(SourceEvent::Missing);
    writer.write_all(b"two\n").unwrap();
    append(&desk.log, "three\n");
    desk.recorder.wait_for_lines(&lines(["one", "two", "three"]));
    let told = [SourceEvent::Missing, SourceEvent::Rotated { missed: 0 }, SourceEvent::Readable];
    assert_eq!(desk.recorder.seen().events, told);
}

#[test]
fn a_link_that_is_pointed_elsewhere_and_back_is_followed() {
    let desk = Desk::new();
    let (a, b) = (desk.path("a"), desk.path("b"));
    append(&a, "from before\n");
    point(&desk.log, &a);
    let desk = desk.read(often(false));
    append(&a, "a1\n");
    append(&b, "b1\n");
    point(&desk.log, &b);
    desk.recorder.wait_for_lines(&lines(["a1", "b1"]));
    append(&b, "b2\n");
    append(&a, "a2\n");
    desk.recorder.wait_until("both", |seen| seen.lines.len() == 4);
    point(&desk.log, &a);
    append(&a, "a3\n");
    desk.recorder.wait_until("a3", |seen| seen.lines.len() == 5);
    let seen: BTreeSet<String> = desk.recorder.seen().lines.iter().map(|(_, line)| line.clone()).collect();
    assert_eq!(
        seen,
        BTreeSet::from(["a1", "a2", "a3", "b1", "b2"].map(str::to_owned)),
        "nothing is read twice"
    );
}

#[test]
fn what_cannot_be_read_is_told_once_and_read_when_it_can() {
    let desk = Desk::new();
    fs::create_dir(&desk.log).unwrap();
    let desk = desk.read(often(false));
    desk.recorder.wait_for_event(SourceEvent::NotAFile);
    fs::remove_dir(&desk.log).unwrap();
    symlink(&desk.log, &desk.log).unwrap();
    desk.recorder.wait_for_event(SourceEvent::Unreadable(std::io::Error::from(Errno::ELOOP).kind()));
    append(&desk.path("target"), "one\n");
    point(&desk.log, &desk.path("target"));
    desk.recorder.wait_for_lines(&lines(["one"]));
    desk.recorder.wait_for_event(SourceEvent::Readable);
    let mut events = desk.recorder.seen().events.clone();
    events.retain(|event| *event != SourceEvent::Missing);
    events.dedup();
    assert_eq!(events.len(), 3, "{events:?}");
}

#[test]
fn permission_that_is_granted_later_loses_nothing_since_the_start() {
    let output = child("start::as_nobody").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
#[ignore = "run by another test in a process of its own: it gives up root"]
fn as_nobody() {
    let desk = Desk::new();
    append(&desk.log, "from before\n");
    let permit = |mode| fs::set_permissions(&desk.log, PermissionsExt::from_mode(mode)).unwrap();
    permit(0);
    fs::set_permissions(desk.folder.path(), PermissionsExt::from_mode(0o777)).unwrap();
    let mut writer = OpenOptions::new().append(true).open(&desk.log).ok();
    if Uid::effective().is_root() {
        std::os::unix::fs::chown(&desk.log, Some(65534), None).unwrap();
        seteuid(Uid::from_raw(65534)).unwrap();
    }
    let desk = desk.read(often(false));
    desk.recorder.wait_for_event(SourceEvent::Unreadable(std::io::ErrorKind::PermissionDenied));
    let permit = |mode| fs::set_permissions(&desk.log, PermissionsExt::from_mode(mode)).unwrap();
    match &mut writer {
        Some(writer) => writer.write_all(b"one\n").unwrap(),
        None => {
            permit(0o200);
            append(&desk.log, "one\n");
        }
    }
    permit(0o600);
    desk.recorder.wait_for_lines(&lines(["one"]));
    desk.recorder.wait_for_event(SourceEvent::Readable);
}

#[test]
fn a_file_may_be_replaced_by_a_fifo_and_back() {
    let desk = Desk::with_log();
    append(&desk.log, "one\n");
    fs::rename(&desk.log, desk.path("haproxy.log.1")).unwrap();
    mkfifo(&desk.log, Mode::S_IRWXU).unwrap();
    // Opening waits for the reader, which has come then.
    OpenOptions::new().write(true).open(&desk.log).unwrap().write_all(b"two\n").unwrap();
    desk.recorder.wait_for_lines(&lines(["one", "two"]));
    fs::remove_file(&desk.log).unwrap();
    append(&desk.log, "three\n");
    desk.recorder.wait_for_lines(&lines(["one", "two", "three"]));
}
