//! Finds what HAProxy wrote behind the syslog header that somebody put before it.
//!
//! In: a line. Out: the byte at which HAProxy's own text begins. Known headers, each seen from
//! HAProxy 2.6.12 or rsyslog 8.2302: RFC 3164 as in files and on the wire, with or without a host;
//! ISO dates of rsyslog and of HAProxy's `iso` and `timed`; RFC 5424; a `<PRI>` alone; none. Files
//! of Kubernetes (CRI: `DATE stdout F `) may hold any of these once more.
//! Costs one look at each byte of the header.

use memchr::{memchr, memchr_iter};

/// Offset of HAProxy's text in `line`; 0 if nothing before it is known to be a header.
pub fn body_offset(line: &[u8]) -> usize {
    let after_priority = skip_priority(line);
    let text = &line[after_priority..];
    if let Some(length) = cri_length(text) {
        return after_priority + length + header_length(&text[length..]);
    }
    header_length(line)
}

/// Where HAProxy's text may begin instead, should it itself look like a part of the header: behind the
/// date, behind the priority, at the start of the line.
pub(super) fn other_offsets(line: &[u8]) -> [usize; 3] {
    let after_priority = skip_priority(line);
    let text = &line[after_priority..];
    let date = rfc3164_date_length(text).or_else(|| iso_date_length(text)).unwrap_or(0);
    [after_priority + date, after_priority, 0]
}

/// `2026-11-21T09:36:03.020178123Z stdout F `, as the container runtimes of Kubernetes write before each
/// line; `P` for a line that they have split.
fn cri_length(text: &[u8]) -> Option<usize> {
    let stream = text.get(iso_date_length(text)?..)?;
    let is_cri = [&b"stdout F "[..], b"stderr F ", b"stdout P ", b"stderr P "]
        .into_iter()
        .any(|words| stream.starts_with(words));
    is_cri.then_some(text.len() - stream.len() + 9)
}

fn header_length(line: &[u8]) -> usize {
    let after_priority = skip_priority(line);
    let text = &line[after_priority..];
    let length = if is_rfc5424(text, after_priority > 0) {
        rfc5424_length(text)
    } else {
        let date = rfc3164_date_length(text).or_else(|| iso_date_length(text));
        date.map(|length| length + tag_length(&text[length..], Host::Possible))
            .or_else(|| Some(tag_length(text, Host::None)))
    };
    after_priority + length.unwrap_or(0)
}

/// Where `client [date] ` begins behind a header that is not known, such as a container
/// runtime's: one word before the first bracketed date.
pub(super) fn find_client(line: &[u8]) -> Option<usize> {
    memchr_iter(b'[', line)
        .filter(|&bracket| is_date_start(&line[bracket + 1..]) && bracket > 0 && line[bracket - 1] == b' ')
        .map(|bracket| {
            line[..bracket - 1].iter().rposition(|&byte| byte == b' ').map_or(0, |blank| blank + 1)
        })
        .next()
}

/// Whether it goes on like `21/Nov/2026:`.
fn is_date_start(text: &[u8]) -> bool {
    matches!(text, [d1, d2, b'/', _, _, _, b'/', _, _, _, _, b':', ..] if d1.is_ascii_digit() && d2.is_ascii_digit())
}

/// `<134>` at the start; nothing else in angle brackets is digits only.
fn skip_priority(line: &[u8]) -> usize {
    match line {
        [b'<', a, b'>', ..] if a.is_ascii_digit() => 3,
        [b'<', a, b, b'>', ..] if a.is_ascii_digit() && b.is_ascii_digit() => 4,
        [b'<', a, b, c, b'>', ..] if [a, b, c].iter().all(|digit| digit.is_ascii_digit()) => 5,
        _ => 0,
    }
}

/// `Nov 21 09:55:39 `; the day may be padded with a blank, or not at all.
fn rfc3164_date_length(text: &[u8]) -> Option<usize> {
    let &[m1, m2, m3, b' ', ..] = text else {
        return None;
    };
    let mut at = 4 + text[4..].iter().take_while(|&&byte| byte == b' ').count();
    at += text[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let is_date = [m1, m2, m3].iter().all(u8::is_ascii_alphabetic)
        && matches!(&text[at..], [b' ', _, _, b':', _, _, b':', _, _, ..]);
    // Up to the blank, for journalctl's `short-precise` has a fraction here.
    is_date.then(|| memchr(b' ', &text[at + 1..]).map(|length| at + 1 + length + 1)).flatten()
}

/// `2026-11-21T09:55:39.522078+00:00 `.
fn iso_date_length(text: &[u8]) -> Option<usize> {
    let is_date =
        matches!(text, [y, _, _, _, b'-', _, _, b'-', _, _, b'T', _, _, b':', ..] if y.is_ascii_digit());
    is_date.then(|| memchr(b' ', text).map(|length| length + 1)).flatten()
}

/// Files may have lost the priority, but then the date has to follow.
fn is_rfc5424(text: &[u8], has_priority: bool) -> bool {
    text.strip_prefix(b"1 ").is_some_and(|rest| has_priority || iso_date_length(rest).is_some())
}

/// `1 DATE HOST APP PID MSGID STRUCTURED-DATA `, the last either `-` or blocks such as `[a@1 b="c"]`.
fn rfc5424_length(text: &[u8]) -> Option<usize> {
    let mut at = memchr_iter(b' ', text).nth(5)? + 1;
    if text[at..].starts_with(b"-") {
        at += 1;
    }
    while text[at..].starts_with(b"[") {
        at += structured_data_length(&text[at..])?;
    }
    if !text[at..].starts_with(b" ") {
        // HAProxy writes what `log-format-sd` gives it, brackets or not.
        at += memchr(b' ', &text[at..])?;
    }
    at += 1;
    // rsyslog's RSYSLOG_SyslogProtocol23Format keeps the blank that stood behind the tag.
    at += usize::from(text[at..].starts_with(b" "));
    const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";
    Some(if text[at..].starts_with(BYTE_ORDER_MARK) { at + BYTE_ORDER_MARK.len() } else { at })
}

/// Length of a `[...]`; a bracket inside quotes does not end it, and `\` takes the next byte along.
fn structured_data_length(text: &[u8]) -> Option<usize> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    for (at, &byte) in text.iter().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_quoted => is_escaped = true,
            b'"' => is_quoted = !is_quoted,
            b']' if !is_quoted => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// Whether a host may stand before the tag.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Host {
    /// Behind a date.
    Possible,
    /// At the start of a line.
    None,
}

