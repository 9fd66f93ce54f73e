//! What HAProxy's configuration leaves out of the log, or writes more than once.
//!
//! In: the text of `haproxy.cfg`. Out: the lines of it that do so, in their order. Whether a section
//! matters to anybody, and whether a later line takes it back, is left to whoever reads them.

use std::fmt;

use super::log_format::words::{self, Variable, Word};

/// A line of HAProxy's configuration by which the log is not one line for each request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Omission {
    /// Its number, from 1.
    pub line: usize,
    /// The section it stands in, such as `frontend web`.
    pub section: String,
    /// What it does.
    pub what: What,
}

/// What a line of HAProxy's configuration does to the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// `option dontlog-normal`: only errors, retries and redispatches are logged.
    OnlyErrors,
    /// `log ... sample 1:10 ...`: a share is logged, as it is written there.
    Sample(String),
    /// `http-request set-log-level silent` and its kin: some are not logged.
    Silent,
    /// `log-steps` other than `close`: a request has several lines.
    Steps(String),
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OnlyErrors => f.write_str("`option dontlog-normal` logs only what went wrong"),
            Self::Sample(sample) => write!(f, "`sample {sample}` logs a share of the requests"),
            Self::Silent => f.write_str("`set-log-level silent` leaves requests out"),
            Self::Steps(steps) => write!(f, "`log-steps {steps}` logs a request several times"),
        }
    }
}

/// Reads `text`. What a line has from the environment is not looked at.
pub fn read(text: &str) -> Vec<Omission> {
    const SECTIONS: [&str; 5] = ["global", "defaults", "frontend", "listen", "backend"];
    let mut section = String::new();
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let Ok(words) = words::split(line, &|_| Variable::Unset) else { continue };
        let texts: Vec<&str> = words.iter().map(Word::text).collect();
        match texts.as_slice() {
            [name, rest @ ..] if SECTIONS.contains(name) => section = [&[*name], rest].concat().join(" "),
            texts => found.extend(what(texts).map(|what| Omission {
                line: number + 1,
                section: section.clone(),
                what,
            })),
        }
    }
    found
}

fn what(texts: &[&str]) -> Option<What> {
    let after = |word: &str| texts.iter().position(|&text| text == word).and_then(|at| texts.get(at + 1));
    match texts {
        ["option", "dontlog-normal", ..] => Some(What::OnlyErrors),
        ["log", ..] => after("sample").map(|&sample| What::Sample(sample.to_owned())),
        ["http-request" | "http-response" | "http-after-response" | "tcp-request" | "tcp-response", ..]
            if after("set-log-level") == Some(&"silent") =>
        {
            Some(What::Silent)
        }
        ["log-steps", steps, ..] if *steps != "close" => Some(What::Steps((*steps).to_owned())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_one_line_for_each_request_is_found_with_its_place() {
        let text = "\
global
    log 127.0.0.1:514 len 4096 sample 2-3:11 local0
defaults web
    option dontlog-normal # errors only
    no option dontlog-normal
    option dontlognull
frontend fe
    log global
    http-request set-log-level silent if { path /health }
    http-request set-log-level err if { path /x }
    log-steps close
listen li
    log-steps request,close
";
        let found: Vec<_> =
            read(text).iter().map(|o| format!("{} {}: {}", o.line, o.section, o.what)).collect();
        assert_eq!(
            found,
            [
                "2 global: `sample 2-3:11` logs a share of the requests",
                "4 defaults web: `option dontlog-normal` logs only what went wrong",
                "9 frontend fe: `set-log-level silent` leaves requests out",
                "13 listen li: `log-steps request,close` logs a request several times",
            ]
        );
    }
}
