//! Syslog headers: what is taken off is a beginning of the line, and a header before a line with one of its own
//! is never taken for more than both.
#![no_main]

use haproxy_autoscale::core::log::envelope::body_offset;
use haproxy_autoscale::core::log::format::LineFormat;
use haproxy_autoscale_fuzz::reference::{Said, said};
use libfuzzer_sys::fuzz_target;

const BODY: &str = "10.0.0.1:5 [21/Nov/2026:09:31:50.191] fe be/s1 0/0/0/3/3 200 76 - - ---- 1/1/0/0/0 0/0 \"GET / HTTP/1.1\"";

fuzz_target!(|header: &[u8]| {
    assert!(body_offset(header) <= header.len());
    let line = [header, BODY.as_bytes()].concat();
    let offset = body_offset(&line);
    assert!(offset <= line.len());
    // A header that is taken off as such leaves the request, whatever is in it.
    if offset == header.len() {
        let alone = said(&mut LineFormat::Auto, BODY.as_bytes());
        assert_eq!(said(&mut LineFormat::Auto, &line), alone, "{}", line.escape_ascii());
    }
    // What is behind the header does not change where a whole one ends.
    if offset == header.len() && header.ends_with(b"]: ") {
        let message = [header, b"Server be/s1 is DOWN."].concat();
        assert_eq!(body_offset(&message), offset, "{}", message.escape_ascii());
        assert_eq!(said(&mut LineFormat::Auto, &message), Said::Message, "{}", message.escape_ascii());
    }
});