/// `vm haproxy[20463]: `, `haproxy[20463]: `, `haproxy: ` or nothing.
fn tag_length(text: &[u8], host: Host) -> usize {
    // With `log-send-hostname` on a Unix socket rsyslog writes the host twice.
    let most_hosts = if host == Host::Possible { 2 } else { 0 };
    let mut at = 0;
    for _ in 0..=most_hosts {
        let rest = &text[at..];
        let length = memchr(b' ', rest).unwrap_or(rest.len());
        let after = (at + length + 1).min(text.len());
        if is_tag(&rest[..length], host) {
            return after;
        }
        at = after;
    }
    0
}

/// A tag ends with a colon. Without a date before it, it has to have its process id, or any
/// word with a colon would do; `SPOE:` begins messages of HAProxy's own.
fn is_tag(word: &[u8], host: Host) -> bool {
    let Some(word) = word.strip_suffix(b":") else {
        return false;
    };
    let has_pid = word.strip_suffix(b"]").is_some_and(|word| {
        let name = word.trim_ascii_end();
        let digits = name.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
        digits > 0 && name[..name.len() - digits].ends_with(b"[")
    });
    has_pid || (host == Host::Possible && word != b"SPOE" && !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str =
        "127.0.0.1:38156 [21/Nov/2026:09:55:39.521] fe be/s1 0/0/0/3/3 200 76 - - ---- 1/1/0/0/0 0/0";

    #[track_caller]
    fn check(header: &str) {
        for body in
            [BODY, "Server be/s1 is UP/READY (leaving forced maintenance).", "Connect from 1.2.3.4:5 to ..."]
        {
            let line = format!("{header}{body}");
            let found = body_offset(line.as_bytes());
            assert_eq!(&line[found..], body, "{line}");
        }
    }

    #[test]
    fn a_header_is_taken_off_whole() {
        check("");
        check("<134>");
        check("Nov 21 09:55:39 vm haproxy[20463]: ");
        check("Nov  1 09:55:39 vm haproxy[20463]: ");
        check("Nov 1 09:55:39 vm haproxy[20463]: ");
        check("Nov 21 09:55:39 vm vm haproxy[20463]: ");
        check("Nov 21 09:55:39.522078 vm haproxy[20463]: ");
        check("Nov 21 09:55:39 vm haproxy: ");
        check("Nov 21 09:55:39 10.1.2.3 my-app[1]: ");
        check("<134>Nov 21 09:36:03 haproxy[20583]: ");
        check("<134>Nov 21 09:36:03 localhost haproxy[20583]: ");
        check("2026-11-21T09:55:39.522078+00:00 vm haproxy[20463]: ");
        check("<6>2026-11-21T09:36:03.020171+00:00 ");
        check("2026-11-21T09:36:03.020178+00:00 ");
        check("haproxy[674]: ");
        check("<134>1 2026-11-21T09:36:03.020143+00:00 - haproxy 20583 - - ");
        check("<134>1 2026-11-21T09:36:03.020143+00:00 - haproxy 20583 - -  ");
        check(
            r#"<134>1 2026-11-21T09:36:03.020143+00:00 vm haproxy 20583 - [ex@1234 a="]\"]" b="st"][x@1] "#,
        );
        check("<134>1 2024-06-12T10:09:11.823428+02:00 - tag 224482 - custom-sd ");
        check("<134>1 2026-11-21T09:36:03.020143+00:00 - haproxy 20583 - - \u{feff}");
        check("1 2026-11-21T09:36:03.020143+00:00 - haproxy 20583 - - ");
        check("2026-11-21T09:36:03.020178123Z stdout F ");
        check("2026-11-21T09:36:03.020178123+02:00 stderr P <134>Nov 21 09:36:03 haproxy[20583]: ");
        check(
            "2026-11-21T09:36:03.020178123Z stdout F <134>1 2026-11-21T09:36:03.020143+00:00 - haproxy 20583 - - ",
        );
    }

    #[test]
    fn messages_of_haproxys_own_keep_their_first_word() {
        for line in
            ["SPOE: [agent] <EVENT:x> sid=3", "<OCSP-UPDATE> /a.pem 1", "message repeated 2 times: [ x]"]
        {
            assert_eq!(body_offset(line.as_bytes()), 0, "{line}");
        }
    }

    #[test]
    fn a_client_is_found_behind_an_unknown_header() {
        for header in ["", "lb-1  | ", "a [b] c: "] {
            let line = format!("{header}{BODY}");
            assert_eq!(find_client(line.as_bytes()), Some(header.len()), "{line}");
        }
        assert_eq!(find_client(b"no [date] here"), None);
        assert_eq!(find_client(b"[21/Nov/2026:09:31:50.191]"), None);
    }
}
