//! Values as they stand in a file, each read from its text while serde is at it.
//!
//! An error made later would be placed at the start of the mapping around it; one that is made
//! here has the line and column of the value. Ranges are checked in `check.rs`.

use std::fmt;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor, value::MapAccessDeserializer};

use super::LogFormat;
use super::duration::parse_duration;
use super::file::CustomFormat;
use super::percent::Percent;
use crate::core::settings::{Timer, WarmUpMethod, WarmUpTls, Weights};

/// A value that is one YAML scalar.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Value<T>(pub(super) T);

/// What can be read from the text of a scalar, quoted or not.
pub(super) trait FromText: Sized {
    /// What belongs here, to complete "expected ...".
    const EXPECTED: &'static str;

    /// # Errors
    /// The text is not one; the message begins with the text in backticks.
    fn from_text<E: Error>(text: &str) -> Result<Self, E>;
}

impl<'de, T: FromText> Deserialize<'de> for Value<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor(PhantomData)).map(Self)
    }
}

struct TextVisitor<T>(PhantomData<T>);

impl<T: FromText> Visitor<'_> for TextVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTED)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        T::from_text(text)
    }
}

/// The error for `text` that is not what `T` expects.
fn unfit<T: FromText, E: Error>(text: &str) -> E {
    E::custom(format_args!("`{}` is not {}", shown(text), T::EXPECTED))
}

/// `text`, shortened and without what would break a line.
fn shown(text: &str) -> String {
    const MOST: usize = 60;
    let mut shown: String = text.chars().take(MOST).flat_map(char::escape_debug).collect();
    if text.chars().nth(MOST).is_some() {
        shown.push_str("...");
    }
    shown
}

/// One of a fixed set of words.
fn word<T: Copy, E: Error>(text: &str, words: &[(&str, T)], known: &'static [&'static str]) -> Result<T, E> {
    let found = words.iter().find(|(word, _)| *word == text);
    found.map(|&(_, meaning)| meaning).ok_or_else(|| E::unknown_variant(&shown(text), known))
}

/// Implements [`FromText`] for a type that has a word for each of its values.
macro_rules! words {
    ($type:ty, $expected:literal, { $($word:literal => $value:expr),+ $(,)? }) => {
        impl FromText for $type {
            const EXPECTED: &'static str = $expected;

            fn from_text<E: Error>(text: &str) -> Result<Self, E> {
                word(text, &[$(($word, $value)),+], &[$($word),+])
            }
        }
    };
}

words!(bool, "true or false", { "true" => true, "false" => false });
words!(Timer, "a timer, such as Tt", {
    "TR" => Self::TR, "Tw" => Self::Tw, "Tc" => Self::Tc, "Tr" => Self::Tr, "Tt" => Self::Tt,
});
words!(WarmUpMethod, "GET or HEAD", { "GET" => Self::Get, "HEAD" => Self::Head });
words!(WarmUpTls, "auto, on or off", { "auto" => Self::Auto, "on" => Self::On, "off" => Self::Off });
words!(Weights, "keep or by_capacity", { "keep" => Self::Keep, "by_capacity" => Self::ByCapacity });
words!(tracing::Level, "a level, such as info", {
    "error" => Self::ERROR, "warn" => Self::WARN, "info" => Self::INFO,
    "debug" => Self::DEBUG, "trace" => Self::TRACE,
});

/// `policy:`, how decisions are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Policy {
    /// By a hysteresis band around the target.
    Threshold,
}

words!(Policy, "a policy", { "threshold" => Self::Threshold });

/// `statistic:`, where it is no percentile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PlainStatistic {
    /// The mean over the window.
    Mean,
}

words!(PlainStatistic, "a statistic", { "mean" => Self::Mean });

impl FromText for String {
    const EXPECTED: &'static str = "a text";

    fn from_text<E: Error>(text: &str) -> Result<Self, E> {
        if text.is_empty() || text.contains(char::is_control) {
            Err(unfit::<Self, E>(text))
        } else {
            Ok(text.to_owned())
        }
    }
}

impl FromText for PathBuf {
    const EXPECTED: &'static str = "a path";

    fn from_text<E: Error>(text: &str) -> Result<Self, E> {
        if text.is_empty() || text.contains('\0') { Err(unfit::<Self, E>(text)) } else { Ok(text.into()) }
    }
}

/// Implements [`FromText`] for whole numbers.
macro_rules! whole_numbers {
    ($($type:ty),+) => {
        $(impl FromText for $type {
            const EXPECTED: &'static str = "a whole number";

            fn from_text<E: Error>(text: &str) -> Result<Self, E> {
                let all_digits = text.bytes().all(|byte| byte.is_ascii_digit());
                all_digits.then(|| text.parse().ok()).flatten().ok_or_else(|| unfit::<Self, E>(text))
            }
        })+
    };
}

