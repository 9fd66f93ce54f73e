//! `haproxy-autoscale parse`: every field of every line, or what was not understood and why.
//!
//! One record for each line of the input, in order, as JSON objects or as `name=value` pairs.
//! What was made of a block of input is written before the next one is waited for, so that a
//! pipe from `tail -f` is shown as it comes.

use std::io::{self, ErrorKind, Write};

use clap::{Args, ValueEnum};

use super::Failure;
use super::log_file::LogFile;
use super::log_format::{FORMATS, line_format};
use crate::core::log::error::{ErrorKind as LineErrorKind, LineError};
use crate::core::log::format::Line;
use crate::core::log::framing::{DEFAULT_MOST_LINE_BYTES, Frame, Framing};
use crate::core::log::parser::LineParser;

mod failed;
mod record;
mod writing;

use record::Origin;
use writing::{Json, Pairs};

/// How much is read at once: enough that the calls cost nothing, little enough for the cache.
const BLOCK_BYTES: usize = 256 * 1024;

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
    let mut printer = Printer {
        lines: LineParser::new(line_format(&arguments.format)?),
        form: arguments.output.unwrap_or(default),
        only_failed: arguments.failed,
        failures: 0,
        out: Vec::new(),
    };
    for file in &arguments.files {
        // Which file it was matters only where there are several; `--failed` always says.
        let shown = (arguments.files.len() > 1 || arguments.failed).then_some(file.as_str());
        if print_file(file, shown, &mut printer)? == Reader::Gone {
            break;
        }
    }
    if arguments.failed && printer.failures > 0 { Err(Failure::Told) } else { Ok(()) }
}

/// Who reads what we print.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reader {
    Here,
    /// As `| head` does when it has had enough.
    Gone,
}

fn print_file(name: &str, shown: Option<&str>, printer: &mut Printer) -> Result<Reader, Failure> {
    let mut log = LogFile::open(name)?;
    let mut framing = Framing::default();
    let mut block = vec![0; BLOCK_BYTES];
    let mut line = 0;
    loop {
        let length = log.read(&mut block)?;
        let mut take = |frame: Frame<'_>| {
            line += 1;
            printer.take(Origin { file: shown, line }, frame);
        };
        match length {
            0 => framing.finish(&mut take),
            _ => framing.push(&block[..length], &mut take),
        }
        match printer.flush()? {
            Reader::Here if length > 0 => {}
            reader => return Ok(reader),
        }
    }
}

/// Frames in, records out.
struct Printer {
    lines: LineParser,
    form: Form,
    only_failed: bool,
    failures: u64,
    out: Vec<u8>,
}

impl Printer {
    fn take(&mut self, origin: Origin<'_>, frame: Frame<'_>) {
        let (text, line) = match frame {
            Frame::Line(text) => (text, self.lines.read(text)),
            Frame::Overlong(start) => (
                start,
                Line::Unparsed(LineError::of_line(LineErrorKind::TooLong(DEFAULT_MOST_LINE_BYTES), 0)),
            ),
        };
        let error = if let Line::Unparsed(error) = line { Some(error) } else { None };
        self.failures += u64::from(error.is_some());
        match (self.form, self.only_failed, error) {
            (_, true, None) => {}
            (Form::Text, true, Some(error)) => failed::write(&mut self.out, origin, text, error),
            (Form::Json, ..) => record::write(Json::new(&mut self.out), origin, text, &line),
            (Form::Text, ..) => record::write(Pairs::new(&mut self.out), origin, text, &line),
        }
    }

    /// Writes what has been collected.
    fn flush(&mut self) -> Result<Reader, Failure> {
        let mut out = io::stdout().lock();
        let written = out.write_all(&self.out).and_then(|()| out.flush());
        self.out.clear();
        match written {
            Ok(()) => Ok(Reader::Here),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Reader::Gone),
            Err(error) => Err(Failure::Failed(format!("cannot write to standard output: {error}"))),
        }
    }
}
