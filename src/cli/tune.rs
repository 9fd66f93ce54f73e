//! `haproxy-autoscale tune`: target, bounds and window for a backend, from its own log.
//!
//! In: log files. Out: what is proposed, why, what each candidate would have cost, and the lines for the config file.
//! Every candidate is played on the very requests of the log, as `replay` does it.

use std::time::Duration;

use clap::{Args, ValueEnum};

use super::log_format::{FORMATS, line_format};
use super::output::print;
use super::parts;
use super::replay::PoolArguments;
use super::report::when;
use super::{Failure, threads_or_cores, usage};
use crate::config::parse_duration;
use crate::sim::replay::history::{Historian, History, Others};

mod machine;
mod proposal;
mod rules;
mod text;
mod trial;

/// What `--help` begins with.
pub(super) const LONG_ABOUT: &str = "\
Propose target, bounds and window for a backend from its own log, with what each would have cost

What requests take when nobody waits is read from the log. Targets of 1.5, 2 and 3 times that, and the fewest \
servers and how full they may be, are tried on the very requests of the log, with `policy: model`, as `replay` \
does it: how latency would have been is modelled. Proposed is the tightest target that costs hardly more than \
the cheapest, the fewest servers beyond which more buy little, as many at most as the peak takes and a third \
more, and a window in which there are requests enough at quiet times, too.

A target is a promise to users, which no log knows: --target tries that one, and proposes the rest for it.

Examples:
  haproxy-autoscale tune /var/log/haproxy.log*
  haproxy-autoscale tune --backend app --target 250ms haproxy.log.2.gz
  haproxy-autoscale tune --start-delay 40s --output yaml haproxy.log > app.yaml
  haproxy-autoscale check --config app.yaml";

/// See the module's text.
#[derive(Clone, Debug, Args)]
pub(super) struct TuneArguments {
    /// Log files, or - for standard input; .gz and .zst are unpacked
    #[arg(required = true, value_name = "LOG")]
    files: Vec<String>,
    /// This backend [default: the busiest]
    #[arg(long, value_name = "NAME")]
    backend: Option<String>,
    /// Propose the rest for this target [default: proposed, too]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    target: Option<Duration>,
    /// Only requests that came at TIME or later, such as 2026-11-21T09:31, by the dates in the log
    #[arg(long, value_name = "TIME", value_parser = when::parse)]
    from: Option<i64>,
    /// Only requests that came before TIME
    #[arg(long, value_name = "TIME", value_parser = when::parse)]
    to: Option<i64>,
    /// How to print it
    #[arg(long, value_enum, value_name = "FORM", default_value_t = Form::Table)]
    output: Form,
    #[arg(long, value_name = "FORMAT", default_value = "auto", help = format!("The format of the lines: {FORMATS}"))]
    format: String,
    /// How many threads read and play [default: one for each core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    #[command(flatten)]
    pool: PoolArguments,
}

/// How a proposal is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// For people: reasons, figures, and the lines for the config file.
    Table,
    /// One object.
    Json,
    /// A config file.
    Yaml,
}

pub(super) fn run(arguments: &TuneArguments) -> Result<(), Failure> {
    let within = arguments.from.unwrap_or(i64::MIN)..arguments.to.unwrap_or(i64::MAX);
    if within.is_empty() {
        return Err(usage("--from is not before --to"));
    }
    let threads = threads_or_cores(arguments.threads);
    let empty = Historian::new(line_format(&arguments.format)?, arguments.backend.clone(), within);
    let (histories, others) = parts::read(&arguments.files, threads, &empty)?.finish();
    let history = histories.first().ok_or_else(|| nothing(arguments, &others))?;
    let proposal = propose(history, arguments, threads)?;
    print(&match arguments.output {
        Form::Table => text::text(&proposal),
        Form::Json => machine::json(&proposal),
        Form::Yaml => proposal.yaml(),
    })
}

fn propose(
    history: &History,
    arguments: &TuneArguments,
    threads: usize,
) -> Result<proposal::Proposal, Failure> {
    let trials = trial::Trials::new(history, &arguments.pool, threads)?;
    rules::propose(&trials, arguments.target)
}

fn nothing(arguments: &TuneArguments, others: &Others) -> Failure {
    let of = arguments.backend.as_ref().map(|backend| format!(" of backend `{backend}`")).unwrap_or_default();
    let mut why = format!("no request{of} that went to a server in {} lines", others.lines);
    if others.unparsed > 0 {
        why += &format!("\n  {} were not understood: `parse --failed` shows them", others.unparsed);
    }
    Failure::Failed(why)
}