whole_numbers!(u32, u64, usize);

impl FromText for f64 {
    const EXPECTED: &'static str = "a number";

    fn from_text<E: Error>(text: &str) -> Result<Self, E> {
        text.parse().ok().filter(|number: &Self| number.is_finite()).ok_or_else(|| unfit::<Self, E>(text))
    }
}

impl FromText for Duration {
    const EXPECTED: &'static str = "a duration such as `30s`";

    fn from_text<E: Error>(text: &str) -> Result<Self, E> {
        parse_duration(text).map_err(|error| E::custom(format_args!("`{}` {error}", shown(text))))
    }
}

/// A name of a backend or a server.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name(pub(super) String);

impl FromText for Name {
    const EXPECTED: &'static str = "a name as HAProxy has them: letters, digits, `-`, `_`, `.`, `:`";

    fn from_text<E: Error>(text: &str) -> Result<Self, E> {
        // Anything else is refused by HAProxy itself: "character ' ' is not permitted in server name" (2.6.12).
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
        let is_name = !text.is_empty() && text.bytes().all(allowed);
        if is_name { Ok(Self(text.to_owned())) } else { Err(unfit::<Self, E>(text)) }
    }
}

/// A value, or the word `none`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OrNone<T>(pub(super) Option<T>);

impl<T: FromText> FromText for OrNone<T> {
    const EXPECTED: &'static str = T::EXPECTED;

    fn from_text<E: Error>(text: &str) -> Result<Self, E> {
        if text == "none" { Ok(Self(None)) } else { T::from_text(text).map(|value| Self(Some(value))) }
    }
}

impl FromText for SocketAddr {
    const EXPECTED: &'static str = "an address with a port, such as 127.0.0.1:9101";

    fn from_text<E: Error>(text: &str) -> Result<Self, E> {
        text.parse().map_err(|_| unfit::<Self, E>(text))
    }
}

/// What a warm-up asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RequestPath(pub(super) String);

impl FromText for RequestPath {
    const EXPECTED: &'static str = "a path such as /health, or none";

    fn from_text<E: Error>(text: &str) -> Result<Self, E> {
        let is_path =
            text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
        if is_path { Ok(Self(text.to_owned())) } else { Err(unfit::<Self, E>(text)) }
    }
}

/// A name of a host, perhaps with a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HostName(pub(super) String);

impl FromText for HostName {
    const EXPECTED: &'static str = "a host name, or none";

    fn from_text<E: Error>(text: &str) -> Result<Self, E> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:[]".contains(&byte);
        let is_host = !text.is_empty() && text.bytes().all(allowed);
        if is_host { Ok(Self(text.to_owned())) } else { Err(unfit::<Self, E>(text)) }
    }
}

/// Statuses from the first to the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Statuses(pub(super) u16, pub(super) u16);

impl FromText for Statuses {
    const EXPECTED: &'static str = "a range of statuses such as 200-399";

    fn from_text<E: Error>(text: &str) -> Result<Self, E> {
        let status = |text: &str| text.parse().ok().filter(|status| (100..=599).contains(status));
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        match (status(first), status(last)) {
            (Some(first), Some(last)) if first <= last => Ok(Self(first, last)),
            _ => Err(unfit::<Self, E>(text)),
        }
    }
}

/// A number, or the word `all`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OrAll(pub(super) Option<u32>);

impl FromText for OrAll {
    const EXPECTED: &'static str = "a whole number or all";

    fn from_text<E: Error>(text: &str) -> Result<Self, E> {
        if text == "all" {
            return Ok(Self(None));
        }
        u32::from_text(text).map(|number| Self(Some(number))).map_err(|_: E| unfit::<Self, E>(text))
    }
}

/// One end of the band: a duration, or a share of the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BandEnd {
    /// As it is.
    Of(Duration),
    /// This much of `target.below`.
    Share(Percent),
}

impl BandEnd {
    /// The end itself, where `below` is the target.
    pub(super) fn around(self, below: Duration) -> Duration {
        match self {
            Self::Of(end) => end,
            Self::Share(share) => share.of(below),
        }
    }
}

impl FromText for BandEnd {
    const EXPECTED: &'static str = "a duration such as `100ms`, or a share of the target such as `40%`";

    fn from_text<E: Error>(text: &str) -> Result<Self, E> {
        if text.ends_with('%') {
            return Percent::parse(text).map(Self::Share).ok_or_else(|| unfit::<Self, E>(text));
        }
        Duration::from_text(text).map(Self::Of)
    }
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
