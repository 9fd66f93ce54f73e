//! Values that are one of a few words.

use serde::de::Error;

use super::lasting::{Keep, ReloadBy, ReloadWhen};
use super::value::{FromText, shown};
use crate::core::settings::{Policy, Timer, WarmUpMethod, WarmUpTls, Weights};

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
    // What HAProxy calls it itself since 1.7.
    "Ta" => Self::Tt,
});
words!(WarmUpMethod, "GET or HEAD", { "GET" => Self::Get, "HEAD" => Self::Head });
words!(WarmUpTls, "auto, on or off", { "auto" => Self::Auto, "on" => Self::On, "off" => Self::Off });
words!(Weights, "keep, by_capacity or by_latency", {
    "keep" => Self::Keep,
    "by_capacity" => Self::ByCapacity,
    "by_latency" => Self::ByLatency,
});
words!(tracing::Level, "a level, such as info", {
    "error" => Self::ERROR, "warn" => Self::WARN, "info" => Self::INFO,
    "debug" => Self::DEBUG, "trace" => Self::TRACE,
});

words!(Keep, "none, state_file, block or template", {
    "none" => Self::None, "state_file" => Self::StateFile, "block" => Self::Block, "template" => Self::Template,
});
words!(ReloadBy, "none, systemd, master or binary", {
    "none" => Self::None, "systemd" => Self::Systemd, "master" => Self::Master, "binary" => Self::Binary,
});
words!(ReloadWhen, "needed or changed", { "needed" => Self::Needed, "changed" => Self::Changed });

words!(Policy, "threshold or model", { "threshold" => Self::Threshold, "model" => Self::Model });

/// `statistic:`, where it is no percentile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PlainStatistic {
    /// The mean over the window.
    Mean,
}

words!(PlainStatistic, "a statistic", { "mean" => Self::Mean });
