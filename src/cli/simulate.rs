//! `haproxy-autoscale simulate`: a load against simulated servers, for several policies side by side.
//!
//! In: scenarios, policies and seeds. Out: what each of them would have missed, paid and moved. The
//! same arguments print the same figures, whatever the number of threads.

use clap::{Args, ValueEnum};

use super::Failure;
use super::output::{print, print_json};
use columns::Column;
use pool::PoolArguments;
use runs::Runs;

pub(super) mod columns;
mod figures;
pub(super) mod list;
mod machine;
mod over_time;
mod pool;
mod runs;
pub(super) mod setting;
mod table;

/// What `--help` begins with.
pub(super) const LONG_ABOUT: &str = "\
Play a load against simulated servers, for several policies side by side

Arrivals, HAProxy and its servers are a model; the agent that decides is the real one. Beside it decide others: \
every server on, log-tailing scripts, Kubernetes' HPA, Knative's KPA, and one that knows the future. A cell of \
the table is `misses % / server time / moves / worst stretch in s`:

  misses         requests above the target, or failed
  server time    of starting, serving and draining servers, divided by the
                 least that would have done for somebody who knows each 10 s
                 in advance
  moves          servers started or stopped
  worst stretch  the longest run of 5-second windows with more than 5 % misses

What is played is named (--list shows what there is), or all (--all), or a pool of your own under arrivals from a \
file (--arrivals). The options of the pool change named scenarios as well.

One scenario, with a picture over time; the whole comparison:
  haproxy-autoscale simulate flash5x
  haproxy-autoscale simulate --all --seeds 3

Examples:
  haproxy-autoscale simulate flash5x square --set model.utilization_max=60%
  haproxy-autoscale simulate --arrivals requests.csv --servers 8 --target 500ms";

/// See the module's text.
#[derive(Clone, Debug, Args)]
pub(super) struct SimulateArguments {
    /// Scenarios, by name
    #[arg(value_name = "SCENARIO")]
    scenarios: Vec<String>,
    /// All scenarios
    #[arg(long, conflicts_with = "scenarios")]
    all: bool,
    /// Print the scenarios and policies there are
    #[arg(long)]
    list: bool,
    /// Policies to compare, such as model,kpa,fixed-4 [default: all but clairvoyant and fixed]
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    policy: Vec<String>,
    /// One more column: model (threshold, if only that is asked for) with another value for a key of a
    /// backend in the config, such as model.hold=2m
    #[arg(long, value_name = "KEY=VALUE", value_parser = setting::Setting::parse)]
    set: Vec<setting::Setting>,
    /// What the random numbers begin with
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Play each scenario with N seeds, from --seed on, and print the means
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1000))]
    seeds: u16,
    /// How to print it
    #[arg(long, value_enum, value_name = "FORM", default_value_t = Form::Table)]
    output: Form,
    /// How many runs are played at once [default: one for each core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    #[command(flatten)]
    pool: PoolArguments,
}

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// For people.
    Table,
    /// A table as Markdown has it.
    Markdown,
    /// Everything, as one object.
    Json,
}

pub(super) fn run(arguments: &SimulateArguments) -> Result<(), Failure> {
    if arguments.list {
        return match arguments.output {
            Form::Json => print_json(&list::json()?),
            Form::Table | Form::Markdown => print(&list::text()?),
        };
    }
    let scenarios = arguments.pool.scenarios(&arguments.scenarios, arguments.all)?;
    let columns = Column::all(&arguments.policy, &arguments.set)?;
    let seeds: Vec<u64> = (0..arguments.seeds).map(|n| arguments.seed.wrapping_add(n.into())).collect();
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    let threads = arguments.threads.map_or_else(cores, usize::from);
    let runs = Runs::play(scenarios, columns, seeds, threads)?;
    match arguments.output {
        Form::Table if runs.scenarios.len() == 1 => print(&table::of_one(&runs)),
        Form::Table => print(&table::of_all(&runs)),
        Form::Markdown => print(&table::markdown(&runs)),
        Form::Json => print_json(&machine::json(&runs)),
    }
}
