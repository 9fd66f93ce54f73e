//! Random deeds of a writer and an administrator, against a plain list of lines.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use haproxy_autoscale::input::Options;
use proptest::prelude::*;

use crate::desk::{Desk, appending, point};

/// What can happen to a log that is a link or not, with one writer who reopens it in time.
#[derive(Clone, Copy, Debug)]
enum Deed {
    Write(u8),
    /// The line is finished by the next one to write.
    WriteHalf,
    /// As logrotate with `create`: all move up by one, and there is a new file.
    Rotate,
    /// As logrotate with `nocreate`: there is no new file until the writer makes one.
    RotateAway,
    /// The writer opens the log anew, having finished its line.
    Reopen,
    Copytruncate,
    Delete,
    /// To a new file, which the writer opens at once.
    Repoint,
    Wake,
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        6 => (1..20_u8).prop_map(Deed::Write),
        3 => Just(Deed::WriteHalf),
        2 => Just(Deed::Rotate),
        2 => Just(Deed::RotateAway),
        3 => Just(Deed::Reopen),
        1 => Just(Deed::Copytruncate),
        1 => Just(Deed::Delete),
        1 => Just(Deed::Repoint),
        1 => Just(Deed::Wake),
    ]
}

/// The writer, and all the lines it has written.
struct Model {
    desk: Desk,
    real: PathBuf,
    is_link: bool,
    writer: File,
    within_line: bool,
    written: Vec<String>,
    links: usize,
}

impl Model {
    fn new(is_link: bool) -> Self {
        let desk = Desk::new();
        let real = if is_link { desk.path("target 0") } else { desk.log.clone() };
        let writer = appending(&real);
        if is_link {
            point(&desk.log, &real);
        }
        let desk = desk.read(Options { poll: Duration::from_millis(1), ..Options::default() });
        Self { desk, real, is_link, writer, within_line: false, written: Vec::new(), links: 0 }
    }

    fn write_half(&mut self) {
        if !self.within_line {
            write!(self.writer, "line {} ", self.written.len()).unwrap();
            self.within_line = true;
        }
    }

    fn finish_line(&mut self) {
        if self.within_line {
            self.writer.write_all(b"ends\n").unwrap();
            self.written.push(format!("line {} ends", self.written.len()));
            self.within_line = false;
        }
    }

    fn write(&mut self, lines: u8) {
        for _ in 0..lines {
            self.write_half();
            self.finish_line();
        }
    }

    fn reopen(&mut self) {
        self.finish_line();
        self.writer = appending(&self.real);
    }

    /// Before what nobody could recover from: all there is has been read.
    fn wait(&mut self) {
        self.finish_line();
        self.desk.recorder.wait_for_lines(&self.written);
    }

    /// Moves the rotated files up by one; returns the name that is free then.
    fn make_room(&self) -> PathBuf {
        let name = |number: usize| PathBuf::from(format!("{}.{number}", self.real.display()));
        let last = (1..).take_while(|&number| name(number).exists()).last().unwrap_or(0);
        for number in (1..=last).rev() {
            fs::rename(name(number), name(number + 1)).unwrap();
        }
        name(1)
    }

    /// Gone already if it was rotated away or deleted before.
    fn rotate(&self) {
        let _ = fs::rename(&self.real, self.make_room());
    }

    fn act(&mut self, deed: Deed) {
        match deed {
            Deed::Write(lines) => self.write(lines),
            Deed::WriteHalf => self.write_half(),
            Deed::Rotate => {
                self.rotate();
                drop(appending(&self.real));
            }
            Deed::RotateAway => self.rotate(),
            Deed::Reopen => self.reopen(),
            Deed::Copytruncate => {
                self.reopen();
                self.wait();
                fs::copy(&self.real, self.make_room()).unwrap();
                self.writer.set_len(0).unwrap();
            }
            Deed::Delete => {
                // Nobody could read it if it were gone before it was seen.
                self.reopen();
                self.write(1);
                self.wait();
                fs::remove_file(&self.real).unwrap();
            }
            Deed::Repoint if self.is_link => {
                self.wait();
                self.links += 1;
                self.real = self.desk.path(&format!("target {}", self.links));
                self.reopen();
                point(&self.desk.log, &self.real);
                // Nobody could find it if it were rotated away before it was seen: its name was never known.
                self.write(1);
                self.wait();
            }
            Deed::Repoint => {}
            Deed::Wake => self.desk.waker.wake(),
        }
    }
}

proptest! {
    // A step of shrinking that fails waits for the deadline.
    #![proptest_config(ProptestConfig {
        cases: 100,
        max_shrink_iters: 20,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_line_arrives_once_and_in_order(
        is_link: bool,
        deeds in prop::collection::vec(deed(), 1..40),
    ) {
        let mut model = Model::new(is_link);
        for deed in deeds {
            model.act(deed);
        }
        model.reopen();
        model.write(1);
        model.wait();
        prop_assert_eq!(&model.desk.recorder.seen().lost, &Vec::<String>::new());
    }
}
