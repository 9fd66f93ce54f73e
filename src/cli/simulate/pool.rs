//! What is played: scenarios by name, or a pool of one's own under arrivals from a file.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::list::{known, unknown};
use crate::cli::{Failure, parts, usage};
use crate::config::nearest::nearest;
use crate::config::parse_duration;
use crate::core::log::format::LineFormat;
use crate::report::chain;
use crate::sim::replay::history::Historian;
use crate::sim::scenario::{Balance, Scenario, Shape};
use crate::sim::traces::Trace;

/// Servers, HAProxy and arrivals; what is not given stays as the scenario has it, or as is standard.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "The pool")]
pub(super) struct PoolArguments {
    /// Arrivals from a CSV file (a header, then `second,requests` or `minute,requests`), or from a log
    #[arg(long, value_name = "FILE", conflicts_with_all = ["scenarios", "all"])]
    arrivals: Option<PathBuf>,
    /// Scale the arrivals of the file so that their 99.5th percentile is so many a second
    #[arg(long, value_name = "RATE", requires = "arrivals", value_parser = above_zero)]
    peak: Option<f64>,
    /// Play each row of the file in this time [default: what the file says]
    #[arg(long, value_name = "DURATION", requires = "arrivals", value_parser = parse_duration)]
    row: Option<Duration>,
    /// Servers of the pool [standard: 16]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    servers: Option<u16>,
    /// Of them serving at the start [standard: 2]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    serving: Option<u16>,
    /// Requests a server works on side by side [standard: 8]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    workers: Option<u32>,
    /// How long a request needs a worker, on average [standard: 80ms]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    service: Option<Duration>,
    /// Standard deviation of that, divided by its mean [standard: 1]
    #[arg(long, value_name = "CV", value_parser = not_below_zero)]
    cv: Option<f64>,
    /// The latency (Tw + Tr) that 95 % of the requests should stay below [standard: 400ms]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    target: Option<Duration>,
    /// From the order to start a server until it is healthy, give or take 20 % [standard: 5s]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    start_delay: Option<Duration>,
    /// `maxconn` of each server [standard: none]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    maxconn: Option<u32>,
    /// `balance` [standard: roundrobin]
    #[arg(long, value_enum, value_name = "ALGORITHM")]
    balance: Option<BalanceName>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum BalanceName {
    /// By turns.
    Roundrobin,
    /// To the server with the fewest connections.
    Leastconn,
}

/// The longest header of a CSV file that is looked for.
const MOST_HEADER: u64 = 200;

/// Whether a file that begins so is a CSV file of counts: two words in its first line, and a comma between them.
fn is_header(begin: &[u8]) -> bool {
    let line = begin.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b' ' | b'\r');
    let mut words = line.split(|&byte| byte == b',');
    words.clone().count() == 2 && words.all(|word| !word.is_empty() && word.iter().all(is_word))
}

impl PoolArguments {
    /// Those named, or all, or the one of the file; each with what these options change.
    pub(super) fn scenarios(&self, names: &[String], all: bool) -> Result<Vec<Scenario>, Failure> {
        let chosen = match &self.arrivals {
            Some(file) => vec![self.scenario_of(file)?],
            None if all => known()?,
            None if names.is_empty() => return Err(usage(NOTHING_TO_PLAY)),
            None => names.iter().map(|name| named(name)).collect::<Result<_, _>>()?,
        };
        chosen.into_iter().map(|scenario| self.change(scenario)).collect()
    }

    fn scenario_of(&self, file: &Path) -> Result<Scenario, Failure> {
        let unreadable =
            |error: String| Failure::Failed(format!("cannot read arrivals `{}`: {error}", file.display()));
        let mut begin = Vec::new();
        let opened = fs::File::open(file).and_then(|file| file.take(MOST_HEADER).read_to_end(&mut begin));
        opened.map_err(|error| unreadable(error.to_string()))?;
        if !is_header(&begin) {
            return self.scenario_of_log(file);
        }
        let text = fs::read_to_string(file).map_err(|error| unreadable(error.to_string()))?;
        let trace = Trace::from_csv(&text).map_err(|error| unreadable(chain(&error)))?;
        let row_s = row_s(&text).ok_or_else(|| unreadable(NO_ROW_LENGTH.to_owned()))?;
        let bin_s = self.row.map_or(row_s, |row| row.as_secs_f64());
        if bin_s <= 0.0 {
            return Err(usage("--row is not above 0"));
        }
        let length_s = bin_s * trace.len() as f64;
        let percentile = if self.peak.is_some() { PEAK_PERCENTILE } else { 100.0 };
        let peak = self.peak.unwrap_or_else(|| trace.percentile(percentile) / row_s);
        let name = file.file_stem().map_or_else(|| "arrivals".into(), |stem| stem.to_string_lossy());
        let shape = Shape::Trace { trace: Arc::new(trace), percentile, peak, bin_s };
        Ok(Scenario::standard(&name, &format!("arrivals of {}", file.display()), length_s, shape))
    }

