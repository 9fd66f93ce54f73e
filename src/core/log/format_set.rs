//! Several formats in one stream, each with the frontends whose lines are in it.
//!
//! In: a line. Out: what it is, by the format of its frontend. The frontend stands in the line, so the
//! formats are tried, that of the line before first, until the one that reads the line is that of the
//! frontend it reads. A format that does not tell the frontend is believed where no other is sure.

use std::collections::HashSet;
use std::fmt;

use super::error::LineError;
use super::format::{Line, LineFormat};
use super::line::LogLine;
use super::log_format::{CompiledFormat, LogFormatError};
use super::message::Message;

/// The formats of a stream.
#[derive(Clone, Debug, Default)]
pub struct FormatSet {
    formats: Vec<OfFrontends>,
    /// What `error-log-format` makes of connections that died, and of requests that were none.
    of_errors: Vec<CompiledFormat>,
    /// Those that cannot be read: their lines are not understood.
    refused: Vec<RefusedFormat>,
    /// Which format the last line had.
    last: usize,
}

/// A format that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedFormat {
    /// Its line in HAProxy's configuration, from 1.
    pub line: usize,
    /// Whose it is; empty for that of a log-profile.
    pub frontends: Vec<String>,
    /// Why.
    pub error: LogFormatError,
}

impl fmt::Display for RefusedFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.error)?;
        if !self.frontends.is_empty() {
            write!(f, " (frontend {})", self.frontends.join(", "))?;
        }
        Ok(())
    }
}

/// A format, and whose it is.
#[derive(Clone, Debug)]
struct OfFrontends {
    format: LineFormat,
    frontends: HashSet<Box<[u8]>>,
}

impl FormatSet {
    /// Adds `format` as that of `frontends`; of none, if their names are not known.
    pub fn add(&mut self, format: LineFormat, frontends: impl IntoIterator<Item = String>) {
        let frontends = frontends.into_iter().map(|name| name.into_bytes().into_boxed_slice()).collect();
        self.formats.push(OfFrontends { format, frontends });
    }

    /// Adds a format whose lines are no requests.
    pub(super) fn add_of_errors(&mut self, format: CompiledFormat) {
        self.of_errors.push(format);
    }

    /// Notes a format that cannot be read.
    pub(super) fn add_refused(&mut self, format: RefusedFormat) {
        self.refused.push(format);
    }

    /// The formats that cannot be read.
    pub fn refused(&self) -> &[RefusedFormat] {
        &self.refused
    }

    /// How many formats there are.
    pub fn len(&self) -> usize {
        self.formats.len()
    }

    /// There is no format of requests.
    pub fn is_empty(&self) -> bool {
        self.formats.is_empty()
    }

    /// Says what `line` is, whose syslog header is `body` bytes long.
    pub(super) fn read<'a>(&mut self, line: &'a [u8], body: usize) -> Line<'a> {
        let (mut unsure, mut furthest) = (None, None);
        for number in in_order(self.last, self.formats.len()) {
            match self.formats[number].read(line, body) {
                Read::Sure(read) => {
                    self.last = number;
                    return read;
                }
                // The first one without a frontend, or else the first one of another frontend's.
                Read::Unsure(request) => {
                    let is_better =
                        |known: &LogLine<'_>| known.frontend.is_some() && request.frontend.is_none();
                    if unsure.as_ref().is_none_or(is_better) {
                        unsure = Some(request);
                    }
                }
                Read::Not(error) => {
                    if furthest.is_none_or(|furthest: LineError| furthest.offset < error.offset) {
                        furthest = Some(error);
                    }
                }
            }
        }
        if let Some(request) = unsure {
            return Line::Request(request);
        }
        if self.of_errors.iter_mut().any(|format| format.fits(line, body)) {
            return Line::Message(Message::of_unknown(&line[body..]));
        }
        // Another HAProxy may log to the same place, in a format that everybody knows.
        match (LineFormat::Auto.read_body(line, body), furthest) {
            (Line::Unparsed(_), Some(error)) => Line::Unparsed(error),
            (read, _) => read,
        }
    }
}

/// What a format makes of a line.
enum Read<'a> {
    /// It is of this format: its frontend is, or it is no request.
    Sure(Line<'a>),
    /// It can be read by this format, but its frontend has another, or the format does not tell it.
    Unsure(LogLine<'a>),
    Not(LineError),
}

impl OfFrontends {
    fn read<'a>(&mut self, line: &'a [u8], body: usize) -> Read<'a> {
        match self.format.read_body(line, body) {
            Line::Request(request) if request.frontend.is_some_and(|name| self.frontends.contains(name)) => {
                Read::Sure(Line::Request(request))
            }
            Line::Request(request) => Read::Unsure(request),
            Line::Message(message) => Read::Sure(Line::Message(message)),
            Line::Unparsed(error) => Read::Not(error),
        }
    }
}

/// `first`, then all others below `count`.
fn in_order(first: usize, count: usize) -> impl Iterator<Item = usize> {
    let others = (0..count).filter(move |&number| number != first);
    Some(first).filter(|&first| first < count).into_iter().chain(others)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compiled(text: &str) -> LineFormat {
        LineFormat::Compiled(Box::new(CompiledFormat::new(text).unwrap()))
    }

    fn set() -> LineFormat {
        let mut set = FormatSet::default();
        set.add(LineFormat::Http, ["web".to_owned()]);
        // The same shape for two frontends, with another timer.
        set.add(compiled("%f %b/%s %Tr"), ["api".to_owned()]);
        set.add(compiled("%f %b/%s %Ta"), ["cdn".to_owned()]);
        set.add(compiled("anonymous %b/%s %Ta"), ["other".to_owned()]);
        LineFormat::Set(Box::new(set))
    }

    #[track_caller]
    fn check(format: &mut LineFormat, line: &str, expected: &str) {
        let found = match format.read(line.as_bytes()) {
            Line::Request(line) => {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                let timer = line.timers.get(crate::core::settings::Timer::Tr).map_or("Ta", |_| "Tr");
                format!("{}/{} {timer}", text(line.backend), text(line.server))
            }
            Line::Message(_) => "message".to_owned(),
            Line::Unparsed(error) => error.to_string(),
        };
        assert_eq!(found, expected, "{line}");
    }

    #[test]
    fn each_line_is_read_by_the_format_of_its_frontend() {
        let mut format = set();
        for _ in 0..2 {
            check(&mut format, "api app/s1 12", "app/s1 Tr");
            check(&mut format, "cdn app/s1 12", "app/s1 Ta");
            check(&mut format, "anonymous app/s1 12", "app/s1 Ta");
            check(
                &mut format,
                "1.2.3.4:5 [21/Nov/2026:09:31:50.191] web be/s 0/0/0/1/1 200 7 - - ---- 1/1/0/0/0 0/0 \"GET /\"",
                "be/s Tr",
            );
            check(&mut format, "Server be/s is DOWN.", "message");
        }
    }

    #[test]
    fn a_line_of_nobodys_is_read_as_well_as_can_be() {
        let mut format = set();
        check(&mut format, "unknown app/s1 12", "app/s1 Tr");
        check(
            &mut format,
            "1.2.3.4:5 [21/Nov/2026:09:31:50.191] sql db/d1 0/0/9 7 -- 1/1/0/0/0 0/0",
            "db/d1 Ta",
        );
        check(&mut format, "api app/s1 x", "field Tr at byte 11 is not as the configured log-format says");
    }
}
