//! Decisions as they were made: `journal.jsonl` in the state directory, one JSON object a line.
//!
//! A journal that cannot be written (full disk, read-only) stops nothing: what was lost is
//! counted and told once an interval.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use serde_json::Value;

/// Above this the journal is renamed to `journal.jsonl.1` and begun anew: months of decisions.
const MAX_BYTES: u64 = 16 << 20;

/// An append-only file of JSON lines, bounded by one rotation.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: Option<File>,
    bytes: u64,
}

impl Journal {
    /// The journal in `directory`; it is opened at the first entry.
    pub fn new(directory: &Path) -> Self {
        Self { path: directory.join("journal.jsonl"), file: None, bytes: 0 }
    }

    /// Appends `entry` as one line.
    ///
    /// # Errors
    /// What the file system says; the next entry tries anew, with a newly opened file.
    pub fn append(&mut self, entry: &Value) -> io::Result<()> {
        let written = self.write(entry);
        if written.is_err() {
            self.file = None;
        }
        written
    }

    fn write(&mut self, entry: &Value) -> io::Result<()> {
        let mut file = self.open()?;
        // A full disk, or a crash, may have left half a line: the entry must not become part of it.
        let half_line = if ends_a_line(file)? { "" } else { "\n" };
        let line = format!("{half_line}{entry}\n");
        file.write_all(line.as_bytes())?;
        self.bytes += line.len() as u64;
        Ok(())
    }

    fn open(&mut self) -> io::Result<&File> {
        if self.bytes > MAX_BYTES {
            self.file = None;
            std::fs::rename(&self.path, self.path.with_extension("jsonl.1"))?;
        }
        // Renamed or removed by somebody: nobody would look for what is written there.
        if self.file.as_ref().is_some_and(|file| !is_at(file, &self.path)) {
            self.file = None;
        }
        match &mut self.file {
            Some(file) => Ok(file),
            none => {
                let file = OpenOptions::new().create(true).read(true).append(true).open(&self.path)?;
                self.bytes = file.metadata()?.len();
                Ok(none.insert(file))
            }
        }
    }
}

/// Whether `file` is empty or ends with a newline.
fn ends_a_line(file: &File) -> io::Result<bool> {
    let Some(last) = file.metadata()?.len().checked_sub(1) else { return Ok(true) };
    let mut byte = [0];
    file.read_exact_at(&mut byte, last)?;
    Ok(byte == *b"\n")
}

/// Whether `path` leads to `file`.
fn is_at(file: &File, path: &Path) -> bool {
    let id = |metadata: io::Result<Metadata>| metadata.map(|file| (file.dev(), file.ino())).ok();
    id(file.metadata()) == id(path.metadata())
}

/// The last `most` entries of the journal in `directory` that are `wanted`, oldest first; lines that
/// are no JSON (a crash in the middle of one) are passed over.
pub fn last_entries(directory: &Path, most: usize, wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
    let text = std::fs::read(directory.join("journal.jsonl")).unwrap_or_default();
    let lines = text.rsplit(|&byte| byte == b'\n');
    let entries = lines.filter_map(|line| serde_json::from_slice(line).ok());
    let mut entries: Vec<_> = entries.filter(wanted).take(most).collect();
    entries.reverse();
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_that_grew_too_large_is_begun_anew_and_the_old_one_kept() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::new(folder.path());
        journal.append(&serde_json::json!({"n": 1})).unwrap();
        journal.bytes = MAX_BYTES + 1;
        journal.append(&serde_json::json!({"n": 2})).unwrap();
        assert_eq!(last_entries(folder.path(), 9, |_| true), [serde_json::json!({"n": 2})]);
        assert_eq!(std::fs::read_to_string(folder.path().join("journal.jsonl.1")).unwrap(), "{\"n\":1}\n");
    }

    #[test]
    fn a_journal_that_was_moved_away_is_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::new(folder.path());
        journal.append(&serde_json::json!({"n": 1})).unwrap();
        std::fs::rename(folder.path().join("journal.jsonl"), folder.path().join("old")).unwrap();
        journal.append(&serde_json::json!({"n": 2})).unwrap();
        assert_eq!(last_entries(folder.path(), 9, |_| true), [serde_json::json!({"n": 2})]);
    }

    #[test]
    fn half_a_line_left_by_a_crash_hides_nothing_before_it() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("journal.jsonl"), "{\"n\":1}\n{\"n\":2}\n{\"n\":").unwrap();
        assert_eq!(last_entries(folder.path(), 1, |_| true), [serde_json::json!({"n": 2})]);
        Journal::new(folder.path()).append(&serde_json::json!({"n": 4})).unwrap();
        let (two, four) = (serde_json::json!({"n": 2}), serde_json::json!({"n": 4}));
        assert_eq!(last_entries(folder.path(), 2, |_| true), [two, four]);
    }

    #[test]
    fn a_directory_that_is_gone_is_an_error_and_the_next_entry_tries_again() {
        let folder = tempfile::tempdir().unwrap();
        let inside = folder.path().join("state");
        let mut journal = Journal::new(&inside);
        assert!(journal.append(&serde_json::json!({})).is_err());
        std::fs::create_dir(&inside).unwrap();
        journal.append(&serde_json::json!({"n": 3})).unwrap();
        assert_eq!(last_entries(&inside, 1, |_| true), [serde_json::json!({"n": 3})]);
    }
}
