//! `haproxy-autoscale report`: what whole logs say of each backend and server.
//!
//! Requests, how they ended, percentiles of each timer, rate, queue and concurrency; latency over
//! time. Reads files on all cores, at about the speed of memory.

use clap::{Args, ValueEnum};

use super::log_format::{FORMATS, line_format};
use super::output::{print, print_json};
use super::{Failure, parts, threads_or_cores, usage};
use book::{Book, Range};
use summary::Summary;

mod account;
mod book;
mod counts;
mod index;
mod machine;
mod summary;
mod text;
mod timeline;
pub(super) mod when;

/// See the module's text.
#[derive(Clone, Debug, Args)]
pub(super) struct ReportArguments {
    /// Log files, or - for standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<String>,
    /// How to print it
    #[arg(long, value_enum, value_name = "FORM", default_value_t = Form::Table)]
    output: Form,
    /// Only requests that began at TIME or later, such as 2026-11-21T09:31, by the dates in the log
    #[arg(long, value_name = "TIME", value_parser = when::parse)]
    from: Option<i64>,
    /// Only requests that began before TIME
    #[arg(long, value_name = "TIME", value_parser = when::parse)]
    to: Option<i64>,
    /// Only this backend
    #[arg(long, value_name = "NAME")]
    backend: Option<String>,
    #[arg(long, value_name = "FORMAT", default_value = "auto", help = format!("The format of the lines: {FORMATS}"))]
    format: String,
    /// How many threads read [default: one for each core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
}

/// How a report is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// For people.
    Table,
    /// Everything, as one object.
    Json,
    /// A row for each backend and server.
    Csv,
}

pub(super) fn run(arguments: &ReportArguments) -> Result<(), Failure> {
    let range = Range {
        from_ms: arguments.from.unwrap_or(Range::ALL.from_ms),
        to_ms: arguments.to.unwrap_or(Range::ALL.to_ms),
    };
    if range.from_ms >= range.to_ms {
        return Err(usage("--from is not before --to"));
    }
    let threads = threads_or_cores(arguments.threads);
    let empty = Book::new(line_format(&arguments.format)?, range);
    let book = parts::read(&arguments.files, threads, &empty)?;
    let summary = Summary::of(&book, arguments.backend.as_deref());
    if let Some(backend) = arguments.backend.as_ref().filter(|_| summary.backends.is_empty()) {
        return Err(Failure::Failed(format!("no request of backend `{backend}`")));
    }
    match arguments.output {
        Form::Table => print(&text::text(&summary)),
        Form::Json => print_json(&machine::json(&summary)),
        Form::Csv => print(&machine::csv(&summary)),
    }
}
