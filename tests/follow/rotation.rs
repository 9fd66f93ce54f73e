//! Rotation and truncation, by hand and by logrotate.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

use haproxy_autoscale::input::{Options, SourceEvent};

use crate::desk::{Brief, Desk, NEVER, append, appending, lines};

#[test]
fn a_writer_that_has_not_reopened_yet_is_still_heard() {
    let desk = Desk::with_log();
    let mut writer = appending(&desk.log);
    writer.write_all(b"one\ntw").unwrap();
    fs::rename(&desk.log, desk.path("haproxy.log.1")).unwrap();
    append(&desk.log, "");
    desk.recorder.wait_for_event(SourceEvent::Rotated { missed: 0 });
    writer.write_all(b"o\n").unwrap();
    desk.recorder.wait_for_lines(&lines(["one", "two"]));
    append(&desk.log, "three\n");
    desk.recorder.wait_for_lines(&lines(["one", "two", "three"]));
    assert_eq!(desk.recorder.seen().lost, Vec::<String>::new());
}

#[test]
fn two_writers_may_let_go_of_the_old_file_at_different_times() {
    let desk = Desk::with_log();
    let mut late = appending(&desk.log);
    fs::rename(&desk.log, desk.path("haproxy.log.1")).unwrap();
    append(&desk.log, "new 1\nnew ");
    desk.recorder.wait_until("the new file", |seen| seen.halves.values().any(|half| half == b"new "));
    late.write_all(b"late 1\nlate ").unwrap();
    append(&desk.log, "2\n");
    desk.recorder.wait_for_lines(&lines(["new 1", "new 2", "late 1"]));
    late.write_all(b"2\n").unwrap();
    desk.recorder.wait_for_lines(&lines(["new 1", "new 2", "late 1", "late 2"]));
}

#[test]
fn generations_that_came_and_went_unseen_are_read_oldest_first() {
    let desk = Desk::new();
    append(&desk.log, "");
    append(&desk.path("haproxy.log.1"), "from before\n");
    let desk = desk.read(Options { poll: NEVER, ..Options::default() });
    append(&desk.log, "1\n");
    // As logrotate does it: each one moves up by one.
    for generation in 2..=4 {
        for number in (1..generation).rev() {
            let name = |number| desk.path(&format!("haproxy.log.{number}"));
            fs::rename(name(number), name(number + 1)).unwrap();
        }
        fs::rename(&desk.log, desk.path("haproxy.log.1")).unwrap();
        append(&desk.log, &format!("{generation}\n"));
    }
    append(&desk.path("haproxy.log.err"), "another log\n");
    fs::copy(desk.path("haproxy.log.3"), desk.path("haproxy.log.20261121")).unwrap();
    desk.waker.wake();
    desk.recorder.wait_for_lines(&lines(["1", "2", "3", "4"]));
    assert_eq!(desk.recorder.seen().events, [SourceEvent::Rotated { missed: 2 }]);
}

#[test]
fn a_generation_that_was_compressed_before_it_was_read_is_told() {
    let desk = Desk::new();
    append(&desk.log, "1\n");
    let desk = desk.read(Options { poll: NEVER, from_start: true, ..Options::default() });
    desk.recorder.wait_for_lines(&lines(["1"]));
    fs::rename(&desk.log, desk.path("haproxy.log.2")).unwrap();
    let compressed = desk.path("haproxy.log.1.gz");
    append(&compressed, "not really");
    // Later than the old file, even where times are coarse.
    appending(&compressed).set_modified(SystemTime::now() + Duration::from_secs(1)).unwrap();
    append(&desk.log, "3\n");
    desk.waker.wake();
    desk.recorder.wait_for_lines(&lines(["1", "3"]));
    assert_eq!(
        desk.recorder.seen().events,
        [SourceEvent::Unread(compressed), SourceEvent::Rotated { missed: 0 }]
    );
}

/// The writer goes on in the old file until it notices, as one that waits for a signal does.
#[test]
fn nothing_is_lost_or_doubled_while_another_thread_rotates() {
    const LINES: usize = 100_000;
    let desk = Desk::with_log();
    let (written, rotations) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            for rotation in 1..LINES / 1000 {
                while written.load(Ordering::Acquire) < rotation * 1000 {
                    thread::yield_now();
                }
                fs::rename(&desk.log, desk.path(&format!("haproxy.log.{}", 100_000 + rotation))).unwrap();
                drop(appending(&desk.log));
                rotations.store(rotation, Ordering::Release);
            }
        });
        let (mut writer, mut reopened) = (appending(&desk.log), 0);
        for line in 0..LINES {
            // No more than a thousand lines ahead of the rotation that is due.
            while rotations.load(Ordering::Acquire) + 1 < line / 1000 {
                thread::yield_now();
            }
            if rotations.load(Ordering::Acquire) > reopened {
                (writer, reopened) = (appending(&desk.log), rotations.load(Ordering::Acquire));
            }
            writer.write_all(format!("line {line}\n").as_bytes()).unwrap();
            written.store(line + 1, Ordering::Release);
        }
    });
    desk.recorder.wait_until("all lines", |seen| seen.lines.len() >= LINES);
    let seen = desk.recorder.seen();
    let distinct: BTreeSet<&str> = seen.lines.iter().map(|(_, line)| line.as_str()).collect();
    assert_eq!((seen.lines.len(), distinct.len()), (LINES, LINES), "{:?}", Brief(&seen));
    let out_of_order = seen.lines.iter().enumerate().find(|(n, (_, line))| *line != format!("line {n}"));
    assert_eq!(out_of_order, None);
}

