//! `log_format:`, a word or a mapping, so that it cannot be read from a scalar alone.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor, value::MapAccessDeserializer};

use super::file::CustomFormat;
use super::value::{FromText, shown};

/// How a line of the log reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Each line tells.
    Auto,
    /// `option httplog`.
    HttpLog,
    /// `option httpslog`.
    HttpsLog,
    /// `option tcplog`.
    TcpLog,
    /// A regular expression with named groups; it compiles.
    Regex(String),
}

/// A regular expression that compiles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern(pub(super) String);

impl FromText for Pattern {
    const EXPECTED: &'static str = "a regular expression";

    fn from_text<E: Error>(text: &str) -> Result<Self, E> {
        match regex::bytes::Regex::new(text) {
            Ok(_) => Ok(Self(text.to_owned())),
            // The crate draws a picture of several lines; its last one says what is wrong.
            Err(error) => {
                let picture = error.to_string();
                let reason = picture.lines().last().unwrap_or_default().trim_start_matches("error: ");
                Err(E::custom(format_args!("`{}` is no regular expression: {reason}", shown(text))))
            }
        }
    }
}

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
        Ok(match text {
            "auto" => LogFormat::Auto,
            "httplog" => LogFormat::HttpLog,
            "httpslog" => LogFormat::HttpsLog,
            "tcplog" => LogFormat::TcpLog,
            _ => {
                return Err(E::unknown_variant(
                    &shown(text),
                    &["auto", "httplog", "httpslog", "tcplog", "regex"],
                ));
            }
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, mapping: A) -> Result<LogFormat, A::Error> {
        let custom = CustomFormat::deserialize(MapAccessDeserializer::new(mapping))?;
        Ok(LogFormat::Regex(custom.regex.0.0))
    }
}
