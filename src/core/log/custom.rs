//! A configured regex with named groups, for logs in a format of somebody's own.
//!
//! The groups are named like the fields of a line: `backend` and `server` are required, and at
//! least one of the timers `TR Tw Tc Tr Ta Tt`; `date` is short for `accept_date`. The regex is
//! tried on what follows the syslog header, and if that does not match on the whole line.

use std::fmt;

use regex::bytes::{CaptureLocations, Regex};

use super::cursor::Cursor;
use super::date::Date;
use super::ending::is_state;
use super::error::{ErrorKind, LineError};
use super::field::Field;
use super::head::is_name_byte;
use super::line::{Counters, LogLine, Request, Rest};
use super::sample::Timers;
use super::timers::saturating;

/// A regex that is good for reading lines.
#[derive(Clone, Debug)]
pub struct CustomFormat {
    regex: Regex,
    /// Which field each group is; the whole match and unnamed groups are none.
    groups: Vec<Option<Field>>,
    /// Kept, so that a line allocates nothing.
    found: CaptureLocations,
}

/// By the pattern: everything else follows from it.
impl PartialEq for CustomFormat {
    fn eq(&self, other: &Self) -> bool {
        self.regex.as_str() == other.regex.as_str()
    }
}

/// Why a regex cannot be used.
#[derive(Clone, Debug, PartialEq)]
pub enum CustomFormatError {
    /// It is no regex.
    Regex(regex::Error),
    /// This group is required.
    Missing(Field),
    /// One of the timers is required.
    NoTimer,
    /// No field has the name of this group.
    UnknownGroup(String),
    /// Two groups are the same field.
    Twice(Field),
}

const TIMERS: [Field; 6] = [Field::TR, Field::Tw, Field::Tc, Field::Tr, Field::Ta, Field::Tt];

/// Fields that a group may be; the rest comes from httpslog only.
const ALLOWED: [Field; 31] = [
    Field::ClientIp,
    Field::ClientPort,
    Field::AcceptDate,
    Field::Frontend,
    Field::Backend,
    Field::Server,
    Field::TR,
    Field::Tw,
    Field::Tc,
    Field::Tr,
    Field::Ta,
    Field::Tt,
    Field::Status,
    Field::Bytes,
    Field::RequestCookie,
    Field::ResponseCookie,
    Field::TerminationState,
    Field::Actconn,
    Field::Feconn,
    Field::Beconn,
    Field::SrvConn,
    Field::Retries,
    Field::SrvQueue,
    Field::BackendQueue,
    Field::RequestCaptures,
    Field::ResponseCaptures,
    Field::Method,
    Field::Path,
    Field::HttpVersion,
    Field::Ssl,
    Field::Redispatched,
];

impl CustomFormat {
    /// What groups may be called.
    pub fn group_names() -> Vec<String> {
        ALLOWED.iter().map(Field::to_string).collect()
    }

    /// Checks `pattern` and the names of its groups.
    ///
    /// # Errors
    /// If it is no regex, a group has no field's name, or a required group is missing.
    pub fn new(pattern: &str) -> Result<Self, CustomFormatError> {
        let regex = Regex::new(pattern).map_err(CustomFormatError::Regex)?;
        let groups = regex
            .capture_names()
            .map(|name| name.map(group_field).transpose())
            .collect::<Result<Vec<_>, CustomFormatError>>()?;
        let count = |field| groups.iter().filter(|&&group| group == Some(field)).count();
        if let Some(twice) = ALLOWED.into_iter().find(|&field| count(field) > 1) {
            return Err(CustomFormatError::Twice(twice));
        }
        if let Some(missing) = [Field::Backend, Field::Server].into_iter().find(|&field| count(field) == 0) {
            return Err(CustomFormatError::Missing(missing));
        }
        if TIMERS.into_iter().all(|timer| count(timer) == 0) {
            return Err(CustomFormatError::NoTimer);
        }
        let found = regex.capture_locations();
        Ok(Self { regex, groups, found })
    }

    /// Reads `line`, whose syslog header is `body` bytes long.
    ///
    /// # Errors
    /// If the regex does not match, or a group holds something its field cannot be.
    pub(super) fn read<'a>(&mut self, line: &'a [u8], body: usize) -> Result<LogLine<'a>, LineError> {
        let no_match = LineError::of_line(ErrorKind::NoMatch, body);
        let base = if self.regex.captures_read(&mut self.found, &line[body..]).is_some() {
            body
        } else {
            self.regex.captures_read(&mut self.found, line).map(|_| 0).ok_or(no_match)?
        };
        let mut read = GroupReader::new(line);
        for (group, field) in self.groups.iter().enumerate() {
            let (Some(field), Some((begin, end))) = (*field, self.found.get(group)) else {
                continue;
            };
            read.take(field, base + begin, base + end)?;
        }
        read.finish(base)
    }
}

