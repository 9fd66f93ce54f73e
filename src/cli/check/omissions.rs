//! What HAProxy's configuration leaves out of the log, where the config says where it is.

use super::Finding;
use crate::config::Config;
use crate::core::log::omissions::{Omission, What, read};
use crate::core::units::Ratio;

pub(super) fn check(config: &Config) -> Vec<Finding> {
    let Some((path, text)) = config.log_format.haproxy_cfg() else { return Vec::new() };
    let about = format!("haproxy_cfg {}", path.display());
    read(&text).iter().map(|omission| finding(&about, omission, config)).collect()
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
