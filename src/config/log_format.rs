//! `log_format:`, a word, a log-format or a mapping, so that it cannot be read from a scalar alone.
//!
//! What it says is made into a [`LineFormat`] at once, so that a mistake is told at its place. This is the one
//! part of the program that reads HAProxy's own configuration.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor, value::MapAccessDeserializer};

use super::file::Custom;
use super::nearest::nearest;
use super::value::{FromText, Value, shown};
use crate::core::log::custom::{CustomFormat, CustomFormatError};
use crate::core::log::format::LineFormat;
use crate::core::log::format_set::FormatSet;
use crate::core::log::haproxy_cfg;
use crate::core::log::log_format::{CompiledFormat, LogFormatError};

/// Why the formats of HAProxy's configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HaproxyCfgError {
    /// It cannot be read.
    #[error("`{}` cannot be read: {_1}", .0.display())]
    Read(PathBuf, std::io::Error),
    /// No frontend in it has a format that can be read; the first that has one that cannot.
    #[error("`{}` has no frontend with a log format that can be read{}", .0.display(), first(.1.as_ref()))]
    Nothing(PathBuf, Option<String>),
}

fn first(refused: Option<&String>) -> String {
    refused.map(|refused| format!("; {refused}")).unwrap_or_default()
}

/// The format that a word such as `httplog` or a log-format string means; `None` if it is neither.
///
/// # Errors
/// It is a log-format that cannot be read.
pub fn line_format(text: &str) -> Result<Option<LineFormat>, LogFormatError> {
    // A log-format has an item, or is one of HAProxy's own by name.
    if text.contains('%') || text.contains("_LOG_FMT") {
        return CompiledFormat::new(text).map(|format| Some(LineFormat::Compiled(Box::new(format))));
    }
    Ok(Some(match text {
        "auto" => LineFormat::Auto,
        "httplog" => LineFormat::Http,
        "httpslog" => LineFormat::Https,
        "tcplog" => LineFormat::Tcp,
        "clf" => LineFormat::Clf,
        _ => return Ok(None),
    }))
}

/// The formats of the frontends in HAProxy's configuration: a file, or a folder of `*.cfg`.
///
/// # Errors
/// It cannot be read, or nothing in it is of use.
pub fn formats_of_haproxy(path: &Path) -> Result<FormatSet, HaproxyCfgError> {
    let text = read_haproxy_cfg(path).map_err(|error| HaproxyCfgError::Read(path.to_owned(), error))?;
    // Our environment is not HAProxy's.
    let formats = haproxy_cfg::read(&text, &|_| None);
    if formats.is_empty() {
        let refused = formats.refused().first().map(ToString::to_string);
        return Err(HaproxyCfgError::Nothing(path.to_owned(), refused));
    }
    Ok(formats)
}

/// The file, or the `*.cfg` of the folder in the order in which HAProxy reads them.
fn read_haproxy_cfg(path: &Path) -> std::io::Result<String> {
    let read = |path: &Path| fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    if !path.is_dir() {
        return read(path);
    }
    let mut files =
        fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "cfg"));
    files.sort();
    files.iter().map(|file| read(file).map(|text| text + "\n")).collect()
}

impl FromText for FormatSet {
    const EXPECTED: &'static str = "the path of HAProxy's configuration";

    fn from_text<E: Error>(text: &str) -> Result<Self, E> {
        formats_of_haproxy(Path::new(text)).map_err(E::custom)
    }
}

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

/// Takes a word, a log-format, or a mapping with one key.
struct FormatVisitor;

impl<'de> Visitor<'de> for FormatVisitor {
    type Value = LogFormat;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("auto, httplog, httpslog, tcplog, clf, a log-format, {haproxy_cfg: FILE} or {regex: ...}")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<LogFormat, E> {
        const KNOWN: &[&str] = &["auto", "httplog", "httpslog", "tcplog", "clf", "haproxy_cfg", "regex"];
        match line_format(text) {
            Ok(Some(format)) => Ok(LogFormat(format)),
            Ok(None) => Err(E::unknown_variant(&shown(text), KNOWN)),
            Err(error) => Err(E::custom(format_args!("`{}` cannot be read: {error}", shown(text)))),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mapping: A) -> Result<LogFormat, A::Error> {
        Ok(LogFormat(match Custom::deserialize(MapAccessDeserializer::new(mapping))? {
            Custom { regex: Some(Value(regex)), haproxy_cfg: None } => LineFormat::Custom(Box::new(regex)),
            Custom { regex: None, haproxy_cfg: Some(Value(formats)) } => LineFormat::Set(Box::new(formats)),
            _ => {
                return Err(A::Error::custom("`haproxy_cfg` or `regex` has to be given, and not both"));
            }
        }))
    }
}
