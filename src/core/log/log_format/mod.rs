//! HAProxy's own `log-format` strings, compiled to something that reads the lines they make.
//!
//! In: the string as it stands in `haproxy.cfg`, quotes and backslashes included, or without them. Out: a
//! [`CompiledFormat`]; or why the string cannot be used, and where. The way of a string: `words`
//! takes the quoting off, `nodes` finds text, blanks and items, `items` and `samples` know what an
//! item tells and looks like, `program` makes a list of steps of it, and `probing` reads lines made
//! up from it, to see whether all that is needed can be told apart. `matching` then reads lines, and `dead_ends`
//! knows which ways of reading one come to its end.

mod dead_ends;
mod error;
mod items;
mod json_object;
mod matching;
mod nodes;
pub(super) mod presets;
mod probing;
mod program;
#[cfg(test)]
mod properties;
#[cfg(any(test, feature = "fuzzing"))]
pub mod reference;
mod samples;
mod shape;
pub(crate) mod words;

pub use error::{LogFormatError, LogFormatErrorKind};

use super::error::{ErrorKind, LineError};
use super::field::Field;
use super::gathering::{Gathering, TIMERS, Whole};
use super::line::LogLine;
use items::Target;
use json_object::JsonObject;
use matching::{Found, Stop};
use program::{Program, ValueOf};
use words::Word;

/// A log-format that lines can be read by.
#[derive(Clone, Debug)]
pub struct CompiledFormat {
    layout: Layout,
    has: Has,
    /// Kept, so that a line allocates nothing.
    found: Found,
}

/// How a line is laid out.
#[derive(Clone, Debug)]
enum Layout {
    /// As the log-format has it.
    Text(Program),
    /// One JSON object, `%{+json}o`.
    Json(JsonObject),
}

/// What a format tells.
#[derive(Clone, Copy, Debug, Default)]
struct Has {
    server: bool,
    timer: bool,
    /// Ta or Tt.
    total: bool,
    http: bool,
}

impl CompiledFormat {
    /// Compiles `text`: one word as HAProxy's configuration has it, quoted (`"..."` or `'...'`) or with
    /// backslashes before its blanks; text that is not one word is taken as it is.
    ///
    /// # Errors
    /// It is no log-format, has no backend or no timer, or they cannot be told apart in a line.
    pub fn new(text: &str) -> Result<Self, LogFormatError> {
        Self::of_word(&only_word(text)?)
    }

    /// Compiles a word that HAProxy's quoting has been taken off.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub(super) fn of_word(word: &Word) -> Result<Self, LogFormatError> {
        let format = Self::of_any_word(word)?;
        let end = word.place(word.bytes().len());
        if !format.tells(Target::Field(Field::Backend)) {
            return Err(LogFormatError::new(end, LogFormatErrorKind::NoBackend));
        }
        if !format.has.timer {
            return Err(LogFormatError::new(end, LogFormatErrorKind::NoTimer));
        }
        match &format.layout {
            Layout::Text(program) => probing::probe(program)?,
            Layout::Json(_) => {}
        }
        Ok(format)
    }

    /// Compiles a word that need not tell anything, as `error-log-format` may.
    ///
    /// # Errors
    /// It is no log-format.
    pub(super) fn of_any_word(word: &Word) -> Result<Self, LogFormatError> {
        let nodes = nodes::read(word)?;
        let layout = if nodes.is_json {
            Layout::Json(JsonObject::new(&nodes.list)?)
        } else {
            Layout::Text(Program::new(&nodes.list)?)
        };
        let mut format = Self { layout, has: Has::default(), found: Found::default() };
        let timer = |&field: &Field| format.tells(Target::Field(field));
        format.has = Has {
            server: format.tells(Target::Field(Field::Server)),
            timer: TIMERS.iter().any(timer),
            total: [Field::Ta, Field::Tt].iter().any(timer),
            http: [Field::Status, Field::TR, Field::Tr, Field::Ta, Field::Method, Field::Path]
                .iter()
                .any(timer)
                || format.tells(Target::RequestLine),
        };
        Ok(format)
    }

    fn values(&self) -> &[ValueOf] {
        match &self.layout {
            Layout::Text(program) => &program.values,
            Layout::Json(object) => object.values(),
        }
    }

    fn tells(&self, target: Target) -> bool {
        self.values().iter().any(|value| value.meaning.target == target)
    }

    /// Reads `line`, whose syslog header is `body` bytes long.
    ///
    /// # Errors
    /// If it is not of this format, or can be read in two ways that differ in what is needed.
    pub(super) fn read<'a>(&mut self, line: &'a [u8], body: usize) -> Result<LogLine<'a>, LineError> {
        let text = line[body..].trim_ascii_end();
        match &self.layout {
            Layout::Text(program) => match program.find(text, &mut self.found) {
                Ok(()) => gather(program, self.has, &self.found, text, body),
                Err(stop) => gather_cut(program, self.has, &self.found, text, body, stop),
            },
            Layout::Json(object) => object.read(text, body, self.has),
        }
    }

    /// Whether `line` is of this format, whatever it tells.
    pub(super) fn fits(&mut self, line: &[u8], body: usize) -> bool {
        let text = line[body..].trim_ascii_end();
        match &self.layout {
            Layout::Text(program) => program.find(text, &mut self.found).is_ok(),
            Layout::Json(object) => object.fits(text),
        }
    }
}

