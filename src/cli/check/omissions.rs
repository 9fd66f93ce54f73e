//! What HAProxy's configuration leaves out of the log, and what it says of formats that cannot be known, where the
//! config says where it is.

use super::Finding;
use crate::config::Config;
use crate::core::log::omissions::{Omission, What, read};
use crate::core::units::Ratio;
use crate::report::chain;

pub(super) fn check(config: &Config) -> Vec<Finding> {
    let refused = match config.log_format.load() {
        Ok(loaded) => loaded.refused.into_iter().map(refused).collect(),
        Err(error) => {
            vec![Finding::fail("log_format", chain(&error), "see `log_format` in the reference config")]
        }
    };
    let Some((path, text)) = config.log_format.haproxy_cfg() else { return refused };
    let about = format!("haproxy_cfg {}", path.display());
    let omitted = read(&text);
    refused.into_iter().chain(omitted.iter().map(|omission| finding(&about, omission, config))).collect()
}

fn refused(refused: String) -> Finding {
    let remedy =
        "lines in it are not understood: give `log_format` the format itself, or have that line say it";
    Finding::warn("log_format", refused, remedy)
}

fn finding(about: &str, omission: &Omission, config: &Config) -> Finding {
    let Omission { line, section, what } = omission;
    let found = format!("line {line} ({section}): {what}");
    let mut rates = config.backends.iter().map(|backend| backend.log.sample_rate);
    let remedy = match what {
        What::OnlyErrors => {
            "nothing can be decided on that: remove it, or `no option dontlog-normal` in the frontends that matter"
                .to_owned()
        }
        What::Sample(_) if rates.any(|rate| rate < Ratio::ALL) => return Finding::ok(about, found),
        What::Sample(sample) => format!("`sample_rate: {sample}` in the config, if it is of a log that is read"),
        What::Silent => {
            "`sample_rate` in the config if it is by chance; a lower `coverage` if it is more than a tenth"
                .to_owned()
        }
        What::Steps(_) => "`log-steps close`, or leave it out: only its end tells how a request went".to_owned(),
    };
    Finding::warn(about, found, remedy)
}