/// Group names are field names; `date` is the one that people guess first.
fn group_field(name: &str) -> Result<Field, CustomFormatError> {
    let field = if name == "date" { Some(Field::AcceptDate) } else { Field::from_name(name) };
    field
        .filter(|field| ALLOWED.contains(field))
        .ok_or_else(|| CustomFormatError::UnknownGroup(name.to_owned()))
}

/// Fills a line, group by group.
struct GroupReader<'a> {
    text: &'a [u8],
    line: LogLine<'a>,
    /// TR, Tw, Tc, Tr, Ta, Tt.
    timers: [i32; 6],
    request: Request<'a>,
    captures: [Option<&'a [u8]>; 2],
}

impl<'a> GroupReader<'a> {
    fn new(text: &'a [u8]) -> Self {
        let line = LogLine {
            client_ip: None,
            client_port: None,
            date: None,
            frontend: None,
            ssl: false,
            backend: b"",
            server: b"",
            timers: Timers::new([-1; 5]),
            partial: false,
            status: None,
            bytes: None,
            request_cookie: None,
            response_cookie: None,
            termination_state: None,
            counters: Counters::default(),
            rest: Rest::Http(b""),
        };
        Self { text, line, timers: [-1; 6], request: Request::default(), captures: [None; 2] }
    }

    /// Takes bytes `begin..end` of the text as `field`.
    fn take(&mut self, field: Field, begin: usize, end: usize) -> Result<(), LineError> {
        let text = self.text.get(begin..end).unwrap_or_default();
        let wrong = |kind| LineError::of_field(kind, field, begin);
        match field {
            Field::AcceptDate => {
                self.line.date = Some(Date::from_any(text).ok_or(wrong(ErrorKind::NotADate))?);
                Ok(())
            }
            Field::TerminationState if !is_state(text, 2) && !is_state(text, 4) => {
                Err(wrong(ErrorKind::NotAState))
            }
            _ if self.take_text(field, text) => Ok(()),
            _ => {
                let (digits, has_plus) =
                    text.strip_prefix(b"+").map_or((text, false), |digits| (digits, true));
                let number = whole_number(digits).map_err(|()| {
                    wrong(if TIMERS.contains(&field) {
                        ErrorKind::NotMilliseconds
                    } else {
                        ErrorKind::NotANumber
                    })
                })?;
                self.take_number(field, number, has_plus).map_err(|()| wrong(ErrorKind::OutOfRange))
            }
        }
    }

    /// `false` if it is not a field of text.
    fn take_text(&mut self, field: Field, text: &'a [u8]) -> bool {
        let line = &mut self.line;
        match field {
            Field::ClientIp => line.client_ip = Some(text),
            Field::Frontend => {
                line.ssl |= text.ends_with(b"~");
                line.frontend = Some(text.strip_suffix(b"~").unwrap_or(text));
            }
            Field::Ssl => line.ssl |= !text.is_empty(),
            Field::Backend => line.backend = text,
            Field::Server => line.server = text,
            Field::RequestCookie => line.request_cookie = Some(text),
            Field::ResponseCookie => line.response_cookie = Some(text),
            Field::TerminationState => line.termination_state = Some(text),
            Field::Redispatched => line.counters.redispatched |= !text.is_empty(),
            Field::RequestCaptures => self.captures[0] = Some(text),
            Field::ResponseCaptures => self.captures[1] = Some(text),
            Field::Method => self.request.method = Some(text),
            Field::Path => self.request.path = Some(text),
            Field::HttpVersion => self.request.http_version = Some(text),
            _ => return false,
        }
        true
    }

    /// # Errors
    /// If the number cannot be that field.
    fn take_number(&mut self, field: Field, number: i64, has_plus: bool) -> Result<(), ()> {
        if let Some(timer) = TIMERS.into_iter().position(|timer| timer == field) {
            self.timers[timer] = saturating(number);
            self.line.partial |= has_plus;
            return Ok(());
        }
        let (line, out_of_range) = (&mut self.line, |_| ());
        match field {
            Field::Status => {
                line.status = match number {
                    -1 | 0 => None,
                    100..=999 => Some(number as u16),
                    _ => return Err(()),
                }
            }
            Field::ClientPort => line.client_port = Some(u16::try_from(number).map_err(out_of_range)?),
            Field::Bytes => line.bytes = Some(u64::try_from(number).map_err(out_of_range)?),
            _ => {
                let count = Some(u32::try_from(number).map_err(out_of_range)?);
                match field {
                    Field::Actconn => line.counters.actconn = count,
                    Field::Feconn => line.counters.feconn = count,
                    Field::Beconn => line.counters.beconn = count,
                    Field::SrvConn => line.counters.srv_conn = count,
                    Field::SrvQueue => line.counters.srv_queue = count,
                    Field::BackendQueue => line.counters.backend_queue = count,
                    Field::Retries => {
                        line.counters.retries = count;
                        line.counters.redispatched |= has_plus;
                    }
                    // No other field is allowed as a group.
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// The line, if both names are there: an optional group may not have matched.
    fn finish(mut self, base: usize) -> Result<LogLine<'a>, LineError> {
        for (field, name) in [(Field::Backend, self.line.backend), (Field::Server, self.line.server)] {
            if name.is_empty() || !name.iter().copied().all(is_name_byte) {
                return Err(LineError::of_field(ErrorKind::NotAName, field, base));
            }
        }
        let [request, queue, connect, response, active, total] = self.timers;
        let (last, last_timer) = if active >= 0 { (active, Field::Ta) } else { (total, Field::Tt) };
        self.line.timers = Timers::new([request, queue, connect, response, last]);
        self.line.rest = Rest::Custom { request: self.request, captures: self.captures, last_timer };
        Ok(self.line)
    }
}

/// The number that is all of `text`; 18 digits always fit.
fn whole_number(text: &[u8]) -> Result<i64, ()> {
    let mut cursor = Cursor::new(text, 0);
    // Which field it is matters to the caller's error only.
    let number = cursor.last_number(Field::Bytes, ErrorKind::NotANumber).map_err(|_| ())?;
    if cursor.rest().is_empty() { Ok(number) } else { Err(()) }
}

impl fmt::Display for CustomFormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Regex(_) => f.write_str("cannot read the regex"),
            Self::Missing(field) => write!(f, "the regex has no group named `{field}`"),
            Self::NoTimer => f.write_str(
                "the regex has no group named after a timer: `TR`, `Tw`, `Tc`, `Tr`, `Ta` or `Tt`",
            ),
            Self::UnknownGroup(name) => write!(f, "no field of a log line is named like the group `{name}`"),
            Self::Twice(field) => write!(f, "the regex has two groups for the field `{field}`"),
        }
    }
}