#[test]
fn logrotate_with_create_loses_nothing() {
    let desk = Desk::with_log();
    let mut expected = Vec::new();
    for round in 0..5 {
        for line in 0..100 {
            expected.push(format!("round {round} line {line}"));
            append(&desk.log, &format!("round {round} line {line}\n"));
        }
        logrotate(&desk, "create 0640\ncompress\ndelaycompress");
    }
    desk.recorder.wait_for_lines(&expected);
    assert!(desk.path("haproxy.log.2.gz").exists(), "logrotate did what it was told");
}

#[test]
fn logrotate_with_dateext_loses_nothing() {
    let desk = Desk::with_log();
    append(&desk.log, "one\n");
    logrotate(&desk, "create\ndateext\ndateformat -%Y%m%d-%s");
    append(&desk.log, "two\n");
    desk.recorder.wait_for_lines(&lines(["one", "two"]));
}

#[test]
fn logrotate_with_copytruncate_loses_nothing_that_was_read_and_doubles_nothing() {
    let desk = Desk::with_log();
    let mut expected = Vec::new();
    let mut writer = appending(&desk.log);
    for round in 0..5 {
        for line in 0..100 {
            expected.push(format!("round {round} line {line}"));
            writeln!(writer, "round {round} line {line}").unwrap();
        }
        // What is written between the copy and the truncation is lost to everybody.
        desk.recorder.wait_for_lines(&expected);
        logrotate(&desk, "copytruncate");
    }
    // And after all the copies a rotation by name, which looks for what it may have missed.
    logrotate(&desk, "create");
    append(&desk.log, "the end\n");
    expected.push("the end".to_owned());
    desk.recorder.wait_for_lines(&expected);
}

#[track_caller]
fn logrotate(desk: &Desk, directives: &str) {
    let config = desk.path("logrotate.conf");
    let text = format!("\"{}\" {{\nrotate 9\nmissingok\n{directives}\n}}\n", desk.log.display());
    fs::write(&config, text).unwrap();
    // logrotate refuses configurations that others may write to, and folders that they may.
    fs::set_permissions(&config, PermissionsExt::from_mode(0o600)).unwrap();
    let state = desk.path("logrotate.status");
    let output =
        Command::new("/usr/sbin/logrotate").arg("-f").arg("-s").arg(state).arg(&config).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_truncated_file_is_read_from_its_new_start() {
    let desk = Desk::with_log();
    let mut writer = appending(&desk.log);
    writer.write_all(b"one\nhalf").unwrap();
    desk.recorder.wait_until("the half line", |seen| !seen.halves.is_empty());
    writer.set_len(0).unwrap();
    writer.write_all(b"two\n").unwrap();
    desk.recorder.wait_for_lines(&lines(["one", "two"]));
    assert_eq!(desk.recorder.seen().lost, ["half"]);
    assert_eq!(desk.recorder.seen().events, [SourceEvent::Truncated]);
}

#[test]
fn a_file_that_was_truncated_and_has_grown_past_the_old_end_is_noticed() {
    for instead in ["2\n", "other\n", "longer than before\n", "2\n3\n4\n5\n"] {
        let desk = Desk::new();
        append(&desk.log, "first\n");
        let desk = desk.read(Options { poll: NEVER, from_start: true, ..Options::default() });
        desk.recorder.wait_for_lines(&lines(["first"]));
        let writer = appending(&desk.log);
        writer.set_len(0).unwrap();
        (&writer).write_all(instead.as_bytes()).unwrap();
        desk.waker.wake();
        let expected: Vec<String> = ["first"].into_iter().chain(instead.lines()).map(str::to_owned).collect();
        desk.recorder.wait_for_lines(&expected);
    }
}

#[test]
fn a_writer_that_does_not_append_leaves_a_hole_that_is_passed_over() {
    for seen_empty in [false, true] {
        let desk = Desk::new();
        append(&desk.log, "");
        let desk = desk.read(Options { poll: NEVER, ..Options::default() });
        let mut writer = OpenOptions::new().write(true).open(&desk.log).unwrap();
        writer.write_all(format!("{}\n", "x".repeat(1 << 20)).as_bytes()).unwrap();
        desk.waker.wake();
        desk.recorder.wait_until("the first line", |seen| seen.lines.len() == 1);
        writer.set_len(0).unwrap();
        if seen_empty {
            desk.waker.wake();
            desk.recorder.wait_for_event(SourceEvent::Truncated);
        }
        writer.write_all(b"two\n").unwrap();
        desk.waker.wake();
        desk.recorder.wait_until("the second line", |seen| seen.lines.len() == 2);
        assert_eq!(desk.recorder.seen().lines[1].1, "two");
    }
}
