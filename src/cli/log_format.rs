//! `--format`: in which format the lines of a log are.

use super::Failure;
use crate::core::log::custom::CustomFormat;
use crate::core::log::format::LineFormat;
use crate::report::chain;

/// What `--format` takes, for its help.
pub(super) const FORMATS: &str = "auto, httplog, httpslog, tcplog, or regex:PATTERN with named groups";

/// Before a regex.
const REGEX: &str = "regex:";

/// The format that `text` names.
pub(super) fn line_format(text: &str) -> Result<LineFormat, Failure> {
    if let Some(pattern) = text.strip_prefix(REGEX) {
        let custom = CustomFormat::new(pattern)
            .map_err(|error| Failure::Usage(format!("--format `{text}`: {}", chain(&error))))?;
        return Ok(LineFormat::Custom(Box::new(custom)));
    }
    match text {
        "auto" => Ok(LineFormat::Auto),
        "httplog" => Ok(LineFormat::Http),
        "httpslog" => Ok(LineFormat::Https),
        "tcplog" => Ok(LineFormat::Tcp),
        _ => Err(Failure::Usage(format!("--format `{text}` is not one of: {FORMATS}"))),
    }
}