impl std::error::Error for CustomFormatError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Regex(error) => Some(error),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::log::format::{Line, LineFormat};
    use crate::core::settings::Timer;

    #[track_caller]
    fn check_refused(pattern: &str, expected: &str) {
        let error = CustomFormat::new(pattern).expect_err(pattern);
        assert_eq!(error.to_string(), expected, "{pattern}");
    }

    #[test]
    fn a_regex_without_what_is_needed_is_refused() {
        check_refused("(?P<server>x)(?P<Ta>y)", "the regex has no group named `backend`");
        check_refused("(?P<backend>x)(?P<Ta>y)", "the regex has no group named `server`");
        check_refused(
            "(?P<backend>x)(?P<server>y)",
            "the regex has no group named after a timer: `TR`, `Tw`, `Tc`, `Tr`, `Ta` or `Tt`",
        );
        check_refused(
            "(?P<backend>x)(?P<server>y)(?P<timr>z)",
            "no field of a log line is named like the group `timr`",
        );
        check_refused(
            "(?P<backend>x)(?P<server>y)(?P<date>z)(?P<accept_date>z)(?P<Ta>z)",
            "the regex has two groups for the field `accept_date`",
        );
        check_refused("(?P<backend>", "cannot read the regex");
    }

    /// The format of these tests: `backend server Ta status state`, the last two optional.
    fn format() -> LineFormat {
        let pattern = r"^(?P<backend>\S+) (?P<server>\S*) (?P<Ta>\S+)(?: (?P<status>\S+))?(?: (?P<termination_state>\S+))?$";
        LineFormat::Custom(Box::new(CustomFormat::new(pattern).unwrap()))
    }

    #[track_caller]
    fn check_error(text: &str, expected: &str) {
        match format().read(text.as_bytes()) {
            Line::Unparsed(error) => assert_eq!(error.to_string(), expected, "{text}"),
            other => panic!("{other:?}: {text}"),
        }
    }

    #[test]
    fn an_optional_group_may_be_missing() {
        for (text, status) in [("app a1 +12 200 ----", Some(200)), ("app a1 +12", None)] {
            for header in ["", "Nov 21 09:55:39 vm haproxy[20463]: "] {
                let text = format!("{header}{text}");
                let Line::Request(line) = format().read(text.as_bytes()) else { panic!("{text}") };
                assert_eq!((line.backend, line.server, line.status), (&b"app"[..], &b"a1"[..], status));
                assert_eq!((line.timers.get(Timer::Tt), line.partial), (Some(12), true));
            }
        }
    }

    #[test]
    fn what_a_group_cannot_hold_is_named() {
        check_error("app a1 12ms", "field Ta at byte 7 is not a whole number of milliseconds");
        check_error("app a1 +", "field Ta at byte 7 is not a whole number of milliseconds");
        check_error("app a1 12 99", "field status at byte 10 is out of range");
        check_error("app a1 12 200 ---", "field termination_state at byte 14 is not a termination state");
        check_error("app  12", "field server at byte 0 is not a name");
        check_error("a\"pp a1 12", "field backend at byte 0 is not a name");
        check_error("app a1", "line from byte 0 does not match the configured regex");
    }

    #[test]
    fn a_message_is_still_a_message() {
        let line = b"Nov 21 09:55:39 vm haproxy[20463]: Server be/s1 is DOWN, changed from CLI.";
        assert!(matches!(format().read(line), Line::Message(_)));
    }
}
