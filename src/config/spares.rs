//! `spares:`, and the pool that slots and added servers get their addresses from.
//!
//! What is in a pool that is a file, or in HAProxy's own configuration, is read by `provider/`.

use std::collections::HashSet;
use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use serde::Deserialize;
use serde::de::{
    Deserializer, Error, MapAccess, SeqAccess, Visitor,
    value::{MapAccessDeserializer, SeqAccessDeserializer, StrDeserializer},
};

use super::check::Checker;
use super::error::Mistake;
use super::file::{self, WarmUp as WarmUpFile};
use super::path::KeyPath;
use super::value::{FromText, Name, OrAll, OrAuto, OrNone, Value, unfit};
use crate::core::log::log_format::words::{self, Variable, Word};
use crate::core::plan::supply::Candidate;
use crate::core::settings::WarmUp;
use crate::core::settings::spares::{Grow, Keywords, Spares};

/// Slots cost HAProxy some KiB each; what is added at a time is no more than what is there at most.
const SLOTS: RangeInclusive<u32> = 0..=10_000;

/// Where a backend's pool comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolSettings {
    /// The addresses.
    pub source: PoolSource,
    /// What stands behind the address of a server that is added.
    pub default_server: DefaultServer,
}

/// Where the addresses of a pool come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PoolSource {
    /// They stand in the config; at least one, none twice.
    List(Vec<Candidate>),
    /// They stand in this file, one a line.
    File(PathBuf),
}

/// Where the keywords of a server that is added come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DefaultServer {
    /// They stand in the config.
    Given(Keywords),
    /// The `default-server` lines of the backend in HAProxy's own configuration.
    HaproxyCfg(PathBuf),
}

/// `kind:`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Declared,
    Slots,
    Dynamic,
}

impl FromText for Kind {
    const EXPECTED: &'static str = "declared, slots or dynamic";

    fn from_text<E: Error>(text: &str) -> Result<Self, E> {
        match text {
            "declared" => Ok(Self::Declared),
            "slots" => Ok(Self::Slots),
            "dynamic" => Ok(Self::Dynamic),
            _ => Err(E::unknown_variant(text, &["declared", "slots", "dynamic"])),
        }
    }
}

/// An address that a server can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ServerAddress(SocketAddr);

impl FromText for ServerAddress {
    const EXPECTED: &'static str = "an IP address with a port, such as 10.0.0.4:80";

    fn from_text<E: Error>(text: &str) -> Result<Self, E> {
        match text.parse::<SocketAddr>() {
            Ok(address) if address.port() > 0 && !address.ip().is_unspecified() => Ok(Self(address)),
            _ => Err(unfit::<Self, E>(text)),
        }
    }
}

impl FromText for Keywords {
    const EXPECTED: &'static str = "keywords of a server line, such as `check inter 2s maxconn 50`, or none";

    fn from_text<E: Error>(text: &str) -> Result<Self, E> {
        let cannot = |error: &dyn fmt::Display| E::custom(format_args!("`{text}` cannot be used: {error}"));
        let words = words::split(text, &|_| Variable::Unknown).map_err(|error| cannot(&error))?;
        Self::of_words(words.iter().map(Word::text)).map_err(|error| cannot(&error))
    }
}

/// `pool:`, a list of addresses or a mapping that names a file.
#[derive(Debug)]
pub(super) enum Pool {
    List(Vec<Entry>),
    File(PathBuf),
}

/// One of the list: an address, or a mapping.
#[derive(Debug)]
pub(super) struct Entry(file::Candidate);

/// `default_server:`, keywords or a mapping.
#[derive(Debug)]
pub(super) enum DefaultServerFile {
    Given(Option<Keywords>),
    HaproxyCfg(PathBuf),
}

impl<'de> Deserialize<'de> for Pool {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PoolVisitor;
        impl<'de> Visitor<'de> for PoolVisitor {
            type Value = Pool;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of addresses, or {file: FILE}")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Pool, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(list)).map(Pool::List)
            }

            fn visit_map<A: MapAccess<'de>>(self, mapping: A) -> Result<Pool, A::Error> {
                let file::PoolFile { file } = Deserialize::deserialize(MapAccessDeserializer::new(mapping))?;
                Ok(Pool::File(file.0))
            }
        }
        deserializer.deserialize_any(PoolVisitor)
    }
}

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntryVisitor;
        impl<'de> Visitor<'de> for EntryVisitor {
            type Value = Entry;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an address such as 10.0.0.4:80, or {address: 10.0.0.4:80, name: web4}")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Entry, E> {
                let address = Value::deserialize(StrDeserializer::new(text))?;
                Ok(Entry(file::Candidate { address, name: None, warm_up: None }))
            }

            fn visit_map<A: MapAccess<'de>>(self, mapping: A) -> Result<Entry, A::Error> {
                Deserialize::deserialize(MapAccessDeserializer::new(mapping)).map(Entry)
            }
        }
        deserializer.deserialize_any(EntryVisitor)
    }
}

