//! Decisions as they were made: `journal.jsonl` in the state directory, one JSON object a line.
//!
//! A journal that cannot be written (full disk, read-only) stops nothing: what was lost is
//! counted and told once an interval.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
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
        let mut line = entry.to_string();
        line.push('\n');
        let written = self.open().and_then(|file| file.write_all(line.as_bytes()));
        match written {
            Ok(()) => self.bytes += line.len() as u64,
            Err(_) => self.file = None,
        }
        written
    }

    fn open(&mut self) -> io::Result<&mut File> {
        if self.bytes > MAX_BYTES {
            self.file = None;
            std::fs::rename(&self.path, self.path.with_extension("jsonl.1"))?;
        }
        match &mut self.file {
            Some(file) => Ok(file),
            none => {
                let file = OpenOptions::new().create(true).append(true).open(&self.path)?;
                self.bytes = file.metadata()?.len();
                Ok(none.insert(file))
            }
        }
    }
}

/// The last `most` entries of the journal in `directory` that are `wanted`, oldest first; lines that
/// are no JSON (a crash in the middle of one) are passed over.
pub fn last_entries(directory: &Path, most: usize, wanted: fn(&Value) -> bool) -> Vec<Value> {
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
    fn half_a_line_left_by_a_crash_hides_nothing_before_it() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("journal.jsonl"), "{\"n\":1}\n{\"n\":2}\n{\"n\":").unwrap();
        assert_eq!(last_entries(folder.path(), 1, |_| true), [serde_json::json!({"n": 2})]);
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