    /// The busiest backend's requests, when they came.
    fn scenario_of_log(&self, file: &Path) -> Result<Scenario, Failure> {
        if self.peak.is_some() || self.row.is_some() {
            return Err(usage("--peak and --row are for arrivals in a CSV file"));
        }
        let name = file.display().to_string();
        let empty = Historian::new(LineFormat::Auto, None, i64::MIN..i64::MAX);
        let (histories, _) = parts::read(std::slice::from_ref(&name), 1, &empty)?.finish();
        let busiest = histories.into_iter().max_by_key(|history| history.requests.len());
        let mut came: Vec<i64> =
            busiest.iter().flat_map(|its| &its.requests).map(|past| past.came_ms).collect();
        came.sort_unstable();
        let (Some(&first), Some(busiest)) = (came.first(), busiest) else {
            let error = "it is no CSV file with a header, and as a log it has no request that is understood";
            return Err(Failure::Failed(format!("cannot read arrivals `{name}`: {error}")));
        };
        let moments: Arc<[f64]> = came.iter().map(|at| (at - first) as f64 / 1000.0).collect();
        let length_s = moments.last().map_or(1.0, |last| last.ceil() + 1.0);
        let about = format!("requests of backend {} in {name}", busiest.backend);
        Ok(Scenario::standard(&busiest.backend, &about, length_s, Shape::Moments(moments)))
    }

    fn change(&self, mut scenario: Scenario) -> Result<Scenario, Failure> {
        put(&mut scenario.servers, self.servers.map(usize::from));
        put(&mut scenario.serving_at_start, self.serving.map(usize::from));
        if self.serving.is_some_and(|serving| usize::from(serving) > scenario.servers) {
            return Err(usage(format!(
                "--serving is more than the {} servers of {}\n  give more --servers",
                scenario.servers, scenario.name
            )));
        }
        scenario.serving_at_start = scenario.serving_at_start.min(scenario.servers);
        let target_ms = self.target.map(|target| u32::try_from(target.as_millis()).unwrap_or(u32::MAX));
        put(&mut scenario.target_ms, target_ms);
        if let Some(workers) = self.workers {
            scenario.server.workers = workers;
            scenario.sizes.clear();
        }
        put(&mut scenario.server.service_s, self.service.map(|service| service.as_secs_f64()));
        put(&mut scenario.server.cv, self.cv);
        put(&mut scenario.server.start_delay_s, self.start_delay.map(|delay| delay.as_secs_f64()));
        if self.maxconn.is_some() {
            scenario.haproxy.maxconn = self.maxconn;
        }
        put(&mut scenario.haproxy.balance, self.balance.map(Balance::from));
        if scenario.target_ms == 0 || scenario.server.service_s <= 0.0 {
            return Err(usage("--target and --service are above 0, such as 400ms and 80ms"));
        }
        Ok(scenario)
    }
}

impl From<BalanceName> for Balance {
    fn from(name: BalanceName) -> Self {
        match name {
            BalanceName::Roundrobin => Self::RoundRobin,
            BalanceName::Leastconn => Self::LeastConn,
        }
    }
}

/// The percentile that `--peak` is about: a single row says nothing.
const PEAK_PERCENTILE: f64 = 99.5;

const NOTHING_TO_PLAY: &str = "nothing to play\n  \
    name scenarios (`simulate --list` shows them), or give --all, or --arrivals FILE";

const NO_ROW_LENGTH: &str = "its first column is neither `second` nor `minute` with a number that grows\n  \
    the header says which, such as `minute,requests`";

fn named(name: &str) -> Result<Scenario, Failure> {
    let known = known()?;
    let names: Vec<String> = known.iter().map(|scenario| scenario.name.clone()).collect();
    let found = known.into_iter().find(|scenario| scenario.name == name);
    found.ok_or_else(|| usage(unknown("scenario", name, nearest(name, &names))))
}

fn put<T>(slot: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *slot = value;
    }
}

/// Seconds from the first row to the second, by the header's unit; a unit for a file of one row.
fn row_s(text: &str) -> Option<f64> {
    let mut firsts = text.lines().filter_map(|line| Some(line.split_once(',')?.0.trim()));
    let unit_s = match firsts.next()? {
        "second" | "seconds" => 1.0,
        "minute" | "minutes" => 60.0,
        _ => return None,
    };
    let indices = [firsts.next(), firsts.next()].map(|index| index?.parse::<f64>().ok());
    let rows = match indices {
        [Some(first), Some(second)] => second - first,
        _ => 1.0,
    };
    (rows > 0.0 && rows.is_finite()).then_some(rows * unit_s)
}

fn above_zero(text: &str) -> Result<f64, String> {
    number(text).filter(|&number| number > 0.0).ok_or_else(|| "expected a number above 0".to_owned())
}

fn not_below_zero(text: &str) -> Result<f64, String> {
    number(text).filter(|&number| number >= 0.0).ok_or_else(|| "expected a number, 0 or more".to_owned())
}

fn number(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_and_the_first_two_rows_say_how_long_a_row_is() {
        assert_eq!(row_s("minute,requests\n0,1\n1,2\n"), Some(60.0));
        assert_eq!(row_s("second,requests\n10,1\n15,2\n20,2\n"), Some(5.0));
        assert_eq!(row_s("minute,requests\n0,1\n"), Some(60.0));
        assert_eq!(row_s("when,requests\n0,1\n"), None);
        assert_eq!(row_s("minute,requests\n1,1\n1,2\n"), None);
        assert_eq!(row_s(""), None);
    }
}