impl<'de> Deserialize<'de> for DefaultServerFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct DefaultServerVisitor;
        impl<'de> Visitor<'de> for DefaultServerVisitor {
            type Value = DefaultServerFile;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}, or {{haproxy_cfg: FILE}}", Keywords::EXPECTED)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<DefaultServerFile, E> {
                let Value(OrNone(keywords)) = Value::deserialize(StrDeserializer::new(text))?;
                Ok(DefaultServerFile::Given(keywords))
            }

            fn visit_map<A: MapAccess<'de>>(self, mapping: A) -> Result<DefaultServerFile, A::Error> {
                let file::HaproxyCfg { haproxy_cfg } =
                    Deserialize::deserialize(MapAccessDeserializer::new(mapping))?;
                Ok(DefaultServerFile::HaproxyCfg(haproxy_cfg.0))
            }
        }
        deserializer.deserialize_any(DefaultServerVisitor)
    }
}

impl Checker<'_> {
    /// What is done with spares, and where their addresses come from, where any do.
    pub(super) fn spares(
        &mut self,
        file: file::Spares,
        of_backend: &WarmUp,
        at: &KeyPath,
    ) -> (Spares, Option<PoolSettings>) {
        let kind = file.kind.map_or(Kind::Declared, |Value(kind)| kind);
        let placeholder = file.placeholder.and_then(|Value(OrAuto(placeholder))| placeholder);
        let has_keywords = !matches!(file.default_server, None | Some(DefaultServerFile::Given(None)));
        self.only_for(kind == Kind::Slots, placeholder.is_some(), "placeholder", "say `kind: slots`", at);
        self.only_for(kind == Kind::Dynamic, has_keywords, "default_server", "say `kind: dynamic`", at);
        let grow = self.grow(file.grow.unwrap_or_default(), &at.key("grow"));
        self.only_for(kind == Kind::Slots, grow.is_some(), "grow", "say `kind: slots`", at);
        let source = match file.pool {
            None => PoolSource::List(Vec::new()),
            Some(Pool::File(path)) => PoolSource::File(path),
            Some(Pool::List(entries)) => {
                PoolSource::List(self.candidates(entries, of_backend, &at.key("pool")))
            }
        };
        let has_pool = source != PoolSource::List(Vec::new());
        let remedy = "say `kind: slots` or `kind: dynamic`";
        self.only_for(kind != Kind::Declared, has_pool, "pool", remedy, at);
        if kind != Kind::Declared && !has_pool {
            self.report(&at.key("pool"), &at.key("pool"), Mistake::EmptyList);
        }
        let default_server = match file.default_server {
            Some(DefaultServerFile::HaproxyCfg(path)) => DefaultServer::HaproxyCfg(path),
            Some(DefaultServerFile::Given(Some(keywords))) => DefaultServer::Given(keywords),
            _ => DefaultServer::Given(Keywords::default()),
        };
        let pool = PoolSettings { source, default_server };
        match kind {
            Kind::Declared => (Spares::Declared, None),
            Kind::Slots => (Spares::Slots { placeholder, grow }, Some(pool)),
            Kind::Dynamic => (Spares::Dynamic, Some(pool)),
        }
    }

    /// What is done when slots run out; 0 at a time: nothing.
    fn grow(&mut self, file: file::Grow, at: &KeyPath) -> Option<Grow> {
        let (mut by, mut to) = (0, *SLOTS.end());
        self.set_within(&mut by, at.key("by"), file.by, SLOTS);
        let most = file.to.and_then(|Value(OrAll(most))| most).map(Value);
        let is_limited = most.is_some();
        self.set_within(&mut to, at.key("to"), most, 1..=*SLOTS.end());
        (by > 0).then_some(Grow { by, to: is_limited.then_some(to) })
    }

    /// `key` may be there for some kinds only.
    fn only_for(&mut self, fits: bool, is_there: bool, key: &str, remedy: &'static str, at: &KeyPath) {
        if is_there && !fits {
            let (first, second) = ("kind".to_owned(), key.to_owned());
            self.report(&at.key(key), at, Mistake::Exclusive { first, second, remedy });
        }
    }

    /// The list, in which no address and no name may be twice.
    fn candidates(&mut self, entries: Vec<Entry>, of_backend: &WarmUp, at: &KeyPath) -> Vec<Candidate> {
        let (mut addresses, mut names, mut candidates) = (HashSet::new(), HashSet::new(), Vec::new());
        for (nth, Entry(file::Candidate { address, name, warm_up })) in entries.into_iter().enumerate() {
            let (here, Value(ServerAddress(address))) = (at.index(nth), address);
            let name = name.map(|Value(Name(name))| name);
            if !addresses.insert(address) {
                self.report(&here, &here, Mistake::Value(format!("`{address}` is in the pool twice")));
            }
            if let Some(name) = name.as_ref().filter(|name| !names.insert((*name).clone())) {
                self.report(&here, &here, Mistake::Value(format!("`{name}` is in the pool twice")));
            }
            let warm_up =
                warm_up.map(|file: WarmUpFile| self.warm_up(file, of_backend.clone(), &here.key("warm_up")));
            candidates.push(Candidate { address, name, warm_up });
        }
        candidates
    }
}
