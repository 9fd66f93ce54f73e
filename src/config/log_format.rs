//! `log_format:`, a word, a log-format or a mapping, so that it cannot be read from a scalar alone.
//!
//! [`LogFormat::load`] makes of it what lines are read by; that is the one place where HAProxy's
//! own configuration is read.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor, value::MapAccessDeserializer};

use super::file::CustomFormat;
use super::nearest::nearest;
use super::value::{FromText, shown};
use crate::core::log::custom::{self, CustomFormatError};
use crate::core::log::format::LineFormat;
use crate::core::log::haproxy_cfg;
use crate::core::log::log_format::{CompiledFormat, LogFormatError};

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
    /// `option httplog clf` or `option tcplog clf`.
    Clf,
    /// A `log-format` as it stands in HAProxy's configuration; it compiles.
    Written(String),
    /// As HAProxy's configuration says; a file, or a folder of `*.cfg`.
    HaproxyCfg(PathBuf),
    /// A regular expression with named groups; it compiles.
    Regex(String),
}

/// What lines are read by.
#[derive(Clone, Debug)]
pub struct LoadedFormat {
    /// The format.
    pub format: LineFormat,
    /// For each format of HAProxy's configuration that cannot be read: where it is, and why.
    pub refused: Vec<String>,
}

/// Why a log format cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// A regex without what is needed.
    #[error("`log_format.regex`")]
    Regex(#[from] CustomFormatError),
    /// A log-format that cannot be read.
    #[error("`log_format`")]
    Written(#[from] LogFormatError),
    /// HAProxy's configuration.
    #[error("cannot read `log_format.haproxy_cfg` {}", .0.display())]
    Read(PathBuf, #[source] std::io::Error),
    /// No frontend in it has a format that can be read.
    #[error("no log format that can be read in {}{}", .0.display(), first_of(.1))]
    Nothing(PathBuf, Vec<String>),
}

fn first_of(refused: &[String]) -> String {
    refused.first().map(|refused| format!(": {refused}")).unwrap_or_default()
}

/// The words for formats that need no more.
const WORDS: [(&str, LogFormat); 5] = [
    ("auto", LogFormat::Auto),
    ("httplog", LogFormat::HttpLog),
    ("httpslog", LogFormat::HttpsLog),
    ("tcplog", LogFormat::TcpLog),
    ("clf", LogFormat::Clf),
];

impl LogFormat {
    /// A word such as `httplog`, or a log-format string, which has a `%` in it; `None` if it is neither.
    ///
    /// # Errors
    /// The log-format cannot be read.
    pub fn from_text(text: &str) -> Result<Option<Self>, LogFormatError> {
        if text.contains('%') {
            return CompiledFormat::new(text).map(|_| Some(Self::Written(text.to_owned())));
        }
        // All of HAProxy's own variables are log-formats.
        if text.contains("_LOG_FMT") {
            return CompiledFormat::new(text).map(|_| Some(Self::Written(text.to_owned())));
        }
        Ok(WORDS.into_iter().find(|(word, _)| *word == text).map(|(_, format)| format))
    }

    /// What lines are read by; reads HAProxy's configuration if that is what tells.
    ///
    /// # Errors
    /// A file cannot be read, or nothing in it is of use.
    pub fn load(&self) -> Result<LoadedFormat, FormatError> {
        let format = match self {
            Self::Auto => LineFormat::Auto,
            Self::HttpLog => LineFormat::Http,
            Self::HttpsLog => LineFormat::Https,
            Self::TcpLog => LineFormat::Tcp,
            Self::Clf => LineFormat::Clf,
            Self::Written(text) => LineFormat::Compiled(Box::new(CompiledFormat::new(text)?)),
            Self::Regex(regex) => LineFormat::Custom(Box::new(custom::CustomFormat::new(regex)?)),
            Self::HaproxyCfg(path) => return load_haproxy_cfg(path),
        };
        Ok(LoadedFormat { format, refused: Vec::new() })
    }
}

impl LogFormat {
    /// The text of HAProxy's configuration, if that is where the formats are from and it can be read.
    pub fn haproxy_cfg(&self) -> Option<(&Path, String)> {
        let Self::HaproxyCfg(path) = self else { return None };
        Some((path, read_haproxy_cfg(path).ok()?))
    }
}

fn load_haproxy_cfg(path: &Path) -> Result<LoadedFormat, FormatError> {
    let text = read_haproxy_cfg(path).map_err(|error| FormatError::Read(path.to_owned(), error))?;
    // The agent's environment is not HAProxy's.
    let formats = haproxy_cfg::read(&text, &|_| None);
    let refused: Vec<_> =
        formats.refused().iter().map(|refused| format!("{}: {refused}", path.display())).collect();
    if formats.is_empty() {
        return Err(FormatError::Nothing(path.to_owned(), refused));
    }
    Ok(LoadedFormat { format: LineFormat::Set(Box::new(formats)), refused })
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

/// A regular expression that compiles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern(pub(super) String);

impl FromText for Pattern {
    const EXPECTED: &'static str = "a regular expression";

    fn from_text<E: Error>(text: &str) -> Result<Self, E> {
        custom::CustomFormat::new(text).map(|_| Self(text.to_owned())).map_err(|error| match error {
            // The crate draws a picture of several lines; its last one says what is wrong.
            CustomFormatError::Regex(error) => {
                let picture = error.to_string();
                let reason = picture.lines().last().unwrap_or_default().trim_start_matches("error: ");
                E::custom(format_args!("`{}` is no regular expression: {reason}", shown(text)))
            }
            CustomFormatError::UnknownGroup(group) => {
                let known = custom::CustomFormat::group_names();
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
        match LogFormat::from_text(text) {
            Ok(Some(format)) => Ok(format),
            Ok(None) => Err(E::unknown_variant(&shown(text), KNOWN)),
            Err(error) => Err(E::custom(format_args!("`{}` cannot be read: {error}", shown(text)))),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mapping: A) -> Result<LogFormat, A::Error> {
        match CustomFormat::deserialize(MapAccessDeserializer::new(mapping))? {
            CustomFormat { regex: Some(regex), haproxy_cfg: None } => Ok(LogFormat::Regex(regex.0.0)),
            CustomFormat { regex: None, haproxy_cfg: Some(path) } => Ok(LogFormat::HaproxyCfg(path.0)),
            _ => Err(A::Error::custom("`haproxy_cfg` or `regex` has to be given, and not both")),
        }
    }
}
