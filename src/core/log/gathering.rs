//! Puts a line together from fields that were found one by one, in any order.
//!
//! In: a field and the bytes it was found to have, for a configured regex or log-format. Out: a
//! [`LogLine`]; or the field that cannot be what it was found to be.

use super::cursor::Cursor;
use super::date::Date;
use super::ending::is_state;
use super::error::{ErrorKind, LineError};
use super::field::Field;
use super::head::is_name_byte;
use super::line::{LogLine, Picked, Request, Rest};
use super::sample::Timers;
use super::timers::saturating;

/// The timers, in the order of [`Gathering::timers`].
pub(super) const TIMERS: [Field; 7] =
    [Field::Tq, Field::TR, Field::Tw, Field::Tc, Field::Tr, Field::Ta, Field::Tt];

/// What HAProxy writes for what could not be read as a request.
pub(super) const BAD_REQUEST: &[u8] = b"<BADREQ>";

/// A line that is being filled.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gathering<'a> {
    line: LogLine<'a>,
    /// By [`TIMERS`], -1 for those that did not happen.
    timers: [i32; 7],
    picked: Picked<'a>,
    /// The date is that of the accept.
    is_accept_date: bool,
}

/// What a whole line must have, and what is known of it beside its fields.
#[derive(Clone, Copy, Debug)]
pub(super) struct Whole {
    /// The format has a server.
    pub(super) has_server: bool,
    pub(super) is_tcp: bool,
    /// The line was cut; what was found stands before the cut.
    pub(super) is_truncated: bool,
}

impl<'a> Gathering<'a> {
    /// Nothing yet.
    pub(super) fn new() -> Self {
        let picked = Picked {
            request: Request::default(),
            captures: [None; 2],
            query: None,
            escaped: 0,
            first_timer: Field::TR,
            last_timer: Field::Tt,
            is_tcp: false,
            is_truncated: false,
        };
        Self { line: LogLine::empty(), timers: [-1; 7], picked, is_accept_date: false }
    }

    /// Takes `text`, which stands at byte `begin`, as `field`.
    ///
    /// # Errors
    /// If it cannot be that field.
    pub(super) fn take(&mut self, field: Field, text: &'a [u8], begin: usize) -> Result<(), LineError> {
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

    /// Takes the whole request line.
    pub(super) fn take_request_line(&mut self, text: &'a [u8]) {
        let Request { method, path, http_version } = Request::read(text);
        let request = &mut self.picked.request;
        request.method = request.method.or(method);
        request.path = request.path.or(path);
        request.http_version = request.http_version.or(http_version);
    }

    /// Takes the query of a path that was taken without it.
    pub(super) fn take_query(&mut self, text: &'a [u8]) {
        self.picked.query = Some(text).filter(|text| text.starts_with(b"?"));
    }

    /// The date that was taken is that of the accept.
    pub(super) fn set_accept_date(&mut self) {
        self.is_accept_date = true;
    }

    /// Backslashes in `field` are to be decoded.
    pub(super) fn set_escaped(&mut self, field: Field) {
        self.picked.set_escaped(field);
    }

    /// Whether a timer has been taken that did happen, and if it is the one to the end.
    pub(super) fn has_timer(&self, to_the_end: bool) -> bool {
        self.timers
            .iter()
            .zip(TIMERS)
            .any(|(&millis, timer)| millis >= 0 && (!to_the_end || matches!(timer, Field::Ta | Field::Tt)))
    }

    /// Fields that are text; whether `field` is one.
    fn take_text(&mut self, field: Field, text: &'a [u8]) -> bool {
        let (line, picked) = (&mut self.line, &mut self.picked);
        let unless_bad = Some(text).filter(|text| !text.starts_with(BAD_REQUEST));
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
            Field::RequestCaptures => picked.captures[0] = Some(text),
            Field::ResponseCaptures => picked.captures[1] = Some(text),
            Field::Method => picked.request.method = unless_bad,
            Field::Path => picked.request.path = unless_bad,
            Field::HttpVersion => picked.request.http_version = unless_bad,
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
                    // No other field is allowed in a format.
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// The line, if the names that it needs are there.
    ///
    /// # Errors
    /// A name is missing, or is none; the error names byte `base`.
    pub(super) fn finish(mut self, whole: Whole, base: usize) -> Result<LogLine<'a>, LineError> {
        let names = [(Field::Backend, self.line.backend), (Field::Server, self.line.server)];
        for (field, name) in names.into_iter().take(if whole.has_server { 2 } else { 1 }) {
            if name.is_empty() || !name.iter().copied().all(is_name_byte) {
                return Err(LineError::of_field(ErrorKind::NotAName, field, base));
            }
        }
        let [receive, request, queue, connect, response, active, total] = self.timers;
        let (first, first_timer) =
            if receive >= 0 && request < 0 { (receive, Field::Tq) } else { (request, Field::TR) };
        let (last, last_timer) = if active >= 0 { (active, Field::Ta) } else { (total, Field::Tt) };
        if self.is_accept_date
            && active >= 0
            && total >= active
            && let Some(date) = &mut self.line.date
        {
            // From the accept it took Tt, and a request ends Ta after it began.
            date.millis += i64::from(total - active);
        }
        self.line.timers = Timers::new([first, queue, connect, response, last]);
        let Whole { is_tcp, is_truncated, .. } = whole;
        self.line.rest =
            Rest::Custom(Picked { first_timer, last_timer, is_tcp, is_truncated, ..self.picked });
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