/// `text` without its quoting if it is one word of a configuration, else as it is.
fn only_word(text: &str) -> Result<Word, LogFormatError> {
    match words::split(text, &|name| presets::variable(name).into()) {
        Ok(mut words) if words.len() == 1 => Ok(words.remove(0)),
        Err(error) if matches!(error.kind, LogFormatErrorKind::UnknownVariable(_)) => Err(error),
        _ => Ok(Word::plain(text, 0)),
    }
}

/// Whether a sample depends on it, so that a line from which it cannot be told is not understood.
fn is_needed(target: Target) -> bool {
    match target {
        Target::Field(field) => {
            TIMERS.contains(&field)
                || matches!(
                    field,
                    Field::Backend
                        | Field::Server
                        | Field::Frontend
                        | Field::Status
                        | Field::TerminationState
                )
        }
        _ => false,
    }
}

/// Puts a line together of what has been found.
fn gather<'a>(
    program: &Program,
    has: Has,
    found: &Found,
    text: &'a [u8],
    body: usize,
) -> Result<LogLine<'a>, LineError> {
    let mut gathering = Gathering::new();
    for (number, value) in program.values.iter().enumerate() {
        let Some((begin, end)) = found.span(number) else { continue };
        if !found.is_doubtful(number) {
            take(&mut gathering, value, &text[begin..end], body + begin)?;
        } else if let Target::Field(field) = value.meaning.target
            && is_needed(value.meaning.target)
        {
            return Err(LineError::of_field(ErrorKind::Ambiguous, field, body + begin));
        }
    }
    gathering.finish(Whole { has_server: has.server, is_tcp: !has.http, is_truncated: false }, body)
}

/// A line that was cut behind all that is needed is still a line.
fn gather_cut<'a>(
    program: &Program,
    has: Has,
    found: &Found,
    text: &'a [u8],
    body: usize,
    stop: Stop,
) -> Result<LogLine<'a>, LineError> {
    let field = stop.value.and_then(|value| field_of(&program.values[value]));
    let kind = if stop.is_at_end { ErrorKind::Truncated } else { ErrorKind::NotAsConfigured };
    let error = LineError { kind, field, offset: body + stop.offset };
    if !stop.is_at_end {
        return Err(error);
    }
    let mut gathering = Gathering::new();
    for (number, value) in program.values.iter().enumerate() {
        // A value counts as read only with the byte behind it.
        if let Some((begin, end)) = found.span(number).filter(|&(_, end)| end < text.len()) {
            take(&mut gathering, value, &text[begin..end], body + begin)?;
        }
    }
    if !gathering.has_timer(has.total) {
        return Err(error);
    }
    let whole = Whole { has_server: has.server, is_tcp: !has.http, is_truncated: true };
    gathering.finish(whole, body).map_err(|_| error)
}

