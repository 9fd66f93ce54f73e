//! Lines in HAProxy's own formats: all that is read is what a slow reading by regular expressions says, each
//! single format reads what `auto` does, a known header changes nothing, and a line that was cut says nothing
//! that the whole one does not.
#![no_main]

use haproxy_autoscale::core::log::envelope::body_offset;
use haproxy_autoscale::core::log::field::Field;
use haproxy_autoscale::core::log::format::{Line, LineFormat};
use haproxy_autoscale_fuzz::reference::{self, Layout};
use haproxy_autoscale_fuzz::{Said, said};
use libfuzzer_sys::fuzz_target;

/// Whole headers, up to the tag.
const HEADERS: [&str; 4] = [
    "Nov 21 09:55:39 vm haproxy[20463]: ",
    "<134>Nov 21 09:36:03 haproxy[20583]: ",
    "2026-11-21T09:55:39.522078+00:00 vm haproxy[20463]: ",
    "2026-11-21T09:36:03.020178123Z stdout F <134>Nov 21 09:36:03 haproxy[20583]: ",
];

/// What the rest of a line may add to: `12` was `1234`, `GET /x` was `GET /xyz`.
const CUT_SHORT: [Field; 9] = [
    Field::BackendQueue,
    Field::RequestCaptures,
    Field::ResponseCaptures,
    Field::Method,
    Field::Path,
    Field::HttpVersion,
    Field::Sni,
    Field::SslVersion,
    Field::SslCipher,
];

fuzz_target!(|line: &[u8]| {
    let found = said(&mut LineFormat::Auto, line);
    let layout = check_reference(line, &found);
    check_formats(line, &found, layout);
    if let Said::Request(fields) = &found {
        if body_offset(line) == 0 && layout.is_some() {
            for header in HEADERS {
                let whole = [header.as_bytes(), line].concat();
                assert_eq!(said(&mut LineFormat::Auto, &whole), found, "{}", whole.escape_ascii());
            }
        }
        // Raw cookies may hold a whole line.
        let has_cookie = [Field::RequestCookie, Field::ResponseCookie]
            .iter()
            .any(|cookie| fields.get(cookie).is_some_and(|cookie| cookie != "-"));
        if !has_cookie && layout.is_some() {
            check_prefixes(line, fields);
        }
    }
});

/// Which layout the line has, if it is a whole line of today's.
fn check_reference(line: &[u8], found: &Said) -> Option<Layout> {
    let offsets = [Some(body_offset(line)), reference::client_offset(line)];
    let bodies = offsets.map(|offset| offset.and_then(|offset| reference::read(&line[offset..])));
    match (found, &bodies) {
        (Said::Request(fields), [Some((layout, expected)), _]) => {
            assert_eq!(fields, expected, "{}", line.escape_ascii());
            Some(*layout)
        }
        (Said::Request(fields), [None, Some((layout, expected))]) if fields == expected => Some(*layout),
        (Said::Request(fields), _) => {
            // What was cut is no whole line.
            assert!(!fields.contains_key(&Field::Feconn), "{fields:?} of {}", line.escape_ascii());
            None
        }
        (_, [Some(_), _]) => panic!("{found:?}: {}", line.escape_ascii()),
        _ => None,
    }
}

fn check_formats(line: &[u8], found: &Said, layout: Option<Layout>) {
    let formats = [
        (LineFormat::Http, [Layout::Http, Layout::OldHttp]),
        (LineFormat::Https, [Layout::Http, Layout::OldHttp]),
        (LineFormat::Tcp, [Layout::Tcp, Layout::OldTcp]),
        (LineFormat::Clf, [Layout::Clf; 2]),
    ];
    for (mut format, of) in formats {
        let alone = said(&mut format, line);
        let is_of = layout.map(|layout| of.contains(&layout));
        if is_of == Some(true) || matches!(alone, Said::Request(_)) {
            assert_eq!(&alone, found, "{format:?}: {}", line.escape_ascii());
            assert_ne!(is_of, Some(false), "{format:?}: {}", line.escape_ascii());
        }
    }
}

fn check_prefixes(line: &[u8], whole: &reference::Fields) {
    for end in 0..line.len() {
        let Line::Request(request) = LineFormat::Auto.read(&line[..end]) else { continue };
        for (field, value) in reference::fields_of(&request) {
            let is_the_same = CUT_SHORT.contains(&field) || whole.get(&field) == Some(&value);
            assert!(is_the_same, "{field}={value} of {}", line[..end].escape_ascii());
        }
    }
}
