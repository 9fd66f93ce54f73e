//! What the agent does, in its own words: new entries of its journal, each as one line.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;

use serde_json::Value;

/// Reads on in a journal that grows.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    /// Bytes read, all of them whole lines.
    offset: u64,
}

impl Journal {
    /// From its start; it may be yet to come.
    pub fn new(path: PathBuf) -> Self {
        Self { path, offset: 0 }
    }

    /// What has been done since the last call. A journal that is not there yet says nothing.
    pub fn news(&mut self) -> Vec<News> {
        let mut text = Vec::new();
        let read = File::open(&self.path).and_then(|mut file| {
            file.seek(SeekFrom::Start(self.offset))?;
            file.read_to_end(&mut text)
        });
        if read.is_err() {
            return Vec::new();
        }
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        self.offset += whole as u64;
        let lines = text[..whole].split(|byte| *byte == b'\n');
        lines
            .filter_map(|line| serde_json::from_slice(line).ok())
            .filter_map(|entry| News::of(&entry))
            .collect()
    }
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// The agent decided for more servers; its sentence.
    Up(String),
    /// The agent decided for fewer servers; its sentence.
    Down(String),
    /// A server changed.
    Moved(String),
    /// Something did not work.
    Failed(String),
}

impl News {
    /// `None` for entries that are no news to people who watch: holds, single steps.
    fn of(entry: &Value) -> Option<Self> {
        let word = |key: &str| entry[key].as_str().unwrap_or("?").to_owned();
        if let (Some(from), Some(to)) = (entry["from"].as_u64(), entry["to"].as_u64()) {
            let told = |direction: &str| format!("scale {direction}, {from} to {to}: {}", word("reason"));
            return match from.cmp(&to) {
                std::cmp::Ordering::Less => Some(Self::Up(told("up"))),
                std::cmp::Ordering::Greater => Some(Self::Down(told("down"))),
                std::cmp::Ordering::Equal => None,
            };
        }
        match entry["event"].as_str()? {
            "serving" => Some(Self::Moved(format!("{} is warm and serves", word("server")))),
            "in_maint" => Some(Self::Moved(format!("{} is empty and in MAINT", word("server")))),
            "failed" => Some(Self::Failed(format!(
                "{} of {} failed: {}",
                word("step"),
                word("server"),
                word("error")
            ))),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use super::super::folder::TempFolder;
    use super::*;

    #[test]
    fn a_journal_is_read_line_by_whole_line() {
        let folder = TempFolder::create("journal").unwrap();
        let path = folder.path().join("journal.jsonl");
        let mut journal = Journal::new(path.clone());
        assert_eq!(journal.news(), []);
        fs::write(&path, "{\"event\":\"serving\",\"server\":\"s2\"}\nno json\n{\"event\":\"serv").unwrap();
        assert_eq!(journal.news(), [News::Moved("s2 is warm and serves".to_owned())]);
        assert_eq!(journal.news(), []);
        let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"ing\",\"server\":\"s3\"}\n").unwrap();
        assert_eq!(journal.news(), [News::Moved("s3 is warm and serves".to_owned())]);
    }

    #[track_caller]
    fn check(entry: &str, wanted: Option<News>) {
        assert_eq!(News::of(&serde_json::from_str(entry).unwrap()), wanted, "{entry}");
    }

    #[test]
    fn moves_are_news_and_holds_are_not() {
        check(
            r#"{"decision":"scale_up","from":1,"to":2,"reason":"too slow"}"#,
            Some(News::Up("scale up, 1 to 2: too slow".to_owned())),
        );
        check(
            r#"{"decision":"scale_down","from":2,"to":1,"reason":"fast enough"}"#,
            Some(News::Down("scale down, 2 to 1: fast enough".to_owned())),
        );
        check(r#"{"decision":"hold","from":1,"to":1,"reason":"in band"}"#, None);
        check(r#"{"event":"step","step":"drain"}"#, None);
        check(
            r#"{"event":"failed","server":"s2","step":"warm-up","error":"refused"}"#,
            Some(News::Failed("warm-up of s2 failed: refused".to_owned())),
        );
        check("[]", None);
    }
}
