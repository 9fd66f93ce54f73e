//! `haproxy-autoscale [OPTIONS] [SOURCE]...`: the agent itself.

use super::{Failure, RunArguments, runtime, sources};
use crate::agent::{self, AgentError};
use crate::report::chain;
use crate::telemetry::logging;

pub(super) fn run(arguments: RunArguments) -> Result<(), Failure> {
    let config = arguments.config.load()?;
    let level = arguments.log_level.map_or(config.log_level, Into::into);
    let json = arguments.log_json || config.log_json;
    logging::init(level, json);
    let sources = sources(&config)?;
    if sources.is_empty() {
        return Err(Failure::Usage("no SOURCE: name a log file, or `sources` in the config".into()));
    }
    if config.backends.is_empty() {
        tracing::warn!("observing only: name a backend in the config, or with --backend, to have it scaled");
    }
    let reload = arguments.config.clone();
    let options = agent::Options {
        config,
        sources,
        dry_run: arguments.dry_run,
        from_start: arguments.from_start,
        reload: Box::new(move || {
            reload.load().map_err(|failure| match failure {
                Failure::Usage(error) | Failure::Failed(error) => error,
                Failure::Told => String::new(), // loading tells nothing by itself
            })
        }),
    };
    runtime()?.block_on(agent::run(options)).map(drop).map_err(|error| match error {
        AgentError::Socket(_) => Failure::Usage(chain(&error)),
        // Whoever reads the log as JSON reads all of it so.
        error if json => {
            tracing::error!(error = chain(&error), "cannot run");
            Failure::Told
        }
        error => Failure::Failed(chain(&error)),
    })
}
