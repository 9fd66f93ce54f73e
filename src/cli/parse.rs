//! `haproxy-autoscale parse`: every field of every line, or what was not understood and why.
//!
//! One record for each line of the input, in order, as JSON objects or as `name=value` pairs. What was
//! made of a block of input is written as soon as it is its turn, so that a pipe from `tail -f` is shown
//! as it comes.

use clap::{Args, ValueEnum};

use super::Failure;
use super::log_format::{FORMATS, line_format};
use super::threads_or_cores;
use crate::core::log::error::{ErrorKind as LineErrorKind, LineError};
use crate::core::log::format::Line;
use crate::core::log::framing::{DEFAULT_MOST_LINE_BYTES, Frame, Framing};
use crate::core::log::parser::LineParser;
use blocks::Block;
use record::Origin;
use writing::{Json, Pairs};

mod blocks;
mod failed;
mod in_order;
mod record;
mod writing;

/// See the module's text.
#[derive(Clone, Debug, Args)]
pub(super) struct ParseArguments {
    /// Log files, or - for standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<String>,
    /// How to print the fields [default: json; with --failed: text]
    ///
    /// `json` is one object a line. `text` is one line of name=value pairs, with --failed the line that was
    /// not understood and a caret under the place. Bytes that are not UTF-8 are shown as U+FFFD.
    #[arg(long, value_enum, value_name = "FORM")]
    output: Option<Form>,
    #[arg(long, value_name = "FORMAT", default_value = "auto", help = format!("The format of the lines: {FORMATS}"))]
    format: String,
    /// Show only the lines that were not understood, and why; exit code 1 if there are any
    #[arg(long)]
    failed: bool,
    /// How many threads parse [default: one for each core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
}

/// How records are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// One object a line.
    Json,
    /// For people.
    Text,
}

pub(super) fn run(arguments: &ParseArguments) -> Result<(), Failure> {
    let default = if arguments.failed { Form::Text } else { Form::Json };
    let printer = Printer {
        lines: LineParser::new(line_format(&arguments.format)?),
        form: arguments.output.unwrap_or(default),
        only_failed: arguments.failed,
        // Which file it was matters only where there are several; `--failed` always says.
        shows_file: arguments.files.len() > 1 || arguments.failed,
    };
    let failures = in_order::print(&arguments.files, threads_or_cores(arguments.threads), &printer)?;
    if arguments.failed && failures > 0 { Err(Failure::Told) } else { Ok(()) }
}

/// Blocks of lines in, records out.
#[derive(Clone, Debug)]
struct Printer {
    lines: LineParser,
    form: Form,
    only_failed: bool,
    shows_file: bool,
}

/// Bytes of records for each byte of lines, about.
const RECORD_BYTES: usize = 3;

/// What is printed of a block.
#[derive(Debug)]
struct Records {
    text: Vec<u8>,
    /// Lines that were not understood.
    failures: u64,
}

impl Printer {
    fn print(&mut self, block: &Block<'_>) -> Records {
        let room = if self.only_failed { 0 } else { RECORD_BYTES * block.text.len() };
        let mut records = Records { text: Vec::with_capacity(room), failures: 0 };
        let mut line = block.first_line;
        let file = Some(block.file).filter(|_| self.shows_file);
        let mut take = |frame: Frame<'_>| {
            self.print_line(Origin { file, line }, frame, &mut records);
            line += 1;
        };
        let mut framing = Framing::default();
        framing.push(&block.text, &mut take);
        framing.finish(&mut take);
        records
    }

    fn print_line(&mut self, origin: Origin<'_>, frame: Frame<'_>, records: &mut Records) {
        let (text, line) = match frame {
            Frame::Line(text) => (text, self.lines.read(text)),
            Frame::Overlong(start) => (
                start,
                Line::Unparsed(LineError::of_line(LineErrorKind::TooLong(DEFAULT_MOST_LINE_BYTES), 0)),
            ),
        };
        let error = if let Line::Unparsed(error) = line { Some(error) } else { None };
        records.failures += u64::from(error.is_some());
        let out = &mut records.text;
        match (self.form, self.only_failed, error) {
            (_, true, None) => {}
            (Form::Text, true, Some(error)) => failed::write(out, origin, text, error),
            (Form::Json, ..) => record::write(Json::new(out), origin, text, &line),
            (Form::Text, ..) => record::write(Pairs::new(out), origin, text, &line),
        }
    }
}