fn field_of(value: &ValueOf) -> Option<Field> {
    match value.meaning.target {
        Target::Field(field) => Some(field),
        Target::AcceptDate | Target::AcceptSeconds => Some(Field::AcceptDate),
        Target::RequestLine => Some(Field::Method),
        Target::BarePath | Target::Query => Some(Field::Path),
        Target::Nothing => None,
    }
}

/// Takes one value, as it stands at byte `begin`.
fn take<'a>(
    gathering: &mut Gathering<'a>,
    value: &ValueOf,
    text: &'a [u8],
    begin: usize,
) -> Result<(), LineError> {
    let writing = value.meaning.writing;
    let has_escapes = writing.has_backslashes && text.contains(&b'\\');
    match value.meaning.target {
        Target::Nothing => {}
        Target::Query => gathering.take_query(text),
        Target::RequestLine => {
            gathering.take_request_line(text);
            if has_escapes {
                gathering.set_escaped(Field::Path);
            }
        }
        Target::BarePath => take_field(gathering, Field::Path, text, begin, has_escapes)?,
        Target::AcceptDate | Target::AcceptSeconds if is_none(text) => {}
        Target::AcceptDate | Target::AcceptSeconds => {
            gathering.take(Field::AcceptDate, text, begin)?;
            gathering.set_accept_date();
        }
        Target::Field(Field::ClientPort) if writing.is_hex => {}
        Target::Field(field) => take_field(gathering, field, text, begin, has_escapes)?,
    }
    Ok(())
}

fn take_field<'a>(
    gathering: &mut Gathering<'a>,
    field: Field,
    text: &'a [u8],
    begin: usize,
    has_escapes: bool,
) -> Result<(), LineError> {
    if let Some(text) = meant(field, text) {
        gathering.take(field, text, begin)?;
    }
    if has_escapes {
        gathering.set_escaped(field);
    }
    Ok(())
}

/// HAProxy's sign for nothing.
fn is_none(text: &[u8]) -> bool {
    matches!(text, b"" | b"-")
}

