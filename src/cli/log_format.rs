//! `--format`: in which format the lines of a log are.

use std::path::Path;

use super::Failure;
use crate::config;
use crate::core::log::custom::CustomFormat;
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
    if let Some(pattern) = text.strip_prefix(REGEX) {
        let custom = CustomFormat::new(pattern).map_err(|error| wrong(chain(&error)))?;
        return Ok(LineFormat::Custom(Box::new(custom)));
    }
    if let Some(path) = text.strip_prefix(HAPROXY_CFG) {
        let formats =
            config::formats_of_haproxy(Path::new(path)).map_err(|error| wrong(error.to_string()))?;
        return Ok(LineFormat::Set(Box::new(formats)));
    }
    let format = config::line_format(text).map_err(|error| wrong(error.to_string()))?;
    format.ok_or_else(|| Failure::Usage(format!("--format `{text}` is not one of: {FORMATS}")))
}
