//! `haproxy-autoscale pause`, `pin` and `resume`: the operator overrules the agent.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::output::{print_fitted, print_json};
use super::{Failure, Output, OutputArguments, ask_agent};
use crate::config::parse_duration;
use crate::telemetry::socket::Request;

/// What all of them take.
#[derive(Clone, Debug, Args)]
pub(super) struct OrderArguments {
    /// The backend, as the agent's config names it
    pub(super) backend: String,
    #[command(flatten)]
    pub(super) output: OutputArguments,
    /// The config file of the agent [default: /etc/haproxy-autoscale/config.yaml, if it is there]
    #[arg(short, long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
}

#[derive(Clone, Debug, Args)]
pub(super) struct PauseArguments {
    #[command(flatten)]
    order: OrderArguments,
    /// End it by itself after this time, such as 30m [default: at `resume`]
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_duration)]
    lasts: Option<Duration>,
}

#[derive(Clone, Debug, Args)]
pub(super) struct PinArguments {
    /// The backend, as the agent's config names it
    backend: String,
    /// So many servers are to serve
    #[arg(value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    servers: u32,
    #[command(flatten)]
    output: OutputArguments,
    /// The config file of the agent [default: /etc/haproxy-autoscale/config.yaml, if it is there]
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// End it by itself after this time, such as 2h [default: at `resume`]
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_duration)]
    lasts: Option<Duration>,
}

pub(super) fn pause(PauseArguments { order, lasts }: PauseArguments) -> Result<(), Failure> {
    let OrderArguments { backend, output, config } = order;
    tell(&Request::Pause { backend, for_s: lasts.map(whole_seconds) }, config, output)
}

pub(super) fn pin(arguments: PinArguments) -> Result<(), Failure> {
    let PinArguments { backend, servers, output, config, lasts } = arguments;
    tell(&Request::Pin { backend, to: servers, for_s: lasts.map(whole_seconds) }, config, output)
}

pub(super) fn resume(OrderArguments { backend, output, config }: OrderArguments) -> Result<(), Failure> {
    tell(&Request::Resume { backend }, config, output)
}

/// What is less than a second is one: less would be over before it is looked at.
fn whole_seconds(lasts: Duration) -> u64 {
    lasts.as_secs().max(1)
}

fn tell(request: &Request, config: Option<PathBuf>, output: OutputArguments) -> Result<(), Failure> {
    let answer = ask_agent(&super::load_places(config.as_deref())?, request)?;
    match output.output {
        Output::Json => print_json(&answer),
        Output::Text => print_fitted(&format!("{}\n", answer["text"].as_str().unwrap_or_default())),
    }
}
