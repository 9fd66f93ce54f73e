//! Generations of a log that came and went while nobody looked, found under the names that rotation
//! gave them.
//!
//! A sibling is taken for one if its name is the log's with a number or a date to it, if it was not
//! there when last looked, was written no earlier than the generation before it, and is no copy of that.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::SourceEvent;
use super::file::{FileId, HEAD, LogFile};
use super::open::open;

/// Endings of compressed files, by what logrotate's `compresscmd` is usually set to.
const COMPRESSED: [&[u8]; 7] = [b".gz", b".xz", b".bz2", b".zst", b".lz4", b".lzma", b".Z"];

/// How often the directory is read again while it changes under the eyes.
const MOST_LOOKS: usize = 16;

/// The siblings of one log, as far as they are known.
#[derive(Debug, Default)]
pub(super) struct Siblings {
    known: HashSet<FileId>,
}

/// An open file and what it was when it was opened.
pub(super) type Opened = (File, Metadata);

/// What a log has been since it was an older file.
pub(super) struct Since {
    /// Oldest first; the last is what the path leads to now, if that is anything.
    pub(super) generations: Vec<Opened>,
    /// Missed ones that cannot be read: compressed, as a rule.
    pub(super) unread: Vec<PathBuf>,
}

impl Siblings {
    /// Remembers who is there: none of them is a generation that was missed.
    pub(super) fn remember(&mut self, log: &Path) {
        self.known = list(log).0.iter().map(|sibling| sibling.id).collect();
    }

    /// What came after `old`, up to `newest`, as far as they are there, leaving out what `is_ours`. `path`
    /// led to both, `log` is the name of the old one without links. The directory is read until it says the
    /// same twice: while files are renamed in it, one or the other is not seen.
    pub(super) fn since(
        &mut self,
        path: &Path,
        log: &Path,
        old: Option<&LogFile>,
        newest: Option<Opened>,
        is_ours: impl Fn(FileId) -> bool,
    ) -> Since {
        let mut search = Search::new(old, newest);
        for _ in 0..MOST_LOOKS {
            let (siblings, is_torn) = list(log);
            let there: HashSet<FileId> = siblings.iter().map(|sibling| sibling.id).collect();
            // What has gone need not be known any more.
            self.known.retain(|id| there.contains(id));
            let order = siblings.iter().map(|sibling| (sibling.id, sibling.order)).collect();
            let mut changed = is_torn || search.order != order;
            search.order = order;
            for sibling in siblings.into_iter().filter(|sibling| !is_ours(sibling.id)) {
                changed |= search.sibling(sibling, &mut self.known);
            }
            changed |= search.newest(path, |id| !self.known.contains(&id) && !is_ours(id));
            if !changed {
                break;
            }
        }
        search.done()
    }
}

/// The search for what was missed, over several looks at the directory.
struct Search<'a> {
    old: Option<&'a LogFile>,
    old_written: SystemTime,
    newest: Option<Opened>,
    missed: Vec<Opened>,
    unread: Vec<PathBuf>,
    /// What the names said in the last look.
    order: HashMap<FileId, i128>,
    seen: HashSet<FileId>,
}

impl<'a> Search<'a> {
    fn new(old: Option<&'a LogFile>, newest: Option<Opened>) -> Self {
        let written =
            old.and_then(|old| old.file.metadata().ok()).and_then(|metadata| metadata.modified().ok());
        let seen = newest.iter().map(|(_, metadata)| FileId::of(metadata)).collect();
        let old_written = written.unwrap_or(SystemTime::UNIX_EPOCH);
        Self { old, old_written, newest, missed: Vec::new(), unread: Vec::new(), order: HashMap::new(), seen }
    }

    /// Takes a sibling in if it was missed, and makes it `known`. False if that changes nothing, this time
    /// or the next.
    fn sibling(&mut self, sibling: Sibling, known: &mut HashSet<FileId>) -> bool {
        if self.seen.contains(&sibling.id) || !known.insert(sibling.id) {
            return false;
        }
        if let Some(original) = &sibling.compressed_from {
            // It has the time of its original, which may be `old`. While that is there, it is not complete.
            let was_missed = sibling.written > self.old_written && !original.exists();
            if was_missed {
                self.unread.push(sibling.path);
            }
            return was_missed;
        }
        // To an empty one nobody has written yet, but somebody may have it open.
        if sibling.written < self.old_written && !sibling.is_empty {
            return false;
        }
        match open(&sibling.path) {
            Ok((file, metadata)) if FileId::of(&metadata) == sibling.id => {
                if !self.old.is_some_and(|old| is_copy(&file, old)) {
                    self.missed.push((file, metadata));
                }
            }
            // Another one by now, or none: renamed since the directory was read.
            Ok(_) | Err(SourceEvent::Missing) => drop(known.remove(&sibling.id)),
            Err(_) => self.unread.push(sibling.path),
        }
        true
    }

    /// Looks where the path leads by now. What was the newest until then has been rotated as well.
    fn newest(&mut self, path: &Path, unknown: impl Fn(FileId) -> bool) -> bool {
        let Ok(newest) = open(path) else { return false };
        let id = FileId::of(&newest.1);
        if !newest.1.is_file() || !unknown(id) || !self.seen.insert(id) {
            return false;
        }
        self.missed.extend(self.newest.replace(newest));
        true
    }

