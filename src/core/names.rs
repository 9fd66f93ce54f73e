//! Backend and server names, interned to small `Copy` ids.
//!
//! In: names as HAProxy writes them, in its log and on its socket. Out: ids that fit in a
//! [`Sample`](super::log::sample::Sample). The table is shared by whoever reads logs and the
//! controller, only grows, and is bounded, so that garbage in a log cannot fill the memory.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// A HAProxy backend (or the backend half of a `listen`), by its place in [`Names`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackendId(u32);

/// One server of one backend, by its place in [`Names`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerId(u32);

impl BackendId {
    /// The place in the table, from 0 without gaps.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl ServerId {
    /// The place in the table, from 0 without gaps.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Backends and servers together. HAProxy configurations of 1,000 backends with 100 servers fit.
const MOST_NAMES: usize = 1 << 17;

/// The table of all names seen; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Names(Arc<RwLock<Table>>);

#[derive(Debug, Default)]
struct Table {
    backends: Vec<Arc<str>>,
    servers: Vec<(BackendId, Arc<str>)>,
    backend_ids: HashMap<Arc<str>, BackendId>,
    server_ids: HashMap<(BackendId, Arc<str>), ServerId>,
    with_servers: HashSet<BackendId>,
}

impl Names {
    /// The id of `name`, given out now if it is new. `None` if the table is full.
    pub fn backend(&self, name: &str) -> Option<BackendId> {
        if let Some(&id) = self.read().backend_ids.get(name) {
            return Some(id);
        }
        let mut table = self.write();
        if let Some(&id) = table.backend_ids.get(name) {
            return Some(id);
        }
        let id = BackendId(table.next_id()?.0);
        let name: Arc<str> = name.into();
        table.backends.push(name.clone());
        table.backend_ids.insert(name, id);
        Some(id)
    }

    /// The id of `name`, if it was given out before.
    pub fn known_backend(&self, name: &str) -> Option<BackendId> {
        self.read().backend_ids.get(name).copied()
    }

    /// The id of `backend/name`, given out now if it is new. `None` if the table is full.
    pub fn server(&self, backend: BackendId, name: &str) -> Option<ServerId> {
        let name: Arc<str> = name.into();
        let key = (backend, name.clone());
        if let Some(&id) = self.read().server_ids.get(&key) {
            return Some(id);
        }
        let mut table = self.write();
        if let Some(&id) = table.server_ids.get(&key) {
            return Some(id);
        }
        let id = ServerId(table.next_id()?.1);
        table.servers.push((backend, name));
        table.with_servers.insert(backend);
        table.server_ids.insert(key, id);
        Some(id)
    }

    /// The backend's name.
    pub fn of_backend(&self, id: BackendId) -> Arc<str> {
        self.read().backends[id.index()].clone()
    }

    /// Whether a backend of that name has had a server.
    pub fn has_servers(&self, backend: &str) -> bool {
        let table = self.read();
        table.backend_ids.get(backend).is_some_and(|id| table.with_servers.contains(id))
    }

    /// The server's own name, without its backend.
    pub fn of_server(&self, id: ServerId) -> Arc<str> {
        self.read().servers[id.index()].1.clone()
    }

    /// The backend `id` is a server of.
    pub fn backend_of(&self, id: ServerId) -> BackendId {
        self.read().servers[id.index()].0
    }

    /// A panic elsewhere cannot leave the table half written (each change ends in one insert),
    /// so a poisoned lock is still good.
    fn read(&self) -> RwLockReadGuard<'_, Table> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Table> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// The next backend's and the next server's id; `None` if the table is full.
    fn next_id(&self) -> Option<(u32, u32)> {
        let (backends, servers) = (self.backends.len(), self.servers.len());
        (backends + servers < MOST_NAMES).then_some((backends as u32, servers as u32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_id_and_equal_names_of_two_backends_differ() {
        let names = Names::default();
        let (web, api) = (names.backend("web").unwrap(), names.backend("api").unwrap());
        let s1 = names.server(web, "s1").unwrap();
        assert_eq!(names.server(web, "s1"), Some(s1));
        assert_ne!(names.server(api, "s1"), Some(s1));
        assert_eq!(names.backend_of(s1), web);
        assert_eq!((&*names.of_backend(web), &*names.of_server(s1)), ("web", "s1"));
    }

    #[test]
    fn a_full_table_refuses_new_names_and_keeps_the_old() {
        let names = Names::default();
        let web = names.backend("web").unwrap();
        let known = names.server(web, "s0").unwrap();
        for n in 1..MOST_NAMES {
            names.server(web, &format!("s{n}"));
        }
        assert_eq!(names.backend("one too many"), None);
        assert_eq!(names.server(web, "s0"), Some(known));
    }
}
