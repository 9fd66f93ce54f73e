//! `haproxy-autoscale replay`: yesterday's log through the agent's own code, for several policies side by side.
//!
//! In: log files in any order, and how to decide. Out: figures by policy beside what was, every decision with its
//! reason, and how far the model behind them can be trusted. The same logs print the same figures.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::log_format::FORMATS;
use super::output::print;
use super::parts::{self, Lines};
use super::report::when;
use super::simulate::setting::Setting;
use super::{Failure, threads_or_cores, usage};
use crate::config::parse_duration;
use crate::sim::replay::Replay;
use crate::sim::replay::history::{Historian, History};
use crate::sim::scenario::Balance;
use site::Site;

mod machine;
mod over_time;
mod page;
pub(super) mod runs;
mod site;
mod text;

/// What `--help` begins with.
pub(super) const LONG_ABOUT: &str = "\
Decide again on yesterday's log: what would have been done, when and why, and what would have come of it

Reads whole logs, packed ones too, in any order; time goes by the dates in the lines. Arrivals, what each \
request cost and which servers were active are read from the log. How latency would have been with other \
servers is in no log: it is modelled, with workers and costs learned from this one. The servers that were \
active are modelled too, which shows how near the model comes to the log.

The agent that decides is the real one, with the settings of the config file. Beside it may decide whatever \
`simulate --list` names.

  over %      requests above the target's limit, or failed
  over min    time in which the target was missed, by spans of 30 s
  server-h    hours of servers: starting, serving, draining;
              as it was: of those that had requests
  moves       servers started or stopped
  were        how many servers really were active when a decision was made

Examples:
  haproxy-autoscale replay /var/log/haproxy.log*
  haproxy-autoscale replay --backend app --target 250ms haproxy.log.2.gz
  haproxy-autoscale replay --policy model,hpa,fixed-4 haproxy.log*
  haproxy-autoscale replay --set model.hold=2m haproxy.log*
  haproxy-autoscale replay --from 2026-11-20T08:00 --decisions 200 haproxy.log

A picture for a browser; the figures by policy:
  haproxy-autoscale replay --output html haproxy.log > replay.html
  haproxy-autoscale replay --output json haproxy.log | tail -n 1";

/// See the module's text.
#[derive(Clone, Debug, Args)]
pub(super) struct ReplayArguments {
    /// Log files, or - for standard input; .gz and .zst are unpacked
    #[arg(required = true, value_name = "LOG")]
    files: Vec<String>,
    /// The config file [default: /etc/haproxy-autoscale/config.yaml, if it is there]
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// This backend [default: those of the config file; without one, the busiest]
    #[arg(long, value_name = "NAME")]
    backend: Option<String>,
    /// The latency to stay below, such as 250ms [default: what the config file says]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    target: Option<Duration>,
    /// Policies to compare, such as model,hpa,fixed-4 [default: model,threshold,all-on]
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    policy: Vec<String>,
    /// One more column: model (threshold, if only that is asked for) with another value for a key of a
    /// backend in the config, such as model.hold=2m
    #[arg(long, value_name = "KEY=VALUE", value_parser = Setting::parse)]
    set: Vec<Setting>,
    /// Only requests that came at TIME or later, such as 2026-11-21T09:31, by the dates in the log
    #[arg(long, value_name = "TIME", value_parser = when::parse)]
    from: Option<i64>,
    /// Only requests that came before TIME
    #[arg(long, value_name = "TIME", value_parser = when::parse)]
    to: Option<i64>,
    /// Decisions that are shown of each policy, at most; 0 for none
    #[arg(long, value_name = "N", default_value_t = 20)]
    decisions: usize,
    /// How to print it
    #[arg(long, value_enum, value_name = "FORM", default_value_t = Form::Table)]
    output: Form,
    #[arg(long, value_name = "FORMAT", help = format!("The format of the lines: {FORMATS} [default: what the config file says, else auto]"))]
    format: Option<String>,
    /// How many threads read and play [default: one for each core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    #[command(flatten)]
    pool: PoolArguments,
}

/// What is in no log.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "What no log tells")]
pub(super) struct PoolArguments {
    /// Servers of the pool [default: as many as had requests]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    servers: Option<u16>,
    /// Requests a server works on side by side [default: learned from the log]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    workers: Option<u32>,
    /// `maxconn` of each server [default: what the log shows, if HAProxy queued]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    maxconn: Option<u32>,
    /// From the order to start a server until it is healthy, give or take 20 %
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = parse_duration)]
    start_delay: Duration,
    /// The first request of a server that was started takes so many times as long; it fades over 60 requests
    #[arg(long, value_name = "TIMES", default_value_t = 1.0, value_parser = at_least_one)]
    cold_start: f64,
    /// `balance`: roundrobin or leastconn
    #[arg(long, value_name = "ALGORITHM", default_value = "roundrobin", value_parser = balance)]
    balance: Balance,
}

/// How a replay is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// For people.
    Table,
    /// A decision a line, then the figures; each line one object.
    Json,
    /// One page for a browser, with a picture over time; it needs nothing else.
    Html,
}

pub(super) fn run(arguments: &ReplayArguments) -> Result<(), Failure> {
    let within = arguments.from.unwrap_or(i64::MIN)..arguments.to.unwrap_or(i64::MAX);
    if within.is_empty() {
        return Err(usage("--from is not before --to"));
    }
    let site = Site::of(arguments)?;
    let threads = threads_or_cores(arguments.threads);
    let empty = Historian::new(site.format.clone(), arguments.backend.clone(), within);
    let (histories, others) = parts::read(&arguments.files, threads, &empty)?.finish();
    let chosen = site.choose(&histories, &others)?;
    let replays = chosen
        .into_iter()
        .map(|history| replay(history, &site, arguments, threads))
        .collect::<Result<Vec<Replay>, Failure>>()?;
    let each = |text: &dyn Fn(&Replay) -> String| replays.iter().map(text).collect::<Vec<_>>();
    print(&match arguments.output {
        Form::Table => each(&|replay| text::text(replay, &others, arguments.decisions)).join("\n"),
        Form::Json => each(&|replay| machine::lines(replay, &others)).concat(),
        Form::Html => page::document(&replays, &others),
    })
}

fn replay(
    history: &History,
    site: &Site,
    arguments: &ReplayArguments,
    threads: usize,
) -> Result<Replay, Failure> {
    runs::replay(history, &site.columns(history)?, &arguments.pool, threads)
}

impl Lines for Historian {
    fn take(&mut self, text: &[u8]) -> usize {
        Self::take(self, text)
    }

    fn take_overlong(&mut self) {
        Self::take_overlong(self);
    }

    fn add_all(&mut self, other: Self) {
        Self::add_all(self, other);
    }
}

fn at_least_one(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number: &f64| number.is_finite() && *number >= 1.0);
    number.ok_or_else(|| "expected a number, 1 or more".to_owned())
}

fn balance(text: &str) -> Result<Balance, String> {
    let known = [Balance::RoundRobin, Balance::LeastConn];
    known
        .into_iter()
        .find(|its| its.name() == text)
        .ok_or_else(|| "expected roundrobin or leastconn".to_owned())
}
