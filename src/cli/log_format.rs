//! `--format`: in which format the lines of a log are.

use std::path::PathBuf;

use super::Failure;
use crate::config::LogFormat;
use crate::core::log::format::LineFormat;
use crate::report::chain;

/// What `--format` takes, for its help.
pub(super) const FORMATS: &str = "auto, httplog, httpslog, tcplog, clf, a log-format as it stands in HAProxy's configuration, \
     haproxy_cfg:FILE to take it from there, or regex:PATTERN with named groups";

/// Before a regex.
const REGEX: &str = "regex:";
/// Before the path of HAProxy's configuration.
const HAPROXY_CFG: &str = "haproxy_cfg:";

/// The format that `text` names.
pub(super) fn line_format(text: &str) -> Result<LineFormat, Failure> {
    let wrong = |reason: String| Failure::Usage(format!("--format `{text}`: {reason}"));
    let format = if let Some(pattern) = text.strip_prefix(REGEX) {
        LogFormat::Regex(pattern.to_owned())
    } else if let Some(path) = text.strip_prefix(HAPROXY_CFG) {
        LogFormat::HaproxyCfg(PathBuf::from(path))
    } else {
        let format = LogFormat::from_text(text).map_err(|error| wrong(error.to_string()))?;
        format.ok_or_else(|| Failure::Usage(format!("--format `{text}` is not one of: {FORMATS}")))?
    };
    format.load().map(|loaded| loaded.format).map_err(|error| wrong(chain(&error)))
}
