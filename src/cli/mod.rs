//! The command line: arguments, help, exit codes. One file for each subcommand.
//!
//! Exit codes: 0 done, 1 failed while running, 2 wrong usage or config. Results go to standard
//! output, all else to standard error.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use serde_json::Value;
use tracing::Level;

use crate::config::nearest::nearest;
use crate::config::{Config, ConfigError, DEFAULT_PATH, parse_duration};
use crate::haproxy::address::Endpoint;
use crate::input::Source;
use crate::report as errors;
use crate::telemetry::socket::{Request, ask, socket};

mod check;
mod demo;
mod explain;
mod log_file;
mod log_format;
mod orders;
mod output;
mod parse;
mod parts;
mod picture;
mod progress;
mod replay;
mod report;
mod run;
mod simulate;
mod status;
mod tune;

/// Keeps as many HAProxy servers READY as the latency in HAProxy's own log asks for.
///
/// Reads the log that HAProxy writes already, and enables, drains and disables servers, declared or from a pool,
/// over HAProxy's Runtime API. Without a config file and without --backend it only observes: it
/// never touches a backend that nobody named.
#[derive(Debug, Parser)]
#[command(name = "haproxy-autoscale", version, args_conflicts_with_subcommands = true, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: RunArguments,
}

/// What every subcommand that needs the config takes.
#[derive(Clone, Debug, Default, Args)]
struct ConfigArguments {
    /// The config file [default: /etc/haproxy-autoscale/config.yaml, if it is there]
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// HAProxy's stats socket: a path, HOST:PORT, or either behind `master:`; once for each HAProxy [default:
    /// /run/haproxy/admin.sock]
    #[arg(long, value_name = "ADDRESS")]
    socket: Vec<String>,
    /// Scale this backend, with defaults for what the config does not say about it
    #[arg(long, value_name = "NAME")]
    backend: Option<String>,
    /// The latency to stay below, for the backend of --backend, such as 250ms
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, requires = "backend")]
    target: Option<Duration>,
    /// Where log lines come from: a file, a FIFO, - for standard input, udp://ADDR:PORT, tcp://ADDR:PORT,
    /// unix:///path, journald:UNIT or ring:NAME
    #[arg(value_name = "SOURCE")]
    sources: Vec<String>,
}

#[derive(Clone, Debug, Default, Args)]
struct RunArguments {
    #[command(flatten)]
    config: ConfigArguments,
    /// Decide, but send nothing to HAProxy or its servers
    #[arg(long)]
    dry_run: bool,
    /// Read files from their start instead of their end
    #[arg(long)]
    from_start: bool,
    /// How much to log [default: info]
    #[arg(long, value_enum, value_name = "LEVEL")]
    log_level: Option<LogLevel>,
    /// Log one JSON object a line
    #[arg(long)]
    log_json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Tell what will not work, before it is started
    Check {
        #[command(flatten)]
        config: ConfigArguments,
        #[command(flatten)]
        output: OutputArguments,
    },
    /// Show what the running agent knows and does
    Status {
        #[command(flatten)]
        output: OutputArguments,
        /// The config file of the agent [default: /etc/haproxy-autoscale/config.yaml, if it is there]
        #[arg(short, long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Tell why a backend is as it is, what limits it, and when it may move next
    Explain(orders::OrderArguments),
    /// Make no moves of a backend's servers, until `resume` or for a while
    Pause(orders::PauseArguments),
    /// Keep so many servers of a backend serving, until `resume` or for a while
    Pin(orders::PinArguments),
    /// End a pause or a pin
    Resume(orders::OrderArguments),
    /// Print every field of every line of old logs
    Parse(parse::ParseArguments),
    /// Tell latency, failures and load of each backend and server from old logs
    Report(report::ReportArguments),
    /// Decide again on yesterday's log: what would have been done, when and why, and what would have come of it
    #[command(long_about = replay::LONG_ABOUT)]
    Replay(replay::ReplayArguments),
    /// Play a load against simulated servers, for several policies side by side
    #[command(long_about = simulate::LONG_ABOUT)]
    Simulate(simulate::SimulateArguments),
    /// Propose target, bounds and window for a backend from its own log, with what each would have cost
    #[command(long_about = tune::LONG_ABOUT)]
    Tune(tune::TuneArguments),
    /// Show it all at work: a real HAProxy, small servers and a load, in about a minute
    Demo(demo::DemoArguments),
}

#[derive(Clone, Copy, Debug, Args)]
struct OutputArguments {
    /// How to print the result
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// How a result is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people.
    Text,
    /// For programs.
    Json,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl From<LogLevel> for Level {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Error => Self::ERROR,
            LogLevel::Warn => Self::WARN,
            LogLevel::Info => Self::INFO,
            LogLevel::Debug => Self::DEBUG,
            LogLevel::Trace => Self::TRACE,
        }
    }
}

/// Why a command did not do what was asked.
#[derive(Debug)]
enum Failure {
    /// Wrong usage or config: exit code 2.
    Usage(String),
    /// Failed while running: exit code 1.
    Failed(String),
    /// Told already; exit code 1.
    Told,
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let done = match Arguments::parse() {
        Arguments { command: None, run } => run::run(run),
        Arguments { command: Some(command), .. } => match command {
            Command::Check { config, output } => check::run(&config, output.output),
            Command::Status { config, output } => status::run(config.as_deref(), output.output),
            Command::Explain(arguments) => explain::run(arguments),
            Command::Pause(arguments) => orders::pause(arguments),
            Command::Pin(arguments) => orders::pin(arguments),
            Command::Resume(arguments) => orders::resume(arguments),
            Command::Parse(arguments) => parse::run(&arguments),
            Command::Report(arguments) => report::run(&arguments),
            Command::Replay(arguments) => replay::run(&arguments),
            Command::Tune(arguments) => tune::run(&arguments),
            Command::Simulate(arguments) => simulate::run(&arguments),
            Command::Demo(arguments) => demo::run(arguments),
        },
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Told) => ExitCode::from(1),
        Err(Failure::Failed(error)) => {
            errors::print(&error);
            ExitCode::from(1)
        }
        Err(Failure::Usage(error)) => {
            errors::print(&error);
            ExitCode::from(2)
        }
    }
}

