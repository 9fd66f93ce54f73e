//! Values as they stand in a file, each read from its text while serde is at it.
//!
//! An error made later would be placed at the start of the mapping around it; one that is made
//! here has the line and column of the value. Ranges are checked in `check.rs`.

use std::fmt;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error, Visitor};

use super::duration::parse_duration;
use super::percent::Percent;

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
pub(super) fn unfit<T: FromText, E: Error>(text: &str) -> E {
    E::custom(format_args!("`{}` is not {}", shown(text), T::EXPECTED))
}

/// `text`, shortened.
pub(super) fn shown(text: &str) -> String {
    const MOST: usize = 60;
    let mut shown: String = text.chars().take(MOST).collect();
    if text.chars().nth(MOST).is_some() {
        shown.push_str("...");
    }
    shown
}

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

/// A value, or the word `auto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OrAuto<T>(pub(super) Option<T>);

impl<T: FromText> FromText for OrAuto<T> {
    const EXPECTED: &'static str = T::EXPECTED;

    fn from_text<E: Error>(text: &str) -> Result<Self, E> {
        if text == "auto" { Ok(Self(None)) } else { T::from_text(text).map(|value| Self(Some(value))) }
    }
}

impl FromText for Percent {
    const EXPECTED: &'static str = "a share such as `10%`";

    fn from_text<E: Error>(text: &str) -> Result<Self, E> {
        Self::parse(text).ok_or_else(|| unfit::<Self, E>(text))
    }
}

impl FromText for SocketAddr {
    const EXPECTED: &'static str = "an address with a port, such as 127.0.0.1:9101";

    fn from_text<E: Error>(text: &str) -> Result<Self, E> {
        text.parse().map_err(|_| unfit::<Self, E>(text))
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
