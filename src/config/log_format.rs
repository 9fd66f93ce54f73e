//! `log_format:`, a word or a mapping, so that it cannot be read from a scalar alone.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor, value::MapAccessDeserializer};

use super::file::Custom;
use super::nearest::nearest;
use super::value::{FromText, shown};
use crate::core::log::custom::{CustomFormat, CustomFormatError};
use crate::core::log::format::LineFormat;

impl FromText for CustomFormat {
    const EXPECTED: &'static str = "a regular expression";

    fn from_text<E: Error>(text: &str) -> Result<Self, E> {
        Self::new(text).map_err(|error| match error {
            // The crate draws a picture of several lines; its last one says what is wrong.
            CustomFormatError::Regex(error) => {
                let picture = error.to_string();
                let reason = picture.lines().last().unwrap_or_default().trim_start_matches("error: ");
                E::custom(format_args!("`{}` is no regular expression: {reason}", shown(text)))
            }
            CustomFormatError::UnknownGroup(group) => {
                let known = Self::group_names();
                let hint = match nearest(&group, &known) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("known: {}", known.join(", ")),
                };
                E::custom(format_args!(
                    "`{}` cannot be used: no field of a log line is named like the group `{}`; {hint}",
                    shown(text),
                    shown(&group)
                ))
            }
            groups => E::custom(format_args!("`{}` cannot be used: {groups}", shown(text))),
        })
    }
}

/// A [`LineFormat`] as it is written.
#[derive(Debug)]
pub(super) struct LogFormat(pub(super) LineFormat);

impl<'de> Deserialize<'de> for LogFormat {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FormatVisitor)
    }
}

/// Takes a word, or a mapping with the one key `regex`.
struct FormatVisitor;

impl<'de> Visitor<'de> for FormatVisitor {
    type Value = LogFormat;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("auto, httplog, httpslog, tcplog or {regex: ...}")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<LogFormat, E> {
        Ok(LogFormat(match text {
            "auto" => LineFormat::Auto,
            "httplog" => LineFormat::Http,
            "httpslog" => LineFormat::Https,
            "tcplog" => LineFormat::Tcp,
            _ => {
                return Err(E::unknown_variant(
                    &shown(text),
                    &["auto", "httplog", "httpslog", "tcplog", "regex"],
                ));
            }
        }))
    }

    fn visit_map<A: MapAccess<'de>>(self, mapping: A) -> Result<LogFormat, A::Error> {
        let custom = Custom::deserialize(MapAccessDeserializer::new(mapping))?;
        Ok(LogFormat(LineFormat::Custom(Box::new(custom.regex.0))))
    }
}