/// As many threads as were asked for; if none were, one for each core.
fn threads_or_cores(threads: Option<u16>) -> usize {
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    threads.map_or_else(cores, usize::from)
}

/// A runtime of one thread: the agent needs no more, and HAProxy's machine has other work.
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failure::Failed(format!("cannot start the runtime: {error}")))
}

impl ConfigArguments {
    /// The config file that is read; `None`: there is none, and the defaults hold.
    fn file(&self) -> Option<&Path> {
        config_file(self.config.as_deref())
    }

    /// The config file, with the command line's overrides in it.
    fn load(&self) -> Result<Config, Failure> {
        let config = load_file(self.config.as_deref())?;
        let config = config.with_sockets(self.socket.clone()).map_err(usage)?;
        let config = config.with_sources(self.sources.clone());
        match &self.backend {
            Some(backend) => config.with_backend(backend, self.target).map_err(usage),
            None => Ok(config),
        }
    }
}

fn usage(error: impl std::fmt::Display) -> Failure {
    Failure::Usage(error.to_string())
}

/// `path`, or the default config file if there is one.
fn config_file(path: Option<&Path>) -> Option<&Path> {
    let default = Path::new(DEFAULT_PATH);
    path.or_else(|| default.exists().then_some(default))
}

/// The settings of [`config_file`], or the defaults.
fn load_file(path: Option<&Path>) -> Result<Config, Failure> {
    config_file(path).map_or_else(|| Ok(Config::default()), |file| Config::load(file).map_err(usage))
}

/// The same, to find a running agent by. It goes on with the config it has, so a mistake that the file has got since
/// is told, and is in nobody's way.
fn load_places(path: Option<&Path>) -> Result<Config, Failure> {
    let Some(file) = config_file(path) else { return Ok(Config::default()) };
    match Config::load(file) {
        Err(error @ ConfigError::Invalid { .. }) => {
            let places = Config::places(file).ok_or_else(|| usage(&error))?;
            errors::warn(&format!("{error}\n  a running agent goes on with the config that it has"));
            Ok(places)
        }
        loaded => loaded.map_err(usage),
    }
}

/// What the agent of this config answers.
fn ask_agent(config: &Config, request: &Request) -> Result<Value, Failure> {
    let answer = runtime()?.block_on(ask(&config.runtime_dir, request)).map_err(|error| {
        let socket = socket(&config.runtime_dir);
        Failure::Failed(format!(
            "no agent answers on `{}`: {error}\n  is it running, and with this `runtime_dir`? may you write to it (user, group)?",
            socket.display()
        ))
    })?;
    match answer["error"].as_str() {
        Some(error) => Err(Failure::Usage(error.to_owned())),
        None => Ok(answer),
    }
}

/// Sources as the agent reads them. A word that is no path and no file is a mistyped subcommand.
/// A ring without an address is that of each HAProxy whose socket the config names.
fn sources(config: &Config) -> Result<Vec<Source>, Failure> {
    let mut sources = Vec::new();
    for text in &config.sources {
        match source(text)? {
            Source::Ring(ring) => {
                for socket in &config.sockets() {
                    let wrong = |error| usage(format!("SOURCE `{text}`: {error}"));
                    let endpoint: Endpoint = socket.parse().map_err(wrong)?;
                    let at = ring.clone().or_at(&endpoint.address);
                    if endpoint.is_master && at != ring {
                        return Err(Failure::Usage(ring_of_master(text, &endpoint)));
                    }
                    sources.push(Source::Ring(at));
                }
            }
            source => sources.push(source),
        }
    }
    sources.dedup();
    Ok(sources)
}

fn ring_of_master(text: &str, endpoint: &Endpoint) -> String {
    let address = &endpoint.address;
    format!(
        "SOURCE `{text}`: the master at `{address}` shows no rings\n  name the worker's stats socket: `{text}@/run/haproxy/admin.sock`"
    )
}

fn source(text: &str) -> Result<Source, Failure> {
    let source: Source = text.parse().map_err(|error| Failure::Usage(format!("SOURCE `{text}`: {error}")))?;
    if let Source::File(path) = &source
        && !text.contains('/')
        && !path.exists()
    {
        return Err(Failure::Usage(no_such_word(text)));
    }
    Ok(source)
}

/// `haproxy-autoscale staus` must not go live.
fn no_such_word(word: &str) -> String {
    let command = Arguments::command();
    let names: Vec<String> = command.get_subcommands().map(|command| command.get_name().to_owned()).collect();
    if names.iter().any(|name| name == word) {
        return format!(
            "`{word}` comes before all options: `haproxy-autoscale {word} ...`\n  a log file of that name is given with its directory: `./{word}`"
        );
    }
    let hint = nearest(word, &names)
        .map(|name| format!("\n  did you mean the subcommand `{name}`?"))
        .unwrap_or_default();
    format!(
        "`{word}` is neither a subcommand nor a file that exists{hint}\n  a log file that is yet to come is given with its directory: `./{word}`"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}
