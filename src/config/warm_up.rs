//! Warm-ups and the servers that have one of their own: values, and the settings made of them.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde::de::Error;

use super::backend::UP_TO_A_DAY;
use super::check::{Checker, set};
use super::defaults;
use super::error::Mistake;
use super::file::{Server, WarmUp as WarmUpFile};
use super::path::KeyPath;
use super::value::{FromText, OrNone, Value, unfit};
use crate::core::settings::{ServerSettings, WarmUp, WarmUpTls};

/// Requests of a warm-up, altogether and at a time.
const REQUESTS: RangeInclusive<u32> = 1..=10_000;
const CONCURRENCY: RangeInclusive<u32> = 1..=256;

/// For one request of a warm-up.
const REQUEST_TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(600);

/// A larger spread than HAProxy's weights (1 to 256) have could not be kept.
const CAPACITY: RangeInclusive<f64> = 0.01..=256.0;

impl Checker<'_> {
    /// `file` over `base`.
    pub(super) fn warm_up(&mut self, file: WarmUpFile, base: WarmUp, at: &KeyPath) -> WarmUp {
        let mut warm_up = base;
        if let Some(Value(OrNone(path))) = file.path {
            warm_up.path = path.map(|RequestPath(path)| path);
        }
        if let Some(Value(OrNone(host))) = file.host {
            warm_up.host = host.map(|HostName(host)| host);
        }
        let says_sni = file.sni.is_some();
        if let Some(Value(OrNone(sni))) = file.sni {
            warm_up.sni = sni.map(|HostName(sni)| sni);
        }
        if let Some(Value(Statuses(first, last))) = file.statuses {
            warm_up.statuses = (first, last);
        }
        let says_tls = file.tls.is_some();
        set(&mut warm_up.method, file.method);
        set(&mut warm_up.tls, file.tls);
        self.set_within(&mut warm_up.requests, at.key("requests"), file.requests, REQUESTS);
        self.set_within(&mut warm_up.concurrency, at.key("concurrency"), file.concurrency, CONCURRENCY);
        self.set_within(&mut warm_up.timeout, at.key("timeout"), file.timeout, REQUEST_TIMEOUT);
        self.set_within(&mut warm_up.ramp, at.key("ramp"), file.ramp, UP_TO_A_DAY);
        if warm_up.sni.is_some() && warm_up.tls == WarmUpTls::Off && (says_sni || says_tls) {
            let (first, second) = ("tls: off".to_owned(), "sni".to_owned());
            let remedy = "a name is sent in TLS only: leave one of them out, or say `sni: none`";
            self.report(
                &at.key(if says_sni { "sni" } else { "tls" }),
                at,
                Mistake::Exclusive { first, second, remedy },
            );
        }
        warm_up
    }

    /// `file`, its warm-up over that of its backend.
    pub(super) fn server(&mut self, file: Server, of_backend: &WarmUp, at: &KeyPath) -> ServerSettings {
        let mut server = ServerSettings {
            always_up: false,
            capacity: defaults::CAPACITY,
            warm_up: self.warm_up(file.warm_up.unwrap_or_default(), of_backend.clone(), &at.key("warm_up")),
        };
        set(&mut server.always_up, file.always_up);
        self.set_within(&mut server.capacity, at.key("capacity"), file.capacity, CAPACITY);
        server
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
