//! Names in a line to ids, without a lock for those seen before.
//!
//! In: whom a line belongs to, as bytes. Out: ids of the shared table of names. One cache serves
//! one reader, is bounded, and allocates for new names only.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::sample::Owner;
use crate::core::names::{BackendId, Names, ServerId};

/// Backends and servers that one reader remembers. HAProxy configurations of 1,000 backends with
/// 30 servers fit; beyond that names are forgotten and asked for again.
const MOST_CACHED: usize = 1 << 15;

/// The ids of names seen before.
#[derive(Clone, Debug)]
pub(super) struct NameCache {
    names: Names,
    /// By `backend/server`, or `backend/` alone.
    ids: HashMap<Box<[u8]>, Ids, BuildHasherDefault<NameHasher>>,
    /// Where the key is put together, so that a lookup allocates nothing.
    key: Vec<u8>,
}

/// What the table of names says.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ids {
    Known(BackendId, Option<ServerId>),
    /// It has no room; it never will have again.
    Full,
    /// Nobody's.
    None,
}

impl NameCache {
    /// Remembers nothing yet.
    pub(super) fn new(names: Names) -> Self {
        Self { names, ids: HashMap::default(), key: Vec::new() }
    }

    /// The ids of whom a line belongs to.
    pub(super) fn ids(&mut self, owner: Owner<'_>) -> Ids {
        let (backend, server) = match owner {
            Owner::Server { backend, server } => (backend, server),
            Owner::Backend(backend) => (backend, &b""[..]),
            Owner::BackendIfKnown(backend) => {
                return self.known_backend(backend).map_or(Ids::None, |backend| Ids::Known(backend, None));
            }
            Owner::Nobody => return Ids::None,
        };
        self.key.clear();
        self.key.extend_from_slice(backend);
        self.key.push(b'/');
        self.key.extend_from_slice(server);
        if let Some(&ids) = self.ids.get(self.key.as_slice()) {
            return ids;
        }
        if self.ids.len() >= MOST_CACHED {
            self.ids.clear();
        }
        let ids = self.intern(backend, server);
        self.ids.insert(self.key.as_slice().into(), ids);
        ids
    }

    /// The id of a backend, if it is known already. Not remembered: it may become known.
    pub(super) fn known_backend(&self, backend: &[u8]) -> Option<BackendId> {
        self.names.known_backend(std::str::from_utf8(backend).ok()?)
    }

    /// Asks the table. Names have been checked to be ASCII when the line was read.
    fn intern(&self, backend: &[u8], server: &[u8]) -> Ids {
        let (Ok(backend), Ok(server)) = (std::str::from_utf8(backend), std::str::from_utf8(server)) else {
            return Ids::None;
        };
        let Some(backend) = self.names.backend(backend) else {
            return Ids::Full;
        };
        if server.is_empty() {
            return Ids::Known(backend, None);
        }
        self.names.server(backend, server).map_or(Ids::Full, |server| Ids::Known(backend, Some(server)))
    }
}

/// FNV-1a. Names come from HAProxy's configuration, not from its clients, so nobody can make
/// them collide, and the standard hasher would cost more than reading the timers.
#[derive(Clone, Copy)]
struct NameHasher(u64);

impl Default for NameHasher {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for NameHasher {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    /// Of the length, which the names' own bytes make needless.
    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}