    /// In the order in which they were born, which a late writer does not change; where times are too
    /// coarse to tell, by name. What still has the log's own name is the last.
    fn done(mut self) -> Since {
        self.missed.extend(self.newest);
        self.missed.sort_by_cached_key(|(_, metadata)| {
            let order = self.order.get(&FileId::of(metadata)).copied();
            let born = metadata.created().or_else(|_| metadata.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
            (order.is_none(), born, order)
        });
        Since { generations: self.missed, unread: self.unread }
    }
}

/// `file` begins as `old` does, or did: somebody's copy, such as logrotate's copytruncate makes. Two half
/// lines may well begin alike, two lines do not.
fn is_copy(file: &File, old: &LogFile) -> bool {
    let mut head = [0; HEAD];
    let length = file.read_at(&mut head, 0).unwrap_or(0);
    let head = &head[..length];
    (length == HEAD || head.contains(&b'\n')) && old.begins_or_began_with(head)
}

struct Sibling {
    path: PathBuf,
    id: FileId,
    written: SystemTime,
    is_empty: bool,
    compressed_from: Option<PathBuf>,
    order: i128,
}

/// All files beside `log` whose names are its name with a number or a date to it; and whether one of them
/// had another name before it could be looked at.
fn list(log: &Path) -> (Vec<Sibling>, bool) {
    let (mut siblings, mut is_torn) = (Vec::new(), false);
    let (Some(directory), Some(name)) = (log.parent(), log.file_name()) else { return (siblings, false) };
    // A bare name is one in the current directory.
    let directory = if directory == Path::new("") { Path::new(".") } else { directory };
    let Ok(entries) = fs::read_dir(directory) else { return (siblings, false) };
    for entry in entries.filter_map(Result::ok) {
        let Some(rotated) = Rotated::parse(name, &entry.file_name()) else { continue };
        match entry.metadata() {
            Ok(metadata) if metadata.is_file() => siblings.push(Sibling {
                path: entry.path(),
                id: FileId::of(&metadata),
                written: metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH),
                is_empty: metadata.len() == 0,
                // The last extension is that of the compression.
                compressed_from: rotated.is_compressed.then(|| entry.path().with_extension("")),
                order: rotated.order,
            }),
            Ok(_) => {}
            Err(error) => is_torn |= error.kind() == io::ErrorKind::NotFound,
        }
    }
    (siblings, is_torn)
}

/// What the name of a rotated file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rotated {
    is_compressed: bool,
    /// Later ones have the larger: minus the number, or the date. Counts where times are equal.
    order: i128,
}

impl Rotated {
    /// `None` if `sibling` is no name that rotation gives to `log`: logrotate's are `log.1`, with
    /// `dateext` `log-20261121`, and with `extension .log` `access.1.log` for `access.log`.
    fn parse(log: &OsStr, sibling: &OsStr) -> Option<Self> {
        let (log, sibling) = (log.as_bytes(), sibling.as_bytes());
        let plain = COMPRESSED.iter().find_map(|ending| sibling.strip_suffix(*ending));
        let is_compressed = plain.is_some();
        let plain = plain.unwrap_or(sibling);
        let before_extension = || {
            let dot = log.iter().rposition(|&byte| byte == b'.')?;
            plain.strip_prefix(&log[..dot])?.strip_suffix(&log[dot..])
        };
        let order =
            plain.strip_prefix(log).and_then(order_of).or_else(|| before_extension().and_then(order_of))?;
        Some(Self { is_compressed, order })
    }
}

/// The place in time that `.1`, `-20261121`, `.2026-11-21_14:00` or `.old` stands for.
fn order_of(suffix: &[u8]) -> Option<i128> {
    let (separator, stamp) = suffix.split_first()?;
    if !b".-_".contains(separator) {
        return None;
    }
    if stamp == b"old" {
        return Some(0);
    }
    if !stamp.iter().all(|byte| byte.is_ascii_digit() || b".-_:+TZ".contains(byte)) {
        return None;
    }
    let digits: String =
        stamp.iter().filter(|byte| byte.is_ascii_digit()).map(|&byte| char::from(byte)).collect();
    let number: i128 = digits.parse().ok()?;
    // A year and a month have six; nobody keeps a hundred thousand generations.
    Some(if digits.len() < 6 { -number } else { number })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(log: &str, sibling: &str, expected: Option<(i128, bool)>) {
        let rotated = Rotated::parse(OsStr::new(log), OsStr::new(sibling));
        assert_eq!(
            rotated.map(|rotated| (rotated.order, rotated.is_compressed)),
            expected,
            "{sibling} of {log}"
        );
    }

    #[test]
    fn names_that_rotation_gives_are_told_from_others() {
        check("haproxy.log", "haproxy.log.1", Some((-1, false)));
        check("haproxy.log", "haproxy.log.12.gz", Some((-12, true)));
        check("haproxy.log", "haproxy.log.old", Some((0, false)));
        check("haproxy.log", "haproxy.log-20261121", Some((20_261_121, false)));
        check("haproxy.log", "haproxy.log-20261121.zst", Some((20_261_121, true)));
        check("haproxy.log", "haproxy.log.2026-11-21_14:00", Some((202_611_211_400, false)));
        check("haproxy.log", "haproxy-20261121.log", Some((20_261_121, false)));
        check("haproxy.log", "haproxy.3.log.gz", Some((-3, true)));
        check("haproxy", "haproxy.1", Some((-1, false)));
        for other in
            ["haproxy.log", "haproxy.log.swp", "haproxy.log.err", "haproxy.log.err.1", "haproxy.log2"]
        {
            check("haproxy.log", other, None);
        }
        for other in ["haproxy.log.", "haproxy.log.-", "haproxy-admin.log", "haproxy.log.1~", "other.log.1"] {
            check("haproxy.log", other, None);
        }
        check("haproxy.log", &format!("haproxy.log.{}", "9".repeat(60)), None);
    }
}
