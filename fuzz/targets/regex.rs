//! A configured regex and lines: each field is what the regex itself finds.
#![no_main]

use haproxy_autoscale::core::log::custom::CustomFormat;
use haproxy_autoscale::core::log::envelope::body_offset;
use haproxy_autoscale::core::log::format::{Line, LineFormat};
use haproxy_autoscale::core::settings::Timer;
use haproxy_autoscale_fuzz::reference::check_request;
use haproxy_autoscale_fuzz::{first_line, lines};
use libfuzzer_sys::fuzz_target;
use regex::bytes::Regex;

/// What takes long to compile is the regex crate's business.
const MOST_BYTES: usize = 400;

fuzz_target!(|input: &[u8]| {
    let Some((pattern, log)) = first_line(input) else { return };
    if pattern.len() > MOST_BYTES || pattern.contains("}{") {
        return;
    }
    let Ok(custom) = CustomFormat::new(pattern) else { return };
    let regex = Regex::new(pattern).expect("it was taken");
    let mut format = LineFormat::Custom(Box::new(custom));
    for line in lines(log) {
        let body = body_offset(line);
        let found = regex.captures(&line[body..]).or_else(|| regex.captures(line));
        let Line::Request(request) = format.read(line) else { continue };
        check_request(&request, line);
        let found = found.unwrap_or_else(|| panic!("it does not match: {}", line.escape_ascii()));
        let group = |name| found.name(name).map_or(&b""[..], |group| group.as_bytes());
        assert_eq!(request.backend, group("backend"), "{}", line.escape_ascii());
        assert_eq!(request.server, group("server"), "{}", line.escape_ascii());
        let number = std::str::from_utf8(group("Tw")).ok().and_then(|text| text.parse::<i64>().ok());
        if let Some(number) = number {
            let millis = u32::try_from(number.min(i64::from(i32::MAX))).ok();
            assert_eq!(request.timers.get(Timer::Tw), millis, "{}", line.escape_ascii());
        }
    }
});
