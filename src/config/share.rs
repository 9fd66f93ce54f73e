//! Shares of requests: `coverage: 90%`, and `sample_rate: 10%` or `1:10` as HAProxy writes it.

use serde::de::Error;

use super::value::{FromText, unfit};
use crate::core::units::Ratio;

/// A share from `0%` to `100%`, with or without digits behind the point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Share(pub(super) Ratio);

impl FromText for Share {
    const EXPECTED: &'static str = "a share from 0% to 100%";

    fn from_text<E: Error>(text: &str) -> Result<Self, E> {
        percent(text).map(Self).ok_or_else(|| unfit::<Self, E>(text))
    }
}

/// A share above `0%`, or what stands behind `sample` in a `log` line of HAProxy's configuration.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct SampleRate(pub(super) Ratio);

impl FromText for SampleRate {
    const EXPECTED: &'static str =
        "a share above 0%, at most 100%, or as behind `sample` in haproxy.cfg: 1:10";

    fn from_text<E: Error>(text: &str) -> Result<Self, E> {
        let rate = percent(text).or_else(|| sample(text)).filter(|rate| *rate > Ratio::NONE);
        rate.map(Self).ok_or_else(|| unfit::<Self, E>(text))
    }
}

/// `33.3%`.
fn percent(text: &str) -> Option<Ratio> {
    let number = text.strip_suffix('%')?;
    let is_plain = number.starts_with(|c: char| c.is_ascii_digit())
        && number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let number: f64 = is_plain.then(|| number.parse().ok()).flatten()?;
    Ratio::new(number / 100.0)
}

/// `1:10`, `2-3:11`, `1,4-5:8`: these of so many, counted from 1 (configuration manual, `log ... sample`).
fn sample(text: &str) -> Option<Ratio> {
    let (ranges, size) = text.split_once(':')?;
    let number = |text: &str| -> Option<u32> {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| text.parse().ok()).flatten()
    };
    let size = number(size)?;
    let (mut taken, mut before) = (0, 0);
    for range in ranges.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (number(first)?, number(last)?);
        // HAProxy wants them in order, and none twice.
        if first <= before || last < first || last > size {
            return None;
        }
        taken += last - first + 1;
        before = last;
    }
    Ratio::new(f64::from(taken) / f64::from(size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<f64>) {
        let read: Result<SampleRate, serde::de::value::Error> = SampleRate::from_text(text);
        let read = read.ok().map(|SampleRate(rate)| (rate.value() * 1e6).round() / 1e6);
        assert_eq!(read, expected, "{text:?}");
    }

    #[test]
    fn a_sample_rate_is_a_share_or_what_haproxy_takes() {
        check("100%", Some(1.0));
        check("10%", Some(0.1));
        check("33.3%", Some(0.333));
        check("1:10", Some(0.1));
        check("2:10", Some(0.1));
        check("2-3:11", Some(0.181_818));
        check("1,4-5:8", Some(0.375));
        check("1-4:4", Some(1.0));
    }

    #[test]
    fn anything_else_is_none() {
        for text in [
            "", "%", "0%", "101%", "10", "-1%", "1e1%", "nan%", "0:10", "11:10", "3-2:9", "1,1:9", "1:0",
            ":9",
        ] {
            check(text, None);
        }
        let zero: Result<Share, serde::de::value::Error> = Share::from_text("0%");
        assert_eq!(zero.ok(), Some(Share(Ratio::NONE)), "coverage may be off");
    }
}