/// What `text` means for `field`; `None` if it stands for nothing.
fn meant(field: Field, text: &[u8]) -> Option<&[u8]> {
    match field {
        // `-` in a cookie is what httplog has there too.
        Field::RequestCookie | Field::ResponseCookie => Some(if text.is_empty() { b"-" } else { text }),
        Field::RequestCaptures | Field::ResponseCaptures => {
            text.strip_prefix(b"{").and_then(|inner| inner.strip_suffix(b"}"))
        }
        // No server was chosen, where `%[srv_name]` writes nothing and `%s` has a word for it.
        Field::Server if is_none(text) => Some(b"<NOSRV>"),
        Field::Backend if is_none(text) => Some(b"-"),
        _ if is_none(text) => None,
        _ => Some(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::log::field::Value;
    use crate::core::log::format::{Line, LineFormat};
    use crate::core::log::parser::LineParser;

    /// The fields of `line` as `name=value`; or why it is not understood.
    fn fields(format: &str, line: &str) -> String {
        let compiled = CompiledFormat::new(format).unwrap_or_else(|error| panic!("{error}: {format}"));
        let mut parser = LineParser::new(LineFormat::Compiled(Box::new(compiled)));
        let request = match parser.read(line.as_bytes()) {
            Line::Request(request) => request,
            Line::Message(message) => return format!("message {}", String::from_utf8_lossy(message.text)),
            Line::Unparsed(error) => return error.to_string(),
        };
        let mut found = Vec::new();
        for field in Field::ALL {
            match request.value(field) {
                Some(Value::Text(text)) => found.push(format!("{field}={}", String::from_utf8_lossy(text))),
                Some(Value::Number(number)) => found.push(format!("{field}={number}")),
                Some(Value::Flag(true)) => found.push(field.to_string()),
                Some(Value::Flag(false)) | None => {}
            }
        }
        if request.partial {
            found.push("partial".to_owned());
        }
        if request.is_truncated() {
            found.push("truncated".to_owned());
        }
        found.join(" ")
    }

    #[track_caller]
    fn check(format: &str, line: &str, expected: &str) {
        assert_eq!(fields(format, line), expected, "{line}");
    }

    const KEY_VALUE: &str =
        r#"'ci=%ci ft=%ft be=%b srv=%s Tr=%Tr Ta=%Ta st=%ST ua="%[capture.req.hdr(0)]" bc=%bc'"#;

    #[test]
    fn a_line_is_read_by_the_format_it_was_written_by() {
        check(
            KEY_VALUE,
            r#"ci=::1 ft=fe~ be=app srv=s1 Tr=-1 Ta=+12 st=200 ua="x "quoted" y" bc=3"#,
            "client_ip=::1 frontend=fe ssl backend=app server=s1 Ta=12 status=200 beconn=3 partial",
        );
        check(
            "%ci:%cp\\ [%tr]\\ %ft\\ %b/%s\\ %Ta\\ %hr\\ %hs\\ %{+Q}r",
            r#"2001:db8::9:5555 [21/Nov/2026:09:31:50.191] fe app/s1 12 {a|b} "GET /x HTTP/1.1""#,
            "client_ip=2001:db8::9 client_port=5555 accept_date=21/Nov/2026:09:31:50.191 frontend=fe backend=app \
             server=s1 Ta=12 request_captures=a|b method=GET path=/x http_version=HTTP/1.1",
        );
        check(
            r#""{\"be\":\"%[be_name]\",\"s\":\"%[srv_name]\",\"t\":%[txn.timer.total],\"u\":\"%[capture.req.uri,json(utf8s)]\"}""#,
            r#"{"be":"app","s":"-","t":12,"u":"\/a\"b"}"#,
            r#"backend=app server=<NOSRV> Ta=12 path=/a"b"#,
        );
        // Without captures all of it could be the cookie.
        check(
            "%{+Q}o %b %s %Ta %hr %hs %CC",
            r#""app" "s1" 12 "{a|b}" "{c}" "S=1""#,
            "backend=app server=s1 Ta=12",
        );
        check("%hr {%b} %s %Ta", "{} {app} s1 12", "backend=app server=s1 Ta=12 request_captures=");
        check("%{+X}Ts%{+X}rt %b %s %Ta", "7F00A app s1 12", "backend=app server=s1 Ta=12");
        check(
            "%b %s %Ta %[capture.req.hdr(0),base64] %[capture.req.hdr(0),hex] %[capture.req.hdr(0)]",
            "app s1 12 YS1i 612D62 a-b",
            "backend=app server=s1 Ta=12",
        );
        check(
            r#"%HP%HQ|%b|%s|%Tt|%{+Q,+E}[capture.req.hdr(0)]|%Ts.%ms"#,
            r#"/a?b=c|app|s1|7|"x\"|\\"|1795253510.191"#,
            "accept_date=1795253510.191 backend=app server=s1 Tt=7 path=/a?b=c",
        );
    }

    #[test]
    fn a_json_object_of_haproxys_is_read_by_its_names() {
        let format = r#""%{+json}o %(client)ci %(be)b %(srv)s %(st:str)ST %(t)Ta %(req)r %(h)hr""#;
        check(
            format,
            r#"{"client": "::1", "be": "app", "srv": "s1", "st": "200", "t": 12, "req": "GET /a\\b?c=#22 HTTP/1.1", "h": "{lab|x}"}"#,
            r"client_ip=::1 backend=app server=s1 Ta=12 status=200 request_captures=lab|x method=GET path=/a\b?c=#22 http_version=HTTP/1.1",
        );
        check(
            format,
            r#"{"client": "::1", "be": "app", "srv": "s1", "st": "200", "t": 12, "req": "GET /a"#,
            "client_ip=::1 backend=app server=s1 Ta=12 status=200 truncated",
        );
        check(
            format,
            r#"{"client": "::1", "other": 1}"#,
            "line from byte 27 is not as the configured log-format says",
        );
    }

    #[test]
    fn what_a_client_writes_into_a_raw_value_cannot_forge_others() {
        let forged = r#"ci=::1 ft=fe be=app srv=s1 Tr=3 Ta=12 st=200 ua="x" bc=9 ua="y" bc=3"#;
        check(
            KEY_VALUE,
            forged,
            "client_ip=::1 frontend=fe backend=app server=s1 Tr=3 Ta=12 status=200 beconn=3",
        );
        let middle = "%[var(txn.a)] be=%b s=%s Ta=%Ta %[var(txn.b)]";
        check(middle, "x y be=app s=s1 Ta=7 z", "backend=app server=s1 Ta=7");
        check(
            middle,
            "x be=app s=s1 Ta=7 be=app s=s2 Ta=8 z",
            "field backend at byte 5 can be read in two ways",
        );
    }

    #[test]
    fn a_line_that_was_cut_keeps_what_is_complete() {
        let line = r#"ci=::1 ft=fe be=app srv=s1 Tr=3 Ta=12 st=200 ua="x" bc=3"#;
        let complete = line.find(" st=").expect("a status");
        for end in 1..line.len() {
            let found = fields(KEY_VALUE, &line[..end]);
            let is_read = found.ends_with("truncated") || end == line.len();
            // White space at the end says nothing.
            assert_eq!(is_read, end > complete + 1, "{found}: {}", &line[..end]);
            assert!(!is_read || found.contains("backend=app server=s1 Tr=3 Ta=12"), "{found}");
        }
    }

    #[test]
    fn what_is_not_of_the_format_is_named_with_its_place() {
        check(
            KEY_VALUE,
            "ci=::1 ft=fe be=a\"pp",
            "field backend at byte 17 is not as the configured log-format says",
        );
        check(
            KEY_VALUE,
            "ci=::1 ft=fe be=app srv=s1 Tr=x",
            "field Tr at byte 30 is not as the configured log-format says",
        );
        check(KEY_VALUE, "ci=::1 ft=fe be=ap", "line ends at byte 18 before field backend is complete");
        check(KEY_VALUE, "nonsense", "line from byte 0 is not as the configured log-format says");
        check(KEY_VALUE, "Server be/s1 is DOWN.", "message Server be/s1 is DOWN.");
        let handshake = "::1:5 [21/Nov/2026:09:32:15.896] fe/1: SSL handshake failure";
        check(KEY_VALUE, handshake, &format!("message {handshake}"));
    }

    #[track_caller]
    fn check_refused(format: &str, expected: &str) {
        let error = CompiledFormat::new(format).expect_err(format).to_string();
        assert!(error.starts_with(expected), "{error}\nof {format}");
    }

    #[test]
    fn a_format_in_which_needed_fields_cannot_be_told_apart_is_refused() {
        for (format, position, item) in [
            ("%b%s %Ta", 0, "%b"),
            ("\"x %b-%s %Ta\"", 3, "%b"),
            ("%b.%s\\ %Ta", 0, "%b"),
            ("%b/%s %Tw%Tc", 6, "%Tw"),
            ("%b/%s%ST %Ta", 3, "%s"),
            ("%[req.hdr(a)]%b/%s %Ta", 13, "%b"),
            ("%[var(txn.a)] %s %[var(txn.b)] %b %Ta", 14, "%s"),
        ] {
            check_refused(format, &format!("at byte {position}: `{item}` cannot be told apart from what"));
        }
        check_refused("%s %Ta", "the log-format does not tell the backend");
        check_refused("%b/%s", "the log-format has no timer");
        check_refused("%b/%s %Ta %Xy", "at byte 10: HAProxy has no item `%Xy`");
        check_refused("\"%b/%s %Ta $X\"", "at byte 11: the environment variable `X` is not known here");
    }

    #[test]
    fn values_that_look_hard_can_still_be_told_apart() {
        for format in [
            "%ci:%cp %b %Ta",
            "%s:%sp %b %Ta",
            "%r %b/%s %Ta",
            "%b/%s %Tw-%Tc",
            "%b/%s %Ta%tsc",
            "%CC %CS %b/%s %Ta",
            "%b/%s %Ta %{+Q}hrl %{+Q}r",
            "%[var(txn.a)] be=%b %[var(txn.b)] s=%s %[var(txn.c)] Ta=%Ta %[var(txn.d)]",
        ] {
            assert!(CompiledFormat::new(format).is_ok(), "{format}");
        }
    }
}
